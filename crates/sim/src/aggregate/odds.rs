//! How likely look-ups find nothing, for those who come for the first time and for those who try again.

use super::World;
use super::cohort::{Cohort, NEVER, Who};

/// How likely look-ups find nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Odds {
    /// In the instance's own memory; 1 where there is none.
    pub(super) first: f64,
    /// Which part of the look-ups in the shared cache comes to each group of nodes, and how many of them find nothing.
    pub(super) groups: Vec<(f64, f64)>,
}

/// What look-ups of a tick found missing, kept for those who try again.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    tick: u32,
    /// How the loads of the tick fell on the classes.
    pub(super) mix: Vec<f64>,
    /// The hazard of being filled, summed up until then, by tier.
    filled: [Vec<f64>; 2],
    /// The share of the loads whose key was known to be missing.
    known: f64,
    /// The share of the loads that have been stored since.
    stored: f64,
}

/// What is known of a service's keys in a tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyed {
    /// The share of the keys of each class that the first tier does not have, and that no tier has.
    pub(super) first: Vec<f64>,
    pub(super) all: Vec<f64>,
    /// Among keys that the shared cache does not have: the share that an instance's memory does not have, either.
    pub(super) both: Vec<f64>,
    /// Reads a second for a key of each class.
    pub(super) rates: Vec<f64>,
    pub(super) odds: Vec<Odds>,
    pub(super) past: Vec<Past>,
}

impl Keyed {
    /// The share of the keys of a class that requests come to the origin for.
    pub(super) fn missing(&self, class: usize, known: bool, local: bool) -> f64 {
        let shares = match (known, local) {
            (true, _) => &self.all,
            (false, true) => &self.first,
            (false, false) => return 1.0,
        };
        shares.get(class).copied().unwrap_or(1.0)
    }
}

impl World {
    pub(super) fn odds(&self, index: usize, cohort: &Cohort) -> Odds {
        let keyed = &self.services[index].loads.keyed;
        let Who::Client {
            client,
            tries,
            seen,
            before,
        } = cohort.who
        else {
            return Odds::default();
        };
        if seen != NEVER
            && let Some(past) = self.past(index, seen)
        {
            let service = &self.services[index];
            let (first, all) = again(past, keyed, &service.tiers);
            let group_of = &service.classes.group;
            let groups = service
                .tiers
                .iter()
                .map(|tier| tier.groups.count)
                .max()
                .unwrap_or(1);
            return odds_of(&past.mix, &first, &all, group_of, groups, service.tiers.len() > 1);
        }
        let mut odds = keyed.odds.get(client as usize).cloned().unwrap_or_default();
        if before != NEVER
            && let Some(looked) = self.looked(client, tries.saturating_sub(1), before)
        {
            // The try before went on without its client: what it missed was loaded for it.
            let missing = match self.past(index, looked) {
                Some(past) => 1.0 - past.stored,
                // Whoever was looked up in a tick in which nothing was loaded was there.
                None if self.services[index].loads.loads_all_missed(self.tick - looked) => 0.0,
                None => 1.0,
            };
            odds.groups.iter_mut().for_each(|(_, miss)| *miss *= missing);
        }
        odds
    }

    pub(super) fn past(&self, index: usize, tick: u32) -> Option<&Past> {
        let past = &self.services[index].loads.keyed.past;
        let kept = past.get(tick as usize % past.len().max(1))?;
        (kept.tick == tick && !kept.mix.is_empty()).then_some(kept)
    }

    /// Remembers what the loads of this tick were for.
    pub(super) fn remember(&mut self, index: usize, mix: &[f64], known: f64) {
        let tick = self.tick;
        let service = &mut self.services[index];
        let past = &mut service.loads.keyed.past;
        if past.is_empty() {
            return;
        }
        let kept = past.len();
        let slot = &mut past[tick as usize % kept];
        if slot.tick == tick && !slot.mix.is_empty() {
            return;
        }
        (slot.tick, slot.known, slot.stored) = (tick, known, 0.0);
        let total: f64 = mix.iter().sum();
        slot.mix.clear();
        slot.mix.extend(mix.iter().map(|count| count / total.max(1e-12)));
        for (filled, tier) in slot.filled.iter_mut().zip(&service.tiers) {
            filled.clear();
            filled.extend_from_slice(&tier.shelf.filled);
        }
    }

    /// A share of the loads of a tick has been stored.
    pub(super) fn note_stored(&mut self, index: usize, tick: u32, share: f64) {
        let past = &mut self.services[index].loads.keyed.past;
        let kept = past.len().max(1);
        if let Some(slot) = past.get_mut(tick as usize % kept)
            && slot.tick == tick
        {
            slot.stored = (slot.stored + share).min(1.0);
        }
    }
}

/// How likely those who try again find what was missing then missing still.
fn again(past: &Past, keyed: &Keyed, tiers: &[super::caches::Tier]) -> (Vec<f64>, Vec<f64>) {
    let missing = |tier: usize, class: usize, now: f64| {
        let filled = tiers[tier].shelf.filled[class] - past.filled[tier].get(class).copied().unwrap_or(0.0);
        let missing = past.known * libm::exp(-filled.max(0.0)) + (1.0 - past.known) * now;
        // Its own load may have been stored since, for nobody.
        missing * if tiers[tier].local { 1.0 } else { 1.0 - past.stored }
    };
    let classes = past.mix.len();
    let first: Vec<f64> = (0..classes)
        .map(|class| missing(0, class, keyed.first[class]))
        .collect();
    if tiers.len() == 1 {
        return (first.clone(), first);
    }
    let all = (0..classes)
        .map(|class| missing(1, class, keyed.all[class] / keyed.first[class].max(1e-12)) * first[class])
        .collect();
    (first, all)
}

pub(super) fn odds_of(
    weights: &[f64],
    first: &[f64],
    all: &[f64],
    group_of: &[u8],
    groups: usize,
    local_first: bool,
) -> Odds {
    let mut odds = Odds {
        first: 1.0,
        groups: vec![(0.0, 0.0); groups],
    };
    if groups == 1 {
        let (mut passed, mut missed) = (0.0, 0.0);
        for class in 0..weights.len() {
            passed += weights[class] * first[class];
            missed += weights[class] * all[class];
        }
        if local_first {
            odds.first = passed.min(1.0);
            odds.groups[0] = (
                1.0,
                if passed > 0.0 {
                    (missed / passed).min(1.0)
                } else {
                    1.0
                },
            );
        } else {
            odds.first = missed.min(1.0);
            odds.groups[0] = (1.0, missed.min(1.0));
        }
        return odds;
    }
    let mut total = 0.0;
    for class in 0..weights.len() {
        let passed = weights[class] * if local_first { first[class] } else { 1.0 };
        let group = &mut odds.groups[group_of[class] as usize];
        group.0 += passed;
        group.1 += weights[class] * all[class];
        total += passed;
    }
    for group in &mut odds.groups {
        group.1 = if group.0 > 0.0 {
            (group.1 / group.0).min(1.0)
        } else {
            1.0
        };
        group.0 /= f64::max(total, 1e-12);
    }
    odds.first = total.min(1.0);
    odds
}
