//! The gate: what stands at the door, before a request costs anything.
//!
//! It asks the rate limit, then the throttle, then the shedder, and the first to refuse gives the reason; a token is
//! put back when a later one refuses, so that who is turned away does not use the rate up. It holds no request: the
//! queue at the door comes after it. The reasons of all that can turn a request away, here and further in, are here
//! because they are one label.
//!
//! ```
//! use seawall_core::gate::{Gate, Reason};
//! use seawall_core::policies::Policies;
//! use seawall_core::rate;
//! use seawall_core::rng::Seed;
//! use seawall_core::shed::Priority;
//! use seawall_core::time::Time;
//! let rate = rate::Settings { rate: 1.0, burst: 1.0, adaptive: None };
//! let policies = Policies { rate: Some(rate), ..Policies::default() };
//! let mut gate = Gate::new(Time::ZERO, &policies);
//! let mut rng = Seed(1).stream("gate", 0);
//! assert!(gate.admit(Time::ZERO, &mut rng, true, Priority::Normal).is_ok());
//! let refusal = gate.admit(Time::ZERO, &mut rng, true, Priority::Normal).unwrap_err();
//! assert_eq!(refusal.reason, Reason::Rate);
//! ```

use crate::policies::Policies;
use crate::rate::Bucket;
use crate::rng::Stream;
use crate::shed::{Priority, Shedder};
use crate::throttle::{Signals, Throttle};
use crate::time::{Span, Time};

/// Why a request was turned away: the values of the label `reason` of `shed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// More requests a second than the rate limit lets in.
    Rate,
    /// A read that the throttle held back.
    Throttle,
    /// Its priority is shed at the present level of degradation.
    Degraded,
    /// The queue at the door has no place left.
    QueueFull,
    /// It stood in the queue at the door for too long.
    QueueTimeout,
    /// The queue at the door stood above its target (CoDel).
    QueueDelay,
    /// The origin's concurrency limit and the places before it are taken.
    OriginLimit,
    /// It waited for a place at the origin for too long.
    OriginTimeout,
    /// The origin's breaker is open.
    OriginOpen,
    /// The cache's breaker is open and falling through is not allowed.
    CacheOpen,
    /// Too many wait for the same load.
    Waiters,
    /// The retry budget is spent.
    NoBudget,
    /// Its deadline had passed before the work began.
    Deadline,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Reason; 13] = [
        Reason::Rate,
        Reason::Throttle,
        Reason::Degraded,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::QueueDelay,
        Reason::OriginLimit,
        Reason::OriginTimeout,
        Reason::OriginOpen,
        Reason::CacheOpen,
        Reason::Waiters,
        Reason::NoBudget,
        Reason::Deadline,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Rate => "rate",
            Reason::Throttle => "throttle",
            Reason::Degraded => "degraded",
            Reason::QueueFull => "queue_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::QueueDelay => "queue_delay",
            Reason::OriginLimit => "origin_limit",
            Reason::OriginTimeout => "origin_timeout",
            Reason::OriginOpen => "origin_open",
            Reason::CacheOpen => "cache_open",
            Reason::Waiters => "waiters",
            Reason::NoBudget => "no_budget",
            Reason::Deadline => "deadline",
        }
    }
}

/// What a request that is turned away is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Before this long it is of no use to come again ([`Span::MAX`]: never).
    pub retry_after: Span,
}

/// What one request takes from the rate limit.
const COST: f64 = 1.0;

/// Rate limit, throttle and shedder, those that are switched on.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Whether anything is switched on: the only test when nothing is.
    guarded: bool,
    bucket: Option<Bucket>,
    throttle: Option<Throttle>,
    shedder: Option<Shedder>,
}

impl Gate {
    /// A gate that lets everything through that its rate limit has tokens for.
    pub fn new(now: Time, policies: &Policies) -> Gate {
        let mut gate = Gate {
            guarded: false,
            bucket: None,
            throttle: None,
            shedder: None,
        };
        gate.retune(now, policies);
        gate
    }

    /// Whether a request is let in.
    ///
    /// # Errors
    /// Why it is not, and when to come again.
    #[inline]
    pub fn admit(
        &mut self,
        now: Time,
        rng: &mut Stream,
        is_read: bool,
        priority: Priority,
    ) -> Result<(), Refusal> {
        if self.guarded {
            self.ask(now, rng, is_read, priority)
        } else {
            Ok(())
        }
    }

