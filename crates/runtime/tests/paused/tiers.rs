//! Tiers beyond memory: what they hold, how they fail, and what is believed of them.

use bytes::Bytes;
use seawall::{Cache, CacheFault, Error, Options, Source};
use tokio::time::Instant;

use crate::support::{Db, Shared, Trouble, Users, assert_quiet, calm, ms, secs};

fn users(shared: &Shared) -> Users {
    Cache::builder("users").tier(shared.clone()).build()
}

#[tokio::test(start_paused = true)]
async fn what_one_process_has_loaded_the_next_one_finds() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(10)));
    let (one, other) = (users(&shared), users(&shared));
    let options = Options::new();
    one.get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    let found = other
        .get_or_load_full(&7, &options, db.loader())
        .await
        .expect("it is found");
    assert_eq!(
        (found.source, found.value.as_deref()),
        (Source::Tier(1), Some("one"))
    );
    let near = other
        .get_or_load_full(&7, &options, db.loader())
        .await
        .expect("it is found");
    assert_eq!(
        (near.source, near.version),
        (Source::Memory, found.version),
        "it was copied into memory"
    );
    assert_eq!(db.count(), 1);
    db.has_nothing();
    assert!(matches!(
        one.get_or_load(&8, &options, db.loader()).await,
        Err(Error::NotFound)
    ));
    calm().await;
    let absent = other
        .get_or_load_full(&8, &options, db.loader())
        .await
        .expect("it is known");
    assert_eq!(
        (absent.value, absent.source, db.count()),
        (None, Source::Tier(1), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_a_tier_is_a_fault_of_the_answer() {
    for fault in CacheFault::ALL {
        let (shared, db) = (Shared::new("redis"), Db::new(ms(10)));
        let cache = users(&shared);
        shared.trouble(Trouble::Fault(fault));
        for key in 0..20 {
            let value = cache.get_or_load(&key, &Options::new(), db.loader()).await;
            assert_eq!(value.expect("the origin has it"), "one");
            calm().await;
        }
        let asked = shared.calls("get");
        if fault.is_outage() {
            assert!(
                asked < 10,
                "{fault:?}: the breaker opened, after {asked} look-ups"
            );
        } else {
            assert_eq!(asked, 20, "{fault:?} is no reason to stop asking");
        }
        shared.trouble(Trouble::None);
        tokio::time::sleep(secs(6)).await;
        for key in 20..24 {
            cache
                .get_or_load(&key, &Options::new(), db.loader())
                .await
                .expect("the origin has it");
            calm().await;
        }
        assert!(shared.shelf().held.contains_key("users:23"), "{fault:?} is over");
        assert_quiet(&cache);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_hangs_costs_its_timeout_and_then_nothing() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(10)));
    let cache = users(&shared);
    shared.trouble(Trouble::Hangs);
    let mut took = Vec::new();
    for key in 0..8 {
        let before = Instant::now();
        cache
            .get_or_load(&key, &Options::new(), db.loader())
            .await
            .expect("the origin has it");
        took.push(before.elapsed());
        tokio::time::sleep(ms(300)).await;
    }
    assert_eq!(took[0], ms(260));
    assert_eq!(took[7], ms(10), "{took:?}");
    let hurried = Options::new().deadline(ms(100));
    let cold = users(&shared);
    let before = Instant::now();
    let result = cold.get_or_load(&1, &hurried, db.loader()).await;
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
    assert_eq!(before.elapsed(), ms(100), "one deadline for all tiers");
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_or_foreign_is_a_miss_and_is_mended() {
    let (shared, db, options) = (Shared::new("redis"), Db::new(ms(10)), Options::new());
    users(&shared)
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    users(&shared)
        .get_or_load(&8, &options, db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    let (good, other) = {
        let shelf = shared.shelf();
        (shelf.held["users:7"].clone(), shelf.held["users:8"].clone())
    };
    let mut flipped = good.to_vec();
    flipped[12] ^= 0xff;
    let mut longer = good.to_vec();
    longer.push(0);
    db.says("two");
    for (bytes, corrupt) in [
        (Bytes::from(flipped), 1),
        (good.slice(..60), 1),
        (Bytes::from(longer), 1),
        (Bytes::from_static(b"{\"name\":\"somebody else's\"}"), 0),
        (other, 0),
    ] {
        let cache = users(&shared);
        shared.shelf().held.insert("users:7".to_owned(), bytes);
        let value = cache
            .get_or_load(&7, &options, db.loader())
            .await
            .expect("the origin has it");
        assert_eq!(value, "two");
        assert_eq!(
            (cache.stats().corrupt, cache.stats().foreign),
            (corrupt, 1 - corrupt)
        );
        calm().await;
        let found = users(&shared).get(&7).await;
        assert_eq!(found.as_deref(), Some("two"), "a right value is in its place");
    }
    let newer: Users = Cache::builder("users")
        .tier(shared.clone())
        .value_version(1)
        .build();
    assert_eq!(newer.get(&7).await, None, "another version of the type");
    assert_eq!(newer.stats().foreign, 1);
}

#[tokio::test(start_paused = true)]
async fn taking_out_what_is_damaged_does_not_take_out_what_mends_it() {
    let (shared, db, options) = (Shared::new("redis"), Db::new(ms(1)), Options::new());
    {
        let mut shelf = shared.shelf();
        shelf.held.insert(
            "users:7".to_owned(),
            Bytes::from_static(b"SWL\x01 and not much more"),
        );
        (shelf.latency, shelf.delete_latency) = (ms(1), ms(20));
    }
    let value = users(&shared).get_or_load(&7, &options, db.loader()).await;
    assert_eq!(value.expect("the origin has it"), "one");
    calm().await;
    assert_eq!(shared.calls("delete"), 1);
    assert_eq!(users(&shared).get(&7).await.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn another_keys_value_does_not_keep_the_right_one_out_however_new_it_is() {
    let (shared, db, options) = (Shared::new("redis"), Db::new(ms(1)), Options::new());
    let newest = || async { Ok::<_, Error>(seawall::Loaded::new("other".to_owned()).version(u64::MAX)) };
    users(&shared)
        .get_or_load(&8, &options, newest)
        .await
        .expect("it is loaded");
    calm().await;
    let other = shared.shelf().held["users:8"].clone();
    shared.shelf().held.insert("users:7".to_owned(), other);
    let value = users(&shared).get_or_load(&7, &options, db.loader()).await;
    assert_eq!(value.expect("the origin has it"), "one");
    calm().await;
    assert_eq!(users(&shared).get(&7).await.as_deref(), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_could_not_be_told_is_told_when_it_is_back() {
    let (shared, db, options) = (Shared::new("redis"), Db::new(ms(10)), Options::new());
    let cache = users(&shared);
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    shared.trouble(Trouble::Fault(CacheFault::Refused));
    let told = cache.invalidate(&7).await;
    assert!(matches!(told, Err(Error::Tier(CacheFault::Refused))), "{told:?}");
    tokio::time::sleep(secs(5)).await;
    assert_eq!((cache.stats().untold, shared.shelf().held.len()), (1, 1));
    shared.trouble(Trouble::None);
    assert_eq!(
        cache.get(&7).await,
        None,
        "this process does not serve it meanwhile"
    );
    tokio::time::sleep(secs(2)).await;
    assert_eq!((cache.stats().untold, shared.shelf().held.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_old_write_does_not_undo_a_newer_one() {
    let (shared, options) = (Shared::new("redis"), Options::new());
    let (one, other) = (users(&shared), users(&shared));
    let load = |value: &'static str, version: u64, takes: u64| {
        move || async move {
            tokio::time::sleep(ms(takes)).await;
            Ok::<_, Error>(seawall::Loaded::new(value.to_owned()).version(version))
        }
    };
    let slow = tokio::spawn(async move { one.get_or_load(&7, &options, load("old", 1, 200)).await });
    tokio::time::sleep(ms(10)).await;
    other
        .get_or_load(&7, &Options::new(), load("new", 2, 10))
        .await
        .expect("it is loaded");
    slow.await.expect("it ran").expect("it is loaded");
    calm().await;
    assert_eq!(users(&shared).get(&7).await.as_deref(), Some("new"));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_bytes() {
    let cache: Users = Cache::builder("users").memory(1 << 20).build();
    for key in 0..2_000_u64 {
        cache.insert(&key, &Options::new(), "x".repeat(10_000));
        tokio::task::yield_now().await;
    }
    calm().await;
    let stats = cache.stats();
    assert!(stats.memory_bytes <= 1 << 20, "{} bytes", stats.memory_bytes);
    assert!(
        stats.tiers[0].entries.is_some_and(|entries| entries > 50),
        "{stats:?}"
    );
}
