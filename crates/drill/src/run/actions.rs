//! What operators do, for real.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seawall_core::policies::Policies;
use seawall_core::time::Span;
use seawall_scenario::{Action, CacheKind, Event, Knob, Place, Scaled, What};
use serde_json::Value;

use super::faults::nodes_of;
use super::system::{Instance, System, policy_of};
use super::{NoDrill, asking, becomes, gateway};
use crate::load::Load;

/// Why a drill cannot do this, if it cannot.
pub(crate) fn impossible(scaled: &Scaled, event: &Event) -> Option<String> {
    let What::Action(action) = &event.what else {
        return None;
    };
    let why = match action {
        Action::Scale {
            replicas: None,
            nodes: None,
            ..
        } => match event.on {
            Some(place) if becomes::stands(scaled, place, false) == becomes::Stands::Elsewhere => {
                "it is not the drill's own"
            }
            _ => return None,
        },
        Action::Scale {
            replicas: Some(_), ..
        } => "instances know the replicas that there were when they began",
        Action::Shard { .. } | Action::Scale { .. } => "the library's ring is what it was when it began",
        Action::Balance(_) => "copies are chosen as they were when it began",
        Action::Set(knob) => match (event.on, knob) {
            (Some(Place::Service(_)), _)
            | (
                _,
                Knob::Connections(_)
                | Knob::Maxmemory(_)
                | Knob::Capacity(_)
                | Knob::Eviction(_)
                | Knob::MaxClients(_),
            ) => return None,
            _ => "a drill cannot change this setting while it runs",
        },
        Action::Restart { .. }
            if matches!(event.on, Some(Place::Database(_))) && scaled.scenario.databases.len() > 1 =>
        {
            "the databases of a drill are one server"
        }
        _ => return None,
    };
    Some(why.to_owned())
}

