//! The words of the conversation between a [`Guard`](super::Guard) and its driver.

use crate::coalesce::LoadId;
use crate::gate::Reason;
use crate::policies::Policies;
use crate::ring::Sharding;
use crate::shed::Priority;
use crate::time::{Span, Time};
use crate::ttl::Class;

/// What a guard is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The caches, in the order in which they are asked; at most [`TIERS_MAX`].
    pub tiers: Vec<Tier>,
    /// How many guards there are of this service; a pace that is meant for all of them is divided by it.
    pub instances: u32,
    /// The protections.
    pub policies: Policies,
}

/// The most tiers that one read goes through.
pub const TIERS_MAX: usize = 8;

/// One cache of the read path.
#[derive(Clone, Debug)]
pub struct Tier {
    /// How many nodes it has.
    pub nodes: u16,
    /// Whether it is this process's own memory: it cannot fail, and needs no breaker.
    pub local: bool,
    /// Whether other processes read and write it too: where a lease is asked for, and where it is seen that another
    /// was faster.
    pub shared: bool,
    /// How long it keeps an entry whose class has no TTL of its own; [`Span::MAX`] for ever.
    pub ttl: Span,
    /// How long a look-up may take; [`Span::MAX`] for ever.
    pub timeout: Span,
    /// How keys are spread over the nodes.
    pub sharding: Sharding,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The key, hashed or numbered.
    pub key: u64,
    /// A read; otherwise a write.
    pub read: bool,
    /// The importance of what is cached.
    pub class: Class,
    /// The importance of the call.
    pub priority: Priority,
    /// When the caller stops waiting; [`Time::NEVER`] when it waits for ever.
    pub deadline: Time,
    /// What a read may do.
    pub mode: Mode,
    /// To this caller an entry is fresh for this long at most, from when it was read from the origin. A load that is
    /// under way is fresh enough for everybody.
    pub fresh_for: Span,
    /// No entry that is further past its freshness is good enough, whatever the policy says.
    pub stale_max: Span,
}

/// What a read may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Look, and load what is not there.
    #[default]
    Normal,
    /// Load without looking; what is brought is stored.
    NoCache,
    /// Look, and end with [`Outcome::Absent`] when nothing is there.
    OnlyIfCached,
}

impl Call {
    /// A read of `key` that matters neither more nor less than others, by somebody with endless patience.
    pub fn read(key: u64) -> Call {
        Call {
            key,
            read: true,
            class: Class::default(),
            priority: Priority::default(),
            deadline: Time::NEVER,
            mode: Mode::Normal,
            fresh_for: Span::MAX,
            stale_max: Span::MAX,
        }
    }

    /// The same, as a write.
    pub fn write(key: u64) -> Call {
        Call {
            read: false,
            ..Call::read(key)
        }
    }
}

/// What the driver does next for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Look the key up, and reply with [`Reply::Found`], [`Reply::Missing`] or [`Reply::CacheFailed`]; after
    /// `timeout` the reply is [`CacheFault::TimedOut`].
    Lookup {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// How long it may take; [`Span::MAX`] for ever.
        timeout: Span,
    },
    /// Wait for a load: reply [`Reply::Woken`] on [`Effect::Wake`] with the request's token, or [`Reply::Due`] at
    /// `until`, whichever is first.
    Wait {
        /// When to stop waiting; [`Time::NEVER`] for never.
        until: Time,
    },
    /// Write to the origin, and reply [`Reply::Written`] or [`Reply::WriteFailed`].
    Write {
        /// How long it may take; [`Span::MAX`] for ever.
        timeout: Span,
    },
    /// The request has ended, and is not resumed again.
    Done(Outcome),
}

/// What became of the step of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply {
    /// The look-up found this, fresh or not.
    Found(Entry),
    /// The look-up found nothing.
    Missing,
    /// The look-up failed.
    CacheFailed(CacheFault),
    /// The load that was waited for has ended.
    Woken,
    /// The instant until which to wait has come.
    Due,
    /// The origin took the write.
    Written {
        /// The version that the write made.
        version: u64,
    },
    /// The origin did not take the write, or nobody knows whether it did.
    WriteFailed(OriginFault),
}

