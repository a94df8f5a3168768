//! The shared caches of a system: their nodes, and how much each may hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall_scenario::{Cache, CacheKind, CacheMode, Event, Fault, Place, What};

use super::System;
use super::cluster::{self, Member};
use crate::inject::disk::Small;
use crate::run::cached::Cached;
use crate::run::{NoDrill, Order, asking};
use crate::stack::{Redis, free_port};

/// What an entry takes in Redis beside its value: the envelope, the name, and what Redis keeps for itself.
const ENTRY_OVERHEAD: u64 = 260;
/// What the buffers of clients take in a Redis, more or less.
const SLACK: u64 = 128 << 10;
/// What the buffers of clients take that are not connected yet: they count against the limit like entries.
const CLIENTS: u64 = 1 << 20;
/// The size of a disk that will be full.
const DISK: u64 = 8 << 20;
/// With so many entries there it is known what one takes.
const KNOWN: u64 = 200;

/// One node of a shared cache.
pub(crate) struct CacheNode {
    pub(crate) name: String,
    pub(crate) server: Cached,
    pub(crate) address: SocketAddr,
    /// Where its proxy listens.
    pub(crate) door: SocketAddr,
    /// Its disk, when that is a small one.
    pub(crate) disk: Option<Small>,
    /// The bytes that it uses when it holds nothing.
    empty: AtomicU64,
    /// Where the other nodes of its cluster meet it.
    bus: u16,
    /// Those that hold what it holds, and may take its place.
    pub(crate) copies: Vec<CacheNode>,
}

impl CacheNode {
    /// Itself, and its copies.
    pub(crate) fn all(&self) -> impl Iterator<Item = &CacheNode> {
        std::iter::once(self).chain(&self.copies)
    }

    fn member(&self) -> Member {
        Member {
            address: self.address,
            door: self.door,
            bus: self.bus,
        }
    }
}

impl System {
    pub(super) async fn start_caches(&mut self, order: &Order) -> Result<(), NoDrill> {
        let scenario = self.scaled.scenario.clone();
        for (index, cache) in scenario.caches.iter().enumerate() {
            let mut nodes = Vec::new();
            if cache.kind == CacheKind::Shared {
                for at in 0..cache.nodes {
                    let name = format!("{}-{at}", cache.name);
                    let mut node = self.start_node(order, index, name.clone()).await?;
                    for copy in 0..cache.replicas {
                        let copy = self
                            .start_node(order, index, format!("{name}-copy-{copy}"))
                            .await?;
                        node.copies.push(copy);
                    }
                    nodes.push(node);
                }
                if let Some(Cached::Real(_)) = nodes.first().map(|node| &node.server)
                    && cache.mode == CacheMode::Cluster
                {
                    form(&nodes).await?;
                }
                self.parts.push(said(cache, order.embedded));
            }
            self.caches.push(nodes);
        }
        for at in 0..scenario.caches.len() {
            self.bound_cache(at, scenario.caches[at].entries_max()).await?;
        }
        Ok(())
    }

