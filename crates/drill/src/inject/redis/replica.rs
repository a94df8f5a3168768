//! A server that takes no writes, because it takes itself for a replica.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::inject::lease::Lease;
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused, until};
use crate::keeper::Keeper;

/// Where no master is: a port for those who may use the first thousand, and whom nobody runs.
const NOBODY: [&str; 2] = ["127.0.0.1", "1"];

/// Makes a master the replica of nobody (`REPLICAOF`): writes are answered `READONLY`, and reads go on with what there is.
///
/// # Errors
/// When it is a replica already, belongs to a cluster, or would answer no reads then either.
pub async fn read_only(keeper: &Arc<Keeper>, server: &Server, max: Duration) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    let role = client.info("replication", "role").await?;
    if role != "master" {
        return Err(Refused::Impossible(format!(
            "Redis at {} is a {role}: of whom would not be known afterwards",
            server.address
        )));
    }
    for name in ["replica-read-only", "replica-serve-stale-data"] {
        if client.setting(name).await? != "yes" {
            return Err(Refused::Impossible(format!(
                "Redis at {} has {name} off",
                server.address
            )));
        }
    }
    let lease = server.lease(keeper, &[&["REPLICAOF", "NO", "ONE"]], max).await?;
    let done = client.order(&["REPLICAOF", NOBODY[0], NOBODY[1]]).await;
    lease.unless(done).await?;
    let server = server.clone();
    Ok(Injection::new(ReadOnly { server, lease }))
}

struct ReadOnly {
    server: Server,
    lease: Lease,
}

impl ReadOnly {
    async fn is_master(&self) -> Result<(), Failed> {
        let role = self.server.client().await?.info("replication", "role").await?;
        if role != "master" {
            return Err(Failed::new(format!("it is a {role}")));
        }
        self.server.takes_writes().await
    }
}

impl Fault for ReadOnly {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut client = self.server.client().await?;
            let read = client.ask(&["GET", super::PROBE]).await?;
            match self.server.writes().await? {
                Some(error) if error.starts_with("READONLY") && read.error().is_none() => Ok(Evidence::new(
                    "made it the replica of nobody",
                    format!("SET is answered {error}, and GET is answered"),
                )),
                Some(error) => Err(NoEffect(format!("SET is answered {error}"))),
                None => Err(NoEffect("SET is taken".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.lease.end().await?;
            until(|| self.is_master()).await?;
            Ok(Evidence::new("made it a master again", "SET is taken"))
        })
    }
}
