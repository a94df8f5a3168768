//! Every fault does what it says, while it lasts.
//!
//! A fault lasts from 10 s to 20 s of a run of 30 s; each is seen in one number before, during and after it.

use std::ops::Range;

use seawall_core::record::{Metric, Record};

use crate::support::{mean, rate, run, share, sum};

const BEFORE: Range<f64> = 3.0..10.0;
const DURING: Range<f64> = 12.0..20.0;
const AFTER: Range<f64> = 23.0..30.0;

/// A hundred keys behind two cache nodes, all of them cached.
pub(crate) const CACHED: &str = r#"
    [run]
    duration = "30s"
    warmup = "10s"
    [client.web]
    calls = "app"
    rate = "200/s"
    keys = { uniform = { count = 100 } }
    timeout = "2s"
    [service.app]
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    nodes = 2
    sharding = "modulo"
    ttl = "1000s"
    latency = "1ms"
    timeout = "100ms"
    [database.db]
    service_time = "5ms"
"#;

/// The same without a cache, on a database of two shards.
pub(crate) const PLAIN: &str = r#"
    [run]
    duration = "30s"
    warmup = "10s"
    [client.web]
    calls = "app"
    rate = "200/s"
    keys = { uniform = { count = 100 } }
    timeout = "1s"
    writes = "20%"
    [service.app]
    origin = "db"
    [database.db]
    shards = 2
    service_time = "5ms"
    connections = 40
"#;

/// A service of two instances that does its own work.
pub(crate) const WORKING: &str = r#"
    [run]
    duration = "30s"
    warmup = "10s"
    [client.web]
    calls = "app"
    rate = "200/s"
    keys = { uniform = { count = 100 } }
    timeout = "1s"
    [service.app]
    instances = 2
    threads = 40
    service_time = "10ms"
"#;

fn lasting(base: &str, on: &str, fault: &str) -> Record {
    struck(base, &format!("for = \"10s\"\non = \"{on}\""), fault)
}

fn struck(base: &str, to: &str, fault: &str) -> Record {
    let fault = if fault.starts_with('{') {
        fault.to_owned()
    } else {
        format!("\"{fault}\"")
    };
    run(&format!(
        "{base}\n[[timeline]]\nat = \"10s\"\n{to}\nfault = {fault}\n"
    ))
    .record
}

pub(crate) fn act(base: &str, action: &str) -> Record {
    run(&format!(
        "{base}\n[[timeline]]\nat = \"10s\"\naction = {{ {action} }}\n"
    ))
    .record
}

/// The median time of a call, in milliseconds, averaged over the seconds of a window.
pub(crate) fn median_ms(record: &Record, over: Range<f64>) -> f64 {
    let values =
        &record.values(Metric::RequestDuration, "web", Some("0.5"))[record.window(over.start, over.end)];
    let seen: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    1_000.0 * seen.iter().sum::<f64>() / seen.len() as f64
}

/// Errors of the cache a second, by their reason.
pub(crate) fn cache_errors(record: &Record, reason: &str, over: Range<f64>) -> f64 {
    let seconds = over.end - over.start;
    sum(record, Metric::CacheErrors, "redis", Some(reason), over) / seconds
}

pub(crate) fn loads(record: &Record, over: Range<f64>) -> f64 {
    rate(record, Metric::OriginRequests, "db", over)
}

/// Demands a number within bounds before, during and after.
#[track_caller]
fn seen(
    what: &str,
    number: impl Fn(Range<f64>) -> f64,
    before: Range<f64>,
    during: Range<f64>,
    after: Range<f64>,
) {
    for (when, window, bounds) in [
        ("before", BEFORE, before),
        ("during", DURING, during),
        ("after", AFTER, after),
    ] {
        let number = number(window);
        assert!(
            (bounds.start..=bounds.end).contains(&number),
            "{what}: {number} {when}, which is not within {bounds:?}"
        );
    }
}

