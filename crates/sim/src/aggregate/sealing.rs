//! What the loads of a tick are for: which classes of keys, and for how many keys they are the first.

use super::World;
use super::cohort::Purpose;
use super::launch::Launch;
use super::shelf::Shelf;
use super::staleness::stale_share;

/// Ticks after which writes take their keys out of the caches.
const WRITTEN_EVERY: u32 = 8;

impl World {
    /// Adds loads for keys that an earlier try found missing.
    pub(super) fn mix_again(&mut self, index: usize, id: u32, seen: u32, count: u64) {
        let Some(past) = self.past(index, seen) else {
            return;
        };
        let mix = past.mix.clone();
        if let Some(launch) = self.services[index].loads.launch(id) {
            for (sum, share) in launch.mix.iter_mut().zip(&mix) {
                *sum += share * count as f64;
            }
        }
    }

    /// Works out which keys the loads of this tick are for.
    pub(super) fn seal(&mut self, index: usize) {
        let tick = self.tick;
        let ids: Vec<u32> = {
            let loads = &self.services[index].loads;
            let recent = loads.launches.iter().enumerate().rev().take(4);
            recent
                .filter(|(_, launch)| launch.tick == tick && !launch.sealed)
                .map(|(offset, _)| loads.base + offset as u32)
                .collect()
        };
        for id in ids {
            self.seal_launch(index, id);
        }
    }

    pub(super) fn seal_launch(&mut self, index: usize, id: u32) {
        let service = &mut self.services[index];
        let group_loads = &mut service.loads;
        let Some(launch) = group_loads
            .launches
            .get_mut(id.wrapping_sub(group_loads.base) as usize)
        else {
            return;
        };
        if launch.sealed {
            return;
        }
        launch.sealed = true;
        if service.tiers.is_empty() && !group_loads.coalesces {
            return;
        }
        if launch.purpose == Some(Purpose::Write) {
            return;
        }
        let keyed = &group_loads.keyed;
        let coalesces = group_loads.coalesces || group_loads.leases;
        let copies = if group_loads.leases { 1.0 } else { service.up };
        let keys = &service.classes.keys;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        if launch.purpose == Some(Purpose::Renew) {
            // Nothing of it is missing, and whoever launches it knows which keys these are.
            if group_loads.tracks {
                for (flights, count) in group_loads.flights.iter_mut().zip(&launch.mix) {
                    *flights += count;
                }
            }
            return;
        }
        let (mut known, mut unknown) = (0, 0);
        launch.first.clear();
        launch.first.extend_from_slice(&launch.mix);
        launch.blind.clear();
        let group_of = &service.classes.group;
        for (client, sought, count) in &launch.counts {
            let weights = &self.clients[*client as usize].weights;
            let part = |class: usize| {
                if !sought.may_be(group_of[class]) {
                    return 0.0;
                }
                let missing = keyed.missing(class, sought.known, local);
                // Who asks for what is being loaded joins instead.
                let under_way = group_loads.flights[class] + group_loads.shared[class];
                let pairs = (keys[class] * missing * copies).max(1e-9);
                // And who is served something stale.
                let stale = if class < service.classes.nowhere {
                    stale_share(&service.tiers, class, sought.known, 0)
                } else {
                    0.0
                };
                weights[class]
                    * missing
                    * (1.0 - stale)
                    * if coalesces {
                        (1.0 - under_way / pairs).max(0.0)
                    } else {
                        1.0
                    }
            };
            if sought.known {
                known += count;
                add_mix(&mut launch.mix, &mut launch.first, part, *count);
            } else {
                unknown += count;
                launch.blind.resize(weights.len(), 0.0);
                add_mix(&mut launch.mix, &mut launch.blind, part, *count);
            }
        }
        if let Some(tier) = service.tiers.last_mut() {
            // Who would ask for what its own instance loads already has joined that load.
            let joined = coalesces.then_some((group_loads.flights.as_slice(), copies));
            count_first(launch, &mut tier.shelf, joined);
        }
        if group_loads.tracks {
            for (flights, count) in group_loads.flights.iter_mut().zip(&launch.mix) {
                *flights += count;
            }
        }
        let again = launch.begun.saturating_sub(known + unknown);
        let share = (known + again) as f64 / launch.begun.max(1) as f64;
        let mix = std::mem::take(&mut launch.mix);
        self.remember(index, &mix, share);
        if let Some(launch) = self.services[index].loads.launch(id) {
            launch.mix = mix;
        }
    }

