//! Who shares another's load, or its result, and refreshes in the background.

use seawall_core::draw;

use super::approach::Wanted;
use super::cohort::{Cohort, Purpose, Sought, Who, about};
use super::launch::Launch;
use super::{Outcome, Stage, World};

impl World {
    /// Begins to refresh keys in the background, unless that is under way or there is no room for it.
    pub(super) fn refresh(&mut self, index: usize, asked: u64, mix: &[f64], sought: Sought) {
        let (now, tick) = (self.now, self.tick);
        let service = &self.services[index];
        let loads = &service.loads;
        let total: f64 = mix.iter().sum();
        if total <= 0.0 {
            return;
        }
        // Each key and instance is refreshed once at a time.
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        let mut wanted = mix.to_vec();
        for (class, wanted) in wanted.iter_mut().enumerate() {
            let missing = loads.keyed.missing(class, sought.known, local).max(1e-12);
            let pairs = service.classes.keys[class] * missing * service.up;
            let idle = (1.0 - loads.flights[class] / pairs.max(1e-9)).max(0.0);
            let asked = *wanted / total * asked as f64 * idle;
            *wanted = pairs * idle * -libm::expm1(-asked / (pairs * idle).max(1e-9));
        }
        let sum: f64 = wanted.iter().sum();
        let mut count = about(sum.min(self.room_for_refreshes(index)), &mut self.rng);
        let loads = &mut self.services[index].loads;
        if let Some(panel) = &mut loads.origin_panel {
            count = panel.admit(now, tick, count);
        }
        if count == 0 {
            return;
        }
        loads.refreshes += count;
        let load = self.launch_aside(index, Purpose::Refresh, count, &wanted);
        self.begin_load(index, load);
    }

    /// How many more refreshes may begin.
    pub(super) fn room_for_refreshes(&self, index: usize) -> f64 {
        let service = &self.services[index];
        let loads = &service.loads;
        let full = match service.origin {
            Some(super::Target::Database(database)) if loads.gated => {
                !self.databases[database].reads.has_room()
            }
            _ => loads.lined > 0 || loads.room < 1.0,
        };
        if full {
            0.0
        } else {
            (loads.refreshes_max - loads.refreshes as f64).max(0.0)
        }
    }

    /// Launches loads that nobody waits for, for keys of the classes as in `mix`.
    pub(super) fn launch_aside(&mut self, index: usize, purpose: Purpose, count: u64, mix: &[f64]) -> Cohort {
        let tick = self.tick;
        let loads = &mut self.services[index].loads;
        let id = loads.current(tick, purpose);
        let hard = loads.hard;
        let mut fresh = false;
        if let Some(launch) = loads.launch(id) {
            fresh = launch.begun == 0;
            launch.begun += count;
            launch.open += count;
            let each = count as f64 / sum_of(mix);
            for (sum, wanted) in launch.mix.iter_mut().zip(mix) {
                *sum += wanted * each;
            }
        }
        let load = Cohort {
            who: Who::Load {
                service: index as u8,
                purpose,
                launch: id,
                attempt: 0,
            },
            count,
            born: tick,
            first: 0,
            read: true,
            age: 0.0,
            since: 0.0,
            lag: 0.0,
        };
        if fresh && count > 0 && hard.is_finite() {
            self.later(Stage::Hard { service: index as u8 }, Cohort { age: hard, ..load });
        }
        load
    }

    /// Who finds a load of the same key under way waits for it.
    pub(super) fn join(&mut self, index: usize, mut cohort: Cohort, wanted: Wanted) -> Cohort {
        let service = &self.services[index];
        let loads = &service.loads;
        if !loads.coalesces && (!loads.leases || service.tiers.is_empty()) {
            return cohort;
        }
        let (waits, shares) = self.chances(index, &cohort, wanted.sought);
        let shared = draw::binomial(cohort.count, shares, &mut self.rng);
        let sharing = cohort.split(shared);
        let joined = if shares < 1.0 {
            draw::binomial(cohort.count, waits / (1.0 - shares), &mut self.rng)
        } else {
            0
        };
        let joining = cohort.split(joined);
        let loads = &mut self.services[index].loads;
        loads.coalesced += (shared + joined) as f64;
        if sharing.count > 0 {
            self.answer(index, sharing, Outcome::Fresh);
        }
        if joining.count > 0 {
            self.join_some(index, joining, wanted);
        }
        cohort
    }

