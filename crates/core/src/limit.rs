//! The concurrency limit: how many calls may be inside the origin at a time, across all keys.

use crate::time::Span;

/// How the limit is found.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Mode {
    /// It is `max`, always.
    #[default]
    Fixed,
    /// Additive increase, multiplicative decrease, on failures and on latency above this.
    Aimd {
        /// A call that takes longer counts as a sign of overload.
        latency: Span,
        /// The limit is multiplied by this on overload.
        decrease: f64,
    },
    /// Follows the ratio of the lowest latency seen to the latency now.
    Gradient {
        /// How many times the lowest latency is still fine.
        tolerance: f64,
    },
}

/// The bounds of the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How the limit is found.
    pub mode: Mode,
    /// The floor of an adaptive limit.
    pub min: u32,
    /// The limit, or the ceiling of an adaptive one.
    pub max: u32,
    /// Where an adaptive limit begins.
    pub initial: u32,
    /// How many may wait for a place; the next one is shed.
    pub places: u32,
    /// Who has waited this long for a place is shed.
    pub timeout: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Fixed,
            min: 1,
            max: 100,
            initial: 20,
            places: 100,
            timeout: Span::millis(100),
        }
    }
}
