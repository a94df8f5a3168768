//! What an operator can do.

use seawall_core::balance::Strategy;
use seawall_core::dist::Dist;
use seawall_core::ring::Sharding;
use seawall_core::time::Span;

use serde_json::{Value as Json, json};

use super::{Eviction, Place, Protection, ProtectionName};
use crate::element::tagged;
use crate::form::{Count, Duration, Flag, Form, Law, List, Maybe, Natural, Period, Rate, Share, Size, Text};
use crate::node::{At, Node};
use crate::reader::{self, Reader};

/// Something that an operator does. What it is done to is the event's `on`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A setting is changed while running; [`super::Event::on`] is the component.
    Set(Knob),
    /// Protections are switched on, or tuned; the settings are complete.
    Protect(Vec<Protection>),
    /// Protections are switched off, everywhere.
    Unprotect(Vec<ProtectionName>),
    /// There are now this many of something.
    Scale {
        /// Of a database: replicas a shard.
        replicas: Option<u32>,
        /// Of a service.
        instances: Option<u32>,
        /// Of a database: connections a node.
        connections: Option<u32>,
        /// Of a cache; keys move as its sharding says.
        nodes: Option<u32>,
        /// How long it takes until they serve.
        takes: Span,
    },
    /// The cache is filled, the most popular keys first.
    Warm {
        /// Loads a second; as its protection says when absent.
        pace: Option<f64>,
    },
    /// It is restarted: a cache comes back empty, a database loses what runs, a service its requests.
    Restart {
        /// How long it is down.
        takes: Span,
    },
    /// All entries are taken out, and nothing stale is served from them.
    Purge,
    /// All entries are gone (`FLUSHALL`).
    Flush,
    /// Calls of a service are spread differently.
    Balance(Strategy),
    /// Keys are spread differently over nodes.
    Shard {
        /// As it is when absent.
        sharding: Option<Sharding>,
        /// As many as there are when absent.
        nodes: Option<u32>,
    },
    /// The client's rate is now this many a second.
    Rate(f64),
}

/// A setting that can be changed while running.
#[derive(Clone, Debug, PartialEq)]
pub enum Knob {
    /// `service.*.trips.above`
    TripsAbove(u32),
    /// `service.*.availability`
    Availability(f64),
    /// `service.*.threads`
    Threads(u32),
    /// `service.*.queue`
    Queue(u32),
    /// `service.*.service_time`, `database.*.service_time`
    ServiceTime(Dist),
    /// `cache.*.ttl`, for entries written from now on
    Ttl(Span),
    /// `cache.*.timeout`, `database.*.timeout`
    Timeout(Span),
    /// `cache.*.capacity`
    Capacity(u64),
    /// `cache.*.maxmemory`
    Maxmemory(u64),
    /// `cache.*.eviction`
    Eviction(Eviction),
    /// `cache.*.max_clients`
    MaxClients(u32),
    /// `cache.*.renewed_by_hits`
    RenewedByHits(bool),
    /// `database.*.connections`
    Connections(u32),
    /// `client.*.retries`
    Retries(u32),
    /// `client.*.writes`
    Writes(f64),
}

/// An action as it is spelled, without the component that it is done to.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Set {
        path: String,
        value: Node,
    },
    Protect {
        tables: Node,
    },
    Unprotect {
        protections: Vec<ProtectionName>,
    },
    Scale {
        replicas: Option<u32>,
        instances: Option<u32>,
        connections: Option<u32>,
        nodes: Option<u32>,
        takes: Span,
    },
    Warm {
        pace: Option<f64>,
    },
    Restart {
        takes: Span,
    },
    Purge,
    Flush,
    Balance {
        strategy: Strategy,
    },
    Shard {
        sharding: Option<Sharding>,
        nodes: Option<u32>,
    },
    Rate {
        rate: f64,
    },
}

tagged! {
    Told => Told, "an action" {
        /// A setting is changed while running: `{ path = "service.api.trips.above", value = 30 }`.
        "set" = Set { path: Text, value: Anything };
        /// Protections are switched on or tuned: the same tables as in [protect].
        "protect" = Protect { tables: Anything };
        /// Protections are switched off.
        "unprotect" = Unprotect { protections: List<ProtectionName> };
        /// There are now this many of something.
        "scale" = Scale {
            replicas: Maybe<Count<1>> = None,
            instances: Maybe<Count<1>> = None,
            connections: Maybe<Count<1>> = None,
            nodes: Maybe<Count<1>> = None,
            takes: Duration = Span::ZERO
        };
        /// The cache is filled, the most popular keys first.
        "warm" = Warm { pace: Maybe<Rate> = None };
        /// It is restarted.
        "restart" = Restart { takes: Duration = Span::secs(10) };
        /// All entries are taken out, and nothing stale is served from them.
        "purge" = Purge;
        /// All entries are gone.
        "flush" = Flush;
        /// Calls of a service are spread differently.
        "balance" = Balance { strategy: Strategy };
        /// Keys are spread differently over nodes.
        "shard" = Shard { sharding: Maybe<Sharding> = None, nodes: Maybe<Count<1>> = None };
        /// The client's rate is changed.
        "rate" = Rate { rate: Rate };
    }
}

