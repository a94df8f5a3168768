//! Many callers and one load: what happens to those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall::core::{limit, retry, time::Span};
use seawall::{Cache, Error, LoadError, Options, OriginFault, Reason, Source};
use tokio::time::Instant;

use crate::support::{Db, Users, assert_quiet, calm, ms, secs};

fn users() -> Users {
    Cache::builder("users").build()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_cold_key_make_one_load() {
    let (cache, db) = (users(), Db::new(ms(100)));
    let calls: Vec<_> = (0..10_000)
        .map(|_| {
            let (cache, loader) = (cache.clone(), db.loader());
            tokio::spawn(async move { cache.get_or_load_full(&7, &Options::new(), loader).await })
        })
        .collect();
    let mut shared = 0;
    for call in calls {
        let answer = call.await.expect("it ran").expect("it is loaded");
        assert_eq!(answer.value.as_deref(), Some("one"));
        shared += u64::from(answer.source == Source::Shared);
    }
    assert_eq!((db.count(), shared), (1, 9_999));
    assert_eq!((cache.stats().coalesced, cache.stats().loads), (9_999, 1));
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_panics_is_an_error_to_all_who_wait() {
    let cache = users();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let cache = cache.clone();
            let load = || async {
                tokio::time::sleep(ms(10)).await;
                panic!("the loader is broken");
                #[expect(unreachable_code, reason = "it says what would have been loaded")]
                Ok::<_, Error>(String::new())
            };
            tokio::spawn(async move { cache.get_or_load(&7, &Options::new(), load).await })
        })
        .collect();
    let before = Instant::now();
    for call in calls {
        let error = call
            .await
            .expect("the caller does not panic")
            .expect_err("it failed");
        assert_eq!(
            error.to_string(),
            "the load failed: the loader panicked: the loader is broken"
        );
    }
    assert_eq!(before.elapsed(), ms(10));
    let db = Db::new(ms(1));
    assert_eq!(
        cache
            .get_or_load(&7, &Options::new(), db.loader())
            .await
            .expect("the key is free"),
        "one"
    );
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_takes_nobody_with_it() {
    let (cache, db) = (users(), Db::new(ms(100)));
    let first = tokio::spawn({
        let (cache, loader) = (cache.clone(), db.loader());
        async move { cache.get_or_load(&7, &Options::new(), loader).await }
    });
    tokio::time::sleep(ms(20)).await;
    let second = tokio::spawn({
        let (cache, loader) = (cache.clone(), db.loader());
        async move { cache.get_or_load(&7, &Options::new(), loader).await }
    });
    tokio::time::sleep(ms(20)).await;
    first.abort();
    let before = Instant::now();
    assert_eq!(second.await.expect("it ran").expect("it is loaded"), "one");
    assert_eq!((before.elapsed(), db.count()), (ms(60), 1));
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_costs_nobody_more_than_its_deadline() {
    let (cache, db) = (users(), Db::new(secs(3_600)));
    let before = Instant::now();
    let calls: Vec<_> = (1..=5)
        .map(|tenths| {
            let (cache, loader) = (cache.clone(), db.loader());
            let options = Options::new().deadline(ms(tenths * 100));
            tokio::spawn(async move {
                let result = cache.get_or_load(&7, &options, loader).await;
                (result, Instant::now())
            })
        })
        .collect();
    for (tenths, call) in (1..=5).zip(calls) {
        let (result, at) = call.await.expect("it ran");
        assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
        assert_eq!(at - before, ms(tenths * 100));
    }
    // Without a word of their own they wait for as long as the policy says.
    let result = cache.get_or_load(&7, &Options::new(), db.loader()).await;
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
    assert_eq!((before.elapsed(), db.count()), (ms(5_500), 1));
    // At the hard timeout the key is free and the work is stopped.
    tokio::time::sleep(secs(5)).await;
    assert_eq!((cache.stats().in_flight, cache.stats().origin_errors), (0, 1));
    db.takes(ms(1));
    cache
        .get_or_load(&7, &Options::new(), db.loader())
        .await
        .expect("the key is free");
    assert_eq!(db.count(), 2);
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn work_for_nobody_is_stopped_when_the_policy_says_so() {
    let cache: Users = Cache::builder("users")
        .protect(|policies| policies.deadline.cancel = true)
        .build();
    let finished = Arc::new(AtomicU64::new(0));
    let load = {
        let finished = Arc::clone(&finished);
        move || {
            let finished = Arc::clone(&finished);
            async move {
                tokio::time::sleep(secs(1)).await;
                finished.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Error>("late".to_owned())
            }
        }
    };
    let options = Options::new().deadline(ms(100));
    let result = cache.get_or_load(&7, &options, load.clone()).await;
    assert!(matches!(result, Err(Error::TimedOut)));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(finished.load(Ordering::SeqCst), 0, "it was cancelled");
    let patient = Options::new();
    let call = cache.get_or_load(&7, &patient, load);
    drop(tokio::time::timeout(ms(100), call).await);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(
        finished.load(Ordering::SeqCst),
        0,
        "also when its caller is dropped"
    );
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn the_origin_sees_no_more_than_its_limit_and_the_rest_is_shed() {
    let cache: Users = Cache::builder("users")
        .protect(|policies| {
            policies.limit = Some(limit::Settings {
                max: 4,
                initial: 4,
                places: 8,
                timeout: Span::millis(150),
                ..limit::Settings::default()
            });
        })
        .build();
    let (inside, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let calls: Vec<_> = (0..20_u64)
        .map(|key| {
            let (cache, inside, most) = (cache.clone(), Arc::clone(&inside), Arc::clone(&most));
            let load = move || {
                let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                async move {
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(ms(100)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, Error>(key.to_string())
                }
            };
            tokio::spawn(async move { cache.get_or_load(&key, &Options::new(), load).await })
        })
        .collect();
    let (mut loaded, mut full, mut late) = (0, 0, 0);
    for (key, call) in (0..20_u64).zip(calls) {
        match call.await.expect("it ran") {
            Ok(value) => {
                assert_eq!(value, key.to_string());
                loaded += 1;
            }
            Err(Error::Shed {
                reason: Reason::OriginLimit,
                ..
            }) => full += 1,
            Err(Error::Shed {
                reason: Reason::OriginTimeout,
                ..
            }) => late += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((loaded, full, late, most.load(Ordering::SeqCst)), (8, 8, 4, 4));
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_tried_again_within_its_budget() {
    let cache: Users = Cache::builder("users")
        .protect(|policies| policies.retry = Some(retry::Settings::default()))
        .build();
    let tries = Arc::new(AtomicU64::new(0));
    let load = {
        let tries = Arc::clone(&tries);
        move || {
            let tries = Arc::clone(&tries);
            async move {
                if tries.fetch_add(1, Ordering::SeqCst) < 2 {
                    return Err(LoadError::new(OriginFault::Refused, "not yet"));
                }
                Ok("third".to_owned())
            }
        }
    };
    assert_eq!(
        cache
            .get_or_load(&7, &Options::new(), load)
            .await
            .expect("it is loaded"),
        "third"
    );
    assert_eq!((cache.stats().retries, cache.stats().origin_requests), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_is_left_alone_and_callers_are_told_when_to_come_back() {
    let cache: Users = Cache::builder("users")
        .protect(|policies| policies.origin_breaker = Some(seawall::core::breaker::Settings::default()))
        .build();
    let db = Db::new(ms(10));
    db.fails(true);
    for key in 0..5 {
        let result = cache.get_or_load(&key, &Options::new(), db.loader()).await;
        assert!(matches!(result, Err(Error::Load(_))), "{result:?}");
    }
    let refused = cache
        .get_or_load(&9, &Options::new(), db.loader())
        .await
        .expect_err("it is open");
    assert!(matches!(refused, Error::Open { .. }), "{refused:?}");
    assert_eq!((refused.retry_after(), db.count()), (Some(secs(5)), 5));
    db.fails(false);
    tokio::time::sleep(secs(5)).await;
    cache
        .get_or_load(&9, &Options::new(), db.loader())
        .await
        .expect("the probe is let through");
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn late_comers_share_what_has_just_come_for_the_window() {
    let cache: Users = Cache::builder("users")
        .no_memory()
        .protect(|policies| {
            let coalesce = policies.coalesce.as_mut().expect("it is on");
            coalesce.window = Span::secs(1);
        })
        .build();
    let db = Db::new(ms(10));
    for _ in 0..3 {
        cache
            .get_or_load(&7, &Options::new(), db.loader())
            .await
            .expect("it is loaded");
        cache
            .get_or_load(&8, &Options::new(), db.loader())
            .await
            .expect("it is loaded");
    }
    assert_eq!(db.count(), 2);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(
        cache
            .get_or_load(&7, &Options::new(), db.loader())
            .await
            .expect("it is loaded"),
        "one"
    );
    assert_eq!(db.count(), 3);
}

#[test]
fn a_runtime_that_goes_away_leaves_nobody_hanging() {
    let cache = users();
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("there is a runtime")
    };
    let (first, second) = (runtime(), runtime());
    let db = Db::new(secs(3_600));
    let hanging = second.spawn({
        let (cache, load) = (cache.clone(), db.loader());
        async move {
            tokio::time::sleep(ms(50)).await;
            cache.get_or_load(&7, &Options::new(), load).await
        }
    });
    first.block_on(async {
        let (cache, load) = (cache.clone(), db.loader());
        let leader = tokio::spawn(async move { cache.get_or_load(&7, &Options::new(), load).await });
        tokio::time::sleep(ms(100)).await;
        leader.abort();
    });
    first.shutdown_timeout(secs(1));
    let before = Instant::now();
    let result = second.block_on(hanging).expect("it ran");
    assert!(result.is_err() && before.elapsed() < secs(2), "{result:?}");
    db.takes(ms(1));
    let value = second.block_on(cache.get_or_load(&7, &Options::new(), db.loader()));
    assert_eq!(value.expect("it works on the other runtime"), "one");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_dropped_leaves_no_task() {
    let (cache, db) = (users(), Db::new(ms(10)));
    cache
        .get_or_load(&7, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    drop(cache);
    calm().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[test]
fn a_cache_may_be_filled_before_there_is_a_runtime() {
    let cache = users();
    cache.insert(&7, &Options::new(), "before".to_owned());
    let tiered: Users = Cache::builder("users")
        .tier(crate::support::Shared::new("redis"))
        .build();
    tiered.insert(&7, &Options::new(), "before".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("there is a runtime");
    for cache in [cache, tiered] {
        assert_eq!(runtime.block_on(cache.get(&7)).as_deref(), Some("before"));
        assert_quiet(&cache);
    }
}

#[test]
fn a_timer_that_went_with_its_runtime_comes_again() {
    let cache = users();
    let db = Db::new(secs(3_600));
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("there is a runtime").block_on(async {
            let quick = Options::new().deadline(ms(10));
            let result = cache.get_or_load(&7, &quick, db.loader()).await;
            assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
            let given_up = cache.stats().loads_given_up + cache.stats().origin_errors;
            tokio::time::sleep(secs(11)).await;
            assert_eq!(
                cache.stats().in_flight,
                0,
                "the load is given up at its hard timeout"
            );
            let given_up = cache.stats().loads_given_up + cache.stats().origin_errors - given_up;
            assert_eq!(given_up, 1);
        });
    }
}
