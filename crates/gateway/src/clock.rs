//! The clock of the gateway: the core's [`Time`] from tokio's, and the wall clock for dates.

use std::time::{SystemTime, UNIX_EPOCH};

use seawall_core::time::{Span, Time};
use tokio::time::Instant;

/// Reads tokio's clock, from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> Time {
        Time::ZERO + Span::from(self.0.elapsed())
    }

    /// What tokio's clock says at a time.
    pub(crate) fn instant(self, at: Time) -> Instant {
        self.0 + std::time::Duration::from(at.since(Time::ZERO))
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
