//! The timeline: what breaks, and what people do about it.
//!
//! When a fault begins or ends, the state of its component is made anew from all faults that are under way, so that
//! faults overlap without undoing each other. What happens at an instant (a flush, a mass expiry) just happens. What
//! people do stays done.

use seawall_core::dist::Dist;
use seawall_core::guard::CacheFault;
use seawall_core::link::{Fault as LinkFault, Link};
use seawall_core::policies::Policies;
use seawall_core::queue;
use seawall_core::time::{Span, Time};
use seawall_scenario::{
    Action, Event as Happening, Eviction, Fault, Knob, Place, Protection, ProtectionName, What,
};

use crate::clients::{keys_of, line_of, some_time};
use crate::services::{Instance, is_gated};
use crate::world::{Event, World};

/// Something that takes time to be provided.
#[derive(Clone, Debug)]
pub(crate) enum Provision {
    /// There are now this many replicas a shard.
    Replicas { database: usize, replicas: u32 },
    /// There are now this many instances.
    Instances { service: usize, instances: u32 },
    /// There are now this many connections a node.
    Connections { database: usize, connections: u32 },
    /// A database's nodes are back.
    Nodes { database: usize, nodes: Vec<u16> },
    /// A cache's nodes are back.
    CacheNodes { cache: usize, nodes: Vec<usize> },
    /// Keys are now spread over this many nodes of a cache.
    Spread { cache: usize, nodes: u32 },
    /// An instance is restarted, and then the next one.
    Restart {
        service: usize,
        instance: u16,
        each: Span,
    },
}

/// What a fault does to the way to an instance, if anything.
fn link_fault(fault: &Fault) -> Option<LinkFault> {
    Some(match *fault {
        Fault::Refuse => LinkFault::Refuse,
        Fault::Reset => LinkFault::Reset,
        Fault::Partition => LinkFault::Partition,
        Fault::Hang | Fault::Pause => LinkFault::Hang,
        Fault::Latency { add, jitter } => LinkFault::Latency { add, jitter },
        Fault::Bandwidth { rate } => LinkFault::Bandwidth { bytes_per_s: rate },
        Fault::Loss { share } => LinkFault::Loss { share },
        _ => return None,
    })
}

impl World {
    pub(crate) fn begin_event(&mut self, index: usize) {
        let event = self.plan.scenario.timeline[index].clone();
        match &event.what {
            What::Fault(fault) => {
                if self.strike(&event, fault) {
                    return;
                }
                self.active[index] = true;
                if let Some(place) = event.on {
                    self.remake(place);
                }
                self.enter_fault(&event, fault);
            }
            What::Action(action) => self.act(&event, action),
        }
    }

    pub(crate) fn end_event(&mut self, index: usize) {
        let event = self.plan.scenario.timeline[index].clone();
        self.active[index] = false;
        if let (Some(place), What::Fault(fault)) = (event.on, &event.what) {
            self.remake(place);
            self.leave_fault(&event, fault);
        }
    }

    /// The nodes that an event is about, in the played size.
    fn nodes_of(event: &Happening, count: usize, document: usize) -> Vec<usize> {
        match &event.nodes {
            None => (0..count).collect(),
            Some(nodes) => {
                let mut nodes: Vec<usize> = nodes
                    .iter()
                    .map(|node| *node as usize * count / document.max(1))
                    .filter(|node| *node < count)
                    .collect();
                nodes.dedup();
                nodes
            }
        }
    }

    fn cache_nodes(&self, event: &Happening, cache: usize) -> Vec<usize> {
        let count = self.caches[cache].nodes.len();
        Self::nodes_of(event, count, count)
    }

    /// The nodes of a database that an event is about. The document counts `shard × replicas + replica`; in a smaller
    /// size, the node that stands for a named one is meant.
    fn database_nodes(&self, event: &Happening, database: usize) -> Vec<u16> {
        let Some(nodes) = &event.nodes else {
            return (0..self.databases[database].nodes.len() as u16).collect();
        };
        let (shards, replicas) = self.plan.written[database];
        let played = &self.databases[database].replicas;
        let mut list: Vec<u16> = Vec::new();
        for node in nodes {
            let (shard, replica) = (node / replicas.max(1), node % replicas.max(1));
            let shard = (shard as usize * played.len() / shards.max(1) as usize).min(played.len() - 1);
            let there = &played[shard];
            let replica = replica as usize * there.len() / replicas.max(1) as usize;
            list.extend(there.get(replica));
        }
        list.dedup();
        list
    }

