//! Which node holds a key: modulo, jump hash, or a consistent hash ring with bounded load.
//!
//! A placement is a pure function of its arguments: who is up and how busy everyone is, the caller says. It moves no
//! data and knows no addresses.
//!
//! ```
//! use seawall_core::ring::{Placement, Sharding};
//! let ring = Placement::new(Sharding::Ring, 10, 160);
//! let node = ring.node(42);
//! assert_eq!(ring.node_up(42, |_| true), Some(node));
//! assert_ne!(ring.node_up(42, |other| other != node), Some(node));
//! assert_eq!(Placement::new(Sharding::Modulo, 10, 160).node(42), 2);
//! ```

use crate::rng::mix;

/// How keys are spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Sharding {
    /// The key's number modulo the count of nodes: moves almost every key when the count changes.
    Modulo,
    /// Jump consistent hash (Lamping and Veach, 2014): nodes can only be added and removed at the end.
    Jump,
    /// A ring of virtual nodes.
    #[default]
    Ring,
}

/// Where keys are.
#[derive(Clone, Debug)]
pub struct Placement {
    sharding: Sharding,
    nodes: u16,
    /// Empty unless this is a ring.
    ring: Ring,
}

/// A ring has at most this many points, whatever was asked for.
const POINTS_MAX: usize = 1 << 20;

impl Placement {
    /// Spreads keys over `nodes` nodes (one at least).
    ///
    /// `vnodes` counts for a ring only: the load of a node deviates from the mean by about `1 / √vnodes`. At least
    /// one is used, and no more than give the ring 2²⁰ points.
    pub fn new(sharding: Sharding, nodes: u16, vnodes: u16) -> Placement {
        let nodes = nodes.max(1);
        let ring = match sharding {
            Sharding::Ring => Ring::new(nodes, vnodes.max(1)),
            Sharding::Modulo | Sharding::Jump => Ring::default(),
        };
        Placement {
            sharding,
            nodes,
            ring,
        }
    }

    /// Nodes.
    pub fn nodes(&self) -> u16 {
        self.nodes
    }

    /// The node of `key`.
    ///
    /// Modulo takes the key as the number it is; the others hash it.
    pub fn node(&self, key: u64) -> u16 {
        match self.sharding {
            Sharding::Modulo => (key % u64::from(self.nodes)) as u16,
            Sharding::Jump => jump(mix(key), self.nodes),
            Sharding::Ring => self.ring.points[self.ring.place(mix(key))].node,
        }
    }

    /// The node that serves `key` while only some are up: its own, or on a ring the next one that is up (which then
    /// is its gutter). Modulo and jump hash have no next one.
    pub fn node_up(&self, key: u64, up: impl Fn(u16) -> bool) -> Option<u16> {
        match self.sharding {
            Sharding::Modulo | Sharding::Jump => Some(self.node(key)).filter(|node| up(*node)),
            Sharding::Ring => self.ring.from(mix(key)).find(|node| up(*node)),
        }
    }

    /// The node that serves `key` when none may have more than `1 + epsilon` times the mean load.
    ///
    /// Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018: with the new call
    /// counted, a node takes `⌈(1 + ε) · calls / nodes⌉` at most, and what does not fit goes to the next. `load` has
    /// the calls in flight of each node; one at `u32::MAX` is out of service, and so is one that is missing. `None`
    /// when all are. Modulo and jump hash have no next node, so there the bound does not bind.
    pub fn node_bounded(&self, key: u64, load: &[u32], epsilon: f64) -> Option<u16> {
        let load_of = |node: u16| load.get(usize::from(node)).copied().unwrap_or(u32::MAX);
        let in_service = |node: u16| load_of(node) != u32::MAX;
        if self.sharding != Sharding::Ring {
            return self.node_up(key, in_service);
        }
        let (mut calls, mut nodes) = (1_u64, 0_u64);
        for node in (0..self.nodes).filter(|node| in_service(*node)) {
            calls += u64::from(load_of(node));
            nodes += 1;
        }
        if nodes == 0 {
            return None;
        }
        let bound = libm::ceil((1.0 + epsilon.max(0.0)) * calls as f64 / nodes as f64);
        self.node_up(key, |node| in_service(node) && f64::from(load_of(node)) < bound)
    }

    /// The `count` nodes that hold copies of `key`, its own first; all nodes when there are fewer.
    ///
    /// On a ring those that follow; else those with the next numbers.
    pub fn replicas(&self, key: u64, count: u16) -> Vec<u16> {
        let count = usize::from(count.min(self.nodes));
        let mut nodes = Vec::with_capacity(count);
        if self.sharding == Sharding::Ring {
            for node in self.ring.from(mix(key)) {
                if nodes.len() == count {
                    break;
                }
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
        } else {
            let first = u32::from(self.node(key));
            let all = u32::from(self.nodes);
            nodes.extend((0..count as u32).map(|step| ((first + step) % all) as u16));
        }
        nodes
    }

    /// What always holds.
    pub fn invariants(&self) {
        let points = &self.ring.points;
        debug_assert!(
            points.iter().all(|point| point.node < self.nodes),
            "a point of no node"
        );
        debug_assert!(points.is_sorted_by_key(|point| point.hash), "points out of order");
        debug_assert!(points.len() <= POINTS_MAX, "too many points");
        debug_assert_eq!(points.is_empty(), self.sharding != Sharding::Ring);
    }
}

#[derive(Clone, Copy, Debug)]
struct Point {
    hash: u64,
    node: u16,
}

/// The points of a ring in order, with an index on the upper bits of the hash so that a search looks at one or two.
#[derive(Clone, Debug, Default)]
struct Ring {
    points: Vec<Point>,
    /// For each value of the upper bits, the first point at or after it.
    index: Vec<u32>,
    shift: u32,
}

impl Ring {
    fn new(nodes: u16, vnodes: u16) -> Ring {
        let vnodes = usize::from(vnodes).min((POINTS_MAX / usize::from(nodes)).max(1)) as u64;
        let mut points = Vec::with_capacity(usize::from(nodes) * vnodes as usize);
        for node in 0..nodes {
            // Hashed twice and apart from keys, so that a key never sits on a point by construction.
            let own = mix(!u64::from(node));
            points.extend((0..vnodes).map(|vnode| Point {
                hash: mix(own ^ mix(!vnode)),
                node,
            }));
        }
        points.sort_unstable_by_key(|point| (point.hash, point.node));
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let shift = u64::BITS - bits;
        let index = (0..1_u64 << bits)
            .map(|upper| points.partition_point(|point| point.hash >> shift < upper) as u32)
            .collect();
        Ring { points, index, shift }
    }

    /// The first point at or after `hash`, going round.
    fn place(&self, hash: u64) -> usize {
        let mut place = self.index[(hash >> self.shift) as usize] as usize;
        while place < self.points.len() && self.points[place].hash < hash {
            place += 1;
        }
        if place == self.points.len() { 0 } else { place }
    }

    /// The nodes met from `hash` on, once round; a node comes once for each of its points.
    fn from(&self, hash: u64) -> impl Iterator<Item = u16> + '_ {
        let (before, after) = self.points.split_at(self.place(hash));
        after.iter().chain(before).map(|point| point.node)
    }
}

/// Jump consistent hash: Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", 2014.
fn jump(mut hash: u64, nodes: u16) -> u16 {
    const RANGE: f64 = (1_u64 << 31) as f64;
    let (mut node, mut next) = (0_u64, 0_u64);
    while next < u64::from(nodes) {
        node = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((node + 1) as f64 * (RANGE / ((hash >> 33) + 1) as f64)) as u64;
    }
    node as u16
}
