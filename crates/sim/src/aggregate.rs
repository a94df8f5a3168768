//! The aggregate engine: cohorts of requests in short ticks, for systems of any size.
//!
//! Requests of one tick that fare alike are one [`cohort::Cohort`] with a number, so the cost of a run does not depend
//! on how many there are. Keys are in classes of about equal popularity ([`classes`]); of each class it is known how many
//! keys are cached, when these expire, and how many are being loaded ([`shelf`]). Numbers of requests are whole and
//! drawn (Poisson, binomial), so they vary as they would; numbers of keys are expectations. Policies with a memory are
//! the machines of `seawall_core`: one where there is one, a sample where there are many ([`panel`]).
//!
//! What it is not: exact. Instances and nodes that fare alike are taken together, so what one of them has too much
//! another one makes up for. What it cannot play it refuses, by the name that the document has for it ([`refuse`]).

#![expect(
    clippy::needless_range_loop,
    reason = "a class is a place in many arrays at once"
)]
#![expect(
    clippy::similar_names,
    reason = "`shelf` and `self`, `shared` and `shares` are what they are called"
)]

mod actions;
mod again;
mod approach;
mod caches;
mod calls;
mod classes;
mod clients;
mod cohort;
mod databases;
mod door;
mod envelope;
mod holding;
mod landing;
mod launch;
mod law;
mod leaving;
mod limits;
mod loads;
mod looks;
mod nodes;
mod odds;
mod panel;
mod pool;
mod prefill;
mod refuse;
mod renewal;
mod requests;
mod sample;
mod sealing;
mod services;
mod sharing;
mod shelf;
mod staleness;
mod timeline;
mod warming;

use seawall_core::deadline;
use seawall_core::limit;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_scenario::{Action, Knob, Place, Scenario, Setting, What};

use crate::meter::Meter;
use crate::plan::{self, Plan};
use crate::{Choice, Options, Refusal, Run};

use clients::{Client, Gateway};
use cohort::{Cohort, Wheel};
use databases::Database;
use services::Service;

pub(crate) use envelope::spell as spell_envelope;
pub use envelope::{Envelope, envelope};
pub(crate) use refuse::refusals;

/// The shortest and the longest tick.
const TICK_MIN: Span = Span::millis(10);
/// The tick where few requests come, and each of them shows.
const TICK_FEW: Span = Span::millis(5);
/// Below so many requests a second they are few.
const FEW: f64 = 20_000.0;
const TICK_MAX: Span = Span::millis(25);
/// The fewest ticks of a period, and of the shortest time that anybody waits.
const TICKS_PER_PERIOD: u64 = 20;
const TICKS_PER_WAIT: u64 = 16;

/// Plays one run of a scenario that this engine does not refuse.
///
/// # Errors
/// When what is played is no crowd, or takes more memory than it may.
pub(crate) fn play(
    scenario: &Scenario,
    options: &Options,
    choice: Choice,
    progress: &dyn Fn(f64),
) -> Result<Run, Refusal> {
    let plan = plan::of(scenario, options)?;
    let rate = refuse::rate(&plan.scenario);
    if rate < refuse::RATE_MIN {
        return Err(Refusal(format!(
            "the aggregate engine plays crowds: here are at most {rate:.0} requests a second, and it needs {:.0}",
            refuse::RATE_MIN
        )));
    }
    let mut world = World::new(plan, Seed(options.seed).replication(options.run));
    world.play(progress);
    Ok(world.into_run(choice))
}

