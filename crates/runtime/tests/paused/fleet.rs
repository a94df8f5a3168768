//! Several processes of one service: leases, invalidations that reach the others, and those that are lost.

use std::sync::{Arc, Mutex};

use seawall::core::{lease, warm};
use seawall::{Backplane, Cache, Freshness, Invalidation, Options};

use crate::support::{Db, Shared, Users, assert_quiet, calm, ms, secs};

/// Hands over when it is told to.
#[derive(Debug, Default)]
struct Post(Mutex<Vec<Invalidation>>);

impl Backplane for Post {
    fn publish(&self, invalidation: Invalidation) {
        self.0.lock().expect("nobody panics with it").push(invalidation);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_fleet_one_process_loads() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(120)));
    let fleet: Vec<Users> = (0..4)
        .map(|process| {
            Cache::builder("users")
                .tier(shared.of_process(process))
                .protect(|policies| policies.lease = Some(lease::Settings::default()))
                .build()
        })
        .collect();
    let calls: Vec<_> = (0..40)
        .map(|call| {
            let (cache, loader) = (fleet[call % 4].clone(), db.loader());
            tokio::spawn(async move { cache.get_or_load(&7, &Options::new(), loader).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("it ran").expect("it is loaded"), "one");
    }
    assert_eq!(db.count(), 1);
    calm().await;
    assert!(shared.shelf().leases.is_empty(), "the lease was given back");
    fleet.iter().for_each(assert_quiet);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_reaches_the_others() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(10)));
    let post = Arc::new(Post::default());
    let one: Users = Cache::builder("users")
        .tier(shared.clone())
        .backplane(Arc::clone(&post) as _)
        .build();
    let other: Users = Cache::builder("users").tier(shared.clone()).build();
    let tagged = Options::new().tag("team:1");
    for cache in [&one, &other] {
        for key in [7, 8] {
            cache
                .get_or_load(&key, &tagged, db.loader())
                .await
                .expect("it is loaded");
            calm().await;
        }
    }
    db.says("two");
    one.invalidate(&7).await.expect("the tier is told");
    let deletes = shared.calls("delete");
    let heard = std::mem::take(&mut *post.0.lock().expect("nobody panics with it"));
    for invalidation in heard {
        other.hear(invalidation);
    }
    calm().await;
    assert_eq!(
        shared.calls("delete"),
        deletes,
        "who hears does not tell the tier again"
    );
    assert_eq!(
        other
            .get_or_load(&7, &tagged, db.loader())
            .await
            .expect("it is loaded"),
        "two"
    );
    one.invalidate_tag("team:1");
    let heard = std::mem::take(&mut *post.0.lock().expect("nobody panics with it"));
    for invalidation in heard {
        other.hear(invalidation);
    }
    assert_eq!(other.get(&8).await, None);
}

#[tokio::test(start_paused = true)]
async fn lost_invalidations_make_entries_doubtful_and_drop_none() {
    let (cache, db): (Users, _) = (Cache::builder("users").build(), Db::new(ms(10)));
    for key in 0..200 {
        cache
            .get_or_load(&key, &Options::new(), db.loader())
            .await
            .expect("it is loaded");
    }
    tokio::time::sleep(ms(1)).await;
    cache.lost_invalidations();
    let before = db.count();
    for key in 0..200 {
        let answer = cache
            .get_or_load_full(&key, &Options::new(), db.loader())
            .await
            .expect("it is found");
        assert_eq!(answer.freshness, Freshness::Stale, "{key}");
    }
    calm().await;
    let refreshed = db.count() - before;
    assert!(
        (1..=10).contains(&refreshed),
        "at a pace, not {refreshed} at once"
    );
    tokio::time::sleep(secs(1)).await;
    let answer = cache
        .get_or_load_full(&0, &Options::new(), db.loader())
        .await
        .expect("it is found");
    assert_eq!(answer.freshness, Freshness::Fresh, "the first one was refreshed");
}

#[tokio::test(start_paused = true)]
async fn a_cold_cache_is_warmed_at_its_pace() {
    let db = Db::new(ms(10));
    let origin = seawall::origin::from_fn({
        let db = db.clone();
        move |_: u64| db.clone().load()
    });
    let cache: Users = Cache::builder("users")
        .origin(origin)
        .protect(|policies| {
            policies.warm = Some(warm::Settings {
                pace: 100.0,
                automatic: false,
                ..warm::Settings::default()
            });
        })
        .build();
    cache.warm(0..50).expect("it has an origin");
    tokio::time::sleep(ms(255)).await;
    let warming = cache.stats().warming.expect("it is under way");
    assert!((0.4..0.6).contains(&warming), "{warming}");
    tokio::time::sleep(ms(400)).await;
    assert_eq!(
        (cache.stats().warming, cache.stats().warmed, db.count()),
        (None, 50, 50)
    );
    assert_eq!(cache.get(&49).await.as_deref(), Some("one"));
    assert_eq!(
        cache.read(&50, &Options::new()).await.expect("it is loaded"),
        "one"
    );
    let alone: Users = Cache::builder("users").build();
    assert!(alone.warm(0..1).is_err() && alone.read(&1, &Options::new()).await.is_err());
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_is_popular_is_warmed_when_a_tier_comes_back_empty() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(2)));
    let origin = seawall::origin::from_fn({
        let db = db.clone();
        move |_: u64| db.clone().load()
    });
    let cache: Users = Cache::builder("users")
        .memory_ttl(ms(100))
        .tier(shared.clone())
        .origin(origin)
        .protect(|policies| policies.warm = Some(warm::Settings::default()))
        .build();
    let read = async |count: u64| {
        for turn in 0..count {
            cache
                .read(&(turn % 7 * (turn % 3)), &Options::new())
                .await
                .expect("there is a value");
            tokio::time::sleep(ms(1)).await;
        }
    };
    read(2_000).await;
    shared.trouble(crate::support::Trouble::Fault(seawall::CacheFault::Refused));
    read(2_000).await;
    assert_eq!(cache.stats().warmed, 0);
    shared.shelf().held.clear();
    shared.trouble(crate::support::Trouble::None);
    tokio::time::sleep(secs(6)).await;
    // The probe closes the breaker, and the keys that were read come back without being asked for.
    cache.read(&99, &Options::new()).await.expect("there is a value");
    tokio::time::sleep(secs(1)).await;
    assert!(cache.stats().warmed >= 5, "{:?}", cache.stats());
    assert!(shared.shelf().held.len() >= 5);
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_inserted_is_found_although_its_invalidation_is_heard_later() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(10)));
    let post = Arc::new(Post::default());
    let one: Users = Cache::builder("users")
        .tier(shared.clone())
        .backplane(Arc::clone(&post) as _)
        .build();
    let other: Users = Cache::builder("users").tier(shared.clone()).build();
    other
        .get_or_load(&7, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    one.insert(&7, &Options::new(), "two".to_owned());
    calm().await;
    let heard = std::mem::take(&mut *post.0.lock().expect("nobody panics with it"));
    assert_eq!(heard.len(), 1);
    for invalidation in heard {
        other.hear(invalidation);
    }
    assert_eq!(other.get(&7).await.as_deref(), Some("two"));
    assert_eq!(db.count(), 1);
}
