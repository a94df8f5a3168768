//! Connections to a database: so many, for so long, and none that is in doubt.
//!
//! It is not `sqlx`'s pool. That one tries again by itself, for as long as a caller may wait, when nobody listens or
//! the server is out of connections: then a dead database costs each call its whole timeout, the fault is told as
//! "timed out", and the herd that waits connects at once when it is back. Here a call connects once, and hears why not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::sql::{Dialect, Query, SqlOrigin, failure};
use crate::origin::{LoadError, Loaded};

/// What a pool allows. A call takes no longer than `acquire` + `connect` + `statement` together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// At most so many connections at a time (10).
    pub connections: usize,
    /// At most so many calls that wait for one (1000). What comes beyond is refused at once.
    pub waiting: usize,
    /// A call waits so long for a free connection (250 ms).
    pub acquire: Duration,
    /// Connecting takes no longer (1 s).
    pub connect: Duration,
    /// A statement takes no longer (2 s). The server stops it then, and the call ends a little later also when the
    /// server does not.
    pub statement: Duration,
    /// A statement waits no longer for a lock (500 ms).
    pub lock: Duration,
    /// What has been idle for longer is closed, not used (10 min).
    pub idle: Duration,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            connections: 10,
            waiting: 1_000,
            acquire: Duration::from_millis(250),
            connect: Duration::from_secs(1),
            statement: Duration::from_secs(2),
            lock: Duration::from_millis(500),
            idle: Duration::from_mins(10),
        }
    }
}

/// The server's own timeout comes first, so that a connection is not lost with each slow statement.
const GRACE: Duration = Duration::from_millis(100);
/// What has been idle for longer is asked for a sign of life first.
const TRUST: Duration = Duration::from_secs(1);

/// Connections to one database. Clones are the same pool.
///
/// A call that is dropped takes its connection with it, so that the next caller never waits for the answer to a query
/// that nobody wants. The server hears of it ([`Dialect::open`]) and stops the query.
pub struct Pool<DB: Dialect>(Arc<Inner<DB>>);

struct Inner<DB: Dialect> {
    options: DB::Options,
    settings: PoolSettings,
    places: Semaphore,
    waiting: AtomicUsize,
    idle: Mutex<Idle<DB>>,
}

struct Idle<DB: Dialect> {
    connections: Vec<(DB::Connection, Instant)>,
    /// Goes up when a connection breaks. What is older is in doubt and not kept.
    generation: u64,
}

impl<DB: Dialect> Clone for Pool<DB> {
    fn clone(&self) -> Pool<DB> {
        Pool(Arc::clone(&self.0))
    }
}

impl<DB: Dialect> std::fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options may hold a password.
        f.debug_struct("Pool")
            .field("database", &DB::NAME)
            .finish_non_exhaustive()
    }
}

