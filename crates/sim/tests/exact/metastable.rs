//! Failures that outlive their cause (Bronson and others, 2021; Huang and others, 2022): published cases, and what
//! heals them.

use seawall_core::record::Metric;
use seawall_sim::Run;

use crate::support::{rate, runs, scenario, share};

/// One retry against a database that completes 300/s, in which queries stand still for the first 10 s.
fn retrying(rate: u32, retries: u32) -> String {
    format!(
        r#"
        [run]
        duration = "400s"
        warmup = "20s"
        [client.web]
        calls = "app"
        rate = "{rate}/s"
        keys = {{ uniform = {{ count = 1000 }} }}
        timeout = "1s"
        retries = {retries}
        backoff = "0s"
        [service.app]
        origin = "db"
        [database.db]
        service_time = {{ exponential = "20ms" }}
        connections = 6
        [[timeline]]
        at = "0s"
        for = "10s"
        on = "db"
        fault = "lock"
        "#
    )
}

fn good(run: &Run, from: f64, to: f64) -> f64 {
    share(&run.record, "web", "fresh", from..to)
}

#[test]
fn retries_keep_a_database_down_for_ever() {
    for run in runs(&scenario(&retrying(280, 1)), 8) {
        assert!(good(&run, -10.0, 0.0) > 0.99, "it is well before");
        assert!(good(&run, 2.0, 10.0) < 0.01, "it is down in the outage");
        assert!(
            good(&run, 100.0, 400.0) < 0.01,
            "and stays down: {}",
            good(&run, 100.0, 400.0)
        );
        let attempts = rate(&run.record, Metric::OriginRequests, "db", 100.0..400.0);
        assert!(
            (attempts / 560.0 - 1.0).abs() < 0.02,
            "every call is made twice: {attempts}/s"
        );
    }
}

#[test]
fn less_than_half_of_what_it_can_bear_always_recovers() {
    for run in runs(&scenario(&retrying(140, 1)), 8) {
        assert!(good(&run, 2.0, 10.0) < 0.01, "it is down in the outage");
        assert!(good(&run, 350.0, 400.0) > 0.99, "and well after it");
    }
    // Without the retry, 280/s drain what has piled up.
    for run in runs(&scenario(&retrying(250, 0)), 8) {
        assert!(good(&run, 2.0, 10.0) < 0.01, "it is down in the outage");
        assert!(good(&run, 350.0, 400.0) > 0.99, "and well after it");
    }
}

/// A cache that hits nine times in ten before the same database, and is lost for the first 10 s. A load is given up
/// after a second, and nobody tells the database.
fn look_aside(rate: u32, protect: &str) -> String {
    // Keys are asked for 0.3 times a second and live for 30 s, so 9 of 10 requests hit.
    let keys = rate * 10 / 3;
    format!(
        r#"
        [run]
        duration = "160s"
        warmup = "10s"
        prefilled = true
        [client.web]
        calls = "app"
        rate = "{rate}/s"
        keys = {{ uniform = {{ count = {keys} }} }}
        timeout = "2s"
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        ttl = "30s"
        [database.db]
        service_time = {{ exponential = "20ms" }}
        connections = 6
        [protect]
        deadline = {{ hard = "1s" }}
        {protect}
        [[timeline]]
        at = "0s"
        for = "10s"
        on = "redis"
        fault = "kill"
        "#
    )
}

#[test]
fn a_cache_carries_ten_times_as_much_and_is_never_filled_again() {
    for rate in [400, 2_700] {
        for run in runs(&scenario(&look_aside(rate, "")), 4) {
            assert!(good(&run, -5.0, 0.0) > 0.99, "{rate}/s are carried before");
            let hits = run
                .record
                .ratio(Metric::CacheHitRate, "redis", run.record.window(-10.0, 0.0));
            assert!((hits - 0.9).abs() < 0.02, "{hits}");
            assert!(
                good(&run, 80.0, 160.0) < 0.1,
                "{rate}/s do not come back: {}",
                good(&run, 80.0, 160.0)
            );
        }
    }
    for run in runs(&scenario(&look_aside(250, "")), 6) {
        assert!(
            good(&run, 80.0, 160.0) > 0.99,
            "what the database carries alone recovers"
        );
    }
}

#[test]
fn a_limit_on_the_origin_fills_the_cache_again() {
    let limit = "limit = { mode = \"fixed\", initial = 10, max = 10, places = 0 }";
    for run in runs(&scenario(&look_aside(2_700, limit)), 6) {
        let after = good(&run, 130.0, 160.0);
        assert!(after > 0.95, "{after}");
    }
}

/// A server that completes 10/s, with a line before it, and clients that wait 4 s and come back three times.
fn spiked(queue: u32) -> String {
    format!(
        r#"
        [run]
        duration = "600s"
        warmup = "60s"
        [client.web]
        calls = "app"
        rate = "9.3/s"
        arrivals = "even"
        keys = {{ uniform = {{ count = 10 }} }}
        timeout = "4s"
        retries = 3
        backoff = "1s"
        [service.app]
        threads = 1
        queue = {queue}
        service_time = {{ uniform = {{ min = "50ms", max = "150ms" }} }}
        [[timeline]]
        at = "0s"
        for = "5s"
        on = "web"
        fault = {{ spike = {{ factor = 3.2258 }} }}
        "#
    )
}

#[test]
fn a_short_spike_is_never_overcome_by_a_long_line() {
    for run in runs(&scenario(&spiked(100)), 8) {
        assert!(good(&run, -50.0, 0.0) > 0.99, "it is well before the spike");
        let after = good(&run, 300.0, 600.0);
        assert!(after < 0.1, "and never again after it: {after}");
        let depth = crate::support::mean(&run.record, Metric::QueueDepth, "app", 300.0..600.0);
        assert!(
            depth > 90.0,
            "the line is full of calls nobody waits for: {depth}"
        );
    }
}

#[test]
fn a_short_line_overcomes_the_spike() {
    for run in runs(&scenario(&spiked(20)), 8) {
        assert!(good(&run, -50.0, 0.0) > 0.99, "it is well before the spike");
        let after = good(&run, 300.0, 600.0);
        assert!(after > 0.99, "and after it: {after}");
    }
}
