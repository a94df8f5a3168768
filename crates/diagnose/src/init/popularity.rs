//! Which keys there must be for what was measured: how many, and how unequal.
//!
//! Popularity is taken to be Zipf's. One equation, the hit rate, gives the number of keys for an exponent; the exponent comes
//! from how long entries that were looked at have not been asked for, or from how often, where the server counts either.

/// How entries leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaving {
    /// After this time, whether they are asked for or not, in seconds.
    Expired(f64),
    /// To make room: there are so many.
    Evicted(f64),
}

/// Keys by Zipf's law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keys {
    /// How many.
    pub count: f64,
    /// How unequal.
    pub exponent: f64,
}

/// The exponent where nothing tells.
pub const EXPONENT: f64 = 0.9;
/// The most keys that are thought of.
const KEYS_MAX: f64 = 1e9;

/// Classes of keys of about equal popularity: the first ones alone, the tail in blocks that grow.
struct Classes(Vec<(f64, f64)>);

impl Classes {
    fn new(keys: Keys) -> Classes {
        let mut classes = Vec::new();
        let (mut from, count) = (1.0_f64, keys.count.max(1.0).round());
        while from <= count {
            let size = (from * 0.02).floor().max(1.0).min(count - from + 1.0);
            let middle = from + (size - 1.0) / 2.0;
            classes.push((size, libm::pow(middle, -keys.exponent)));
            from += size;
        }
        let total: f64 = classes.iter().map(|(size, weight)| size * weight).sum();
        for (_, weight) in &mut classes {
            *weight /= total;
        }
        Classes(classes)
    }

    /// The sum of something over all keys, by the rate of each.
    fn sum(&self, rate: f64, of: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|(size, share)| size * of(rate * share)).sum()
    }

    /// How long an entry stays that nobody asks for (Che, Tung and Wang 2002).
    fn stay(&self, rate: f64, entries: f64) -> f64 {
        bisect(1e-6, 1e9, |time| {
            self.sum(rate, |each| 1.0 - libm::exp(-each * time)) < entries
        })
    }

    fn hit_rate(&self, rate: f64, leaving: Leaving) -> f64 {
        match leaving {
            Leaving::Expired(ttl) => self.sum(rate, |each| each * each * ttl / (1.0 + each * ttl)) / rate,
            Leaving::Evicted(entries) => {
                let time = self.stay(rate, entries);
                self.sum(rate, |each| each * (1.0 - libm::exp(-each * time))) / rate
            }
        }
    }
}

/// Where something stops being so, between two bounds, by halves of the ratio.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = libm::sqrt(low * high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    libm::sqrt(low * high)
}

/// The hit rate that these keys make, at so many look-ups a second.
///
/// ```
/// use seawall_diagnose::init::{Keys, Leaving, hit_rate};
/// let keys = Keys { count: 10_000.0, exponent: 1.0 };
/// // The look-ups of a cache whose entries live a minute: r·T/(1 + r·T), summed over keys.
/// assert!((hit_rate(keys, 1_000.0, Leaving::Expired(60.0)) - 0.901).abs() < 0.002);
/// // Of an LRU cache with room for a tenth of them.
/// assert!((hit_rate(keys, 1_000.0, Leaving::Evicted(1_000.0)) - 0.676).abs() < 0.005);
/// ```
pub fn hit_rate(keys: Keys, rate: f64, leaving: Leaving) -> f64 {
    Classes::new(keys).hit_rate(rate, leaving)
}

/// How many keys of this exponent make this hit rate.
pub(super) fn count(exponent: f64, rate: f64, hit_rate: f64, leaving: Leaving) -> f64 {
    let few = match leaving {
        Leaving::Expired(_) => 1.0,
        Leaving::Evicted(entries) => entries.max(1.0),
    };
    let enough = |count| Classes::new(Keys { count, exponent }).hit_rate(rate, leaving) > hit_rate;
    bisect(few, KEYS_MAX, enough).round()
}

/// The share of entries held that were not asked for in the last `idle` of their time, for entries that live `ttl` from
/// when they were stored: what `OBJECT IDLETIME` of some of them estimates.
fn untouched(keys: Keys, rate: f64, ttl: f64, idle: f64) -> f64 {
    let classes = Classes::new(keys);
    let held = |each: f64| each * ttl / (1.0 + each * ttl);
    let total = classes.sum(rate, held);
    // Its age is spread evenly; one that is younger than `idle` was stored since.
    let share = (1.0 - idle / ttl).max(0.0);
    classes.sum(rate, |each| held(each) * share * libm::exp(-each * idle)) / total
}

/// The exponent at which as many entries as were seen have not been asked for lately; nothing when none fits.
pub(super) fn exponent(rate: f64, hit_rate: f64, ttl: f64, idle: f64, seen: f64) -> Option<f64> {
    let expected = |exponent| {
        let count = count(exponent, rate, hit_rate, Leaving::Expired(ttl));
        untouched(Keys { count, exponent }, rate, ttl, idle)
    };
    // The more unequal, the more entries that nobody asks for again.
    let steps = (4..=14).map(|step| f64::from(step) / 10.0);
    let near = steps.map(|exponent| (libm::fabs(expected(exponent) - seen), exponent));
    let (off, exponent) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (off < 0.1).then_some(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_a_hit_rate_is_found_again() {
        for (keys, rate, leaving) in [
            (
                Keys {
                    count: 10_000.0,
                    exponent: 0.9,
                },
                1_000.0,
                Leaving::Expired(60.0),
            ),
            (
                Keys {
                    count: 100_000.0,
                    exponent: 0.9,
                },
                20_000.0,
                Leaving::Expired(60.0),
            ),
            (
                Keys {
                    count: 10_000.0,
                    exponent: 0.8,
                },
                100.0,
                Leaving::Evicted(1_000.0),
            ),
        ] {
            let made = hit_rate(keys, rate, leaving);
            let found = count(keys.exponent, rate, made, leaving);
            assert!((found / keys.count - 1.0).abs() < 0.02, "{found} for {keys:?}");
        }
        // The ground truth that the formulas of the scenario crate are held against.
        let keys = Keys {
            count: 100_000.0,
            exponent: 0.9,
        };
        assert!((hit_rate(keys, 20_000.0, Leaving::Expired(60.0)) - 0.935_215).abs() < 0.001);
    }

    #[test]
    fn the_exponent_is_found_by_what_nobody_asked_for() {
        for exponent_of in [0.6, 0.9, 1.2] {
            let keys = Keys {
                count: 20_000.0,
                exponent: exponent_of,
            };
            let (rate, ttl) = (1_000.0, 60.0);
            let made = hit_rate(keys, rate, Leaving::Expired(ttl));
            let seen = untouched(keys, rate, ttl, 20.0);
            let found = exponent(rate, made, ttl, 20.0, seen).expect("one fits");
            assert!((found - exponent_of).abs() < 0.11, "{found} for {exponent_of}");
        }
        assert_eq!(exponent(1_000.0, 0.9, 60.0, 20.0, 5.0), None);
    }
}
