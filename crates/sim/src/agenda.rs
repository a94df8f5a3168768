//! The agenda: what happens next.
//!
//! Events come out by time, and those of one instant in the order in which they were scheduled; this is what makes
//! a run repeatable. The near future is a ring of buckets (Brown, "Calendar queues", 1988), of which only the
//! current one is sorted; what lies beyond the ring waits in a heap. The width of a bucket and the size of the ring
//! follow the events, so push and pop take constant time on average, from ten pending events to a million. Delays
//! that are always the same belong in a [`Lane`], a plain queue beside the ring.
//!
//! There is no removal: who no longer wants an event recognises it when it comes (see [`crate::slab`]).
//!
//! ```
//! use seawall_core::time::{Span, Time};
//! use seawall_sim::agenda::Agenda;
//! let mut agenda = Agenda::new();
//! let timeouts = agenda.lane();
//! let at = |ms| Time::ZERO + Span::millis(ms);
//! agenda.push_lane(timeouts, at(500), "timeout");
//! agenda.push(at(500), "answer");
//! agenda.push(at(20), "arrival");
//! assert_eq!(agenda.peek(), Some(at(20)));
//! assert_eq!(agenda.pop(), Some((at(20), "arrival")));
//! assert_eq!(agenda.pop(), Some((at(500), "timeout")), "scheduled first");
//! assert_eq!(agenda.pop(), Some((at(500), "answer")));
//! assert_eq!(agenda.pop(), None);
//! ```

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use seawall_core::time::Time;

/// The end of a list of nodes.
const NONE: u32 = u32::MAX;
const SLOTS_MIN: usize = 64;
const SLOTS_MAX: usize = 1 << 18;
/// Beyond this many events in the current bucket, one that belongs in their middle is put aside.
const SHIFT_MAX: usize = 128;
/// The width of a bucket is reconsidered after this many events, and after as many as are pending.
const TUNE_EVENTS: u64 = 512;

/// Events in the order of their time, then of their scheduling.
#[derive(Clone, Debug)]
pub struct Agenda<E> {
    /// The current bucket, sorted; what is before `head` has been popped.
    current: Vec<Item<E>>,
    head: usize,
    /// Events of the current bucket that came when it was long; all are earlier than its last.
    aside: BinaryHeap<Far<E>>,
    ring: Ring<E>,
    /// What lies beyond the ring.
    far: BinaryHeap<Far<E>>,
    lanes: Vec<VecDeque<Item<E>>>,
    /// The lane whose first event is the earliest of all lanes'.
    first_lane: Option<First>,
    now: u64,
    scheduled: u32,
    put_far: u64,
    len: usize,
    tuning: Tuning,
}

/// A queue within an agenda, for events whose times never fall: those of one fixed delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(u32);

#[derive(Clone, Copy, Debug)]
struct First {
    time: u64,
    order: u32,
    lane: u32,
}

#[derive(Clone, Copy, Debug)]
struct Item<E> {
    time: u64,
    /// The order of scheduling, modulo 2³²: it decides between a lane and the ring at one instant. Elsewhere, order
    /// is kept by position.
    order: u32,
    event: E,
}

/// An event in a heap, with an order of its own.
#[derive(Clone, Copy, Debug)]
struct Far<E> {
    order: u64,
    item: Item<E>,
}

/// What has been seen since the width was last considered.
#[derive(Clone, Copy, Debug, Default)]
struct Tuning {
    since: u64,
    popped: u64,
    far: u64,
}

impl<E: Copy> Default for Agenda<E> {
    fn default() -> Self {
        Agenda::new()
    }
}

impl<E: Copy> Agenda<E> {
    /// An agenda with nothing on it.
    pub fn new() -> Agenda<E> {
        Agenda {
            current: Vec::new(),
            head: 0,
            aside: BinaryHeap::new(),
            ring: Ring::new(16, 256),
            far: BinaryHeap::new(),
            lanes: Vec::new(),
            first_lane: None,
            now: 0,
            scheduled: 0,
            put_far: 0,
            len: 0,
            tuning: Tuning::default(),
        }
    }