    fn instances_of(&self, event: &Happening, service: usize) -> Vec<usize> {
        let count = self.services[service].instances.len();
        let document = (count as f64 * self.plan.copies[service]) as usize;
        Self::nodes_of(event, count, document)
    }

    /// Faults of an instant; says whether this was one.
    fn strike(&mut self, event: &Happening, fault: &Fault) -> bool {
        let Some(Place::Cache(cache)) = event.on else {
            return false;
        };
        for node in self.cache_nodes(event, cache) {
            match fault {
                Fault::Replace | Fault::Flush => self.caches[cache].flush(node, &mut self.meter),
                Fault::Expire { share } => self.caches[cache].expire_share(self.now, node, *share),
                Fault::ExpireAt { instant } => {
                    let at = Time::ZERO + self.plan.scenario.run.warmup + *instant;
                    self.caches[cache].align_expiry(node, at);
                }
                Fault::Corrupt { share } => self.caches[cache].corrupt(node, *share),
                _ => return false,
            }
        }
        if matches!(fault, Fault::Replace | Fault::Flush) {
            self.warm_by_itself(cache);
        }
        matches!(
            fault,
            Fault::Replace
                | Fault::Flush
                | Fault::Expire { .. }
                | Fault::ExpireAt { .. }
                | Fault::Corrupt { .. }
        )
    }

    /// What happens once when a fault begins, beside the state that it makes.
    fn enter_fault(&mut self, event: &Happening, fault: &Fault) {
        match (event.on, fault) {
            (Some(Place::Cache(cache)), Fault::Kill | Fault::Loading) => {
                for node in self.cache_nodes(event, cache) {
                    self.caches[cache].flush(node, &mut self.meter);
                }
            }
            (Some(Place::Database(database)), Fault::Kill) => {
                for node in self.database_nodes(event, database) {
                    self.kill_node(database as u16, node);
                }
            }
            (Some(Place::Service(service)), Fault::Crash { instances }) => {
                let mut list = self.instances_of(event, service);
                if let Some(most) = instances {
                    list.truncate(*most as usize);
                }
                for instance in list {
                    self.crash(service as u16, instance as u16, event.for_);
                }
            }
            (Some(Place::Service(service)), Fault::Kill) => {
                for instance in self.instances_of(event, service) {
                    self.crash(service as u16, instance as u16, event.for_);
                }
            }
            (Some(Place::Service(service)), Fault::Restart { each }) => {
                self.provide(
                    Span::ZERO,
                    Provision::Restart {
                        service,
                        instance: 0,
                        each: *each,
                    },
                );
            }
            _ => {}
        }
    }

    fn leave_fault(&mut self, event: &Happening, fault: &Fault) {
        match (event.on, fault) {
            (Some(Place::Database(database)), Fault::Hang | Fault::Partition) => {
                for node in self.database_nodes(event, database) {
                    self.let_go(database as u16, node);
                }
            }
            (Some(Place::Service(service)), Fault::Hang | Fault::Pause) => self.let_in(service as u16, true),
            (Some(Place::Service(service)), Fault::Partition) => self.let_in(service as u16, false),
            (Some(Place::Cache(cache)), Fault::Kill | Fault::Loading) => self.warm_by_itself(cache),
            _ => {}
        }
    }

    /// Makes the state of a component anew from the faults that are under way.
    fn remake(&mut self, place: Place) {
        match place {
            Place::Client(index) => self.remake_client(index),
            Place::Cache(index) => self.remake_cache(index),
            Place::Database(index) => self.remake_database(index),
            Place::Service(index) => self.remake_service(index),
            Place::Gateway(_) => {}
        }
    }

    fn faults_on(&self, place: Place) -> Vec<(Happening, Fault)> {
        let timeline = self.plan.scenario.timeline.iter().zip(&self.active);
        timeline
            .filter(|(event, active)| **active && event.on == Some(place))
            .filter_map(|(event, _)| match &event.what {
                What::Fault(fault) => Some((event.clone(), fault.clone())),
                What::Action(_) => None,
            })
            .collect()
    }

    fn remake_client(&mut self, index: usize) {
        let (mut factor, mut hot, mut penetration) = (1.0, 0.0, 0.0);
        for (_, fault) in self.faults_on(Place::Client(index)) {
            match fault {
                Fault::Spike { factor: by } => factor *= by,
                Fault::HotKey { share } => hot = share,
                Fault::Penetration { share } => penetration = share,
                _ => {}
            }
        }
        let now = self.now;
        let client = &mut self.clients[index];
        client.hot = hot;
        client.penetration = penetration;
        client.set_factor(now, factor);
    }

