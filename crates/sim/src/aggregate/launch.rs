//! Loads of one tick, from their beginning to the last of them.

use super::cohort::{Cohort, Purpose, Sought};

/// Loads that were begun in one tick, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Launch {
    pub(super) tick: u32,
    pub(super) purpose: Option<Purpose>,
    pub(super) begun: u64,
    /// Loads that have not ended.
    pub(super) open: u64,
    /// Those of them that have failed and wait to be tried again.
    pub(super) paused: u64,
    pub(super) waiters: Vec<Waiter>,
    /// How many are for each class.
    pub(super) mix: Vec<f64>,
    /// Keys of each class for which one of these loads was the first.
    pub(super) first: Vec<f64>,
    /// Loads for keys of which nothing is known: they may be cached.
    pub(super) blind: Vec<f64>,
    /// Loads by client and by what is known of their keys.
    pub(super) counts: Vec<(u8, Sought, u64)>,
    pub(super) sealed: bool,
    /// How many have ended in this tick, well and badly.
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Launch {
    /// Whether they are in the background, for what somebody has read.
    pub(super) fn refreshes(&self) -> bool {
        matches!(self.purpose, Some(Purpose::Refresh | Purpose::Renew))
    }

    /// Loads that are at the origin or in the line before it.
    pub(super) fn out(&self) -> u64 {
        self.open.saturating_sub(self.paused)
    }
}

/// Requests that wait for a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) cohort: Cohort,
    /// Their age when they have waited long enough.
    pub(super) until: f64,
    /// Their age from which something stale is better than waiting.
    pub(super) soft: f64,
}
