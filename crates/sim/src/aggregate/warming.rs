//! Warming: a cold cache is refilled at a pace, the most popular keys first, spread over all instances.

use std::collections::VecDeque;

use seawall_core::warm;

use super::World;
use super::cohort::{Purpose, about};

/// What is still to be warmed: classes, and how many keys of each, the most popular first.
#[derive(Clone, Debug, Default)]
pub(super) struct Warming {
    ahead: VecDeque<Portion>,
}

/// Keys that are about equally popular.
#[derive(Clone, Debug)]
struct Portion {
    /// Classes and their shares of these keys.
    classes: Vec<(usize, f64)>,
    left: f64,
    /// How many there are in all, and the share of them that is warmed.
    of: f64,
    share: f64,
}

impl World {
    /// Begins to fill a cache, in place of what is under way.
    pub(super) fn warm(&mut self, cache: usize) {
        for index in 0..self.services.len() {
            if !self.services[index].tiers.iter().any(|tier| tier.cache == cache) {
                continue;
            }
            let settings = self.services[index].policies.warm.clone().unwrap_or_default();
            let classes = &self.services[index].classes;
            let mut ahead = VecDeque::new();
            for client in &self.plan.scenario.clients {
                for (range, share) in classes.popular(&client.keys, settings.threshold) {
                    let keys: f64 = range.clone().map(|class| classes.keys[class]).sum();
                    ahead.push_back(Portion {
                        left: keys * share,
                        of: keys,
                        share,
                        classes: range.map(|class| (class, classes.keys[class] / keys)).collect(),
                    });
                }
            }
            self.services[index].loads.warming = Warming { ahead };
        }
    }

    /// Fills a cache that has come back empty, where a protection says so.
    pub(super) fn warm_by_itself(&mut self, cache: usize) {
        let automatic = self.services.iter().any(|service| {
            let uses = |tier: &super::caches::Tier| tier.cache == cache && tier.up() >= 1.0;
            service.tiers.iter().any(uses)
                && service.policies.warm.as_ref().is_some_and(|warm| warm.automatic)
        });
        if automatic {
            self.warm(cache);
        }
    }

    /// Warms the keys of this tick. What the shared cache has by now is left alone.
    pub(super) fn go_on_warming(&mut self, index: usize) {
        let dt = self.dt;
        let service = &mut self.services[index];
        if service.loads.warming.ahead.is_empty() {
            return;
        }
        let pace = service
            .played
            .warm
            .as_ref()
            .map_or_else(|| warm::Settings::default().pace, |warm| warm.pace);
        let mut due = pace * dt;
        let mut mix = vec![0.0; service.classes.len()];
        let Some(shelf) = service
            .tiers
            .iter()
            .rfind(|tier| !tier.local)
            .map(|tier| &tier.shelf)
        else {
            return;
        };
        let (ahead, launches) = (&mut service.loads.warming.ahead, &service.loads.launches);
        while due > 0.0
            && let Some(portion) = ahead.front_mut()
        {
            let keys = due.min(portion.left);
            (due, portion.left) = (due - keys, portion.left - keys);
            // What has been warmed is there, or on its way: what else is absent is among the keys that are still to come.
            let others = (portion.left + keys + portion.of * (1.0 - portion.share)).max(1e-9);
            for (class, share) in &portion.classes {
                let on_their_way: f64 = launches
                    .iter()
                    .filter(|launch| launch.purpose == Some(Purpose::Warm) && launch.open > 0)
                    .filter_map(|launch| launch.first.get(*class))
                    .sum();
                let absent = (shelf.absent[*class] - on_their_way) / (others * share).max(1e-9);
                mix[*class] += keys * share * absent.clamp(0.0, 1.0);
            }
            if portion.left <= 1e-9 {
                ahead.pop_front();
            }
        }
        if service.loads.coalesces {
            for (class, keys) in mix.iter_mut().enumerate().filter(|(_, keys)| **keys > 0.0) {
                // Who would warm what its own instance loads already leaves it at that.
                let pairs = (shelf.absent[class] * service.up).max(1e-9);
                *keys *= (1.0 - service.loads.flights[class] / pairs).max(0.0);
            }
        }
        let wanted = about(mix.iter().sum(), &mut service.loads.rng);
        let (begins, waits) = service.loads.places_for(wanted, true);
        let mut load = self.launch_aside(index, Purpose::Warm, begins + waits, &mix);
        let beginning = load.split(begins);
        if beginning.count > 0 {
            self.begin_load(index, beginning);
        }
        self.services[index].loads.line_up(load);
    }
}
