//! What people do: settings, protections, capacity, restarts, warming.

use seawall_core::link::Fault as LinkFault;
use seawall_core::time::Span;
use seawall_scenario::{Action, Event as Happening, Knob, Place, Protection};

use super::law::Law;
use super::timeline::Provision;
use super::{Target, World};

impl World {
    pub(super) fn act(&mut self, event: &Happening, action: &Action) {
        match action {
            Action::Set(knob) => self.set(event, knob),
            Action::Protect(protections) => self.protect(protections),
            Action::Unprotect(names) => {
                for place in self.plan.scenario.places() {
                    let policies = match place {
                        Place::Gateway(index) => &mut self.gateways[index].policies,
                        Place::Service(index) => &mut self.services[index].policies,
                        _ => continue,
                    };
                    for name in names {
                        name.remove(policies);
                    }
                    self.retune(place);
                }
            }
            Action::Scale {
                replicas,
                instances,
                connections,
                nodes: _,
                takes,
            } => match event.on {
                Some(Place::Database(database)) => {
                    if let Some(replicas) = *replicas {
                        self.provide(*takes, Provision::Replicas { database, replicas });
                    }
                    if let Some(connections) = *connections {
                        let provision = Provision::Connections {
                            database,
                            connections,
                        };
                        self.provide(*takes, provision);
                    }
                }
                Some(Place::Service(service)) => {
                    if let Some(instances) = *instances {
                        self.provide(*takes, Provision::Instances { service, instances });
                    }
                }
                _ => {}
            },
            Action::Restart { takes } => self.restart(event, *takes),
            Action::Purge | Action::Flush => {
                let Some(Place::Cache(cache)) = event.on else {
                    return;
                };
                if *action == Action::Purge {
                    for (service, _) in self.tiers_of(cache) {
                        for tier in 0..self.services[service].tiers.len() {
                            if self.services[service].tiers[tier].local {
                                self.flush_groups(service, tier, &[0]);
                            }
                        }
                    }
                }
                self.flush(event, cache);
                self.warm_by_itself(cache);
            }
            Action::Rate(rate) => {
                if let Some(Place::Client(client)) = event.on {
                    let now = self.now;
                    self.clients[client].arrivals.set_rate(now, *rate);
                }
            }
            // Instances are taken together, so it makes no difference how calls are spread over them.
            Action::Balance(_) => {}
            Action::Warm { pace } => {
                let Some(Place::Cache(cache)) = event.on else {
                    return;
                };
                if let Some(pace) = *pace {
                    self.pace_warming(cache, pace);
                }
                self.warm(cache);
            }
            Action::Shard { .. } => {
                unreachable!("a scenario with this is refused")
            }
        }
    }

    pub(super) fn restart(&mut self, event: &Happening, takes: Span) {
        match event.on {
            Some(Place::Cache(cache)) => {
                self.flush(event, cache);
                for (service, tier) in self.tiers_of(cache) {
                    let groups = self.groups_of(event, service, tier);
                    let sim = &mut self.services[service].tiers[tier];
                    for group in &groups {
                        sim.nodes[*group].answers = false;
                        sim.nodes[*group].link.set(LinkFault::Refuse);
                    }
                    sim.reshape();
                    self.provide(takes, Provision::Nodes { cache, groups });
                }
            }
            Some(Place::Database(database)) => {
                self.databases[database].up = false;
                self.kill_database(database);
                self.provide(takes, Provision::Database { database });
            }
            _ => {}
        }
    }

    pub(super) fn provide(&mut self, takes: Span, provision: Provision) {
        let due = self.tick + (takes.as_nanos() / self.tick_span.as_nanos()) as u32;
        self.provisions.push((due, provision));
    }

    pub(super) fn provided(&mut self, provision: Provision) {
        match provision {
            Provision::Replicas { database, replicas } => {
                let (written, played) = (
                    self.plan.written[database].1,
                    self.plan.scenario.databases[database].replicas,
                );
                let shards = self.databases[database].shards;
                // Where one played node stands for many replicas it grows by as much.
                let each = if played == written {
                    f64::from(replicas)
                } else {
                    f64::from(played) * f64::from(replicas) / f64::from(written.max(1))
                };
                self.databases[database].set_nodes(shards * each);
            }
            Provision::Instances { service, instances } => {
                self.services[service].up = f64::from(instances);
                self.retune(Place::Service(service));
            }
            Provision::Connections {
                database,
                connections,
            } => {
                self.databases[database].connections_each = Some(connections);
                self.remake_database(database);
            }
            Provision::Database { database } => self.databases[database].up = true,
            Provision::Nodes { cache, groups } => {
                for (service, tier) in self.tiers_of(cache) {
                    for group in &groups {
                        let nodes = &mut self.services[service].tiers[tier].nodes[*group];
                        nodes.link.clear(LinkFault::Refuse);
                    }
                }
                self.remake_cache(cache);
                self.warm_by_itself(cache);
            }
        }
    }

