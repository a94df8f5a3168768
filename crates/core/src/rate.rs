//! The rate limit: a token bucket, fixed or adaptive between two bounds.
//!
//! Tokens come at the rate and are kept up to the burst (RFC 2697 calls them the committed information rate and burst
//! size). An adaptive rate rises by a twentieth of its range in each good window in which it was used, and falls by a
//! quarter in a bad one. It does not queue: who finds no token is told when there will be one.
//!
//! ```
//! use seawall_core::rate::{Bucket, Settings};
//! use seawall_core::time::{Span, Time};
//! let mut bucket = Bucket::new(Time::ZERO, Settings { rate: 10.0, burst: 1.0, adaptive: None });
//! assert!(bucket.admit(Time::ZERO, 1.0).is_ok());
//! let retry_after = bucket.admit(Time::ZERO, 1.0).unwrap_err();
//! assert!(retry_after >= Span::millis(100) && retry_after < Span::millis(101));
//! assert!(bucket.admit(Time::ZERO + retry_after, 1.0).is_ok());
//! ```

use crate::time::{Span, Time};

/// Moves the rate between two bounds by what became of the calls that were let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    /// The lowest rate, per second.
    pub min: f64,
    /// The highest rate, per second.
    pub max: f64,
    /// How often it moves, and the window it looks back on.
    pub window: Span,
    /// The share of failed calls in a window above which the rate falls.
    pub failures: f64,
}

/// How many requests a second are let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The rate, per second; where an adaptive one begins.
    pub rate: f64,
    /// How many may come at once.
    pub burst: f64,
    /// Fixed when absent.
    pub adaptive: Option<Adaptive>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rate: 1000.0,
            burst: 100.0,
            adaptive: None,
        }
    }
}

/// What is left of the rate after a bad window.
const DECREASE: f64 = 0.75;
/// The part of the range between `min` and `max` by which the rate rises after a good window.
const INCREASE: f64 = 0.05;
/// A rate of which less than this share was used does not rise: it was not tried.
const USED: f64 = 0.5;
/// So much less than a whole token is a whole one: sums of fractions are off by less.
const EPSILON: f64 = 1e-6;

/// A token bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    settings: Settings,
    rate: f64,
    tokens: f64,
    filled_at: Time,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Time,
    ok: u64,
    failed: u64,
    admitted: f64,
}

