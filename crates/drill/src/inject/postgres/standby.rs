//! A session in the server that brings something back when nobody else does.

use std::time::Duration;

use sqlx::Connection;
use tokio::task::JoinHandle;

use super::{Server, told};
use crate::inject::{GLANCE, LEASE_MAX};

/// It is looked so often whether it stands by.
const LOOKS: u32 = 100;

/// A session that sleeps for a time and then says a statement, whether or not anybody still listens.
pub(super) struct Standby {
    server: Server,
    back: String,
    pid: i32,
    task: JoinHandle<()>,
}

impl Standby {
    /// Stands by: nothing is changed before that.
    pub(super) async fn begin(server: &Server, back: String, max: Duration) -> Result<Standby, sqlx::Error> {
        let mut session = server.session().await?;
        let (pid,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()")
            .fetch_one(&mut session)
            .await?;
        // A block is carried out to its end, whether its client still listens or not.
        let block = format!(
            "SET statement_timeout = 0; DO $seawall$ BEGIN PERFORM pg_sleep({}); {back}; END $seawall$",
            max.min(LEASE_MAX).as_secs_f64()
        );
        let task = tokio::spawn(async move {
            // Ended by us, or done: both are fine.
            let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(block))
                .execute(&mut session)
                .await;
        });
        let standby = Standby {
            server: server.clone(),
            back,
            pid,
            task,
        };
        standby.is_asleep().await?;
        Ok(standby)
    }

    async fn is_asleep(&self) -> Result<(), sqlx::Error> {
        let mut session = self.server.session().await?;
        for _ in 0..LOOKS {
            let asleep: (bool,) = sqlx::query_as(
                "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')",
            )
            .bind(self.pid)
            .fetch_one(&mut session)
            .await?;
            if asleep.0 {
                return session.close().await;
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(sqlx::Error::Protocol(
            "the session that stands by does not sleep".into(),
        ))
    }

    /// Brings it back now, and lets the session go.
    pub(super) async fn end(&self) -> Result<(), sqlx::Error> {
        let mut session = self.server.session().await?;
        // First this: the session that stands by may be the one to bring it back at this moment.
        told(&mut session, &self.back).await?;
        sqlx::query("SELECT pg_terminate_backend($1)")
            .bind(self.pid)
            .execute(&mut session)
            .await?;
        self.task.abort();
        session.close().await
    }
}