    /// Whatever is warmed in this cache is warmed at this pace from now on.
    pub(super) fn pace_warming(&mut self, cache: usize, pace: f64) {
        let scale = self.plan.scale;
        for (service, _) in self.tiers_of(cache) {
            let warm = self.services[service].policies.warm.get_or_insert_default();
            // The pace of an action is in the played size already.
            warm.pace = pace / scale;
            self.retune(Place::Service(service));
        }
    }

    pub(super) fn protect(&mut self, protections: &[Protection]) {
        let mut places: Vec<Place> = Vec::new();
        for protection in protections {
            for place in &protection.at {
                let policies = match *place {
                    Place::Gateway(index) => &mut self.gateways[index].policies,
                    Place::Service(index) => &mut self.services[index].policies,
                    _ => continue,
                };
                protection.setting.apply(policies);
                places.push(*place);
            }
        }
        places.sort_unstable();
        places.dedup();
        for place in places {
            self.retune(place);
        }
    }

    /// Lets a place take over its policies, which have changed.
    pub(super) fn retune(&mut self, place: Place) {
        let now = self.now;
        match place {
            Place::Gateway(index) => {
                let played = self.plan.resized(&self.gateways[index].policies, place);
                self.gateways[index].door.retune(now, &played);
            }
            Place::Service(index) => {
                let played = self.plan.resized(&self.services[index].policies, place);
                let plan = &self.plan;
                let service = &mut self.services[index];
                service.retune(now, &played);
                for tier in &mut service.tiers {
                    tier.relive(plan, index, &played);
                }
                self.regate(index);
            }
            _ => {}
        }
    }

    /// Lets the database of a service know of the service's limit, when nobody else calls it.
    pub(super) fn regate(&mut self, index: usize) {
        let Some(Target::Database(database)) = self.services[index].origin else {
            return;
        };
        let place = Place::Database(database);
        let calls = |service: &seawall_scenario::Service| {
            let fallback = service.fallback.as_ref().map(|fallback| fallback.origin);
            let places = service.also.iter().copied().chain(service.origin).chain(fallback);
            places.filter(|other| *other == place).count()
        };
        let callers: usize = self.plan.scenario.services.iter().map(calls).sum();
        let gate = self.services[index].loads.gate().filter(|_| callers == 1);
        self.services[index].loads.gated = gate.is_some();
        self.databases[database].gate = gate;
        self.databases[database].reconnect();
    }

    pub(super) fn set(&mut self, event: &Happening, knob: &Knob) {
        match event.on {
            Some(Place::Service(index)) => {
                let service = &mut self.services[index];
                match knob {
                    Knob::TripsAbove(above) => {
                        if let Some(trips) = &mut service.trips {
                            trips.above = *above;
                        }
                    }
                    Knob::Availability(share) => service.availability = *share,
                    Knob::Threads(threads) => service.threads_each = Some(*threads),
                    Knob::Queue(places) => service.places_each = Some(*places),
                    Knob::ServiceTime(dist) => service.work = Law::new(dist),
                    _ => {}
                }
            }
            Some(Place::Cache(index)) => {
                for (service, tier) in self.tiers_of(index) {
                    let written = &mut self.services[service].tiers[tier].written;
                    match *knob {
                        Knob::Ttl(ttl) => written.ttl = Some(ttl),
                        Knob::Timeout(timeout) => written.timeout = timeout,
                        Knob::Capacity(entries) => written.capacity = Some(entries),
                        Knob::Maxmemory(bytes) => written.maxmemory = Some(bytes),
                        Knob::Eviction(eviction) => written.eviction = eviction,
                        Knob::MaxClients(most) => written.max_clients = Some(most),
                        _ => {}
                    }
                    self.retune(Place::Service(service));
                }
            }
            Some(Place::Database(index)) => {
                let database = &mut self.databases[index];
                match knob {
                    Knob::ServiceTime(dist) => database.reads.law = Law::new(dist),
                    Knob::Timeout(timeout) => {
                        let timeout = timeout.as_secs_f64();
                        (database.reads.timeout, database.writes.timeout) = (timeout, timeout);
                    }
                    Knob::Connections(most) => database.connections_each = Some(*most),
                    _ => {}
                }
                self.remake_database(index);
            }
            Some(Place::Client(index)) => match knob {
                Knob::Retries(retries) => self.clients[index].retries = *retries,
                Knob::Writes(share) => self.clients[index].writes = *share,
                _ => {}
            },
            _ => {}
        }
    }
}
