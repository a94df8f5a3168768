//! The timeline: what breaks, and what people do about it.
//!
//! When a fault begins or ends, the state of its component is made anew from all that are under way, as in the exact
//! engine.

use seawall_core::guard::CacheFault;
use seawall_core::link::Fault as LinkFault;
use seawall_core::time::{Span, Time};
use seawall_scenario::{Event as Happening, Fault, Place, What};

use super::World;
use super::services::Way;

/// Something that takes time to be provided.
#[derive(Clone, Debug)]
pub(super) enum Provision {
    /// There are now this many replicas a shard.
    Replicas { database: usize, replicas: u32 },
    /// There are now this many instances.
    Instances { service: usize, instances: u32 },
    /// There are now this many connections a node.
    Connections { database: usize, connections: u32 },
    /// A database is back.
    Database { database: usize },
    /// A group of nodes of a cache is back.
    Nodes { cache: usize, groups: Vec<usize> },
}

impl World {
    /// What the timeline has for this tick.
    pub(super) fn happen(&mut self) {
        let warmup = self.plan.scenario.run.warmup;
        let tick_span = self.tick_span.as_nanos();
        let tick_of = |at: Span| (at.as_nanos() / tick_span) as u32;
        for index in 0..self.plan.scenario.timeline.len() {
            let event = &self.plan.scenario.timeline[index];
            let begins = tick_of(warmup + event.at);
            let ends = event.for_.map(|length| tick_of(warmup + event.at + length));
            if begins != self.tick && ends != Some(self.tick) {
                continue;
            }
            let event = event.clone();
            if begins == self.tick {
                self.begin_event(index, &event);
            }
            if ends == Some(self.tick) {
                self.end_event(index, &event);
            }
        }
        while let Some(at) = self.provisions.iter().position(|(due, _)| *due <= self.tick) {
            let (_, provision) = self.provisions.remove(at);
            self.provided(provision);
        }
    }

    fn begin_event(&mut self, index: usize, event: &Happening) {
        match &event.what {
            What::Fault(fault) => {
                if self.strike(event, fault) {
                    return;
                }
                self.active[index] = true;
                if let Some(place) = event.on {
                    self.remake(place);
                }
                self.enter_fault(event, fault);
            }
            What::Action(action) => self.act(event, action),
        }
    }

    fn end_event(&mut self, index: usize, event: &Happening) {
        self.active[index] = false;
        let (Some(place), What::Fault(fault)) = (event.on, &event.what) else {
            return;
        };
        self.remake(place);
        match (place, fault) {
            (Place::Database(database), Fault::Hang | Fault::Partition) => self.let_go(database),
            (Place::Cache(cache), Fault::Kill | Fault::Loading) => self.warm_by_itself(cache),
            _ => {}
        }
    }

    /// Each tier that is this cache, by its service.
    pub(super) fn tiers_of(&self, cache: usize) -> Vec<(usize, usize)> {
        let services = self.services.iter().enumerate();
        services
            .flat_map(|(service, sim)| {
                let tiers = sim.tiers.iter().enumerate();
                tiers
                    .filter(move |(_, tier)| tier.cache == cache)
                    .map(move |(tier, _)| (service, tier))
            })
            .collect()
    }

    /// The groups of nodes that an event is about.
    pub(super) fn groups_of(&self, event: &Happening, service: usize, tier: usize) -> Vec<usize> {
        let groups = &self.services[service].tiers[tier].groups;
        match &event.nodes {
            None => (0..groups.count).collect(),
            Some(nodes) => (0..groups.count)
                .filter(|group| {
                    nodes
                        .iter()
                        .any(|node| groups.of_node.get(*node as usize).copied() == Some(*group as u8))
                })
                .collect(),
        }
    }

