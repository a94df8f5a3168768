//! What people do: settings, protections, capacity, restarts, warming.

use seawall_core::link::Fault as LinkFault;
use seawall_core::policies::Policies;
use seawall_core::queue;
use seawall_core::time::Span;
use seawall_scenario::{Action, Event as Happening, Eviction, Knob, Place, Protection, ProtectionName};

use super::Provision;
use crate::clients::{keys_of, some_time};
use crate::services::{Instance, is_gated};
use crate::world::{Event, World};

impl World {
    pub(super) fn act(&mut self, event: &Happening, action: &Action) {
        match action {
            Action::Set(knob) => self.set(event, knob),
            Action::Protect(protections) => self.protect(protections),
            Action::Unprotect(names) => self.unprotect(names),
            Action::Scale {
                replicas,
                instances,
                connections,
                nodes,
                takes,
            } => match event.on {
                Some(Place::Database(database)) => {
                    if let Some(replicas) = *replicas {
                        self.provide(*takes, Provision::Replicas { database, replicas });
                    }
                    if let Some(connections) = *connections {
                        self.provide(
                            *takes,
                            Provision::Connections {
                                database,
                                connections,
                            },
                        );
                    }
                }
                Some(Place::Service(service)) => {
                    if let Some(instances) = *instances {
                        self.provide(*takes, Provision::Instances { service, instances });
                    }
                }
                Some(Place::Cache(cache)) => {
                    if let Some(nodes) = *nodes {
                        self.provide(*takes, Provision::Spread { cache, nodes });
                    }
                }
                _ => {}
            },
            Action::Warm { pace } => {
                if let Some(Place::Cache(cache)) = event.on {
                    self.warm(cache, *pace);
                }
            }
            Action::Restart { takes } => self.restart(event, *takes),
            Action::Purge | Action::Flush => {
                if let Some(Place::Cache(cache)) = event.on {
                    if *action == Action::Purge {
                        self.purge_locals(cache);
                    }
                    self.flush_locals(cache);
                    for node in self.cache_nodes(event, cache) {
                        self.caches[cache].flush(node, &mut self.meter);
                    }
                    self.warm_by_itself(cache);
                }
            }
            Action::Balance(strategy) => self.balance(event, *strategy),
            Action::Shard { sharding, nodes } => {
                if let Some(Place::Cache(cache)) = event.on {
                    self.reshard(cache, *sharding, *nodes);
                }
            }
            Action::Rate(rate) => {
                if let Some(Place::Client(client)) = event.on {
                    self.clients[client].set_rate(self.now, *rate);
                }
            }
        }
    }

    /// A purge beats every kind of staleness: what the instances that use this cache have in their own memory goes too.
    fn purge_locals(&mut self, cache: usize) {
        let users = self
            .services
            .iter()
            .filter(|service| service.tiers.contains(&cache));
        let mut others: Vec<usize> = users.flat_map(|service| service.tiers.clone()).collect();
        others.sort_unstable();
        others.dedup();
        for other in others {
            self.flush_locals(other);
        }
    }

    pub(crate) fn provide(&mut self, takes: Span, provision: Provision) {
        self.provisions.push(provision);
        let index = self.provisions.len() as u32 - 1;
        self.agenda.push(self.now + takes, Event::Provided(index));
        self.upsets.push(self.now + takes);
    }

