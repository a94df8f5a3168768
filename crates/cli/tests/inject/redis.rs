//! A Redis that goes on running.

use std::time::Duration;

use seawall_drill::inject::disk::Small;
use seawall_drill::inject::process;
use seawall_drill::inject::redis::{
    Server, disk_full, loading, out_of_memory, pause, read_only, slow, too_many_clients,
};
use seawall_drill::inject::{Means, possible};
use seawall_drill::stack::Redis;
use tokio::time::Instant;

use super::{LONG, able, closed, heard, keeper, probed, redis, say, undone, until_it_says};

#[tokio::test]
async fn a_stopped_server_lets_in_and_says_nothing_and_a_killed_one_comes_back_empty() {
    let keeper = keeper();
    let (redis, _) = redis(&keeper, &[]).await;
    let at = redis.address();
    assert_eq!(say(at, "SET a 1"), "+OK");
    let mut fault = process::stop(&keeper, &[(&redis).into()], LONG)
        .await
        .expect("it runs");
    probed(&mut fault).await;
    assert_eq!(heard(at, "PING", Duration::from_millis(100)), None);
    undone(fault).await;
    assert_eq!(say(at, "GET a"), "$1\r\n1", "it goes on where it stopped");

    let before = redis.pid();
    let mut fault = process::kill_redis(&keeper, &redis, LONG).await.expect("it runs");
    let seen = probed(&mut fault).await.seen;
    assert!(seen.contains("refused"), "{seen}");
    undone(fault).await;
    assert_ne!(
        redis.pid(),
        before,
        "whoever else has the server knows of its new process"
    );
    assert_eq!(say(at, "DBSIZE"), ":0");
    closed(keeper);
}

#[tokio::test]
async fn writes_fail_for_want_of_memory_and_both_settings_come_back() {
    let keeper = keeper();
    let settings = [("maxmemory", "64mb"), ("maxmemory-policy", "allkeys-lru")];
    let (redis, server) = redis(&keeper, &settings).await;
    let at = redis.address();
    assert_eq!(say(at, "SET a 1"), "+OK");
    let mut fault = out_of_memory(&keeper, &server, LONG).await.expect("a Redis");
    let seen = probed(&mut fault).await.seen;
    assert!(seen.starts_with("SET is answered OOM"), "{seen}");
    assert!(say(at, "SET b 2").starts_with("-OOM"));
    assert_eq!(say(at, "GET a"), "$1\r\n1", "reads go on");
    undone(fault).await;
    assert_eq!(say(at, "SET b 2"), "+OK");
    assert!(say(at, "CONFIG GET maxmemory").contains("67108864"));
    assert!(say(at, "CONFIG GET maxmemory-policy").contains("allkeys-lru"));
    closed(keeper);
}

#[tokio::test]
async fn new_connections_are_turned_away_also_when_others_leave() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[("maxclients", "500")]).await;
    let at = redis.address();
    let leaving: Vec<_> = (0..10)
        .map(|_| std::net::TcpStream::connect(at).expect("a place"))
        .collect();
    let mut fault = too_many_clients(&keeper, &server, LONG).await.expect("a Redis");
    probed(&mut fault).await;
    drop(leaving);
    // The places of those that left are taken as well.
    until_it_says(at, "PING", "-ERR max number of clients").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    probed(&mut fault).await;
    undone(fault).await;
    assert_eq!(say(at, "PING"), "+PONG");
    assert!(say(at, "CONFIG GET maxclients").contains("500"));
    closed(keeper);
}

// The pauses are renewed while this test waits for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_answers_nobody_for_as_long_as_it_is_paused() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    let mut fault = pause(&server, LONG).await.expect("a Redis");
    probed(&mut fault).await;
    // Through all leases that were in line at first: there is no gap between them in which a call gets through.
    assert_eq!(heard(at, "PING", Duration::from_millis(2_500)), None);
    probed(&mut fault).await;
    undone(fault).await;
    assert_eq!(say(at, "PING"), "+PONG");
    closed(keeper);
}

#[tokio::test]
async fn calls_wait_while_the_thread_is_busy() {
    let keeper = keeper();
    let (_redis, server) = redis(&keeper, &[]).await;
    let burst = Duration::from_millis(40);
    let mut fault = slow(&server, 0.6, burst, LONG).await.expect("a Redis");
    probed(&mut fault).await;
    undone(fault).await;
    let error = slow(&server, 1.5, burst, LONG)
        .await
        .expect_err("more than there is");
    assert!(error.to_string().contains("1.5"), "{error}");
    closed(keeper);
}

