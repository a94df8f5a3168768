//! Health: what answers, and whether the service can do without what does not.
//!
//! A service that is called dead because its cache is gone is taken out of rotation, and so is each of its copies. So a
//! lost tier makes it *degraded*, which is served with 200 and the names of the parts.
//!
//! The same holds for the origin unless the service says otherwise. All copies share it, so a copy that calls itself not
//! ready because of it helps nobody: no other copy has a better one, what memory and the tiers hold is answered no more,
//! and when the origin is back all copies come into rotation at one instant. So nothing makes a cache *not ready* but a
//! part that was declared critical ([`critical_origin`](crate::CacheBuilder::critical_origin),
//! [`critical_tier`](crate::CacheBuilder::critical_tier)). That is right where copies have origins of their own (one a
//! zone) and traffic can go where one answers.
//!
//! What is known is what the breakers know: an origin without a breaker is never called down.
//!
//! `live` is always so while the process can answer at all; nothing a dependency does should restart it.

use seawall_core::breaker::State;
use seawall_core::health::{Part, judge};

use crate::cache::Cache;
use crate::engine::Engine;
use crate::key::Key;

/// The parts that the service cannot do without.
#[derive(Clone, Debug, Default)]
pub(crate) struct Critical {
    pub(crate) origin: bool,
    pub(crate) tiers: Vec<String>,
}

/// How a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What that means for its service.
    pub status: Status,
    /// Its parts.
    pub parts: Vec<PartHealth>,
}

/// Whether a service belongs in rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All parts answer.
    Ok,
    /// It answers without some part.
    Degraded,
    /// It cannot answer.
    NotReady,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHealth {
    /// A tier's name, or `origin`.
    pub name: String,
    /// Whether the service cannot do without it.
    pub critical: bool,
    /// Whether it is asked: its breaker, or the breaker of some node of it, is not open.
    pub up: bool,
    /// Nodes that are not asked at the moment.
    pub nodes_down: usize,
}

impl Health {
    /// The code for `/health/ready`: 200 also when degraded, 503 when not ready.
    pub const fn http_status(&self) -> u16 {
        match self.status {
            Status::Ok | Status::Degraded => 200,
            Status::NotReady => 503,
        }
    }

    /// The names of the parts that are not wholly up.
    pub fn impaired(&self) -> impl Iterator<Item = &str> {
        let impaired = self.parts.iter().filter(|part| part.nodes_down > 0);
        impaired.map(|part| part.name.as_str())
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    fn parts(&self) -> Vec<PartHealth> {
        let now = self.clock.now();
        let core = self.core();
        let first = usize::from(self.memory.is_some());
        let open = |state: &State| *state == State::Open;
        let mut parts: Vec<PartHealth> = (first..)
            .zip(&self.far)
            .map(|(tier, store)| {
                let nodes_down = core.guard.node_states(now, tier).filter(open).count();
                let name = store.name();
                PartHealth {
                    name: name.to_owned(),
                    critical: self.critical.tiers.iter().any(|critical| critical == name),
                    up: nodes_down == 0 || nodes_down < core.guard.node_states(now, tier).count(),
                    nodes_down,
                }
            })
            .collect();
        let down = core.guard.origin_state(now).is_some_and(|state| open(&state));
        parts.push(PartHealth {
            name: "origin".to_owned(),
            critical: self.critical.origin,
            up: !down,
            nodes_down: usize::from(down),
        });
        parts
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// How it is, as its breakers know it. Nothing is probed.
    pub fn health(&self) -> Health {
        let parts = self.engine.parts();
        let judged: Vec<Part<'_>> = parts
            .iter()
            .map(|part| Part {
                name: &part.name,
                critical: part.critical,
                // One node of several is a part of the part.
                up: part.up && (part.nodes_down == 0 || part.critical),
            })
            .collect();
        let impaired = parts.iter().any(|part| part.nodes_down > 0);
        let status = match judge(&judged) {
            seawall_core::health::Health::NotReady { .. } => Status::NotReady,
            seawall_core::health::Health::Degraded { .. } => Status::Degraded,
            seawall_core::health::Health::Ready if impaired => Status::Degraded,
            seawall_core::health::Health::Ready => Status::Ok,
        };
        Health { status, parts }
    }
}
