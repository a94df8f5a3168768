//! How a run goes, while it goes.

use seawall_core::record::Ending;
use seawall_core::time::{Span, Time};

/// A look at a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// From the start of the run.
    pub now: Time,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that ended, in the order of [`Ending::ALL`].
    pub ended: [u64; 6],
    /// Calls that were due and not sent, because too many were under way.
    pub overruns: u64,
    /// Calls that ended in the last whole period.
    pub last: [u64; 6],
    /// Half of those took no longer, from when they were due.
    pub p50: Span,
    /// 99% of those took no longer.
    pub p99: Span,
}

impl Progress {
    /// Calls that ended so.
    pub fn of(&self, ending: Ending) -> u64 {
        self.ended[ending as usize]
    }
}
