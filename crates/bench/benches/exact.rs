//! The exact engine on one thread at the flush benchmark: a million requests a second for a million keys (Zipf, 0.9),
//! TTL 60 s, a warm cache, a flush at 8 s and its ripple one TTL later, 70 s; with no policy and with a full guard, beside the same loop written for nexosim, in one run.
//!
//! Two runs of different length are timed and their difference is counted, so that building the tables of keys is not;
//! the whole of the longer run is printed too. `cargo bench -p seawall-bench --bench exact`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures time and says so, and its input is its own"
)]

use std::time::Instant;

use seawall_scenario::{Document, Scenario};
use seawall_sim::{Engine, Options, simulate};

const FLUSH: &str = include_str!("flush.toml");
const MIGRATION: &str = include_str!("../../../scenarios/redis-migration.toml");
const ROUNDS: usize = 3;

fn main() {
    let options = Options {
        seed: 1,
        run: 0,
        scale: 1.0,
        engine: Engine::Exact,
    };
    let long = Document::parse("flush.toml", FLUSH).expect("a good document");
    // The short run is without the flush, so that all of it lies in the difference.
    let (head, tail) = FLUSH.split_once("[[timeline]]").expect("a flush");
    let (_, variants) = tail.split_once("[variant.bare]").expect("a bare variant");
    let short = format!("{head}[variant.bare]{variants}");
    let short = Document::parse("flush.toml", &short).expect("a good document");
    println!("million requests a second, the best of {ROUNDS}");
    println!(
        "{:>22}  {:>7}  {:>10}  {:>6}",
        "", "engine", "with setup", "wanted"
    );
    let only = std::env::args().nth(1).filter(|name| !name.starts_with('-'));
    for (variant, wanted) in [("bare", 10.0), ("guarded", 5.0)] {
        if only.as_deref().is_some_and(|only| only != variant) {
            continue;
        }
        let run = |document: &Document, duration| {
            let scenario = document
                .scenario(variant, &[("run.duration", duration)])
                .expect("a good variant");
            timed(&scenario, &options)
        };
        let (short, long) = (run(&short, "2s"), run(&long, "70s"));
        let net = (long.requests - short.requests) as f64 / (long.seconds - short.seconds) / 1e6;
        let gross = long.requests as f64 / long.seconds / 1e6;
        println!("{variant:>22}  {net:>7.2}  {gross:>10.2}  {wanted:>6.1}");
    }
    if only.is_some() {
        return;
    }
    let peer = other::flush();
    println!(
        "{:>22}  {peer:>7.2}  {:>10}  {:>6}",
        "the loop in nexosim", "", ""
    );
    let document = Document::parse("redis-migration.toml", MIGRATION).expect("a good document");
    let scenario = document.scenario("as-seen", &[]).expect("a good variant");
    let run = timed(&scenario, &options);
    println!(
        "redis-migration: {} requests in {:.1} ms (wanted: under 50 ms)",
        run.requests,
        run.seconds * 1e3
    );
}

struct Timed {
    requests: u64,
    seconds: f64,
}

fn timed(scenario: &Scenario, options: &Options) -> Timed {
    let mut best = Timed {
        requests: 0,
        seconds: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let run = simulate(scenario, options, &|_| {}).expect("a scenario that can be played");
        let seconds = start.elapsed().as_secs_f64();
        if seconds < best.seconds {
            best = Timed {
                requests: run.requests,
                seconds,
            };
        }
    }
    best
}

mod other {
    use std::time::{Duration, Instant};

    use nexosim::model::{Context, Model, schedulable};
    use nexosim::simulation::{Mailbox, SimInit};
    use nexosim::time::MonotonicTime;
    use seawall_core::draw;
    use seawall_core::keys::{Keys, Law};
    use seawall_core::rng::{Seed, Stream};
    use serde::{Deserialize, Serialize};

    const KEYS: u64 = 1_000_000;
    const TTL_NANOS: u64 = 60_000_000_000;

    /// Arrivals, a table of expiries, and an event of 1 ms for each miss: no guard, no threads, no record.
    #[derive(Serialize, Deserialize)]
    struct Flush {
        now: u64,
        hits: u64,
        #[serde(skip)]
        expires: Vec<u64>,
        #[serde(skip)]
        tools: Option<(Keys, Stream)>,
    }

    #[Model]
    #[expect(clippy::unused_async, reason = "what nexosim calls is async")]
    impl Flush {
        #[nexosim(init)]
        async fn init(&mut self, cx: &Context<Self>) {
            self.next(cx);
        }

        #[nexosim(schedulable)]
        async fn arrive(&mut self, delay: u64, cx: &Context<Self>) {
            self.now += delay;
            if let Some((keys, rng)) = &mut self.tools {
                let key = keys.draw(rng);
                if self.expires[key as usize] > self.now {
                    self.hits += 1;
                } else {
                    let fetch = Duration::from_millis(1);
                    cx.schedule_event(fetch, schedulable!(Self::fetched), key)
                        .expect("the delay is not zero");
                }
            }
            self.next(cx);
        }

        #[nexosim(schedulable)]
        async fn fetched(&mut self, key: u64) {
            self.expires[key as usize] = self.now + TTL_NANOS;
        }

        fn next(&mut self, cx: &Context<Self>) {
            let Some((_, rng)) = &mut self.tools else { return };
            let delay = (draw::exponential(rng) * 1_000.0) as u64 + 1;
            cx.schedule_event(Duration::from_nanos(delay), schedulable!(Self::arrive), delay)
                .expect("the delay is not zero");
        }
    }

    /// Million requests a second, or not a number when it does not run here.
    pub(super) fn flush() -> f64 {
        let keys = Keys::new(Law::Zipf {
            count: KEYS,
            exponent: 0.9,
        });
        let tools = Some((keys, Seed(1).stream("bench", 0)));
        let model = Flush {
            now: 0,
            hits: 0,
            expires: vec![0; KEYS as usize],
            tools,
        };
        let simulation = SimInit::with_num_threads(1)
            .add_model(model, Mailbox::new(), "flush")
            .init(MonotonicTime::EPOCH);
        let Ok(mut simulation) = simulation else {
            return f64::NAN;
        };
        let start = Instant::now();
        let done = simulation.step_until(Duration::from_secs(2)).is_ok();
        if done {
            2.0 / start.elapsed().as_secs_f64()
        } else {
            f64::NAN
        }
    }
}
