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
