//! What this engine cannot play, by the names that the document has for it.
//!
//! Every table is taken apart completely, so that a setting that is new does not compile before somebody has thought
//! about it here.

use seawall_core::policies::Policies;
use seawall_core::queue::Order;
use seawall_core::{coalesce, deadline, ttl};
use seawall_scenario::{
    Action, Cache, CacheKind, Client, Event, Eviction, Fault, Gateway, Knob, Place, Protection, Scenario,
    Service, Setting, What,
};

/// Below so many requests a second there is no crowd, and what one of them does matters.
pub(super) const RATE_MIN: f64 = 100.0;

/// Everything that stands in the way of playing a scenario.
pub(crate) fn refusals(scenario: &Scenario) -> Vec<String> {
    let mut reasons = Vec::new();
    for client in &scenario.clients {
        let Client {
            name: _,
            calls: _,
            rate: _,
            arrivals: _,
            schedule: _,
            keys: _,
            writes: _,
            missing: _,
            timeout: _,
            retries: _,
            backoff: _,
            class: _,
            priority: _,
            answer_size: _,
        } = client;
    }
    for gateway in &scenario.gateways {
        let Gateway {
            name,
            calls: _,
            latency: _,
            concurrency,
        } = gateway;
        if concurrency.is_some() {
            reasons.push(format!("`gateway.{name}.concurrency`"));
        }
    }
    for (index, service) in scenario.services.iter().enumerate() {
        of_service(scenario, index, service, &mut reasons);
    }
    for (index, cache) in scenario.caches.iter().enumerate() {
        of_cache(scenario, index, cache, &mut reasons);
    }
    for place in scenario.places() {
        if let Place::Gateway(_) | Place::Service(_) = place {
            of_policies(&scenario.policies(place), "protect", &mut reasons);
        }
    }
    for event in &scenario.timeline {
        of_event(scenario, event, &mut reasons);
    }
    let mut seen = Vec::new();
    for reason in reasons {
        if !seen.contains(&reason) {
            seen.push(reason);
        }
    }
    seen
}

/// How many requests a second all clients send at the least or at the most of their schedules, whichever is more.
pub(super) fn rate(scenario: &Scenario) -> f64 {
    let of_client = |client: &Client| {
        let steps = client.schedule.iter().map(|step| step.rate);
        steps.fold(client.rate, f64::max)
    };
    scenario.clients.iter().map(of_client).sum()
}

fn of_service(scenario: &Scenario, index: usize, service: &Service, reasons: &mut Vec<String>) {
    let Service {
        name,
        instances: _,
        threads: _,
        queue: _,
        service_time: _,
        caches,
        origin: _,
        fallback: _,
        also: _,
        availability: _,
        trips: _,
        leak,
        latency: _,
    } = service;
    if leak.is_some() {
        reasons.push(format!("`service.{name}.leak`"));
    }
    let kind = |cache: &usize| scenario.caches[*cache].kind;
    let policies = scenario.policies(Place::Service(index));
    if caches.iter().any(|cache| kind(cache) == CacheKind::Local) {
        // What is due in an instance's own memory is refreshed there first.
        if policies.early.is_some() {
            reasons.push("`protect.early` of a service with a local cache".to_owned());
        }
        if policies.ttl.stagger.is_some() {
            reasons.push("`protect.ttl.stagger` of a service with a local cache".to_owned());
        }
    }
    let shared = caches
        .iter()
        .filter(|cache| kind(cache) == CacheKind::Shared)
        .count();
    if shared > 1 || caches.len() > 2 || (caches.len() == 2 && kind(&caches[0]) != CacheKind::Local) {
        reasons.push(format!(
            "`service.{name}.caches`: at most a local one and then a shared one"
        ));
    }
    let called = scenario.services.iter().any(|other| {
        let fallback = other.fallback.as_ref().map(|fallback| fallback.origin);
        let places = other.also.iter().copied().chain(other.origin).chain(fallback);
        places.into_iter().any(|place| place == Place::Service(index))
    });
    if called && !caches.is_empty() {
        reasons.push(format!(
            "`service.{name}.caches` of a service that other services call"
        ));
    }
}

fn of_cache(scenario: &Scenario, index: usize, cache: &Cache, reasons: &mut Vec<String>) {
    let Cache {
        name,
        kind: _,
        nodes: _,
        sharding: _,
        capacity: _,
        eviction,
        ttl: _,
        renewed_by_hits,
        latency: _,
        timeout: _,
        max_clients: _,
        entry_size: _,
        maxmemory: _,
        gutter: _,
        // What they make of a node that is gone is in the timeline by now.
        mode: _,
        replicas: _,
        failover: _,
    } = cache;
    if *renewed_by_hits {
        reasons.push(format!("`cache.{name}.renewed_by_hits`"));
    }
    if *eviction == Eviction::None && cache.entries_max().is_some() {
        reasons.push(format!("`cache.{name}.eviction = \"none\"` with a bound"));
    }
    let users = scenario
        .services
        .iter()
        .filter(|service| service.caches.contains(&index));
    if users.count() > 1 {
        reasons.push(format!("`cache.{name}` of several services"));
    }
}

