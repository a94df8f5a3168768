//! What can break.

use seawall_core::time::Span;

/// Something that breaks. One vocabulary for what is simulated and what is drilled.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The node is down: connections are refused, and it comes back empty.
    Kill,
    /// The node is replaced by an empty one, at once.
    Replace,
    /// The node accepts and never answers.
    Hang,
    /// The node stands still, and goes on where it stopped.
    Pause,
    /// Each call takes longer.
    Latency {
        /// By this much.
        add: Span,
        /// Give or take up to this much, evenly.
        jitter: Span,
    },
    /// The link carries this many bytes a second.
    Bandwidth {
        /// Bytes a second.
        rate: f64,
    },
    /// Nothing gets through, and nobody says so: calls time out.
    Partition,
    /// Connections are refused.
    Refuse,
    /// Connections are reset.
    Reset,
    /// This share of packets is lost.
    Loss {
        /// Of all packets.
        share: f64,
    },
    /// All entries are gone, at once.
    Flush,
    /// This share of the entries expires, at once.
    Expire {
        /// Of all entries.
        share: f64,
    },
    /// All entries that are there when it happens will expire at this instant, together.
    ExpireAt {
        /// From T=0.
        instant: Span,
    },
    /// Entries never expire.
    TtlIgnored,
    /// Nothing is stored.
    NeverStored,
    /// This share of the entries is corrupted, at once.
    Corrupt {
        /// Of all entries.
        share: f64,
    },
    /// Writes fail for want of memory.
    OutOfMemory,
    /// New connections are turned away.
    TooManyClients,
    /// Commands take this many times as long.
    Slow {
        /// How many times as long.
        factor: f64,
    },
    /// The node reads its data set, and answers that it is loading.
    Loading,
    /// Writes are refused by a replica.
    ReadOnly,
    /// This share of the processor is taken away.
    Starve {
        /// Of the processor.
        share: f64,
    },
    /// Nothing can be written to disk: writes fail.
    DiskFull,
    /// The client sends this many times as much.
    Spike {
        /// How many times as much.
        factor: f64,
    },
    /// This share of the client's reads is for one key.
    HotKey {
        /// Of the reads.
        share: f64,
    },
    /// This share of the client's reads is for keys that do not exist.
    Penetration {
        /// Of the reads.
        share: f64,
    },
    /// The database accepts this many connections a node.
    Connections {
        /// A node.
        max: u32,
    },
    /// A lock stops all queries.
    Lock,
    /// Queries take this many times as long.
    SlowQuery {
        /// How many times as long.
        factor: f64,
    },
    /// Memory leaks: an instance crashes each time it has handled so many requests.
    Leak {
        /// Requests until an instance crashes.
        after: u64,
        /// How long it takes to come back.
        restart: Span,
    },
    /// Instances crash; they are back when it ends.
    Crash {
        /// How many; all when absent.
        instances: Option<u32>,
    },
    /// Instances restart one after the other.
    Restart {
        /// How long one takes.
        each: Span,
    },
    /// Calls go to a far region.
    FarRegion {
        /// The time it adds to each call.
        add: Span,
    },
}
