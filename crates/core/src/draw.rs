//! Draws from the standard laws: exponential, normal, Poisson, binomial.
//!
//! Exponential and normal by the ziggurat of 256 layers (Marsaglia and Tsang, "The ziggurat method for generating
//! random variables", 2000), in its form with one 64-bit word a draw: 8 bits choose the layer and 53 others the
//! place in it, so the two are independent (Doornik, 2005, shows what goes wrong otherwise). The tails are exact.
//! Poisson and binomial by inversion where the mean is small, and by transformed rejection with squeeze where it is
//! large (Hörmann, PTRS and BTRS, 1993): the time of a draw is bounded in expectation, whatever the mean.
//!
//! This module draws numbers. Lengths of time are drawn by [`crate::dist::Dist`].
//!
//! ```
//! use seawall_core::{draw, rng::Seed};
//! let mut rng = Seed(1).stream("service", 0);
//! let mean = (0..10_000).map(|_| draw::exponential(&mut rng)).sum::<f64>() / 10_000.0;
//! assert!((mean - 1.0).abs() < 0.05);
//! ```

use std::sync::LazyLock;

use crate::rng::Stream;

const LAYERS: usize = 256;

/// Where the base layer of the exponential ziggurat ends, and the area of each layer.
const EXPONENTIAL_EDGE: f64 = 7.697_117_470_131_05;
const EXPONENTIAL_AREA: f64 = 0.003_949_659_822_581_557;

/// The same of the normal ziggurat.
const NORMAL_EDGE: f64 = 3.654_152_885_361_009;
const NORMAL_AREA: f64 = 0.004_928_673_233_974_658;

/// Below this mean, counting up from nothing is the shorter way.
const INVERSION_MEAN: f64 = 10.0;

static EXPONENTIAL: LazyLock<Ziggurat> = LazyLock::new(|| {
    Ziggurat::build(
        EXPONENTIAL_EDGE,
        EXPONENTIAL_AREA,
        |x| libm::exp(-x),
        |y| -libm::log(y),
    )
});
static NORMAL: LazyLock<Ziggurat> = LazyLock::new(|| {
    Ziggurat::build(
        NORMAL_EDGE,
        NORMAL_AREA,
        |x| libm::exp(-0.5 * x * x),
        |y| libm::sqrt(-2.0 * libm::log(y)),
    )
});

/// One exponential draw of mean 1.
#[inline]
pub fn exponential(rng: &mut Stream) -> f64 {
    let table = &*EXPONENTIAL;
    let bits = rng.bits();
    let layer = (bits & 0xff) as usize;
    let x = fraction(bits) * table.right[layer];
    if x < table.right[layer + 1] {
        return x;
    }
    exponential_slow(rng, table, layer, x)
}

/// As many exponential draws of mean 1 as there is room for: the same ones, in the same order, and cheaper.
pub fn exponentials(rng: &mut Stream, draws: &mut [f64]) {
    let table = &*EXPONENTIAL;
    for draw in draws {
        let bits = rng.bits();
        let layer = (bits & 0xff) as usize;
        let x = fraction(bits) * table.right[layer];
        *draw = if x < table.right[layer + 1] {
            x
        } else {
            exponential_slow(rng, table, layer, x)
        };
    }
}

#[cold]
fn exponential_slow(rng: &mut Stream, table: &Ziggurat, mut layer: usize, mut x: f64) -> f64 {
    let mut base = 0.0;
    loop {
        if x < table.right[layer + 1] {
            return base + x;
        }
        if layer == 0 {
            // No memory: what lies beyond the edge is the edge and a new draw.
            base += EXPONENTIAL_EDGE;
        } else if table.under(layer, rng.unit(), libm::exp(-x)) {
            return base + x;
        }
        let bits = rng.bits();
        layer = (bits & 0xff) as usize;
        x = fraction(bits) * table.right[layer];
    }
}

/// One normal draw of mean 0 and deviation 1.
#[inline]
pub fn normal(rng: &mut Stream) -> f64 {
    let table = &*NORMAL;
    loop {
        let bits = rng.bits();
        let layer = (bits & 0xff) as usize;
        let x = fraction(bits) * table.right[layer];
        let signed = if bits & 0x100 == 0 { x } else { -x };
        if x < table.right[layer + 1] {
            return signed;
        }
        if layer == 0 {
            let tail = normal_tail(rng);
            return if bits & 0x100 == 0 { tail } else { -tail };
        }
        if table.under(layer, rng.unit(), libm::exp(-0.5 * x * x)) {
            return signed;
        }
    }
}

/// A normal draw given that it lies beyond the edge (Marsaglia, 1964).
#[cold]
fn normal_tail(rng: &mut Stream) -> f64 {
    loop {
        let x = exponential(rng) / NORMAL_EDGE;
        let y = exponential(rng);
        if y + y > x * x {
            return NORMAL_EDGE + x;
        }
    }
}

