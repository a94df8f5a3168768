//! A round of questions to one PostgreSQL: a new connection, and what it tells of itself on one that is kept.
//!
//! Texts of queries never leave the server: it is asked how many are the same, and not what they say. What needs the
//! role `pg_monitor` and is not allowed stays unknown.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use seawall_core::record::Metric;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, Why};
use super::sample::{Place, Sample};
use super::step::{Ledger, Step};
use super::target::Target;

/// A PostgreSQL that is asked how it is, once a round.
pub struct PostgresProbe {
    target: Target,
    place: Place,
    kept: Option<PgConnection>,
    before: Option<Told>,
}

const STEPS: [Step; 2] = [Step::Connect, Step::Query];

/// What it told at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) commits: f64,
    pub(crate) rollbacks: f64,
    /// Milliseconds that sessions spent executing, since PostgreSQL 14.
    pub(crate) active_ms: Option<f64>,
    pub(crate) sessions: f64,
    /// Nothing when other people's sessions may not be looked at.
    pub(crate) active: Option<f64>,
    pub(crate) locked: f64,
    pub(crate) idle_in_transaction: f64,
    pub(crate) identical: f64,
    pub(crate) limit: f64,
    /// Look-ups by an index, and what they found, of the indexes that are used most.
    pub(crate) indexes: BTreeMap<i64, (f64, f64)>,
}

