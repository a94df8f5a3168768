//! The protections that are tried, with settings that a careful person would begin with.
//!
//! They are derived from the scenario: a limit from what the origin can have in progress at its best, times from how
//! long clients wait. Settings are texts as the document spells them, so that what was tried can be typed.

use seawall_core::time::Span;
use seawall_scenario::{Database, Place, ProtectionName, Scenario, Service};

use super::change::{patience, rate};
use crate::axis::time;

/// One protection that can be tried.
pub(super) struct Candidate {
    pub(super) name: &'static str,
    /// The value without the setting that can be loosened.
    fixed: String,
    knob: Option<Knob>,
}

/// The setting that can be loosened.
struct Knob {
    key: &'static str,
    amount: f64,
    unit: Unit,
    /// Whether more of it is looser.
    more_is_looser: bool,
}

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Time,
    Rate,
    Share,
}

impl Candidate {
    /// Path and value, with its setting so many times looser.
    pub(super) fn setting(&self, looser: f64) -> (String, String) {
        let knob = self.knob(looser);
        let both = match (knob.is_empty(), self.fixed.is_empty()) {
            (true, _) => self.fixed.clone(),
            (false, true) => knob,
            (false, false) => format!("{knob}, {}", self.fixed),
        };
        let value = if both.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{ {both} }}")
        };
        (format!("protect.{}", self.name), value)
    }

    /// The setting that can be loosened, so many times looser; empty when there is none.
    pub(super) fn knob(&self, looser: f64) -> String {
        let Some(knob) = &self.knob else {
            return String::new();
        };
        let amount = if knob.more_is_looser {
            knob.amount * looser
        } else {
            knob.amount / looser
        };
        let value = match knob.unit {
            Unit::Count => format!("{}", amount.round().max(1.0)),
            Unit::Time => format!("\"{}\"", span(amount)),
            Unit::Rate => format!("\"{}/s\"", amount.round().max(1.0)),
            Unit::Share => format!("\"{}%\"", (amount * 1000.0).round() / 10.0),
        };
        format!("{} = {value}", knob.key)
    }

    pub(super) fn can_be_looser(&self) -> bool {
        self.knob.is_some()
    }
}

/// All that make sense for a scenario and are not on in it already.
pub(super) fn candidates(scenario: &Scenario) -> Vec<Candidate> {
    let waits = patience(scenario).unwrap_or(Span::secs(2)).as_secs_f64();
    let caching = scenario
        .services
        .iter()
        .find(|service| !service.caches.is_empty());
    let guarded = caching.or_else(|| scenario.services.iter().find(|service| service.origin.is_some()));
    let instances = guarded.map_or(1.0, |service| f64::from(service.instances));
    let origin = guarded
        .map(|service| Origin::of(scenario, service))
        .unwrap_or_default();
    let knob = |key, amount, unit, more_is_looser| {
        Some(Knob {
            key,
            amount,
            unit,
            more_is_looser,
        })
    };
    let mut all = Vec::new();
    let mut add = |name: ProtectionName, fixed: String, knob| {
        let is_on = scenario
            .protections
            .iter()
            .any(|protection| protection.setting.name() == name);
        if !is_on {
            all.push(Candidate {
                name: name.key(),
                fixed,
                knob,
            });
        }
    };
    let breaker = || "window = \"10s\", open_for = \"5s\"".to_owned();
    if caching.is_some() {
        add(
            ProtectionName::Breaker,
            breaker(),
            knob("failures", 5.0, Unit::Count, true),
        );
        add(
            ProtectionName::Ttl,
            String::new(),
            knob("jitter", 0.2, Unit::Share, false),
        );
        add(ProtectionName::Early, String::new(), None);
        add(
            ProtectionName::Stale,
            "on_error = \"10m\"".to_owned(),
            knob("while_revalidating", 30.0, Unit::Time, false),
        );
        add(ProtectionName::Hot, String::new(), None);
        add(
            ProtectionName::Warm,
            String::new(),
            knob("pace", (origin.per_s * 0.2).max(1.0), Unit::Rate, true),
        );
        add(ProtectionName::Lease, String::new(), None);
    }
    add(
        ProtectionName::OriginBreaker,
        breaker(),
        knob("failures", 20.0, Unit::Count, true),
    );
    add(
        ProtectionName::Coalesce,
        format!("wait_max = \"{}\"", span(waits / 2.0)),
        None,
    );
    let limit = (origin.room / instances).ceil().max(1.0);
    add(
        ProtectionName::Limit,
        format!(
            "places = {}, timeout = \"{}\"",
            limit * 2.0,
            span((waits / 10.0).min(0.1))
        ),
        knob("max", limit, Unit::Count, true),
    );
    add(
        ProtectionName::Deadline,
        format!("cache = \"{}\", cancel = true", span((waits / 5.0).min(0.1))),
        knob("total", waits * 0.75, Unit::Time, true),
    );
    add(
        ProtectionName::Throttle,
        "every = \"5s\", decrease = 0.7, increase = \"10%\", hold = \"5s\"".to_owned(),
        knob(
            "latency",
            (origin.alone * 5.0).max(waits / 10.0),
            Unit::Time,
            true,
        ),
    );
    add(ProtectionName::Rate, String::new(), {
        let doors = scenario.gateways.len().max(1) as f64;
        let doors = if scenario.gateways.is_empty() {
            instances
        } else {
            doors
        };
        knob("rate", (rate(scenario) * 1.1 / doors).ceil(), Unit::Rate, true)
    });
    if let Some(threads) = guarded.and_then(|service| service.threads) {
        let fixed = format!("timeout = \"{}\"", span(waits / 4.0));
        add(
            ProtectionName::Queue,
            fixed,
            knob("places", f64::from(threads), Unit::Count, true),
        );
        add(ProtectionName::Shed, String::new(), None);
    }
    all
}

