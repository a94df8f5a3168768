//! How long an entry is kept: TTL by class, jitter, stagger, and the TTL of "there is no such thing".
//!
//! Jitter only shortens, so a TTL stays the promise it was: nothing is fresh for longer. This is not a store and
//! keeps no entries; what is served past its freshness is [`crate::stale`]'s business.
//!
//! ```
//! use seawall_core::{rng::Seed, time::Span, ttl::{Class, Jitter, Settings, Ttl}};
//! let ttl = Ttl::new(&Settings { jitter: Some(Jitter::Share(0.2)), ..Settings::default() });
//! let mut rng = Seed(1).stream("ttl", 0);
//! let kept = ttl.keep(Class::Regular, Span::secs(60), &mut rng);
//! assert!(kept.fresh > Span::secs(48) && kept.fresh <= Span::secs(60));
//! assert_eq!(kept.refresh_after, kept.fresh);
//! ```

use crate::rng::Stream;
use crate::time::Span;

/// The importance of what is cached, which decides its TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Must survive an outage of the origin as long as possible.
    Critical,
    /// In between.
    Important,
    /// Everything else.
    #[default]
    Regular,
}

/// By how much a TTL is shortened at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Up to this share of the TTL.
    Share(f64),
    /// Up to this time (never more than the TTL).
    Up(Span),
}

/// How long entries are kept.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// The TTL of a class that has none of its own; the cache's own TTL when absent.
    pub ttl: Option<Span>,
    /// The TTL of [`Class::Critical`].
    pub critical: Option<Span>,
    /// The TTL of [`Class::Important`].
    pub important: Option<Span>,
    /// The TTL of [`Class::Regular`].
    pub regular: Option<Span>,
    /// Shortens each TTL by a uniform draw, so that what was filled together does not expire together.
    pub jitter: Option<Jitter>,
    /// Staggered refresh: an entry is refreshed at an instant of its own, drawn from the last part of its life that
    /// is this long, when it is asked for after that instant; its readers do not wait.
    pub stagger: Option<Span>,
    /// How long "there is no such thing" is remembered; not at all when absent.
    pub negative: Option<Span>,
}

/// The life of one entry, counted from when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// It is fresh for this long.
    pub fresh: Span,
    /// Who asks for it after this long has it refreshed and does not wait; the same as `fresh` without stagger.
    pub refresh_after: Span,
}

/// Decides how long entries are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Ttl {
    settings: Settings,
}

impl Ttl {
    /// Decides by these settings. A share outside `[0, 1]` is taken as the nearer end.
    pub fn new(settings: &Settings) -> Ttl {
        Ttl {
            settings: settings.clone(),
        }
    }

    /// The life of an entry of this class, in a cache whose own TTL is `default_ttl`.
    ///
    /// One draw for jitter and one for stagger, each only when that is on.
    pub fn keep(&self, class: Class, default_ttl: Span, rng: &mut Stream) -> Kept {
        let fresh = self.jittered(self.of(class).unwrap_or(default_ttl), rng);
        let refresh_after = match self.settings.stagger {
            Some(stagger) => fresh.saturating_sub(stagger.min(fresh).scaled(rng.unit())),
            None => fresh,
        };
        Kept { fresh, refresh_after }
    }

    /// How long "there is no such thing" is remembered, jittered too; `None` when it is not.
    pub fn negative(&self, rng: &mut Stream) -> Option<Span> {
        self.settings.negative.map(|ttl| self.jittered(ttl, rng))
    }

    /// The TTL that the settings give a class, before jitter.
    fn of(&self, class: Class) -> Option<Span> {
        let own = match class {
            Class::Critical => self.settings.critical,
            Class::Important => self.settings.important,
            Class::Regular => self.settings.regular,
        };
        own.or(self.settings.ttl)
    }

    fn jittered(&self, ttl: Span, rng: &mut Stream) -> Span {
        let cut_max = match self.settings.jitter {
            None => return ttl,
            Some(Jitter::Share(share)) => ttl.scaled(share.clamp(0.0, 1.0)),
            Some(Jitter::Up(span)) => span.min(ttl),
        };
        ttl.saturating_sub(cut_max.scaled(rng.unit()))
    }
}