/// A Poisson draw; 0 for a mean that is not above 0.
pub fn poisson(mean: f64, rng: &mut Stream) -> u64 {
    if mean <= 0.0 || mean.is_nan() {
        return 0;
    }
    if mean < INVERSION_MEAN {
        let left = rng.unit();
        // e^(−mean) is no less than that, and most draws of a small mean are settled without it.
        if left < 1.0 - mean {
            return 0;
        }
        return poisson_inversion(mean, left, libm::exp(-mean));
    }
    Hat::new(mean).draw(mean, libm::log(mean), rng)
}

/// Poisson draws of one mean, many of them: the same ones as [`poisson`] makes, and cheaper.
#[derive(Clone, Copy, Debug)]
pub struct Poisson {
    mean: f64,
    /// e^(−mean) of a small mean; else the logarithm of the mean, for the rare draw that needs it.
    constant: f64,
    hat: Hat,
}

impl Poisson {
    /// Draws of this mean.
    pub fn new(mean: f64) -> Poisson {
        let small = mean < INVERSION_MEAN;
        Poisson {
            mean,
            constant: if small { libm::exp(-mean) } else { libm::log(mean) },
            hat: Hat::new(mean),
        }
    }

    /// One draw; 0 for a mean that is not above 0.
    #[inline]
    pub fn draw(&self, rng: &mut Stream) -> u64 {
        if self.mean <= 0.0 || self.mean.is_nan() {
            0
        } else if self.mean < INVERSION_MEAN {
            poisson_inversion(self.mean, rng.unit(), self.constant)
        } else {
            self.hat.draw(self.mean, self.constant, rng)
        }
    }
}

fn poisson_inversion(mean: f64, mut left: f64, mut share: f64) -> u64 {
    let mut count = 0_u32;
    // The share underflows long before the bound is met; it is there for the last ulp of `left`.
    while left >= share && count < 1_000 {
        left -= share;
        count += 1;
        share *= mean / f64::from(count);
    }
    u64::from(count)
}

/// PTRS: what its draws need of the mean.
#[derive(Clone, Copy, Debug)]
struct Hat {
    a: f64,
    b: f64,
    inverse_alpha: f64,
    squeeze: f64,
}

impl Hat {
    fn new(mean: f64) -> Hat {
        let b = 0.931 + 2.53 * libm::sqrt(mean);
        Hat {
            a: -0.059 + 0.024_83 * b,
            b,
            inverse_alpha: 1.123_9 + 1.132_8 / (b - 3.4),
            squeeze: 0.927_7 - 3.622_4 / (b - 2.0),
        }
    }

    fn draw(&self, mean: f64, log_mean: f64, rng: &mut Stream) -> u64 {
        let Hat {
            a,
            b,
            inverse_alpha,
            squeeze,
        } = *self;
        loop {
            let u = rng.unit() - 0.5;
            let v = 1.0 - rng.unit();
            let edge = 0.5 - u.abs();
            let count = libm::floor((2.0 * a / edge + b) * u + mean + 0.43);
            if edge >= 0.07 && v <= squeeze {
                return count as u64;
            }
            if count < 0.0 || (edge < 0.013 && v > edge) {
                continue;
            }
            let height = libm::log(v * inverse_alpha / (a / (edge * edge) + b));
            if height <= count * log_mean - mean - libm::lgamma(count + 1.0) {
                return count as u64;
            }
        }
    }
}

/// A binomial draw: how many of `trials` succeed when each does with this probability.
pub fn binomial(trials: u64, probability: f64, rng: &mut Stream) -> u64 {
    if trials == 0 || probability <= 0.0 || probability.is_nan() {
        return 0;
    }
    if probability >= 1.0 {
        return trials;
    }
    if probability > 0.5 {
        return trials - binomial(trials, 1.0 - probability, rng);
    }
    if trials as f64 * probability >= INVERSION_MEAN {
        return binomial_rejection(trials, probability, rng);
    }
    let mut left = rng.unit();
    // Bernoulli's inequality: (1 − p)ⁿ is no less than that.
    if left < 1.0 - trials as f64 * probability {
        return 0;
    }
    let odds = probability / (1.0 - probability);
    let mut share = libm::exp(trials as f64 * libm::log1p(-probability));
    let mut count = 0;
    while left >= share && count < trials.min(1_000) {
        left -= share;
        count += 1;
        share *= odds * (trials - count + 1) as f64 / count as f64;
    }
    count
}