    fn remake_cache(&mut self, index: usize) {
        let faults = self.faults_on(Place::Cache(index));
        let ends: Vec<Time> = faults
            .iter()
            .map(|(event, _)| {
                let began = Time::ZERO + self.plan.scenario.run.warmup + event.at;
                event.for_.map_or(Time::NEVER, |length| began + length)
            })
            .collect();
        let cache = &mut self.caches[index];
        cache.never_stored = false;
        cache.ttl_ignored = false;
        let limited = self.plan.scenario.caches[index].max_clients.is_some();
        cache.sound = faults.is_empty() && !limited;
        for node in &mut cache.nodes {
            node.link.heal();
            node.says = None;
            node.writes_say = None;
            node.frozen_until = None;
            node.answers = true;
            node.slow = 1.0;
            node.far = Span::ZERO;
        }
        for ((event, fault), end) in faults.iter().zip(ends) {
            let nodes = self.cache_nodes(event, index);
            let cache = &mut self.caches[index];
            match fault {
                Fault::NeverStored => cache.never_stored = true,
                Fault::TtlIgnored => cache.ttl_ignored = true,
                _ => {}
            }
            for at in nodes {
                let node = &mut cache.nodes[at];
                node.answers &= !matches!(
                    fault,
                    Fault::Kill
                        | Fault::Refuse
                        | Fault::Reset
                        | Fault::Partition
                        | Fault::Hang
                        | Fault::Pause
                        | Fault::Loading
                        | Fault::TooManyClients
                );
                match *fault {
                    Fault::Kill | Fault::Refuse => node.link.set(LinkFault::Refuse),
                    Fault::Reset => node.link.set(LinkFault::Reset),
                    Fault::Partition => node.link.set(LinkFault::Partition),
                    Fault::Hang => node.link.set(LinkFault::Hang),
                    Fault::Pause => node.frozen_until = Some(end),
                    Fault::Latency { add, jitter } => node.link.set(LinkFault::Latency { add, jitter }),
                    Fault::Bandwidth { rate } => node.link.set(LinkFault::Bandwidth { bytes_per_s: rate }),
                    Fault::Loss { share } => node.link.set(LinkFault::Loss { share }),
                    Fault::OutOfMemory => node.writes_say = Some(CacheFault::OutOfMemory),
                    Fault::TooManyClients => node.says = Some(CacheFault::TooManyClients),
                    Fault::Slow { factor } => node.slow *= factor,
                    Fault::FarRegion { add } => node.far += add,
                    Fault::Starve { share } => node.slow *= 1.0 / (1.0 - share).max(0.001),
                    Fault::Loading => node.says = Some(CacheFault::Loading),
                    Fault::ReadOnly | Fault::DiskFull => node.writes_say = Some(CacheFault::ReadOnly),
                    _ => {}
                }
            }
        }
    }

    fn remake_database(&mut self, index: usize) {
        let faults = self.faults_on(Place::Database(index));
        let now = self.now;
        let connections = self.databases[index].connections;
        let count = self.databases[index].nodes.len();
        self.databases[index].far = Span::ZERO;
        let mut pace = vec![1.0_f64; count];
        let mut most = vec![connections; count];
        for node in &mut self.databases[index].nodes {
            node.link.heal();
            node.up = true;
            node.hangs = false;
            node.slow = 1.0;
            node.writes_fail = false;
        }
        for (event, fault) in &faults {
            for at in self.database_nodes(event, index) {
                let far = &mut self.databases[index].far;
                if let Fault::FarRegion { add } = fault {
                    *far = *add;
                }
                let node = &mut self.databases[index].nodes[at as usize];
                match *fault {
                    Fault::Kill => node.up = false,
                    Fault::Refuse => node.link.set(LinkFault::Refuse),
                    Fault::Reset => node.link.set(LinkFault::Reset),
                    Fault::Partition => node.link.set(LinkFault::Partition),
                    Fault::Hang => node.hangs = true,
                    Fault::Pause | Fault::Lock => pace[at as usize] = 0.0,
                    Fault::Starve { share } => pace[at as usize] *= 1.0 - share,
                    Fault::Latency { add, jitter } => node.link.set(LinkFault::Latency { add, jitter }),
                    Fault::Bandwidth { rate } => node.link.set(LinkFault::Bandwidth { bytes_per_s: rate }),
                    Fault::Loss { share } => node.link.set(LinkFault::Loss { share }),
                    Fault::Slow { factor } | Fault::SlowQuery { factor } => node.slow *= factor,
                    Fault::DiskFull | Fault::ReadOnly => node.writes_fail = true,
                    Fault::Connections { max } => most[at as usize] = Some(max),
                    _ => {}
                }
            }
        }
        for node in 0..count {
            self.databases[index].set_connections(node, most[node]);
            // A node that hangs makes no progress with what it has, either.
            let stopped = self.databases[index].nodes[node].hangs;
            self.databases[index].nodes[node]
                .processor
                .set_pace(now, if stopped { 0.0 } else { pace[node] });
            self.watch_node(index as u16, node as u16);
            self.admit_waiting(index as u16, node as u16);
        }
    }

