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
            // Not symmetric in node and vnode: else two nodes share points, and the lower one wins them all.
            let own = mix(!u64::from(node));
            points.extend((0..vnodes).map(|vnode| Point {
                hash: mix(own.wrapping_add(vnode)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: u64 = 50_000;

    fn loads(placement: &Placement) -> Vec<f64> {
        let mut loads = vec![0.0; usize::from(placement.nodes())];
        (0..KEYS).for_each(|key| loads[usize::from(placement.node(key))] += 1.0);
        loads
    }

    /// The standard deviation of the loads over their mean.
    fn unevenness(placement: &Placement) -> f64 {
        let loads = loads(placement);
        let mean = KEYS as f64 / loads.len() as f64;
        let variance = loads
            .iter()
            .map(|load| (load - mean) * (load - mean))
            .sum::<f64>()
            / loads.len() as f64;
        libm::sqrt(variance) / mean
    }

    #[test]
    fn loads_are_as_even_as_each_way_promises() {
        for nodes in [2, 10, 50] {
            assert!(unevenness(&Placement::new(Sharding::Modulo, nodes, 0)) < 0.001);
            // Multinomial noise alone.
            assert!(unevenness(&Placement::new(Sharding::Jump, nodes, 0)) < 0.05);
        }
        // One over the root of 160 is 7.9% (and the keys bring 3% of noise), over rings of many sizes.
        let squares = (2..=50).map(|nodes| {
            let uneven = unevenness(&Placement::new(Sharding::Ring, nodes, 160));
            assert!(uneven < 0.12, "{nodes} nodes: {uneven}");
            uneven * uneven
        });
        let uneven = libm::sqrt(squares.sum::<f64>() / 49.0);
        assert!((0.07..0.10).contains(&uneven), "{uneven}");
        let (few, many) = (
            Placement::new(Sharding::Ring, 10, 4),
            Placement::new(Sharding::Ring, 10, 1_000),
        );
        assert!(unevenness(&many) < 0.05 && unevenness(&few) > 0.15);
    }

    #[test]
    fn a_new_node_takes_its_part_and_nothing_else_moves() {
        for sharding in [Sharding::Jump, Sharding::Ring] {
            for nodes in [1_u16, 4, 10, 33] {
                let (before, after) = (
                    Placement::new(sharding, nodes, 160),
                    Placement::new(sharding, nodes + 1, 160),
                );
                let mut moved = 0.0;
                for key in 0..KEYS {
                    let (from, to) = (before.node(key), after.node(key));
                    assert!(from == to || to == nodes, "{sharding:?}: moved between old nodes");
                    moved += f64::from(u8::from(from != to));
                }
                let part = moved / KEYS as f64 * f64::from(nodes + 1);
                assert!(
                    (0.75..1.25).contains(&part),
                    "{sharding:?}, {nodes}: {part} of its part"
                );
            }
        }
        let (ten, eleven) = (
            Placement::new(Sharding::Modulo, 10, 0),
            Placement::new(Sharding::Modulo, 11, 0),
        );
        let moved = (0..KEYS)
            .filter(|key| ten.node(*key) != eleven.node(*key))
            .count();
        assert!(moved as u64 > KEYS * 9 / 10);
    }

    #[test]
    fn jump_hash_gives_the_published_values() {
        let cases = [
            (1, 1, 0),
            (42, 57, 43),
            (0xdead_10cc, 1, 0),
            (0xdead_10cc, 666, 361),
            (256, 1024, 520),
        ];
        for (hash, nodes, node) in cases {
            assert_eq!(jump(hash, nodes), node, "{hash} over {nodes}");
        }
    }

    #[test]
    fn a_lost_node_is_spread_over_the_others_on_a_ring_only() {
        let ring = Placement::new(Sharding::Ring, 10, 160);
        let mut gutters = [0_u32; 10];
        for key in 0..KEYS {
            let own = ring.node(key);
            let stand_in = ring.node_up(key, |node| node != 3).expect("nine are up");
            assert!(own == stand_in || own == 3);
            if own == 3 {
                gutters[usize::from(stand_in)] += 1;
            }
        }
        assert!(
            gutters
                .iter()
                .enumerate()
                .all(|(node, keys)| (*keys > 100) == (node != 3)),
            "{gutters:?}"
        );
        assert_eq!(ring.node_up(1, |_| false), None);
        for sharding in [Sharding::Modulo, Sharding::Jump] {
            let placement = Placement::new(sharding, 10, 0);
            let own = placement.node(7);
            assert_eq!(placement.node_up(7, |node| node != own), None);
            assert_eq!(placement.node_up(7, |node| node == own), Some(own));
        }
    }

    #[test]
    fn a_ring_is_never_larger_than_its_limit() {
        let ring = Placement::new(Sharding::Ring, 40_000, 1_000);
        ring.invariants();
        assert_eq!(ring.ring.points.len(), 40_000 * 26);
    }

    #[test]
    fn a_hot_key_overflows_to_the_next_nodes() {
        let ring = Placement::new(Sharding::Ring, 4, 160);
        let mut load = [0_u32; 4];
        for _ in 0..400 {
            let node = ring.node_bounded(9, &load, 0.25).expect("all are in service");
            load[usize::from(node)] += 1;
        }
        assert_eq!(load.iter().max(), Some(&125));
        assert_eq!(load[usize::from(ring.node(9))], 125);
        assert_eq!(ring.node_bounded(9, &[u32::MAX; 4], 0.25), None);
        assert_eq!(
            ring.node_bounded(9, &[0], 0.25),
            Some(0),
            "the others are missing"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_node_goes_over_its_bound(
            sharding in prop::sample::select(vec![Sharding::Modulo, Sharding::Jump, Sharding::Ring]),
            nodes in 1_u16..12,
            vnodes in 0_u16..20,
            epsilon in 0.0..1.0_f64,
            out in any::<u16>(),
            keys in prop::collection::vec((any::<u64>(), any::<bool>()), 1..200),
        ) {
            let placement = Placement::new(sharding, nodes, vnodes);
            placement.invariants();
            let mut load: Vec<u32> = (0..nodes).map(|node| if out >> node & 1 == 1 { u32::MAX } else { 0 }).collect();
            let in_service: Vec<u16> = (0..nodes).filter(|node| out >> node & 1 == 0).collect();
            for (key, ends) in keys {
                let node = placement.node_bounded(key, &load, epsilon);
                prop_assert!(node.is_none_or(|node| in_service.contains(&node)));
                if sharding == Sharding::Ring {
                    prop_assert_eq!(node.is_none(), in_service.is_empty());
                }
                let Some(node) = node else { continue };
                let calls: u32 = 1 + in_service.iter().map(|node| load[usize::from(*node)]).sum::<u32>();
                let bound = ((1.0 + epsilon) * f64::from(calls) / in_service.len() as f64).ceil();
                load[usize::from(node)] += 1;
                if sharding == Sharding::Ring {
                    prop_assert!(f64::from(load[usize::from(node)]) <= bound);
                }
                if ends {
                    load[usize::from(node)] -= 1;
                }
            }
        }

        #[test]
        fn replicas_are_different_nodes_and_the_own_one_comes_first(
            sharding in prop::sample::select(vec![Sharding::Modulo, Sharding::Jump, Sharding::Ring]),
            nodes in 1_u16..12,
            count in 0_u16..14,
            key in any::<u64>(),
        ) {
            let placement = Placement::new(sharding, nodes, 10);
            let replicas = placement.replicas(key, count);
            prop_assert_eq!(replicas.len(), usize::from(count.min(nodes)));
            prop_assert!(replicas.first().is_none_or(|first| *first == placement.node(key)));
            let mut distinct = replicas.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), replicas.len());
            prop_assert!(distinct.last().is_none_or(|last| *last < nodes));
            if sharding == Sharding::Ring && count > 1 && nodes > 1 {
                prop_assert_eq!(placement.node_up(key, |node| node != replicas[0]), Some(replicas[1]));
            }
        }

        #[test]
        fn the_index_finds_what_a_search_finds(nodes in 1_u16..40, vnodes in 1_u16..40, hash in any::<u64>()) {
            let ring = Ring::new(nodes, vnodes);
            let searched = ring.points.partition_point(|point| point.hash < hash) % ring.points.len();
            prop_assert_eq!(ring.place(hash), searched);
            prop_assert_eq!(ring.place(u64::MAX), 0, "past the last point comes the first");
            let last = ring.points[ring.points.len() - 1].hash;
            prop_assert_eq!(ring.place(last), ring.points.partition_point(|point| point.hash < last));
        }
    }
}
