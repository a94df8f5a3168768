//! What breaks, for real: from a fault of the scenario to what is done to which process, connection, or server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_core::time::Span;
use seawall_scenario::{Event, Fault, Place};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cached::Cached;
use super::system::{Instance, System, keeping};
use super::{NoDrill, asking};
use crate::app::Rewritten;
use crate::inject::process::{self, Victim};
use crate::inject::redis::Server;
use crate::inject::{self, Door, Evidence, Injection, NoEffect};
use crate::load::Load;
use crate::proxy::{Bandwidth, Kind, Latency, Partition, ResetPeer, Side, Stall, Toxic};
use crate::server::Condition;

/// How a fault is taken back. In the order of doing; taken back in the other one.
enum Undo {
    /// A toxic of a proxy.
    Toxic(String, String),
    /// A proxy that refuses.
    Open(String),
    /// A node of a cache that is down.
    Cache(usize, usize),
    /// A node of a cache in this process that does not serve.
    Serving(usize, usize),
    /// Instances that are down.
    Instance(Arc<Instance>),
    /// A node of a database, whose pace is as it was.
    Pace(usize, usize),
    /// A node of a database, whose connections are as they were.
    Connections(usize, usize),
    /// What was injected, once it was looked whether it is felt.
    Injection(JoinHandle<(Injection, Result<Evidence, NoEffect>)>),
    /// Instances are told that the event is over.
    Told,
    /// The client sends what it always does.
    Spike(usize),
    HotKey(usize),
    Penetration(usize),
    /// The PostgreSQL.
    Postgres,
}

/// A fault in force.
pub(crate) struct InForce {
    event: usize,
    undo: Vec<Undo>,
    /// What was seen of it, or why nothing was.
    seen: Arc<Mutex<Vec<Result<String, String>>>>,
}

/// A fault without an end ends by itself after this time.
const LEASE: Duration = Duration::from_mins(10);
/// One with an end, so long after that.
const GRACE: Duration = Duration::from_secs(5);

/// After what time a fault ends by itself, whatever has become of the drill.
fn lease_of(event: &Event) -> Duration {
    event.for_.map_or(LEASE, |length| Duration::from(length) + GRACE)
}

impl InForce {
    /// Keeps what was injected, and looks whether it is felt while the run goes on. What happened at an instant is not taken
    /// back: it was an event and no state.
    fn hold(&mut self, mut injection: Injection, instant: bool) {
        let seen = self.seen.clone();
        let probed = tokio::spawn(async move {
            let felt = injection.probe().await;
            let told = match &felt {
                Ok(evidence) => Ok(evidence.to_string()),
                Err(error) => Err(error.to_string()),
            };
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(told);
            (injection, felt)
        });
        if !instant {
            self.undo.push(Undo::Injection(probed));
        }
    }