    /// A new lane. All lanes are looked at now and then, so let there be tens of them, not thousands: one for each
    /// delay, not for each entity.
    pub fn lane(&mut self) -> Lane {
        self.lanes.push(VecDeque::new());
        Lane(self.lanes.len() as u32 - 1)
    }

    /// How many events are pending.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Schedules an event. One in the past happens at once; one at [`Time::NEVER`] is not kept.
    #[inline]
    pub fn push(&mut self, time: Time, event: E) {
        if time == Time::NEVER {
            return;
        }
        let item = self.item(time, event);
        self.place(item);
    }

    /// Schedules an event whose time is that of the last event of this lane or later; otherwise (a delay was
    /// shortened meanwhile) it is scheduled like any other.
    #[inline]
    pub fn push_lane(&mut self, lane: Lane, time: Time, event: E) {
        if time == Time::NEVER {
            return;
        }
        let item = self.item(time, event);
        let queue = &mut self.lanes[lane.0 as usize];
        match queue.back() {
            Some(last) if last.time > item.time => self.place(item),
            Some(_) => queue.push_back(item),
            None => {
                queue.push_back(item);
                let earlier = self.first_lane.is_none_or(|first| item.time < first.time);
                if earlier {
                    self.first_lane = Some(First {
                        time: item.time,
                        order: item.order,
                        lane: lane.0,
                    });
                }
            }
        }
    }

    /// The time of the next event.
    #[inline]
    pub fn peek(&mut self) -> Option<Time> {
        let ring = self.next_in_ring().map(|(time, _)| time);
        let lane = self.first_lane.map(|first| first.time);
        match (ring, lane) {
            (Some(a), Some(b)) => Some(Time::from_nanos(a.min(b))),
            (a, b) => a.or(b).map(Time::from_nanos),
        }
    }

