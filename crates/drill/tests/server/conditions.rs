//! A server that is full, slow, loading, hanging, gone.

use std::net::TcpStream;
use std::time::Duration;

use seawall_drill::resp::Value;
use seawall_drill::server::{Condition, Server, Settings};

use tokio::time::Instant;

use crate::wire::Wire;

fn start(config: &[(&str, &str)]) -> (Server, Wire) {
    let settings = Settings {
        config: config
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect(),
        ..Settings::default()
    };
    let server = Server::start(&settings).expect("it starts");
    let wire = Wire::connect(server.address());
    (server, wire)
}

/// A line of `INFO`.
fn info(wire: &mut Wire, name: &str) -> String {
    let all = wire.say("INFO all");
    let line = all
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {all}")).to_owned()
}

fn fill(wire: &mut Wire, count: usize, rest: &str) -> Vec<Option<Value>> {
    let value = "x".repeat(1_000);
    let sets: Vec<Vec<String>> = (0..count)
        .map(|number| format!("SET key:{number} {value} {rest}"))
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    wire.ask_all(&sets)
}

#[test]
fn a_full_server_refuses_or_makes_room() {
    let (_server, mut wire) = start(&[("maxmemory", "2mb")]);
    let replies = fill(&mut wire, 2_000, "");
    let refused = replies
        .iter()
        .flatten()
        .filter(|reply| reply.error() == Some(b"OOM command not allowed when used memory > 'maxmemory'."));
    let refused = refused.count();
    assert!(
        (800..1_200).contains(&refused),
        "{refused}: a kilobyte each into what is left of two megabytes"
    );
    assert_eq!(info(&mut wire, "errorstat_OOM"), format!("count={refused}"));
    assert_eq!(wire.say("GET key:0").len(), 1_000, "reading goes on");
    assert_eq!(wire.say("DEL key:0"), "1", "and making room");

    for (policy, rest, survivor) in [
        ("allkeys-lru", "", true),
        ("allkeys-random", "", false),
        ("volatile-lru", "EX 1000", true),
        ("volatile-ttl", "EX 1000", false),
    ] {
        let (_server, mut wire) = start(&[("maxmemory", "2mb"), ("maxmemory-policy", policy)]);
        fill(&mut wire, 500, rest);
        for _ in 0..4 {
            wire.say("GET key:0");
            let replies = fill(&mut wire, 500, rest);
            assert!(
                replies.iter().flatten().all(|reply| reply.error().is_none()),
                "{policy}"
            );
        }
        let more: Vec<Vec<String>> = (0..2_000)
            .map(|number| format!("SET more:{number} {} {rest}", "x".repeat(1_000)))
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        for some in more.chunks(100) {
            wire.say("GET key:0");
            let replies = wire.ask_all(some);
            assert!(
                replies.iter().flatten().all(|reply| reply.error().is_none()),
                "{policy}"
            );
        }
        let evicted: u64 = info(&mut wire, "evicted_keys").parse().expect("a number");
        let used: u64 = info(&mut wire, "used_memory").parse().expect("a number");
        assert!(evicted > 1_000 && used <= 2 << 20, "{policy}: {evicted} {used}");
        if survivor {
            assert_eq!(
                wire.say("EXISTS key:0 key:400"),
                "1",
                "{policy}: what is used stays"
            );
        }
    }
}

#[test]
fn what_cannot_be_evicted_stays_and_writes_are_refused() {
    let (_server, mut wire) = start(&[("maxmemory", "2mb"), ("maxmemory-policy", "volatile-lru")]);
    let replies = fill(&mut wire, 2_000, "");
    assert!(replies.iter().flatten().any(|reply| reply.error().is_some()));
    assert_eq!(info(&mut wire, "evicted_keys"), "0");
}

#[test]
fn a_limit_below_what_it_holds_refuses_all_writes() {
    let (_server, mut wire) = start(&[]);
    assert_eq!(wire.say("SET a 1"), "OK");
    assert_eq!(wire.say("CONFIG SET maxmemory 1"), "OK");
    assert!(wire.say("SET a 2").starts_with("-OOM"));
    assert_eq!(wire.say("GET a"), "1");
    wire.say("CONFIG SET maxmemory 0");
    assert_eq!(wire.say("SET a 2"), "OK");
}

