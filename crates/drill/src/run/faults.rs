//! What breaks, for real: from a fault of the scenario to what is done to which process, connection, or server.

use std::sync::Arc;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_scenario::{Event, Fault, Place};

use super::system::{Instance, System, keeping};
use super::{NoDrill, asking};
use crate::keeper::{Mending, Pid};
use crate::load::Load;
use crate::proxy::{Bandwidth, Kind, Latency, Partition, ResetPeer, Side, Stall, Toxic};

/// How a fault is taken back. In the order of doing; taken back in the other one.
enum Undo {
    /// A toxic of a proxy.
    Toxic(String, String),
    /// A proxy that refuses.
    Open(String),
    /// A process that stands still: the lease of its keeper.
    Lease(u64),
    /// A node of a cache that is down.
    Cache(usize, usize),
    /// Instances that are down.
    Instance(Arc<Instance>),
    /// A node of a database, whose pace is as it was.
    Pace(usize, usize),
    /// A node of a database, whose connections are as they were.
    Connections(usize, usize),
    /// A setting of a Redis, and what it was.
    Setting(std::net::SocketAddr, &'static str, String),
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
}

/// After this time the keeper lets a process go on by itself, whatever the scenario says.
const LEASE_MAX: Duration = Duration::from_secs(600);

/// The nodes of an event, of so many that there are.
pub(crate) fn nodes_of(event: &Event, count: usize) -> Vec<usize> {
    match &event.nodes {
        Some(nodes) => nodes.iter().map(|node| *node as usize).filter(|node| *node < count).collect(),
        None => (0..count).collect(),
    }
}

/// The toxic that a fault of a link is, if it is one.
fn toxic_of(fault: &Fault, usual: Span) -> Option<Toxic> {
    let millis = |span: Span| (span.as_nanos() / 1_000_000) as i64;
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
            rate: (rate / 1_000.0) as i64,
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
        let toxic = Toxic { name: name.clone(), ..toxic };
        self.proxies.add_toxic(proxy, toxic).await.map_err(NoDrill::proxy)?;
        force.undo.push(Undo::Toxic(proxy.to_owned(), name));
        Ok(())
    }

