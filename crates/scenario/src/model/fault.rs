//! What can break.

use seawall_core::time::Span;

use super::Place;
use crate::element::tagged;
use crate::form::{Count, Duration, Factor, Flag, Maybe, Natural, Number, Share, Throughput};

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
    /// This share of the entries is of another type, at once: reading them is an error until they are written again.
    WrongType {
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
    /// A command that takes long keeps the node busy for this share of the time, in bursts during which nobody is
    /// answered.
    Blocked {
        /// Of the time.
        share: f64,
        /// How long each burst takes.
        burst: Span,
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
        /// Whether those beyond wait for one, as they do before a pool; otherwise they are refused, as a server does.
        waits: bool,
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

tagged! {
    Fault => Fault, "a fault" {
        /// The node is down: connections are refused, and it comes back empty.
        "kill" = Kill;
        /// The node is replaced by an empty one, at once.
        "replace" = Replace;
        /// The node accepts and never answers.
        "hang" = Hang;
        /// The node stands still, and goes on where it stopped.
        "pause" = Pause;
        /// Each call takes longer.
        "latency" = Latency { add: Duration, jitter: Duration = Span::ZERO };
        /// The link carries so many bytes a second.
        "bandwidth" = Bandwidth { rate: Throughput };
        /// Nothing gets through, and nobody says so: calls time out.
        "partition" = Partition;
        /// Connections are refused.
        "refuse" = Refuse;
        /// Connections are reset.
        "reset" = Reset;
        /// A share of packets is lost.
        "loss" = Loss { share: Share };
        /// All entries are gone, at once.
        "flush" = Flush;
        /// A share of the entries expires, at once.
        "expire" = Expire { share: Share = 1.0 };
        /// All entries that are there will expire at one instant, together.
        "expire_at" = ExpireAt { instant: Duration };
        /// Entries never expire.
        "ttl_ignored" = TtlIgnored;
        /// Nothing is stored.
        "never_stored" = NeverStored;
        /// A share of the entries is corrupted, at once.
        "corrupt" = Corrupt { share: Share };
        /// A share of the entries is of another type, at once.
        "wrong_type" = WrongType { share: Share };
        /// Writes fail for want of memory.
        "out_of_memory" = OutOfMemory;
        /// New connections are turned away.
        "too_many_clients" = TooManyClients;
        /// Commands take this many times as long.
        "slow" = Slow { factor: Factor };
        /// A command that takes long keeps the node busy for a share of the time, in bursts.
        "blocked" = Blocked { share: Share, burst: Duration = Span::millis(100) };
        /// The node reads its data set, and answers that it is loading.
        "loading" = Loading;
        /// Writes are refused by a replica.
        "read_only" = ReadOnly;
        /// A share of the processor is taken away.
        "starve" = Starve { share: Share };
        /// Nothing can be written to disk: writes fail.
        "disk_full" = DiskFull;
        /// The client sends this many times as much.
        "spike" = Spike { factor: Number };
        /// A share of the client's reads is for one key.
        "hot_key" = HotKey { share: Share };
        /// A share of the client's reads is for keys that do not exist.
        "penetration" = Penetration { share: Share };
        /// The database accepts only so many connections a node.
        "connections" = Connections { max: Count, waits: Flag = true };
        /// A lock stops all queries.
        "lock" = Lock;
        /// Queries take this many times as long.
        "slow_query" = SlowQuery { factor: Factor };
        /// Memory leaks: an instance crashes each time it has handled so many requests.
        "leak" = Leak { after: Natural, restart: Duration = Span::secs(30) };
        /// Instances crash; they are back when it ends.
        "crash" = Crash { instances: Maybe<Count<1>> = None };
        /// Instances restart one after the other.
        "restart" = Restart { each: Duration = Span::secs(10) };
        /// Calls go to a far region.
        "far_region" = FarRegion { add: Duration };
    }
}

impl Fault {
    /// Its word in the document.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Replace => "replace",
            Fault::Hang => "hang",
            Fault::Pause => "pause",
            Fault::Latency { .. } => "latency",
            Fault::Bandwidth { .. } => "bandwidth",
            Fault::Partition => "partition",
            Fault::Refuse => "refuse",
            Fault::Reset => "reset",
            Fault::Loss { .. } => "loss",
            Fault::Flush => "flush",
            Fault::Expire { .. } => "expire",
            Fault::ExpireAt { .. } => "expire_at",
            Fault::TtlIgnored => "ttl_ignored",
            Fault::NeverStored => "never_stored",
            Fault::Corrupt { .. } => "corrupt",
            Fault::WrongType { .. } => "wrong_type",
            Fault::OutOfMemory => "out_of_memory",
            Fault::TooManyClients => "too_many_clients",
            Fault::Slow { .. } => "slow",
            Fault::Blocked { .. } => "blocked",
            Fault::Loading => "loading",
            Fault::ReadOnly => "read_only",
            Fault::Starve { .. } => "starve",
            Fault::DiskFull => "disk_full",
            Fault::Spike { .. } => "spike",
            Fault::HotKey { .. } => "hot_key",
            Fault::Penetration { .. } => "penetration",
            Fault::Connections { .. } => "connections",
            Fault::Lock => "lock",
            Fault::SlowQuery { .. } => "slow_query",
            Fault::Leak { .. } => "leak",
            Fault::Crash { .. } => "crash",
            Fault::Restart { .. } => "restart",
            Fault::FarRegion { .. } => "far_region",
        }
    }

    /// Whether it happens at an instant, and so lasts for no time that could be given.
    pub fn is_instant(&self) -> bool {
        matches!(
            self,
            Fault::Replace
                | Fault::Flush
                | Fault::Expire { .. }
                | Fault::ExpireAt { .. }
                | Fault::Corrupt { .. }
                | Fault::WrongType { .. }
                | Fault::Restart { .. }
        )
    }

    /// What kinds of component it can happen to, in words; `None` when it can happen to this one.
    pub fn misfit(&self, place: Place) -> Option<&'static str> {
        let (fits, kinds) = match self {
            Fault::Replace
            | Fault::Flush
            | Fault::Expire { .. }
            | Fault::ExpireAt { .. }
            | Fault::TtlIgnored
            | Fault::NeverStored
            | Fault::Corrupt { .. }
            | Fault::WrongType { .. }
            | Fault::Blocked { .. }
            | Fault::OutOfMemory
            | Fault::TooManyClients
            | Fault::Loading => (matches!(place, Place::Cache(_)), "a cache"),
            Fault::Slow { .. } | Fault::ReadOnly | Fault::DiskFull => (
                matches!(place, Place::Cache(_) | Place::Database(_)),
                "a cache or a database",
            ),
            Fault::Spike { .. } | Fault::HotKey { .. } | Fault::Penetration { .. } => {
                (matches!(place, Place::Client(_)), "a client")
            }
            Fault::Connections { .. } | Fault::Lock | Fault::SlowQuery { .. } => {
                (matches!(place, Place::Database(_)), "a database")
            }
            Fault::Leak { .. } | Fault::Crash { .. } | Fault::Restart { .. } => {
                (matches!(place, Place::Service(_)), "a service")
            }
            Fault::Starve { .. } => (
                matches!(place, Place::Service(_) | Place::Cache(_) | Place::Database(_)),
                "a service, a cache or a database",
            ),
            Fault::Kill
            | Fault::Hang
            | Fault::Pause
            | Fault::Latency { .. }
            | Fault::Bandwidth { .. }
            | Fault::Partition
            | Fault::Refuse
            | Fault::Reset
            | Fault::Loss { .. }
            | Fault::FarRegion { .. } => (
                matches!(place, Place::Service(_) | Place::Cache(_) | Place::Database(_)),
                "a service, a cache or a database",
            ),
        };
        (!fits).then_some(kinds)
    }
}
