//! A PostgreSQL that goes on running.

use std::time::Duration;

use seawall_drill::inject::postgres::{Server, Tablespace, connections, disk_full, lock, role};
use seawall_drill::inject::{Means, possible, process};
use seawall_drill::stack::Postgres;
use tokio::time::{Instant, timeout};

use super::psql::{psql, psql_as};
use super::{LONG, PATIENCE, able, closed, keeper, probed, undone};

#[tokio::test]
async fn tables_are_locked_and_logins_refused_and_a_stopped_server_hangs() {
    let keeper = keeper();
    possible(&keeper, Means::Postgres).await.expect("a PostgreSQL");
    let postgres = Postgres::start(&keeper, "postgres", &[])
        .await
        .expect("a PostgreSQL");
    let (at, server) = (postgres.address(), Server::from(&postgres));
    psql(at, "CREATE TABLE items (key int PRIMARY KEY)").await;
    psql(at, "CREATE TABLE \"odd \"\"name\" (key int)").await;

    let mut fault = lock(&server, &["items", "odd \"name"], LONG)
        .await
        .expect("a table");
    probed(&mut fault).await;
    let read = timeout(
        Duration::from_millis(300),
        psql(at, "SELECT * FROM \"odd \"\"name\""),
    )
    .await;
    assert!(read.is_err(), "a SELECT waits");
    undone(fault).await;
    assert_eq!(psql(at, "SELECT count(*) FROM items").await.0, "0");
    let error = lock(&server, &["nothing"], LONG)
        .await
        .expect_err("no such table");
    assert!(error.to_string().contains("does not lock"), "{error}");

    let error = connections(&server, &server, 1, LONG)
        .await
        .expect_err("a superuser");
    assert!(error.to_string().contains("superuser"), "{error}");
    let app = role(&server, "app", &[]).await.expect("a superuser");
    psql(at, "ALTER ROLE app CONNECTION LIMIT 50").await;
    let mut sessions = Vec::new();
    for number in 1..=3 {
        let sleep = format!("SELECT pg_sleep(60) /* {number} */");
        sessions.push(tokio::spawn(async move { psql_as("app", at, &sleep).await.0 }));
        let there = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
        while psql(at, there).await.0 != number.to_string() {}
    }
    let mut fault = connections(&server, &app, 2, LONG).await.expect("a role");
    let newest = sessions.pop().expect("the third").await.expect("psql");
    assert!(newest.contains("57P01"), "{newest}");
    let evidence = probed(&mut fault).await.to_string();
    assert!(evidence.contains("ended 1 above"), "{evidence}");
    let refused = psql_as("app", at, "SELECT 1").await.0;
    assert!(refused.contains("too many connections for role"), "{refused}");
    undone(fault).await;
    let limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'";
    assert_eq!(psql(at, limit).await.0, "50");
    assert_eq!(psql_as("app", at, "SELECT 1").await.0, "1");
    drop(sessions);

    let mut fault = process::stop(&keeper, &[(&postgres).into()], LONG)
        .await
        .expect("it runs");
    probed(&mut fault).await;
    undone(fault).await;
    let mut fault = process::kill_postgres(&keeper, &postgres, LONG)
        .await
        .expect("it runs");
    probed(&mut fault).await;
    undone(fault).await;
    assert_eq!(psql(at, "SELECT count(*) FROM items").await.0, "0");

    // Both are ended by the server itself when their time is over.
    let short = Duration::from_millis(600);
    let _lock = lock(&server, &["items"], short).await.expect("a table");
    let _limit = connections(&server, &app, 0, short).await.expect("a role");
    let begun = Instant::now();
    while psql(at, limit).await.0 != "50" {
        assert!(begun.elapsed() < PATIENCE, "a limit without end");
    }
    assert_eq!(psql(at, "SELECT count(*) FROM items").await.0, "0");
    closed(keeper);
}

#[tokio::test]
async fn rows_need_room_on_the_disk() {
    let keeper = keeper();
    if !able(&keeper, Means::Disk).await {
        return;
    }
    let postgres = Postgres::start(&keeper, "postgres", &[])
        .await
        .expect("a PostgreSQL");
    let at = postgres.address();
    let tablespace = Tablespace::prepare(&keeper, &postgres, 8 << 20)
        .await
        .expect("root");
    assert_eq!(
        psql(at, "CREATE TABLE items (value text)").await.0,
        "CREATE TABLE"
    );
    let row = "INSERT INTO items SELECT repeat(md5(i::text), 20) FROM generate_series(1, 100) AS i";
    assert_eq!(psql(at, row).await.0, "INSERT 0 100");
    let mut fault = disk_full(&keeper, &tablespace, LONG).await.expect("a small disk");
    probed(&mut fault).await;
    let said = psql(at, row).await.0;
    assert!(said.contains("53100"), "{said}");
    assert_eq!(
        psql(at, "SELECT count(*) FROM items").await.0,
        "100",
        "reads go on"
    );
    undone(fault).await;
    assert_eq!(psql(at, row).await.0, "INSERT 0 100");
    closed(keeper);
}