    /// What no longer matters is forgotten at the end of a tick, and places are counted.
    pub(super) fn close_loads(&mut self, index: usize) {
        self.settle(index);
        if self.tick.is_multiple_of(WRITTEN_EVERY) {
            self.invalidate(index);
        }
        let (tick, dt) = (self.tick, self.dt);
        let loads = &mut self.services[index].loads;
        loads.tidy(tick);
        while loads.shared_ends.front().is_some_and(|(end, _)| *end <= tick) {
            if let Some((_, counts)) = loads.shared_ends.pop_front() {
                for (shared, count) in loads.shared.iter_mut().zip(&counts) {
                    *shared = (*shared - count).max(0.0);
                }
            }
        }
        loads.turnover.close();
        self.adapt(index);
        let loads = &mut self.services[index].loads;
        let limit = if loads.gated { f64::INFINITY } else { loads.limit };
        loads.room = loads.turnover.room(limit - loads.inside as f64, dt);
        let mix = self.copies_of(index);
        let service = &mut self.services[index];
        if let Some(mix) = mix {
            let nowhere = service.classes.nowhere;
            service.tiers[0].fill(tick, &mix, nowhere);
        }
    }

    /// Which entries were copied into instances' memory in this tick.
    pub(super) fn copies_of(&mut self, index: usize) -> Option<Vec<f64>> {
        let service = &mut self.services[index];
        let copied = service.loads.take_copied();
        if copied.is_empty() {
            return None;
        }
        let keyed = &service.loads.keyed;
        let mut mix = vec![0.0; service.classes.len()];
        for (client, count) in copied.iter().enumerate() {
            let weights = &self.clients[client].weights;
            let there = |class: usize| weights[class] * (keyed.first[class] - keyed.all[class]).max(0.0);
            let total: f64 = (0..weights.len()).map(there).sum();
            if total > 0.0 {
                for (class, sum) in mix.iter_mut().enumerate() {
                    *sum += there(class) / total * *count as f64;
                }
            }
        }
        Some(mix)
    }
}

/// Of how many keys of each class these loads are the first: `launch.first` has how many loads there are. `joined` are the
/// loads under way that others join, and in how many places.
fn count_first(launch: &mut Launch, shelf: &mut Shelf, joined: Option<(&[f64], f64)>) {
    let warms = launch.purpose == Some(Purpose::Warm);
    for (class, first) in launch.first.iter_mut().enumerate() {
        let (absent, pending) = (shelf.absent[class], shelf.pending[class]);
        let untouched = (absent - pending).max(0.0);
        let joined = joined.map_or(0.0, |(flights, copies)| flights[class] / copies);
        let open_to = (absent - joined).max(untouched);
        *first = if warms {
            // Each of them is another key.
            untouched * (*first / absent.max(1e-12)).min(1.0)
        } else if open_to > 0.0 {
            untouched * taken(*first / open_to)
        } else {
            0.0
        };
        shelf.pending[class] += *first;
    }
}

/// The share of things that is taken when so many draws fall on each of them on average.
fn taken(draws: f64) -> f64 {
    if draws < 0.02 {
        draws * (1.0 - draws * (0.5 - draws / 6.0))
    } else {
        -libm::expm1(-draws)
    }
}

/// Adds so many loads, which fall on classes as `part` says, to two counts.
fn add_mix(mix: &mut [f64], also: &mut [f64], part: impl Fn(usize) -> f64, count: u64) {
    let total: f64 = (0..mix.len()).map(&part).sum();
    if count == 0 || total <= 0.0 {
        return;
    }
    let each = count as f64 / total;
    for (class, (mix, also)) in mix.iter_mut().zip(also).enumerate() {
        let count = part(class) * each;
        *mix += count;
        *also += count;
    }
}
