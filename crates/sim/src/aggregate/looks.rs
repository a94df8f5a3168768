//! Look-ups: from the first tier to the last, and how likely each of them finds nothing.

use seawall_core::draw;

use super::cohort::{Cohort, NEVER, Purpose, Sought, Who, deal};
use super::nodes::Piece;
use super::odds::{Odds, odds_of};
use super::panel::End;
use super::{Outcome, Stage, World};
use crate::services::SOON;

/// Ticks between two looks at how often keys are asked for.
const RATES_EVERY: u32 = 32;

impl World {
    /// Lets a tick pass over the caches of a service, and works out how likely look-ups find nothing.
    pub(super) fn pass_caches(&mut self, index: usize) {
        if self.services[index].tiers.is_empty() {
            return;
        }
        if self.tick.is_multiple_of(RATES_EVERY) || self.services[index].loads.keyed.rates.is_empty() {
            self.find_rates(index);
        }
        self.thaw(index);
        let (tick, dt) = (self.tick, self.dt);
        let service = &mut self.services[index];
        let now = self.now;
        for tier in &mut service.tiers {
            tier.pass(tick, &service.loads.keyed.rates, service.loads.takes);
            tier.panels.iter_mut().for_each(|panel| panel.pass(now, tick));
            let clients_max = tier.written.max_clients;
            for nodes in &mut tier.nodes {
                nodes.pass(dt, clients_max);
            }
        }
        let (loads_take, succeeds) = (service.loads.takes, service.loads.succeeds);
        let keyed = &mut service.loads.keyed;
        let classes = keyed.rates.len();
        if keyed.both.is_empty() {
            keyed.both = vec![1.0; classes];
            keyed.first = vec![1.0; classes];
            keyed.all = vec![1.0; classes];
        }
        let tiers = &service.tiers;
        for class in 0..classes {
            let absent =
                |tier: usize| tiers[tier].shelf.absent[class] / tiers[tier].shelf.keys[class].max(1e-12);
            let rate = keyed.rates[class];
            // A key that is asked for many times in a tick is missed only until its first load is back, if it brings it.
            let asked = rate * dt;
            let seen = if asked > 1.0 && tiers[tiers.len() - 1].nodes.iter().all(|nodes| nodes.answers) {
                1.0 - succeeds * (1.0 - (1.0 + rate * loads_take) / asked).max(0.0)
            } else {
                1.0
            };
            keyed.first[class] = absent(0);
            if tiers.len() == 1 {
                keyed.all[class] = absent(0) * seen;
                keyed.first[class] = keyed.all[class];
                continue;
            }
            let (absent_keys, expired) = (tiers[1].shelf.absent[class], tiers[1].shelf.expired[class]);
            let life = tiers[0].life_max() * dt;
            let both = &mut keyed.both[class];
            if tiers[1].up() > 0.5 {
                let share = expired / absent_keys.max(1e-12);
                *both += (1.0 - *both) * (share.min(1.0) + dt / life.max(dt)).min(1.0);
            } else {
                *both = absent(0);
            }
            keyed.all[class] = (absent(1) * *both).min(absent(0)) * seen;
        }
        let group_of = &service.classes.group;
        let groups = service
            .tiers
            .iter()
            .map(|tier| tier.groups.count)
            .max()
            .unwrap_or(1);
        keyed.odds.resize(self.clients.len(), Odds::default());
        for (client, odds) in self.clients.iter().zip(&mut keyed.odds) {
            if client.service == index && client.writes < 1.0 {
                *odds = odds_of(
                    &client.weights,
                    &keyed.first,
                    &keyed.all,
                    group_of,
                    groups,
                    tiers.len() > 1,
                );
            }
        }
    }

    fn find_rates(&mut self, index: usize) {
        let service = &mut self.services[index];
        let keyed = &mut service.loads.keyed;
        keyed.rates = vec![0.0; service.classes.len()];
        for client in self.clients.iter().filter(|client| client.service == index) {
            let rate = client.arrivals.rate(self.now) * (1.0 - client.writes);
            for ((sum, weight), keys) in keyed
                .rates
                .iter_mut()
                .zip(&client.weights)
                .zip(&service.classes.keys)
            {
                *sum += rate * weight / keys;
            }
        }
    }

    /// Frozen nodes answer later by what is left of it.
    fn thaw(&mut self, index: usize) {
        let now = self.now;
        for tier in &mut self.services[index].tiers {
            let timeout = tier.timeout;
            for nodes in &mut tier.nodes {
                let Some(until) = nodes.frozen_until else { continue };
                let left = until.since(now).as_secs_f64();
                for piece in &mut nodes.pieces {
                    *piece = Piece {
                        share: piece.share,
                        took: left.min(timeout),
                        fault: (left > timeout).then_some(seawall_core::guard::CacheFault::TimedOut),
                    };
                }
            }
        }
    }

