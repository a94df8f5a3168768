//! The aggregate engine against closed forms, at several parameters each, and against the exact engine.

mod protections;

use seawall_core::record::{Metric, Record};
use seawall_scenario::{AS_WRITTEN, Document, Scenario};
use seawall_sim::{Engine, Options, Run, simulate};

fn scenario(text: &str) -> Scenario {
    let text = format!("title = \"a test\"\n{text}");
    let document = Document::parse("test.toml", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
    document.scenario(AS_WRITTEN, &[]).expect("it has no variants")
}

fn try_play(text: &str, seed: u64) -> Result<Run, String> {
    try_play_by(text, seed, Engine::Aggregate)
}

fn try_play_by(text: &str, seed: u64, engine: Engine) -> Result<Run, String> {
    let options = Options {
        seed,
        run: 0,
        scale: 1.0,
        engine,
    };
    simulate(&scenario(text), &options, &|_| ()).map_err(|refusal| refusal.to_string())
}

fn play(text: &str) -> Record {
    try_play(text, 1)
        .unwrap_or_else(|refusal| panic!("{refusal}"))
        .record
}

/// The rate a second of a counter over a window.
fn rate(record: &Record, metric: Metric, of: &str, from: f64, to: f64) -> f64 {
    let window = record.window(from, to);
    record.values(metric, of, None)[window].iter().sum::<f64>() / (to - from)
}

#[track_caller]
fn near(what: &str, seen: f64, truth: f64, tolerance: f64) {
    assert!(
        (seen / truth - 1.0).abs() <= tolerance,
        "{what}: {seen} is not within {tolerance} of {truth}"
    );
}

fn zipf(count: u32, exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

fn cached(count: u32, exponent: f64, rate: f64, cache: &str, run: &str, fault: &str) -> String {
    format!(
        "[run]\n{run}\n[client.web]\ncalls = \"app\"\nrate = \"{rate}/s\"\n\
         keys = {{ zipf = {{ count = {count}, exponent = {exponent} }} }}\n\
         [service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n[cache.redis]\n{cache}\n\
         [database.db]\nservice_time = \"0s\"\n{fault}"
    )
}

#[test]
fn a_ttl_makes_the_hit_ratio_of_the_formula() {
    for (count, exponent, requests, ttl) in [
        (10_000, 1.0, 1_000.0, 60.0),
        (100_000, 0.9, 20_000.0, 60.0),
        (50_000, 0.7, 5_000.0, 20.0),
        (2_000_000, 1.1, 100_000.0, 30.0),
    ] {
        let truth: f64 = zipf(count, exponent)
            .iter()
            .map(|p| p * requests * p * ttl / (1.0 + requests * p * ttl))
            .sum();
        let run = "duration = \"600s\"\nwarmup = \"200s\"";
        let record = play(&cached(
            count,
            exponent,
            requests,
            &format!("ttl = \"{ttl}s\""),
            run,
            "",
        ));
        let misses = rate(&record, Metric::CacheMisses, "redis", 0.0, 600.0) / requests;
        near(&format!("misses of {count} keys"), misses, 1.0 - truth, 0.02);
    }
}

#[test]
fn lru_has_the_hit_ratio_of_che() {
    for (exponent, capacity) in [(0.8, 1_000), (1.0, 1_000), (1.0, 300), (0.6, 4_000)] {
        let keys = zipf(10_000, exponent);
        let occupied = |time: f64| keys.iter().map(|p| -(-p * time).exp_m1()).sum::<f64>();
        let (mut low, mut high) = (0.0, 1e9);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if occupied(middle) < f64::from(capacity) {
                low = middle;
            } else {
                high = middle;
            }
        }
        let truth: f64 = keys.iter().map(|p| p * -(-p * high).exp_m1()).sum();
        let run = "duration = \"60s\"\nwarmup = \"60s\"";
        let record = play(&cached(
            10_000,
            exponent,
            5_000.0,
            &format!("capacity = {capacity}"),
            run,
            "",
        ));
        let hits = rate(&record, Metric::CacheHits, "redis", 0.0, 60.0) / 5_000.0;
        near(&format!("hits of {capacity} at {exponent}"), hits, truth, 0.03);
    }
}

/// How many loads of one key there are on average in the first `time` seconds after a flush, with an instant fill.
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

#[test]
fn a_flush_makes_ripples_one_ttl_apart() {
    for (count, exponent, requests, ttl) in [(100_000, 0.9, 20_000.0, 60.0), (300_000, 0.7, 30_000.0, 40.0)] {
        let keys = zipf(count, exponent);
        let run = "duration = \"130s\"\nwarmup = \"2s\"\nprefilled = true";
        let flush = "[[timeline]]\nat = \"0s\"\non = \"redis\"\nfault = \"flush\"";
        let record = play(&cached(
            count,
            exponent,
            requests,
            &format!("ttl = \"{ttl}s\""),
            run,
            flush,
        ));
        for (from, to) in [
            (0.0, 5.0),
            (5.0, 20.0),
            (30.0, 40.0),
            (ttl, ttl + 5.0),
            (2.0 * ttl, 2.0 * ttl + 5.0),
        ] {
            let loads =
                |time: f64| -> f64 { keys.iter().map(|p| loads_of_key(requests * p, ttl, time)).sum() };
            let truth = (loads(to) - loads(from)) / (to - from);
            let seen = rate(&record, Metric::OriginRequests, "db", from, to);
            near(&format!("{count} keys from {from} to {to} s"), seen, truth, 0.03);
        }
    }
}

#[test]
fn one_key_stampedes_as_often_as_it_is_asked_for_while_it_is_loaded() {
    // Uniform keys, so that each is one that is asked for `asked` times a second.
    for (keys, asked, takes, ttl) in [(5_000, 10.0, 3.0, 60.0), (20_000, 4.0, 1.0, 20.0)] {
        let text = |protect: &str| {
            format!(
                "[run]\nduration = \"600s\"\nwarmup = \"100s\"\nprefilled = true\n[client.web]\ncalls = \"app\"\nrate = \"{}/s\"\n\
                 keys = {{ uniform = {{ count = {keys} }} }}\n[service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n\
                 [cache.redis]\nttl = \"{ttl}s\"\n[database.db]\nservice_time = \"{takes}s\"\n{protect}",
                f64::from(keys) * asked
            )
        };
        let cycle = 1.0 / asked + takes + ttl;
        let plain = rate(&play(&text("")), Metric::OriginRequests, "db", 0.0, 600.0) / f64::from(keys);
        near("without coalescing", plain, (1.0 + asked * takes) / cycle, 0.04);
        let text = text("[protect]\ncoalesce = { wait_max = \"10s\", age_max = \"20s\" }");
        let shared = rate(&play(&text), Metric::OriginRequests, "db", 0.0, 600.0) / f64::from(keys);
        near("with it", shared, 1.0 / cycle, 0.08);
    }
}

#[test]
fn a_retry_storm_feeds_itself_above_half_the_capacity_and_heals_below() {
    for (requests, heals) in [(2_800.0, false), (1_200.0, true), (2_000.0, false)] {
        let record = play(&format!(
            "[run]\nduration = \"200s\"\nwarmup = \"30s\"\n[client.web]\ncalls = \"app\"\nrate = \"{requests}/s\"\n\
             keys = {{ uniform = {{ count = 100000 }} }}\ntimeout = \"1s\"\nretries = 1\nbackoff = \"0s\"\n\
             [service.app]\norigin = \"db\"\n[database.db]\nconnections = 200\ntimeout = \"5s\"\n\
             service_time = {{ exponential = \"50ms\" }}\ncapacity = \"3000/s\"\n\
             [[timeline]]\nat = \"0s\"\nfor = \"10s\"\non = \"db\"\nfault = \"lock\""
        ));
        near(
            "before",
            rate(&record, Metric::Goodput, "web", -20.0, 0.0),
            requests,
            0.02,
        );
        let good = rate(&record, Metric::Goodput, "web", 150.0, 200.0);
        let attempts = rate(&record, Metric::OriginRequests, "db", 150.0, 200.0);
        if heals {
            near("it heals", good, requests, 0.02);
            near("with no more attempts than calls", attempts, requests, 0.02);
        } else {
            assert!(good < 0.02 * requests, "{requests}/s heals: {good}");
            near("twice the attempts", attempts, 2.0 * requests, 0.02);
        }
    }
}

#[test]
fn connections_are_as_busy_as_little_says() {
    for (requests, takes) in [(5_000.0, 0.02), (40_000.0, 0.004)] {
        let record = play(&format!(
            "[run]\nduration = \"60s\"\nwarmup = \"20s\"\n[client.web]\ncalls = \"app\"\nrate = \"{requests}/s\"\n\
             keys = {{ uniform = {{ count = 1000 }} }}\n[service.app]\norigin = \"db\"\n\
             [database.db]\nshards = 4\nservice_time = {{ exponential = \"{takes}s\" }}\ncapacity = \"20k/s\""
        ));
        let values = record.values(Metric::OriginConnections, "db", None);
        let window = record.window(0.0, 60.0);
        let mean = values[window.clone()].iter().sum::<f64>() / window.len() as f64;
        near("L = λW", mean, requests * takes, 0.03);
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_another_one_others() {
    let text = cached(
        100_000,
        0.9,
        20_000.0,
        "ttl = \"20s\"\nlatency = { lognormal = { median = \"1ms\", p99 = \"3ms\" } }",
        "duration = \"30s\"\nprefilled = true",
        "[[timeline]]\nat = \"10s\"\nfor = \"5s\"\non = \"redis\"\nfault = \"partition\"",
    );
    let of = |seed| try_play(&text, seed).expect("it can be played");
    let (one, same, other) = (of(1), of(1), of(2));
    assert_eq!(one.requests, same.requests);
    for (a, b) in one.record.series().iter().zip(same.record.series()) {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&a.values), bits(&b.values), "{}", a.metric.name());
    }
    assert_ne!(one.requests, other.requests);
}

#[test]
fn what_cannot_be_played_is_refused_all_of_it_by_name() {
    let text = cached(
        1_000,
        1.0,
        1_000.0,
        "ttl = \"20s\"\nrenewed_by_hits = true",
        "duration = \"30s\"",
        "[protect]\nqueue = { order = \"lifo\" }\nhot = {}\n[[timeline]]\nat = \"1s\"\non = \"app\"\nfault = { leak = { after = 100 } }",
    );
    let refusal = try_play(&text, 1).expect_err("three things stand in the way");
    for name in [
        "`cache.redis.renewed_by_hits`",
        "`protect.queue.order`",
        "`protect.hot`",
        "leak",
    ] {
        assert!(refusal.contains(name), "{name} is missing in: {refusal}");
    }
    let few = cached(10, 1.0, 5.0, "ttl = \"20s\"", "duration = \"30s\"", "");
    let refusal = try_play(&few, 1).expect_err("five requests a second are no crowd");
    assert!(refusal.contains("5 requests a second"), "{refusal}");
}
