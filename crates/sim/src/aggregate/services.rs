//! Services: threads, the line before them, and what becomes of a request that has one.
//!
//! All instances are taken together: their threads are one pool, their lines one line.

use std::collections::VecDeque;

use seawall_core::policies::Policies;
use seawall_core::record::Metric;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::Time;
use seawall_scenario::{FallbackWhen, Place, Trips};

use super::Target;
use super::caches::Tier;
use super::classes::Classes;
use super::cohort::Cohort;
use super::door::Door;
use super::law::Law;
use super::loads::Loads;
use crate::meter::{Counter, Meter};
use crate::plan::Plan;

/// How quickly a mean of holding times follows.
pub(super) const FOLLOW: f64 = 0.1;

/// How long places are held on average, as far as a tick goes: how many can have one within a tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turnover {
    mean: f64,
    seconds: f64,
    count: f64,
}

impl Turnover {
    /// So many were held for this long within one tick.
    pub(super) fn held(&mut self, seconds: f64, count: u64) {
        self.seconds += seconds * count as f64;
        self.count += count as f64;
    }

    /// A tick is over.
    pub(super) fn close(&mut self) {
        if self.count > 0.0 {
            let mean = self.seconds / self.count;
            self.mean += if self.mean > 0.0 {
                FOLLOW * (mean - self.mean)
            } else {
                mean
            };
        }
        (self.seconds, self.count) = (0.0, 0.0);
    }

    /// How many can begin in a tick when so many places are free at its beginning.
    pub(super) fn room(&self, free: f64, dt: f64) -> f64 {
        free.max(0.0) * (dt / self.mean.max(1e-9)).max(1.0)
    }
}

/// A service.
pub(super) struct Service {
    /// Instances that are up.
    pub(super) up: f64,
    /// Instances of the document.
    pub(super) threads_each: Option<u32>,
    pub(super) places_each: Option<u32>,
    pub(super) held: u64,
    pub(super) turnover: Turnover,
    /// Seconds of threads that were held within this tick only.
    pub(super) held_within: f64,
    /// Threads that are held for less than a tick, on average of late.
    pub(super) within: f64,
    /// How many may still begin in this tick.
    pub(super) room: f64,
    pub(super) line: VecDeque<Cohort>,
    pub(super) lined: u64,
    pub(super) line_timeout: f64,
    pub(super) work: Law,
    pub(super) latency: Law,
    /// Work takes this many times as long.
    pub(super) slow: f64,
    pub(super) far: f64,
    /// Whether calls reach it, and if not, whether they hear of it.
    pub(super) way: Way,
    pub(super) availability: f64,
    pub(super) trips: Option<Trips>,
    pub(super) tripped_until: Time,
    pub(super) tiers: Vec<Tier>,
    pub(super) classes: Classes,
    pub(super) loads: Loads,
    pub(super) origin: Option<Target>,
    pub(super) fallback: Option<(Target, FallbackWhen)>,
    pub(super) also: Vec<Target>,
    pub(super) guarded: bool,
    pub(super) policies: Policies,
    pub(super) played: Policies,
    pub(super) door: Door,
    pub(super) rng: Stream,
    pub(super) meters: Meters,
}

/// The way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Open,
    Refused,
    Silent,
}

/// What a service counts.
pub(super) struct Meters {
    pub(super) up: Counter,
    pub(super) in_flight: Counter,
    pub(super) busy: Counter,
    pub(super) depth: Counter,
    pub(super) waited: crate::meter::Timer,
    pub(super) loads: Counter,
    pub(super) coalesced: Counter,
    pub(super) retries: Counter,
    pub(super) breaker: Counter,
    pub(super) transitions: Counter,
    pub(super) limit: Counter,
    pub(super) warmed: Counter,
    pub(super) share: Counter,
    pub(super) level: Counter,
    pub(super) origin_requests: Counter,
    pub(super) origin_errors: Counter,
    pub(super) origin_took: crate::meter::Timer,
    pub(super) wasted: Counter,
}

