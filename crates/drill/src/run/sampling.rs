//! What is measured of a system, period by period, as the simulator records it.

mod gathered;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_diagnose::probe::Page;
use seawall_scenario::{CacheKind, Place};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::asking::{self, Standing};
use super::probing::Probing;
use super::system::System;
use crate::app::Took;
use gathered::Gathered;

/// What the library calls its memory.
const MEMORY: &str = "memory";
/// The component that the library's metrics have in an instance.
const THINGS: &str = "things";
/// What the library says of calls to tiers.
const CALLS: &str = "cache_duration_seconds";
/// The component that a gateway's door has.
const DOOR: &str = "gateway";

/// What an instance had counted when it was asked last, and in which life.
#[derive(Clone, Debug, Default)]
struct Before {
    life: u32,
    page: Page,
}

/// What one instance said at the end of a period.
struct Said {
    now: Page,
    before: Page,
    took: Took,
}

impl Said {
    fn added(&self, metric: Metric, labels: &[(&str, &str)]) -> f64 {
        (self.now.sum(metric.name(), labels) - self.before.sum(metric.name(), labels)).max(0.0)
    }

    fn added_by(&self, metric: Metric, labels: &[(&str, &str)], label: &str) -> BTreeMap<String, f64> {
        let before = self.before.by(metric.name(), labels, label);
        let mut now = self.now.by(metric.name(), labels, label);
        for (key, value) in &mut now {
            *value = (*value - before.get(key).copied().unwrap_or(0.0)).max(0.0);
        }
        now
    }

    fn gauge(&self, metric: Metric, component: &str) -> f64 {
        self.now.sum(metric.name(), &[("component", component)])
    }
}

/// Gathers at the end of each period, until it is dropped.
pub(crate) struct Sampler {
    gathered: Arc<Mutex<Gathered>>,
    task: tokio::task::JoinHandle<()>,
}

impl Sampler {
    /// Gathers from this instant on.
    pub(crate) fn start(system: Arc<System>, began: Instant, period: Span) -> Sampler {
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let into = gathered.clone();
        let task = tokio::spawn(async move {
            let period = Duration::from(period);
            let mut before: BTreeMap<String, Before> = BTreeMap::new();
            let mut evicted: BTreeMap<(usize, usize), Standing> = BTreeMap::new();
            // What was counted before the run began is not of the run.
            look(&system, &mut before).await;
            let probing = Probing::start(&system);
            for number in 1_u32.. {
                tokio::time::sleep_until(began + period * number).await;
                let (seen, held) = tokio::join!(look(&system, &mut before), nodes(&system));
                let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                note(&system, &mut into, &seen);
                note_nodes(&system, &mut into, &held, &mut evicted);
                into.hear(probing.take());
                into.periods += 1;
            }
        });
        Sampler { gathered, task }
    }