/// A length of time as the document spells it, to a millisecond.
fn span(seconds: f64) -> String {
    time(((seconds * 1e3).round() / 1e3).max(1e-3))
}

/// What an origin can bear.
struct Origin {
    /// How many calls may be in it before they only slow each other down.
    room: f64,
    /// What it completes at best, per second.
    per_s: f64,
    /// How long a call takes in it when it is alone, in seconds.
    alone: f64,
}

impl Default for Origin {
    fn default() -> Origin {
        Origin {
            room: 50.0,
            per_s: 100.0,
            alone: 0.02,
        }
    }
}

impl Origin {
    fn of(scenario: &Scenario, service: &Service) -> Origin {
        match service.origin {
            Some(Place::Database(index)) => Origin::of_database(&scenario.databases[index]),
            Some(Place::Service(index)) => Origin::of_service(&scenario.services[index]),
            _ => Origin::default(),
        }
    }

    /// Twice what is in service at full load, by Little's law; at the peak of a curve that bends (Gunther:
    /// N = √((1−σ)/κ)), what is there.
    fn of_database(database: &Database) -> Origin {
        let nodes = f64::from(database.nodes());
        let alone = database.service_time.mean().as_secs_f64();
        let held = f64::from(database.connections.unwrap_or(100));
        if let Some(law) = database.overload.as_ref().filter(|law| law.coherence > 0.0) {
            let best = libm::sqrt((1.0 - law.contention).max(0.0) / law.coherence).max(1.0);
            let lost = 1.0 + law.contention * (best - 1.0) + law.coherence * best * (best - 1.0);
            return Origin {
                room: best * nodes,
                per_s: best / alone / lost * nodes,
                alone,
            };
        }
        let each = database
            .capacity
            .map_or(held, |capacity| (capacity * alone * 2.0).min(held));
        Origin {
            room: each.max(1.0) * nodes,
            per_s: database.capacity.unwrap_or(held / alone) * nodes,
            alone,
        }
    }

    fn of_service(service: &Service) -> Origin {
        let instances = f64::from(service.instances);
        let alone = service.service_time.mean().as_secs_f64().max(1e-4);
        let trips = service.trips.as_ref().map(|trips| f64::from(trips.above));
        let threads = service.threads.map(f64::from);
        let each = trips.or(threads).unwrap_or(100.0);
        Origin {
            room: each * instances,
            per_s: each * instances / alone,
            alone,
        }
    }
}