#[test]
fn a_cache_node_that_fails_says_why() {
    for (fault, reason) in [
        ("kill", "refused"),
        ("refuse", "refused"),
        ("reset", "reset"),
        ("partition", "timed_out"),
        ("hang", "timed_out"),
        ("pause", "timed_out"),
        ("too_many_clients", "too_many_clients"),
        ("loading", "loading"),
    ] {
        let record = lasting(CACHED, "redis", fault);
        // The look-up fails, and then the write of what was loaded.
        let errors = |over| cache_errors(&record, reason, over);
        seen(
            &format!("{fault}: {reason} a second"),
            errors,
            0.0..0.0,
            370.0..430.0,
            0.0..0.0,
        );
        seen(
            &format!("{fault}: loads"),
            |over| loads(&record, over),
            0.0..0.0,
            180.0..220.0,
            0.0..0.0,
        );
        // What never answers costs the whole timeout; a refusal is quick.
        let during = if reason == "timed_out" {
            100.0..120.0
        } else {
            5.0..10.0
        };
        seen(
            &format!("{fault}: the time"),
            |over| median_ms(&record, over),
            0.9..1.2,
            during,
            0.9..1.2,
        );
        // A process that died or reads its data set again has lost what it held; the others have not.
        let lost = sum(&record, Metric::CacheMisses, "redis", None, 20.0..30.0);
        let wanted = if matches!(fault, "kill" | "loading") {
            90.0..=120.0
        } else {
            0.0..=0.0
        };
        assert!(wanted.contains(&lost), "{fault}: {lost} misses after it");
    }
}

#[test]
fn a_fault_of_some_nodes_spares_the_others() {
    for (fault, reason) in [
        ("kill", "refused"),
        ("hang", "timed_out"),
        ("partition", "timed_out"),
    ] {
        let record = struck(CACHED, "for = \"10s\"\non = \"redis\"\nnodes = [1]", fault);
        let errors = |over| cache_errors(&record, reason, over);
        seen(
            &format!("{fault}: {reason} a second"),
            errors,
            0.0..0.0,
            170.0..230.0,
            0.0..0.0,
        );
    }
}

#[test]
fn a_slow_cache_takes_its_time() {
    for (fault, during) in [
        ("{ latency = { add = \"20ms\", jitter = \"5ms\" } }", 18.0..24.0),
        ("{ slow = { factor = 20 } }", 19.0..21.5),
        ("{ starve = { share = 0.9 } }", 9.0..11.0),
        ("{ far_region = { add = \"30ms\" } }", 30.0..32.0),
        // A kilobyte takes 6.7 ms, and 100 a second come to each node.
        ("{ bandwidth = { rate = \"150kb/s\" } }", 7.0..25.0),
    ] {
        let record = lasting(CACHED, "redis", fault);
        seen(fault, |over| median_ms(&record, over), 0.9..1.2, during, 0.9..1.2);
    }
    let record = lasting(CACHED, "redis", "{ loss = { share = 0.3 } }");
    // Three look-ups of ten, and then three writes of ten of what was loaded instead.
    let late = |over| cache_errors(&record, "timed_out", over);
    seen(
        "what is lost comes too late",
        late,
        0.0..0.0,
        65.0..95.0,
        0.0..0.0,
    );
}