    pub(crate) fn provided(&mut self, index: usize) {
        match self.provisions[index].clone() {
            Provision::Replicas { database, replicas } => self.grow_database(database, replicas),
            Provision::Instances { service, instances } => self.grow_service(service, instances),
            Provision::Connections {
                database,
                connections,
            } => {
                self.databases[database].connections = Some(connections);
                self.remake_database(database);
            }
            Provision::Nodes { database, nodes } => {
                for node in nodes {
                    self.databases[database].nodes[node as usize].up = true;
                }
            }
            Provision::CacheNodes { cache, nodes } => {
                for node in nodes {
                    self.caches[cache].nodes[node].link.clear(LinkFault::Refuse);
                    self.caches[cache].nodes[node].born = self.now;
                }
                self.remake_cache(cache);
                self.warm_by_itself(cache);
            }
            Provision::Spread { cache, nodes } => self.reshard(cache, None, Some(nodes)),
            Provision::Restart {
                service,
                instance,
                each,
            } => {
                if (instance as usize) < self.services[service].instances.len() {
                    self.crash(service as u16, instance, Some(each));
                    self.provide(
                        each,
                        Provision::Restart {
                            service,
                            instance: instance + 1,
                            each,
                        },
                    );
                }
            }
        }
    }

    /// Gives each shard of a database this many replicas.
    pub(crate) fn grow_database(&mut self, database: usize, replicas: u32) {
        let name = self.plan.scenario.databases[database].name.clone();
        let (written, played) = (
            self.plan.written[database].1,
            self.plan.scenario.databases[database].replicas,
        );
        if played != written {
            let factor = f64::from(replicas) / f64::from(written.max(1));
            self.databases[database].enlarge(self.now, factor);
            for node in 0..self.databases[database].nodes.len() {
                self.watch_node(database as u16, node as u16);
            }
            return;
        }
        for shard in 0..self.databases[database].replicas.len() {
            while self.databases[database].replicas[shard].len() < replicas as usize {
                let node = self.databases[database].add_node(&name, &mut self.meter);
                self.databases[database].replicas[shard].push(node);
            }
            self.databases[database].replicas[shard].truncate((replicas as usize).max(1));
        }
        self.databases[database].rebalance();
    }

    pub(super) fn grow_service(&mut self, service: usize, instances: u32) {
        let place = Place::Service(service);
        let played = self.plan.resized(&self.services[service].policies, place);
        while self.services[service].instances.len() < instances as usize {
            let at = self.services[service].instances.len();
            let sim = &self.services[service];
            let fresh = Instance::new(&self.plan, service, at, self.seed, self.now, 0, sim, &played);
            self.services[service].instances.push(fresh);
        }
        // Fewer instances: the last ones get no more calls, and end what they have.
        for instance in self.services[service]
            .instances
            .iter_mut()
            .skip(instances as usize)
        {
            instance.up = false;
        }
        let count = self.services[service].instances.len();
        let strategy = self.services[service].strategy;
        self.services[service].balancer = seawall_core::balance::Balancer::new(strategy, count);
    }

    pub(super) fn set(&mut self, event: &Happening, knob: &Knob) {
        match (event.on, knob) {
            (Some(Place::Service(index)), knob) => self.set_service(index, knob),
            (Some(Place::Cache(index)), knob) => {
                let written = &mut self.plan.scenario.caches[index];
                match *knob {
                    Knob::Ttl(ttl) => written.ttl = Some(ttl),
                    Knob::Timeout(timeout) => written.timeout = timeout,
                    Knob::Capacity(entries) => written.capacity = Some(entries),
                    Knob::Maxmemory(bytes) => written.maxmemory = Some(bytes),
                    Knob::Eviction(eviction) => written.eviction = eviction,
                    Knob::MaxClients(most) => written.max_clients = Some(most),
                    Knob::RenewedByHits(renewed) => written.renewed_by_hits = renewed,
                    _ => {}
                }
                let written = self.plan.scenario.caches[index].clone();
                let cache = &mut self.caches[index];
                cache.ttl = written.ttl;
                cache.renewed_by_hits = written.renewed_by_hits;
                for node in &mut cache.nodes {
                    let capacity = written.entries_max().map(|entries| entries as usize);
                    node.store.retune(capacity, written.eviction == Eviction::Lru);
                    node.store.trim(self.now);
                    node.max_clients = written.max_clients;
                }
                self.remake_cache(index);
                self.retime(index);
            }
            (Some(Place::Database(index)), knob) => {
                let database = &mut self.databases[index];
                match knob {
                    Knob::ServiceTime(dist) => database.service_time = *dist,
                    Knob::Timeout(timeout) => database.timeout = Some(*timeout),
                    Knob::Connections(most) => database.connections = Some(*most),
                    _ => {}
                }
                self.remake_database(index);
            }
            (Some(Place::Client(index)), Knob::Retries(retries)) => self.clients[index].retries = *retries,
            (Some(Place::Client(index)), Knob::Writes(share)) => self.clients[index].writes = *share,
            _ => {}
        }
    }

