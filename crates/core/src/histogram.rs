//! Durations counted in buckets of about 1%, in fixed memory.
//!
//! Log-linear, as in `HdrHistogram` (Tene): each power of two of nanoseconds is cut into 64 equal buckets, so a
//! quantile is off by less than 1/128 of itself. The mean is exact. Two histograms add up to the histogram of both.
//! It keeps no order of events and no window: whoever wants one clears it.
//!
//! ```
//! use seawall_core::{histogram::Histogram, time::Span};
//! let mut histogram = Histogram::new();
//! (1..=1_000).for_each(|ms| histogram.record(Span::millis(ms)));
//! let p99 = histogram.quantile(0.99).as_secs_f64();
//! assert!((p99 / 0.990 - 1.0).abs() < 0.01);
//! assert_eq!(histogram.mean(), Span::micros(500_500));
//! ```

use crate::time::Span;

/// Each power of two has `2^SUB_BITS` buckets.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// The buckets of all 64-bit numbers: `0..2·SUB` one each, then `SUB` for each further power of two.
const BUCKETS: usize = ((u64::BITS - SUB_BITS + 1) << SUB_BITS) as usize;

/// A histogram of spans of any length, from a nanosecond to for ever: 30 kB.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: u128,
    /// The lowest and the highest bucket that holds anything: most periods see few spans, close together.
    low: usize,
    high: usize,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum: 0,
            low: BUCKETS,
            high: 0,
        }
    }

    /// Counts one span.
    #[inline]
    pub fn record(&mut self, span: Span) {
        self.record_many(span, 1);
    }

    /// Counts one span `count` times.
    #[inline]
    pub fn record_many(&mut self, span: Span, count: u64) {
        if count == 0 {
            return;
        }
        let nanos = span.as_nanos();
        let bucket = bucket(nanos);
        self.buckets[bucket] += count;
        self.low = self.low.min(bucket);
        self.high = self.high.max(bucket);
        self.count += count;
        self.sum += u128::from(nanos) * u128::from(count);
    }

    /// The middles of the buckets that hold anything, and how much they hold, shortest first.
    pub fn held(&self) -> impl Iterator<Item = (Span, u64)> + '_ {
        (self.low..=self.high.min(BUCKETS - 1))
            .filter(|index| self.buckets[*index] > 0)
            .map(|index| (middle(index), self.buckets[index]))
    }

    /// The span that a share `q` of the recorded ones does not exceed (the nearest rank), to within 1/128 of itself;
    /// nothing when nothing was recorded. A `q` outside `[0, 1]` is taken as the nearer end.
    pub fn quantile(&self, q: f64) -> Span {
        if self.count == 0 {
            return Span::ZERO;
        }
        let rank = (libm::ceil(q.clamp(0.0, 1.0) * self.count as f64) as u64).clamp(1, self.count);
        let mut seen = 0;
        for index in self.low..=self.high {
            seen += self.buckets[index];
            if seen >= rank {
                return middle(index);
            }
        }
        // The buckets add up to `count`, so a rank up to it is always met.
        Span::MAX
    }

    /// Adds all that `other` has recorded.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        // A period without observations is common, and need not touch 30 kB.
        if self.count > 0 {
            self.buckets[self.low..=self.high].fill(0);
            self.count = 0;
            self.sum = 0;
            self.low = BUCKETS;
            self.high = 0;
        }
    }

    /// Spans recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact mean, rounded down to the nanosecond; nothing when nothing was recorded.
    pub fn mean(&self) -> Span {
        Span::nanos(self.sum.checked_div(u128::from(self.count)).unwrap_or(0) as u64)
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert_eq!(self.buckets.iter().sum::<u64>(), self.count, "a span was lost");
        debug_assert!(self.count > 0 || self.sum == 0, "a sum of nothing");
        let holding = |(index, count): (usize, &u64)| (*count > 0).then_some(index);
        let mut held = self.buckets.iter().enumerate().filter_map(holding);
        debug_assert_eq!(held.next().unwrap_or(BUCKETS), self.low, "the lowest bucket");
        debug_assert_eq!(
            held.next_back().unwrap_or(self.low % BUCKETS),
            self.high,
            "the highest bucket"
        );
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .finish_non_exhaustive()
    }
}