/// A value that is read later, when it is known what it is for.
pub(crate) struct Anything;

impl Form for Anything {
    type Out = Node;
    fn read(_: &mut Reader, node: &Node) -> Option<Node> {
        Some(node.clone())
    }
    fn schema() -> Json {
        json!({})
    }
}

/// The settings that can be changed while running: the kind of component, the rest of the path.
const KNOBS: &[(&str, &str)] = &[
    ("service", "trips.above"),
    ("service", "availability"),
    ("service", "threads"),
    ("service", "queue"),
    ("service", "service_time"),
    ("cache", "ttl"),
    ("cache", "timeout"),
    ("cache", "capacity"),
    ("cache", "maxmemory"),
    ("cache", "eviction"),
    ("cache", "max_clients"),
    ("cache", "renewed_by_hits"),
    ("database", "service_time"),
    ("database", "timeout"),
    ("database", "connections"),
    ("client", "retries"),
    ("client", "writes"),
];

/// Reads `set = { path = "service.api.trips.above", value = 30 }`.
pub(crate) fn knob(cx: &mut Reader, at: At, path: &str, value: &Node) -> Option<(Place, Knob)> {
    let mut parts = path.splitn(3, '.');
    let (kind, name, rest) = (
        parts.next()?,
        parts.next().unwrap_or(""),
        parts.next().unwrap_or(""),
    );
    let place = cx
        .names
        .iter()
        .find(|(known, place)| known == name && reader::kind(*place) == kind)
        .map(|(_, place)| *place);
    if place.is_none() || !KNOBS.contains(&(kind, rest)) {
        let paths: Vec<String> = cx
            .names
            .iter()
            .flat_map(|(name, place)| {
                KNOBS
                    .iter()
                    .filter(|(kind, _)| *kind == reader::kind(*place))
                    .map(move |(kind, rest)| format!("{kind}.{name}.{rest}"))
            })
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let message = format!("`{}` cannot be changed while running", reader::clip(path));
        cx.mistake(at, message, "no such setting", reader::suggestion(path, &paths));
        return None;
    }
    let knob = match rest {
        "trips.above" => Knob::TripsAbove(Count::<0>::read(cx, value)?),
        "availability" => Knob::Availability(Share::read(cx, value)?),
        "threads" => Knob::Threads(Count::<1>::read(cx, value)?),
        "queue" => Knob::Queue(Count::<0>::read(cx, value)?),
        "service_time" => Knob::ServiceTime(Law::read(cx, value)?),
        "ttl" => Knob::Ttl(Period::read(cx, value)?),
        "timeout" => Knob::Timeout(Period::read(cx, value)?),
        "capacity" => Knob::Capacity(Natural::read(cx, value)?.max(1)),
        "maxmemory" => Knob::Maxmemory(Size::read(cx, value)?),
        "eviction" => Knob::Eviction(Eviction::read(cx, value)?),
        "max_clients" => Knob::MaxClients(Count::<1>::read(cx, value)?),
        "renewed_by_hits" => Knob::RenewedByHits(Flag::read(cx, value)?),
        "connections" => Knob::Connections(Count::<1>::read(cx, value)?),
        "retries" => Knob::Retries(Count::<0>::read(cx, value)?),
        _ => Knob::Writes(Share::read(cx, value)?),
    };
    place.map(|place| (place, knob))
}

impl Action {
    /// What kind of component it is done to, in words; `None` when it can be done to this one (or needs none).
    pub(crate) fn misfit(&self, place: Option<Place>) -> Option<&'static str> {
        let (fits, kinds) = match self {
            Action::Set(_) | Action::Protect(_) | Action::Unprotect(_) => (true, ""),
            Action::Scale {
                replicas,
                instances,
                connections,
                nodes,
                ..
            } => {
                let wanted = match place {
                    Some(Place::Database(_)) => instances.is_none() && nodes.is_none(),
                    Some(Place::Service(_)) => replicas.is_none() && connections.is_none() && nodes.is_none(),
                    Some(Place::Cache(_)) => {
                        replicas.is_none() && connections.is_none() && instances.is_none()
                    }
                    _ => false,
                };
                (
                    wanted,
                    "a database (`replicas`, `connections`), a service (`instances`) or a cache (`nodes`)",
                )
            }
            Action::Warm { .. } | Action::Purge | Action::Flush | Action::Shard { .. } => {
                (matches!(place, Some(Place::Cache(_))), "a cache")
            }
            Action::Restart { .. } => (
                matches!(
                    place,
                    Some(Place::Cache(_) | Place::Service(_) | Place::Database(_))
                ),
                "a service, a cache or a database",
            ),
            Action::Balance(_) => (matches!(place, Some(Place::Service(_))), "a service"),
            Action::Rate(_) => (matches!(place, Some(Place::Client(_))), "a client"),
        };
        (!fits).then_some(kinds)
    }
}
