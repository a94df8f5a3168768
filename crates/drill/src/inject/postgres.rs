//! What breaks a PostgreSQL while it runs.
//!
//! The keeper does not speak its protocol, and need not: each of these is held by a session that ends by itself. Slow
//! queries are not here, because no setting makes the queries of others slow: that is what [`cgroup`](super::cgroup) and
//! [`paced`](crate::paced) are for. A PostgreSQL that hangs is one that is [stopped](super::process::stop).

mod disk;
mod limit;
mod lock;
mod read_only;
mod standby;

pub use disk::{Tablespace, disk_full};
pub use limit::connections;
pub use lock::lock;
pub use read_only::read_only;

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use super::{Failed, Refused};
use crate::stack::{self, POSTGRES_USER};

/// How long a login or a statement of ours may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A PostgreSQL, and who we are there.
#[derive(Clone)]
pub struct Server {
    options: PgConnectOptions,
    address: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgreSQL at {}", self.address)
    }
}

impl From<&stack::Postgres> for Server {
    fn from(postgres: &stack::Postgres) -> Server {
        Server::at(postgres.address(), POSTGRES_USER, "postgres")
    }
}

impl Server {
    /// One that lets this user into this database without a password. Connections are not encrypted.
    pub fn at(address: SocketAddr, user: &str, database: &str) -> Server {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&address.ip().to_string())
            .port(address.port())
            .username(user)
            .database(database)
            .application_name("seawall")
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging();
        Server { options, address }
    }

    /// The same server, as another user.
    pub fn of(self, user: &str) -> Server {
        let options = self.options.username(user);
        Server { options, ..self }
    }

    /// One that wants a password.
    pub fn with_password(self, password: &str) -> Server {
        let options = self.options.password(password);
        Server { options, ..self }
    }

    async fn session(&self) -> Result<PgConnection, sqlx::Error> {
        match timeout(PATIENCE, PgConnection::connect_with(&self.options)).await {
            Ok(session) => session,
            Err(late) => Err(sqlx::Error::Io(std::io::Error::other(late))),
        }
    }
}

/// A statement that gives nothing back.
async fn told(session: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    let told = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(session);
    match timeout(PATIENCE, told).await {
        Ok(done) => done.map(|_| ()),
        Err(late) => Err(sqlx::Error::Io(std::io::Error::other(late))),
    }
}

/// The code of an error that the server gives (PostgreSQL, appendix A).
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A name as SQL spells it, whatever is in it. What stands before a dot is a name of its own.
fn quoted(name: &str) -> String {
    let parts: Vec<String> = name
        .split('.')
        .map(|part| format!("\"{}\"", part.replace('"', "\"\"")))
        .collect();
    parts.join(".")
}

/// An ordinary user who may log in, make tables, and do all with these, for applications: limits of connections bind no
/// superuser.
///
/// # Errors
/// When it cannot be made.
pub async fn role(server: &Server, name: &str, tables: &[&str]) -> Result<Server, Refused> {
    let mut session = server.session().await?;
    let quoted = quoted(name);
    told(&mut session, &format!("CREATE ROLE {quoted} LOGIN")).await?;
    told(&mut session, &format!("GRANT ALL ON SCHEMA public TO {quoted}")).await?;
    for table in tables {
        let table = self::quoted(table);
        told(&mut session, &format!("GRANT ALL ON {table} TO {quoted}")).await?;
    }
    session.close().await?;
    Ok(server.clone().of(name))
}

/// What no server answers in time is told as it is.
fn impossible(server: &Server, why: &dyn std::fmt::Display) -> Refused {
    Refused::Impossible(format!("PostgreSQL at {} {why}", server.address))
}

/// What went wrong, for those who ask again.
fn failed(error: &sqlx::Error) -> Failed {
    Failed::new(format!("PostgreSQL: {error}"))
}
