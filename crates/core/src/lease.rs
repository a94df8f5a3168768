//! The lease: of a whole fleet of processes, one loads a key.

use crate::time::Span;

/// How a fleet agrees on who loads a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A lease that was not given back ends after this time.
    pub hold: Span,
    /// Who did not get the lease looks into the cache again after this time.
    pub poll: Span,
    /// After this time without an answer it loads by itself.
    pub wait_max: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hold: Span::secs(5),
            poll: Span::millis(50),
            wait_max: Span::secs(2),
        }
    }
}
