//! How many keys are left at any second, counted without looking at them.

use seawall_core::time::Time;

const TICK_NANOS: u64 = 1_000_000_000;
/// What expires after this many seconds (12 days) counts as there for ever.
const TICKS_MAX: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Expiry {
    /// How many expire at each whole second or within the one before it.
    ticks: Vec<u32>,
    /// How many expire later than all of them.
    for_ever: usize,
    /// How many expire in the seconds from `passed` on, or never.
    live: usize,
    passed: usize,
}

impl Expiry {
    pub(super) fn insert(&mut self, expires: Time) {
        let tick = tick(expires);
        if tick >= TICKS_MAX {
            self.for_ever += 1;
        } else {
            if tick >= self.ticks.len() {
                self.ticks.resize(tick + 1, 0);
            }
            self.ticks[tick] += 1;
        }
        self.live += usize::from(tick >= self.passed);
    }

    pub(super) fn remove(&mut self, expires: Time) {
        let tick = tick(expires);
        if tick >= TICKS_MAX {
            self.for_ever -= 1;
        } else {
            self.ticks[tick] -= 1;
        }
        self.live -= usize::from(tick >= self.passed);
    }

    pub(super) fn live(&mut self, now: Time) -> usize {
        // What expires at this very second has expired.
        let passed = ((now.as_nanos() / TICK_NANOS) as usize + 1).min(TICKS_MAX);
        while self.passed < passed {
            self.live -= self.ticks.get(self.passed).map_or(0, |count| *count as usize);
            self.passed += 1;
        }
        self.live
    }

    pub(super) fn clear(&mut self) {
        self.ticks.clear();
        self.for_ever = 0;
        self.live = 0;
    }

    pub(super) fn invariants(&self, held: usize) {
        let all: usize = self.ticks.iter().map(|count| *count as usize).sum();
        assert_eq!(all + self.for_ever, held);
        let left: usize = self
            .ticks
            .iter()
            .skip(self.passed)
            .map(|count| *count as usize)
            .sum();
        assert_eq!(left + self.for_ever, self.live);
    }
}

/// The number of the whole second at or before which this instant lies.
fn tick(expires: Time) -> usize {
    expires.as_nanos().div_ceil(TICK_NANOS) as usize
}
