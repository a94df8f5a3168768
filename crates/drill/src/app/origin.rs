//! What stands behind a service: a database, or another service; and what is counted there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use seawall::origins::{Pool, PoolSettings};
use seawall::{Boxed, LoadError, Loaded, Origin};
use seawall_core::balance::{Balancer, Strategy};
use seawall_core::guard::OriginFault;
use seawall_core::rng::{Seed, Stream, mix};
use seawall_core::time::Span;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Postgres, Row};
use tokio::time::{Instant, timeout};

use crate::copies::Copies;
use crate::load::{AddressError, Call, Reply, Target};

/// A call to an origin without a timeout is given up after this.
const PATIENCE: Duration = Duration::from_mins(1);
/// The server's own timeout comes first.
const GRACE: Duration = Duration::from_secs(2);
/// So many connections all instances together open to a database.
const CONNECTIONS_MAX: usize = 560;
/// So many calls of one instance wait for a connection of their pool.
const WAITING_MAX: usize = 100_000;
/// At most so many durations are kept until somebody asks for them.
const TOOK_MAX: usize = 20_000;

/// Who instances are at the drill's databases: somebody whom limits bind.
pub(crate) const APP: &str = "app";
/// What the drill's databases hold: a key, its value, and its version.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS things (key text PRIMARY KEY, value bytea NOT NULL)";

/// A database: nodes in shards, each shard with the same number of replicas.
#[derive(Debug)]
pub(super) struct Database {
    pools: Vec<Pool<Postgres>>,
    shards: usize,
    timeout: Duration,
    choice: Mutex<(Vec<Balancer>, Stream)>,
}

/// How a database is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'a> {
    /// The nodes: shard by shard, the replicas of each one after the other.
    pub(super) nodes: &'a [SocketAddr],
    /// How many shards there are.
    pub(super) shards: usize,
    /// How many queries a node runs at a time.
    pub(super) connections: Option<u32>,
    /// How long a query may run, waiting included.
    pub(super) timeout: Option<Span>,
    /// How replicas are chosen.
    pub(super) strategy: Strategy,
    /// How many instances of the service there are.
    pub(super) instances: u32,
}

impl Database {
    /// Connections to it; none is opened before it is needed.
    pub(super) fn new(reach: &Reach<'_>) -> Database {
        let patience = reach.timeout.map_or(PATIENCE, Duration::from);
        let (nodes, instances) = (reach.nodes.len().max(1), reach.instances.max(1) as usize);
        // More than the node works on, so that its line is at the node and not here, and no more than a server bears.
        let wanted = reach.connections.map_or(usize::MAX, |most| {
            (most as usize + most as usize / 4).div_ceil(instances) + 2
        });
        let connections = wanted.clamp(4, (CONNECTIONS_MAX / nodes / instances).max(4));
        let settings = PoolSettings {
            connections,
            waiting: WAITING_MAX,
            acquire: patience,
            connect: patience.min(Duration::from_secs(5)),
            statement: patience + GRACE,
            lock: patience + GRACE,
            ..PoolSettings::default()
        };
        let pool = |address: &SocketAddr| {
            let options = PgConnectOptions::new_without_pgpass()
                .host(&address.ip().to_string())
                .port(address.port())
                .username(APP)
                .database("postgres")
                .ssl_mode(PgSslMode::Disable);
            Pool::with_options(options, settings.clone())
        };
        let shards = reach.shards.max(1);
        let replicas = nodes / shards;
        let balancers = (0..shards).map(|_| Balancer::new(reach.strategy, replicas));
        Database {
            pools: reach.nodes.iter().map(pool).collect(),
            shards,
            timeout: patience,
            choice: Mutex::new((balancers.collect(), Seed(0).stream("replicas", 0))),
        }
    }

    /// The node that serves a call, as in the simulator: writes go to the first replica of the key's shard.
    fn node(&self, key: u64, read: bool) -> Option<&Pool<Postgres>> {
        let shard = (mix(key) % self.shards as u64) as usize;
        let replicas = self.pools.len() / self.shards;
        let pools = &self.pools[shard * replicas..(shard + 1) * replicas];
        if !read || replicas == 1 {
            return pools.first();
        }
        let busy: Vec<u32> = pools.iter().map(|pool| pool.active() as u32).collect();
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        let (balancers, rng) = &mut *choice;
        balancers[shard]
            .pick(rng, &busy, |_| true)
            .and_then(|at| pools.get(at))
    }

    async fn call(&self, call: Call) -> Result<Option<Bytes>, LoadError> {
        let Some(pool) = self.node(call.key, call.write.is_none()) else {
            return Err(LoadError::new(OriginFault::Refused, "there is no node"));
        };
        let asked = async {
            match call.write.clone() {
                None => {
                    let query = sqlx::query("SELECT value FROM things WHERE key = $1").bind(call.name());
                    let row = pool.fetch(query).await?;
                    let value = row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose();
                    let value = value.map_err(|error| LoadError::new(OriginFault::Error, error))?;
                    Ok(value.map(Bytes::from))
                }
                Some(value) => {
                    let query = sqlx::query(
                        "INSERT INTO things (key, value) VALUES ($1, $2) \
                         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    );
                    pool.execute(query.bind(call.name()).bind(value.to_vec())).await?;
                    Ok(None)
                }
            }
        };
        // The pool ends the wait for a connection and the door the query, and the connection stays. This is for what does
        // neither: it costs the connection, as it does anybody.
        let late = |_| LoadError::new(OriginFault::TimedOut, "no answer in time");
        timeout(self.timeout + GRACE, asked).await.map_err(late)?
    }
}

/// A database of tables behind HTTP: by shard, the nodes that serve its reads, and the one that takes its writes.
#[derive(Debug)]
pub(super) struct Tables(Vec<(Copies, Copies)>);

impl Tables {
    pub(super) fn new(
        service: &str,
        nodes: &[SocketAddr],
        shards: usize,
        strategy: Strategy,
    ) -> Result<Tables, AddressError> {
        let replicas = (nodes.len() / shards.max(1)).max(1);
        let shards = nodes.chunks(replicas).map(|nodes| {
            let primary = nodes.get(..1).unwrap_or_default();
            Ok((
                Copies::new(service, nodes, strategy)?,
                Copies::new(service, primary, strategy)?,
            ))
        });
        shards.collect::<Result<_, _>>().map(Tables)
    }

