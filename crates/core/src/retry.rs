//! Retries: how often, after what pause, and out of what budget.
//!
//! [`pause`] is exponential backoff with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
//! Blog, 2015). [`Budget`] bounds the retries of everyone together by a share of the calls, because a bound on the
//! attempts of each call alone multiplies the load of an origin that fails by that bound. It does not decide whether
//! an error is worth a retry, and it does not wait.
//!
//! ```
//! use seawall_core::retry::{Budget, Settings};
//! use seawall_core::time::Time;
//! let settings = Settings { budget: Some(0.1), budget_min: 0.0, ..Settings::default() };
//! let mut budget = Budget::new(&settings);
//! for _ in 0..10 {
//!     budget.call(Time::ZERO);
//! }
//! assert!(budget.retry(Time::ZERO));
//! assert!(!budget.retry(Time::ZERO), "ten calls pay for one retry");
//! ```

use crate::rng::Stream;
use crate::time::{Span, Time};

/// How failed calls are tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// All attempts, the first one included; 1 never retries.
    pub attempts: u32,
    /// The ceiling of the pause before the first retry; it doubles with each.
    pub backoff: Span,
    /// The highest ceiling.
    pub backoff_max: Span,
    /// Draw the pause evenly between nothing and the ceiling ("full jitter"); otherwise the pause is the ceiling.
    pub jitter: bool,
    /// Retries may be at most this share of calls; no budget at all when absent (a storm in waiting).
    pub budget: Option<f64>,
    /// The budget never falls below this many retries a second, so that a quiet client may retry too.
    pub budget_min: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            attempts: 3,
            backoff: Span::millis(50),
            backoff_max: Span::secs(1),
            jitter: true,
            budget: Some(0.1),
            budget_min: 1.0,
        }
    }
}

/// How many slots the window of a [`Budget`] has.
const SLOTS: usize = 10;
/// How long one slot is.
const SLOT: Span = Span::secs(1);
/// The length of the window in seconds.
const WINDOW_SECS: f64 = 10.0;

/// Bounds retries by a share of the calls of the last ten seconds.
///
/// At any instant, the retries of the window are at most `budget` × its calls + `budget_min` × ten seconds. A call
/// leaves the window no later than the retries that it paid for, so it never pays twice: over a whole run of `t`
/// seconds, retries ≤ `budget` × calls + `budget_min` × (t + 10).
#[derive(Clone, Debug)]
pub struct Budget {
    share: Option<f64>,
    reserve: f64,
    slots: [Slot; SLOTS],
    current: usize,
    slot_ends: Time,
    calls: u64,
    retries: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    calls: u64,
    retries: u64,
}

impl Budget {
    /// A budget that has seen no calls; the reserve of `budget_min` is there at once.
    pub fn new(settings: &Settings) -> Budget {
        Budget {
            share: settings.budget,
            reserve: settings.budget_min.max(0.0) * WINDOW_SECS,
            slots: [Slot::default(); SLOTS],
            current: 0,
            slot_ends: Time::ZERO,
            calls: 0,
            retries: 0,
        }
    }

    /// Counts a first attempt. Retries are not calls: they would pay for each other.
    pub fn call(&mut self, now: Time) {
        self.calls(now, 1);
    }

    /// Counts this many first attempts.
    pub fn calls(&mut self, now: Time, count: u64) {
        if self.share.is_none() {
            return;
        }
        self.advance(now);
        self.slots[self.current].calls += count;
        self.calls += count;
    }

    /// Whether one more retry may be made. Ask when the retry is decided on, *before* its pause: what is in backoff
    /// is load to come, and counts.
    pub fn retry(&mut self, now: Time) -> bool {
        self.retries(now, 1) == 1
    }

    /// How many of this many retries may be made.
    pub fn retries(&mut self, now: Time, count: u64) -> u64 {
        let Some(share) = self.share else { return count };
        self.advance(now);
        let left = share * self.calls as f64 + self.reserve - self.retries as f64;
        let granted = count.min(left.max(0.0) as u64);
        self.slots[self.current].retries += granted;
        self.retries += granted;
        self.check();
        granted
    }

    /// Takes over other settings; what was counted stays counted.
    pub fn retune(&mut self, settings: &Settings) {
        self.share = settings.budget;
        self.reserve = settings.budget_min.max(0.0) * WINDOW_SECS;
    }

    /// Panics when the counts do not add up.
    pub fn invariants(&self) {
        assert_eq!(self.calls, self.slots.iter().map(|slot| slot.calls).sum::<u64>());
        assert_eq!(
            self.retries,
            self.slots.iter().map(|slot| slot.retries).sum::<u64>()
        );
        assert!(self.reserve >= 0.0);
    }

