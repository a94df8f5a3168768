//! The fast engines at full size, beside the exact engine in the same run, as requests a second.
//!
//! - flush: a million requests a second for a million keys (Zipf, 0.9), TTL 60 s, 25 minutes, a flush at 10 minutes, no
//!   policy, on one thread. The exact engine plays 70 s of the same system with the flush at 8 s.
//! - redis-down: the shipped scenario at full size, all variants, on two threads. The exact engine plays a thousandth.
//! - sweep: 400 points of its variant `breaker-and-throttle` on two threads, twenty rates by twenty TTLs.
//!
//! `cargo bench -p seawall-bench --bench scale`. Words after `--` choose what is run: `flush`, `redis-down`, `sweep`,
//! `exact`, `elided`, `aggregate`, a variant of redis-down; without any, all is.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures time and says so, and its input is its own"
)]

use std::time::Instant;

use seawall_scenario::{Document, Scenario};
use seawall_sim::{Engine, Options, replicate};

const FLUSH: &str = include_str!("flush.toml");
const REDIS_DOWN: &str = include_str!("../../../scenarios/redis-down.toml");
const ROUNDS: usize = 3;
const THREADS: usize = 2;
/// Points of the sweep in each direction.
const SIDE: usize = 20;

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let asked = Asked(asked);
    println!(
        "{:>22}  {:>9}  {:>7}  {:>7}  {:>7}  {:>14}  {:>9}",
        "what", "engine", "seconds", "wanted", "ratio", "requests", "events"
    );
    if asked.for_one("flush", &["exact", "elided", "aggregate"]) {
        flush(&asked);
    }
    if asked.0.is_empty() || asked.0.iter().any(|word| word != "sweep" && word != "flush") {
        redis_down(&asked);
    }
    if asked.for_one("sweep", &[]) {
        sweep();
    }
}

/// What was asked for; all when nothing was.
struct Asked(Vec<String>);

impl Asked {
    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|asked| asked == word)
    }

    fn for_one(&self, what: &str, engines: &[&str]) -> bool {
        self.0.is_empty() || self.has(what) || engines.iter().any(|engine| self.has(engine))
    }
}

struct Timed {
    requests: u64,
    events: u64,
    seconds: f64,
}

impl Timed {
    /// Requests a second.
    fn speed(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    fn tell(&self, what: &str, engine: Engine, wanted: Option<f64>, exact: f64) {
        let wanted = wanted.map(|wanted| format!("{wanted:.1}")).unwrap_or_default();
        println!(
            "{what:>22}  {:>9}  {:>7.2}  {wanted:>7}  {:>7.1}  {:>14}  {:>9}",
            engine.name(),
            self.seconds,
            self.speed() / exact,
            self.requests,
            self.events,
        );
    }
}

fn flush(asked: &Asked) {
    let scenario = |duration: &str, flush: &str| {
        let text = FLUSH
            .replace("duration = \"70s\"", &format!("duration = \"{duration}\""))
            .replace("at = \"8s\"", &format!("at = \"{flush}\""));
        let document = Document::parse("flush.toml", &text).expect("a good document");
        document.scenario("bare", &[]).expect("a good variant")
    };
    let short = best(1, &[scenario("70s", "8s")], Engine::Exact, 1.0, 1);
    let exact = short.speed();
    short.tell("flush", Engine::Exact, None, exact);
    for (engine, wanted) in [(Engine::Elided, 8.0), (Engine::Aggregate, 0.6)] {
        if asked.0.is_empty() || asked.has("flush") || asked.has(engine.name()) {
            let whole = best(ROUNDS, &[scenario("25m", "10m")], engine, 1.0, 1);
            whole.tell("flush", engine, Some(wanted), exact);
        }
    }
}

fn redis_down(asked: &Asked) {
    let document = Document::parse("redis-down.toml", REDIS_DOWN).expect("a good document");
    let names: Vec<String> = document.variants().into_iter().map(str::to_owned).collect();
    let some: Vec<&String> = names.iter().filter(|name| asked.has(name)).collect();
    if some.is_empty() && !asked.for_one("redis-down", &[]) {
        return;
    }
    let of = |name: &String| document.scenario(name, &[]).expect("a good variant");
    let all: Vec<Scenario> = names.iter().map(of).collect();
    for name in some {
        let run = best(ROUNDS, &[of(name)], Engine::Aggregate, 1.0, 1);
        run.tell(name, Engine::Aggregate, None, run.speed());
    }
    if asked.for_one("redis-down", &[]) {
        let small = best(1, &all, Engine::Exact, 1e-3, THREADS);
        let exact = small.speed();
        small.tell("redis-down, 1/1000", Engine::Exact, None, exact);
        let whole = best(ROUNDS, &all, Engine::Aggregate, 1.0, THREADS);
        whole.tell("redis-down", Engine::Aggregate, Some(5.0), exact);
    }
}

fn sweep() {
    let document = Document::parse("redis-down.toml", REDIS_DOWN).expect("a good document");
    let variant = "breaker-and-throttle";
    let mut points = Vec::new();
    for rate in 1..=SIDE {
        for ttl in 1..=SIDE {
            let (rate, ttl) = (format!("{}k/s", 100 * rate), format!("{}s", 30 * ttl));
            let sets = [
                ("client.readers.rate", rate.as_str()),
                ("cache.redis.ttl", ttl.as_str()),
            ];
            points.push(document.scenario(variant, &sets).expect("a good point"));
        }
    }
    let middle = [document.scenario(variant, &[]).expect("a good variant")];
    let small = best(1, &middle, Engine::Exact, 1e-3, 1);
    // Of the exact engine one thread is timed, and it has as many as the others.
    let exact = small.speed() * THREADS as f64;
    small.tell("one point, 1/1000", Engine::Exact, None, exact);
    best(1, &points, Engine::Aggregate, 1.0, THREADS).tell(
        "sweep, 400 points",
        Engine::Aggregate,
        Some(120.0),
        exact,
    );
}

/// The best of some rounds of playing all these, on threads.
fn best(rounds: usize, scenarios: &[Scenario], engine: Engine, scale: f64, threads: usize) -> Timed {
    let options = Options {
        seed: 1,
        run: 0,
        scale,
        engine,
    };
    let jobs: Vec<(Scenario, Options)> = scenarios
        .iter()
        .map(|scenario| (scenario.clone(), options))
        .collect();
    let round = |_| {
        let start = Instant::now();
        let runs = replicate(&jobs, threads, &|_| {});
        let seconds = start.elapsed().as_secs_f64();
        let runs = runs
            .into_iter()
            .map(|run| run.expect("a scenario that can be played"));
        let counts = runs.map(|run| (run.requests, run.events));
        let (requests, events) = counts.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        Timed {
            requests,
            events,
            seconds,
        }
    };
    (0..rounds)
        .map(round)
        .min_by(|a, b| a.seconds.total_cmp(&b.seconds))
        .expect("a round")
}
