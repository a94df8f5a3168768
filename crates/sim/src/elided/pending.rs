//! When each key of a client asks next: one instant a key, for millions of keys.
//!
//! A bucket ring without the ring: one list for each slice of the run, because what lies beyond the run's end never
//! happens. A slice is sorted when its time comes. An instant within its slice and the key fit into 8 bytes, so a push
//! is an append and a slice is read in order; what is pushed into a slice that has begun goes into a small heap. It
//! takes nothing out: who moves a key pushes it again and knows the older instant when it comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use seawall_core::time::Time;

/// The most keys: their number is kept in 32 bits.
pub(super) const KEYS_MAX: u64 = 1 << 27;

/// At most this many slices.
const SLICES_MAX: u64 = 1 << 13;
/// A slice is at most 2³¹ nanoseconds long, which is two seconds.
const SHIFT_MAX: u32 = 31;
/// Spent lists that are kept for their memory.
const SPARE_MAX: usize = 64;

pub(super) struct Pending {
    /// A slice is two to this power nanoseconds long.
    shift: u32,
    end: Time,
    slices: Vec<Vec<u64>>,
    /// All slices before this one have begun.
    begun: usize,
    /// The slice that has begun, latest first.
    due: Vec<u64>,
    /// Where the slice that has begun begins.
    due_from: u64,
    late: BinaryHeap<Reverse<(Time, u32)>>,
    spare: Vec<Vec<u64>>,
}

impl Pending {
    /// Nothing pending, for a run that ends at `end`.
    pub(super) fn new(end: Time) -> Pending {
        let nanos = end.as_nanos();
        let mut shift = 16;
        while shift < SHIFT_MAX && nanos >> shift >= SLICES_MAX {
            shift += 1;
        }
        Pending {
            shift,
            end,
            slices: vec![Vec::new(); (nanos >> shift) as usize + 1],
            begun: 0,
            due: Vec::new(),
            due_from: 0,
            late: BinaryHeap::new(),
            spare: Vec::new(),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slices.iter_mut().for_each(Vec::clear);
        self.due.clear();
        self.late.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, at: Time, key: u32) {
        if at >= self.end {
            return;
        }
        let slice = (at.as_nanos() >> self.shift) as usize;
        if slice < self.begun {
            self.late.push(Reverse((at, key)));
            return;
        }
        let within = at.as_nanos() & ((1 << self.shift) - 1);
        let list = &mut self.slices[slice];
        if list.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *list = spare;
        }
        list.push(within << 32 | u64::from(key));
    }

    /// The earliest instant; [`Time::NEVER`] when nothing is pending before the end.
    #[inline]
    pub(super) fn peek(&mut self) -> Time {
        if self.due.is_empty() && self.late.is_empty() {
            self.begin_next();
        }
        let due = self.due.last().map_or(Time::NEVER, |packed| self.at(*packed));
        let late = self.late.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        due.min(late)
    }

    /// The earliest instant and its key. At one instant, the lower key comes first.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<(Time, u32)> {
        if self.due.is_empty() && self.late.is_empty() {
            self.begin_next();
        }
        let due = self.due.last().map(|packed| (self.at(*packed), *packed as u32));
        let late = self.late.peek().map(|Reverse(late)| *late);
        match (due, late) {
            (Some(due), Some(late)) if late < due => self.late.pop(),
            (None, Some(_)) => self.late.pop(),
            _ => return self.due.pop().and(due),
        };
        late
    }

    /// Keys that come soon, the next one last: what they will touch can be read ahead.
    pub(super) fn soon(&self, count: usize) -> impl Iterator<Item = u64> + '_ {
        let from = self.due.len().saturating_sub(count);
        self.due[from..].iter().map(|packed| packed & 0xffff_ffff)
    }

    /// How many are left of the slice that has begun.
    pub(super) fn left(&self) -> usize {
        self.due.len()
    }

    fn at(&self, packed: u64) -> Time {
        Time::from_nanos(self.due_from + (packed >> 32))
    }

    fn begin_next(&mut self) {
        while self.begun < self.slices.len() {
            let slice = self.begun;
            self.begun += 1;
            if self.slices[slice].is_empty() {
                continue;
            }
            let spent = std::mem::replace(&mut self.due, std::mem::take(&mut self.slices[slice]));
            if self.spare.len() < SPARE_MAX && spent.capacity() > 0 {
                self.spare.push(spent);
            }
            self.due_from = (slice as u64) << self.shift;
            self.due.sort_unstable_by_key(|packed| Reverse(*packed));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seawall_core::time::Span;

    const END: Time = Time::from_nanos(20_000_000_000);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_queue_in_order_of_time(ops in prop::collection::vec((0..3_u8, 0..25_000_000_000_u64, 0..9_u32), 1..300)) {
            let mut pending = Pending::new(END);
            let mut plain: Vec<(Time, u32)> = Vec::new();
            let mut now = Time::ZERO;
            for (op, nanos, key) in ops {
                if op > 0 {
                    // Some soon, some late, some never.
                    let at = now + Span::nanos(if op == 1 { nanos / 100_000 } else { nanos });
                    pending.push(at, key);
                    if at < END {
                        plain.push((at, key));
                    }
                } else {
                    plain.sort_unstable();
                    let first = (!plain.is_empty()).then(|| plain.remove(0));
                    prop_assert_eq!(pending.peek(), first.map_or(Time::NEVER, |(at, _)| at));
                    prop_assert_eq!(pending.pop(), first);
                    now = first.map_or(now, |(at, _)| at);
                }
            }
            plain.sort_unstable();
            for first in plain {
                prop_assert_eq!(pending.pop(), Some(first));
            }
            prop_assert_eq!(pending.pop(), None);
        }
    }

    #[test]
    fn what_comes_soon_is_known_and_can_be_forgotten() {
        let mut pending = Pending::new(END);
        for key in 0..5 {
            pending.push(Time::from_nanos(1_000 + u64::from(key)), key);
        }
        assert_eq!(pending.pop(), Some((Time::from_nanos(1_000), 0)));
        assert_eq!(pending.soon(2).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(pending.left(), 4);
        pending.clear();
        assert_eq!(pending.peek(), Time::NEVER);
    }
}
