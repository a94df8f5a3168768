//! A real PostgreSQL, well and in trouble.

use seawall_core::record::Metric;
use seawall_diagnose::probe::Sample;
use sqlx::{Connection, Executor, PgConnection};

use super::support::postgres::PostgresServer;
use super::{failures, prober, round, went_well};

const PATIENCE: u64 = 2_000;

fn value(sample: &Sample, metric: Metric) -> f64 {
    sample.value(metric, "postgres").unwrap_or(f64::NAN)
}

async fn session(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

#[tokio::test]
async fn what_goes_on_is_counted_without_repeating_it() {
    let server = PostgresServer::start(&[]);
    let mut prober = prober(&[&server.url()], PATIENCE);
    let first = round(&mut prober, PATIENCE).await;
    assert_eq!(failures(&first), [""; 0]);
    assert!(went_well(&first, "connect") && went_well(&first, "query"));
    assert!((value(&first, Metric::OriginConnectionsLimit) - 97.0).abs() < 1e-9);

    let mut owner = session(&server.url()).await;
    owner
        .execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    owner.execute("BEGIN").await.unwrap();
    owner.execute("LOCK TABLE t").await.unwrap();
    let waiting: Vec<_> = (1..=3)
        .map(|id| {
            let url = server.url();
            tokio::spawn(async move {
                let query: &'static str = [
                    "",
                    "SELECT 1 FROM t WHERE id = 1",
                    "SELECT 1 FROM t WHERE id = 2",
                    "SELECT 1 FROM t WHERE id = 3",
                ][id];
                session(&url).await.execute(query).await.map(|_| ())
            })
        })
        .collect();
    let mut sample = round(&mut prober, PATIENCE).await;
    for _ in 0..100 {
        if value(&sample, Metric::OriginLockWaits) >= 3.0 {
            break;
        }
        sample = round(&mut prober, PATIENCE).await;
    }
    assert!((value(&sample, Metric::OriginLockWaits) - 3.0).abs() < 1e-9);
    assert!(
        (value(&sample, Metric::OriginIdentical) - 3.0).abs() < 1e-9,
        "they differ in a number only"
    );
    assert!((value(&sample, Metric::OriginInFlight) - 3.0).abs() < 1e-9);
    assert!((value(&sample, Metric::OriginConnections) - 4.0).abs() < 1e-9);
    assert!(!format!("{sample:?}").contains("SELECT"));
    owner.execute("COMMIT").await.unwrap();
    for each in waiting {
        each.await.unwrap().unwrap();
    }

    // Look-ups of what is not there. A session tells what it counted when it ends, at the latest.
    let mut asker = session(&server.url()).await;
    for _ in 0..50 {
        asker.execute("SELECT 1 FROM t WHERE id = -1").await.unwrap();
    }
    asker.close().await.unwrap();
    let (mut empty, mut requests) = (0.0, 0.0);
    for _ in 0..100 {
        let sample = round(&mut prober, PATIENCE).await;
        empty += value(&sample, Metric::OriginEmpty);
        requests += value(&sample, Metric::OriginRequests);
        if empty >= 50.0 && requests >= 50.0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{empty} of 50 empty look-ups were seen, and {requests} requests");
}

#[tokio::test]
async fn without_room_for_more_we_are_told_so_and_still_see_why() {
    let server = PostgresServer::start(&["max_connections=8", "superuser_reserved_connections=3"]);
    let mut owner = session(&server.url()).await;
    owner
        .execute("CREATE ROLE plain LOGIN; GRANT pg_monitor TO plain")
        .await
        .unwrap();
    let url = server.url().replace("app@", "plain:hushhush@");
    let mut prober = prober(&[&url], PATIENCE);
    assert_eq!(failures(&round(&mut prober, PATIENCE).await), [""; 0]);
    let mut crowd = Vec::new();
    while let Ok(one) = PgConnection::connect(&url).await {
        crowd.push(one);
    }
    let full = round(&mut prober, PATIENCE).await;
    assert_eq!(failures(&full), ["connect_too_many_clients"]);
    assert!(value(&full, Metric::OriginConnections) >= value(&full, Metric::OriginConnectionsLimit) - 1.0);
    assert!(!format!("{full:?}").contains("hushhush"));
}

#[tokio::test]
async fn strangers_hung_and_dead_servers_are_told_apart() {
    let mut server = PostgresServer::start(&[]);
    let stranger = server.url().replace("app@", "nobody:hushhush@");
    let mut of_stranger = prober(&[&stranger], PATIENCE);
    let sample = round(&mut of_stranger, PATIENCE).await;
    assert_eq!(failures(&sample), ["connect_no_auth"]);
    assert!(!format!("{sample:?}").contains("hushhush"));

    let mut prober = prober(&[&server.url()], 500);
    let _ = round(&mut prober, 500).await;
    server.stop();
    let hung = round(&mut prober, 500).await;
    assert_eq!(failures(&hung), ["connect_timed_out", "query_timed_out"]);
    server.go_on();
    server.kill();
    assert_eq!(failures(&round(&mut prober, 500).await), ["connect_refused"]);
}