/// BTRS.
fn binomial_rejection(trials: u64, probability: f64, rng: &mut Stream) -> u64 {
    let n = trials as f64;
    let deviation = libm::sqrt(n * probability * (1.0 - probability));
    let spread = 1.15 + 2.53 * deviation;
    let slope = -0.087_3 + 0.024_8 * spread + 0.01 * probability;
    let centre = n * probability + 0.5;
    let squeeze = 0.92 - 4.2 / spread;
    let alpha = (2.83 + 5.1 / spread) * deviation;
    let odds = probability / (1.0 - probability);
    let mode = libm::floor((n + 1.0) * probability);
    loop {
        let u = rng.unit() - 0.5;
        let v = 1.0 - rng.unit();
        let edge = 0.5 - u.abs();
        let count = libm::floor((2.0 * slope / edge + spread) * u + centre);
        if edge >= 0.07 && v <= squeeze {
            return count as u64;
        }
        if count < 0.0 || count > n {
            continue;
        }
        let height = libm::log(v * alpha / (slope / (edge * edge) + spread));
        let bound = (mode + 0.5) * libm::log((mode + 1.0) / (odds * (n - mode + 1.0)))
            + (n + 1.0) * libm::log((n - mode + 1.0) / (n - count + 1.0))
            + (count + 0.5) * libm::log(odds * (n - count + 1.0) / (count + 1.0))
            + correction(mode)
            + correction(n - mode)
            - correction(count)
            - correction(n - count);
        if height <= bound {
            return count as u64;
        }
    }
}

/// What Stirling's formula lacks of `ln k!`, in the form of BTRS: `ln k! − ln √2π − (k + ½) ln (k + 1) + (k + 1)`.
fn correction(k: f64) -> f64 {
    if k < 10.0 {
        const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;
        return libm::lgamma(k + 1.0) - HALF_LOG_TAU - (k + 0.5) * libm::log(k + 1.0) + (k + 1.0);
    }
    let square = (k + 1.0) * (k + 1.0);
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1_260.0 / square) / square) / (k + 1.0)
}

/// Layers of equal area under a falling density whose height at 0 is 1.
struct Ziggurat {
    /// Where each layer ends; the base's end is that of a rectangle with the area of base and tail.
    right: [f64; LAYERS + 1],
    /// The density there.
    height: [f64; LAYERS + 1],
}

impl Ziggurat {
    fn build(edge: f64, area: f64, density: fn(f64) -> f64, inverse: fn(f64) -> f64) -> Ziggurat {
        let mut right = [0.0; LAYERS + 1];
        let mut height = [1.0; LAYERS + 1];
        right[0] = area / density(edge);
        right[1] = edge;
        for layer in 2..LAYERS {
            right[layer] = inverse(area / right[layer - 1] + density(right[layer - 1]));
        }
        for layer in 0..LAYERS {
            height[layer] = density(right[layer]);
        }
        Ziggurat { right, height }
    }

    /// Whether a point at this share of the layer's height lies under the density.
    fn under(&self, layer: usize, share: f64, density: f64) -> bool {
        let low = self.height[layer];
        low + (self.height[layer + 1] - low) * share < density
    }
}

