//! What a driver tells the guard aside from requests: values that came by another way, and hits that it settled alone.

use crate::breaker;
use crate::coalesce::LoadId;
use crate::gate::Reason;
use crate::rng::Stream;
use crate::time::{Span, Time};
use crate::ttl::Class;
use crate::warm;

use super::load::{Landing, Purpose, Room};
use super::step::{Entry, Life, LoadStep};
use super::{Freshness, Guard};

impl Guard {
    /// Takes a value in that no load brought. It counts from now on: what was read before is neither joined, stored
    /// nor served any more, unless its version is as high.
    ///
    /// It becomes a load that is launched with its value in hand, so that misses until it is stored share it. It
    /// asks the origin for nothing, and needs no place there.
    pub fn insert(
        &mut self,
        now: Time,
        key: u64,
        class: Class,
        (version, negative): (u64, bool),
        life: Life,
    ) -> Option<(LoadId, Entry)> {
        self.marks.add(now, key, version);
        self.flights.detach(key);
        let purpose = Purpose::Read { seen: true };
        let id = self.start(now, key, class, purpose, Room::Later).ok()?;
        let load = &mut self.loads[id.index() as usize];
        load.goes_on = true;
        load.life = life;
        let entry = Entry {
            stored: now,
            fresh_until: now,
            refresh_at: now,
            cost: Span::ZERO,
            version,
            negative,
            intact: true,
        };
        load.entry = Some(entry);
        self.check();
        Some((id, entry))
    }

    /// Goes on with a load that came with its value.
    pub(super) fn inserted(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        load.begin_storing();
        let (key, entry, life) = (load.key, load.entry, load.life);
        if let Some(entry) = entry {
            let (version, negative) = (entry.version, entry.negative);
            let shared = life != Life::Unkept && !self.marks.load_overtaken(key, entry.stored, version);
            self.land(id, Landing::Value { version, negative }, shared);
        }
        self.store_next(now, rng, id)
    }

    /// Ends a load that the driver cannot drive to its end: those who wait are told that it failed, and nothing is
    /// learnt about the origin.
    pub fn decline(&mut self, now: Time, load: LoadId) {
        if !self.flights.is_live(load) {
            return;
        }
        if self.loads[load.index() as usize].is_queued() {
            self.line.remove(|waiting| *waiting == load);
        }
        self.land(load, Landing::Failed, false);
        self.close(now, load);
        self.wake_now = true;
        self.check();
    }

    /// Whether somebody waits for this load, or its value is wanted although nobody does (a refresh, a warming, an
    /// insertion). What a load brings otherwise was brought in vain.
    pub fn is_wanted(&self, load: LoadId) -> bool {
        self.flights.waiting(load) > 0
            || (self.flights.is_live(load) && self.loads[load.index() as usize].goes_on)
    }

    /// When it is worth coming back for a request that was turned away now for this reason; `None` where the guard does
    /// not know.
    ///
    /// A line is renewed within its timeout: whoever stands in it by now has been served or sent away by then. A breaker
    /// says when it will ask again.
    pub fn retry_after(&self, now: Time, reason: Reason) -> Option<Span> {
        let after = match reason {
            Reason::OriginOpen => self.origin_opens_in(now),
            Reason::OriginLimit | Reason::OriginTimeout => self.policies.limit.as_ref()?.timeout,
            Reason::CacheOpen => {
                let nodes = self.tiers.iter().flat_map(|tier| &tier.breakers);
                let open = nodes.map(|breaker| breaker.opens_in(now));
                open.filter(|left| !left.is_zero()).min().unwrap_or(Span::ZERO)
            }
            Reason::Waiters => self.policies.coalesce.as_ref()?.wait_max,
            _ => return None,
        };
        Some(after.max(Span::millis(1)))
    }

    /// The key of a load; `None` when it is over.
    pub fn key_of(&self, load: LoadId) -> Option<u64> {
        let live = self.flights.is_live(load);
        live.then(|| self.loads[load.index() as usize].key)
    }

    /// The TTL of a class, before jitter; `None` where it has none of its own.
    pub fn class_ttl(&self, class: Class) -> Option<Span> {
        self.ttl.of(Some(class))
    }

    /// How long one call to a tier may take.
    pub fn patience(&self, tier: usize) -> Span {
        self.tiers.get(tier).map_or(Span::MAX, |tier| tier.timeout)
    }

    /// How hits are judged, for a driver that settles those of its own memory without the guard. It changes with
    /// [`Guard::retune`] and [`Guard::bump_epoch`].
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// A reader was answered without the guard, and found the refresh due ([`Verdict::Due`](super::Verdict::Due)).
    pub fn refresh_due(&mut self, now: Time, rng: &mut Stream, key: u64, class: Class) {
        #[cfg(feature = "journal")]
        super::journal::note(now);
        self.refresh(now, rng, key, class);
        self.check();
    }

    /// Of the hits that a driver settles without the guard, which it tells with [`Guard::observe`]: one in this many;
    /// `None` when popularity is not counted.
    pub fn observes(&self) -> Option<u64> {
        self.sketch.as_ref().map(|_| self.sketch_mask + 1)
    }

    /// Counts a read of a key that was answered without the guard.
    pub fn observe(&mut self, now: Time, key: u64) {
        if let Some(sketch) = &mut self.sketch {
            sketch.record(now, key);
        }
    }

    /// The fewest keys that brought the share of the reads that the warming policy asks for, over its window, hottest
    /// first; none where popularity is not counted.
    pub fn popular(&self) -> Vec<u64> {
        match (&self.policies.warm, &self.sketch) {
            (Some(settings), Some(sketch)) => warm::by_popularity(&sketch.top(), settings.threshold),
            _ => Vec::new(),
        }
    }

    /// The state of the breaker of each node of a tier; none where there are no breakers.
    pub fn node_states(&self, now: Time, tier: usize) -> impl Iterator<Item = breaker::State> {
        let breakers = self.tiers.get(tier).into_iter().flat_map(|tier| &tier.breakers);
        breakers.map(move |breaker| breaker.state(now))
    }

    /// The state of the origin's breaker; `None` without one.
    pub fn origin_state(&self, now: Time) -> Option<breaker::State> {
        self.origin.as_ref().map(|breaker| breaker.state(now))
    }

    /// How long the origin's breaker stays open; nothing when it is not.
    pub fn origin_opens_in(&self, now: Time) -> Span {
        self.origin
            .as_ref()
            .map_or(Span::ZERO, |breaker| breaker.opens_in(now))
    }

    /// The protections, as they are now.
    pub fn policies(&self) -> &crate::policies::Policies {
        &self.policies
    }
}
