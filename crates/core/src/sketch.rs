//! The hot-key sketch: which few keys bring most of the traffic, in bounded memory.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements in data
//! streams", ICDT 2005) over a window that slides by halves: two summaries, the present half and the one before.
//! With `m` counters, an estimate is never too low and too high by `1/m` of the reads at most. It keeps no values
//! and is not a cache.
//!
//! ```
//! use seawall_core::{sketch::{Settings, Sketch}, time::Time};
//! let mut sketch = Sketch::new(&Settings { share: 0.2, ..Settings::default() });
//! for cold in 0..300 {
//!     sketch.record(Time::ZERO, 1_000_000);
//!     sketch.record(Time::ZERO, cold);
//! }
//! assert!(sketch.is_hot(1_000_000) && !sketch.is_hot(299));
//! ```

use crate::rng::mix;
use crate::time::{Span, Time};

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

/// Counters for each share that is hot: the error of an estimate is this part of that share.
const COUNTERS_PER_SHARE: f64 = 8.0;
/// The most counters a sketch has: a share of hot keys is told down to about 0.1%.
pub const COUNTERS_MAX: usize = 8_192;
/// A key is not called hot before this many reads: the first read of all would otherwise be all the traffic.
const READS_MIN: u64 = 16;

/// Counts reads by key, as well as bounded memory allows.
#[derive(Clone, Debug)]
pub struct Sketch {
    share: f64,
    half: Span,
    half_start: Time,
    present: Summary,
    before: Summary,
}

impl Sketch {
    /// A sketch that can tell keys with `settings.share` of the reads: their share is known to an eighth of it.
    pub fn new(settings: &Settings) -> Sketch {
        let share = settings.share.clamp(0.0, 1.0);
        Sketch::with_counters(
            settings,
            libm::ceil(COUNTERS_PER_SHARE / share.max(1e-9)) as usize,
        )
    }

    /// A sketch with this many counters in each half (one at least, [`COUNTERS_MAX`] at most).
    pub fn with_counters(settings: &Settings, counters: usize) -> Sketch {
        let counters = counters.clamp(1, COUNTERS_MAX);
        Sketch {
            share: settings.share,
            half: Span::nanos(settings.window.as_nanos() / 2).max(Span::nanos(1)),
            half_start: Time::ZERO,
            present: Summary::new(counters),
            before: Summary::new(counters),
        }
    }

    /// Counts one read of `key`.
    pub fn record(&mut self, now: Time, key: u64) {
        self.slide(now);
        self.present.add(key);
    }

    /// Whether `key` brought at least the share that is hot, of the reads in the window up to the last record.
    ///
    /// A key that did is never missed; one that did not may be named when it came within the error.
    pub fn is_hot(&self, key: u64) -> bool {
        let (present, before) = (self.present.slot_of(key), self.before.slot_of(key));
        if present.is_none() && before.is_none() {
            return false;
        }
        self.is_hot_at(self.present.estimate(present) + self.before.estimate(before))
    }

    /// The keys that are counted, with (an upper bound of) the share of the reads that each brings, greatest first.
    pub fn top(&self) -> Vec<(u64, f64)> {
        let total = self.reads().max(1) as f64;
        let only_before = self
            .before
            .keys()
            .filter(|key| self.present.slot_of(*key).is_none());
        let mut top: Vec<(u64, f64)> = self
            .present
            .keys()
            .chain(only_before)
            .map(|key| (key, self.count(key) as f64 / total))
            .collect();
        top.sort_unstable_by(|(key_a, a), (key_b, b)| b.total_cmp(a).then(key_a.cmp(key_b)));
        top
    }

    /// The keys that are hot, hottest first.
    pub fn hot(&self) -> impl Iterator<Item = u64> {
        self.top()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| self.is_hot(*key))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Reads in the window, up to the last record.
    pub fn reads(&self) -> u64 {
        self.present.total + self.before.total
    }

    /// By how many reads an estimate may be too high, at most.
    pub fn error_max(&self) -> u64 {
        self.present.floor() + self.before.floor()
    }

    /// What always holds.
    pub fn invariants(&self) {
        self.present.invariants();
        self.before.invariants();
    }

    /// An upper bound of the reads of `key` in the window.
    fn count(&self, key: u64) -> u64 {
        self.present.estimate(self.present.slot_of(key)) + self.before.estimate(self.before.slot_of(key))
    }

    fn is_hot_at(&self, count: u64) -> bool {
        count >= READS_MIN && count as f64 >= self.share * self.reads() as f64
    }

    fn slide(&mut self, now: Time) {
        let past = now.since(self.half_start);
        if past < self.half {
            return;
        }
        let halves = past.as_nanos() / self.half.as_nanos();
        std::mem::swap(&mut self.present, &mut self.before);
        self.present.clear();
        if halves > 1 {
            self.before.clear();
        }
        self.half_start += Span::nanos(halves * self.half.as_nanos());
        self.invariants();
    }
}

