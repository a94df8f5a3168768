//! What a guard has counted since it was made. A driver reads the differences between two looks.

use crate::gate::Reason;

use super::step::CacheFault;

/// Running sums. Nothing here is ever reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Look-ups that found an entry that could be used, by tier.
    pub hits: [u64; super::TIERS_MAX],
    /// Look-ups that found nothing usable, by tier.
    pub misses: [u64; super::TIERS_MAX],
    /// Look-ups and stores that failed, by [`CacheFault`] in the order of [`CacheFault::ALL`].
    pub cache_errors: [u64; CacheFault::ALL.len()],
    /// Look-ups that a breaker refused.
    pub lookups_refused: u64,
    /// Loads that were handed to the origin, refreshes and warming included, retries not.
    pub loads: u64,
    /// Misses that shared another's load.
    pub coalesced: u64,
    /// Calls to the origin that were tried again.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_refused: u64,
    /// Requests turned away, by [`Reason`] in the order of [`Reason::ALL`].
    pub shed: [u64; Reason::ALL.len()],
    /// Answers served past their freshness.
    pub stale_served: u64,
    /// Background refreshes that were begun.
    pub refreshes: u64,
    /// Background refreshes that were due and found no room.
    pub refreshes_skipped: u64,
    /// Entries filled by warming.
    pub warmed: u64,
    /// Stores that were not written because the value had been purged or overtaken in the meantime.
    pub stores_overtaken: u64,
    /// Loads that were given up at their hard timeout.
    pub loads_given_up: u64,
    /// Loads that were cancelled because nobody waited any more.
    pub loads_cancelled: u64,
    /// Keys purged, by hand and by writes.
    pub purges: u64,
}

impl Counters {
    pub(super) fn shed(&mut self, reason: Reason) {
        self.shed[reason as usize] += 1;
    }

    pub(super) fn cache_error(&mut self, fault: CacheFault) {
        self.cache_errors[fault as usize] += 1;
    }
}