impl<DB: Dialect> Pool<DB> {
    /// A pool for this URL. Nothing is connected before the first call.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn new(url: &str, settings: PoolSettings) -> Result<Pool<DB>, sqlx::Error> {
        let options = url.parse::<DB::Options>()?;
        Ok(Pool::with_options(options, settings))
    }

    /// The same, with `sqlx`'s own description of the server.
    pub fn with_options(options: DB::Options, settings: PoolSettings) -> Pool<DB> {
        let places = settings.connections.clamp(1, Semaphore::MAX_PERMITS);
        Pool(Arc::new(Inner {
            options: DB::tune(options, &settings).disable_statement_logging(),
            places: Semaphore::new(places),
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(Idle {
                connections: Vec::new(),
                generation: 0,
            }),
            settings,
        }))
    }

    /// What it allows.
    pub fn settings(&self) -> &PoolSettings {
        &self.0.settings
    }

    /// How many connections are in use: `origin_connections_active`.
    pub fn active(&self) -> usize {
        let settings = &self.0.settings;
        let places = settings.connections.clamp(1, Semaphore::MAX_PERMITS);
        places - self.0.places.available_permits()
    }

    /// The first row that a query gives, if any.
    ///
    /// # Errors
    /// The error of `sqlx`, and what it means.
    pub async fn fetch(&self, query: Query<DB>) -> Result<Option<DB::Row>, LoadError> {
        let mut held = self.acquire().await?;
        let answer = DB::fetch(held.connection()?, query);
        let answer = answer_in_time(&self.0.settings, answer).await;
        held.finish(answer)
    }

    /// Runs a statement, and says how many rows it changed.
    ///
    /// # Errors
    /// The error of `sqlx`, and what it means. When the time was over, nobody knows whether it was done.
    pub async fn execute(&self, query: Query<DB>) -> Result<u64, LoadError> {
        let mut held = self.acquire().await?;
        let answer = DB::execute(held.connection()?, query);
        let answer = answer_in_time(&self.0.settings, answer).await;
        held.finish(answer)
    }

    /// An origin: what is asked for a key, and what its row says. No row means that there is no such thing.
    pub fn origin<K, L>(
        &self,
        ask: impl Fn(&K) -> Query<DB> + Send + Sync + 'static,
        read: impl Fn(&DB::Row) -> Result<L, sqlx::Error> + Send + Sync + 'static,
    ) -> SqlOrigin<DB, K, L> {
        SqlOrigin::new(super::Replicas::new([self.clone()]), ask, read)
    }

    /// A connection that answers, for as long as the settings allow.
    async fn acquire(&self) -> Result<Held<'_, DB>, LoadError> {
        let inner = &*self.0;
        let place = inner.place().await.map_err(failure::<DB>)?;
        let (idle, generation) = inner.take_idle();
        let mut held = Held {
            inner,
            connection: None,
            generation,
            _place: place,
        };
        let connecting = timeout(inner.settings.connect, async {
            if let Some((mut connection, since)) = idle
                && (since.elapsed() < TRUST || connection.ping().await.is_ok())
            {
                return Ok(connection);
            }
            let mut connection = inner.options.connect().await?;
            DB::open(&mut connection, &inner.settings).await?;
            Ok(connection)
        });
        let connection = connecting
            .await
            .unwrap_or_else(|_| Err(late("no connection in time")));
        held.connection = Some(connection.map_err(|error| {
            inner.doubt(generation);
            failure::<DB>(error)
        })?);
        Ok(held)
    }
}

impl<DB: Dialect> Inner<DB> {
    async fn place(&self) -> Result<SemaphorePermit<'_>, sqlx::Error> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = Waits::one_of(&self.waiting, self.settings.waiting).ok_or(sqlx::Error::PoolTimedOut)?;
        match timeout(self.settings.acquire, self.places.acquire()).await {
            Ok(place) => place.map_err(|_| sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// The connection that was used last, because it is the one that is most likely to answer.
    fn take_idle(&self) -> (Option<(DB::Connection, Instant)>, u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = idle.connections.pop();
        let newest = newest.filter(|(_, since)| since.elapsed() < self.settings.idle);
        if newest.is_none() {
            // The others are older still.
            idle.connections.clear();
        }
        (newest, idle.generation)
    }

    fn put_idle(&self, connection: DB::Connection, generation: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.generation == generation {
            idle.connections.push((connection, Instant::now()));
        }
    }

    /// A connection of this generation broke: the others may be broken too, and who takes one next should not have to
    /// find out.
    fn doubt(&self, generation: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.generation == generation {
            idle.generation += 1;
            idle.connections.clear();
        }
    }
}

/// A connection in use. It is closed when this is dropped before the answer is there.
struct Held<'a, DB: Dialect> {
    inner: &'a Inner<DB>,
    connection: Option<DB::Connection>,
    generation: u64,
    _place: SemaphorePermit<'a>,
}

impl<DB: Dialect> Held<'_, DB> {
    fn connection(&mut self) -> Result<&mut DB::Connection, LoadError> {
        let closed = || failure::<DB>(sqlx::Error::PoolClosed);
        self.connection.as_mut().ok_or_else(closed)
    }

    fn finish<T>(mut self, result: Result<T, sqlx::Error>) -> Result<T, LoadError> {
        match &result {
            Err(error) if DB::breaks(error) => self.inner.doubt(self.generation),
            _ => {
                if let Some(connection) = self.connection.take() {
                    self.inner.put_idle(connection, self.generation);
                }
            }
        }
        result.map_err(failure::<DB>)
    }
}

/// One of a bounded number that wait.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn one_of(waiting: &'a AtomicUsize, max: usize) -> Option<Waits<'a>> {
        let waits = Waits(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer_in_time<T>(
    settings: &PoolSettings,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let answer = timeout(settings.statement.saturating_add(GRACE), answer).await;
    answer.unwrap_or_else(|_| Err(late("no answer in time")))
}

fn late(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

/// What a row said, in the words of a load.
pub(super) fn loaded<V, L: Into<Loaded<V>>>(row: Option<L>) -> Loaded<V> {
    row.map_or_else(Loaded::absent, Into::into)
}
