//! The protections of one place (a gateway, or a service), each off when absent.
//!
//! This is the one table that is simulated, deployed and drilled. It can be replaced while running.

use crate::time::Span;
use crate::{
    balance, breaker, coalesce, deadline, early, lease, limit, queue, rate, retry, shed, sketch, stale,
    throttle, ttl, warm,
};

/// Everything that can protect a place.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Policies {
    /// Stops asking cache nodes that do not answer (one breaker a node).
    pub breaker: Option<breaker::Settings>,
    /// Stops asking an origin that does not answer.
    pub origin_breaker: Option<breaker::Settings>,
    /// Many misses of one key, one load.
    pub coalesce: Option<coalesce::Settings>,
    /// One load a key over the whole fleet.
    pub lease: Option<lease::Settings>,
    /// How long entries are kept.
    pub ttl: ttl::Settings,
    /// Early refresh.
    pub early: Option<early::Settings>,
    /// Stale answers.
    pub stale: Option<stale::Settings>,
    /// Limits on waiting.
    pub deadline: deadline::Settings,
    /// Retries of loads.
    pub retry: Option<retry::Settings>,
    /// The bounded queue of requests at the door.
    pub queue: Option<queue::Settings>,
    /// How many calls may be inside the origin.
    pub limit: Option<limit::Settings>,
    /// How many requests a second are let in.
    pub rate: Option<rate::Settings>,
    /// The share of reads let in.
    pub throttle: Option<throttle::Settings>,
    /// Shedding by priority.
    pub shed: Option<shed::Settings>,
    /// Refilling a cold cache.
    pub warm: Option<warm::Settings>,
    /// Keeping hot keys in each instance's memory.
    pub hot: Option<sketch::Settings>,
    /// How calls are spread over copies of the origin.
    pub balance: Option<balance::Strategy>,
    /// Whether entries carry a checksum, so that a corrupt one is a miss and never an answer.
    pub integrity: bool,
}

impl Policies {
    /// The bounds of the line before a place: those of the policy, or `places` and no timeout, by the place's own nature.
    pub fn line(&self, places: Option<u32>) -> queue::Settings {
        self.queue.clone().unwrap_or(queue::Settings {
            places: places.unwrap_or(u32::MAX),
            timeout: Span::MAX,
            ..queue::Settings::default()
        })
    }
}
