//! Whether a hit can be skipped: it touches nothing that anybody else will see.
//!
//! Two questions. What the document says may rule it out for the whole run, or until somebody changes it
//! ([`reasons`]); what is going on rules it out for a while ([`World::is_calm`]).

use seawall_core::balance::Strategy;
use seawall_core::dist::Dist;
use seawall_core::policies::Policies;
use seawall_core::time::Span;
use seawall_scenario::{
    Action, Arrival, Cache, CacheKind, Client, Eviction, Fault, Gateway, Keys, Knob, Place, Scenario,
    Service, What,
};

use super::crowd::most;
use super::latency::longest;
use super::pending::KEYS_MAX;
use crate::world::World;

/// All that a hit of one client meets.
pub(super) struct Path {
    pub(super) client: Client,
    pub(super) gateway: Option<(Gateway, Policies)>,
    pub(super) service: Service,
    pub(super) at_service: Policies,
    pub(super) caches: Vec<Cache>,
    /// Somebody changes what a full cache does while the run goes on.
    rebound: bool,
    /// The service will leak, by what it has served until then.
    leaks: bool,
}

/// Whether a service is made to leak.
fn is_leaking(scenario: &Scenario, service: usize) -> bool {
    scenario.timeline.iter().any(|event| {
        event.on == Some(Place::Service(service)) && matches!(event.what, What::Fault(Fault::Leak { .. }))
    })
}

/// Whether a cache is given another bound or another eviction.
fn is_rebound(scenario: &Scenario, caches: &[usize]) -> bool {
    scenario.timeline.iter().any(|event| {
        let bound = matches!(
            event.what,
            What::Action(Action::Set(
                Knob::Capacity(_) | Knob::Maxmemory(_) | Knob::Eviction(_)
            ))
        );
        bound && matches!(event.on, Some(Place::Cache(cache)) if caches.contains(&cache))
    })
}

impl Path {
    /// The path of a client's hits, as the document has it.
    fn of(scenario: &Scenario, client: &Client) -> Option<Path> {
        let (gateway, service) = match client.calls {
            Place::Gateway(index) => {
                let gateway = scenario.gateways[index].clone();
                let calls = gateway.calls;
                (Some((gateway, scenario.policies(Place::Gateway(index)))), calls)
            }
            other => (None, other),
        };
        let Place::Service(index) = service else {
            return None;
        };
        let service = scenario.services[index].clone();
        let caches = service.caches.iter().map(|cache| scenario.caches[*cache].clone());
        Some(Path {
            client: client.clone(),
            gateway,
            caches: caches.collect(),
            rebound: is_rebound(scenario, &service.caches),
            leaks: is_leaking(scenario, index),
            at_service: scenario.policies(Place::Service(index)),
            service,
        })
    }

    /// The parts of the time that a hit takes, those first for which it holds a thread.
    pub(super) fn parts(&self) -> [Dist; 4] {
        let gateway = self
            .gateway
            .as_ref()
            .map_or(Dist::Fixed(Span::ZERO), |(gateway, _)| gateway.latency);
        let cache = self
            .caches
            .first()
            .map_or(Dist::Fixed(Span::ZERO), |cache| cache.latency);
        [cache, self.service.service_time, self.service.latency, gateway]
    }
}

/// Why no client of a scenario can be played by this engine, by the document's names; nothing when at least one can.
pub(crate) fn refusals(scenario: &Scenario) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for client in &scenario.clients {
        let Some(path) = Path::of(scenario, client) else {
            continue;
        };
        let mut found = reasons(&path);
        if found.is_empty() {
            return Vec::new();
        }
        found.retain(|reason| !all.contains(reason));
        all.append(&mut found);
    }
    all
}

/// Why the hits of a client cannot be skipped; nothing when they can.
pub(super) fn reasons(path: &Path) -> Vec<String> {
    let mut reasons = Vec::new();
    of_client(path, &mut reasons);
    of_doors(path, &mut reasons);
    of_service(path, &mut reasons);
    of_cache(path, &mut reasons);
    of_time(path, &mut reasons);
    reasons
}

