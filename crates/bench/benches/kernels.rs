//! What one request costs in the kernels of the exact engine, in nanoseconds: a key, a look-up in a cache node, a
//! query on a database node. `cargo bench -p seawall-bench --bench kernels`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says so"
)]

use std::hint::black_box;
use std::time::Instant;

use seawall_core::arrivals::{Arrivals, Spacing};
use seawall_core::dist::Dist;
use seawall_core::keys::{Keys, Law};
use seawall_core::link::Link;
use seawall_core::processor::{Curve, Processor};
use seawall_core::rng::Seed;
use seawall_core::time::{Span, Time};
use seawall_sim::store::{Settings, Store};

const KEYS: u64 = 1_000_000;
/// Short rounds, many of them, so that the best one was not disturbed.
const TIMES: usize = 50_000;
const ROUNDS: usize = 60;

fn main() {
    let mut rng = Seed(1).stream("bench", 0);
    let keys = Keys::new(Law::Zipf {
        count: KEYS,
        exponent: 0.9,
    });
    say("a key of a million by Zipf", || {
        black_box((0..TIMES).fold(0, |sum: u64, _| sum.wrapping_add(keys.draw(&mut rng))));
    });
    let asked: Vec<u64> = (0..TIMES * ROUNDS).map(|_| keys.draw(&mut rng)).collect();
    for (name, capacity, dense_keys) in [
        ("a look-up among a million, unbounded, by table", None, KEYS),
        ("a look-up among a million, unbounded, by hashing", None, 0),
        (
            "a look-up among a million, LRU, by table",
            Some(KEYS as usize),
            KEYS,
        ),
    ] {
        let mut store: Store<[u64; 6]> = Store::new(Settings {
            capacity,
            evict: true,
            dense_keys,
        });
        for key in 0..KEYS {
            store.insert(Time::ZERO, key, Time::NEVER, [key; 6]);
        }
        let mut rounds = asked.chunks_exact(TIMES);
        say(name, || {
            for key in rounds.next().unwrap_or_default() {
                black_box(store.lookup(Time::ZERO, *key).map(|slot| slot.record[0]));
            }
        });
    }
    let mut arrivals = Arrivals::new(Spacing::Poisson, 1e6, &[]);
    say("an arrival", || {
        for _ in 0..TIMES {
            black_box(arrivals.next(&mut rng));
        }
    });
    let mut link = Link::pooled(Dist::Normal {
        mean: Span::millis(1),
        deviation: Span::micros(100),
    });
    say("a message over a healthy link, normal latency", || {
        for _ in 0..TIMES {
            black_box(link.send(Time::ZERO, 100, &mut rng));
        }
    });
    let mut node = Processor::new(Curve::Servers(50.0), 1.0);
    let work = Dist::Exponential {
        mean: Span::millis(1),
    };
    for id in 0..100 {
        node.begin(Time::ZERO, id, work.draw(&mut rng));
    }
    say("a query among a hundred, from begin to finish", || {
        let mut now = Time::ZERO;
        for id in 0..TIMES as u64 {
            now = node.next().map_or(now, |next| next.max(now));
            black_box(node.finish(now));
            node.begin(now, id, work.draw(&mut rng));
        }
    });
}

fn say(name: &str, mut round: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / TIMES as f64
        })
        .fold(f64::INFINITY, f64::min);
    println!("{best:>7.1} ns  {name}");
}
