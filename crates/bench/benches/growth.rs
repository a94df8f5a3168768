//! How time and memory grow with the rate, the keys, the nodes and the length of a run, for each engine: a table with
//! the exponents of the laws of growth (the slope of a line through the logarithms; 0 is "does not grow", 1 is "twice
//! as much of the one, twice as much of the other").
//!
//! `cargo bench -p seawall-bench --bench growth`. Each run is a process of its own, so that its peak of memory is its
//! own (`VmHWM` in `/proc/self/status`, proc(5)).

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a benchmark measures time and says so, and its input is its own"
)]

use std::process::Command;
use std::time::Instant;

use seawall_scenario::Document;
use seawall_sim::{Engine, Options, simulate};

/// What a run is like.
#[derive(Clone, Copy)]
struct Size {
    rate: u64,
    keys: u64,
    nodes: u64,
    seconds: u64,
}

const BASE: Size = Size {
    rate: 100_000,
    keys: 200_000,
    nodes: 8,
    seconds: 120,
};
const FACTORS: [u64; 4] = [1, 2, 4, 8];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    if let [engine, rate, keys, nodes, seconds] = arguments.as_slice() {
        let number = |text: &String| text.parse().expect("a number");
        let size = Size {
            rate: number(rate),
            keys: number(keys),
            nodes: number(nodes),
            seconds: number(seconds),
        };
        return one(engine, size);
    }
    println!(
        "from {} requests/s, {} keys, {} nodes, {} s, each up to {} times as much",
        BASE.rate,
        BASE.keys,
        BASE.nodes,
        BASE.seconds,
        FACTORS[FACTORS.len() - 1]
    );
    println!(
        "{:<10} {:<9} {:>8} {:>8}  {:>9} {:>9}  {:>8} {:>8}",
        "engine", "grows", "s at 1x", "s at 8x", "exponent", "MB at 1x", "at 8x", "exponent"
    );
    for engine in Engine::PLAYING {
        for dimension in ["rate", "keys", "nodes", "duration"] {
            let Some(points) = points(engine, dimension) else {
                println!("{:<10} refuses the system of this table", engine.name());
                break;
            };
            let slope = |value: fn(&Point) -> f64| slope(&points, value);
            let (first, last) = (&points[0], &points[points.len() - 1]);
            println!(
                "{:<10} {:<9} {:>8.2} {:>8.2}  {:>9.2} {:>9.0}  {:>8.0} {:>8.2}",
                engine.name(),
                dimension,
                first.seconds,
                last.seconds,
                slope(|point| point.seconds),
                first.megabytes,
                last.megabytes,
                slope(|point| point.megabytes),
            );
        }
    }
}

struct Point {
    factor: f64,
    seconds: f64,
    megabytes: f64,
}

fn points(engine: Engine, dimension: &str) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    for factor in FACTORS {
        let mut size = BASE;
        match dimension {
            "rate" => size.rate *= factor,
            "keys" => size.keys *= factor,
            "nodes" => size.nodes *= factor,
            _ => size.seconds *= factor,
        }
        let itself = std::env::current_exe().expect("this program");
        let words = [size.rate, size.keys, size.nodes, size.seconds].map(|number| number.to_string());
        let run = Command::new(itself)
            .arg(engine.name())
            .args(words)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&run.stdout);
        let mut said = said.split_whitespace().map(|word| word.parse::<f64>().ok());
        let (Some(Some(seconds)), Some(Some(megabytes))) = (said.next(), said.next()) else {
            return None;
        };
        points.push(Point {
            factor: factor as f64,
            seconds,
            megabytes,
        });
    }
    Some(points)
}

/// The slope of the line of least squares through the logarithms.
fn slope(points: &[Point], value: fn(&Point) -> f64) -> f64 {
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (mean(&|p| p.factor.ln()), mean(&|p| value(p).ln()));
    let above = mean(&|p| (p.factor.ln() - x) * (value(p).ln() - y));
    let below = mean(&|p| (p.factor.ln() - x).powi(2));
    above / below
}

/// Plays one run and prints its seconds and its peak of memory in megabytes.
fn one(engine: &str, size: Size) {
    let text = format!(
        r#"
        title = "A flush"
        [run]
        duration = "{seconds}s"
        prefilled = true
        [client.users]
        calls = "app"
        rate = "{rate}/s"
        keys = {{ zipf = {{ count = {keys}, exponent = 0.9 }} }}
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        nodes = {nodes}
        ttl = "60s"
        [database.db]
        service_time = "1ms"
        [[timeline]]
        at = "20s"
        on = "redis"
        fault = "flush"
        "#,
        seconds = size.seconds,
        rate = size.rate,
        keys = size.keys,
        nodes = size.nodes,
    );
    let document = Document::parse("growth.toml", &text).expect("a good document");
    let scenario = document.scenario("as-written", &[]).expect("a good scenario");
    let engine = Engine::PLAYING
        .into_iter()
        .find(|known| known.name() == engine)
        .expect("an engine");
    let options = Options {
        seed: 1,
        run: 0,
        scale: 1.0,
        engine,
    };
    let start = Instant::now();
    if simulate(&scenario, &options, &|_| {}).is_err() {
        return println!("refused");
    }
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = peak
        .and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .expect("a peak of memory");
    println!("{seconds} {}", kilobytes / 1e3);
}
