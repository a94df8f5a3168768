//! A drill: a scenario's system of real parts, under load, with the scenario's timeline done to it.
//!
//! [`run`] starts what the scenario names, each link through a fault proxy of its own, lets the clients call, and does
//! what the timeline says when it says it. What is measured is a [`Record`] as the simulator leaves one behind, so the
//! same scenario judges both. Before anything is injected the system has to be well; while it runs, guards may abort it;
//! in the end everything is taken back, and it is looked whether it is well again.
//!
//! It predicts nothing: what the simulator says of the same scenario is laid beside it by whoever has both.

mod actions;
mod asking;
mod cached;
mod faults;
mod gateway;
mod page;
mod sampling;
mod system;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seawall_core::arrivals::Spacing;
use seawall_core::balance::Strategy;
use seawall_core::record::Record;
use seawall_core::rng::mix;
use seawall_core::time::Span;
use seawall_scenario::{Action, Arrival, CacheKind, Event, Fault, Place, Scaled, What as Doing};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::What;
use crate::copies::Copies;
use crate::keeper::{Broken, Keeper};
use crate::load::{Call, Load, Progress, Reply, Report, Settings, Target};
use crate::proxy::ProxyError;
use crate::stack::NoServer;
use crate::steady::Steady;
use faults::InForce;
use sampling::Sampler;
use system::System;

/// What is to be drilled.
#[derive(Clone, Debug)]
pub struct Order {
    /// The scenario, and how it is drilled.
    pub what: What,
    /// The program that is `seawall` itself: instances, gateways and the keeper are started with it.
    pub program: PathBuf,
    /// It becomes true when somebody wants it to end: then everything is taken back, and it counts as aborted.
    pub stop: watch::Receiver<bool>,
    /// Whether caches and databases are stand-ins in this process, and no real servers.
    pub embedded: bool,
}

