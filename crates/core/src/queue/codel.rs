//! The control law of `CoDel` (K. Nichols et al., RFC 8289, sections 5.3 to 5.5), for requests.
//!
//! Two things differ from packets. A drop is an answer ("not now"), so it is worth as much as a service to the one who
//! waits. And the clients behind requests need not slow down when one is dropped; against an overload that does not
//! yield, the drops grow only with the square root of their count, and it is the timeout and the places that bound
//! the wait.

use super::Codel;
use crate::time::{Span, Time};

/// How soon after it stopped dropping the law goes on where it was, in intervals (RFC 8289, section 5.4).
const RECENT: f64 = 16.0;

#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    /// When waits will have been above the target for a whole interval.
    first_above: Option<Time>,
    dropping: bool,
    drop_next: Time,
    /// Drops since dropping began.
    count: u32,
    /// What `count` was when dropping last began.
    last_count: u32,
}

impl Control {
    /// Whether the oldest of `len`, who has waited this long, is dropped as someone is about to be served.
    pub(super) fn drops(&mut self, codel: &Codel, now: Time, waited: Span, len: usize) -> bool {
        if !self.stands(codel, now, waited, len) {
            self.dropping = false;
            return false;
        }
        if self.dropping {
            if now < self.drop_next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next += spacing(codel, self.count);
            return true;
        }
        self.dropping = true;
        // When it dropped a moment ago, the rate that controlled the queue then is a better start than the lowest.
        let drops = self.count - self.last_count;
        let recent = now.since(self.drop_next) < codel.interval.scaled(RECENT);
        self.count = if recent && drops > 1 { drops } else { 1 };
        self.last_count = self.count;
        self.drop_next = now + spacing(codel, self.count);
        true
    }

    /// The queue was empty: it does not stand, however it was emptied.
    pub(super) fn calm(&mut self) {
        self.first_above = None;
        self.dropping = false;
    }

    pub(super) fn invariants(&self) {
        assert!(self.last_count <= self.count);
        assert!(
            !self.dropping || self.first_above.is_some(),
            "drops although the wait is fine"
        );
    }

    /// Whether waits have been above the target for an interval. The last one left is never a standing queue.
    fn stands(&mut self, codel: &Codel, now: Time, waited: Span, len: usize) -> bool {
        if waited < codel.target || len <= 1 {
            self.first_above = None;
            return false;
        }
        now >= *self.first_above.get_or_insert(now + codel.interval)
    }
}

/// The time between two drops: the interval over the square root of their count, at least 1 ns so that it ends.
fn spacing(codel: &Codel, count: u32) -> Span {
    let span = codel.interval.scaled(1.0 / libm::sqrt(f64::from(count.max(1))));
    span.max(Span::nanos(1))
}
