//! A server that is there again and reads its snapshot, slowly.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Server;
use super::client::{Client, count};
use crate::inject::lease::Lease;
use crate::inject::{
    Answer, Evidence, Failed, Fault, GLANCE, HEALING, Injection, LEASE_MAX, NoEffect, NotUndone, Refused,
    until,
};
use crate::keeper::{Keeper, Mending};
use crate::stack::{self, SNAPSHOT};

/// Between two bytes of the snapshot that are so far apart, clients are answered.
const ANSWERS_EVERY: usize = 1_024;
/// Entries that only take time, so that clients are answered often: so many a second at least.
const FILLERS: u64 = 200;
const FILLERS_MAX: u64 = 20_000;
/// They have expired when the snapshot is read, so nobody ever sees them.
const FILLERS_LIVE: Duration = Duration::from_millis(400);
/// A snapshot may take so long to write.
const SAVING: Duration = Duration::from_secs(30);

/// Kills a server of the drill's own and starts it again with what it holds, so slowly that it answers `LOADING` for
/// about this time. What is written in the 400 ms before is lost, as it is with any snapshot. Then it is as it was.
///
/// # Errors
/// When the server cannot load slowly, or does not come back.
pub async fn loading(
    keeper: &Arc<Keeper>,
    redis: &stack::Redis,
    server: &Server,
    long: Duration,
) -> Result<Injection, Refused> {
    let long = long.min(LEASE_MAX);
    let mut client = server.client_or_refused().await?;
    client
        .setting("key-load-delay")
        .await
        .map_err(|error| Refused::Impossible(error.to_string()))?;
    let snapshot = redis.folder().join(SNAPSHOT);
    let removed = Lease::take(keeper, Mending::Remove(snapshot), long * 2).await?;
    let saved = save(&mut client, long).await;
    let keys = removed.unless(saved).await?;
    let delay = (long.as_micros() as u64 / keys.max(1)).max(1).to_string();
    let quick = server
        .lease(keeper, &[&["CONFIG", "SET", "key-load-delay", "0"]], long * 2)
        .await?;
    let every = ANSWERS_EVERY.to_string();
    let settings = [
        ("key-load-delay", &*delay),
        ("loading-process-events-interval-bytes", &every),
    ];
    let back = redis.reload(keeper, &settings).await;
    removed.unless(back).await?;
    Ok(Injection::new(Loading {
        server: server.clone(),
        begun: Instant::now(),
        removed,
        quick,
    }))
}

/// Writes a snapshot that takes a while to read; says how many entries it has.
async fn save(client: &mut Client, long: Duration) -> Result<u64, Failed> {
    let gone = Instant::now() + FILLERS_LIVE;
    let live = FILLERS_LIVE.as_millis().to_string();
    let filler = "x".repeat(ANSWERS_EVERY);
    let wanted = (FILLERS * long.as_millis() as u64 / 1_000).clamp(1, FILLERS_MAX);
    let fillers: Vec<Vec<String>> = (0..wanted)
        .map(|number| {
            vec![
                "SET".into(),
                format!("seawall:filler:{number}"),
                filler.clone(),
                "PX".into(),
                live.clone(),
            ]
        })
        .collect();
    // In a cluster most of them are another server's: then there are fewer.
    client.all(&fillers).await?;
    // Compressed they would be no longer than their names.
    let compression = client.setting("rdbcompression").await?;
    client.order(&["CONFIG", "SET", "rdbcompression", "no"]).await?;
    client.patient(SAVING);
    let keys = count(&client.order(&["DBSIZE"]).await?);
    client.order(&["SAVE"]).await?;
    client
        .order(&["CONFIG", "SET", "rdbcompression", &compression])
        .await?;
    sleep_until(gone).await;
    Ok(keys)
}

struct Loading {
    server: Server,
    begun: Instant,
    removed: Lease,
    quick: Lease,
}

impl Loading {
    async fn is_ready(&self) -> Result<(), Failed> {
        self.server.answers().await?;
        let mut client = self.server.client().await?;
        match client.info("persistence", "loading").await?.as_str() {
            "0" => Ok(()),
            _ => Err(Failed::new("it is still loading")),
        }
    }
}

impl Fault for Loading {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut client = self.server.client().await?;
            client.patient(HEALING);
            let said = client.ask(&["GET", super::PROBE]).await?;
            match said.error().map(String::from_utf8_lossy) {
                Some(error) if error.starts_with("LOADING") => Ok(Evidence::new(
                    "started it again with its snapshot, slowly",
                    format!("GET is answered {error}"),
                )),
                Some(error) => Err(NoEffect(format!("GET is answered {error}"))),
                None => Err(NoEffect("GET is answered".into())),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.quick.end().await?;
            until(|| self.is_ready()).await?;
            self.removed.end().await?;
            tokio::time::sleep(GLANCE).await;
            let keys = count(&self.server.client().await?.order(&["DBSIZE"]).await?);
            Ok(Evidence::new(
                format!(
                    "let it load quickly, {} ms after its start",
                    self.begun.elapsed().as_millis()
                ),
                format!("it answers, with {keys} keys"),
            ))
        })
    }
}
