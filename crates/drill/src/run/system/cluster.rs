//! A cluster of Redis behind fault proxies.
//!
//! Nodes of a cluster tell their clients where they are. They are told to say where their proxies are, so that clients, and
//! copies of a node, go through these; the bus on which nodes watch each other does not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::run::{NoDrill, asking};

/// So many slots there are (Redis cluster specification).
const SLOTS: u32 = 16_384;
/// A cluster is whole within this time.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(50);

/// A server that is to be in a cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Where its proxy does.
    pub(super) door: SocketAddr,
    /// Where other members do.
    pub(super) bus: u16,
}

/// Makes a cluster of these nodes, each with its copies behind it.
pub(super) async fn form(nodes: &[(Member, Vec<Member>)]) -> Result<(), NoDrill> {
    let all: Vec<Member> = nodes
        .iter()
        .flat_map(|(node, copies)| [*node].into_iter().chain(copies.iter().copied()))
        .collect();
    for member in &all {
        let (door, bus) = (member.door.port().to_string(), member.bus.to_string());
        asking::configure(member.address, "cluster-announce-port", &door).await?;
        asking::configure(member.address, "cluster-announce-bus-port", &bus).await?;
    }
    let count = nodes.len() as u32;
    for (number, (node, _)) in (0..).zip(nodes) {
        let first = (number * SLOTS / count).to_string();
        let last = ((number + 1) * SLOTS / count - 1).to_string();
        let epoch = (number + 1).to_string();
        asking::command::<()>(node.address, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        asking::command::<()>(node.address, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
    }
    let Some((first, others)) = all.split_first() else {
        return Ok(());
    };
    for member in others {
        let (host, port) = (member.address.ip().to_string(), member.address.port().to_string());
        let bus = member.bus.to_string();
        asking::command::<()>(first.address, &["CLUSTER", "MEET", &host, &port, &bus]).await?;
    }
    let known = format!("cluster_known_nodes:{}", all.len());
    for member in &all {
        until(
            member.address,
            &["CLUSTER", "INFO"],
            &["cluster_state:ok", &known],
        )
        .await?;
    }
    for (node, copies) in nodes {
        let id: String = asking::command(node.address, &["CLUSTER", "MYID"]).await?;
        for copy in copies {
            asking::command::<()>(copy.address, &["CLUSTER", "REPLICATE", &id]).await?;
            until(copy.address, &["INFO", "replication"], &["master_link_status:up"]).await?;
        }
    }
    Ok(())
}

/// Asks until all of this is said.
async fn until(address: SocketAddr, words: &[&str], wanted: &[&str]) -> Result<(), NoDrill> {
    let begun = Instant::now();
    loop {
        let said: String = asking::command(address, words).await?;
        if wanted.iter().all(|word| said.contains(word)) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(NoDrill::Failed(format!(
                "the cluster is not whole: {} at {address} does not say {}",
                words.join(" "),
                wanted.join(", ")
            )));
        }
        sleep(GLANCE).await;
    }
}
