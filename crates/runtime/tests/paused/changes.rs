//! Purges, tags, insertions and writes: what ends what was cached, and what may not undo it.

use seawall::{Cache, Error, Loaded, Options};

use crate::support::{Db, Shared, Users, assert_quiet, calm, ms, secs};

fn users() -> Users {
    Cache::builder("users").build()
}

#[tokio::test(start_paused = true)]
async fn a_purge_comes_before_every_staleness_and_before_loads_under_way() {
    let (cache, db, options) = (users(), Db::new(ms(100)), Options::new());
    let slow = tokio::spawn({
        let (cache, loader, options) = (cache.clone(), db.loader(), options.clone());
        async move { cache.get_or_load(&7, &options, loader).await }
    });
    tokio::time::sleep(ms(50)).await;
    cache.invalidate(&7).await.expect("nobody has to be told");
    // What is read at the very instant of a purge is not kept.
    tokio::time::sleep(ms(1)).await;
    db.says("two");
    let after = cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    assert_eq!(after, "two");
    assert_eq!(slow.await.expect("it ran").expect("it had asked before"), "one");
    assert_eq!(
        cache.get(&7).await.as_deref(),
        Some("two"),
        "the slow old load stored nothing"
    );
    db.fails(true);
    cache.invalidate(&7).await.expect("nobody has to be told");
    let told = cache.get_or_load(&7, &options, db.loader()).await;
    assert!(matches!(told, Err(Error::Load(_))), "{told:?}");
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_tag_takes_out_all_that_carries_it_wherever_it_is() {
    let shared = Shared::new("redis");
    let cache: Users = Cache::builder("users").tier(shared.clone()).build();
    let db = Db::new(ms(100));
    let tagged = Options::new().tag("team:1");
    cache
        .get_or_load(&1, &tagged, db.loader())
        .await
        .expect("it is loaded");
    cache
        .get_or_load(&2, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    // A load that is under way at the invalidation answers those who asked before, and nobody after.
    let before = tokio::spawn({
        let (cache, loader, tagged) = (cache.clone(), db.loader(), tagged.clone());
        async move { cache.get_or_load(&3, &tagged, loader).await }
    });
    tokio::time::sleep(ms(50)).await;
    cache.invalidate_tag("team:1");
    tokio::time::sleep(ms(10)).await;
    db.says("two");
    let after = cache
        .get_or_load(&3, &tagged, db.loader())
        .await
        .expect("it is loaded");
    assert_eq!(before.await.expect("it ran").ok().as_deref(), Some("one"));
    let again = cache.get_or_load(&3, &tagged, db.loader()).await;
    assert_eq!((after.as_str(), again.ok().as_deref()), ("two", Some("two")));
    assert_eq!(cache.get(&1).await, None);
    assert_eq!(cache.get(&2).await.as_deref(), Some("one"));
    assert_eq!(cache.get(&3).await.as_deref(), Some("two"));
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn what_is_inserted_is_newer_than_what_was_being_loaded() {
    let (cache, db, options) = (users(), Db::new(ms(100)), Options::new());
    let slow = tokio::spawn({
        let (cache, loader, options) = (cache.clone(), db.loader(), options.clone());
        async move { cache.get_or_load(&7, &options, loader).await }
    });
    tokio::time::sleep(ms(50)).await;
    cache.insert(&7, &options, "inserted".to_owned());
    calm().await;
    assert_eq!(cache.get(&7).await.as_deref(), Some("inserted"));
    slow.await.expect("it ran").expect("it is answered");
    calm().await;
    assert_eq!(cache.get(&7).await.as_deref(), Some("inserted"));
    assert_eq!(db.count(), 1);
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_write_ends_what_was_cached_also_when_nobody_knows_whether_it_happened() {
    let shared = Shared::new("redis");
    let cache: Users = Cache::builder("users").tier(shared.clone()).build();
    let (db, options) = (Db::new(ms(10)), Options::new());
    let written = || async { Ok::<_, Error>(()) };
    let failed = || async { Err::<(), _>(Error::NotFound) };
    let hangs = || async {
        tokio::time::sleep(secs(60)).await;
        Ok::<_, Error>(())
    };
    for (what, hurried) in [
        ("written", false),
        ("failed", false),
        ("hangs", true),
        ("dropped", true),
    ] {
        cache
            .get_or_load(&7, &options, db.loader())
            .await
            .expect("it is loaded");
        calm().await;
        assert_eq!(
            (cache.get(&7).await.is_some(), shared.shelf().held.len()),
            (true, 1)
        );
        let options = Options::new().deadline(ms(100));
        let result = match what {
            "written" => cache.write(&7, &options, written).await,
            "failed" => cache.write(&7, &options, failed).await,
            "hangs" => cache.write(&7, &options, hangs).await,
            _ => tokio::time::timeout(ms(10), cache.write(&7, &options, hangs))
                .await
                .unwrap_or(Err(Error::TimedOut)),
        };
        match what {
            "written" => result.expect("it is written"),
            "failed" => assert!(matches!(result, Err(Error::Load(_))), "{result:?}"),
            _ => assert!(matches!(result, Err(Error::TimedOut)), "{result:?}"),
        }
        if !hurried {
            assert_eq!(
                shared.shelf().held.len(),
                0,
                "{what}: the tier is told before the call ends"
            );
        }
        calm().await;
        assert_eq!(
            (cache.get(&7).await, shared.shelf().held.len()),
            (None, 0),
            "{what}"
        );
    }
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_names_its_version_leaves_what_is_as_new() {
    let (cache, options) = (users(), Options::new());
    cache.insert(&7, &options, Loaded::new("five".to_owned()).version(5));
    calm().await;
    let write = |version| move || async move { Ok::<_, Error>(((), version)) };
    cache
        .write_versioned(&7, &options, write(5))
        .await
        .expect("it is written");
    assert_eq!(cache.get(&7).await.as_deref(), Some("five"));
    cache
        .write_versioned(&7, &options, write(6))
        .await
        .expect("it is written");
    assert_eq!(cache.get(&7).await, None);
}
