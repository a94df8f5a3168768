//! Retries: how often, after what pause, and out of what budget.

use crate::time::Span;

/// How failed calls are tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// All attempts, the first one included; 1 never retries.
    pub attempts: u32,
    /// The ceiling of the pause before the first retry; it doubles with each.
    pub backoff: Span,
    /// The highest ceiling.
    pub backoff_max: Span,
    /// Draw the pause evenly between nothing and the ceiling ("full jitter"); otherwise the pause is the ceiling.
    pub jitter: bool,
    /// Retries may be at most this share of calls; no budget at all when absent (a storm in waiting).
    pub budget: Option<f64>,
    /// The budget never falls below this many retries a second, so that a quiet client may retry too.
    pub budget_min: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            attempts: 3,
            backoff: Span::millis(50),
            backoff_max: Span::secs(1),
            jitter: true,
            budget: Some(0.1),
            budget_min: 1.0,
        }
    }
}
