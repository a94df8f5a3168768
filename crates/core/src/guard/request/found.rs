//! What a look-up found, and what comes of it.

use crate::breaker;
use crate::epoch::{Epoch, Judged};
use crate::rng::Stream;
use crate::time::Time;

use super::super::step::{CacheFault, Effect, Entry, Kind, Mode, Outcome, Source, Step};
use super::super::{Guard, Verdict};
#[cfg(feature = "journal")]
use super::super::{Reply, journal};
use super::{Fallback, Request};

impl Guard {
    /// [`Guard::resume`] with [`Reply::Found`](crate::guard::Reply::Found), for a driver that has the entry before it and
    /// would only copy it.
    #[inline]
    pub fn resume_found(
        &mut self,
        now: Time,
        rng: &mut Stream,
        request: &mut Request,
        entry: &Entry,
    ) -> Step {
        let step = self.found(now, rng, request, entry);
        #[cfg(feature = "journal")]
        journal::write_at(now, journal::Line::resume(request, Reply::Found(*entry), step));
        step
    }

    #[inline]
    fn found(&mut self, now: Time, rng: &mut Stream, request: &mut Request, entry: &Entry) -> Step {
        self.judge_node(now, request, breaker::Verdict::Success);
        if !entry.intact && self.policies.integrity {
            self.counters.cache_error(CacheFault::Corrupt);
            return self.next_tier(now, rng, request);
        }
        if self.marks.overtaken(request.key, entry.stored, entry.version) {
            return self.next_tier(now, rng, request);
        }
        let verdict = self.freshness.judge(now, entry, request.fresh_for, rng);
        if verdict == Verdict::Doubtful && request.stale_max.is_zero() {
            return self.next_tier(now, rng, request);
        }
        if verdict != Verdict::Past {
            return self.hit(now, rng, request, entry, verdict);
        }
        if let Some(stale) = &self.policies.stale {
            let bound = stale.while_revalidating.max(stale.on_error);
            let newest = request.fallback.is_none_or(|seen| seen.version < entry.version);
            let fresh_until = entry.fresh_until.min(entry.stored + request.fresh_for);
            if now < fresh_until + bound && !entry.negative && newest {
                request.fallback = Some(Fallback {
                    tier: request.tier,
                    fresh_until,
                    stored: entry.stored,
                    version: entry.version,
                });
            }
        }
        self.next_tier(now, rng, request)
    }

    #[inline]
    fn hit(
        &mut self,
        now: Time,
        rng: &mut Stream,
        request: &mut Request,
        entry: &Entry,
        verdict: Verdict,
    ) -> Step {
        self.counters.hits[request.tier as usize] += 1;
        let mut kind = if entry.negative {
            Kind::Negative
        } else {
            Kind::Fresh
        };
        let loads = request.mode != Mode::OnlyIfCached;
        if verdict == Verdict::Doubtful {
            // An invalidation of it may have been lost. Any older epoch will do: all are judged alike.
            kind = Kind::Stale;
            let idle = loads && !self.flights.is_open(now, request.key);
            if idle && self.epochs.judge(now, Epoch(0)) == Judged::Refresh {
                self.refresh(now, rng, request.key, request.class);
            }
        } else if verdict == Verdict::Due && loads {
            self.refresh(now, rng, request.key, request.class);
        }
        if request.missed != 0 && kind != Kind::Stale {
            self.fill(now, request, entry);
        }
        let answer = Outcome::Answer {
            from: Source::Tier(request.tier),
            kind,
            version: entry.version,
        };
        self.end(request, answer)
    }

    /// Copies what was found into the faster tiers that were asked and did not have it.
    fn fill(&mut self, now: Time, request: &Request, entry: &Entry) {
        for tier in 0..request.tier {
            if request.missed & (1 << tier) == 0 || !self.keeps(tier as usize, request.key) {
                continue;
            }
            let state = &self.tiers[tier as usize];
            let mut entry = *entry;
            entry.fresh_until = entry.fresh_until.min(now + state.ttl_max);
            entry.refresh_at = entry.refresh_at.min(entry.fresh_until);
            let keep = entry.fresh_until.since(now) + self.keep_extra(entry.negative);
            let Some(node) = state.standing(now, request.key) else {
                continue;
            };
            let (entry, keep) = self.clip_on(now, tier, node, entry, keep);
            self.effects.push_back(Effect::Fill {
                tier,
                node,
                key: request.key,
                keep,
                entry,
            });
        }
    }

    pub(super) fn cache_failed(
        &mut self,
        now: Time,
        rng: &mut Stream,
        request: &mut Request,
        fault: CacheFault,
    ) -> Step {
        let verdict = if fault.is_outage() {
            breaker::Verdict::Failure
        } else {
            breaker::Verdict::Success
        };
        self.judge_node(now, request, verdict);
        self.counters.cache_error(fault);
        self.look(now, rng, request, request.tier as usize + 1)
    }

    pub(super) fn next_tier(&mut self, now: Time, rng: &mut Stream, request: &mut Request) -> Step {
        self.counters.misses[request.tier as usize] += 1;
        request.missed |= 1 << request.tier;
        self.look(now, rng, request, request.tier as usize + 1)
    }

    #[inline]
    pub(super) fn judge_node(&mut self, now: Time, request: &mut Request, verdict: breaker::Verdict) {
        if let Some(permit) = request.permit.take() {
            let took = now.since(request.sent);
            self.record_node(now, request.tier, request.node, permit, verdict, took);
        }
    }
}
