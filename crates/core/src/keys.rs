//! Which key is asked for.
//!
//! A [`Law`] is a setting; [`Keys`] draws from it, with what a fault adds: one key that is suddenly hot, or keys
//! that do not exist. Keys are numbers, and those of a Zipf law are ranks: key 0 is the hottest.
//!
//! Zipf laws of up to 2²² keys are drawn in constant time from an alias table (Walker, 1977; Vose, 1991) of 8 bytes
//! a key; of more keys, without any table by rejection-inversion (Hörmann and Derflinger, 1996).
//!
//! ```
//! use seawall_core::{keys::{Keys, Law}, rng::Seed};
//! let keys = Keys::new(Law::Zipf { count: 1_000, exponent: 1.0 });
//! let mut rng = Seed(1).stream("keys", 0);
//! assert!(keys.draw(&mut rng) < 1_000);
//! assert!((keys.probability(0) - 10.0 * keys.probability(9)).abs() < 1e-12);
//! assert_eq!(keys.popular(3).collect::<Vec<_>>(), [0, 1, 2]);
//! ```

use std::f64::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

use self::zipf::{Cell, Rejection, alias, harmonic, weight};
use crate::draw;
use crate::rng::Stream;

mod zipf;

/// The bit that marks a key that does not exist.
pub const MISSING: u64 = 1 << 63;

const TABLE_MAX: u64 = 1 << 22;

/// How popular each key is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Key `k` of `0..count` in proportion to `1 / (k + 1)^exponent`.
    Zipf {
        /// How many keys there are.
        count: u64,
        /// The exponent: 0 is uniform, 1 is what people do; from 0 up.
        exponent: f64,
    },
    /// All keys of `0..count` alike.
    Uniform {
        /// How many keys there are.
        count: u64,
    },
    /// The floor of a normal draw; what is negative is key 0.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        deviation: f64,
    },
    /// Key 0 always.
    Single,
}

/// Draws keys. Copies share their table.
#[derive(Clone, Debug)]
pub struct Keys {
    law: Law,
    sampler: Sampler,
    hot: f64,
    hottest: u64,
    missing: f64,
}

#[derive(Clone, Debug)]
enum Sampler {
    Table { cells: Arc<[Cell]>, total: f64 },
    Rejection { zipf: Rejection, total: f64 },
    Uniform(u64),
    Normal { mean: f64, deviation: f64 },
    Single,
}

impl Keys {
    /// Draws from this law. Takes time in proportion to the number of keys, up to 2²² of them.
    pub fn new(law: Law) -> Keys {
        let sampler = match law {
            Law::Zipf { count: 0 | 1, .. } | Law::Uniform { count: 0 | 1 } | Law::Single => Sampler::Single,
            Law::Uniform { count } => Sampler::Uniform(count),
            Law::Normal { mean, deviation } => Sampler::Normal { mean, deviation },
            Law::Zipf { count, exponent } if count <= TABLE_MAX => {
                let weights: Vec<f64> = (0..count).map(|key| weight(key, exponent)).collect();
                // From the smallest up, so that little is rounded away.
                let total = weights.iter().rev().sum();
                Sampler::Table {
                    cells: alias(weights, total),
                    total,
                }
            }
            Law::Zipf { count, exponent } => Sampler::Rejection {
                zipf: Rejection::new(count, exponent),
                total: harmonic(count, exponent),
            },
        };
        Keys {
            law,
            sampler,
            hot: 0.0,
            hottest: 0,
            missing: 0.0,
        }
    }

    /// The law, without what faults add.
    pub fn law(&self) -> Law {
        self.law
    }

    /// From now on, this share of the draws is the one hottest key, over what it has anyway; 0 ends it.
    pub fn hot_key(&mut self, share: f64) {
        self.hot = share.clamp(0.0, 1.0);
        let hottest = self.popular(1).next();
        self.hottest = hottest.unwrap_or(0);
    }

    /// From now on, this share of the draws are keys that do not exist, hardly ever the same twice; 0 ends it.
    pub fn missing(&mut self, share: f64) {
        self.missing = share.clamp(0.0, 1.0);
    }

    /// A key. One that does not exist has the bit [`MISSING`].
    #[inline]
    pub fn draw(&self, rng: &mut Stream) -> u64 {
        if self.hot + self.missing > 0.0 {
            let share = rng.unit();
            if share < self.missing {
                return MISSING | (rng.bits() >> 2);
            }
            if share < self.missing + self.hot {
                return self.hottest;
            }
        }
        match &self.sampler {
            Sampler::Table { cells, .. } => {
                // The whole of the product chooses the column, its fraction the part of it.
                let product = u128::from(rng.bits()) * cells.len() as u128;
                let column = (product >> 64) as usize;
                let cell = cells[column];
                if ((product as u64) >> 32) as u32 <= cell.threshold {
                    column as u64
                } else {
                    u64::from(cell.other)
                }
            }
            Sampler::Rejection { zipf, .. } => zipf.draw(rng),
            Sampler::Uniform(count) => rng.below(*count),
            Sampler::Normal { mean, deviation } => (mean + deviation * draw::normal(rng)) as u64,
            Sampler::Single => 0,
        }
    }

