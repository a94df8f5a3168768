//! Services: threads, the line before them, and the guard on the path of every request.
//!
//! This is the simulator's driver of [`Guard`]: it performs the guard's steps and schedules the replies. A request holds
//! its thread until its answer is ready, however long a cache or the origin takes. One whose every step is over at
//! once or after a few milliseconds is carried through without being given a number ("loose"); every other call is
//! kept in a slab until it ends.

use seawall_core::balance::{Balancer, Strategy};
use seawall_core::dist::Dist;
use seawall_core::gate::{Gate, Reason};
use seawall_core::guard::{
    self, Effect, Entry, Guard, Kind, LoadId, LoadReply, LoadStep, OriginFault, Outcome, Reply, Request,
    Setup, Source, Step, Tier,
};
use seawall_core::link::{Delivery, Link};
use seawall_core::policies::Policies;
use seawall_core::queue::{Cause, Queue};
use seawall_core::record::{Ending, Metric};
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_core::ttl::Class;
use seawall_scenario::{CacheKind, FallbackWhen, Leak, Place, Trips};

use crate::caches::Store;
use crate::clients::{line_of, some_time};
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;
use crate::slab::Ticket;
use crate::world::{Answer, Call, Caller, Event, Stage, Target, World};

/// What is over within this time is settled at once instead of being scheduled.
pub(crate) const SOON: Span = Span::millis(20);

/// Something that a guard has decided, to be carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Todo {
    /// Go on with a request.
    Resume { service: u16, instance: u16, token: u32 },
    /// Take up a load.
    Launch {
        service: u16,
        instance: u16,
        load: LoadId,
    },
}

/// A service.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the service, and they combine freely"
)]
pub(crate) struct ServiceSim {
    pub(crate) name: String,
    pub(crate) instances: Vec<Instance>,
    pub(crate) policies: Policies,
    pub(crate) gate: Gate,
    pub(crate) gated: bool,
    gate_rng: Stream,
    pub(crate) balancer: Balancer,
    pub(crate) strategy: Strategy,
    busy: Vec<u32>,
    turn: usize,
    pub(crate) threads: Option<u32>,
    pub(crate) places: Option<u32>,
    pub(crate) work: Option<Dist>,
    pub(crate) latency: Option<Dist>,
    pub(crate) far: Span,
    /// The way to each instance, where something is wrong with any.
    pub(crate) links: Vec<Link>,
    /// Nothing is wrong with the way to any instance.
    pub(crate) reachable: bool,
    link_rng: Stream,
    /// The size of an answer in bytes, for links of limited bandwidth.
    answer_size: u64,
    pub(crate) availability: f64,
    pub(crate) trips: Option<Trips>,
    pub(crate) tripped_until: Time,
    pub(crate) leak: Option<Leak>,
    /// Work takes this many times as long.
    pub(crate) slow: f64,
    /// How much of the processors is there.
    pub(crate) processor: f64,
    /// How many are at work, over all instances.
    pub(crate) in_progress: u32,
    pub(crate) tiers: Vec<usize>,
    pub(crate) first_shared: Option<usize>,
    pub(crate) origin: Option<Target>,
    fallback: Option<(Target, FallbackWhen)>,
    also: Vec<Target>,
    guarded: bool,
    pub(crate) cancels: bool,
    copies: u16,
    rng: Stream,
    latency_rng: Stream,
    pub(crate) meters: Meters,
}

/// One instance of a service.
pub(crate) struct Instance {
    pub(crate) guard: Guard,
    pub(crate) rng: Stream,
    pub(crate) up: bool,
    /// Which life this is: it ends with a crash.
    pub(crate) life: u32,
    pub(crate) busy: u32,
    pub(crate) line: Queue<Ticket>,
    line_at: Time,
    wake_at: Time,
    served: u64,
    /// For each tier that is local: the caches of the instances that this one stands for.
    pub(crate) locals: Vec<Vec<Store>>,
    /// For each load, by its place: the call to the origin that it waits for.
    fetches: Vec<Option<Ticket>>,
    /// For each load, by its place: the local caches whose requests waited for it.
    joined: Vec<Vec<u16>>,
}

/// What a service counts.
pub(crate) struct Meters {
    pub(crate) up: Counter,
    pub(crate) in_flight: Counter,
    pub(crate) busy: Counter,
    pub(crate) depth: Counter,
    pub(crate) waited: Timer,
    pub(crate) shed: Vec<(Reason, Counter)>,
    pub(crate) loads: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) retries: Counter,
    pub(crate) breaker: Counter,
    pub(crate) transitions: Counter,
    pub(crate) limit: Counter,
    pub(crate) warmed: Counter,
    pub(crate) share: Counter,
    pub(crate) level: Counter,
    /// A service may stand where the origin stands.
    pub(crate) origin_requests: Counter,
    pub(crate) origin_errors: Counter,
    pub(crate) origin_took: Timer,
    pub(crate) wasted: Counter,
}

impl Meters {
    fn new(meter: &mut Meter, name: &str) -> Meters {
        let mut counter = |metric| meter.counter(metric, name, None);
        let up = counter(Metric::Instances);
        let in_flight = counter(Metric::InFlight);
        let busy = counter(Metric::ThreadsBusy);
        let depth = counter(Metric::QueueDepth);
        let loads = counter(Metric::Loads);
        let coalesced = counter(Metric::Coalesced);
        let retries = counter(Metric::Retries);
        let breaker = counter(Metric::BreakerState);
        let transitions = counter(Metric::BreakerTransitions);
        let limit = counter(Metric::LimiterLimit);
        let warmed = counter(Metric::Warmed);
        let share = counter(Metric::ThrottleRatio);
        let level = counter(Metric::DegradationLevel);
        let origin_requests = counter(Metric::OriginRequests);
        let origin_errors = counter(Metric::OriginErrors);
        let wasted = counter(Metric::OriginWasted);
        Meters {
            up,
            in_flight,
            busy,
            depth,
            waited: meter.timer(Metric::QueueWait, name),
            shed: Vec::new(),
            loads,
            coalesced,
            retries,
            breaker,
            transitions,
            limit,
            warmed,
            share,
            level,
            origin_requests,
            origin_errors,
            origin_took: meter.timer(Metric::OriginDuration, name),
            wasted,
        }
    }
}

