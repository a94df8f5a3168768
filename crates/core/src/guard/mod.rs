//! The guard: all protections composed into the one read path.
//!
//! A driver owns one guard for each instance of a service, performs the [`Step`]s that it says, and hands the
//! [`Reply`] back: the simulator by scheduling it, the runtime by doing it. The guard holds no value, does no I/O,
//! reads no clock. **After every call to the guard, the driver performs the effects that [`Guard::poll`] gives until
//! it gives none, and sees to it that [`Guard::wake`] is called at [`Guard::next_wake`].**
//!
//! A read asks the tiers in order, each through the breaker of the key's node, under one deadline. What no tier has
//! becomes a *load*, which runs detached from those who wait for it: through the line and the limit before the
//! origin, with retries, to the stores. Answers go out before the stores are written. A write goes to the origin past
//! the line, and then takes its key out of the tiers.
//!
//! It is not the door: the queue, the rate limit, the throttle and the shedding of [`crate::gate`] come before it.
//!
//! ```
//! use seawall_core::guard::{Call, Effect, Guard, Life, LoadReply, LoadStep, Outcome, Reply, Request, Setup, Step, Tier};
//! use seawall_core::{policies::Policies, ring::Sharding, rng::Seed, time::{Span, Time}};
//! let (ttl, timeout, sharding) = (Span::secs(60), Span::MAX, Sharding::Ring);
//! let tier = Tier { nodes: 1, local: false, shared: true, ttl, timeout, sharding };
//! let setup = Setup { tiers: vec![tier], instances: 1, policies: Policies::default() };
//! let (now, mut rng) = (Time::ZERO, Seed(1).stream("guard", 0));
//! let mut guard = Guard::new(now, &setup);
//!
//! let mut request = Request::new(42, &Call::read(7));
//! let step = guard.begin(now, &mut rng, &mut request);
//! assert!(matches!(step, Step::Lookup { tier: 0, node: 0, .. }));
//! let step = guard.resume(now, &mut rng, &mut request, Reply::Missing);
//! assert_eq!(step, Step::Wait { until: Time::NEVER });
//!
//! let Some(Effect::Launch(load)) = guard.poll() else { panic!("a miss is loaded") };
//! let fetch = guard.load(now, &mut rng, load, LoadReply::Launched);
//! assert_eq!(fetch, LoadStep::Fetch { key: 7, timeout: Span::MAX });
//! let (took, life) = (Span::millis(10), Life::Class);
//! let store = guard.load(now, &mut rng, load, LoadReply::Fetched { version: 1, negative: false, took, life });
//! assert_eq!(guard.poll(), Some(Effect::Wake(42)));
//! assert!(matches!(store, LoadStep::Store { tier: 0, key: 7, .. }));
//!
//! let step = guard.resume(now, &mut rng, &mut request, Reply::Woken);
//! assert!(matches!(step, Step::Done(Outcome::Answer { version: 1, .. })));
//! ```

mod aside;
mod counters;
mod digest;
mod freshness;
#[cfg(feature = "journal")]
pub mod journal;
mod load;
mod marks;
mod plain;
mod request;
mod step;
#[cfg(test)]
mod tests;
mod visit;

pub use crate::coalesce::LoadId;
pub use counters::Counters;
pub use freshness::{Freshness, Verdict};
pub use request::Request;
pub use step::{
    CacheFault, Call, Effect, Entry, Kind, Life, LoadReply, LoadStep, Mode, OriginFault, Outcome, Reply,
    Setup, Source, Step, TIERS_MAX, Tier,
};
pub use visit::Visit;

use std::collections::VecDeque;

use crate::breaker::{self, Breaker};
use crate::coalesce::Flights;
use crate::epoch::Epochs;
use crate::limit::{self, Limiter};
use crate::policies::Policies;
use crate::queue::Queue;
use crate::retry::Budget;
use crate::ring::Sharding;
use crate::rng::Stream;
use crate::sketch::Sketch;
use crate::time::{Span, Time};
use crate::ttl::Ttl;
use crate::warm::{self, Plan};

use digest::TierState;
use load::{Landing, Load};
use marks::Marks;