#[inline]
fn bucket(nanos: u64) -> usize {
    // Below 2·SUB the shift is 0 and the bucket is the number itself.
    let shift = (nanos | SUB).ilog2() - SUB_BITS;
    (u64::from(shift) * SUB + (nanos >> shift)) as usize
}

/// The middle of a bucket, which is the number itself while buckets hold one.
fn middle(index: usize) -> Span {
    let index = index as u64;
    let shift = (index / SUB).saturating_sub(1);
    let low = (index - shift * SUB) << shift;
    Span::nanos(low + ((1 << shift) >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    /// The definition: sort, and take the nearest rank.
    fn exact(spans: &mut [u64], q: f64) -> u64 {
        spans.sort_unstable();
        let rank = (q * spans.len() as f64).ceil().max(1.0) as usize;
        spans[rank - 1]
    }

    #[test]
    fn quantiles_are_within_a_percent_of_the_sorted_ones() {
        let mut rng = Seed(3).stream("histogram", 0);
        let mut histogram = Histogram::new();
        // From a nanosecond to an hour, even on a log scale.
        let mut spans: Vec<u64> = (0..20_000).map(|_| libm::exp(rng.unit() * 28.9) as u64).collect();
        for nanos in &spans {
            histogram.record(Span::nanos(*nanos));
        }
        histogram.invariants();
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (found, true_one) = (
                histogram.quantile(q).as_nanos() as f64,
                exact(&mut spans, q) as f64,
            );
            assert!(
                (found - true_one).abs() <= true_one / 128.0,
                "{q}: {found} for {true_one}"
            );
        }
        let mean = spans.iter().map(|nanos| u128::from(*nanos)).sum::<u128>() / spans.len() as u128;
        assert_eq!(u128::from(histogram.mean().as_nanos()), mean);
    }

    #[test]
    fn every_number_has_a_bucket_and_small_ones_their_own() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for nanos in 0..2 * SUB {
            assert_eq!(middle(bucket(nanos)).as_nanos(), nanos);
        }
        let edges = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit]);
        let places: Vec<usize> = edges.map(bucket).collect();
        assert!(places.is_sorted());
    }

    #[test]
    fn many_are_as_one_after_the_other() {
        let (mut one, mut many) = (Histogram::new(), Histogram::new());
        (0..7).for_each(|_| one.record(Span::millis(3)));
        one.record(Span::secs(1));
        many.record_many(Span::millis(3), 7);
        many.record_many(Span::millis(9), 0);
        many.record_many(Span::secs(1), 1);
        many.invariants();
        assert_eq!(one, many);
        assert_eq!(many.held().map(|(_, count)| count).collect::<Vec<_>>(), [7, 1]);
        assert_eq!(Histogram::new().held().count(), 0);
    }

    #[test]
    fn nothing_recorded_is_nothing() {
        let mut histogram = Histogram::new();
        assert_eq!(
            (histogram.quantile(0.5), histogram.mean()),
            (Span::ZERO, Span::ZERO)
        );
        histogram.record(Span::MAX);
        histogram.clear();
        assert_eq!(histogram, Histogram::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merged_is_recorded_together(a in prop::collection::vec(any::<u64>(), 0..50),
                                       b in prop::collection::vec(any::<u64>(), 0..50)) {
            let (mut left, mut right, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
            for nanos in &a {
                left.record(Span::nanos(*nanos));
                both.record(Span::nanos(*nanos));
                left.invariants();
            }
            for nanos in &b {
                right.record(Span::nanos(*nanos));
                both.record(Span::nanos(*nanos));
            }
            left.merge(&right);
            left.invariants();
            prop_assert_eq!(left, both);
        }
    }
}
