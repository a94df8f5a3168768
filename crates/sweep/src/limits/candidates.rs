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
    let mut gathering = Gathering::of(scenario);
    gathering.of_caches();
    gathering.of_loads();
    gathering.of_doors();
    gathering.all
}

/// What settings are derived from, and those that were.
struct Gathering<'a> {
    scenario: &'a Scenario,
    /// The service that looks into caches, or else one that loads from an origin.
    guarded: Option<&'a Service>,
    instances: f64,
    origin: Origin,
    /// How long a client waits, in seconds.
    waits: f64,
    all: Vec<Candidate>,
}

impl<'a> Gathering<'a> {
    fn of(scenario: &'a Scenario) -> Gathering<'a> {
        let services = || scenario.services.iter();
        let caching = services().find(|service| !service.caches.is_empty());
        let guarded = caching.or_else(|| services().find(|service| service.origin.is_some()));
        Gathering {
            scenario,
            guarded,
            instances: guarded.map_or(1.0, |service| f64::from(service.instances)),
            origin: guarded
                .map(|service| Origin::of(scenario, service))
                .unwrap_or_default(),
            waits: patience(scenario).unwrap_or(Span::secs(2)).as_secs_f64(),
            all: Vec::new(),
        }
    }

    fn add(&mut self, name: ProtectionName, fixed: impl Into<String>, knob: impl Into<Option<Knob>>) {
        let mut protections = self.scenario.protections.iter();
        if protections.all(|protection| protection.setting.name() != name) {
            self.all.push(Candidate {
                name: name.key(),
                fixed: fixed.into(),
                knob: knob.into(),
            });
        }
    }

    fn of_caches(&mut self) {
        if self.guarded.is_none_or(|service| service.caches.is_empty()) {
            return;
        }
        let pace = (self.origin.per_s * 0.2).max(1.0);
        self.add(
            ProtectionName::Breaker,
            BREAKER,
            more("failures", 5.0, Unit::Count),
        );
        self.add(ProtectionName::Ttl, "", less("jitter", 0.2, Unit::Share));
        self.add(ProtectionName::Early, "", None);
        let stale = less("while_revalidating", 30.0, Unit::Time);
        self.add(ProtectionName::Stale, "on_error = \"10m\"", stale);
        self.add(ProtectionName::Hot, "", None);
        self.add(ProtectionName::Warm, "", more("pace", pace, Unit::Rate));
        self.add(ProtectionName::Lease, "", None);
    }

    fn of_loads(&mut self) {
        let (waits, limit) = (self.waits, (self.origin.room / self.instances).ceil().max(1.0));
        self.add(
            ProtectionName::OriginBreaker,
            BREAKER,
            more("failures", 20.0, Unit::Count),
        );
        let coalesce = format!("wait_max = \"{}\"", span(waits / 2.0));
        self.add(ProtectionName::Coalesce, coalesce, None);
        let line = format!(
            "places = {}, timeout = \"{}\"",
            limit * 2.0,
            span((waits / 10.0).min(0.1))
        );
        self.add(ProtectionName::Limit, line, more("max", limit, Unit::Count));
        let deadline = format!("cache = \"{}\", cancel = true", span((waits / 5.0).min(0.1)));
        self.add(
            ProtectionName::Deadline,
            deadline,
            more("total", waits * 0.75, Unit::Time),
        );
    }

    fn of_doors(&mut self) {
        let slow = (self.origin.alone * 10.0).max(self.waits / 4.0);
        let steps = "every = \"5s\", decrease = 0.7, increase = \"10%\", hold = \"5s\"";
        self.add(ProtectionName::Throttle, steps, more("latency", slow, Unit::Time));
        // Over all copies of the door together.
        let all = (rate(self.scenario) * 1.1).ceil();
        self.add(ProtectionName::Rate, "", more("rate", all, Unit::Rate));
        if let Some(threads) = self.guarded.and_then(|service| service.threads) {
            let timeout = format!("timeout = \"{}\"", span(self.waits / 4.0));
            self.add(
                ProtectionName::Queue,
                timeout,
                more("places", f64::from(threads), Unit::Count),
            );
            self.add(ProtectionName::Shed, "", None);
        }
    }
}

const BREAKER: &str = "window = \"10s\", open_for = \"5s\"";

/// A setting that is looser the more there is of it.
fn more(key: &'static str, amount: f64, unit: Unit) -> Knob {
    Knob {
        key,
        amount,
        unit,
        more_is_looser: true,
    }
}

/// A setting that is looser the less there is of it.
fn less(key: &'static str, amount: f64, unit: Unit) -> Knob {
    Knob {
        more_is_looser: false,
        ..more(key, amount, unit)
    }
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
