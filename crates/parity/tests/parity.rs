//! The simulator and the library, driven by the same inputs, make the same decisions at the same instants.
//!
//! A scenario is simulated while the journal of its guard is kept. Then the arrivals of that journal are played to the
//! library under a paused clock, with a store and an origin that take as long and fail at the same instants as those
//! of the scenario. The journals must be the same, line by line: every step, every reply, every effect.
//!
//! The library's timers are of a whole millisecond, so all lengths of time here are.

mod world;

use world::{Outage, Parity};

const SYSTEM: &str = r#"
[run]
duration = "20s"
[client.readers]
calls = "app"
arrivals = "even"
rate = "100/s"
keys = { zipf = { count = 60, exponent = 0.9 } }
[service.app]
caches = CACHES
origin = "postgres"
[cache.redis]
ttl = "2s"
latency = "3ms"
timeout = "55ms"
[database.postgres]
service_time = "24ms"
"#;

fn parity(document: &str) -> Parity {
    let near = document.contains("[cache.near]");
    let caches = if near {
        r#"["near", "redis"]"#
    } else {
        r#"["redis"]"#
    };
    Parity::new(&format!("{}{document}", SYSTEM.replace("CACHES", caches)))
}

#[test]
fn a_cache_that_works() {
    parity("[protect.coalesce]").compare();
}

#[test]
fn jitter_stagger_and_early_refresh_draw_the_same_lots() {
    parity(
        r#"
        [protect.coalesce]
        [protect.early]
        beta = 2
        [protect.ttl]
        jitter = "20%"
        stagger = "300ms"
        [protect.stale]
        while_revalidating = "200ms"
        "#,
    )
    .compare();
}

#[test]
fn a_cache_that_refuses_and_comes_back() {
    parity(
        r#"
        [protect.coalesce]
        [protect.breaker]
        open_for = "1501ms"
        probes = 2
        [[timeline]]
        at = "5s"
        for = "4s"
        on = "redis"
        fault = "refuse"
        "#,
    )
    .cache(5_000, 9_000, Outage::Refused)
    .compare();
}

#[test]
fn a_cache_that_hangs_in_front_of_a_limited_origin() {
    parity(
        r#"
        [protect.coalesce]
        window = "31ms"
        [protect.breaker]
        failures = 20
        window = "10s"
        open_for = "1501ms"
        ramp = "2s"
        [protect.limit]
        max = 2
        places = 3
        timeout = "41ms"
        [protect.stale]
        on_error = "5m"
        [protect.deadline]
        total = "302ms"
        hard = "216ms"
        [[timeline]]
        at = "5s"
        for = "4s"
        on = "redis"
        fault = "hang"
        "#,
    )
    .cache(5_000, 9_000, Outage::Hangs)
    .compare();
}

#[test]
fn an_origin_that_hangs_and_an_origin_that_refuses() {
    parity(
        r#"
        [protect.coalesce]
        [protect.origin_breaker]
        open_for = "1501ms"
        [protect.stale]
        on_error = "5m"
        [protect.retry]
        backoff = "18ms"
        jitter = false
        [protect.deadline]
        total = "302ms"
        hard = "216ms"
        cancel = true
        [[timeline]]
        at = "5s"
        for = "3s"
        on = "postgres"
        fault = "hang"
        [[timeline]]
        at = "12s"
        for = "3s"
        on = "postgres"
        fault = "refuse"
        "#,
    )
    .origin(5_000, 8_000, Outage::Hangs)
    .origin(12_000, 15_000, Outage::Refused)
    .compare();
}

#[test]
fn a_cache_that_is_flushed() {
    parity(
        r#"
        [protect.coalesce]
        [protect.limit]
        max = 1
        places = 8
        timeout = "41ms"
        [protect.deadline]
        hard = "216ms"
        [[timeline]]
        at = "5001ms"
        on = "redis"
        fault = "flush"
        "#,
    )
    .cache(5_001, 5_001, Outage::Flushed)
    .compare();
}

#[test]
fn writes_that_end_what_was_cached() {
    parity(
        r#"
        [protect.coalesce]
        [protect.origin_breaker]
        open_for = "1501ms"
        [client.writers]
        calls = "app"
        arrivals = "even"
        rate = "8/s"
        keys = { zipf = { count = 60, exponent = 0.9 } }
        writes = 1
        [[timeline]]
        at = "12s"
        for = "3s"
        on = "postgres"
        fault = "refuse"
        "#,
    )
    .origin(12_000, 15_000, Outage::Refused)
    .compare();
}

#[test]
fn memory_in_front_of_a_cache_that_refuses() {
    parity(
        r#"
        [cache.near]
        kind = "local"
        ttl = "302ms"
        [protect.coalesce]
        [protect.ttl]
        stagger = "100ms"
        [protect.stale]
        while_revalidating = "50ms"
        on_error = "5m"
        [protect.breaker]
        open_for = "1501ms"
        [[timeline]]
        at = "5s"
        for = "4s"
        on = "redis"
        fault = "refuse"
        [[timeline]]
        at = "12s"
        for = "3s"
        on = "postgres"
        fault = "refuse"
        "#,
    )
    .cache(5_000, 9_000, Outage::Refused)
    .origin(12_000, 15_000, Outage::Refused)
    .compare();
}
