//! A server that cannot write its snapshot, and therefore takes no writes.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::inject::disk::{Filled, Small};
use crate::inject::lease::Lease;
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused, until};
use crate::keeper::Keeper;

/// Fills the disk of a server whose folder is on a [`Small`] one, and has it write a snapshot. It has to be told to keep
/// snapshots (`save`), or it takes writes without being able to keep them.
///
/// # Errors
/// When the server would take writes all the same, or the disk cannot be filled.
pub async fn disk_full(
    keeper: &Arc<Keeper>,
    server: &Server,
    disk: &Small,
    max: Duration,
) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    let impossible = |why: String| Refused::Impossible(format!("Redis at {} {why}", server.address));
    if client.setting("save").await?.is_empty() {
        return Err(impossible(
            "keeps no snapshots: start it with the setting save".into(),
        ));
    }
    if client.setting("stop-writes-on-bgsave-error").await? != "yes" {
        return Err(impossible(
            "goes on without snapshots: it has stop-writes-on-bgsave-error off".into(),
        ));
    }
    let at = client.setting("dir").await?;
    if !disk.holds(at.as_ref()) {
        return Err(impossible(format!(
            "keeps its snapshots in {at}, which is not the small disk"
        )));
    }
    let filled = Filled::begin(keeper, disk, max).await?;
    // After the room is back: one snapshot that succeeds, and it takes writes again.
    let lease = server.lease(keeper, &[&["BGSAVE"]], max + SOON).await?;
    let full = Full {
        server: server.clone(),
        filled,
        lease,
    };
    let failed = until(|| full.fails()).await;
    if let Err(error) = failed {
        full.filled.end().await?;
        full.lease.end().await?;
        return Err(error.into());
    }
    Ok(Injection::new(full))
}

/// The room has to be back before a snapshot is tried.
const SOON: Duration = Duration::from_millis(50);

struct Full {
    server: Server,
    filled: Filled,
    lease: Lease,
}

impl Full {
    /// Lets it write a snapshot, and looks whether that fails.
    async fn fails(&self) -> Result<(), Failed> {
        let mut client = self.server.client().await?;
        // One may be under way.
        client.ask(&["BGSAVE"]).await?;
        match client
            .info("persistence", "rdb_last_bgsave_status")
            .await?
            .as_str()
        {
            "err" => Ok(()),
            _ => Err(Failed::new("its snapshots succeed")),
        }
    }

    async fn is_well(&self) -> Result<(), Failed> {
        let mut client = self.server.client().await?;
        if self.server.takes_writes().await.is_err() {
            client.ask(&["BGSAVE"]).await?;
        }
        self.server.takes_writes().await
    }
}

impl Fault for Full {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match self.server.writes().await? {
                Some(error) if error.starts_with("MISCONF") => {
                    let brief = error.split('.').next().unwrap_or_default();
                    Ok(Evidence::new(
                        self.filled.done(),
                        format!("SET is answered {brief}"),
                    ))
                }
                Some(error) => Err(NoEffect(format!("SET is answered {error}"))),
                None => Err(NoEffect("SET is taken".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.filled.end().await?;
            let _ = self.lease.end().await;
            until(|| self.is_well()).await?;
            Ok(Evidence::new("removed what filled the disk", "SET is taken"))
        })
    }
}
