//! The hot-key sketch: which few keys bring most of the traffic, in bounded memory.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data
//! streams", ICDT 2005) over a window that slides by halves: two summaries, the present half and the one before.
//! With `m` counters, an estimate is never too low and too high by `1/m` of the reads at most. It keeps no values
//! and is not a cache.
//!
//! ```
//! use seawall_core::{sketch::{Settings, Sketch}, time::Time};
//! let mut sketch = Sketch::new(&Settings { share: 0.2, ..Settings::default() });
//! for cold in 0..300 {
//!     sketch.record(Time::ZERO, 1_000_000);
//!     sketch.record(Time::ZERO, cold);
//! }
//! assert!(sketch.is_hot(1_000_000) && !sketch.is_hot(299));
//! ```

use crate::rng::mix;
use crate::time::{Span, Time};

mod summary;

use summary::Summary;

/// What counts as hot, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A key that brings at least this share of an instance's reads is hot.
    pub share: f64,
    /// A hot key is kept in the memory of each instance for this long.
    pub ttl: Span,
    /// The window over which reads are counted.
    pub window: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            share: 0.01,
            ttl: Span::secs(1),
            window: Span::secs(10),
        }
    }
}

/// Counters for each share that is hot: the error of an estimate is this part of that share.
const COUNTERS_PER_SHARE: f64 = 8.0;
/// The most counters a sketch has: a share of hot keys is told down to about 0.1%.
pub const COUNTERS_MAX: usize = 8_192;
/// A key is not called hot before this many reads: the first read of all would otherwise be all the traffic.
const READS_MIN: u64 = 16;

/// Counts reads by key, as well as bounded memory allows.
#[derive(Clone, Debug)]
pub struct Sketch {
    share: f64,
    half: Span,
    half_start: Time,
    present: Summary,
    before: Summary,
}

impl Sketch {
    /// A sketch that can tell keys with `settings.share` of the reads: their share is known to an eighth of it.
    pub fn new(settings: &Settings) -> Sketch {
        let share = settings.share.clamp(0.0, 1.0);
        Sketch::with_counters(
            settings,
            libm::ceil(COUNTERS_PER_SHARE / share.max(1e-9)) as usize,
        )
    }

    /// A sketch with this many counters in each half (one at least, [`COUNTERS_MAX`] at most).
    pub fn with_counters(settings: &Settings, counters: usize) -> Sketch {
        let counters = counters.clamp(1, COUNTERS_MAX);
        Sketch {
            share: settings.share,
            half: Span::nanos(settings.window.as_nanos() / 2).max(Span::nanos(1)),
            half_start: Time::ZERO,
            present: Summary::new(counters),
            before: Summary::new(counters),
        }
    }

    /// Counts one read of `key`.
    pub fn record(&mut self, now: Time, key: u64) {
        self.slide(now);
        self.present.add(key, mix(key));
    }

    /// Whether `key` brought at least the share that is hot, of the reads in the window up to the last record.
    ///
    /// A key that did is never missed; one that did not may be named when it came within the error.
    pub fn is_hot(&self, key: u64) -> bool {
        let hash = mix(key);
        match (self.present.count(key, hash), self.before.count(key, hash)) {
            (None, None) => false,
            (present, before) => {
                let floor = |half: &Summary, count: Option<u64>| count.unwrap_or_else(|| half.floor());
                self.is_hot_at(floor(&self.present, present) + floor(&self.before, before))
            }
        }
    }

    /// The keys that are counted, with (an upper bound of) the share of the reads that each brings, greatest first.
    pub fn top(&self) -> Vec<(u64, f64)> {
        let total = self.reads().max(1) as f64;
        let only_before = self
            .before
            .keys()
            .filter(|key| self.present.count(*key, mix(*key)).is_none());
        let mut top: Vec<(u64, f64)> = self
            .present
            .keys()
            .chain(only_before)
            .map(|key| (key, self.count(key) as f64 / total))
            .collect();
        top.sort_unstable_by(|(key_a, a), (key_b, b)| b.total_cmp(a).then(key_a.cmp(key_b)));
        top
    }

    /// The keys that are hot, hottest first.
    pub fn hot(&self) -> impl Iterator<Item = u64> {
        self.top()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| self.is_hot(*key))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Reads in the window, up to the last record.
    pub fn reads(&self) -> u64 {
        self.present.total() + self.before.total()
    }

    /// By how many reads an estimate may be too high, at most.
    pub fn error_max(&self) -> u64 {
        self.present.floor() + self.before.floor()
    }

    /// What always holds.
    pub fn invariants(&self) {
        self.present.invariants();
        self.before.invariants();
    }

    /// An upper bound of the reads of `key` in the window.
    fn count(&self, key: u64) -> u64 {
        let hash = mix(key);
        let bound = |half: &Summary| half.count(key, hash).unwrap_or_else(|| half.floor());
        bound(&self.present) + bound(&self.before)
    }

    fn is_hot_at(&self, count: u64) -> bool {
        count >= READS_MIN && count as f64 >= self.share * self.reads() as f64
    }

