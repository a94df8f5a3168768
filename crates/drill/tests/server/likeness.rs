//! The same requests to a real Redis 7 and to ours come to the same replies, errors included.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use seawall_drill::resp::Value;
use seawall_drill::server::{Server, Settings};

use crate::redis_server::RedisServer;
use crate::wire::{Wire, text};

struct Pair {
    theirs: Wire,
    ours: Wire,
}

/// A real server, ours, and a connection to each.
fn pair() -> (RedisServer, Server, Pair) {
    let real = RedisServer::start();
    let server = Server::start(&Settings::default()).expect("it starts");
    let pair = Pair {
        theirs: Wire::connect(real.address),
        ours: Wire::connect(server.address()),
    };
    (real, server, pair)
}

impl Pair {
    fn fresh(&mut self) {
        for wire in [&mut self.theirs, &mut self.ours] {
            wire.say("HELLO 2");
            for line in ["SELECT 0", "CLIENT UNPAUSE", "FLUSHALL", "CONFIG RESETSTAT"] {
                wire.say(line);
            }
        }
    }

    fn same(&mut self, requests: &[Vec<String>]) {
        let differences = self.differences(requests);
        assert!(
            differences.is_empty(),
            "{}\n in {requests:?}",
            differences.join("\n")
        );
    }

    /// What was counted meanwhile.
    fn same_numbers(&mut self, requests: &[Vec<String>]) {
        let counted = [&mut self.theirs, &mut self.ours].map(|wire| {
            wire.say("HELLO 2");
            let info = wire.say("INFO stats") + &wire.say("INFO errorstats");
            let wanted = [
                "keyspace_hits",
                "keyspace_misses",
                "total_error_replies",
                "errorstat_",
            ];
            let lines = info
                .lines()
                .filter(|line| wanted.iter().any(|name| line.starts_with(name)));
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        });
        assert_eq!(counted[0], counted[1], "theirs and ours, after {requests:?}");
    }

    fn differences(&mut self, requests: &[Vec<String>]) -> Vec<String> {
        let theirs = self.theirs.ask_all(requests);
        let ours = self.ours.ask_all(requests);
        let mut differences = Vec::new();
        for ((words, theirs), ours) in requests.iter().zip(theirs).zip(ours) {
            let (theirs, ours) = (theirs.expect("it answers"), ours.expect("it answers"));
            let alike = comparable(words, &theirs) == comparable(words, &ours);
            let near = near(words, &theirs, &ours);
            if !alike && !near {
                differences.push(format!("{words:?}\n theirs {theirs:?}\n ours   {ours:?}"));
            }
        }
        differences
    }
}

/// What has no order is sorted.
fn comparable(words: &[String], reply: &Value) -> Value {
    let mut reply = reply.clone();
    if let Value::Array(items) | Value::Map(items) = &mut reply
        && words[0].eq_ignore_ascii_case("config")
    {
        let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
        pairs.sort_by_key(|pair| text(&pair[0]));
        *items = pairs.concat();
    }
    let keys = match &mut reply {
        Value::Array(items) if words[0].eq_ignore_ascii_case("keys") => Some(items),
        Value::Array(items) if words[0].eq_ignore_ascii_case("scan") => match items.get_mut(1) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        },
        _ => None,
    };
    if let Some(keys) = keys {
        keys.sort_by_key(text);
    }
    reply
}