    fn stop(&self, force: &mut InForce, pid: Pid, length: Option<Span>) -> Result<(), NoDrill> {
        let after = length.map_or(LEASE_MAX, |length| Duration::from(length) + Duration::from_secs(5));
        let lease = keeping(|| self.keeper.lend(Mending::Continue(pid), Some(after)))?;
        force.undo.push(Undo::Lease(lease));
        keeping(|| self.keeper.signal(pid, "STOP"))?;
        Ok(())
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
        for number in nodes_of(event, self.caches[at].len()) {
            let node = &self.caches[at][number];
            if let Some(toxic) = toxic_of(fault, usual) {
                self.add_toxic(force, &node.name, toxic).await?;
                continue;
            }
            match fault {
                Fault::Kill => {
                    let redis = node.redis.lock().await;
                    force.undo.push(Undo::Cache(at, number));
                    self.close(&node.name).await?;
                    keeping(|| redis.kill(&self.keeper))?;
                }
                Fault::Replace => {
                    let mut redis = node.redis.lock().await;
                    self.close(&node.name).await?;
                    keeping(|| redis.kill(&self.keeper))?;
                    redis.restart(&self.keeper).await?;
                    drop(redis);
                    self.open(&node.name).await?;
                    self.bound_cache(at, self.scaled.scenario.caches[at].entries_max()).await?;
                }
                Fault::Hang | Fault::Pause => {
                    let pid = node.redis.lock().await.pid();
                    self.stop(force, pid, event.for_)?;
                }
                Fault::Refuse => {
                    force.undo.push(Undo::Open(node.name.clone()));
                    self.close(&node.name).await?;
                }
                Fault::Flush => asking::command::<()>(node.address, &["FLUSHALL"]).await?,
                Fault::OutOfMemory | Fault::DiskFull => {
                    self.configure(force, node.address, "maxmemory-policy", "noeviction").await?;
                    self.configure(force, node.address, "maxmemory", "1").await?;
                }
                Fault::TooManyClients => {
                    self.configure(force, node.address, "maxclients", "1").await?;
                    // Whoever is connected stays so, unless he has to come again.
                    asking::command::<i64>(node.address, &["CLIENT", "KILL", "TYPE", "normal"]).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn configure(
        &self,
        force: &mut InForce,
        address: std::net::SocketAddr,
        key: &'static str,
        value: &str,
    ) -> Result<(), NoDrill> {
        let old: Vec<String> = asking::command(address, &["CONFIG", "GET", key]).await?;
        if let [_, old] = old.as_slice() {
            force.undo.push(Undo::Setting(address, key, old.clone()));
        }
        asking::configure(address, key, value).await
    }

    async fn strike_database(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        let all = event.nodes.is_none();
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
                Fault::Hang | Fault::Pause | Fault::Lock => Some(0.0),
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
        if let (Some(postgres), true) = (&self.postgres, all && self.databases.len() == 1) {
            match fault {
                Fault::Kill => {
                    let postgres = postgres.lock().await;
                    force.undo.push(Undo::Postgres);
                    keeping(|| self.keeper.end(postgres.pid(), Duration::ZERO))?;
                }
                Fault::Hang | Fault::Pause => {
                    let pid = postgres.lock().await.pid();
                    self.stop(force, pid, event.for_)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn strike_service(
        self: &Arc<Self>,
        force: &mut InForce,
        event: &Event,
        at: usize,
        fault: &Fault,
    ) -> Result<(), NoDrill> {
        if matches!(fault, Fault::Starve { .. } | Fault::Slow { .. } | Fault::Leak { .. }) {
            return self.tell_all(force).await;
        }
        let mut numbers = nodes_of(event, self.services[at].len());
        if let Fault::Crash { instances: Some(most) } = fault {
            numbers.truncate(*most as usize);
        }
        if let Fault::Restart { each } = fault {
            let (system, each) = (self.clone(), Duration::from(*each));
            let copies: Vec<Arc<Instance>> = numbers.iter().map(|at_| self.services[at][*at_].clone()).collect();
            tokio::spawn(async move {
                for copy in copies {
                    // What cannot be started again is seen by what it does not answer.
                    let _ = system.kill_instance(&copy).await;
                    tokio::time::sleep(each).await;
                    let _ = system.revive(&copy).await;
                }
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
                Fault::Hang | Fault::Pause => self.stop(force, copy.pid(), event.for_)?,
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
            if copy.up.load(std::sync::atomic::Ordering::Acquire) {
                asking::tell(copy.control, event, begins).await?;
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
                self.proxies.remove_toxic(&proxy, &name).await.map_err(NoDrill::proxy)?;
            }
            Undo::Open(proxy) => self.open(&proxy).await?,
            Undo::Lease(lease) => keeping(|| self.keeper.mend(lease))?,
            Undo::Cache(at, number) => {
                let node = &self.caches[at][number];
                node.redis.lock().await.restart(&self.keeper).await?;
                self.bound_cache(at, self.scaled.scenario.caches[at].entries_max()).await?;
                self.open(&node.name).await?;
            }
            Undo::Instance(copy) => self.revive(&copy).await?,
            Undo::Pace(at, number) => self.databases[at][number].node.set_pace(1.0),
            Undo::Connections(at, number) => {
                let database = &self.scaled.scenario.databases[at];
                let node = &self.databases[at][number].node;
                node.set_connections(database.connections, database.queue);
            }
            Undo::Setting(address, key, old) => asking::configure(address, key, &old).await?,
            Undo::Told => self.tell(event, false).await?,
            Undo::Spike(at) => loads.get(at).into_iter().for_each(|load| load.set_factor(1.0)),
            Undo::HotKey(at) => loads.get(at).into_iter().for_each(|load| load.hot_key(0.0)),
            Undo::Penetration(at) => {
                let usual = self.scaled.scenario.clients[at].missing;
                loads.get(at).into_iter().for_each(|load| load.missing(usual));
            }
            Undo::Postgres => {
                if let Some(postgres) = &self.postgres {
                    postgres.lock().await.restart(&self.keeper).await?;
                }
            }
        }
        Ok(())
    }
}
