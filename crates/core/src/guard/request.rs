//! A request on its way through the guard: look-ups, the wait for a load, and what it is answered with.

mod found;
mod write;

use crate::coalesce::{Join, LoadId, WaiterId};
use crate::gate::Reason;
use crate::rng::Stream;
use crate::shed::Priority;
use crate::time::{Span, Time};
use crate::ttl::Class;
use crate::{breaker, limit};

use super::Guard;
#[cfg(feature = "journal")]
use super::journal;
use super::load::{Landing, Purpose, Room};
use super::step::{Call, Kind, Mode, Outcome, Reply, Source, Step};

/// A call that was begun. The driver keeps it between steps.
///
/// It is plain data, so that drivers can keep it where they like; two copies are still one request, which ends once.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(super) token: u32,
    pub(super) stage: Stage,
    pub(super) class: Class,
    pub(super) priority: Priority,
    tier: u8,
    /// The tiers that were asked and held nothing usable, as bits.
    missed: u8,
    node: u16,
    pub(super) key: u64,
    pub(super) read: bool,
    mode: Mode,
    fresh_for: Span,
    stale_max: Span,
    /// When the present step began.
    sent: Time,
    pub(super) deadline: Time,
    /// The permit of the cache node that is asked, or of the origin that is written to.
    permit: Option<breaker::Permit>,
    place: Option<limit::Permit>,
    fallback: Option<Fallback>,
    waiting: Option<Waiting>,
    load: Option<LoadId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Lookup,
    Waiting,
    Writing,
    Ended,
}

/// A stale entry that was seen on the way.
#[derive(Clone, Copy, Debug)]
struct Fallback {
    tier: u8,
    fresh_until: Time,
    stored: Time,
    version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    waiter: WaiterId,
    /// From when on a stale answer is better than waiting.
    soft: Time,
    /// When the wait for another's load is over.
    end: Time,
}

impl Request {
    /// A call that is about to begin. `token` is the driver's name for it, given back by
    /// [`Effect::Wake`](super::Effect::Wake).
    #[inline]
    pub fn new(token: u32, call: &Call) -> Request {
        Request {
            token,
            stage: Stage::Lookup,
            class: call.class,
            priority: call.priority,
            tier: 0,
            missed: 0,
            node: 0,
            key: call.key,
            sent: Time::ZERO,
            read: call.read,
            mode: call.mode,
            fresh_for: call.fresh_for,
            stale_max: call.stale_max,
            deadline: call.deadline,
            permit: None,
            place: None,
            fallback: None,
            waiting: None,
            load: None,
        }
    }

    /// The driver's name for it.
    pub fn token(&self) -> u32 {
        self.token
    }

    /// Its key.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Whether it reads; otherwise it writes.
    pub fn is_read(&self) -> bool {
        self.read
    }

    /// The importance of the call.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// When its time is over: the caller's deadline or the policy's, whichever is sooner.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// The load that it waits for, or whose value it was answered with.
    pub fn load(&self) -> Option<LoadId> {
        self.load
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    fn left(&self, now: Time) -> Span {
        if self.deadline == Time::NEVER {
            Span::MAX
        } else {
            self.deadline.since(now)
        }
    }
}

impl Guard {
    /// Begins a call.
    #[inline]
    pub fn begin(&mut self, now: Time, rng: &mut Stream, request: &mut Request) -> Step {
        let step = self.first_step(now, rng, request);
        #[cfg(feature = "journal")]
        journal::write_at(now, journal::Line::begin(request, step));
        step
    }

    #[inline]
    fn first_step(&mut self, now: Time, rng: &mut Stream, request: &mut Request) -> Step {
        self.requests += 1;
        if let Some(total) = self.policies.deadline.total {
            request.deadline = request.deadline.min(now + total);
        }
        if now >= request.deadline {
            self.end(request, Outcome::Shed(Reason::Deadline))
        } else if request.read {
            if let Some(sketch) = &mut self.sketch {
                self.reads = self.reads.wrapping_add(1);
                if self.reads & self.sketch_mask == 0 {
                    sketch.record(now, request.key);
                }
            }
            if request.mode == Mode::NoCache {
                return self.miss(now, rng, request);
            }
            self.look(now, rng, request, 0)
        } else {
            self.write(now, rng, request)
        }
    }

    /// Goes on with a call after its last step was performed.
    ///
    /// A wake-up that comes twice, or together with the instant that was waited for, does no harm.
    #[inline]
    pub fn resume(&mut self, now: Time, rng: &mut Stream, request: &mut Request, reply: Reply) -> Step {
        if let (Stage::Lookup, Reply::Found(entry)) = (request.stage, reply) {
            return self.resume_found(now, rng, request, &entry);
        }
        let step = self.next_step(now, rng, request, reply);
        #[cfg(feature = "journal")]
        journal::write_at(now, journal::Line::resume(request, reply, step));
        step
    }

