//! The system of a scenario, of real parts: servers, doors, proxies on every link, instances, gateways.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::dist::Dist;
use seawall_core::rng::Seed;
use seawall_scenario::{CacheKind, Command, Place, Scaled};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Executor};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cached::Cached;
use super::table::{Rows, Table};
use super::{NoDrill, Order, gateway};
use crate::app::{Duty, TABLE};
use crate::inject::disk::Small;
use crate::keeper::{Keeper, Pid, Program};
use crate::load::Truth;
use crate::paced::{Node, Paced, Speed};
use crate::proxy::{Draft, Kind, Latency, Proxies, Side, Toxic};
use crate::stack::{Postgres, Redis, free_port};

/// A value is no larger, whatever an entry is said to take.
const VALUE_MAX: u64 = 4_096;
/// What an entry takes in Redis beside its value: the envelope, the name, and what Redis keeps for itself.
const ENTRY_OVERHEAD: u64 = 260;
/// What the buffers of clients take in a Redis, more or less.
const SLACK: u64 = 128 << 10;
/// The size of a disk that will be full.
const DISK: u64 = 8 << 20;
/// With so many entries there it is known what one takes.
const KNOWN: u64 = 200;
/// Rows that are written in one statement.
const ROWS: usize = 1_000;
/// A table has no more rows.
const ROWS_MAX: u64 = 300_000;
/// So many pairs of ports are tried.
const TRIES: u32 = 8;
/// An instance answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// One node of a shared cache.
pub(crate) struct CacheNode {
    pub(crate) name: String,
    pub(crate) server: Cached,
    pub(crate) address: SocketAddr,
    /// Where its proxy listens.
    pub(crate) door: SocketAddr,
    /// Its disk, when that is a small one.
    pub(crate) disk: Option<Small>,
    /// The bytes that it uses when it holds nothing.
    empty: AtomicU64,
}

/// One node of a database.
pub(crate) struct DatabaseNode {
    pub(crate) name: String,
    pub(crate) node: Node,
    /// Where its proxy listens.
    pub(crate) door: SocketAddr,
    _front: Front,
}

/// What stands at the door of a node, for as long as it is held.
#[expect(dead_code, reason = "they are there to be dropped")]
enum Front {
    Paced(Paced),
    Table(Table),
    Elsewhere,
}

/// One instance of a service.
pub(crate) struct Instance {
    pub(crate) name: String,
    /// Where it is told of events and asked for its counters, when it is our own.
    pub(crate) control: Option<SocketAddr>,
    /// Where its proxy listens.
    pub(crate) door: SocketAddr,
    /// What starts it, where the drill does.
    program: Option<Program>,
    /// What is asked of it until it is ready.
    ready: Option<(SocketAddr, String)>,
    pid: Mutex<Pid>,
    /// Whether its process is meant to run.
    pub(crate) up: AtomicBool,
    /// Goes up with each start.
    pub(crate) life: AtomicU32,
    /// Whose turn it is to end or to start it.
    turn: tokio::sync::Mutex<()>,
}

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
    pub(crate) services: Vec<Vec<Arc<Instance>>>,
    pub(crate) gateways: Vec<Gate>,
    /// The parts, in words.
    pub(crate) parts: Vec<String>,
    /// What takes its time, while the rest goes on.
    errands: Mutex<Vec<JoinHandle<Result<(), NoDrill>>>>,
}