    /// Requests ask a tier. `after` says whether they were in the one before.
    pub(super) fn look(&mut self, index: usize, tier: usize, cohort: Cohort, after: bool) {
        let Some(asked) = self.services[index].tiers.get(tier) else {
            return self.load(index, cohort, Purpose::Read, Sought::NOTHING);
        };
        let odds = self.odds(index, &cohort);
        if asked.local {
            let missed = draw::binomial(cohort.count, odds.first, &mut self.rng);
            self.meter.add(asked.hits, (cohort.count - missed) as f64);
            self.meter.add(asked.misses, missed as f64);
            if missed < cohort.count {
                self.answer(index, cohort.part(cohort.count - missed), Outcome::Fresh);
            }
            if missed > 0 {
                self.look(index, tier + 1, cohort.part(missed), true);
            }
            return;
        }
        if odds.groups.len() <= 1 {
            let miss = odds.groups.first().map_or(1.0, |(_, miss)| *miss);
            return self.look_on(index, tier, 0, cohort, miss);
        }
        let _ = after;
        let shares: Vec<f64> = odds.groups.iter().map(|(share, _)| *share).collect();
        let mut parts = Vec::new();
        deal(cohort.count, &shares, &mut self.rng, |group, count| {
            parts.push((group, count));
        });
        for (group, count) in parts {
            self.look_on(index, tier, group, cohort.part(count), odds.groups[group].1);
        }
    }

    /// Requests ask nodes of a group.
    fn look_on(&mut self, index: usize, tier: usize, group: usize, cohort: Cohort, miss: f64) {
        let (now, tick) = (self.now, self.tick);
        let asked = &mut self.services[index].tiers[tier];
        let pieces = std::mem::take(&mut asked.nodes[group].pieces);
        let mut passed = cohort.count;
        if let Some(panel) = asked.panels.get_mut(group) {
            let well = pieces.iter().all(|piece| piece.fault.is_none());
            if !panel.is_calm(now, well) {
                let ends: Vec<End> = pieces
                    .iter()
                    .map(|piece| End {
                        share: piece.share,
                        ok: piece.fault.is_none_or(|fault| !fault.is_outage()),
                        took: piece.took,
                        tick: tick + ((0.5 + piece.took / self.dt) as u32),
                    })
                    .collect();
                passed = panel.admit_known(now, cohort.count, &ends);
                // What ends within this tick may keep the next call of the same tick out.
                panel.pass(now, tick);
            }
        }
        self.look_in(index, tier, group, cohort.part(passed), &pieces, miss);
        self.services[index].tiers[tier].nodes[group].pieces = pieces;
        if passed < cohort.count {
            self.unknown(index, group as u8, cohort.part(cohort.count - passed));
        }
    }

    /// Requests that nodes answer, well or not.
    fn look_in(
        &mut self,
        index: usize,
        tier: usize,
        group: usize,
        cohort: Cohort,
        pieces: &[Piece],
        miss: f64,
    ) {
        if cohort.count == 0 {
            return;
        }
        let passed = cohort.count;
        self.services[index].tiers[tier].nodes[group].asked_now += passed as f64;
        let full = self.services[index].tiers[tier].nodes[group].full;
        let rejected = if full > 0.0 {
            draw::binomial(passed, full, &mut self.rng)
        } else {
            0
        };
        let mut parts = Vec::new();
        if let [piece] = pieces {
            parts.push((*piece, passed - rejected));
        } else {
            let shares: Vec<f64> = pieces.iter().map(|piece| piece.share).collect();
            let each = |piece: usize, count| parts.push((pieces[piece], count));
            deal(passed - rejected, &shares, &mut self.rng, each);
        }
        if rejected > 0 {
            let too_many = Piece {
                fault: Some(seawall_core::guard::CacheFault::TooManyClients),
                ..pieces[0]
            };
            parts.push((too_many, rejected));
        }
        for (piece, count) in parts {
            let asked = &self.services[index].tiers[tier];
            let mut part = cohort.part(count);
            part.age += piece.took;
            if let Some(fault) = piece.fault {
                self.meter.add(asked.errors[fault as usize], count as f64);
                let stage = Stage::LookFailed {
                    service: index as u8,
                    group: group as u8,
                };
                self.later(stage, part);
                continue;
            }
            let missed = draw::binomial(count, miss, &mut self.rng);
            self.meter.add(asked.hits, (count - missed) as f64);
            self.meter.add(asked.misses, missed as f64);
            if tier > 0 && count > missed {
                self.services[index].loads.note_copied(&part, count - missed);
            }
            self.found(index, part.part(count - missed));
            let stage = Stage::Missed {
                service: index as u8,
                tier: tier as u8,
                group: group as u8,
            };
            self.later(stage, part.part(missed));
        }
    }

    fn found(&mut self, index: usize, cohort: Cohort) {
        if cohort.count == 0 {
            return;
        }
        // Who waits long for a hit holds its thread as long.
        if cohort.age - cohort.since > SOON.as_secs_f64().max(self.dt) {
            self.later(Stage::Found { service: index as u8 }, cohort);
        } else {
            self.answer(index, cohort, Outcome::Fresh);
        }
    }

    /// A look-up has failed: the next tier, or the origin.
    pub(super) fn look_failed(&mut self, index: usize, group: u8, cohort: Cohort) {
        self.unknown(index, group, cohort);
    }

    /// Nobody knows whether the cache has it: the origin is asked.
    fn unknown(&mut self, index: usize, group: u8, mut cohort: Cohort) {
        if let Who::Client { seen, .. } = &mut cohort.who {
            *seen = NEVER;
        }
        let sought = Sought { known: false, group };
        self.load(index, cohort, Purpose::Read, sought);
    }

    /// A look-up has found nothing.
    pub(super) fn missed(&mut self, index: usize, tier: usize, group: u8, cohort: Cohort) {
        if tier + 1 < self.services[index].tiers.len() {
            return self.look(index, tier + 1, cohort, true);
        }
        self.load(index, cohort, Purpose::Read, Sought { known: true, group });
    }
}
