//! Every action of an operator does what it says, from 10 s on in a run of 30 s.

use std::ops::Range;

use seawall_core::record::{Metric, Record};

use crate::faults::{CACHED, PLAIN, WORKING, act, cache_errors, loads, median_ms};
use crate::support::{mean, rate, share, sum};

const BEFORE: Range<f64> = 3.0..10.0;
const AFTER: Range<f64> = 18.0..30.0;

/// Demands a number within bounds before and after.
#[track_caller]
fn changed(what: &str, number: impl Fn(Range<f64>) -> f64, before: Range<f64>, after: Range<f64>) {
    for (when, window, bounds) in [("before", BEFORE, before), ("after", AFTER, after)] {
        let number = number(window);
        assert!(
            (bounds.start..=bounds.end).contains(&number),
            "{what}: {number} {when}, which is not within {bounds:?}"
        );
    }
}

fn set(base: &str, path: &str, value: &str) -> Record {
    act(base, &format!("set = {{ path = \"{path}\", value = {value} }}"))
}

/// A base with more said about its cache, its database or its service, which stand before these words.
fn with(base: &str, before: &str, more: &str) -> String {
    assert!(base.contains(before), "{before}");
    base.replace(before, &format!("{before}\n{more}"))
}

fn of_nodes(record: &Record, nodes: &[u32], over: Range<f64>) -> f64 {
    let window = record.window(over.start, over.end);
    let of = |node: &u32| -> f64 {
        let values = record.values_of_instance(Metric::OriginRequests, "db", *node);
        values
            .get(window.clone())
            .map_or(0.0, |values| values.iter().sum())
    };
    nodes.iter().map(of).sum::<f64>() / sum(record, Metric::OriginRequests, "db", None, over)
}

#[test]
fn settings_of_services() {
    let record = set(WORKING, "service.app.service_time", "\"30ms\"");
    changed("the time", |over| median_ms(&record, over), 9.9..10.2, 29.5..30.5);

    let record = set(WORKING, "service.app.availability", "\"50%\"");
    changed(
        "errors",
        |over| share(&record, "web", "error", over),
        0.0..0.0,
        0.46..0.54,
    );

    let record = set(WORKING, "service.app.threads", "1");
    changed(
        "threads",
        |over| mean(&record, Metric::ThreadsBusy, "app", over),
        1.0..3.0,
        1.5..2.0,
    );
    changed(
        "the line",
        |over| mean(&record, Metric::QueueDepth, "app", over),
        0.0..0.0,
        0.5..500.0,
    );

    let full = WORKING
        .replace("threads = 40", "threads = 1\nqueue = 0")
        .replace("\"10ms\"", "\"20ms\"");
    let record = set(&full, "service.app.queue", "5");
    changed(
        "the line",
        |over| mean(&record, Metric::QueueDepth, "app", over),
        0.0..0.0,
        7.0..10.0,
    );

    let record = set(
        &with(WORKING, "threads = 40", "trips = { above = 100, for = \"1s\" }"),
        "service.app.trips.above",
        "0",
    );
    changed(
        "errors",
        |over| share(&record, "web", "error", over),
        0.0..0.0,
        0.7..1.0,
    );
}

#[test]
fn settings_of_caches() {
    let short = CACHED.replace("1000s", "2s");
    let record = set(&short, "cache.redis.ttl", "\"500ms\"");
    changed(
        "misses",
        |over| rate(&record, Metric::CacheMisses, "redis", over),
        33.0..47.0,
        88.0..112.0,
    );

    let record = set(&short, "cache.redis.renewed_by_hits", "true");
    changed(
        "misses",
        |over| rate(&record, Metric::CacheMisses, "redis", over),
        33.0..47.0,
        0.5..8.0,
    );

    let slow = CACHED.replace("latency = \"1ms\"", "latency = \"20ms\"");
    let record = set(&slow, "cache.redis.timeout", "\"10ms\"");
    changed(
        "late",
        |over| cache_errors(&record, "timed_out", over),
        0.0..0.0,
        180.0..430.0,
    );

    let record = set(&slow, "cache.redis.max_clients", "1");
    changed(
        "too many",
        |over| cache_errors(&record, "too_many_clients", over),
        0.0..0.0,
        50.0..300.0,
    );

    let entries = |record: &Record, over| mean(record, Metric::CacheEntries, "redis", over);
    let record = set(CACHED, "cache.redis.capacity", "10");
    changed("entries", |over| entries(&record, over), 100.0..100.0, 20.0..20.0);
    let record = set(CACHED, "cache.redis.maxmemory", "\"10kb\"");
    changed("entries", |over| entries(&record, over), 100.0..100.0, 20.0..20.0);

    let small = with(CACHED, "nodes = 2", "capacity = 30");
    let record = set(&small, "cache.redis.eviction", "\"none\"");
    changed(
        "no room",
        |over| cache_errors(&record, "out_of_memory", over),
        0.0..0.0,
        50.0..110.0,
    );
    changed(
        "evictions",
        |over| rate(&record, Metric::CacheEvictions, "redis", over),
        50.0..110.0,
        0.0..0.0,
    );
}

