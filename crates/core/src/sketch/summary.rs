//! One half of the window: the Space-Saving summary itself, with its counters and the table that finds them.

use crate::rng::mix;

/// Space-Saving: counters in a heap with the least on top, and a table that finds the counter of a key.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    /// A binary heap by count; at most `capacity` of them.
    counters: Vec<Counter>,
    /// Open addressing with linear probing: one more than a counter's place in the heap, 0 when free.
    table: Vec<u32>,
    capacity: usize,
    /// All that was added.
    pub(super) total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    key: u64,
    count: u64,
    /// Where the table points at this counter.
    cell: u32,
}

impl Summary {
    pub(super) fn new(capacity: usize) -> Summary {
        Summary {
            counters: Vec::with_capacity(capacity),
            table: vec![0; (capacity * 2).next_power_of_two()],
            capacity,
            total: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.counters.clear();
        self.table.fill(0);
        self.total = 0;
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.counters.iter().map(|counter| counter.key)
    }

    /// What a key that has no counter may have been counted at most.
    pub(super) fn floor(&self) -> u64 {
        if self.counters.len() < self.capacity {
            0
        } else {
            self.counters[0].count
        }
    }

    pub(super) fn estimate(&self, slot: Option<usize>) -> u64 {
        slot.map_or(self.floor(), |slot| self.counters[slot].count)
    }

    pub(super) fn slot_of(&self, key: u64) -> Option<usize> {
        match self.table[self.cell_of(key)] {
            0 => None,
            slot => Some(slot as usize - 1),
        }
    }

    pub(super) fn add(&mut self, key: u64) {
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
            let wanted = mix(self.counters[slot].key) as usize & mask;
            if (cell.wrapping_sub(wanted) & mask) >= (cell.wrapping_sub(hole) & mask) {
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

    pub(super) fn invariants(&self) {
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
