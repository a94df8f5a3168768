//! A read-through cache that keeps a service standing when the cache falls.
//!
//! Whoever reads through it gets what memory, a shared cache or the origin has, in this order, and behind it stand the
//! protections: one load a key however many ask, a limit on what is inside the origin, breakers for each cache node,
//! stale answers within bounds when a load fails, one deadline for all of it. They are the same code that
//! `seawall simulate` plays, and are tuned by the same table ([`Policies`]).
//!
//! ```
//! use std::time::Duration;
//! use seawall::{Cache, Error, Loaded, Options};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let users: Cache<u64, String> = Cache::builder("users").memory(64 << 20).build();
//! let options = Options::new();
//!
//! // The value of key 7, loaded when it is nowhere. A thousand callers make one load.
//! let name = users
//!     .get_or_load(&7, &options, || async { Ok::<_, std::io::Error>("Ada".to_owned()) })
//!     .await?;
//! assert_eq!(name, "Ada");
//! assert_eq!(users.get(&7).await.as_deref(), Some("Ada"));
//!
//! // A loader may say more than the value: how long it lives, what it belongs to, that there is none.
//! let load = || async {
//!     let loaded = Loaded::new("Grace".to_owned()).ttl(Duration::from_secs(60)).tag("team:1");
//!     Ok::<_, std::io::Error>(loaded)
//! };
//! users.get_or_load(&8, &options, load).await?;
//! users.invalidate_tag("team:1");
//! users.invalidate(&7).await?;
//! assert_eq!(users.get(&8).await, None);
//!
//! // What is expected is a value, and each asks for another reaction.
//! match users.get_or_load(&9, &options, || async { Ok::<Option<String>, std::io::Error>(None) }).await {
//!     Err(Error::NotFound) => {}
//!     Err(Error::Shed { retry_after, .. }) => drop(retry_after),
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Error>(()) }).unwrap();
//! ```
//!
//! Coming from moka: `get_with` is [`Cache::get_or_load`], `try_get_with` too; `max_capacity` is
//! [`CacheBuilder::memory`], in bytes; `time_to_live` is [`CacheBuilder::memory_ttl`]. Coming from FusionCache:
//! `GetOrSet` is [`Cache::get_or_load`], fail-safe is [`Policies::stale`], the factory timeouts are
//! [`Policies::deadline`], eager refresh is [`Policies::early`], the distributed cache is [`CacheBuilder::tier`], the
//! backplane is [`Backplane`].
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `redis` (on by default) | tiers in Redis: one server, a ring of them, a cluster, behind sentinels; the backplane |
//! | `disk` | a tier on the local disk, which is there after a restart |
//! | `postgres`, `sqlite`, `http` | origins: databases with bounded pools, an HTTP service |
//! | `tower` | the protections as layers, for what is not behind a cache |
//! | `otel` | metrics through the API of OpenTelemetry (`Cache::export_to`) |
//!
//! Spans are those of `tracing`: `read` for each call that memory alone did not answer, with how it ended; below it `tier`
//! for each call to a tier and `load` for what it began to load.
//!
//! It is not the door of a service: the queue, the rate limit and the shedding by priority stand before it, in the
//! gateway, or as layers for `tower` (module `layers`, with the feature `tower`).

#[cfg(feature = "disk")]
pub mod disk;
pub mod envelope;
#[cfg(feature = "tower")]
pub mod layers;
pub mod origin;
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "http"))]
pub mod origins;
#[cfg(feature = "redis")]
pub mod redis;

mod answer;
mod backplane;
mod builder;
mod cache;
mod call;
mod clock;
mod codec;
mod drive;
mod effects;
mod engine;
mod far;
mod flight;
mod health;
mod key;
mod memory;
mod meters;
mod observed;
mod options;
#[cfg(feature = "otel")]
mod otel;
mod slots;
mod snapshot;
mod stats;
mod store;
mod tags;
mod timer;
mod visit;
mod warming;
mod weight;
mod write;

pub use answer::{Answer, Error, Freshness, Source};
pub use backplane::{Backplane, Invalidation};
pub use builder::{
    CacheBuilder, DISK_TTL, MEMORY_BYTES, MEMORY_TTL, SHARED_TTL, TIER_TIMEOUT, default_policies,
};
pub use cache::Cache;
pub use codec::{Codec, CodecError, Json, Raw};
pub use health::{Health, PartHealth, Status};
pub use key::{Address, Key};
pub use options::Options;
pub use origin::{LoadError, Loaded, Origin};
pub use snapshot::SnapshotError;
pub use stats::{MetricsPage, Stats, TierStats};
pub use store::{Boxed, Sealed, Store};
pub use visit::Visit;

pub use seawall_core as core;
pub use seawall_core::gate::Reason;
pub use seawall_core::guard::{CacheFault, OriginFault};
pub use seawall_core::policies::Policies;
pub use seawall_core::shed::Priority;
pub use seawall_core::ttl::Class;
