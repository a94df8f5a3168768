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
    #[expect(clippy::unused_self, reason = "one of three questions that are asked alike")]
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
