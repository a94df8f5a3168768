//! Every step of the gateway where it helps: a system that is ill in the way that the step is for, and numbers that say
//! that it is better. The illnesses are so strong that no step is credited by luck.

use std::time::Duration;

use crate::stage::{Folder, Redis, diagnose};
use crate::world::{Gateway, Line, Reply, World};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Each case in a thread of its own: they wait for most of their time.
fn at_once(cases: &[fn()]) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(case);
        }
    });
}

/// Applies a step through a gateway, with these addresses; it has to help and to stay.
fn helped(folder: &Folder, gateway: &Gateway, addresses: &[&str], step: &str, more: &[&str]) {
    let (url, log) = (gateway.url(), folder.0.join("actions.jsonl"));
    let log = log.display().to_string();
    let own = ["--gateway", &url, "--apply", step, "--yes", "--audit-log", &log];
    let pace = ["--for", "2s", "--every", "500ms"];
    let pace = if more.contains(&"--for") { &[][..] } else { &pace };
    let before = gateway.policies();
    let (text, status) = diagnose(&[addresses, &own, pace, more].concat());
    assert!(text.contains("it helped: "), "{step}: {text}");
    assert_eq!(status, 0, "{step}: {text}");
    assert!(!text.contains("taken back: "), "{step}: {text}");
    let stays = gateway.policies() != before || gateway.state().contains("held open");
    assert!(
        stays || ["warm", "purge-keys"].contains(&step),
        "{step} is not in force"
    );
}

/// How an origin is overloaded: it does 120 a second, gets 150, and is behind. Whoever waits no longer than `total` gets
/// nothing, and what is done for those who have left keeps it so: `pool` of them are there at a time.
struct Overload {
    step: &'static str,
    settle: &'static str,
    /// So many requests have room in the gateway.
    concurrency: u32,
    pool: u32,
    total_ms: u64,
    rate: &'static str,
}

const OVERLOAD: Overload = Overload {
    step: "",
    settle: "3s",
    concurrency: 200,
    pool: 100,
    total_ms: 600,
    rate: "",
};

fn overloaded(how: &Overload) {
    let (folder, world) = (Folder::new(how.step), World::new());
    let line = Line::new(Duration::from_micros(8_333), ms(1_500));
    let upstream = world.upstream(move |_| Reply::right(line.stay(), "max-age=600"));
    let (pool, total_ms, rate) = (how.pool, how.total_ms, how.rate);
    let document = format!(
        "pool = {pool}\nconnect_timeout = \"100ms\"\n\n[[route]]\npath = \"/low\"\npriority = \"low\"\n\
         upstream = \"app\"\n\n[[route]]\npriority = \"high\"\nupstream = \"app\"\n\n[protect]\n\
         limit = {{ on = false }}\norigin_breaker = {{ on = false }}\nshed = {{ on = false }}\n\
         deadline = {{ total = \"{total_ms}ms\", cancel = false }}\n{rate}\n"
    );
    let listener = format!("concurrency = {}", how.concurrency);
    let gateway = Gateway::before(&folder, upstream, &listener, &document);
    let readers = world.readers(&gateway, 150, ms(total_ms + 100), |number| {
        let kind = if number % 2 == 0 { "low" } else { "high" };
        format!("/{kind}/{number}")
    });
    readers.wait_until_lost(0.8);
    let (admin, page) = (gateway.url(), readers.url());
    helped(
        &folder,
        &gateway,
        &[&admin, &page],
        how.step,
        &["--settle", how.settle],
    );
}

#[test]
fn an_origin_that_is_behind_catches_up() {
    at_once(&[
        || {
            overloaded(&Overload {
                step: "limit-origin",
                ..OVERLOAD
            });
        },
        || {
            overloaded(&Overload {
                step: "shed-low-priority",
                settle: "4s",
                concurrency: 70,
                ..OVERLOAD
            });
        },
        || {
            // What 40 wait for is done soon; the share falls once or twice.
            overloaded(&Overload {
                step: "throttle-reads",
                settle: "10s",
                pool: 40,
                total_ms: 250,
                ..OVERLOAD
            });
        },
        || {
            // It was told never to go below 140, which is too much.
            overloaded(&Overload {
                step: "rate-limit",
                settle: "12s",
                rate: "rate = { rate = \"140/s\", adaptive = { min = \"140/s\", max = \"1k/s\", window = \"1s\" } }",
                ..OVERLOAD
            });
        },
        where_everybody_waits_too_long,
    ]);
}

fn where_everybody_waits_too_long() {
    let folder = Folder::new("line");
    let world = World::new();
    let upstream = world.upstream(|_| Reply::right(ms(100), "max-age=600"));
    // Ten places of 0.1 s, and twice as many who ask: the first in line has waited as long as anybody does.
    let gateway = Gateway::before(
        &folder,
        upstream,
        "concurrency = 10",
        "[protect]\nshed = { on = false }",
    );
    let readers = world.readers(&gateway, 200, ms(1_200), |number| format!("/{number}"));
    readers.wait_until_lost(0.8);
    let (admin, page) = (gateway.url(), readers.url());
    helped(
        &folder,
        &gateway,
        &[&admin, &page],
        "bound-queue",
        &["--settle", "3s"],
    );
}