impl System {
    /// Does what this event of the timeline says.
    pub(crate) async fn act(
        self: &Arc<Self>,
        index: usize,
        event: &Event,
        action: &Action,
        loads: &[Load],
    ) -> Result<(), NoDrill> {
        match action {
            Action::Protect(_) | Action::Unprotect(_) => {
                self.tell(index, true).await?;
                self.retune_gateways(index).await
            }
            Action::Set(knob) => self.set(index, event, knob).await,
            Action::Restart { takes } => self.restart(event, *takes).await,
            Action::Purge | Action::Flush => {
                if let Some(Place::Cache(at)) = event.on {
                    for number in nodes_of(event, self.caches[at].len()) {
                        let address = self.caches[at][number].address;
                        asking::command::<()>(address, &["FLUSHALL"]).await?;
                    }
                }
                Ok(())
            }
            Action::Rate(rate) => {
                if let Some(Place::Client(at)) = event.on {
                    loads.get(at).into_iter().for_each(|load| load.set_rate(*rate));
                }
                Ok(())
            }
            Action::Warm { .. } => self.tell(index, true).await,
            Action::Scale {
                instances,
                connections,
                takes,
                ..
            } => {
                tokio::time::sleep((*takes).into()).await;
                match (event.on, instances, connections) {
                    (Some(Place::Service(at)), Some(count), _) => {
                        self.scale(index, at, *count as usize).await
                    }
                    (Some(Place::Database(at)), _, Some(most)) => {
                        self.connect(at, *most);
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Action::Balance(_) | Action::Shard { .. } => Ok(()),
        }
    }

    /// The protections of a gateway after all events up to this one.
    fn policies_after(&self, place: Place, index: usize) -> Policies {
        let scenario = &self.scaled.scenario;
        let mut policies = scenario.policies(place);
        for event in scenario.timeline.iter().take(index + 1) {
            match &event.what {
                What::Action(Action::Protect(protections)) => {
                    for protection in protections.iter().filter(|one| one.at.contains(&place)) {
                        protection.setting.apply(&mut policies);
                    }
                }
                What::Action(Action::Unprotect(names)) => {
                    for name in names {
                        name.remove(&mut policies);
                    }
                }
                _ => {}
            }
        }
        self.scaled.resized(&policies, place)
    }

    async fn retune_gateways(&self, index: usize) -> Result<(), NoDrill> {
        for (at, gate) in self.gateways.iter().enumerate() {
            let policies = self.policies_after(Place::Gateway(at), index);
            let spelled = gateway::spelled(&policies).into_iter();
            let spelled = spelled.map(|(key, value)| (key.to_owned(), value)).collect();
            asking::change(gate.admin, Value::Object(spelled).to_string()).await?;
        }
        Ok(())
    }

    async fn set(&self, index: usize, event: &Event, knob: &Knob) -> Result<(), NoDrill> {
        match (event.on, knob) {
            (Some(Place::Service(_)), _) => self.tell(index, true).await,
            (Some(Place::Database(at)), Knob::Connections(most)) => {
                self.connect(at, *most);
                Ok(())
            }
            (Some(Place::Cache(at)), knob) if self.scaled.scenario.caches[at].kind == CacheKind::Shared => {
                let mut written = self.scaled.scenario.caches[at].clone();
                match knob {
                    Knob::Capacity(entries) => written.capacity = Some(*entries),
                    Knob::Maxmemory(bytes) => written.maxmemory = Some(*bytes),
                    Knob::Eviction(eviction) => {
                        for node in &self.caches[at] {
                            asking::configure(node.address, "maxmemory-policy", policy_of(*eviction)).await?;
                        }
                        return Ok(());
                    }
                    Knob::MaxClients(most) => {
                        for node in &self.caches[at] {
                            asking::configure(node.address, "maxclients", &(most + most / 4 + 3).to_string())
                                .await?;
                        }
                        return Ok(());
                    }
                    _ => return Ok(()),
                }
                self.bound_cache(at, written.entries_max()).await
            }
            _ => Ok(()),
        }
    }

    /// Lets each node of a database have so many connections.
    fn connect(&self, at: usize, most: u32) {
        let places = self.scaled.scenario.databases[at].queue;
        for node in &self.databases[at] {
            node.node.set_connections(Some(most), places);
        }
    }

    /// Starts and ends instances of a service until there are so many.
    async fn scale(&self, index: usize, at: usize, count: usize) -> Result<(), NoDrill> {
        let all: Vec<Arc<Instance>> = self.copies(at).cloned().collect();
        let before = self.scaled.scenario.timeline.iter().take(index + 1).enumerate();
        let before = before.filter(|(_, event)| matches!(event.what, What::Action(_)));
        let before: Vec<usize> = before.map(|(event, _)| event).collect();
        for (number, copy) in all.iter().enumerate() {
            let up = copy.up.load(Ordering::Acquire);
            if number >= count && up {
                self.kill_instance(copy).await?;
            }
            if number < count && !up {
                self.revive(copy).await?;
                let Some(control) = copy.control else { continue };
                // It knows nothing of what was done before.
                for event in &before {
                    asking::tell(control, *event, true).await?;
                }
            }
        }
        Ok(())
    }

    async fn restart(self: &Arc<Self>, event: &Event, takes: Span) -> Result<(), NoDrill> {
        let takes = Duration::from(takes);
        match event.on {
            Some(Place::Cache(at)) => {
                let numbers = nodes_of(event, self.caches[at].len());
                for number in &numbers {
                    let node = &self.caches[at][*number];
                    self.close(&node.name).await?;
                    node.server.kill(&self.keeper)?;
                }
                tokio::time::sleep(takes).await;
                for number in &numbers {
                    let node = &self.caches[at][*number];
                    node.server.restart(&self.keeper).await?;
                    self.open(&node.name).await?;
                }
                self.bound_cache(at, self.scaled.scenario.caches[at].entries_max())
                    .await
            }
            Some(Place::Service(at)) => {
                for number in nodes_of(event, self.services[at].len()) {
                    self.kill_instance(&self.services[at][number]).await?;
                }
                tokio::time::sleep(takes).await;
                for number in nodes_of(event, self.services[at].len()) {
                    self.revive(&self.services[at][number]).await?;
                }
                Ok(())
            }
            Some(Place::Database(at)) => {
                for node in &self.databases[at] {
                    self.close(&node.name).await?;
                }
                tokio::time::sleep(takes).await;
                if let Some(postgres) = &self.postgres {
                    postgres.restart(&self.keeper).await?;
                }
                for node in &self.databases[at] {
                    self.open(&node.name).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