/// All keys are below this number.
pub(super) fn bound(keys: &Keys) -> u64 {
    match *keys {
        Keys::Zipf { count, .. } | Keys::Uniform { count } => count,
        // The law's own bound, below which all draws are that any run will see.
        Keys::Normal { mean, deviation } => (mean + 12.0 * deviation) as u64 + 1,
    }
}

fn of_client(path: &Path, reasons: &mut Vec<String>) {
    let client = &path.client;
    let name = &client.name;
    if client.arrivals == Arrival::Even {
        reasons.push(format!(
            "`client.{name}.arrivals`: even arrivals are not independent of each other"
        ));
    }
    if client.writes >= 1.0 {
        reasons.push(format!("`client.{name}.writes`: it never reads"));
    }
    let bound = bound(&client.keys);
    if bound > KEYS_MAX {
        reasons.push(format!(
            "`client.{name}.keys`: {bound} keys, and at most {KEYS_MAX} are kept at 40 bytes each; try a smaller --scale"
        ));
    }
}

fn of_doors(path: &Path, reasons: &mut Vec<String>) {
    let mut doors: Vec<(String, &Policies)> =
        vec![(format!("service.{}", path.service.name), &path.at_service)];
    if let Some((gateway, policies)) = &path.gateway {
        if gateway.concurrency.is_some() {
            reasons.push(format!(
                "`gateway.{}.concurrency`: hits take its places, too",
                gateway.name
            ));
        }
        doors.push((format!("gateway.{}", gateway.name), policies));
    }
    for (door, policies) in doors {
        if policies.rate.is_some() {
            reasons.push(format!("`protect.rate` at `{door}`: it counts hits"));
        }
    }
}

fn of_service(path: &Path, reasons: &mut Vec<String>) {
    let service = &path.service;
    let name = &service.name;
    let mut no = |key: &str, why: &str| reasons.push(format!("`service.{name}.{key}`: {why}"));
    if service.trips.is_some() {
        no("trips", "hits are in progress, too");
    }
    if service.leak.is_some() || path.leaks {
        no("leak", "hits leak, too");
    }
    if service.availability < 1.0 {
        no("availability", "hits fail, too");
    }
    if !service.also.is_empty() {
        no("also", "hits call it, too");
    }
    let held: f64 = path.parts()[..2]
        .iter()
        .map(|part| part.mean().as_secs_f64())
        .sum();
    let hits = most(path.client.rate * held / f64::from(service.instances.max(1)));
    if let Some(threads) = service.threads.filter(|threads| f64::from(*threads) < hits + 1.0) {
        no(
            "threads",
            &format!("hits hold them, and of {threads} they may hold {hits:.0} at a time"),
        );
    }
    let strategy = path.at_service.balance.unwrap_or_default();
    let counts = match strategy {
        Strategy::LeastConnections => service.instances > 1,
        Strategy::PowerOfTwo => service.instances > 1 && service.threads.is_some(),
        Strategy::Random | Strategy::RoundRobin => false,
    };
    if counts {
        reasons.push(format!("`protect.balance` at `service.{name}`: it counts hits"));
    }
    if let Some(breaker) = &path.at_service.breaker
        && (breaker.failure_rate.is_some() || breaker.slow_call.is_some())
    {
        reasons.push(format!(
            "`protect.breaker` at `service.{name}`: a share of failures or of slow calls counts hits"
        ));
    }
}

