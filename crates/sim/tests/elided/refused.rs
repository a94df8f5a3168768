//! Where the law does not allow it, every reason is named.

use seawall_scenario::Document;
use seawall_sim::{Engine, Options, Run, simulate};

fn played(text: &str) -> Result<Run, String> {
    let document = Document::parse("refused.toml", text).expect("a good document");
    let scenario = document.scenario("as-written", &[]).expect("a variant");
    let options = Options {
        seed: 1,
        run: 0,
        scale: 1.0,
        engine: Engine::Elided,
    };
    simulate(&scenario, &options, &|_| {}).map_err(|refusal| refusal.to_string())
}

/// A document, with more lines for the client, the service and the cache, and more tables.
fn document(client: &str, service: &str, cache: &str, more: &str) -> String {
    format!(
        "title = \"refused\"\n[run]\nduration = \"2s\"\n[client.users]\ncalls = \"app\"\nrate = \"10/s\"\n\
         keys = {{ uniform = {{ count = 10 }} }}\n{client}\n[service.app]\ncaches = [\"redis\"]\norigin = \"db\"\n\
         {service}\n[cache.redis]\n{cache}\n[database.db]\nservice_time = \"1ms\"\n{more}"
    )
}

#[test]
fn each_reason_is_named_as_in_the_document() {
    let cases = [
        ("arrivals = \"even\"", "", "", "", "`client.users.arrivals`"),
        ("writes = 1", "", "", "", "`client.users.writes`"),
        (
            "timeout = \"5ms\"",
            "service_time = { exponential = \"1ms\" }",
            "",
            "",
            "`client.users.timeout`",
        ),
        ("", "trips = { above = 5 }", "", "", "`service.app.trips`"),
        (
            "",
            "threads = 9\nservice_time = \"100ms\"",
            "",
            "",
            "`service.app.threads`",
        ),
        ("", "leak = { after = 5 }", "", "", "`service.app.leak`"),
        ("", "availability = 0.9", "", "", "`service.app.availability`"),
        ("", "also = [\"db\"]", "", "", "`service.app.also`"),
        (
            "",
            "",
            "renewed_by_hits = true\nttl = \"1s\"",
            "",
            "`cache.redis.renewed_by_hits`",
        ),
        ("", "", "capacity = 9", "", "`cache.redis.capacity`"),
        ("missing = 0.1", "", "capacity = 10", "", "`cache.redis.capacity`"),
        (
            "",
            "",
            "capacity = 10",
            "[[timeline]]\nat = \"1s\"\naction = { set = { path = \"cache.redis.capacity\", value = 5 } }",
            "`cache.redis.capacity`",
        ),
        ("", "", "max_clients = 9", "", "`cache.redis.max_clients`"),
        (
            "",
            "",
            "latency = { exponential = \"50ms\" }",
            "",
            "`cache.redis.latency`",
        ),
        ("", "", "kind = \"local\"", "", "`cache.redis.kind`"),
        (
            "",
            "",
            "",
            "[protect]\nrate = { rate = \"10/s\" }",
            "`protect.rate` at `service.app`",
        ),
        (
            "",
            "",
            "",
            "[protect]\nbreaker = { failure_rate = 0.5 }",
            "`protect.breaker`",
        ),
        (
            "",
            "instances = 2",
            "",
            "[protect]\nbalance = \"least_connections\"",
            "`protect.balance`",
        ),
    ];
    for (client, service, cache, more, reason) in cases {
        let said = played(&document(client, service, cache, more)).expect_err(reason);
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn all_reasons_are_named_at_once() {
    let said = played(&document(
        "arrivals = \"even\"",
        "availability = 0.9",
        "capacity = 9",
        "",
    ));
    let said = said.expect_err("refused");
    for reason in ["arrivals", "availability", "capacity"] {
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn what_does_not_evict_and_what_does_not_count_is_played() {
    for (client, service, cache, more) in [
        ("", "", "capacity = 10", ""),
        ("", "threads = 20\nservice_time = \"100ms\"", "", ""),
        ("", "", "capacity = 5\neviction = \"none\"", ""),
        (
            "timeout = \"1s\"",
            "service_time = { exponential = \"1ms\" }",
            "",
            "",
        ),
        (
            "",
            "instances = 3",
            "",
            "[protect]\nbalance = \"power_of_two\"\nbreaker = {}\nthrottle = { latency = \"1s\" }",
        ),
    ] {
        played(&document(client, service, cache, more)).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn one_client_that_can_is_enough_and_the_other_is_played() {
    let batch = "[client.batch]\ncalls = \"app\"\nrate = \"1000/s\"\narrivals = \"even\"\nkeys = { uniform = { count = 10 } }";
    let run = played(&document("", "", "", batch)).unwrap_or_else(|said| panic!("{said}"));
    // The two thousand at even distances, and a few others, of which some are skipped.
    assert!((2_001..2_100).contains(&run.requests), "{}", run.requests);
    let played = ["97.", "98.", "99."]
        .iter()
        .any(|share| run.choice.envelope.contains(share));
    assert!(played, "{:?}", run.choice);
}
