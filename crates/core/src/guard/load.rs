//! A load: from the decision to ask the origin to the last store, detached from all who wait for it.

use crate::coalesce::LoadId;
use crate::gate::Reason;
use crate::lease::{Contender, Grant, Step as Turn, Token};
use crate::rng::Stream;
use crate::time::{Span, Time};
use crate::ttl::Class;
use crate::{breaker, limit, retry};

use super::Guard;
use super::request::Request;
use super::step::{CacheFault, Effect, Entry, LoadReply, LoadStep, OriginFault};

/// What a load ends with, for those who wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Landing {
    Value { version: u64, negative: bool },
    Shed(Reason),
    Failed,
    TimedOut,
}

/// Whom a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For those who wait. `seen`: a store may still hold something older.
    Read {
        seen: bool,
    },
    Refresh,
    Warm,
}

/// Whether there is a place at the origin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    Inside(limit::Permit, Option<breaker::Permit>),
    Full,
    /// The origin's breaker refuses.
    Open,
    /// The place is taken later: something else is asked first.
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the line before the origin.
    Queued,
    /// Launched, until the driver takes it up.
    Launched,
    Leasing,
    /// Until the next look whether another process has filled the key.
    LeasePause,
    Looking,
    Fetching,
    Backoff,
    Storing,
}

#[derive(Clone, Debug)]
pub(super) struct Load {
    key: u64,
    class: Class,
    purpose: Purpose,
    state: State,
    /// It goes on although nobody waits.
    pub(super) goes_on: bool,
    /// When it is given up.
    hard: Time,
    /// Calls to the origin so far.
    attempts: u32,
    place: Option<limit::Permit>,
    permit: Option<breaker::Permit>,
    /// When the present step began.
    sent: Time,
    /// What was fetched, once it was.
    entry: Option<Entry>,
    /// The tier that is stored to, or asked for the lease, and its node.
    tier: u8,
    node: u16,
    store_permit: Option<breaker::Permit>,
    stored: bool,
    contender: Option<Contender>,
    leased: Option<(u8, u16)>,
}

impl Load {
    pub(super) fn is_refresh(&self) -> bool {
        self.purpose == Purpose::Refresh
    }

    pub(super) fn is_queued(&self) -> bool {
        self.state == State::Queued
    }

    pub(super) fn is_inside(&self) -> bool {
        self.place.is_some()
    }
}

impl Guard {
    /// Goes on with a load. What is said of a load that is over or was cancelled is [`LoadStep::Done`].
    pub fn load(&mut self, now: Time, rng: &mut Stream, load: LoadId, reply: LoadReply) -> LoadStep {
        if !self.flights.is_live(load) {
            return LoadStep::Done;
        }
        let state = self.loads[load.index() as usize].state;
        let step = match (state, reply) {
            (State::Launched, LoadReply::Launched) => self.launched(now, rng, load),
            (State::Backoff, LoadReply::Due) => self.approach(now, rng, load),
            (
                State::Fetching,
                LoadReply::Fetched {
                    version,
                    negative,
                    took,
                },
            ) => self.fetched(now, rng, load, version, negative, took),
            (State::Fetching, LoadReply::FetchFailed(fault)) => self.fetch_failed(now, rng, load, fault),
            (State::Storing, LoadReply::Stored(result)) => self.stored(now, rng, load, result),
            (State::Leasing, LoadReply::Leased(granted)) => self.lease_answered(now, rng, load, granted),
            (State::LeasePause, LoadReply::Due) => self.look_again(now, load),
            (State::Looking, LoadReply::Found(entry)) => self.looked(now, rng, load, Some(&entry)),
            (State::Looking, LoadReply::Missing) => self.looked(now, rng, load, None),
            (state, reply) => {
                debug_assert!(false, "{reply:?} is no reply to a load that is {state:?}");
                self.fail(now, rng, load, Landing::Failed)
            }
        };
        self.check();
        step
    }

    /// A place at the origin, for a load that comes now. Who comes now goes behind those who wait in line.
    pub(super) fn enter(&mut self, now: Time, rng: &mut Stream) -> Room {
        let open = |breaker: &breaker::Breaker| breaker.state(now) == breaker::State::Open;
        if self.origin.as_ref().is_some_and(open) {
            return Room::Open;
        }
        if !self.line.is_empty() {
            return Room::Full;
        }
        self.enter_from_line(now, rng)
    }

