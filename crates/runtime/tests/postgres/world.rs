//! A service that reads from PostgreSQL under a steady stream of calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use seawall::core::time::Span;
use seawall::core::{breaker, deadline, limit, stale};
use seawall::origins::sqlx::{self, Row};
use seawall::origins::{Pool, PoolSettings, Postgres, SqlOrigin};
use seawall::{Boxed, Cache, LoadError, Loaded, Options, Origin, OriginFault, Policies, Source};
use tokio::time::Instant;

/// Keys that are asked for, all alike.
pub(crate) const KEYS: i64 = 200;
/// Between two calls: 400 a second.
const EVERY: Duration = Duration::from_micros(2_500);
/// Values are fresh for this long, so that most of the keys are loaded anew in every second.
const FRESH: Duration = Duration::from_millis(500);
/// How long a call may take, where calls have a deadline.
pub(crate) const DEADLINE: Duration = Duration::from_millis(500);
/// At most so many loads are inside the origin, and so many in line, where there are limits.
pub(crate) const PLACES: u32 = 8;
pub(crate) const LINE: u32 = 40;

pub(crate) fn truth(key: i64) -> String {
    format!("the value of {key}")
}

/// The protections whose worth is shown, and a pool that bounds what it does.
pub(crate) fn protected() -> (Policies, PoolSettings) {
    let policies = Policies {
        deadline: deadline::Settings {
            total: Some(Span::from(DEADLINE)),
            hard: Some(Span::secs(1)),
            ..deadline::Settings::default()
        },
        limit: Some(limit::Settings {
            mode: limit::Mode::Fixed,
            min: 1,
            max: PLACES,
            initial: PLACES,
            places: LINE,
            timeout: Span::millis(250),
        }),
        origin_breaker: Some(breaker::Settings {
            open_for: Span::millis(300),
            ..breaker::Settings::default()
        }),
        stale: Some(stale::Settings {
            on_error: Span::secs(60),
            ..stale::Settings::default()
        }),
        ..seawall::default_policies()
    };
    let pool = PoolSettings {
        connections: PLACES as usize,
        waiting: 100,
        acquire: Duration::from_millis(100),
        connect: Duration::from_millis(200),
        statement: Duration::from_millis(200),
        lock: Duration::from_millis(100),
        ..PoolSettings::default()
    };
    (policies, pool)
}

/// What services have that were never told of limits.
pub(crate) fn unprotected() -> (Policies, PoolSettings) {
    const LONG: Duration = Duration::from_mins(1);
    let pool = PoolSettings {
        connections: PLACES as usize,
        waiting: usize::MAX,
        acquire: LONG,
        connect: LONG,
        statement: LONG,
        lock: LONG,
        idle: LONG,
    };
    (Policies::default(), pool)
}

/// What a service came to, during a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) wrong: u64,
    /// Longest and 99th percentile, of all calls that began in the phase.
    pub(crate) max: Duration,
    pub(crate) p99: Duration,
    /// Loads that were inside the origin or in the line before it at the same time.
    pub(crate) present_max: u32,
}

/// What loads come to.
#[derive(Debug, Default)]
struct Loads {
    present: AtomicU32,
    present_max: AtomicU32,
    faults: std::sync::Mutex<Vec<OriginFault>>,
}

/// An origin that counts.
struct Counted {
    inner: SqlOrigin<Postgres, i64, String>,
    loads: Arc<Loads>,
}

struct Present<'a>(&'a Loads);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Origin<i64, String> for Counted {
    fn load<'a>(&'a self, key: &'a i64) -> Boxed<'a, Result<Loaded<String>, LoadError>> {
        Box::pin(async move {
            let present = self.loads.present.fetch_add(1, Ordering::Relaxed) + 1;
            self.loads.present_max.fetch_max(present, Ordering::Relaxed);
            let _present = Present(&self.loads);
            let loaded = self.inner.load(key).await;
            if let Err(error) = &loaded {
                self.loads
                    .faults
                    .lock()
                    .expect("nobody panics")
                    .push(error.fault());
            }
            loaded
        })
    }
}