impl ServiceSim {
    pub(crate) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> ServiceSim {
        let service = &plan.scenario.services[index];
        let place = Place::Service(index);
        let document = plan.scenario.policies(place);
        let played = plan.resized(&document, place);
        let tiers: Vec<usize> = service.caches.clone();
        let is_shared = |cache: &&usize| plan.scenario.caches[**cache].kind == CacheKind::Shared;
        let copies = libm::round(plan.copies[index]).clamp(1.0, 4096.0) as u16;
        let entity = (index as u64) << 32;
        let target = |place: Place| World::target(place);
        let strategy = played.balance.unwrap_or_default();
        let count = service.instances as usize;
        let mut sim = ServiceSim {
            name: service.name.clone(),
            instances: Vec::new(),
            gate: Gate::new(Time::ZERO, &played),
            gated: is_gated(&played),
            gate_rng: seed.stream("gate", entity | 0xffff_ffff),
            balancer: Balancer::new(strategy, count),
            strategy,
            busy: vec![0; count],
            turn: 0,
            threads: service.threads,
            places: service.queue,
            work: some_time(&service.service_time),
            latency: some_time(&service.latency),
            far: Span::ZERO,
            links: Vec::new(),
            reachable: true,
            link_rng: seed.stream("service link", entity),
            answer_size: plan.answer_size(),
            availability: service.availability,
            trips: service.trips.clone(),
            tripped_until: Time::ZERO,
            leak: service.leak.clone(),
            slow: 1.0,
            processor: 1.0,
            in_progress: 0,
            first_shared: tiers.iter().find(is_shared).copied(),
            origin: service.origin.and_then(target),
            fallback: service
                .fallback
                .as_ref()
                .and_then(|fallback| Some((target(fallback.origin)?, fallback.when))),
            also: service.also.iter().copied().filter_map(target).collect(),
            guarded: !tiers.is_empty() || service.origin.is_some(),
            tiers,
            cancels: played.deadline.cancel,
            policies: document,
            copies,
            rng: seed.stream("work", entity),
            latency_rng: seed.stream("service latency", entity),
            meters: Meters::new(meter, &service.name),
        };
        for instance in 0..count {
            let fresh = Instance::new(plan, index, instance, seed, Time::ZERO, 0, &sim, &played);
            sim.instances.push(fresh);
        }
        sim
    }

    /// Which instance is called next.
    fn pick(&mut self) -> Option<usize> {
        let count = self.instances.len();
        if self.strategy == Strategy::RoundRobin {
            for _ in 0..count {
                self.turn = if self.turn + 1 >= count { 0 } else { self.turn + 1 };
                if self.instances[self.turn].up {
                    return Some(self.turn);
                }
            }
            return None;
        }
        self.busy.clear();
        self.busy.extend(
            self.instances
                .iter()
                .map(|instance| instance.busy + instance.line.len() as u32),
        );
        let instances = &self.instances;
        self.balancer
            .pick(&mut self.rng, &self.busy, |index| instances[index].up)
    }

    /// What becomes of a call on its way to an instance.
    fn reach(&mut self, now: Time, instance: usize) -> Delivery {
        match self.links.get_mut(instance) {
            Some(link) => link.send(now, self.answer_size, &mut self.link_rng),
            None => Delivery::At(now),
        }
    }

    /// How long the work on one request takes now.
    fn work(&mut self) -> Span {
        let Some(dist) = &self.work else { return Span::ZERO };
        let work = dist.draw(&mut self.rng);
        let factor = self.slow / self.processor;
        if (factor - 1.0).abs() < f64::EPSILON {
            work
        } else {
            work.scaled(factor)
        }
    }
}

/// Why somebody was taken out of a line, as a reason for shedding.
pub(crate) fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Timeout => Reason::QueueTimeout,
        Cause::Delay => Reason::QueueDelay,
    }
}

/// Whether any protection of the door is on.
pub(crate) fn is_gated(policies: &Policies) -> bool {
    policies.rate.is_some() || policies.throttle.is_some() || policies.shed.is_some()
}

impl Instance {
    #[expect(
        clippy::too_many_arguments,
        reason = "which service, which instance, which life, and what it is like"
    )]
    pub(crate) fn new(
        plan: &Plan,
        service: usize,
        instance: usize,
        seed: Seed,
        now: Time,
        life: u32,
        sim: &ServiceSim,
        played: &Policies,
    ) -> Instance {
        let scenario = &plan.scenario;
        let tiers = sim.tiers.iter().map(|cache| {
            let cache = &scenario.caches[*cache];
            Tier {
                nodes: cache.nodes as u16,
                local: cache.kind == CacheKind::Local,
                ttl: cache.ttl.unwrap_or(Span::MAX),
                timeout: cache.timeout,
                sharding: cache.sharding,
            }
        });
        let setup = Setup {
            tiers: tiers.collect(),
            instances: sim_instances(plan, service),
            policies: played.clone(),
        };
        let locals = sim.tiers.iter().map(|cache| {
            let cache = &scenario.caches[*cache];
            match cache.kind {
                CacheKind::Local => (0..sim.copies)
                    .map(|_| crate::caches::store_of(cache, None))
                    .collect(),
                CacheKind::Shared => Vec::new(),
            }
        });
        let entity = ((service as u64) << 32) | ((instance as u64) << 8) | u64::from(life & 0xff);
        Instance {
            guard: Guard::new(now, &setup),
            rng: seed.stream("guard", entity),
            up: true,
            life,
            busy: 0,
            line: Queue::new(line_of(played, sim.places)),
            line_at: Time::NEVER,
            wake_at: Time::NEVER,
            served: 0,
            locals: locals.collect(),
            fetches: Vec::new(),
            joined: Vec::new(),
        }
    }
}

fn sim_instances(plan: &Plan, service: usize) -> u32 {
    plan.scenario.services[service].instances
}

