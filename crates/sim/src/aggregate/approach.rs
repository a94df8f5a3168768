//! Loads on their way to the origin: who is let in, who waits for a place, who gets none.

use seawall_core::gate::Reason;

use super::cohort::{Cohort, NEVER, Purpose, Sought, Who, about};
use super::launch::Waiter;
use super::{Outcome, Stage, World};

/// What is wanted of the origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) purpose: Purpose,
    pub(super) sought: Sought,
}

impl World {
    /// Requests need the origin.
    pub(super) fn load(&mut self, index: usize, mut cohort: Cohort, purpose: Purpose, sought: Sought) {
        let wanted = Wanted { purpose, sought };
        if purpose == Purpose::Read {
            cohort = self.serve_stale_first(index, cohort, sought);
            cohort = self.join(index, cohort, wanted);
        }
        if cohort.count == 0 {
            return;
        }
        let (now, tick) = (self.now, self.tick);
        let loads = &mut self.services[index].loads;
        if let Some(panel) = &mut loads.origin_panel {
            let passed = panel.admit(now, tick, cohort.count);
            let open = cohort.split(cohort.count - passed);
            self.shed_load(index, open, Reason::OriginOpen);
        }
        if cohort.count == 0 {
            return;
        }
        // Writes pass the line, and so do refreshes, which stand in none.
        let loads = &mut self.services[index].loads;
        let (begins, waits) = loads.places_for(cohort.count, purpose != Purpose::Write);
        let beginning = cohort.split(begins);
        let waiting = cohort.split(waits);
        self.shed_load(index, cohort, Reason::OriginLimit);
        if beginning.count > 0 {
            let load = self.attach(index, beginning, wanted);
            self.begin_load(index, load);
        }
        if waiting.count > 0 {
            let load = self.attach(index, waiting, wanted);
            self.services[index].loads.line_up(load);
        }
    }

    /// Requests wait for loads of their own from now on; gives back these loads.
    pub(super) fn attach(&mut self, index: usize, cohort: Cohort, wanted: Wanted) -> Cohort {
        let tick = self.tick;
        let loads = &mut self.services[index].loads;
        let id = loads.current(tick, wanted.purpose);
        let (hard, total) = (loads.hard, loads.total);
        let fresh = loads.launch(id).is_some_and(|launch| launch.begun == 0);
        if let Some(launch) = loads.launch(id) {
            launch.begun += cohort.count;
            launch.open += cohort.count;
            let client = match cohort.who {
                Who::Client { client, seen, .. } if seen == NEVER => Some(client),
                _ => None,
            };
            if let Some(client) = client {
                let mut counts = launch.counts.iter_mut();
                match counts.find(|count| (count.0, count.1) == (client, wanted.sought)) {
                    Some(known) => known.2 += cohort.count,
                    None => launch.counts.push((client, wanted.sought, cohort.count)),
                }
            }
        }
        if let Who::Client { seen, .. } = cohort.who
            && seen != NEVER
        {
            self.mix_again(index, id, seen, cohort.count);
        }
        let load = Cohort {
            who: Who::Load {
                service: index as u8,
                purpose: wanted.purpose,
                launch: id,
                attempt: 0,
            },
            count: cohort.count,
            born: tick,
            first: 0,
            read: wanted.purpose != Purpose::Write,
            age: 0.0,
            since: 0.0,
            lag: 0.0,
        };
        if fresh && hard.is_finite() {
            let stage = Stage::Hard { service: index as u8 };
            self.later(stage, Cohort { age: hard, ..load });
        }
        let until = cohort.since + total;
        self.wait(index, id, cohort, until, wanted.sought.known);
        load
    }

