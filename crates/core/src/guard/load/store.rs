//! The last part of a load: the stores, one after the other, while nobody waits any more.

use crate::breaker;
use crate::coalesce::LoadId;
use crate::rng::Stream;
use crate::time::{Span, Time};
use crate::ttl::Class;

use super::super::Guard;
use super::super::step::{CacheFault, Entry, Life, LoadStep};
use super::Purpose;

impl Guard {
    /// The next store that is to be written, or the end of the load.
    pub(in crate::guard) fn store_next(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        while (self.loads[id.index() as usize].tier as usize) < self.tiers.len() {
            let load = &self.loads[id.index() as usize];
            let (tier, key, class, life) = (load.tier, load.key, load.class, load.life);
            let Some(entry) = load.entry else { break };
            if self.marks.load_overtaken(key, entry.stored, entry.version) {
                self.counters.stores_overtaken += 1;
                break;
            }
            if let Some((entry, keep)) = self.entry_for(now, rng, tier as usize, key, (class, life), entry) {
                if let Some((node, permit)) = self.tiers[tier as usize].admit(now, rng, key) {
                    let (entry, keep) = self.clip_on(now, tier, node, entry, keep);
                    let load = &mut self.loads[id.index() as usize];
                    (load.node, load.store_permit, load.sent) = (node, permit, now);
                    return LoadStep::Store {
                        tier,
                        node,
                        key,
                        keep,
                        entry,
                    };
                }
            } else if entry.negative
                && self.loads[id.index() as usize].purpose != (Purpose::Read { seen: false })
            {
                // It is gone at the origin, which is not remembered: what the store holds must not be, either.
                self.take_out(tier, key, entry.version);
            }
            self.loads[id.index() as usize].tier += 1;
        }
        let load = &self.loads[id.index() as usize];
        if load.purpose == Purpose::Warm && load.stored {
            self.counters.warmed += 1;
        }
        self.close(now, id);
        LoadStep::Done
    }

    /// The entry as this tier keeps it, and for how long; `None` when it does not.
    pub(in crate::guard) fn entry_for(
        &self,
        now: Time,
        rng: &mut Stream,
        tier: usize,
        key: u64,
        (class, life): (Class, Life),
        entry: Entry,
    ) -> Option<(Entry, Span)> {
        if !self.keeps(tier, key) || life == Life::Unkept {
            return None;
        }
        let state = &self.tiers[tier];
        let (mut fresh, mut refresh_after) = if let Life::For(span) = life {
            let kept = self.ttl.keep_for(span, rng);
            (kept.fresh, kept.refresh_after)
        } else if entry.negative {
            let fresh = self.ttl.negative(rng)?;
            (fresh, fresh)
        } else {
            let class = (life == Life::Class).then_some(class);
            let kept = self.ttl.keep_for(self.ttl.of(class).unwrap_or(state.ttl), rng);
            (kept.fresh, kept.refresh_after)
        };
        fresh = fresh.min(state.ttl_max);
        refresh_after = refresh_after.min(fresh);
        let kept = Entry {
            fresh_until: now + fresh,
            refresh_at: now + refresh_after,
            ..entry
        };
        Some((kept, fresh + self.keep_extra(entry.negative)))
    }

    /// What a spare node keeps, it keeps for a short time only.
    pub(in crate::guard) fn clip_on(
        &self,
        now: Time,
        tier: u8,
        node: u16,
        entry: Entry,
        keep: Span,
    ) -> (Entry, Span) {
        let keep_max = self.tiers[tier as usize].keep_max(node);
        let clipped = Entry {
            fresh_until: entry.fresh_until.min(now + keep_max),
            refresh_at: entry.refresh_at.min(now + keep_max),
            ..entry
        };
        (clipped, keep.min(keep_max))
    }

    pub(super) fn stored(
        &mut self,
        now: Time,
        rng: &mut Stream,
        id: LoadId,
        result: Result<(), CacheFault>,
    ) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        let (tier, node, took) = (load.tier, load.node, now.since(load.sent));
        load.tier += 1;
        load.stored |= result.is_ok();
        let permit = load.store_permit.take();
        let outage = result.is_err_and(CacheFault::is_outage);
        if let Err(fault) = result {
            self.counters.cache_error(fault);
        }
        if let Some(permit) = permit {
            let verdict = if outage {
                breaker::Verdict::Failure
            } else {
                breaker::Verdict::Success
            };
            self.record_node(now, tier, node, permit, verdict, took);
        }
        self.store_next(now, rng, id)
    }
}
