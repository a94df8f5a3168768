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

use self::ring::Ring;

mod ring;

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
        // Half an event a bucket: empty ones are skipped by the word, and one that holds a single event needs no
        // sorting. The ring reaches four times as far as the mean event, or has its greatest size and wide buckets.
        let pending = self.ring.len + self.far.len();
        let slots = self.ring.slots();
        let mut fitting = (8 * pending).next_power_of_two().clamp(SLOTS_MIN, SLOTS_MAX);
        let width = (4.0 * pending as f64 / fitting as f64).max(0.5) * passed as f64 / popped as f64;
        let ideal = libm::log2(width).clamp(0.0, 50.0);
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

#[cfg(test)]
mod tests;
