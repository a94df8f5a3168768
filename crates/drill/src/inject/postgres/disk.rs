//! A disk without room for more rows.
//!
//! What is full is the disk of a *tablespace*, where the application's tables are: a PostgreSQL that cannot write its log
//! either does not answer with errors, it ends.

use std::sync::Arc;
use std::time::Duration;

use super::{Server, code, failed, told};
use crate::inject::disk::{Filled, Small};
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused, until};
use crate::keeper::Keeper;
use crate::stack::{self, POSTGRES_USERS};

/// Disk full (PostgreSQL, appendix A).
const FULL: &str = "53100";
/// The table that is written to, to see whether it can be.
const PROBE: &str = "seawall_probe";
const NAME: &str = "seawall_small";

/// A tablespace on a small disk, where new tables go.
#[derive(Debug)]
pub struct Tablespace {
    server: Server,
    disk: Small,
}

impl Tablespace {
    /// Makes one of so many bytes, before the application makes its tables. Sessions that log in from now on put new
    /// tables there.
    ///
    /// # Errors
    /// When this machine lets no small disk be mounted, or the server has such a tablespace already.
    pub async fn prepare(
        keeper: &Arc<Keeper>,
        postgres: &stack::Postgres,
        bytes: u64,
    ) -> Result<Tablespace, Refused> {
        let server = Server::from(postgres);
        let folder = format!("disk-{}", postgres.address().port());
        let users = POSTGRES_USERS.map(str::to_owned);
        let disk = Small::mount(keeper, &keeper.folder().join(folder), bytes, &users).await?;
        let at = disk.path().display().to_string().replace('\'', "''");
        let mut session = server.session().await?;
        for statement in [
            format!("CREATE TABLESPACE {NAME} LOCATION '{at}'"),
            format!("GRANT CREATE ON TABLESPACE {NAME} TO PUBLIC"),
            format!("ALTER DATABASE postgres SET default_tablespace = {NAME}"),
            // Values that are not made smaller: each takes the room that it has.
            format!("CREATE UNLOGGED TABLE {PROBE} (value text) TABLESPACE {NAME}"),
            format!("ALTER TABLE {PROBE} ALTER value SET STORAGE EXTERNAL"),
        ] {
            told(&mut session, &statement).await?;
        }
        Ok(Tablespace { server, disk })
    }
}

/// Fills the disk of a tablespace: what needs more room is answered by an error, and what has it goes on.
///
/// # Errors
/// When it cannot be filled.
pub async fn disk_full(
    keeper: &Arc<Keeper>,
    tablespace: &Tablespace,
    max: Duration,
) -> Result<Injection, Refused> {
    let filled = Filled::begin(keeper, &tablespace.disk, max).await?;
    let server = tablespace.server.clone();
    Ok(Injection::new(Full { server, filled }))
}

struct Full {
    server: Server,
    filled: Filled,
}

/// Writes a row that needs several pages of its own, and takes it back.
async fn write(server: &Server) -> Result<(), sqlx::Error> {
    let mut session = server.session().await?;
    let row =
        format!("INSERT INTO {PROBE} SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i");
    told(&mut session, &row).await?;
    told(&mut session, &format!("TRUNCATE {PROBE}")).await
}

impl Fault for Full {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match write(&self.server).await {
                Err(error) if code(&error).as_deref() == Some(FULL) => Ok(Evidence::new(
                    self.filled.done(),
                    format!("an INSERT is refused ({FULL})"),
                )),
                Err(error) => Err(error.into()),
                Ok(()) => Err(NoEffect("an INSERT is taken".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.filled.end().await?;
            let server = &self.server;
            until(|| async { write(server).await.map_err(|error| -> Failed { failed(&error) }) }).await?;
            Ok(Evidence::new(
                "removed what filled the disk",
                "an INSERT is taken",
            ))
        })
    }
}
