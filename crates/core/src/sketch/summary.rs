//! One half of the window: the Space-Saving summary itself, with its counters and the table that finds them.

/// Space-Saving in constant time a read.
///
/// The counters lie in order of their counts, so those of one count lie together, in a run. To count one more, a
/// counter changes places with the last of its run and joins the run behind it; the least counter is the first.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    /// At most `capacity` of them, the least count first.
    counters: Vec<Counter>,
    /// At most one more than counters; those that are free are in `runs_free`.
    runs: Vec<Run>,
    runs_free: Vec<u32>,
    /// Open addressing with linear probing: one more than a counter's slot, 0 when free. At most a quarter is in
    /// use, so searches are short.
    table: Vec<u32>,
    capacity: usize,
    /// All that was added.
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    key: u64,
    run: u32,
    /// Where the table points at this counter.
    cell: u32,
    /// Where a search for it begins.
    home: u32,
}

/// Counters of equal count, from one slot to another.
#[derive(Clone, Copy, Debug)]
struct Run {
    count: u64,
    first: u32,
    last: u32,
}

impl Run {
    fn new(count: u64, slot: u32) -> Run {
        Run {
            count,
            first: slot,
            last: slot,
        }
    }
}

impl Summary {
    pub(super) fn new(capacity: usize) -> Summary {
        Summary {
            counters: Vec::with_capacity(capacity),
            runs: Vec::with_capacity(capacity + 1),
            runs_free: Vec::with_capacity(capacity + 1),
            table: vec![0; (capacity * 4).next_power_of_two()],
            capacity,
            total: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.counters.clear();
        self.runs.clear();
        self.runs_free.clear();
        self.table.fill(0);
        self.total = 0;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The keys that have a counter.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.counters.iter().map(|counter| counter.key)
    }

    /// What a key that has no counter may have been counted at most.
    pub(super) fn floor(&self) -> u64 {
        if self.counters.len() < self.capacity {
            0
        } else {
            self.count_at(0)
        }
    }

    /// The count of the key with this hash, if it has a counter.
    pub(super) fn count(&self, key: u64, hash: u64) -> Option<u64> {
        match self.table[self.cell_of(key, hash)] {
            0 => None,
            slot => Some(self.count_at(slot as usize - 1)),
        }
    }

    /// Counts one more of the key with this hash.
    pub(super) fn add(&mut self, key: u64, hash: u64) {
        self.total += 1;
        let cell = self.cell_of(key, hash);
        match self.table[cell] {
            0 if self.counters.len() < self.capacity => self.insert(key, hash, cell),
            0 => {
                // The least counter goes to the new key with its count: that is the error.
                self.vacate(self.counters[0].cell as usize);
                let cell = self.cell_of(key, hash);
                self.counters[0].key = key;
                self.counters[0].home = self.home(hash);
                self.point(cell, 0);
                self.increment(0);
            }
            slot => self.increment(slot as usize - 1),
        }
    }

    /// A counter for a new key. Its count is the least there is, so it goes to the front: each run before it makes
    /// room by moving its first counter behind its last.
    fn insert(&mut self, key: u64, hash: u64, cell: usize) {
        let mut slot = self.counters.len();
        let run = self.new_run(0, slot);
        self.counters.push(Counter {
            key,
            run,
            cell: cell as u32,
            home: self.home(hash),
        });
        self.point(cell, slot);
        while slot > 0 {
            let before = &mut self.runs[self.counters[slot - 1].run as usize];
            let first = before.first as usize;
            before.first += 1;
            before.last += 1;
            self.swap(first, slot);
            slot = first;
        }
        self.runs[run as usize] = Run::new(0, 0);
        self.increment(0);
    }

    fn increment(&mut self, slot: usize) {
        let run = self.counters[slot].run;
        let Run { count, first, last } = self.runs[run as usize];
        let alone = first == last;
        let place = last as usize;
        if slot != place {
            self.swap(slot, place);
        }
        let next = self.counters.get(place + 1).map(|next| next.run);
        if let Some(next) = next.filter(|next| self.runs[*next as usize].count == count + 1) {
            self.runs[next as usize].first = last;
            self.counters[place].run = next;
            if alone {
                self.runs_free.push(run);
            } else {
                self.runs[run as usize].last = last - 1;
            }
        } else if alone {
            self.runs[run as usize].count = count + 1;
        } else {
            self.runs[run as usize].last = last - 1;
            self.counters[place].run = self.new_run(count + 1, place);
        }
    }

    /// A run of the one counter at `slot`.
    fn new_run(&mut self, count: u64, slot: usize) -> u32 {
        let run = Run::new(count, slot as u32);
        if let Some(free) = self.runs_free.pop() {
            self.runs[free as usize] = run;
            free
        } else {
            self.runs.push(run);
            self.runs.len() as u32 - 1
        }
    }

    fn count_at(&self, slot: usize) -> u64 {
        self.runs[self.counters[slot].run as usize].count
    }

    fn home(&self, hash: u64) -> u32 {
        hash as u32 & (self.table.len() as u32 - 1)
    }

    /// The cell of a key, or the free one where it would go.
    fn cell_of(&self, key: u64, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut cell = self.home(hash) as usize;
        while let Some(slot) = (self.table[cell] as usize).checked_sub(1) {
            if self.counters[slot].key == key {
                break;
            }
            cell = (cell + 1) & mask;
        }
        cell
    }

    /// Frees a cell and moves up what had to step over it, so that no search stops short.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.table.len() - 1;
        let mut cell = (hole + 1) & mask;
        while let Some(slot) = (self.table[cell] as usize).checked_sub(1) {
            let wanted = self.counters[slot].home as usize;
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

    pub(super) fn invariants(&self) {
        let counts = || (0..self.counters.len()).map(|slot| self.count_at(slot));
        debug_assert!(self.counters.len() <= self.capacity, "more counters than allowed");
        debug_assert!(counts().is_sorted(), "counters out of order");
        debug_assert_eq!(counts().sum::<u64>(), self.total, "a read was lost");
        debug_assert!(
            (0..self.counters.len()).all(|slot| {
                let Run { count, first, last } = self.runs[self.counters[slot].run as usize];
                (first..=last).contains(&(slot as u32))
                    && (slot as u32 == last)
                        == (slot + 1 == self.counters.len() || self.count_at(slot + 1) > count)
            }),
            "the runs do not cover the counters"
        );
        debug_assert!(
            self.runs.len() <= self.capacity + 1,
            "more runs than there can be counts"
        );
        debug_assert!(
            self.counters.iter().enumerate().all(|(slot, counter)| {
                self.table[counter.cell as usize] as usize == slot + 1
                    && self.cell_of(counter.key, u64::from(counter.home)) == counter.cell as usize
            }),
            "the table lost a key"
        );
    }
}
