//! What breaks a cache.

use std::sync::Arc;
use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_core::time::Span;
use seawall_scenario::{CacheKind, Event, Fault, Place};
use tokio::time::Instant;

use super::{InForce, Undo, failed, lease_of, nodes_of, toxic_of};
use crate::app::Rewritten;
use crate::inject::process;
use crate::inject::redis::{self, Server};
use crate::run::cached::Cached;
use crate::run::felt::{Gone, Watch};
use crate::run::system::System;
use crate::run::{NoDrill, asking, rules};
use crate::server::Condition;

impl System {
    pub(super) async fn strike_cache(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let usual = self.scaled.scenario.caches[at].latency.mean();
        if matches!(fault, Fault::NeverStored | Fault::TtlIgnored) {
            return self.break_rule(force, at, fault).await;
        }
        if let Fault::ExpireAt { instant } = fault {
            return self.rewrite(force, event, at, *instant).await;
        }
        for number in nodes_of(event, self.caches[at].len()) {
            let node = &self.caches[at][number];
            if let (Fault::Starve { share }, Some(victim)) = (fault, node.server.victim()) {
                // It has one thread that answers.
                self.starve(force, (&node.name, victim.pid), (*share, 1.0), lease_of(event))
                    .await?;
            }
            match toxic_of(fault, usual) {
                Some(toxic) => self.add_toxic(force, &node.name, toxic).await?,
                None => self.strike_node(force, event, (at, number), fault).await?,
            }
        }
        Ok(())
    }

    /// A fault of one node of a cache that is none of its link.
    async fn strike_node(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        (at, number): (usize, usize),
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let node = &self.caches[at][number];
        let (keeper, server, max) = (&self.keeper, Server::at(node.address), lease_of(event));
        let seed = Seed(self.scaled.scenario.run.seed.wrapping_add(number as u64));
        let impossible = || NoDrill::Failed(format!("a drill cannot do this to `{}`", node.name));
        let injection = match fault {
            Fault::Kill => {
                force.undo.push(Undo::Cache(at, number));
                self.close(&node.name).await?;
                return node.server.kill(keeper);
            }
            Fault::Replace => return self.replace(force, at, number).await,
            Fault::Refuse => {
                force.undo.push(Undo::Open(node.name.clone()));
                return self.close(&node.name).await;
            }
            Fault::Hang => {
                if node.server.fare(Condition::Hanging) {
                    force.undo.push(Undo::Serving(at, number));
                    return Ok(());
                }
                let victim = node.server.victim().ok_or_else(impossible)?;
                process::stop(keeper, &[victim], max).await
            }
            Fault::Pause => redis::pause(&server, max).await,
            Fault::Flush => redis::flush(&server).await,
            Fault::Expire { share } => redis::expire(&server, *share, seed).await,
            Fault::Corrupt { share } if self.checks(at) => {
                redis::corrupt(keeper, &server, *share, seed, max).await
            }
            // Where nobody checks, a value that is wrong is one that nothing but its reader can tell.
            Fault::Corrupt { share } => redis::forge(keeper, &server, *share, seed, max).await,
            Fault::WrongType { share } => redis::wrong_type(keeper, &server, *share, seed, max).await,
            Fault::Blocked { share, burst } => redis::slow(&server, *share, (*burst).into(), max).await,
            Fault::OutOfMemory => redis::out_of_memory(keeper, &server, max).await,
            Fault::TooManyClients => redis::too_many_clients(keeper, &server, max).await,
            Fault::ReadOnly => redis::read_only(keeper, &server, max).await,
            Fault::Loading if node.server.fare(Condition::Loading) => {
                force.undo.push(Undo::Serving(at, number));
                return Ok(());
            }
            Fault::Loading => {
                let Cached::Real(real) = &node.server else {
                    return Err(impossible());
                };
                let long = event.for_.map_or(max, Duration::from);
                redis::loading(keeper, real, &server, long).await
            }
            Fault::DiskFull => {
                let disk = node.disk.as_ref().ok_or_else(impossible)?;
                redis::disk_full(keeper, &server, disk, max).await
            }
            _ => return Err(impossible()),
        };
        let injection = injection.map_err(|error| failed(&error))?;
        force.hold(injection, fault.is_instant());
        Ok(())
    }

