//! A database that takes no writes from an application, as a standby does after a failover that went wrong.

use std::time::Duration;

use sqlx::Connection;

use super::standby::Standby;
use super::{Server, code, failed, impossible, quoted, told};
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused, until};

/// A write in a transaction that only reads (PostgreSQL, appendix A).
const READ_ONLY: &str = "25006";

/// Lets a user's sessions read and not write (`default_transaction_read_only`), and ends those there are, as a failover does:
/// a session has its settings from its login.
///
/// A session of ours stands by in the server: it sleeps for `max`, and then takes the setting away, also when we are gone.
///
/// # Errors
/// When there is no such user, or we may not alter it.
pub async fn read_only(server: &Server, role: &Server, max: Duration) -> Result<Injection, Refused> {
    let name = role.options.get_username().to_owned();
    let quoted = quoted(&name);
    let mut session = server.session().await?;
    let back = format!("ALTER ROLE {quoted} RESET default_transaction_read_only");
    let standby = Standby::begin(server, back, max).await?;
    let done = told(
        &mut session,
        &format!("ALTER ROLE {quoted} SET default_transaction_read_only = on"),
    )
    .await;
    let done = match done {
        Ok(()) => ended(server, &name).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(ended) => Ok(Injection::new(ReadOnly {
            server: server.clone(),
            role: role.clone(),
            name,
            ended,
            standby,
        })),
        Err(error) => {
            // The standby takes it away in any case.
            let _ = standby.end().await;
            Err(impossible(server, &format!("does not alter {name}: {error}")))
        }
    }
}

/// Ends the sessions of a user; how many there were.
async fn ended(server: &Server, name: &str) -> Result<usize, sqlx::Error> {
    let mut session = server.session().await?;
    let ended: Vec<(bool,)> = sqlx::query_as(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 \
         AND backend_type = 'client backend'",
    )
    .bind(name)
    .fetch_all(&mut session)
    .await?;
    session.close().await?;
    Ok(ended.len())
}

struct ReadOnly {
    server: Server,
    role: Server,
    name: String,
    ended: usize,
    standby: Standby,
}

/// Writes into a table of the session's own, which a session that only reads may not even make.
async fn write(role: &Server) -> Result<(), sqlx::Error> {
    let mut session = role.session().await?;
    told(&mut session, "CREATE TEMPORARY SEQUENCE seawall_probe").await?;
    session.close().await
}

impl Fault for ReadOnly {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match write(&self.role).await {
                Err(error) if code(&error).as_deref() == Some(READ_ONLY) => Ok(Evidence::new(
                    format!("let {} only read, and ended {} sessions", self.name, self.ended),
                    format!("a write is refused ({READ_ONLY})"),
                )),
                Err(error) => Err(error.into()),
                Ok(()) => Err(NoEffect("a write is taken".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.standby.end().await?;
            // Sessions that have logged in meanwhile keep what they were told.
            let ended = ended(&self.server, &self.name).await?;
            let role = &self.role;
            until(|| async { write(role).await.map_err(|error| -> Failed { failed(&error) }) }).await?;
            Ok(Evidence::new(
                format!("let {} write again, and ended {ended} sessions", self.name),
                "a write is taken",
            ))
        })
    }
}