/// The shortest time that anybody waits for anything before giving it up.
fn shortest_wait(scenario: &Scenario) -> Span {
    let clients = scenario.clients.iter().filter_map(|client| client.timeout);
    let caches = scenario.caches.iter().map(|cache| cache.timeout);
    let databases = scenario.databases.iter().filter_map(|database| database.timeout);
    let mut shortest = clients.chain(caches).chain(databases).min().unwrap_or(Span::MAX);
    let mut settle = |setting: &Setting| {
        let spans = match setting {
            Setting::Deadline(deadline) => {
                vec![deadline.total, deadline.cache, deadline.soft, deadline.hard]
            }
            Setting::Limit(limit) => match limit.mode {
                limit::Mode::Aimd { latency, .. } => vec![Some(limit.timeout), Some(latency)],
                _ => vec![Some(limit.timeout)],
            },
            Setting::Queue(queue) => vec![Some(queue.timeout)],
            Setting::Coalesce(coalesce) => vec![Some(coalesce.wait_max)],
            _ => Vec::new(),
        };
        shortest = spans.into_iter().flatten().fold(shortest, Span::min);
    };
    for protection in &scenario.protections {
        settle(&protection.setting);
    }
    for event in &scenario.timeline {
        match &event.what {
            What::Action(Action::Protect(list)) => {
                for protection in list {
                    settle(&protection.setting);
                }
            }
            What::Action(Action::Set(Knob::Timeout(timeout))) => {
                let deadline = deadline::Settings {
                    total: Some(*timeout),
                    ..deadline::Settings::default()
                };
                settle(&Setting::Deadline(deadline));
            }
            _ => {}
        }
    }
    shortest
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fresh,
    Stale,
    Shed,
    Error,
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Service(usize),
    Database(usize),
}

impl Target {
    fn of(place: Place) -> Option<Target> {
        match place {
            Place::Service(index) => Some(Target::Service(index)),
            Place::Database(index) => Some(Target::Database(index)),
            _ => None,
        }
    }
}

/// What a cohort waits for on the wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A client tries again.
    Again,
    /// A look-up has failed.
    LookFailed { service: u8, group: u8 },
    /// A look-up has found nothing.
    Missed { service: u8, tier: u8, group: u8 },
    /// A look-up has found it.
    Found { service: u8 },
    /// The service's own work is done.
    Worked { service: u8, outcome: Outcome },
    /// The origin has answered a load.
    Landed { ok: bool, shed: bool },
    /// Those who wait for the loads of a tick have waited long enough.
    Waited { service: u8 },
    /// Those who wait for the loads of a tick would rather have something stale by now.
    Softly { service: u8 },
    /// Loads of a tick are given up.
    Hard { service: u8 },
    /// Failed loads are tried again.
    Approach { service: u8 },
}

/// All state of a run.
struct World {
    plan: Plan,
    /// The length of a tick, in seconds.
    dt: f64,
    tick_span: Span,
    tick: u32,
    now: Time,
    wheel: Wheel<Stage>,
    clients: Vec<Client>,
    gateways: Vec<Gateway>,
    services: Vec<Service>,
    databases: Vec<Database>,
    meter: Meter,
    rng: Stream,
    active: Vec<bool>,
    /// What is provided later: in which tick, and what.
    provisions: Vec<(u32, timeline::Provision)>,
    watch: sample::Watch,
    requests: u64,
    events: u64,
    in_flight_max: u64,
    due: Vec<(Stage, Cohort)>,
}

impl World {
    fn new(plan: Plan, seed: Seed) -> World {
        let every = plan.scenario.run.every.as_nanos().max(1);
        let tick = Span::nanos(shortest_wait(&plan.scenario).as_nanos() / TICKS_PER_WAIT);
        let tick = if refuse::rate(&plan.scenario) < FEW {
            TICK_FEW
        } else {
            tick.clamp(TICK_MIN, TICK_MAX)
        };
        let ticks = every.div_ceil(tick.as_nanos()).max(TICKS_PER_PERIOD);
        let tick_span = Span::nanos((every / ticks).max(1));
        let dt = tick_span.as_secs_f64();
        let mut meter = Meter::new();
        let scenario = plan.scenario.clone();
        let services = (0..scenario.services.len())
            .map(|index| Service::new(&plan, index, seed, dt, &mut meter))
            .collect();
        let mut world = World {
            clients: (0..scenario.clients.len())
                .map(|index| Client::new(&plan, index, seed, dt, &mut meter))
                .collect(),
            gateways: (0..scenario.gateways.len())
                .map(|index| Gateway::new(&plan, index, seed, &mut meter))
                .collect(),
            services,
            databases: (0..scenario.databases.len())
                .map(|index| Database::new(&plan, index, seed, &mut meter))
                .collect(),
            watch: sample::Watch::new(&plan),
            active: vec![false; scenario.timeline.len()],
            rng: seed.stream("cohorts", 0),
            wheel: Wheel::new(),
            provisions: Vec::new(),
            requests: 0,
            events: 0,
            in_flight_max: 0,
            due: Vec::new(),
            tick: 0,
            now: Time::ZERO,
            meter,
            dt,
            tick_span,
            plan,
        };
        for index in 0..world.clients.len() {
            world.weigh(index);
        }
        world.remember_tries();
        for index in 0..world.services.len() {
            world.regate(index);
        }
        if scenario.run.prefilled {
            world.prefill();
        }
        world
    }

