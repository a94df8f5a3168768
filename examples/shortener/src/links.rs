//! Links: read through the cache, written past it.

use std::time::Duration;

use seawall::core::time::Span;
use seawall::core::{breaker, lease};
use seawall::redis::{ConfigError, Redis};
use seawall::{Cache, CacheBuilder, Error, Health, LoadError, MetricsPage, Options};

use crate::code::Code;
use crate::database::{Database, Reads};

/// All links.
pub(crate) struct Links {
    cache: Cache<Code, String>,
    database: Database,
    options: Options,
}

/// Why a link was not created.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database did not take it.
    Database(LoadError),
    /// There was no code for it.
    NoCode,
}

impl Links {
    /// Links in this database, cached in memory and, where there is a Redis, in that.
    pub(crate) fn new(database: Database, redis: Option<&str>) -> Result<Links, ConfigError> {
        let builder = protected(match database.reads() {
            Reads::Postgres(origin) => Cache::builder("links").origin(origin),
            Reads::Sqlite(origin) => Cache::builder("links").origin(origin),
        });
        let cache = match redis {
            // SQLite and memory alone: nothing to set up.
            None => builder.build(),
            Some(url) => {
                let redis = Redis::url(url)?;
                // Over it, the copies of this service tell each other what has changed.
                let backplane = redis.backplane("shortener")?;
                let cache = builder.tier(redis.build()?).backplane(backplane.clone()).build();
                backplane.attach(&cache);
                cache
            }
        };
        Ok(Links {
            cache,
            database,
            options: Options::new(),
        })
    }

    /// Where a code leads; [`Error::NotFound`] when nowhere.
    pub(crate) async fn resolve(&self, code: &Code) -> Result<String, Error> {
        self.cache.read(code, &self.options).await
    }

    /// Keeps a link under a new code.
    pub(crate) async fn create(&self, url: &str) -> Result<Code, Failure> {
        // Two draws that are both taken are as likely as never. A loop without an end is still no good idea.
        for _ in 0..3 {
            let code = Code::draw().map_err(|_| Failure::NoCode)?;
            // Past the cache's breaker and limit, which guard the replicas: when those are down, creating goes on.
            if self
                .database
                .insert(&code, url)
                .await
                .map_err(Failure::Database)?
            {
                // Who created it reads it next, and a replica may not have it yet. So it is put into the caches, and
                // what others remember of the code ("there is no such thing") is taken out.
                self.cache.insert(&code, &self.options, url.to_owned());
                return Ok(code);
            }
        }
        Err(Failure::NoCode)
    }

    /// How it is.
    pub(crate) fn health(&self) -> Health {
        self.cache.health()
    }

    /// What it has done, for Prometheus.
    pub(crate) fn write_metrics(&self, page: &mut MetricsPage) {
        self.cache.write_metrics(page);
        let active = self.database.active() as f64;
        page.add(
            seawall::core::record::Metric::OriginConnections,
            "links",
            &[],
            active,
        );
    }
}

/// The defaults protect already: one load a code, a bounded line before the database, a breaker before Redis, answers
/// that are a little old when the database fails. What is said here is what this service knows better.
fn protected(builder: CacheBuilder<Code, String>) -> CacheBuilder<Code, String> {
    builder.memory(64 << 20).protect(|policies| {
        // Somebody clicked, and waits: rather a quick "try again" than a slow answer.
        policies.deadline.total = Some(Span::secs(1));
        policies.deadline.hard = Some(Span::secs(3));
        // As many loads as there are connections. The line before them is worth half a deadline, no more.
        if let Some(limit) = &mut policies.limit {
            limit.max = 10;
            limit.initial = 10;
            limit.places = 500;
            limit.timeout = Span::millis(500);
        }
        // A database that fails each time is left alone for a moment. Links that are known go on.
        policies.origin_breaker = Some(breaker::Settings {
            open_for: Span::secs(1),
            ..breaker::Settings::default()
        });
        // Of all copies of this service, one loads a code. (Without a Redis there is nobody to ask.)
        policies.lease = Some(lease::Settings {
            wait_max: Span::millis(300),
            ..lease::Settings::default()
        });
        // A link never changes, so an old one is as good as a new one.
        if let Some(stale) = &mut policies.stale {
            stale.on_error = Span::from(Duration::from_hours(24));
        }
    })
}
