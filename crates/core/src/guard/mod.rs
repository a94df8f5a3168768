//! The guard: all protections composed into the one read path.
//!
//! A driver owns one guard for each instance of a service, performs the [`Step`]s that it says, and hands the
//! [`Reply`] back: the simulator by scheduling it, the runtime by doing it. The guard holds no value, does no I/O,
//! reads no clock. **After every call to the guard, the driver performs the effects that [`Guard::poll`] gives until
//! it gives none, and sees to it that [`Guard::wake`] is called at [`Guard::next_wake`].**
//!
//! It is not the door: the queue, the rate limit, the throttle and the shedding of [`crate::gate`] come before it.

mod counters;
mod request;
mod step;

pub use crate::coalesce::LoadId;
pub use counters::Counters;
pub use request::Request;
pub use step::{
    CacheFault, Call, Effect, Entry, Kind, LoadReply, LoadStep, OriginFault, Outcome, Reply, Setup, Source,
    Step, TIERS_MAX, Tier,
};

use std::collections::VecDeque;

use crate::policies::Policies;
use crate::rng::Stream;
use crate::time::{Span, Time};

/// The read path of one instance of a service.
#[derive(Debug)]
pub struct Guard {
    effects: VecDeque<Effect>,
    counters: Counters,
}

impl Guard {
    /// A guard in front of cold caches, all breakers closed.
    ///
    /// # Panics
    /// When there are more tiers than [`TIERS_MAX`], or a tier has no node.
    pub fn new(now: Time, setup: &Setup) -> Guard {
        let _ = (now, setup);
        Guard {
            effects: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Begins a call. `token` is the driver's name for it, given back by [`Effect::Wake`].
    pub fn begin(&mut self, now: Time, rng: &mut Stream, token: u32, call: &Call) -> (Request, Step) {
        let _ = (now, rng);
        (
            Request::skeleton(token, call),
            Step::Lookup {
                tier: 0,
                node: 0,
                timeout: Span::MAX,
            },
        )
    }

    /// Goes on with a call after its last step was performed.
    pub fn resume(&mut self, now: Time, rng: &mut Stream, request: &mut Request, reply: Reply) -> Step {
        let _ = (now, rng, request, reply);
        Step::Done(Outcome::Failed)
    }

    /// Takes out a request that is not resumed again: the client left, or stopped waiting.
    pub fn abandon(&mut self, now: Time, request: Request) {
        let _ = (now, request);
    }

    /// Goes on with a load.
    pub fn load(&mut self, now: Time, rng: &mut Stream, load: LoadId, reply: LoadReply) -> LoadStep {
        let _ = (now, rng, load, reply);
        LoadStep::Done
    }

    /// The next effect to perform. To be called until there is none, after every other call.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Guard::wake`] has something to do; [`Time::NEVER`] when nothing is pending.
    pub fn next_wake(&self) -> Time {
        Time::NEVER
    }

    /// Lets time pass: waits in the line before the origin and hard timeouts end, warming goes on.
    pub fn wake(&mut self, now: Time, rng: &mut Stream) {
        let _ = (now, rng);
    }

    /// Takes other policies. What is under way goes on under the new ones.
    pub fn retune(&mut self, now: Time, policies: &Policies) {
        let _ = (now, policies);
    }

    /// Forgets a key in all tiers, for good: nothing that was read before now is stored or served stale any more.
    pub fn purge(&mut self, now: Time, key: u64) {
        let _ = (now, key);
    }

    /// Invalidations may have been lost: what was stored before now is stale, and is refreshed as it is asked for.
    pub fn bump_epoch(&mut self, now: Time) {
        let _ = now;
    }

    /// Begins to load these keys at the pace of the warming policy (its default when it is off), hottest first.
    pub fn warm(&mut self, now: Time, keys: Vec<u64>) {
        let _ = (now, keys);
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The mean over all breakers (of cache nodes and of the origin): 0 closed, 1 half open, 2 open; 0 without any.
    pub fn breaker_state(&self, now: Time) -> f64 {
        let _ = now;
        0.0
    }

    /// Changes of state of all breakers.
    pub fn breaker_transitions(&self) -> u64 {
        0
    }

    /// How many calls may be inside the origin; `None` without a limit.
    pub fn limiter_limit(&self) -> Option<u32> {
        None
    }

    /// Calls inside the origin, writes included.
    pub fn in_flight(&self) -> u32 {
        0
    }

    /// Loads that wait for a place at the origin.
    pub fn queued(&self) -> u32 {
        0
    }

    /// Where warming stands, from 0 to 1; `None` when it is not under way.
    pub fn warming(&self) -> Option<f64> {
        None
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {}
}
