//! The pool: what errors mean, and what happens to queries that nobody waits for.

use std::time::Duration;

use seawall::origins::sqlx::{self, Connection, PgConnection, Row};
use seawall::origins::{Pool, PoolSettings, Postgres, Replicas};
use seawall::{LoadError, Loaded, Origin, OriginFault};
use tokio::time::{Instant, sleep, timeout};

use crate::support::free_port;
use crate::support::postgres::PostgresServer;
use crate::world::{fill, truth};

fn pool(server: &PostgresServer, change: impl FnOnce(&mut PoolSettings)) -> Pool<Postgres> {
    let mut settings = PoolSettings::default();
    change(&mut settings);
    Pool::new(&server.url(), settings).expect("the URL is one")
}

/// How many queries run at the server that have this text in them.
async fn running(other: &mut PgConnection, text: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() \
                 AND query LIKE '%' || $1 || '%'";
    let row = sqlx::query(count).bind(text.to_owned()).fetch_one(other).await;
    row.and_then(|row| row.try_get(0)).expect("it counts")
}

async fn until_running(other: &mut PgConnection, text: &str, wanted: i64) -> Duration {
    let began = Instant::now();
    while running(other, text).await != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{text}: never {wanted}"
        );
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

fn fault<T>(result: Result<T, LoadError>) -> (OriginFault, Option<String>) {
    let error = result.err().expect("it fails");
    let code = match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    };
    (error.fault(), code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_stops_what_nobody_waits_for() {
    let server = PostgresServer::start(&[]);
    let mut other = PgConnection::connect(&server.url()).await.expect("it is there");
    let one = pool(&server, |settings| {
        settings.connections = 1;
        settings.statement = Duration::from_secs(30);
        settings.lock = Duration::from_secs(30);
    });
    fill(&one).await;

    // A query, and a wait for a lock.
    let mut locker = PgConnection::connect(&server.url()).await.expect("there is room");
    let mut lock = locker.begin().await.expect("it begins");
    let statement = sqlx::query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
    statement.execute(&mut *lock).await.expect("nobody holds it");
    for query in ["SELECT pg_sleep(25)", "SELECT value FROM items WHERE id = 25"] {
        let call = tokio::spawn({
            let one = one.clone();
            async move { one.fetch(sqlx::query(query)).await }
        });
        until_running(&mut other, query, 1).await;
        assert_eq!(one.active(), 1);
        call.abort();
        assert!(call.await.is_err(), "it was dropped");
        // The next caller does not wait for it, and the server does not work on it.
        let row = timeout(Duration::from_secs(2), one.fetch(sqlx::query("SELECT 1"))).await;
        assert!(row.is_ok_and(|row| row.is_ok_and(|row| row.is_some())), "{query}");
        let took = until_running(&mut other, query, 0).await;
        assert!(took < Duration::from_secs(2), "{query}: it went on for {took:?}");
        assert_eq!(one.active(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_error_is_told_for_what_it_is() {
    let server = PostgresServer::start(&["max_connections=5"]);
    let pool = pool(&server, |settings| {
        settings.connections = 3;
        settings.acquire = Duration::from_millis(50);
        settings.statement = Duration::from_millis(200);
        settings.lock = Duration::from_millis(100);
    });
    fill(&pool).await;
    let told = |code: &str, fault| (fault, Some(code.to_owned()));

    let slow = pool.fetch(sqlx::query("SELECT pg_sleep(5)")).await;
    assert_eq!(fault(slow), told("57014", OriginFault::TimedOut));
    let wrong = pool.fetch(sqlx::query("SELECT nothing FROM nowhere")).await;
    assert_eq!(fault(wrong), told("42P01", OriginFault::Error));

    let mut other = PgConnection::connect(&server.url()).await.expect("there is room");
    let mut lock = other.begin().await.expect("it begins");
    let statement = sqlx::query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
    statement.execute(&mut *lock).await.expect("nobody holds it");
    let locked = pool.fetch(sqlx::query("SELECT value FROM items")).await;
    assert_eq!(fault(locked), told("55P03", OriginFault::TimedOut));
    drop(lock);
    other.close().await.expect("it goes");

    // A connection on which only a statement failed is kept.
    let id = || pool.fetch(sqlx::query("SELECT pg_backend_pid()"));
    let pid = |row: Option<sqlx::postgres::PgRow>| row.map(|row| row.get::<i32, _>(0));
    let (first, second) = (id().await.map(pid), id().await.map(pid));
    assert_eq!(first.expect("it answers"), second.expect("it answers"));

    // All of the pool's connections are in use.
    let sleeps = || pool.fetch(sqlx::query("SELECT pg_sleep(0.15)"));
    let (one, two, three, four) = tokio::join!(sleeps(), sleeps(), sleeps(), async {
        sleep(Duration::from_millis(20)).await;
        sleeps().await
    });
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(fault(four), (OriginFault::Overloaded, None));

    // It only reads, as after a failover; the connection is not kept, because it goes to the wrong server.
    let before = id().await.map(pid).expect("it answers");
    let only = pool
        .execute(sqlx::query("SET default_transaction_read_only = on"))
        .await;
    assert!(only.is_ok());
    let write = pool
        .execute(sqlx::query("INSERT INTO items VALUES (1000, 'a')"))
        .await;
    assert_eq!(fault(write), told("25006", OriginFault::Error));
    assert_ne!(id().await.map(pid).expect("it answers"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_told_at_once_and_found_again_when_it_is_back() {
    let mut server = PostgresServer::start(&[]);
    let pool = pool(&server, |_| ());
    fill(&pool).await;
    tokio::task::block_in_place(|| server.kill());
    for _ in 0..3 {
        let began = Instant::now();
        let (fault, _) = fault(pool.fetch(sqlx::query("SELECT 1")).await);
        assert_eq!(fault, OriginFault::Refused);
        // It is not tried again in here, as sqlx's own pool would until the caller's time is over.
        assert!(
            began.elapsed() < Duration::from_millis(200),
            "{:?}",
            began.elapsed()
        );
    }
    tokio::task::block_in_place(|| server.restart());
    assert!(
        pool.fetch(sqlx::query("SELECT 1")).await.is_ok(),
        "the first call is answered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_while_a_replica_is_dead() {
    let server = PostgresServer::start(&[]);
    let alive = pool(&server, |_| ());
    fill(&alive).await;
    let url = format!("postgres://app@127.0.0.1:{}/postgres", free_port());
    let dead = Pool::<Postgres>::new(&url, PoolSettings::default()).expect("the URL is one");
    let origin = Replicas::new([dead, alive]).origin(
        |key: &i64| sqlx::query("SELECT value FROM items WHERE id = $1").bind(*key),
        |row| row.try_get::<String, _>("value"),
    );
    let mut failed = 0;
    for key in 0..100 {
        let loaded: Result<Loaded<String>, LoadError> = origin.load(&key).await;
        match loaded {
            Ok(loaded) => assert!(format!("{loaded:?}").contains(&truth(key))),
            Err(_) => failed += 1,
        }
    }
    assert!(
        (1..=10).contains(&failed),
        "{failed} of 100 went to the dead one before it was left out"
    );
}