    fn remake_service(&mut self, index: usize) {
        let faults = self.faults_on(Place::Service(index));
        let written = &self.plan.scenario.services[index];
        let (mut leak, mut slow, mut processor, mut far) = (written.leak.clone(), 1.0, 1.0, Span::ZERO);
        let mut links = vec![Link::pooled(Dist::Fixed(Span::ZERO)); self.services[index].instances.len()];
        for (event, fault) in faults {
            if let Some(broken) = link_fault(&fault) {
                for instance in self.instances_of(&event, index) {
                    links[instance].set(broken);
                }
            }
            match fault {
                Fault::Leak { after, restart } => leak = Some(seawall_scenario::Leak { after, restart }),
                Fault::Starve { share } => processor *= (1.0 - share).max(0.001),
                Fault::Slow { factor } => slow *= factor,
                Fault::FarRegion { add } => far += add,
                _ => {}
            }
        }
        let service = &mut self.services[index];
        service.leak = leak;
        service.slow = slow;
        service.processor = processor;
        service.far = far;
        service.reachable = links.iter().all(Link::healthy);
        service.links = links;
    }

    fn act(&mut self, event: &Happening, action: &Action) {
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

    pub(crate) fn provide(&mut self, takes: Span, provision: Provision) {
        self.provisions.push(provision);
        let index = self.provisions.len() as u32 - 1;
        self.agenda.push(self.now + takes, Event::Provided(index));
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

    fn grow_service(&mut self, service: usize, instances: u32) {
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

    fn set(&mut self, event: &Happening, knob: &Knob) {
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
    fn retime(&mut self, cache: usize) {
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

    fn set_service(&mut self, index: usize, knob: &Knob) {
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
                let settings = line_of(&service.policies, Some(*places));
                for instance in &mut service.instances {
                    instance.line.retune(now, settings.clone());
                }
            }
            Knob::ServiceTime(dist) => service.work = some_time(dist),
            _ => {}
        }
    }

    fn protect(&mut self, protections: &[Protection]) {
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

    fn unprotect(&mut self, names: &[ProtectionName]) {
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

    fn policies_mut(&mut self, place: Place) -> Option<&mut Policies> {
        match place {
            Place::Gateway(index) => Some(&mut self.gateways[index].policies),
            Place::Service(index) => Some(&mut self.services[index].policies),
            _ => None,
        }
    }

    /// Lets a place take over its policies, which have changed.
    fn retune(&mut self, place: Place) {
        let now = self.now;
        match place {
            Place::Gateway(index) => {
                let played = self.plan.resized(&self.gateways[index].policies, place);
                let gateway = &mut self.gateways[index];
                gateway.gate.retune(now, &played);
                gateway.line.retune(now, line_of(&played, None));
            }
            Place::Service(index) => {
                let played = self.plan.resized(&self.services[index].policies, place);
                let service = &mut self.services[index];
                service.gate.retune(now, &played);
                service.gated = is_gated(&played);
                service.cancels = played.deadline.cancel;
                let line: queue::Settings = line_of(&played, service.places);
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

    fn restart(&mut self, event: &Happening, takes: Span) {
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

    fn balance(&mut self, event: &Happening, strategy: seawall_core::balance::Strategy) {
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
    fn reshard(&mut self, cache: usize, sharding: Option<seawall_core::ring::Sharding>, nodes: Option<u32>) {
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
    fn warm_by_itself(&mut self, cache: usize) {
        let automatic = self.services.iter().any(|service| {
            service.tiers.contains(&cache)
                && service.policies.warm.as_ref().is_some_and(|warm| warm.automatic)
        });
        if automatic && self.caches[cache].up() >= 1.0 {
            self.warm(cache, None);
        }
    }

    /// Begins to fill a cache, the most popular keys first, spread over the instances of its services.
    fn warm(&mut self, cache: usize, pace: Option<f64>) {
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
