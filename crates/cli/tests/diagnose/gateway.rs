//! Every step of the gateway where it does not help: it is taken back, and nothing is left of it.

use std::time::Duration;

use crate::stage::{Folder, diagnose};
use crate::world::{Gateway, Reply, World};

/// Applies a step through a gateway, as quickly as can be: there is nothing to see.
fn apply(folder: &Folder, gateway: &Gateway, step: &str, more: &[&str]) -> (String, i32) {
    let (url, log) = (gateway.url(), folder.0.join("actions.jsonl"));
    let log = log.display().to_string();
    let own = [
        &url,
        "--gateway",
        &url,
        "--apply",
        step,
        "--yes",
        "--audit-log",
        &log,
    ];
    let quick = ["--for", "400ms", "--every", "200ms", "--settle", "100ms"];
    diagnose(&[own.as_slice(), &quick, more].concat())
}

#[test]
fn every_step_of_the_gateway_is_taken_back_when_nothing_is_the_matter() {
    let folder = Folder::new("gateway");
    let world = World::new();
    let upstream = world.upstream(|_| Reply::right(Duration::ZERO, ""));
    let gateway = Gateway::before(
        &folder,
        upstream,
        "",
        "[protect]\nrate = { rate = \"500/s\" }\nbalance = \"round_robin\"\nintegrity = false\n\
         breaker = { failures = 50, window = \"10s\" }",
    );
    // Somebody has changed a protection by hand before: that comes back as well.
    gateway.change("rate", "{\"rate\": \"300/s\"}");
    let before = gateway.policies();
    assert!(before.contains("300/s"), "{before}");
    let steps = [
        "limit-origin",
        "coalesce",
        "serve-stale",
        "cache-breaker",
        "origin-breaker",
        "hold-breaker-open",
        "throttle-reads",
        "shed-low-priority",
        "bound-queue",
        "rate-limit",
        "retry-budget",
        "short-timeouts",
        "jitter-ttl",
        "ttl-classes",
        "refresh-early",
        "cache-missing-keys",
        "hot-keys-in-memory",
        "check-entries",
        "least-connections",
    ];
    for step in steps {
        let (text, status) = apply(&folder, &gateway, step, &[]);
        assert!(text.contains("done: "), "{step}: {text}");
        assert!(text.contains("taken back: "), "{step}: {text}");
        assert_eq!(status, 1, "{step}: {text}");
        assert_eq!(gateway.policies(), before, "{step} left something behind");
    }
    let (text, status) = apply(&folder, &gateway, "purge-keys", &["--key", "example.org/a"]);
    assert!(
        text.contains("1 keys are purged") && text.contains("nothing to take back"),
        "{text}"
    );
    assert_eq!(status, 1, "it made no difference to a system that is well");
    let (text, status) = apply(&folder, &gateway, "warm", &["--key", "example.org/a"]);
    assert!(text.contains("the gateway is loading them"), "{text}");
    assert_eq!(status, 1, "nor did this: {text}");
    for step in ["purge-keys", "warm"] {
        let (text, status) = apply(&folder, &gateway, step, &[]);
        assert!(text.contains("with --key"), "{text}");
        assert_eq!(status, 2);
    }
}

#[test]
fn upstreams_with_settings_of_their_own_are_all_changed_and_each_gets_its_own_back() {
    let folder = Folder::new("several");
    let world = World::new();
    let [one, other] = [0, 1].map(|_| world.upstream(|_| Reply::right(Duration::ZERO, "")));
    let text = format!(
        "[upstream.one]\naddresses = [\"{one}\"]\n[upstream.other]\naddresses = [\"{other}\"]\n\
         [[route]]\npath = \"/one\"\nupstream = \"one\"\n[[route]]\nupstream = \"other\"\n\
         [protect.limit]\nmax = 200\nplaces = 7\nat = [\"one\"]\n\
         [protect.coalesce]\non = false\nat = [\"other\"]\n"
    );
    let gateway = Gateway::of(&folder, "several", &text);
    let before = gateway.policies();
    let (url, log) = (
        gateway.url(),
        folder.0.join("actions.jsonl").display().to_string(),
    );
    let limits = |gateway: &Gateway| -> Vec<(f64, f64)> {
        let now: serde_json::Value = serde_json::from_str(&gateway.policies()).expect("it is JSON");
        let of = |name: &str, key: &str| now["upstreams"][name]["limit"][key].as_f64().expect("a number");
        ["one", "other"]
            .map(|name| (of(name, "max"), of(name, "places")))
            .to_vec()
    };
    assert_eq!(limits(&gateway), [(200.0, 7.0), (100.0, 1_000.0)]);
    // Both are changed, and the change is told for each.
    let own = [
        &url,
        "--gateway",
        &url,
        "--apply",
        "limit-origin",
        "--yes",
        "--audit-log",
        &log,
    ];
    let quick = ["--for", "400ms", "--every", "200ms", "--settle", "100ms"];
    let (text, _) = diagnose(&[own.as_slice(), &quick, &["--keep"]].concat());
    assert!(text.contains("one: {") && text.contains("; other: {"), "{text}");
    assert_eq!(limits(&gateway), [(50.0, 50.0), (50.0, 50.0)], "{text}");
    gateway.take_back("limit");
    for step in ["limit-origin", "coalesce"] {
        let (text, status) = apply(&folder, &gateway, step, &[]);
        assert!(text.contains("\"at\":[\"one\",\"other\"]"), "{text}");
        assert!(text.contains("taken back: "), "{text}");
        assert_eq!((status, gateway.policies()), (1, before.clone()), "{text}");
    }
}

#[test]
fn what_is_so_already_is_not_done() {
    let folder = Folder::new("already");
    let world = World::new();
    let upstream = world.upstream(|_| Reply::right(Duration::ZERO, ""));
    let gateway = Gateway::before(&folder, upstream, "", "");
    // A gateway checks its entries and counts connections without being told.
    for step in ["check-entries", "least-connections"] {
        let (text, status) = apply(&folder, &gateway, step, &[]);
        assert!(text.contains("is so already"), "{text}");
        assert_eq!(status, 2, "{text}");
    }
}

#[test]
fn a_server_that_is_gone_is_told_once_and_with_help() {
    let folder = Folder::new("gone");
    let log = folder.0.join("actions.jsonl").display().to_string();
    let nobody = format!("127.0.0.1:{}", crate::stage::free_port());
    let (redis, http) = (format!("redis://{nobody}"), format!("http://{nobody}"));
    let quick = ["--yes", "--for", "400ms", "--every", "200ms", "--audit-log", &log];
    for (address, step) in [
        (&redis, "raise-maxmemory"),
        (&redis, "drop-idle-clients"),
        (&http, "limit-origin"),
    ] {
        let own = [address.as_str(), "--gateway", &http, "--apply", step];
        let (text, status) = diagnose(&[own.as_slice(), &quick].concat());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].starts_with("error: failed to read ") && lines[0].contains(&nobody),
            "{text}"
        );
        assert!(
            lines[1].contains("help: the machine is there and nobody listens"),
            "{text}"
        );
        assert_eq!(status, 2, "{text}");
    }
    assert!(!std::path::Path::new(&log).exists(), "nothing was done");
}