#[test]
fn one_client_too_many_is_told_so() {
    let (server, mut wire) = start(&[("maxclients", "2")]);
    let mut second = Wire::connect(server.address());
    assert_eq!(second.say("PING"), "PONG");
    let mut third = Wire::connect(server.address());
    assert_eq!(
        third.hear(),
        Some(Value::Error("ERR max number of clients reached".into()))
    );
    assert_eq!(third.hear(), None);
    assert_eq!(info(&mut wire, "rejected_connections"), "1");
    drop(second);
    let began = Instant::now();
    loop {
        let mut again = Wire::connect(server.address());
        again.send(b"PING\r\n");
        if again.hear() == Some(Value::Simple("PONG".into())) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "a place is free");
    }
}

#[test]
fn a_loading_server_says_so() {
    let (server, mut wire) = start(&[]);
    wire.say("SET a 1");
    server.set_condition(Condition::Loading);
    assert_eq!(
        wire.say("GET a"),
        "-LOADING Redis is loading the dataset in memory"
    );
    assert_eq!(wire.say("PING"), "PONG");
    assert_eq!(info(&mut wire, "loading"), "1");
    server.set_condition(Condition::Serving);
    assert_eq!(wire.say("GET a"), "1");
}

#[test]
fn a_hanging_server_answers_nothing_and_then_everything() {
    let (server, mut wire) = start(&[]);
    assert_eq!(wire.say("SET a 1"), "OK");
    server.set_condition(Condition::Hanging);
    wire.send(b"GET a\r\n");
    assert!(wire.is_silent(Duration::from_millis(150)));
    // The kernel still takes connections for it.
    let mut new = Wire::connect(server.address());
    new.send(b"PING\r\n");
    assert!(new.is_silent(Duration::from_millis(50)));
    server.set_condition(Condition::Serving);
    assert_eq!(wire.hear(), Some(Value::Bulk("1".into())));
    assert_eq!(new.hear(), Some(Value::Simple("PONG".into())));
}

#[test]
fn a_server_that_is_gone_comes_back_at_its_address() {
    let (server, mut wire) = start(&[]);
    assert_eq!(wire.say("SET a 1"), "OK");
    server.set_condition(Condition::Refusing);
    assert_eq!(wire.hear(), None, "it hangs up");
    let began = Instant::now();
    while TcpStream::connect(server.address()).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(5), "nobody listens");
    }
    server.flush();
    server.set_condition(Condition::Serving);
    while TcpStream::connect(server.address()).is_err() {
        assert!(began.elapsed() < Duration::from_secs(5), "somebody listens again");
    }
    assert_eq!(
        Wire::connect(server.address()).say("GET a"),
        "nil",
        "as after a restart"
    );
}

