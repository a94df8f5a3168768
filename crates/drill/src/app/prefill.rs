//! A cache in its stationary state, as the simulator's prefilled runs begin.
//!
//! A key that is asked for `r` times a second and kept for `T` without renewal is there with probability `rT / (1 + rT)`,
//! and its age is even over `0..T`.

use std::time::Duration;

use bytes::Bytes;
use seawall::{Loaded, Options};
use seawall_core::keys::Keys;
use seawall_core::rng::Seed;
use seawall_core::ttl::Class;
use seawall_scenario::{CacheKind, Place};

use tokio::time::Instant;

use super::App;
use super::control::Rewritten;

/// So many entries are put in before the writes are waited for.
const BATCH: u64 = 64;
/// No more keys are loaded before anybody asks.
const WARM_MAX: usize = 1 << 22;
/// Writes are waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(2);
/// An entry is read so often at most before it is taken for gone.
const READS: u32 = 4;
/// A breaker that was opened by too much at once closes within these.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(600);

impl App {
    /// Puts this instance's share of the entries in; how many they were. What a busy machine made fail is written again.
    pub(super) async fn prefill(&self) -> u64 {
        let mut mine = 0;
        for attempt in 0..ATTEMPTS {
            let before = self.failed();
            mine = self.write_entries((BATCH >> attempt).max(4)).await;
            if self.failed() == before {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        mine
    }

    /// How many calls to stores have failed so far.
    fn failed(&self) -> u64 {
        let tiers = self.cache.as_ref().map(|cache| cache.stats().tiers);
        tiers.into_iter().flatten().map(|tier| tier.errors).sum()
    }

    async fn write_entries(&self, batch: u64) -> u64 {
        let Some(cache) = &self.cache else { return 0 };
        let before = far(&cache.stats());
        let scenario = &self.scaled.scenario;
        let place = Place::Service(self.index());
        let service = &scenario.services[self.index()];
        let shared = |at: &&usize| scenario.caches[**at].kind == CacheKind::Shared;
        let Some(tier) = service.caches.iter().find(shared) else {
            return 0;
        };
        let tier = &scenario.caches[*tier];
        let room = tier
            .entries_max()
            .map_or(u64::MAX, |entries| entries * u64::from(tier.nodes));
        let ttl = &self.work.ways().policies.ttl.clone();
        let mut rng = Seed(scenario.run.seed).stream("prefill", 0);
        let truth = self.truth();
        // Where clients are limited each write is a client of its own, and who is turned away has written nothing.
        let batch = tier.max_clients.map_or(batch, |most| {
            (u64::from(most) / u64::from(service.instances.max(1)) / 2).clamp(1, batch)
        });
        let (mut all, mut mine) = (0, 0);
        for client in scenario
            .clients
            .iter()
            .filter(|client| scenario.served_by(client) == place)
        {
            let keys = Keys::new(client.keys.law());
            let rate = client.rate * (1.0 - client.writes);
            let of_class = match client.class {
                Class::Critical => ttl.critical,
                Class::Important => ttl.important,
                Class::Regular => ttl.regular,
            };
            let ttl = of_class.or(ttl.ttl).or(tier.ttl);
            for key in keys.popular(usize::try_from(room.saturating_mul(2)).unwrap_or(usize::MAX)) {
                let asked = rate * keys.probability(key);
                if asked <= 0.0 || all >= room {
                    break;
                }
                let (there, left) = match ttl {
                    None => (1.0, None),
                    Some(ttl) => {
                        let calls = asked * ttl.as_secs_f64();
                        (calls / (1.0 + calls), Some(ttl.scaled(1.0 - rng.unit())))
                    }
                };
                // All instances draw the same, so that together they put each entry in once.
                if !rng.chance(there) {
                    continue;
                }
                all += 1;
                if all % u64::from(service.instances.max(1)) != u64::from(self.duty.instance) {
                    continue;
                }
                let mut loaded = Loaded::new(Bytes::from(truth.value(key, 0)));
                if let Some(left) = left {
                    loaded = loaded.ttl(left.into());
                }
                cache.insert(&key, &Options::new(), loaded);
                mine += 1;
                if mine % batch == 0 {
                    self.written(before + mine).await;
                }
            }
        }
        self.written(before + mine).await;
        mine
    }

    /// Loads the most popular keys, those that bring the share of the traffic that the protection says: this instance its
    /// part of them.
    pub(super) fn warm(&self, pace: Option<f64>) {
        let Some(cache) = &self.cache else { return };
        if let Some(pace) = pace {
            self.retune(|policies| {
                // An event's pace is of the played size already, and protections are made so once more.
                policies.warm.get_or_insert_default().pace = pace / self.scaled.scale;
            });
        }
        let threshold = self
            .work
            .ways()
            .policies
            .warm
            .clone()
            .unwrap_or_default()
            .threshold;
        let scenario = &self.scaled.scenario;
        let mut all = Vec::new();
        for client in &scenario.clients {
            let keys = Keys::new(client.keys.law());
            let mut covered = 0.0;
            for key in keys.popular(WARM_MAX) {
                if covered >= threshold {
                    break;
                }
                covered += keys.probability(key);
                all.push(key);
            }
        }
        let instances = scenario.services[self.index()].instances.max(1) as usize;
        let mine = all
            .into_iter()
            .skip(self.duty.instance as usize)
            .step_by(instances);
        // Without an origin there is nothing to warm from.
        let _ = cache.warm(mine);
    }

    /// Writes these entries again, as a bulk job does that gives them all the same end; how many there still were.
    pub(super) async fn rewrite(&self, order: &Rewritten) -> u64 {
        let Some(cache) = &self.cache else { return 0 };
        let begun = Instant::now();
        let before = far(&cache.stats());
        let mut count = 0;
        let mut missed = Vec::new();
        let mut keys = order.keys.clone();
        // What could not be read is tried again: one entry that everybody asks for, with a life of its own, makes another
        // failure of it.
        for _ in 0..READS {
            for key in keys {
                let Some(value) = cache.get(&key).await else {
                    missed.push(key);
                    continue;
                };
                // They end at one instant, however long this takes.
                let left = Duration::from_millis(order.ttl_ms).saturating_sub(begun.elapsed());
                cache.insert(&key, &Options::new(), Loaded::new(value).ttl(left));
                count += 1;
                if count % BATCH == 0 {
                    self.written(before + count).await;
                }
            }
            keys = std::mem::take(&mut missed);
            if keys.is_empty() {
                break;
            }
        }
        self.written(before + count).await;
        count
    }

    /// Waits until so many entries are in the store.
    async fn written(&self, count: u64) {
        let Some(cache) = &self.cache else { return };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && far(&cache.stats()) < count {
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// How many writes to the store there were, failed ones included.
fn far(stats: &seawall::Stats) -> u64 {
    let tiers = stats.tiers.iter().filter(|tier| tier.name != "memory");
    tiers
        .map(|tier| tier.sets + tier.errors)
        .min()
        .unwrap_or(u64::MAX)
}
