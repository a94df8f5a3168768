//! What goes wrong is told as the fact that it is, at once or in time, and is over when it is over.

use std::time::Duration;

use seawall::redis::Redis;
use seawall::{CacheFault, Store};
use tokio::time::Instant;

use crate::store::{LIMIT, address, open, sealed, version};
use crate::support::free_port;
use crate::support::proxy::Proxy;
use crate::support::redis::RedisServer;

async fn put(store: &Redis) -> Result<(), CacheFault> {
    store.put(0, &address(1), sealed(1, None), LIMIT).await
}

/// Waits until the store serves again, by itself.
async fn recovers(store: &Redis) {
    let began = Instant::now();
    while version(store, 1).await.is_err() {
        assert!(began.elapsed() < LIMIT, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_listens() {
    let store = open(&format!("redis://127.0.0.1:{}", free_port()));
    let began = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(version(&store, 1).await, Err(CacheFault::Refused));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "each at once");
}

#[tokio::test]
async fn a_killed_server_breaks_connections_and_comes_back_empty() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server.url());
    assert_eq!(put(&store).await, Ok(()));
    server.kill();
    for _ in 0..10 {
        let fault = version(&store, 1).await;
        assert!(
            matches!(fault, Err(CacheFault::Reset | CacheFault::Refused)),
            "{fault:?}"
        );
    }
    server.restart(&[]);
    recovers(&store).await;
    assert_eq!(version(&store, 1).await, Ok(None));
}

#[tokio::test]
async fn a_stopped_server_costs_what_it_was_given() {
    let server = RedisServer::start(&[]);
    let store = Redis::url(&server.url()).expect("it is a URL").connections(1);
    let store = store.build().expect("it can be built");
    assert_eq!(put(&store).await, Ok(()));
    server.stop();
    let began = Instant::now();
    let calls = (0..200).map(|_| async { store.get(0, &address(1), Duration::from_millis(50)).await });
    for result in futures_util::future::join_all(calls).await {
        assert_eq!(result, Err(CacheFault::TimedOut));
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "no call waits for another"
    );
    server.go_on();
    recovers(&store).await;
    assert_eq!(version(&store, 1).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_slow_road_is_no_reason_to_wait_longer() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::before(server.port).await;
    proxy.delay(Duration::from_millis(150));
    let store = open(&format!("redis://127.0.0.1:{}", proxy.port));
    let began = Instant::now();
    let hasty = store.get(0, &address(1), Duration::from_millis(100)).await;
    assert_eq!(hasty, Err(CacheFault::TimedOut));
    assert!(began.elapsed() < Duration::from_millis(250));
    // The connection was opened all the same, though nobody had the time to wait for it.
    assert_eq!(put(&store).await, Ok(()));
    assert_eq!(version(&store, 1).await, Ok(Some(1)));
}

#[tokio::test]
async fn no_room_is_a_fact_about_writes() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let store = open(&server.url());
    assert_eq!(put(&store).await, Ok(()));
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(put(&store).await, Err(CacheFault::OutOfMemory));
    let lease = store.lease(0, &address(1), LIMIT, LIMIT).await;
    assert_eq!(lease, Err(CacheFault::OutOfMemory));
    assert_eq!(version(&store, 1).await, Ok(Some(1)), "reads go on");
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(put(&store).await, Ok(()));
}

#[tokio::test]
async fn no_place_is_told_apart_from_a_broken_connection() {
    let server = RedisServer::start(&["--maxclients", "1"]);
    let client = redis::Client::open(server.url()).expect("it is a URL");
    let guest = client.get_connection().expect("there is one place");
    let store = open(&server.url());
    assert_eq!(version(&store, 1).await, Err(CacheFault::TooManyClients));
    assert_eq!(version(&store, 1).await, Err(CacheFault::TooManyClients));
    drop(guest);
    // The store has two connections, of which one finds a place.
    let began = Instant::now();
    while version(&store, 1).await != Ok(None) {
        assert!(began.elapsed() < LIMIT, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_loads_its_data_says_so() {
    let mut server = RedisServer::start(&[]);
    for number in 0..200 {
        server.tell(&["SET", &format!("filler:{number}"), &"x".repeat(2_000)]);
    }
    let store = open(&server.url());
    assert_eq!(put(&store).await, Ok(()));
    server.tell(&["CONFIG", "SET", "rdbcompression", "no"]);
    server.tell(&["SAVE"]);
    server.restart(&[
        "--key-load-delay",
        "20000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let mut said_so = false;
    let began = Instant::now();
    loop {
        match version(&store, 1).await {
            Err(CacheFault::Loading) => said_so = true,
            Ok(Some(1)) => break,
            // The connection of before.
            Err(CacheFault::Reset) if !said_so => {}
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < 2 * LIMIT, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(said_so);
}

#[tokio::test]
async fn a_replica_takes_no_writes() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    assert_eq!(put(&store).await, Ok(()));
    server.tell(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    assert_eq!(put(&store).await, Err(CacheFault::ReadOnly));
    assert_eq!(version(&store, 1).await, Ok(Some(1)), "reads go on");
    server.tell(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    assert_eq!(version(&store, 1).await, Err(CacheFault::Unavailable));
    server.tell(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(put(&store).await, Ok(()));
}

#[tokio::test]
async fn another_type_is_not_a_value() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    server.tell(&["RPUSH", "users:1", "a"]);
    assert_eq!(version(&store, 1).await, Err(CacheFault::WrongType));
}

#[tokio::test]
async fn whom_the_server_does_not_know_is_told_so() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    assert_eq!(put(&store).await, Ok(()));
    server.tell(&["CONFIG", "SET", "requirepass", "hunter2"]);
    let nobody = open(&server.url());
    assert_eq!(version(&nobody, 1).await, Err(CacheFault::NoAuth));
    let login = |words: &str| open(&format!("redis://:{words}@127.0.0.1:{}", server.port));
    assert_eq!(version(&login("wrong"), 1).await, Err(CacheFault::NoAuth));
    assert_eq!(version(&login("hunter2"), 1).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_node_that_has_not_the_slot_says_where_it_is() {
    let bus = free_port().to_string();
    let server = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let store = open(&server.url());
    assert_eq!(
        version(&store, 1).await,
        Err(CacheFault::Unavailable),
        "no slot has a node"
    );
}