    /// Whether anything is switched on.
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Takes in what is known about origin and cache, and, where it is known, how much of the capacity is in use
    /// (0 to 1). Bring it at [`Gate::next_decision`], and as often besides as utilization is measured.
    pub fn observe(&mut self, now: Time, signals: &Signals, utilization: Option<f64>) {
        if let Some(throttle) = &mut self.throttle {
            throttle.observe(now, signals);
        }
        if let (Some(shedder), Some(utilization)) = (&mut self.shedder, utilization) {
            shedder.observe(now, utilization);
        }
    }

    /// Learns what became of a request that was let in.
    #[inline]
    pub fn record(&mut self, now: Time, ok: bool) {
        if let Some(bucket) = &mut self.bucket {
            bucket.record(now, ok);
        }
    }

    /// The share of reads that the throttle lets through; 1 without one.
    pub fn share(&self) -> f64 {
        self.throttle.as_ref().map_or(1.0, Throttle::share)
    }

    /// The level of degradation; 0 without levels.
    pub fn level(&self) -> u8 {
        self.shedder.as_ref().map_or(0, Shedder::level)
    }

    /// The rate limit in requests a second, when there is one.
    pub fn rate(&self) -> Option<f64> {
        self.bucket.as_ref().map(Bucket::rate)
    }

    /// When the throttle decides next, when there is one.
    pub fn next_decision(&self) -> Option<Time> {
        self.throttle.as_ref().map(Throttle::next_decision)
    }