    fn enter_from_line(&mut self, now: Time, rng: &mut Stream) -> Room {
        let Some(place) = self.limiter.acquire(now) else {
            return Room::Full;
        };
        let Some(breaker) = &mut self.origin else {
            return Room::Inside(place, None);
        };
        match breaker.admit(now, rng) {
            breaker::Admission::Pass(permit) => Room::Inside(place, Some(permit)),
            breaker::Admission::Refuse { .. } => {
                self.limiter.release(now, place, limit::Outcome::Dropped);
                Room::Open
            }
        }
    }

    /// Begins a load, inside the origin or in the line before it.
    pub(super) fn start(
        &mut self,
        now: Time,
        key: u64,
        class: Class,
        purpose: Purpose,
        room: Room,
    ) -> Result<LoadId, Reason> {
        // Refreshes are told apart by their key even where misses are not coalesced.
        let shared = self.policies.coalesce.is_some() || !matches!(purpose, Purpose::Read { .. });
        let id = self.flights.lead(now, key, shared);
        let mut load = Load {
            key,
            class,
            purpose,
            state: State::Launched,
            goes_on: purpose == Purpose::Refresh || purpose == Purpose::Warm,
            hard: self.policies.deadline.hard.map_or(Time::NEVER, |hard| now + hard),
            attempts: 0,
            place: None,
            permit: None,
            sent: now,
            entry: None,
            tier: 0,
            node: 0,
            store_permit: None,
            stored: false,
            contender: None,
            leased: None,
        };
        match room {
            Room::Inside(place, permit) => (load.place, load.permit) = (Some(place), permit),
            Room::Later => {}
            Room::Open => {
                self.flights.close(id);
                return Err(Reason::OriginOpen);
            }
            Room::Full => {
                load.state = State::Queued;
                if self.line.push(now, id).is_err() {
                    self.flights.close(id);
                    return Err(Reason::OriginLimit);
                }
            }
        }
        if load.hard != Time::NEVER {
            self.arm(load.hard, id);
        }
        if load.state == State::Launched {
            self.effects.push_back(Effect::Launch(id));
        }
        let index = id.index() as usize;
        if index == self.loads.len() {
            self.loads.push(load);
        } else {
            self.loads[index] = load;
        }
        Ok(id)
    }

    /// Refreshes a key in the background, when there is room for that.
    pub(super) fn refresh(&mut self, now: Time, rng: &mut Stream, request: &Request) {
        if self.flights.is_open(now, request.key) {
            return;
        }
        let bound = self
            .policies
            .stale
            .as_ref()
            .map_or(super::REFRESHES_MAX, |stale| stale.refreshes_max);
        // A refresh stands in no line: the next reader asks for it again.
        let room = if self.refreshes < bound {
            self.enter(now, rng)
        } else {
            Room::Full
        };
        if let Room::Inside(..) = room
            && self
                .start(now, request.key, request.class, Purpose::Refresh, room)
                .is_ok()
        {
            self.refreshes += 1;
            self.counters.refreshes += 1;
        } else {
            self.counters.refreshes_skipped += 1;
        }
    }

    /// Begins to warm a key, unless it is being loaded anyway. It looks whether another instance was faster.
    pub(super) fn start_warm(&mut self, now: Time, key: u64) {
        if !self.flights.is_open(now, key) {
            // Room is asked for later, so this does not fail.
            let _ = self.start(now, key, Class::default(), Purpose::Warm, Room::Later);
        }
    }

    fn launched(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        let load = &self.loads[id.index() as usize];
        if load.place.is_some() || load.contender.is_some() {
            return self.approach(now, rng, id);
        }
        let (key, purpose) = (load.key, load.purpose);
        if let (Some((tier, node)), Some(settings)) = (self.lease_tier(now, key), &self.policies.lease) {
            let contender = Contender::new(settings, now);
            let load = &mut self.loads[id.index() as usize];
            load.contender = Some(contender);
            (load.tier, load.node) = (tier, node);
            if purpose != Purpose::Warm {
                return self.ask_lease(id);
            }
        } else if purpose == Purpose::Warm
            && let Some((tier, node)) = self.shared_tier(now, key)
        {
            let load = &mut self.loads[id.index() as usize];
            (load.tier, load.node) = (tier, node);
        } else {
            return self.approach(now, rng, id);
        }
        self.look_again(now, id)
    }

