//! What one caller sees.

use seawall::core::time::{Span, Time};
use seawall::{Cache, CacheFault, Class, Error, Freshness, Loaded, Options, Policies, Source};

use crate::support::{Db, Shared, Trouble, Users, assert_quiet, calm, ms, secs};

fn users() -> Users {
    Cache::builder("users").seed(1).build()
}

#[tokio::test(start_paused = true)]
async fn a_value_is_loaded_once_and_found_until_its_ttl_is_over() {
    let (cache, db, options) = (users(), Db::new(ms(10)), Options::new());
    let first = cache
        .get_or_load_full(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    assert_eq!(
        (first.value.as_deref(), first.source),
        (Some("one"), Source::Origin)
    );
    let again = cache
        .get_or_load_full(&7, &options, db.loader())
        .await
        .expect("it is found");
    assert_eq!(
        (again.source, again.age, again.version),
        (Source::Memory, ms(10), first.version)
    );
    // The jitter takes up to a tenth of 300 s.
    tokio::time::advance(secs(269)).await;
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is found");
    assert_eq!(db.count(), 1);
    tokio::time::advance(secs(32)).await;
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded again");
    assert_eq!(db.count(), 2);
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_loader_says_how_long_and_whether_a_value_lives() {
    let (cache, options) = (users(), Options::new());
    let brief = || async { Ok::<_, Error>(Loaded::new("brief".to_owned()).ttl(secs(10))) };
    cache
        .get_or_load(&1, &options, brief)
        .await
        .expect("it is loaded");
    let secret = || async { Ok::<_, Error>(Loaded::new("secret".to_owned()).no_store()) };
    assert_eq!(
        cache
            .get_or_load(&2, &options, secret)
            .await
            .expect("it is loaded"),
        "secret"
    );
    let nobody = || async { Ok::<Option<String>, Error>(None) };
    let absent = cache.get_or_load(&3, &options, nobody).await;
    assert!(matches!(absent, Err(Error::NotFound)), "{absent:?}");
    assert_eq!(cache.get(&1).await.as_deref(), Some("brief"));
    assert_eq!(cache.get(&2).await, None);
    let known = cache
        .get_full(&3, &options)
        .await
        .expect("it is known that there is none");
    assert_eq!(known.value, None);
    tokio::time::advance(secs(11)).await;
    assert_eq!(cache.get(&1).await, None);
    tokio::time::advance(secs(20)).await;
    assert!(
        cache.get_full(&3, &options).await.is_none(),
        "for thirty seconds only"
    );
}

#[tokio::test(start_paused = true)]
async fn a_class_has_its_ttl_beyond_memory() {
    let shared = Shared::new("redis");
    let cache: Users = Cache::builder("users")
        .no_memory()
        .tier(shared.clone())
        .seed(1)
        .build();
    let db = Db::new(ms(1));
    for (key, class) in [(1, Some(Class::Critical)), (2, Some(Class::Regular)), (3, None)] {
        let options = class.map_or(Options::new(), |class| Options::new().class(class));
        cache
            .get_or_load(&key, &options, db.loader())
            .await
            .expect("it is loaded");
    }
    calm().await;
    for (after, found) in [
        (800, [true, true, true]),
        (910, [true, false, true]),
        (3_601, [false; 3]),
    ] {
        let start = seawall::envelope::Envelope::open;
        let held: Vec<_> = (1..4)
            .map(|key: u64| {
                let shelf = shared.shelf();
                let bytes = &shelf.held[&format!("users:{key}")];
                let mut digest = [0; 16];
                digest.copy_from_slice(&bytes[56..72]);
                let (envelope, _) = start(bytes, u128::from_be_bytes(digest)).expect("it is whole");
                envelope.fresh_until_us > envelope.created_us + after * 1_000_000
            })
            .collect();
        assert_eq!(held, found, "after {after} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_answered_stale_within_its_bound_and_then_told() {
    let (cache, db, options) = (users(), Db::new(ms(10)), Options::new());
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    db.fails(true);
    tokio::time::advance(secs(301)).await;
    let stale = cache
        .get_or_load_full(&7, &options, db.loader())
        .await
        .expect("an old answer");
    assert_eq!(
        (stale.freshness, stale.value.as_deref()),
        (Freshness::Stale, Some("one"))
    );
    let strict = Options::new().max_stale(secs(0));
    let told = cache
        .get_or_load(&7, &strict, db.loader())
        .await
        .expect_err("nothing old is wanted");
    assert_eq!(told.to_string(), "the load failed: the database is down");
    tokio::time::advance(secs(300)).await;
    let told = cache.get_or_load(&7, &options, db.loader()).await;
    assert!(matches!(told, Err(Error::Load(_))), "{told:?}");
    assert_eq!(cache.stats().stale_served, 1);
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_want_it_newer_or_from_the_origin() {
    let (cache, db) = (users(), Db::new(ms(10)));
    cache
        .get_or_load(&7, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    tokio::time::advance(secs(60)).await;
    db.says("two");
    let young = Options::new().fresh_for(secs(59));
    assert_eq!(
        cache
            .get_or_load(&7, &young, db.loader())
            .await
            .expect("it is loaded"),
        "two"
    );
    db.says("three");
    assert_eq!(
        cache
            .get_or_load(&7, &young, db.loader())
            .await
            .expect("it is found"),
        "two"
    );
    let bypass = Options::new().bypass();
    assert_eq!(
        cache
            .get_or_load(&7, &bypass, db.loader())
            .await
            .expect("it is loaded"),
        "three"
    );
    assert_eq!(cache.get(&7).await.as_deref(), Some("three"));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_tuned_while_it_runs() {
    let (cache, db, options) = (users(), Db::new(ms(10)), Options::new());
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    let policies = Policies {
        stale: None,
        early: Some(seawall::core::early::Settings { beta: 2.0 }),
        ..cache.policies()
    };
    cache.retune(&policies);
    assert_eq!(cache.policies(), policies);
    db.fails(true);
    tokio::time::advance(secs(301)).await;
    let told = cache.get_or_load(&7, &options, db.loader()).await;
    assert!(matches!(told, Err(Error::Load(_))), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn early_refresh_spares_readers_the_wait() {
    let cache: Users = Cache::builder("users")
        .protect(|policies| policies.early = Some(seawall::core::early::Settings { beta: 1.0 }))
        .build();
    let (db, options) = (Db::new(secs(2)), Options::new());
    cache
        .get_or_load(&7, &options, db.loader())
        .await
        .expect("it is loaded");
    let mut slowest = ms(0);
    for _ in 0..3_000 {
        tokio::time::advance(ms(100)).await;
        let before = tokio::time::Instant::now();
        cache
            .get_or_load(&7, &options, db.loader())
            .await
            .expect("it is found");
        slowest = slowest.max(before.elapsed());
        tokio::task::yield_now().await;
    }
    assert_eq!(slowest, ms(0), "nobody has waited");
    assert!(db.count() >= 2, "it was refreshed all the same");
}

#[tokio::test(start_paused = true)]
async fn a_lost_tier_is_degraded_and_no_wrong_health() {
    let shared = Shared::new("redis");
    let cache: Users = Cache::builder("users")
        .tier(shared.clone())
        .critical_tier("disk")
        .build();
    let db = Db::new(ms(1));
    assert_eq!(cache.health().status, seawall::Status::Ok);
    shared.trouble(Trouble::Fault(CacheFault::Refused));
    for key in 0..6 {
        cache
            .get_or_load(&key, &Options::new(), db.loader())
            .await
            .expect("it is loaded");
        calm().await;
    }
    let health = cache.health();
    assert_eq!(
        (health.status, health.http_status()),
        (seawall::Status::Degraded, 200)
    );
    assert_eq!(health.impaired().collect::<Vec<_>>(), ["redis"]);
    let critical: Users = Cache::builder("users")
        .tier(shared.clone())
        .critical_tier("redis")
        .build();
    for key in 0..6 {
        critical
            .get_or_load(&key, &Options::new(), db.loader())
            .await
            .expect("it is loaded");
        calm().await;
    }
    assert_eq!(critical.health().http_status(), 503);
}

#[tokio::test(start_paused = true)]
async fn the_metrics_page_is_what_prometheus_reads() {
    let (cache, db, options) = (users(), Db::new(ms(10)), Options::new());
    for _ in 0..3 {
        cache
            .get_or_load(&7, &options, db.loader())
            .await
            .expect("there is a value");
    }
    let mut page = seawall::MetricsPage::default();
    cache.write_metrics(&mut page);
    let text = page.text();
    for line in [
        "cache_hits_total{component=\"users\",tier=\"memory\"} 2",
        "cache_misses_total{component=\"users\",tier=\"memory\"} 1",
        "cache_sets_total{component=\"users\",tier=\"memory\"} 1",
        "requests_total{component=\"users\",outcome=\"fresh\"} 3",
        "origin_requests_total{component=\"users\"} 1",
        "origin_duration_seconds_bucket{component=\"users\",le=\"0.01\"} 1",
        "origin_duration_seconds_sum{component=\"users\"} 0.01",
        "request_duration_seconds_count{component=\"users\"} 3",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(names.len(), once.len(), "each family is there once");
}

#[tokio::test(start_paused = true)]
async fn keys_with_one_hash_never_get_each_others_values() {
    // Two hashes for eight keys.
    let shared = Shared::new("redis");
    let cache: Users = Cache::builder("users")
        .tier(shared)
        .hashed_by(|key| key & 1)
        .build();
    let db = Db::new(ms(20));
    for round in 0..4 {
        let calls: Vec<_> = (0..8_u64)
            .map(|key| {
                let (cache, db) = (cache.clone(), db.clone());
                tokio::spawn(async move {
                    let load = move || {
                        let db = db.clone();
                        async move {
                            let _ = db.load().await?;
                            Ok::<_, seawall::LoadError>(format!("value of {key}"))
                        }
                    };
                    cache.get_or_load(&key, &Options::new(), load).await
                })
            })
            .collect();
        for (key, call) in (0..8_u64).zip(calls) {
            let value = call.await.expect("it ran").expect("it is loaded");
            assert_eq!(value, format!("value of {key}"), "round {round}");
        }
        calm().await;
    }
    assert_quiet(&cache);
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_a_cache_may_start_anywhere() {
    let start = Time::ZERO + Span::secs(1_000);
    let cache: Users = Cache::builder("users").starting_at(start).build();
    let db = Db::new(ms(10));
    let answer = cache
        .get_or_load_full(&7, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    assert_eq!(answer.version, start.as_nanos());
}