    /// The next event and its time, which is never before that of the one popped last.
    #[inline]
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let next = self.next_in_ring();
        let item = match (next, self.first_lane) {
            (None, None) => return None,
            (Some((time, order)), Some(first)) => {
                let lane_first = before((first.time, first.order), (time, order));
                if lane_first {
                    self.pop_lane(first)
                } else {
                    self.pop_ring()
                }
            }
            (Some(_), None) => self.pop_ring(),
            (None, Some(first)) => self.pop_lane(first),
        };
        let item = item?;
        self.len -= 1;
        self.now = item.time;
        Some((Time::from_nanos(item.time), item.event))
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        let lanes: usize = self.lanes.iter().map(VecDeque::len).sum();
        let current = self.current.len() - self.head;
        assert_eq!(
            self.len,
            current + self.aside.len() + self.ring.len + self.far.len() + lanes
        );
        assert!(self.current[self.head..].is_sorted_by_key(|item| item.time));
        assert!(
            self.aside.is_empty() || current > 0,
            "what is aside is earlier than the last of the bucket"
        );
        assert!(
            self.far
                .peek()
                .is_none_or(|far| !self.ring.reaches(far.item.time))
        );
        for lane in &self.lanes {
            assert!(lane.iter().is_sorted_by_key(|item| item.time));
        }
        let first = self
            .lanes
            .iter()
            .filter_map(|lane| lane.front())
            .map(|item| item.time)
            .min();
        assert_eq!(first, self.first_lane.map(|first| first.time));
        self.ring.invariants();
    }

    #[inline]
    fn item(&mut self, time: Time, event: E) -> Item<E> {
        self.len += 1;
        self.scheduled = self.scheduled.wrapping_add(1);
        Item {
            time: time.as_nanos().max(self.now),
            order: self.scheduled,
            event,
        }
    }

    #[inline]
    fn place(&mut self, item: Item<E>) {
        match self.ring.distance(item.time) {
            0 => self.place_now(item),
            distance if distance < self.ring.slots() => self.ring.push(item),
            _ => self.place_far(item),
        }
    }

    #[inline]
    fn place_now(&mut self, item: Item<E>) {
        if self.head == self.current.len() {
            self.tuning.popped += self.head as u64;
            self.current.clear();
            self.head = 0;
        }
        if self.current.last().is_none_or(|last| last.time <= item.time) {
            self.current.push(item);
            return;
        }
        // Once anything is aside, all that is not last goes there, or two of one instant might change places.
        if self.current.len() - self.head > SHIFT_MAX || !self.aside.is_empty() {
            self.put_far += 1;
            self.aside.push(Far {
                order: self.put_far,
                item,
            });
            return;
        }
        let mut at = self.current.len();
        while at > self.head && self.current[at - 1].time > item.time {
            at -= 1;
        }
        self.current.insert(at, item);
    }

    #[cold]
    fn place_far(&mut self, item: Item<E>) {
        self.put_far += 1;
        self.tuning.far += 1;
        self.far.push(Far {
            order: self.put_far,
            item,
        });
    }

    /// Time and order of the ring's next event, which is made to stand in the current bucket.
    #[inline]
    fn next_in_ring(&mut self) -> Option<(u64, u32)> {
        if self.head == self.current.len() && !self.advance() {
            return None;
        }
        let next = &self.current[self.head];
        match self.aside.peek() {
            // At one instant, what was put aside came later.
            Some(far) if far.item.time < next.time => Some((far.item.time, far.item.order)),
            _ => Some((next.time, next.order)),
        }
    }

    #[inline]
    fn pop_ring(&mut self) -> Option<Item<E>> {
        let next = self.current[self.head];
        if self.aside.peek().is_some_and(|far| far.item.time < next.time) {
            return self.aside.pop().map(|far| far.item);
        }
        self.head += 1;
        Some(next)
    }

    fn pop_lane(&mut self, first: First) -> Option<Item<E>> {
        let item = self.lanes[first.lane as usize].pop_front();
        let mut found: Option<First> = None;
        for (lane, queue) in self.lanes.iter().enumerate() {
            let Some(item) = queue.front() else { continue };
            let earlier =
                found.is_none_or(|first| before((item.time, item.order), (first.time, first.order)));
            if earlier {
                found = Some(First {
                    time: item.time,
                    order: item.order,
                    lane: lane as u32,
                });
            }
        }
        self.first_lane = found;
        item
    }

    /// Makes the next bucket that holds anything the current one; false when there is none.
    fn advance(&mut self) -> bool {
        self.tuning.popped += self.current.len() as u64;
        self.current.clear();
        self.head = 0;
        if self.tuning.popped >= TUNE_EVENTS.max(self.ring.len as u64) {
            self.tune();
            if !self.current.is_empty() {
                return true;
            }
        }
        if !self.ring.take_next(&mut self.current) {
            let Some(far) = self.far.peek() else { return false };
            self.ring.start_at(far.item.time);
        }
        self.draw_near();
        true
    }

    /// Moves what the ring now reaches from the heap to the ring.
    #[inline]
    fn draw_near(&mut self) {
        while let Some(far) = self.far.peek() {
            if !self.ring.reaches(far.item.time) {
                break;
            }
            let item = far.item;
            self.far.pop();
            if self.ring.distance(item.time) == 0 {
                self.current.push(item);
            } else {
                self.ring.push(item);
            }
        }
    }

    /// Fits the width to the rate of events, and the ring to their number. The current bucket is empty.
    #[cold]
    fn tune(&mut self) {
        let Tuning { since, popped, far } = self.tuning;
        self.tuning = Tuning {
            since: self.now,
            ..Tuning::default()
        };
        let passed = self.now.saturating_sub(since);
        if passed == 0 {
            return;
        }
        // Two events a bucket: longer ones cost sorting, shorter ones cost walking.
        let width = 2.0 * passed as f64 / popped as f64;
        let ideal = libm::log2(width).clamp(0.0, 50.0);
        let pending = self.ring.len + self.far.len();
        let slots = self.ring.slots();
        let mut fitting = (2 * pending).next_power_of_two().clamp(SLOTS_MIN, SLOTS_MAX);
        if far * 16 > popped {
            fitting = fitting.max((2 * slots).min(8 * fitting)).min(SLOTS_MAX);
        } else if fitting < slots && fitting * 8 > slots {
            fitting = slots;
        }
        if (ideal - f64::from(self.ring.shift)).abs() <= 1.0 && fitting == slots {
            return;
        }
        let shift = libm::round(ideal) as u32;
        let old = std::mem::replace(&mut self.ring, Ring::new(shift, fitting));
        self.ring.start_at(self.now);
        for item in old.into_items() {
            self.place(item);
        }
        self.draw_near();
        self.tuning.far = 0;
    }
}

