//! The shared caches of a system: their nodes, and how much each may hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall_scenario::{CacheKind, Place};

use super::System;
use crate::inject::disk::Small;
use crate::run::cached::Cached;
use crate::run::{NoDrill, Order, asking};
use crate::stack::Redis;

/// What an entry takes in Redis beside its value: the envelope, the name, and what Redis keeps for itself.
const ENTRY_OVERHEAD: u64 = 260;
/// What the buffers of clients take in a Redis, more or less.
const SLACK: u64 = 128 << 10;
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
}

impl System {
    pub(super) async fn start_caches(&mut self, order: &Order) -> Result<(), NoDrill> {
        let scenario = self.scaled.scenario.clone();
        for (index, cache) in scenario.caches.iter().enumerate() {
            let mut nodes = Vec::new();
            if cache.kind == CacheKind::Shared {
                for at in 0..cache.nodes {
                    let name = format!("{}-{at}", cache.name);
                    // A connection lasts longer than the look-up that it is for, and we ask too.
                    let most = cache.max_clients.map(|most| (most + most / 4 + 3).to_string());
                    let mut settings = vec![("maxmemory-policy", policy_of(cache.eviction))];
                    if let Some(most) = &most {
                        settings.push(("maxclients", most));
                    }
                    let full = |event: &seawall_scenario::Event| {
                        let fault = seawall_scenario::What::Fault(seawall_scenario::Fault::DiskFull);
                        event.on == Some(Place::Cache(index)) && event.what == fault
                    };
                    let mut disk = None;
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
                        Cached::Real(Redis::start(&self.keeper, &name, &settings).await?)
                    };
                    let address = server.address();
                    let door = self.link(&name, address, &cache.latency).await?;
                    let empty = asking::standing(address).await?.memory;
                    nodes.push(CacheNode {
                        disk,
                        empty: AtomicU64::new(empty),
                        name,
                        server,
                        address,
                        door,
                    });
                }
                let kind = if order.embedded {
                    "embedded cache server"
                } else {
                    "real Redis"
                };
                self.parts.push(format!("{}: {} {kind}", cache.name, cache.nodes));
            }
            self.caches.push(nodes);
        }
        for at in 0..scenario.caches.len() {
            self.bound_cache(at, scenario.caches[at].entries_max()).await?;
        }
        Ok(())
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
                let entry = if now.entries >= KNOWN {
                    now.memory.saturating_sub(empty) / now.entries
                } else {
                    self.truth.value(0, 0).len() as u64 + ENTRY_OVERHEAD
                };
                empty + entries * entry + SLACK
            }
            None => 0,
        };
        asking::configure(node.address, "maxmemory", &bytes.to_string()).await
    }
}

pub(crate) fn policy_of(eviction: seawall_scenario::Eviction) -> &'static str {
    match eviction {
        seawall_scenario::Eviction::Lru => "allkeys-lru",
        seawall_scenario::Eviction::None => "noeviction",
    }
}