    /// Takes over other policies. What stays switched on goes on from where it is.
    pub fn retune(&mut self, now: Time, policies: &Policies) {
        match (&mut self.bucket, &policies.rate) {
            (Some(bucket), Some(settings)) => bucket.retune(now, settings.clone()),
            (bucket, settings) => *bucket = settings.clone().map(|settings| Bucket::new(now, settings)),
        }
        match (&mut self.throttle, &policies.throttle) {
            (Some(throttle), Some(settings)) => throttle.retune(now, settings.clone()),
            (throttle, settings) => *throttle = settings.clone().map(|settings| Throttle::new(now, settings)),
        }
        match (&mut self.shedder, &policies.shed) {
            (Some(shedder), Some(settings)) => shedder.retune(settings.clone()),
            (shedder, settings) => *shedder = settings.clone().map(Shedder::new),
        }
        self.guarded = self.bucket.is_some() || self.throttle.is_some() || self.shedder.is_some();
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Panics when the gate, or a part of it, contradicts itself.
    pub fn invariants(&self) {
        let on = self.bucket.is_some() || self.throttle.is_some() || self.shedder.is_some();
        assert_eq!(self.guarded, on, "a policy is not asked");
        self.bucket.iter().for_each(Bucket::invariants);
        self.throttle.iter().for_each(Throttle::invariants);
        self.shedder.iter().for_each(Shedder::invariants);
    }

    fn ask(&mut self, now: Time, rng: &mut Stream, is_read: bool, priority: Priority) -> Result<(), Refusal> {
        if let Some(bucket) = &mut self.bucket {
            let reason = Reason::Rate;
            bucket
                .admit(now, COST)
                .map_err(|retry_after| Refusal { reason, retry_after })?;
        }
        let verdict = self.ask_the_rest(now, rng, is_read, priority);
        if let (Err(_), Some(bucket)) = (&verdict, &mut self.bucket) {
            bucket.give_back(COST);
        }
        verdict
    }

    fn ask_the_rest(
        &mut self,
        now: Time,
        rng: &mut Stream,
        is_read: bool,
        priority: Priority,
    ) -> Result<(), Refusal> {
        if let Some(throttle) = &mut self.throttle
            && !throttle.admit(now, is_read, rng)
        {
            return Err(Refusal {
                reason: Reason::Throttle,
                retry_after: throttle.retry_after(now),
            });
        }
        match &self.shedder {
            Some(shedder) if !shedder.admits(priority) => Err(Refusal {
                reason: Reason::Degraded,
                retry_after: shedder.retry_after(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::{rate, shed, throttle};
    use proptest::prelude::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::secs(secs)
    }

    fn policies(rate: bool, throttle: bool, shed: bool) -> Policies {
        Policies {
            rate: rate.then_some(rate::Settings {
                rate: 10.0,
                burst: 10.0,
                adaptive: None,
            }),
            throttle: throttle.then(|| throttle::Settings {
                min: 0.0,
                decrease: 0.0,
                ..throttle::Settings::default()
            }),
            shed: shed.then(shed::Settings::default),
            ..Policies::default()
        }
    }

    fn signals(millis: u64, since: Time) -> Signals {
        Signals {
            origin_latency: Some(Span::millis(millis)),
            cache_up: true,
            since,
        }
    }

    #[test]
    fn names_are_distinct_label_values() {
        let names: std::collections::BTreeSet<&str> =
            Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        );
        assert!(Reason::ALL.is_sorted(), "an index into it is the declaration's");
    }

    #[test]
    fn with_nothing_on_everything_passes_and_nothing_is_drawn() {
        let mut gate = Gate::new(at(0), &Policies::default());
        let mut rng = Seed(1).stream("gate", 0);
        let next = rng.clone().bits();
        gate.observe(at(5), &signals(9_000, at(0)), Some(2.0));
        assert!((0..1_000).all(|_| gate.admit(at(5), &mut rng, true, Priority::Low).is_ok()));
        assert_eq!(rng.bits(), next);
        assert_eq!((gate.level(), gate.rate(), gate.next_decision()), (0, None, None));
        assert!(gate.share() >= 1.0);
    }

    #[test]
    fn the_first_to_refuse_gives_the_reason_and_the_token_comes_back() {
        let mut gate = Gate::new(at(0), &policies(true, true, true));
        let mut rng = Seed(1).stream("gate", 0);
        gate.observe(at(5), &signals(900, at(0)), Some(1.0));
        assert_eq!((gate.level(), gate.next_decision()), (3, Some(at(10))));
        let mut reason = |gate: &mut Gate, is_read, priority| {
            gate.admit(at(5), &mut rng, is_read, priority)
                .err()
                .map(|refusal| refusal.reason)
        };
        for _ in 0..100 {
            assert_eq!(reason(&mut gate, true, Priority::High), Some(Reason::Throttle));
            assert_eq!(reason(&mut gate, false, Priority::Normal), Some(Reason::Degraded));
        }
        for _ in 0..10 {
            assert_eq!(
                reason(&mut gate, false, Priority::High),
                None,
                "all ten tokens are still there"
            );
        }
        assert_eq!(reason(&mut gate, false, Priority::High), Some(Reason::Rate));
        let refusal = gate
            .admit(at(5), &mut Seed(1).stream("gate", 1), true, Priority::Low)
            .unwrap_err();
        assert!(refusal.retry_after > Span::millis(99) && refusal.retry_after < Span::millis(101));
    }

    #[test]
    fn what_stays_on_goes_on_from_where_it_is() {
        let mut gate = Gate::new(at(0), &policies(false, true, true));
        gate.observe(at(5), &signals(900, at(0)), Some(0.9));
        gate.retune(at(6), &policies(true, true, true));
        assert!(gate.share() < 1.0);
        assert_eq!((gate.level(), gate.rate()), (2, Some(10.0)));
        gate.retune(at(7), &Policies::default());
        gate.retune(at(8), &policies(true, true, true));
        assert!(gate.share() >= 1.0);
        assert_eq!(gate.level(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn only_what_is_on_refuses_and_writes_of_high_priority_know_the_rate_alone(
            steps in prop::collection::vec((0_u8..8, 0_u64..3_000, 0_u64..300, 0.0..1.2_f64, any::<[bool; 3]>()), 1..200),
        ) {
            let mut on = [true, true, true];
            let mut gate = Gate::new(at(0), &policies(true, true, true));
            let mut rng = Seed(1).stream("gate", 0);
            let mut now = at(0);
            for (what, wait, millis, utilization, flags) in steps {
                now += Span::millis(wait);
                match what {
                    0 => {
                        on = flags;
                        gate.retune(now, &policies(on[0], on[1], on[2]));
                    }
                    1 | 2 => gate.observe(now, &signals(millis, now - Span::secs(2)), Some(utilization)),
                    3 => gate.record(now, flags[0]),
                    _ => {
                        let priority = [Priority::Low, Priority::Normal, Priority::High][millis as usize % 3];
                        if let Err(refusal) = gate.admit(now, &mut rng, flags[0], priority) {
                            prop_assert!(refusal.retry_after > Span::ZERO);
                            let from = [Reason::Rate, Reason::Throttle, Reason::Degraded];
                            let by = from.iter().position(|reason| *reason == refusal.reason);
                            prop_assert!(by.is_some_and(|by| on[by]));
                            let sheltered = !flags[0] && priority == Priority::High;
                            prop_assert!(!sheltered || refusal.reason == Reason::Rate);
                        }
                    }
                }
                gate.invariants();
            }
        }
    }
}