/// Whether the first of two events, given as time and order, comes before the second.
#[inline]
fn before(a: (u64, u32), b: (u64, u32)) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1.wrapping_sub(b.1).cast_signed() < 0)
}

impl<E> PartialEq for Far<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Far<E> {}

impl<E> PartialOrd for Far<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Far<E> {
    /// Reversed, for the heap of the standard library puts the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.item.time, other.order).cmp(&(self.item.time, self.order))
    }
}

/// The near future: a ring of buckets, each a list of events in the reverse order of their scheduling.
#[derive(Clone, Debug)]
struct Ring<E> {
    /// Nanoseconds of a bucket, as a power of two.
    shift: u32,
    /// The number of the current bucket, whose events are not here.
    base: u64,
    heads: Vec<u32>,
    /// One bit for each bucket that holds anything.
    occupied: Vec<u64>,
    nodes: Vec<Node<E>>,
    free: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node<E> {
    item: Item<E>,
    next: u32,
}

impl<E: Copy> Ring<E> {
    fn new(shift: u32, slots: usize) -> Ring<E> {
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

    fn slots(&self) -> usize {
        self.heads.len()
    }

    fn start_at(&mut self, time: u64) {
        self.base = time >> self.shift;
    }

    /// How many buckets after the current one this instant lies.
    #[inline]
    fn distance(&self, time: u64) -> usize {
        (time >> self.shift).saturating_sub(self.base) as usize
    }

    fn reaches(&self, time: u64) -> bool {
        self.distance(time) < self.slots()
    }

    #[inline]
    fn push(&mut self, item: Item<E>) {
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
    fn take_next(&mut self, current: &mut Vec<Item<E>>) -> bool {
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
        if current.len() > 1 {
            // Back to the order of scheduling, which the sort keeps within an instant.
            current.reverse();
            current.sort_by_key(|item| item.time);
        }
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
    fn into_items(mut self) -> Vec<Item<E>> {
        let mut items = Vec::with_capacity(self.len);
        let mut bucket = Vec::new();
        while self.take_next(&mut bucket) {
            items.append(&mut bucket);
        }
        items
    }

    fn invariants(&self) {
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

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;
    use seawall_core::draw;
    use seawall_core::rng::Seed;
    use seawall_core::time::Span;

    use super::*;

    /// The agenda and, beside it, the plainest thing that does the same.
    #[derive(Default)]
    struct Pair {
        agenda: Agenda<u32>,
        heap: BinaryHeap<Reverse<(u64, u32)>>,
        now: u64,
        pushed: u32,
    }

    impl Pair {
        fn push(&mut self, lane: Option<Lane>, delay: u64) {
            let time = Time::from_nanos(self.now + delay);
            match lane {
                Some(lane) => self.agenda.push_lane(lane, time, self.pushed),
                None => self.agenda.push(time, self.pushed),
            }
            self.heap.push(Reverse((self.now + delay, self.pushed)));
            self.pushed += 1;
        }

        fn pop(&mut self) {
            let expected = self
                .heap
                .pop()
                .map(|Reverse((time, event))| (Time::from_nanos(time), event));
            assert_eq!(self.agenda.peek(), expected.map(|(time, _)| time));
            assert_eq!(self.agenda.pop(), expected);
            self.now = expected.map_or(self.now, |(time, _)| time.as_nanos());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn events_come_by_time_then_by_scheduling(
            ops in prop::collection::vec((0..8_u8, 0..6_u32, any::<u32>()), 1..400),
        ) {
            let mut pair = Pair::default();
            let lanes = [pair.agenda.lane(), pair.agenda.lane()];
            for (op, scale, delay) in ops {
                // Delays of all sizes, many of them equal.
                let delay = u64::from(delay % 7) << (6 * scale);
                match op {
                    0..=2 => pair.push(None, delay),
                    3 => pair.push(Some(lanes[0]), 5 << 12),
                    4 => pair.push(Some(lanes[1]), delay),
                    _ => pair.pop(),
                }
                pair.agenda.invariants();
            }
            while !pair.heap.is_empty() {
                pair.pop();
            }
            prop_assert!(pair.agenda.is_empty());
        }
    }

    #[test]
    fn the_order_holds_while_the_ring_is_fitted() {
        let mut rng = Seed(1).stream("agenda", 0);
        let mut pair = Pair::default();
        let lane = pair.agenda.lane();
        for phase in 0..6_u64 {
            // From nanoseconds to hours, from a few events to thousands.
            let mean = 30_f64.powi([1, 3, 7, 2, 0, 5][phase as usize]);
            for _ in 0..[50, 3_000, 20, 5_000, 400, 10][phase as usize] {
                pair.push(None, (mean * draw::exponential(&mut rng)) as u64);
            }
            for step in 0..8_000_u64 {
                pair.pop();
                match step % 8 {
                    0 => pair.push(Some(lane), 1_000_000),
                    1 => pair.push(None, 400 * mean as u64),
                    _ => pair.push(None, (mean * draw::exponential(&mut rng)) as u64),
                }
                if step % 500 == 0 {
                    pair.agenda.invariants();
                }
            }
        }
        while !pair.heap.is_empty() {
            pair.pop();
        }
    }

    #[test]
    fn a_crowd_at_one_instant_is_served_in_order() {
        let mut pair = Pair::default();
        for _ in 0..20_000 {
            pair.push(None, 100);
        }
        pair.push(None, 101);
        pair.pop();
        for _ in 0..5_000 {
            pair.push(None, 0);
        }
        pair.agenda.invariants();
        while !pair.heap.is_empty() {
            pair.pop();
        }
    }

    #[test]
    fn the_ring_fits_itself_to_the_events() {
        let mut rng = Seed(2).stream("agenda", 0);
        let mut agenda = Agenda::new();
        for _ in 0..10_000 {
            agenda.push(Time::ZERO + Span::secs(1).scaled(draw::exponential(&mut rng)), ());
        }
        for _ in 0..100_000 {
            let now = agenda.pop().map_or(Time::NEVER, |(now, ())| now);
            agenda.push(now + Span::secs(1).scaled(draw::exponential(&mut rng)), ());
        }
        // 10 000 events a second, two to a bucket: 200 µs.
        assert!((16..=19).contains(&agenda.ring.shift), "{}", agenda.ring.shift);
        assert!(agenda.far.len() < 1_000, "{}", agenda.far.len());
        assert!(agenda.ring.nodes.len() <= 10_001);
    }

    #[test]
    fn the_past_is_now_and_never_is_not_kept() {
        let mut agenda = Agenda::new();
        let lane = agenda.lane();
        agenda.push(Time::from_nanos(50), 'a');
        agenda.push(Time::NEVER, 'x');
        agenda.push_lane(lane, Time::NEVER, 'x');
        agenda.pop();
        agenda.push(Time::from_nanos(10), 'b');
        assert_eq!(agenda.pop(), Some((Time::from_nanos(50), 'b')));
        agenda.push_lane(lane, Time::from_nanos(90), 'd');
        agenda.push_lane(lane, Time::from_nanos(70), 'c');
        agenda.invariants();
        assert_eq!(
            agenda.pop(),
            Some((Time::from_nanos(70), 'c')),
            "a shortened delay is no lane's"
        );
        assert_eq!(agenda.pop(), Some((Time::from_nanos(90), 'd')));
        assert_eq!(agenda.pop(), None);
    }
}