    /// What was seen of it, or why nothing was, since this was asked last.
    pub(crate) fn seen(&self) -> Vec<Result<String, String>> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The nodes of an event, of so many that there are.
pub(crate) fn nodes_of(event: &Event, count: usize) -> Vec<usize> {
    match &event.nodes {
        Some(nodes) => nodes
            .iter()
            .map(|node| *node as usize)
            .filter(|node| *node < count)
            .collect(),
        None => (0..count).collect(),
    }
}

/// The toxic that a fault of a link is, if it is one.
fn toxic_of(fault: &Fault, usual: Span) -> Option<Toxic> {
    let millis = |span: Span| (span.as_nanos() / 1_000_000).cast_signed();
    let kind = match fault {
        Fault::Latency { add, jitter } => Kind::Latency(Latency {
            latency: millis(*add),
            jitter: millis(*jitter),
            ..Latency::default()
        }),
        Fault::FarRegion { add } => Kind::Latency(Latency {
            latency: millis(*add),
            ..Latency::default()
        }),
        // Of a cache, commands that take longer are answers that come later.
        Fault::Slow { factor } => Kind::Latency(Latency {
            latency: millis(usual.scaled((factor - 1.0).max(0.0))),
            ..Latency::default()
        }),
        Fault::Starve { share } => Kind::Latency(Latency {
            latency: millis(usual.scaled(1.0 / (1.0 - share).max(0.001) - 1.0)),
            ..Latency::default()
        }),
        Fault::Bandwidth { rate } => Kind::Bandwidth(Bandwidth {
            // None at all would be another fault.
            rate: ((rate / 1_000.0) as i64).max(1),
            ..Bandwidth::default()
        }),
        Fault::Partition => Kind::Partition(Partition::default()),
        Fault::Reset => Kind::ResetPeer(ResetPeer::default()),
        Fault::Loss { share } => Kind::Stall(Stall {
            rate: *share,
            ..Stall::default()
        }),
        _ => return None,
    };
    Some(Toxic::new(Side::Downstream, kind))
}

impl System {
    /// Begins the fault of this event of the timeline.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        index: usize,
        event: &Event,
        fault: &Fault,
        loads: &[Load],
    ) -> Result<InForce, NoDrill> {
        let mut force = InForce {
            event: index,
            undo: Vec::new(),
            seen: Arc::default(),
        };
        let done = self.strike(&mut force, event, fault, loads).await;
        if let Err(error) = done {
            // What was done until then is not left as it is.
            self.end(force, loads).await?;
            return Err(error);
        }
        Ok(force)
    }

    async fn strike(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        fault: &Fault,
        loads: &[Load],
    ) -> Result<(), NoDrill> {
        match event.on {
            Some(Place::Client(at)) => {
                let Some(load) = loads.get(at) else { return Ok(()) };
                match fault {
                    Fault::Spike { factor } => {
                        load.set_factor(*factor);
                        force.undo.push(Undo::Spike(at));
                    }
                    Fault::HotKey { share } => {
                        load.hot_key(*share);
                        force.undo.push(Undo::HotKey(at));
                    }
                    Fault::Penetration { share } => {
                        load.missing(*share);
                        force.undo.push(Undo::Penetration(at));
                    }
                    _ => {}
                }
                Ok(())
            }
            Some(Place::Cache(at)) => self.strike_cache(force, event, at, fault).await,
            Some(Place::Database(at)) => self.strike_database(force, event, at, fault).await,
            Some(Place::Service(at)) => self.strike_service(force, event, at, fault).await,
            _ => Ok(()),
        }
    }

