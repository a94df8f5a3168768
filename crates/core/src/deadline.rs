//! The deadline: one budget of time for a request, spent across all tiers and retries.

use crate::time::Span;

/// Limits on waiting.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// The whole request, from its arrival: all tiers, queues, loads and retries together.
    pub total: Option<Span>,
    /// One look-up in a shared cache (the cache's own timeout when absent).
    pub cache: Option<Span>,
    /// After this long a reader of a load is answered stale, where staleness allows, and the load goes on.
    pub soft: Option<Span>,
    /// After this long a load is given up: its key is free again and its work is cancelled.
    pub hard: Option<Span>,
    /// Whether work is stopped when nobody waits for its result any more.
    pub cancel: bool,
}
