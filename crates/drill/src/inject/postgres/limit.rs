//! No connections for an application.

use std::time::Duration;

use sqlx::PgConnection;

use super::standby::Standby;
use super::{Server, code, failed, impossible, quoted, told};
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused, until};

/// Too many connections (PostgreSQL, appendix A).
const TOO_MANY: &str = "53300";

/// Leaves a user so many connections (`ALTER ROLE … CONNECTION LIMIT`), and ends the newest of those above.
///
/// A session of ours stands by in the server: it sleeps for `max`, and then brings the old limit back. It does so also
/// when we are gone.
///
/// # Errors
/// When there is no such user, it is a superuser, whom no limit binds, or we may not alter it.
pub async fn connections(
    server: &Server,
    role: &Server,
    limit: u32,
    max: Duration,
) -> Result<Injection, Refused> {
    let name = role.options.get_username().to_owned();
    let mut session = server.session().await?;
    let found: Option<(i32, bool)> =
        sqlx::query_as("SELECT rolconnlimit, rolsuper FROM pg_roles WHERE rolname = $1")
            .bind(&name)
            .fetch_optional(&mut session)
            .await?;
    let before = match found {
        None => return Err(impossible(server, &format!("has no user {name}"))),
        Some((_, true)) => {
            return Err(impossible(
                server,
                &format!("has {name} as a superuser, whom no limit of connections binds"),
            ));
        }
        Some((before, false)) => before,
    };
    let back = format!("ALTER ROLE {} CONNECTION LIMIT {before}", quoted(&name));
    let standby = Standby::begin(server, back, max).await?;
    let mut limited = Limited {
        server: server.clone(),
        role: role.clone(),
        name,
        before,
        limit,
        ended: 0,
        standby,
    };
    let done = limited.begin(&mut session).await;
    if let Err(error) = done {
        // The standby brings it back in any case.
        let _ = limited.standby.end().await;
        return Err(error.into());
    }
    Ok(Injection::new(limited))
}

struct Limited {
    server: Server,
    role: Server,
    name: String,
    before: i32,
    limit: u32,
    ended: usize,
    standby: Standby,
}

impl Limited {
    async fn begin(&mut self, session: &mut PgConnection) -> Result<(), sqlx::Error> {
        let statement = format!(
            "ALTER ROLE {} CONNECTION LIMIT {}",
            quoted(&self.name),
            self.limit
        );
        told(session, &statement).await?;
        let ended: Vec<(bool,)> = sqlx::query_as(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename = $1 \
             AND backend_type = 'client backend' ORDER BY backend_start OFFSET $2) AS newest",
        )
        .bind(&self.name)
        .bind(i64::from(self.limit))
        .fetch_all(session)
        .await?;
        self.ended = ended.len();
        Ok(())
    }

    async fn is_back(&self) -> Result<(), Failed> {
        let mut session = self.server.session().await.map_err(|error| failed(&error))?;
        let now: (i32,) = sqlx::query_as("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1")
            .bind(&self.name)
            .fetch_one(&mut session)
            .await
            .map_err(|error| failed(&error))?;
        if now.0 != self.before {
            return Err(Failed::new(format!(
                "the limit is {} and was {}",
                now.0, self.before
            )));
        }
        self.role
            .session()
            .await
            .map(|_| ())
            .map_err(|error| failed(&error))
    }
}

impl Fault for Limited {
    /// Takes what the application has left, for a moment, until a login is refused.
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut held = Vec::new();
            let refused = loop {
                match self.role.session().await {
                    Ok(_) if held.len() as u64 >= u64::from(self.limit) => break None,
                    Ok(session) => held.push(session),
                    Err(error) => break Some(error),
                }
            };
            let more = held.len();
            drop(held);
            match refused {
                Some(error) if code(&error).as_deref() == Some(TOO_MANY) => Ok(Evidence::new(
                    format!(
                        "left {} {} connections and ended {} above",
                        self.name, self.limit, self.ended
                    ),
                    format!("after {more} more, a login is refused ({TOO_MANY})"),
                )),
                Some(error) => Err(error.into()),
                None => Err(NoEffect(format!(
                    "{} has more than {} connections",
                    self.name, self.limit
                ))),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.standby.end().await?;
            until(|| self.is_back()).await?;
            Ok(Evidence::new(
                format!("brought back the limit of {} ({})", self.name, self.before),
                "a login is accepted",
            ))
        })
    }
}
