//! One instance of a service of a scenario, as a process: what stands where the user's own application would stand.
//!
//! It is what the scenario says and nothing more: threads and the line before them, a time that its own work takes, and
//! the library `seawall` in front of a real database, with the protections of the scenario's own tables. It answers
//! `GET /client/key` and `PUT /client/key`; the client's name says how important the call is.
//!
//! What it is to be is a [`Duty`], which the drill writes down for it. What goes wrong with it (a bad caching rule, a
//! leak) and what operators do to it is told by the number of the event in the scenario's timeline, on a second listener
//! that clients do not know.

mod control;
mod floor;
mod origin;
mod prefill;
mod single;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use seawall::redis::Redis;
use seawall::{Cache, Raw};
use seawall_core::policies::Policies;
use seawall_core::time::Span;
use seawall_scenario::{CacheKind, CacheMode, Document, Place, Scaled, Scenario};
use serde::{Deserialize, Serialize};

use crate::copies::Copies;
use origin::{Behind, Database, Kind, Loader, Reach, Rule, Tables};
use single::Single;
use work::Work;

pub use control::{Rewritten, Took};
pub use origin::TABLE;
pub(crate) use origin::{APP, FOR_EVER};

/// What an instance is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duty {
    /// Which scenario, and how it is drilled.
    pub what: What,
    /// The service's name.
    pub service: String,
    /// Which instance of it.
    pub instance: u32,
    /// Where it answers clients.
    pub listen: SocketAddr,
    /// Where it is told of events and asked for its counters.
    pub control: SocketAddr,
    /// The nodes of each shared cache, by its name.
    pub caches: BTreeMap<String, Vec<SocketAddr>>,
    /// The nodes of each database, by its name.
    pub databases: BTreeMap<String, Vec<SocketAddr>>,
    /// The instances of each service that it calls, by its name.
    pub services: BTreeMap<String, Vec<SocketAddr>>,
    /// Whether databases are tables behind HTTP, and no PostgreSQL.
    pub embedded: bool,
    /// The size of a value in bytes.
    pub value_size: usize,
}

/// A scenario as it is drilled: its document, and what is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct What {
    /// The document's name.
    pub name: String,
    /// The document.
    pub text: String,
    /// The variant.
    pub variant: String,
    /// Settings laid over it: paths and values.
    pub sets: Vec<(String, String)>,
    /// The share of their time that slow things take.
    pub time: f64,
    /// The share of its size.
    pub scale: f64,
}

