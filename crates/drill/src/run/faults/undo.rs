//! How what was done is taken back, and what is told of it.

use std::sync::Arc;

use super::{InForce, Undo, failed};
use crate::inject::{Evidence, NoEffect};
use crate::load::Load;
use crate::run::NoDrill;
use crate::run::felt::Gone;
use crate::run::system::System;
use crate::server::Condition;

/// A fault that was taken back.
#[derive(Default)]
pub(crate) struct Ended {
    /// What was felt of it, or what was seen instead.
    pub(crate) felt: Vec<Result<String, String>>,
    /// What was seen of its end, or why there was none.
    pub(crate) gone: Vec<Result<String, String>>,
    /// What has yet to show that it is gone.
    pub(crate) after: Vec<Gone>,
}

impl System {
    /// Takes a fault back, all of it, also when a part of that fails.
    pub(crate) async fn end(self: &Arc<Self>, force: InForce, loads: &[Load]) -> Ended {
        let mut ended = Ended {
            felt: force.seen,
            ..Ended::default()
        };
        for watch in force.watches {
            let (felt, gone) = watch.end().await;
            ended.felt.push(felt);
            ended.after.extend(gone);
        }
        for undo in force.undo.into_iter().rev() {
            if let Err(error) = self.take_back(force.event, undo, loads, &mut ended).await {
                ended.gone.push(Err(error.to_string()));
            }
        }
        ended
    }

    async fn take_back(
        self: &Arc<Self>,
        event: usize,
        undo: Undo,
        loads: &[Load],
        ended: &mut Ended,
    ) -> Result<(), NoDrill> {
        match undo {
            Undo::Toxic(proxy, name) => {
                self.proxies
                    .remove_toxic(&proxy, &name)
                    .await
                    .map_err(NoDrill::proxy)?;
            }
            Undo::Open(proxy) => self.open(&proxy).await?,
            Undo::Cache(at, number) => {
                let node = &self.caches[at][number];
                node.server.restart(&self.keeper).await?;
                self.bound_node(at, number, self.scaled.scenario.caches[at].entries_max())
                    .await?;
                self.open(&node.name).await?;
            }
            Undo::Serving(at, number) => {
                self.caches[at][number].server.fare(Condition::Serving);
            }
            Undo::Instance(copy) => self.revive(&copy).await?,
            Undo::Pace(at, number) => self.databases[at][number].node.set_pace(1.0),
            Undo::Connections(at, number) => {
                let database = &self.scaled.scenario.databases[at];
                let node = &self.databases[at][number].node;
                node.set_connections(database.connections, database.queue);
            }
            Undo::Injection(probed) => {
                let (injection, felt) = probed.await.map_err(|error| failed(&error))?;
                ended.felt.push(told(felt));
                let undone = injection.undo().await.map_err(|error| failed(&error))?;
                ended.gone.push(Ok(undone.to_string()));
            }
            Undo::Happened(probed) => {
                let felt = probed.await.map_err(|error| failed(&error))?;
                ended.felt.push(told(felt));
            }
            Undo::Told => self.tell(event, false).await?,
            Undo::Spike(at) => loads.get(at).into_iter().for_each(|load| load.set_factor(1.0)),
            Undo::HotKey(at) => loads.get(at).into_iter().for_each(|load| load.hot_key(0.0)),
            Undo::Penetration(at) => {
                let usual = self.scaled.scenario.clients[at].missing;
                loads.get(at).into_iter().for_each(|load| load.missing(usual));
            }
            Undo::Postgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.restart(&self.keeper).await?;
                }
            }
        }
        Ok(())
    }
}

/// What an injection says of itself.
fn told(felt: Result<Evidence, NoEffect>) -> Result<String, String> {
    match felt {
        Ok(evidence) => Ok(evidence.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