#[test]
fn entries_go_as_the_fault_says() {
    let misses = |record: &Record, over: Range<f64>| sum(record, Metric::CacheMisses, "redis", None, over);
    for (fault, to, wanted) in [
        ("replace", "on = \"redis\"", 95.0..=105.0),
        ("flush", "on = \"redis\"", 95.0..=105.0),
        ("replace", "on = \"redis\"\nnodes = [0]", 47.0..=53.0),
        ("{ expire = { share = 1.0 } }", "on = \"redis\"", 95.0..=105.0),
        ("{ expire = { share = 0.3 } }", "on = \"redis\"", 15.0..=45.0),
    ] {
        let record = struck(CACHED, to, fault);
        assert_eq!(misses(&record, 0.0..10.0), 0.0, "{fault}");
        let lost = misses(&record, 10.0..30.0);
        assert!(wanted.contains(&lost), "{fault}: {lost}");
    }
    let record = struck(CACHED, "on = \"redis\"", "{ expire_at = { instant = \"15s\" } }");
    assert_eq!(
        misses(&record, 0.0..15.0),
        0.0,
        "nothing expires before the instant"
    );
    let lost = misses(&record, 15.0..20.0);
    assert!((95.0..=105.0).contains(&lost), "and all of it then: {lost}");
    assert_eq!(misses(&record, 22.0..30.0), 0.0);
}

#[test]
fn what_is_corrupt_is_wrong_unless_it_is_checked() {
    let record = struck(CACHED, "on = \"redis\"", "{ corrupt = { share = 0.5 } }");
    let wrong = |over| share(&record, "web", "wrong", over);
    seen("wrong answers", wrong, 0.0..0.0, 0.35..0.65, 0.35..0.65);
    let checked = format!("{CACHED}\n[protect]\nintegrity = true");
    let record = struck(&checked, "on = \"redis\"", "{ corrupt = { share = 0.5 } }");
    assert_eq!(
        sum(&record, Metric::Requests, "web", Some("wrong"), 0.0..30.0),
        0.0
    );
    assert_eq!(loads(&record, BEFORE), 0.0);
    let again = sum(&record, Metric::OriginRequests, "db", None, 10.0..30.0);
    assert!(
        (35.0..=65.0).contains(&again),
        "what is corrupt is loaded again: {again}"
    );
}

#[test]
fn what_is_of_another_type_is_an_error_until_it_is_written_again() {
    let record = struck(CACHED, "on = \"redis\"", "{ wrong_type = { share = 0.5 } }");
    let errors = |over: Range<f64>| sum(&record, Metric::CacheErrors, "redis", Some("wrong_type"), over);
    assert_eq!(errors(0.0..10.0), 0.0);
    let failed = errors(10.0..30.0);
    // About half of the hundred keys fail a look-up, most of them one.
    assert!((35.0..=80.0).contains(&failed), "{failed}");
    assert_eq!(errors(15.0..30.0), 0.0, "all of them were asked for by then");
    let again = sum(&record, Metric::OriginRequests, "db", None, 10.0..30.0);
    assert!((35.0..=80.0).contains(&again), "{again}");
    assert_eq!(
        sum(&record, Metric::Requests, "web", Some("wrong"), 0.0..30.0),
        0.0
    );
}

#[test]
fn who_comes_while_a_node_is_blocked_waits_for_the_end_of_the_burst() {
    let fault = "{ blocked = { share = 0.5, burst = \"60ms\" } }";
    let record = lasting(CACHED, "redis", fault);
    let mean_ms = |over: Range<f64>| {
        // Of a wait that is nothing for one half and even over 0..60 ms for the other, a quarter is above 30 ms.
        let values =
            &record.values(Metric::RequestDuration, "web", Some("0.9"))[record.window(over.start, over.end)];
        1_000.0 * values.iter().sum::<f64>() / values.len() as f64
    };
    seen("the 90th percentile", mean_ms, 0.0..2.0, 44.0..54.0, 0.0..2.0);
    // Bursts that are longer than the patience of callers cost as many as come too early in one.
    let fault = "{ blocked = { share = 0.5, burst = \"200ms\" } }";
    let record = lasting(CACHED, "redis", fault);
    let late = |over| cache_errors(&record, "timed_out", over);
    seen("what waits too long", late, 0.0..0.0, 40.0..60.0, 0.0..0.0);
}

