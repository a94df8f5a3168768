//! The elided engine against the exact one, scenario by scenario.

use seawall_core::record::Metric;

use crate::alike::{alike, both, varies_alike};
use crate::support::scenario;

/// Writes, keys that are not there, retries, several nodes and instances, jitter, early refresh, stale answers, and
/// things that happen.
pub(crate) const EVERYTHING: &str = r#"
    [run]
    duration = "30s"
    warmup = "2s"
    prefilled = true
    [client.web]
    calls = "edge"
    rate = "2000/s"
    schedule = [{ at = "12s", rate = "3000/s", over = "4s" }, { at = "20s", rate = "1500/s" }]
    keys = { zipf = { count = 3000, exponent = 0.8 } }
    writes = "1%"
    missing = "1%"
    timeout = "300ms"
    retries = 1
    backoff = "200ms"
    [client.batch]
    calls = "app"
    rate = "300/s"
    keys = { normal = { mean = 1000, deviation = 200 } }
    [gateway.edge]
    calls = "app"
    latency = { uniform = { min = "1ms", max = "2ms" } }
    [service.app]
    instances = 3
    service_time = { exponential = "1ms" }
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    nodes = 2
    ttl = "5s"
    latency = "500us"
    [database.db]
    shards = 2
    service_time = { exponential = "10ms" }
    capacity = "2000/s"
    [protect]
    breaker = { failures = 5, window = "10s", open_for = "1s" }
    coalesce = {}
    early = {}
    stale = { while_revalidating = "1s" }
    ttl = { jitter = "20%", negative = "1s" }
    throttle = { latency = "200ms" }
    [[timeline]]
    at = "5s"
    on = "redis"
    nodes = [1]
    fault = "flush"
    [[timeline]]
    at = "9s"
    for = "3s"
    on = "web"
    fault = { spike = { factor = 1.5 } }
    [[timeline]]
    at = "16s"
    for = "2s"
    on = "redis"
    fault = "partition"
    [[timeline]]
    at = "21s"
    for = "3s"
    on = "web"
    fault = { hot_key = { share = "20%" } }
    [[timeline]]
    at = "26s"
    for = "2s"
    on = "web"
    fault = { penetration = { share = "10%" } }
"#;

#[test]
fn a_little_of_everything_is_alike() {
    let runs = both(&scenario(EVERYTHING), 16);
    alike(&runs, 1);
    alike(&runs, 8);
}

fn flushed(duration: u32, service: &str, cache: &str, rest: &str) -> String {
    format!(
        "[run]\nduration = \"{duration}s\"\nprefilled = true\n[client.web]\ncalls = \"app\"\nrate = \"4k/s\"\n\
         keys = {{ zipf = {{ count = 2000, exponent = 0.9 }} }}\n[service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n\
         {service}\n[cache.redis]\n{cache}\n[[timeline]]\nat = \"10s\"\non = \"redis\"\nfault = \"flush\"\n\
         [database.db]\n{rest}"
    )
}

#[test]
fn counts_vary_as_much_as_they_should() {
    let text = flushed(320, "", "ttl = \"5s\"", "service_time = \"1ms\"").replace("4k/s", "1k/s");
    let runs = both(&scenario(&text.replace("2000", "500")), 20);
    alike(&runs, 10);
    for (metric, of) in [
        (Metric::CacheMisses, "redis"),
        (Metric::CacheHits, "redis"),
        (Metric::Requests, "web"),
        (Metric::Goodput, "web"),
        (Metric::OriginRequests, "db"),
    ] {
        varies_alike(&runs, metric, of, 20..320);
    }
}

/// A few keys that are all alike, over two instances, with loads that take 200 ms.
fn few(rate: u32, duration: u32, ttl: u32, more: &str) -> String {
    format!(
        "[run]\nduration = \"{duration}s\"\nevery = \"5s\"\n[client.web]\ncalls = \"app\"\nrate = \"{rate}/s\"\n\
         keys = {{ uniform = {{ count = 20 }} }}\n[service.app]\ninstances = 2\ncaches = [\"redis\"]\norigin = \"db\"\n\
         [cache.redis]\nttl = \"{ttl}s\"\nnodes = 3\n[database.db]\nservice_time = \"200ms\"\n{more}"
    )
}

