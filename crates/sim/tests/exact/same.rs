//! Same scenario, same seed: the same record, to the bit.

use seawall_core::record::{Metric, Record};
use seawall_scenario::Scenario;
use seawall_sim::{Engine, Options, simulate};

use crate::support::{runs_on, scenario, variant};

/// A little of everything.
const TEXT: &str = r#"
    [run]
    duration = "20s"
    warmup = "5s"
    [client.web]
    calls = "app"
    rate = "800/s"
    keys = { zipf = { count = 2000, exponent = 0.9 } }
    writes = "5%"
    missing = "2%"
    timeout = "300ms"
    retries = 2
    backoff = "200ms"
    [client.batch]
    calls = "app"
    rate = "100/s"
    arrivals = "even"
    keys = { normal = { mean = 1000, deviation = 200 } }
    [service.app]
    instances = 3
    threads = 40
    queue = 100
    service_time = { lognormal = { median = "2ms", p99 = "20ms" } }
    caches = ["redis"]
    origin = "db"
    availability = 0.999
    [cache.redis]
    nodes = 3
    capacity = 300
    ttl = "4s"
    latency = { exponential = "1ms" }
    timeout = "50ms"
    [database.db]
    shards = 2
    replicas = 2
    connections = 10
    service_time = { normal = { mean = "10ms", deviation = "3ms" } }
    capacity = "200/s"
    timeout = "1s"
    [protect]
    breaker = { failures = 5, window = "10s", open_for = "2s" }
    coalesce = {}
    retry = {}
    early = {}
    stale = { while_revalidating = "1s", on_error = "10s" }
    ttl = { jitter = "10%" }
    balance = "power_of_two"
    [[timeline]]
    at = "5s"
    for = "5s"
    on = "redis"
    nodes = [0, 1]
    fault = { latency = { add = "10ms", jitter = "5ms" } }
    [[timeline]]
    at = "8s"
    for = "3s"
    on = "redis"
    nodes = [2]
    fault = "kill"
    [[timeline]]
    at = "12s"
    for = "3s"
    on = "web"
    fault = { spike = { factor = 2.5 } }
"#;

/// FNV-1a over everything that a record says.
fn digest(record: &Record) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for series in record.series() {
        eat(series.metric.name().as_bytes());
        eat(series.component.as_bytes());
        eat(&series
            .instance
            .map_or(u32::MAX, |instance| instance)
            .to_le_bytes());
        eat(series.label.as_deref().unwrap_or("").as_bytes());
        for value in &series.values {
            // All that is not a number is one thing.
            let bits = if value.is_nan() { u64::MAX } else { value.to_bits() };
            eat(&bits.to_le_bytes());
        }
    }
    hash
}

fn digest_of(scenario: &Scenario, seed: u64) -> u64 {
    let options = Options {
        seed,
        run: 0,
        scale: 1.0,
        engine: Engine::Exact,
    };
    let run = simulate(scenario, &options, &|_| {}).unwrap_or_else(|refusal| panic!("{refusal}"));
    digest(&run.record)
}

#[test]
fn the_same_seed_leaves_the_same_record() {
    let scenario = scenario(TEXT);
    assert_eq!(digest_of(&scenario, 7), digest_of(&scenario, 7));
    assert_ne!(digest_of(&scenario, 7), digest_of(&scenario, 8));
}

#[test]
fn one_thread_or_two_leave_the_same_records() {
    let scenario = scenario(TEXT);
    let digests = |threads: usize| -> Vec<u64> {
        let runs = runs_on(&scenario, 6, threads);
        runs.iter().map(|run| digest(&run.record)).collect()
    };
    let one = digests(1);
    assert_eq!(one, digests(2));
    assert_eq!(one, digests(5));
    for (index, digest) in one.iter().enumerate() {
        assert!(!one[..index].contains(digest), "runs differ from each other");
    }
}

#[test]
fn the_record_is_the_one_it_has_always_been() {
    // The same in debug and release, on any machine. It changes with the engine's decisions; then look at what
    // changed before you write the new number down.
    let digest = digest_of(&scenario(TEXT), 1);
    assert_eq!(digest, 0xcc49_6f71_6514_1b66, "{digest:#x}");
}

