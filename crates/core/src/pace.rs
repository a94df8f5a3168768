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

    /// Goes on at another pace; the permit that is next keeps its instant, or comes sooner.
    pub fn retune(&mut self, now: Time, per_second: f64) {
        let pace = Pace::new(per_second);
        self.next = pace.next.max(self.next.min(now + pace.gap));
        self.gap = pace.gap;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pace_holds_when_it_is_asked_late() {
        // Asked every 7 ms for one permit each 10 ms: the grid makes up for the lateness.
        let mut pace = Pace::new(100.0);
        let taken = (0..1_000_u64)
            .filter(|poll| pace.take(Time::ZERO + Span::millis(poll * 7)))
            .count();
        assert_eq!(taken, 700);
    }

    #[test]
    fn no_pace_is_no_permit() {
        for per_second in [0.0, -1.0, f64::NAN] {
            let mut pace = Pace::new(per_second);
            assert!(!pace.take(Time::ZERO + Span::secs(1_000_000)));
            assert_eq!(pace.next(), Time::NEVER);
        }
    }

    #[test]
    fn a_new_pace_holds_at_once_and_hands_out_nothing_extra() {
        let at = |ms| Time::ZERO + Span::millis(ms);
        let mut pace = Pace::new(0.1);
        assert!(pace.take(at(0)));
        pace.retune(at(1_000), 10.0);
        assert_eq!(pace.next(), at(1_100));
        pace.retune(at(1_050), 0.1);
        assert_eq!(pace.next(), at(1_100), "slower from the next one on");
        pace.retune(at(1_050), 0.0);
        assert!(!pace.take(at(9_000)));
        pace.retune(at(10_000), 10.0);
        assert_eq!(pace.next(), at(10_100));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn permits_never_exceed_one_a_gap_and_one(waits in prop::collection::vec(0_u64..40, 1..300)) {
            let mut pace = Pace::new(100.0);
            let mut taken: Vec<u64> = Vec::new();
            let mut now_ms = 0;
            for wait in waits {
                now_ms += wait;
                let now = Time::ZERO + Span::millis(now_ms);
                let due = pace.next() <= now;
                prop_assert_eq!(pace.take(now), due);
                prop_assert!(pace.next() > now);
                taken.extend(due.then_some(now_ms));
            }
            // Over every stretch, not only from the start.
            for (index, first) in taken.iter().enumerate() {
                for (more, last) in taken[index..].iter().enumerate() {
                    prop_assert!(more as u64 <= 1 + (last - first) / 10);
                }
            }
        }
    }
}
