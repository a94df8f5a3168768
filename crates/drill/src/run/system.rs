//! The system of a scenario, of real parts: servers, doors, proxies on every link, instances, gateways.

mod caches;
mod cluster;
mod databases;
mod instances;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use seawall_core::dist::Dist;
use seawall_core::rng::Seed;
use seawall_scenario::{Place, Scaled};
use tokio::task::JoinHandle;

use super::felt::Usual;
use super::{NoDrill, Order, gateway};
use crate::inject::cgroup::Group;
use crate::inject::postgres::Tablespace;
use crate::keeper::Keeper;
use crate::load::Truth;
use crate::proxy::{Draft, Kind, Latency, Proxies, Side, Toxic};
use crate::stack::Postgres;

pub(crate) use caches::{CacheNode, policy_of};
use databases::DatabaseNode;
pub(crate) use instances::Instance;
use instances::callees_first;

/// A value is no larger, whatever an entry is said to take.
const VALUE_MAX: u64 = 4_096;
/// A table has no more rows.
const ROWS_MAX: u64 = 300_000;

/// A gateway.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A system that runs.
pub(crate) struct System {
    pub(crate) scaled: Scaled,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) proxies: Proxies,
    pub(crate) truth: Arc<Truth>,
    /// By the cache's place; empty for local ones.
    pub(crate) caches: Vec<Vec<CacheNode>>,
    pub(crate) databases: Vec<Vec<DatabaseNode>>,
    pub(crate) postgres: Option<Postgres>,
    /// Where its tables are, when their disk will be full.
    pub(crate) tablespace: Option<Tablespace>,
    pub(crate) services: Vec<Vec<Arc<Instance>>>,
    /// Instances of each service that run once it is scaled up.
    pub(crate) spares: Vec<Vec<Arc<Instance>>>,
    pub(crate) gateways: Vec<Gate>,
    /// The parts, in words.
    pub(crate) parts: Vec<String>,
    /// What is usual where faults will show.
    pub(crate) usual: tokio::sync::Mutex<BTreeMap<String, Usual>>,
    /// Control groups of processes that starve, or did.
    pub(crate) groups: tokio::sync::Mutex<BTreeMap<String, Arc<Group>>>,
    /// What takes its time, while the rest goes on.
    errands: Mutex<Vec<JoinHandle<Result<(), NoDrill>>>>,
}

/// Talks to the keeper without holding up what else this thread has to do.
pub(crate) fn keeping<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

impl System {
    /// Starts everything that the scenario names.
    pub(crate) async fn start(order: &Order, scaled: Scaled, keeper: Arc<Keeper>) -> Result<System, NoDrill> {
        let scenario = &scaled.scenario;
        let value_size = scenario
            .caches
            .iter()
            .map(|cache| cache.entry_size)
            .max()
            .unwrap_or(1_000)
            .clamp(64, VALUE_MAX) as usize;
        let mut system = System {
            proxies: Proxies::new(Seed(scenario.run.seed)),
            truth: Arc::new(if is_checked(&scaled) {
                Truth::new(value_size)
            } else {
                Truth::unknown()
            }),
            caches: Vec::new(),
            databases: Vec::new(),
            postgres: None,
            tablespace: None,
            services: Vec::new(),
            spares: vec![Vec::new(); scaled.scenario.services.len()],
            gateways: Vec::new(),
            parts: Vec::new(),
            usual: tokio::sync::Mutex::default(),
            groups: tokio::sync::Mutex::default(),
            errands: Mutex::default(),
            keeper,
            scaled: scaled.clone(),
        };
        system.start_caches(order).await?;
        system.start_databases(order).await?;
        for at in callees_first(&scaled) {
            let instances = system.start_service(order, at, value_size).await?;
            system.services[at] = instances;
        }
        for at in 0..scenario.gateways.len() {
            let gate = gateway::start(order, &system, at).await?;
            system.gateways.push(gate);
        }
        Ok(system)
    }

