//! Services: threads, the line before them, and what becomes of a request that has one.
//!
//! All instances are taken together: their threads are one pool, their lines one line.

use std::collections::VecDeque;

use seawall_core::draw;
use seawall_core::gate::Reason;
use seawall_core::policies::Policies;
use seawall_core::record::Metric;
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::time::Time;
use seawall_scenario::{FallbackWhen, Place, Trips};

use super::caches::Tier;
use super::classes::Classes;
use super::cohort::{Cohort, Purpose, Sought, Who};
use super::door::Door;
use super::law::Law;
use super::loads::Loads;
use super::{Outcome, Stage, Target, World};
use crate::meter::{Counter, Meter};
use crate::plan::Plan;

/// How quickly a mean of holding times follows.
const FOLLOW: f64 = 0.1;

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
    turnover: Turnover,
    /// Seconds of threads that were held within this tick only.
    held_within: f64,
    /// Threads that are held for less than a tick, on average of late.
    within: f64,
    /// How many may still begin in this tick.
    room: f64,
    pub(super) line: VecDeque<Cohort>,
    pub(super) lined: u64,
    pub(super) line_timeout: f64,
    pub(super) work: Law,
    latency: Law,
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
    also: Vec<Target>,
    guarded: bool,
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
    waited: crate::meter::Timer,
    pub(super) loads: Counter,
    pub(super) coalesced: Counter,
    pub(super) retries: Counter,
    pub(super) breaker: Counter,
    pub(super) transitions: Counter,
    pub(super) limit: Counter,
    pub(super) warmed: Counter,
    pub(super) share: Counter,
    pub(super) level: Counter,
    origin_requests: Counter,
    origin_errors: Counter,
    pub(super) origin_took: crate::meter::Timer,
    wasted: Counter,
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

    fn threads(&self) -> f64 {
        self.threads_each
            .map_or(f64::INFINITY, |threads| f64::from(threads) * self.up)
    }

    fn places(&self) -> f64 {
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

impl World {
    /// Calls reach a service.
    pub(super) fn enter(&mut self, index: usize, mut cohort: Cohort) {
        let service = &mut self.services[index];
        cohort.lag += service.latency.mean() + service.far;
        let priority = match cohort.who {
            Who::Client { client, .. } => self.plan.scenario.clients[client as usize].priority,
            _ => Priority::Normal,
        };
        if !matches!(cohort.who, Who::Client { .. }) {
            self.meter
                .add(service.meters.origin_requests, cohort.count as f64);
        }
        if service.up < 0.5 || service.way == Way::Refused {
            return self.refuse(index, cohort, Outcome::Error);
        }
        if service.way == Way::Silent {
            return;
        }
        let mut refused = Vec::new();
        let passed = service
            .door
            .admit(self.now, cohort.read, priority, cohort.count, |reason, count| {
                refused.push((reason, count));
            });
        for (reason, count) in refused {
            self.services[index].door.shed(&mut self.meter, reason, count);
            self.refuse(index, cohort.part(count), Outcome::Shed);
        }
        let mut cohort = cohort.part(passed);
        let service = &mut self.services[index];
        if service.threads_each.is_some() {
            let free = if service.lined > 0 { 0.0 } else { service.room };
            let starts = if free >= cohort.count as f64 {
                cohort.count
            } else {
                free.max(0.0) as u64
            };
            let starting = cohort.split(starts);
            service.room -= starting.count as f64;
            if starting.count > 0 {
                self.start(index, starting);
            }
            return self.line_up(index, cohort);
        }
        self.start(index, cohort);
    }

    fn line_up(&mut self, index: usize, mut cohort: Cohort) {
        if cohort.count == 0 {
            return;
        }
        let service = &mut self.services[index];
        let room = (service.places() - service.lined as f64).max(0.0);
        let fits = if room >= cohort.count as f64 {
            cohort.count
        } else {
            room as u64
        };
        let mut waits = cohort.split(fits);
        waits.since = waits.age;
        if waits.count > 0 {
            service.lined += waits.count;
            let joined = service.line.back_mut().is_some_and(|last| last.join(&waits));
            if !joined {
                service.line.push_back(waits);
            }
        }
        if cohort.count == 0 {
            return;
        }
        let outcome = if service.played.queue.is_some() {
            service
                .door
                .shed(&mut self.meter, Reason::QueueFull, cohort.count);
            Outcome::Shed
        } else {
            Outcome::Error
        };
        self.refuse(index, cohort, outcome);
    }

    /// Calls are answered without any work.
    fn refuse(&mut self, index: usize, cohort: Cohort, outcome: Outcome) {
        if outcome == Outcome::Error && !matches!(cohort.who, Who::Client { .. }) {
            self.meter
                .add(self.services[index].meters.origin_errors, cohort.count as f64);
        }
        self.give_back(cohort, outcome);
    }

    /// Those in line have a thread as far as there are any, and leave when they have waited too long.
    pub(super) fn admit_line(&mut self, index: usize) {
        let service = &self.services[index];
        if service.line.is_empty() {
            return;
        }
        let timeout = service.line_timeout;
        while timeout.is_finite() {
            let Some(first) = self.services[index].line.front().copied() else {
                break;
            };
            if self.age(&first) - first.since < timeout {
                break;
            }
            let service = &mut self.services[index];
            service.line.pop_front();
            service.lined -= first.count;
            service
                .door
                .shed(&mut self.meter, Reason::QueueTimeout, first.count);
            self.refuse(
                index,
                Cohort {
                    age: first.since + timeout,
                    ..first
                },
                Outcome::Shed,
            );
        }
        while let Some(first) = self.services[index].line.front().copied() {
            let service = &mut self.services[index];
            let starts = (service.room.max(0.0) as u64).min(first.count);
            if starts == 0 {
                break;
            }
            service.room -= starts as f64;
            service.lined -= starts;
            let mut starting = first.part(starts);
            if starts == first.count {
                service.line.pop_front();
            } else if let Some(front) = service.line.front_mut() {
                front.count -= starts;
            }
            let waited = service.meters.waited;
            starting.age = self.age(&first).max(first.since);
            let span = seawall_core::time::Span::from_secs_f64(starting.age - first.since);
            self.meter.time_many(waited, span, starts);
            self.start(index, starting);
        }
    }

    /// Calls have their threads.
    pub(super) fn start(&mut self, index: usize, mut cohort: Cohort) {
        for at in 0..self.services[index].also.len() {
            let target = self.services[index].also[at];
            let aside = Cohort {
                who: Who::Aside,
                lag: 0.0,
                ..cohort
            };
            self.send(target, aside);
        }
        cohort.since = cohort.age;
        let now = self.now;
        let service = &mut self.services[index];
        service.held += cohort.count;
        if let Some(trips) = &service.trips
            && service.busy() > f64::from(trips.above + 1)
            && now >= service.tripped_until
        {
            service.tripped_until = now + trips.for_;
        }
        if !service.guarded {
            return self.answer(index, cohort, Outcome::Fresh);
        }
        if cohort.read {
            self.note_looked(&cohort);
            self.look(index, 0, cohort, true);
        } else {
            self.load(index, cohort, Purpose::Write, Sought::NOTHING);
        }
    }

    /// It is known what requests are answered with; their work remains to be done.
    pub(super) fn answer(&mut self, index: usize, cohort: Cohort, outcome: Outcome) {
        let service = &mut self.services[index];
        let slow = service.slow;
        if service.work.is_fixed() {
            let work = service.work.mean() * slow;
            let stage = Stage::Worked {
                service: index as u8,
                outcome,
            };
            return self.later(
                stage,
                Cohort {
                    age: cohort.age + work,
                    ..cohort
                },
            );
        }
        let mut parts = Vec::new();
        let Service { work, rng, .. } = service;
        work.deal(cohort.count, rng, |length, count| {
            parts.push((length * slow, count));
        });
        for (length, count) in parts {
            let stage = Stage::Worked {
                service: index as u8,
                outcome,
            };
            self.later(
                stage,
                Cohort {
                    age: cohort.age + length,
                    ..cohort.part(count)
                },
            );
        }
    }

    /// The work is done: threads are free, and answers go back.
    pub(super) fn worked(&mut self, index: usize, mut cohort: Cohort, mut outcome: Outcome) {
        let dt = self.dt;
        let is_load = !matches!(cohort.who, Who::Client { .. });
        let service = &mut self.services[index];
        service.held = service.held.saturating_sub(cohort.count);
        let held = cohort.age - cohort.since;
        service.turnover.held(held.min(dt), cohort.count);
        if held < dt {
            service.held_within += held * cohort.count as f64;
        } else {
            // Who holds a thread for less than a tick is in the turnover already.
            service.room += cohort.count as f64;
        }
        if is_load {
            let took = seawall_core::time::Span::from_secs_f64(held);
            self.meter
                .time_many(service.meters.origin_took, took, cohort.count);
        }
        if self.now < service.tripped_until {
            outcome = Outcome::Error;
        }
        let good = matches!(outcome, Outcome::Fresh | Outcome::Stale);
        if good && service.availability < 1.0 {
            let failed = draw::binomial(cohort.count, 1.0 - service.availability, &mut service.rng);
            let fails = cohort.split(failed);
            if is_load {
                self.meter.add(service.meters.origin_errors, failed as f64);
            }
            self.give_back(fails, Outcome::Error);
        } else if outcome == Outcome::Error && is_load {
            self.meter.add(service.meters.origin_errors, cohort.count as f64);
        }
        if !is_load && self.has_left(&cohort) {
            self.meter
                .add(self.services[index].meters.wasted, cohort.count as f64);
        }
        self.give_back(cohort, outcome);
    }

    /// Answers go to whoever called.
    pub(super) fn give_back(&mut self, mut cohort: Cohort, outcome: Outcome) {
        if cohort.count == 0 {
            return;
        }
        match cohort.who {
            Who::Client { .. } => self.close(cohort, outcome),
            Who::Load { .. } => {
                cohort.age += std::mem::take(&mut cohort.lag);
                let stage = Stage::Landed {
                    ok: matches!(outcome, Outcome::Fresh | Outcome::Stale),
                    shed: outcome == Outcome::Shed,
                };
                self.later(stage, cohort);
            }
            Who::Aside => {}
        }
    }

    /// Calls a service or a database.
    pub(super) fn send(&mut self, target: Target, cohort: Cohort) {
        match target {
            Target::Service(service) => self.enter(service, cohort),
            Target::Database(database) => self.query(database, cohort),
        }
    }

    /// Clients have left: what nobody waits for any more is stopped, where that is wanted.
    pub(super) fn abandon(&mut self, index: usize, late: &Cohort) {
        let service = &mut self.services[index];
        if !service.played.deadline.cancel {
            return;
        }
        let (Who::Client { client, tries, .. }, born) = (late.who, late.born) else {
            return;
        };
        let is_late = |cohort: &Cohort| {
            cohort.born == born
                && matches!(cohort.who, Who::Client { client: c, tries: t, .. } if (c, t) == (client, tries))
        };
        let mut gone = 0;
        service.line.retain(|cohort| {
            let late = is_late(cohort);
            if late {
                gone += cohort.count;
            }
            !late
        });
        service.lined -= gone;
        self.abandon_waiters(index, client, tries, born);
    }

    /// What is known of a service at the end of a tick.
    pub(super) fn close_tick(&mut self, index: usize) {
        let dt = self.dt;
        self.close_loads(index);
        let service = &mut self.services[index];
        let free = service.threads() - service.held as f64;
        service.turnover.close();
        service.room = service.turnover.room(free, dt);
        let within = std::mem::take(&mut service.held_within) / dt;
        service.within += FOLLOW * (within - service.within);
    }
}
