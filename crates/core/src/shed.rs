//! Load shedding by priority, in levels with hysteresis.

use crate::time::Span;

/// What is shed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Shed first.
    Low,
    /// In between.
    #[default]
    Normal,
    /// Shed last.
    High,
}

/// When which level of degradation is entered and left.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The utilization (0 to 1) at which level 1 begins; the other levels are spread evenly up to full.
    pub threshold: f64,
    /// How many levels there are.
    pub levels: u8,
    /// A level is left when utilization is this much below where it begins.
    pub hysteresis: f64,
    /// How long utilization must stay there before a level is left.
    pub hold: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threshold: 0.8,
            levels: 3,
            hysteresis: 0.1,
            hold: Span::secs(5),
        }
    }
}