#[test]
fn settings_of_databases_and_clients() {
    let record = set(PLAIN, "database.db.service_time", "\"50ms\"");
    let reads = |over| median_ms(&record, over);
    changed("the time", reads, 4.9..5.2, 49.0..51.0);

    let record = set(PLAIN, "database.db.timeout", "\"2ms\"");
    changed(
        "errors",
        |over| share(&record, "web", "error", over),
        0.0..0.0,
        1.0..1.0,
    );

    let slow = PLAIN.replace("service_time = \"5ms\"", "service_time = \"20ms\"");
    let record = set(&slow, "database.db.connections", "1");
    changed(
        "the line",
        |over| mean(&record, Metric::QueueDepth, "db", over),
        0.0..0.0,
        50.0..1_000.0,
    );

    let failing = with(WORKING, "threads = 40", "availability = 0.5");
    let record = set(&failing, "client.web.retries", "3");
    changed(
        "retries",
        |over| rate(&record, Metric::Retries, "web", over),
        0.0..0.0,
        150.0..200.0,
    );
    changed(
        "errors",
        |over| share(&record, "web", "error", over),
        0.45..0.55,
        0.04..0.09,
    );

    let record = set(PLAIN, "client.web.writes", "\"80%\"");
    changed(
        "the primaries' share",
        |over| of_nodes(&record, &[2, 3], over),
        0.17..0.23,
        0.77..0.83,
    );
}

#[test]
fn protections_are_switched_on_and_off() {
    let record = act(WORKING, "protect = { rate = { rate = \"50/s\" } }");
    changed(
        "shed",
        |over| share(&record, "web", "shed", over),
        0.0..0.0,
        0.7..0.8,
    );

    let limited = format!("{WORKING}\n[protect]\nrate = {{ rate = \"50/s\" }}");
    let record = act(&limited, "unprotect = { protections = [\"rate\"] }");
    changed(
        "shed",
        |over| share(&record, "web", "shed", over),
        0.7..0.8,
        0.0..0.0,
    );

    let hot = PLAIN
        .replace("count = 100", "count = 1")
        .replace("writes = \"20%\"", "")
        .replace("service_time = \"5ms\"", "service_time = \"100ms\"");
    let record = act(&hot, "protect = { coalesce = {} }");
    changed("loads", |over| loads(&record, over), 180.0..220.0, 8.0..11.0);
    let record = act(
        &format!("{hot}\n[protect]\ncoalesce = {{}}"),
        "unprotect = { protections = [\"coalesce\"] }",
    );
    changed("loads", |over| loads(&record, over), 8.0..11.0, 180.0..220.0);
}

#[test]
fn more_of_something_serves_after_a_while() {
    let record = act(PLAIN, "scale = { on = \"db\", replicas = 4, takes = \"5s\" }");
    // The new replicas of both shards come after the two first ones and the primaries.
    let new = |over| of_nodes(&record, &[4, 5, 6, 7, 8, 9], over);
    changed("what new replicas get", new, 0.0..0.0, 0.57..0.63);
    assert_eq!(new(10.0..15.0), 0.0, "it takes a while");

    let record = act(WORKING, "scale = { on = \"app\", instances = 5, takes = \"5s\" }");
    let up = |over| mean(&record, Metric::Instances, "app", over);
    changed("instances", up, 2.0..2.0, 5.0..5.0);
    assert_eq!(up(10.0..14.0), 2.0, "it takes a while");
    let record = act(WORKING, "scale = { on = \"app\", instances = 1 }");
    changed(
        "instances",
        |over| mean(&record, Metric::Instances, "app", over),
        2.0..2.0,
        1.0..1.0,
    );
    assert_eq!(share(&record, "web", "fresh", AFTER), 1.0, "one carries it");

    let slow = PLAIN
        .replace("service_time = \"5ms\"", "service_time = \"20ms\"")
        .replace("connections = 40", "connections = 1");
    let record = act(&slow, "scale = { on = \"db\", connections = 10 }");
    changed(
        "the line",
        |over| mean(&record, Metric::QueueDepth, "db", over),
        50.0..2_000.0,
        0.0..1.0,
    );

    let record = act(CACHED, "scale = { on = \"redis\", nodes = 4 }");
    let third = |over: Range<f64>| {
        let values = record.values_of_instance(Metric::CacheEntries, "redis", 2);
        values
            .get(record.window(over.start, over.end))
            .map_or(0.0, |values| *values.last().unwrap_or(&0.0))
    };
    changed("entries of the third node", third, 0.0..0.0, 25.0..25.0);
    let moved = sum(&record, Metric::CacheMisses, "redis", None, 10.0..30.0);
    assert!(
        (45.0..=55.0).contains(&moved),
        "half of the keys have moved: {moved}"
    );
}