#[test]
fn a_cache_that_cannot_be_written_loses_its_entries() {
    let short = CACHED.replace("1000s", "2s");
    for (fault, reason) in [
        ("out_of_memory", "out_of_memory"),
        ("read_only", "read_only"),
        ("disk_full", "disk_full"),
        ("never_stored", ""),
    ] {
        let record = lasting(&short, "redis", fault);
        // A key is away for half a second of every two and a half.
        let hits = |over: Range<f64>| {
            record.ratio(Metric::CacheHitRate, "redis", record.window(over.start, over.end))
        };
        seen(&format!("{fault}: hits"), hits, 0.75..0.85, 0.0..0.1, 0.75..0.85);
        if !reason.is_empty() {
            let errors = |over| cache_errors(&record, reason, over);
            seen(
                &format!("{fault}: {reason}"),
                errors,
                0.0..0.0,
                150.0..220.0,
                0.0..0.0,
            );
        }
    }
}

#[test]
fn a_rule_that_ignores_ttls_keeps_for_ever_what_it_stores() {
    let flush = "[[timeline]]\nat = \"21s\"\non = \"redis\"\nfault = \"flush\"\n";
    let record = lasting(
        &format!("{}\n{flush}", CACHED.replace("1000s", "2s")),
        "redis",
        "ttl_ignored",
    );
    let misses = |over| rate(&record, Metric::CacheMisses, "redis", over);
    seen("misses", misses, 30.0..50.0, 0.0..6.0, 30.0..50.0);
}

#[test]
fn a_database_that_fails_answers_nobody() {
    // Which ending its callers see: an error at once, or their own patience.
    for (fault, ending) in [
        ("kill", "error"),
        ("refuse", "error"),
        ("reset", "error"),
        ("partition", "timeout"),
        ("hang", "timeout"),
        ("pause", "timeout"),
        ("lock", "timeout"),
    ] {
        let record = lasting(PLAIN, "db", fault);
        let ended = |over| share(&record, "web", ending, over);
        seen(
            &format!("{fault}: {ending}"),
            ended,
            0.0..0.0,
            0.99..1.0,
            0.0..0.0,
        );
        // One node of the four: a shard's only replica, which serves four fifths of half of the calls.
        let record = struck(PLAIN, "for = \"10s\"\non = \"db\"\nnodes = [1]", fault);
        let ended = |over| share(&record, "web", ending, over);
        seen(
            &format!("{fault} of one: {ending}"),
            ended,
            0.0..0.0,
            0.3..0.6,
            0.0..0.0,
        );
    }
}

#[test]
fn a_slow_database_takes_its_time() {
    for (fault, during) in [
        ("{ latency = { add = \"20ms\", jitter = \"5ms\" } }", 23.0..28.0),
        ("{ slow = { factor = 5 } }", 24.0..26.5),
        ("{ slow_query = { factor = 5 } }", 24.0..26.5),
        ("{ starve = { share = 0.8 } }", 24.0..26.5),
        ("{ far_region = { add = \"50ms\" } }", 54.0..57.0),
        // A kilobyte takes 10 ms, and half of 80% of 200 a second come to each shard.
        ("{ bandwidth = { rate = \"100kb/s\" } }", 14.0..50.0),
    ] {
        let record = lasting(PLAIN, "db", fault);
        seen(fault, |over| median_ms(&record, over), 4.9..5.2, during, 4.9..5.2);
    }
    let record = lasting(PLAIN, "db", "{ loss = { share = 0.3 } }");
    let slow = |over: Range<f64>| {
        let values = record.values(Metric::RequestDuration, "web", Some("0.9"));
        let window = record.window(over.start, over.end);
        values[window.clone()].iter().sum::<f64>() / window.len() as f64
    };
    seen(
        "what is lost is sent again after 200 ms",
        slow,
        0.0..0.01,
        0.2..1.0,
        0.0..0.01,
    );
}