    /// Joins a launch, picked by how many of its loads are under way.
    pub(super) fn join_some(&mut self, index: usize, cohort: Cohort, wanted: Wanted) {
        let loads = &mut self.services[index].loads;
        let open = |launch: &Launch| {
            if launch.purpose == Some(Purpose::Write) {
                0
            } else {
                launch.open
            }
        };
        let all: u64 = loads.launches.iter().map(open).sum();
        let mut at = loads.rng.below(all.max(1));
        let mut id = None;
        for (offset, launch) in loads.launches.iter().enumerate() {
            if at < open(launch) {
                id = Some(loads.base + offset as u32);
                break;
            }
            at -= open(launch);
        }
        let (total, wait_max) = (loads.total, loads.wait_max);
        let Some(id) = id else {
            // All of them have just begun, in this tick: there will be one.
            let load = self.attach(index, cohort, wanted);
            return self.begin_load(index, load);
        };
        let until = (cohort.since + total).min(cohort.age + wait_max);
        self.wait(index, id, cohort, until, wanted.sought.known);
    }

    /// How likely a request that misses finds a load of its key under way, and a result that is still shared.
    pub(super) fn chances(&self, index: usize, cohort: &Cohort, sought: Sought) -> (f64, f64) {
        let service = &self.services[index];
        let loads = &service.loads;
        let Who::Client { client, .. } = cohort.who else {
            return (0.0, 0.0);
        };
        let client = &self.clients[client as usize];
        let copies = if loads.leases { 1.0 } else { service.up };
        let keyed = &loads.keyed;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        let (mut all, mut waits, mut shares) = (0.0, 0.0, 0.0);
        for class in 0..client.weights.len() {
            if !sought.may_be(service.classes.group[class]) {
                continue;
            }
            let missing = keyed.missing(class, sought.known, local);
            let asked = client.weights[class] * missing;
            let pairs = (service.classes.keys[class] * missing * copies).max(1e-9);
            let shared = (loads.shared[class] / pairs).min(1.0);
            all += asked;
            shares += asked * shared;
            waits += asked * (loads.flights[class] / pairs).min(1.0 - shared);
        }
        if all > 0.0 {
            (waits / all, shares / all)
        } else {
            (0.0, 0.0)
        }
    }

    /// The results of loads that have ended are shared for a while; who comes now joins no longer.
    pub(super) fn end_flights(&mut self, index: usize, mix: &[f64], share: f64, ok: bool) {
        let (tick, dt) = (self.tick, self.dt);
        let loads = &mut self.services[index].loads;
        if !loads.tracks {
            return;
        }
        for (flights, count) in loads.flights.iter_mut().zip(mix) {
            *flights = (*flights - count * share).max(0.0);
        }
        if ok && loads.window > 0.0 {
            let ends = tick + (loads.window / dt) as u32;
            if loads.shared_ends.back().is_none_or(|(end, _)| *end != ends) {
                loads.shared_ends.push_back((ends, vec![0.0; mix.len()]));
            }
            if let Some((_, counts)) = loads.shared_ends.back_mut() {
                for ((counts, shared), count) in counts.iter_mut().zip(&mut loads.shared).zip(mix) {
                    *counts += count * share;
                    *shared += count * share;
                }
            }
        }
    }
}

fn sum_of(counts: &[f64]) -> f64 {
    counts.iter().sum::<f64>().max(1e-12)
}