    /// Ends it; what was gathered.
    pub(crate) fn end(self) -> Gathered {
        self.task.abort();
        std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How each node of each shared cache stands, of those that say so.
async fn nodes(system: &System) -> BTreeMap<(usize, usize), Standing> {
    let mut asked = JoinSet::new();
    for (at, nodes) in system.caches.iter().enumerate() {
        for (number, node) in nodes.iter().enumerate() {
            let addresses: Vec<_> = node.all().map(|node| node.address).collect();
            asked.spawn(async move { Some(((at, number), asking::standing_of(&addresses).await?)) });
        }
    }
    let mut held = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        held.extend(answer.ok().flatten());
    }
    held
}

fn note_nodes(
    system: &System,
    into: &mut Gathered,
    held: &BTreeMap<(usize, usize), Standing>,
    before: &mut BTreeMap<(usize, usize), Standing>,
) {
    for ((at, node), now) in held {
        let cache = &system.scaled.scenario.caches[*at].name;
        let entries = now.entries as f64;
        into.set(Metric::CacheEntries, cache, None, entries);
        into.put(
            (Metric::CacheEntries, cache.clone(), Some(*node as u32), None),
            entries,
        );
        // The first time, and after a restart, nobody knows since when.
        let old = before
            .insert((*at, *node), *now)
            .filter(|old| old.uptime <= now.uptime);
        let evicted = old.map_or(0, |old| now.evicted.saturating_sub(old.evicted));
        into.set(Metric::CacheEvictions, cache, None, evicted as f64);
    }
}

/// Asks everybody at once.
async fn look(system: &System, before: &mut BTreeMap<String, Before>) -> BTreeMap<String, Said> {
    let mut asked = JoinSet::new();
    for copy in system.services.iter().chain(&system.spares).flatten() {
        if !copy.up.load(Ordering::Acquire) {
            continue;
        }
        let (name, Some(control)) = (copy.name.clone(), copy.control) else {
            continue;
        };
        let life = copy.life.load(Ordering::Acquire);
        asked.spawn(async move {
            let (page, took) = tokio::join!(asking::page(control), asking::took(control));
            Some((name, life, page.ok()?, took.unwrap_or_default()))
        });
    }
    for (at, gate) in system.gateways.iter().enumerate() {
        let (name, admin) = (system.scaled.scenario.gateways[at].name.clone(), gate.admin);
        asked.spawn(async move { Some((name, 0, asking::page(admin).await.ok()?, Took::default())) });
    }
    let mut seen = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        let Ok(Some((name, life, now, took))) = answer else {
            continue;
        };
        let old = before.entry(name.clone()).or_default();
        // Another process has counted from nothing.
        let page = if old.life == life {
            std::mem::take(&mut old.page)
        } else {
            Page::default()
        };
        *old = Before {
            life,
            page: now.clone(),
        };
        seen.insert(
            name,
            Said {
                now,
                before: page,
                took,
            },
        );
    }
    seen
}

fn note(system: &System, into: &mut Gathered, seen: &BTreeMap<String, Said>) {
    let scenario = &system.scaled.scenario;
    let calm = scenario.run.every.scaled(into.periods as f64 + 1.0) <= scenario.run.warmup;
    for (at, service) in scenario.services.iter().enumerate() {
        let copies: Vec<_> = system.copies(at).collect();
        if !system.tells(at) {
            let up = copies
                .iter()
                .filter(|copy| copy.up.load(Ordering::Acquire))
                .count();
            let full = up as f64 * system.scaled.copies[at];
            into.set(Metric::Instances, &service.name, None, full);
            continue;
        }
        let said: Vec<&Said> = copies.iter().filter_map(|copy| seen.get(&copy.name)).collect();
        note_service(system, into, at, &said);
        for cache in service.caches.iter().map(|at| &scenario.caches[*at]) {
            let tier = match cache.kind {
                CacheKind::Local => MEMORY,
                CacheKind::Shared => &cache.name,
            };
            note_tier(into, &cache.name, tier, calm, &said);
        }
    }
    for (at, database) in scenario.databases.iter().enumerate() {
        let (mut running, mut waiting) = (0, 0);
        for (number, node) in system.databases[at].iter().enumerate() {
            let (busy, line) = node.node.inside();
            running += busy;
            waiting += line;
            if let Some(most) = node.node.connections() {
                for (metric, value) in [
                    (Metric::OriginConnectionsLimit, most),
                    (Metric::OriginConnections, busy),
                ] {
                    into.put(
                        (metric, database.name.clone(), Some(number as u32), None),
                        value as f64,
                    );
                }
            }
        }
        if system.is_told_of(Place::Database(at)) {
            note_origin(into, &database.name, seen.values());
        }
        into.set(Metric::OriginConnections, &database.name, None, running as f64);
        into.set(Metric::QueueDepth, &database.name, None, waiting as f64);
    }
    for (at, service) in scenario.services.iter().enumerate() {
        if system.is_told_of(Place::Service(at)) {
            note_origin(into, &service.name, seen.values());
        }
    }
    for gateway in &scenario.gateways {
        let Some(said) = seen.get(&gateway.name) else {
            continue;
        };
        let name = &gateway.name;
        for metric in [
            Metric::QueueDepth,
            Metric::ThrottleRatio,
            Metric::DegradationLevel,
        ] {
            into.set(metric, name, None, said.gauge(metric, DOOR));
        }
        for (reason, count) in said.added_by(Metric::Shed, &[], "reason") {
            into.set(Metric::Shed, name, Some(&reason), count);
        }
    }
}

