//! What a cache counts, in fixed atomics.
//!
//! Hits in memory are counted in stripes, so that threads do not fight over one counter. What the guard counts is
//! not counted here again.

use std::sync::atomic::{AtomicU64, Ordering};

use seawall_core::guard::{CacheFault, TIERS_MAX};
use seawall_core::record::Ending;
use seawall_core::time::{Span, Time};

use crate::answer::{Error, Freshness};
use crate::envelope::Damage;

/// One warning in so long is logged; the counters tell of the others.
const LOG_EVERY: Span = Span::secs(1);

/// The bounds of the buckets of durations, in seconds; the last one is for ever.
pub(crate) const BOUNDS_S: [f64; 15] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Durations, counted in buckets.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    pub(crate) buckets: [AtomicU64; BOUNDS_S.len() + 1],
    pub(crate) sum_ns: AtomicU64,
}

impl Durations {
    pub(crate) fn add(&self, took: Span) {
        let secs = took.as_secs_f64();
        let bucket = BOUNDS_S.partition_point(|bound| *bound < secs);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(took.as_nanos(), Ordering::Relaxed);
    }
}

/// A counter that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

const STRIPES: usize = 16;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

std::thread_local! {
    static STRIPE: usize = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) as usize % STRIPES
    };
}

impl Striped {
    /// Adds one, and says how many this stripe has seen before.
    #[inline]
    pub(crate) fn add(&self) -> u64 {
        self.0[STRIPE.with(|stripe| *stripe)]
            .0
            .fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

/// Everything that a cache counts beside its guard.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Hits in memory that were settled without the guard.
    pub(crate) fast_hits: Striped,
    pub(crate) endings: [AtomicU64; Ending::ALL.len()],
    pub(crate) durations: Durations,
    pub(crate) sets: [AtomicU64; TIERS_MAX],
    pub(crate) invalidations: AtomicU64,
    pub(crate) origin_requests: AtomicU64,
    pub(crate) origin_errors: AtomicU64,
    /// Calls to the origin that were answered when nobody wanted the answer any more.
    pub(crate) origin_wasted: AtomicU64,
    pub(crate) origin_durations: Durations,
    /// Entries in stores that were no answer: changed, and not ours.
    pub(crate) corrupt: AtomicU64,
    pub(crate) foreign: AtomicU64,
    /// Values that the codec could not write.
    pub(crate) unwritable: AtomicU64,
    /// Copies into tiers that were let go because too many were under way.
    pub(crate) dropped: AtomicU64,
    /// Invalidations that a tier will never be told of.
    pub(crate) forgotten: AtomicU64,
    /// Snapshots of the hot keys: written, not written, and found damaged.
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_failed: AtomicU64,
    pub(crate) snapshots_damaged: AtomicU64,
    /// Failed calls to tiers, by tier and fault.
    pub(crate) faults: [[AtomicU64; CacheFault::ALL.len()]; TIERS_MAX],
    /// What calls to tiers took, failed ones included.
    pub(crate) tier_durations: [Durations; TIERS_MAX],
    /// Where durations are told besides, one by one.
    #[cfg(feature = "otel")]
    pub(crate) hooks: std::sync::OnceLock<crate::otel::Hooks>,
    log_at: AtomicU64,
}

impl Meters {
    pub(crate) fn ended(&self, took: Span, result: Result<Freshness, &Error>) {
        let ending = match result {
            Ok(Freshness::Stale) => Ending::Stale,
            Ok(Freshness::Fresh) | Err(Error::NotFound) => Ending::Fresh,
            Err(Error::Shed { .. } | Error::Open { .. }) => Ending::Shed,
            Err(Error::TimedOut) => Ending::Timeout,
            Err(_) => Ending::Error,
        };
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        self.durations.add(took);
        #[cfg(feature = "otel")]
        self.hooks.get().inspect(|hooks| hooks.request(took));
    }

    pub(crate) fn set(&self, tier: u8) {
        self.sets[tier as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn invalidated(&self, count: u64) {
        self.invalidations.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self, tier: u8, fault: CacheFault) {
        self.faults[tier as usize][fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn damaged(&self, damage: Damage) {
        let counter = if damage.is_corrupt() {
            &self.corrupt
        } else {
            &self.foreign
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forgotten(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn origin_begins(&self) {
        self.origin_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tier_took(&self, tier: u8, took: Span) {
        self.tier_durations[tier as usize].add(took);
        #[cfg(feature = "otel")]
        self.hooks.get().inspect(|hooks| hooks.tier(tier, took));
    }

    pub(crate) fn origin_wasted(&self) {
        self.origin_wasted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn origin_ends(&self, took: Span, well: bool) {
        self.origin_errors.fetch_add(u64::from(!well), Ordering::Relaxed);
        self.origin_durations.add(took);
        #[cfg(feature = "otel")]
        self.hooks.get().inspect(|hooks| hooks.origin(took));
    }

    /// Whether a warning may be logged now.
    pub(crate) fn may_log(&self, now: Time) -> bool {
        let at = self.log_at.load(Ordering::Relaxed);
        let next = (now + LOG_EVERY).as_nanos();
        now.as_nanos() >= at
            && self
                .log_at
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_rare() {
        let meters = Meters::default();
        let at = |ms| Time::ZERO + Span::millis(ms);
        let logged: Vec<_> = [0, 1, 999, 1_000, 1_500].map(|ms| meters.may_log(at(ms))).into();
        assert_eq!(logged, [true, false, false, true, false]);
    }

    #[test]
    fn a_bound_is_within_its_bucket() {
        let durations = Durations::default();
        for ms in [0, 1, 2, 60_000] {
            durations.add(Span::millis(ms));
        }
        let counts: Vec<u64> = durations
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        assert_eq!((counts[0], counts[3], counts[4], counts[15]), (1, 1, 1, 1));
    }
}
