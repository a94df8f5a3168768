//! What a document says, resolved: every name is a place, every string with a unit is a number.
//!
//! These are plain types. They are made by reading a document, which checks everything that can be checked, so
//! whoever holds a [`Scenario`] can rely on it: indices are in range, call graphs have no cycle, windows lie within
//! the run.

pub(crate) mod action;
mod cache;
mod client;
mod database;
pub(crate) mod deploy;
mod environment;
pub(crate) mod expect;
mod fault;
mod gateway;
pub(crate) mod protect;
mod run;
mod service;
mod settings;

pub use action::{Action, Knob};
pub use cache::{Cache, CacheKind, CacheMode, Eviction};
pub use client::{Arrival, Client, Keys, Step};
pub use database::{Autoscaling, Database, Overload};
pub use deploy::{CacheTable, HealthCheck, Listener, RedisTier, Route, Upstream, UpstreamTls};
pub use environment::{Command, Environment};
pub use expect::{Bound, Expect, Statistic, Wanted, Window};
pub use fault::Fault;
pub use gateway::Gateway;
pub use protect::{Protection, ProtectionName, Setting};
pub use run::{Drill, Run};
pub use service::{Fallback, FallbackWhen, Leak, Service, Trips};

use seawall_core::policies::Policies;
use seawall_core::time::Span;

/// A component of the system: its kind, and its index among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `scenario.clients[…]`
    Client(usize),
    /// `scenario.gateways[…]`
    Gateway(usize),
    /// `scenario.services[…]`
    Service(usize),
    /// `scenario.caches[…]`
    Cache(usize),
    /// `scenario.databases[…]`
    Database(usize),
}

/// One variant of a document, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What happens, in a few words.
    pub title: String,
    /// What happens, in one or two sentences.
    pub about: String,
    /// The variant's name.
    pub variant: String,
    /// What this variant is about; empty when the document does not say.
    pub variant_about: String,
    /// How long, how large, how often.
    pub run: Run,
    /// Where this may be drilled.
    pub environment: Environment,
    /// How it is drilled.
    pub drill: Drill,
    /// Who sends requests, in the order of the document (as are all of these).
    pub clients: Vec<Client>,
    /// The doors.
    pub gateways: Vec<Gateway>,
    /// What does the work.
    pub services: Vec<Service>,
    /// What is looked into first.
    pub caches: Vec<Cache>,
    /// What is loaded from.
    pub databases: Vec<Database>,
    /// The protections that are on from the start.
    pub protections: Vec<Protection>,
    /// What happens, in order of time; equal times in the order of the document.
    pub timeline: Vec<Event>,
    /// What must be seen in this variant.
    pub expects: Vec<Expect>,
}

/// Something that happens: a fault, or something that an operator does.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, from T=0 (the end of the warm-up).
    pub at: Span,
    /// For how long; absent for what happens at an instant, and for what lasts to the end.
    pub for_: Option<Span>,
    /// To which component.
    pub on: Option<Place>,
    /// To which of its nodes (instances of a service; of a database, shard × replicas + replica); absent means all.
    pub nodes: Option<Vec<u32>>,
    /// What happens.
    pub what: What,
    /// A word to the reader.
    pub note: Option<String>,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Something breaks.
    Fault(Fault),
    /// Somebody does something.
    Action(Action),
}

impl Scenario {
    /// The name of a component.
    ///
    /// # Panics
    /// When the place belongs to another scenario.
    pub fn name(&self, place: Place) -> &str {
        match place {
            Place::Client(index) => &self.clients[index].name,
            Place::Gateway(index) => &self.gateways[index].name,
            Place::Service(index) => &self.services[index].name,
            Place::Cache(index) => &self.caches[index].name,
            Place::Database(index) => &self.databases[index].name,
        }
    }

    /// The component of this name.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.places().find(|place| self.name(*place) == name)
    }

    /// All components: clients, gateways, services, caches, databases.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.clients.len())
            .map(Place::Client)
            .chain((0..self.gateways.len()).map(Place::Gateway))
            .chain((0..self.services.len()).map(Place::Service))
            .chain((0..self.caches.len()).map(Place::Cache))
            .chain((0..self.databases.len()).map(Place::Database))
    }

    /// The service that a client's calls come to.
    pub fn served_by(&self, client: &Client) -> Place {
        match client.calls {
            Place::Gateway(gateway) => self.gateways[gateway].calls,
            other => other,
        }
    }

    /// The protections of a gateway or a service at the start of the run.
    pub fn policies(&self, place: Place) -> Policies {
        let mut policies = Policies::default();
        for protection in &self.protections {
            if protection.at.contains(&place) {
                protection.setting.apply(&mut policies);
            }
        }
        policies
    }
}
