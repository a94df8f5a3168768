//! Early refresh: the odd reader refreshes an entry before it expires, the more likely the nearer the end (XFetch).
//!
//! Vattani, Chierichetti and Lowenstein, "Optimal probabilistic cache stampede prevention", VLDB 2015: refresh when
//! `now − cost · β · ln(u) ≥ expiry`, with `u` uniform in `(0, 1]`. No state, no lock and no talk between readers;
//! it makes a stampede unlikely and does not exclude it, which is what coalescing is for.
//!
//! ```
//! use seawall_core::{early, rng::Seed, time::{Span, Time}};
//! let mut rng = Seed(1).stream("early", 0);
//! let settings = early::Settings::default();
//! let expiry = Time::ZERO + Span::secs(60);
//! assert!(!early::due(&settings, Time::ZERO, expiry, Span::millis(100), &mut rng));
//! assert!(early::due(&settings, expiry, expiry, Span::millis(100), &mut rng));
//! ```

use crate::rng::Stream;
use crate::time::{Span, Time};

/// How eagerly entries are refreshed early.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// 1 is optimal for exponential gaps; more is earlier.
    pub beta: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { beta: 1.0 }
    }
}

/// `−ln` of the smallest `u` that is drawn (2⁻⁵³): no draw looks further ahead than this many costs.
const AHEAD_MAX: f64 = 36.75;

/// Whether a reader at `now` should refresh an entry that expires at `fresh_until` and took `cost` to load.
///
/// True with probability `e^(−gap / (cost · β))`, where `gap` is the time left. Draws once, and not at all when no
/// draw could change the answer, which spares most hits the logarithm.
pub fn due(settings: &Settings, now: Time, fresh_until: Time, cost: Span, rng: &mut Stream) -> bool {
    let gap = fresh_until.since(now);
    if gap.is_zero() {
        return true;
    }
    let scale = cost.as_secs_f64() * settings.beta;
    let gap = gap.as_secs_f64();
    if gap > scale * AHEAD_MAX || scale.is_nan() {
        return false;
    }
    -scale * libm::log(1.0 - rng.unit()) >= gap
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    const EXPIRY: Time = Time::from_nanos(60_000_000_000);

    #[test]
    fn the_chance_falls_exponentially_with_the_gap() {
        let mut rng = Seed(6).stream("early", 0);
        let cost = Span::millis(100);
        for (beta, gap_ms) in [(1.0, 10), (1.0, 100), (1.0, 300), (2.0, 100), (0.5, 100)] {
            let now = EXPIRY - Span::millis(gap_ms);
            let settings = Settings { beta };
            let draws = 40_000;
            let due = (0..draws)
                .filter(|_| due(&settings, now, EXPIRY, cost, &mut rng))
                .count();
            let (found, wanted) = (
                f64::from(due as u32) / f64::from(draws),
                libm::exp(-(gap_ms as f64) / (100.0 * beta)),
            );
            // Four standard errors.
            let error = 4.0 * libm::sqrt(wanted * (1.0 - wanted) / f64::from(draws));
            assert!(
                (found - wanted).abs() < error,
                "β {beta}, {gap_ms} ms: {found} for {wanted}"
            );
        }
    }

    #[test]
    fn far_from_the_end_nothing_is_drawn() {
        let (mut drawn, mut untouched) = (Seed(1).stream("early", 0), Seed(1).stream("early", 0));
        for (beta, cost) in [
            (1.0, Span::millis(100)),
            (0.0, Span::secs(60)),
            (f64::NAN, Span::secs(1)),
            (1.0, Span::ZERO),
        ] {
            assert!(!due(&Settings { beta }, Time::ZERO, EXPIRY, cost, &mut drawn));
        }
        assert_eq!(drawn.bits(), untouched.bits());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_has_expired_is_due(now in any::<u64>(), expiry in any::<u64>(), cost in any::<u64>(), beta in -1.0..10.0_f64) {
            let mut rng = Seed(now).stream("early", 0);
            let (now, expiry) = (Time::from_nanos(now), Time::from_nanos(expiry));
            let due = due(&Settings { beta }, now, expiry, Span::nanos(cost), &mut rng);
            prop_assert!(due || now < expiry);
            prop_assert!(!due || now >= expiry || beta > 0.0);
        }
    }
}