    /// Ends a node and starts another one in its place, which holds nothing.
    async fn replace(self: &Arc<Self>, force: &mut InForce, at: usize, number: usize) -> Result<(), NoDrill> {
        let node = &self.caches[at][number];
        let before = asking::standing(node.address).await.map(|now| now.entries);
        self.close(&node.name).await?;
        node.server.kill(&self.keeper)?;
        node.server.restart(&self.keeper).await?;
        let after = asking::standing(node.address).await?.entries;
        self.bound_node(at, number, self.scaled.scenario.caches[at].entries_max())
            .await?;
        self.open(&node.name).await?;
        let name = &node.name;
        force.seen.push(match before {
            Ok(before) if after >= before && before > 0 => Err(format!(
                "{name} held {before} entries, and its replacement {after}"
            )),
            Ok(before) => Ok(format!(
                "{name} held {before} entries, and its replacement {after}"
            )),
            Err(_) => Ok(format!(
                "{name} did not answer, and its replacement holds {after}"
            )),
        });
        Ok(())
    }

    /// Lets instances store wrongly, or not at all.
    async fn break_rule(
        self: &Arc<Self>,
        force: &mut InForce,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let scenario = &self.scaled.scenario;
        let users = scenario.services.iter().zip(&self.services);
        let users = users.filter(|(service, _)| service.caches.contains(&at));
        let controls: Vec<_> = users
            .flat_map(|(_, copies)| copies.iter().filter_map(|copy| copy.control))
            .collect();
        self.tell_all(force).await?;
        let gone = vec![Gone::Told(controls.clone(), force.event)];
        let shared = scenario.caches[at].kind == CacheKind::Shared;
        let watch = if *fault == Fault::TtlIgnored && shared {
            let nodes: Vec<_> = self.caches[at].iter().map(|node| node.address).collect();
            Watch::of(gone, |heard| async move {
                rules::lives_for_ever(&nodes, &heard).await;
            })
        } else if *fault == Fault::NeverStored {
            Watch::of(gone, |heard| async move {
                rules::is_not_stored(&controls, &heard).await;
            })
        } else {
            let event = force.event;
            Watch::of(gone, |heard| async move {
                rules::is_told(&controls, event, &heard).await;
            })
        };
        force.watches.push(watch);
        Ok(())
    }

    /// Gives all entries of a cache the same end, as a bulk job does: by writing them again.
    async fn rewrite(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        instant: Span,
    ) -> Result<(), NoDrill> {
        let begun = Instant::now();
        let users = self.scaled.scenario.services.iter().zip(&self.services);
        let mut users = users.filter(|(service, _)| service.caches.contains(&at));
        let control = users.find_map(|(_, copies)| copies.first()?.control);
        let control = control.ok_or_else(|| NoDrill::Failed("nobody uses this cache".to_owned()))?;
        let length = Duration::from(instant.saturating_sub(event.at));
        let mut keys = Vec::new();
        for number in nodes_of(event, self.caches[at].len()) {
            keys.extend(asking::keys(self.caches[at][number].address).await?);
        }
        let left = length.saturating_sub(begun.elapsed());
        let all = keys.len();
        let order = Rewritten {
            keys,
            ttl_ms: left.as_millis() as u64,
        };
        let count = asking::rewrite(control, &order).await?;
        if count == 0 {
            return Err(NoDrill::Failed(format!(
                "none of {all} entries was there to be written again"
            )));
        }
        force.seen.push(Ok(format!(
            "wrote {count} of {all} entries again, all of them to end {left:.1?} from then"
        )));
        Ok(())
    }

    /// Whether what is read from a cache is checked before it is an answer.
    fn checks(&self, cache: usize) -> bool {
        let scenario = &self.scaled.scenario;
        let mut users = scenario.services.iter().enumerate();
        users.any(|(at, service)| {
            service.caches.contains(&cache) && scenario.policies(Place::Service(at)).integrity
        })
    }
}