/// Times differ by what passes between the two.
fn near(words: &[String], theirs: &Value, ours: &Value) -> bool {
    let (Value::Integer(theirs), Value::Integer(ours)) = (theirs, ours) else {
        return false;
    };
    let slack = match words[0].to_ascii_lowercase().as_str() {
        "pttl" | "pexpiretime" => 5_000,
        "ttl" | "expiretime" => 5,
        _ => return false,
    };
    *theirs > 0 && *ours > 0 && (theirs - ours).abs() <= slack
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace()
        .map(|word| {
            if word == "''" {
                String::new()
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn key() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "user:1", "user:2", "list"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "x",
        "10",
        "-3",
        "9223372036854775807",
        "-9223372036854775808",
        "007",
        "1.5",
        "hello world",
        "\0\r\n\u{ff}",
    ])
    .prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = String> {
    select(vec![
        "0",
        "1",
        "-1",
        "5",
        "100",
        "1000000",
        "9223372036854775807",
        "-9223372036854775808",
        "x",
        "",
        "1.0",
        "99999999999999999999",
    ])
    .prop_map(str::to_owned)
}

/// Times of expiry: of those that are valid none comes to pass in a test.
fn expiry() -> impl Strategy<Value = Vec<String>> {
    let far = select(vec![
        "EX 100",
        "PX 100000",
        "EXAT 33177117420",
        "PXAT 33177117420000",
        "ex 0",
        "PX -1",
        "EX x",
    ]);
    let odd = select(vec![
        "KEEPTTL",
        "PERSIST",
        "EX",
        "NX",
        "XX",
        "GET",
        "EX 9223372036854775807",
        "ZZ",
        "nx xx",
    ]);
    prop_oneof![
        4 => Just(Vec::new()),
        4 => far.prop_map(words),
        4 => odd.prop_map(words),
        1 => (far_or_odd(), far_or_odd()).prop_map(|(a, b)| [a, b].concat()),
    ]
}

fn far_or_odd() -> impl Strategy<Value = Vec<String>> {
    select(vec![
        "EX 100",
        "PX 100000",
        "KEEPTTL",
        "PERSIST",
        "NX",
        "XX",
        "GET",
    ])
    .prop_map(words)
}

/// Requests that are as they are.
const PLAIN: &[&str] = &[
    "PING",
    "PING a",
    "PING a b",
    "ECHO x",
    "ECHO",
    "DBSIZE",
    "DBSIZE 1",
    "KEYS *",
    "KEYS user:?",
    "KEYS [ab]",
    "KEYS",
    "SCAN 0 COUNT 1000",
    "SCAN 0 COUNT 1000 MATCH u*",
    "SCAN 0 COUNT 1000 TYPE list",
    "SCAN x",
    "SCAN 0 COUNT 0",
    "SCAN 0 COUNT x",
    "SCAN 0 MATCH",
    "SCAN 0 FOO bar",
    "SELECT 1",
    "SELECT 0",
    "SELECT 16",
    "SELECT -1",
    "SELECT x",
    "SELECT 99999999999",
    "FLUSHDB",
    "FLUSHALL",
    "FLUSHDB SYNC",
    "FLUSHDB NOW",
    "FLUSHALL ASYNC x",
    "NOSUCH",
    "NOSUCH a b",
    "GET",
    "GET a b",
    "SET a",
    "MGET",
    "TTL",
    "CONFIG",
    "CONFIG GET",
    "CONFIG NOSUCH",
    "CLIENT",
    "CLIENT NOSUCH x",
    "CONFIG GET maxmemory",
    "CONFIG GET MAXMEMORY-policy",
    "CONFIG GET nosuch",
    "CONFIG SET maxmemory x",
    "CONFIG SET nosuch 1",
    "CONFIG SET maxmemory",
    "CONFIG SET maxmemory-policy nosuch",
    "CONFIG SET maxclients x",
    "CONFIG SET maxmemory 100mb",
    "CONFIG SET maxmemory 0",
    "CONFIG SET appendonly maybe",
    "CONFIG GET maxmemory timeout",
    "CONFIG SET timeout 0 timeout 0",
    "CONFIG SET databases 3",
    "CONFIG SET slowlog-log-slower-than 10000 timeout 0",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT SETNAME a\u{7f}b",
    "CLIENT KILL 1.2.3.4:5",
    "CLIENT KILL ID 99999",
    "CLIENT KILL ID x",
    "CLIENT KILL TYPE nosuch",
    "CLIENT KILL TYPE pubsub",
    "CLIENT KILL ADDR 1.2.3.4:5 SKIPME maybe",
    "CLIENT PAUSE x",
    "CLIENT PAUSE -1",
    "CLIENT PAUSE 0 NEVER",
    "CLIENT UNPAUSE",
    "CLIENT GETREDIR",
    "CLIENT NO-EVICT on",
    "CLIENT NO-EVICT maybe",
    "CLIENT UNBLOCK 99999",
    "CLIENT LIST TYPE nosuch",
    "CLIENT LIST ID x",
    "CLIENT LIST FOO",
    "AUTH x",
    "AUTH default x",
    "AUTH nobody x",
    "AUTH a b c",
    "HELLO x",
    "HELLO 4",
    "HELLO 2 FOO",
    "HELLO 2 AUTH nobody x",
    "HELLO 2 SETNAME",
    "DEBUG SLEEP 0",
    "SLOWLOG GET x",
    "SLOWLOG GET -2",
    "SLOWLOG RESET",
    "SLOWLOG",
    "SLOWLOG NOSUCH",
    "LATENCY LATEST",
    "LATENCY HISTORY x",
    "LATENCY RESET",
    "MEMORY USAGE nosuch",
    "MEMORY USAGE",
    "MEMORY USAGE a b",
    "OBJECT ENCODING nosuch",
    "OBJECT ENCODING a",
    "OBJECT ENCODING b",
    "OBJECT ENCODING list",
    "PUBLISH c m",
    "PUBSUB CHANNELS",
    "PUBSUB NUMSUB c",
    "PUBSUB NUMPAT",
    "SCRIPT EXISTS x",
    "SCRIPT FLUSH",
    "SCRIPT FLUSH x",
    "EVALSHA nosuch 0",
    "EVALSHA nosuch x",
    "EVAL x -1",
    "EVALSHA nosuch 3",
    "COMMAND NOSUCH",
    "ROLE",
    "LASTSAVE x",
    "REPLICAOF a x",
    "REPLICAOF NO ONE",
    "RESET x",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE p",
    "CLIENT|ID",
    "LLEN",
    "OBJECT",
    "SCRIPT NOSUCH",
    "MEMORY NOSUCH",
    "LATENCY NOSUCH",
    "PUBSUB NOSUCH",
];

fn command() -> impl Strategy<Value = Vec<String>> {
    let join = |name: &'static str| move |rest: Vec<String>| [vec![name.to_owned()], rest].concat();
    let keys = || prop::collection::vec(key(), 0..4);
    let pairs = || prop::collection::vec(prop_oneof![key(), value()], 0..6);
    let with_key = |names: &[&'static str]| {
        (select(names.to_vec()), key()).prop_map(|(name, key)| vec![name.to_owned(), key])
    };
    let with_number = |names: &[&'static str]| {
        let names = select(names.to_vec());
        (names, key(), number()).prop_map(|(name, key, number)| vec![name.to_owned(), key, number])
    };
    let with_value = |names: &[&'static str]| {
        let names = select(names.to_vec());
        (names, key(), value()).prop_map(|(name, key, value)| vec![name.to_owned(), key, value])
    };
    let set = (key(), value(), expiry())
        .prop_map(|(key, value, rest)| [vec!["SET".into(), key, value], rest].concat());
    let getex = (key(), expiry()).prop_map(|(key, rest)| [vec!["GETEX".into(), key], rest].concat());
    let timed =
        (select(vec!["SETEX", "psetex"]), key(), number(), value()).prop_map(|(name, key, number, value)| {
            // A millisecond would pass in between.
            let number = if number == "1" || number == "5" {
                "50000".to_owned()
            } else {
                number
            };
            vec![name.to_owned(), key, number, value]
        });
    let expire = (
        select(vec!["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]),
        key(),
        select(vec![
            "100000",
            "-1",
            "0",
            "33177117420000",
            "9223372036854775807",
            "-9223372036854775808",
            "x",
        ]),
        select(vec!["", "", "NX", "xx", "GT", "LT", "NX GT", "GT LT", "ZZ"]),
    )
        .prop_map(|(name, key, number, options)| {
            [vec![name.to_owned(), key, number.to_owned()], words(options)].concat()
        });
    let ranges = (
        select(vec!["GETRANGE", "SUBSTR", "LRANGE"]),
        key(),
        number(),
        number(),
    )
        .prop_map(|(name, key, from, to)| vec![name.to_owned(), key, from, to]);
    let set_range = (key(), select(vec!["0", "3", "-1", "x", "99999999999"]), value())
        .prop_map(|(key, at, value)| vec!["SETRANGE".to_owned(), key, at.to_owned(), value]);
    // How a short value that was changed in place is encoded is a matter of its history.
    let plain = PLAIN.iter().filter(|line| !line.starts_with("OBJECT ENCODING"));
    let plain = select(plain.copied().collect::<Vec<_>>()).prop_map(words);
    prop_oneof![
        6 => set,
        3 => getex,
        2 => timed,
        4 => expire,
        3 => ranges,
        2 => set_range,
        12 => plain,
        6 => with_key(&["GET", "get", "GETDEL", "STRLEN", "TYPE", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST", "INCR", "DECR", "LLEN"]),
        4 => with_number(&["INCRBY", "DECRBY"]),
        5 => with_value(&["SETNX", "GETSET", "APPEND", "LPUSH", "RPUSH"]),
        1 => key().prop_map(|_| words("LPUSH list a b c")),
        3 => keys().prop_map(join("MGET")),
        2 => keys().prop_map(join("DEL")),
        1 => keys().prop_map(join("UNLINK")),
        2 => keys().prop_map(join("EXISTS")),
        1 => keys().prop_map(join("touch")),
        2 => pairs().prop_map(join("MSET")),
        1 => pairs().prop_map(join("MSETNX")),
    ]
}

#[test]
fn each_request_has_the_same_reply() {
    let (_real, _server, mut pair) = pair();
    let mut differences = Vec::new();
    for protocol in ["HELLO 2", "HELLO 3"] {
        for line in PLAIN {
            pair.fresh();
            pair.theirs.say(protocol);
            pair.ours.say(protocol);
            let keys = ["SET a 1", "SET b x EX 100", "RPUSH list x y", "SET user:1 x"].map(words);
            let requests = [keys.to_vec(), vec![words(line)]].concat();
            differences.extend(pair.differences(&requests));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_same_requests_have_the_same_replies() {
    let (_real, _server, pair) = pair();
    let pair = RefCell::new(pair);
    let config = Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = (any::<bool>(), prop::collection::vec(command(), 1..40));
    let result = TestRunner::new(config).run(&sequences, |(three, sequence)| {
        let pair = &mut *pair.borrow_mut();
        pair.fresh();
        if three {
            for wire in [&mut pair.theirs, &mut pair.ours] {
                wire.say("HELLO 3");
            }
        }
        // What is said of itself differs: `HELLO` by the number of the client.
        pair.same(&sequence);
        pair.same_numbers(&sequence);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn keys_expire_alike() {
    let (_real, _server, mut pair) = pair();
    let lines = [
        "SET a x PX 20",
        "SET b x EX 100",
        "SET c x PXAT 1000",
        "SETEX d 1 x",
        "GETEX b EXAT 1",
        "EXPIRE d 0",
        "MSET e 1 f 2",
        "PEXPIRE e 20",
        "SET f 3 KEEPTTL",
    ];
    pair.same(&lines.map(words));
    std::thread::sleep(std::time::Duration::from_millis(60));
    let after = [
        "GET a",
        "MGET a b c d e f",
        "EXISTS a b c d e f",
        "TTL a",
        "PTTL e",
        "TYPE c",
        "SET a y XX",
        "SET e y NX",
        "INCR c",
        "KEYS *",
        "STRLEN d",
        "APPEND a z",
        "PERSIST a",
    ];
    pair.same(&after.map(words));
}

/// What the server says that it uses.
fn used(wire: &mut Wire) -> f64 {
    let info = wire.say("INFO memory");
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|bytes| bytes.parse().ok()).expect("it says so")
}

#[test]
fn memory_is_estimated_near_what_redis_takes() {
    let (_real, _server, mut pair) = pair();
    for length in [1, 10, 40, 44, 45, 60, 100, 300, 1_000, 5_000, 100_000] {
        let set = vec!["SET".to_owned(), format!("key:{length}"), "x".repeat(length)];
        let usage = words(&format!("MEMORY USAGE key:{length}"));
        let ask = |wire: &mut Wire| match wire.ask_all(&[set.clone(), usage.clone()]).pop() {
            Some(Some(Value::Integer(bytes))) => bytes as f64,
            other => panic!("{other:?}"),
        };
        let (theirs, ours) = (ask(&mut pair.theirs), ask(&mut pair.ours));
        assert!((ours / theirs - 1.0).abs() < 0.1, "{length}: {theirs} and {ours}");
    }
    for (length, rest) in [(1, "EX 1000"), (100, ""), (1_000, "EX 1000")] {
        let value = "x".repeat(length);
        let set = |number: u64| words(&format!("SET key:{number} {value} {rest}"));
        let sets: Vec<Vec<String>> = (0..3_000).map(set).collect();
        let grown = [&mut pair.theirs, &mut pair.ours].map(|wire| {
            wire.say("FLUSHALL SYNC");
            let before = used(wire);
            wire.ask_all(&sets);
            used(wire) - before
        });
        assert!((grown[1] / grown[0] - 1.0).abs() < 0.15, "{length}: {grown:?}");
    }
}

#[test]
fn malformed_requests_are_told_alike() {
    let (real, server, _pair) = pair();
    for bytes in [
        &b"*x\r\n"[..],
        b"*3\r\n$3\r\nSET\r\n:1\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$x\r\n",
        b"GET \"a\r\n",
        b"SET a 'b'c\r\n",
    ] {
        let told = [real.address, server.address()].map(|address| {
            let mut wire = Wire::connect(address);
            wire.send(bytes);
            (wire.hear(), wire.hear())
        });
        assert_eq!(told[0], told[1], "{}", String::from_utf8_lossy(bytes));
        assert_eq!(told[1].1, None, "it hangs up");
    }
    let lines = b"\r\n\r\nset a 'b c'\r\nGET a\r\n*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n";
    let told = [real.address, server.address()].map(|address| {
        let mut wire = Wire::connect(address);
        wire.send(lines);
        [wire.hear(), wire.hear(), wire.hear()]
    });
    assert_eq!(told[0], told[1]);
}
