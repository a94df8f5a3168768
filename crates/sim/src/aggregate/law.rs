//! Laws of lengths of time, as a cohort needs them: in a few pieces, and as a distribution function.

use std::f64::consts::FRAC_1_SQRT_2;

use seawall_core::dist::Dist;
use seawall_core::rng::Stream;

/// The bounds between the pieces, finer where 99th percentiles are read.
const BOUNDS: [f64; 9] = [0.0, 0.2, 0.4, 0.6, 0.8, 0.93, 0.98, 0.995, 1.0];
/// Steps of the tabulated inverse.
const STEPS: usize = 400;

/// The law of a length of time, in seconds.
#[derive(Clone, Debug)]
pub(super) struct Law {
    dist: Dist,
    mean: f64,
    /// Lengths and the share of the law that they stand for.
    pieces: Vec<(f64, f64)>,
    shares: Vec<f64>,
}

impl Law {
    pub(super) fn new(dist: &Dist) -> Law {
        let mut law = Law {
            dist: *dist,
            mean: dist.mean().as_secs_f64(),
            pieces: Vec::new(),
            shares: Vec::new(),
        };
        if let Dist::Fixed(span) = dist {
            law.pieces.push((span.as_secs_f64(), 1.0));
        } else {
            law.cut();
        }
        law.shares = law.pieces.iter().map(|(_, share)| *share).collect();
        law
    }

    /// Cuts the law into pieces, each at its own mean.
    fn cut(&mut self) {
        for pair in BOUNDS.windows(2) {
            let steps = (STEPS as f64 * (pair[1] - pair[0])).max(8.0) as usize;
            let width = (pair[1] - pair[0]) / steps as f64;
            let sum: f64 = (0..steps)
                .map(|step| self.quantile(pair[0] + width * (step as f64 + 0.5)))
                .sum();
            self.pieces.push((sum / steps as f64, pair[1] - pair[0]));
        }
        let mean: f64 = self.pieces.iter().map(|(length, share)| length * share).sum();
        if mean > 0.0 {
            let factor = self.mean / mean;
            self.pieces.iter_mut().for_each(|(length, _)| *length *= factor);
        }
    }

    fn quantile(&self, share: f64) -> f64 {
        if let Dist::Exponential { .. } = self.dist {
            return -self.mean * libm::log1p(-share);
        }
        let (mut low, mut high) = (0.0, self.mean.max(1e-9));
        while self.cdf(high) < share && high < 1e9 {
            high *= 2.0;
        }
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.cdf(middle) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.pieces.len() == 1
    }

    pub(super) fn is_exponential(&self) -> bool {
        matches!(self.dist, Dist::Exponential { .. })
    }

    /// The share of draws that are not above this.
    pub(super) fn cdf(&self, x: f64) -> f64 {
        let below = |z: f64| 0.5 * libm::erfc(-z * FRAC_1_SQRT_2);
        match self.dist {
            Dist::Fixed(span) => f64::from(u8::from(x >= span.as_secs_f64() - 1e-12)),
            Dist::Exponential { .. } if self.mean > 0.0 => -libm::expm1(-(x / self.mean).max(0.0)),
            Dist::Exponential { .. } => 1.0,
            Dist::Normal { mean, deviation } => {
                let deviation = deviation.as_secs_f64().max(1e-12);
                below((x - mean.as_secs_f64()) / deviation)
            }
            Dist::LogNormal { median, p99 } => {
                let sigma = libm::log((p99.as_secs_f64() / median.as_secs_f64()).max(1.0)) / 2.326_347_874;
                below(libm::log(x.max(1e-12) / median.as_secs_f64()) / sigma.max(1e-9))
            }
            Dist::Uniform { min, max } => {
                let width = (max.as_secs_f64() - min.as_secs_f64()).max(1e-12);
                ((x - min.as_secs_f64()) / width).clamp(0.0, 1.0)
            }
        }
    }

    /// The lengths that `count` draws have: each its own when they are few, in pieces when they are many.
    pub(super) fn deal(&self, count: u64, rng: &mut Stream, mut each: impl FnMut(f64, u64)) {
        if self.is_fixed() {
            each(self.pieces[0].0, count);
        } else if count <= self.pieces.len() as u64 {
            (0..count).for_each(|_| each(self.dist.draw(rng).as_secs_f64(), 1));
        } else {
            super::cohort::deal(count, &self.shares, rng, |piece, count| {
                each(self.pieces[piece].0, count);
            });
        }
    }
}