#[test]
fn caches_are_emptied_spread_and_filled() {
    let misses = |record: &Record, over| sum(record, Metric::CacheMisses, "redis", None, over);
    for action in ["flush = { on = \"redis\" }", "purge = { on = \"redis\" }"] {
        let record = act(CACHED, action);
        assert_eq!(misses(&record, 0.0..10.0), 0.0);
        let lost = misses(&record, 10.0..30.0);
        assert!((95.0..=105.0).contains(&lost), "{action}: {lost}");
    }
    let record = act(CACHED, "shard = { on = \"redis\", sharding = \"jump\" }");
    assert_eq!(misses(&record, 0.0..10.0), 0.0);
    let moved = misses(&record, 10.0..30.0);
    assert!(
        (30.0..=70.0).contains(&moved),
        "half of the keys have moved: {moved}"
    );

    // Few requests, an empty cache, and then a plan that fills it: keys come faster than they are asked for.
    let quiet = CACHED.replace("rate = \"200/s\"", "rate = \"2/s\"")
        + "\n[[timeline]]\nat = \"9s\"\non = \"redis\"\nfault = \"flush\"\n";
    let record = act(&quiet, "warm = { on = \"redis\", pace = \"50/s\" }");
    let warmed = |over| sum(&record, Metric::Warmed, "app", None, over);
    assert_eq!(warmed(0.0..10.0), 0.0);
    let filled = warmed(10.0..15.0);
    assert!((70.0..=100.0).contains(&filled), "{filled}");
    let first = warmed(10.0..11.0);
    assert!((30.0..=60.0).contains(&first), "at its pace: {first}");
    changed(
        "entries",
        |over| mean(&record, Metric::CacheEntries, "redis", over),
        0.0..100.0,
        70.0..100.0,
    );
}

#[test]
fn what_is_restarted_is_away_for_a_while() {
    let record = act(CACHED, "restart = { on = \"redis\", takes = \"3s\" }");
    let refused = |over| cache_errors(&record, "refused", over);
    assert!(refused(10.0..13.0) > 150.0 && refused(0.0..10.0) == 0.0 && refused(13.0..30.0) == 0.0);
    let lost = sum(&record, Metric::CacheMisses, "redis", None, 13.0..30.0);
    assert!((95.0..=105.0).contains(&lost), "it comes back empty: {lost}");

    for (base, on) in [(PLAIN, "db"), (WORKING, "app")] {
        let record = act(base, &format!("restart = {{ on = \"{on}\", takes = \"3s\" }}"));
        let failed = |over| share(&record, "web", "error", over);
        assert!(failed(11.0..13.0) == 1.0, "{on} is away");
        assert!(
            failed(0.0..10.0) == 0.0 && failed(13.0..30.0) == 0.0,
            "{on} is back"
        );
    }
}

#[test]
fn calls_are_spread_and_sent_differently() {
    let slow =
        "[[timeline]]\nat = \"0s\"\non = \"db\"\nnodes = [0]\nfault = { slow_query = { factor = 40 } }\n";
    let base = PLAIN
        .replace("shards = 2", "replicas = 2")
        .replace("writes = \"20%\"", "")
        + slow;
    let even = format!("{base}\n[protect]\nbalance = \"round_robin\"");
    let record = act(
        &even,
        "balance = { on = \"app\", strategy = \"least_connections\" }",
    );
    changed(
        "what the slow replica gets",
        |over| of_nodes(&record, &[0], over),
        0.48..0.52,
        0.01..0.25,
    );

    let record = act(WORKING, "rate = { on = \"web\", rate = \"400/s\" }");
    changed(
        "calls",
        |over| rate(&record, Metric::Requests, "web", over),
        180.0..220.0,
        380.0..420.0,
    );
}
