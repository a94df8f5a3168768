//! Adapters for origins: PostgreSQL and SQLite (features `postgres` and `sqlite`), HTTP (feature `http`).
//!
//! Each bounds what it does to its origin: so many connections, so many that wait for one, so long for all of it. None
//! retries; the cache's policies decide on that. What went wrong is told as an
//! [`OriginFault`](crate::OriginFault), because "out of connections" and "gone" ask for different reactions.
//!
//! A [`Pool`] and a query make an [`Origin`](crate::Origin):
//!
//! ```no_run
//! # #[cfg(feature = "postgres")] {
//! use seawall::Cache;
//! use seawall::origins::{Pool, PoolSettings, Postgres, sqlx::{self, Row}};
//!
//! let pool = Pool::<Postgres>::new("postgres://app@db/shop", PoolSettings::default())?;
//! let prices = pool.origin(
//!     |article: &i64| sqlx::query("SELECT price FROM articles WHERE id = $1").bind(*article),
//!     |row| row.try_get::<i64, _>("price"),
//! );
//! let cache: Cache<i64, i64> = Cache::builder("prices").origin(prices).build();
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! They are not a way to talk to a database in general. A transaction of several statements needs one's own.

#[cfg(feature = "http")]
mod http;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod pool;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod replicas;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;

#[cfg(feature = "http")]
pub use http::{Http, HttpOrigin, HttpSettings, Page};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use pool::{Pool, PoolSettings};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use replicas::Replicas;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sql::{Dialect, Query, SqlOrigin};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use sqlx;
#[cfg(feature = "postgres")]
pub use sqlx::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlx::Sqlite;