impl Window {
    fn new(start: Time) -> Window {
        Window {
            start,
            ok: 0,
            failed: 0,
            admitted: 0.0,
        }
    }
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Time, settings: Settings) -> Bucket {
        let mut bucket = Bucket {
            rate: settings.rate,
            tokens: settings.burst.max(0.0),
            filled_at: now,
            window: Window::new(now),
            settings,
        };
        bucket.rate = bucket.bounded(bucket.rate);
        bucket
    }

    /// Takes `cost` tokens; what costs more than the burst takes a full bucket.
    ///
    /// # Errors
    /// How long to wait until there are enough, if nobody else takes them; [`Span::MAX`] when there never are.
    pub fn admit(&mut self, now: Time, cost: f64) -> Result<(), Span> {
        self.adapt(now);
        self.fill(now);
        let cost = if cost > self.settings.burst {
            self.settings.burst
        } else {
            cost
        };
        let verdict = if self.settings.burst > 0.0 && self.tokens + EPSILON >= cost {
            self.tokens = (self.tokens - cost).max(0.0);
            self.window.admitted += cost;
            Ok(())
        } else if self.rate > 0.0 && self.settings.burst > 0.0 {
            Err(Span::from_secs_f64((cost - self.tokens) / self.rate) + Span::nanos(1))
        } else {
            Err(Span::MAX)
        };
        self.check();
        verdict
    }

    /// Puts back what was taken for a request that another policy refused.
    pub fn give_back(&mut self, cost: f64) {
        let cost = cost.min(self.settings.burst).max(0.0);
        self.tokens = (self.tokens + cost).min(self.settings.burst.max(0.0));
        self.window.admitted = (self.window.admitted - cost).max(0.0);
    }

    /// Learns what became of a call that was let through. Only an adaptive rate listens.
    pub fn record(&mut self, now: Time, ok: bool) {
        if self.settings.adaptive.is_none() {
            return;
        }
        self.adapt(now);
        if ok {
            self.window.ok += 1;
        } else {
            self.window.failed += 1;
        }
        self.check();
    }

    /// Tokens a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes over other settings; an adaptive rate goes on from where it is.
    pub fn retune(&mut self, now: Time, settings: Settings) {
        self.fill(now);
        let goes_on = self.settings.adaptive.is_some() && settings.adaptive.is_some();
        let rate = if goes_on { self.rate } else { settings.rate };
        self.settings = settings;
        self.rate = self.bounded(rate);
        self.tokens = self.tokens.min(self.settings.burst.max(0.0));
        self.window = Window::new(now);
        self.check();
    }

    /// Panics when the bucket contradicts itself.
    pub fn invariants(&self) {
        assert!(
            self.tokens >= 0.0 && self.tokens <= self.settings.burst.max(0.0),
            "{} tokens",
            self.tokens
        );
        if let Some(adaptive) = &self.settings.adaptive {
            let floor = adaptive.min.max(0.0);
            assert!(
                self.rate >= floor && self.rate <= adaptive.max.max(floor),
                "rate {}",
                self.rate
            );
        }
        assert!(self.window.admitted >= 0.0);
    }

    fn fill(&mut self, now: Time) {
        let fresh = now.since(self.filled_at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + fresh).min(self.settings.burst.max(0.0));
        self.filled_at = self.filled_at.max(now);
    }

    /// Moves an adaptive rate once its window is over.
    fn adapt(&mut self, now: Time) {
        let Some(adaptive) = &self.settings.adaptive else {
            return;
        };
        let past = now.since(self.window.start);
        if past < adaptive.window.max(Span::nanos(1)) {
            return;
        }
        let Window {
            ok, failed, admitted, ..
        } = self.window;
        let rate = if failed > 0 && failed as f64 > adaptive.failures * (ok + failed) as f64 {
            self.rate * DECREASE
        } else if ok > 0 && admitted >= USED * self.rate * past.as_secs_f64() {
            self.rate + (adaptive.max - adaptive.min).max(0.0) * INCREASE
        } else {
            self.rate
        };
        // The tokens of the past came at the rate of the past.
        self.fill(now);
        self.rate = self.bounded(rate);
        self.window = Window::new(now);
    }

    fn bounded(&self, rate: f64) -> f64 {
        match &self.settings.adaptive {
            Some(adaptive) => rate.min(adaptive.max).max(adaptive.min).max(0.0),
            None => rate.max(0.0),
        }
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::millis(millis)
    }

    fn adaptive() -> Settings {
        Settings {
            rate: 100.0,
            burst: 10.0,
            adaptive: Some(Adaptive {
                min: 20.0,
                max: 200.0,
                window: Span::secs(1),
                failures: 0.1,
            }),
        }
    }

    #[test]
    fn the_rate_holds_in_the_long_run_and_the_burst_at_once() {
        let mut bucket = Bucket::new(
            at(0),
            Settings {
                rate: 100.0,
                burst: 20.0,
                adaptive: None,
            },
        );
        assert_eq!((0..50).filter(|_| bucket.admit(at(0), 1.0).is_ok()).count(), 20);
        let admitted = (0..10_000)
            .filter(|now| bucket.admit(at(*now), 1.0).is_ok())
            .count();
        assert!((998..=1_001).contains(&admitted), "{admitted}");
    }

    #[test]
    fn what_costs_more_than_the_burst_takes_a_full_bucket() {
        let mut bucket = Bucket::new(
            at(0),
            Settings {
                rate: 10.0,
                burst: 5.0,
                adaptive: None,
            },
        );
        assert!(bucket.admit(at(0), 1.0).is_ok());
        let retry_after = bucket.admit(at(0), 100.0).unwrap_err();
        assert!(bucket.admit(at(0) + retry_after, 100.0).is_ok());
        assert!(bucket.admit(at(0) + retry_after, 1.0).is_err());
    }

    #[test]
    fn no_rate_admits_the_burst_and_then_nobody() {
        let mut bucket = Bucket::new(
            at(0),
            Settings {
                rate: 0.0,
                burst: 1.0,
                adaptive: None,
            },
        );
        assert!(bucket.admit(at(0), 1.0).is_ok());
        assert_eq!(bucket.admit(at(1_000), 1.0), Err(Span::MAX));
        let mut closed = Bucket::new(
            at(0),
            Settings {
                rate: 9.0,
                burst: 0.0,
                adaptive: None,
            },
        );
        assert_eq!(closed.admit(at(1_000), 1.0), Err(Span::MAX));
    }

    #[test]
    fn an_adaptive_rate_settles_below_what_fails() {
        let mut bucket = Bucket::new(at(0), adaptive());
        // The origin does 80 a second, and whatever is above fails.
        let (mut rates, mut second, mut done) = (Vec::new(), 0, 0);
        for now in 0..60_000 {
            if now / 1_000 != second {
                (second, done) = (now / 1_000, 0);
                rates.push(bucket.rate());
            }
            if bucket.admit(at(now), 1.0).is_ok() {
                done += 1;
                bucket.record(at(now), done <= 80);
            }
        }
        let late = &rates[20..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((65.0..90.0).contains(&mean), "{mean}");
        assert!(late.iter().all(|rate| (50.0..105.0).contains(rate)), "{late:?}");
    }

    #[test]
    fn an_unused_rate_does_not_rise() {
        let mut bucket = Bucket::new(at(0), adaptive());
        for now in (0..60_000).step_by(100) {
            assert!(bucket.admit(at(now), 1.0).is_ok());
            bucket.record(at(now), true);
        }
        // Nor does one that was taken and given back.
        for now in 60_000..70_000 {
            if bucket.admit(at(now), 1.0).is_ok() {
                bucket.give_back(1.0);
            }
            bucket.record(at(now), true);
        }
        assert!((bucket.rate() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut bucket = Bucket::new(
            at(0),
            Settings {
                rate: 1.0,
                burst: 1.0,
                adaptive: None,
            },
        );
        assert!(bucket.admit(at(0), 1.0).is_ok());
        bucket.give_back(1.0);
        bucket.give_back(1.0);
        assert!(bucket.admit(at(0), 1.0).is_ok());
        assert!(bucket.admit(at(0), 1.0).is_err(), "never more than the burst");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_never_lets_through_more_than_rate_and_burst(
            rate in 0.0..500.0_f64,
            burst in 0.0..50.0_f64,
            adapts in any::<bool>(),
            steps in prop::collection::vec((0_u8..6, 0_u64..60, 0.1..4.0_f64), 1..400),
        ) {
            let adaptive = adapts.then_some(Adaptive { min: 5.0, max: 300.0, window: Span::millis(200), failures: 0.2 });
            let highest = if adapts { 300.0 } else { rate };
            let settings = Settings { rate, burst, adaptive };
            let mut bucket = Bucket::new(at(0), settings.clone());
            let (mut now, mut admitted) = (at(0), 0.0);
            for (what, wait, cost) in steps {
                now += Span::millis(wait);
                match what {
                    0..=2 => match bucket.admit(now, cost) {
                        Ok(()) => admitted += cost.min(burst) - EPSILON,
                        Err(Span::MAX) => prop_assert!(bucket.rate() <= 0.0 || burst <= 0.0),
                        Err(retry_after) => {
                            let mut alone = bucket.clone();
                            // Only a rate that falls meanwhile may break the word.
                            prop_assert!(adapts || alone.admit(now + retry_after, cost).is_ok());
                        }
                    },
                    3 => bucket.record(now, true),
                    4 => bucket.record(now, false),
                    _ => bucket.retune(now, settings.clone()),
                }
                bucket.invariants();
                prop_assert!(admitted <= burst + highest * now.as_secs_f64() + 1e-6);
            }
        }
    }
}