    /// Tells guards the TTL and the timeout of a cache.
    pub(super) fn retime(&mut self, cache: usize) {
        let written = &self.plan.scenario.caches[cache];
        let (ttl, timeout) = (written.ttl.unwrap_or(Span::MAX), written.timeout);
        for service in &mut self.services {
            let Some(tier) = service.tiers.iter().position(|tier| *tier == cache) else {
                continue;
            };
            for instance in &mut service.instances {
                instance.guard.retime(tier, ttl, timeout);
            }
        }
    }

    pub(super) fn set_service(&mut self, index: usize, knob: &Knob) {
        let now = self.now;
        let service = &mut self.services[index];
        match knob {
            Knob::TripsAbove(above) => {
                if let Some(trips) = &mut service.trips {
                    trips.above = *above;
                }
            }
            Knob::Availability(share) => service.availability = *share,
            Knob::Threads(threads) => service.threads = Some(*threads),
            Knob::Queue(places) => {
                service.places = Some(*places);
                let settings = service.policies.line(Some(*places));
                for instance in &mut service.instances {
                    instance.line.retune(now, settings.clone());
                }
            }
            Knob::ServiceTime(dist) => service.work = some_time(dist),
            _ => {}
        }
    }

    pub(super) fn protect(&mut self, protections: &[Protection]) {
        let mut places: Vec<Place> = Vec::new();
        for protection in protections {
            for place in &protection.at {
                if let Some(policies) = self.policies_mut(*place) {
                    protection.setting.apply(policies);
                    places.push(*place);
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        for place in places {
            self.retune(place);
        }
    }

    pub(super) fn unprotect(&mut self, names: &[ProtectionName]) {
        let places: Vec<Place> = self.plan.scenario.places().collect();
        for place in places {
            if let Some(policies) = self.policies_mut(place) {
                for name in names {
                    name.remove(policies);
                }
                self.retune(place);
            }
        }
    }

    pub(super) fn policies_mut(&mut self, place: Place) -> Option<&mut Policies> {
        match place {
            Place::Gateway(index) => Some(&mut self.gateways[index].policies),
            Place::Service(index) => Some(&mut self.services[index].policies),
            _ => None,
        }
    }

    /// Lets a place take over its policies, which have changed.
    pub(super) fn retune(&mut self, place: Place) {
        let now = self.now;
        match place {
            Place::Gateway(index) => {
                let played = self.plan.resized(&self.gateways[index].policies, place);
                let gateway = &mut self.gateways[index];
                gateway.gate.retune(now, &played);
                gateway.line.retune(now, played.line(None));
            }
            Place::Service(index) => {
                let played = self.plan.resized(&self.services[index].policies, place);
                let service = &mut self.services[index];
                service.gate.retune(now, &played);
                service.gated = is_gated(&played);
                service.cancels = played.deadline.cancel;
                let line: queue::Settings = played.line(service.places);
                for instance in &mut service.instances {
                    instance.guard.retune(now, &played);
                    instance.line.retune(now, line.clone());
                }
                for instance in 0..self.services[index].instances.len() {
                    self.after_guard(index as u16, instance as u16);
                }
            }
            _ => {}
        }
    }

    pub(super) fn restart(&mut self, event: &Happening, takes: Span) {
        match event.on {
            Some(Place::Cache(cache)) => {
                let nodes = self.cache_nodes(event, cache);
                for node in &nodes {
                    self.caches[cache].flush(*node, &mut self.meter);
                    self.caches[cache].sound = false;
                    self.caches[cache].nodes[*node].answers = false;
                    self.caches[cache].nodes[*node].link.set(LinkFault::Refuse);
                }
                self.provide(takes, Provision::CacheNodes { cache, nodes });
            }
            Some(Place::Database(database)) => {
                let nodes = self.database_nodes(event, database);
                for node in &nodes {
                    self.databases[database].nodes[*node as usize].up = false;
                    self.kill_node(database as u16, *node);
                }
                self.provide(takes, Provision::Nodes { database, nodes });
            }
            Some(Place::Service(service)) => {
                for instance in self.instances_of(event, service) {
                    self.crash(service as u16, instance as u16, Some(takes));
                }
            }
            _ => {}
        }
    }

    pub(super) fn balance(&mut self, event: &Happening, strategy: seawall_core::balance::Strategy) {
        let Some(Place::Service(index)) = event.on else {
            return;
        };
        let count = self.services[index].instances.len();
        let service = &mut self.services[index];
        service.strategy = strategy;
        service.balancer = seawall_core::balance::Balancer::new(strategy, count);
        if let Some(crate::world::Target::Database(database)) = service.origin {
            self.databases[database as usize].strategy = strategy;
            self.databases[database as usize].rebalance();
        }
    }

    /// Spreads keys differently: guards and stores learn of the new nodes, and what is on the wrong node is lost.
    pub(super) fn reshard(
        &mut self,
        cache: usize,
        sharding: Option<seawall_core::ring::Sharding>,
        nodes: Option<u32>,
    ) {
        let written = &mut self.plan.scenario.caches[cache];
        written.sharding = sharding.unwrap_or(written.sharding);
        written.nodes = nodes.unwrap_or(written.nodes);
        let written = self.plan.scenario.caches[cache].clone();
        self.caches[cache].respread(&written, &mut self.meter);
        for service in &mut self.services {
            let Some(tier) = service.tiers.iter().position(|tier| *tier == cache) else {
                continue;
            };
            for instance in &mut service.instances {
                instance
                    .guard
                    .respread(tier, written.sharding, (written.nodes as u16).max(1));
            }
        }
    }

    /// Fills a cache that has come back empty, where a protection says so.
    pub(super) fn warm_by_itself(&mut self, cache: usize) {
        let automatic = self.services.iter().any(|service| {
            service.tiers.contains(&cache)
                && service.policies.warm.as_ref().is_some_and(|warm| warm.automatic)
        });
        if automatic && self.caches[cache].up() >= 1.0 {
            self.warm(cache, None);
        }
    }

    /// Begins to fill a cache, the most popular keys first, spread over the instances of its services.
    pub(super) fn warm(&mut self, cache: usize, pace: Option<f64>) {
        for service in 0..self.services.len() {
            if !self.services[service].tiers.contains(&cache) {
                continue;
            }
            let mut policies = self.services[service].policies.clone();
            let mut settings = policies.warm.clone().unwrap_or_default();
            let threshold = settings.threshold;
            if let Some(pace) = pace {
                // The pace of an action is in the played size already.
                settings.pace = pace / self.plan.scale;
                policies.warm = Some(settings);
                self.services[service].policies = policies;
                self.retune(Place::Service(service));
            }
            let mut keys: Vec<u64> = Vec::new();
            for client in &self.plan.scenario.clients {
                let of = keys_of(&client.keys);
                let mut covered = 0.0;
                for key in of.popular(1 << 22) {
                    if covered >= threshold {
                        break;
                    }
                    covered += of.probability(key);
                    keys.push(key);
                }
            }
            let count = self.services[service].instances.len();
            for at in 0..count {
                let slice: Vec<u64> = keys.iter().copied().skip(at).step_by(count).collect();
                let instance = &mut self.services[service].instances[at];
                instance.guard.warm(self.now, slice);
                self.after_guard(service as u16, at as u16);
            }
        }
    }
}
