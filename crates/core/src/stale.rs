//! Staleness: what may be served past its freshness, when, and for how long.
//!
//! An entry is fresh, then (for a bound each) good enough while a refresh runs, and good enough when the refresh
//! fails. An explicit purge beats all of it. This holds no entries and starts no refresh.
//!
//! ```
//! use seawall_core::{stale::{Age, Bounds, Settings}, time::{Span, Time}};
//! let mut bounds = Bounds::new(&Settings::default());
//! let (loaded, fresh_until) = (Time::ZERO, Time::ZERO + Span::secs(60));
//! let later = fresh_until + Span::secs(10);
//! assert_eq!(bounds.judge(later, loaded, fresh_until), Age::Stale);
//! bounds.purge(Time::ZERO + Span::secs(5));
//! assert_eq!(bounds.judge(later, loaded, fresh_until), Age::Gone);
//! ```

use crate::time::{Span, Time};

/// The bounds on stale answers. An entry is kept for its TTL plus the longer of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// An entry this long past its freshness is served while it is refreshed in the background.
    pub while_revalidating: Span,
    /// An entry this long past its freshness is served when its refresh fails, is shed or does not end in time.
    pub on_error: Span,
    /// At most this many background refreshes run at a time (per instance).
    pub refreshes_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            while_revalidating: Span::secs(30),
            on_error: Span::secs(300),
            refreshes_max: 100,
        }
    }
}

/// How old an entry is, in terms of what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// An answer like any other.
    Fresh,
    /// Served now, while it is refreshed in the background.
    Stale,
    /// Served only when its refresh fails, is shed or does not end in time.
    LastResort,
    /// Not served.
    Gone,
}

/// Judges how long past its freshness an entry may be served.
///
/// Every bound is half open: at the very instant it ends, it has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    settings: Settings,
    /// What was loaded up to this instant has been purged.
    purged: Option<Time>,
}

impl Bounds {
    /// Judges by these settings.
    pub fn new(settings: &Settings) -> Bounds {
        Bounds {
            settings: settings.clone(),
            purged: None,
        }
    }

    /// Judges by other settings from now on; what was purged stays purged.
    pub fn retune(&mut self, settings: &Settings) {
        self.settings = settings.clone();
    }

    /// Everything whose load began at `now` or before is gone, however fresh or stale.
    ///
    /// The bound is on when a load *began*: one that was under way at the purge may carry the old value.
    pub fn purge(&mut self, now: Time) {
        self.purged = self.purged.max(Some(now));
    }

    /// Whether a purge has overtaken an entry whose load began at `loaded`.
    pub fn purged(&self, loaded: Time) -> bool {
        self.purged.is_some_and(|purged| loaded <= purged)
    }

    /// The age of an entry whose load began at `loaded` and which is fresh until `fresh_until`; a purge comes first.
    pub fn judge(&self, now: Time, loaded: Time, fresh_until: Time) -> Age {
        if self.purged(loaded) {
            Age::Gone
        } else if self.fresh(now, fresh_until) {
            Age::Fresh
        } else if self.while_revalidating(now, fresh_until) {
            Age::Stale
        } else if self.on_error(now, fresh_until) {
            Age::LastResort
        } else {
            Age::Gone
        }
    }

    /// Whether the entry is fresh. Knows of no purge: see [`Bounds::judge`].
    pub fn fresh(&self, now: Time, fresh_until: Time) -> bool {
        now < fresh_until
    }

    /// Whether it may be served while it is refreshed (also true of a fresh one). Knows of no purge.
    pub fn while_revalidating(&self, now: Time, fresh_until: Time) -> bool {
        now < fresh_until + self.settings.while_revalidating
    }

    /// Whether it may be served when its refresh failed (also true of a fresh one). Knows of no purge.
    pub fn on_error(&self, now: Time, fresh_until: Time) -> bool {
        now < fresh_until + self.settings.on_error
    }

    /// How long past its freshness a store has to keep an entry: the longer bound.
    pub fn keep_extra(&self) -> Span {
        self.settings.while_revalidating.max(self.settings.on_error)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Age::{Fresh, Gone, LastResort, Stale},
        *,
    };
    use proptest::prelude::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::secs(secs)
    }

    #[test]
    fn an_entry_ages_in_steps() {
        let bounds = Bounds::new(&Settings::default());
        let ages: Vec<Age> = [0, 59, 60, 89, 90, 359, 360]
            .map(|secs| bounds.judge(at(secs), Time::ZERO, at(60)))
            .into();
        assert_eq!(ages, [Fresh, Fresh, Stale, Stale, LastResort, LastResort, Gone]);
        assert_eq!(bounds.keep_extra(), Span::secs(300));
    }

    #[test]
    fn a_purge_beats_freshness_and_every_staleness() {
        let mut bounds = Bounds::new(&Settings::default());
        bounds.purge(at(10));
        for now in [11, 70, 200] {
            assert_eq!(bounds.judge(at(now), at(5), at(60)), Age::Gone);
            // A load that was under way at the purge brings the old value back.
            assert_eq!(bounds.judge(at(now), at(10), at(60)), Age::Gone);
            assert_ne!(bounds.judge(at(now), at(11), at(60)), Age::Gone);
        }
        bounds.retune(&Settings::default());
        bounds.purge(at(3));
        assert!(bounds.purged(at(5)), "an earlier purge does not undo a later one");
    }

    #[test]
    fn bounds_of_nothing_serve_nothing_stale() {
        let mut bounds = Bounds::new(&Settings::default());
        bounds.retune(&Settings {
            while_revalidating: Span::ZERO,
            on_error: Span::ZERO,
            ..Settings::default()
        });
        assert_eq!(bounds.judge(at(60), Time::ZERO, at(60)), Age::Gone);
        assert_eq!(bounds.keep_extra(), Span::ZERO);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_entry_only_grows_older(
            revalidating in 0_u64..100,
            on_error in 0_u64..100,
            steps in prop::collection::vec((0_u64..20, prop::bool::weighted(0.05)), 1..100),
        ) {
            let mut bounds = Bounds::new(&Settings {
                while_revalidating: Span::secs(revalidating),
                on_error: Span::secs(on_error),
                ..Settings::default()
            });
            let (mut now, mut age) = (at(1), Age::Fresh);
            for (wait, purge) in steps {
                now += Span::secs(wait);
                if purge {
                    bounds.purge(now);
                }
                let judged = bounds.judge(now, at(1), at(60));
                prop_assert!(judged >= age);
                prop_assert!(!bounds.purged(at(1)) || judged == Age::Gone);
                prop_assert!(judged == Age::Gone || now < at(60) + bounds.keep_extra());
                age = judged;
            }
        }
    }
}
