//! The rate limit: a token bucket, fixed or adaptive between two bounds.

use crate::time::Span;

/// Moves the rate between two bounds by what became of the calls that were let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Adaptive {
    /// The lowest rate, per second.
    pub min: f64,
    /// The highest rate, per second.
    pub max: f64,
    /// How often it moves, and the window it looks back on.
    pub window: Span,
    /// The share of failed calls in a window above which the rate falls.
    pub failures: f64,
}

/// How many requests a second are let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The rate, per second; where an adaptive one begins.
    pub rate: f64,
    /// How many may come at once.
    pub burst: f64,
    /// Fixed when absent.
    pub adaptive: Option<Adaptive>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rate: 1000.0,
            burst: 100.0,
            adaptive: None,
        }
    }
}