/// Why an instance does not run.
#[derive(Debug, thiserror::Error)]
pub enum NoApp {
    /// Its duty cannot be read.
    #[error("failed to read {path}: {why}")]
    Duty {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// The scenario is none.
    #[error("{0}")]
    Scenario(#[from] seawall_scenario::Mistakes),
    /// What it is told to be is not in the scenario, or cannot be made.
    #[error("{0}")]
    Unfit(String),
    /// It cannot listen.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// In a drill a period is no shorter: what is measured needs calls to be measured by.
const PERIOD_MIN: Span = Span::millis(500);

impl What {
    /// The scenario in the time and the size in which it is drilled.
    ///
    /// # Errors
    /// All that is wrong with the document.
    pub fn scaled(&self) -> Result<Scaled, seawall_scenario::Mistakes> {
        Ok(self.scenario()?.scaled(self.scale))
    }

    /// The scenario in the time in which it is drilled, and at its full size.
    ///
    /// # Errors
    /// All that is wrong with the document.
    pub fn scenario(&self) -> Result<Scenario, seawall_scenario::Mistakes> {
        let document = Document::parse(&self.name, &self.text)?;
        let sets: Vec<(&str, &str)> = self
            .sets
            .iter()
            .map(|(path, value)| (path.as_str(), value.as_str()))
            .collect();
        let scenario = document.scenario(&self.variant, &sets)?;
        let skipped = if scenario.drill.knows(&self.variant) {
            scenario.without(&scenario.drill.skip)
        } else {
            scenario
        };
        let mut scenario = skipped.hastened(self.time);
        let run = &mut scenario.run;
        let every = run.every.max(PERIOD_MIN).as_nanos();
        let whole = |span: Span| Span::nanos(span.as_nanos().div_ceil(every) * every);
        (run.warmup, run.duration, run.every) = (whole(run.warmup), whole(run.duration), Span::nanos(every));
        Ok(scenario)
    }
}

/// Runs an instance until its process is ended. Its duty is in this file.
///
/// # Errors
/// When it cannot begin.
pub async fn serve(path: &Path) -> Result<(), NoApp> {
    let unread = |why: String| NoApp::Duty {
        path: path.display().to_string(),
        why,
    };
    let duty = tokio::fs::read(path)
        .await
        .map_err(|error| unread(error.to_string()))?;
    let duty: Duty = serde_json::from_slice(&duty).map_err(|error| unread(error.to_string()))?;
    let scaled = duty.what.scaled()?;
    let listen = async |address: SocketAddr| {
        let bound = tokio::net::TcpListener::bind(address).await;
        bound.map_err(|source| NoApp::Listen { address, source })
    };
    let (door, control) = (listen(duty.listen).await?, listen(duty.control).await?);
    let work = App::build(&duty, &scaled)?;
    let app = Arc::new(App {
        duty,
        scaled,
        work: work.0,
        cache: work.1,
        behind: work.2,
        rule: work.3,
        active: Mutex::default(),
    });
    let ended = tokio::select! {
        ended = axum::serve(door, work::router(app.clone())).into_future() => ended,
        ended = axum::serve(control, control::router(app)).into_future() => ended,
    };
    ended.map_err(|error| NoApp::Unfit(format!("it has ended: {error}")))
}

/// An instance.
pub(crate) struct App {
    duty: Duty,
    scaled: Scaled,
    work: Work,
    cache: Option<Cache<u64, Bytes>>,
    behind: Vec<Behind>,
    rule: Rule,
    /// Events that are under way, by their place in the timeline.
    active: Mutex<BTreeSet<usize>>,
}

type Built = (Work, Option<Cache<u64, Bytes>>, Vec<Behind>, Rule);

impl App {
    fn build(duty: &Duty, scaled: &Scaled) -> Result<Built, NoApp> {
        let scenario = &scaled.scenario;
        let place = scenario.place(&duty.service);
        let Some(Place::Service(index)) = place else {
            return Err(NoApp::Unfit(format!("there is no service `{}`", duty.service)));
        };
        let service = &scenario.services[index];
        let policies = scaled.resized(&scenario.policies(Place::Service(index)), Place::Service(index));
        let make = |place: Place| behind(duty, scaled, &policies, place, service.instances);
        let origin = service.origin.map(make).transpose()?;
        let fallback = service.fallback.as_ref();
        let fallback = fallback.map(|fallback| make(fallback.origin)).transpose()?;
        let also = service.also.iter().map(|place| make(*place));
        let also = also.collect::<Result<Vec<_>, _>>()?;
        let rule = Rule::default();
        let loader = origin.clone().map(|origin| Loader {
            origin,
            fallback: fallback.clone(),
            rule: rule.clone(),
        });
        let cache = loader.map(|loader| cache(duty, scaled, index, &policies, loader));
        let cache = cache.transpose()?;
        let work = Work::new(scaled, index, &policies, duty.instance, also.clone());
        let behind = origin.into_iter().chain(fallback).chain(also).collect();
        Ok((work, cache, behind, rule))
    }

    fn index(&self) -> usize {
        match self.scaled.scenario.place(&self.duty.service) {
            Some(Place::Service(index)) => index,
            _ => 0,
        }
    }
}

fn behind(
    duty: &Duty,
    scaled: &Scaled,
    policies: &Policies,
    place: Place,
    instances: u32,
) -> Result<Behind, NoApp> {
    let scenario = &scaled.scenario;
    let name = scenario.name(place);
    let missing = || NoApp::Unfit(format!("nobody says where `{name}` is"));
    let strategy = policies.balance.unwrap_or_default();
    let kind = match place {
        Place::Database(index) if duty.embedded => {
            let nodes = duty.databases.get(name).ok_or_else(missing)?;
            let tables = Tables::new(
                &duty.service,
                nodes,
                scenario.databases[index].shards as usize,
                strategy,
            );
            Kind::Tables(tables.map_err(|error| NoApp::Unfit(error.to_string()))?)
        }
        Place::Database(index) => {
            let database = &scenario.databases[index];
            Kind::Database(Database::new(&Reach {
                nodes: duty.databases.get(name).ok_or_else(missing)?,
                shards: database.shards as usize,
                connections: database.connections,
                timeout: database.timeout,
                strategy,
                instances,
            }))
        }
        _ => {
            let addresses = duty.services.get(name).ok_or_else(missing)?;
            let copies = Copies::new(&duty.service, addresses, strategy);
            Kind::Service(copies.map_err(|error| NoApp::Unfit(error.to_string()))?)
        }
    };
    Ok(Behind::new(name, kind))
}

/// A tier's own time is the scenario's; a connection is opened within this.
const CONNECT: Duration = Duration::from_secs(1);
/// What the library counts for an entry of its memory beside the value, in bytes.
const ENTRY: u64 = 160;
/// No instance keeps more in its own memory.
const ENTRIES_MAX: u64 = 1 << 20;
/// A cache without a TTL keeps what it has for as long as any drill lasts.
const KEPT: Duration = Duration::from_hours(24);

fn cache(
    duty: &Duty,
    scaled: &Scaled,
    index: usize,
    policies: &Policies,
    loader: Loader,
) -> Result<Cache<u64, Bytes>, NoApp> {
    let scenario = &scaled.scenario;
    let service = &scenario.services[index];
    let mut builder = Cache::builder("things")
        .policies(policies.clone())
        .instances(service.instances)
        .seed(scenario.run.seed.wrapping_add(u64::from(duty.instance) + 1))
        .codec(Raw)
        .no_memory();
    for (tier, cache) in service.caches.iter().map(|at| &scenario.caches[*at]).enumerate() {
        let ttl = cache.ttl.map_or(KEPT, Duration::from);
        if cache.kind == CacheKind::Local {
            if tier > 0 {
                return Err(NoApp::Unfit(format!(
                    "`cache.{}` is each instance's own memory, and stands behind another cache",
                    cache.name
                )));
            }
            // Entries are counted, not bytes: all weigh the same.
            let entries = cache.entries_max().unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
            builder = builder.memory(entries * ENTRY).memory_ttl(ttl).weigh(|_, _| 0);
            continue;
        }
        let nodes = duty
            .caches
            .get(&cache.name)
            .ok_or_else(|| NoApp::Unfit(format!("nobody says where `{}` is", cache.name)))?;
        let store: Arc<dyn seawall::Store> = if cache.max_clients.is_some() {
            Arc::new(Single {
                name: cache.name.clone(),
                nodes: nodes.clone(),
            })
        } else {
            store(cache, nodes)?
        };
        builder = builder.layer(store, Some(ttl), cache.timeout.into());
    }
    Ok(builder.origin(loader).build())
}

fn store(cache: &seawall_scenario::Cache, nodes: &[SocketAddr]) -> Result<Arc<dyn seawall::Store>, NoApp> {
    let places: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let scheme = match cache.mode {
        CacheMode::Cluster => "redis-cluster",
        CacheMode::Nodes if places.len() > 1 => "redis-ring",
        CacheMode::Nodes => "redis",
    };
    let unfit = |error: seawall::redis::ConfigError| NoApp::Unfit(error.to_string());
    let redis = Redis::url(&format!("{scheme}://{}", places.join(",")))
        .map_err(unfit)?
        .name(&cache.name)
        .connect_timeout(CONNECT)
        .response_timeout(Duration::from(cache.timeout).max(CONNECT))
        .build()
        .map_err(unfit)?;
    Ok(Arc::new(redis))
}
