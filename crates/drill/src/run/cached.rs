//! A node of a shared cache: a real Redis, or the cache server of this process where there is none.

use std::net::SocketAddr;
use std::time::Duration;

use super::NoDrill;
use super::system::keeping;
use crate::inject::process::Victim;
use crate::inject::{Door, Knock};
use crate::keeper::Keeper;
use crate::server::{Condition, Server, Settings};
use crate::stack::Redis;

/// A server in this process that serves again is asked so often, so patiently, and with this in between.
const KNOCKS: u32 = 100;
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// A node of a shared cache.
pub(crate) enum Cached {
    /// A process of its own.
    Real(Redis),
    /// In this process.
    Embedded(Server),
    /// Of the user's own test environment: it is not ours to start or to end.
    Elsewhere(SocketAddr),
}

fn not_ours(address: SocketAddr) -> NoDrill {
    NoDrill::Failed(format!(
        "the server at {address} is not the drill's own, and cannot be ended or stopped"
    ))
}

impl Cached {
    /// One in this process.
    pub(crate) fn embedded(settings: &[(&str, &str)]) -> Result<Cached, NoDrill> {
        let config = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings = Settings {
            config: config.collect(),
            ..Settings::default()
        };
        let server = Server::start(&settings).map_err(|error| NoDrill::Failed(error.to_string()))?;
        Ok(Cached::Embedded(server))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Cached::Real(redis) => redis.address(),
            Cached::Embedded(server) => server.address(),
            Cached::Elsewhere(address) => *address,
        }
    }

    /// Ends it at once. What it held is gone.
    pub(crate) fn kill(&self, keeper: &Keeper) -> Result<(), NoDrill> {
        match self {
            Cached::Real(redis) => Ok(keeping(|| redis.kill(keeper))?),
            Cached::Embedded(server) => {
                server.set_condition(Condition::Refusing);
                server.flush();
                Ok(())
            }
            Cached::Elsewhere(address) => Err(not_ours(*address)),
        }
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&self, keeper: &Keeper) -> Result<(), NoDrill> {
        match self {
            Cached::Real(redis) => Ok(redis.restart(keeper).await?),
            Cached::Embedded(server) => {
                server.set_condition(Condition::Serving);
                let door = Door::redis(server.address());
                for _ in 0..KNOCKS {
                    // Its listener opens a moment later.
                    if let Knock::Answered(..) = door.knock(PATIENCE).await {
                        return Ok(());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Err(NoDrill::Failed(format!(
                    "the server at {} does not answer",
                    door.address
                )))
            }
            Cached::Elsewhere(address) => Err(not_ours(*address)),
        }
    }

    /// The process that can be stopped, if it is one of its own.
    pub(crate) fn victim(&self) -> Option<Victim> {
        match self {
            Cached::Real(redis) => Some(Victim {
                pid: redis.pid(),
                door: Door::redis(redis.address()),
            }),
            Cached::Embedded(_) | Cached::Elsewhere(_) => None,
        }
    }

    /// Lets one in this process fare like this; whether it is one.
    pub(crate) fn fare(&self, condition: Condition) -> bool {
        if let Cached::Embedded(server) = self {
            server.set_condition(condition);
        }
        matches!(self, Cached::Embedded(_))
    }
}
