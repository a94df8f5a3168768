//! The door of a service: threads, the line before them, and who is turned away.

use seawall_core::gate::Reason;
use seawall_core::link::Delivery;
use seawall_core::record::Metric;
use seawall_core::time::Time;

use super::{SOON, reason_of};
use crate::slab::Ticket;
use crate::world::{Answer, Call, Caller, Event, Stage, Target, World};

impl World {
    /// A call reaches a service.
    pub(crate) fn enter(&mut self, service: u16, call: &mut Call) {
        let sim = &mut self.services[service as usize];
        if let Some(latency) = &sim.latency {
            call.lag += latency.draw(&mut sim.latency_rng);
        }
        call.lag += sim.far;
        let for_load = !matches!(call.caller, Caller::Client { .. });
        if for_load {
            self.meter.count(sim.meters.origin_requests);
        }
        let Some(index) = sim.pick() else {
            return self.refuse(call, Answer::ERROR);
        };
        call.instance = index as u16;
        if !sim.reachable {
            match sim.reach(self.now, index) {
                Delivery::At(at) => call.lag += at.since(self.now),
                Delivery::Refused | Delivery::Reset => return self.refuse(call, Answer::ERROR),
                Delivery::Dropped | Delivery::Held => {
                    call.stage = Stage::Lost;
                    self.keep(call);
                    return;
                }
            }
        }
        let sim = &mut self.services[service as usize];
        if sim.gated
            && let Err(refusal) = sim
                .gate
                .admit(self.now, &mut sim.gate_rng, call.read, call.priority)
        {
            self.shed_at_service(service, refusal.reason);
            return self.refuse(call, Answer::SHED);
        }
        let instance = &mut sim.instances[index];
        if sim.threads.is_some_and(|threads| instance.busy >= threads) {
            return self.line_up(service, call);
        }
        self.start(service, call, None);
    }

    /// The way to a service is free again: the calls that lay there are taken up, or are given up by whoever sent them.
    pub(crate) fn let_in(&mut self, service: u16, goes_on: bool) {
        let lies_there =
            |call: &Call| call.target == Target::Service(service) && matches!(call.stage, Stage::Lost);
        let lost: Vec<Ticket> = self
            .calls
            .iter()
            .filter(|(_, call)| lies_there(call))
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            let Some(mut call) = self.calls.get(id).copied() else {
                continue;
            };
            let sim = &mut self.services[service as usize];
            let instance = &mut sim.instances[call.instance as usize];
            if call.gone || !goes_on || !instance.up {
                self.send_back_kept(id, Answer::ERROR);
            } else if sim.threads.is_none_or(|threads| instance.busy < threads) {
                self.start(service, &mut call, Some(id));
            } else if instance.line.push(self.now, id).is_err() {
                self.send_back_kept(id, Answer::ERROR);
            } else {
                if let Some(call) = self.calls.get_mut(id) {
                    call.stage = Stage::InLine;
                }
                self.watch_line(service, call.instance);
            }
        }
    }

    /// A call is answered without any work.
    pub(super) fn refuse(&mut self, call: &Call, answer: Answer) {
        if answer == Answer::ERROR
            && !matches!(call.caller, Caller::Client { .. })
            && let Target::Service(service) = call.target
        {
            self.meter
                .count(self.services[service as usize].meters.origin_errors);
        }
        match call.caller {
            Caller::Client { .. } if call.lag <= SOON => self.close(call, answer, self.now + call.lag),
            // Also a refusal takes its turn: a load that is refused at once must not go round within one call.
            _ => {
                let id = self.keep(call);
                self.send_back_kept(id, answer);
            }
        }
    }

    pub(super) fn line_up(&mut self, service: u16, call: &mut Call) {
        call.stage = Stage::InLine;
        let id = self.keep(call);
        let sim = &mut self.services[service as usize];
        let instance = &mut sim.instances[call.instance as usize];
        if instance.line.push(self.now, id).is_err() {
            // A house that is full by its nature fails; one that is full on purpose says when to come back.
            let answer = if sim.policies.queue.is_some() {
                Answer::SHED
            } else {
                Answer::ERROR
            };
            if answer == Answer::SHED {
                self.shed_at_service(service, Reason::QueueFull);
            } else if !matches!(call.caller, Caller::Client { .. }) {
                self.meter
                    .count(self.services[service as usize].meters.origin_errors);
            }
            return self.send_back_kept(id, answer);
        }
        self.watch_line(service, call.instance);
    }

    pub(super) fn watch_line(&mut self, service: u16, index: u16) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        if let Some(at) = instance.line.next_timeout() {
            let at = at.max(self.now);
            if at < instance.line_at {
                instance.line_at = at;
                self.agenda.push(
                    at,
                    Event::Line {
                        service,
                        instance: index,
                    },
                );
            }
        }
    }

    pub(crate) fn line_timeouts(&mut self, service: u16, index: u16) {
        let now = self.now;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if now < instance.line_at {
            return;
        }
        instance.line_at = Time::NEVER;
        loop {
            let instance = &mut self.services[service as usize].instances[index as usize];
            let Some(departure) = instance.line.depart(now) else {
                break;
            };
            let Some(call) = self.calls.get(departure.item).copied() else {
                continue;
            };
            self.shed_at_service(service, reason_of(departure.cause));
            if call.gone {
                self.calls.remove(departure.item);
            } else {
                self.send_back_kept(departure.item, Answer::SHED);
            }
        }
        self.watch_line(service, index);
    }

    pub(crate) fn shed_at_service(&mut self, service: u16, reason: Reason) {
        let sim = &mut self.services[service as usize];
        let counter = if let Some((_, counter)) = sim.meters.shed.iter().find(|(known, _)| *known == reason) {
            *counter
        } else {
            let counter = self.meter.counter(Metric::Shed, &sim.name, Some(reason.name()));
            sim.meters.shed.push((reason, counter));
            counter
        };
        self.meter.count(counter);
    }

    pub(crate) fn release(&mut self, service: u16, index: u16, life: u32) {
        if self.services[service as usize].instances[index as usize].life == life {
            self.free_thread(service, index);
        }
    }

    /// A thread is free: the next one in line has it.
    pub(super) fn free_thread(&mut self, service: u16, index: u16) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        sim.in_progress = sim.in_progress.saturating_sub(1);
        let threads = sim.threads;
        let instance = &mut sim.instances[index as usize];
        instance.busy = instance.busy.saturating_sub(1);
        if instance.line.is_empty() || !instance.up {
            return;
        }
        loop {
            let sim = &mut self.services[service as usize];
            let instance = &mut sim.instances[index as usize];
            if threads.is_some_and(|threads| instance.busy >= threads) {
                break;
            }
            let Some((id, waited)) = instance.line.pop(now) else {
                break;
            };
            let Some(mut call) = self.calls.get(id).copied() else {
                continue;
            };
            self.meter.time(sim.meters.waited, waited);
            self.start(service, &mut call, Some(id));
            break;
        }
        // What the line dropped on the way comes out on its own.
        self.watch_line(service, index);
    }
}
