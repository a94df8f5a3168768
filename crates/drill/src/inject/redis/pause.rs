//! A server that answers nobody for a while, and then everybody.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Server;
use super::client::Client;
use crate::inject::door::Knock;
use crate::inject::{
    Answer, Door, Evidence, Failed, Fault, Injection, LEASE_MAX, NoEffect, NotUndone, Refused, SILENCE, until,
};

/// One pause. A server that is paused answers to nothing, not even to be let go on, so this is how long it takes to.
const LEASE: Duration = Duration::from_millis(250);
/// So many pauses wait in the server for those before them.
const AHEAD: usize = 8;

/// Pauses a server (`CLIENT PAUSE … ALL`) in leases of a quarter of a second. They stand in line on one connection: as
/// soon as one is over, the next begins, before anybody else is heard. When the connection is gone, so are they.
///
/// # Errors
/// When the server cannot be talked to or does not know the command.
pub async fn pause(server: &Server, max: Duration) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    client.patient(LEASE * 10);
    let until = Instant::now() + max.min(LEASE_MAX);
    let words = vec![
        "CLIENT".to_owned(),
        "PAUSE".into(),
        LEASE.as_millis().to_string(),
        "ALL".into(),
    ];
    client.send(&vec![words.clone(); AHEAD]).await?;
    let first = client.hear().await?;
    if let Some(error) = first.error() {
        let error = String::from_utf8_lossy(error);
        return Err(Refused::Impossible(format!(
            "Redis at {} cannot be paused: {error}",
            server.address
        )));
    }
    let renewed = tokio::spawn(async move {
        // What is still in line ends with the connection.
        while Instant::now() < until {
            renew(&mut client, &words).await?;
        }
        Ok(())
    });
    let server = server.clone();
    Ok(Injection::new(Paused { server, renewed }))
}

async fn renew(client: &mut Client, words: &[String]) -> Result<(), Failed> {
    client.send(&[words.to_vec()]).await?;
    client.hear().await.map(|_| ())
}

struct Paused {
    server: Server,
    renewed: JoinHandle<Result<(), Failed>>,
}

impl Fault for Paused {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            match Door::redis(self.server.address).knock(SILENCE).await {
                Knock::Silent => Ok(Evidence::new(
                    format!("paused all clients in leases of {} ms", LEASE.as_millis()),
                    format!("PING gets no answer within {} ms", SILENCE.as_millis()),
                )),
                Knock::Answered(..) => Err(NoEffect("PING is answered".into())),
                Knock::Nobody(why) | Knock::HungUp(why) => {
                    Err(NoEffect(format!("the server does not let in: {why}")))
                }
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.renewed.abort();
            let _ = self.renewed.await;
            until(|| self.server.answers()).await?;
            Ok(Evidence::new("let the last pause end", "PING is answered"))
        })
    }
}