#[test]
fn a_pause_holds_commands_back() {
    let (server, mut wire) = start(&[]);
    let mut other = Wire::connect(server.address());
    wire.say("SET a 1");
    assert_eq!(wire.say("CLIENT PAUSE 60000 WRITE"), "OK");
    assert_eq!(other.say("GET a"), "1", "reads go on");
    other.send(b"SET a 2\r\n");
    assert!(other.is_silent(Duration::from_millis(60)));
    assert_eq!(wire.say("CLIENT UNPAUSE"), "OK");
    assert_eq!(other.hear(), Some(Value::Simple("OK".into())));
    let began = Instant::now();
    assert_eq!(wire.say("CLIENT PAUSE 120"), "OK");
    assert_eq!(wire.say("CLIENT UNPAUSE"), "OK", "held back as everything else");
    assert!(
        began.elapsed() >= Duration::from_millis(110),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_replica_takes_no_writes() {
    let (_server, mut wire) = start(&[]);
    wire.say("SET a 1");
    assert_eq!(wire.say("REPLICAOF 127.0.0.1 1"), "OK");
    assert_eq!(
        wire.say("SET a 2"),
        "-READONLY You can't write against a read only replica."
    );
    assert_eq!(wire.say("GET a"), "1");
    assert_eq!(
        (info(&mut wire, "role"), info(&mut wire, "master_link_status")),
        ("slave".into(), "down".into())
    );
    assert_eq!(wire.say("REPLICAOF NO ONE"), "OK");
    assert_eq!(wire.say("SET a 2"), "OK");
}

#[test]
fn a_password_is_asked_for() {
    let (server, mut wire) = start(&[("requirepass", "hunter2")]);
    assert_eq!(wire.say("GET a"), "-NOAUTH Authentication required.");
    assert!(wire.say("HELLO 3").starts_with("-NOAUTH"));
    assert!(wire.say("AUTH wrong").starts_with("-WRONGPASS"));
    assert_eq!(wire.say("AUTH hunter2"), "OK");
    assert_eq!(wire.say("GET a"), "nil");
    let mut other = Wire::connect(server.address());
    assert!(
        other
            .say("HELLO 3 AUTH default hunter2 SETNAME me")
            .contains("proto 3")
    );
    assert_eq!(other.say("CLIENT GETNAME"), "me");
}

#[test]
fn clients_are_sent_away() {
    let (server, mut wire) = start(&[]);
    let mut other = Wire::connect(server.address());
    let id = other.say("CLIENT ID");
    let listed = wire.say("CLIENT LIST");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert_eq!(wire.say(&format!("CLIENT KILL ID {id}")), "1");
    assert_eq!(other.hear(), None);
    let mut ears = Wire::connect(server.address());
    ears.say("SUBSCRIBE news");
    assert!(ears.say("GET a").starts_with("-ERR Can't execute 'get'"));
    assert_eq!(wire.say("CLIENT KILL TYPE pubsub"), "1");
    assert_eq!(ears.hear(), None);
    assert_eq!(wire.say("PUBLISH news rain"), "0");
    assert_eq!(wire.say("CLIENT KILL TYPE normal"), "0", "it skips itself");
    assert_eq!(wire.say("CLIENT KILL TYPE normal SKIPME no"), "1");
    assert_eq!(wire.hear(), None);
    let (_server, mut silent) = start(&[("timeout", "1")]);
    assert_eq!(silent.hear(), None, "who says nothing for a second is sent away");
}

#[test]
fn slow_commands_are_kept_and_numbers_are_told() {
    let (_server, mut wire) = start(&[("slowlog-log-slower-than", "0"), ("slowlog-max-len", "3")]);
    for line in ["SET a 1", "GET a", "GET b", "STRLEN a", "INCR x y"] {
        wire.say(line);
    }
    let slow = wire.say("SLOWLOG GET");
    assert!(
        slow.contains("GET b") && !slow.contains("SET a"),
        "three at most: {slow}"
    );
    assert_eq!(wire.say("SLOWLOG LEN"), "3");
    assert_eq!(
        (
            info(&mut wire, "keyspace_hits"),
            info(&mut wire, "keyspace_misses")
        ),
        ("2".into(), "1".into())
    );
    let get = info(&mut wire, "cmdstat_get");
    assert!(get.starts_with("calls=2,usec="), "{get}");
    assert!(info(&mut wire, "cmdstat_incr").contains("rejected_calls=1"));
    assert_eq!(info(&mut wire, "errorstat_ERR"), "count=1");
    assert_eq!(wire.say("CONFIG RESETSTAT"), "OK");
    assert_eq!(info(&mut wire, "keyspace_hits"), "0");
}

#[test]
fn a_subscriber_that_does_not_read_is_sent_away() {
    let (server, mut wire) = start(&[]);
    let mut ears = Wire::connect(server.address());
    ears.say("SUBSCRIBE news");
    let message = "x".repeat(1 << 20);
    let mut heard = "1".to_owned();
    // What the kernel takes comes on top of what the server holds.
    for _ in 0..64 {
        heard = wire.say(&format!("PUBLISH news {message}"));
        if heard == "0" {
            break;
        }
    }
    assert_eq!(heard, "0", "it is held in memory for ever");
}