#[test]
fn a_database_that_lets_nobody_wait_refuses_who_finds_no_connection() {
    let slow = PLAIN.replace("service_time = \"5ms\"", "service_time = \"20ms\"");
    let record = lasting(&slow, "db", "{ connections = { max = 1, waits = false } }");
    let waiting = |over| mean(&record, Metric::QueueDepth, "db", over);
    seen("queries that wait", waiting, 0.0..0.0, 0.0..0.0, 0.0..0.0);
    let refused = |over: Range<f64>| rate(&record, Metric::OriginErrors, "db", over);
    // Two shards get 100 calls of 20 ms a second each: well over half find the one connection taken.
    seen(
        "queries that are refused",
        refused,
        0.0..0.0,
        100.0..148.0,
        0.0..0.0,
    );
}

#[test]
fn a_database_without_connections_makes_queries_wait() {
    // 80 reads a second of 5 ms on each shard, then with one connection at a time of a database that is 4 times slower.
    let slow = PLAIN.replace("service_time = \"5ms\"", "service_time = \"20ms\"");
    let record = lasting(&slow, "db", "{ connections = { max = 1 } }");
    seen(
        "queries that wait",
        |over| mean(&record, Metric::QueueDepth, "db", over),
        0.0..0.0,
        5.0..600.0,
        0.0..0.0,
    );
    seen(
        "queries that run",
        |over| mean(&record, Metric::OriginConnections, "db", over),
        3.0..5.0,
        2.0..4.0,
        3.0..5.0,
    );
}

#[test]
fn a_database_that_cannot_be_written_still_reads() {
    for fault in ["read_only", "disk_full"] {
        let record = lasting(PLAIN, "db", fault);
        let failed = |over| share(&record, "web", "error", over);
        seen(fault, failed, 0.0..0.0, 0.17..0.23, 0.0..0.0);
    }
}

#[test]
fn a_client_can_ask_for_more_or_for_something_else() {
    let record = lasting(CACHED, "web", "{ spike = { factor = 3 } }");
    let calls = |over| rate(&record, Metric::Requests, "web", over);
    seen("calls", calls, 180.0..220.0, 570.0..630.0, 180.0..220.0);

    let record = lasting(
        &PLAIN.replace("writes = \"20%\"", ""),
        "web",
        "{ hot_key = { share = 0.8 } }",
    );
    let lopsided = |over: Range<f64>| {
        let window = record.window(over.start, over.end);
        let of = |node| -> f64 {
            record.values_of_instance(Metric::OriginRequests, "db", node)[window.clone()]
                .iter()
                .sum()
        };
        of(0).max(of(1)) / (of(0) + of(1))
    };
    seen("the busier shard", lopsided, 0.5..0.65, 0.85..0.95, 0.5..0.65);

    let record = lasting(CACHED, "web", "{ penetration = { share = 0.4 } }");
    seen(
        "loads",
        |over| loads(&record, over),
        0.0..0.0,
        70.0..90.0,
        0.0..0.0,
    );
}

#[test]
fn a_service_can_be_slow_or_far() {
    for (fault, during) in [
        ("{ starve = { share = 0.5 } }", 19.5..21.0),
        ("{ far_region = { add = \"50ms\" } }", 59.0..62.0),
        ("{ latency = { add = \"20ms\", jitter = \"5ms\" } }", 28.0..33.0),
        // A kilobyte takes 4 ms, and 200 a second come.
        ("{ bandwidth = { rate = \"250kb/s\" } }", 13.0..60.0),
    ] {
        let record = lasting(WORKING, "app", fault);
        seen(
            fault,
            |over| median_ms(&record, over),
            9.9..10.3,
            during,
            9.9..10.3,
        );
    }
}