    /// Starts one server of a cache, with a proxy before it.
    async fn start_node(&self, order: &Order, index: usize, name: String) -> Result<CacheNode, NoDrill> {
        let scenario = &self.scaled.scenario;
        let cache = &scenario.caches[index];
        // A connection lasts longer than the look-up that it is for, and we ask too.
        let most = cache.max_clients.map(|most| (most + most / 4 + 6).to_string());
        let mut settings = vec![("maxmemory-policy", policy_of(cache.eviction))];
        if let Some(most) = &most {
            settings.push(("maxclients", most));
        }
        let full = |event: &Event| {
            event.on == Some(Place::Cache(index)) && event.what == What::Fault(Fault::DiskFull)
        };
        let (mut disk, mut bus) = (None, 0);
        let server = if let Some(address) = self.elsewhere(Place::Cache(index)).await? {
            Cached::Elsewhere(address)
        } else if order.embedded {
            Cached::embedded(&settings)?
        } else {
            // A disk that will be full has to be a small one, and snapshots have to be written to it.
            if scenario.timeline.iter().any(full) {
                settings.push(("save", "3600 1"));
                let folder = self.keeper.folder().join(&name);
                let small = Small::mount(&self.keeper, &folder, DISK, &[]).await;
                disk = Some(small.map_err(|error| NoDrill::Refused(error.to_string()))?);
            }
            let mut words = Vec::new();
            if cache.mode == CacheMode::Cluster {
                bus = free_port().map_err(|error| NoDrill::Failed(format!("no free port: {error}")))?;
                // Whoever is silent for half of the time is given up, and the rest is for the vote.
                let silence = (cache.failover.as_nanos() / 2_000_000).max(100).to_string();
                words = vec![
                    ("cluster-port", bus.to_string()),
                    ("cluster-node-timeout", silence),
                ];
                settings.push(("cluster-enabled", "yes"));
                settings.push(("cluster-require-full-coverage", "no"));
                settings.push(("cluster-announce-ip", "127.0.0.1"));
            }
            settings.extend(words.iter().map(|(key, value)| (*key, value.as_str())));
            Cached::Real(Redis::start(&self.keeper, &name, &settings).await?)
        };
        let address = server.address();
        let door = self.link(&name, address, &cache.latency).await?;
        let empty = asking::standing(address).await?.memory;
        Ok(CacheNode {
            disk,
            empty: AtomicU64::new(empty),
            name,
            server,
            address,
            door,
            bus,
            copies: Vec::new(),
        })
    }

    /// Lets each node of a cache hold so many entries.
    pub(crate) async fn bound_cache(&self, at: usize, entries: Option<u64>) -> Result<(), NoDrill> {
        for number in 0..self.caches[at].len() {
            self.bound_node(at, number, entries).await?;
        }
        Ok(())
    }

    /// Lets a node of a cache hold so many entries.
    pub(crate) async fn bound_node(
        &self,
        at: usize,
        number: usize,
        entries: Option<u64>,
    ) -> Result<(), NoDrill> {
        let node = &self.caches[at][number];
        if matches!(node.server, Cached::Elsewhere(_)) {
            // How much it may hold is its owner's business.
            return Ok(());
        }
        let bytes = match entries {
            Some(entries) => {
                let now = asking::standing(node.address).await?;
                let empty = node.empty.load(Ordering::Relaxed);
                // With some entries there it is known what one takes; otherwise it is what it usually does.
                let (entry, clients) = if now.entries >= KNOWN {
                    (now.memory.saturating_sub(empty) / now.entries, 0)
                } else {
                    (self.truth.value(0, 0).len() as u64 + ENTRY_OVERHEAD, CLIENTS)
                };
                empty + entries * entry + clients + SLACK
            }
            None => 0,
        };
        for node in node.all() {
            asking::configure(node.address, "maxmemory", &bytes.to_string()).await?;
        }
        Ok(())
    }
}

pub(crate) fn policy_of(eviction: seawall_scenario::Eviction) -> &'static str {
    match eviction {
        seawall_scenario::Eviction::Lru => "allkeys-lru",
        seawall_scenario::Eviction::None => "noeviction",
    }
}

/// Makes a cluster of these.
async fn form(nodes: &[CacheNode]) -> Result<(), NoDrill> {
    let members: Vec<_> = nodes
        .iter()
        .map(|node| (node.member(), node.copies.iter().map(CacheNode::member).collect()))
        .collect();
    cluster::form(&members).await
}

/// A cache in words.
fn said(cache: &Cache, embedded: bool) -> String {
    let kind = if embedded {
        "embedded cache server"
    } else {
        "real Redis"
    };
    let (name, nodes) = (&cache.name, cache.nodes);
    match (cache.mode, cache.replicas) {
        (CacheMode::Nodes, _) => format!("{name}: {nodes} {kind}"),
        (CacheMode::Cluster, 0) => format!("{name}: a cluster of {nodes} {kind}"),
        (CacheMode::Cluster, copies) => {
            format!("{name}: a cluster of {nodes} {kind}, with {copies} behind each")
        }
    }
}
