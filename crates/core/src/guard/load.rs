//! A load: from the decision to ask the origin to the last store, detached from all who wait for it.

mod lease;
mod line;
mod store;

use crate::coalesce::LoadId;
use crate::gate::Reason;
use crate::lease::Contender;
use crate::rng::Stream;
use crate::time::{Span, Time};
use crate::ttl::Class;
use crate::{breaker, limit, retry};

use super::Guard;
use super::step::{Effect, Entry, Life, LoadReply, LoadStep, OriginFault};

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
    pub(super) key: u64,
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
    pub(super) entry: Option<Entry>,
    /// How long that is kept.
    pub(super) life: Life,
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

    pub(super) fn begin_storing(&mut self) {
        self.state = State::Storing;
        self.tier = 0;
    }
}

impl Guard {
    /// Goes on with a load. What is said of a load that is over or was cancelled is [`LoadStep::Done`].
    pub fn load(&mut self, now: Time, rng: &mut Stream, load: LoadId, reply: LoadReply) -> LoadStep {
        if !self.flights.is_live(load) {
            return LoadStep::Done;
        }
        let step = self.next_load_step(now, rng, load, reply);
        #[cfg(feature = "journal")]
        super::journal::write_at(now, super::journal::Line::Load(load, reply, step));
        step
    }

    fn next_load_step(&mut self, now: Time, rng: &mut Stream, load: LoadId, reply: LoadReply) -> LoadStep {
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
                    life,
                },
            ) => self.fetched(now, rng, load, version, negative, took, life),
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
            life: Life::Class,
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
                self.flights.close(now, id);
                return Err(Reason::OriginOpen);
            }
            Room::Full => {
                load.state = State::Queued;
                if self.line.push(now, id).is_err() {
                    self.flights.close(now, id);
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
    pub(super) fn refresh(&mut self, now: Time, rng: &mut Stream, key: u64, class: Class) {
        if self.flights.is_open(now, key) {
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
            && self.start(now, key, class, Purpose::Refresh, room).is_ok()
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

    #[expect(clippy::too_many_arguments, reason = "these are the fields of the reply")]
    fn fetched(
        &mut self,
        now: Time,
        rng: &mut Stream,
        id: LoadId,
        version: u64,
        negative: bool,
        took: Span,
        life: Life,
    ) -> LoadStep {
        let load = &mut self.loads[id.index() as usize];
        load.begin_storing();
        load.life = life;
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
        let shared = life != Life::Unkept && !self.marks.load_overtaken(key, sent, version);
        // Answers first, stores after.
        self.land(id, Landing::Value { version, negative }, shared);
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

    /// Ends a load without a value.
    fn fail(&mut self, now: Time, rng: &mut Stream, id: LoadId, landing: Landing) -> LoadStep {
        self.land(id, landing, false);
        self.close(now, id);
        self.promote(now, rng);
        LoadStep::Done
    }

    /// Tells those who wait.
    pub(super) fn land(&mut self, id: LoadId, landing: Landing, shared: bool) {
        let effects = &mut self.effects;
        self.flights.land(id, landing, shared, |token| {
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
    pub(super) fn close(&mut self, now: Time, id: LoadId) {
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
        self.flights.close(now, id);
    }

    fn leave_origin_load(&mut self, now: Time, id: LoadId, result: Option<(bool, Span)>) {
        let load = &mut self.loads[id.index() as usize];
        let (permit, place) = (load.permit.take(), load.place.take());
        if place.is_some() {
            self.leave_origin(now, permit, place, result);
        }
    }
}