#[test]
fn who_coalesces_with_whom_is_alike_over_instances_in_turn() {
    // Two or three ask while a key is loaded; whether they meet depends on how many hits came in between.
    let runs = both(&scenario(&few(200, 200, 5, "[protect.coalesce]")), 20);
    alike(&runs, 1);
    alike(&runs, 20);
}

#[test]
fn readers_who_refresh_early_are_played() {
    let runs = both(
        &scenario(&few(400, 100, 7, "[protect.early]\n[protect.coalesce]")),
        20,
    );
    alike(&runs, 1);
    alike(&runs, 10);
}

#[test]
fn writes_wake_their_keys() {
    // Loads that a write overtakes on the way back are stored all the same by the instance that did not write, and are no hits there
    // where it is known.
    let authors = "latency = { exponential = \"1s\" }\n[protect]\ncoalesce = { wait_max = \"60s\" }\n[client.authors]\ncalls = \"app\"\nrate = \"20/s\"\nwrites = \"90%\"\nkeys = { uniform = { count = 20 } }";
    let runs = both(&scenario(&few(400, 60, 30, authors)), 20);
    alike(&runs, 1);
    alike(&runs, 6);
}

/// Threads, a line, and a database that is slow for a while: hits hold threads and wait for them.
const THREADS: &str = r#"
    [run]
    duration = "30s"
    prefilled = true
    [client.web]
    calls = "app"
    rate = "1000/s"
    keys = { zipf = { count = 500, exponent = 0.9 } }
    timeout = "2s"
    retries = 1
    [service.app]
    instances = 3
    threads = 40
    queue = 100
    service_time = { exponential = "4ms" }
    latency = "1ms"
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    ttl = "6s"
    latency = "1ms"
    [database.db]
    service_time = { exponential = "15ms" }
    [[timeline]]
    at = "10s"
    for = "6s"
    on = "db"
    fault = { slow = { factor = 100 } }
"#;

#[test]
fn threads_that_hits_hold_are_alike_in_a_crowd_and_without() {
    // In long periods only the crowd itself can tell that it is one.
    let text = THREADS.replace("[run]", "[run]\nevery = \"5s\"");
    let long = both(&scenario(&text), 20);
    alike(&long, 1);
    let runs = both(&scenario(THREADS), 20);
    alike(&runs, 1);
    alike(&runs, 5);
    // Without the fault, hits were skipped; in the crowd they were played.
    let share = |run: &seawall_sim::Run| -> f64 {
        let (_, tail) = run.choice.envelope.split_once("; ").expect("two parts");
        tail.split('%')
            .next()
            .and_then(|share| share.parse().ok())
            .expect("a share")
    };
    let played: Vec<f64> = runs[1].iter().map(share).collect();
    assert!(
        played.iter().all(|share| (15.0..75.0).contains(share)),
        "{played:?}"
    );
    let busy = runs[1][0].record.values(Metric::ThreadsBusy, "app", None);
    assert!(busy[12..16].iter().any(|busy| *busy > 60.0), "a crowd: {busy:?}");
}

#[test]
fn hits_that_are_inside_when_keys_are_woken_go_on_holding_threads() {
    // Half a second each, and the keys are woken shortly before the period ends.
    let text = r#"
        [run]
        duration = "14s"
        prefilled = true
        [client.web]
        calls = "app"
        rate = "200/s"
        keys = { uniform = { count = 10 } }
        [service.app]
        instances = 2
        threads = 200
        service_time = { exponential = "500ms" }
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        ttl = "5s"
        latency = "1ms"
        [database.db]
        service_time = "1ms"
        [[timeline]]
        at = "7900ms"
        for = "2s"
        on = "redis"
        fault = { latency = { add = "1ms" } }
    "#;
    let runs = both(&scenario(text), 20);
    alike(&runs, 1);
    let busy = runs[1][0].record.values(Metric::ThreadsBusy, "app", None);
    assert!(busy[5] > 50.0 && busy[7] > 50.0, "{busy:?}");
}