    async fn add_toxic(&self, force: &mut InForce, proxy: &str, toxic: Toxic) -> Result<(), NoDrill> {
        let name = format!("event-{}", force.event);
        let toxic = Toxic {
            name: name.clone(),
            ..toxic
        };
        self.proxies
            .add_toxic(proxy, toxic)
            .await
            .map_err(NoDrill::proxy)?;
        force.undo.push(Undo::Toxic(proxy.to_owned(), name));
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
            Fault::Replace => {
                self.close(&node.name).await?;
                node.server.kill(keeper)?;
                node.server.restart(keeper).await?;
                self.bound_node(at, number, self.scaled.scenario.caches[at].entries_max())
                    .await?;
                self.open(&node.name).await?;
                return Ok(());
            }
            Fault::Refuse => {
                force.undo.push(Undo::Open(node.name.clone()));
                return self.close(&node.name).await;
            }
            Fault::Hang | Fault::Pause => {
                if node.server.fare(Condition::Hanging) {
                    force.undo.push(Undo::Serving(at, number));
                    return Ok(());
                }
                let victim = node.server.victim().ok_or_else(impossible)?;
                process::stop(keeper, &[victim], max).await
            }
            Fault::Flush => inject::redis::flush(&server).await,
            Fault::Expire { share } => inject::redis::expire(&server, *share, seed).await,
            Fault::Corrupt { share } if self.checks(at) => {
                inject::redis::corrupt(keeper, &server, *share, seed, max).await
            }
            // Where nobody checks, a value that is wrong is one that nothing but its reader can tell.
            Fault::Corrupt { share } => inject::redis::forge(keeper, &server, *share, seed, max).await,
            Fault::OutOfMemory => inject::redis::out_of_memory(keeper, &server, max).await,
            Fault::TooManyClients => inject::redis::too_many_clients(keeper, &server, max).await,
            Fault::ReadOnly => inject::redis::read_only(keeper, &server, max).await,
            Fault::Loading if node.server.fare(Condition::Loading) => {
                force.undo.push(Undo::Serving(at, number));
                return Ok(());
            }
            Fault::Loading => {
                let Cached::Real(redis) = &node.server else {
                    return Err(impossible());
                };
                let long = event.for_.map_or(max, Duration::from);
                inject::redis::loading(keeper, redis, &server, long).await
            }
            Fault::DiskFull => {
                let disk = node.disk.as_ref().ok_or_else(impossible)?;
                inject::redis::disk_full(keeper, &server, disk, max).await
            }
            _ => return Err(impossible()),
        };
        let injection = injection.map_err(|error| NoDrill::Failed(error.to_string()))?;
        force.hold(injection, fault.is_instant());
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
        let mut keys = Vec::new();
        for number in nodes_of(event, self.caches[at].len()) {
            keys.extend(asking::keys(self.caches[at][number].address).await?);
        }
        let users = self.scaled.scenario.services.iter().zip(&self.services);
        let mut users = users.filter(|(service, _)| service.caches.contains(&at));
        let control = users.find_map(|(_, copies)| copies.first()?.control);
        let control = control.ok_or_else(|| NoDrill::Failed("nobody uses this cache".to_owned()))?;
        let left = Duration::from(instant.saturating_sub(event.at)).saturating_sub(begun.elapsed());
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
        let seen = format!("wrote {count} of {all} entries again, all of them to end {left:.1?} from then");
        force
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Ok(seen));
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

    async fn strike_cache(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let usual = self.scaled.scenario.caches[at].latency.mean();
        if matches!(fault, Fault::NeverStored | Fault::TtlIgnored) {
            return self.tell_all(force).await;
        }
        if let Fault::ExpireAt { instant } = fault {
            return self.rewrite(force, event, at, *instant).await;
        }
        for number in nodes_of(event, self.caches[at].len()) {
            match toxic_of(fault, usual) {
                Some(toxic) => {
                    self.add_toxic(force, &self.caches[at][number].name, toxic)
                        .await?;
                }
                None => self.strike_node(force, event, (at, number), fault).await?,
            }
        }
        Ok(())
    }

    async fn strike_database(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        // What is done to the one server that there is would be done to all nodes of all databases.
        let locks = event.nodes.is_none() && self.databases.len() == 1 && self.postgres.is_some();
        for number in nodes_of(event, self.databases[at].len()) {
            let node = &self.databases[at][number];
            let slows = matches!(fault, Fault::Slow { .. } | Fault::Starve { .. });
            if let Some(toxic) = toxic_of(fault, Span::ZERO)
                && !slows
            {
                self.add_toxic(force, &node.name, toxic).await?;
                continue;
            }
            let pace = match fault {
                Fault::Slow { factor } | Fault::SlowQuery { factor } => Some(1.0 / factor.max(1e-6)),
                Fault::Starve { share } => Some(1.0 - share),
                Fault::Hang | Fault::Pause => Some(0.0),
                Fault::Lock if !locks => Some(0.0),
                _ => None,
            };
            if let Some(pace) = pace {
                force.undo.push(Undo::Pace(at, number));
                node.node.set_pace(pace);
            }
            match fault {
                Fault::Kill | Fault::Refuse => {
                    force.undo.push(Undo::Open(node.name.clone()));
                    self.close(&node.name).await?;
                }
                Fault::Connections { max } => {
                    force.undo.push(Undo::Connections(at, number));
                    let places = self.scaled.scenario.databases[at].queue;
                    node.node.set_connections(Some(*max), places);
                }
                _ => {}
            }
        }
        let Some(postgres) = self.postgres.as_ref().filter(|_| locks) else {
            return Ok(());
        };
        let (server, max) = (
            inject::postgres::Server::at(postgres.address(), "drill", "postgres"),
            lease_of(event),
        );
        let injection = match fault {
            Fault::Kill => {
                force.undo.push(Undo::Postgres);
                keeping(|| postgres.kill(&self.keeper))?;
                return Ok(());
            }
            Fault::Hang | Fault::Pause => {
                let victim = Victim {
                    pid: postgres.pid(),
                    door: Door::postgres(postgres.address()),
                };
                process::stop(&self.keeper, &[victim], max).await
            }
            Fault::Lock => inject::postgres::lock(&server, &["things"], max).await,
            _ => return Ok(()),
        };
        force.hold(
            injection.map_err(|error| NoDrill::Failed(error.to_string()))?,
            false,
        );
        Ok(())
    }

    async fn strike_service(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        if matches!(
            fault,
            Fault::Starve { .. } | Fault::Slow { .. } | Fault::Leak { .. }
        ) {
            return self.tell_all(force).await;
        }
        let mut numbers = nodes_of(event, self.services[at].len());
        if let Fault::Crash {
            instances: Some(most),
        } = fault
        {
            numbers.truncate(*most as usize);
        }
        if let Fault::Restart { each } = fault {
            let (system, each) = (self.clone(), Duration::from(*each));
            let copies: Vec<Arc<Instance>> = numbers
                .iter()
                .map(|number| self.services[at][*number].clone())
                .collect();
            self.errand(async move {
                for copy in copies {
                    system.kill_instance(&copy).await?;
                    tokio::time::sleep(each).await;
                    system.revive(&copy).await?;
                }
                Ok(())
            });
            return Ok(());
        }
        for number in numbers {
            let copy = &self.services[at][number];
            if let Some(toxic) = toxic_of(fault, Span::ZERO) {
                self.add_toxic(force, &copy.name, toxic).await?;
                continue;
            }
            match fault {
                Fault::Kill | Fault::Crash { .. } => {
                    force.undo.push(Undo::Instance(copy.clone()));
                    self.kill_instance(copy).await?;
                }
                Fault::Hang | Fault::Pause => {
                    let door = copy.control.unwrap_or(copy.door);
                    let victim = Victim {
                        pid: copy.pid(),
                        door: Door::http(door),
                    };
                    let stopped = process::stop(&self.keeper, &[victim], lease_of(event)).await;
                    force.hold(
                        stopped.map_err(|error| NoDrill::Failed(error.to_string()))?,
                        false,
                    );
                }
                Fault::Refuse => {
                    force.undo.push(Undo::Open(copy.name.clone()));
                    self.close(&copy.name).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells all instances of all services that an event begins, and notes that they have to be told of its end.
    async fn tell_all(&self, force: &mut InForce) -> Result<(), NoDrill> {
        force.undo.push(Undo::Told);
        self.tell(force.event, true).await
    }

    /// Tells all instances that run.
    pub(crate) async fn tell(&self, event: usize, begins: bool) -> Result<(), NoDrill> {
        for copy in self.services.iter().flatten() {
            if let (Some(control), true) = (copy.control, copy.up.load(std::sync::atomic::Ordering::Acquire))
            {
                asking::tell(control, event, begins).await?;
            }
        }
        Ok(())
    }

    /// Takes a fault back, all of it, also when a part of that fails.
    pub(crate) async fn end(self: &Arc<Self>, force: InForce, loads: &[Load]) -> Result<(), NoDrill> {
        let mut failed = None;
        for undo in force.undo.into_iter().rev() {
            if let Err(error) = self.take_back(force.event, undo, loads).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn take_back(self: &Arc<Self>, event: usize, undo: Undo, loads: &[Load]) -> Result<(), NoDrill> {
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
                let (injection, _) = probed.await.map_err(|error| NoDrill::Failed(error.to_string()))?;
                injection
                    .undo()
                    .await
                    .map_err(|error| NoDrill::Failed(error.to_string()))?;
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
