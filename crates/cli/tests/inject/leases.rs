//! Faults that nobody takes back.

use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_drill::inject::Means;
use seawall_drill::inject::cgroup::{Cgroups, Controller};
use seawall_drill::inject::process;
use seawall_drill::inject::redis::{out_of_memory, pause, read_only, too_many_clients, wrong_type};

use super::{able, closed, keeper, probed, redis, say, undone, until_it_says};

const SHORT: Duration = Duration::from_millis(700);

#[tokio::test]
async fn each_ends_when_its_time_is_over() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    assert_eq!(say(at, "SET a 1"), "+OK");

    let mut full = out_of_memory(&keeper, &server, SHORT).await.expect("a Redis");
    probed(&mut full).await;
    until_it_says(at, "SET b 1", "+OK").await;
    full.probe().await.expect_err("it is over");
    // Who takes it back afterwards finds it done.
    undone(full).await;

    let mut replica = read_only(&keeper, &server, SHORT).await.expect("a Redis");
    probed(&mut replica).await;
    until_it_says(at, "SET b 1", "+OK").await;

    let mut paused = pause(&server, SHORT).await.expect("a Redis");
    probed(&mut paused).await;
    until_it_says(at, "PING", "+PONG").await;

    let mut lists = wrong_type(&keeper, &server, 1.0, Seed(1), SHORT)
        .await
        .expect("a Redis");
    probed(&mut lists).await;
    until_it_says(at, "EXISTS a", ":0").await;
    assert_eq!(say(at, "DBSIZE"), ":0");

    let mut stopped = process::stop(&keeper, &[(&redis).into()], SHORT)
        .await
        .expect("it runs");
    probed(&mut stopped).await;
    until_it_says(at, "PING", "+PONG").await;

    // The keeper is inside before the places are taken, and needs nobody to let it in.
    let mut crowded = too_many_clients(&keeper, &server, SHORT).await.expect("a Redis");
    probed(&mut crowded).await;
    until_it_says(at, "PING", "+PONG").await;
    undone(crowded).await;

    let killed = process::kill_redis(&keeper, &redis, SHORT)
        .await
        .expect("it runs");
    let before = redis.pid();
    while redis.pid() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    undone(killed).await;

    if able(&keeper, Means::Processor).await {
        let group = Cgroups::of_this_machine()
            .group(&keeper, Controller::Processor, "leases")
            .await
            .expect("root");
        let limit = || {
            ["cpu.cfs_quota_us", "cpu.max"].map(|file| std::fs::read_to_string(group.path().join(file)).ok())
        };
        let before = limit();
        let _throttled = group.throttle(0.5, SHORT).await.expect("root");
        assert_ne!(limit(), before);
        while limit() != before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    drop((replica, paused, lists, stopped));
    closed(keeper);
}

#[tokio::test]
async fn a_keeper_gets_in_where_nobody_is_let_in() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[("maxclients", "100")]).await;
    let at = redis.address();
    let fault = too_many_clients(&keeper, &server, Duration::from_millis(500))
        .await
        .expect("a Redis");
    // All places stay taken by somebody who does not leave when the time is over.
    let mut held = Vec::new();
    until_it_says(at, "PING", "-ERR max number").await;
    while !super::heard(at, "PING", SHORT).is_some_and(|said| said.starts_with("+PONG")) {
        held.push(std::net::TcpStream::connect(at).expect("a Redis"));
        assert!(held.len() < 5_000, "a lease without end");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    undone(fault).await;
    assert!(say(at, "CONFIG GET maxclients").contains("100"));
    closed(keeper);
}