impl World {
    /// A call reaches a service.
    pub(crate) fn enter(&mut self, service: u16, call: &mut Call) {
        let sim = &mut self.services[service as usize];
        if let Some(latency) = &sim.latency {
            call.lag += latency.draw(&mut sim.latency_rng);
        }
        call.lag += sim.far;
        let for_load = !matches!(call.caller, Caller::Client { .. });
        if for_load {
            self.meter.count(sim.meters.origin_requests);
        }
        let Some(index) = sim.pick() else {
            return self.refuse(call, Answer::ERROR);
        };
        call.instance = index as u16;
        if !sim.reachable {
            match sim.reach(self.now, index) {
                Delivery::At(at) => call.lag += at.since(self.now),
                Delivery::Refused | Delivery::Reset => return self.refuse(call, Answer::ERROR),
                Delivery::Dropped | Delivery::Held => {
                    call.stage = Stage::Lost;
                    self.keep(call);
                    return;
                }
            }
        }
        let sim = &mut self.services[service as usize];
        if sim.gated
            && let Err(refusal) = sim
                .gate
                .admit(self.now, &mut sim.gate_rng, call.read, call.priority)
        {
            self.shed_at_service(service, refusal.reason);
            return self.refuse(call, Answer::SHED);
        }
        let instance = &mut sim.instances[index];
        if sim.threads.is_some_and(|threads| instance.busy >= threads) {
            return self.line_up(service, call);
        }
        self.start(service, call, None);
    }

