//! No place for new connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Server;
use super::client::{Client, text};
use super::settings::Changed;
use crate::inject::{
    Answer, Evidence, Failed, Fault, GLANCE, Injection, LEASE_MAX, NoEffect, NotUndone, Refused, SILENCE,
    until,
};
use crate::keeper::Keeper;
use crate::resp::Value;

/// So many idle connections take places from the beginning.
const IDLE: u64 = 4;
/// And so many at most, when others leave.
const IDLE_MAX: usize = 1_000;
/// A probe tries so often to get in.
const TRIES: usize = 5;
/// What the server says to those whom it turns away.
const TURNED_AWAY: &[u8] = b"ERR max number of clients";

/// Makes a server turn new connections away: `maxclients` a few above those that are connected, and idle connections
/// that take these few places and each that becomes free. Whoever is connected stays so.
///
/// # Errors
/// When the server cannot be talked to or does not let its settings be changed.
pub async fn too_many_clients(
    keeper: &Arc<Keeper>,
    server: &Server,
    max: Duration,
) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    // The keeper connects before the places are taken, or it could not give them back.
    let changed = Changed::note(keeper, server, &mut client, &["maxclients"], max).await?;
    let connected = client.info("clients", "connected_clients").await;
    let connected: u64 = changed.unless(connected).await?.parse().unwrap_or(1);
    let limit = connected + IDLE;
    changed.set(&mut client, "maxclients", &limit.to_string()).await?;
    let until = Instant::now() + max.min(LEASE_MAX);
    let mut held = Vec::new();
    let taken = taken(server, &mut held).await;
    changed.unless(taken).await?;
    // It has a place as well, which would be free again.
    held.push(client);
    let place = server.clone();
    let holder = tokio::spawn(async move {
        while Instant::now() < until {
            // Who cannot be asked now is asked again.
            let _ = taken_again(&place, &mut held).await;
            sleep(GLANCE).await;
        }
    });
    Ok(Injection::new(Crowded {
        changed,
        limit,
        holder,
    }))
}

async fn taken_again(server: &Server, held: &mut Vec<Client>) -> Result<(), Failed> {
    if held.len() < IDLE_MAX {
        taken(server, held).await?;
    }
    Ok(())
}

/// Takes places until there are none.
async fn taken(server: &Server, held: &mut Vec<Client>) -> Result<(), Failed> {
    while held.len() < IDLE_MAX {
        let mut client = Client::connect(server.address).await?;
        // Who is turned away may be cut off before hearing why.
        match client.ask(&["PING"]).await {
            Ok(said) if !is_refusal(&said) => held.push(client),
            _ => return Ok(()),
        }
    }
    Err(Failed::new(format!(
        "{IDLE_MAX} idle connections were not enough"
    )))
}

fn is_refusal(said: &Value) -> bool {
    said.error().is_some_and(|error| error.starts_with(TURNED_AWAY))
}

/// What a new connection is told without having asked, if it is turned away.
async fn turned_away(server: &Server) -> Result<Option<String>, Failed> {
    let mut client = Client::connect(server.address).await?;
    client.patient(SILENCE);
    // It asks nothing, because it would be cut off for that, and might not hear why.
    let said = client.hear().await;
    Ok(said.ok().filter(is_refusal).map(|said| text(&said)))
}

struct Crowded {
    changed: Changed,
    limit: u64,
    holder: JoinHandle<()>,
}

impl Fault for Crowded {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let server = &self.changed.server;
            for _ in 0..TRIES {
                if let Some(said) = turned_away(server).await? {
                    return Ok(Evidence::new(
                        format!(
                            "set maxclients to {} and took the places that were left",
                            self.limit
                        ),
                        format!("a new connection is told {said}"),
                    ));
                }
                // Somebody has left just before, and the place is not taken yet.
                sleep(GLANCE * 2).await;
            }
            Err(NoEffect("a new connection is let in".into()))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.holder.abort();
            let _ = self.holder.await;
            let back = self.changed.undo().await?;
            until(|| self.changed.server.answers()).await?;
            Ok(Evidence::new(
                format!("brought back {back}"),
                "a new connection is let in",
            ))
        })
    }
}