/// What is asked each round. Numbers in texts of queries, and what is quoted, are crossed out before they are compared.
const QUESTION: &str = "\
WITH others AS (
  SELECT state, wait_event_type, query FROM pg_stat_activity
  WHERE application_name NOT IN ('seawall-probe', 'seawall-caller') AND datname IS NOT NULL
    AND (backend_type IS NULL OR backend_type = 'client backend')
), same AS (
  SELECT count(*) AS times FROM others WHERE state = 'active'
  GROUP BY md5(regexp_replace(query, '''[^'']*''|\\m[0-9]+', '?', 'g'))
), stats AS (
  SELECT sum(xact_commit)::float8 AS commits, sum(xact_rollback)::float8 AS rollbacks,
    sum((to_jsonb(d) ->> 'active_time')::float8) AS active_ms
  FROM pg_stat_database d WHERE datname = current_database()
)
SELECT stats.commits, stats.rollbacks, stats.active_ms,
  (SELECT count(*) FROM others)::float8 AS sessions,
  (SELECT count(*) FROM others WHERE state IS NULL)::float8 AS hidden,
  (SELECT count(*) FROM others WHERE state = 'active')::float8 AS active,
  (SELECT count(*) FROM others WHERE state = 'active' AND wait_event_type = 'Lock')::float8 AS locked,
  (SELECT count(*) FROM others WHERE state LIKE 'idle in transaction%')::float8 AS idle_in_transaction,
  COALESCE((SELECT max(times) FROM same), 0)::float8 AS identical,
  (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - COALESCE(current_setting('reserved_connections', true), '0')::int)::float8 AS total,
  (SELECT datconnlimit::float8 FROM pg_database WHERE datname = current_database()) AS own_limit
FROM stats";

/// What our sessions are called (`application_name`), so that they are not counted.
pub const NAME: &str = "seawall-probe";
/// What a session of ours is called that waits in line as callers do, and is not counted either.
pub(crate) const CALLER: &str = "seawall-caller";

/// So many indexes are looked at, those that are used most.
const INDEXES: &str = "\
SELECT indexrelid::int8 AS id, idx_scan::float8 AS scans, idx_tup_read::float8 AS found
FROM pg_stat_user_indexes WHERE idx_scan > 0 ORDER BY idx_scan DESC LIMIT 64";

impl PostgresProbe {
    /// Nothing is asked yet.
    pub fn new(target: Target, place: Place) -> PostgresProbe {
        PostgresProbe {
            target,
            place,
            kept: None,
            before: None,
        }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What it told last.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.before.as_ref()
    }

    /// Asks everything, and is back by the deadline whatever the server does.
    pub async fn round(&mut self, deadline: Instant) -> Sample {
        let (mut fresh_ledger, mut ledger) = (Ledger::default(), Ledger::default());
        let had = self.kept.is_some();
        let target = &self.target;
        let (fresh, told) = tokio::join!(
            async {
                let begun = Instant::now();
                match connect(target, deadline).await {
                    Ok(fresh) => {
                        fresh_ledger.add(Step::Connect, Ok(begun.elapsed()));
                        Some(fresh)
                    }
                    Err(fault) => {
                        fresh_ledger.failed(Step::Connect, fault);
                        None
                    }
                }
            },
            kept_round(target, &mut self.kept, &mut ledger, deadline),
        );
        let mut told = told;
        match fresh {
            Some(fresh) if self.kept.is_none() => {
                self.kept = Some(fresh);
                if !had {
                    told = kept_round(target, &mut self.kept, &mut ledger, deadline).await;
                }
            }
            // Its farewell is not waited for long, and not at all by the server.
            Some(fresh) => {
                let _ = timeout_at(deadline, fresh.close()).await;
            }
            None => {}
        }
        let mut all = fresh_ledger;
        all.extend(ledger);
        let mut sample = Sample::default();
        all.tell(&self.place, &STEPS, &mut sample);
        if let Some(told) = told {
            told.tell(self.before.as_ref(), &self.place, &mut sample);
            self.before = Some(told);
        }
        sample.silent(&self.place, Metric::OriginConnections);
        sample
    }
}

/// A connection that asks nothing that takes longer than the deadline, and changes nothing.
pub(crate) async fn connect(target: &Target, deadline: Instant) -> Result<PgConnection, Fault> {
    connect_as(NAME, target, deadline).await
}

/// The same under another name.
pub(crate) async fn connect_as(
    name: &str,
    target: &Target,
    deadline: Instant,
) -> Result<PgConnection, Fault> {
    let options = PgConnectOptions::from_str(target.whole())
        .map_err(|error| {
            Fault::new(
                Why::Error,
                target.scrubbed(&format!("the address cannot be used: {error}")),
            )
        })?
        .application_name(name)
        .disable_statement_logging();
    let opened = async {
        let mut connection = options.connect().await?;
        let patience = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(50));
        sqlx::query(
            "SELECT set_config('statement_timeout', $1, false), set_config('default_transaction_read_only', 'on', false)",
        )
        .bind(patience.as_millis().to_string())
        .execute(&mut connection)
        .await?;
        Ok(connection)
    };
    match timeout_at(deadline, opened).await {
        Ok(opened) => opened.map_err(|error| of_sqlx(target, &error)),
        Err(_) => Err(Fault::late("session")),
    }
}

/// Asks on the kept connection, which is gone afterwards when it was not well answered.
async fn kept_round(
    target: &Target,
    kept: &mut Option<PgConnection>,
    ledger: &mut Ledger,
    deadline: Instant,
) -> Option<Told> {
    let mut connection = kept.take()?;
    let begun = Instant::now();
    match timeout_at(deadline, ask(&mut connection)).await {
        Ok(Ok(told)) => {
            ledger.add(Step::Query, Ok(begun.elapsed()));
            *kept = Some(connection);
            Some(told)
        }
        Ok(Err(error)) => {
            // An answer that is an error leaves the session as it was.
            if matches!(error, sqlx::Error::Database(_)) {
                *kept = Some(connection);
            }
            ledger.failed(Step::Query, of_sqlx(target, &error));
            None
        }
        Err(_) => {
            ledger.failed(Step::Query, Fault::late("answer to a query"));
            None
        }
    }
}

async fn ask(connection: &mut PgConnection) -> Result<Told, sqlx::Error> {
    let row = sqlx::query(QUESTION).fetch_one(&mut *connection).await?;
    let mut told = read(&row)?;
    for row in sqlx::query(INDEXES).fetch_all(&mut *connection).await? {
        told.indexes
            .insert(row.try_get("id")?, (row.try_get("scans")?, row.try_get("found")?));
    }
    Ok(told)
}

fn read(row: &PgRow) -> Result<Told, sqlx::Error> {
    let number = |name: &str| row.try_get::<Option<f64>, _>(name);
    let hidden = number("hidden")?.unwrap_or(0.0);
    let own = number("own_limit")?.filter(|limit| *limit >= 0.0);
    let total = number("total")?.unwrap_or(0.0);
    Ok(Told {
        commits: number("commits")?.unwrap_or(0.0),
        rollbacks: number("rollbacks")?.unwrap_or(0.0),
        active_ms: number("active_ms")?,
        sessions: number("sessions")?.unwrap_or(0.0),
        active: number("active")?.filter(|_| hidden == 0.0),
        locked: number("locked")?.unwrap_or(0.0),
        idle_in_transaction: number("idle_in_transaction")?.unwrap_or(0.0),
        identical: number("identical")?.unwrap_or(0.0),
        limit: own.map_or(total, |own| own.min(total)),
        indexes: BTreeMap::new(),
    })
}

/// Transactions of our own in a round: two on the kept session, one of a new one.
pub(crate) const OWN: f64 = 3.0;

impl Told {
    fn tell(&self, before: Option<&Told>, place: &Place, sample: &mut Sample) {
        let mut add = |metric, value| sample.points.push(place.point(metric, value));
        add(Metric::OriginConnections, self.sessions);
        add(Metric::OriginConnectionsLimit, self.limit);
        if let Some(active) = self.active {
            add(Metric::OriginInFlight, active);
            add(Metric::OriginLockWaits, self.locked);
            add(Metric::OriginIdentical, self.identical);
        }
        let Some(before) = before else { return };
        // After a crash it counts from nothing.
        let added = |now: f64, then: f64| if now >= then { now - then } else { now };
        let rollbacks = added(self.rollbacks, before.rollbacks);
        let all = added(self.commits, before.commits) + rollbacks;
        add(Metric::OriginRequests, (all - OWN).max(0.0));
        add(Metric::OriginErrors, rollbacks);
        let empty = self.indexes.iter().map(|(index, (scans, found))| {
            let (scans_then, found_then) = before.indexes.get(index).copied().unwrap_or_default();
            (added(*scans, scans_then) - added(*found, found_then)).max(0.0)
        });
        add(Metric::OriginEmpty, empty.sum());
    }
}

/// What an error of the client or the server means (codes: PostgreSQL's appendix A).
pub(crate) fn of_sqlx(target: &Target, error: &sqlx::Error) -> Fault {
    let text = target.scrubbed(&error.to_string());
    match error {
        sqlx::Error::Io(error) => Fault::io(error),
        sqlx::Error::Database(error) => {
            let why = match error.code().as_deref() {
                Some("28P01" | "28000") => Why::NoAuth,
                Some("53300") => Why::TooManyClients,
                Some("53100") => Why::DiskFull,
                Some("53200") => Why::OutOfMemory,
                Some("57P03" | "57P01" | "57P02") => Why::Loading,
                Some("57014" | "55P03") => Why::TimedOut,
                Some("42501") => Why::Denied,
                Some("25006") => Why::ReadOnly,
                _ => Why::Error,
            };
            Fault::new(why, text)
        }
        sqlx::Error::Protocol(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            Fault::new(Why::Garbage, text)
        }
        _ => Fault::new(Why::Error, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_them_tell_what_was_between() {
        let before = Told {
            commits: 100.0,
            rollbacks: 1.0,
            indexes: BTreeMap::from([(1, (50.0, 50.0)), (2, (10.0, 400.0))]),
            ..Told::default()
        };
        let after = Told {
            commits: 203.0,
            rollbacks: 3.0,
            sessions: 12.0,
            active: Some(4.0),
            locked: 2.0,
            identical: 3.0,
            limit: 97.0,
            indexes: BTreeMap::from([(1, (150.0, 90.0)), (2, (20.0, 900.0)), (3, (5.0, 0.0))]),
            ..Told::default()
        };
        let mut sample = Sample::default();
        after.tell(Some(&before), &Place::new("postgres"), &mut sample);
        for (metric, expected) in [
            (Metric::OriginRequests, 102.0),
            (Metric::OriginErrors, 2.0),
            (Metric::OriginConnections, 12.0),
            (Metric::OriginConnectionsLimit, 97.0),
            (Metric::OriginInFlight, 4.0),
            (Metric::OriginLockWaits, 2.0),
            (Metric::OriginIdentical, 3.0),
            (Metric::OriginEmpty, 65.0),
        ] {
            assert_eq!(
                sample.value(metric, "postgres"),
                Some(expected),
                "{}",
                metric.name()
            );
        }
        let mut hidden = Sample::default();
        Told {
            active: None,
            ..after
        }
        .tell(None, &Place::new("postgres"), &mut hidden);
        assert_eq!(hidden.value(Metric::OriginInFlight, "postgres"), None);
    }
}
