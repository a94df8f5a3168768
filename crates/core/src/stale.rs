//! Staleness: what may be served past its freshness, when, and for how long.

use crate::time::Span;

/// The bounds on stale answers. An entry is kept for its TTL plus the longer of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// An entry this long past its freshness is served while it is refreshed in the background.
    pub while_revalidating: Span,
    /// An entry this long past its freshness is served when its refresh fails, is shed or does not end in time.
    pub on_error: Span,
    /// At most this many background refreshes run at a time (per instance).
    pub refreshes_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            while_revalidating: Span::secs(30),
            on_error: Span::secs(300),
            refreshes_max: 100,
        }
    }
}
