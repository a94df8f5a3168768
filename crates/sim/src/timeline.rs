//! The timeline: what breaks, and what people do about it.
//!
//! When a fault begins or ends, the state of its component is made anew from all faults that are under way, so that
//! faults overlap without undoing each other. What happens at an instant (a flush, a mass expiry) just happens. What
//! people do stays done.

mod actions;
mod faults;

use seawall_core::link::Fault as LinkFault;
use seawall_core::time::Span;
use seawall_scenario::{Event as Happening, Fault, What};

use crate::world::World;

/// Something that takes time to be provided.
#[derive(Clone, Debug)]
pub(crate) enum Provision {
    /// There are now this many replicas a shard.
    Replicas { database: usize, replicas: u32 },
    /// There are now this many instances.
    Instances { service: usize, instances: u32 },
    /// There are now this many connections a node.
    Connections { database: usize, connections: u32 },
    /// A database's nodes are back.
    Nodes { database: usize, nodes: Vec<u16> },
    /// A cache's nodes are back.
    CacheNodes { cache: usize, nodes: Vec<usize> },
    /// Keys are now spread over this many nodes of a cache.
    Spread { cache: usize, nodes: u32 },
    /// An instance is restarted, and then the next one.
    Restart {
        service: usize,
        instance: u16,
        each: Span,
    },
}

/// What a fault does to the way to an instance, if anything.
fn link_fault(fault: &Fault) -> Option<LinkFault> {
    Some(match *fault {
        Fault::Refuse => LinkFault::Refuse,
        Fault::Reset => LinkFault::Reset,
        Fault::Partition => LinkFault::Partition,
        Fault::Hang | Fault::Pause => LinkFault::Hang,
        Fault::Latency { add, jitter } => LinkFault::Latency { add, jitter },
        Fault::Bandwidth { rate } => LinkFault::Bandwidth { bytes_per_s: rate },
        Fault::Loss { share } => LinkFault::Loss { share },
        _ => return None,
    })
}

impl World {
    pub(crate) fn begin_event(&mut self, index: usize) {
        let event = self.plan.scenario.timeline[index].clone();
        match &event.what {
            What::Fault(fault) => {
                if self.strike(&event, fault) {
                    return;
                }
                self.active[index] = true;
                if let Some(place) = event.on {
                    self.remake(place);
                }
                self.enter_fault(&event, fault);
            }
            What::Action(action) => self.act(&event, action),
        }
    }

    pub(crate) fn end_event(&mut self, index: usize) {
        let event = self.plan.scenario.timeline[index].clone();
        self.active[index] = false;
        if let (Some(place), What::Fault(fault)) = (event.on, &event.what) {
            self.remake(place);
            self.leave_fault(&event, fault);
        }
    }

    /// The nodes that an event is about, in the played size.
    fn nodes_of(event: &Happening, count: usize, document: usize) -> Vec<usize> {
        match &event.nodes {
            None => (0..count).collect(),
            Some(nodes) => {
                let mut nodes: Vec<usize> = nodes
                    .iter()
                    .map(|node| *node as usize * count / document.max(1))
                    .filter(|node| *node < count)
                    .collect();
                nodes.dedup();
                nodes
            }
        }
    }

    fn cache_nodes(&self, event: &Happening, cache: usize) -> Vec<usize> {
        let count = self.caches[cache].nodes.len();
        Self::nodes_of(event, count, count)
    }

    /// The nodes of a database that an event is about. The document counts `shard × replicas + replica`; in a smaller
    /// size, the node that stands for a named one is meant.
    fn database_nodes(&self, event: &Happening, database: usize) -> Vec<u16> {
        let Some(nodes) = &event.nodes else {
            return (0..self.databases[database].nodes.len() as u16).collect();
        };
        let (shards, replicas) = self.plan.written[database];
        let played = &self.databases[database].replicas;
        let mut list: Vec<u16> = Vec::new();
        for node in nodes {
            let (shard, replica) = (node / replicas.max(1), node % replicas.max(1));
            let shard = (shard as usize * played.len() / shards.max(1) as usize).min(played.len() - 1);
            let there = &played[shard];
            let replica = replica as usize * there.len() / replicas.max(1) as usize;
            list.extend(there.get(replica));
        }
        list.dedup();
        list
    }

    fn instances_of(&self, event: &Happening, service: usize) -> Vec<usize> {
        let count = self.services[service].instances.len();
        let document = (count as f64 * self.plan.copies[service]) as usize;
        Self::nodes_of(event, count, document)
    }
}
