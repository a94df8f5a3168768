//! After a flush the origin is loaded in ripples, one TTL apart.

use seawall_core::record::Metric;

use crate::support::{Estimate, published, rate, runs, scenario, zipf};

/// How many loads of one key there are on average in the first `time` seconds after a flush, with an instant fill.
///
/// The (k+1)-th load comes after k lives and k+1 exponential waits, so it has come with the probability that a
/// Poisson variable of mean r(t − kT) is above k. The derivative of this sum is the origin's rate, term by term.
fn loads_of_key(rate: f64, ttl: f64, time: f64) -> f64 {
    let mut loads = 0.0;
    let mut k = 0;
    while f64::from(k) * ttl < time {
        let mean = rate * (time - f64::from(k) * ttl);
        let mut term = (-mean).exp();
        let mut up_to_k = term;
        for j in 1..=k {
            term *= mean / f64::from(j);
            up_to_k += term;
        }
        loads += 1.0 - up_to_k;
        k += 1;
    }
    loads
}

/// The mean rate of loads over a window after a flush.
fn ripple(keys: &[f64], rate: f64, ttl: f64, from: f64, to: f64) -> f64 {
    let loads = |time: f64| -> f64 { keys.iter().map(|p| loads_of_key(rate * p, ttl, time)).sum() };
    (loads(to) - loads(from)) / (to - from)
}

fn flushed(duration: u32, rate: f64, keys: &str, ttl: u32, fault: &str) -> String {
    format!(
        r#"
        [run]
        duration = "{duration}s"
        warmup = "2s"
        prefilled = true
        [client.web]
        calls = "app"
        rate = "{rate}/s"
        keys = {{ zipf = {{ {keys} }} }}
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        ttl = "{ttl}s"
        [database.db]
        service_time = "0s"
        [[timeline]]
        at = "0s"
        on = "redis"
        fault = "{fault}"
        "#
    )
}

#[test]
fn a_flush_at_the_published_size_makes_the_published_ripple() {
    let keys = zipf(100_000, 0.9);
    let text = flushed(125, 20_000.0, "count = 100000, exponent = 0.9", 60, "flush");
    let runs = runs(&scenario(&text), 6);
    let windows = [
        (0.0, 5.0, 6_480.0),
        (5.0, 20.0, 2_454.0),
        (50.0, 60.0, 278.0),
        (60.0, 65.0, 2_435.0),
        (120.0, 125.0, 1_627.0),
    ];
    for (from, to, digits) in windows {
        let truth = ripple(&keys, 20_000.0, 60.0, from, to);
        published(&format!("{from} to {to} s"), truth, digits, 0.002);
        let loads = Estimate::over(&runs, |record| {
            rate(record, Metric::OriginRequests, "db", from..to)
        });
        loads.agrees(&format!("loads from {from} to {to} s"), truth, 0.08);
    }
}

#[test]
fn a_small_system_ripples_as_by_the_formula_for_three_lives() {
    let keys = zipf(2_000, 1.1);
    let text = flushed(36, 3_000.0, "count = 2000, exponent = 1.1", 10, "flush");
    let runs = runs(&scenario(&text), 20);
    for from in 0..12 {
        let (from, to) = (f64::from(from) * 3.0, f64::from(from) * 3.0 + 3.0);
        let truth = ripple(&keys, 3_000.0, 10.0, from, to);
        let loads = Estimate::over(&runs, |record| {
            rate(record, Metric::OriginRequests, "db", from..to)
        });
        loads.agrees(&format!("loads from {from} to {to} s "), truth, 0.08);
    }
}

#[test]
fn the_ripple_of_one_node_is_that_of_its_keys() {
    // Two of four nodes are replaced by empty ones: their keys ripple, the others go on as before.
    let all = zipf(2_000, 1.0);
    let text = flushed(21, 3_000.0, "count = 2000, exponent = 1", 10, "replace")
        .replace("ttl =", "nodes = 4\nsharding = \"modulo\"\nttl =")
        + "nodes = [0, 1]";
    let runs = runs(&scenario(&text), 20);
    let flushed: Vec<f64> = all
        .iter()
        .enumerate()
        .filter(|(key, _)| key % 4 < 2)
        .map(|(_, p)| *p)
        .collect();
    let spared: Vec<f64> = all
        .iter()
        .enumerate()
        .filter(|(key, _)| key % 4 >= 2)
        .map(|(_, p)| *p)
        .collect();
    let calm: f64 = spared
        .iter()
        .map(|p| 3_000.0 * p / (1.0 + 3_000.0 * p * 10.0))
        .sum();
    for (from, to) in [(0.0, 3.0), (3.0, 9.0), (10.0, 13.0), (13.0, 19.0)] {
        let truth = calm + ripple(&flushed, 3_000.0, 10.0, from, to);
        let loads = Estimate::over(&runs, |record| {
            rate(record, Metric::OriginRequests, "db", from..to)
        });
        loads.agrees(&format!("loads from {from} to {to} s"), truth, 0.05);
    }
}

#[test]
fn jitter_flattens_the_ripple() {
    let text = flushed(65, 3_000.0, "count = 2000, exponent = 1.1", 10, "flush");
    let peak = |protect: &str| {
        let runs = runs(&scenario(&format!("{text}\n{protect}")), 20);
        Estimate::over(&runs, |record| {
            rate(record, Metric::OriginRequests, "db", 30.0..31.0)
        })
    };
    let (plain, jittered) = (peak(""), peak("[protect.ttl]\njitter = \"30%\""));
    assert!(
        jittered.mean + jittered.half < 0.95 * (plain.mean - plain.half),
        "{jittered:?} with jitter, {plain:?} without"
    );
}
