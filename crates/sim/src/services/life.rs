//! The lives of instances: crashes, and coming back.

use seawall_core::time::Span;
use seawall_scenario::Place;

use super::Instance;
use crate::slab::Ticket;
use crate::world::{Answer, Caller, Event, Stage, Target, World};

impl World {
    pub(super) fn leaked(&mut self, service: u16, index: u16) {
        let restart = self.services[service as usize]
            .leak
            .as_ref()
            .map_or(Span::ZERO, |leak| leak.restart);
        self.crash(service, index, Some(restart));
    }

    /// An instance dies: what it was doing fails, and its memory is lost.
    pub(crate) fn crash(&mut self, service: u16, index: u16, back_after: Option<Span>) {
        let played = self.plan.resized(
            &self.services[service as usize].policies,
            Place::Service(service as usize),
        );
        let sim = &self.services[service as usize];
        let old = &sim.instances[index as usize];
        let life = old.life + 1;
        let busy = old.busy;
        let mut fresh = Instance::new(
            &self.plan,
            service as usize,
            index as usize,
            self.seed,
            self.now,
            life,
            sim,
            &played,
        );
        fresh.up = false;
        let sim = &mut self.services[service as usize];
        sim.in_progress = sim.in_progress.saturating_sub(busy);
        sim.instances[index as usize] = fresh;
        let ids: Vec<Ticket> = self.calls.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(call) = self.calls.get(id).copied() else {
                continue;
            };
            let lost_here = call.target == Target::Service(service)
                && call.instance == index
                && !matches!(call.stage, Stage::Returning(_) | Stage::AtDoor);
            match call.caller {
                Caller::Load {
                    service: at,
                    instance,
                    ..
                } if (at, instance) == (service, index) => {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.gone = true;
                    }
                }
                _ if lost_here => self.send_back_kept(id, Answer::ERROR),
                _ => {}
            }
        }
        if let Some(after) = back_after {
            self.upsets.push(self.now + after);
            self.agenda.push(
                self.now + after,
                Event::Back {
                    service,
                    instance: index,
                    life,
                },
            );
        }
    }

    pub(crate) fn back(&mut self, service: u16, index: u16, life: u32) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        if instance.life == life {
            instance.up = true;
        }
    }
}