#[test]
fn an_origin_that_fails_is_asked_less() {
    at_once(&[
        || failing("retry-budget"),
        || failing("origin-breaker"),
        || failing("hold-breaker-open"),
        what_is_kept_stands_in,
    ]);
}

fn failing(step: &str) {
    let (folder, world) = (Folder::new(step), World::new());
    let upstream = world.upstream(|_| Reply::failing(ms(20)));
    let document = "[protect]\norigin_breaker = { on = false }\n\
                    retry = { attempts = 5, backoff = \"1ms\", budget = \"none\" }";
    let gateway = Gateway::before(&folder, upstream, "", document);
    let readers = world.readers(&gateway, 40, ms(2_000), |number| format!("/{number}"));
    readers.wait_until_lost(0.9);
    let (admin, page) = (gateway.url(), readers.url());
    helped(&folder, &gateway, &[&admin, &page], step, &["--settle", "2s"]);
}

#[test]
fn a_cache_that_hangs_is_passed_over() {
    at_once(&[|| hanging("cache-breaker"), || hanging("short-timeouts")]);
}

/// Redis behind the gateway's memory hangs, and whoever looks there waits for longer than anybody waits for him.
fn hanging(step: &str) {
    let (folder, world) = (Folder::new(step), World::new());
    let redis = Redis::start(&folder, &[]);
    let upstream = world.upstream(|_| Reply::right(ms(5), "max-age=600"));
    let document = format!(
        "[cache.redis]\nurl = \"{}\"\ntimeout = \"800ms\"\n\n[protect]\nbreaker = {{ on = false }}",
        redis.url()
    );
    let gateway = Gateway::before(&folder, upstream, "", &document);
    let readers = world.readers(&gateway, 40, ms(500), |number| format!("/{number}"));
    std::thread::sleep(ms(500));
    redis.signal("-STOP");
    readers.wait_until_lost(0.9);
    let (admin, page, url) = (gateway.url(), readers.url(), redis.url());
    helped(
        &folder,
        &gateway,
        &[&url, &admin, &page],
        step,
        &["--settle", "2s"],
    );
}

#[test]
fn a_hot_key_is_loaded_once_and_nobody_waits_for_it() {
    at_once(&[
        || hot("coalesce", "coalesce = { on = false }", ms(1_000)),
        || hot("refresh-early", "", ms(200)),
        || hot("serve-stale", "stale = { on = false }", ms(200)),
    ]);
}

/// One key that all ask for. It takes 0.3 s to load, and has to be loaded anew every other second.
fn hot(step: &str, protect: &str, patience: Duration) {
    let (folder, world) = (Folder::new(&format!("hot-{step}")), World::new());
    let upstream = world.upstream(|_| Reply::right(ms(300), "max-age=2"));
    let document = format!("[protect]\nttl = {{ jitter = \"0%\" }}\n{protect}");
    let gateway = Gateway::before(&folder, upstream, "", &document);
    let readers = world.readers(&gateway, 100, patience, |_| "/hot".to_owned());
    let (admin, page) = (gateway.url(), readers.url());
    let address = if step == "coalesce" { &admin } else { &page };
    let more = ["--for", "3s", "--every", "500ms", "--settle", "3s"];
    helped(&folder, &gateway, &[address], step, &more);
}

fn what_is_kept_stands_in() {
    let folder = Folder::new("stale");
    let world = World::new();
    let calls = std::sync::atomic::AtomicU64::new(0);
    // Four calls in five fail.
    let upstream =
        world.upstream(
            move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 5 {
                0 => Reply::right(ms(5), "max-age=1"),
                _ => Reply::failing(ms(5)),
            },
        );
    let document = "[protect]\nstale = { on = false }\norigin_breaker = { on = false }";
    let gateway = Gateway::before(&folder, upstream, "", document);
    let readers = world.readers(&gateway, 60, ms(500), |number| format!("/{}", number % 30));
    std::thread::sleep(ms(1_000));
    let (admin, page) = (gateway.url(), readers.url());
    helped(
        &folder,
        &gateway,
        &[&admin, &page],
        "serve-stale",
        &["--settle", "3s"],
    );
}

#[test]
fn what_is_kept_is_kept_right() {
    at_once(&[
        what_expires_together_is_spread,
        what_matters_is_kept_for_longer,
        what_does_not_exist_is_not_asked_for_again,
        a_slow_server_gets_fewer_calls,
        what_is_warmed_need_not_be_loaded,
        what_is_wrong_and_kept_is_purged,
    ]);
}

