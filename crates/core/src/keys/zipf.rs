//! Zipf laws: weights, the alias table, and rejection-inversion where a table would be too large.

use std::sync::Arc;

use crate::rng::Stream;

/// A column of the alias table: below the threshold it is the key of the column, else the other one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) threshold: u32,
    pub(super) other: u32,
}

pub(super) fn weight(key: u64, exponent: f64) -> f64 {
    libm::exp(-exponent * libm::log(key as f64 + 1.0))
}

/// Vose's construction, with the columns in the order of the keys.
pub(super) fn alias(mut weights: Vec<f64>, total: f64) -> Arc<[Cell]> {
    let count = weights.len();
    let scale = count as f64 / total;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (key, weight) in weights.iter_mut().enumerate() {
        *weight *= scale;
        if *weight < 1.0 {
            small.push(key as u32);
        } else {
            large.push(key as u32);
        }
    }
    let mut cells: Vec<Cell> = (0..count as u32)
        .map(|key| Cell {
            threshold: u32::MAX,
            other: key,
        })
        .collect();
    while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
        small.pop();
        let share = weights[poor as usize];
        cells[poor as usize] = Cell {
            threshold: (share * f64::from(u32::MAX)) as u32,
            other: rich,
        };
        weights[rich as usize] -= 1.0 - share;
        if weights[rich as usize] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    cells.into()
}

/// `Σ 1/k^exponent` for k of `1..=count`: the first thousand one by one, the rest by Euler and Maclaurin.
pub(super) fn harmonic(count: u64, exponent: f64) -> f64 {
    const HEAD: u64 = 1_000;
    let head: f64 = (0..count.min(HEAD)).rev().map(|key| weight(key, exponent)).sum();
    if count <= HEAD {
        return head;
    }
    let (a, b) = (HEAD as f64, count as f64);
    let f = |x: f64| libm::exp(-exponent * libm::log(x));
    let slope = |x: f64| -exponent * f(x) / x;
    head + integral(b, exponent) - integral(a, exponent) + (f(b) - f(a)) / 2.0 + (slope(b) - slope(a)) / 12.0
}

/// The integral of `x^-exponent` from 1, also where the exponent is 1 or near.
fn integral(x: f64, exponent: f64) -> f64 {
    let log = libm::log(x);
    log * expm1_over((1.0 - exponent) * log)
}

/// `(eˣ − 1) / x`.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 {
        libm::expm1(x) / x
    } else {
        1.0 + x / 2.0
    }
}

/// Zipf without a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejection {
    count: u64,
    exponent: f64,
    first: f64,
    last: f64,
    squeeze: f64,
}

impl Rejection {
    pub(super) fn new(count: u64, exponent: f64) -> Rejection {
        let mut zipf = Rejection {
            count,
            exponent,
            first: integral(1.5, exponent) - 1.0,
            last: integral(count as f64 + 0.5, exponent),
            squeeze: 0.0,
        };
        zipf.squeeze = 2.0 - zipf.inverse(integral(2.5, exponent) - weight(1, exponent));
        zipf
    }

    pub(super) fn draw(&self, rng: &mut Stream) -> u64 {
        loop {
            let area = self.last + rng.unit() * (self.first - self.last);
            let x = self.inverse(area);
            let rank = libm::floor(x + 0.5).clamp(1.0, self.count as f64);
            let under = area >= integral(rank + 0.5, self.exponent) - weight(rank as u64 - 1, self.exponent);
            if rank - x <= self.squeeze || under {
                return rank as u64 - 1;
            }
        }
    }

    /// The inverse of [`integral`].
    fn inverse(&self, area: f64) -> f64 {
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        let ratio = if t.abs() > 1e-8 {
            libm::log1p(t) / t
        } else {
            1.0 - t / 2.0
        };
        libm::exp(ratio * area)
    }
}
