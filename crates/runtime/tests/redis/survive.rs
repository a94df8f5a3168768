//! Each fault, with protection and without: no wrong answer, no call beyond its deadline, bounded queues, recovery without
//! a restart; and what it looked like, in `docs/survive.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::{CacheFault, Policies};
use tokio::runtime::Runtime;

use crate::store::open;
use crate::support::free_port;
use crate::support::proxy::Proxy;
use crate::support::redis::{RedisCluster, RedisServer, Sentinels};
use crate::world::{DEADLINE, Seen, World, protected};

/// How long a fault lasts before it is lifted.
const LASTS: Duration = Duration::from_secs(2);
/// What a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_millis(400);
/// How long all is well before and after.
const CALM: Duration = Duration::from_millis(300);
/// So many runs share the machine.
const AT_A_TIME: usize = 10;
const RECOVERY: Duration = Duration::from_secs(30);

/// Servers that something is done to.
enum Servers {
    /// With a proxy before it, and a connection of our own past it.
    One(RedisServer, Proxy, Option<redis::Connection>),
    Cluster(RedisCluster),
    Sentinels(Sentinels),
}

impl Servers {
    fn one(&mut self) -> (&mut RedisServer, &Proxy) {
        match self {
            Servers::One(server, proxy, _) => (server, proxy),
            _ => unreachable!("the fault is one of a single server"),
        }
    }

    /// Does something over a connection that stays, when everybody else is hung up on.
    fn inside(&mut self, commands: &[&[&str]]) {
        let Servers::One(server, _, connection) = self else {
            unreachable!("the fault is one of a single server")
        };
        let connection = connection.get_or_insert_with(|| {
            let client = redis::Client::open(server.url()).expect("it is a URL");
            client.get_connection().expect("it answers")
        });
        for words in commands {
            let mut cmd = redis::cmd(words[0]);
            cmd.arg(&words[1..]).exec(connection).expect("it answers");
        }
    }

    /// The last words over it.
    fn leave(&mut self, words: &[&str]) {
        self.inside(&[words]);
        if let Servers::One(.., connection) = self {
            *connection = None;
        }
    }

    fn url(&self) -> String {
        match self {
            Servers::One(_, proxy, _) => format!("redis://127.0.0.1:{}", proxy.port),
            Servers::Cluster(cluster) => cluster.url(),
            Servers::Sentinels(sentinels) => sentinels.url(),
        }
    }
}

/// Something that goes wrong, how it ends, and what proves that it went wrong.
struct Fault {
    name: &'static str,
    begin: fn(&mut Servers),
    end: fn(&mut Servers),
    proof: &'static [CacheFault],
}

fn nothing(_: &mut Servers) {}

fn values(server: &RedisServer) -> Vec<String> {
    server.ask(&["KEYS", "world:*"]).expect("it answers")
}

/// Hangs up on everybody else: a change of settings is for new connections only.
const HANG_UP: &[&str] = &["CLIENT", "KILL", "TYPE", "normal"];

