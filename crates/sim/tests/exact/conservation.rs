//! What goes in comes out, once; and memory does not grow with time.

use seawall_core::record::Metric;

use crate::support::{runs, scenario, sum};

/// Everything at once: all protections, most faults, operators who scale, restart and tune. Clients stop at 60 s, so
/// that all of it can end.
#[expect(clippy::too_many_lines, reason = "it is one document")]
fn nasty(cancel: bool) -> String {
    let faults = [
        ("4s", "redis", "\"flush\""),
        (
            "6s",
            "redis",
            "{ latency = { add = \"30ms\", jitter = \"30ms\" } }",
        ),
        ("8s", "redis", "\"kill\""),
        ("11s", "db", "\"lock\""),
        ("14s", "app", "{ crash = { instances = 1 } }"),
        ("17s", "redis", "\"partition\""),
        ("20s", "db", "\"kill\""),
        ("22s", "web", "{ spike = { factor = 4.0 } }"),
        ("25s", "redis", "\"hang\""),
        ("28s", "db", "\"hang\""),
        ("31s", "app", "{ leak = { after = 500, restart = \"2s\" } }"),
        ("34s", "db", "{ loss = { share = 0.3 } }"),
        ("37s", "redis", "\"out_of_memory\""),
        ("40s", "db", "{ connections = { max = 2 } }"),
        ("43s", "app", "{ restart = { each = \"1s\" } }"),
        ("47s", "redis", "\"loading\""),
        ("49s", "web", "{ penetration = { share = 0.5 } }"),
        ("52s", "db", "{ slow_query = { factor = 8 } }"),
    ];
    let mut timeline = String::new();
    for (at, on, fault) in faults {
        let instant = fault == "\"flush\"" || fault.contains("each =");
        let length = if instant {
            ""
        } else {
            "for = \"2500ms\"
"
        };
        let event = format!(
            "[[timeline]]
at = \"{at}\"
{length}on = \"{on}\"
fault = {fault}
"
        );
        timeline.push_str(&event);
    }
    format!(
        r#"
        [run]
        duration = "200s"
        warmup = "5s"
        [client.web]
        calls = "door"
        rate = "600/s"
        keys = {{ zipf = {{ count = 3000, exponent = 0.9 }} }}
        writes = "5%"
        missing = "3%"
        timeout = "250ms"
        retries = 2
        backoff = "100ms"
        schedule = [{{ at = "60s", rate = "0/s" }}]
        [client.patient]
        calls = "app"
        rate = "100/s"
        keys = {{ uniform = {{ count = 500 }} }}
        priority = "low"
        schedule = [{{ at = "60s", rate = "0/s" }}]
        [gateway.door]
        calls = "app"
        latency = {{ exponential = "2ms" }}
        concurrency = 150
        [service.app]
        instances = 3
        threads = 30
        queue = 40
        service_time = {{ exponential = "4ms" }}
        latency = {{ exponential = "1ms" }}
        caches = ["near", "redis"]
        origin = "db"
        also = ["stats"]
        fallback = {{ origin = "far" }}
        [service.far]
        service_time = "200ms"
        threads = 20
        queue = 10
        [service.stats]
        service_time = "5ms"
        threads = 2
        queue = 5
        [cache.near]
        kind = "local"
        capacity = 50
        ttl = "1s"
        [cache.redis]
        nodes = 3
        capacity = 400
        ttl = "5s"
        latency = {{ exponential = "1ms" }}
        timeout = "50ms"
        max_clients = 60
        [database.db]
        shards = 2
        replicas = 2
        connections = 8
        queue = 60
        service_time = {{ exponential = "10ms" }}
        timeout = "2s"
        [protect]
        breaker = {{ failures = 5, window = "10s", open_for = "1s" }}
        origin_breaker = {{ failures = 20, window = "10s", open_for = "1s" }}
        coalesce = {{ wait_max = "1s" }}
        lease = {{}}
        early = {{}}
        stale = {{ while_revalidating = "1s", on_error = "5s" }}
        retry = {{ attempts = 3, backoff = "20ms" }}
        ttl = {{ jitter = "10%", negative = "1s" }}
        deadline = {{ total = "2s", hard = "1s", cancel = {cancel} }}
        limit = {{ max = 30, initial = 10, places = 20 }}
        warm = {{}}
        hot = {{}}
        integrity = true
        queue = {{ places = 20, timeout = "300ms", codel = {{}} }}
        throttle = {{ latency = "200ms" }}
        rate = {{ rate = "900/s" }}
        shed = {{}}
        {timeline}
        [[timeline]]
        at = "45s"
        action = {{ scale = {{ on = "app", instances = 5, takes = "1s" }} }}
        [[timeline]]
        at = "50s"
        action = {{ scale = {{ on = "db", replicas = 3, takes = "1s" }} }}
        [[timeline]]
        at = "55s"
        action = {{ restart = {{ on = "redis", takes = "1s" }} }}
        "#
    )
}

#[test]
fn every_call_ends_once_whatever_happens() {
    for cancel in [false, true] {
        let runs = runs(&scenario(&nasty(cancel)), 4);
        for run in &runs {
            let record = &run.record;
            let ended = sum(record, Metric::Requests, "web", None, -5.0..200.0)
                + sum(record, Metric::Requests, "patient", None, -5.0..200.0);
            assert_eq!(ended, run.requests as f64, "calls that ended, calls that came");
            assert!(run.requests > 40_000);
            for ending in ["fresh", "stale", "shed", "error", "timeout"] {
                let count = sum(record, Metric::Requests, "web", Some(ending), -5.0..200.0)
                    + sum(record, Metric::Requests, "patient", Some(ending), -5.0..200.0);
                assert!(count > 0.0, "some ended as {ending}");
            }
            let last = |metric, of: &str| *record.values(metric, of, None).last().unwrap_or(&f64::NAN);
            for (metric, of) in [
                (Metric::InFlight, "app"),
                (Metric::ThreadsBusy, "app"),
                (Metric::QueueDepth, "app"),
                (Metric::QueueDepth, "door"),
                (Metric::InFlight, "far"),
                (Metric::InFlight, "stats"),
                (Metric::OriginInFlight, "db"),
                (Metric::OriginConnections, "db"),
            ] {
                assert_eq!(
                    last(metric, of),
                    0.0,
                    "nothing is left: {} of {of}",
                    metric.name()
                );
            }
        }
    }
}

/// An overloaded system that stands: everything in it is bounded.
fn standing(seconds: u32) -> String {
    nasty(true)
        .replace("duration = \"200s\"", &format!("duration = \"{seconds}s\""))
        .replace("schedule = [{ at = \"60s\", rate = \"0/s\" }]", "")
}

#[test]
fn memory_is_bounded_by_what_is_in_flight_and_not_by_time() {
    let peak = |seconds: u32| {
        let runs = runs(&scenario(&standing(seconds)), 2);
        runs.iter()
            .map(|run| (run.in_flight_max, run.requests))
            .max()
            .unwrap_or((0, 0))
    };
    let (short, few) = peak(60);
    let (long, many) = peak(600);
    assert!(many > 8 * few);
    assert!(short > 100, "there is something in flight: {short}");
    assert!(
        long as f64 <= 1.2 * short as f64,
        "{short} in a minute, {long} in ten"
    );
}