    /// Faults of an instant; says whether this was one.
    fn strike(&mut self, event: &Happening, fault: &Fault) -> bool {
        let Some(Place::Cache(cache)) = event.on else {
            return false;
        };
        let (tick, dt) = (self.tick, self.dt);
        match fault {
            Fault::Flush | Fault::Replace => {
                self.flush(event, cache);
                self.warm_by_itself(cache);
            }
            Fault::Expire { share } => self.each_class(event, cache, |tier, class| {
                tier.expire(tick, class, *share);
            }),
            Fault::ExpireAt { instant } => {
                let at = Time::ZERO + self.plan.scenario.run.warmup + *instant;
                let after = at.since(self.now).as_secs_f64() / dt;
                self.each_class(event, cache, |tier, class| tier.align(tick, class, after));
            }
            _ => return false,
        }
        true
    }

    fn each_class(
        &mut self,
        event: &Happening,
        cache: usize,
        mut each: impl FnMut(&mut super::caches::Tier, usize),
    ) {
        for (service, tier) in self.tiers_of(cache) {
            let groups = self.groups_of(event, service, tier);
            let sim = &mut self.services[service];
            for class in 0..sim.classes.len() {
                if groups.contains(&(sim.classes.group[class] as usize)) {
                    each(&mut sim.tiers[tier], class);
                }
            }
        }
    }

    /// Empties the nodes that an event is about.
    pub(super) fn flush(&mut self, event: &Happening, cache: usize) {
        for (service, tier) in self.tiers_of(cache) {
            let groups = self.groups_of(event, service, tier);
            self.flush_groups(service, tier, &groups);
        }
    }

    pub(super) fn flush_groups(&mut self, service: usize, tier: usize, groups: &[usize]) {
        let sim = &mut self.services[service];
        let group_of = sim.classes.group.clone();
        let all = groups.len() == sim.tiers[tier].groups.count;
        let mut gone = 0.0;
        if all {
            gone += sim.tiers[tier].flush(None, &group_of);
        } else {
            for group in groups {
                gone += sim.tiers[tier].flush(Some(*group), &group_of);
            }
        }
        let counter = sim.tiers[tier].invalidations;
        self.meter.add(counter, libm::round(gone));
        if tier > 0 {
            // What is missing now says nothing about what instances have in their own memory.
            let both = &mut sim.loads.keyed.both;
            let first = &sim.tiers[0].shelf;
            for (class, both) in both.iter_mut().enumerate() {
                *both = first.absent[class] / first.keys[class].max(1e-12);
            }
        }
    }