/// The bound on background refreshes where the policy on staleness, which has one, is off.
const REFRESHES_MAX: u32 = 100;

/// The read path of one instance of a service.
#[derive(Debug)]
pub struct Guard {
    policies: Policies,
    instances: u32,
    ttl: Ttl,
    tiers: Vec<TierState>,
    origin: Option<Breaker>,
    limiter: Limiter,
    line: Queue<LoadId>,
    budget: Option<Budget>,
    flights: Flights<Landing>,
    /// By the load's place.
    loads: Vec<Load>,
    /// When loads are given up, in order; those that have ended are skipped.
    hard: VecDeque<(Time, LoadId)>,
    marks: Marks,
    epochs: Epochs,
    freshness: Freshness,
    sketch: Option<Sketch>,
    /// Of the reads, one in `sketch_mask + 1` is counted.
    sketch_mask: u64,
    /// Reads so far, to choose those by.
    reads: u64,
    plan: Option<Plan>,
    effects: VecDeque<Effect>,
    counters: Counters,
    /// Requests that have not ended.
    requests: u64,
    /// Background refreshes that have not landed.
    refreshes: u32,
    /// Writes that are inside the origin beyond its limit.
    writes_beyond: u32,
    /// Changes of state of breakers that are no more.
    transitions_past: u64,
    wake_now: bool,
}

impl Guard {
    /// A guard in front of cold caches, all breakers closed.
    ///
    /// # Panics
    /// When there are more tiers than [`TIERS_MAX`], or a tier has no node.
    pub fn new(now: Time, setup: &Setup) -> Guard {
        assert!(setup.tiers.len() <= TIERS_MAX, "at most {TIERS_MAX} tiers");
        let policies = &setup.policies;
        let mut guard = Guard {
            policies: Policies::default(),
            instances: setup.instances.max(1),
            ttl: Ttl::new(&policies.ttl),
            tiers: setup.tiers.iter().map(TierState::new).collect(),
            origin: None,
            limiter: Limiter::new(digest::limiter_settings(policies)),
            line: Queue::new(digest::line_settings(policies)),
            budget: None,
            flights: Flights::new(&policies.coalesce.clone().unwrap_or_default()),
            loads: Vec::new(),
            hard: VecDeque::new(),
            marks: Marks::default(),
            epochs: Epochs::new(refresh_pace(policies)),
            freshness: Freshness::default(),
            sketch: None,
            sketch_mask: 0,
            reads: 0,
            plan: None,
            effects: VecDeque::new(),
            counters: Counters::default(),
            requests: 0,
            refreshes: 0,
            writes_beyond: 0,
            transitions_past: 0,
            wake_now: false,
        };
        guard.retune(now, policies);
        guard.wake_now = false;
        guard
    }

    /// The next effect to perform. To be called until there is none, after every other call.
    #[inline]
    pub fn poll(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        #[cfg(feature = "journal")]
        if let Some(effect) = effect {
            journal::write(journal::Line::Effect(effect));
        }
        effect
    }

    /// When [`Guard::wake`] has something to do; [`Time::NEVER`] when nothing is pending. In the past when it has
    /// something to do at once.
    #[inline]
    pub fn next_wake(&self) -> Time {
        if self.wake_now {
            return Time::ZERO;
        }
        let hard = self.hard.front().map_or(Time::NEVER, |(at, _)| *at);
        let line = self.line.next_timeout().unwrap_or(Time::NEVER);
        let warm = self.plan.as_ref().map_or(Time::NEVER, Plan::next);
        hard.min(line).min(warm).min(self.flights.next())
    }

    /// Whether the last call left effects to poll, or may have brought [`Guard::next_wake`] nearer. A driver in a hurry
    /// asks this first: most reads are hits, and leave nothing.
    #[inline]
    pub fn is_restless(&self) -> bool {
        !self.effects.is_empty() || self.wake_now || !self.line.is_empty()
    }