    /// The way to a service is free again: the calls that lay there are taken up, or are given up by whoever sent them.
    pub(crate) fn let_in(&mut self, service: u16, goes_on: bool) {
        let lies_there =
            |call: &Call| call.target == Target::Service(service) && matches!(call.stage, Stage::Lost);
        let lost: Vec<Ticket> = self
            .calls
            .iter()
            .filter(|(_, call)| lies_there(call))
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            let Some(mut call) = self.calls.get(id).copied() else {
                continue;
            };
            let sim = &mut self.services[service as usize];
            let instance = &mut sim.instances[call.instance as usize];
            if call.gone || !goes_on || !instance.up {
                self.send_back_kept(id, Answer::ERROR);
            } else if sim.threads.is_none_or(|threads| instance.busy < threads) {
                self.start(service, &mut call, Some(id));
            } else if instance.line.push(self.now, id).is_err() {
                self.send_back_kept(id, Answer::ERROR);
            } else {
                if let Some(call) = self.calls.get_mut(id) {
                    call.stage = Stage::InLine;
                }
                self.watch_line(service, call.instance);
            }
        }
    }

    /// A call is answered without any work.
    fn refuse(&mut self, call: &Call, answer: Answer) {
        if answer == Answer::ERROR
            && !matches!(call.caller, Caller::Client { .. })
            && let Target::Service(service) = call.target
        {
            self.meter
                .count(self.services[service as usize].meters.origin_errors);
        }
        match call.caller {
            Caller::Client { .. } if call.lag <= SOON => self.close(call, answer, self.now + call.lag),
            // Also a refusal takes its turn: a load that is refused at once must not go round within one call.
            _ => {
                let id = self.keep(call);
                self.send_back_kept(id, answer);
            }
        }
    }

    /// Gives a call a number.
    fn keep(&mut self, call: &Call) -> Ticket {
        let id = self.calls.insert(*call);
        self.schedule_client_timeout(id, call);
        self.remember_fetch(id, call);
        id
    }

    /// A load knows which call it waits for, so that it can be cancelled.
    pub(crate) fn remember_fetch(&mut self, id: Ticket, call: &Call) {
        if let Caller::Load {
            service,
            instance,
            load,
            ..
        } = call.caller
        {
            let instance = &mut self.services[service as usize].instances[instance as usize];
            let place = load.index() as usize;
            if instance.fetches.len() <= place {
                instance.fetches.resize(place + 1, None);
            }
            instance.fetches[place] = Some(id);
        }
    }

    fn line_up(&mut self, service: u16, call: &mut Call) {
        call.stage = Stage::InLine;
        let id = self.keep(call);
        let sim = &mut self.services[service as usize];
        let instance = &mut sim.instances[call.instance as usize];
        if instance.line.push(self.now, id).is_err() {
            // A house that is full by its nature fails; one that is full on purpose says when to come back.
            let answer = if sim.policies.queue.is_some() {
                Answer::SHED
            } else {
                Answer::ERROR
            };
            if answer == Answer::SHED {
                self.shed_at_service(service, Reason::QueueFull);
            } else if !matches!(call.caller, Caller::Client { .. }) {
                self.meter
                    .count(self.services[service as usize].meters.origin_errors);
            }
            return self.send_back_kept(id, answer);
        }
        self.watch_line(service, call.instance);
    }

    fn watch_line(&mut self, service: u16, index: u16) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        if let Some(at) = instance.line.next_timeout() {
            let at = at.max(self.now);
            if at < instance.line_at {
                instance.line_at = at;
                self.agenda.push(
                    at,
                    Event::Line {
                        service,
                        instance: index,
                    },
                );
            }
        }
    }

    pub(crate) fn line_timeouts(&mut self, service: u16, index: u16) {
        let now = self.now;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if now < instance.line_at {
            return;
        }
        instance.line_at = Time::NEVER;
        loop {
            let instance = &mut self.services[service as usize].instances[index as usize];
            let Some(departure) = instance.line.depart(now) else {
                break;
            };
            let Some(call) = self.calls.get(departure.item).copied() else {
                continue;
            };
            self.shed_at_service(service, reason_of(departure.cause));
            if call.gone {
                self.calls.remove(departure.item);
            } else {
                self.send_back_kept(departure.item, Answer::SHED);
            }
        }
        self.watch_line(service, index);
    }

    pub(crate) fn shed_at_service(&mut self, service: u16, reason: Reason) {
        let sim = &mut self.services[service as usize];
        let counter = if let Some((_, counter)) = sim.meters.shed.iter().find(|(known, _)| *known == reason) {
            *counter
        } else {
            let counter = self.meter.counter(Metric::Shed, &sim.name, Some(reason.name()));
            sim.meters.shed.push((reason, counter));
            counter
        };
        self.meter.count(counter);
    }

    /// A call has its thread. `kept` is its number when it has one already.
    fn start(&mut self, service: u16, call: &mut Call, kept: Option<Ticket>) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        sim.in_progress += 1;
        let in_progress = sim.in_progress;
        let instance = &mut sim.instances[call.instance as usize];
        instance.busy += 1;
        instance.served += 1;
        if let Some(trips) = &sim.trips
            && in_progress > trips.above + 1
            && now >= sim.tripped_until
        {
            sim.tripped_until = now + trips.for_;
        }
        if !sim.guarded {
            return self.work_alone(service, call, kept);
        }
        if sim.copies > 1 {
            call.copy = sim.rng.below(u64::from(sim.copies)) as u16;
        }
        let instance = &mut sim.instances[call.instance as usize];
        let token = kept.map_or_else(|| self.calls.vacant(), Ticket::place);
        let asked = guard::Call {
            key: call.key,
            read: call.read,
            class: call.class,
            priority: call.priority,
            deadline: if sim.cancels { call.deadline } else { Time::NEVER },
        };
        let mut request = Request::new(token, &asked);
        let step = instance.guard.begin(now, &mut instance.rng, &mut request);
        let index = call.instance;
        let crashes = sim
            .leak
            .as_ref()
            .is_some_and(|leak| instance.served >= leak.after);
        match kept {
            Some(id) => {
                if let Some(slot) = self.calls.get_mut(id) {
                    *slot = Call {
                        stage: Stage::Guarded,
                        request: Some(request),
                        ..*call
                    };
                }
                self.carry_out(service, id, step);
            }
            None => self.carry_loose(service, call, &mut request, step),
        }
        // Most calls end here, and their guard has nothing else to say.
        if self.services[service as usize].instances[index as usize]
            .guard
            .is_restless()
        {
            self.settle(service, index);
        }
        if crashes {
            self.leaked(service, index);
        }
    }

    /// The service makes the answer by itself.
    fn work_alone(&mut self, service: u16, call: &Call, kept: Option<Ticket>) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        let instance = &sim.instances[call.instance as usize];
        let crashes = sim
            .leak
            .as_ref()
            .is_some_and(|leak| instance.served >= leak.after);
        let answer = sim.outcome(now, Answer::of(Ending::Fresh));
        let work = sim.work();
        let index = call.instance;
        let id = match kept {
            Some(id) => id,
            None => self.keep(call),
        };
        if let Some(slot) = self.calls.get_mut(id) {
            slot.stage = Stage::Working(answer);
        }
        self.call_aside(service, call);
        self.agenda.push(now + work, Event::Finish(id));
        if crashes {
            self.leaked(service, index);
        }
    }

    /// Calls what is called on every request that does work, and waits for none of it.
    fn call_aside(&mut self, service: u16, of: &Call) {
        for index in 0..self.services[service as usize].also.len() {
            let target = self.services[service as usize].also[index];
            let mut call = Call {
                caller: Caller::Aside,
                target,
                born: self.now,
                deadline: Time::NEVER,
                lag: Span::ZERO,
                gone: false,
                corrupt: false,
                request: None,
                stage: Stage::Guarded,
                stamp: 0,
                copy: 0,
                instance: 0,
                ..*of
            };
            self.send(&mut call);
        }
    }

    /// Carries a loose call as far as it goes at this instant.
    fn carry_loose(&mut self, service: u16, call: &mut Call, request: &mut Request, mut step: Step) {
        let mut spent = Span::ZERO;
        loop {
            match step {
                Step::Lookup { tier, node, timeout } => {
                    let sim = &mut self.services[service as usize];
                    let cache = &mut self.caches[sim.tiers[tier as usize]];
                    let instance = &mut sim.instances[call.instance as usize];
                    if instance.locals[tier as usize].is_empty()
                        && let Some((entry, took)) =
                            cache.find(self.now, node, call.key, timeout, &mut self.meter)
                    {
                        spent += took;
                        call.corrupt = !entry.intact;
                        step = instance
                            .guard
                            .resume_found(self.now, &mut instance.rng, request, entry);
                        continue;
                    }
                    let (reply, took) = self.look(service, call, tier, node, timeout);
                    if !matches!(reply, Reply::Found(_)) && !took.is_zero() || took > SOON {
                        call.stage = Stage::Looking(reply);
                        call.request = Some(*request);
                        let id = self.keep(call);
                        return self.agenda.push(self.now + spent + took, Event::Reply(id));
                    }
                    spent += took;
                    if let Reply::Found(entry) = reply {
                        call.corrupt = !entry.intact;
                    }
                    let sim = &mut self.services[service as usize];
                    let instance = &mut sim.instances[call.instance as usize];
                    step = instance.guard.resume(self.now, &mut instance.rng, request, reply);
                }
                Step::Done(outcome) => return self.done_loose(service, call, outcome, spent),
                Step::Wait { .. } | Step::Write { .. } => {
                    call.stage = Stage::Guarded;
                    call.request = Some(*request);
                    let id = self.keep(call);
                    return self.carry_out(service, id, step);
                }
            }
        }
    }

    /// A loose call is done: its thread is held for `spent` and the service's own work, and it is forgotten.
    fn done_loose(&mut self, service: u16, call: &mut Call, outcome: Outcome, spent: Span) {
        let answer = self.answer_of(service, call, outcome);
        let sim = &mut self.services[service as usize];
        let held = spent + sim.work();
        let soon = held + call.lag <= SOON;
        if soon && matches!(call.caller, Caller::Client { .. }) {
            let life = sim.instances[call.instance as usize].life;
            if held.is_zero() || (sim.threads.is_none() && sim.trips.is_none()) {
                self.free_thread(service, call.instance);
            } else {
                let instance = call.instance;
                self.agenda.push(
                    self.now + held,
                    Event::Release {
                        service,
                        instance,
                        life,
                    },
                );
            }
            return self.close(call, answer, self.now + held + call.lag);
        }
        call.stage = Stage::Working(answer);
        let id = self.keep(call);
        self.agenda.push(self.now + held, Event::Finish(id));
    }

    /// What a guard's outcome is worth to the caller.
    fn answer_of(&mut self, service: u16, call: &Call, outcome: Outcome) -> Answer {
        let answer = match outcome {
            Outcome::Answer { from, kind, version } => {
                let corrupt = call.corrupt && matches!(from, Source::Tier(_));
                let ending = match kind {
                    _ if corrupt => Ending::Wrong,
                    Kind::Stale => Ending::Stale,
                    Kind::Fresh | Kind::Negative => Ending::Fresh,
                };
                Answer {
                    ending,
                    version,
                    negative: kind == Kind::Negative,
                }
            }
            Outcome::Written { version } => Answer {
                ending: Ending::Fresh,
                version,
                negative: false,
            },
            Outcome::Shed(reason) => {
                self.shed_at_service(service, reason);
                Answer::SHED
            }
            Outcome::Failed => Answer::ERROR,
            Outcome::TimedOut => Answer::of(Ending::Error),
        };
        let now = self.now;
        self.services[service as usize].outcome(now, answer)
    }

    /// Carries a kept call as far as it goes at this instant.
    fn carry_out(&mut self, service: u16, id: Ticket, mut step: Step) {
        loop {
            let Some(call) = self.calls.get(id).copied() else {
                return;
            };
            match step {
                Step::Lookup { tier, node, timeout } => {
                    let (reply, took) = self.look(service, &call, tier, node, timeout);
                    if !took.is_zero() {
                        if let Some(call) = self.calls.get_mut(id) {
                            call.stage = Stage::Looking(reply);
                        }
                        return self.agenda.push(self.now + took, Event::Reply(id));
                    }
                    match self.resume(service, id, reply) {
                        Some(next) => step = next,
                        None => return,
                    }
                }
                Step::Wait { until } => {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.stage = Stage::Guarded;
                        call.stamp += 1;
                        if until != Time::NEVER {
                            let stamp = call.stamp;
                            self.agenda.push(until.max(self.now), Event::Due(id, stamp));
                        }
                    }
                    return;
                }
                Step::Write { timeout } => return self.write(service, id, &call, timeout),
                Step::Done(outcome) => {
                    let answer = self.answer_of(service, &call, outcome);
                    if let Some(call) = self.calls.get_mut(id) {
                        call.stage = Stage::Working(answer);
                    }
                    let held = self.services[service as usize].work();
                    if held.is_zero() {
                        return self.finished(id);
                    }
                    return self.agenda.push(self.now + held, Event::Finish(id));
                }
            }
        }
    }

    fn resume(&mut self, service: u16, id: Ticket, reply: Reply) -> Option<Step> {
        let call = self.calls.get_mut(id)?;
        if let Reply::Found(entry) = reply {
            call.corrupt = !entry.intact;
        }
        call.stage = Stage::Guarded;
        call.stamp += 1;
        let instance = &mut self.services[service as usize].instances[call.instance as usize];
        let request = call.request.as_mut()?;
        let step = instance.guard.resume(self.now, &mut instance.rng, request, reply);
        let (copy, load) = (call.copy, request.load());
        if let (
            true,
            Step::Done(Outcome::Answer {
                from: Source::Load, ..
            }),
            Some(load),
        ) = (self.services[service as usize].copies > 1, step, load)
        {
            let instance = &mut self.services[service as usize].instances[call.instance as usize];
            let place = load.index() as usize;
            if instance.joined.len() <= place {
                instance.joined.resize(place + 1, Vec::new());
            }
            instance.joined[place].push(copy);
        }
        Some(step)
    }

    /// Resumes a kept call, and carries out what the guard wants then.
    fn go_on(&mut self, id: Ticket, reply: Reply) {
        let Some(call) = self.calls.get(id) else { return };
        let Target::Service(service) = call.target else {
            return;
        };
        let instance = call.instance;
        if let Some(step) = self.resume(service, id, reply) {
            self.carry_out(service, id, step);
        }
        self.settle(service, instance);
    }

    /// A cache has answered.
    pub(crate) fn replied(&mut self, id: Ticket) {
        let Some(call) = self.calls.get(id) else { return };
        if let Stage::Looking(reply) = call.stage {
            self.go_on(id, reply);
        }
    }

    /// A wait is over.
    pub(crate) fn due(&mut self, id: Ticket, stamp: u32) {
        let Some(call) = self.calls.get(id) else { return };
        if call.stamp == stamp && matches!(call.stage, Stage::Guarded) {
            self.go_on(id, Reply::Due);
        }
    }

    /// A request writes to the origin.
    fn write(&mut self, service: u16, id: Ticket, of: &Call, timeout: Span) {
        let Some(target) = self.services[service as usize].origin else {
            return self.go_on(id, Reply::Written { version: 0 });
        };
        let stamp = of.stamp + 1;
        if let Some(call) = self.calls.get_mut(id) {
            call.stamp = stamp;
            if timeout != Span::MAX {
                self.agenda
                    .push(self.now + timeout, Event::WriteTimeout(id, stamp));
            }
        }
        let mut child = self.child(of, Caller::Write { request: id, stamp }, target, of.key);
        self.send(&mut child);
    }

    /// The origin has answered a write, or has taken too long.
    pub(crate) fn written(&mut self, request: Ticket, stamp: u32, answer: Answer) {
        // Whichever comes second comes too late; so does what comes after a crash.
        let writes = |call: &Call| call.stamp == stamp && matches!(call.stage, Stage::Guarded);
        if !self.calls.get(request).is_some_and(writes) {
            return;
        }
        let reply = match answer.ending {
            Ending::Fresh | Ending::Stale => Reply::Written {
                version: answer.version,
            },
            Ending::Shed => Reply::WriteFailed(OriginFault::Overloaded),
            Ending::Timeout => Reply::WriteFailed(OriginFault::TimedOut),
            _ => Reply::WriteFailed(OriginFault::Error),
        };
        self.go_on(request, reply);
    }

    fn child(&self, of: &Call, caller: Caller, target: Target, key: u64) -> Call {
        Call {
            caller,
            target,
            instance: 0,
            copy: 0,
            key,
            born: self.now,
            deadline: Time::NEVER,
            lag: Span::ZERO,
            read: of.read,
            class: of.class,
            priority: of.priority,
            gone: false,
            corrupt: false,
            stage: Stage::Guarded,
            request: None,
            stamp: 0,
        }
    }

    /// The work on a call is done: its thread is free, and its answer goes back.
    pub(crate) fn finished(&mut self, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let (Target::Service(service), Stage::Working(answer)) = (call.target, call.stage) else {
            return;
        };
        self.free_thread(service, call.instance);
        let meters = &self.services[service as usize].meters;
        if !matches!(call.caller, Caller::Client { .. }) {
            self.meter.time(meters.origin_took, self.now.since(call.born));
            if answer == Answer::ERROR {
                self.meter.count(meters.origin_errors);
            }
        }
        if call.gone {
            self.meter.count(meters.wasted);
        }
        if matches!(call.caller, Caller::Client { .. }) && call.lag <= SOON {
            self.calls.remove(id);
            if !call.gone {
                self.close(&call, answer, self.now + call.lag);
            }
            return;
        }
        self.send_back_kept(id, answer);
    }

    pub(crate) fn release(&mut self, service: u16, index: u16, life: u32) {
        if self.services[service as usize].instances[index as usize].life == life {
            self.free_thread(service, index);
        }
    }

    /// A thread is free: the next one in line has it.
    fn free_thread(&mut self, service: u16, index: u16) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        sim.in_progress = sim.in_progress.saturating_sub(1);
        let threads = sim.threads;
        let instance = &mut sim.instances[index as usize];
        instance.busy = instance.busy.saturating_sub(1);
        if instance.line.is_empty() || !instance.up {
            return;
        }
        loop {
            let sim = &mut self.services[service as usize];
            let instance = &mut sim.instances[index as usize];
            if threads.is_some_and(|threads| instance.busy >= threads) {
                break;
            }
            let Some((id, waited)) = instance.line.pop(now) else {
                break;
            };
            let Some(mut call) = self.calls.get(id).copied() else {
                continue;
            };
            self.meter.time(sim.meters.waited, waited);
            self.start(service, &mut call, Some(id));
            break;
        }
        // What the line dropped on the way comes out on its own.
        self.watch_line(service, index);
    }

    /// Stops the work on a call of a service.
    pub(crate) fn cancel_request(&mut self, service: u16, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let index = call.instance;
        match call.stage {
            Stage::InLine => {
                let instance = &mut self.services[service as usize].instances[index as usize];
                instance.line.remove(|waiting| *waiting == id);
                self.calls.remove(id);
            }
            Stage::Guarded | Stage::Looking(_) => {
                if let Some(request) = call.request {
                    let instance = &mut self.services[service as usize].instances[index as usize];
                    instance.guard.abandon(self.now, request);
                }
                self.calls.remove(id);
                self.free_thread(service, index);
                self.settle(service, index);
            }
            Stage::Working(_) => {
                self.calls.remove(id);
                self.free_thread(service, index);
            }
            _ => {
                self.calls.remove(id);
            }
        }
    }

    /// Carries out what a guard has decided, and what follows from it, until nothing is left.
    fn settle(&mut self, service: u16, index: u16) {
        self.collect(service, index);
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Resume {
                    service,
                    instance,
                    token,
                } => {
                    let Some(id) = self.calls.at(token).map(|(id, _)| id) else {
                        continue;
                    };
                    let waits = self.calls.get(id).is_some_and(|call| {
                        matches!(call.stage, Stage::Guarded)
                            && call.target == Target::Service(service)
                            && call.instance == instance
                    });
                    if waits {
                        if let Some(step) = self.resume(service, id, Reply::Woken) {
                            self.carry_out(service, id, step);
                        }
                        self.collect(service, instance);
                    }
                }
                Todo::Launch {
                    service,
                    instance,
                    load,
                } => {
                    self.drive(service, instance, load, LoadReply::Launched);
                    self.collect(service, instance);
                }
            }
        }
        self.watch_guard(service, index);
    }

    /// Takes a guard's effects over.
    fn collect(&mut self, service: u16, index: u16) {
        loop {
            let instance = &mut self.services[service as usize].instances[index as usize];
            let Some(effect) = instance.guard.poll() else {
                return;
            };
            match effect {
                Effect::Wake(token) => self.todo.push_back(Todo::Resume {
                    service,
                    instance: index,
                    token,
                }),
                Effect::Launch(load) => self.todo.push_back(Todo::Launch {
                    service,
                    instance: index,
                    load,
                }),
                Effect::Cancel(load) => self.stop_fetch(service, index, load),
                Effect::Fill {
                    tier,
                    node,
                    key,
                    keep,
                    entry,
                } => {
                    // Nobody waits for it, and a failure was counted.
                    let _ = self.put(service, index, None, tier, node, key, keep, entry);
                }
                Effect::Invalidate {
                    tier,
                    node,
                    key,
                    version,
                } => {
                    self.take_out(service, index, tier, node, key, version);
                }
                Effect::GiveBack { tier, node, key } => self.give_back(service, tier, node, key),
            }
        }
    }

    /// Sees to it that a guard is woken when it wants to be.
    fn watch_guard(&mut self, service: u16, index: u16) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        let at = instance.guard.next_wake().max(self.now);
        if at < instance.wake_at {
            instance.wake_at = at;
            self.agenda.push(
                at,
                Event::Wake {
                    service,
                    instance: index,
                },
            );
        }
    }

    pub(crate) fn wake(&mut self, service: u16, index: u16) {
        let now = self.now;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if now < instance.wake_at {
            // Another instant was agreed upon since. To go on from here as well would make two wakings of one, for ever.
            return;
        }
        instance.wake_at = Time::NEVER;
        // Also an instance that is down: what its guard wants at once it would want for ever.
        if instance.guard.next_wake() <= now {
            instance.guard.wake(now, &mut instance.rng);
        }
        self.settle(service, index);
    }

    /// Lets a guard's decisions happen that were made outside of a request.
    pub(crate) fn after_guard(&mut self, service: u16, index: u16) {
        self.settle(service, index);
    }

    /// Drives a load as far as it goes at this instant.
    fn drive(&mut self, service: u16, index: u16, load: LoadId, mut reply: LoadReply) {
        loop {
            let now = self.now;
            let instance = &mut self.services[service as usize].instances[index as usize];
            let step = instance.guard.load(now, &mut instance.rng, load, reply);
            // Those who waited are answered before the value is stored.
            if matches!(reply, LoadReply::Fetched { .. }) {
                self.wake_waiters(service, index);
            }
            match step {
                LoadStep::Fetch { key, timeout } => return self.fetch(service, index, load, key, timeout),
                LoadStep::Pause { until } => {
                    let event = Event::LoadDue {
                        service,
                        instance: index,
                        load,
                    };
                    return self.agenda.push(until.max(now), event);
                }
                LoadStep::Store {
                    tier,
                    node,
                    key,
                    keep,
                    entry,
                } => {
                    let stored = self.put(service, index, Some(load), tier, node, key, keep, entry);
                    reply = LoadReply::Stored(stored);
                }
                LoadStep::Lease {
                    tier,
                    node,
                    key,
                    hold,
                } => {
                    reply = LoadReply::Leased(self.lease(service, index, tier, node, key, hold));
                }
                LoadStep::Look {
                    tier,
                    node,
                    key,
                    timeout,
                } => {
                    reply = match self.look_for(service, index, 0, tier, node, key, timeout).0 {
                        Reply::Found(entry) => LoadReply::Found(entry),
                        _ => LoadReply::Missing,
                    };
                }
                LoadStep::Parked => return,
                LoadStep::Done => {
                    let instance = &mut self.services[service as usize].instances[index as usize];
                    if let Some(joined) = instance.joined.get_mut(load.index() as usize) {
                        joined.clear();
                    }
                    return;
                }
            }
        }
    }

    fn wake_waiters(&mut self, service: u16, index: u16) {
        self.collect(service, index);
        let waiting = std::mem::take(&mut self.todo);
        for todo in waiting {
            match todo {
                Todo::Resume {
                    service: at,
                    instance,
                    token,
                } if (at, instance) == (service, index) => {
                    let Some(id) = self.calls.at(token).map(|(id, _)| id) else {
                        continue;
                    };
                    let waits = self.calls.get(id).is_some_and(|call| {
                        matches!(call.stage, Stage::Guarded)
                            && call.target == Target::Service(service)
                            && call.instance == index
                    });
                    if waits && let Some(step) = self.resume(service, id, Reply::Woken) {
                        self.carry_out(service, id, step);
                    }
                }
                other => self.todo.push_back(other),
            }
        }
    }

    pub(crate) fn load_due(&mut self, service: u16, index: u16, load: LoadId) {
        self.drive(service, index, load, LoadReply::Due);
        self.settle(service, index);
    }

    /// A load asks the origin.
    fn fetch(&mut self, service: u16, index: u16, load: LoadId, key: u64, timeout: Span) {
        let sim = &self.services[service as usize];
        let spares = matches!(sim.fallback, Some((_, FallbackWhen::CacheDown)));
        let target = match sim.fallback {
            Some((target, _)) if spares && self.caches_fail(service, key) => Some(target),
            _ => sim.origin,
        };
        let Some(target) = target else {
            // The service makes the answer by itself, and its own work follows.
            let fetched = LoadReply::Fetched {
                version: 0,
                negative: false,
                took: Span::ZERO,
            };
            return self.drive(service, index, load, fetched);
        };
        let caller = Caller::Load {
            service,
            instance: index,
            load,
            fallback: false,
        };
        self.call_origin(caller, target, key, timeout);
    }

    fn call_origin(&mut self, caller: Caller, target: Target, key: u64, timeout: Span) {
        let mut call = Call {
            caller,
            target,
            instance: 0,
            copy: 0,
            key,
            born: self.now,
            deadline: Time::NEVER,
            lag: Span::ZERO,
            read: true,
            class: Class::Regular,
            priority: seawall_core::shed::Priority::Normal,
            gone: false,
            corrupt: false,
            stage: Stage::Guarded,
            request: None,
            stamp: 0,
        };
        self.send(&mut call);
        if timeout != Span::MAX
            && let Caller::Load {
                service,
                instance,
                load,
                ..
            } = caller
        {
            let instance = &self.services[service as usize].instances[instance as usize];
            if let Some(Some(id)) = instance.fetches.get(load.index() as usize) {
                self.agenda.push(self.now + timeout, Event::FetchTimeout(*id));
            }
        }
    }

    /// The origin has answered a load.
    pub(crate) fn fetched(
        &mut self,
        call: &Call,
        service: u16,
        index: u16,
        load: LoadId,
        fallback: bool,
        answer: Answer,
    ) {
        let sim = &mut self.services[service as usize];
        if let Some(fetch) = sim.instances[index as usize]
            .fetches
            .get_mut(load.index() as usize)
        {
            *fetch = None;
        }
        let reply = match answer.ending {
            Ending::Fresh | Ending::Stale | Ending::Wrong => LoadReply::Fetched {
                version: answer.version,
                negative: answer.negative,
                took: self.now.since(call.born),
            },
            Ending::Shed => LoadReply::FetchFailed(OriginFault::Overloaded),
            Ending::Timeout => LoadReply::FetchFailed(OriginFault::TimedOut),
            Ending::Error => match sim.fallback {
                Some((target, FallbackWhen::OriginDown)) if !fallback => {
                    let caller = Caller::Load {
                        service,
                        instance: index,
                        load,
                        fallback: true,
                    };
                    return self.call_origin(caller, target, call.key, Span::MAX);
                }
                _ => LoadReply::FetchFailed(OriginFault::Error),
            },
        };
        self.drive(service, index, load, reply);
        self.settle(service, index);
    }

    /// A load has waited long enough for the origin, which may go on working for nobody.
    pub(crate) fn fetch_timeout(&mut self, id: Ticket) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.gone {
            return;
        }
        let seen = *call;
        call.gone = true;
        let Caller::Load {
            service,
            instance,
            load,
            fallback,
        } = seen.caller
        else {
            return;
        };
        if matches!(seen.stage, Stage::Returning(_)) {
            self.calls.remove(id);
        } else if self.services[service as usize].cancels {
            self.cancel(id);
        }
        self.fetched(
            &seen,
            service,
            instance,
            load,
            fallback,
            Answer::of(Ending::Timeout),
        );
    }

    /// A guard gives a load up.
    fn stop_fetch(&mut self, service: u16, index: u16, load: LoadId) {
        let sim = &mut self.services[service as usize];
        let cancels = sim.cancels;
        let fetch = sim.instances[index as usize]
            .fetches
            .get_mut(load.index() as usize)
            .and_then(Option::take);
        let Some(id) = fetch else { return };
        if let Some(call) = self.calls.get_mut(id) {
            call.gone = true;
            if matches!(call.stage, Stage::Returning(_)) {
                self.calls.remove(id);
            } else if cancels {
                self.cancel(id);
            }
        }
    }

    fn leaked(&mut self, service: u16, index: u16) {
        let restart = self.services[service as usize]
            .leak
            .as_ref()
            .map_or(Span::ZERO, |leak| leak.restart);
        self.crash(service, index, Some(restart));
    }

    /// An instance dies: what it was doing fails, and its memory is lost.
    pub(crate) fn crash(&mut self, service: u16, index: u16, back_after: Option<Span>) {
        let played = self.plan.resized(
            &self.services[service as usize].policies,
            Place::Service(service as usize),
        );
        let sim = &self.services[service as usize];
        let old = &sim.instances[index as usize];
        let life = old.life + 1;
        let busy = old.busy;
        let mut fresh = Instance::new(
            &self.plan,
            service as usize,
            index as usize,
            self.seed,
            self.now,
            life,
            sim,
            &played,
        );
        fresh.up = false;
        let sim = &mut self.services[service as usize];
        sim.in_progress = sim.in_progress.saturating_sub(busy);
        sim.instances[index as usize] = fresh;
        let ids: Vec<Ticket> = self.calls.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(call) = self.calls.get(id).copied() else {
                continue;
            };
            let lost_here = call.target == Target::Service(service)
                && call.instance == index
                && !matches!(call.stage, Stage::Returning(_) | Stage::AtDoor);
            match call.caller {
                Caller::Load {
                    service: at,
                    instance,
                    ..
                } if (at, instance) == (service, index) => {
                    if let Some(call) = self.calls.get_mut(id) {
                        call.gone = true;
                    }
                }
                _ if lost_here => self.send_back_kept(id, Answer::ERROR),
                _ => {}
            }
        }
        if let Some(after) = back_after {
            self.agenda.push(
                self.now + after,
                Event::Back {
                    service,
                    instance: index,
                    life,
                },
            );
        }
    }

    pub(crate) fn back(&mut self, service: u16, index: u16, life: u32) {
        let instance = &mut self.services[service as usize].instances[index as usize];
        if instance.life == life {
            instance.up = true;
        }
    }

    fn look(&mut self, service: u16, call: &Call, tier: u8, node: u16, timeout: Span) -> (Reply, Span) {
        self.look_for(service, call.instance, call.copy, tier, node, call.key, timeout)
    }

    #[expect(clippy::too_many_arguments, reason = "a look-up has this many coordinates")]
    fn look_for(
        &mut self,
        service: u16,
        index: u16,
        copy: u16,
        tier: u8,
        node: u16,
        key: u64,
        timeout: Span,
    ) -> (Reply, Span) {
        let cache = self.services[service as usize].tiers[tier as usize];
        let instance = &mut self.services[service as usize].instances[index as usize];
        if let Some(store) = instance.locals[tier as usize].get_mut(copy as usize) {
            return self.caches[cache].look_local(self.now, store, key, &mut self.meter);
        }
        self.caches[cache].look(self.now, node, key, timeout, &mut self.meter)
    }

    #[expect(clippy::too_many_arguments, reason = "a write has this many coordinates")]
    fn put(
        &mut self,
        service: u16,
        index: u16,
        load: Option<LoadId>,
        tier: u8,
        node: u16,
        key: u64,
        keep: Span,
        entry: Entry,
    ) -> Result<(), guard::CacheFault> {
        let cache = self.services[service as usize].tiers[tier as usize];
        let copies = self.services[service as usize].copies;
        let instance = &mut self.services[service as usize].instances[index as usize];
        if instance.locals[tier as usize].is_empty() {
            let written = self.plan.scenario.caches[cache].timeout;
            let patience = self.services[service as usize].policies.deadline.cache;
            let patience = patience.map_or(written, |own| own.min(written));
            return self.caches[cache].put(self.now, node, key, keep, entry, patience, &mut self.meter);
        }
        let joined = load
            .and_then(|load| instance.joined.get(load.index() as usize))
            .filter(|joined| !joined.is_empty());
        let stores = &mut instance.locals[tier as usize];
        if let Some(joined) = joined {
            for copy in joined {
                self.caches[cache].put_local(
                    self.now,
                    &mut stores[*copy as usize],
                    key,
                    keep,
                    entry,
                    &mut self.meter,
                );
            }
        } else {
            let copy = seawall_core::rng::mix(key ^ self.now.as_nanos()) % u64::from(copies);
            self.caches[cache].put_local(
                self.now,
                &mut stores[copy as usize],
                key,
                keep,
                entry,
                &mut self.meter,
            );
        }
        Ok(())
    }

    fn take_out(&mut self, service: u16, index: u16, tier: u8, node: u16, key: u64, version: u64) {
        let cache = self.services[service as usize].tiers[tier as usize];
        let instance = &mut self.services[service as usize].instances[index as usize];
        let stores = &mut instance.locals[tier as usize];
        if stores.is_empty() {
            self.caches[cache].take_out(self.now, node, key, version, &mut self.meter);
        } else {
            for store in stores {
                self.caches[cache].take_out_local(self.now, store, key, version, &mut self.meter);
            }
        }
    }

    fn lease(&mut self, service: u16, index: u16, tier: u8, node: u16, key: u64, hold: Span) -> bool {
        let cache = self.services[service as usize].tiers[tier as usize];
        self.caches[cache].lease(self.now, node, key, hold, u64::from(index))
    }

    fn give_back(&mut self, service: u16, tier: u8, node: u16, key: u64) {
        let cache = self.services[service as usize].tiers[tier as usize];
        self.caches[cache].give_back(self.now, node, key);
    }

    /// Whether the shared cache that would hold a key does not answer.
    fn caches_fail(&self, service: u16, key: u64) -> bool {
        let sim = &self.services[service as usize];
        sim.first_shared
            .is_some_and(|cache| self.caches[cache].fails(key))
    }
}

impl ServiceSim {
    /// What becomes of an answer that the service would give: nothing, while it is down or when it fails.
    fn outcome(&mut self, now: Time, answer: Answer) -> Answer {
        if now < self.tripped_until {
            return Answer::ERROR;
        }
        if self.availability < 1.0 && answer.ending.is_good() && !self.rng.chance(self.availability) {
            return Answer::ERROR;
        }
        answer
    }
}
