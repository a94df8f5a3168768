//! An audit of real servers.

use std::time::Duration;

use seawall_diagnose::audit::{Facts, Reading, audit, json};
use seawall_diagnose::probe::{Target, Why};

use super::support::postgres::PostgresServer;
use super::support::redis::RedisServer;

const READING: Reading = Reading {
    patience: Duration::from_secs(5),
    keys_max: 500,
    window: Duration::from_millis(300),
};

fn targets(urls: &[&str]) -> Vec<Target> {
    urls.iter().map(|url| url.parse().unwrap()).collect()
}

#[tokio::test]
async fn what_is_wrong_on_real_servers_is_found_and_the_mend_mends_it() {
    let cache = RedisServer::start(&[
        "--maxmemory",
        "50mb",
        "--requirepass",
        "hushhush",
        "--tcp-keepalive",
        "0",
    ]);
    let url = format!("redis://:hushhush@127.0.0.1:{}", cache.port);
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    for index in 0..200 {
        redis::cmd("SET")
            .arg(format!("page:{index}"))
            .arg("v")
            .arg("EX")
            .arg(60)
            .exec(&mut connection)
            .unwrap();
    }
    let database = PostgresServer::start(&["max_connections=20"]);
    let targets = targets(&[&url, &database.url()]);
    let facts = Facts::read(&targets, READING).await.unwrap();
    let before = audit(&facts);
    let ids: Vec<&str> = before.checks.iter().map(|check| check.id).collect();
    for expected in [
        "redis-noeviction",
        "redis-clustered-expiry",
        "redis-tcp-keepalive-off",
        "redis-no-replica",
        "postgres-statement-timeout-off",
    ] {
        assert!(ids.contains(&expected), "{expected} is not in {ids:?}");
    }
    for unexpected in [
        "redis-open",
        "redis-maxmemory-unset",
        "redis-keys-without-ttl",
        "postgres-connections-near-limit",
    ] {
        assert!(!ids.contains(&unexpected), "{unexpected} is in {ids:?}");
    }
    let told = json(&before).to_string();
    assert!(!told.contains("hushhush"), "{told}");

    // What is proposed is carried out as it is written, but for what rewrites a file.
    for check in before
        .checks
        .iter()
        .filter(|check| check.target.starts_with("redis"))
    {
        for line in check.mend.iter().filter(|line| line.contains("CONFIG SET")) {
            let done = std::process::Command::new("sh")
                .args(["-c", line])
                .env("REDISCLI_AUTH", "hushhush")
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "OK", "{line}");
        }
    }
    let client = sqlx::postgres::PgPoolOptions::new()
        .connect(&database.url())
        .await
        .unwrap();
    sqlx::query("ALTER DATABASE postgres SET statement_timeout = '5s'")
        .execute(&client)
        .await
        .unwrap();
    let after = audit(&Facts::read(&targets, READING).await.unwrap());
    for mended in [
        "redis-noeviction",
        "redis-tcp-keepalive-off",
        "postgres-statement-timeout-off",
    ] {
        assert!(
            !after.checks.iter().any(|check| check.id == mended),
            "{mended} is still found"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_says_where_and_why() {
    let cache = RedisServer::start(&["--requirepass", "right"]);
    let quick = Reading {
        patience: Duration::from_millis(500),
        ..READING
    };
    for (url, why) in [
        (format!("redis://:hushhush@127.0.0.1:{}", cache.port), Why::NoAuth),
        ("redis://:hushhush@127.0.0.1:1".to_owned(), Why::Refused),
        (
            format!(
                "postgres://app:hushhush@127.0.0.1:{}/x?sslmode=disable",
                cache.port
            ),
            Why::TimedOut,
        ),
        ("http://app:hushhush@127.0.0.1:1".to_owned(), Why::Error),
    ] {
        let unread = Facts::read(&targets(&[&url]), quick).await.unwrap_err();
        // A Redis that hears PostgreSQL waits for more, or hangs up.
        let hung_up =
            matches!(unread.fault.why, Why::Closed | Why::Reset | Why::Garbage) && why == Why::TimedOut;
        assert!(unread.fault.why == why || hung_up, "{unread}");
        assert!(!unread.to_string().contains("hushhush"), "{unread}");
    }
}
