//! The hot-key sketch: which few keys bring most of the traffic, in bounded memory.

use crate::time::Span;

/// What counts as hot, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A key that brings at least this share of an instance's reads is hot.
    pub share: f64,
    /// A hot key is kept in the memory of each instance for this long.
    pub ttl: Span,
    /// The window over which reads are counted.
    pub window: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            share: 0.01,
            ttl: Span::secs(1),
            window: Span::secs(10),
        }
    }
}