    /// Requests wait for the loads of a launch.
    pub(super) fn wait(&mut self, index: usize, id: u32, mut cohort: Cohort, until: f64, known: bool) {
        if let Who::Client { seen, .. } = &mut cohort.who {
            *seen = if known { self.tick } else { NEVER };
        }
        if known {
            self.note_missed(&cohort, true);
        }
        if until.is_finite() {
            let load = Cohort {
                who: Who::Load {
                    service: index as u8,
                    purpose: Purpose::Read,
                    launch: id,
                    attempt: 0,
                },
                age: until,
                ..cohort
            };
            self.later(Stage::Waited { service: index as u8 }, load);
        }
        let soft = cohort.age + self.services[index].loads.soft;
        if soft.is_finite() && known {
            let load = Cohort {
                who: Who::Load {
                    service: index as u8,
                    purpose: Purpose::Read,
                    launch: id,
                    attempt: 0,
                },
                age: soft,
                ..cohort
            };
            self.later(Stage::Softly { service: index as u8 }, load);
        }
        let waiters = self.services[index]
            .loads
            .launch(id)
            .map(|launch| &mut launch.waiters);
        if let Some(waiters) = waiters {
            let like = waiters
                .last_mut()
                .filter(|last| last.until.total_cmp(&until).is_eq() || (last.until - until).abs() < 1e-3);
            if !like.is_some_and(|last| last.cohort.join(&cohort)) {
                waiters.push(Waiter { cohort, until, soft });
            }
        }
    }

    /// Loads have a place at the origin.
    pub(super) fn begin_load(&mut self, index: usize, mut load: Cohort) {
        let service = &mut self.services[index];
        let loads = &mut service.loads;
        loads.inside += load.count;
        loads.room -= load.count as f64;
        if load.read && !loads.gated && load.is_first_attempt() {
            loads.begun += load.count as f64;
        }
        load.since = load.age;
        if !loads.gated || !load.read {
            loads.go_inside(&load);
        }
        self.pay_for_retries(index, &load);
        let service = &mut self.services[index];
        let spares = matches!(
            service.fallback,
            Some((_, seawall_scenario::FallbackWhen::CacheDown))
        );
        let caches_fail = service.tiers.iter().any(|tier| !tier.local && tier.up() < 0.5);
        let target = match service.fallback {
            Some((target, _)) if spares && caches_fail && load.read => Some(target),
            _ => service.origin,
        };
        match target {
            Some(target) => self.send(target, load),
            None => self.landed(load, true, false),
        }
    }

    pub(super) fn shed_load(&mut self, index: usize, cohort: Cohort, reason: Reason) {
        if cohort.count > 0 {
            self.failed(index, cohort, Some(reason));
        }
    }

    /// Requests get no answer from the origin: a stale one where that is allowed, or none.
    pub(super) fn failed(&mut self, index: usize, cohort: Cohort, shed: Option<Reason>) {
        let cohort = self.serve_stale_on_error(index, cohort);
        if cohort.count == 0 {
            return;
        }
        let outcome = match shed {
            Some(reason) => {
                self.services[index]
                    .door
                    .shed(&mut self.meter, reason, cohort.count);
                Outcome::Shed
            }
            None => Outcome::Error,
        };
        self.answer(index, cohort, outcome);
    }

    /// Loads in line begin as far as there is room, and are given up when they have waited too long.
    pub(super) fn promote(&mut self, index: usize) {
        while let Some(first) = self.services[index].loads.line.front().copied() {
            let patience = self.services[index].loads.patience;
            let age = self.age(&first);
            let loads = &mut self.services[index].loads;
            if age - first.since >= patience {
                loads.line.pop_front();
                loads.lined -= first.count;
                let late = Cohort {
                    age: first.since + patience,
                    ..first
                };
                self.end_loads(index, late, false, Some(Reason::OriginTimeout));
                continue;
            }
            let begins = (loads.room.max(0.0) as u64).min(first.count);
            if begins == 0 {
                break;
            }
            loads.lined -= begins;
            if begins == first.count {
                loads.line.pop_front();
            } else if let Some(front) = loads.line.front_mut() {
                front.count -= begins;
            }
            let load = Cohort {
                age,
                ..first.part(begins)
            };
            self.begin_load(index, load);
        }
    }

    /// A number of waiters that is a share of so many, on average.
    pub(super) fn share_of(&mut self, count: u64, share: f64) -> u64 {
        about(count as f64 * share.clamp(0.0, 1.0), &mut self.rng).min(count)
    }
}
