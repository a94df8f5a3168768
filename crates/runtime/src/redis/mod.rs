//! Redis as a tier: one server, a cluster, a master behind sentinels, or several servers under our own ring.
//!
//! It retries nothing, queues nothing and waits for nothing longer than it was told: what a server says is handed on as
//! the [`CacheFault`] that it is, and the breaker of the node decides whether the server is asked again. Connections are
//! multiplexed, few, and opened in the background, one attempt at a time; a call on a dead one fails at once.
//!
//! Its values are envelopes ([`crate::envelope`]). A value is only ever replaced by one of its version or a higher one,
//! in a script that runs inside the server, so that a slow old write cannot undo a newer one.
//!
//! It is no general client of Redis: it knows the handful of commands that a cache needs.
//!
//! ```no_run
//! use std::time::Duration;
//! use seawall::Cache;
//! use seawall::redis::Redis;
//!
//! # fn main() -> Result<(), seawall::redis::ConfigError> {
//! // One server.
//! let one = Redis::url("redis://cache:hunter2@10.0.0.1:6379/0")?.build()?;
//! // Three servers under our ring, and a spare one that stands in for each of them.
//! let ring = Redis::url("redis-ring://10.0.0.1,10.0.0.2,10.0.0.3")?
//!     .spares(["10.0.0.9"], Duration::from_secs(10))
//!     .build()?;
//! // A cluster, by some of its nodes, over TLS; and a master whom sentinels know by the name `cache`.
//! let cluster = Redis::url("rediss-cluster://10.0.0.1:7000,10.0.0.2:7000")?.build()?;
//! let guarded = Redis::url("redis-sentinel://10.0.0.1,10.0.0.2,10.0.0.3/cache")?.build()?;
//! # drop((one, ring, guarded));
//! let users: Cache<u64, String> = Cache::builder("users").tier(cluster).build();
//! # drop(users); Ok(()) }
//! ```

mod cluster;
mod config;
mod dial;
mod faults;
mod gossip;
mod grants;
mod lane;
mod pubsub;
mod script;
mod sentinel;
mod slot;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;
use seawall_core::guard::CacheFault;
use seawall_core::ring::Sharding;
use tokio::time::timeout;

pub use config::{ConfigError, RedisBuilder, Secret};
pub use pubsub::RedisBackplane;

use cluster::Cluster;
use grants::Grants;
use lane::{Failure, Link};
use script::Script;
use sentinel::Sentinels;

use crate::key::Address;
use crate::store::{Boxed, Sealed, Store};

/// The scripts that run inside a server, by name: for a stand-in of a server that has no Lua and does them natively.
pub fn scripts() -> [(&'static str, &'static str); 3] {
    [
        ("put", script::PUT.text()),
        ("delete", script::DELETE.text()),
        ("give-back", script::GIVE_BACK.text()),
    ]
}

/// A tier in Redis.
///
/// Made by [`Redis::url`] or [`Redis::builder`].
#[derive(Debug)]
pub struct Redis {
    name: String,
    prefix: String,
    route: Route,
    spares: Option<(u16, Duration)>,
    grants: Grants,
}

/// How the server of a key is found.
#[derive(Debug)]
enum Route {
    /// The guard's ring says which.
    Ring(Vec<Link>),
    /// The cluster's map of slots says which.
    Cluster(Arc<Cluster>),
    /// The sentinels say which.
    Sentinels(Arc<Sentinels>),
}

impl Route {
    async fn call(&self, node: u16, cmd: &Cmd) -> Result<Value, Failure> {
        match self {
            Route::Ring(links) => match links.get(usize::from(node)) {
                Some(link) => link.call(cmd).await,
                None => Err(CacheFault::Moved.into()),
            },
            Route::Cluster(cluster) => cluster.call(node, cmd).await,
            Route::Sentinels(sentinels) => sentinels.call(cmd).await,
        }
    }
}

impl Redis {
    /// Begins with what a URL says:
    ///
    /// | URL | what |
    /// | --- | --- |
    /// | `redis://[user:password@]host[:port][/database]` | one server |
    /// | `redis-ring://host,host,…[/database]` | servers that know nothing of each other, under our ring |
    /// | `redis-cluster://host,host,…` | a cluster, by some of its nodes |
    /// | `redis-sentinel://host,host,…/master[/database]` | a master, by its sentinels (port 26379) |
    ///
    /// With `rediss` in the place of `redis`, over TLS.
    ///
    /// # Errors
    /// When it is no such URL. The error does not repeat it, for it may hold a password.
    pub fn url(url: &str) -> Result<RedisBuilder, ConfigError> {
        RedisBuilder::from_url(url)
    }

    /// Begins with one server.
    pub fn builder(host: impl Into<String>, port: u16) -> RedisBuilder {
        RedisBuilder::single(host.into(), port)
    }

