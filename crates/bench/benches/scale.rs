//! The fast engines at full size on one thread: a million requests a second for a million keys (Zipf, 0.9), TTL 60 s, 25
//! minutes, a flush at 10 minutes, no policy; beside the exact engine in the same run, as requests a second.
//!
//! The exact engine plays 70 s of the same system with the flush at 8 s; `-- --whole` makes it play all 25 minutes, and
//! `-- elided` leaves it out. `cargo bench -p seawall-bench --bench scale`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures time and says so, and its input is its own"
)]

use std::time::Instant;

use seawall_core::record::Metric;
use seawall_scenario::Document;
use seawall_sim::{Engine, Options, Run, simulate};

const FLUSH: &str = include_str!("flush.toml");
const ROUNDS: usize = 3;

/// What the issue asks of each engine, in seconds.
const WANTED: [(Engine, f64); 1] = [(Engine::Elided, 8.0)];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let only = asked.iter().find(|name| !name.starts_with('-'));
    println!(
        "{:>9}  {:>9}  {:>7}  {:>6}  {:>12}  {:>9}  {:>9}",
        "engine", "seconds", "wanted", "ratio", "requests", "events", "origin/s"
    );
    let mut exact = f64::NAN;
    if only.is_none() {
        let whole = asked.iter().any(|arg| arg == "--whole");
        let times = if whole { ("25m", "10m") } else { ("70s", "8s") };
        let run = timed(Engine::Exact, times, 1);
        exact = run.speed();
        run.tell("exact", "", exact);
    }
    for (engine, wanted) in WANTED {
        if only.is_some_and(|only| only != engine.name()) {
            continue;
        }
        let best = timed(engine, ("25m", "10m"), ROUNDS);
        best.tell(engine.name(), &format!("{wanted:.1}"), exact);
        println!("           {}", best.run.choice.envelope);
    }
}

struct Timed {
    run: Run,
    seconds: f64,
}

impl Timed {
    /// Requests a second.
    fn speed(&self) -> f64 {
        self.run.requests as f64 / self.seconds
    }

    fn tell(&self, engine: &str, wanted: &str, exact: f64) {
        let origin = self.run.record.values(Metric::OriginRequests, "db", None);
        println!(
            "{engine:>9}  {:>9.2}  {wanted:>7}  {:>6.1}  {:>12}  {:>9}  {:>9.0}",
            self.seconds,
            self.speed() / exact,
            self.run.requests,
            self.run.events,
            origin.iter().sum::<f64>() / origin.len() as f64
        );
    }
}

/// The best of some rounds.
fn timed(engine: Engine, (duration, flush): (&str, &str), rounds: usize) -> Timed {
    let text = FLUSH
        .replace("duration = \"70s\"", &format!("duration = \"{duration}\""))
        .replace("at = \"8s\"", &format!("at = \"{flush}\""));
    let document = Document::parse("flush.toml", &text).expect("a good document");
    let scenario = document.scenario("bare", &[]).expect("a good variant");
    let options = Options {
        seed: 1,
        run: 0,
        scale: 1.0,
        engine,
    };
    let all = (0..rounds).map(|_| {
        let start = Instant::now();
        let run = simulate(&scenario, &options, &|_| {}).expect("a scenario that can be played");
        Timed {
            run,
            seconds: start.elapsed().as_secs_f64(),
        }
    });
    all.min_by(|a, b| a.seconds.total_cmp(&b.seconds))
        .expect("a round")
}