/// One service.
pub(crate) struct World {
    cache: Cache<i64, String>,
    loads: Arc<Loads>,
    next: AtomicI64,
}

/// The table that all of this is about.
pub(crate) async fn fill(pool: &Pool<Postgres>) {
    let create = "CREATE TABLE IF NOT EXISTS items (id BIGINT PRIMARY KEY, value TEXT NOT NULL)";
    pool.execute(sqlx::query(create)).await.expect("it takes a table");
    let fill = "INSERT INTO items SELECT id, 'the value of ' || id FROM generate_series(0, $1 - 1) AS id";
    let filled = pool.execute(sqlx::query(fill).bind(KEYS)).await;
    assert_eq!(filled.expect("it takes rows"), KEYS as u64);
}

impl World {
    pub(crate) fn new(url: &str, (policies, settings): (Policies, PoolSettings)) -> Arc<World> {
        let pool = Pool::<Postgres>::new(url, settings).expect("the URL is one");
        let inner = pool.origin(
            |key: &i64| sqlx::query("SELECT value FROM items WHERE id = $1").bind(*key),
            |row| row.try_get("value"),
        );
        let loads = Arc::new(Loads::default());
        let origin = Counted {
            inner,
            loads: Arc::clone(&loads),
        };
        let cache = Cache::builder("world")
            .memory_ttl(FRESH)
            .origin(origin)
            .policies(policies)
            .build();
        let next = AtomicI64::new(0);
        Arc::new(World { cache, loads, next })
    }

    /// Calls at a steady pace for so long; each of them is waited for.
    pub(crate) async fn run(self: Arc<World>, phase: Duration) -> Seen {
        let present = self.loads.present.load(Ordering::Relaxed);
        self.loads.present_max.store(present, Ordering::Relaxed);
        let began = Instant::now();
        let mut calls = Vec::new();
        let mut at = began;
        while at < began + phase {
            tokio::time::sleep_until(at).await;
            at += EVERY;
            let key = self.next.fetch_add(1, Ordering::Relaxed) * 7_919 % KEYS;
            let world = Arc::clone(&self);
            calls.push(tokio::spawn(async move {
                let began = Instant::now();
                let result = world.cache.read(&key, &Options::new()).await;
                (began.elapsed(), result.map(|value| value == truth(key)))
            }));
        }
        let mut seen = Seen::default();
        let mut took = Vec::new();
        for call in calls {
            let (elapsed, result) = call.await.expect("no call panics");
            took.push(elapsed);
            match result {
                Ok(true) => seen.answered += 1,
                Ok(false) | Err(seawall::Error::NotFound) => seen.wrong += 1,
                Err(_) => seen.refused += 1,
            }
        }
        took.sort_unstable();
        seen.max = took.last().copied().unwrap_or_default();
        seen.p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        seen.present_max = self.loads.present_max.load(Ordering::Relaxed);
        seen
    }

    /// Reads until loads succeed again, one after the other, without a restart.
    pub(crate) async fn recovers(&self, limit: Duration) -> Option<Duration> {
        let began = Instant::now();
        let mut good = 0;
        while began.elapsed() < limit {
            let key = good % KEYS;
            let answer = self.cache.read_full(&key, &Options::new().bypass()).await;
            let loaded = answer.is_ok_and(|answer| {
                matches!(answer.source, Source::Origin | Source::Shared) && answer.value == Some(truth(key))
            });
            good = if loaded { good + 1 } else { 0 };
            if good == 20 {
                return Some(began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// How many loads failed in this way.
    pub(crate) fn told(&self, fault: OriginFault) -> usize {
        let faults = self.loads.faults.lock().expect("nobody panics");
        faults.iter().filter(|told| **told == fault).count()
    }

    pub(crate) fn stats(&self) -> seawall::Stats {
        self.cache.stats()
    }
}
