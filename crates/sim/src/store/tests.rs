use std::collections::BTreeMap;

use proptest::prelude::*;
use seawall_core::rng::Seed;
use seawall_core::time::Span;

use super::*;

const SEC: u64 = 1_000_000_000;

/// The plainest store: keys with expiry and the number of their last use.
struct Plain {
    settings: Settings,
    held: BTreeMap<u64, (Time, u32, u64)>,
    uses: u64,
}

impl Plain {
    fn lookup(&mut self, now: Time, key: u64) -> Option<u32> {
        self.uses += 1;
        let (expires, record, used) = self.held.get_mut(&key)?;
        if *expires <= now {
            self.held.remove(&key);
            return None;
        }
        *used = self.uses;
        Some(*record)
    }

    fn insert(&mut self, now: Time, key: u64, expires: Time, record: u32) -> Inserted {
        self.uses += 1;
        let mut inserted = Inserted::New;
        if self.held.contains_key(&key) {
            inserted = Inserted::Over;
        } else if let Some(capacity) = self.settings.capacity {
            if !self.settings.evict && self.held.len() >= capacity {
                let last = self
                    .held
                    .iter()
                    .min_by_key(|(_, (_, _, used))| *used)
                    .map(|(key, _)| *key);
                let last_expired = last.is_some_and(|key| self.held[&key].0 <= now);
                if last_expired {
                    self.held.retain(|key, _| Some(*key) != last);
                } else if self.held.values().any(|held| whole_second(held.0) <= now) {
                    self.held.retain(|_, (expires, _, _)| *expires > now);
                }
                if self.held.len() >= capacity {
                    return Inserted::Refused;
                }
            }
            while self.held.len() >= capacity {
                let last = self
                    .held
                    .iter()
                    .min_by_key(|(_, (_, _, used))| *used)
                    .map(|(key, _)| *key);
                if let Some((key, (expires, ..))) = last.and_then(|key| self.held.remove_entry(&key))
                    && expires > now
                {
                    inserted = Inserted::Evicting(key);
                }
            }
        }
        self.held.insert(key, (expires, record, self.uses));
        inserted
    }
}

/// The end of the second in which this instant lies.
fn whole_second(time: Time) -> Time {
    Time::from_nanos(time.as_nanos().div_ceil(SEC).saturating_mul(SEC))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_does_what_the_plainest_store_does(
        capacity in prop::option::of(1..12_usize),
        evict: bool,
        dense_keys in 0..30_u64,
        ops in prop::collection::vec((0..12_u8, 0..24_u64, 0..40_u64), 1..300),
    ) {
        let settings = Settings { capacity, evict, dense_keys };
        let mut store = Store::new(settings);
        let mut plain = Plain { settings, held: BTreeMap::new(), uses: 0 };
        let mut now = Time::ZERO;
        for (number, (op, key, ttl)) in ops.into_iter().enumerate() {
            // Some keys are far apart, some share the low bits.
            let key = if key % 3 == 0 { key << 40 } else { key };
            match op {
                0..=3 => {
                    let found = store.lookup(now, key).map(|slot| slot.record);
                    prop_assert_eq!(found, plain.lookup(now, key));
                }
                4..=8 => {
                    let expires = if ttl == 39 { Time::NEVER } else { now + Span::nanos(ttl * SEC / 2) };
                    let inserted = store.insert(now, key, expires, number as u32);
                    prop_assert_eq!(inserted, plain.insert(now, key, expires, number as u32));
                }
                9 => prop_assert_eq!(
                    store.remove(key).map(|slot| slot.record),
                    plain.held.remove(&key).map(|(_, record, _)| record)
                ),
                10 if ttl == 0 => {
                    store.flush();
                    plain.held.clear();
                }
                _ => now += Span::nanos(ttl * SEC / 8),
            }
            store.invariants();
            prop_assert_eq!(store.len(), plain.held.len());
            prop_assert!(capacity.is_none_or(|capacity| store.len() <= capacity));
        }
        now = Time::from_nanos(now.as_nanos().next_multiple_of(SEC));
        prop_assert_eq!(store.live(now), plain.held.values().filter(|held| held.0 > now).count());
        store.invariants();
    }
}

