//! The circuit breaker: stops asking a cache node or an origin that does not answer.

use crate::time::Span;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Opens after this many failures in a row, all within `window`; 0 switches this rule off.
    pub failures: u32,
    /// The window in which failures, calls and slow calls are counted.
    pub window: Span,
    /// Opens when this share of the calls in the window failed, once there are `minimum_calls`.
    pub failure_rate: Option<f64>,
    /// A call that takes longer than this is slow.
    pub slow_call: Option<Span>,
    /// Opens when this share of the calls in the window was slow, once there are `minimum_calls`.
    pub slow_rate: f64,
    /// How many calls the window must hold before a share of them means anything.
    pub minimum_calls: u32,
    /// How long it stays open the first time.
    pub open_for: Span,
    /// Each opening in a row lasts this many times as long as the one before, up to `open_max`.
    pub backoff: f64,
    /// The longest that it stays open.
    pub open_max: Span,
    /// How many calls are let through at a time while half open; all of them must succeed to close it.
    pub probes: u32,
    /// After closing, the share of calls let through grows from nothing to all over this time.
    pub ramp: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            failures: 5,
            window: Span::secs(10),
            failure_rate: None,
            slow_call: None,
            slow_rate: 0.5,
            minimum_calls: 20,
            open_for: Span::secs(5),
            backoff: 1.0,
            open_max: Span::secs(60),
            probes: 1,
            ramp: Span::ZERO,
        }
    }
}