    /// Lets time pass: waits in the line before the origin and hard timeouts end, warming goes on.
    pub fn wake(&mut self, now: Time, rng: &mut Stream) {
        #[cfg(feature = "journal")]
        journal::note(now);
        self.flights.expire(now);
        self.give_up_loads(now);
        self.promote(now, rng);
        while let Some(key) = self.plan.as_mut().and_then(|plan| plan.poll(now)) {
            self.start_warm(now, key);
        }
        if self.plan.as_ref().is_some_and(Plan::done) {
            self.plan = None;
        }
        self.check();
    }

    /// Takes other policies. What is under way goes on under the new ones.
    pub fn retune(&mut self, now: Time, policies: &Policies) {
        for tier in &mut self.tiers {
            self.transitions_past += tier.retune(now, policies);
        }
        match (&mut self.origin, &policies.origin_breaker) {
            (Some(breaker), Some(settings)) => breaker.retune(now, settings.clone()),
            (origin @ None, Some(settings)) => *origin = Some(Breaker::new(settings.clone())),
            (origin, None) => {
                self.transitions_past += origin.take().map_or(0, |breaker| breaker.transitions());
            }
        }
        match (&mut self.budget, &policies.retry) {
            (Some(budget), Some(settings)) => budget.retune(settings),
            (budget, settings) => *budget = settings.as_ref().map(Budget::new),
        }
        self.ttl = Ttl::new(&policies.ttl);
        self.freshness.retune(policies.early.as_ref());
        self.epochs.retune(now, refresh_pace(policies));
        self.limiter.retune(now, digest::limiter_settings(policies));
        self.line.retune(now, digest::line_settings(policies));
        self.flights
            .retune(&policies.coalesce.clone().unwrap_or_default());
        if self.policies.hot != policies.hot || self.policies.warm != policies.warm {
            self.sketch = digest::sketch(policies);
            self.sketch_mask = digest::sketch_mask(policies);
        }
        if let Some(plan) = &mut self.plan {
            plan.retune(now, &warm_settings(policies, self.instances));
        }
        self.policies = policies.clone();
        // Who waits in line may find a place now.
        self.wake_now = true;
        self.check();
    }

    /// Spreads the keys of a tier differently, or over another number of nodes. What is on its way to a node stays so;
    /// the breakers of nodes that stay keep their state. A tier that is not there is left alone.
    ///
    /// # Panics
    /// When no node is left.
    pub fn respread(&mut self, tier: usize, sharding: Sharding, nodes: u16) {
        if let Some(tier) = self.tiers.get_mut(tier) {
            self.transitions_past += tier.respread(sharding, nodes, self.policies.breaker.as_ref());
        }
        self.check();
    }

    /// Gives a tier so many spare nodes (a gutter), numbered after its nodes. While the breaker of a key's own node
    /// refuses, a spare one is asked in its place, and keeps nothing for longer than `ttl`. A tier that is not there is
    /// left alone.
    ///
    /// The idea is that of the gutter pool in Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013.
    pub fn spare(&mut self, tier: usize, nodes: u16, ttl: Span) {
        if let Some(tier) = self.tiers.get_mut(tier) {
            self.transitions_past += tier.set_spares(nodes, ttl, self.policies.breaker.as_ref());
        }
        self.check();
    }

    /// Gives a tier another TTL, for what is stored from now on, and another timeout, for what is asked from now on. A
    /// tier that is not there is left alone.
    pub fn retime(&mut self, tier: usize, ttl: Span, timeout: Span) {
        if let Some(tier) = self.tiers.get_mut(tier) {
            tier.retime(ttl, timeout, &self.policies);
        }
        self.check();
    }

    /// Forgets a key in all tiers, for good: nothing that was read before now is stored or served stale any more.
    pub fn purge(&mut self, now: Time, key: u64) {
        self.overtake(now, key, u64::MAX);
        self.check();
    }

    /// Forgets of a key what is of a lower version than this, as [`Guard::purge`] does all of it.
    pub fn purge_below(&mut self, now: Time, key: u64, version: u64) {
        self.overtake(now, key, version);
        self.check();
    }

    /// Invalidations may have been lost: what was read from the origin before now is answered as stale, and is
    /// refreshed at a pace as it is asked for. Nothing is flushed, for that would be the stampede itself.
    pub fn bump_epoch(&mut self, now: Time) {
        self.epochs.bump(now);
        self.freshness.epoch_began = now;
    }

