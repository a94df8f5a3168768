//! Request coalescing: many misses of one key, one load.

use crate::time::Span;

/// How misses of one key share a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// For how long after a load ended its result is still shared with those who come too late to join it.
    pub window: Span,
    /// A load older than this is joined by nobody: the next miss begins a new one.
    pub age_max: Span,
    /// A request waits this long for another's load, then it fails (or is answered stale).
    pub wait_max: Span,
    /// At most this many requests wait for one load; the next one is shed.
    pub waiters_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: Span::ZERO,
            age_max: Span::secs(10),
            wait_max: Span::secs(5),
            waiters_max: 100_000,
        }
    }
}