fn note_service(system: &System, into: &mut Gathered, at: usize, said: &[&Said]) {
    let service = &system.scaled.scenario.services[at];
    let name = service.name.as_str();
    let sum = |of: &dyn Fn(&Said) -> f64| said.iter().map(|said| of(said)).sum::<f64>();
    let count = said.len().max(1) as f64;
    for metric in [Metric::ThreadsBusy, Metric::QueueDepth, Metric::InFlight] {
        into.set(metric, name, None, sum(&|said| said.gauge(metric, name)));
    }
    let worst = |metric: Metric, best: f64, of: fn(f64, f64) -> f64| {
        let all = said.iter().map(|said| said.gauge(metric, name));
        all.fold(best, of)
    };
    into.set(
        Metric::ThrottleRatio,
        name,
        None,
        worst(Metric::ThrottleRatio, 1.0, f64::min),
    );
    into.set(
        Metric::DegradationLevel,
        name,
        None,
        worst(Metric::DegradationLevel, 0.0, f64::max),
    );
    into.set(
        Metric::Instances,
        name,
        None,
        said.len() as f64 * system.scaled.copies[at],
    );
    let breaker = sum(&|said| said.gauge(Metric::BreakerState, THINGS)) / count;
    into.set(Metric::BreakerState, name, None, breaker);
    let limit = sum(&|said| said.gauge(Metric::LimiterLimit, THINGS));
    into.set(
        Metric::LimiterLimit,
        name,
        None,
        if limit.is_finite() { limit } else { 0.0 },
    );
    let things = [("component", THINGS)];
    for metric in [
        Metric::Loads,
        Metric::Coalesced,
        Metric::Retries,
        Metric::BreakerTransitions,
        Metric::Warmed,
    ] {
        into.set(metric, name, None, sum(&|said| said.added(metric, &things)));
    }
    let mut shed: BTreeMap<String, f64> = BTreeMap::new();
    for said in said {
        for (reason, count) in said.added_by(Metric::Shed, &[], "reason") {
            *shed.entry(reason).or_default() += count;
        }
    }
    for (reason, count) in shed {
        into.set(Metric::Shed, name, Some(&reason), count);
    }
    let waits: Vec<u64> = said
        .iter()
        .flat_map(|said| said.took.waits.iter().copied())
        .collect();
    into.durations(Metric::QueueWait, name, &waits);
}

fn note_tier(into: &mut Gathered, cache: &str, tier: &str, calm: bool, said: &[&Said]) {
    let labels = [("component", THINGS), ("tier", tier)];
    if calm && tier != MEMORY {
        let counts = into.calls.entry(cache.to_owned()).or_default();
        for said in said {
            let name = format!("{CALLS}_bucket");
            let before = said.before.by(&name, &labels, "le");
            for (bound, now) in said.now.by(&name, &labels, "le") {
                let added = (now - before.get(&bound).copied().unwrap_or(0.0)).max(0.0);
                *counts.entry(bound).or_default() += added;
            }
        }
    }
    for metric in [Metric::CacheHits, Metric::CacheMisses, Metric::CacheSets] {
        let added = said.iter().map(|said| said.added(metric, &labels)).sum();
        into.set(metric, cache, None, added);
    }
    let mut errors: BTreeMap<String, f64> = BTreeMap::new();
    for said in said {
        for (reason, count) in said.added_by(Metric::CacheErrors, &labels, "reason") {
            *errors.entry(reason).or_default() += count;
        }
    }
    for (reason, count) in errors {
        into.set(Metric::CacheErrors, cache, Some(&reason), count);
    }
}

/// Of each origin, those who call it know what it did for them.
fn note_origin<'a>(into: &mut Gathered, origin: &str, seen: impl Iterator<Item = &'a Said>) {
    let labels = [("component", origin)];
    let (mut requests, mut errors, mut in_flight, mut times) = (0.0, 0.0, 0.0, Vec::new());
    for said in seen {
        requests += said.added(Metric::OriginRequests, &labels);
        errors += said.added(Metric::OriginErrors, &labels);
        in_flight += said.gauge(Metric::OriginInFlight, origin);
        times.extend(said.took.origins.get(origin).into_iter().flatten());
    }
    into.set(Metric::OriginRequests, origin, None, requests);
    into.set(Metric::OriginErrors, origin, None, errors);
    into.set(Metric::OriginInFlight, origin, None, in_flight);
    into.durations(Metric::OriginDuration, origin, &times);
}