fn of_cache(path: &Path, reasons: &mut Vec<String>) {
    let [cache] = path.caches.as_slice() else {
        let why = if path.caches.is_empty() {
            "without a cache there are no hits"
        } else {
            "a hit in one cache fills the caches before it"
        };
        return reasons.push(format!("`service.{}.caches`: {why}", path.service.name));
    };
    let name = &cache.name;
    let mut no = |key: &str, why: &str| reasons.push(format!("`cache.{name}.{key}`: {why}"));
    if cache.kind == CacheKind::Local {
        no("kind", "who hits depends on the instance that is asked");
    }
    if cache.renewed_by_hits {
        no("renewed_by_hits", "each hit changes the entry");
    }
    let keys = bound(&path.client.keys);
    let strangers = path.client.missing > 0.0;
    if cache.eviction == Eviction::Lru && cache.entries_max().is_some_and(|most| most < keys || strangers) {
        no("capacity", "what is evicted depends on what was hit last");
    } else if cache.entries_max().is_some() && path.rebound {
        no(
            "capacity",
            "somebody changes what a full cache does, and what is evicted then depends on what was hit last",
        );
    }
    if cache.max_clients.is_some() {
        no("max_clients", "hits are clients, too");
    }
}

/// What a look-up may take, and what the client waits for.
fn of_time(path: &Path, reasons: &mut Vec<String>) {
    let [cache] = path.caches.as_slice() else {
        return;
    };
    let deadline = &path.at_service.deadline;
    let patience = path.client.timeout.filter(|_| deadline.cancel);
    let limits = [Some(cache.timeout), deadline.cache, deadline.total, patience];
    let limit = limits.into_iter().flatten().min().unwrap_or(Span::MAX);
    if longest(&cache.latency) > limit {
        reasons.push(format!(
            "`cache.{}.latency`: some look-ups would take longer than {limit}, and fail",
            cache.name
        ));
    }
    let whole = path
        .parts()
        .iter()
        .fold(Span::ZERO, |sum, part| sum + longest(part));
    if path.client.timeout.is_some_and(|timeout| whole > timeout) {
        reasons.push(format!(
            "`client.{}.timeout`: some hits would take longer",
            path.client.name
        ));
    }
}

impl World {
    /// The path of a client's hits, as it is now.
    pub(super) fn path(&self, index: usize) -> Path {
        let (client, sim) = (
            &self.clients[index],
            &self.services[self.clients[index].service as usize],
        );
        let mut service = self.plan.scenario.services[client.service as usize].clone();
        service.threads = sim.threads;
        service.trips.clone_from(&sim.trips);
        service.leak.clone_from(&sim.leak);
        service.availability = sim.availability;
        service.service_time = sim.work.unwrap_or(Dist::Fixed(Span::ZERO));
        service.instances = sim.instances.len() as u32;
        let mut at_service = sim.policies.clone();
        at_service.balance = Some(sim.strategy);
        let caches = sim
            .tiers
            .iter()
            .map(|cache| self.plan.scenario.caches[*cache].clone());
        let gateway = client.gateway.map(|gateway| gateway as usize);
        let mut written = self.plan.scenario.clients[index].clone();
        written.writes = client.writes;
        written.missing = client.missing.max(client.penetration);
        Path {
            client: written,
            gateway: gateway.map(|at| {
                let sim = &self.gateways[at];
                let mut gateway = self.plan.scenario.gateways[at].clone();
                gateway.concurrency = sim.concurrency;
                (gateway, sim.policies.clone())
            }),
            caches: caches.collect(),
            rebound: is_rebound(&self.plan.scenario, &sim.tiers),
            leaks: is_leaking(&self.plan.scenario, client.service as usize),
            at_service,
            service,
        }
    }

    /// Whether nothing is wrong on the path of a client's hits.
    pub(super) fn is_calm(&self, index: usize) -> bool {
        let now = self.now;
        let client = &self.clients[index];
        let service = &self.services[client.service as usize];
        let open = |share: f64, level: u8| share >= 1.0 && level == 0;
        let gateway = client
            .gateway
            .map(|gateway| &self.gateways[gateway as usize].gate);
        gateway.is_none_or(|gate| open(gate.share(), gate.level()))
            && open(service.gate.share(), service.gate.level())
            && service.is_sound(now)
            && service.tiers.iter().all(|cache| self.caches[*cache].sound)
            && service
                .instances
                .iter()
                .all(|instance| instance.up && instance.guard.is_calm(now))
    }
}