/// A service without time of its own, in variants that differ in what protects it.
const VARIANTS: &str = r#"
    [run]
    duration = "20s"
    [client.web]
    calls = "app"
    rate = "500/s"
    keys = { zipf = { count = 300, exponent = 0.8 } }
    writes = "10%"
    missing = "5%"
    [client.other]
    calls = "app"
    rate = "200/s"
    keys = { uniform = { count = 50 } }
    [service.app]
    instances = 2
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    nodes = 4
    ttl = "1s"
    [database.db]
    shards = 8
    service_time = "0s"
    [[timeline]]
    at = "10s"
    for = "5s"
    on = "redis"
    fault = "refuse"
    [variant.nothing]
    [variant.breaker.protect]
    breaker = { failures = 5, window = "10s" }
    [variant.much.protect]
    coalesce = {}
    ttl = { jitter = "20%" }
    stale = { on_error = "1m" }
    retry = {}
    early = {}
    balance = "power_of_two"
    integrity = true
    [variant.shedding.protect]
    rate = { rate = "300/s" }
"#;

#[test]
fn a_protection_leaves_arrivals_and_keys_as_they_were() {
    let calls = |name: &str| {
        let run = runs_on(&variant(VARIANTS, Some(name)), 1, 1).remove(0);
        let web = run.record.values(Metric::Requests, "web", None);
        let other = run.record.values(Metric::Requests, "other", None);
        (run.requests, web, other)
    };
    let plain = calls("nothing");
    assert!(plain.0 > 13_000);
    for name in ["breaker", "much", "shedding"] {
        assert_eq!(calls(name), plain, "{name}");
    }
    // Keys: with no cache to answer, the database's nodes show which keys were asked for.
    let asked = |protect: &str| {
        let text = VARIANTS.split("[variant").next().unwrap_or("");
        let text = text
            .replace("caches = [\"redis\"]", "")
            .replace("on = \"redis\"", "on = \"db\"");
        let text = text.replace("fault = \"refuse\"", "fault = { latency = { add = \"0s\" } }");
        let run = runs_on(&scenario(&format!("{text}\n{protect}")), 1, 1).remove(0);
        let nodes = 0..16;
        nodes
            .map(|node| run.record.values_of_instance(Metric::OriginRequests, "db", node))
            .collect::<Vec<_>>()
    };
    let plain = asked("");
    assert!(plain.iter().flatten().sum::<f64>() > 13_000.0);
    for protect in [
        "coalesce = {}",
        "retry = {}\nttl = { jitter = \"20%\" }",
        "limit = { max = 5000, initial = 5000 }",
    ] {
        assert!(asked(&format!("[protect]\n{protect}")) == plain, "{protect}");
    }
}

/// Everything on the way is plain: hits and misses take the short way until something happens.
const PLAIN: &str = r#"
    [run]
    duration = "40s"
    warmup = "5s"
    [client.web]
    calls = "edge"
    rate = "400/s"
    keys = { zipf = { count = 2000, exponent = 0.9 } }
    timeout = "3s"
    retries = 1
    [client.batch]
    calls = "app"
    rate = "100/s"
    arrivals = "even"
    keys = { normal = { mean = 1000, deviation = 200 } }
    [client.writer]
    calls = "app"
    rate = "5/s"
    writes = 1
    keys = { uniform = { count = 2000 } }
    [gateway.edge]
    calls = "app"
    latency = "1ms"
    [service.app]
    instances = 3
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    nodes = 3
    capacity = 500
    ttl = "4s"
    latency = "1ms"
    timeout = "50ms"
    [database.db]
    shards = 2
    replicas = 2
    service_time = { exponential = "10ms" }
    [protect]
    ttl = { jitter = "10%" }
    [[timeline]]
    at = "5s"
    for = "5s"
    on = "redis"
    nodes = [0, 1]
    fault = { latency = { add = "10ms", jitter = "5ms" } }
    [[timeline]]
    at = "12s"
    on = "redis"
    fault = "flush"
    [[timeline]]
    at = "20s"
    for = "4s"
    on = "db"
    nodes = [0]
    fault = "hang"
    [[timeline]]
    at = "30s"
    for = "2s"
    on = "redis"
    nodes = [2]
    fault = "kill"
    [variant.short]
    [variant.long.protect]
    # It never opens, and makes every call take the long way.
    breaker = { failures = 1000000, window = "1s" }
"#;

#[test]
fn the_short_way_says_what_the_long_way_says() {
    let (short, long) = (variant(PLAIN, Some("short")), variant(PLAIN, Some("long")));
    for seed in 1..=5 {
        let (short, long) = (digest_of(&short, seed), digest_of(&long, seed));
        assert_eq!(short, long, "seed {seed}");
    }
    let events = |scenario: &Scenario| runs_on(scenario, 1, 1)[0].events;
    let (short, long) = (events(&short), events(&long));
    assert!(
        short * 10 < long * 9,
        "the short way is taken: {short} events, not {long}"
    );
}
