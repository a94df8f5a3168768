//! The instances of services: how they are started, and how they end and are started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::dist::Dist;
use seawall_scenario::{Action, Command, Place, Scaled, What};
use tokio::time::Instant;

use super::caches::CacheNode;
use super::{System, keeping};
use crate::app::Duty;
use crate::keeper::{Pid, Program};
use crate::run::{NoDrill, Order, asking};
use crate::stack::free_port;

/// So many pairs of ports are tried.
const TRIES: u32 = 8;
/// An instance answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);

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

    /// Where its process listens to clients, if it is the drill's own.
    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        self.program.as_ref()?.address
    }

    /// Whether the drill has started it.
    pub(crate) fn is_ours(&self) -> bool {
        self.program.is_some()
    }

    pub(crate) fn pid(&self) -> Pid {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl System {
    pub(super) async fn start_service(
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
            .map(|(cache, nodes)| {
                let all = nodes.iter().flat_map(CacheNode::all).map(|node| node.door);
                doors(all.collect(), &cache.name)
            })
            .collect();
        let databases = scenario.databases.iter().zip(&self.databases);
        let databases: BTreeMap<_, _> = databases
            .map(|(database, nodes)| doors(nodes.iter().map(|node| node.door).collect(), &database.name))
            .collect();
        let services = scenario.services.iter().zip(&self.services);
        let services: BTreeMap<_, _> = services
            .zip(&self.spares)
            .map(|((service, copies), spares)| {
                let all = copies.iter().chain(spares).map(|copy| copy.door);
                doors(all.collect(), &service.name)
            })
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
        for number in 0..most_of(&self.scaled, at) {
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
        let spares = instances.split_off(service.instances as usize);
        for spare in &spares {
            // It has shown that it runs, and runs again when its time has come.
            self.kill_instance(spare).await?;
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
        self.spares[at] = spares;
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
    async fn wait_for(&self, instance: &Instance) -> Result<(), NoDrill> {
        let begun = Instant::now();
        loop {
            let answers = match (instance.control, &instance.ready) {
                (Some(control), _) => asking::page(control).await.is_ok(),
                (None, Some((address, path))) => asking::answers(*address, path).await,
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
        if let Some(group) = self.groups.lock().await.get(&instance.name) {
            group
                .adopt(pid)
                .map_err(|error| NoDrill::Failed(error.to_string()))?;
        }
        self.wait_for(instance).await?;
        instance.life.fetch_add(1, Ordering::AcqRel);
        self.open(&instance.name).await?;
        instance.up.store(true, Ordering::Release);
        Ok(())
    }
}

/// Services so that those that are called come before those that call them.
pub(super) fn callees_first(scaled: &Scaled) -> Vec<usize> {
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

/// The most instances that a service ever has.
fn most_of(scaled: &Scaled, at: usize) -> u32 {
    let timeline = scaled.scenario.timeline.iter();
    let scaled_to = timeline.filter_map(|event| match (&event.what, event.on) {
        (What::Action(Action::Scale { instances, .. }), Some(Place::Service(on))) if on == at => *instances,
        _ => None,
    });
    scaled_to
        .chain([scaled.scenario.services[at].instances])
        .max()
        .unwrap_or(1)
}
