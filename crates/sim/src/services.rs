//! Services: threads, the line before them, and the guard on the path of every request.
//!
//! This is the simulator's driver of [`Guard`]: it performs the guard's steps and schedules the replies. A request holds
//! its thread until its answer is ready, however long a cache or the origin takes. One whose every step is over at
//! once or after a few milliseconds is carried through without being given a number ("loose"); every other call is
//! kept in a slab until it ends.

mod door;
mod life;
mod loads;
mod requests;
mod tiers;

use seawall_core::balance::{Balancer, Strategy};
use seawall_core::dist::Dist;
use seawall_core::gate::{Gate, Reason};
use seawall_core::guard::{Guard, LoadId, Setup, Tier};
use seawall_core::link::{Delivery, Link};
use seawall_core::policies::Policies;
use seawall_core::queue::{Cause, Queue};
use seawall_core::record::Metric;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_scenario::{CacheKind, FallbackWhen, Leak, Place, Trips};

use crate::caches::Store;
use crate::clients::some_time;
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;
use crate::slab::Ticket;
use crate::world::{Answer, Target, World};

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
    pub(crate) turn: usize,
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
    /// With more calls than this inside an instance, hits can no longer be skipped.
    pub(crate) crowded_above: u32,
    /// Threads that skipped hits hold.
    pub(crate) hidden: u32,
    /// How many are at work, over all instances.
    pub(crate) in_progress: u32,
    pub(crate) tiers: Vec<usize>,
    pub(crate) first_shared: Option<usize>,
    pub(crate) origin: Option<Target>,
    fallback: Option<(Target, FallbackWhen)>,
    pub(crate) also: Vec<Target>,
    guarded: bool,
    pub(crate) cancels: bool,
    pub(crate) copies: u16,
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
    pub(crate) served: u64,
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
            crowded_above: u32::MAX,
            hidden: 0,
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

    /// Whether the service is what the document says, and can be reached.
    pub(crate) fn is_sound(&self, now: Time) -> bool {
        let as_written =
            self.slow.to_bits() == 1.0_f64.to_bits() && self.processor.to_bits() == 1.0_f64.to_bits();
        self.reachable && self.far.is_zero() && now >= self.tripped_until && as_written
    }

    /// How long the work on one request takes now.
    fn work(&mut self) -> Span {
        let Some(dist) = &self.work else { return Span::ZERO };
        let work = dist.draw(&mut self.rng);
        self.stretched(work)
    }

    /// How long this much work takes now.
    pub(crate) fn stretched(&self, work: Span) -> Span {
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
                shared: cache.kind == CacheKind::Shared,
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
            line: Queue::new(played.line(sim.places)),
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
