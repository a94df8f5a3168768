//! What breaks: faults of an instant, and the state that lasting ones make of a component.

use seawall_core::dist::Dist;
use seawall_core::guard::CacheFault;
use seawall_core::link::{Fault as LinkFault, Link};
use seawall_core::time::{Span, Time};
use seawall_scenario::{Event as Happening, Fault, Place, What};

use super::{Provision, link_fault};
use crate::caches::Store;
use crate::world::World;

impl World {
    /// Faults of an instant; says whether this was one.
    pub(super) fn strike(&mut self, event: &Happening, fault: &Fault) -> bool {
        let Some(Place::Cache(cache)) = event.on else {
            return false;
        };
        if matches!(fault, Fault::Replace | Fault::Flush) {
            self.flush_locals(cache);
        }
        for node in self.cache_nodes(event, cache) {
            match fault {
                Fault::Replace => {
                    self.caches[cache].flush(node, &mut self.meter);
                    self.caches[cache].nodes[node].born = self.now;
                }
                Fault::Flush => self.caches[cache].flush(node, &mut self.meter),
                Fault::Expire { share } => self.caches[cache].expire_share(self.now, node, *share),
                Fault::ExpireAt { instant } => {
                    let at = Time::ZERO + self.plan.scenario.run.warmup + *instant;
                    self.caches[cache].align_expiry(node, at);
                }
                Fault::Corrupt { share } => self.caches[cache].corrupt(node, *share),
                Fault::WrongType { share } => self.caches[cache].retype(node, *share),
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
                | Fault::WrongType { .. }
        )
    }

    /// Empties a cache that each instance has for itself.
    pub(super) fn flush_locals(&mut self, cache: usize) {
        for service in &mut self.services {
            let Some(tier) = service.tiers.iter().position(|tier| *tier == cache) else {
                continue;
            };
            for instance in &mut service.instances {
                instance.locals[tier].iter_mut().for_each(Store::flush);
            }
        }
    }

    /// What happens once when a fault begins, beside the state that it makes.
    pub(super) fn enter_fault(&mut self, event: &Happening, fault: &Fault) {
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

    pub(super) fn leave_fault(&mut self, event: &Happening, fault: &Fault) {
        match (event.on, fault) {
            (Some(Place::Database(database)), Fault::Hang | Fault::Partition) => {
                for node in self.database_nodes(event, database) {
                    self.let_go(database as u16, node);
                }
            }
            (Some(Place::Service(service)), Fault::Hang | Fault::Pause) => self.let_in(service as u16, true),
            (Some(Place::Service(service)), Fault::Partition) => self.let_in(service as u16, false),
            (Some(Place::Cache(cache)), Fault::Kill | Fault::Loading) => {
                for node in self.cache_nodes(event, cache) {
                    self.caches[cache].nodes[node].born = self.now;
                }
                self.warm_by_itself(cache);
            }
            _ => {}
        }
    }

    /// Makes the state of a component anew from the faults that are under way.
    pub(super) fn remake(&mut self, place: Place) {
        match place {
            Place::Client(index) => self.remake_client(index),
            Place::Cache(index) => self.remake_cache(index),
            Place::Database(index) => self.remake_database(index),
            Place::Service(index) => self.remake_service(index),
            Place::Gateway(_) => {}
        }
    }

    pub(super) fn faults_on(&self, place: Place) -> Vec<(Happening, Fault)> {
        let timeline = self.plan.scenario.timeline.iter().zip(&self.active);
        timeline
            .filter(|(event, active)| **active && event.on == Some(place))
            .filter_map(|(event, _)| match &event.what {
                What::Fault(fault) => Some((event.clone(), fault.clone())),
                What::Action(_) => None,
            })
            .collect()
    }

    pub(super) fn remake_client(&mut self, index: usize) {
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

    pub(super) fn remake_cache(&mut self, index: usize) {
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
        cache.sound = faults.is_empty() && !limited && cache.nodes.iter().all(|node| node.foreign.is_empty());
        for node in &mut cache.nodes {
            node.link.heal();
            node.says = None;
            node.writes_say = None;
            node.frozen_until = None;
            node.silent_since = None;
            node.blocked = None;
            node.answers = true;
            node.slow = 1.0;
            node.processor = 1.0;
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
                if matches!(fault, Fault::Hang | Fault::Pause) {
                    node.silent_since = Some(Time::ZERO + self.plan.scenario.run.warmup + event.at);
                }
                match *fault {
                    Fault::Kill | Fault::Refuse => node.link.set(LinkFault::Refuse),
                    Fault::Reset => node.link.set(LinkFault::Reset),
                    Fault::Partition => node.link.set(LinkFault::Partition),
                    Fault::Hang => node.link.set(LinkFault::Hang),
                    Fault::Pause => node.frozen_until = Some(end),
                    Fault::Blocked { share, burst } => {
                        let began = Time::ZERO + self.plan.scenario.run.warmup + event.at;
                        node.blocked = Some((began, burst, burst.scaled(1.0 / share.max(0.001))));
                    }
                    Fault::Latency { add, jitter } => node.link.set(LinkFault::Latency { add, jitter }),
                    Fault::Bandwidth { rate } => node.link.set(LinkFault::Bandwidth { bytes_per_s: rate }),
                    Fault::Loss { share } => node.link.set(LinkFault::Loss { share }),
                    Fault::OutOfMemory => node.writes_say = Some(CacheFault::OutOfMemory),
                    Fault::TooManyClients => node.says = Some(CacheFault::TooManyClients),
                    Fault::Slow { factor } => node.slow *= factor,
                    Fault::FarRegion { add } => node.far += add,
                    Fault::Starve { share } => {
                        node.slow *= 1.0 / (1.0 - share).max(0.001);
                        node.processor *= (1.0 - share).max(0.001);
                    }
                    Fault::Loading => node.says = Some(CacheFault::Loading),
                    Fault::ReadOnly => node.writes_say = Some(CacheFault::ReadOnly),
                    Fault::DiskFull => node.writes_say = Some(CacheFault::DiskFull),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn remake_database(&mut self, index: usize) {
        let faults = self.faults_on(Place::Database(index));
        let now = self.now;
        let connections = self.databases[index].connections;
        let count = self.databases[index].nodes.len();
        self.databases[index].far = Span::ZERO;
        let mut pace = vec![1.0_f64; count];
        let mut most = vec![connections; count];
        let mut refuses = vec![false; count];
        for node in &mut self.databases[index].nodes {
            node.link.heal();
            node.up = true;
            node.hangs = false;
            node.slow = 1.0;
            node.locked = false;
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
                    Fault::Pause => pace[at as usize] = 0.0,
                    Fault::Lock => {
                        pace[at as usize] = 0.0;
                        node.locked = true;
                    }
                    Fault::Starve { share } => pace[at as usize] *= 1.0 - share,
                    Fault::Latency { add, jitter } => node.link.set(LinkFault::Latency { add, jitter }),
                    Fault::Bandwidth { rate } => node.link.set(LinkFault::Bandwidth { bytes_per_s: rate }),
                    Fault::Loss { share } => node.link.set(LinkFault::Loss { share }),
                    Fault::Slow { factor } | Fault::SlowQuery { factor } => node.slow *= factor,
                    Fault::DiskFull | Fault::ReadOnly => node.writes_fail = true,
                    Fault::Connections { max, waits } => {
                        most[at as usize] = Some(max);
                        refuses[at as usize] = !waits;
                    }
                    _ => {}
                }
            }
        }
        for node in 0..count {
            self.databases[index].set_connections(node, most[node], refuses[node]);
            // A node that hangs makes no progress with what it has, either.
            let stopped = self.databases[index].nodes[node].hangs;
            self.databases[index].nodes[node]
                .processor
                .set_pace(now, if stopped { 0.0 } else { pace[node] });
            self.watch_node(index as u16, node as u16);
            self.admit_waiting(index as u16, node as u16);
        }
    }

    pub(super) fn remake_service(&mut self, index: usize) {
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
}
