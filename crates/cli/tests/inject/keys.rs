//! Keys of a Redis that go, or are not right any more.

use std::net::SocketAddr;
use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_drill::inject::redis::{corrupt, expire, expire_at, flush, wrong_type};

use super::{LONG, closed, keeper, probed, redis, say, undone};

const KEYS: usize = 2_000;

/// Fills a Redis with keys of 60 characters that live for an hour.
fn filled(at: SocketAddr) {
    let script =
        "for i=1,2000 do redis.call('SET','key:'..i,string.rep(string.char(97+i%26),60),'EX',3600) end";
    assert_eq!(say(at, &format!("EVAL \"{script}\" 0")), "$-1");
}

fn keys(at: SocketAddr) -> usize {
    let said = say(at, "DBSIZE");
    said.trim_start_matches(':').parse().expect("a number")
}

/// How many keys hold, in the words of a script about `k`.
fn hold(at: SocketAddr, what: &str) -> usize {
    let script = format!(
        "local n=0 for i=1,2000 do local k='key:'..i local v=string.rep(string.char(97+i%26),60) if {what} then n=n+1 end end return n"
    );
    let said = say(at, &format!("EVAL \"{script}\" 0"));
    said.trim_start_matches(':').parse().expect(&said)
}

#[tokio::test]
async fn a_share_of_the_keys_expires_at_once_and_a_flush_takes_all() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    filled(at);
    let mut fault = expire(&server, 0.5, Seed(1)).await.expect("a Redis");
    probed(&mut fault).await;
    undone(fault).await;
    let left = keys(at);
    assert!((800..1_200).contains(&left), "{left}");
    filled(at);
    expire(&server, 0.5, Seed(1)).await.expect("a Redis");
    assert_eq!(keys(at), left, "the same keys for the same seed");
    let mut fault = flush(&server).await.expect("a Redis");
    probed(&mut fault).await;
    assert_eq!(keys(at), 0);
    let mut none = flush(&server).await.expect("a Redis");
    none.probe().await.expect_err("there was nothing to flush");
    closed(keeper);
}

#[tokio::test]
async fn keys_expire_together_at_their_instant_and_not_before() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    filled(at);
    let mut fault = expire_at(&server, 1.0, Seed(1), Duration::from_millis(700))
        .await
        .expect("a Redis");
    assert_eq!(hold(at, "redis.call('GET',k)==v"), KEYS);
    let evidence = probed(&mut fault).await;
    assert!(evidence.seen.starts_with("1000 of 1000"), "{evidence}");
    assert_eq!(hold(at, "redis.call('EXISTS',k)==1"), 0);
    closed(keeper);
}

#[tokio::test]
async fn strings_become_lists_and_what_is_still_a_list_is_removed() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    filled(at);
    let mut fault = wrong_type(&keeper, &server, 0.3, Seed(1), LONG)
        .await
        .expect("a Redis");
    probed(&mut fault).await;
    let lists = hold(at, "redis.call('TYPE',k)['ok']=='list'");
    assert!((450..750).contains(&lists), "{lists}");
    assert_eq!(
        hold(at, "redis.call('TTL',k)>3500"),
        KEYS,
        "they live as long as before"
    );
    // Half of it is put right by somebody else, and stays.
    let mend = "for i=1,1000 do redis.call('SET','key:'..i,'mended') end";
    say(at, &format!("EVAL \"{mend}\" 0"));
    let lists = hold(at, "redis.call('TYPE',k)['ok']=='list'");
    undone(fault).await;
    assert_eq!(hold(at, "redis.call('TYPE',k)['ok']=='list'"), 0);
    assert_eq!(keys(at), KEYS - lists, "and the list of them is gone");
    closed(keeper);
}

#[tokio::test]
async fn bytes_are_flipped_as_the_seed_says_and_what_is_still_flipped_is_removed() {
    let keeper = keeper();
    let (redis, server) = redis(&keeper, &[]).await;
    let at = redis.address();
    filled(at);
    let mut fault = corrupt(&keeper, &server, 0.3, Seed(1), LONG)
        .await
        .expect("a Redis");
    probed(&mut fault).await;
    let wrong = hold(at, "redis.call('GET',k)~=v");
    assert!((450..750).contains(&wrong), "{wrong}");
    assert_eq!(hold(at, "#redis.call('GET',k)==60"), KEYS);
    assert_eq!(
        hold(at, "redis.call('TTL',k)>3500"),
        KEYS,
        "they live as long as before"
    );
    let digest =
        "EVAL \"local d='' for i=1,2000 do d=redis.sha1hex(d..redis.call('GET','key:'..i)) end return d\" 0";
    let before = say(at, digest);
    undone(fault).await;
    assert_eq!(keys(at), KEYS - wrong);
    filled(at);
    let again = corrupt(&keeper, &server, 0.3, Seed(1), LONG)
        .await
        .expect("a Redis");
    assert_eq!(say(at, digest), before, "the same bytes for the same seed");
    undone(again).await;
    closed(keeper);
}
