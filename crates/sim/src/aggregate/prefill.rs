//! How the keys of clients fall on classes, and what caches hold before a run begins.

use super::World;
use super::shelf::Life;

impl World {
    /// Works out again how a client's reads fall on the classes of its service.
    pub(super) fn weigh(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let nowhere = client.missing.max(client.penetration);
        let classes = &self.services[client.service].classes;
        client.weights = classes.weights(&client.keys, client.hot, nowhere);
    }

    /// Puts shared caches into their stationary state, as the exact engine does.
    pub(super) fn prefill(&mut self) {
        for service in 0..self.services.len() {
            for tier in 0..self.services[service].tiers.len() {
                if !self.services[service].tiers[tier].local {
                    self.prefill_tier(service, tier);
                }
            }
        }
    }

    fn prefill_tier(&mut self, service: usize, tier: usize) {
        let classes = self.services[service].classes.len();
        let nowhere = self.services[service].classes.nowhere;
        let mut rates = vec![0.0; classes];
        for (index, client) in self.clients.iter().enumerate() {
            if client.service == service {
                let rate = self.plan.scenario.clients[index].rate * (1.0 - client.writes);
                for class in 0..nowhere {
                    rates[class] += rate * client.weights[class] / self.services[service].classes.keys[class];
                }
            }
        }
        let dt = self.dt;
        let tier = &mut self.services[service].tiers[tier];
        for class in 0..nowhere {
            for at in 0..tier.lives.len() {
                let (life, share) = (tier.lives[at].0, tier.lives[at].1[class]);
                if share <= 0.0 {
                    continue;
                }
                let keys = tier.shelf.keys[class] * share;
                let mean = 0.5 * (life.shortest + life.longest) * dt;
                let there = if mean.is_finite() {
                    rates[class] * mean / (1.0 + rates[class] * mean)
                } else {
                    1.0
                };
                let spread = if mean.is_finite() {
                    Life {
                        shortest: 1.0,
                        longest: life.longest,
                    }
                } else {
                    Life::FOREVER
                };
                tier.shelf.fill(0, class, keys * there, spread);
            }
        }
        tier.shelf.filled.iter_mut().for_each(|filled| *filled = 0.0);
        for _ in 0..200 {
            tier.evict(0, &rates);
        }
        tier.take_evicted();
    }
}