    /// Begins to load these keys at the pace of the warming policy (its default when it is off), hottest first. It
    /// takes the place of a warming that is under way.
    pub fn warm(&mut self, now: Time, keys: Vec<u64>) {
        let _ = now;
        self.plan = Some(Plan::new(&warm_settings(&self.policies, self.instances), keys));
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The mean over all breakers (of cache nodes and of the origin): 0 closed, 1 half open, 2 open; 0 without any.
    pub fn breaker_state(&self, now: Time) -> f64 {
        let mut sum = 0.0;
        let mut count = 0.0;
        for breaker in self.breakers() {
            count += 1.0;
            sum += match breaker.state(now) {
                breaker::State::Closed => 0.0,
                breaker::State::HalfOpen => 1.0,
                breaker::State::Open => 2.0,
            };
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// Changes of state of all breakers.
    pub fn breaker_transitions(&self) -> u64 {
        self.transitions_past + self.breakers().map(Breaker::transitions).sum::<u64>()
    }

    /// Whether no breaker of a cache node has anything against it ([`Breaker::is_calm`]).
    pub fn is_calm(&self, now: Time) -> bool {
        let mut nodes = self.tiers.iter().flat_map(|tier| &tier.breakers);
        nodes.all(|breaker| breaker.is_calm(now))
    }

    /// How many calls may be inside the origin; `None` without a limit.
    pub fn limiter_limit(&self) -> Option<u32> {
        self.policies.limit.as_ref().map(|_| self.limiter.limit())
    }

    /// Calls inside the origin, writes included.
    pub fn in_flight(&self) -> u32 {
        self.limiter.in_flight() + self.writes_beyond
    }

    /// Loads that wait for a place at the origin.
    pub fn queued(&self) -> u32 {
        self.line.len() as u32
    }

    /// Requests that have not ended.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Loads that have not ended, those included that are only being stored.
    pub fn loads(&self) -> usize {
        self.flights.len()
    }

    /// Where warming stands, from 0 to 1; `None` when it is not under way.
    pub fn warming(&self) -> Option<f64> {
        let progress = self.plan.as_ref()?.progress();
        Some(progress.begun as f64 / progress.total.max(1) as f64)
    }

    /// Checks what must always hold. It looks at everything, so it is for tests.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.check();
        self.flights.invariants();
        self.limiter.invariants();
        self.line.invariants();
        self.marks.invariants();
        self.breakers().for_each(Breaker::invariants);
        let live = || self.flights.iter().map(|id| &self.loads[id.index() as usize]);
        assert_eq!(
            live().filter(|load| load.is_refresh()).count(),
            self.refreshes as usize,
            "refreshes are counted"
        );
        assert_eq!(
            live().filter(|load| load.is_queued()).count(),
            self.line.len(),
            "the line is of loads under way"
        );
        let inside = live().filter(|load| load.is_inside()).count() as u64;
        assert!(
            u64::from(self.limiter.in_flight()) >= inside,
            "whoever is inside has a place"
        );
        if self.requests == 0 {
            assert_eq!(u64::from(self.in_flight()), inside, "no place is lost");
            assert_eq!(self.flights.waiters(), 0, "nobody waits who has ended");
        }
    }

    /// What can be checked at each step.
    fn check(&self) {
        debug_assert!(self.tiers.len() <= TIERS_MAX);
        debug_assert!(
            self.flights.waiters() as u64 <= self.requests,
            "only requests wait"
        );
        debug_assert!(
            self.refreshes as usize <= self.flights.len(),
            "refreshes are loads"
        );
    }

    fn breakers(&self) -> impl Iterator<Item = &Breaker> {
        self.tiers
            .iter()
            .flat_map(|tier| &tier.breakers)
            .chain(&self.origin)
    }

    /// What was read of this key so far counts only from `version` on: not joined, stored nor served any more.
    fn overtake(&mut self, now: Time, key: u64, version: u64) {
        self.counters.purges += 1;
        self.marks.add(now, key, version);
        self.flights.detach(key);
        for tier in 0..self.tiers.len() as u8 {
            self.take_out(tier, key, version);
        }
    }

    /// Takes a key out of a tier, and out of the spare node that may have stood in.
    fn take_out(&mut self, tier: u8, key: u64, version: u64) {
        let state = &self.tiers[tier as usize];
        for node in [Some(state.node(key)), state.spare(key)].into_iter().flatten() {
            self.effects.push_back(Effect::Invalidate {
                tier,
                node,
                key,
                version,
            });
        }
    }

    /// Whether this tier keeps this key: memory is for the hot ones where those are told apart.
    fn keeps(&self, tier: usize, key: u64) -> bool {
        !self.tiers[tier].local
            || self.policies.hot.is_none()
            || self.sketch.as_ref().is_some_and(|sketch| sketch.is_hot(key))
    }

    /// How long past its freshness a store keeps an entry.
    fn keep_extra(&self, negative: bool) -> Span {
        match &self.policies.stale {
            Some(stale) if !negative => stale.while_revalidating.max(stale.on_error),
            _ => Span::ZERO,
        }
    }

    /// The shared store that answers for a key, when it is well.
    fn shared_tier(&self, now: Time, key: u64) -> Option<(u8, u16)> {
        let (tier, state) = (0_u8..)
            .zip(&self.tiers)
            .filter(|(_, state)| state.shared)
            .last()?;
        let closed = |breaker: &Breaker| breaker.state(now) == breaker::State::Closed;
        let well = |node: &u16| state.breakers.get(*node as usize).is_none_or(closed);
        let node = Some(state.node(key)).filter(well);
        Some((tier, node.or_else(|| state.spare(key).filter(well))?))
    }

    fn lease_tier(&self, now: Time, key: u64) -> Option<(u8, u16)> {
        self.policies.lease.as_ref()?;
        self.shared_tier(now, key)
    }

    fn record_node(
        &mut self,
        now: Time,
        tier: u8,
        node: u16,
        permit: breaker::Permit,
        verdict: breaker::Verdict,
        took: Span,
    ) {
        let Some(breaker) = self.tiers[tier as usize].breakers.get_mut(node as usize) else {
            return;
        };
        let transitions = breaker.transitions();
        breaker.record(now, permit, verdict, took);
        if breaker.transitions() != transitions && breaker.state(now) == breaker::State::Closed {
            self.warm_popular(now);
        }
    }

    /// A cache is back, and likely empty: refills what is popular.
    fn warm_popular(&mut self, now: Time) {
        let automatic = self.policies.warm.as_ref().is_some_and(|warm| warm.automatic);
        if automatic && self.sketch.is_some() && self.plan.is_none() {
            self.warm(now, self.popular());
        }
    }

    /// Gives a place at the origin back. `result` says whether it answered, and after what time; nothing is known
    /// when absent.
    fn leave_origin(
        &mut self,
        now: Time,
        permit: Option<breaker::Permit>,
        place: Option<limit::Permit>,
        result: Option<(bool, Span)>,
    ) {
        if let (Some(breaker), Some(permit)) = (&mut self.origin, permit) {
            match result {
                Some((true, took)) => breaker.record(now, permit, breaker::Verdict::Success, took),
                Some((false, took)) => breaker.record(now, permit, breaker::Verdict::Failure, took),
                None => breaker.release(now, permit),
            }
        }
        let outcome = match result {
            Some((true, _)) => limit::Outcome::Ok,
            Some((false, _)) => limit::Outcome::Failed,
            None => limit::Outcome::Dropped,
        };
        match place {
            Some(place) => self.limiter.release(now, place, outcome),
            None => self.writes_beyond -= 1,
        }
        self.wake_now |= !self.line.is_empty();
    }
}

/// How many entries of an older epoch are refreshed a second.
fn refresh_pace(policies: &Policies) -> f64 {
    f64::from(
        policies
            .stale
            .as_ref()
            .map_or(REFRESHES_MAX, |stale| stale.refreshes_max),
    )
}

fn warm_settings(policies: &Policies, instances: u32) -> warm::Settings {
    let settings = policies.warm.clone().unwrap_or_default();
    warm::Settings {
        pace: settings.pace / f64::from(instances),
        ..settings
    }
}