fn what_expires_together_is_spread() {
    let folder = Folder::new("together");
    let world = World::new();
    // Sixty addresses that were loaded together and live as long, and an origin that takes one after the other.
    let line = Line::new(ms(8), ms(0));
    let upstream = world.upstream(move |_| Reply::right(line.stay(), "max-age=4"));
    let gateway = Gateway::before(&folder, upstream, "", "[protect]\nttl = { jitter = \"0%\" }");
    let readers = world.readers(&gateway, 300, ms(5_000), |number| format!("/{}", number % 60));
    std::thread::sleep(ms(500));
    let (admin, page) = (gateway.url(), readers.url());
    let addresses = [admin.as_str(), &page];
    helped(
        &folder,
        &gateway,
        &addresses,
        "jitter-ttl",
        &["--for", "5s", "--settle", "11s"],
    );
}

fn what_matters_is_kept_for_longer() {
    let folder = Folder::new("classes");
    let world = World::new();
    let upstream = world.upstream(|_| Reply::right(ms(5), ""));
    let document = "[[route]]\nupstream = \"app\"\nclass = \"critical\"\n\n\
                    [protect]\nttl = { critical = \"1s\", jitter = \"0%\" }";
    let gateway = Gateway::before(&folder, upstream, "", document);
    let _readers = world.readers(&gateway, 100, ms(500), |number| format!("/{}", number % 25));
    let admin = gateway.url();
    helped(&folder, &gateway, &[&admin], "ttl-classes", &["--settle", "2s"]);
}

fn what_does_not_exist_is_not_asked_for_again() {
    let folder = Folder::new("missing");
    let world = World::new();
    let upstream = world.upstream(|_| Reply {
        status: 404,
        ..Reply::right(ms(5), "")
    });
    let gateway = Gateway::before(&folder, upstream, "", "");
    let _readers = world.readers(&gateway, 60, ms(500), |number| format!("/{}", number % 20));
    let admin = gateway.url();
    helped(
        &folder,
        &gateway,
        &[&admin],
        "cache-missing-keys",
        &["--settle", "1s"],
    );
}

fn a_slow_server_gets_fewer_calls() {
    let folder = Folder::new("balance");
    let world = World::new();
    let quick = world.upstream(|_| Reply::right(ms(5), "max-age=600"));
    let slow = world.upstream(|_| Reply::right(ms(1_500), "max-age=600"));
    let text = format!(
        "[upstream.app]\naddresses = [\"{quick}\", \"{slow}\"]\n[protect]\nbalance = \"round_robin\"\n"
    );
    let gateway = Gateway::of(&folder, "app", &text);
    let readers = world.readers(&gateway, 40, ms(500), |number| format!("/{number}"));
    readers.wait_until_lost(0.3);
    let (admin, page) = (gateway.url(), readers.url());
    helped(
        &folder,
        &gateway,
        &[&admin, &page],
        "least-connections",
        &["--settle", "2s"],
    );
}

/// Addresses that are each asked for once in a while, and a gateway that keeps none of them yet.
fn what_is_warmed_need_not_be_loaded() {
    let folder = Folder::new("warm");
    let world = World::new();
    let upstream = world.upstream(|_| Reply::right(ms(0), "max-age=600"));
    let gateway = Gateway::before(&folder, upstream, "", "[protect]\nwarm = { pace = \"1k/s\" }");
    let _readers = world.readers(&gateway, 50, ms(500), |number| format!("/{number}"));
    let admin = gateway.url();
    // All that is asked for within the next sixteen seconds.
    let keys: Vec<String> = (0..800).map(|number| format!("shop/{number}")).collect();
    let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", key.as_str()]).collect();
    let more = [&["--settle", "5s"], keys.as_slice()].concat();
    helped(&folder, &gateway, &[&admin], "warm", &more);
}

fn what_is_wrong_and_kept_is_purged() {
    let folder = Folder::new("wrong");
    let world = World::new();
    let mended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is = std::sync::Arc::clone(&mended);
    let upstream = world.upstream(move |_| {
        let right = Reply::right(ms(5), "max-age=600");
        let body = if is.load(std::sync::atomic::Ordering::Relaxed) {
            "right"
        } else {
            "wrong"
        };
        Reply { body, ..right }
    });
    let gateway = Gateway::before(&folder, upstream, "", "");
    let readers = world.readers(&gateway, 40, ms(500), |number| format!("/{}", number % 10));
    readers.wait_until_lost(0.9);
    mended.store(true, std::sync::atomic::Ordering::Relaxed);
    // What is kept is still wrong.
    readers.wait_until_lost(0.9);
    let (admin, page) = (gateway.url(), readers.url());
    let keys: Vec<String> = (0..10).map(|number| format!("shop/{number}")).collect();
    let keys: Vec<&str> = keys.iter().flat_map(|key| ["--key", key.as_str()]).collect();
    let more = [&["--settle", "500ms"], keys.as_slice()].concat();
    helped(&folder, &gateway, &[&admin, &page], "purge-keys", &more);
}
