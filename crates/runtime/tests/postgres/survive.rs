//! Each fault, with protection and without: no wrong answer, no call beyond its deadline, bounded lines, recovery without
//! a restart; and what it looked like, in `docs/survive.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall::OriginFault;
use seawall::origins::sqlx::{self, Connection, PgConnection};
use seawall::origins::{Pool, PoolSettings, Postgres};

use crate::support::postgres::PostgresServer;
use crate::world::{DEADLINE, LINE, PLACES, Seen, World, fill, protected, unprotected};

/// All is well for so long, then comes the fault, and it is lifted while calls still come.
const BEFORE: Duration = Duration::from_millis(700);
const LASTS: Duration = Duration::from_millis(1_800);
/// What a busy machine may add to a deadline.
const MARGIN: Duration = Duration::from_millis(400);
const RECOVERY: Duration = Duration::from_secs(20);
/// Of the server, ours and all others together.
const CONNECTIONS: usize = 14;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Refused,
    Hung,
    Full,
    Locked,
}

impl Fault {
    const ALL: [Fault; 4] = [Fault::Refused, Fault::Hung, Fault::Full, Fault::Locked];

    fn name(self) -> &'static str {
        match self {
            Fault::Refused => "refused: killed, and started again later",
            Fault::Hung => "hung (SIGSTOP)",
            Fault::Full => "out of connections",
            Fault::Locked => "locked (`LOCK TABLE`)",
        }
    }

    /// What loads are told, which proves that it took effect.
    fn proof(self) -> OriginFault {
        match self {
            Fault::Refused => OriginFault::Refused,
            Fault::Hung | Fault::Locked => OriginFault::TimedOut,
            Fault::Full => OriginFault::Overloaded,
        }
    }

    async fn happen(self, server: &mut PostgresServer) {
        match self {
            Fault::Refused => {
                tokio::task::block_in_place(|| server.kill());
                tokio::time::sleep(LASTS).await;
                tokio::task::block_in_place(|| server.restart());
            }
            Fault::Hung => {
                server.stop();
                tokio::time::sleep(LASTS).await;
                server.go_on();
            }
            Fault::Full => {
                let hogs = take_all(&server.url()).await;
                tokio::time::sleep(LASTS).await;
                drop(hogs);
            }
            Fault::Locked => {
                let mut other = PgConnection::connect(&server.url()).await.expect("there is room");
                let mut lock = other.begin().await.expect("it begins");
                let statement = sqlx::query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
                statement
                    .execute(&mut *lock)
                    .await
                    .expect("nobody holds it for long");
                tokio::time::sleep(LASTS).await;
            }
        }
    }
}

/// Takes every connection, those of others included.
async fn take_all(url: &str) -> Vec<PgConnection> {
    let mut hogs: Vec<PgConnection> = Vec::new();
    while hogs.len() < CONNECTIONS {
        match PgConnection::connect(&format!("{url}&application_name=hog")).await {
            Ok(hog) => hogs.push(hog),
            Err(_) if hogs.is_empty() => {}
            Err(_) => {
                let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                              WHERE backend_type = 'client backend' AND application_name <> 'hog'";
                let ended = sqlx::query(others).execute(&mut hogs[0]).await;
                ended.expect("it is allowed to");
            }
        }
    }
    hogs
}

fn server() -> PostgresServer {
    let setting = format!("max_connections={CONNECTIONS}");
    tokio::task::block_in_place(|| PostgresServer::start(&[&setting]))
}

async fn play(fault: Fault, mut server: PostgresServer, protects: bool) -> Seen {
    let name = fault.name();
    let pool = Pool::<Postgres>::new(&server.url(), PoolSettings::default()).expect("the URL is one");
    fill(&pool).await;
    drop(pool);

    let world = World::new(&server.url(), if protects { protected() } else { unprotected() });
    let calm = Arc::clone(&world).run(BEFORE).await;
    assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all was well before");

    let calls = tokio::spawn(Arc::clone(&world).run(LASTS));
    fault.happen(&mut server).await;
    let seen = calls.await.expect("no call panics");
    let stats = world.stats();
    assert_eq!(seen.wrong, 0, "{name}: no wrong answer");
    if protects {
        assert!(world.told(fault.proof()) > 0, "{name}: it took effect: {stats:?}");
        assert!(
            seen.max <= DEADLINE + MARGIN,
            "{name}: a call took {:?}",
            seen.max
        );
        assert!(seen.present_max <= PLACES, "{name}: {seen:?}");
        assert!(
            stats.queued <= LINE && stats.in_flight <= PLACES,
            "{name}: {stats:?}"
        );
    }
    if protects {
        let recovered = world.recovers(RECOVERY).await;
        assert!(recovered.is_some(), "{name}: it recovers: {:?}", world.stats());
        let calm = Arc::clone(&world).run(BEFORE).await;
        assert_eq!((calm.refused, calm.wrong), (0, 0), "{name}: all is well again");
    }
    seen
}

fn table(rows: &[(Fault, Seen, Seen)]) -> String {
    let ms = |span: Duration| {
        let ms = span.as_secs_f64() * 1e3;
        let step = if ms < 10.0 { 1.0 } else { 50.0 };
        format!("{:.0} ms", (ms / step).ceil() * step)
    };
    let share = |seen: &Seen| 100 * seen.answered / (seen.answered + seen.refused + seen.wrong).max(1);
    let mut table = String::from(
        "| fault | p99 without | p99 with | answered without | answered with | loads at a time without | with |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (fault, without, with) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} | {} | {} | {}% | {}% | {} | {} |",
            fault.name(),
            ms(without.p99),
            ms(with.p99),
            share(without),
            share(with),
            without.present_max,
            with.present_max,
        );
    }
    table
}

const BEGIN: &str = "<!-- postgres: begin -->\n";
const END: &str = "<!-- postgres: end -->\n";

/// The numbers are of the machine that wrote them; the faults have to be these.
fn write_or_check(rows: &[(Fault, Seen, Seen)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/survive.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (old, after) = rest.split_once(END).expect("the place ends");
    let table = table(rows);
    #[expect(clippy::print_stderr, reason = "whoever runs it wants to see it")]
    {
        eprintln!("{table}");
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the page is writable");
        return;
    }
    let names = |table: &str| -> Vec<String> {
        let rows = table.lines().filter_map(|line| line.split('|').nth(1));
        rows.map(|name| name.trim().to_owned()).collect()
    };
    assert_eq!(
        names(old),
        names(&table),
        "docs/survive.md is stale: run this test with UPDATE=1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_survived() {
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        // Side by side, each with a server of its own. Servers belong to the thread that starts them.
        let servers = (server(), server());
        let (without, with) = tokio::join!(play(fault, servers.0, false), play(fault, servers.1, true));
        rows.push((fault, without, with));
    }
    for (fault, without, with) in &rows {
        let name = fault.name();
        // Whoever is not protected either waits for the fault's end or hears of it; memory answers the protected.
        assert!(
            with.answered > without.answered || without.p99 > 2 * with.p99,
            "{name}: {without:?} {with:?}"
        );
        assert_eq!(
            with.refused, 0,
            "{name}: what is known goes on being answered: {with:?}"
        );
    }
    write_or_check(&rows);
}
