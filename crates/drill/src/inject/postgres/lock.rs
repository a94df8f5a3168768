//! Tables that nobody gets at.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::{Server, code, failed, impossible, quoted, told};
use crate::inject::{
    Answer, Evidence, Failed, Fault, Injection, LEASE_MAX, NoEffect, NotUndone, Refused, SILENCE, until,
};

/// Waited too long for a lock (PostgreSQL, appendix A).
const LOCKED: &str = "55P03";

/// Locks tables against everybody (`LOCK TABLE … IN ACCESS EXCLUSIVE MODE`), in an open transaction of ours. Reads of
/// them wait too. The server ends the transaction after `max` (`idle_in_transaction_session_timeout`), or when we are
/// gone.
///
/// # Errors
/// When there is no such table, we may not lock it, or others do not let go of it.
pub async fn lock(server: &Server, tables: &[&str], max: Duration) -> Result<Injection, Refused> {
    let Some(first) = tables.first() else {
        return Err(impossible(server, &"is told of no table to lock"));
    };
    let first = quoted(first);
    let all: Vec<String> = tables.iter().map(|table| quoted(table)).collect();
    let all = all.join(", ");
    let mut session = server.session().await?;
    let max_ms = max.min(LEASE_MAX).as_millis().max(1);
    let statements = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {max_ms}; SET LOCAL lock_timeout = '3s'; \
         LOCK TABLE {all} IN ACCESS EXCLUSIVE MODE"
    );
    told(&mut session, &statements)
        .await
        .map_err(|error| impossible(server, &format!("does not lock {all}: {error}")))?;
    let server = server.clone();
    Ok(Injection::new(Locked {
        server,
        session,
        first,
        all,
    }))
}

struct Locked {
    server: Server,
    session: PgConnection,
    first: String,
    all: String,
}

/// Reads a table, and waits for its lock no longer than [`SILENCE`].
async fn read(server: &Server, table: &str) -> Result<(), sqlx::Error> {
    let mut session = server.session().await?;
    told(
        &mut session,
        &format!("SET lock_timeout = {}", SILENCE.as_millis()),
    )
    .await?;
    told(&mut session, &format!("SELECT 1 FROM {table} LIMIT 1")).await?;
    session.close().await
}

impl Fault for Locked {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match read(&self.server, &self.first).await {
                Ok(()) => Err(NoEffect(format!("a SELECT from {} is answered", self.first))),
                Err(error) if code(&error).as_deref() == Some(LOCKED) => {
                    let mut session = self.server.session().await?;
                    let waiting: (i64,) = sqlx::query_as("SELECT count(*) FROM pg_locks WHERE NOT granted")
                        .fetch_one(&mut session)
                        .await?;
                    Ok(Evidence::new(
                        format!("locked {}", self.all),
                        format!(
                            "a SELECT waits longer than {} ms ({LOCKED}), and {} others wait",
                            SILENCE.as_millis(),
                            waiting.0
                        ),
                    ))
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn undo(mut self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            // When its time is over, the server has ended the session.
            if told(&mut self.session, "ROLLBACK").await.is_ok() {
                let _ = self.session.close().await;
            }
            let (server, first) = (&self.server, &self.first);
            until(|| async {
                read(server, first)
                    .await
                    .map_err(|error| -> Failed { failed(&error) })
            })
            .await?;
            Ok(Evidence::new(
                format!("let go of {}", self.all),
                "a SELECT is answered",
            ))
        })
    }
}