const FAULTS: &[Fault] = &[
    Fault {
        name: "refused: killed, and back empty later",
        begin: |servers| servers.one().0.kill(),
        end: |servers| servers.one().0.restart(&[]),
        proof: &[CacheFault::Refused, CacheFault::Reset],
    },
    Fault {
        name: "killed, and back empty at once",
        begin: |servers| servers.one().0.restart(&[]),
        end: nothing,
        proof: &[CacheFault::Reset, CacheFault::Refused],
    },
    Fault {
        name: "stopped (SIGSTOP)",
        begin: |servers| servers.one().0.stop(),
        end: |servers| servers.one().0.go_on(),
        proof: &[CacheFault::TimedOut],
    },
    Fault {
        name: "150 ms of latency each way",
        begin: |servers| servers.one().1.delay(Duration::from_millis(150)),
        end: |servers| servers.one().1.delay(Duration::ZERO),
        proof: &[CacheFault::TimedOut],
    },
    Fault {
        name: "no room (`maxmemory`, noeviction), and empty",
        begin: |servers| {
            let server = servers.one().0;
            server.tell(&["FLUSHALL"]);
            server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
        },
        end: |servers| servers.one().0.tell(&["CONFIG", "SET", "maxmemory", "0"]),
        proof: &[CacheFault::OutOfMemory],
    },
    Fault {
        name: "no place (`maxclients`)",
        begin: |servers| servers.inside(&[&["CONFIG", "SET", "maxclients", "1"], HANG_UP]),
        end: |servers| servers.leave(&["CONFIG", "SET", "maxclients", "1000"]),
        proof: &[CacheFault::TooManyClients],
    },
    Fault {
        name: "loading (`LOADING`)",
        begin: |servers| {
            let server = servers.one().0;
            for number in 0..100 {
                server.tell(&["SET", &format!("filler:{number}"), &"x".repeat(2_000)]);
            }
            server.tell(&["CONFIG", "SET", "rdbcompression", "no"]);
            server.tell(&["SAVE"]);
            server.restart(&[
                "--key-load-delay",
                "10000",
                "--loading-process-events-interval-bytes",
                "1024",
            ]);
        },
        end: nothing,
        proof: &[CacheFault::Loading],
    },
    Fault {
        name: "a replica now (`READONLY`), and empty",
        begin: |servers| {
            let server = servers.one().0;
            server.tell(&["FLUSHALL"]);
            server.tell(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
        },
        end: |servers| servers.one().0.tell(&["REPLICAOF", "NO", "ONE"]),
        proof: &[CacheFault::ReadOnly],
    },
    Fault {
        name: "every value is a list (`WRONGTYPE`)",
        begin: |servers| {
            let server = &*servers.one().0;
            for key in values(server) {
                server.tell(&["DEL", &key]);
                server.tell(&["RPUSH", &key, "a"]);
            }
        },
        end: nothing,
        proof: &[CacheFault::WrongType],
    },
    Fault {
        name: "shut out (`NOAUTH`)",
        begin: |servers| servers.inside(&[&["CONFIG", "SET", "requirepass", "hunter2"], HANG_UP]),
        end: |servers| servers.leave(&["CONFIG", "SET", "requirepass", ""]),
        proof: &[CacheFault::NoAuth],
    },
    Fault {
        name: "every value is damaged",
        begin: |servers| {
            let server = &*servers.one().0;
            for key in values(server) {
                server.tell(&["SETRANGE", &key, "100", "rubbish"]);
            }
        },
        end: nothing,
        proof: &[CacheFault::Corrupt],
    },
    Fault {
        name: "a cluster's node is lost",
        begin: |servers| match servers {
            Servers::Cluster(cluster) => cluster.servers[0].kill(),
            _ => unreachable!("it is one of a cluster"),
        },
        end: nothing,
        proof: &[CacheFault::Refused, CacheFault::Reset, CacheFault::Unavailable],
    },
    Fault {
        name: "a sentinel failover",
        begin: |servers| match servers {
            Servers::Sentinels(trio) => trio.master.kill(),
            _ => unreachable!("it is one of sentinels"),
        },
        end: nothing,
        proof: &[CacheFault::Refused, CacheFault::Reset, CacheFault::Unavailable],
    },
];

/// What one fault came to, without and with protection.
struct Row {
    name: &'static str,
    without: Seen,
    with: Seen,
}

fn servers(runtime: &Runtime, fault: &Fault) -> Servers {
    if fault.name.contains("cluster") {
        Servers::Cluster(RedisCluster::start())
    } else if fault.name.contains("sentinel") {
        Servers::Sentinels(Sentinels::start())
    } else {
        let server =
            RedisServer::start(&["--maxmemory-policy", "noeviction", "--enable-debug-command", "no"]);
        let proxy = runtime.block_on(Proxy::before(server.port));
        Servers::One(server, proxy, None)
    }
}

/// One fault under these policies. It has a thread of its own, which the servers live no longer than.
fn play(runtime: &Runtime, fault: &Fault, policies: Policies, protects: bool) -> Seen {
    let name = fault.name;
    let mut servers = servers(runtime, fault);
    let world = World::new(open(&servers.url()), policies);
    runtime.block_on(world.fill());
    let calm = runtime.block_on(world.run(CALM));
    assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all was well before");

    let told_before = world.told(fault.proof);
    let phase = runtime.spawn({
        let world = Arc::clone(&world);
        async move { world.run(LASTS).await }
    });
    (fault.begin)(&mut servers);
    let seen = runtime.block_on(phase).expect("no call panics");
    let stats = world.stats();
    assert!(world.told(fault.proof) > told_before, "{name}: it took effect");
    assert_eq!(seen.wrong, 0, "{name}: no wrong answer");
    if protects {
        assert!(
            seen.max <= DEADLINE + MARGIN,
            "{name}: a call took {:?}",
            seen.max
        );
        assert!(seen.origin_present_max <= 10, "{name}: {seen:?}");
        assert!(stats.queued <= 40 && stats.in_flight <= 10, "{name}: {stats:?}");
    }
    (fault.end)(&mut servers);
    let recovered = runtime.block_on(world.recovers(RECOVERY));
    assert!(
        recovered.is_some() || !protects,
        "{name}: it recovers: {:?}",
        world.stats()
    );
    if protects {
        let calm = runtime.block_on(world.run(CALM));
        assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all is well again");
        let stats = world.stats();
        assert_eq!(stats.requests, 0, "{name}: nothing is left");
    }
    seen
}

fn table(rows: &[Row]) -> String {
    let mut table = String::new();
    let ms = |span: Duration| {
        let ms = span.as_secs_f64() * 1e3;
        let step = if ms < 10.0 {
            1.0
        } else if ms < 100.0 {
            10.0
        } else {
            50.0
        };
        format!("{:.0} ms", (ms / step).ceil() * step)
    };
    table.push_str("| fault | p99 without | p99 with | in time without | in time with | inside the origin without | with |\n");
    table.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for Row { name, without, with } in rows {
        let share = |seen: &Seen| 100 * seen.in_time / (seen.answered + seen.refused + seen.wrong).max(1);
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {}% | {}% | {} | {} |",
            ms(without.p99),
            ms(with.p99),
            share(without),
            share(with),
            without.origin_present_max,
            with.origin_present_max,
        );
    }
    table
}

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// The numbers are of the machine that wrote them; the faults have to be these.
fn write_or_check(rows: &[Row]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/survive.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (old, after) = rest.split_once(END).expect("the place ends");
    let table = table(rows);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the page is writable");
        return;
    }
    let first = |table: &str| -> Vec<String> {
        let cells = table
            .lines()
            .map(|line| line.split('|').nth(1).unwrap_or_default().trim().to_owned());
        cells.collect()
    };
    assert_eq!(
        first(old),
        first(&table),
        "docs/survive.md is stale: run with UPDATE=1"
    );
}

#[test]
fn every_fault_is_survived() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("there are threads");
    let next = AtomicUsize::new(0);
    let seen: Mutex<BTreeMap<(usize, bool), Seen>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let (place, protects) = (turn / 2, turn % 2 == 1);
                    // Those with the most servers come last in the list and first in time.
                    let Some(fault) = FAULTS.iter().rev().nth(place) else {
                        return;
                    };
                    let policies = if protects {
                        protected()
                    } else {
                        Policies::default()
                    };
                    let result = play(&runtime, fault, policies, protects);
                    let mut seen = seen.lock().expect("nobody panics with it");
                    seen.insert((FAULTS.len() - 1 - place, protects), result);
                }
            });
        }
    });
    let seen = seen.into_inner().expect("nobody panics with it");
    let rows = FAULTS.iter().enumerate().map(|(place, fault)| Row {
        name: fault.name,
        without: seen[&(place, false)].clone(),
        with: seen[&(place, true)].clone(),
    });
    write_or_check(&rows.collect::<Vec<_>>());
}
