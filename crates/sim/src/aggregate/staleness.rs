//! What is served past its freshness: while it is refreshed, or when nothing better comes.

use super::caches::Tier;
use super::cohort::{Cohort, Sought, Who};
use super::{Outcome, World};

impl World {
    /// Serves what may be served while it is refreshed, and begins to refresh it.
    pub(super) fn serve_stale_first(&mut self, index: usize, mut cohort: Cohort, sought: Sought) -> Cohort {
        let share = self.stale(index, &cohort, sought, 0);
        if share <= 0.0 {
            return cohort;
        }
        let count = self.share_of(cohort.count, share);
        let served = cohort.split(count);
        if served.count == 0 {
            return cohort;
        }
        if let Who::Client { client, .. } = served.who {
            let mut mix = Vec::new();
            self.stale_mix(index, client as usize, sought, 0, &mut mix);
            self.refresh(index, served.count, &mix, sought);
        }
        self.answer(index, served, Outcome::Stale);
        cohort
    }

    /// Serves what may be served when its refresh fails.
    pub(super) fn serve_stale_on_error(&mut self, index: usize, mut cohort: Cohort) -> Cohort {
        let known = matches!(cohort.who, Who::Client { seen, .. } if seen != super::cohort::NEVER);
        let sought = Sought {
            known,
            ..Sought::NOTHING
        };
        // Who finds something that may be served before its refresh has failed never comes here.
        let (first, all) = (
            self.stale(index, &cohort, sought, 0),
            self.stale(index, &cohort, sought, 1),
        );
        let share = (all - first).max(0.0) / (1.0 - first).max(1e-9);
        if share > 0.0 {
            let count = self.share_of(cohort.count, share);
            let served = cohort.split(count);
            if served.count > 0 {
                self.answer(index, served, Outcome::Stale);
            }
        }
        cohort
    }

    /// The share of requests that miss for which there is something stale.
    pub(super) fn stale(&mut self, index: usize, cohort: &Cohort, sought: Sought, which: usize) -> f64 {
        let tick = self.tick;
        let service = &self.services[index];
        let Who::Client { client, .. } = cohort.who else {
            return 0.0;
        };
        if service.played.stale.is_none() || !cohort.read {
            return 0.0;
        }
        let group = (sought.group as usize + 1) % 256;
        let place =
            ((group * self.clients.len() + client as usize) * 2 + usize::from(sought.known)) * 2 + which;
        if let Some((at, share)) = service.loads.stale_shares.get(place)
            && *at == tick
        {
            return *share;
        }
        let share = self.stale_mix(index, client as usize, sought, which, &mut Vec::new());
        let shares = &mut self.services[index].loads.stale_shares;
        if shares.len() <= place {
            shares.resize(place + 1, (super::cohort::NEVER, 0.0));
        }
        shares[place] = (tick, share);
        share
    }

    /// The same, and for which keys there is something.
    pub(super) fn stale_mix(
        &self,
        index: usize,
        client: usize,
        sought: Sought,
        which: usize,
        mix: &mut Vec<f64>,
    ) -> f64 {
        let service = &self.services[index];
        let weights = &self.clients[client].weights;
        let keyed = &service.loads.keyed;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        mix.clear();
        mix.resize(weights.len(), 0.0);
        let (mut all, mut sum) = (0.0, 0.0);
        for class in 0..service.classes.nowhere.min(weights.len()) {
            if !sought.may_be(service.classes.group[class]) {
                continue;
            }
            let missing = keyed.missing(class, sought.known, local);
            let asked = weights[class] * missing;
            let best = stale_share(&service.tiers, class, sought.known, which);
            mix[class] = asked * best;
            all += asked;
            sum += asked * best;
        }
        if all > 0.0 { sum / all } else { 0.0 }
    }
}

/// The share of the missing keys of a class of which there is something stale.
pub(super) fn stale_share(tiers: &[Tier], class: usize, known: bool, which: usize) -> f64 {
    let mut best: f64 = 0.0;
    for tier in tiers.iter().filter(|tier| tier.local || known) {
        if let Some(stale) = &tier.stale {
            let shelf = &stale[which];
            let there = shelf.keys[class] - shelf.absent[class];
            best = best.max((there / tier.shelf.absent[class].max(1e-9)).min(1.0));
        }
    }
    best
}