    #[inline]
    fn next_step(&mut self, now: Time, rng: &mut Stream, request: &mut Request, reply: Reply) -> Step {
        match (request.stage, reply) {
            (Stage::Lookup, Reply::Missing) => {
                self.judge_node(now, request, breaker::Verdict::Success);
                self.next_tier(now, rng, request)
            }
            (Stage::Lookup, Reply::CacheFailed(fault)) => self.cache_failed(now, rng, request, fault),
            (Stage::Waiting, Reply::Woken | Reply::Due) => self.woken(now, request),
            (Stage::Writing, Reply::Written { version }) => self.written(now, rng, request, Ok(version)),
            (Stage::Writing, Reply::WriteFailed(fault)) => self.written(now, rng, request, Err(fault)),
            (stage, reply) => {
                debug_assert!(false, "{reply:?} is no reply to a request that is {stage:?}");
                self.abandon(now, *request);
                request.stage = Stage::Ended;
                Step::Done(Outcome::Failed)
            }
        }
    }

    /// Takes out a request that is not resumed again: the client left, or stopped waiting.
    ///
    /// Its permits are given back, and its load is cancelled when nobody else waits and the policy says so. A write
    /// that was under way may have happened: its key is invalidated.
    pub fn abandon(&mut self, now: Time, mut request: Request) {
        #[cfg(feature = "journal")]
        journal::write_at(now, journal::Line::Abandon(request.token));
        match request.stage {
            Stage::Ended => return,
            Stage::Lookup => {
                let state = &mut self.tiers[request.tier as usize];
                if let (Some(permit), Some(breaker)) = (
                    request.permit.take(),
                    state.breakers.get_mut(request.node as usize),
                ) {
                    breaker.release(now, permit);
                }
            }
            Stage::Waiting => self.leave(now, &request, true),
            Stage::Writing => {
                self.leave_origin(now, request.permit.take(), request.place.take(), None);
                self.overtake(now, request.key, u64::MAX);
            }
        }
        self.requests -= 1;
        self.check();
    }

    /// Asks the first tier from `tier` on that may be asked; the origin when there is none.
    #[inline]
    fn look(&mut self, now: Time, rng: &mut Stream, request: &mut Request, tier: usize) -> Step {
        if now >= request.deadline {
            return self.give_up(now, request, Outcome::TimedOut);
        }
        for (index, state) in self.tiers.iter_mut().enumerate().skip(tier) {
            let Some((node, permit)) = state.admit(now, rng, request.key) else {
                self.counters.lookups_refused += 1;
                continue;
            };
            request.permit = permit;
            request.stage = Stage::Lookup;
            request.tier = index as u8;
            request.node = node;
            request.sent = now;
            // One deadline is spent across all tiers.
            let timeout = state.timeout.min(request.left(now));
            return Step::Lookup {
                tier: index as u8,
                node,
                timeout,
            };
        }
        self.miss(now, rng, request)
    }

    /// No tier has it: a stale answer, another's load, or a load of its own.
    fn miss(&mut self, now: Time, rng: &mut Stream, request: &mut Request) -> Step {
        let loads = request.mode != Mode::OnlyIfCached;
        if self.fallback(now, request, false).is_some() {
            if loads {
                self.refresh(now, rng, request.key, request.class);
            }
            return self.serve_stale(request);
        }
        if !loads {
            return self.end(request, Outcome::Absent);
        }
        if self.policies.coalesce.is_some() {
            match self.flights.join(now, request.key, request.token) {
                Join::Waits(load, waiter) => {
                    self.counters.coalesced += 1;
                    return self.wait(now, request, load, waiter, true);
                }
                Join::Shares(load, landing) => {
                    self.counters.coalesced += 1;
                    request.load = Some(load);
                    return self.landed(now, request, landing);
                }
                Join::Full => return self.give_up(now, request, Outcome::Shed(Reason::Waiters)),
                Join::Nothing => {}
            }
        }
        // With leases the fleet is asked first, and the place at the origin is taken after that.
        let lease = self.lease_tier(now, request.key).is_some();
        let room = if lease { Room::Later } else { self.enter(now, rng) };
        if let Room::Open = room {
            return self.give_up(now, request, Outcome::Shed(Reason::OriginOpen));
        }
        let purpose = Purpose::Read {
            seen: request.fallback.is_some() || request.mode == Mode::NoCache,
        };
        match self.start(now, request.key, request.class, purpose, room) {
            Ok(load) => {
                let waiter = self.flights.wait(load, request.token);
                self.wait(now, request, load, waiter, false)
            }
            Err(reason) => self.give_up(now, request, Outcome::Shed(reason)),
        }
    }