#[test]
fn a_service_that_is_away_answers_nobody() {
    for (fault, ending) in [
        ("kill", "error"),
        ("{ crash = {} }", "error"),
        ("refuse", "error"),
        ("reset", "error"),
        ("partition", "timeout"),
        ("hang", "timeout"),
        ("pause", "timeout"),
    ] {
        let record = lasting(WORKING, "app", fault);
        let ended = |over| share(&record, "web", ending, over);
        seen(
            &format!("{fault}: {ending}"),
            ended,
            0.0..0.0,
            0.99..1.0,
            0.0..0.0,
        );
    }
    let record = lasting(WORKING, "app", "{ loss = { share = 0.3 } }");
    let slow = |over: Range<f64>| {
        let values = record.values(Metric::RequestDuration, "web", Some("0.9"));
        let window = record.window(over.start, over.end);
        values[window.clone()].iter().sum::<f64>() / window.len() as f64
    };
    seen(
        "what is lost is sent again after 200 ms",
        slow,
        0.0..0.02,
        0.2..1.0,
        0.0..0.02,
    );
}

#[test]
fn instances_crash_leak_and_restart() {
    let up = |record: &Record, over| mean(record, Metric::Instances, "app", over);
    let record = lasting(WORKING, "app", "{ crash = { instances = 1 } }");
    seen(
        "crash: instances",
        |over| up(&record, over),
        2.0..2.0,
        1.0..1.0,
        2.0..2.0,
    );
    assert_eq!(
        share(&record, "web", "error", DURING),
        0.0,
        "the other one answers"
    );

    // An instance gets 100 calls a second: it crashes after two, and is away for one.
    let record = lasting(WORKING, "app", "{ leak = { after = 200, restart = \"1s\" } }");
    seen(
        "leak: instances",
        |over| up(&record, over),
        2.0..2.0,
        0.8..1.8,
        2.0..2.0,
    );

    let record = struck(WORKING, "on = \"app\"", "{ restart = { each = \"3s\" } }");
    assert_eq!(up(&record, BEFORE), 2.0);
    assert_eq!(up(&record, 10.0..16.0), 1.0, "one after the other");
    assert_eq!(up(&record, 17.0..30.0), 2.0);
}

#[test]
fn who_waits_for_ever_is_answered_when_the_fault_is_over() {
    for (base, on) in [(WORKING, "app"), (PLAIN, "db")] {
        let base = base.replace("timeout = \"1s\"", "");
        // What a stopped process has accepted it takes up when it goes on; what a partition has swallowed is lost.
        for (fault, ending) in [("pause", "fresh"), ("partition", "error")] {
            let record = lasting(&base, on, fault);
            let ended = |over| sum(&record, Metric::Requests, "web", None, over);
            assert!(
                ended(11.0..20.0) < 5.0,
                "{fault} of {on}: nobody is answered meanwhile"
            );
            let late = sum(&record, Metric::Requests, "web", Some(ending), 20.0..30.0);
            let wanted = if ending == "fresh" {
                3_700.0..=4_300.0
            } else {
                1_800.0..=2_200.0
            };
            assert!(wanted.contains(&late), "{fault} of {on}: {late} {ending}");
        }
    }
}

#[test]
fn a_copy_takes_the_place_of_a_node_of_a_cluster() {
    let cluster = CACHED.replace(
        "nodes = 2\n    sharding = \"modulo\"",
        "nodes = 3\n    mode = \"cluster\"\n    replicas = 1\n    failover = \"4s\"",
    );
    assert_ne!(cluster, CACHED);
    for fault in ["kill", "hang"] {
        let to = "for = \"10s\"\non = \"redis\"\nnodes = [0]";
        let record = struck(&cluster, to, fault);
        let errors = |over: Range<f64>| sum(&record, Metric::CacheErrors, "redis", None, over);
        let misses = |over: Range<f64>| sum(&record, Metric::CacheMisses, "redis", None, over);
        // A third of 200 look-ups a second fail for four seconds.
        let failed = errors(10.0..14.0);
        assert!((150.0..=400.0).contains(&failed), "{fault}: {failed}");
        assert_eq!((errors(15.0..30.0), misses(15.0..30.0)), (0.0, 0.0), "{fault}");
    }
}