impl Meters {
    fn new(meter: &mut Meter, name: &str) -> Meters {
        let mut counter = |metric| meter.counter(metric, name, None);
        Meters {
            up: counter(Metric::Instances),
            in_flight: counter(Metric::InFlight),
            busy: counter(Metric::ThreadsBusy),
            depth: counter(Metric::QueueDepth),
            loads: counter(Metric::Loads),
            coalesced: counter(Metric::Coalesced),
            retries: counter(Metric::Retries),
            breaker: counter(Metric::BreakerState),
            transitions: counter(Metric::BreakerTransitions),
            limit: counter(Metric::LimiterLimit),
            warmed: counter(Metric::Warmed),
            share: counter(Metric::ThrottleRatio),
            level: counter(Metric::DegradationLevel),
            origin_requests: counter(Metric::OriginRequests),
            origin_errors: counter(Metric::OriginErrors),
            wasted: counter(Metric::OriginWasted),
            waited: meter.timer(Metric::QueueWait, name),
            origin_took: meter.timer(Metric::OriginDuration, name),
        }
    }
}

impl Service {
    pub(super) fn new(plan: &Plan, index: usize, seed: Seed, dt: f64, meter: &mut Meter) -> Service {
        let service = &plan.scenario.services[index];
        let place = Place::Service(index);
        let policies = plan.scenario.policies(place);
        let played = plan.resized(&policies, place);
        let classes = super::caches::classes_of(plan, index);
        let tiers = service
            .caches
            .iter()
            .enumerate()
            .map(|(tier, cache)| Tier::new(plan, index, tier, *cache, &classes, &played, seed, dt, meter))
            .collect();
        let mut sim = Service {
            up: f64::from(service.instances),
            threads_each: service.threads,
            places_each: service.queue,
            held: 0,
            turnover: Turnover::default(),
            held_within: 0.0,
            within: 0.0,
            room: f64::INFINITY,
            line: VecDeque::new(),
            lined: 0,
            line_timeout: f64::INFINITY,
            work: Law::new(&service.service_time),
            latency: Law::new(&service.latency),
            slow: 1.0,
            far: 0.0,
            way: Way::Open,
            availability: service.availability,
            trips: service.trips.clone(),
            tripped_until: Time::ZERO,
            tiers,
            loads: Loads::new(classes.len(), seed, index),
            classes,
            origin: service.origin.and_then(Target::of),
            fallback: service
                .fallback
                .as_ref()
                .and_then(|fallback| Some((Target::of(fallback.origin)?, fallback.when))),
            also: service.also.iter().copied().filter_map(Target::of).collect(),
            guarded: !service.caches.is_empty() || service.origin.is_some(),
            policies,
            door: Door::new(&service.name, &played, seed.stream("gate", (index as u64) << 32)),
            played: Policies::default(),
            rng: seed.stream("work", index as u64),
            meters: Meters::new(meter, &service.name),
        };
        sim.retune(Time::ZERO, &played);
        sim
    }

    /// Takes other policies.
    pub(super) fn retune(&mut self, now: Time, played: &Policies) {
        self.played = played.clone();
        self.door.retune(now, played);
        self.line_timeout = played
            .queue
            .as_ref()
            .map_or(f64::INFINITY, |queue| queue.timeout.as_secs_f64());
        self.loads.retune(now, played, self.up);
        for tier in &mut self.tiers {
            tier.retune(now, played, self.up);
        }
    }

    /// Threads are free again.
    pub(super) fn free(&mut self, count: u64) {
        self.held = self.held.saturating_sub(count);
        self.room += count as f64;
    }

    pub(super) fn threads(&self) -> f64 {
        self.threads_each
            .map_or(f64::INFINITY, |threads| f64::from(threads) * self.up)
    }

    pub(super) fn places(&self) -> f64 {
        let places = match &self.played.queue {
            Some(queue) => Some(queue.places),
            None => self.places_each,
        };
        places.map_or(f64::INFINITY, |places| f64::from(places) * self.up)
    }

    /// Threads that are held, those included that are held for less than a tick.
    pub(super) fn busy(&self) -> f64 {
        (self.held as f64 + self.within).min(self.threads())
    }

    /// Threads that are held, as a share of all.
    pub(super) fn full(&self) -> f64 {
        let threads = self.threads();
        if threads.is_finite() && threads > 0.0 {
            self.busy() / threads
        } else {
            0.0
        }
    }
}
