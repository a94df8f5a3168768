//! A pace: one permit a gap, no burst after a rest.
//!
//! Where a token bucket lets a rested caller catch up, a pace does not: it is for work that is nobody's request
//! (warming, refreshing), which has no claim on what it did not use.
//!
//! ```
//! use seawall_core::{pace::Pace, time::{Span, Time}};
//! let mut pace = Pace::new(10.0);
//! assert!(pace.take(Time::ZERO) && !pace.take(Time::ZERO));
//! let after_a_rest = Time::ZERO + Span::secs(60);
//! assert!(pace.take(after_a_rest) && !pace.take(after_a_rest));
//! ```

use crate::time::{Span, Time};

/// Hands out permits at an even pace.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    gap: Span,
    next: Time,
}

impl Pace {
    /// This many permits a second, the first at once; none when `per_second` is not above zero.
    pub fn new(per_second: f64) -> Pace {
        let some = per_second > 0.0;
        Pace {
            gap: if some {
                Span::from_secs_f64(1.0 / per_second).max(Span::nanos(1))
            } else {
                Span::MAX
            },
            next: if some { Time::ZERO } else { Time::NEVER },
        }
    }

    /// Takes the permit that is due, if one is.
    ///
    /// Who comes late by less than a gap loses nothing (the permits lie on a grid); who comes later than that starts
    /// a new grid.
    pub fn take(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        let on_grid = now.since(self.next) < self.gap;
        self.next = if on_grid { self.next } else { now } + self.gap;
        debug_assert!(
            self.next > now || now == Time::NEVER,
            "two permits at one instant"
        );
        true
    }

    /// When the next permit is due.
    pub fn next(&self) -> Time {
        self.next
    }
}
