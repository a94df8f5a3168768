//! How a call ends.

use std::time::Duration;

use seawall_core::gate::Reason;
use seawall_core::guard::CacheFault;

use crate::origin::LoadError;

/// An answer, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<V> {
    /// The value; `None` when there is no such thing.
    pub value: Option<V>,
    /// Where it came from.
    pub source: Source,
    /// What it is worth.
    pub freshness: Freshness,
    /// How long ago the origin was asked for it.
    pub age: Duration,
    /// Its version.
    pub version: u64,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This process's memory.
    Memory,
    /// A tier beyond it, by its place in the order in which they were given.
    Tier(u8),
    /// The origin, by a load of this call.
    Origin,
    /// The origin, by another call's load.
    Shared,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Within its freshness.
    Fresh,
    /// Past its freshness, or of unknown freshness because an invalidation may have been lost; within all bounds.
    Stale,
}

/// How a call ended that has no value.
///
/// These are not accidents but decisions that a caller has to reckon with, and each asks for another reaction.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Turned away on purpose, so that others are answered.
    #[error("turned away: {}", .reason.name())]
    Shed {
        /// By which protection.
        reason: Reason,
        /// When it is worth coming back, where that is known: a `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The origin's breaker is open: it is not asked.
    #[error("the origin is not asked at the moment")]
    Open {
        /// When it is worth coming back.
        retry_after: Duration,
    },
    /// The time was over.
    #[error("no answer in time")]
    TimedOut,
    /// The load failed.
    #[error("the load failed: {0}")]
    Load(#[source] LoadError),
    /// The origin says that there is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// The call needs an [`Origin`](crate::Origin), and the cache was built without one.
    #[error("the cache was built without an origin")]
    NoOrigin,
    /// Some tier could not be told. It is told again when it is back; until then it may hold what it should not.
    #[error("a tier could not be told: {}", .0.name())]
    Tier(CacheFault),
}

impl Error {
    /// When it is worth coming back, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Shed { retry_after, .. } => *retry_after,
            Error::Open { retry_after } => Some(*retry_after),
            Error::Load(error) => error.retry_after_hint(),
            _ => None,
        }
    }
}
