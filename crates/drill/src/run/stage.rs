//! A run under way: clients call, and what the timeline says is done when it says it.

mod found;

use std::sync::Arc;
use std::time::Duration;

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_scenario::{Action, Event, Fault, Place, What as Doing};
use tokio::sync::watch;
use tokio::time::Instant;

use super::clients::{probe, settings, targets};
use super::faults::InForce;
use super::sampling::Sampler;
use super::system::System;
use super::{Ending, GLANCE, News, NoDrill, Ran, STOPPED, asking};
use crate::load::Load;
use found::{Found, Healing};

/// The last part of the warm-up, in which it has to be well.
const CALM: Duration = Duration::from_secs(2);
/// Calls that are under way at the end are waited for so long: what comes later is in no period.
const FAREWELL: Duration = Duration::from_millis(500);
/// It is well with this share of good answers.
const WELL: f64 = 0.9;
/// A load generator of which one call in a hundred is later than this measures itself.
const LAG_MAX: Duration = Duration::from_millis(50);

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
pub(super) async fn drive(
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
    let (alone, others) = watch::channel(false);
    let mut stage = Stage {
        system,
        stop,
        tell,
        loads: &loads,
        began,
        in_force: Vec::new(),
        after: Vec::new(),
        others,
        found: Found::default(),
        told: 0,
        down: Vec::new(),
    };
    let ending = stage.play().await;
    if ending != Ending::Whole {
        loads.iter().for_each(Load::stop);
    }
    stage.roll_back(&alone).await;
    let Found {
        evidence,
        unfelt,
        left,
        troubles,
    } = std::mem::take(&mut stage.found);
    let mut clients = Vec::new();
    for load in loads {
        clients.push(load.finish_within(FAREWELL).await);
    }
    let gathered = sampler.end();
    let mut doubts = system.unmeasured();
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
        unfelt,
        troubles,
        blind: system.blind(),
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
    in_force: Vec<InForce>,
    /// Faults that were taken back and have yet to show that they are gone.
    after: Vec<(String, Healing)>,
    /// Becomes true when no fault is in force any more.
    others: watch::Receiver<bool>,
    found: Found,
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
            self.tell_of_faults();
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

    fn tell_of_faults(&self) {
        for force in &self.in_force {
            for felt in force.news() {
                (self.tell)(News::Felt(self.clock(), felt));
            }
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
                let crashed = format!("`{}` has crashed", copy.name);
                self.in_force
                    .iter()
                    .for_each(|force| force.hear_of_crash(&crashed));
                (self.tell)(News::Done(self.clock(), crashed));
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
            for force in &self.in_force {
                let _ = asking::tell(control, force.event(), true).await;
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
        self.found.troubles.push(why);
    }

    async fn due(&mut self, due: Due) {
        let event: Event = self.system.scaled.scenario.timeline[due.event].clone();
        let what = self.system.scaled.scenario.describe(&event);
        if !due.begins {
            self.over(due.event).await;
            return;
        }
        let done = match &event.what {
            Doing::Fault(fault) => {
                let begun = self.system.begin(due.event, &event, fault, self.loads).await;
                begun.map(|force| self.in_force.push(force))
            }
            Doing::Action(action) => self.act(due.event, &event, action).await,
        };
        match done {
            Ok(()) => (self.tell)(News::Done(self.clock(), what)),
            Err(error) => self.trouble(format!("{what}: {error}")),
        }
    }

    async fn act(&mut self, index: usize, event: &Event, action: &Action) -> Result<(), NoDrill> {
        if let Action::Restart { .. } | Action::Scale { .. } = action {
            // It takes its time, and the rest goes on.
            let (system, event, action) = (self.system.clone(), event.clone(), action.clone());
            self.system
                .errand(async move { system.act(index, &event, &action, &[]).await });
            return Ok(());
        }
        self.system.act(index, event, action, self.loads).await
    }
}