    fn wait(
        &mut self,
        now: Time,
        request: &mut Request,
        load: LoadId,
        waiter: WaiterId,
        joined: bool,
    ) -> Step {
        let wait_max = self
            .policies
            .coalesce
            .as_ref()
            .filter(|_| joined)
            .map(|settings| settings.wait_max);
        let soft = self.policies.deadline.soft.filter(|_| request.fallback.is_some());
        request.stage = Stage::Waiting;
        request.load = Some(load);
        request.waiting = Some(Waiting {
            waiter,
            soft: soft.map_or(Time::NEVER, |soft| now + soft),
            end: wait_max.map_or(request.deadline, |wait| request.deadline.min(now + wait)),
        });
        self.check();
        wait_on(now, request)
    }

    /// Woken by the load, or by the clock.
    fn woken(&mut self, now: Time, request: &mut Request) -> Step {
        let Some(waiting) = request.waiting else {
            return self.give_up(now, request, Outcome::Failed);
        };
        if let Some(landing) = self.flights.collect(waiting.waiter) {
            request.waiting = None;
            return self.landed(now, request, landing);
        }
        if now >= waiting.end {
            self.leave(now, request, true);
            request.waiting = None;
            return self.give_up(now, request, Outcome::TimedOut);
        }
        if now >= waiting.soft && self.fallback(now, request, true).is_some() {
            // The load goes on: it refreshes the entry.
            self.leave(now, request, false);
            request.waiting = None;
            return self.serve_stale(request);
        }
        wait_on(now, request)
    }

    fn landed(&mut self, now: Time, request: &mut Request, landing: Landing) -> Step {
        match landing {
            Landing::Value { version, negative } => {
                let kind = if negative { Kind::Negative } else { Kind::Fresh };
                self.end(
                    request,
                    Outcome::Answer {
                        from: Source::Load,
                        kind,
                        version,
                    },
                )
            }
            Landing::Shed(reason) => self.give_up(now, request, Outcome::Shed(reason)),
            Landing::Failed => self.give_up(now, request, Outcome::Failed),
            Landing::TimedOut => self.give_up(now, request, Outcome::TimedOut),
        }
    }

    /// Takes a waiting request out of its load, which is cancelled or goes on without it.
    fn leave(&mut self, now: Time, request: &Request, may_cancel: bool) {
        let Some(waiting) = request.waiting else { return };
        let Some((load, 0)) = self.flights.leave(waiting.waiter) else {
            return;
        };
        if !may_cancel {
            self.loads[load.index() as usize].goes_on = true;
        } else if self.policies.deadline.cancel {
            self.cancel_unwanted(now, load);
        }
    }

    /// Ends a request that gets no answer from the origin: stale when that is allowed, or with `outcome`.
    fn give_up(&mut self, now: Time, request: &mut Request, outcome: Outcome) -> Step {
        if self.fallback(now, request, true).is_some() {
            return self.serve_stale(request);
        }
        self.end(request, outcome)
    }

    /// The stale entry that may be served now: after an error, or (otherwise) while it is refreshed.
    fn fallback(&self, now: Time, request: &Request, on_error: bool) -> Option<Fallback> {
        let (fallback, stale) = (request.fallback?, self.policies.stale.as_ref()?);
        let mut bound = stale.while_revalidating;
        if on_error {
            bound = bound.max(stale.on_error);
        }
        let bound = bound.min(request.stale_max);
        let usable = now < fallback.fresh_until + bound
            && !self
                .marks
                .load_overtaken(request.key, fallback.stored, fallback.version);
        usable.then_some(fallback)
    }

    fn serve_stale(&mut self, request: &mut Request) -> Step {
        let Some(fallback) = request.fallback else {
            return self.end(request, Outcome::Failed);
        };
        let from = Source::Tier(fallback.tier);
        self.end(
            request,
            Outcome::Answer {
                from,
                kind: Kind::Stale,
                version: fallback.version,
            },
        )
    }

    /// Every request ends here, or in [`Guard::abandon`].
    fn end(&mut self, request: &mut Request, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Shed(reason) => self.counters.shed(reason),
            Outcome::Answer {
                kind: Kind::Stale, ..
            } => self.counters.stale_served += 1,
            _ => {}
        }
        request.stage = Stage::Ended;
        self.requests -= 1;
        Step::Done(outcome)
    }
}

/// Until when to wait: the next instant at which something changes for the request.
fn wait_on(now: Time, request: &Request) -> Step {
    let waiting = request.waiting.as_ref();
    let until = waiting.map_or(now, |waiting| {
        // A soft instant that has passed without a stale answer never comes again.
        if now < waiting.soft {
            waiting.end.min(waiting.soft)
        } else {
            waiting.end
        }
    });
    Step::Wait { until }
}
