//! Several processes on one Redis.

use std::process::{Command, Stdio};
use std::time::Duration;

use seawall::core::lease;
use seawall::core::time::Span;
use seawall::redis::Redis;
use seawall::{Cache, Options};
use tokio::time::Instant;

use crate::support::Process;
use crate::support::redis::{RedisServer, until};

const HOLD: Duration = Duration::from_secs(1);

/// One process of the fleet. It is started by the tests below, with what it has to do in its environment: reads one key,
/// whose load counts itself in Redis and takes a while; then says under its own name what it got, and when.
#[tokio::test]
#[ignore = "a process of the tests below"]
async fn member() {
    let of = |name: &str| std::env::var(name).expect("started by a test");
    let (url, takes, name) = (of("FLEET_URL"), of("FLEET_TAKES_MS"), of("FLEET_NAME"));
    let takes = Duration::from_millis(takes.parse().expect("a number"));
    let cache: Cache<u64, String> = Cache::builder("fleet")
        .tier(
            Redis::url(&url)
                .expect("it is a URL")
                .build()
                .expect("it can be built"),
        )
        .protect(|policies| {
            policies.lease = Some(lease::Settings {
                hold: Span::from(HOLD),
                poll: Span::millis(20),
                wait_max: Span::secs(8),
            });
            policies.deadline.total = Some(Span::secs(10));
        })
        .build();
    let client = redis::Client::open(&*url).expect("it is a URL");
    let mut connection = client.get_connection().expect("it answers");
    let mut run = |words: &[&str]| -> redis::Value {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]).query(&mut connection).expect("it answers")
    };
    run(&["INCR", "ready"]);
    while run(&["EXISTS", "go"]) != redis::Value::Int(1) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let load = move || {
        let client = client.clone();
        async move {
            let count: u64 = redis::cmd("INCR")
                .arg("loads")
                .query(&mut client.get_connection()?)?;
            tokio::time::sleep(takes).await;
            Ok::<_, redis::RedisError>(format!("load {count}"))
        }
    };
    let began = Instant::now();
    let value = cache
        .get_or_load(&42, &Options::new(), load)
        .await
        .expect("an answer");
    let took = began.elapsed().as_millis().to_string();
    run(&["HSET", "answers", &name, &value]);
    run(&["HSET", "took", &name, &took]);
    // An answer goes out before the store is written.
    while run(&["EXISTS", "end"]) != redis::Value::Int(1) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn start(server: &RedisServer, name: &str, takes: Duration) -> Process {
    let child = Command::new(std::env::current_exe().expect("it is a file"))
        .args(["--exact", "fleet::member", "--ignored", "--nocapture"])
        .env("FLEET_URL", server.url())
        .env("FLEET_NAME", name)
        .env("FLEET_TAKES_MS", takes.as_millis().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Process::of(child.expect("it is this program"))
}

fn number(server: &RedisServer, key: &str) -> u64 {
    let number: Option<u64> = server.ask(&["GET", key]).expect("it answers");
    number.unwrap_or(0)
}

fn answered(server: &RedisServer) -> u64 {
    server.ask(&["HLEN", "took"]).expect("it answers")
}

#[test]
fn four_processes_make_one_load() {
    let server = RedisServer::start(&[]);
    let names = ["a", "b", "c", "d"];
    let mut fleet = names.map(|name| start(&server, name, Duration::from_millis(300)));
    until("all are ready", || number(&server, "ready") == 4);
    server.tell(&["SET", "go", "1"]);
    until("all got an answer", || answered(&server) == 4);
    server.tell(&["SET", "end", "1"]);
    assert!(fleet.iter_mut().all(Process::wait), "all went well");
    let answers: Vec<String> = server.ask(&["HVALS", "answers"]).expect("it answers");
    assert_eq!(answers, ["load 1"; 4]);
    assert_eq!(number(&server, "loads"), 1);
    let leases: u64 = server.ask(&["EXISTS", "fleet:42 lease"]).expect("it answers");
    assert_eq!(leases, 0, "the lease was given back");
}

#[test]
fn a_leader_that_is_killed_costs_the_others_its_lease_and_no_more() {
    let server = RedisServer::start(&[]);
    server.tell(&["SET", "go", "1"]);
    let mut leader = start(&server, "leader", Duration::from_mins(1));
    until("it loads", || number(&server, "loads") == 1);
    let mut others = ["a", "b", "c"].map(|name| start(&server, name, Duration::from_millis(100)));
    until("the others ask", || number(&server, "ready") == 4);
    leader.end();
    until("all others got an answer", || answered(&server) == 3);
    server.tell(&["SET", "end", "1"]);
    assert!(others.iter_mut().all(Process::wait), "all went well");
    let answers: Vec<String> = server.ask(&["HVALS", "answers"]).expect("it answers");
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let took: Vec<u64> = server.ask(&["HVALS", "took"]).expect("it answers");
    let limit = HOLD.as_millis() as u64 + 1_000;
    assert!(took.iter().all(|took| *took < limit), "{took:?} ms");
    assert_eq!(number(&server, "loads"), 2, "its own, and one more");
}