    fn of(&self, call: &Call) -> &Copies {
        let shard = (mix(call.key) % self.0.len().max(1) as u64) as usize;
        let (readers, primary) = &self.0[shard];
        if call.write.is_none() { readers } else { primary }
    }
}

/// What stands behind.
#[derive(Debug)]
pub(super) enum Kind {
    /// A database that is none.
    Tables(Tables),
    /// A database.
    Database(Database),
    /// Another service.
    Service(Copies),
}

/// Something that stands behind a service. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Behind(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    name: String,
    kind: Kind,
    requests: AtomicU64,
    errors: AtomicU64,
    in_flight: AtomicI64,
    took: Mutex<Vec<Span>>,
}

/// What was counted at an origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// Calls.
    pub(super) requests: u64,
    /// Those that failed.
    pub(super) errors: u64,
    /// Those under way.
    pub(super) in_flight: u64,
}

/// A call under way.
struct Under<'a> {
    inside: &'a Inside,
    began: Instant,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.inside.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut took = self.inside.took.lock().unwrap_or_else(PoisonError::into_inner);
        if took.len() < TOOK_MAX {
            took.push(Span::from(self.began.elapsed()));
        }
    }
}

impl Behind {
    /// Of this name in the scenario.
    pub(super) fn new(name: &str, kind: Kind) -> Behind {
        Behind(Arc::new(Inside {
            name: name.to_owned(),
            kind,
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            took: Mutex::default(),
        }))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes a call: the value that it has, or that it took.
    ///
    /// # Errors
    /// What the call met.
    pub(super) async fn call(&self, call: Call) -> Result<Option<Bytes>, LoadError> {
        let inside = &*self.0;
        inside.requests.fetch_add(1, Ordering::Relaxed);
        inside.in_flight.fetch_add(1, Ordering::Relaxed);
        let under = Under {
            inside,
            began: Instant::now(),
        };
        let done = match &inside.kind {
            Kind::Database(database) => database.call(call).await,
            Kind::Tables(tables) => heard(tables.of(&call).call(call).await),
            Kind::Service(copies) => heard(copies.call(call).await),
        };
        drop(under);
        if done.is_err() {
            inside.errors.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// What was counted since it was made.
    pub(super) fn counted(&self) -> Counted {
        Counted {
            requests: self.0.requests.load(Ordering::Relaxed),
            errors: self.0.errors.load(Ordering::Relaxed),
            in_flight: u64::try_from(self.0.in_flight.load(Ordering::Relaxed)).unwrap_or(0),
        }
    }

    /// How long calls took that ended since this was asked last.
    pub(super) fn took(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.took.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a reply is to who asked for a value.
fn heard(reply: Reply) -> Result<Option<Bytes>, LoadError> {
    match reply {
        Reply::Value(value) => Ok(Some(value)),
        Reply::Absent | Reply::Done => Ok(None),
        Reply::Shed => Err(LoadError::new(OriginFault::Overloaded, "turned away")),
        Reply::Failed(why) if why == "no instance" || why == "reset" => {
            Err(LoadError::new(OriginFault::Refused, why))
        }
        Reply::Failed(why) => Err(LoadError::new(OriginFault::Error, why)),
    }
}

/// A caching rule, good or bad. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Rule(Arc<(AtomicBool, AtomicBool)>);

/// As good as for ever.
pub(crate) const FOR_EVER: Duration = Duration::from_hours(365 * 24);

impl Rule {
    /// Whether nothing is stored.
    pub(super) fn set_never_stored(&self, on: bool) {
        self.0.0.store(on, Ordering::Relaxed);
    }

    /// Whether what is stored never expires.
    pub(super) fn set_ttl_ignored(&self, on: bool) {
        self.0.1.store(on, Ordering::Relaxed);
    }

    fn apply(&self, loaded: Loaded<Bytes>) -> Loaded<Bytes> {
        if self.0.0.load(Ordering::Relaxed) {
            loaded.no_store()
        } else if self.0.1.load(Ordering::Relaxed) {
            loaded.ttl(FOR_EVER)
        } else {
            loaded
        }
    }
}

/// What a cache loads from: the origin, and the fallback when that fails.
pub(super) struct Loader {
    /// The origin.
    pub(super) origin: Behind,
    /// Who is asked when it fails.
    pub(super) fallback: Option<Behind>,
    /// How what was loaded is stored.
    pub(super) rule: Rule,
}

impl Origin<u64, Bytes> for Loader {
    fn load<'a>(&'a self, key: &'a u64) -> Boxed<'a, Result<Loaded<Bytes>, LoadError>> {
        Box::pin(async move {
            let call = Call {
                key: *key,
                write: None,
            };
            let value = match (self.origin.call(call.clone()).await, &self.fallback) {
                (Err(_), Some(fallback)) => fallback.call(call).await?,
                (done, _) => done?,
            };
            let loaded = value.map_or_else(Loaded::absent, Loaded::new);
            Ok(self.rule.apply(loaded))
        })
    }
}