fn of_policies(policies: &Policies, whose: &str, reasons: &mut Vec<String>) {
    let Policies {
        breaker,
        origin_breaker: _,
        coalesce,
        lease,
        ttl,
        early: _,
        stale: _,
        deadline,
        retry: _,
        queue,
        limit: _,
        rate: _,
        throttle: _,
        shed: _,
        warm,
        hot,
        balance: _,
        integrity: _,
    } = policies;
    let mut refuse = |is: bool, what: &str| {
        if is {
            reasons.push(format!("`{whose}.{what}`"));
        }
    };
    if let Some(settings) = coalesce {
        let coalesce::Settings {
            window: _,
            age_max,
            wait_max: _,
            waiters_max,
        } = settings;
        refuse(
            *waiters_max != coalesce::Settings::default().waiters_max,
            "coalesce.waiters_max",
        );
        refuse(
            *age_max < coalesce::Settings::default().age_max,
            "coalesce.age_max",
        );
    }
    let ttl::Settings {
        ttl: _,
        critical: _,
        important: _,
        regular: _,
        jitter: _,
        stagger: _,
        negative: _,
    } = ttl;
    let deadline::Settings {
        total: _,
        cache: _,
        soft: _,
        hard: _,
        cancel: _,
    } = deadline;
    // A fleet of which each member loads a key many times is another thing.
    refuse(lease.is_some() && coalesce.is_none(), "lease` without `coalesce");
    // When breakers close, each instance warms what it has seen itself.
    let automatic = warm.as_ref().is_some_and(|warm| warm.automatic);
    refuse(
        automatic && breaker.is_some(),
        "warm.automatic` beside a `breaker",
    );
    refuse(hot.is_some(), "hot");
    if let Some(queue) = queue {
        refuse(queue.order != Order::Fifo, "queue.order");
        refuse(queue.codel.is_some(), "queue.codel");
    }
}

fn of_event(scenario: &Scenario, event: &Event, reasons: &mut Vec<String>) {
    let Event {
        at: _,
        for_: _,
        on,
        nodes,
        what,
        note: _,
    } = event;
    let some_nodes = nodes.is_some() && !matches!(on, Some(Place::Cache(_)));
    let possible = match what {
        What::Fault(fault) => !some_nodes && plays(fault, *on),
        What::Action(action) => match action {
            Action::Set(knob) => !matches!(
                knob,
                Knob::RenewedByHits(_) | Knob::Eviction(_) | Knob::Maxmemory(_)
            ),
            Action::Protect(list) => {
                for Protection { at: _, setting } in list {
                    let mut policies = Policies::default();
                    setting.apply(&mut policies);
                    if !matches!(setting, Setting::Warm(_)) {
                        of_policies(&policies, "action.protect", reasons);
                    }
                }
                true
            }
            Action::Scale { nodes, .. } => nodes.is_none(),
            Action::Restart { .. } => !some_nodes && !matches!(on, Some(Place::Service(_))),
            Action::Unprotect(_)
            | Action::Purge
            | Action::Flush
            | Action::Balance(_)
            | Action::Rate(_)
            | Action::Warm { .. } => true,
            Action::Shard { .. } => false,
        },
    };
    if !possible {
        reasons.push(scenario.describe(event));
    }
}

/// Whether a fault can be played on a component.
fn plays(fault: &Fault, on: Option<Place>) -> bool {
    let on_service = matches!(on, Some(Place::Service(_)));
    match fault {
        Fault::Replace
        | Fault::Flush
        | Fault::Expire { .. }
        | Fault::ExpireAt { .. }
        | Fault::TtlIgnored
        | Fault::NeverStored
        | Fault::OutOfMemory
        | Fault::TooManyClients
        | Fault::Slow { .. }
        | Fault::Loading
        | Fault::ReadOnly
        | Fault::Starve { .. }
        | Fault::DiskFull
        | Fault::Spike { .. }
        | Fault::HotKey { .. }
        | Fault::Penetration { .. }
        | Fault::Connections { waits: true, .. }
        | Fault::Lock
        | Fault::SlowQuery { .. }
        | Fault::FarRegion { .. }
        | Fault::Refuse
        | Fault::Reset
        | Fault::Latency { .. } => true,
        Fault::Kill | Fault::Hang | Fault::Pause | Fault::Partition => !on_service,
        Fault::Loss { .. } => matches!(on, Some(Place::Cache(_))),
        Fault::Bandwidth { .. }
        | Fault::Corrupt { .. }
        | Fault::WrongType { .. }
        | Fault::Blocked { .. }
        | Fault::Connections { .. }
        | Fault::Leak { .. }
        | Fault::Crash { .. }
        | Fault::Restart { .. } => false,
    }
}
