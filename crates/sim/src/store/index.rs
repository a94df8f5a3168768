//! From a key to its place: a table for small keys, open addressing for the others.

/// The most keys that the table takes, at 4 bytes each.
const DENSE_MAX: u64 = 1 << 24;
const SLOTS_MIN: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Index {
    /// The place of each small key, plus one; 0 where there is none.
    dense: Vec<u32>,
    dense_held: usize,
    /// Linear probing in a power of two of slots, at most three quarters full; without gravestones.
    sparse: Vec<Cell>,
    sparse_held: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    key: u64,
    /// Plus one; 0 in an empty cell.
    place: u32,
}

impl Index {
    pub(super) fn new(dense_keys: u64) -> Index {
        Index {
            dense: vec![0; dense_keys.min(DENSE_MAX) as usize],
            dense_held: 0,
            sparse: Vec::new(),
            sparse_held: 0,
        }
    }

    #[inline]
    pub(super) fn find(&self, key: u64) -> Option<u32> {
        if let Some(place) = self.dense.get(key as usize) {
            return place.checked_sub(1);
        }
        self.slot(key).map(|slot| self.sparse[slot].place - 1)
    }

    /// Notes the place of a key that is not there.
    pub(super) fn insert(&mut self, key: u64, place: u32) {
        if let Some(dense) = self.dense.get_mut(key as usize) {
            *dense = place + 1;
            self.dense_held += 1;
            return;
        }
        if (self.sparse_held + 1) * 4 > self.sparse.len() * 3 {
            let cells = vec![Cell::default(); (self.sparse.len() * 2).max(SLOTS_MIN)];
            let old = std::mem::replace(&mut self.sparse, cells);
            for cell in old.into_iter().filter(|cell| cell.place != 0) {
                self.settle(cell);
            }
        }
        self.settle(Cell {
            key,
            place: place + 1,
        });
        self.sparse_held += 1;
    }

    /// Forgets a key that is there.
    pub(super) fn remove(&mut self, key: u64) {
        if let Some(dense) = self.dense.get_mut(key as usize) {
            *dense = 0;
            self.dense_held -= 1;
            return;
        }
        let Some(mut gap) = self.slot(key) else { return };
        self.sparse_held -= 1;
        let mask = self.sparse.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let cell = self.sparse[at];
            if cell.place == 0 {
                break;
            }
            // A cell may move into the gap unless its home lies after the gap.
            let home = self.home(cell.key);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.sparse[gap] = cell;
                gap = at;
            }
        }
        self.sparse[gap] = Cell::default();
    }

    pub(super) fn clear(&mut self) {
        if self.dense_held > 0 {
            self.dense.fill(0);
        }
        self.dense_held = 0;
        self.sparse.clear();
        self.sparse_held = 0;
    }

    pub(super) fn invariants(&self, held: usize) {
        assert_eq!(self.dense_held + self.sparse_held, held);
        assert_eq!(
            self.sparse_held,
            self.sparse.iter().filter(|cell| cell.place != 0).count()
        );
    }

    #[inline]
    fn slot(&self, key: u64) -> Option<usize> {
        if self.sparse.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        loop {
            let cell = &self.sparse[at];
            if cell.place == 0 {
                return None;
            }
            if cell.key == key {
                return Some(at);
            }
            at = (at + 1) & (self.sparse.len() - 1);
        }
    }

    /// Fibonacci hashing (Knuth, volume 3): the upper bits of the product.
    #[inline]
    fn home(&self, key: u64) -> usize {
        let shift = 64 - self.sparse.len().trailing_zeros();
        ((key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
    }

    fn settle(&mut self, cell: Cell) {
        let mut at = self.home(cell.key);
        while self.sparse[at].place != 0 {
            at = (at + 1) & (self.sparse.len() - 1);
        }
        self.sparse[at] = cell;
    }
}