    fn slide(&mut self, now: Time) {
        let past = now.since(self.half_start);
        if past < self.half {
            return;
        }
        let halves = past.as_nanos() / self.half.as_nanos();
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.clear();
        if halves > 1 {
            self.before.clear();
        }
        self.half_start += Span::nanos(halves * self.half.as_nanos());
        self.invariants();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Seed, Stream};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Draws keys `1..=keys` with weights `1 / keyˢ`.
    struct Zipf(Vec<f64>);

    impl Zipf {
        fn new(keys: u64, s: f64) -> Zipf {
            let mut sum = 0.0;
            let weights = (1..=keys).map(|key| libm::pow(key as f64, -s));
            Zipf(
                weights
                    .map(|weight| {
                        sum += weight;
                        sum
                    })
                    .collect(),
            )
        }

        fn draw(&self, rng: &mut Stream) -> u64 {
            let at = rng.unit() * self.0[self.0.len() - 1];
            self.0.partition_point(|sum| *sum <= at) as u64 + 1
        }
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Span::millis(ms)
    }

    #[test]
    fn estimates_of_zipf_draws_keep_their_bounds_and_no_hot_key_is_missed() {
        for s in [0.6, 0.9, 1.2] {
            let zipf = Zipf::new(20_000, s);
            let mut rng = Seed(8).stream("sketch", 0);
            let settings = Settings {
                share: 0.01,
                ..Settings::default()
            };
            let mut sketch = Sketch::new(&settings);
            let mut exact: BTreeMap<u64, u64> = BTreeMap::new();
            for read in 0..100_000_u64 {
                let key = zipf.draw(&mut rng);
                *exact.entry(key).or_default() += 1;
                // Both halves of the window, and no slide out of it.
                sketch.record(at(read / 11), key);
            }
            sketch.invariants();
            assert_eq!(sketch.reads(), 100_000);
            assert!(sketch.error_max() <= sketch.reads() / 800);
            for (key, share) in sketch.top() {
                let (estimate, real) = (
                    (share * 1e5).round() as u64,
                    exact.get(&key).copied().unwrap_or(0),
                );
                assert!(
                    real <= estimate && estimate <= real + sketch.error_max(),
                    "{key}: {estimate} for {real}"
                );
            }
            for (key, real) in &exact {
                assert!(*real < 1_000 || sketch.is_hot(*key), "{key} was missed");
                assert!(*real > 875 || !sketch.is_hot(*key), "{key} is not hot");
            }
            let hot: Vec<u64> = sketch.hot().collect();
            assert_eq!(hot.first(), (s > 0.8).then_some(&1));
        }
    }

    #[test]
    fn what_was_hot_cools_down() {
        let settings = Settings {
            share: 0.1,
            window: Span::secs(10),
            ..Settings::default()
        };
        let mut sketch = Sketch::new(&settings);
        for read in 0..1_000 {
            sketch.record(at(0), 7);
            sketch.record(at(0), 1_000 + read);
        }
        assert!(sketch.is_hot(7));
        sketch.record(at(5_000), 1);
        assert!(sketch.is_hot(7), "the half before still counts");
        sketch.record(at(10_000), 1);
        assert!(!sketch.is_hot(7));
        assert_eq!(sketch.reads(), 2);
        sketch.record(at(60_000), 1);
        assert_eq!(sketch.reads(), 1, "a long rest forgets both halves");
        sketch.record(at(64_999), 1);
        assert_eq!(sketch.present.total(), 2, "and the next half begins on time");
    }

    #[test]
    fn the_first_reads_of_all_are_not_hot() {
        let mut sketch = Sketch::new(&Settings::default());
        (0..READS_MIN - 1).for_each(|_| sketch.record(at(0), 7));
        assert!(!sketch.is_hot(7));
        sketch.record(at(0), 7);
        assert!(sketch.is_hot(7));
    }

    #[test]
    fn even_traffic_has_no_hot_key() {
        let mut sketch = Sketch::new(&Settings::default());
        (0..100_000).for_each(|read| sketch.record(at(0), read % 1_000));
        assert_eq!(sketch.hot().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn counts_are_bounded_from_both_sides(
            counters in 1_usize..12,
            reads in prop::collection::vec((0_u64..30, 0_u64..40), 1..400),
        ) {
            let settings = Settings { window: Span::millis(1_000), ..Settings::default() };
            let mut sketch = Sketch::with_counters(&settings, counters);
            let mut now_ms = 0;
            let mut log: Vec<(u64, u64)> = Vec::new();
            for (wait_ms, key) in reads {
                now_ms += wait_ms;
                sketch.record(at(now_ms), key);
                sketch.invariants();
                // The window is the present half second and the one before.
                let start = (now_ms / 500).saturating_sub(1) * 500;
                log.push((now_ms, key));
                log.retain(|(ms, _)| *ms >= start);
                prop_assert_eq!(sketch.reads(), log.len() as u64);
                prop_assert!(sketch.error_max() <= sketch.reads() / counters as u64);
                for key in 0..40 {
                    let real = log.iter().filter(|(_, read)| *read == key).count() as u64;
                    let estimate = sketch.count(key);
                    prop_assert!(real <= estimate && estimate <= real + sketch.error_max());
                }
            }
            prop_assert!(sketch.top().len() <= 2 * counters);
        }
    }
}
