//! What an audit knows: read once, within a deadline, without changing anything.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::Row;
use tokio::time::{Instant, timeout_at};

use crate::probe::details::{Clients, Slow, Spike, connected, details};
use crate::probe::keys::Survey;
use crate::probe::postgres::{connect, of_sqlx};
use crate::probe::{Fault, Info, Kind, Target, Wire, items, text, words};

/// All that the checks look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The caches.
    pub caches: Vec<CacheFacts>,
    /// The databases.
    pub databases: Vec<DatabaseFacts>,
}

/// A Redis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CacheFacts {
    /// Where it is, without secrets.
    pub name: String,
    /// How `redis-cli` is called for it.
    pub cli: String,
    /// What it tells of itself.
    pub info: Info,
    /// Its settings; empty when it does not tell them.
    pub settings: BTreeMap<String, String>,
    /// Whether somebody without a password is served.
    pub open: bool,
    /// Look-ups a second, over the time of reading.
    pub lookups: f64,
    /// The share of them that found something; nothing when there were too few.
    pub hit_rate: Option<f64>,
    /// Some keys.
    pub survey: Survey,
    /// The slowest commands.
    pub slow: Vec<Slow>,
    /// What its latency monitor saw.
    pub latency: Vec<Spike>,
    /// Who is connected.
    pub clients: Clients,
    /// Whether a Sentinel is among them.
    pub sentinel: bool,
    /// Its own clock, in seconds since 1970.
    pub clock: i64,
}

/// A PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseFacts {
    /// Where it is, without secrets.
    pub name: String,
    /// The database that is asked.
    pub database: String,
    /// Its settings, as sessions of this database have them, times in milliseconds.
    pub settings: BTreeMap<String, String>,
    /// Sessions of clients.
    pub sessions: f64,
    /// Sessions that are let in for others than superusers.
    pub limit: f64,
    /// How long sessions have been idle within a transaction, in seconds.
    pub idle_in_transaction: Vec<f64>,
    /// The mean time of a transaction in the database, in seconds, where it is counted (since PostgreSQL 14).
    pub transaction_secs: Option<f64>,
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target}: {fault}")]
pub struct Unread {
    /// Where, without secrets.
    pub target: String,
    /// Why.
    pub fault: Fault,
}

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// All of one server is read within this time.
    pub patience: Duration,
    /// So many keys are looked at.
    pub keys_max: usize,
    /// How long look-ups are counted.
    pub window: Duration,
}

impl Default for Reading {
    /// Ten seconds, a thousand keys, two seconds of look-ups.
    fn default() -> Reading {
        Reading {
            patience: Duration::from_secs(10),
            keys_max: 1_000,
            window: Duration::from_secs(2),
        }
    }
}

impl Facts {
    /// Reads all of them, one after another.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub async fn read(targets: &[Target], reading: Reading) -> Result<Facts, Unread> {
        let mut facts = Facts::default();
        for target in targets {
            let deadline = Instant::now() + reading.patience;
            let unread = |fault| Unread {
                target: target.to_string(),
                fault,
            };
            match target.kind() {
                Kind::Redis => facts
                    .caches
                    .push(cache(target, reading, deadline).await.map_err(unread)?),
                Kind::Postgres => facts
                    .databases
                    .push(database(target, deadline).await.map_err(unread)?),
                Kind::Http => {
                    let text = "an audit reads redis:// and postgres:// addresses";
                    return Err(unread(Fault::new(crate::probe::Why::Error, text)));
                }
            }
        }
        Ok(facts)
    }
}

async fn cache(target: &Target, reading: Reading, deadline: Instant) -> Result<CacheFacts, Fault> {
    let mut wire = connected(target, deadline).await?;
    let before = info(&mut wire, target, deadline).await?;
    tokio::time::sleep(reading.window).await;
    let info = info(&mut wire, target, deadline).await?;
    let added = |name| info.number(name).unwrap_or(0.0) - before.number(name).unwrap_or(0.0);
    let (hits, misses) = (added("keyspace_hits").max(0.0), added("keyspace_misses").max(0.0));
    let settings = settings(&wire.ask(words(&["CONFIG", "GET", "*"]), deadline).await?);
    let list = text(&wire.ask(words(&["CLIENT", "LIST"]), deadline).await?);
    let clock = wire.ask(words(&["TIME"]), deadline).await?;
    let details = details(target, reading.keys_max, deadline).await?;
    Ok(CacheFacts {
        name: target.to_string(),
        cli: cli(target),
        open: open(target, deadline).await,
        lookups: (hits + misses) / reading.window.as_secs_f64(),
        hit_rate: (hits + misses >= LOOKUPS_MIN).then(|| hits / (hits + misses)),
        info,
        settings,
        survey: details.survey,
        slow: details.slow,
        latency: details.latency,
        clients: details.clients,
        sentinel: list.contains("name=sentinel-"),
        clock: items(&clock).first().and_then(crate::probe::number).unwrap_or(0),
    })
}

/// A share of fewer look-ups says nothing.
const LOOKUPS_MIN: f64 = 100.0;

