//! A service before an origin that can do so much and no more, under a steady stream of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use seawall::core::time::Span;
use seawall::core::{deadline, limit};
use seawall::{Cache, CacheFault, Error, Options, Policies, Store};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Calls to the origin that are worked on at a time, and how long each takes: 200 a second.
const PLACES: usize = 10;
const TAKES: Duration = Duration::from_millis(50);
/// Keys that are asked for, all alike.
const KEYS: u64 = 400;
/// Between two calls: 400 a second.
const EVERY: Duration = Duration::from_micros(2_500);
/// How long a call may take, where calls have a deadline.
pub(crate) const DEADLINE: Duration = Duration::from_millis(500);
/// How long one call to the tier may take.
const TIER_TIMEOUT: Duration = Duration::from_millis(100);

/// What the origin says of a key, always.
fn truth(key: u64) -> String {
    format!("the value of {key} {}", "x".repeat(100))
}

/// An origin whose line is as long as it is made.
#[derive(Debug)]
struct Origin {
    places: Semaphore,
    present: AtomicU32,
    present_max: AtomicU32,
}

impl Origin {
    async fn read(self: Arc<Origin>, key: u64) -> Result<String, std::io::Error> {
        let present = Present::enter(&self);
        let place = self.places.acquire().await.map_err(std::io::Error::other)?;
        tokio::time::sleep(TAKES).await;
        drop((place, present));
        Ok(truth(key))
    }
}

struct Present<'a>(&'a Origin);

impl Present<'_> {
    fn enter(origin: &Origin) -> Present<'_> {
        let present = origin.present.fetch_add(1, Ordering::Relaxed) + 1;
        origin.present_max.fetch_max(present, Ordering::Relaxed);
        Present(origin)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a service under a policy came to, during a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    /// Of these, within [`DEADLINE`].
    pub(crate) in_time: u64,
    pub(crate) refused: u64,
    pub(crate) wrong: u64,
    /// Longest and 99th percentile, of all calls that began during the fault.
    pub(crate) max: Duration,
    pub(crate) p99: Duration,
    /// Calls that were inside the origin or in line before it at the same time.
    pub(crate) origin_present_max: u32,
}

/// Calls of a phase, as they end.
#[derive(Debug, Default)]
struct Log {
    took: std::sync::Mutex<Vec<Duration>>,
    answered: AtomicU64,
    in_time: AtomicU64,
    refused: AtomicU64,
    wrong: AtomicU64,
}

/// The protections whose worth is shown.
pub(crate) fn protected() -> Policies {
    Policies {
        deadline: deadline::Settings {
            total: Some(Span::from(DEADLINE)),
            hard: Some(Span::secs(2)),
            ..deadline::Settings::default()
        },
        limit: Some(limit::Settings {
            mode: limit::Mode::Fixed,
            min: 1,
            max: PLACES as u32,
            initial: PLACES as u32,
            places: 40,
            timeout: Span::millis(250),
        }),
        breaker: Some(seawall::core::breaker::Settings {
            open_for: Span::millis(500),
            ..seawall::core::breaker::Settings::default()
        }),
        ..seawall::default_policies()
    }
}

/// One service.
pub(crate) struct World {
    origin: Arc<Origin>,
    cache: Cache<u64, String>,
    next: AtomicU64,
}

impl World {
    pub(crate) fn new(store: impl Store, policies: Policies) -> Arc<World> {
        let origin = Arc::new(Origin {
            places: Semaphore::new(PLACES),
            present: AtomicU32::new(0),
            present_max: AtomicU32::new(0),
        });
        let cache = Cache::builder("world")
            .no_memory()
            .codec(seawall::Json)
            .layer(Arc::new(store), None, TIER_TIMEOUT)
            .policies(policies)
            .build();
        let next = AtomicU64::new(0);
        Arc::new(World { origin, cache, next })
    }

    async fn read(&self, key: u64) -> Result<String, Error> {
        let origin = Arc::clone(&self.origin);
        let load = move || Arc::clone(&origin).read(key);
        self.cache.get_or_load(&key, &Options::new(), load).await
    }

    /// Reads every key once, so that the tier has it.
    pub(crate) async fn fill(self: &Arc<World>) {
        let keys: Vec<u64> = (0..KEYS).collect();
        for some in keys.chunks(PLACES) {
            let reads = some.iter().map(|key| self.read(*key));
            for (read, key) in futures_util::future::join_all(reads).await.into_iter().zip(some) {
                assert_eq!(read.expect("all is well"), truth(*key));
            }
        }
    }

    /// Calls at a steady pace for so long; each of them is waited for.
    pub(crate) async fn run(self: &Arc<World>, phase: Duration) -> Seen {
        let log = Arc::new(Log::default());
        let present = self.origin.present.load(Ordering::Relaxed);
        self.origin.present_max.store(present, Ordering::Relaxed);
        let began = Instant::now();
        let mut tasks = Vec::new();
        let mut at = began;
        while at < began + phase {
            tokio::time::sleep_until(at).await;
            at += EVERY;
            // Far apart, so that neighbours in time are not neighbours in anything else.
            let key = self.next.fetch_add(1, Ordering::Relaxed) * 7_919 % KEYS;
            let (world, log) = (Arc::clone(self), Arc::clone(&log));
            tasks.push(tokio::spawn(async move {
                let began = Instant::now();
                let result = world.read(key).await;
                let took = began.elapsed();
                log.took.lock().expect("nobody panics").push(took);
                let counter = match result {
                    Ok(value) if value == truth(key) => {
                        log.in_time
                            .fetch_add(u64::from(took <= DEADLINE), Ordering::Relaxed);
                        &log.answered
                    }
                    Ok(_) => &log.wrong,
                    Err(_) => &log.refused,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            }));
        }
        for task in tasks {
            task.await.expect("no call panics");
        }
        let mut took = log.took.lock().expect("nobody panics").clone();
        took.sort_unstable();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Seen {
            answered: read(&log.answered),
            in_time: read(&log.in_time),
            refused: read(&log.refused),
            wrong: read(&log.wrong),
            max: took.last().copied().unwrap_or_default(),
            p99: took.get(took.len() * 99 / 100).copied().unwrap_or_default(),
            origin_present_max: self.origin.present_max.load(Ordering::Relaxed),
        }
    }

    /// Calls until the tier answers nearly all of them again, without a restart.
    pub(crate) async fn recovers(self: &Arc<World>, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let before = self.cache.stats().tiers[0].hits;
            let seen = self.run(Duration::from_millis(250)).await;
            let hits = self.cache.stats().tiers[0].hits - before;
            if seen.answered > 0 && hits * 10 >= seen.answered * 9 {
                return Some(began.elapsed());
            }
        }
        None
    }

    /// How often the tier told one of these facts.
    pub(crate) fn told(&self, facts: &[CacheFault]) -> f64 {
        let mut page = seawall::MetricsPage::default();
        self.cache.write_metrics(&mut page);
        let page = page.text();
        let errors = page.lines().filter(|line| line.starts_with("cache_errors_total"));
        let of = |line: &&str| {
            let reason = |fact: &CacheFault| line.contains(&format!("reason=\"{}\"", fact.name()));
            facts.iter().any(reason)
        };
        let value = |line: &str| {
            line.rsplit_once(' ')
                .and_then(|(_, value)| value.parse::<f64>().ok())
        };
        errors.filter(of).filter_map(value).sum()
    }

    pub(crate) fn stats(&self) -> seawall::Stats {
        self.cache.stats()
    }
}
