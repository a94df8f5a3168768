//! No memory left for writes.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::settings::Changed;
use crate::inject::{Answer, Evidence, Fault, Injection, NoEffect, NotUndone, Refused};
use crate::keeper::Keeper;

/// Makes writes fail for want of memory: `maxmemory` half of what is used, and `noeviction`. Reads go on.
///
/// # Errors
/// When the server cannot be talked to or does not let its settings be changed.
pub async fn out_of_memory(
    keeper: &Arc<Keeper>,
    server: &Server,
    max: Duration,
) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    let used: u64 = client.info("memory", "used_memory").await?.parse().unwrap_or(2);
    let limit = (used / 2).max(1);
    let names = ["maxmemory", "maxmemory-policy"];
    let changed = Changed::note(keeper, server, &mut client, &names, max).await?;
    // In this order: with another policy, a limit below what is used would evict.
    changed.set(&mut client, "maxmemory-policy", "noeviction").await?;
    changed.set(&mut client, "maxmemory", &limit.to_string()).await?;
    Ok(Injection::new(Full { changed, limit, used }))
}

struct Full {
    changed: Changed,
    limit: u64,
    used: u64,
}

impl Fault for Full {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match self.changed.server.writes().await? {
                Some(error) if error.starts_with("OOM") => Ok(Evidence::new(
                    format!(
                        "set maxmemory to {} of {} bytes in use, noeviction",
                        self.limit, self.used
                    ),
                    format!("SET is answered {error}"),
                )),
                Some(error) => Err(NoEffect(format!("SET is answered {error}"))),
                None => Err(NoEffect("SET is taken".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            let back = self.changed.undo().await?;
            self.changed.server.takes_writes().await?;
            Ok(Evidence::new(format!("brought back {back}"), "SET is taken"))
        })
    }
}
