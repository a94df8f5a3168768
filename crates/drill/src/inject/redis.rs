//! What breaks a Redis while it runs.
//!
//! ```no_run
//! # async fn shown(keeper: std::sync::Arc<seawall_drill::keeper::Keeper>) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use seawall_drill::inject::redis::{self, Server};
//! let server = Server::at("127.0.0.1:6379".parse()?);
//! let mut full = redis::out_of_memory(&keeper, &server, Duration::from_secs(30)).await?;
//! println!("{}", full.probe().await?);
//! println!("{}", full.undo().await?);
//! # Ok(())
//! # }
//! ```

mod broken;
mod client;
mod clients;
mod disk;
mod keys;
mod loading;
mod memory;
mod pause;
mod replica;
mod settings;
mod slow;

pub use broken::{corrupt, forge, wrong_type};
pub use clients::too_many_clients;
pub use disk::disk_full;
pub use keys::{expire, expire_at, flush};
pub use loading::loading;
pub use memory::out_of_memory;
pub use pause::pause;
pub use replica::read_only;
pub use slow::slow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Client;

use super::lease::Lease;
use super::{Failed, Refused};
use crate::keeper::{Broken, Keeper, Mending};

/// A Redis to be harmed, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    address: SocketAddr,
    login: Vec<String>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis at {}", self.address)
    }
}

impl Server {
    /// One that asks nobody who they are.
    pub fn at(address: SocketAddr) -> Server {
        let login = Vec::new();
        Server { address, login }
    }

    /// One that does: what `AUTH` is told, a password or a name and a password.
    pub fn with_login(self, login: Vec<String>) -> Server {
        Server { login, ..self }
    }

    async fn client(&self) -> Result<Client, Failed> {
        let mut client = Client::connect(self.address).await?;
        client.log_in(&self.login).await?;
        Ok(client)
    }

    /// Tells the keeper by which commands it undoes what is about to be done.
    async fn lease(
        &self,
        keeper: &Arc<Keeper>,
        commands: &[&[&str]],
        max: Duration,
    ) -> Result<Lease, Broken> {
        let spelled = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mending = Mending::Redis {
            address: self.address,
            login: self.login.clone(),
            commands: commands.iter().map(spelled).collect(),
        };
        Lease::take(keeper, mending, max).await
    }

    /// What a `SET` of a short-lived key is answered: nothing when it is taken, otherwise the error.
    async fn writes(&self) -> Result<Option<String>, Failed> {
        let mut client = self.client().await?;
        let said = client.ask(&["SET", PROBE, "1", "PX", "100"]).await?;
        Ok(said
            .error()
            .map(|error| String::from_utf8_lossy(error).into_owned()))
    }

    /// Whether a write is taken again.
    async fn takes_writes(&self) -> Result<(), Failed> {
        match self.writes().await? {
            None => Ok(()),
            Some(error) => Err(Failed::new(format!("SET is answered {error}"))),
        }
    }

    /// How long a `PING` on a connection that is open takes.
    async fn answers(&self) -> Result<(), Failed> {
        self.client().await?.order(&["PING"]).await.map(|_| ())
    }

    async fn client_or_refused(&self) -> Result<Client, Refused> {
        self.client().await.map_err(|error| {
            Refused::Impossible(format!(
                "Redis at {} is not to be talked to: {error}",
                self.address
            ))
        })
    }
}

/// The key that probes write, for a tenth of a second.
const PROBE: &str = "seawall:probe";
