//! Whole calls in few words, where no policy has anything to say about them.
//!
//! Most reads are fresh hits that nothing learns from, and where no policy is on, a miss is a load and a store. What
//! [`Guard::begin`], [`Guard::resume`] and [`Guard::load`] come to for these is said here at once, for drivers in a
//! hurry. A test holds both ways against each other.

use crate::policies::Policies;
use crate::rng::Stream;
use crate::time::{Span, Time};
use crate::ttl::Class;

use super::Guard;
use super::freshness::Verdict;
use super::step::{Entry, Life};

impl Guard {
    /// Whether a fresh hit in the first tier that takes `look` for a call with so much time left changes nothing but
    /// counts, so that [`Guard::plain_hit`] may stand for the whole call: no breaker learns from it, no sketch counts
    /// it, no draw decides on a refresh, and no entry has become suspect. It holds until the guard is called for
    /// anything but a request or a load.
    pub fn takes_plain_hits(&self, look: Span, left: Option<Span>) -> bool {
        let Some(tier) = self.tiers.first() else {
            return false;
        };
        let in_time = |patience: Span| !patience.is_zero() && look <= patience;
        tier.breakers.is_empty()
            && self.sketch.is_none()
            && self.policies.early.is_none()
            && self.freshness.epoch_began == Time::ZERO
            && in_time(tier.timeout)
            && self.policies.deadline.total.is_none_or(in_time)
            && left.is_none_or(in_time)
    }

    /// Answers a whole read at once from what the first tier holds of its key, if that is fresh, sound and needs no
    /// refresh; otherwise nothing has happened, and the call is to be begun. Only where [`Guard::takes_plain_hits`].
    #[inline]
    pub fn plain_hit(&mut self, now: Time, rng: &mut Stream, key: u64, entry: &Entry) -> bool {
        let plain = entry.intact
            && self.freshness.judge(now, entry, Span::MAX, rng) == Verdict::Fresh
            && !self.marks.overtaken(key, entry.stored, entry.version);
        self.counters.hits[0] += u64::from(plain);
        plain
    }

    /// Whether a miss is a load of its own and a store in the one tier there is, and nothing else: no policy that
    /// bounds, joins, times, repeats or judges loads is on. TTLs may be what they like.
    pub fn takes_plain_misses(&self) -> bool {
        let Policies {
            breaker,
            origin_breaker,
            coalesce,
            lease,
            ttl: _,
            early,
            stale,
            deadline,
            retry,
            limit,
            warm,
            hot,
            integrity: _,
            // The door and the way to the origin are others' business.
            queue: _,
            rate: _,
            throttle: _,
            shed: _,
            balance: _,
        } = &self.policies;
        let judged = breaker.is_some() || origin_breaker.is_some() || retry.is_some();
        let shared = coalesce.is_some() || lease.is_some() || stale.is_some() || early.is_some();
        let bounded = limit.is_some() || deadline.total.is_some() || deadline.hard.is_some();
        let chosen = warm.is_some() || hot.is_some() || self.plan.is_some();
        self.tiers.len() == 1 && !(judged || shared || bounded || chosen)
    }

    /// Counts a whole miss, whose load asks the origin now. Only where [`Guard::takes_plain_misses`].
    #[inline]
    pub fn plain_miss(&mut self) {
        self.counters.misses[0] += 1;
        self.counters.loads += 1;
    }

    /// What such a load stores, and for how long, when the origin has answered at `now` what it was asked at `sent`;
    /// none when it is not kept.
    #[inline]
    pub fn plain_load(
        &mut self,
        now: Time,
        rng: &mut Stream,
        key: u64,
        class: Class,
        sent: Time,
        version: u64,
    ) -> Option<(Entry, Span)> {
        let entry = Entry {
            stored: sent,
            fresh_until: now,
            refresh_at: now,
            cost: now.since(sent),
            version,
            negative: false,
            intact: true,
        };
        if self.marks.load_overtaken(key, sent, version) {
            self.counters.stores_overtaken += 1;
            return None;
        }
        self.entry_for(now, rng, 0, key, (class, Life::Class), entry)
    }

    /// The node of a tier that has this key.
    #[inline]
    pub fn node(&self, tier: usize, key: u64) -> u16 {
        self.tiers[tier].node(key)
    }
}
