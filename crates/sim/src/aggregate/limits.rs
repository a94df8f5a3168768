//! Limits that find themselves: a sample of the instances' machines, each told of its share of the loads.
//!
//! The machines count no places here, because loads come and go many at a time; they are told how many are inside. What
//! they have found, on average, is the limit of all.

use seawall_core::draw;
use seawall_core::limit::{Limiter, Mode, Outcome, Settings};
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};
use std::collections::VecDeque;

use super::{Target, World};

/// The most machines that stand for all.
const SAMPLE_MAX: usize = 8;

/// The limits of all instances.
#[derive(Debug)]
pub(super) struct Limits {
    machines: Vec<Limiter>,
    /// How many there are.
    real: f64,
    rng: Stream,
    /// Loads that are inside, by the tick in which they were launched.
    out: VecDeque<Batch>,
    /// How many went inside in this tick.
    entered: u64,
}

/// Loads of one tick that are inside.
#[derive(Debug)]
struct Batch {
    tick: u32,
    left: u64,
    /// Those of the sample: machine, the limit that they have seen, and how many.
    of: Vec<(u8, u32, u64)>,
}

/// How loads have left the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Answered,
    Failed,
    /// Nothing is known.
    Dropped,
}

impl Limits {
    /// Takes over what policies say, for so many instances; nothing where the limit is fixed.
    pub(super) fn retune(
        limits: &mut Option<Limits>,
        now: Time,
        settings: Option<&Settings>,
        up: f64,
        rng: impl FnOnce() -> Stream,
    ) {
        let Some(settings) = settings.filter(|settings| settings.mode != Mode::Fixed) else {
            *limits = None;
            return;
        };
        let count = (libm::round(up) as usize).clamp(1, SAMPLE_MAX);
        let limits = limits.get_or_insert_with(|| Limits {
            machines: Vec::new(),
            real: up,
            rng: rng(),
            out: VecDeque::new(),
            entered: 0,
        });
        limits.real = up.max(1.0);
        limits
            .machines
            .resize_with(count, || Limiter::new(settings.clone()));
        for machine in &mut limits.machines {
            machine.retune(now, settings.clone());
        }
    }

    /// The limit of all instances together.
    pub(super) fn all(&self) -> f64 {
        let sum: f64 = self
            .machines
            .iter()
            .map(|machine| f64::from(machine.limit()))
            .sum();
        sum / self.machines.len() as f64 * self.real
    }

    /// Loads that were launched in a tick go inside.
    pub(super) fn enter(&mut self, tick: u32, count: u64) {
        self.entered += count;
        let at = self.out.iter().rposition(|batch| batch.tick == tick);
        let at = at.unwrap_or(self.out.len());
        if at == self.out.len() {
            self.out.push_back(Batch {
                tick,
                left: 0,
                of: Vec::new(),
            });
        }
        let batch = &mut self.out[at];
        batch.left += count;
        for (index, machine) in self.machines.iter_mut().enumerate() {
            let part = draw::binomial(count, (1.0 / self.real).min(1.0), &mut self.rng);
            if part > 0 {
                batch
                    .of
                    .push((index as u8, machine.note(machine.in_flight()), part));
            }
        }
    }

    /// Loads that were launched in a tick have left the origin.
    pub(super) fn leave(&mut self, tick: u32, count: u64, gone: Gone, took: f64) {
        let Some(batch) = self.out.iter_mut().find(|batch| batch.tick == tick) else {
            return;
        };
        let count = count.min(batch.left);
        if count == 0 {
            return;
        }
        let share = count as f64 / batch.left as f64;
        batch.left -= count;
        let took = Span::from_secs_f64(took);
        let outcome = match gone {
            Gone::Answered => Outcome::Ok,
            Gone::Failed => Outcome::Failed,
            Gone::Dropped => Outcome::Dropped,
        };
        for (index, generation, inside) in &mut batch.of {
            let left = if batch.left == 0 {
                *inside
            } else {
                draw::binomial(*inside, share, &mut self.rng)
            };
            *inside -= left;
            if let Some(machine) = self.machines.get_mut(*index as usize) {
                (0..left).for_each(|_| machine.learn(*generation, took, outcome));
            }
        }
        batch.of.retain(|(_, _, inside)| *inside > 0);
        while self.out.front().is_some_and(|batch| batch.left == 0) {
            self.out.pop_front();
        }
    }

    /// A tick is over: so many were inside on average, in all instances together.
    fn close(&mut self, inside: f64) {
        for machine in &mut self.machines {
            let inside = draw::poisson(inside / self.real, &mut self.rng);
            let _ = machine.note((inside as u32).min(machine.limit()));
        }
        self.entered = 0;
    }
}

impl World {
    /// Limits that find themselves are told how full it is, and what they have found holds from now on.
    pub(super) fn adapt(&mut self, index: usize) {
        let dt = self.dt;
        let service = &mut self.services[index];
        let loads = &mut service.loads;
        let Some(limits) = &mut loads.limits else { return };
        let gated = match service.origin {
            Some(Target::Database(database)) if loads.gated => Some(&mut self.databases[database]),
            _ => None,
        };
        let all = limits.all();
        let brief = limits.entered as f64 * (loads.takes / dt).min(1.0);
        let (held, waits) = match &gated {
            Some(database) => (database.reads.runs, database.reads.waits),
            None => (loads.inside, loads.lined),
        };
        limits.close(if waits > 0 { all } else { brief.max(held as f64) });
        loads.limit = limits.all();
        if let (Some(database), Some(gate)) = (gated, loads.gate()) {
            database.gate = Some(gate);
            database.reads.gate = gate.most;
        }
    }
}
