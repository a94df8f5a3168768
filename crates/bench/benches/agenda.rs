//! One event of the agenda: pop, push, and one exponential draw (the hold model of Jones, 1986), in nanoseconds,
//! beside a binary heap and beside nexosim on the same machine in the same run.
//!
//! nexosim schedules models and mailboxes, not bare events, and does more for each; it is here as the measure of
//! what a general simulator costs. `cargo bench -p seawall-bench --bench agenda`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says so"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Instant;

use seawall_core::draw;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_sim::agenda::Agenda;

const MEAN: Span = Span::millis(10);
/// Short rounds, many of them, so that the best one was not disturbed.
const EVENTS: u64 = 50_000;
const WARM_UP: u64 = 1_000_000;
const ROUNDS: usize = 60;

/// An event of the size that engines use.
type Event = [u64; 2];

/// What the ground truth gives as the floor of a bucket ring, in nanoseconds.
const FLOORS: [(usize, f64); 3] = [(64, 19.0), (10_000, 24.0), (100_000, 50.0)];

fn main() {
    println!("ns per event, the best of {ROUNDS} rounds of {EVENTS} events");
    println!(
        "{:>8}  {:>7}  {:>6}  {:>6}  {:>11}  {:>8}",
        "pending", "agenda", "floor", "lanes", "binary heap", "nexosim"
    );
    for (pending, floor) in FLOORS {
        println!(
            "{pending:>8}  {:>7.1}  {floor:>6.0}  {:>6.1}  {:>11.1}  {:>8.0}",
            agenda(pending),
            lanes(pending),
            heap(pending),
            other::nexosim(pending),
        );
    }
    let mut rng = Seed(1).stream("bench", 0);
    let draws = best(|| {
        timed(EVENTS, || {
            black_box((0..EVENTS).map(|_| draw::exponential(&mut rng)).sum::<f64>());
        })
    });
    println!("one exponential draw: {draws:.1} ns");
}

fn best(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn timed(events: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / events as f64
}

fn increment(rng: &mut Stream) -> Span {
    MEAN.scaled(draw::exponential(rng))
}

fn agenda(pending: usize) -> f64 {
    let mut rng = Seed(1).stream("bench", 0);
    let mut agenda: Agenda<Event> = Agenda::new();
    for number in 0..pending {
        agenda.push(Time::ZERO + increment(&mut rng), [number as u64, 0]);
    }
    let mut hold = |events: u64| {
        for _ in 0..events {
            if let Some((now, event)) = agenda.pop() {
                agenda.push(now + increment(&mut rng), event);
            }
        }
    };
    hold(WARM_UP);
    best(|| timed(EVENTS, || hold(EVENTS)))
}

/// The same with half of the events at one of four fixed delays.
fn lanes(pending: usize) -> f64 {
    let mut rng = Seed(1).stream("bench", 0);
    let mut agenda: Agenda<Event> = Agenda::new();
    let lanes: Vec<_> = (1..5).map(|n| (agenda.lane(), Span::millis(4 * n))).collect();
    for number in 0..pending {
        agenda.push(Time::ZERO + increment(&mut rng), [number as u64, 0]);
    }
    let mut hold = |events: u64| {
        for _ in 0..events {
            let Some((now, event)) = agenda.pop() else { break };
            let choice = rng.bits() as usize % 8;
            match lanes.get(choice) {
                Some((lane, delay)) => agenda.push_lane(*lane, now + *delay, event),
                None => agenda.push(now + increment(&mut rng), event),
            }
        }
    };
    hold(WARM_UP);
    best(|| timed(EVENTS, || hold(EVENTS)))
}

fn heap(pending: usize) -> f64 {
    let mut rng = Seed(1).stream("bench", 0);
    let mut heap: BinaryHeap<Reverse<(u64, u64, Event)>> = BinaryHeap::new();
    for number in 0..pending as u64 {
        heap.push(Reverse((increment(&mut rng).as_nanos(), number, [number, 0])));
    }
    let mut order = pending as u64;
    let mut hold = |events: u64| {
        for _ in 0..events {
            if let Some(Reverse((now, _, event))) = heap.pop() {
                order += 1;
                heap.push(Reverse((now + increment(&mut rng).as_nanos(), order, event)));
            }
        }
    };
    hold(WARM_UP);
    best(|| timed(EVENTS, || hold(EVENTS)))
}

/// nexosim, on one thread: one model, each of whose events schedules the next.
mod other {
    use std::time::Duration;

    use nexosim::model::{Context, Model, schedulable};
    use nexosim::simulation::{Mailbox, SimInit};
    use nexosim::time::MonotonicTime;
    use seawall_core::rng::{Seed, Stream};
    use serde::{Deserialize, Serialize};

    use super::{EVENTS, MEAN, WARM_UP, best, increment, timed};

    #[derive(Serialize, Deserialize)]
    struct Hold {
        pending: usize,
        #[serde(skip)]
        rng: Option<Stream>,
    }

    #[Model]
    #[expect(clippy::unused_async, reason = "what nexosim calls is async")]
    impl Hold {
        #[nexosim(init)]
        async fn init(&mut self, cx: &Context<Self>) {
            for _ in 0..self.pending {
                self.schedule(cx);
            }
        }

        #[nexosim(schedulable)]
        async fn happen(&mut self, (): (), cx: &Context<Self>) {
            self.schedule(cx);
        }

        fn schedule(&mut self, cx: &Context<Self>) {
            let Some(rng) = &mut self.rng else { return };
            let delay = Duration::from(increment(rng)).max(Duration::from_nanos(1));
            cx.schedule_event(delay, schedulable!(Self::happen), ())
                .expect("the delay is not zero");
        }
    }

    /// Nanoseconds per event, or not a number when it does not run here.
    pub(super) fn nexosim(pending: usize) -> f64 {
        let rng = Some(Seed(1).stream("bench", 0));
        let simulation = SimInit::with_num_threads(1)
            .add_model(Hold { pending, rng }, Mailbox::new(), "hold")
            .init(MonotonicTime::EPOCH);
        let Ok(mut simulation) = simulation else {
            return f64::NAN;
        };
        // Each of the pending events happens once in a mean.
        let run = MEAN.scaled(EVENTS as f64 / pending as f64);
        let mut done = simulation
            .step_until(Duration::from(run.scaled(WARM_UP as f64 / EVENTS as f64 / 4.0)))
            .is_ok();
        let nanos = best(|| {
            timed(EVENTS, || {
                done &= simulation.step_until(Duration::from(run)).is_ok();
            })
        });
        if done { nanos } else { f64::NAN }
    }
}
