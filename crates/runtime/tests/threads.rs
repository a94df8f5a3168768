//! Real threads and a real clock: what is purged is never seen again, whoever races whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall::{Cache, Error, Options};

const KEYS: u64 = 4;

/// The truth about each key, and what everybody has to have heard of.
#[derive(Default)]
struct Truth {
    now: [AtomicU64; KEYS as usize],
    told: [AtomicU64; KEYS as usize],
}

async fn read(cache: Cache<u64, u64>, truth: Arc<Truth>, seed: u64, count: u64) {
    for turn in 0..count {
        let key = seawall::core::rng::mix(seed ^ turn) % KEYS;
        let told = truth.told[key as usize].load(Ordering::SeqCst);
        let load = {
            let truth = Arc::clone(&truth);
            move || {
                let truth = Arc::clone(&truth);
                async move {
                    let value = truth.now[key as usize].load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok::<_, Error>(value)
                }
            }
        };
        let value = cache
            .get_or_load(&key, &Options::new(), load)
            .await
            .expect("it is loaded");
        assert!(
            value >= told,
            "{value} was read of {key} after {told} had been told"
        );
        if turn % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn write(cache: Cache<u64, u64>, truth: Arc<Truth>, key: u64, count: u64) {
    for turn in 0..count {
        let value = truth.now[key as usize].fetch_add(1, Ordering::SeqCst) + 1;
        if turn % 3 == 0 {
            cache.insert(&key, &Options::new(), value);
        } else {
            cache.invalidate(&key).await.expect("there is nobody to tell");
        }
        truth.told[key as usize].store(value, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_purged_is_never_read_again() {
    let cache: Cache<u64, u64> = Cache::builder("race")
        .protect(|policies| policies.hot = Some(seawall::core::sketch::Settings::default()))
        .build();
    let truth = Arc::new(Truth::default());
    let readers: Vec<_> = (0..4)
        .map(|seed| tokio::spawn(read(cache.clone(), Arc::clone(&truth), seed << 32, 60_000)))
        .collect();
    let writers: Vec<_> = (0..KEYS)
        .map(|key| tokio::spawn(write(cache.clone(), Arc::clone(&truth), key, 300)))
        .collect();
    for task in readers.into_iter().chain(writers) {
        task.await.expect("nobody read what was gone");
    }
    let stats = cache.stats();
    assert!(stats.tiers[0].hits > 10_000, "memory was read: {stats:?}");
    assert_eq!(stats.requests, 0);
}

/// Many threads on few keys of each other's shards: whoever has inserted finds it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_inserted_is_there_at_once() {
    let cache: Cache<u64, u64> = Cache::builder("insert").memory(4 << 20).build();
    let tasks: Vec<_> = (0..8_u64)
        .map(|own| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for turn in 0..4_000_u64 {
                    // Other keys push out what is old, never what has just come.
                    let key = (turn % 997) << 8 | own;
                    cache.insert(&key, &Options::new(), turn);
                    assert_eq!(cache.get(&key).await, Some(turn), "key {key}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("each finds its own");
    }
}