    /// Where a component is that runs already, if it does.
    async fn elsewhere(&self, place: Place) -> Result<Option<SocketAddr>, NoDrill> {
        let environment = &self.scaled.scenario.environment;
        let Some((_, address)) = environment.at.iter().find(|(known, _)| *known == place) else {
            return Ok(None);
        };
        // The document was checked, and the name may mean something else by now.
        let mut found = tokio::net::lookup_host(address.as_str())
            .await
            .map_err(|error| NoDrill::Refused(format!("failed to look up `{address}`: {error}")))?;
        let found = found
            .next()
            .ok_or_else(|| NoDrill::Refused(format!("`{address}` is nowhere")))?;
        if !environment.allows(&found.to_string()) && !environment.allows(address) {
            return Err(NoDrill::Refused(format!(
                "`{address}` is {found}, which `[environment] allow` does not name"
            )));
        }
        Ok(Some(found))
    }

    /// A proxy in front of this address.
    pub(crate) async fn link(
        &self,
        name: &str,
        upstream: SocketAddr,
        latency: &Dist,
    ) -> Result<SocketAddr, NoDrill> {
        let draft = Draft {
            name: name.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            upstream: upstream.to_string(),
            enabled: None,
        };
        let view = self.proxies.add(&draft).await.map_err(NoDrill::proxy)?;
        // A proxy of its own takes a part of a millisecond already.
        let latency = latency.mean().as_nanos() / 1_000_000;
        if latency > 0 {
            let kind = Kind::Latency(Latency {
                latency: latency.cast_signed(),
                ..Latency::default()
            });
            let toxic = Toxic {
                name: "distance".to_owned(),
                ..Toxic::new(Side::Downstream, kind)
            };
            self.proxies
                .add_toxic(name, toxic)
                .await
                .map_err(NoDrill::proxy)?;
        }
        view.listen
            .parse()
            .map_err(|_| NoDrill::Failed(format!("the proxy `{name}` listens at `{}`", view.listen)))
    }

    pub(crate) fn path_of(&self, place: Place) -> Option<&str> {
        let scenario = &self.scaled.scenario;
        let place = match place {
            Place::Gateway(at) => scenario.gateways[at].calls,
            other => other,
        };
        let own = scenario.environment.run.iter().find(|(known, _)| *known == place);
        let at = scenario.environment.at.iter().find(|(known, _)| *known == place);
        own.map(|(_, command)| command.path.as_str())
            .or(at.map(|_| "/{key}"))
    }

    /// Waits until an instance answers.
    /// All instances that a service ever has.
    pub(crate) fn copies(&self, service: usize) -> impl Iterator<Item = &Arc<Instance>> {
        self.services[service].iter().chain(&self.spares[service])
    }

    /// Whether the instances of a service tell what they count, which a program of the user's does not.
    pub(crate) fn tells(&self, service: usize) -> bool {
        self.services[service].iter().any(|copy| copy.control.is_some())
    }

    /// Whether somebody tells of calls to this origin.
    pub(crate) fn is_told_of(&self, place: Place) -> bool {
        let mut services = self.scaled.scenario.services.iter().enumerate();
        services.any(|(at, service)| {
            let fallback = service.fallback.as_ref().map(|fallback| fallback.origin);
            let calls =
                service.origin == Some(place) || fallback == Some(place) || service.also.contains(&place);
            calls && self.tells(at)
        })
    }

    /// Components of which not all is measured.
    pub(crate) fn blind(&self) -> Vec<String> {
        let scenario = &self.scaled.scenario;
        let told_of = |cache: usize| {
            let mut services = scenario.services.iter().enumerate();
            services.any(|(at, service)| service.caches.contains(&cache) && self.tells(at))
        };
        let services = (0..scenario.services.len())
            .filter(|at| !self.tells(*at))
            .map(Place::Service);
        let caches = (0..scenario.caches.len())
            .filter(|at| !told_of(*at))
            .map(Place::Cache);
        let databases = (0..scenario.databases.len()).map(Place::Database);
        let databases = databases.filter(|place| !self.is_told_of(*place));
        let blind = services.chain(caches).chain(databases);
        blind.map(|place| scenario.name(place).to_owned()).collect()
    }

