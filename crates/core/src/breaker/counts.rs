//! Calls, failures and slow calls of a sliding window, in tenths of the window.

use crate::time::{Span, Time};

const SLOTS: usize = 10;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) calls: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
}

/// The counts of the window. The oldest tenth leaves at once, so the window is between 9 and 10 tenths long.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    width: Span,
    slots: [Sums; SLOTS],
    current: usize,
    /// When the current slot ends.
    end: Time,
    total: Sums,
}

impl Sums {
    fn take(&mut self, other: Sums) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

impl Counts {
    pub(super) fn new(window: Span) -> Counts {
        Counts {
            width: Span::nanos((window.as_nanos() / SLOTS as u64).max(1)),
            slots: [Sums::default(); SLOTS],
            current: 0,
            end: Time::ZERO,
            total: Sums::default(),
        }
    }

    pub(super) fn add(&mut self, now: Time, failed: bool, slow: bool) {
        self.advance(now);
        for sums in [&mut self.slots[self.current], &mut self.total] {
            sums.calls += 1;
            sums.failed += u64::from(failed);
            sums.slow += u64::from(slow);
        }
    }

    pub(super) fn sums(&mut self, now: Time) -> Sums {
        self.advance(now);
        self.total
    }

    pub(super) fn clear(&mut self) {
        self.slots = [Sums::default(); SLOTS];
        self.total = Sums::default();
    }

    pub(super) fn invariants(&self) {
        let calls: u64 = self.slots.iter().map(|slot| slot.calls).sum();
        assert_eq!(calls, self.total.calls, "the total is that of the slots");
        assert!(self.total.failed <= calls && self.total.slow <= calls);
    }

    fn advance(&mut self, now: Time) {
        if now < self.end {
            return;
        }
        let width = self.width.as_nanos();
        let steps = now.since(self.end).as_nanos() / width + 1;
        if steps >= SLOTS as u64 {
            self.clear();
            self.end = now + self.width;
            return;
        }
        for _ in 0..steps {
            self.current = (self.current + 1) % SLOTS;
            self.total.take(self.slots[self.current]);
            self.slots[self.current] = Sums::default();
            self.end += self.width;
        }
    }
}
