//! Against closed forms, at their published parameters and at others.

use seawall_core::record::Metric;
use seawall_scenario::Scenario;
use seawall_sim::{Engine, Run};

use crate::support::{Estimate, published, rate, runs_by, scenario, sum, zipf};

fn runs(scenario: &Scenario, count: u32) -> Vec<Run> {
    let runs = runs_by(Engine::Elided, 20_250_102, scenario, count, 2, 1.0);
    for run in &runs {
        assert_eq!(run.choice.engine, Engine::Elided);
        assert!(
            run.choice.envelope.starts_with("exact in law"),
            "{:?}",
            run.choice
        );
    }
    runs
}

fn system(run: &str, client: &str, cache: &str, database: &str) -> Scenario {
    scenario(&format!(
        "[run]\nprefilled = true\n{run}\n[client.web]\ncalls = \"app\"\n{client}\n[service.app]\ncaches = [\"redis\"]\n\
         origin = \"db\"\n[cache.redis]\n{cache}\n[database.db]\n{database}"
    ))
}

/// The hit ratio of a cache whose TTL hits do not renew, with an instant fill: `Σ p · rT / (1 + rT)`.
fn hit_ratio(keys: &[f64], rate: f64, ttl: f64) -> f64 {
    keys.iter()
        .map(|p| p * rate * p * ttl / (1.0 + rate * p * ttl))
        .sum()
}

#[test]
fn the_hit_ratio_is_that_of_the_formula() {
    let cases = [
        (10_000, 1.0, 1_000.0, 60, Some(0.901_159)),
        (100_000, 0.9, 20_000.0, 60, Some(0.935_215)),
        (500, 0.7, 300.0, 5, None),
        (30_000, 1.2, 4_000.0, 20, None),
    ];
    for (count, exponent, rate, ttl, digits) in cases {
        let scenario = system(
            "duration = \"60s\"",
            &format!("rate = \"{rate}/s\"\nkeys = {{ zipf = {{ count = {count}, exponent = {exponent} }} }}"),
            &format!("ttl = \"{ttl}s\""),
            "service_time = \"0s\"",
        );
        let truth = hit_ratio(&zipf(count, exponent), rate, f64::from(ttl));
        if let Some(digits) = digits {
            published("hit ratio", truth, digits, 1e-5);
        }
        let ratio = Estimate::over(&runs(&scenario, 8), |record| {
            let hits = sum(record, Metric::CacheHits, "redis", None, 0.0..60.0);
            hits / (hits + sum(record, Metric::CacheMisses, "redis", None, 0.0..60.0))
        });
        ratio.agrees("hit ratio", truth, 0.01);
    }
}

/// The same sum as in the test of the exact engine: loads of one key in the first `time` seconds after a flush.
fn loads_of_key(rate: f64, ttl: f64, time: f64) -> f64 {
    let mut loads = 0.0;
    let mut k = 0;
    while f64::from(k) * ttl < time {
        let mean = rate * (time - f64::from(k) * ttl);
        let (mut term, mut up_to_k) = ((-mean).exp(), (-mean).exp());
        for j in 1..=k {
            term *= mean / f64::from(j);
            up_to_k += term;
        }
        loads += 1.0 - up_to_k;
        k += 1;
    }
    loads
}

fn ripple(keys: &[f64], rate: f64, ttl: f64, from: f64, to: f64) -> f64 {
    let loads = |time: f64| -> f64 { keys.iter().map(|p| loads_of_key(rate * p, ttl, time)).sum() };
    (loads(to) - loads(from)) / (to - from)
}

fn flushed(duration: u32, rate: f64, keys: &str, ttl: u32) -> Scenario {
    scenario(&format!(
        "[run]\nduration = \"{duration}s\"\nwarmup = \"2s\"\nprefilled = true\n[client.web]\ncalls = \"app\"\n\
         rate = \"{rate}/s\"\nkeys = {{ zipf = {{ {keys} }} }}\n[service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n\
         [cache.redis]\nttl = \"{ttl}s\"\n[database.db]\nservice_time = \"0s\"\n\
         [[timeline]]\nat = \"0s\"\non = \"redis\"\nfault = \"flush\""
    ))
}

#[test]
fn a_flush_makes_the_published_ripples() {
    let keys = zipf(100_000, 0.9);
    let runs = runs(&flushed(125, 20_000.0, "count = 100000, exponent = 0.9", 60), 12);
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
        loads.agrees(&format!("loads from {from} to {to} s"), truth, 0.04);
    }
}

#[test]
fn small_ripples_are_those_of_the_formula_for_four_lives() {
    let keys = zipf(3_000, 1.05);
    let runs = runs(&flushed(45, 5_000.0, "count = 3000, exponent = 1.05", 11), 30);
    for from in 0..15 {
        let (from, to) = (f64::from(from) * 3.0, f64::from(from) * 3.0 + 3.0);
        let truth = ripple(&keys, 5_000.0, 11.0, from, to);
        let loads = Estimate::over(&runs, |record| {
            rate(record, Metric::OriginRequests, "db", from..to)
        });
        loads.agrees(&format!("loads from {from} to {to} s"), truth, 0.05);
    }
}

#[test]
fn a_stampede_on_one_key_loads_as_often_as_the_formula_says() {
    // The published one, and one of a slower key.
    for (r, fetch, ttl, digits) in [
        (10.0, 3.0, 60.0, Some((0.491_28, 0.015_848))),
        (2.0, 0.7, 9.0, None),
    ] {
        for coalesce in [false, true] {
            let mut text = format!(
                "[run]\nduration = \"20000s\"\nevery = \"100s\"\n[client.web]\ncalls = \"app\"\nrate = \"{r}/s\"\n\
                 keys = {{ uniform = {{ count = 1 }} }}\n[service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n\
                 [cache.redis]\nttl = \"{ttl}s\"\n[database.db]\nservice_time = \"{fetch}s\"\n"
            );
            if coalesce {
                text += "[protect.coalesce]\nwait_max = \"60s\"\n";
            }
            // Without coalescing the last of those who come while the first one loads starts the TTL once more.
            let later = fetch - (1.0 - f64::exp(-r * fetch)) / r;
            let each = 1.0 / r + fetch + ttl;
            let truth = if coalesce {
                1.0 / each
            } else {
                (1.0 + r * fetch) / (each + later)
            };
            if let Some((herd, one)) = digits {
                published("loads, all at once", (1.0 + r * fetch) / each, herd, 1e-4);
                published("loads, one at a time", 1.0 / each, one, 1e-4);
            }
            let loads = Estimate::over(&runs(&scenario(&text), 20), |record| {
                rate(record, Metric::OriginRequests, "db", 0.0..20_000.0)
            });
            // The run begins with an empty cache, which is one load more than its share in 20 000 s.
            loads.is_near(&format!("loads of {r}/s, coalesced {coalesce}"), truth, 0.012);
        }
    }
}
