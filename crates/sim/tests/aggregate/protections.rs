//! Protections of the read path: what each does in the aggregate engine is what it does in the exact one.

use seawall_core::record::Metric;
use seawall_sim::Engine;

use super::{rate, try_play_by};

/// What is compared: a metric of a component from one second to another, and by how much it may differ (as a share, and
/// in calls a second).
type Compared<'a> = (Metric, &'a str, f64, f64, f64);

/// Plays a scenario in both engines and holds the rates of one against those of the other.
#[track_caller]
fn alike(what: &str, text: &str, compared: &[Compared<'_>]) {
    let play = |engine| {
        try_play_by(text, 1, engine)
            .unwrap_or_else(|refusal| panic!("{what}: {refusal}"))
            .record
    };
    let (exact, aggregate) = (play(Engine::Exact), play(Engine::Aggregate));
    let mut off = Vec::new();
    for (metric, of, from, to, tolerance) in compared {
        let truth = rate(&exact, *metric, of, *from, *to);
        let seen = rate(&aggregate, *metric, of, *from, *to);
        // Three standard deviations of the difference of two counts are chance.
        let chance = 3.0 * (2.0 * truth.max(1.0) / (to - from)).sqrt();
        let line = format!(
            "{what}, {} of {of} from {from} to {to} s: exact {truth:.1}, aggregate {seen:.1}",
            metric.name()
        );
        if (seen - truth).abs() > tolerance * truth + chance {
            off.push(line);
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n"));
}

/// A service of four instances whose misses go to a database that can take `capacity` a second. No key is so hot that
/// the instant of its own expiry shows.
fn behind(requests: f64, capacity: f64, protect: &str, fault: &str) -> String {
    format!(
        "[run]\nduration = \"120s\"\nwarmup = \"30s\"\nprefilled = true\n[client.web]\ncalls = \"app\"\nrate = \"{requests}/s\"\n\
         keys = {{ zipf = {{ count = 20000, exponent = 0.3 }} }}\ntimeout = \"2s\"\n\
         [service.app]\ninstances = 4\ncaches = [\"redis\"]\norigin = \"db\"\n\
         [cache.redis]\nttl = \"40s\"\nlatency = \"1ms\"\n\
         [database.db]\nservice_time = {{ exponential = \"20ms\" }}\ncapacity = \"{capacity}/s\"\ntimeout = \"5s\"\n\
         [protect]\n{protect}\n{fault}"
    )
}

#[test]
fn failed_loads_are_tried_again_as_far_as_the_budget_goes() {
    let outage = "[[timeline]]\nat = \"20s\"\nfor = \"20s\"\non = \"db\"\nfault = \"refuse\"";
    for (retry, name) in [
        (
            "{ attempts = 3, backoff = \"50ms\" }",
            "with the budget of a tenth",
        ),
        (
            "{ attempts = 3, backoff = \"50ms\", budget = \"100%\" }",
            "with enough for all first retries",
        ),
        ("{ attempts = 1 }", "never"),
        (
            "{ attempts = 2, backoff = \"400ms\", jitter = false, budget = \"50%\" }",
            "without jitter",
        ),
    ] {
        let text = behind(3_000.0, 4_000.0, &format!("retry = {retry}"), outage);
        alike(
            name,
            &text,
            &[
                (Metric::Retries, "app", 22.0, 38.0, 0.03),
                (Metric::Loads, "app", 22.0, 38.0, 0.03),
                (Metric::OriginRequests, "db", 22.0, 38.0, 0.03),
                (Metric::Goodput, "web", 20.0, 40.0, 0.01),
                (Metric::OriginRequests, "db", 41.0, 60.0, 0.03),
                (Metric::Goodput, "web", 40.0, 120.0, 0.01),
            ],
        );
    }
}

#[test]
fn a_soft_deadline_serves_what_is_stale_when_the_origin_is_slow() {
    let slow =
        "[[timeline]]\nat = \"20s\"\nfor = \"30s\"\non = \"db\"\nfault = { slow_query = { factor = 200 } }";
    for (stale, soft) in [("20s", "5s"), ("20s", "100ms"), ("10s", "300ms")] {
        let protect = format!(
            "stale = {{ on_error = \"{stale}\", while_revalidating = \"0s\" }}\ndeadline = {{ soft = \"{soft}\" }}"
        );
        let text = behind(3_000.0, 1e6, &protect, slow).replace("{ exponential = \"20ms\" }", "\"20ms\"");
        alike(
            &format!("soft after {soft}, stale for {stale}"),
            &text,
            &[
                (Metric::Goodput, "web", 20.0, 50.0, 0.01),
                (Metric::Loads, "app", 20.0, 30.0, 0.03),
                (Metric::Loads, "app", 40.0, 50.0, 0.03),
                (Metric::OriginRequests, "db", 22.0, 50.0, 0.03),
                (Metric::Goodput, "web", 50.0, 120.0, 0.01),
            ],
        );
    }
}

#[test]
fn an_adaptive_limit_finds_what_the_origin_can_do() {
    let flush = "[[timeline]]\nat = \"20s\"\non = \"redis\"\nfault = \"flush\"";
    // Where the gradient comes to rest is chance: at its lowest latency that it has seen by luck.
    for (mode, capacity, near) in [
        (
            "{ aimd = { latency = \"60ms\", decrease = \"90%\" } }",
            600.0,
            0.15,
        ),
        ("{ gradient = { tolerance = 2 } }", 600.0, 0.5),
        (
            "{ aimd = { latency = \"200ms\", decrease = \"50%\" } }",
            500.0,
            0.15,
        ),
    ] {
        let limit = format!(
            "limit = {{ mode = {mode}, min = 2, max = 200, initial = 10, places = 50, timeout = \"500ms\" }}"
        );
        let text = behind(3_000.0, capacity, &limit, flush);
        alike(
            &format!("{mode} before {capacity}/s"),
            &text,
            &[
                (Metric::LimiterLimit, "app", 10.0, 20.0, near),
                (Metric::LimiterLimit, "app", 22.0, 40.0, near),
                (Metric::OriginRequests, "db", 20.0, 30.0, 0.03),
                (Metric::OriginRequests, "db", 30.0, 60.0, 0.03),
                (Metric::Goodput, "web", 20.0, 30.0, 0.03),
                (Metric::Goodput, "web", 30.0, 60.0, 0.03),
                (Metric::Goodput, "web", 60.0, 120.0, 0.03),
            ],
        );
    }
}

#[test]
fn warming_fills_a_cold_cache_at_its_pace() {
    let flush = "[[timeline]]\nat = \"20s\"\non = \"redis\"\nfault = \"flush\"";
    let told = "[[timeline]]\nat = \"25s\"\non = \"redis\"\naction = { warm = { pace = \"400/s\" } }";
    for (protect, timeline, name) in [
        (
            "warm = { pace = \"600/s\", threshold = \"90%\" }",
            flush.to_owned(),
            "by itself",
        ),
        (
            "coalesce = {}\nwarm = { pace = \"200/s\", threshold = \"50%\" }",
            flush.to_owned(),
            "half of it",
        ),
        ("", format!("{flush}\n{told}"), "when told"),
    ] {
        // Little traffic, so that most of the cache is warmed before it is asked for.
        let text = behind(500.0, 4_000.0, protect, &timeline);
        alike(
            name,
            &text,
            &[
                (Metric::Warmed, "app", 20.0, 30.0, 0.03),
                (Metric::Warmed, "app", 30.0, 60.0, 0.03),
                (Metric::OriginRequests, "db", 20.0, 25.0, 0.03),
                (Metric::OriginRequests, "db", 25.0, 40.0, 0.03),
                (Metric::OriginRequests, "db", 40.0, 60.0, 0.03),
                (Metric::OriginRequests, "db", 60.0, 80.0, 0.03),
            ],
        );
    }
}

#[test]
fn staggered_and_early_refreshes_keep_readers_from_waiting() {
    let align = "[[timeline]]\nat = \"5s\"\non = \"redis\"\nfault = { expire_at = { instant = \"35s\" } }";
    let refuse = "[[timeline]]\nat = \"30s\"\nfor = \"20s\"\non = \"db\"\nfault = \"refuse\"";
    for (protect, timeline, name) in [
        ("ttl = { stagger = \"10s\" }", "", "staggered"),
        (
            "ttl = { stagger = \"10s\" }",
            align,
            "staggered, and all end together",
        ),
        (
            "ttl = { stagger = \"10s\", jitter = \"20%\" }",
            refuse,
            "staggered, and the origin is down",
        ),
        ("early = { beta = 5.0 }", "", "early"),
        ("early = { beta = 5.0 }", refuse, "early, and the origin is down"),
    ] {
        let text = behind(10_000.0, 1e6, protect, timeline).replace("\"20ms\"", "\"200ms\"");
        alike(
            name,
            &text,
            &[
                // How many are never asked for while they are due is a small part of all.
                (Metric::CacheMisses, "redis", 0.0, 80.0, 0.1),
                (Metric::OriginRequests, "db", 0.0, 25.0, 0.04),
                (Metric::OriginRequests, "db", 25.0, 45.0, 0.04),
                (Metric::OriginRequests, "db", 45.0, 80.0, 0.04),
            ],
        );
    }
}

#[test]
fn with_leases_one_instance_of_the_fleet_loads_a_key() {
    let flush = "[[timeline]]\nat = \"20s\"\non = \"redis\"\nfault = \"flush\"";
    for (protect, timeline, name) in [
        ("coalesce = {}", flush, "without"),
        ("coalesce = {}\nlease = {}", flush, "with coalescing"),
    ] {
        let text = behind(10_000.0, 1e6, protect, timeline).replace("\"20ms\" }\ncap", "\"400ms\" }\ncap");
        alike(
            name,
            &text,
            &[
                (Metric::OriginRequests, "db", 0.0, 20.0, 0.03),
                (Metric::OriginRequests, "db", 20.0, 22.0, 0.03),
                (Metric::OriginRequests, "db", 22.0, 30.0, 0.03),
                (Metric::OriginRequests, "db", 30.0, 60.0, 0.03),
                (Metric::Goodput, "web", 20.0, 22.0, 0.03),
            ],
        );
    }
}
