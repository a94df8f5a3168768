//! The gate: what stands at the door, before a request costs anything.

/// Why a request was turned away: the values of the label `reason` of `shed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// More requests a second than the rate limit lets in.
    Rate,
    /// A read that the throttle held back.
    Throttle,
    /// Its priority is shed at the present level of degradation.
    Degraded,
    /// The queue at the door has no place left.
    QueueFull,
    /// It stood in the queue at the door for too long.
    QueueTimeout,
    /// The queue at the door stood above its target (CoDel).
    QueueDelay,
    /// The origin's concurrency limit and the places before it are taken.
    OriginLimit,
    /// It waited for a place at the origin for too long.
    OriginTimeout,
    /// The origin's breaker is open.
    OriginOpen,
    /// The cache's breaker is open and falling through is not allowed.
    CacheOpen,
    /// Too many wait for the same load.
    Waiters,
    /// The retry budget is spent.
    NoBudget,
    /// Its deadline had passed before the work began.
    Deadline,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Reason; 13] = [
        Reason::Rate,
        Reason::Throttle,
        Reason::Degraded,
        Reason::QueueFull,
        Reason::QueueTimeout,
        Reason::QueueDelay,
        Reason::OriginLimit,
        Reason::OriginTimeout,
        Reason::OriginOpen,
        Reason::CacheOpen,
        Reason::Waiters,
        Reason::NoBudget,
        Reason::Deadline,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Rate => "rate",
            Reason::Throttle => "throttle",
            Reason::Degraded => "degraded",
            Reason::QueueFull => "queue_full",
            Reason::QueueTimeout => "queue_timeout",
            Reason::QueueDelay => "queue_delay",
            Reason::OriginLimit => "origin_limit",
            Reason::OriginTimeout => "origin_timeout",
            Reason::OriginOpen => "origin_open",
            Reason::CacheOpen => "cache_open",
            Reason::Waiters => "waiters",
            Reason::NoBudget => "no_budget",
            Reason::Deadline => "deadline",
        }
    }
}
