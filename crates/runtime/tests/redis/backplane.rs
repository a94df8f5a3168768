//! Invalidations between processes, and the loss of some.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall::redis::{Redis, RedisBackplane};
use seawall::{Answer, Cache, Freshness, Options};
use tokio::time::Instant;

use crate::support::proxy::Proxy;
use crate::support::redis::RedisServer;

struct Member {
    cache: Cache<u64, u64>,
    backplane: Arc<RedisBackplane>,
    loads: Arc<AtomicU64>,
}

impl Member {
    fn join(url: &str) -> Member {
        let redis = Redis::url(url).expect("it is a URL");
        let backplane = redis.backplane("invalidations").expect("it can be built");
        let cache = Cache::builder("users")
            .backplane(backplane.clone())
            .protect(|policies| policies.coalesce = None)
            .build();
        backplane.attach(&cache);
        Member {
            cache,
            backplane,
            loads: Arc::default(),
        }
    }

    async fn read(&self, key: u64) -> Answer<u64> {
        let loads = Arc::clone(&self.loads);
        let load = move || {
            let number = loads.fetch_add(1, Ordering::Relaxed) + 1;
            async move { Ok::<_, std::io::Error>(number) }
        };
        let answer = self.cache.get_or_load_full(&key, &Options::new(), load).await;
        answer.expect("the origin answers")
    }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "it never comes to be: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_invalidation_reaches_the_others() {
    let server = RedisServer::start(&[]);
    let (one, other) = (Member::join(&server.url()), Member::join(&server.url()));
    eventually("both are up", async || {
        one.backplane.is_up() && other.backplane.is_up()
    })
    .await;
    assert_eq!(other.read(7).await.value, Some(1));
    one.cache.invalidate(&7).await.expect("there is no tier to fail");
    eventually("the other loads it again", async || {
        other.read(7).await.value == Some(2)
    })
    .await;

    other.cache.insert(&8, &Options::new().tag("team"), 100);
    eventually("it is there", async || other.cache.get(&8).await == Some(100)).await;
    one.cache.invalidate_tag("team");
    eventually("the tag is gone", async || other.cache.get(&8).await.is_none()).await;
    assert_eq!((one.backplane.losses(), other.backplane.losses()), (0, 0));
}

#[tokio::test]
async fn what_was_lost_is_noticed_and_nothing_is_flushed() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::before(server.port).await;
    let one = Member::join(&server.url());
    let other = Member::join(&format!("redis://127.0.0.1:{}", proxy.port));
    eventually("both are up", async || {
        one.backplane.is_up() && other.backplane.is_up()
    })
    .await;
    for key in 0..20 {
        other.read(key).await;
    }
    assert_eq!(other.loads.load(Ordering::Relaxed), 20);
    assert_eq!(other.read(7).await.freshness, Freshness::Fresh);

    // A subscriber is cut off, and what is said meanwhile never reaches it.
    proxy.delay(Duration::from_hours(1));
    server.tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    one.cache.invalidate(&7).await.expect("there is no tier to fail");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(other.read(7).await.value, Some(8), "it does not know yet");
    proxy.delay(Duration::ZERO);
    eventually("the loss is noticed", async || other.backplane.losses() > 0).await;
    let answer = other.read(7).await;
    assert!(
        answer.freshness == Freshness::Stale || answer.value != Some(8),
        "{answer:?}"
    );
    for key in 0..20 {
        assert!(other.cache.get(&key).await.is_some(), "nothing was flushed");
    }
    eventually("it is refreshed as it is asked for", async || {
        other.read(7).await.value > Some(20)
    })
    .await;
}
