//! Each fault, with protection and without: no wrong answer, no call beyond its deadline, bounded queues, recovery without
//! a restart; and what it looked like, in `docs/survive.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall::{CacheFault, Policies};

use crate::store::open;
use crate::support::free_port;
use crate::support::proxy::Proxy;
use crate::support::redis::{RedisCluster, RedisServer, Sentinels, until};
use crate::world::{DEADLINE, Seen, World, protected};

/// How long a fault lasts before it is lifted.
const LASTS: Duration = Duration::from_millis(2_000);
/// What a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_millis(400);
const RECOVERY: Duration = Duration::from_secs(30);

/// Servers that something is done to.
enum Servers {
    One(RedisServer, Proxy),
    Cluster(RedisCluster),
    Sentinels(Sentinels),
}

impl Servers {
    fn one(&mut self) -> (&mut RedisServer, &Proxy) {
        match self {
            Servers::One(server, proxy) => (server, proxy),
            _ => unreachable!("the fault is one of a single server"),
        }
    }

    fn url(&self) -> String {
        match self {
            Servers::One(_, proxy) => format!("redis://127.0.0.1:{}", proxy.port),
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

/// Shuts everybody else out, as a change of settings alone does not.
fn hang_up(server: &RedisServer) {
    server.tell(&["CLIENT", "KILL", "TYPE", "normal"]);
}

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
        begin: |servers| {
            let server = servers.one().0;
            server.tell(&["CONFIG", "SET", "maxclients", "1"]);
            hang_up(server);
        },
        end: |servers| {
            // Its one place is taken, by turns, by who comes first.
            let server = &*servers.one().0;
            until("there is a place for us", || {
                let raised: redis::RedisResult<()> = server.ask(&["CONFIG", "SET", "maxclients", "1000"]);
                raised.is_ok()
            });
        },
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
        begin: |servers| {
            let server = servers.one().0;
            server.tell(&["CONFIG", "SET", "requirepass", "hunter2"]);
            let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{}", server.port));
            let mut connection = client
                .and_then(|client| client.get_connection())
                .expect("it answers");
            redis::cmd("CLIENT")
                .arg(&["KILL", "TYPE", "normal"])
                .exec(&mut connection)
                .expect("it answers");
        },
        end: |servers| {
            let server = servers.one().0;
            let client = redis::Client::open(format!("redis://:hunter2@127.0.0.1:{}", server.port));
            let mut connection = client
                .and_then(|client| client.get_connection())
                .expect("it answers");
            let open = ["SET", "requirepass", ""];
            redis::cmd("CONFIG")
                .arg(&open)
                .exec(&mut connection)
                .expect("it answers");
        },
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

async fn servers(fault: &Fault) -> Servers {
    if fault.name.contains("cluster") {
        Servers::Cluster(RedisCluster::start())
    } else if fault.name.contains("sentinel") {
        Servers::Sentinels(Sentinels::start())
    } else {
        let server =
            RedisServer::start(&["--maxmemory-policy", "noeviction", "--enable-debug-command", "no"]);
        let proxy = Proxy::before(server.port).await;
        Servers::One(server, proxy)
    }
}

async fn play(fault: &Fault, policies: Policies, protects: bool) -> Seen {
    let name = fault.name;
    let mut servers = servers(fault).await;
    let world = World::new(open(&servers.url()), policies);
    world.fill().await;
    let calm = world.run(Duration::from_millis(300)).await;
    assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all was well before");

    let told_before = world.told(fault.proof);
    let phase = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.run(LASTS).await }
    });
    tokio::task::block_in_place(|| (fault.begin)(&mut servers));
    let seen = phase.await.expect("no call panics");
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
    tokio::task::block_in_place(|| (fault.end)(&mut servers));
    let recovered = world.recovers(RECOVERY).await;
    assert!(
        recovered.is_some() || !protects,
        "{name}: it recovers: {:?}",
        world.stats()
    );
    if protects {
        let calm = world.run(Duration::from_millis(300)).await;
        assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all is well again");
        let stats = world.stats();
        assert_eq!(
            (stats.requests, stats.queued, stats.in_flight),
            (0, 0, 0),
            "{name}: nothing is left"
        );
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
    table.push_str("| fault | p99 without | p99 with | answered without | answered with | inside the origin without | with |\n");
    table.push_str("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for Row { name, without, with } in rows {
        let share = |seen: &Seen| 100 * seen.answered / (seen.answered + seen.refused + seen.wrong).max(1);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_survived() {
    let plays = FAULTS.iter().map(|fault| async move {
        let (without, with) = tokio::join!(
            play(fault, Policies::default(), false),
            play(fault, protected(), true)
        );
        let name = fault.name;
        Row { name, without, with }
    });
    let rows = futures_util::future::join_all(plays).await;
    write_or_check(&rows);
}
