//! The throttle: lets through a share of the *reads* while the origin is slow or the cache is gone; writes always pass.

use crate::time::Span;

/// When the throttle closes and how it opens again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The origin is slow above this (99th percentile over the last `every`).
    pub latency: Option<Span>,
    /// Also throttle as long as the cache is reported down.
    pub on_cache_down: bool,
    /// How often it decides.
    pub every: Span,
    /// Each decision to close multiplies the share by this.
    pub decrease: f64,
    /// Each decision to open adds this to the share.
    pub increase: f64,
    /// The share never falls below this.
    pub min: f64,
    /// All must have been well for this long before it opens by a step.
    pub hold: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            latency: Some(Span::millis(100)),
            on_cache_down: false,
            every: Span::secs(5),
            decrease: 0.6,
            increase: 0.05,
            min: 0.05,
            hold: Span::secs(10),
        }
    }
}