/// Why there was no drill.
#[derive(Debug, thiserror::Error)]
pub enum NoDrill {
    /// It cannot be drilled, and why: nothing was started.
    #[error("{0}")]
    Refused(String),
    /// The document is wrong.
    #[error("{0}")]
    Scenario(#[from] seawall_scenario::Mistakes),
    /// Something that it needs did not work.
    #[error("{0}")]
    Failed(String),
    /// A server did not start.
    #[error(transparent)]
    Server(#[from] NoServer),
    /// The process that cleans up is gone.
    #[error(transparent)]
    Keeper(#[from] Broken),
}

impl NoDrill {
    #[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
    fn proxy(error: ProxyError) -> NoDrill {
        NoDrill::Failed(error.to_string())
    }
}

/// What happens while it runs.
#[derive(Clone, Debug)]
pub enum News {
    /// What is being done, before and after the run.
    Stage(String),
    /// All parts run.
    Ready(Vec<String>),
    /// A period has passed: the scenario's clock in seconds, and each client's progress.
    Period(f64, Vec<(String, Progress)>),
    /// An event of the timeline was done, at this instant of the scenario's clock.
    Done(f64, String),
    /// Something of the timeline has ended.
    Over(f64, String),
    /// It could not be done, or not be taken back.
    Trouble(String),
}

/// How a drill ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran to its end.
    Whole,
    /// It was not well before anything was injected, and why.
    Unwell(String),
    /// A guard ended it, and why.
    Aborted(String),
}

/// What came of a drill.
#[derive(Debug)]
pub struct Ran {
    /// The scenario as it was drilled.
    pub scaled: Scaled,
    /// What was measured, as it would be at full size.
    pub record: Record,
    /// What was measured before anything was injected.
    pub steady: Steady,
    /// What each client met.
    pub clients: Vec<Report>,
    /// How it ended.
    pub ending: Ending,
    /// What could not be taken back; nothing when all is as it was.
    pub left: Vec<String>,
    /// Why it is not well after all was taken back, if it is not. A failure may outlive its cause.
    pub after: Option<String>,
    /// What could not be done of the timeline, or was done and not felt.
    pub troubles: Vec<String>,
    /// What makes the numbers worth less than they could be: the load generator's own errors.
    pub doubts: Vec<String>,
    /// What was done to servers, and what was seen of it from outside.
    pub evidence: Vec<String>,
    /// What it was made of.
    pub parts: Vec<String>,
}

/// Calls that are tried before the clients begin, and how patiently.
const TRIES: u64 = 20;
const TRY: Duration = Duration::from_secs(2);
/// The last part of the warm-up, in which it has to be well.
const CALM: Duration = Duration::from_secs(2);
/// Calls that are under way at the end are waited for so long: what comes later is in no period.
const FAREWELL: Duration = Duration::from_millis(500);
/// It is well with this share of good answers.
const WELL: f64 = 0.9;
/// It is looked this often whether a guard has to end it, and whether an instance has crashed.
const GLANCE: Duration = Duration::from_millis(50);
/// A load generator of which one call in a hundred is later than this measures itself.
const LAG_MAX: Duration = Duration::from_millis(50);

/// Why this scenario cannot be drilled here; nothing when it can.
pub fn refusals(scaled: &Scaled, embedded: bool) -> Vec<String> {
    let scenario = &scaled.scenario;
    let mut refusals = Vec::new();
    let mut refuse = |why: String| refusals.push(why);
    if !scenario.environment.test {
        refuse(
            "it does not say that its environment is one for tests: add `[environment]` with `test = true`"
                .into(),
        );
    }
    if let Some(most) = scenario.environment.rate_max {
        let rate: f64 = scenario.clients.iter().map(|client| client.rate).sum();
        if rate > f64::from(most) {
            refuse(format!(
                "its clients send {rate:.0} calls a second, and `[environment] rate_max` is {most}; try a smaller --scale"
            ));
        }
    }
    refusals.extend(system::too_many_rows(scaled));
    let environment = &scenario.environment;
    for (at, service) in scenario.services.iter().enumerate() {
        let runs = environment.run.iter().map(|(place, _)| *place);
        let mut own = runs.chain(environment.at.iter().map(|(place, _)| *place));
        let users = own.any(|place| place == Place::Service(at));
        let origin = environment
            .at
            .iter()
            .find(|(place, _)| Some(*place) == service.origin);
        if let (false, Some((Place::Database(_), address))) = (users, origin) {
            refusals.push(format!(
                "`service.{}` would read its own table from the database at `{address}`, which is not the drill's: \
                 give the service a program of your own in `[environment.run]`",
                service.name
            ));
        }
    }
    for service in &scenario.services {
        let shared = |at: &&usize| scenario.caches[**at].kind == CacheKind::Shared;
        if service.caches.iter().filter(shared).count() > 1 {
            refusals.push(format!(
                "`service.{}` looks into two shared caches, and a drill knows one",
                service.name
            ));
        }
        if !service.caches.is_empty() && service.origin.is_none() {
            refusals.push(format!(
                "`service.{}` has a cache and nothing behind it",
                service.name
            ));
        }
    }
    for event in &scenario.timeline {
        if let (true, Doing::Fault(fault @ (Fault::DiskFull | Fault::ReadOnly))) = (embedded, &event.what) {
            let word = fault.word().replace('_', " ");
            refusals.push(format!(
                "{}: the embedded cache server has no {word}; install redis-server",
                scenario.describe(event)
            ));
        }
        if let Some(why) = actions::impossible(scaled, event) {
            refusals.push(format!("{}: {why}", scenario.describe(event)));
        }
    }
    refusals
}

/// Runs a drill.
///
/// # Errors
/// When it cannot be drilled, or its parts do not start. Then everything has been cleaned up.
pub async fn run(order: &Order, news: &UnboundedSender<News>) -> Result<Ran, NoDrill> {
    let scaled = order.what.scaled()?;
    let refusals = refusals(&scaled, order.embedded);
    if !refusals.is_empty() {
        return Err(NoDrill::Refused(refusals.join("\n")));
    }
    let tell = |told: News| {
        // Nobody may listen.
        let _ = news.send(told);
    };
    tell(News::Stage("starting servers".into()));
    let program = order.program.clone();
    let keeper = tokio::task::spawn_blocking(move || Keeper::start(&program, &["keeper"]));
    let keeper = keeper
        .await
        .map_err(|error| NoDrill::Failed(error.to_string()))??;
    let keeper = Arc::new(keeper);
    let system = Arc::new(System::start(order, scaled.clone(), keeper.clone()).await?);
    let mut stop = order.stop.clone();
    let prepared = tokio::select! {
        prepared = prepare(&system, &tell) => Some(prepared?),
        () = stopped(&mut stop) => None,
    };
    let mut ran = match prepared {
        None => nothing(&system, Ending::Aborted(STOPPED.to_owned())),
        Some(Some(why)) => nothing(&system, Ending::Unwell(why)),
        Some(None) => {
            tell(News::Ready(system.parts.clone()));
            drive(&system, &order.stop, &tell).await?
        }
    };
    tell(News::Stage("cleaning up".into()));
    drop(system);
    ran.left.extend(close(keeper).await);
    Ok(ran)
}

/// What is said when somebody ended it.
const STOPPED: &str = "it was stopped by hand";

/// Waits until somebody wants it to end; for ever when nobody can any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Fills the caches and looks whether clients are answered; what is wrong, when something is.
async fn prepare(system: &System, tell: &impl Fn(News)) -> Result<Option<String>, NoDrill> {
    if system.scaled.scenario.run.prefilled {
        tell(News::Stage("filling the caches".into()));
        prefill(system).await?;
    }
    Ok(probe(system).await.err())
}

/// Ends everything; what could not be undone.
async fn close(keeper: Arc<Keeper>) -> Vec<String> {
    let mut keeper = keeper;
    let begun = Instant::now();
    // Tasks that still hold it end with the system.
    let keeper = loop {
        match Arc::try_unwrap(keeper) {
            Ok(keeper) => break keeper,
            Err(still) if begun.elapsed() > TRY => {
                drop(still);
                return vec!["something still talks to the process that cleans up".to_owned()];
            }
            Err(still) => keeper = still,
        }
        tokio::time::sleep(GLANCE).await;
    };
    let closed = tokio::task::spawn_blocking(move || keeper.close()).await;
    match closed {
        Ok(Ok(left)) => left,
        Ok(Err(error)) => vec![error.to_string()],
        Err(error) => vec![error.to_string()],
    }
}

fn nothing(system: &System, ending: Ending) -> Ran {
    let run = &system.scaled.scenario.run;
    Ran {
        scaled: system.scaled.clone(),
        record: Record::new(run.every, run.warmup, 0),
        steady: Steady::default(),
        clients: Vec::new(),
        ending,
        left: Vec::new(),
        after: None,
        troubles: Vec::new(),
        doubts: Vec::new(),
        evidence: Vec::new(),
        parts: system.parts.clone(),
    }
}

async fn prefill(system: &System) -> Result<(), NoDrill> {
    let copies = system.services.iter().flatten();
    let asked = copies.filter_map(|copy| copy.control);
    let asked: Vec<_> = asked
        .map(|control| tokio::spawn(asking::prefill(control)))
        .collect();
    for asked in asked {
        asked
            .await
            .map_err(|error| NoDrill::Failed(error.to_string()))??;
    }
    Ok(())
}

/// Where each client calls.
fn targets(system: &System) -> Result<Vec<Copies>, NoDrill> {
    let scenario = &system.scaled.scenario;
    let clients = scenario.clients.iter();
    clients
        .map(|client| {
            let strategy = match client.calls {
                Place::Service(at) => scenario.policies(Place::Service(at)).balance.unwrap_or_default(),
                _ => Strategy::default(),
            };
            let doors = system.door_of(client.calls);
            let copies = match system.path_of(client.calls) {
                Some(path) => Copies::at(path, &doors, strategy),
                None => Copies::new(&client.name, &doors, strategy),
            };
            copies.map_err(|error| NoDrill::Failed(error.to_string()))
        })
        .collect()
}

/// Calls what clients will call, a few times; what is wrong with it.
async fn probe(system: &System) -> Result<(), String> {
    let scenario = &system.scaled.scenario;
    let targets = targets(system).map_err(|error| error.to_string())?;
    for (client, target) in scenario.clients.iter().zip(targets) {
        let mut calls = JoinSet::new();
        for number in 0..TRIES {
            let call = Call {
                key: mix(number) % system::rows_of(&system.scaled).max(1),
                write: None,
            };
            let target = target.clone();
            calls.spawn(async move { tokio::time::timeout(TRY, target.call(call)).await });
            tokio::time::sleep(TRY / 200).await;
        }
        let mut good = 0;
        let mut last = String::new();
        while let Some(answer) = calls.join_next().await {
            match answer {
                Ok(Ok(Reply::Value(_))) => good += 1,
                Ok(Ok(reply)) => last = format!("{reply:?}"),
                _ => "no answer in time".clone_into(&mut last),
            }
        }
        // A service whose own availability is low fails now and then.
        if good == 0 {
            return Err(format!("`{}` gets no good answer: {last}", client.name));
        }
    }
    Ok(())
}

fn settings(system: &System, at: usize) -> Settings {
    let scenario = &system.scaled.scenario;
    let client = &scenario.clients[at];
    Settings {
        name: client.name.clone(),
        spacing: match client.arrivals {
            Arrival::Poisson => Spacing::Poisson,
            Arrival::Even => Spacing::Even,
        },
        rate: client.rate,
        changes: system.scaled.changes(client),
        keys: client.keys.law(),
        writes: client.writes,
        missing: client.missing,
        timeout: client.timeout,
        retries: client.retries,
        backoff: client.backoff,
        duration: scenario.run.warmup + scenario.run.duration,
        period: scenario.run.every,
        in_flight_max: 20_000,
        seed: scenario.run.seed.wrapping_add(mix(at as u64)),
    }
}

/// Something of the timeline that is to be done at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Span,
    /// What ends goes first.
    begins: bool,
    event: usize,
}

fn agenda(system: &System) -> Vec<Due> {
    let mut agenda = Vec::new();
    for (event, happening) in system.scaled.scenario.timeline.iter().enumerate() {
        let at = happening.at;
        agenda.push(Due {
            at,
            begins: true,
            event,
        });
        let lasts = matches!(&happening.what, Doing::Fault(fault) if !fault.is_instant());
        if let (true, Some(length)) = (lasts, happening.for_) {
            agenda.push(Due {
                at: at + length,
                begins: false,
                event,
            });
        }
    }
    agenda.sort();
    agenda
}

/// Lets clients call and does what the timeline says.
async fn drive(
    system: &Arc<System>,
    stop: &watch::Receiver<bool>,
    tell: &impl Fn(News),
) -> Result<Ran, NoDrill> {
    let scenario = &system.scaled.scenario;
    let run = &scenario.run;
    let mut loads = Vec::new();
    for (at, target) in targets(system)?.into_iter().enumerate() {
        let load = Load::start(settings(system, at), target, system.truth.clone());
        loads.push(load.map_err(|error| NoDrill::Failed(format!("failed to start a client: {error}")))?);
    }
    let began = loads.first().map_or_else(Instant::now, Load::began);
    let sampler = Sampler::start(system.clone(), began, run.every);
    let mut stage = Stage {
        system,
        stop,
        tell,
        loads: &loads,
        began,
        in_force: Vec::new(),
        troubles: Vec::new(),
        evidence: Vec::new(),
        told: 0,
        down: Vec::new(),
    };
    let ending = stage.play().await;
    if ending != Ending::Whole {
        loads.iter().for_each(Load::stop);
    }
    let left = stage.roll_back().await;
    let troubles = std::mem::take(&mut stage.troubles);
    let evidence = std::mem::take(&mut stage.evidence);
    let mut clients = Vec::new();
    for load in loads {
        clients.push(load.finish_within(FAREWELL).await);
    }
    let gathered = sampler.end();
    let mut doubts = Vec::new();
    for report in &clients {
        let late = Duration::from_nanos(report.lag.value_at_quantile(0.99));
        if late > LAG_MAX {
            doubts.push(format!(
                "calls of `{}` were sent up to {late:.0?} late (99th percentile): this machine is too busy for what was \
                 measured to be worth much",
                report.name
            ));
        }
    }
    let after = probe(system).await.err();
    let of_clients: Vec<Record> = clients.iter().map(|report| report.record.clone()).collect();
    let whole = (run.warmup + run.duration)
        .as_nanos()
        .div_ceil(run.every.as_nanos()) as usize;
    let record = gathered.record(&of_clients, run.every, run.warmup, whole, system.scaled.scale);
    Ok(Ran {
        scaled: system.scaled.clone(),
        record,
        steady: gathered.steady(),
        clients,
        ending,
        left,
        after,
        troubles,
        doubts,
        evidence,
        parts: system.parts.clone(),
    })
}

/// A run under way.
struct Stage<'a, T> {
    system: &'a Arc<System>,
    stop: &'a watch::Receiver<bool>,
    tell: &'a T,
    loads: &'a [Load],
    began: Instant,
    in_force: Vec<(usize, InForce)>,
    troubles: Vec<String>,
    evidence: Vec<String>,
    /// Periods that were told of.
    told: u32,
    /// Instances that have crashed, and when they are started again.
    down: Vec<(usize, usize, Instant)>,
}