    /// Goes to the origin, through the line when there is no place.
    fn approach(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        if self.loads[id.index() as usize].place.is_none() {
            match self.enter(now, rng) {
                Room::Inside(place, permit) => {
                    let load = &mut self.loads[id.index() as usize];
                    (load.place, load.permit) = (Some(place), permit);
                }
                Room::Full | Room::Later => {
                    if self.line.push(now, id).is_err() {
                        return self.fail(now, rng, id, Landing::Shed(Reason::OriginLimit));
                    }
                    self.loads[id.index() as usize].state = State::Queued;
                    return LoadStep::Parked;
                }
                Room::Open => return self.fail(now, rng, id, Landing::Shed(Reason::OriginOpen)),
            }
        }
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Fetching;
        load.sent = now;
        load.attempts += 1;
        if load.attempts == 1 {
            self.counters.loads += 1;
            if let Some(budget) = &mut self.budget {
                budget.call(now);
            }
        }
        let timeout = if load.hard == Time::NEVER {
            Span::MAX
        } else {
            load.hard.since(now)
        };
        LoadStep::Fetch {
            key: load.key,
            timeout,
        }
    }

    fn fetched(
        &mut self,
        now: Time,
        rng: &mut Stream,
        id: LoadId,
        version: u64,
        negative: bool,
        took: Span,
    ) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Storing;
        load.tier = 0;
        load.entry = Some(Entry {
            stored: load.sent,
            fresh_until: now,
            refresh_at: now,
            cost: took,
            version,
            negative,
            intact: true,
        });
        let (key, sent) = (load.key, load.sent);
        self.leave_origin_load(now, id, Some((true, took)));
        let shared = !self.marks.load_overtaken(key, sent, version);
        // Answers first, stores after.
        self.land(now, id, Landing::Value { version, negative }, shared);
        self.promote(now, rng);
        self.store_next(now, rng, id)
    }

    fn fetch_failed(&mut self, now: Time, rng: &mut Stream, id: LoadId, fault: OriginFault) -> LoadStep {
        let took = now.since(self.loads[id.index() as usize].sent);
        self.leave_origin_load(now, id, Some((false, took)));
        self.promote(now, rng);
        if let Some(until) = self.next_attempt(now, rng, id) {
            self.counters.retries += 1;
            self.loads[id.index() as usize].state = State::Backoff;
            return LoadStep::Pause { until };
        }
        let landing = if fault == OriginFault::TimedOut {
            Landing::TimedOut
        } else {
            Landing::Failed
        };
        self.fail(now, rng, id, landing)
    }

    /// When a failed load is tried again, if it is. Only a load that somebody waits for is.
    fn next_attempt(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> Option<Time> {
        let settings = self.policies.retry.as_ref()?;
        let load = &self.loads[id.index() as usize];
        if load.attempts >= settings.attempts || self.flights.waiting(id) == 0 {
            return None;
        }
        let until = now + retry::pause(settings, load.attempts, rng);
        if until >= load.hard {
            return None;
        }
        if self.budget.as_mut().is_some_and(|budget| !budget.retry(now)) {
            self.counters.retries_refused += 1;
            return None;
        }
        Some(until)
    }

    /// The next store that is to be written, or the end of the load.
    fn store_next(&mut self, now: Time, rng: &mut Stream, id: LoadId) -> LoadStep {
        while (self.loads[id.index() as usize].tier as usize) < self.tiers.len() {
            let load = &self.loads[id.index() as usize];
            let (tier, key, class) = (load.tier, load.key, load.class);
            let Some(entry) = load.entry else { break };
            if self.marks.load_overtaken(key, entry.stored, entry.version) {
                self.counters.stores_overtaken += 1;
                break;
            }
            if let Some((entry, keep)) = self.entry_for(now, rng, tier as usize, key, class, entry) {
                if let Some((node, permit)) = self.admit_store(now, rng, tier, key) {
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
                let node = self.tiers[tier as usize].node(key);
                self.effects.push_back(Effect::Invalidate {
                    tier,
                    node,
                    key,
                    version: entry.version,
                });
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
    fn entry_for(
        &self,
        now: Time,
        rng: &mut Stream,
        tier: usize,
        key: u64,
        class: Class,
        entry: Entry,
    ) -> Option<(Entry, Span)> {
        if !self.keeps(tier, key) {
            return None;
        }
        let state = &self.tiers[tier];
        let (mut fresh, mut refresh_after) = if entry.negative {
            let fresh = self.ttl.negative(rng)?;
            (fresh, fresh)
        } else {
            let kept = self.ttl.keep(class, state.ttl, rng);
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

    fn admit_store(
        &mut self,
        now: Time,
        rng: &mut Stream,
        tier: u8,
        key: u64,
    ) -> Option<(u16, Option<breaker::Permit>)> {
        let state = &mut self.tiers[tier as usize];
        let node = state.node(key);
        let Some(breaker) = state.breakers.get_mut(node as usize) else {
            return Some((node, None));
        };
        match breaker.admit(now, rng) {
            breaker::Admission::Pass(permit) => Some((node, Some(permit))),
            breaker::Admission::Refuse { .. } => None,
        }
    }

    fn stored(
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

    fn ask_lease(&mut self, id: LoadId) -> LoadStep {
        let hold = self
            .policies
            .lease
            .as_ref()
            .map_or(Span::ZERO, |settings| settings.hold);
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Leasing;
        LoadStep::Lease {
            tier: load.tier,
            node: load.node,
            key: load.key,
            hold,
        }
    }

    fn lease_answered(&mut self, now: Time, rng: &mut Stream, id: LoadId, granted: bool) -> LoadStep {
        let hold = self
            .policies
            .lease
            .as_ref()
            .map_or(Span::ZERO, |settings| settings.hold);
        let load = &mut self.loads[id.index() as usize];
        if granted {
            load.leased = Some((load.tier, load.node));
        }
        // Which token it was is between the store and the driver.
        let grant = if granted {
            Grant::Granted(Token(0))
        } else {
            Grant::Held { until: now + hold }
        };
        let turn = load
            .contender
            .as_ref()
            .map_or(Turn::Load, |contender| contender.step(now, grant));
        match turn {
            Turn::Load => self.approach(now, rng, id),
            // Another instance refreshes or warms it: that will do.
            Turn::LookAgain { .. } if load.goes_on && self.flights.waiting(id) == 0 => {
                self.land(now, id, Landing::Failed, false);
                self.close(now, id);
                LoadStep::Done
            }
            Turn::LookAgain { at } => {
                load.state = State::LeasePause;
                LoadStep::Pause { until: at }
            }
        }
    }

    fn look_again(&mut self, now: Time, id: LoadId) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        load.state = State::Looking;
        load.sent = now;
        let timeout = self.tiers[load.tier as usize].timeout;
        LoadStep::Look {
            tier: load.tier,
            node: load.node,
            key: load.key,
            timeout,
        }
    }

    fn looked(&mut self, now: Time, rng: &mut Stream, id: LoadId, found: Option<&Entry>) -> LoadStep {
        let load = &self.loads[id.index() as usize];
        let usable = |entry: &&Entry| {
            now < entry.fresh_until
                && (entry.intact || !self.policies.integrity)
                && entry.stored >= self.epoch_began
                && !self.marks.overtaken(load.key, entry.stored, entry.version)
        };
        match found.filter(usable) {
            Some(entry) => {
                let landing = Landing::Value {
                    version: entry.version,
                    negative: entry.negative,
                };
                self.land(now, id, landing, true);
                self.close(now, id);
                LoadStep::Done
            }
            None if load.contender.is_some() => self.ask_lease(id),
            None => self.approach(now, rng, id),
        }
    }

    /// Ends a load without a value.
    fn fail(&mut self, now: Time, rng: &mut Stream, id: LoadId, landing: Landing) -> LoadStep {
        self.land(now, id, landing, false);
        self.close(now, id);
        self.promote(now, rng);
        LoadStep::Done
    }

    /// Tells those who wait.
    fn land(&mut self, now: Time, id: LoadId, landing: Landing, shared: bool) {
        let effects = &mut self.effects;
        self.flights.land(now, id, landing, shared, |token| {
            effects.push_back(Effect::Wake(token));
        });
        let load = &mut self.loads[id.index() as usize];
        if load.purpose == Purpose::Refresh {
            // The bound is on calls to the origin, not on stores.
            self.refreshes -= 1;
            load.purpose = Purpose::Read { seen: true };
        }
    }

    /// Gives everything back that a load still holds, and its place with it.
    fn close(&mut self, now: Time, id: LoadId) {
        self.leave_origin_load(now, id, None);
        let load = &mut self.loads[id.index() as usize];
        if let Some((tier, node)) = load.leased.take() {
            self.effects.push_back(Effect::GiveBack {
                tier,
                node,
                key: load.key,
            });
        }
        if load.purpose == Purpose::Refresh {
            self.refreshes -= 1;
        }
        if let Some(permit) = load.store_permit.take()
            && let Some(breaker) = self.tiers[load.tier as usize]
                .breakers
                .get_mut(load.node as usize)
        {
            breaker.release(now, permit);
        }
        self.flights.close(id);
    }

    fn leave_origin_load(&mut self, now: Time, id: LoadId, result: Option<(bool, Span)>) {
        let load = &mut self.loads[id.index() as usize];
        let (permit, place) = (load.permit.take(), load.place.take());
        if place.is_some() {
            self.leave_origin(now, permit, place, result);
        }
    }

    /// Nobody waits for this load any more: stops it, unless it has something else to live for.
    pub(super) fn cancel_unwanted(&mut self, now: Time, id: LoadId) {
        let load = &self.loads[id.index() as usize];
        if load.goes_on || load.state == State::Storing || !self.flights.is_live(id) {
            return;
        }
        self.stop(id);
        self.close(now, id);
        self.counters.loads_cancelled += 1;
        // Its place is for another; that is seen to at the next wake-up, which is due at once.
        self.wake_now = true;
    }

    fn stop(&mut self, id: LoadId) {
        if self.loads[id.index() as usize].state == State::Queued {
            self.line.remove(|waiting| *waiting == id);
        } else {
            self.effects.push_back(Effect::Cancel(id));
        }
    }

    /// Gives up the loads whose hard timeout has come: their keys are free, their work is cancelled.
    pub(super) fn give_up_loads(&mut self, now: Time) {
        while let Some((at, id)) = self.hard.front().copied() {
            if at > now {
                break;
            }
            self.hard.pop_front();
            if !self.flights.is_live(id) || self.loads[id.index() as usize].state == State::Storing {
                continue;
            }
            self.stop(id);
            let load = &self.loads[id.index() as usize];
            if load.state == State::Fetching {
                // The origin did not answer: that is news of it.
                let took = now.since(load.sent);
                self.leave_origin_load(now, id, Some((false, took)));
            }
            self.counters.loads_given_up += 1;
            self.land(now, id, Landing::TimedOut, false);
            self.close(now, id);
        }
    }

    /// Lets those in the line before the origin go on, or leave.
    pub(super) fn promote(&mut self, now: Time, rng: &mut Stream) {
        loop {
            while let Some(id) = self.line.expire(now) {
                self.land(now, id, Landing::Shed(Reason::OriginTimeout), false);
                self.close(now, id);
            }
            if self.line.is_empty() {
                return;
            }
            let room = self.enter_from_line(now, rng);
            if let Room::Full | Room::Later = room {
                return;
            }
            let next = self.line.pop(now).map(|(id, _)| id);
            match (room, next) {
                (Room::Inside(place, permit), Some(id)) => {
                    let load = &mut self.loads[id.index() as usize];
                    (load.place, load.permit, load.state) = (Some(place), permit, State::Launched);
                    self.effects.push_back(Effect::Launch(id));
                }
                (Room::Inside(place, permit), None) => {
                    self.leave_origin(now, permit, Some(place), None);
                }
                (_, Some(id)) => {
                    self.land(now, id, Landing::Shed(Reason::OriginOpen), false);
                    self.close(now, id);
                }
                (_, None) => {}
            }
        }
    }

    /// When it is given up, kept in order.
    fn arm(&mut self, at: Time, id: LoadId) {
        // The timeout is the same for all, so this is the end of the line except after it was made shorter.
        let place = self.hard.partition_point(|(other, _)| *other <= at);
        self.hard.insert(place, (at, id));
    }
}