/// The upper 53 bits as a number in `[0, 1)`.
#[inline]
fn fraction(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const DRAWS: usize = 200_000;

    /// The largest distance between the empirical distribution and this one, times √n: above 1.95 in one of a
    /// thousand samples.
    fn kolmogorov(mut sample: Vec<f64>, cumulative: fn(f64) -> f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let n = sample.len() as f64;
        let distance = sample
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let f = cumulative(*x);
                (f - i as f64 / n).abs().max((f - (i + 1) as f64 / n).abs())
            })
            .fold(0.0, f64::max);
        distance * n.sqrt()
    }

    fn moments(sample: impl Iterator<Item = f64>) -> (f64, f64) {
        let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for x in sample {
            n += 1.0;
            let delta = x - mean;
            mean += delta / n;
            squares += delta * (x - mean);
        }
        (mean, squares / n)
    }

    #[test]
    fn layers_have_equal_areas_and_end_at_the_top() {
        for (table, area) in [(&*EXPONENTIAL, EXPONENTIAL_AREA), (&*NORMAL, NORMAL_AREA)] {
            for layer in 1..LAYERS {
                let found = table.right[layer] * (table.height[layer + 1] - table.height[layer]);
                assert!((found / area - 1.0).abs() < 1e-7, "layer {layer}: {found}");
            }
        }
        // The base holds the tail: ∫ beyond the edge.
        let tail = libm::exp(-EXPONENTIAL_EDGE) * (1.0 + EXPONENTIAL_EDGE);
        assert!((tail / EXPONENTIAL_AREA - 1.0).abs() < 1e-9, "{tail}");
        let tail = NORMAL_EDGE * libm::exp(-0.5 * NORMAL_EDGE * NORMAL_EDGE)
            + libm::sqrt(std::f64::consts::FRAC_PI_2)
                * libm::erfc(NORMAL_EDGE * std::f64::consts::FRAC_1_SQRT_2);
        assert!((tail / NORMAL_AREA - 1.0).abs() < 1e-9, "{tail}");
    }

    #[test]
    fn exponential_and_normal_follow_their_laws() {
        let mut rng = Seed(11).stream("draw", 0);
        let sample: Vec<f64> = (0..DRAWS).map(|_| exponential(&mut rng)).collect();
        assert!(sample.iter().any(|x| *x > EXPONENTIAL_EDGE), "the tail is drawn");
        let distance = kolmogorov(sample, |x| 1.0 - libm::exp(-x));
        assert!(distance < 1.95, "{distance}");

        let sample: Vec<f64> = (0..DRAWS).map(|_| normal(&mut rng)).collect();
        assert!(sample.iter().any(|x| x.abs() > NORMAL_EDGE), "the tail is drawn");
        let distance = kolmogorov(sample, |x| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2));
        assert!(distance < 1.95, "{distance}");
    }

    #[test]
    fn tails_are_exact() {
        let mut rng = Seed(12).stream("draw", 0);
        let (mean, variance) = moments((0..20_000).map(|_| normal_tail(&mut rng)));
        // Moments of a normal beyond `a`: the hazard λ, and 1 + aλ − λ².
        let a = NORMAL_EDGE;
        let hazard = libm::exp(-0.5 * a * a)
            / (libm::sqrt(std::f64::consts::FRAC_PI_2) * libm::erfc(a * std::f64::consts::FRAC_1_SQRT_2));
        assert!((mean - hazard).abs() < 0.01, "{mean} {hazard}");
        assert!(
            (variance / (1.0 + a * hazard - hazard * hazard) - 1.0).abs() < 0.06,
            "{variance}"
        );
    }

    #[test]
    fn counts_have_the_right_moments_on_both_sides_of_the_change_of_method() {
        let mut rng = Seed(13).stream("draw", 0);
        let n = 100_000.0_f64;
        for mean in [0.3, 4.0, 9.9, 10.1, 60.0, 1e4, 1e9] {
            let mut again = rng.clone();
            let law = Poisson::new(mean);
            for _ in 0..1_000 {
                assert_eq!(law.draw(&mut again), poisson(mean, &mut rng));
            }
            let (m, v) = moments((0..n as u32).map(|_| poisson(mean, &mut rng) as f64));
            assert!((m - mean).abs() < 4.0 * (mean / n).sqrt(), "poisson {mean}: {m}");
            assert!(
                (v / mean - 1.0).abs() < 4.0 * ((2.0 + 1.0 / mean) / n).sqrt(),
                "poisson {mean}: {v}"
            );
        }
        for (trials, p) in [
            (1, 0.3),
            (30, 0.1),
            (30, 0.9),
            (40, 0.5),
            (1_000, 0.02),
            (1_000_000, 0.3),
        ] {
            let (mean, variance) = (trials as f64 * p, trials as f64 * p * (1.0 - p));
            let (m, v) = moments((0..n as u32).map(|_| binomial(trials, p, &mut rng) as f64));
            assert!(
                (m - mean).abs() < 4.0 * (variance / n).sqrt(),
                "binomial {trials} {p}: {m}"
            );
            assert!(
                (v / variance - 1.0).abs() < 4.0 * ((2.0 + 1.0 / variance) / n).sqrt(),
                "binomial {trials} {p}: {v}"
            );
        }
        assert_eq!(
            poisson(-1.0, &mut rng) + poisson(f64::NAN, &mut rng) + binomial(5, 0.0, &mut rng),
            0
        );
        assert_eq!(binomial(5, 1.0, &mut rng), 5);
    }

    #[test]
    fn counts_follow_their_laws_where_the_rejection_begins() {
        let mut rng = Seed(14).stream("draw", 0);
        let mut seen = [0_u32; 64];
        for _ in 0..DRAWS {
            seen[poisson(12.0, &mut rng).min(63) as usize] += 1;
        }
        let mut seen_binomial = [0_u32; 64];
        for _ in 0..DRAWS {
            seen_binomial[binomial(48, 0.25, &mut rng) as usize] += 1;
        }
        let mut share = libm::exp(-12.0);
        let mut share_binomial = libm::pow(0.75, 48.0);
        for k in 0..26_u32 {
            for (seen, share) in [
                (seen[k as usize], share),
                (seen_binomial[k as usize], share_binomial),
            ] {
                let expected = share * DRAWS as f64;
                let error = (f64::from(seen) - expected).abs();
                assert!(error < 5.0 * expected.sqrt() + 3.0, "{k}: {seen} for {expected}");
            }
            share *= 12.0 / f64::from(k + 1);
            share_binomial *= f64::from(48 - k) / f64::from(k + 1) / 3.0;
        }
    }
}