    /// Fills `keys` with draws: the same ones as by [`Keys::draw`] one after the other, only sooner, because the reads of
    /// a large table overlap.
    pub fn draw_many(&self, rng: &mut Stream, keys: &mut [u64]) {
        let Sampler::Table { cells, .. } = &self.sampler else {
            return keys.iter_mut().for_each(|key| *key = self.draw(rng));
        };
        if self.hot + self.missing > 0.0 {
            return keys.iter_mut().for_each(|key| *key = self.draw(rng));
        }
        for key in &mut *keys {
            *key = rng.bits();
        }
        for key in keys {
            let product = u128::from(*key) * cells.len() as u128;
            let column = (product >> 64) as usize;
            let cell = cells[column];
            // Both are read, and one is chosen without a branch, which could not be foreseen.
            let takes = ((product as u64) >> 32) as u32 <= cell.threshold;
            let mask = u64::from(takes).wrapping_neg();
            *key = (column as u64 & mask) | (u64::from(cell.other) & !mask);
        }
    }

    /// The probability of a key under the law, without what faults add.
    pub fn probability(&self, key: u64) -> f64 {
        match (&self.sampler, self.law) {
            (
                Sampler::Table { total, .. } | Sampler::Rejection { total, .. },
                Law::Zipf { count, exponent },
            ) if key < count => weight(key, exponent) / total,
            (Sampler::Uniform(count), _) if key < *count => 1.0 / *count as f64,
            (Sampler::Normal { mean, deviation }, _) => {
                if key >= MISSING {
                    return 0.0;
                }
                let beyond = |z: f64| 0.5 * libm::erfc(z / deviation * FRAC_1_SQRT_2);
                let (from, to) = (key as f64 - mean, key as f64 + 1.0 - mean);
                // On the side where the two tails are small, for their difference is smaller still.
                match key {
                    0 => beyond(-to),
                    _ if from >= 0.0 => beyond(from) - beyond(to),
                    _ => beyond(-to) - beyond(-from),
                }
            }
            (Sampler::Single, _) if key == 0 => 1.0,
            _ => 0.0,
        }
    }

    /// All keys are below this number, but for draws that no run will ever see.
    pub fn bound(&self) -> u64 {
        match self.law {
            Law::Zipf { count, .. } | Law::Uniform { count } => count.max(1),
            Law::Normal { mean, deviation } => (mean + 12.0 * deviation) as u64 + 1,
            Law::Single => 1,
        }
    }

    /// The `count` most popular keys, hottest first; fewer when there are fewer.
    pub fn popular(&self, count: usize) -> impl Iterator<Item = u64> + '_ {
        let centre = match self.law {
            Law::Normal { mean, .. } => mean.max(0.0) as u64,
            _ => 0,
        };
        // From the mode outwards. Key 0 of a normal law holds all that is below, so it stands where it belongs.
        let (mut left, mut right, mut zero) = (centre, centre.max(1), true);
        let bound = self.bound();
        std::iter::from_fn(move || {
            let chance = |key: Option<u64>| key.map_or(-1.0, |key| self.probability(key));
            let below = (left > 1).then(|| left - 1);
            let above = (right < bound).then_some(right);
            let first = zero.then_some(0);
            let (p_below, p_above, p_first) = (chance(below), chance(above), chance(first));
            if p_first >= p_below && p_first >= p_above {
                zero = false;
                first
            } else if p_above >= p_below {
                right += 1;
                above
            } else {
                left -= 1;
                below
            }
        })
        .take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    /// Draws often, and compares the counts of some keys, and of all above them, with their probabilities.
    fn check(keys: &Keys, watched: &[u64]) {
        let mut rng = Seed(2).stream("keys", 0);
        let draws = 200_000;
        let mut counts = vec![0_u32; watched.len()];
        for _ in 0..draws {
            let key = keys.draw(&mut rng);
            assert!(key < keys.bound());
            if let Some(at) = watched.iter().position(|watched| *watched == key) {
                counts[at] += 1;
            }
        }
        for (key, count) in watched.iter().zip(counts) {
            let expected = keys.probability(*key) * f64::from(draws);
            let error = (f64::from(count) - expected).abs();
            assert!(
                error < 4.5 * expected.sqrt() + 2.0,
                "{:?} {key}: {count} for {expected}",
                keys.law()
            );
        }
    }

    #[test]
    fn many_draws_are_those_of_one_after_the_other() {
        let laws = [
            Law::Zipf {
                count: 1_000,
                exponent: 0.9,
            },
            Law::Uniform { count: 7 },
            Law::Normal {
                mean: 1_000.0,
                deviation: 200.0,
            },
        ];
        for law in laws {
            for hot in [0.0, 0.3] {
                let mut keys = Keys::new(law);
                keys.hot_key(hot);
                let (mut one, mut many) = (Seed(3).stream("keys", 0), Seed(3).stream("keys", 0));
                let mut drawn = [0; 64];
                keys.draw_many(&mut many, &mut drawn);
                assert_eq!(drawn, std::array::from_fn(|_| keys.draw(&mut one)));
            }
        }
    }