/// What a store keeps beside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When the call to the origin that brought it began: it may be as old as this.
    pub stored: Time,
    /// Until when it is fresh.
    pub fresh_until: Time,
    /// From when on a reader refreshes it in the background; `fresh_until` when nothing is staggered.
    pub refresh_at: Time,
    /// How long its load took.
    pub cost: Span,
    /// The version of the value; a higher one is newer.
    pub version: u64,
    /// Whether it says "there is no such thing".
    pub negative: bool,
    /// Whether its checksum is right; a store without checksums says yes.
    pub intact: bool,
}

/// Why a cache could not be asked. These are different facts, and not all of them are reasons to stop asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheFault {
    /// Nobody listens.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The connection broke.
    Reset,
    /// The node still loads its data.
    Loading,
    /// The node takes no writes: it is a replica.
    ReadOnly,
    /// The node takes no writes: it cannot save them to its disk.
    DiskFull,
    /// The node has no room for a write.
    OutOfMemory,
    /// The node takes no more connections.
    TooManyClients,
    /// The node does not let us in.
    NoAuth,
    /// The key lives elsewhere.
    Moved,
    /// What came was not what had been stored.
    Corrupt,
    /// Something else is under this name, of a kind that is no value.
    WrongType,
    /// The node answers that it cannot serve: its cluster is down, or its master is.
    Unavailable,
    /// It answered with another error.
    Error,
}

/// Why the origin did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginFault {
    /// Nobody listens, or no place was left.
    Refused,
    /// No answer in time.
    TimedOut,
    /// It answered with an error.
    Error,
    /// It said that it has too much to do.
    Overloaded,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a value.
    Answer {
        /// Where it came from.
        from: Source,
        /// What it is worth.
        kind: Kind,
        /// Its version.
        version: u64,
    },
    /// The origin took the write.
    Written {
        /// The version that the write made.
        version: u64,
    },
    /// Nothing is cached, and no load was wanted ([`Mode::OnlyIfCached`]).
    Absent,
    /// Turned away on purpose.
    Shed(Reason),
    /// The origin failed.
    Failed,
    /// The time was over.
    TimedOut,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From this tier, by the request's own look-up.
    Tier(u8),
    /// From the load that the request waited for ([`Request::load`](super::Request::load)).
    Load,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within its freshness.
    Fresh,
    /// Past its freshness, within the bounds on staleness.
    Stale,
    /// "There is no such thing", within its freshness.
    Negative,
}

/// What the driver does beside the step, at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Resume the request of this token with [`Reply::Woken`].
    Wake(u32),
    /// Begin to drive this load: call [`Guard::load`](super::Guard::load) with [`LoadReply::Launched`].
    Launch(LoadId),
    /// Stop driving this load, and the work at the origin if that can be stopped.
    Cancel(LoadId),
    /// Copy the value that the request just resumed was answered with into a faster tier. Nobody waits for it.
    Fill {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
        /// How long the store keeps it, stale time included.
        keep: Span,
        /// What is kept beside the value.
        entry: Entry,
    },
    /// Take the key out of a store, unless what it holds has this version or a higher one. Nobody waits for it.
    Invalidate {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
        /// The lowest version that stays; `u64::MAX` when none does.
        version: u64,
    },
    /// Give the fleet's lease on this key back to the store. Nobody waits for it.
    GiveBack {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
    },
}

/// What became of the step of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadReply {
    /// The driver has taken the load up.
    Launched,
    /// The pause is over.
    Due,
    /// The origin answered.
    Fetched {
        /// The version of the value.
        version: u64,
        /// Whether it said "there is no such thing".
        negative: bool,
        /// How long it took.
        took: Span,
        /// How long it is kept.
        life: Life,
    },
    /// The origin did not answer.
    FetchFailed(OriginFault),
    /// The write into a store is over.
    Stored(Result<(), CacheFault>),
    /// Whether the store granted the lease. A store that cannot say grants it.
    Leased(bool),
    /// The look into the store, on behalf of the load, found this.
    Found(Entry),
    /// The look into the store, on behalf of the load, found nothing or failed.
    Missing,
}

