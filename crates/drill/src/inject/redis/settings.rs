//! Settings of a server, changed for a while.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::client::Client;
use crate::inject::lease::Lease;
use crate::inject::{Failed, NotUndone, Refused, until};
use crate::keeper::Keeper;

/// What they were, and who brings them back.
pub(super) struct Changed {
    pub(super) server: Server,
    lease: Lease,
    before: Vec<(&'static str, String)>,
}

impl Changed {
    /// Notes what these settings are and how they come back. Nothing is changed yet.
    pub(super) async fn note(
        keeper: &Arc<Keeper>,
        server: &Server,
        client: &mut Client,
        names: &[&'static str],
        max: Duration,
    ) -> Result<Changed, Refused> {
        let mut before = Vec::new();
        for name in names {
            before.push((*name, client.setting(name).await?));
        }
        let commands: Vec<[&str; 4]> = before
            .iter()
            .map(|(name, value)| ["CONFIG", "SET", *name, value.as_str()])
            .collect();
        let commands: Vec<&[&str]> = commands.iter().map(|words| &words[..]).collect();
        let lease = server.lease(keeper, &commands, max).await?;
        let server = server.clone();
        Ok(Changed {
            server,
            lease,
            before,
        })
    }

    /// Changes one of them, or brings all back.
    pub(super) async fn set(&self, client: &mut Client, name: &str, value: &str) -> Result<(), Failed> {
        let done = client.order(&["CONFIG", "SET", name, value]).await;
        self.lease.unless(done).await.map(|_| ())
    }

    pub(super) async fn unless<T, E>(&self, done: Result<T, E>) -> Result<T, E> {
        self.lease.unless(done).await
    }

    /// Brings all back and looks whether they are; says what they are.
    pub(super) async fn undo(&self) -> Result<String, NotUndone> {
        self.lease.end().await?;
        until(|| self.are_back()).await?;
        let all: Vec<String> = self
            .before
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        Ok(all.join(" and "))
    }

    async fn are_back(&self) -> Result<(), Failed> {
        let mut client = self.server.client().await?;
        for (name, value) in &self.before {
            let now = client.setting(name).await?;
            if now != *value {
                return Err(Failed::new(format!("{name} is {now} and was {value}")));
            }
        }
        Ok(())
    }
}