    #[test]
    fn draws_follow_their_law() {
        check(
            &Keys::new(Law::Zipf {
                count: 1_000,
                exponent: 1.0,
            }),
            &[0, 1, 2, 9, 100, 999],
        );
        check(
            &Keys::new(Law::Zipf {
                count: 10_000,
                exponent: 0.8,
            }),
            &[0, 1, 2, 50, 9_999],
        );
        check(
            &Keys::new(Law::Zipf {
                count: 3,
                exponent: 0.0,
            }),
            &[0, 1, 2],
        );
        check(
            &Keys::new(Law::Zipf {
                count: 1 << 30,
                exponent: 1.0,
            }),
            &[0, 1, 2, 3, 10, 1_000],
        );
        check(
            &Keys::new(Law::Zipf {
                count: 1 << 30,
                exponent: 1.3,
            }),
            &[0, 1, 2, 3, 10],
        );
        check(&Keys::new(Law::Uniform { count: 7 }), &[0, 3, 6]);
        check(
            &Keys::new(Law::Normal {
                mean: 1_000.0,
                deviation: 200.0,
            }),
            &[500, 1_000, 1_300],
        );
        check(
            &Keys::new(Law::Normal {
                mean: 2.0,
                deviation: 3.0,
            }),
            &[0, 1, 2, 3, 9],
        );
        check(&Keys::new(Law::Single), &[0]);
    }

    #[test]
    fn the_table_and_the_rejection_are_one_law() {
        let table = Keys::new(Law::Zipf {
            count: 5_000,
            exponent: 0.9,
        });
        let zipf = Rejection::new(5_000, 0.9);
        let sum = harmonic(5_000, 0.9);
        let Sampler::Table { total, .. } = &table.sampler else {
            panic!("a table")
        };
        assert!((total / sum - 1.0).abs() < 1e-9, "{total} {sum}");
        let mut rng = Seed(3).stream("keys", 0);
        let draws = 100_000;
        let mean = |sum: f64| sum / f64::from(draws);
        let a = mean((0..draws).map(|_| table.draw(&mut rng) as f64).sum());
        let b = mean((0..draws).map(|_| zipf.draw(&mut rng) as f64).sum());
        let exact: f64 = (0..5_000).map(|key| key as f64 * table.probability(key)).sum();
        assert!(
            (a / exact - 1.0).abs() < 0.02 && (b / exact - 1.0).abs() < 0.02,
            "{a} {b} {exact}"
        );
    }

    #[test]
    fn probabilities_add_up() {
        for law in [
            Law::Zipf {
                count: 300,
                exponent: 1.2,
            },
            Law::Uniform { count: 300 },
            Law::Normal {
                mean: 40.0,
                deviation: 30.0,
            },
            Law::Single,
        ] {
            let keys = Keys::new(law);
            let sum: f64 = (0..keys.bound()).map(|key| keys.probability(key)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{law:?}: {sum}");
        }
    }

    #[test]
    fn the_popular_come_first_and_once() {
        for law in [
            Law::Zipf {
                count: 50,
                exponent: 1.2,
            },
            Law::Normal {
                mean: 1_000.0,
                deviation: 200.0,
            },
            Law::Normal {
                mean: 5.0,
                deviation: 10.0,
            },
            Law::Single,
        ] {
            let keys = Keys::new(law);
            let popular: Vec<u64> = keys.popular(5_000).collect();
            assert!(
                popular
                    .windows(2)
                    .all(|pair| keys.probability(pair[0]) >= keys.probability(pair[1])),
                "{law:?}"
            );
            let mut sorted = popular.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), popular.len());
            assert_eq!(popular.len() as u64, keys.bound().min(5_000), "{law:?}");
        }
    }

    #[test]
    fn faults_lie_over_the_law() {
        let mut keys = Keys::new(Law::Normal {
            mean: 1_000.0,
            deviation: 200.0,
        });
        keys.hot_key(0.25);
        keys.missing(0.5);
        let mut rng = Seed(4).stream("keys", 0);
        let draws: Vec<u64> = (0..20_000).map(|_| keys.draw(&mut rng)).collect();
        let share = |test: fn(&u64) -> bool| draws.iter().filter(|key| test(key)).count() as f64 / 20_000.0;
        assert!((share(|key| key & MISSING != 0) - 0.5).abs() < 0.02);
        assert!((share(|key| matches!(key, 999 | 1_000)) - 0.251).abs() < 0.02);
        let mut missing: Vec<u64> = draws.into_iter().filter(|key| key & MISSING != 0).collect();
        let before = missing.len();
        missing.sort_unstable();
        missing.dedup();
        assert_eq!(missing.len(), before, "never the same twice");
        keys.hot_key(0.0);
        keys.missing(0.0);
        assert!((0..1_000).all(|_| keys.draw(&mut rng) < 3_000));
    }
}
