//! Checks of the database behind the cache.

use super::facts::DatabaseFacts;
use super::rule::{Look, Rule, Severity, found};
use super::words::share;

fn psql(database: &DatabaseFacts, command: &str) -> String {
    format!("psql -c \"{}\" '{}'", command.replace('"', "\\\""), database.name)
}

fn off(database: &DatabaseFacts, setting: &str) -> bool {
    database.settings.get(setting).is_some_and(|value| value == "0")
}

fn set(database: &DatabaseFacts, setting: &str, value: &str) -> String {
    let name = database.database.replace('"', "\"\"");
    psql(
        database,
        &format!("ALTER DATABASE \"{name}\" SET {setting} = '{value}'"),
    )
}

pub(super) const FULL: Rule = Rule {
    id: "postgres-connections-near-limit",
    severity: Severity::High,
    title: "connections are near their limit",
    why: "When the cache misses more, each instance asks for more connections. At the limit new ones are refused, also for those \
          who come to help.",
    mend: "A bound in each pool (instances × bound below the limit), a pooler (PgBouncer) before the database, a limit on loads \
           (`[protect.limit]`). Not just a higher `max_connections`: it needs a restart, and more queries at once than \
           processors make all of them slow.",
    look: Look::Database(|database| {
        let used = database.sessions / database.limit.max(1.0);
        if used < 0.6 {
            return None;
        }
        Some(
            found(format!("{:.0} sessions of {:.0} ({})", database.sessions, database.limit, share(used)))
                .mend(psql(database, "SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC"))
                .mend("[protect.limit] max = …")
                .weighs(if used >= 0.8 { Severity::High } else { Severity::Medium }),
        )
    }),
};

pub(super) const CANNOT_CARRY: Rule = Rule {
    id: "postgres-cannot-carry-all-reads",
    severity: Severity::High,
    title: "without the cache the database would need more connections than it has",
    why: "What the cache answers now would be queries. By Little's law as many are under way as arrive in the time that one \
          takes; and they take longer the more there are. Beyond the limit they wait or are refused, and retries make more of \
          them.",
    mend: "Not `max_connections`: decide what does not fit. A limit on loads, coalescing, stale answers and shedding \
           (`[protect]`), tried with `seawall init` and `seawall simulate`, proved with `seawall drill`.",
    look: Look::Both(|database, caches| {
        let lookups: f64 = caches.iter().map(|cache| cache.lookups).sum();
        let secs = database.transaction_secs.filter(|secs| *secs > 0.0)?;
        let needed = lookups * secs;
        if lookups < 1.0 || needed <= database.limit {
            return None;
        }
        Some(
            found(format!(
                "{lookups:.0} look-ups a second × {:.1} ms a query = {needed:.0} at once, and {:.0} connections",
                secs * 1e3,
                database.limit
            ))
            .mend(format!("[protect.limit] max = {:.0}", (database.limit * 0.5).max(1.0)))
            .mend("[protect.coalesce] wait_max = \"1s\"")
            .mend("seawall init --redis … --postgres … > now.toml && seawall simulate now.toml"),
        )
    }),
};

pub(super) const STATEMENT_TIMEOUT: Rule = Rule {
    id: "postgres-statement-timeout-off",
    severity: Severity::Medium,
    title: "a query may run for ever",
    why: "A client that gives up does not stop its query. In an overload the database works for callers who are gone, and the \
          retries come on top.",
    mend: "`ALTER DATABASE … SET statement_timeout`, a little above the clients' timeout; a longer one for roles that report or \
           migrate. It counts for new sessions.",
    look: Look::Database(|database| {
        let found_off = off(database, "statement_timeout");
        found_off.then(|| found("statement_timeout 0").mend(set(database, "statement_timeout", "5s")))
    }),
};

pub(super) const IDLE_TIMEOUT: Rule = Rule {
    id: "postgres-idle-in-transaction-timeout-off",
    severity: Severity::Low,
    title: "a forgotten transaction keeps its locks for ever",
    why: "A session that is idle within a transaction holds its locks and its connection, and keeps old rows from being cleaned \
          away.",
    mend: "`ALTER DATABASE … SET idle_in_transaction_session_timeout = '60s'`.",
    look: Look::Database(|database| {
        let name = "idle_in_transaction_session_timeout";
        off(database, name).then(|| found(format!("{name} 0")).mend(set(database, name, "60s")))
    }),
};

pub(super) const IDLE: Rule = Rule {
    id: "postgres-idle-in-transaction",
    severity: Severity::Medium,
    title: "transactions have been forgotten",
    why: "Each holds locks that others will wait for, and a connection.",
    mend: "Find who forgets to commit; end what hangs with `pg_terminate_backend`, after a look at what it holds.",
    look: Look::Database(|database| {
        let long: Vec<f64> = database
            .idle_in_transaction
            .iter()
            .copied()
            .filter(|secs| *secs > 60.0)
            .collect();
        let worst = long.first()?;
        let who = "SELECT pid, usename, application_name, state_change FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY state_change";
        Some(
            found(format!(
                "{} for over a minute, the longest {worst:.0} s",
                long.len()
            ))
            .mend(psql(database, who)),
        )
    }),
};

pub(super) const LOCK_TIMEOUT: Rule = Rule {
    id: "postgres-lock-timeout-off",
    severity: Severity::Low,
    title: "queries wait for locks for ever",
    why: "One lock that is held too long (a migration) lets all who need it wait with a connection each, until there are none.",
    mend: "`ALTER DATABASE … SET lock_timeout`; and migrations that set a short one themselves and try again.",
    look: Look::Database(|database| {
        off(database, "lock_timeout")
            .then(|| found("lock_timeout 0").mend(set(database, "lock_timeout", "2s")))
    }),
};

pub(super) const NO_RESERVE: Rule = Rule {
    id: "postgres-no-reserve",
    severity: Severity::Medium,
    title: "nobody gets in when it is full",
    why: "With `superuser_reserved_connections 0` those who come to help are refused like all others.",
    mend: "`ALTER SYSTEM SET superuser_reserved_connections = 3`, and a restart at a quiet time.",
    look: Look::Database(|database| {
        let none = off(database, "superuser_reserved_connections");
        none.then(|| {
            let command = "ALTER SYSTEM SET superuser_reserved_connections = 3";
            found("superuser_reserved_connections 0").mend(psql(database, command))
        })
    }),
};
