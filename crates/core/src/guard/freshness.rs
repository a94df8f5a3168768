//! What an entry is worth to a reader: the one decision that is made for each hit.
//!
//! It is apart from the guard and small enough to be copied, so that a driver may make it without asking the guard
//! (and without whatever keeps the guard to one caller at a time). Then a hit that needs nothing else is over. It
//! knows of no purge: who decides by it sees to it that what was purged is no longer found.
//!
//! ```
//! use seawall_core::guard::{Entry, Freshness, Verdict};
//! use seawall_core::{rng::Seed, time::{Span, Time}};
//! let end = Time::ZERO + Span::secs(60);
//! let entry = Entry {
//!     stored: Time::ZERO, fresh_until: end, refresh_at: end, cost: Span::millis(10), version: 1, negative: false,
//!     intact: true,
//! };
//! let mut rng = Seed(1).stream("freshness", 0);
//! let freshness = Freshness::default();
//! assert_eq!(freshness.judge(Time::ZERO, &entry, Span::MAX, &mut rng), Verdict::Fresh);
//! assert_eq!(freshness.judge(Time::ZERO + Span::secs(5), &entry, Span::secs(5), &mut rng), Verdict::Past);
//! assert_eq!(freshness.judge(end, &entry, Span::MAX, &mut rng), Verdict::Past);
//! ```

use crate::early;
use crate::rng::Stream;
use crate::time::{Span, Time};

use super::step::Entry;

/// What an entry is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An answer like any other.
    Fresh,
    /// An answer, whose refresh is due.
    Due,
    /// Within its freshness, but an invalidation of it may have been lost.
    Doubtful,
    /// Past its freshness.
    Past,
}

/// Judges entries.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Freshness {
    /// What was read from the origin before this may have missed an invalidation.
    pub epoch_began: Time,
    /// How eagerly entries are refreshed early ([`early::Settings::beta`]); not at all when absent.
    pub beta: Option<f64>,
}

impl Freshness {
    /// Judges an entry for a reader to whom it is fresh for `fresh_for` at most.
    ///
    /// It draws only where the draw could matter: near the end of an entry, under early refresh.
    #[inline]
    pub fn judge(&self, now: Time, entry: &Entry, fresh_for: Span, rng: &mut Stream) -> Verdict {
        if now >= entry.fresh_until || now >= entry.stored + fresh_for {
            Verdict::Past
        } else if entry.stored < self.epoch_began {
            Verdict::Doubtful
        } else if now >= entry.refresh_at || self.is_early(now, entry, rng) {
            Verdict::Due
        } else {
            Verdict::Fresh
        }
    }

    pub(super) fn retune(&mut self, settings: Option<&early::Settings>) {
        self.beta = settings.map(|settings| settings.beta);
    }

    #[inline]
    fn is_early(&self, now: Time, entry: &Entry, rng: &mut Stream) -> bool {
        self.beta.is_some_and(|beta| {
            early::due(&early::Settings { beta }, now, entry.fresh_until, entry.cost, rng)
        })
    }
}
