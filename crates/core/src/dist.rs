//! Laws of lengths of time: service times, latencies, delays.
//!
//! A [`Dist`] is a setting, copied and compared freely; [`Dist::draw`] takes the randomness as an argument. What a
//! law says below zero is drawn as zero, and the moments given here are those of what is drawn.
//!
//! ```
//! use seawall_core::{dist::Dist, rng::Seed, time::Span};
//! let service = Dist::Exponential { mean: Span::millis(40) };
//! let mut rng = Seed(1).stream("service", 0);
//! assert!(service.draw(&mut rng) < Span::secs(4));
//! assert_eq!(service.mean(), Span::millis(40));
//! assert!((service.cv2() - 1.0).abs() < 1e-12);
//! ```

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use crate::draw;
use crate::rng::Stream;
use crate::time::Span;

/// The 99th percentile of the standard normal law.
const Z99: f64 = 2.326_347_874_040_840_8;

/// The law of a length of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dist {
    /// Always the same.
    Fixed(Span),
    /// Exponential.
    Exponential {
        /// Its mean.
        mean: Span,
    },
    /// Normal, with zero in place of what is below zero.
    Normal {
        /// The mean of the normal law.
        mean: Span,
        /// Its standard deviation.
        deviation: Span,
    },
    /// Log-normal, as latencies are usually measured.
    LogNormal {
        /// Half of the draws are below.
        median: Span,
        /// 99% of the draws are below. Below the median, it counts as the median.
        p99: Span,
    },
    /// Even between two bounds.
    Uniform {
        /// The lower bound.
        min: Span,
        /// The upper bound. Below the lower one, it counts as the lower one.
        max: Span,
    },
}

impl Dist {
    /// One draw, rounded to the nanosecond.
    #[inline]
    pub fn draw(&self, rng: &mut Stream) -> Span {
        match *self {
            Dist::Fixed(span) => span,
            Dist::Exponential { mean } => mean.scaled(draw::exponential(rng)),
            Dist::Normal { mean, deviation } => {
                // The cast of `from_secs_f64` would do the same, at the price of a division.
                rounded(mean.as_nanos() as f64 + deviation.as_nanos() as f64 * draw::normal(rng))
            }
            Dist::LogNormal { median, p99 } => {
                median.scaled(libm::exp(sigma(median, p99) * draw::normal(rng)))
            }
            Dist::Uniform { min, max } => {
                let width = max.saturating_sub(min).as_nanos();
                min + Span::nanos(rng.below(width.saturating_add(1)))
            }
        }
    }

    /// The mean of the draws.
    pub fn mean(&self) -> Span {
        match *self {
            Dist::Fixed(span) => span,
            Dist::Exponential { mean } => mean,
            Dist::Normal { .. } | Dist::LogNormal { .. } => rounded(self.moments().0),
            Dist::Uniform { min, max } => min + Span::nanos(max.saturating_sub(min).as_nanos() / 2),
        }
    }

    /// The squared coefficient of variation of the draws (variance over squared mean): 0 when fixed, 1 when
    /// exponential. 0 when the mean is zero.
    pub fn cv2(&self) -> f64 {
        let (mean, square) = self.moments();
        if mean > 0.0 {
            (square / (mean * mean) - 1.0).max(0.0)
        } else {
            0.0
        }
    }

    /// The first two moments of the draws, in nanoseconds and their square.
    fn moments(&self) -> (f64, f64) {
        match *self {
            Dist::Fixed(span) => {
                let x = span.as_nanos() as f64;
                (x, x * x)
            }
            Dist::Exponential { mean } => {
                let x = mean.as_nanos() as f64;
                (x, 2.0 * x * x)
            }
            Dist::Normal { mean, deviation } => {
                let (m, s) = (mean.as_nanos() as f64, deviation.as_nanos() as f64);
                if s <= 0.0 {
                    return (m, m * m);
                }
                let z = m / s;
                let above = 0.5 * libm::erfc(-z * FRAC_1_SQRT_2);
                let density = libm::exp(-0.5 * z * z) / libm::sqrt(TAU);
                (m * above + s * density, (m * m + s * s) * above + m * s * density)
            }
            Dist::LogNormal { median, p99 } => {
                let (m, s) = (median.as_nanos() as f64, sigma(median, p99));
                (m * libm::exp(0.5 * s * s), m * m * libm::exp(2.0 * s * s))
            }
            Dist::Uniform { min, max } => {
                let a = min.as_nanos() as f64;
                let width = max.saturating_sub(min).as_nanos() as f64;
                let mean = a + width / 2.0;
                (mean, mean * mean + width * width / 12.0)
            }
        }
    }
}

