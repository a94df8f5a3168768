//! What is looked into first.

use seawall_core::dist::Dist;
use seawall_core::ring::Sharding;
use seawall_core::time::Span;

use crate::element::{element, words};
use crate::form::{Count, Flag, Law, Natural, Period, Size};
use crate::node::Node;
use crate::reader::Reader;

/// Who shares the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheKind {
    /// One cache for all instances, over the network.
    #[default]
    Shared,
    /// Each instance has one of its own, in its memory.
    Local,
}

/// Who knows which node holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Those who ask: nodes know nothing of each other.
    #[default]
    Nodes,
    /// The nodes: a cluster of Redis, whose clients learn it from them.
    Cluster,
}

/// What happens when a node is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Eviction {
    /// The least recently used entry makes room.
    #[default]
    Lru,
    /// Writes fail.
    None,
}

element! {
    /// A cache of one or more nodes.
    pub struct Cache, "a cache", check = check {
        /// The cache's name.
        name: String, named;
        /// Who shares it.
        kind: CacheKind, default CacheKind = CacheKind::Shared;
        /// How many nodes it has.
        nodes: u32, default Count<1> = 1;
        /// Who knows which node holds a key.
        mode: CacheMode, default CacheMode = CacheMode::Nodes;
        /// How many copies each node of a cluster has, one of which takes its place when it is gone.
        replicas: u32, default Count = 0;
        /// How long it takes until it does.
        failover: Span, default Period = Span::secs(2);
        /// Which node holds a key.
        sharding: Sharding, default Sharding = Sharding::Ring;
        /// How many entries a node holds; without limit when absent.
        capacity: Option<u64>, optional Natural;
        /// What happens when a node is full.
        eviction: Eviction, default Eviction = Eviction::Lru;
        /// How long an entry is kept; for ever when absent.
        ttl: Option<Span>, optional Period;
        /// Whether a hit starts an entry's time anew.
        renewed_by_hits: bool, default Flag = false;
        /// The time a look-up or a write takes, there and back.
        latency: Dist, default Law = Dist::Fixed(Span::ZERO);
        /// How long a caller waits for it.
        timeout: Span, default Period = Span::millis(500);
        /// How many clients a node accepts; without limit when absent.
        max_clients: Option<u32>, optional Count;
        /// The size of an entry in bytes.
        entry_size: u64, default Size = 1_000;
        /// The memory of a node in bytes, another way to say its capacity.
        maxmemory: Option<u64>, optional Size;
        /// How many spare nodes take over for nodes that are down.
        gutter: u32, default Count = 0;
    }
}

impl Cache {
    /// How many entries one node holds, by its capacity and its memory; `None` is without limit.
    pub fn entries_max(&self) -> Option<u64> {
        let by_memory = self
            .maxmemory
            .map(|bytes| (bytes / self.entry_size.max(1)).max(1));
        match (self.capacity, by_memory) {
            (Some(entries), Some(fitting)) => Some(entries.min(fitting)),
            (entries, fitting) => entries.or(fitting),
        }
    }
}

words! { CacheKind, "kind of cache" { "shared" = Shared, "local" = Local } }
words! { CacheMode, "mode" { "nodes" = Nodes, "cluster" = Cluster } }
words! { Eviction, "eviction" { "lru" = Lru, "none" = None } }

fn check(cx: &mut Reader, node: &Node, cache: &Cache) {
    if cache.capacity == Some(0) {
        cx.mistake(
            node.at_field("capacity"),
            "a cache that holds nothing is no cache",
            "out of range",
            "it must be at least 1; leave it out for a cache without limit",
        );
    }
    if cache.kind == CacheKind::Local && cache.nodes != 1 {
        cx.mistake(
            node.at_field("nodes"),
            "a local cache has one node in each instance",
            "impossible",
            "leave `nodes` out, or make it a shared cache",
        );
    }
    check_cluster(cx, node, cache);
    if let Some(memory) = cache.maxmemory
        && memory < cache.entry_size
    {
        cx.mistake(
            node.at_field("maxmemory"),
            "not one entry fits into this memory",
            "too small",
            format!("an entry has {} bytes", cache.entry_size),
        );
    }
}

/// A cluster of Redis has three nodes at least, and only a cluster puts a copy in the place of a node by itself.
fn check_cluster(cx: &mut Reader, node: &Node, cache: &Cache) {
    if cache.mode == CacheMode::Nodes {
        if cache.replicas > 0 {
            cx.mistake(
                node.at_field("replicas"),
                "nobody puts a copy in the place of a node that is none of a cluster",
                "impossible",
                "add `mode = \"cluster\"`, or leave `replicas` out",
            );
        }
        return;
    }
    if cache.nodes < 3 || cache.kind == CacheKind::Local {
        cx.mistake(
            node.at_field("mode"),
            "a cluster has at least three nodes that all instances share",
            "too few nodes",
            "give it `nodes = 3` or more",
        );
    }
    if cache.gutter > 0 {
        cx.mistake(
            node.at_field("gutter"),
            "a cluster has no spare nodes",
            "impossible",
            "leave `gutter` out; copies of its nodes are `replicas`",
        );
    }
}