impl Instance {
    /// A program of the user's, or a service of his that runs already.
    fn of_the_user(name: &str, program: Option<Program>, ready: Option<(SocketAddr, String)>) -> Instance {
        Instance {
            name: name.to_owned(),
            control: None,
            door: SocketAddr::from(([127, 0, 0, 1], 0)),
            program,
            ready,
            pid: Mutex::new(Pid(0)),
            up: AtomicBool::new(true),
            life: AtomicU32::new(1),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            services: Vec::new(),
            gateways: Vec::new(),
            parts: Vec::new(),
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

    async fn start_caches(&mut self, order: &Order) -> Result<(), NoDrill> {
        let scenario = self.scaled.scenario.clone();
        for (index, cache) in scenario.caches.iter().enumerate() {
            let mut nodes = Vec::new();
            if cache.kind == CacheKind::Shared {
                for at in 0..cache.nodes {
                    let name = format!("{}-{at}", cache.name);
                    // A connection lasts longer than the look-up that it is for, and we ask too.
                    let most = cache.max_clients.map(|most| (most + most / 4 + 3).to_string());
                    let mut settings = vec![("maxmemory-policy", policy_of(cache.eviction))];
                    if let Some(most) = &most {
                        settings.push(("maxclients", most));
                    }
                    let full = |event: &seawall_scenario::Event| {
                        let fault = seawall_scenario::What::Fault(seawall_scenario::Fault::DiskFull);
                        event.on == Some(Place::Cache(index)) && event.what == fault
                    };
                    let mut disk = None;
                    let server = if let Some(address) = self.elsewhere(Place::Cache(index)).await? {
                        Cached::Elsewhere(address)
                    } else if order.embedded {
                        Cached::embedded(&settings)?
                    } else {
                        // A disk that will be full has to be a small one, and snapshots have to be written to it.
                        if scenario.timeline.iter().any(full) {
                            settings.push(("save", "3600 1"));
                            let folder = self.keeper.folder().join(&name);
                            let small = Small::mount(&self.keeper, &folder, DISK, &[]).await;
                            disk = Some(small.map_err(|error| NoDrill::Refused(error.to_string()))?);
                        }
                        Cached::Real(Redis::start(&self.keeper, &name, &settings).await?)
                    };
                    let address = server.address();
                    let door = self.link(&name, address, &cache.latency).await?;
                    let empty = super::asking::standing(address).await?.memory;
                    nodes.push(CacheNode {
                        disk,
                        empty: AtomicU64::new(empty),
                        name,
                        server,
                        address,
                        door,
                    });
                }
                let kind = if order.embedded {
                    "embedded cache server"
                } else {
                    "real Redis"
                };
                self.parts.push(format!("{}: {} {kind}", cache.name, cache.nodes));
            }
            self.caches.push(nodes);
        }
        for at in 0..scenario.caches.len() {
            self.bound_cache(at, scenario.caches[at].entries_max()).await?;
        }
        Ok(())
    }

    /// Lets each node of a cache hold so many entries.
    pub(crate) async fn bound_cache(&self, at: usize, entries: Option<u64>) -> Result<(), NoDrill> {
        for number in 0..self.caches[at].len() {
            self.bound_node(at, number, entries).await?;
        }
        Ok(())
    }

    /// Lets a node of a cache hold so many entries.
    pub(crate) async fn bound_node(
        &self,
        at: usize,
        number: usize,
        entries: Option<u64>,
    ) -> Result<(), NoDrill> {
        let node = &self.caches[at][number];
        if matches!(node.server, Cached::Elsewhere(_)) {
            // How much it may hold is its owner's business.
            return Ok(());
        }
        let bytes = match entries {
            Some(entries) => {
                let now = super::asking::standing(node.address).await?;
                let empty = node.empty.load(Ordering::Relaxed);
                // With some entries there it is known what one takes; otherwise it is what it usually does.
                let entry = if now.entries >= KNOWN {
                    now.memory.saturating_sub(empty) / now.entries
                } else {
                    self.truth.value(0, 0).len() as u64 + ENTRY_OVERHEAD
                };
                empty + entries * entry + SLACK
            }
            None => 0,
        };
        super::asking::configure(node.address, "maxmemory", &bytes.to_string()).await
    }

    async fn start_databases(&mut self, order: &Order) -> Result<(), NoDrill> {
        let scenario = self.scaled.scenario.clone();
        if scenario.databases.is_empty() {
            return Ok(());
        }
        let mut real = None;
        let needed = (0..scenario.databases.len()).map(Place::Database);
        let mut needed =
            needed.filter(|place| scenario.environment.at.iter().all(|(known, _)| known != place));
        if !order.embedded && needed.next().is_some() {
            let postgres = Postgres::start(&self.keeper, "postgres", &[]).await?;
            real = Some(postgres.address());
            self.postgres = Some(postgres);
        }
        if let Some(address) = real {
            self.fill(address).await?;
        }
        for (index, database) in scenario.databases.iter().enumerate() {
            let mut nodes = Vec::new();
            let rows = Rows::default();
            if let Some(address) = self.elsewhere(Place::Database(index)).await? {
                let name = format!("{}-0", database.name);
                let node = Node::new(None, None, database.curve(1.0));
                let door = self.link(&name, address, &database.latency).await?;
                self.parts.push(format!("{}: at {address}", database.name));
                self.databases.push(vec![DatabaseNode {
                    name,
                    node,
                    door,
                    _front: Front::Elsewhere,
                }]);
                continue;
            }
            for at in 0..database.nodes() {
                let name = format!("{}-{at}", database.name);
                let curve = database.curve(self.scaled.nodes[index]);
                let node = Node::new(database.connections, database.queue, curve);
                let speed = Speed {
                    read: database.service_time,
                    write: database.write_law(),
                    timeout: database.timeout,
                };
                let draws = Seed(scenario.run.seed.wrapping_add(u64::from(at) + 1));
                let (address, front) = if let Some(real) = real {
                    let paced = Paced::start(real, node.clone(), speed, draws).await;
                    let paced = paced.map_err(|error| NoDrill::Failed(error.to_string()))?;
                    (paced.address(), Front::Paced(paced))
                } else {
                    let table =
                        Table::start(node.clone(), speed, rows.clone(), self.truth.clone(), draws).await?;
                    (table.address, Front::Table(table))
                };
                let door = self.link(&name, address, &database.latency).await?;
                nodes.push(DatabaseNode {
                    name,
                    node,
                    door,
                    _front: front,
                });
            }
            self.parts.push(format!(
                "{}: {}, paced as {} node{}",
                database.name,
                if real.is_some() {
                    "real PostgreSQL"
                } else {
                    "embedded table"
                },
                nodes.len(),
                if nodes.len() == 1 { "" } else { "s" }
            ));
            self.databases.push(nodes);
        }
        Ok(())
    }

    /// Writes a row for each key that clients ask for.
    async fn fill(&self, address: SocketAddr) -> Result<(), NoDrill> {
        let failed = |error: sqlx::Error| NoDrill::Failed(format!("failed to fill the database: {error}"));
        let mut connection = PgConnectOptions::new_without_pgpass()
            .host(&address.ip().to_string())
            .port(address.port())
            .username("drill")
            .database("postgres")
            .ssl_mode(PgSslMode::Disable)
            .connect()
            .await
            .map_err(failed)?;
        connection.execute(TABLE).await.map_err(failed)?;
        let keys: Vec<u64> = (0..rows_of(&self.scaled)).collect();
        for keys in keys.chunks(ROWS) {
            let names: Vec<String> = keys.iter().map(u64::to_string).collect();
            let values: Vec<Vec<u8>> = keys.iter().map(|key| self.truth.value(*key, 0)).collect();
            let query = sqlx::query("INSERT INTO things SELECT * FROM unnest($1::text[], $2::bytea[])");
            query
                .bind(names)
                .bind(values)
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        connection.execute("ANALYZE things").await.map_err(failed)?;
        Ok(())
    }

    async fn start_service(
        &mut self,
        order: &Order,
        at: usize,
        value_size: usize,
    ) -> Result<Vec<Arc<Instance>>, NoDrill> {
        while self.services.len() <= at {
            self.services.push(Vec::new());
        }
        let scenario = &self.scaled.scenario;
        let service = &scenario.services[at];
        let doors = |nodes: Vec<SocketAddr>, name: &str| (name.to_owned(), nodes);
        let caches = scenario.caches.iter().zip(&self.caches);
        let caches: BTreeMap<_, _> = caches
            .map(|(cache, nodes)| doors(nodes.iter().map(|node| node.door).collect(), &cache.name))
            .collect();
        let databases = scenario.databases.iter().zip(&self.databases);
        let databases: BTreeMap<_, _> = databases
            .map(|(database, nodes)| doors(nodes.iter().map(|node| node.door).collect(), &database.name))
            .collect();
        let services = scenario.services.iter().zip(&self.services);
        let services: BTreeMap<_, _> = services
            .map(|(service, copies)| doors(copies.iter().map(|copy| copy.door).collect(), &service.name))
            .collect();
        if let Some(address) = self.elsewhere(Place::Service(at)).await? {
            let mut instance = Instance::of_the_user(&format!("{}-0", service.name), None, None);
            instance.door = self.link(&instance.name, address, &service.latency).await?;
            self.parts.push(format!("{}: at {address}", service.name));
            return Ok(vec![Arc::new(instance)]);
        }
        let own = scenario
            .environment
            .run
            .iter()
            .find(|(place, _)| *place == Place::Service(at));
        let mut instances = Vec::new();
        for number in 0..service.instances {
            let name = format!("{}-{number}", service.name);
            if let Some((_, command)) = own {
                let instance = self.start_own(&name, command, &service.latency).await?;
                instances.push(Arc::new(instance));
                continue;
            }
            let duty = |listen, control| Duty {
                what: order.what.clone(),
                service: service.name.clone(),
                instance: number,
                listen,
                control,
                caches: caches.clone(),
                databases: databases.clone(),
                services: services.clone(),
                embedded: order.embedded,
                value_size,
            };
            let instance = self.start_instance(order, &name, duty, &service.latency).await?;
            instances.push(Arc::new(instance));
        }
        let of = if instances.len() == 1 {
            "process"
        } else {
            "processes"
        };
        self.parts.push(match own {
            Some((_, command)) => format!(
                "{}: {} {of} of `{}`",
                service.name,
                instances.len(),
                command.command[0]
            ),
            None => format!("{}: {} {of} on the library", service.name, instances.len()),
        });
        Ok(instances)
    }

    /// Starts an instance on ports that nobody takes from it meanwhile.
    async fn start_instance(
        &self,
        order: &Order,
        name: &str,
        duty: impl Fn(SocketAddr, SocketAddr) -> Duty,
        latency: &Dist,
    ) -> Result<Instance, NoDrill> {
        let mut tries = 0;
        loop {
            tries += 1;
            let port = || {
                let port = free_port().map_err(|error| NoDrill::Failed(format!("no free port: {error}")))?;
                Ok::<_, NoDrill>(SocketAddr::from(([127, 0, 0, 1], port)))
            };
            let duty = duty(port()?, port()?);
            match self.start_with(order, name, &duty, latency).await {
                Err(NoDrill::Failed(why)) if why.contains("in use") && tries < TRIES => {}
                done => return done,
            }
        }
    }

    async fn start_with(
        &self,
        order: &Order,
        name: &str,
        duty: &Duty,
        latency: &Dist,
    ) -> Result<Instance, NoDrill> {
        let file = self.keeper.folder().join(format!("{name}.json"));
        let failed =
            |error: &dyn std::fmt::Display| NoDrill::Failed(format!("failed to start `{name}`: {error}"));
        let written = serde_json::to_vec(duty).map_err(|error| failed(&error))?;
        std::fs::write(&file, written).map_err(|error| failed(&error))?;
        let program = Program {
            name: name.to_owned(),
            file: order.program.clone(),
            args: vec!["app".to_owned(), file.display().to_string()],
            address: Some(duty.listen),
            ..Program::default()
        };
        let pid = keeping(|| self.keeper.run(&program))?;
        let mut instance = Instance {
            name: name.to_owned(),
            control: Some(duty.control),
            door: duty.listen,
            program: Some(program),
            ready: None,
            pid: Mutex::new(pid),
            up: AtomicBool::new(true),
            life: AtomicU32::new(1),
            turn: tokio::sync::Mutex::new(()),
        };
        self.wait_for(&instance).await?;
        instance.door = self.link(name, duty.listen, latency).await?;
        Ok(instance)
    }

    /// Starts an instance of the user's own program.
    async fn start_own(&self, name: &str, command: &Command, latency: &Dist) -> Result<Instance, NoDrill> {
        let mut tries = 0;
        loop {
            tries += 1;
            let port = free_port().map_err(|error| NoDrill::Failed(format!("no free port: {error}")))?;
            let listen = SocketAddr::from(([127, 0, 0, 1], port));
            let filled = |text: &str| self.filled(text, port);
            let mut words = command.command.iter().map(|word| filled(word));
            let program = Program {
                name: name.to_owned(),
                file: words.next().unwrap_or_default().into(),
                args: words.collect(),
                env: command
                    .env
                    .iter()
                    .map(|(key, value)| (key.clone(), filled(value)))
                    .collect(),
                folder: std::env::current_dir().ok(),
                address: Some(listen),
                ..Program::default()
            };
            let pid = keeping(|| self.keeper.run(&program))?;
            let mut instance =
                Instance::of_the_user(name, Some(program), Some((listen, command.ready.clone())));
            instance.pid = Mutex::new(pid);
            match self.wait_for(&instance).await {
                Err(NoDrill::Failed(why)) if why.to_lowercase().contains("in use") && tries < TRIES => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    instance.door = self.link(name, listen, latency).await?;
                    return Ok(instance);
                }
            }
        }
    }

    /// A word with the addresses of other components in it.
    fn filled(&self, text: &str, port: u16) -> String {
        let scenario = &self.scaled.scenario;
        let mut text = text.replace("{port}", &port.to_string());
        let joined = |doors: &mut dyn Iterator<Item = SocketAddr>| {
            doors.map(|door| door.to_string()).collect::<Vec<_>>().join(",")
        };
        for (cache, nodes) in scenario.caches.iter().zip(&self.caches) {
            text = text.replace(
                &format!("{{{}}}", cache.name),
                &joined(&mut nodes.iter().map(|node| node.door)),
            );
        }
        for (database, nodes) in scenario.databases.iter().zip(&self.databases) {
            text = text.replace(
                &format!("{{{}}}", database.name),
                &joined(&mut nodes.iter().map(|node| node.door)),
            );
        }
        for (service, copies) in scenario.services.iter().zip(&self.services) {
            text = text.replace(
                &format!("{{{}}}", service.name),
                &joined(&mut copies.iter().map(|copy| copy.door)),
            );
        }
        text
    }

    /// What clients ask of a service, when it is the user's own.
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
    async fn wait_for(&self, instance: &Instance) -> Result<(), NoDrill> {
        let begun = Instant::now();
        loop {
            let answers = match (instance.control, &instance.ready) {
                (Some(control), _) => super::asking::page(control).await.is_ok(),
                (None, Some((address, path))) => super::asking::answers(*address, path).await,
                (None, None) => true,
            };
            if answers {
                return Ok(());
            }
            if let Some(how) = keeping(|| self.keeper.ended(instance.pid()))? {
                let log: PathBuf = self.keeper.folder().join(format!("{}.log", instance.name));
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(NoDrill::Failed(format!(
                    "`{}` ended ({how}): {}",
                    instance.name,
                    said.trim()
                )));
            }
            if begun.elapsed() > PATIENCE {
                return Err(NoDrill::Failed(format!("`{}` does not answer", instance.name)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills an instance, if it has not ended by itself. Nobody listens where it was.
    pub(crate) async fn kill_instance(&self, instance: &Instance) -> Result<(), NoDrill> {
        let _turn = instance.turn.lock().await;
        if instance.program.is_none() {
            let name = &instance.name;
            return Err(NoDrill::Failed(format!(
                "`{name}` is not the drill's own, and cannot be ended"
            )));
        }
        instance.up.store(false, Ordering::Release);
        self.close(&instance.name).await?;
        let pid = instance.pid();
        keeping(|| self.keeper.end(pid, Duration::ZERO))?;
        Ok(())
    }

    /// Notes that an instance has ended by itself, if that is so and nobody knows.
    pub(crate) async fn has_crashed(&self, instance: &Instance) -> Result<bool, NoDrill> {
        // Whose turn it is knows.
        let Ok(_turn) = instance.turn.try_lock() else {
            return Ok(false);
        };
        if instance.program.is_none()
            || !instance.up.load(Ordering::Acquire)
            || keeping(|| self.keeper.ended(instance.pid()))?.is_none()
        {
            return Ok(false);
        }
        instance.up.store(false, Ordering::Release);
        self.close(&instance.name).await?;
        Ok(true)
    }

    /// Starts an instance again, if nobody else has.
    pub(crate) async fn revive(&self, instance: &Instance) -> Result<(), NoDrill> {
        let _turn = instance.turn.lock().await;
        if instance.up.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(program) = &instance.program else {
            return Ok(());
        };
        let pid = keeping(|| self.keeper.run(program))?;
        *instance.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
        self.wait_for(instance).await?;
        instance.life.fetch_add(1, Ordering::AcqRel);
        self.open(&instance.name).await?;
        instance.up.store(true, Ordering::Release);
        Ok(())
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

    /// Where a client's calls go in.
    pub(crate) fn door_of(&self, place: Place) -> Vec<SocketAddr> {
        match place {
            Place::Gateway(at) => vec![self.gateways[at].address],
            Place::Service(at) => self.services[at].iter().map(|copy| copy.door).collect(),
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

/// Services so that those that are called come before those that call them.
fn callees_first(scaled: &Scaled) -> Vec<usize> {
    fn visit(scaled: &Scaled, at: usize, order: &mut Vec<usize>) {
        if order.contains(&at) {
            return;
        }
        let service = &scaled.scenario.services[at];
        let called = service.origin.iter().chain(&service.also);
        for place in called.chain(service.fallback.iter().map(|fallback| &fallback.origin)) {
            if let Place::Service(callee) = place {
                visit(scaled, *callee, order);
            }
        }
        order.push(at);
    }
    let mut order = Vec::new();
    for at in 0..scaled.scenario.services.len() {
        visit(scaled, at, &mut order);
    }
    order
}

pub(crate) fn policy_of(eviction: seawall_scenario::Eviction) -> &'static str {
    match eviction {
        seawall_scenario::Eviction::Lru => "allkeys-lru",
        seawall_scenario::Eviction::None => "noeviction",
    }
}