    /// Plays the run to its end.
    fn play(&mut self, progress: &dyn Fn(f64)) {
        let run = &self.plan.scenario.run;
        let every = run.every.as_nanos().max(1);
        let periods = (run.warmup + run.duration).as_nanos().div_ceil(every);
        let ticks = every / self.tick_span.as_nanos();
        for period in 1..=periods {
            for _ in 0..ticks {
                self.pass();
                self.tick += 1;
                self.now += self.tick_span;
            }
            self.now = Time::from_nanos(every * period);
            self.sample();
            progress(period as f64 / periods as f64);
        }
    }

    /// Plays a tick.
    fn pass(&mut self) {
        self.happen();
        for service in 0..self.services.len() {
            self.pass_caches(service);
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take(self.tick, &mut due);
        self.events += due.len() as u64;
        for (stage, cohort) in due.drain(..) {
            self.wake(stage, cohort);
        }
        self.due = due;
        for client in 0..self.clients.len() {
            self.arrive(client);
        }
        for service in 0..self.services.len() {
            self.admit_line(service);
            self.promote(service);
            self.renew_due(service);
            self.go_on_warming(service);
            self.seal(service);
        }
        for database in 0..self.databases.len() {
            self.pass_database(database);
        }
        for client in 0..self.clients.len() {
            self.time_out(client);
        }
        // Whose thread became free in this tick leaves it to the next in line in this tick.
        for service in 0..self.services.len() {
            self.admit_line(service);
        }
        for service in 0..self.services.len() {
            self.close_tick(service);
        }
        let services = self.services.iter().map(|service| service.held + service.lined);
        let databases = self.databases.iter().map(Database::calls);
        self.in_flight_max = self
            .in_flight_max
            .max(services.sum::<u64>() + databases.sum::<u64>());
    }

    fn wake(&mut self, stage: Stage, cohort: Cohort) {
        match stage {
            Stage::Again => self.issue(cohort),
            Stage::LookFailed { service, group } => self.look_failed(service as usize, group, cohort),
            Stage::Missed { service, tier, group } => {
                self.missed(service as usize, tier as usize, group, cohort);
            }
            Stage::Found { service } => self.answer(service as usize, cohort, Outcome::Fresh),
            Stage::Worked { service, outcome } => self.worked(service as usize, cohort, outcome),
            Stage::Landed { ok, shed } => self.landed(cohort, ok, shed),
            Stage::Waited { service } => self.waited(service as usize, cohort),
            Stage::Softly { service } => self.settle_for_less(service as usize, cohort),
            Stage::Hard { service } => self.give_up(service as usize, cohort),
            Stage::Approach { service } => self.approach(service as usize, cohort),
        }
    }

    /// Lets a stage come when the cohort has this age; at once when that is in this tick.
    fn later(&mut self, stage: Stage, cohort: Cohort) {
        if cohort.count == 0 {
            return;
        }
        let due = self.tick_of(&cohort, cohort.age);
        if due <= self.tick {
            self.wake(stage, cohort);
        } else {
            self.wheel.push(due, stage, cohort);
        }
    }

    /// The tick in which a cohort has an age.
    fn tick_of(&self, cohort: &Cohort, age: f64) -> u32 {
        let ticks = 0.5 + age / self.dt;
        if ticks >= f64::from(u32::MAX / 2) {
            cohort::NEVER
        } else {
            cohort.born.saturating_add(ticks as u32)
        }
    }

    /// The age of a cohort in the middle of this tick.
    fn age(&self, cohort: &Cohort) -> f64 {
        (f64::from(self.tick) - f64::from(cohort.born)) * self.dt
    }

    fn into_run(self, choice: Choice) -> Run {
        let run = &self.plan.scenario.run;
        Run {
            record: self.meter.into_record(run.every, run.warmup, self.plan.scale),
            requests: self.requests,
            events: self.events,
            in_flight_max: self.in_flight_max,
            choice,
        }
    }
}