async fn info(wire: &mut Wire, target: &Target, deadline: Instant) -> Result<Info, Fault> {
    let said = wire.ask(words(&["INFO", "all"]), deadline).await?;
    if let Some(error) = said.error() {
        return Err(Fault::said(target, error));
    }
    Info::read(&text(&said)).ok_or_else(|| {
        Fault::new(
            crate::probe::Why::Garbage,
            "the answer to INFO is none that Redis gives",
        )
    })
}

/// Names of settings that may hold a secret: they are not kept.
const SECRET: [&str; 6] = [
    "requirepass",
    "masterauth",
    "masteruser",
    "user",
    "key-file-pass",
    "tls-",
];

fn settings(said: &seawall_resp::Value) -> BTreeMap<String, String> {
    let pairs = items(said).chunks_exact(2);
    let pairs = pairs.map(|pair| (text(&pair[0]), text(&pair[1])));
    pairs
        .filter(|(name, _)| !SECRET.iter().any(|secret| name.contains(secret)))
        .collect()
}

/// Whether a connection that says nothing of itself is served.
async fn open(target: &Target, deadline: Instant) -> bool {
    let Ok(mut wire) = Wire::open(target, deadline).await else {
        return false;
    };
    let said = wire.ask(words(&["PING"]), deadline).await;
    said.is_ok_and(|said| said.error().is_none())
}

fn cli(target: &Target) -> String {
    let mut cli = format!("redis-cli -h {} -p {}", target.host(), target.port());
    if target.tls() {
        cli.push_str(" --tls");
    }
    if target.database() > 0 {
        cli = format!("{cli} -n {}", target.database());
    }
    cli
}

const SESSIONS: &str = "\
SELECT current_database()::text AS database,
  (SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'seawall-probe' AND datname IS NOT NULL
    AND (backend_type IS NULL OR backend_type = 'client backend'))::float8 AS sessions,
  (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - COALESCE(current_setting('reserved_connections', true), '0')::int)::float8 AS room,
  (SELECT datconnlimit::float8 FROM pg_database WHERE datname = current_database()) AS own_limit,
  (SELECT ((to_jsonb(d) ->> 'active_time')::float8) / NULLIF(xact_commit + xact_rollback, 0) / 1000
    FROM pg_stat_database d WHERE datname = current_database()) AS transaction_secs";

const IDLE: &str = "\
SELECT extract(epoch FROM now() - state_change)::float8 AS idle FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid() ORDER BY 1 DESC LIMIT 100";

/// As another session of this user in this database begins: what its role and database set counts, what this session
/// set for itself does not.
const SETTINGS: &str = "\
SELECT s.name, COALESCE(
  (SELECT split_part(c, '=', 2) FROM pg_db_role_setting r, unnest(r.setconfig) c
    WHERE split_part(c, '=', 1) = s.name
      AND (r.setdatabase = 0 OR r.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND (r.setrole = 0 OR r.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user))
    ORDER BY (r.setrole <> 0)::int + (r.setdatabase <> 0)::int DESC LIMIT 1),
  s.reset_val) AS value
FROM pg_settings s WHERE s.name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout',
  'max_connections', 'superuser_reserved_connections', 'track_activities', 'tcp_keepalives_idle')";

async fn database(target: &Target, deadline: Instant) -> Result<DatabaseFacts, Fault> {
    let mut connection = connect(target, deadline).await?;
    let read = async {
        let row = sqlx::query(SESSIONS).fetch_one(&mut connection).await?;
        let room: f64 = row.try_get("room")?;
        let own: Option<f64> = row.try_get("own_limit")?;
        let mut facts = DatabaseFacts {
            name: target.to_string(),
            database: row.try_get("database")?,
            sessions: row.try_get("sessions")?,
            limit: own.filter(|own| *own >= 0.0).map_or(room, |own| own.min(room)),
            transaction_secs: row.try_get("transaction_secs")?,
            ..DatabaseFacts::default()
        };
        for row in sqlx::query(IDLE).fetch_all(&mut connection).await? {
            facts.idle_in_transaction.push(row.try_get("idle")?);
        }
        for row in sqlx::query(SETTINGS).fetch_all(&mut connection).await? {
            let value: Option<String> = row.try_get("value")?;
            facts
                .settings
                .insert(row.try_get("name")?, value.unwrap_or_default());
        }
        Ok::<_, sqlx::Error>(facts)
    };
    match timeout_at(deadline, read).await {
        Ok(read) => read.map_err(|error| of_sqlx(target, &error)),
        Err(_) => Err(Fault::late("answer to a query")),
    }
}

impl CacheFacts {
    /// A setting as it is spelled.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A setting that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.setting(name)?.parse().ok()
    }

    /// The policy of a full cache.
    pub fn policy(&self) -> Option<&str> {
        self.info
            .field("maxmemory_policy")
            .or(self.setting("maxmemory-policy"))
    }

    /// Memory in use, the limit, and the machine's, in bytes.
    pub fn memory(&self) -> (f64, f64, f64) {
        let of = |name| self.info.number(name).unwrap_or(0.0);
        (of("used_memory"), of("maxmemory"), of("total_system_memory"))
    }
}