/// The deviation of the logarithm.
fn sigma(median: Span, p99: Span) -> f64 {
    if p99 <= median || median.is_zero() {
        return 0.0;
    }
    libm::log(p99.as_nanos() as f64 / median.as_nanos() as f64) / Z99
}

fn rounded(nanos: f64) -> Span {
    Span::nanos((nanos + 0.5) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const MS: fn(u64) -> Span = Span::millis;

    #[test]
    fn moments_are_those_of_the_draws() {
        let laws = [
            Dist::Fixed(MS(3)),
            Dist::Exponential { mean: MS(40) },
            Dist::Normal {
                mean: MS(400),
                deviation: MS(80),
            },
            Dist::Normal {
                mean: MS(10),
                deviation: MS(20),
            },
            Dist::LogNormal {
                median: MS(5),
                p99: MS(20),
            },
            Dist::Uniform {
                min: MS(2),
                max: MS(12),
            },
        ];
        let mut rng = Seed(3).stream("dist", 0);
        for law in laws {
            let n = 100_000;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let x = law.draw(&mut rng).as_secs_f64();
                sum += x;
                squares += x * x;
            }
            let mean = sum / f64::from(n);
            let cv2 = squares / f64::from(n) / (mean * mean) - 1.0;
            assert!(
                (mean / law.mean().as_secs_f64() - 1.0).abs() < 0.02,
                "{law:?}: {mean}"
            );
            assert!(
                (cv2 - law.cv2()).abs() < 0.05 * law.cv2() + 1e-9,
                "{law:?}: {cv2} for {}",
                law.cv2()
            );
        }
    }

    #[test]
    fn quantiles_are_where_the_settings_put_them() {
        let law = Dist::LogNormal {
            median: MS(5),
            p99: MS(20),
        };
        let mut rng = Seed(4).stream("dist", 0);
        let mut draws: Vec<Span> = (0..50_000).map(|_| law.draw(&mut rng)).collect();
        draws.sort();
        let (median, p99) = (draws[25_000].as_secs_f64(), draws[49_500].as_secs_f64());
        assert!((median / 0.005 - 1.0).abs() < 0.02, "{median}");
        assert!((p99 / 0.020 - 1.0).abs() < 0.05, "{p99}");
    }

    #[test]
    fn odd_settings_draw_something_sensible() {
        let mut rng = Seed(5).stream("dist", 0);
        assert_eq!(
            Dist::LogNormal {
                median: MS(5),
                p99: MS(1)
            }
            .draw(&mut rng),
            MS(5)
        );
        assert_eq!(
            Dist::LogNormal {
                median: Span::ZERO,
                p99: MS(1)
            }
            .draw(&mut rng),
            Span::ZERO
        );
        assert_eq!(
            Dist::Uniform {
                min: MS(5),
                max: MS(1)
            }
            .draw(&mut rng),
            MS(5)
        );
        assert_eq!(
            Dist::Normal {
                mean: MS(5),
                deviation: Span::ZERO
            }
            .draw(&mut rng),
            MS(5)
        );
        assert!(
            Dist::Uniform {
                min: Span::ZERO,
                max: Span::MAX
            }
            .draw(&mut rng)
                > Span::ZERO
        );
        assert!(Dist::Fixed(Span::ZERO).cv2().abs() < 1e-12);
    }
}