impl<T: Fn(News)> Stage<'_, T> {
    fn clock(&self) -> f64 {
        self.began.elapsed().as_secs_f64() - self.system.scaled.scenario.run.warmup.as_secs_f64()
    }

    fn instant(&self, at: Span) -> Instant {
        self.began + Duration::from(self.system.scaled.scenario.run.warmup + at)
    }

    fn counted(&self) -> Vec<[u64; 6]> {
        self.loads.iter().map(|load| load.progress().ended).collect()
    }

    async fn play(&mut self) -> Ending {
        let run = &self.system.scaled.scenario.run;
        let (warmup, end) = (Duration::from(run.warmup), self.instant(run.duration));
        if warmup > CALM {
            if let Some(why) = self.until(self.began + warmup - CALM).await {
                return Ending::Aborted(why);
            }
            let before = self.counted();
            if let Some(why) = self.until(self.began + warmup).await {
                return Ending::Aborted(why);
            }
            if let Some(why) = self.unwell(&before) {
                return Ending::Unwell(why);
            }
        }
        for due in agenda(self.system) {
            let at = self.instant(due.at);
            if at > end {
                break;
            }
            if let Some(why) = self.until(at).await {
                return Ending::Aborted(why);
            }
            self.due(due).await;
        }
        match self.until(end).await {
            Some(why) => Ending::Aborted(why),
            None => Ending::Whole,
        }
    }

    /// Why it is not well, by what was answered since.
    fn unwell(&self, before: &[[u64; 6]]) -> Option<String> {
        use seawall_core::record::Ending as Outcome;
        let clients = self.system.scaled.scenario.clients.iter();
        for ((client, before), now) in clients.zip(before).zip(self.counted()) {
            let (mut good, mut all) = (0, 0);
            for outcome in Outcome::ALL {
                let added = now[outcome as usize] - before[outcome as usize];
                all += added;
                good += if outcome.is_good() { added } else { 0 };
            }
            let share = good as f64 / (all as f64).max(1.0);
            if share < WELL {
                return Some(format!(
                    "before anything was injected, {:.0}% of the calls of `{}` were answered well, and it takes {:.0}%",
                    100.0 * share,
                    client.name,
                    100.0 * WELL
                ));
            }
        }
        None
    }

    /// Waits until this instant; why the run has to end, if it has to.
    async fn until(&mut self, at: Instant) -> Option<String> {
        loop {
            let now = Instant::now();
            if now >= at {
                return None;
            }
            tokio::time::sleep_until(at.min(now + GLANCE)).await;
            self.tell_of_periods();
            if let Some(why) = self.guard() {
                return Some(why);
            }
            self.look_after_instances().await;
        }
    }

    fn tell_of_periods(&mut self) {
        let period = Duration::from(self.system.scaled.scenario.run.every);
        while self.began + period * (self.told + 1) <= Instant::now() {
            self.told += 1;
            let clients = self.system.scaled.scenario.clients.iter().zip(self.loads);
            let progress = clients
                .map(|(client, load)| (client.name.clone(), load.progress()))
                .collect();
            (self.tell)(News::Period(self.clock(), progress));
        }
    }

    /// Why the run is worth nothing.
    fn guard(&self) -> Option<String> {
        if *self.stop.borrow() {
            return Some(STOPPED.to_owned());
        }
        for load in self.loads {
            let progress = load.progress();
            if progress.overruns > 0 {
                return Some(
                    "more calls are under way than the load generator bears: try a smaller --scale".into(),
                );
            }
        }
        None
    }

    /// Starts instances again that have crashed by themselves.
    async fn look_after_instances(&mut self) {
        for (at, copies) in self.system.services.iter().enumerate() {
            for (number, copy) in copies.iter().enumerate() {
                if !matches!(self.system.has_crashed(copy).await, Ok(true)) {
                    continue;
                }
                (self.tell)(News::Done(self.clock(), format!("`{}` has crashed", copy.name)));
                let back = self.time_to_restart(at);
                self.down.push((at, number, Instant::now() + back));
            }
        }
        let now = Instant::now();
        let due: Vec<(usize, usize)> = self
            .down
            .iter()
            .filter(|(_, _, back)| *back <= now)
            .map(|(at, number, _)| (*at, *number))
            .collect();
        self.down.retain(|(_, _, back)| *back > now);
        for (at, number) in due {
            let copy = &self.system.services[at][number];
            if let Err(error) = self.system.revive(copy).await {
                self.trouble(error.to_string());
                continue;
            }
            // It knows nothing of what was told to the one before it.
            let Some(control) = copy.control else { continue };
            for (event, _) in &self.in_force {
                let _ = asking::tell(control, *event, true).await;
            }
        }
    }

    fn time_to_restart(&self, service: usize) -> Duration {
        let scenario = &self.system.scaled.scenario;
        let leak = scenario.services[service].leak.as_ref().map(|leak| leak.restart);
        let timeline = scenario.timeline.iter();
        let told = timeline.filter(|event| event.on == Some(Place::Service(service)));
        let mut told = told.filter_map(|event| match &event.what {
            Doing::Fault(Fault::Leak { restart, .. }) => Some(*restart),
            _ => None,
        });
        told.next_back().or(leak).unwrap_or(Span::secs(1)).into()
    }

    fn trouble(&mut self, why: String) {
        (self.tell)(News::Trouble(why.clone()));
        self.troubles.push(why);
    }

    async fn due(&mut self, due: Due) {
        let event: Event = self.system.scaled.scenario.timeline[due.event].clone();
        let what = self.system.scaled.scenario.describe(&event);
        if !due.begins {
            self.over(due.event, &what).await;
            return;
        }
        let done = match &event.what {
            Doing::Fault(fault) => {
                let begun = self.system.begin(due.event, &event, fault, self.loads).await;
                begun.map(|force| self.in_force.push((due.event, force)))
            }
            Doing::Action(action) => self.act(due.event, &event, action).await,
        };
        match done {
            Ok(()) => (self.tell)(News::Done(self.clock(), what)),
            Err(error) => self.trouble(format!("{what}: {error}")),
        }
    }

    async fn act(&mut self, index: usize, event: &Event, action: &Action) -> Result<(), NoDrill> {
        if let Action::Restart { .. } = action {
            // It takes its time, and the rest goes on.
            let (system, event, action) = (self.system.clone(), event.clone(), action.clone());
            self.system
                .errand(async move { system.act(index, &event, &action, &[]).await });
            return Ok(());
        }
        self.system.act(index, event, action, self.loads).await
    }

    async fn over(&mut self, event: usize, what: &str) {
        let (ended, stay) = std::mem::take(&mut self.in_force)
            .into_iter()
            .partition(|(index, _)| *index == event);
        self.in_force = stay;
        let ended: Vec<(usize, InForce)> = ended;
        for (_, force) in ended {
            self.look_at(&force);
            match self.system.end(force, self.loads).await {
                Ok(()) => (self.tell)(News::Over(self.clock(), what.to_owned())),
                Err(error) => self.trouble(format!("{what}: {error}")),
            }
        }
    }

    /// Notes what was seen of a fault.
    fn look_at(&mut self, force: &InForce) {
        for seen in force.seen() {
            match seen {
                Ok(evidence) => self.evidence.push(evidence),
                Err(why) => self.trouble(why),
            }
        }
    }

    /// Takes back all that is still in force; what could not be taken back.
    async fn roll_back(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for (_, force) in std::mem::take(&mut self.in_force).into_iter().rev() {
            self.look_at(&force);
            if let Err(error) = self.system.end(force, self.loads).await {
                left.push(error.to_string());
            }
        }
        for failed in self.system.end_errands().await {
            self.trouble(failed.to_string());
        }
        for (at, number, _) in std::mem::take(&mut self.down) {
            let copy = &self.system.services[at][number];
            if let Err(error) = self.system.revive(copy).await {
                left.push(error.to_string());
            }
        }
        left
    }
}