#[tokio::test]
async fn a_server_loads_for_about_as_long_as_it_should_and_has_its_keys_then() {
    let keeper = keeper();
    possible(&keeper, Means::SlowLoading).await.expect("Redis 7");
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    for number in 0..50 {
        assert_eq!(say(at, &format!("SET key:{number} {number}")), "+OK");
    }
    let long = Duration::from_secs(2);
    let mut fault = loading(&keeper, &redis, &server, long).await.expect("Redis 7");
    let begun = Instant::now();
    probed(&mut fault).await;
    assert!(say(at, "GET key:7").starts_with("-LOADING"));
    until_it_says(at, "GET key:7", "$1\r\n7").await;
    let took = begun.elapsed();
    assert!(took > long / 2 && took < long * 2, "{took:?}");
    fault.probe().await.expect_err("it has loaded");
    undone(fault).await;
    assert_eq!(say(at, "DBSIZE"), ":50");
    assert!(!redis.folder().join("dump.rdb").exists());

    let mut fault = loading(&keeper, &redis, &server, LONG).await.expect("Redis 7");
    probed(&mut fault).await;
    let begun = Instant::now();
    undone(fault).await;
    assert!(begun.elapsed() < LONG / 10, "it ends when it is told to");
    assert_eq!(say(at, "GET key:7"), "$1\r\n7");
    closed(keeper);
}

#[tokio::test]
async fn a_replica_of_nobody_takes_no_writes() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    assert_eq!(say(at, "SET a 1"), "+OK");
    let mut fault = read_only(&keeper, &server, LONG).await.expect("a Redis");
    probed(&mut fault).await;
    assert!(say(at, "SET a 2").starts_with("-READONLY"));
    assert_eq!(say(at, "GET a"), "$1\r\n1");
    let twice = read_only(&keeper, &server, LONG).await.expect_err("it is one");
    assert!(twice.to_string().contains("is a slave"), "{twice}");
    undone(fault).await;
    assert_eq!(say(at, "SET a 2"), "+OK");
    closed(keeper);
}

#[tokio::test]
async fn a_full_disk_stops_writes_until_there_is_room() {
    let keeper = keeper();
    if !able(&keeper, Means::Disk).await {
        return;
    }
    let disk = Small::mount(&keeper, &keeper.folder().join("redis"), 4 << 20, &[])
        .await
        .expect("root");
    let redis = Redis::start(&keeper, "redis", &[("save", "3600 1")])
        .await
        .expect("a Redis");
    let (at, server) = (redis.address(), Server::at(redis.address()));
    assert_eq!(say(at, "SET a 1"), "+OK");
    let mut fault = disk_full(&keeper, &server, &disk, LONG)
        .await
        .expect("a small disk");
    probed(&mut fault).await;
    assert!(say(at, "SET a 2").starts_with("-MISCONF"));
    assert_eq!(say(at, "GET a"), "$1\r\n1");
    undone(fault).await;
    assert_eq!(say(at, "SET a 2"), "+OK");

    let elsewhere = Redis::start(&keeper, "other", &[("save", "3600 1")])
        .await
        .expect("a Redis");
    let server = Server::at(elsewhere.address());
    let error = disk_full(&keeper, &server, &disk, LONG)
        .await
        .expect_err("another disk");
    assert!(error.to_string().contains("not the small disk"), "{error}");
    closed(keeper);
}

#[tokio::test]
async fn a_server_with_a_password_is_broken_and_mended_and_never_tells_it() {
    let keeper = keeper();
    let redis = Redis::start(&keeper, "redis", &[("requirepass", "open-sesame")])
        .await
        .expect("a Redis");
    let bare = Server::at(redis.address());
    let error = out_of_memory(&keeper, &bare, LONG)
        .await
        .expect_err("no password");
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    let wrong = bare.clone().with_login(vec!["close-sesame".into()]);
    let error = out_of_memory(&keeper, &wrong, LONG)
        .await
        .expect_err("a wrong one");
    assert!(
        error.to_string().contains("WRONGPASS") && !format!("{error:?} {wrong:?}").contains("sesame"),
        "{error:?}"
    );
    let server = bare.with_login(vec!["open-sesame".into()]);
    let mut full = out_of_memory(&keeper, &server, LONG).await.expect("a Redis");
    probed(&mut full).await;
    undone(full).await;
    let mut crowded = too_many_clients(&keeper, &server, LONG).await.expect("a Redis");
    probed(&mut crowded).await;
    undone(crowded).await;
    let made = std::fs::read_to_string(keeper.folder().join("made")).expect("the notes");
    assert!(!made.contains("sesame"), "{made}");
    closed(keeper);
}
