//! Warming: refilling a cold cache at a pace, the most popular keys first.

use crate::time::Span;

/// How a cold cache is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Loads a second (over all instances of the service).
    pub pace: f64,
    /// Keep the keys that bring this share of the traffic (predictive, by popularity).
    pub threshold: f64,
    /// The window over which popularity is counted.
    pub window: Span,
    /// Begin by itself when a cache comes back empty or its breaker closes; otherwise only when told to.
    pub automatic: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: 1000.0,
            threshold: 0.8,
            window: Span::secs(300),
            automatic: true,
        }
    }
}
