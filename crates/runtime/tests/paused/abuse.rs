//! Random callers, faults and departures: no hang, no wrong answer, nothing left over.

use proptest::prelude::*;
use seawall::core::rng::Seed;
use seawall::core::{coalesce, early, lease, limit, retry, stale, time::Span};
use seawall::{Cache, CacheFault, Error, Options};
use tokio::time::Instant;

use crate::support::{Shared, Trouble, Users, assert_quiet, ms, secs};

/// What one caller saw: whether its answer was of its key, and how long it took.
async fn call(cache: Users, key: u64, fate: u64, deadline: u64) -> (bool, u64) {
    let load = move || async move {
        tokio::time::sleep(ms(fate % 97)).await;
        match fate % 7 {
            0 => Err(Error::TimedOut),
            1 => panic!("a loader that panics"),
            2 => std::future::pending().await,
            _ => Ok(format!("value of {key}")),
        }
    };
    let before = Instant::now();
    let options = Options::new().deadline(ms(deadline));
    let result = cache.get_or_load(&key, &options, load).await;
    let right = result.map_or(true, |value| value == format!("value of {key}"));
    (right, before.elapsed().as_millis() as u64)
}

async fn storm(seed: u64, hashed_by: fn(&u64) -> u64) {
    let shared = Shared::new("redis");
    shared.shelf().latency = ms(2);
    let cache: Users = Cache::builder("users")
        .memory(1 << 16)
        .memory_ttl(ms(300))
        .layer(std::sync::Arc::new(shared.clone()), Some(secs(2)), ms(50))
        .codec(seawall::Json)
        .hashed_by(hashed_by)
        .seed(seed)
        .protect(|policies| {
            policies.limit = Some(limit::Settings {
                max: 8,
                places: 8,
                ..limit::Settings::default()
            });
            policies.retry = Some(retry::Settings::default());
            policies.early = Some(early::Settings { beta: 1.0 });
            policies.lease = Some(lease::Settings::default());
            policies.stale = Some(stale::Settings::default());
            policies.deadline.cancel = seed.is_multiple_of(2);
            policies.deadline.hard = Some(Span::millis(500));
            policies.coalesce = Some(coalesce::Settings {
                window: Span::millis(seed % 3 * 10),
                ..coalesce::Settings::default()
            });
        })
        .build();
    let mut rng = Seed(seed).stream("storm", 0);
    let mut calls = Vec::new();
    for _ in 0..300 {
        tokio::time::sleep(ms(rng.below(8))).await;
        let (key, fate, deadline) = (rng.below(12), rng.bits(), 1 + rng.below(400));
        match rng.below(40) {
            0 => shared.trouble(Trouble::Hangs),
            1 => shared.trouble(Trouble::Fault(
                CacheFault::ALL[rng.below(CacheFault::ALL.len() as u64) as usize],
            )),
            2..8 => shared.trouble(Trouble::None),
            8 => {
                let _ = cache.invalidate(&key).await;
            }
            9 => cache.lost_invalidations(),
            10 => {
                let held: Vec<_> = shared.shelf().held.keys().cloned().collect();
                if let Some(victim) = held.get(rng.below(12) as usize) {
                    shared
                        .shelf()
                        .held
                        .insert(victim.clone(), b"SWL\x01rubbish".to_vec().into());
                }
            }
            11 => cache.insert(&key, &Options::new(), format!("value of {key}")),
            12 => cache.retune(&cache.policies()),
            _ => {}
        }
        let task = tokio::spawn(call(cache.clone(), key, fate, deadline));
        if rng.below(10) == 0 {
            tokio::time::sleep(ms(rng.below(30))).await;
            task.abort();
        } else {
            calls.push((task, deadline));
        }
    }
    for (task, deadline) in calls {
        let (right, took) = task.await.expect("no caller panics");
        assert!(right, "an answer is of its key");
        assert!(took <= deadline, "{took} ms of {deadline}");
    }
    shared.trouble(Trouble::None);
    tokio::time::sleep(secs(5)).await;
    assert_quiet(&cache);
}

/// The loaders that panic on purpose would fill the output.
fn quiet_loaders() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"a loader that panics") {
                told(panic);
            }
        }));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_hangs_or_is_told_wrong(seed in any::<u64>()) {
        quiet_loaders();
        let hashed_by: fn(&u64) -> u64 = if seed.is_multiple_of(3) { |key| key & 3 } else { |key| *key };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(storm(seed, hashed_by));
    }
}
