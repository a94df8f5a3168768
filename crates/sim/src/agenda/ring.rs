//! The ring of an agenda: the buckets of the near future.

use super::{Item, NONE};

/// The near future: a ring of buckets, each a list of events in the reverse order of their scheduling.
#[derive(Clone, Debug)]
pub(super) struct Ring<E> {
    /// Nanoseconds of a bucket, as a power of two.
    pub(super) shift: u32,
    /// The number of the current bucket, whose events are not here.
    base: u64,
    heads: Vec<u32>,
    /// One bit for each bucket that holds anything.
    occupied: Vec<u64>,
    pub(super) nodes: Vec<Node<E>>,
    free: u32,
    pub(super) len: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Node<E> {
    item: Item<E>,
    next: u32,
}

impl<E: Copy> Ring<E> {
    pub(super) fn new(shift: u32, slots: usize) -> Ring<E> {
        Ring {
            shift,
            base: 0,
            heads: vec![NONE; slots],
            occupied: vec![0; slots / 64],
            nodes: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn start_at(&mut self, time: u64) {
        self.base = time >> self.shift;
    }

    /// How many buckets after the current one this instant lies.
    #[inline]
    pub(super) fn distance(&self, time: u64) -> usize {
        (time >> self.shift).saturating_sub(self.base) as usize
    }

    pub(super) fn reaches(&self, time: u64) -> bool {
        self.distance(time) < self.slots()
    }

    #[inline]
    pub(super) fn push(&mut self, item: Item<E>) {
        let slot = (item.time >> self.shift) as usize & (self.heads.len() - 1);
        let node = Node {
            item,
            next: self.heads[slot],
        };
        let at = self.free;
        if at == NONE {
            self.heads[slot] = self.nodes.len() as u32;
            self.nodes.push(node);
        } else {
            self.free = self.nodes[at as usize].next;
            self.nodes[at as usize] = node;
            self.heads[slot] = at;
        }
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Moves on to the next bucket that holds anything, and its events, sorted, into `current`.
    #[inline]
    pub(super) fn take_next(&mut self, current: &mut Vec<Item<E>>) -> bool {
        if self.len == 0 {
            return false;
        }
        let slot = self.next_slot();
        let mask = self.heads.len() - 1;
        self.base += (slot.wrapping_sub(self.base as usize) & mask) as u64;
        let mut at = self.heads[slot];
        self.heads[slot] = NONE;
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        while at != NONE {
            let node = &mut self.nodes[at as usize];
            current.push(node.item);
            let next = node.next;
            node.next = self.free;
            self.free = at;
            at = next;
        }
        self.len -= current.len();
        sort(current);
        true
    }

    /// The first slot after the current one that holds anything; some slot does.
    #[inline]
    fn next_slot(&self) -> usize {
        let mask = self.heads.len() - 1;
        let start = (self.base as usize + 1) & mask;
        let mut word = start / 64;
        let mut bits = self.occupied[word] & (u64::MAX << (start % 64));
        while bits == 0 {
            word = (word + 1) & (self.occupied.len() - 1);
            bits = self.occupied[word];
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    /// All events, those of one instant in the order of their scheduling.
    pub(super) fn into_items(mut self) -> Vec<Item<E>> {
        let mut items = Vec::with_capacity(self.len);
        let mut bucket = Vec::new();
        while self.take_next(&mut bucket) {
            items.append(&mut bucket);
        }
        items
    }

    pub(super) fn invariants(&self) {
        let mut found = 0;
        for (slot, head) in self.heads.iter().enumerate() {
            let bit = self.occupied[slot / 64] >> (slot % 64) & 1;
            assert_eq!(bit == 1, *head != NONE);
            let mut at = *head;
            while at != NONE {
                let node = &self.nodes[at as usize];
                assert!(self.reaches(node.item.time) && self.distance(node.item.time) > 0);
                found += 1;
                at = node.next;
            }
        }
        assert_eq!(found, self.len);
    }
}

/// Sorts a bucket, whose events come in the reverse order of their scheduling; that order is kept within an instant.
#[inline]
fn sort<E: Copy>(bucket: &mut [Item<E>]) {
    /// Up to this many, a plain insertion is faster than what the standard library does to be good at all sizes.
    const FEW: usize = 24;
    if bucket.len() > FEW {
        bucket.reverse();
        bucket.sort_by_key(|item| item.time);
        return;
    }
    // From the back, so that reversing and sorting are one: each is inserted before those of its own time.
    for next in 1..bucket.len() {
        let item = bucket[next];
        let mut at = next;
        while at > 0 && bucket[at - 1].time >= item.time {
            bucket[at] = bucket[at - 1];
            at -= 1;
        }
        bucket[at] = item;
    }
}