/// How long what was brought is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Life {
    /// As long as the policy says of its class; "there is no such thing" as long as that is remembered.
    #[default]
    Class,
    /// As long as each tier keeps what has no class.
    Tier,
    /// For this long, before jitter. A local tier keeps nothing for longer than its own TTL.
    For(Span),
    /// Not at all: it answers those who wait already, and nobody else.
    Unkept,
}

/// What the driver does next for a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadStep {
    /// Ask the origin; reply [`LoadReply::Fetched`] or [`LoadReply::FetchFailed`].
    Fetch {
        /// The key.
        key: u64,
        /// How long it may take; [`Span::MAX`] for ever.
        timeout: Span,
    },
    /// Reply [`LoadReply::Due`] at this instant.
    Pause {
        /// When.
        until: Time,
    },
    /// Write the value into a store, unless what it holds is of a higher version; reply [`LoadReply::Stored`].
    Store {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
        /// How long the store keeps it, stale time included; [`Span::MAX`] for ever.
        keep: Span,
        /// What is kept beside the value.
        entry: Entry,
    },
    /// Ask the store for the fleet's lease on the key; reply [`LoadReply::Leased`].
    Lease {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
        /// After this time the store takes the lease back by itself.
        hold: Span,
    },
    /// Look whether another process has filled the key; reply [`LoadReply::Found`] or [`LoadReply::Missing`].
    Look {
        /// Which tier.
        tier: u8,
        /// Which node of it.
        node: u16,
        /// The key.
        key: u64,
        /// How long it may take; [`Span::MAX`] for ever.
        timeout: Span,
    },
    /// Nothing for now: the load waits for a place, and [`Effect::Launch`] comes again (or never).
    Parked,
    /// The load is over.
    Done,
}

impl CacheFault {
    /// Every fault.
    pub const ALL: [CacheFault; 14] = [
        CacheFault::Refused,
        CacheFault::TimedOut,
        CacheFault::Reset,
        CacheFault::Loading,
        CacheFault::ReadOnly,
        CacheFault::DiskFull,
        CacheFault::OutOfMemory,
        CacheFault::TooManyClients,
        CacheFault::NoAuth,
        CacheFault::Moved,
        CacheFault::Corrupt,
        CacheFault::WrongType,
        CacheFault::Unavailable,
        CacheFault::Error,
    ];

    /// The value of the label `reason` of `cache_errors_total`.
    pub const fn name(self) -> &'static str {
        match self {
            CacheFault::Refused => "refused",
            CacheFault::TimedOut => "timed_out",
            CacheFault::Reset => "reset",
            CacheFault::Loading => "loading",
            CacheFault::ReadOnly => "read_only",
            CacheFault::DiskFull => "disk_full",
            CacheFault::OutOfMemory => "out_of_memory",
            CacheFault::TooManyClients => "too_many_clients",
            CacheFault::NoAuth => "no_auth",
            CacheFault::Moved => "moved",
            CacheFault::Corrupt => "corrupt",
            CacheFault::WrongType => "wrong_type",
            CacheFault::Unavailable => "unavailable",
            CacheFault::Error => "error",
        }
    }

    /// Whether the node cannot be read from: the breaker counts it as a failure.
    ///
    /// A node that is read-only or out of memory still answers reads; one that says "moved" or sends rubbish has
    /// answered too.
    pub const fn is_outage(self) -> bool {
        matches!(
            self,
            CacheFault::Refused
                | CacheFault::TimedOut
                | CacheFault::Reset
                | CacheFault::Loading
                | CacheFault::TooManyClients
                | CacheFault::NoAuth
                | CacheFault::Unavailable
        )
    }
}
