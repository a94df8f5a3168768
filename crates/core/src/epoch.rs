//! Epochs: what to do when invalidations were lost.
//!
//! An instance that missed invalidations (its subscription dropped, say) no longer knows which of its entries are
//! wrong. To flush them all would be the stampede that the cache is there to prevent. Instead a new epoch starts:
//! entries of an older one may be stale, are still served, and are refreshed as they are asked for, at a pace. An
//! explicit purge is something else and is not paced ([`crate::stale::Bounds::purge`]).
//!
//! ```
//! use seawall_core::{epoch::{Epochs, Judged}, time::Time};
//! let mut epochs = Epochs::new(10.0);
//! let stored_in = epochs.current();
//! assert_eq!(epochs.judge(Time::ZERO, stored_in), Judged::Current);
//! epochs.bump(Time::ZERO);
//! assert_eq!(epochs.judge(Time::ZERO, stored_in), Judged::Refresh);
//! assert_eq!(epochs.judge(Time::ZERO, stored_in), Judged::ServeOld);
//! ```

use crate::pace::Pace;
use crate::time::{Span, Time};

/// The number of an epoch, kept with every entry: that of when its load *began*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is of the current epoch: an answer like any other.
    Current,
    /// It may be wrong: serve it, and refresh it in the background.
    Refresh,
    /// It may be wrong: serve it; its refresh has to wait for its turn.
    ServeOld,
}

/// Counts epochs and paces the refreshes of what older ones left.
#[derive(Clone, Debug)]
pub struct Epochs {
    current: Epoch,
    since: Time,
    pace: Pace,
}

impl Epochs {
    /// The first epoch; of later ones, at most `refreshes_per_second` entries a second are refreshed (none when that
    /// is not above zero, and then they live out their TTL).
    pub fn new(refreshes_per_second: f64) -> Epochs {
        Epochs {
            current: Epoch::default(),
            since: Time::ZERO,
            pace: Pace::new(refreshes_per_second),
        }
    }

    /// The epoch of an entry whose load begins now.
    pub fn current(&self) -> Epoch {
        self.current
    }

    /// How long the current epoch has lasted. After the longest TTL no entry of an older one is left.
    pub fn age(&self, now: Time) -> Span {
        now.since(self.since)
    }

    /// Invalidations were lost: starts a new epoch. The pace goes on, so that a connection that flaps does not raise
    /// the rate of refreshes.
    pub fn bump(&mut self, now: Time) {
        self.current = Epoch(self.current.0.saturating_add(1));
        self.since = now;
    }

    /// Refreshes at another pace from now on.
    pub fn retune(&mut self, now: Time, refreshes_per_second: f64) {
        self.pace.retune(now, refreshes_per_second);
    }

    /// Judges an entry that is asked for. [`Judged::Refresh`] takes a turn of the pace: who gets it must refresh.
    pub fn judge(&mut self, now: Time, entry: Epoch) -> Judged {
        if entry >= self.current {
            Judged::Current
        } else if self.pace.take(now) {
            Judged::Refresh
        } else {
            Judged::ServeOld
        }
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert!(
            self.current > Epoch(0) || self.since == Time::ZERO,
            "the first epoch began at the start"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn older_entries_are_refreshed_at_the_pace_and_served_all_the_while() {
        let mut epochs = Epochs::new(100.0);
        let old = epochs.current();
        epochs.bump(Time::ZERO + Span::secs(10));
        let refreshed = (0..20_000_u64)
            .map(|read| epochs.judge(Time::ZERO + Span::secs(10) + Span::micros(read * 100), old))
            .filter(|judged| *judged == Judged::Refresh)
            .count();
        // Two seconds at 100 a second.
        assert_eq!(refreshed, 200);
        assert_eq!(
            epochs.judge(Time::ZERO + Span::secs(12), epochs.current()),
            Judged::Current
        );
    }

    #[test]
    fn retuning_changes_the_pace_and_not_the_epoch() {
        let mut epochs = Epochs::new(0.0);
        let old = epochs.current();
        epochs.bump(Time::ZERO);
        assert_eq!(epochs.judge(Time::ZERO, old), Judged::ServeOld);
        epochs.retune(Time::ZERO, 10.0);
        assert_eq!(epochs.current(), Epoch(1));
        assert_eq!(epochs.judge(Time::ZERO + Span::millis(100), old), Judged::Refresh);
    }

    #[test]
    fn a_flapping_connection_does_not_raise_the_pace() {
        let mut epochs = Epochs::new(1.0);
        let old = epochs.current();
        let refreshed = (0..1_000_u64)
            .filter(|ms| {
                let now = Time::ZERO + Span::millis(*ms);
                epochs.bump(now);
                epochs.judge(now, old) == Judged::Refresh
            })
            .count();
        assert_eq!(refreshed, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn refreshes_never_outrun_the_pace(steps in prop::collection::vec((0_u64..300, any::<bool>()), 1..300)) {
            let mut epochs = Epochs::new(10.0);
            let (mut now, mut refreshed) = (Time::ZERO, 0_u64);
            let oldest = epochs.current();
            for (wait_ms, bump) in steps {
                now += Span::millis(wait_ms);
                if bump {
                    epochs.bump(now);
                    prop_assert_eq!(epochs.age(now), Span::ZERO);
                }
                let judged = epochs.judge(now, oldest);
                prop_assert_eq!(judged == Judged::Current, epochs.current() == oldest);
                refreshed += u64::from(judged == Judged::Refresh);
                epochs.invariants();
                prop_assert!(refreshed <= 1 + now.as_nanos() / Span::millis(100).as_nanos());
            }
        }
    }
}
