//! Where links are kept: PostgreSQL, or a file of SQLite.

use seawall::LoadError;
use seawall::origins::sqlx::{self, Row};
use seawall::origins::{Pool, PoolSettings, Postgres, Replicas, SqlOrigin, Sqlite};

use crate::code::Code;

/// Both databases understand this.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS links (code TEXT PRIMARY KEY, url TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO links (code, url) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const SELECT: &str = "SELECT url FROM links WHERE code = $1";

/// Which databases there are.
pub(crate) enum Database {
    Postgres(Servers<Postgres>),
    Sqlite(Servers<Sqlite>),
}

/// One for writes, and some with the same content for reads.
pub(crate) struct Servers<DB: seawall::origins::Dialect> {
    primary: Pool<DB>,
    reads: Vec<Pool<DB>>,
}

/// What reads have in common, whatever they read from.
pub(crate) enum Reads {
    Postgres(SqlOrigin<Postgres, Code, String>),
    Sqlite(SqlOrigin<Sqlite, Code, String>),
}

impl Database {
    /// The database of `url`; `reads` names its replicas, separated by commas. Nothing is connected yet.
    pub(crate) fn new(url: &str, reads: Option<&str>) -> Result<Database, sqlx::Error> {
        // A pool of its own for writes: however many reads there are, creating a link finds a connection.
        let settings = PoolSettings::default();
        if url.starts_with("sqlite:") {
            let primary = Pool::new(url, settings.clone())?;
            let reads = vec![Pool::new(url, settings)?];
            return Ok(Database::Sqlite(Servers { primary, reads }));
        }
        let primary = Pool::new(url, settings.clone())?;
        let reads = reads.unwrap_or(url).split(',');
        let reads = reads.map(|url| Pool::new(url.trim(), settings.clone()));
        let reads = reads.collect::<Result<_, _>>()?;
        Ok(Database::Postgres(Servers { primary, reads }))
    }

    /// Makes the table. A real service has migrations; this one has a table.
    pub(crate) async fn prepare(&self) -> Result<(), LoadError> {
        match self {
            Database::Postgres(servers) => servers.primary.execute(sqlx::query(CREATE)).await,
            Database::Sqlite(servers) => servers.primary.execute(sqlx::query(CREATE)).await,
        }
        .map(drop)
    }

    /// Keeps a link; `false` when the code is taken.
    pub(crate) async fn insert(&self, code: &Code, url: &str) -> Result<bool, LoadError> {
        let (code, url) = (code.to_string(), url.to_owned());
        let inserted = match self {
            Database::Postgres(servers) => {
                let insert = sqlx::query(INSERT).bind(code).bind(url);
                servers.primary.execute(insert).await?
            }
            Database::Sqlite(servers) => {
                let insert = sqlx::query(INSERT).bind(code).bind(url);
                servers.primary.execute(insert).await?
            }
        };
        Ok(inserted > 0)
    }

    /// What the cache loads from.
    pub(crate) fn reads(&self) -> Reads {
        match self {
            Database::Postgres(servers) => Reads::Postgres(Replicas::new(servers.reads.clone()).origin(
                |code: &Code| sqlx::query(SELECT).bind(code.to_string()),
                |row| row.try_get("url"),
            )),
            Database::Sqlite(servers) => Reads::Sqlite(Replicas::new(servers.reads.clone()).origin(
                |code: &Code| sqlx::query(SELECT).bind(code.to_string()),
                |row| row.try_get("url"),
            )),
        }
    }

    /// Connections in use, to all of them.
    pub(crate) fn active(&self) -> usize {
        match self {
            Database::Postgres(servers) => servers.active(),
            Database::Sqlite(servers) => servers.active(),
        }
    }
}

impl<DB: seawall::origins::Dialect> Servers<DB> {
    fn active(&self) -> usize {
        self.primary.active() + self.reads.iter().map(Pool::active).sum::<usize>()
    }
}
