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
        self.keep_for(self.of(Some(class)).unwrap_or(default_ttl), rng)
    }

    /// The life of an entry whose TTL was given with it.
    ///
    /// One draw for jitter and one for stagger, each only when that is on.
    pub fn keep_for(&self, ttl: Span, rng: &mut Stream) -> Kept {
        let fresh = self.jittered(ttl, rng);
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

    /// The TTL that the settings give a class, or what has none, before jitter.
    pub fn of(&self, class: Option<Class>) -> Option<Span> {
        let own = match class {
            Some(Class::Critical) => self.settings.critical,
            Some(Class::Important) => self.settings.important,
            Some(Class::Regular) => self.settings.regular,
            None => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    const MINUTE: Span = Span::secs(60);

    fn rng() -> Stream {
        Seed(4).stream("ttl", 0)
    }

    #[test]
    fn a_class_has_its_own_ttl_then_the_common_one_then_that_of_the_cache() {
        let mut settings = Settings {
            critical: Some(Span::secs(3_600)),
            ..Settings::default()
        };
        let fresh = |settings: &Settings, class| Ttl::new(settings).keep(class, MINUTE, &mut rng()).fresh;
        assert_eq!(fresh(&settings, Class::Critical), Span::secs(3_600));
        assert_eq!(fresh(&settings, Class::Important), MINUTE);
        settings.ttl = Some(Span::secs(5));
        assert_eq!(fresh(&settings, Class::Important), Span::secs(5));
        assert_eq!(fresh(&settings, Class::Critical), Span::secs(3_600));
    }

    #[test]
    fn nothing_is_drawn_when_there_is_nothing_to_draw() {
        let (mut drawn, mut untouched) = (rng(), rng());
        let ttl = Ttl::new(&Settings {
            negative: Some(MINUTE),
            ..Settings::default()
        });
        let kept = ttl.keep(Class::Regular, MINUTE, &mut drawn);
        assert_eq!((kept.fresh, kept.refresh_after), (MINUTE, MINUTE));
        assert_eq!(ttl.negative(&mut drawn), Some(MINUTE));
        assert_eq!(drawn.bits(), untouched.bits());
    }

    #[test]
    fn jitter_spreads_what_was_stored_together_evenly() {
        for jitter in [Jitter::Share(0.5), Jitter::Up(Span::secs(30))] {
            let ttl = Ttl::new(&Settings {
                jitter: Some(jitter),
                negative: Some(MINUTE),
                ..Settings::default()
            });
            let mut rng = rng();
            let mut tenths = [0_u32; 10];
            for _ in 0..10_000 {
                let fresh = ttl.keep(Class::Regular, MINUTE, &mut rng).fresh;
                tenths[((60.0 - fresh.as_secs_f64()) / 3.0) as usize] += 1;
            }
            assert!(
                tenths.iter().all(|count| (880..1_120).contains(count)),
                "{tenths:?}"
            );
            assert!(
                ttl.negative(&mut rng)
                    .is_some_and(|kept| kept < MINUTE && kept > Span::secs(30))
            );
        }
        assert_eq!(Ttl::new(&Settings::default()).negative(&mut rng()), None);
    }

    #[test]
    fn jitter_of_more_than_the_ttl_is_jitter_of_all_of_it() {
        for jitter in [Jitter::Share(3.0), Jitter::Up(Span::secs(1_000))] {
            let ttl = Ttl::new(&Settings {
                jitter: Some(jitter),
                ..Settings::default()
            });
            let mut rng = rng();
            let lives = (0..10_000).map(|_| ttl.keep(Class::Regular, MINUTE, &mut rng).fresh.as_secs_f64());
            let mean = lives.sum::<f64>() / 10_000.0;
            assert!((mean - 30.0).abs() < 0.9, "{jitter:?}: {mean}");
        }
    }

    #[test]
    fn stagger_refreshes_in_the_last_part_of_a_life() {
        let ttl = Ttl::new(&Settings {
            stagger: Some(Span::secs(10)),
            ..Settings::default()
        });
        let mut rng = rng();
        let mean = (0..10_000)
            .map(|_| ttl.keep(Class::Regular, MINUTE, &mut rng))
            .inspect(|kept| assert!(kept.fresh == MINUTE && kept.refresh_after >= Span::secs(50)))
            .map(|kept| kept.refresh_after.as_secs_f64())
            .sum::<f64>()
            / 10_000.0;
        assert!((mean - 55.0).abs() < 0.15, "{mean}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_life_is_longer_than_its_ttl(
            ttl_ns in prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..100_000_u64],
            share in -1.0..3.0_f64,
            up_ns in any::<u64>(),
            stagger_ns in any::<u64>(),
            seed in any::<u64>(),
        ) {
            let mut rng = Seed(seed).stream("ttl", 0);
            let promised = Span::nanos(ttl_ns);
            for jitter in [Jitter::Share(share), Jitter::Up(Span::nanos(up_ns))] {
                let ttl = Ttl::new(&Settings {
                    jitter: Some(jitter),
                    stagger: Some(Span::nanos(stagger_ns)),
                    negative: Some(promised),
                    ..Settings::default()
                });
                let kept = ttl.keep(Class::Regular, promised, &mut rng);
                prop_assert!(kept.fresh <= promised);
                prop_assert!(kept.refresh_after <= kept.fresh);
                prop_assert!(ttl.negative(&mut rng).is_some_and(|kept| kept <= promised));
            }
        }
    }
}
