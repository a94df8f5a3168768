//! What differs between databases, and what their errors mean.

use std::time::Duration;

use seawall_core::guard::OriginFault;
use sqlx::{Connection, Database};

use super::pool::{PoolSettings, loaded};
use super::replicas::Replicas;
use crate::origin::{LoadError, Loaded, Origin};
use crate::store::Boxed;

/// A statement with its arguments, as `sqlx::query(…).bind(…)` makes it.
pub type Query<DB> = sqlx::query::Query<'static, DB, <DB as Database>::Arguments>;

/// A kind of database.
pub trait Dialect: Database<Connection: Connection<Options = Self::Options> + Sync> {
    /// How its servers are described.
    type Options: sqlx::ConnectOptions<Connection = Self::Connection>;

    /// What is said when connecting.
    #[must_use]
    fn tune(options: Self::Options, settings: &PoolSettings) -> Self::Options;

    /// What is said first on a connection: that the server itself stops what takes too long, and what nobody waits
    /// for. Dropping a future stops nothing there.
    fn open<'c>(
        connection: &'c mut Self::Connection,
        settings: &'c PoolSettings,
    ) -> Boxed<'c, Result<(), sqlx::Error>>;

    /// The first row.
    fn fetch(
        connection: &mut Self::Connection,
        query: Query<Self>,
    ) -> Boxed<'_, Result<Option<Self::Row>, sqlx::Error>>;

    /// How many rows were changed.
    fn execute(connection: &mut Self::Connection, query: Query<Self>) -> Boxed<'_, Result<u64, sqlx::Error>>;

    /// What an error code of this database means.
    fn meaning(code: &str) -> OriginFault;

    /// Whether a connection is done for after this error code.
    fn ends(code: &str) -> bool;

    /// Whether a connection is in doubt after this error.
    fn breaks(error: &sqlx::Error) -> bool {
        match error {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| Self::ends(&code)),
            sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_) => false,
            _ => true,
        }
    }
}

/// An error, and what it means to the protections.
pub(super) fn failure<DB: Dialect>(error: sqlx::Error) -> LoadError {
    LoadError::new(fault::<DB>(&error), error)
}

fn fault<DB: Dialect>(error: &sqlx::Error) -> OriginFault {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => DB::meaning(&code),
            None => OriginFault::Error,
        },
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => OriginFault::TimedOut,
        sqlx::Error::PoolTimedOut => OriginFault::Overloaded,
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => OriginFault::Refused,
        _ => OriginFault::Error,
    }
}

type Ask<DB, K> = Box<dyn Fn(&K) -> Query<DB> + Send + Sync>;
type Read<DB, L> = Box<dyn Fn(&<DB as Database>::Row) -> Result<L, sqlx::Error> + Send + Sync>;

/// A pool, or several with the same content, and a query: an [`Origin`].
pub struct SqlOrigin<DB: Dialect, K, L> {
    replicas: Replicas<DB>,
    ask: Ask<DB, K>,
    read: Read<DB, L>,
}

impl<DB: Dialect, K, L> SqlOrigin<DB, K, L> {
    pub(super) fn new(
        replicas: Replicas<DB>,
        ask: impl Fn(&K) -> Query<DB> + Send + Sync + 'static,
        read: impl Fn(&DB::Row) -> Result<L, sqlx::Error> + Send + Sync + 'static,
    ) -> SqlOrigin<DB, K, L> {
        SqlOrigin {
            replicas,
            ask: Box::new(ask),
            read: Box::new(read),
        }
    }
}

impl<DB: Dialect, K, L> std::fmt::Debug for SqlOrigin<DB, K, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlOrigin")
            .field("database", &DB::NAME)
            .finish_non_exhaustive()
    }
}

impl<DB, K, V, L> Origin<K, V> for SqlOrigin<DB, K, L>
where
    DB: Dialect,
    K: Send + Sync + 'static,
    L: Into<Loaded<V>> + 'static,
    V: 'static,
{
    fn load<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Loaded<V>, LoadError>> {
        let query = (self.ask)(key);
        Box::pin(async move {
            let row = self.replicas.fetch(query).await?;
            let value = row.map(|row| (self.read)(&row)).transpose();
            value.map(loaded).map_err(failure::<DB>)
        })
    }
}

