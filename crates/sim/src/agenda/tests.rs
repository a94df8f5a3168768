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
    // 10 000 events a second, half of one to a bucket: 50 µs.
    assert!((14..=17).contains(&agenda.ring.shift), "{}", agenda.ring.shift);
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
