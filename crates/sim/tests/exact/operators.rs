//! What people do to a running system, and what a run begins with.

use seawall_core::record::Metric;

use crate::support::{mean, rate, run, share, sum};

/// A cache of four nodes that is warm, in front of a database that is at ease.
fn shop(more: &str) -> String {
    format!(
        r#"
        [run]
        duration = "4m"
        warmup = "10s"
        prefilled = true
        [client.web]
        calls = "app"
        rate = "200/s"
        keys = {{ zipf = {{ count = 1000, exponent = 0.8 }} }}
        timeout = "2s"
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        nodes = 4
        ttl = "3m"
        [database.db]
        connections = 20
        service_time = "10ms"
        timeout = "1s"
        {more}
        "#
    )
}

fn entries_of_node(text: &str, node: u32) -> f64 {
    let record = run(text).record;
    let values = record.values_of_instance(Metric::CacheEntries, "redis", node);
    values.last().copied().unwrap_or(0.0)
}

#[test]
fn services_follow_keys_to_new_nodes() {
    let shard = r#"
        [[timeline]]
        at = "1m"
        on = "redis"
        action = { shard = { nodes = 8 } }
    "#;
    let scale = r#"
        [[timeline]]
        at = "30s"
        action = { scale = { on = "redis", nodes = 8, takes = "30s" } }
    "#;
    for resized in [shard, scale] {
        let text = shop(resized);
        assert!(entries_of_node(&text, 7) > 50.0, "the new nodes are used");
        let record = run(&text).record;
        let before = rate(&record, Metric::OriginRequests, "db", 30.0..60.0);
        let just_after = rate(&record, Metric::OriginRequests, "db", 60.0..65.0);
        let later = rate(&record, Metric::OriginRequests, "db", 180.0..240.0);
        assert!(
            just_after > 5.0 * before,
            "half of the keys have moved: {just_after} after {before}"
        );
        assert!(
            later < 2.0 * before,
            "and are there again: {later} after {before}"
        );
    }
}

#[test]
fn a_ttl_that_is_set_holds_for_what_is_stored_from_then_on() {
    let record = run(&shop(
        r#"
        [[timeline]]
        at = "0s"
        action = { set = { path = "cache.redis.ttl", value = "5s" } }
        [[timeline]]
        at = "1s"
        on = "redis"
        action = "flush"
        "#,
    ))
    .record;
    let before = rate(&record, Metric::OriginRequests, "db", -10.0..0.0);
    let after = rate(&record, Metric::OriginRequests, "db", 60.0..240.0);
    assert!(
        after > 5.0 * before,
        "most keys are asked for less often than every 5 s: {after}"
    );
}

#[test]
fn an_expiry_for_all_comes_when_it_was_set_for_and_not_before() {
    let record = run(&shop(
        r#"
        [[timeline]]
        at = "0s"
        on = "redis"
        fault = { expire_at = { instant = "2m" } }
        "#,
    ))
    .record;
    let normal = rate(&record, Metric::OriginRequests, "db", -10.0..0.0);
    let meanwhile = rate(&record, Metric::OriginRequests, "db", 60.0..120.0);
    let then = rate(&record, Metric::OriginRequests, "db", 120.0..123.0);
    assert!(
        meanwhile < normal,
        "nothing ends meanwhile: {meanwhile}, not {normal}"
    );
    assert!(then > 10.0 * normal, "all ends then: {then} after {normal}");
}

#[test]
fn entries_of_before_the_run_are_kept_for_staleness_too() {
    let text = shop(
        r#"
        [protect]
        stale = { on_error = "10m" }
        [[timeline]]
        at = "0s"
        on = "db"
        fault = "kill"
        [[timeline]]
        at = "1s"
        on = "redis"
        fault = { expire = { share = 1.0 } }
        "#,
    );
    let stale = share(&run(&text).record, "web", "stale", 10.0..60.0);
    assert!(stale > 0.9, "answered from what was there: {stale}");
    let without = text.replace("stale = { on_error = \"10m\" }", "");
    let stale = share(&run(&without).record, "web", "stale", 10.0..60.0);
    assert!(stale < 0.01, "and not when nothing stale is kept: {stale}");
}

#[test]
fn a_guard_with_a_line_is_woken_as_often_as_it_has_something_to_do() {
    let text = shop(
        r#"
        [protect]
        coalesce = { window = "1s" }
        limit = { max = 1, places = 30, timeout = "15ms" }
        [[timeline]]
        at = "0s"
        on = "redis"
        fault = "refuse"
        "#,
    );
    let run = run(&text);
    assert!(
        mean(&run.record, Metric::OriginInFlight, "db", 0.0..240.0) > 0.5,
        "the limit is used"
    );
    assert!(
        sum(&run.record, Metric::Shed, "app", None, 0.0..240.0) > 100.0,
        "and the line, too"
    );
    let each = run.events as f64 / run.requests as f64;
    assert!(each < 10.0, "{each} events a request");
}
