//! The deadline: one budget of time for a request, spent across all tiers and retries.
//!
//! A request's deadline is set once, on arrival. Each tier, queue and load gets the least of its own limit and of
//! what is left, so four slow tiers never add up to four timeouts. It does not stop anything by itself.
//!
//! ```
//! use seawall_core::deadline::Deadline;
//! use seawall_core::time::{Span, Time};
//! let deadline = Deadline::new(Time::ZERO, Some(Span::secs(1)));
//! let tier = Some(Span::millis(400));
//! let now = Time::ZERO + Span::millis(800);
//! assert_eq!(deadline.within(Time::ZERO, tier), Span::millis(400));
//! assert_eq!(deadline.within(now, tier), Span::millis(200), "the rest of the budget, not a timeout of its own");
//! ```

use crate::time::{Span, Time};

/// Limits on waiting.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// The whole request, from its arrival: all tiers, queues, loads and retries together.
    pub total: Option<Span>,
    /// One look-up in a shared cache (the cache's own timeout when absent).
    pub cache: Option<Span>,
    /// After this long a reader of a load is answered stale, where staleness allows, and the load goes on.
    pub soft: Option<Span>,
    /// After this long a load is given up: its key is free again and its work is cancelled.
    pub hard: Option<Span>,
    /// Whether work is stopped when nobody waits for its result any more.
    pub cancel: bool,
}

/// The instant at which a request's time is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Time,
}

impl Deadline {
    /// Never passes.
    pub const NEVER: Deadline = Deadline { at: Time::NEVER };

    /// `total` from now; never when absent.
    pub fn new(now: Time, total: Option<Span>) -> Deadline {
        total.map_or(Deadline::NEVER, |total| Deadline { at: now + total })
    }

    /// The instant itself.
    pub fn at(self) -> Time {
        self.at
    }

    /// What is left: nothing once it has passed, [`Span::MAX`] when it never passes.
    pub fn left(self, now: Time) -> Span {
        if self.at == Time::NEVER {
            Span::MAX
        } else {
            self.at.since(now)
        }
    }

    /// Whether nothing is left.
    pub fn passed(self, now: Time) -> bool {
        self.left(now).is_zero()
    }

    /// How long a step may take: its own limit, or what is left when that is less.
    pub fn within(self, now: Time, limit: Option<Span>) -> Span {
        limit.map_or(self.left(now), |limit| limit.min(self.left(now)))
    }

    /// The sooner of this deadline and one `limit` from now: the deadline of a part of the work.
    pub fn sooner(self, now: Time, limit: Option<Span>) -> Deadline {
        self.min(Deadline::new(now, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_total_only_the_steps_are_limited() {
        let deadline = Deadline::new(Time::ZERO, None);
        assert_eq!(deadline.left(Time::ZERO + Span::secs(9)), Span::MAX);
        assert_eq!(deadline.within(Time::ZERO, None), Span::MAX);
        assert_eq!(deadline.within(Time::ZERO, Some(Span::secs(1))), Span::secs(1));
        assert!(!deadline.passed(Time::NEVER));
    }

    #[test]
    fn it_passes_at_its_instant() {
        let deadline = Deadline::new(Time::ZERO, Some(Span::secs(1)));
        assert!(!deadline.passed(Time::from_nanos(999_999_999)));
        assert!(deadline.passed(Time::ZERO + Span::secs(1)));
        assert_eq!(deadline.left(Time::ZERO + Span::secs(2)), Span::ZERO);
        let part = deadline.sooner(Time::ZERO, Some(Span::millis(300)));
        assert_eq!(part.at(), Time::ZERO + Span::millis(300));
        assert_eq!(part.sooner(Time::ZERO, Some(Span::secs(3))), part);
        assert_eq!(part.sooner(Time::ZERO, None), part);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn steps_that_each_take_all_they_may_never_overrun(
            total in 0_u64..10_000,
            limits in prop::collection::vec(prop::option::of(0_u64..5_000), 0..12),
        ) {
            let deadline = Deadline::new(Time::ZERO, Some(Span::millis(total)));
            let mut now = Time::ZERO;
            for limit in limits {
                let limit = limit.map(Span::millis);
                let may = deadline.within(now, limit);
                prop_assert!(limit.is_none_or(|limit| may <= limit));
                prop_assert_eq!(now + may, deadline.sooner(now, limit).at().max(now));
                now += may;
                prop_assert!(now <= deadline.at());
            }
        }
    }
}
