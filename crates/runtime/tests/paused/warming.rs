//! What is warmed before anybody asks: from a file that a process before has left, and from the origin's own list.

use std::path::PathBuf;
use std::time::Duration;

use seawall::core::warm;
use seawall::{Cache, CacheBuilder, Options, SnapshotError, origin};

use crate::support::{Db, Users, calm, ms, secs};

/// A file of this test's own, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}.keys", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Place(path)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("it was written")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const EVERY: Duration = Duration::from_mins(1);

fn process(place: &Place, db: &Db) -> CacheBuilder<u64, String> {
    let db = db.clone();
    let load = move |_: u64| db.clone().load();
    Cache::builder("users")
        .origin(origin::from_fn(load))
        .snapshot(&place.0, EVERY)
        .protect(|policies| {
            policies.warm = Some(warm::Settings {
                pace: 10.0,
                ..warm::Settings::default()
            });
        })
}

/// Nine of ten reads are of keys 0 to 9, the rest of a thousand others.
async fn traffic(cache: &Users) {
    for turn in 0..20_000_u64 {
        let key = if turn % 10 == 9 {
            1_000 + turn % 1_009
        } else {
            turn / 7 % 10
        };
        cache
            .read(&key, &Options::new())
            .await
            .expect("the origin has it");
    }
}

fn held(cache: &Users, keys: std::ops::Range<u64>) -> usize {
    keys.filter(|key| cache.hit(key, &Options::new()).is_some())
        .count()
}

#[tokio::test(start_paused = true)]
async fn what_was_hot_before_a_restart_is_warmed_after_it_at_the_pace() {
    let (place, db) = (Place::new("restart"), Db::new(ms(1)));
    let first = process(&place, &db).build();
    traffic(&first).await;
    tokio::time::sleep(EVERY + ms(1)).await;
    assert_eq!((first.stats().snapshots, first.stats().snapshots_failed), (1, 0));
    drop(first);
    let lines = place.text().lines().count() - 1;
    assert!(
        (10..60).contains(&lines),
        "80% of the reads are of few keys: {lines}"
    );

    let second = process(&place, &db).build();
    tokio::time::sleep(ms(505)).await;
    assert_eq!(held(&second, 0..10), 6, "ten a second, and the first at once");
    tokio::time::sleep(secs(1)).await;
    assert_eq!(held(&second, 0..10), 10, "the hottest come first");
    assert_eq!(second.stats().tiers[0].hits as usize, 16, "nobody else has asked");
    tokio::time::sleep(secs(10)).await;
    assert_eq!(
        (second.stats().warming, second.stats().warmed as usize),
        (None, lines)
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_hardly_asked_does_not_forget_what_the_one_before_knew() {
    let (place, db) = (Place::new("quiet"), Db::new(ms(1)));
    let first = process(&place, &db).build();
    traffic(&first).await;
    let count = first.snapshot().await.expect("it is written");
    drop(first);
    let before = place.text();

    let second = process(&place, &db).build();
    calm().await;
    assert_eq!(second.snapshot().await.expect("nobody has asked"), 0);
    assert_eq!(place.text(), before);
    for _ in 0..200 {
        second
            .read(&77, &Options::new())
            .await
            .expect("the origin has it");
    }
    assert_eq!(second.snapshot().await.expect("it is written"), count + 1);
    assert_eq!(
        place.text().lines().nth(1),
        Some("77"),
        "the newest knowledge comes first"
    );
    tokio::time::sleep(secs(300)).await;
    for _ in 0..200 {
        second
            .read(&77, &Options::new())
            .await
            .expect("the origin has it");
    }
    let count = second.snapshot().await.expect("it is written");
    assert_eq!(count, 1, "after a whole window it knows by itself");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_counted_and_replaced() {
    let (place, db) = (Place::new("damaged"), Db::new(ms(1)));
    let first = process(&place, &db).build();
    traffic(&first).await;
    first.snapshot().await.expect("it is written");
    drop(first);
    let whole = place.text();
    for (damage, text) in [
        ("cut", whole[..whole.len() - 2].to_owned()),
        ("changed", whole.replacen("\n1\n", "\n2\n", 1)),
        ("not ours", "key,count\n1,2\n".to_owned()),
        ("empty", String::new()),
    ] {
        assert_ne!(text, whole, "{damage}");
        std::fs::write(&place.0, text).expect("it can be written");
        let second = process(&place, &db).build();
        tokio::time::sleep(secs(5)).await;
        let stats = second.stats();
        assert_eq!((stats.snapshots_damaged, stats.warmed), (1, 0), "{damage}");
        traffic(&second).await;
        assert!(second.snapshot().await.expect("it is written") >= 10, "{damage}");
    }
    let other: Users = Cache::builder("posts").snapshot(&place.0, EVERY).build();
    drop(process(&place, &db));
    calm().await;
    assert_eq!(
        other.stats().snapshots_damaged,
        1,
        "another cache's keys are not ours"
    );
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_is_counted_and_hurts_nobody() {
    let db = Db::new(ms(1));
    let nowhere = Place(
        PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join("no such folder")
            .join("keys"),
    );
    let cache = process(&nowhere, &db).build();
    traffic(&cache).await;
    assert!(matches!(cache.snapshot().await, Err(SnapshotError::Io(_))));
    tokio::time::sleep(EVERY * 2).await;
    let stats = cache.stats();
    assert!(stats.snapshots_failed >= 2 && stats.snapshots == 0, "{stats:?}");
    assert_eq!(
        cache.read(&1, &Options::new()).await.expect("it is answered"),
        "one"
    );
    let none: Users = Cache::builder("users").build();
    assert!(matches!(none.snapshot().await, Err(SnapshotError::Off)));
}

#[tokio::test(start_paused = true)]
async fn the_origin_may_say_what_is_popular() {
    let db = Db::new(ms(1));
    let load = {
        let db = db.clone();
        move |_: u64| db.clone().load()
    };
    let list = |limit: usize| async move { Ok::<Vec<u64>, std::io::Error>((40..).take(limit + 5).collect()) };
    let cache: Users = Cache::builder("users")
        .origin(origin::listed(origin::from_fn(load), list))
        .build();
    assert_eq!(cache.warm_from_origin(7).await.expect("it says"), 7);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(
        (held(&cache, 40..47), held(&cache, 47..60), db.count()),
        (7, 0, 7)
    );
}