/// Space-Saving: counters in a heap with the least on top, and a table that finds the counter of a key.
#[derive(Clone, Debug)]
struct Summary {
    /// A binary heap by count; at most `capacity` of them.
    counters: Vec<Counter>,
    /// Open addressing with linear probing: one more than a counter's place in the heap, 0 when free.
    table: Vec<u32>,
    capacity: usize,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    key: u64,
    count: u64,
    /// Where the table points at this counter.
    cell: u32,
}

impl Summary {
    fn new(capacity: usize) -> Summary {
        Summary {
            counters: Vec::with_capacity(capacity),
            table: vec![0; (capacity * 2).next_power_of_two()],
            capacity,
            total: 0,
        }
    }

    fn clear(&mut self) {
        self.counters.clear();
        self.table.fill(0);
        self.total = 0;
    }

    fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.counters.iter().map(|counter| counter.key)
    }

    /// What a key that has no counter may have been counted at most.
    fn floor(&self) -> u64 {
        if self.counters.len() < self.capacity {
            0
        } else {
            self.counters[0].count
        }
    }

    fn estimate(&self, slot: Option<usize>) -> u64 {
        slot.map_or(self.floor(), |slot| self.counters[slot].count)
    }

    fn slot_of(&self, key: u64) -> Option<usize> {
        match self.table[self.cell_of(key)] {
            0 => None,
            slot => Some(slot as usize - 1),
        }
    }

    fn add(&mut self, key: u64) {
        self.total += 1;
        let cell = self.cell_of(key);
        let slot = match self.table[cell] {
            0 if self.counters.len() < self.capacity => {
                let slot = self.counters.len();
                self.counters.push(Counter {
                    key,
                    count: 0,
                    cell: cell as u32,
                });
                self.table[cell] = slot as u32 + 1;
                self.sift_up(slot)
            }
            0 => {
                // The least counter goes to the new key with its count: that is the error.
                self.free(self.counters[0].cell as usize);
                let cell = self.cell_of(key);
                self.counters[0].key = key;
                self.point(cell, 0);
                0
            }
            slot => slot as usize - 1,
        };
        self.counters[slot].count += 1;
        self.sift_down(slot);
    }

    /// The cell of `key`, or the free one where it would go. The table is at most half full, so there is one.
    fn cell_of(&self, key: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut cell = mix(key) as usize & mask;
        while let Some(slot) = (self.table[cell] as usize).checked_sub(1) {
            if self.counters[slot].key == key {
                break;
            }
            cell = (cell + 1) & mask;
        }
        cell
    }

    /// Frees a cell and moves up what had to step over it, so that no search stops short.
    fn free(&mut self, mut hole: usize) {
        let mask = self.table.len() - 1;
        let mut cell = (hole + 1) & mask;
        while let Some(slot) = (self.table[cell] as usize).checked_sub(1) {
            let home = mix(self.counters[slot].key) as usize & mask;
            if (cell.wrapping_sub(home) & mask) >= (cell.wrapping_sub(hole) & mask) {
                self.point(hole, slot);
                hole = cell;
            }
            cell = (cell + 1) & mask;
        }
        self.table[hole] = 0;
    }

    fn point(&mut self, cell: usize, slot: usize) {
        self.table[cell] = slot as u32 + 1;
        self.counters[slot].cell = cell as u32;
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.counters.swap(a, b);
        self.table[self.counters[a].cell as usize] = a as u32 + 1;
        self.table[self.counters[b].cell as usize] = b as u32 + 1;
    }

    fn sift_up(&mut self, mut slot: usize) -> usize {
        while slot > 0 && self.counters[slot].count < self.counters[(slot - 1) / 2].count {
            self.swap(slot, (slot - 1) / 2);
            slot = (slot - 1) / 2;
        }
        slot
    }

    fn sift_down(&mut self, mut slot: usize) {
        loop {
            let left = 2 * slot + 1;
            if left >= self.counters.len() {
                return;
            }
            let right = left + 1;
            let less =
                if right < self.counters.len() && self.counters[right].count < self.counters[left].count {
                    right
                } else {
                    left
                };
            if self.counters[slot].count <= self.counters[less].count {
                return;
            }
            self.swap(slot, less);
            slot = less;
        }
    }

    fn invariants(&self) {
        debug_assert!(self.counters.len() <= self.capacity, "more counters than allowed");
        debug_assert!(
            (1..self.counters.len())
                .all(|slot| self.counters[(slot - 1) / 2].count <= self.counters[slot].count),
            "the heap is out of order"
        );
        debug_assert!(
            (0..self.counters.len()).all(|slot| self.slot_of(self.counters[slot].key) == Some(slot)),
            "the table lost a key"
        );
        debug_assert_eq!(
            self.counters.iter().map(|counter| counter.count).sum::<u64>(),
            self.total
        );
    }
}