    /// What is not measured, because it is somebody's own.
    pub(crate) fn unmeasured(&self) -> Vec<String> {
        let services = self.scaled.scenario.services.iter().enumerate();
        let mute = services.filter(|(at, _)| !self.tells(*at));
        mute.map(|(_, service)| {
            let origin = service.origin.map(|origin| self.scaled.scenario.name(origin));
            format!(
                "`{}` is not on the library, so its hits, its threads{} are not measured",
                service.name,
                origin.map_or_else(String::new, |origin| format!(" and what it asks of `{origin}`"))
            )
        })
        .collect()
    }

    /// Does something that takes its time, while the rest goes on.
    pub(crate) fn errand(&self, work: impl Future<Output = Result<(), NoDrill>> + Send + 'static) {
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        errands.push(tokio::spawn(work));
    }

    /// Ends what is still under way; why what had ended failed, if it did. Instances that are down are started again.
    pub(crate) async fn end_errands(&self) -> Vec<NoDrill> {
        let errands = std::mem::take(&mut *self.errands.lock().unwrap_or_else(PoisonError::into_inner));
        let mut failed = Vec::new();
        for errand in errands {
            errand.abort();
            match errand.await {
                Ok(done) => failed.extend(done.err()),
                Err(error) if error.is_cancelled() => {}
                Err(error) => failed.push(NoDrill::Failed(error.to_string())),
            }
        }
        for copy in self.services.iter().flatten() {
            failed.extend(self.revive(copy).await.err());
        }
        failed
    }

    /// Connections through a proxy are refused, and those there are end.
    pub(crate) async fn close(&self, proxy: &str) -> Result<(), NoDrill> {
        self.enable(proxy, false).await
    }

    pub(crate) async fn open(&self, proxy: &str) -> Result<(), NoDrill> {
        self.enable(proxy, true).await
    }

    async fn enable(&self, proxy: &str, enabled: bool) -> Result<(), NoDrill> {
        let draft = Draft {
            enabled: Some(enabled),
            ..Draft::default()
        };
        self.proxies.update(proxy, &draft).await.map_err(NoDrill::proxy)?;
        Ok(())
    }

    /// Where the servers and instances are, and where the proxies before them listen: a line for each.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let caches = self.caches.iter().flatten().flat_map(CacheNode::all);
        lines.extend(caches.map(|node| format!("{} at {}, through {}", node.name, node.address, node.door)));
        let real = self.postgres.as_ref().map(Postgres::address);
        lines.extend(real.map(|address| format!("PostgreSQL at {address}")));
        let databases = self.databases.iter().flatten();
        lines.extend(databases.map(|node| format!("{} through {}", node.name, node.door)));
        lines.extend(
            self.services
                .iter()
                .flatten()
                .map(|copy| format!("{} through {}", copy.name, copy.door)),
        );
        lines
    }

    /// Where a client's calls go in.
    pub(crate) fn door_of(&self, place: Place) -> Vec<SocketAddr> {
        match place {
            Place::Gateway(at) => vec![self.gateways[at].address],
            Place::Service(at) => self.copies(at).map(|copy| copy.door).collect(),
            _ => Vec::new(),
        }
    }
}

/// How many rows there are: one for each key that can be asked for.
pub(crate) fn rows_of(scaled: &Scaled) -> u64 {
    let clients = scaled.scenario.clients.iter();
    clients
        .map(|client| match client.keys {
            seawall_scenario::Keys::Zipf { count, .. } | seawall_scenario::Keys::Uniform { count } => count,
            seawall_scenario::Keys::Normal { mean, deviation } => {
                (mean + 8.0 * deviation).max(1.0) as u64 + 1
            }
        })
        .max()
        .unwrap_or(0)
}

/// Whether what services answer is what the table `things` holds.
fn is_checked(scaled: &Scaled) -> bool {
    let environment = &scaled.scenario.environment;
    let elsewhere = environment
        .at
        .iter()
        .any(|(place, _)| matches!(place, Place::Service(_)));
    !elsewhere && environment.run.iter().all(|(_, command)| command.checked)
}

/// Why there would be too many rows.
pub(crate) fn too_many_rows(scaled: &Scaled) -> Option<String> {
    let rows = rows_of(scaled);
    (rows > ROWS_MAX).then(|| {
        format!("its clients ask for {rows} keys, and a drill writes at most {ROWS_MAX} rows; try a smaller --scale")
    })
}