#[cfg(feature = "postgres")]
impl Dialect for sqlx::Postgres {
    type Options = sqlx::postgres::PgConnectOptions;

    fn tune(options: Self::Options, _: &PoolSettings) -> Self::Options {
        options
    }

    fn open<'c>(
        connection: &'c mut Self::Connection,
        settings: &'c PoolSettings,
    ) -> Boxed<'c, Result<(), sqlx::Error>> {
        // In one message. A server notices that a client has left only when it looks, which since version 14 it can be
        // told to do while it runs or waits for a lock.
        let setup = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SELECT set_config('client_connection_check_interval', '{}', false) \
             WHERE current_setting('server_version_num')::int >= 140000",
            millis(settings.statement),
            millis(settings.lock),
            millis(LEFT_CHECK),
        );
        Box::pin(async move {
            use sqlx::Executor;
            // There is nothing of others in it: three numbers.
            let setup = sqlx::raw_sql(sqlx::AssertSqlSafe(setup));
            connection.execute(setup).await.map(drop)
        })
    }

    fn fetch(
        connection: &mut Self::Connection,
        query: Query<Self>,
    ) -> Boxed<'_, Result<Option<Self::Row>, sqlx::Error>> {
        Box::pin(query.fetch_optional(connection))
    }

    fn execute(connection: &mut Self::Connection, query: Query<Self>) -> Boxed<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
    }

    /// By the codes of PostgreSQL's manual, appendix A.
    fn meaning(code: &str) -> OriginFault {
        match code {
            // The time was over: the statement's, a lock's, an idle transaction's.
            "57014" | "55P03" | "25P03" | "25P04" => OriginFault::TimedOut,
            // Shutting down, crashed, starting up, no longer wanted; the connection failed.
            _ if code.starts_with("57P") || code.starts_with("08") => OriginFault::Refused,
            // Out of connections, memory, disk, or over a configured limit.
            _ if code.starts_with("53") => OriginFault::Overloaded,
            // Also 25006: this server only reads at the moment. It is well, and yet the wrong one.
            _ => OriginFault::Error,
        }
    }

    fn ends(code: &str) -> bool {
        // After a failover, the name leads to another server than the one this connection goes to.
        code == "25006" || code.starts_with("57P") || code.starts_with("08") || code.starts_with("53")
    }
}

/// So often the server looks whether who asked is still there.
#[cfg(feature = "postgres")]
const LEFT_CHECK: Duration = Duration::from_millis(100);

/// Zero would mean "for ever".
#[cfg(feature = "postgres")]
fn millis(span: Duration) -> u128 {
    span.as_millis().clamp(1, i32::MAX as u128)
}

/// A file. Each connection to `:memory:` would be a database of its own.
#[cfg(feature = "sqlite")]
impl Dialect for sqlx::Sqlite {
    type Options = sqlx::sqlite::SqliteConnectOptions;

    fn tune(options: Self::Options, settings: &PoolSettings) -> Self::Options {
        options.busy_timeout(settings.lock)
    }

    fn open<'c>(_: &'c mut Self::Connection, _: &'c PoolSettings) -> Boxed<'c, Result<(), sqlx::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn fetch(
        connection: &mut Self::Connection,
        query: Query<Self>,
    ) -> Boxed<'_, Result<Option<Self::Row>, sqlx::Error>> {
        Box::pin(query.fetch_optional(connection))
    }

    fn execute(connection: &mut Self::Connection, query: Query<Self>) -> Boxed<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move { Ok(query.execute(connection).await?.rows_affected()) })
    }

    /// By the primary result codes of SQLite's manual, which are the low byte of what it says.
    fn meaning(code: &str) -> OriginFault {
        match code.parse::<u32>().map(|code| code & 0xff) {
            // Busy and locked, after the wait; interrupted.
            Ok(5 | 6 | 9) => OriginFault::TimedOut,
            // Cannot be opened.
            Ok(14) => OriginFault::Refused,
            // Out of memory, disk full.
            Ok(7 | 13) => OriginFault::Overloaded,
            _ => OriginFault::Error,
        }
    }

    fn ends(code: &str) -> bool {
        // An I/O error, damage, not a database.
        matches!(code.parse::<u32>().map(|code| code & 0xff), Ok(10 | 11 | 26))
    }
}