fn filled(capacity: Option<usize>, keys: u64, expires: Time) -> Store<u32> {
    let mut store = Store::new(Settings {
        capacity,
        evict: true,
        dense_keys: keys,
    });
    for key in 0..keys {
        store.insert(Time::ZERO, key, expires, 0);
    }
    store
}

#[test]
fn a_share_expires_and_the_rest_in_one_instant() {
    let at = |s| Time::ZERO + Span::secs(s);
    let mut store = filled(None, 10_000, at(60));
    let mut rng = Seed(1).stream("fault", 0);
    let expired = store.expire_share(at(10), 0.3, &mut rng);
    assert!((2_800..3_200).contains(&expired), "{expired}");
    assert_eq!(store.live(at(10)), 10_000 - expired);
    store.align_expiry(at(10), at(20));
    assert_eq!(store.live(at(19)), 10_000 - expired);
    assert_eq!(store.live(at(20)), 0);
    let mut swept = 0;
    for _ in 0..10 {
        swept += store.sweep(at(20), 1_000);
    }
    assert_eq!(swept, 10_000);
    assert_eq!(store.counts().expired, 10_000);
    store.invariants();
}

#[test]
fn renewing_moves_the_end() {
    let at = |s| Time::ZERO + Span::secs(s);
    let mut store = filled(None, 2, at(5));
    store.renew(0, at(9));
    assert_eq!(store.live(at(6)), 1);
    assert!(store.lookup(at(6), 0).is_some() && store.lookup(at(6), 1).is_none());
    assert!(store.look(at(9), 0).is_none());
    store.invariants();
}

#[test]
fn a_bound_can_be_set_and_tightened_while_running() {
    let mut store = filled(None, 100, Time::NEVER);
    store.retune(Some(50), false);
    assert_eq!(store.insert(Time::ZERO, 200, Time::NEVER, 0), Inserted::Refused);
    store.retune(Some(50), true);
    assert_eq!(
        store.insert(Time::ZERO, 200, Time::NEVER, 0),
        Inserted::Evicting(50)
    );
    assert_eq!(
        (store.len(), store.counts().evicted, store.counts().refused),
        (50, 51, 1)
    );
    store.invariants();
}

#[test]
fn the_hit_ratio_of_lru_is_that_of_che() {
    // Che's approximation for Zipf over 10⁴ keys with exponent 1 and 1 000 places: 0.675602.
    let keys = 10_000_u32;
    let mut sums = Vec::new();
    let mut sum = 0.0;
    for key in 0..keys {
        sum += 1.0 / f64::from(key + 1);
        sums.push(sum);
    }
    let mut store = Store::new(Settings {
        capacity: Some(1_000),
        evict: true,
        dense_keys: u64::from(keys),
    });
    let mut rng = Seed(2).stream("keys", 0);
    let (mut hits, mut asked) = (0, 0);
    for round in 0..300_000 {
        let draw = rng.unit() * sum;
        let key = sums.partition_point(|s| *s <= draw) as u64;
        let hit = store.lookup(Time::ZERO, key).is_some();
        if !hit {
            store.insert(Time::ZERO, key, Time::NEVER, 0_u32);
        }
        if round >= 20_000 {
            asked += 1;
            hits += u32::from(hit);
        }
    }
    let ratio = f64::from(hits) / f64::from(asked);
    assert!((ratio - 0.675_602).abs() < 0.005, "{ratio}");
}

#[test]
fn a_record_of_48_bytes_makes_one_cache_line() {
    assert_eq!(std::mem::size_of::<Node<[u64; 6]>>(), 64);
}
