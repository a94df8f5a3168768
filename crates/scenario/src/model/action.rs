//! What an operator can do.

use seawall_core::balance::Strategy;
use seawall_core::dist::Dist;
use seawall_core::ring::Sharding;
use seawall_core::time::Span;

use super::{Eviction, Protection, ProtectionName};

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