    fn enter_fault(&mut self, event: &Happening, fault: &Fault) {
        match (event.on, fault) {
            (Some(Place::Cache(cache)), Fault::Kill | Fault::Loading) => self.flush(event, cache),
            (Some(Place::Database(database)), Fault::Kill) => self.kill_database(database),
            _ => {}
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

    fn remake(&mut self, place: Place) {
        match place {
            Place::Client(index) => self.remake_client(index),
            Place::Cache(index) => self.remake_cache(index),
            Place::Database(index) => self.remake_database(index),
            Place::Service(index) => self.remake_service(index),
            Place::Gateway(_) => {}
        }
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
        (client.hot, client.penetration) = (hot, penetration);
        client.arrivals.set_factor(now, factor);
        self.weigh(index);
    }

    pub(super) fn remake_cache(&mut self, index: usize) {
        let faults = self.faults_on(Place::Cache(index));
        for (service, tier) in self.tiers_of(index) {
            let touched: Vec<Vec<usize>> = faults
                .iter()
                .map(|(event, _)| self.groups_of(event, service, tier))
                .collect();
            let warmup = Time::ZERO + self.plan.scenario.run.warmup;
            let sim = &mut self.services[service].tiers[tier];
            (sim.never_stored, sim.ttl_ignored) = (false, false);
            for nodes in &mut sim.nodes {
                nodes.link.heal();
                (nodes.says, nodes.writes_say, nodes.frozen_until) = (None, None, None);
                (nodes.answers, nodes.slow, nodes.far) = (true, 1.0, 0.0);
            }
            for ((event, fault), groups) in faults.iter().zip(touched) {
                let end = event
                    .for_
                    .map_or(Time::NEVER, |length| warmup + event.at + length);
                match fault {
                    Fault::NeverStored => sim.never_stored = true,
                    Fault::TtlIgnored => sim.ttl_ignored = true,
                    _ => {}
                }
                for group in groups {
                    break_nodes(&mut sim.nodes[group], fault, end);
                }
            }
            sim.reshape();
        }
    }

    pub(super) fn remake_database(&mut self, index: usize) {
        let faults = self.faults_on(Place::Database(index));
        let database = &mut self.databases[index];
        let (mut pace, mut slow, mut far) = (1.0, 1.0, 0.0);
        (database.up, database.refuses, database.silent) = (true, false, false);
        (database.writes_fail, database.connections_max) = (false, None);
        for (_, fault) in faults {
            match fault {
                Fault::Kill => database.up = false,
                Fault::Refuse | Fault::Reset => database.refuses = true,
                Fault::Partition => database.silent = true,
                Fault::Hang => (database.silent, pace) = (true, 0.0),
                Fault::Pause | Fault::Lock => pace = 0.0,
                Fault::Starve { share } => pace *= 1.0 - share,
                Fault::Latency { add, .. } | Fault::FarRegion { add } => far += add.as_secs_f64(),
                Fault::Slow { factor } | Fault::SlowQuery { factor } => slow *= factor,
                Fault::DiskFull | Fault::ReadOnly => database.writes_fail = true,
                Fault::Connections { max, .. } => database.connections_max = Some(max),
                _ => {}
            }
        }
        database.far = far;
        for pool in [&mut database.reads, &mut database.writes] {
            (pool.pace, pool.slow) = (pace, slow);
        }
        database.reconnect();
    }

    fn remake_service(&mut self, index: usize) {
        let faults = self.faults_on(Place::Service(index));
        let service = &mut self.services[index];
        let (mut slow, mut processor, mut far) = (1.0, 1.0, 0.0);
        service.way = Way::Open;
        for (_, fault) in faults {
            match fault {
                Fault::Refuse | Fault::Reset => service.way = Way::Refused,
                Fault::Starve { share } => processor *= (1.0 - share).max(0.001),
                Fault::Slow { factor } => slow *= factor,
                Fault::FarRegion { add } | Fault::Latency { add, .. } => far += add.as_secs_f64(),
                _ => {}
            }
        }
        service.slow = slow / processor;
        service.far = far;
    }
}

/// What a fault makes of nodes of a cache.
fn break_nodes(nodes: &mut super::nodes::Nodes, fault: &Fault, end: Time) {
    nodes.answers &= !matches!(
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
        Fault::Kill | Fault::Refuse => nodes.link.set(LinkFault::Refuse),
        Fault::Reset => nodes.link.set(LinkFault::Reset),
        Fault::Partition => nodes.link.set(LinkFault::Partition),
        Fault::Hang => nodes.link.set(LinkFault::Hang),
        Fault::Pause => nodes.frozen_until = Some(end),
        Fault::Latency { add, jitter } => nodes.link.set(LinkFault::Latency { add, jitter }),
        Fault::Loss { share } => nodes.link.set(LinkFault::Loss { share }),
        Fault::OutOfMemory => nodes.writes_say = Some(CacheFault::OutOfMemory),
        Fault::TooManyClients => nodes.says = Some(CacheFault::TooManyClients),
        Fault::Slow { factor } => nodes.slow *= factor,
        Fault::FarRegion { add } => nodes.far += add.as_secs_f64(),
        Fault::Starve { share } => nodes.slow *= 1.0 / (1.0 - share).max(0.001),
        Fault::Loading => nodes.says = Some(CacheFault::Loading),
        Fault::ReadOnly => nodes.writes_say = Some(CacheFault::ReadOnly),
        Fault::DiskFull => nodes.writes_say = Some(CacheFault::DiskFull),
        _ => {}
    }
}
