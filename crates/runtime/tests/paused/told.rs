//! What callers and operators are told: when to come back, what was pushed out, what was done in vain, what tiers take.

use std::time::Duration;

use seawall::core::{breaker, limit, time::Span};
use seawall::{Cache, Error, MetricsPage, Options, Reason};

use crate::support::{Db, Shared, Trouble, Users, calm, ms};

fn page(cache: &Users) -> String {
    let mut page = MetricsPage::default();
    cache.write_metrics(&mut page);
    page.text()
}

fn sample(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("{series} is not on the page:\n{page}"));
    value.trim().parse().expect("it is a number")
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_at_the_origins_limit_is_told_when_to_come_back() {
    let db = Db::new(ms(500));
    let cache: Users = Cache::builder("users")
        .protect(|policies| {
            policies.limit = Some(limit::Settings {
                max: 1,
                initial: 1,
                places: 1,
                timeout: Span::millis(200),
                ..limit::Settings::default()
            });
        })
        .build();
    let calls = (0..3).map(|key| {
        let (cache, load) = (cache.clone(), db.loader());
        tokio::spawn(async move { cache.get_or_load(&key, &Options::new(), load).await })
    });
    let mut turned_away = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        if let Err(error) = call.await.expect("it ran") {
            let Error::Shed { reason, .. } = error else {
                panic!("{error:?}")
            };
            turned_away.push((reason, error.retry_after()));
        }
    }
    turned_away.sort_unstable();
    let after = Some(ms(200));
    assert_eq!(
        turned_away,
        [(Reason::OriginLimit, after), (Reason::OriginTimeout, after)]
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_turned_away_by_a_breaker_is_told_when_it_asks_again() {
    let db = Db::new(ms(1));
    db.fails(true);
    let cache: Users = Cache::builder("users")
        .protect(|policies| policies.origin_breaker = Some(breaker::Settings::default()))
        .build();
    let mut last = None;
    for key in 0..20 {
        last = cache.get_or_load(&key, &Options::new(), db.loader()).await.err();
        tokio::time::sleep(ms(10)).await;
    }
    let Some(Error::Open { retry_after }) = last else {
        panic!("{last:?}")
    };
    assert!(
        retry_after > ms(1) && retry_after <= Duration::from_secs(5),
        "{retry_after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_out_of_memory_is_counted() {
    let cache: Users = Cache::builder("users").memory(1 << 20).build();
    for key in 0..50 {
        cache.insert(&key, &Options::new(), "x".repeat(10_000));
    }
    assert_eq!(cache.stats().tiers[0].evictions, Some(0), "there is room");
    for key in 50..500 {
        cache.insert(&key, &Options::new(), "x".repeat(10_000));
    }
    let tier = &cache.stats().tiers[0];
    let (entries, evictions) = (
        tier.entries.expect("it is known"),
        tier.evictions.expect("it is known"),
    );
    assert_eq!(entries + evictions, 500);
    let counted = sample(
        &page(&cache),
        "cache_evictions_total{component=\"users\",tier=\"memory\"}",
    );
    assert_eq!(counted as u64, evictions);
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_did_for_nobody_is_counted() {
    let db = Db::new(ms(300));
    let cache: Users = Cache::builder("users").build();
    let hurried = Options::new().deadline(ms(100));
    assert!(matches!(
        cache.get_or_load(&1, &hurried, db.loader()).await,
        Err(Error::TimedOut)
    ));
    cache
        .get_or_load(&2, &Options::new(), db.loader())
        .await
        .expect("it waits");
    calm().await;
    assert_eq!(
        (cache.stats().origin_requests, cache.stats().origin_wasted),
        (2, 1)
    );
    assert_eq!(
        sample(&page(&cache), "origin_wasted_total{component=\"users\"}") as u64,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn what_calls_to_a_tier_take_is_told_by_tier() {
    let (shared, db) = (Shared::new("redis"), Db::new(ms(1)));
    let cache: Users = Cache::builder("users").tier(shared.clone()).build();
    shared.shelf().latency = ms(20);
    cache
        .get_or_load(&1, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    let series =
        |le: &str| format!("cache_duration_seconds_bucket{{component=\"users\",tier=\"redis\",le=\"{le}\"}}");
    let text = page(&cache);
    assert_eq!(
        (sample(&text, &series("0.01")), sample(&text, &series("0.025"))),
        (0.0, 2.0),
        "a get and a put"
    );
    shared.trouble(Trouble::Hangs);
    cache
        .get_or_load(&2, &Options::new(), db.loader())
        .await
        .expect("it is loaded");
    calm().await;
    let text = page(&cache);
    assert_eq!(
        (sample(&text, &series("0.1")), sample(&text, &series("0.5"))),
        (2.0, 3.0),
        "a hang is its timeout"
    );
    assert!(
        text.contains("# TYPE cache_duration_seconds histogram\n") && !text.contains("tier=\"memory\",le=")
    );
}