    fn advance(&mut self, now: Time) {
        if now < self.slot_ends {
            return;
        }
        let late = now.since(self.slot_ends).as_nanos() / SLOT.as_nanos();
        // After a whole window of silence every slot is cleared once.
        for _ in 0..(late + 1).min(SLOTS as u64) {
            self.current = (self.current + 1) % SLOTS;
            let old = std::mem::take(&mut self.slots[self.current]);
            self.calls -= old.calls;
            self.retries -= old.retries;
        }
        self.slot_ends += Span::nanos(SLOT.as_nanos().saturating_mul(late + 1));
        self.check();
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}

/// How long to wait before retry number `retry` (the first is 1): evenly between nothing and the ceiling
/// min(`backoff_max`, `backoff` × 2^(retry − 1)); the ceiling itself without jitter, and then nothing is drawn.
pub fn pause(settings: &Settings, retry: u32, rng: &mut Stream) -> Span {
    let doublings = retry.saturating_sub(1);
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let ceiling = Span::nanos(settings.backoff.as_nanos().saturating_mul(factor)).min(settings.backoff_max);
    if settings.jitter {
        ceiling.scaled(rng.unit())
    } else {
        ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use proptest::prelude::*;

    #[test]
    fn a_storm_of_retries_is_held_to_the_share() {
        let mut budget = Budget::new(&Settings::default());
        let mut admitted = 0;
        // 100 calls a second that all fail and would all be tried twice more, for a minute.
        for at in 0..6_000 {
            let now = Time::ZERO + Span::millis(at * 10);
            budget.call(now);
            admitted += u32::from(budget.retry(now)) + u32::from(budget.retry(now));
        }
        assert!((600..=670).contains(&admitted), "{admitted}");
    }

    #[test]
    fn many_at_a_time_get_what_each_would_get_alone() {
        let settings = Settings::default();
        let (mut many, mut each) = (Budget::new(&settings), Budget::new(&settings));
        for second in 0..30 {
            let now = Time::ZERO + Span::secs(second);
            many.calls(now, 40);
            (0..40).for_each(|_| each.call(now));
            let alone = (0..25).filter(|_| each.retry(now)).count() as u64;
            assert_eq!(many.retries(now, 25), alone, "in second {second}");
        }
    }

    #[test]
    fn a_quiet_client_may_retry_too() {
        let mut budget = Budget::new(&Settings::default());
        for second in 0..100 {
            let now = Time::ZERO + Span::secs(second * 60);
            budget.call(now);
            assert!(budget.retry(now));
        }
    }

    #[test]
    fn old_calls_pay_for_nothing() {
        let mut budget = Budget::new(&Settings {
            budget_min: 0.0,
            ..Settings::default()
        });
        for _ in 0..1_000 {
            budget.call(Time::ZERO);
        }
        assert!(budget.retry(Time::ZERO + Span::secs(9)));
        assert!(!budget.retry(Time::ZERO + Span::secs(11)));
    }

    #[test]
    fn without_a_budget_every_retry_is_made() {
        let mut budget = Budget::new(&Settings {
            budget: None,
            budget_min: 0.0,
            ..Settings::default()
        });
        assert!((0..1_000).all(|_| budget.retry(Time::ZERO)));
    }

    #[test]
    fn pauses_double_up_to_their_ceiling() {
        let settings = Settings {
            jitter: false,
            ..Settings::default()
        };
        let mut rng = Seed(1).stream("backoff", 0);
        let untouched = rng.clone().bits();
        let pauses: Vec<Span> = [1, 2, 5, 6, 64, 65, u32::MAX]
            .into_iter()
            .map(|retry| pause(&settings, retry, &mut rng))
            .collect();
        let millis = [50, 100, 800, 1_000, 1_000, 1_000, 1_000];
        assert_eq!(pauses, millis.map(Span::millis));
        assert_eq!(rng.bits(), untouched, "no jitter, no draw");
    }

    #[test]
    fn full_jitter_is_even_down_to_nothing() {
        let settings = Settings::default();
        let mut rng = Seed(1).stream("backoff", 0);
        let draws: Vec<f64> = (0..10_000)
            .map(|_| pause(&settings, 2, &mut rng).as_secs_f64())
            .collect();
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((0.049..0.051).contains(&mean), "{mean}");
        assert!(draws.iter().all(|pause| *pause <= 0.1));
        assert!(draws.iter().any(|pause| *pause < 0.001));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn retries_never_exceed_what_calls_pay_for(
            share in 0.0..0.5_f64,
            least in 0.0..3.0_f64,
            steps in prop::collection::vec((any::<bool>(), 0_u64..1_500), 1..400),
        ) {
            let settings = Settings { budget: Some(share), budget_min: least, ..Settings::default() };
            let mut budget = Budget::new(&settings);
            let (mut now, mut calls, mut retries) = (Time::ZERO, 0_u32, 0_u32);
            for (is_call, wait) in steps {
                now += Span::millis(wait);
                if is_call {
                    budget.call(now);
                    calls += 1;
                } else {
                    retries += u32::from(budget.retry(now));
                }
                budget.invariants();
                let paid = share * f64::from(calls) + least * (now.as_secs_f64() + 10.0 + 1.0);
                prop_assert!(f64::from(retries) <= paid + 1e-9);
            }
        }
    }
}