    fn new(builder: &RedisBuilder, route: Route, spares: Option<(u16, Duration)>) -> Redis {
        Redis {
            name: builder.name.clone(),
            prefix: builder.prefix.clone(),
            route,
            spares,
            grants: Grants::new(),
        }
    }

    /// The name of a key in Redis. In a cluster, the part in braces decides the slot.
    fn name_of(&self, node: u16, key: &Address) -> String {
        match &self.route {
            Route::Cluster(cluster) => format!("{{{}}}{}{}", cluster.tag(node), self.prefix, key.text),
            _ => format!("{}{}", self.prefix, key.text),
        }
    }

    /// The name of a key's lease. No key has a space in its name, so no value is ever taken for a lease.
    fn lease_of(&self, node: u16, key: &Address) -> String {
        self.name_of(node, key) + " lease"
    }

    async fn call(&self, node: u16, limit: Duration, cmd: Cmd) -> Result<Value, CacheFault> {
        match timeout(limit, self.route.call(node, &cmd)).await {
            Ok(result) => result.map_err(|failure| failure.fault()),
            Err(_) => Err(CacheFault::TimedOut),
        }
    }

    /// Runs a script by its hash; the server is sent its text when it does not know it (any more).
    async fn run(
        &self,
        node: u16,
        limit: Duration,
        script: &Script,
        name: &str,
        args: &[&[u8]],
    ) -> Result<Value, CacheFault> {
        let by_hash = script.by_hash(name, args);
        let attempts = async {
            match self.route.call(node, &by_hash).await {
                Err(Failure::NoScript) => self.route.call(node, &script.by_text(name, args)).await,
                other => other,
            }
        };
        match timeout(limit, attempts).await {
            Ok(result) => result.map_err(|failure| failure.fault()),
            Err(_) => Err(CacheFault::TimedOut),
        }
    }
}

/// In whole milliseconds, one at least, as Redis wants it.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, FOREVER_MS)
}

/// Redis refuses times that overflow its clock.
const FOREVER_MS: u64 = 1 << 50;

impl Store for Redis {
    fn name(&self) -> &str {
        &self.name
    }

    fn nodes(&self) -> u16 {
        match &self.route {
            Route::Ring(links) => links.len() as u16 - self.spares.map_or(0, |(spares, _)| spares),
            Route::Cluster(cluster) => cluster.partitions(),
            Route::Sentinels(_) => 1,
        }
    }

    fn sharding(&self) -> Sharding {
        match &self.route {
            Route::Cluster(_) => Sharding::Modulo,
            _ => Sharding::Ring,
        }
    }

    fn spares(&self) -> Option<(u16, Duration)> {
        self.spares
    }

    fn get<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        timeout: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>> {
        Box::pin(async move {
            let mut get = cmd("GET");
            get.arg(self.name_of(node, key));
            match self.call(node, timeout, get).await? {
                Value::Nil => Ok(None),
                Value::BulkString(bytes) => Ok(Some(bytes.into())),
                Value::SimpleString(text) => Ok(Some(text.into())),
                _ => Err(CacheFault::Corrupt),
            }
        })
    }

    fn put<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        value: Sealed,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let keep = value.keep.map_or(0, millis).to_string();
            let version = value.version.to_be_bytes();
            let args: [&[u8]; 3] = [&value.bytes, &version, keep.as_bytes()];
            let name = self.name_of(node, key);
            self.run(node, timeout, &script::PUT, &name, &args)
                .await
                .map(drop)
        })
    }

    fn delete<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        version: u64,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let name = self.name_of(node, key);
            if version == u64::MAX {
                let mut delete = cmd("DEL");
                delete.arg(name);
                return self.call(node, timeout, delete).await.map(drop);
            }
            let args: [&[u8]; 1] = [&version.to_be_bytes()];
            self.run(node, timeout, &script::DELETE, &name, &args)
                .await
                .map(drop)
        })
    }

    fn lease<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        hold: Duration,
        timeout: Duration,
    ) -> Boxed<'a, Result<bool, CacheFault>> {
        Box::pin(async move {
            let token = self.grants.token();
            let mut set = cmd("SET");
            set.arg(self.lease_of(node, key)).arg(&token[..]);
            set.arg("NX").arg("PX").arg(millis(hold));
            let granted = self.call(node, timeout, set).await? != Value::Nil;
            if granted {
                self.grants.keep(key, token);
            }
            Ok(granted)
        })
    }

    fn give_back<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let Some(token) = self.grants.take(key) else {
                return Ok(());
            };
            let name = self.lease_of(node, key);
            self.run(node, timeout, &script::GIVE_BACK, &name, &[&token])
                .await
                .map(drop)
        })
    }
}
