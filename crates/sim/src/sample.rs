//! The end of a period: gauges are read, doors are told what the system feels like, and autoscaling decides.

use seawall_core::guard::CacheFault;
use seawall_core::throttle::Signals;
use seawall_core::time::Span;

use crate::autoscaler::Autoscaler;
use crate::plan::Plan;
use crate::timeline::Provision;
use crate::world::{Stage, Target, World};

/// What is remembered from one period to the next.
pub(crate) struct Watch {
    /// For each service, what its guards had counted: loads, coalesced, retries, breaker changes, warmed, entries that
    /// were not right.
    counted: Vec<[u64; 6]>,
    /// For each database, the load integrated over time.
    busy: Vec<f64>,
    pub(crate) scaler: Autoscaler,
}

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Watch {
        let scenario = &plan.scenario;
        Watch {
            counted: vec![[0; 6]; scenario.services.len()],
            busy: vec![0.0; scenario.databases.len()],
            scaler: Autoscaler::new(plan),
        }
    }
}

impl World {
    pub(crate) fn sample(&mut self) {
        self.sample_caches();
        self.probe_caches();
        self.probe_databases();
        let utilization = self.sample_databases();
        self.sample_services(&utilization);
        self.sample_gateways(&utilization);
        self.meter.close();
    }

    fn sample_caches(&mut self) {
        let now = self.now;
        for (index, cache) in self.caches.iter_mut().enumerate() {
            let mut total = 0.0;
            for node in &mut cache.nodes {
                let live = node.store.live(now) as f64;
                node.store.tidy(now);
                self.meter.set(node.entries, live);
                total += live;
                let evicted = node.store.counts().evicted;
                self.meter.add(cache.evictions, (evicted - node.evicted) as f64);
                node.evicted = evicted;
            }
            for service in &mut self.services {
                let Some(tier) = service.tiers.iter().position(|tier| *tier == index) else {
                    continue;
                };
                for instance in &mut service.instances {
                    for store in &mut instance.locals[tier] {
                        total += store.live(now) as f64;
                        store.tidy(now);
                    }
                }
            }
            self.meter.set(cache.entries, total);
        }
    }

    /// Reads the gauges of databases; says how busy each was.
    fn sample_databases(&mut self) -> Vec<f64> {
        let now = self.now;
        let every = self.plan.scenario.run.every.as_secs_f64();
        let mut utilization = Vec::new();
        for index in 0..self.databases.len() {
            let database = &mut self.databases[index];
            let (mut running, mut waiting, mut up, mut busy, mut readers) = (0, 0, 0, 0.0, 0);
            for node in &database.nodes {
                self.meter.set(node.running, node.busy() as f64);
                running += node.running();
                waiting += node.waiting();
                up += usize::from(node.up);
            }
            for node in database.replicas.iter().flatten() {
                busy += database.nodes[*node as usize].processor.busy(now);
                readers += 1;
            }
            let meters = &database.meters;
            self.meter.set(meters.in_flight, (running + waiting) as f64);
            self.meter.set(meters.connections, running as f64);
            self.meter.set(meters.depth, waiting as f64);
            self.meter.set(meters.up, up as f64);
            let limit = database.limit().map_or(f64::NAN, |limit| limit as f64);
            self.meter.set(meters.limit, limit);
            let locked = database.nodes.iter().filter(|node| node.locked);
            let waits: usize = locked.map(super::databases::DatabaseNode::running).sum();
            self.meter.set(meters.locks, waits as f64);
            let share = (busy - self.watch.busy[index]) / every / f64::from(readers.max(1));
            self.watch.busy[index] = busy;
            utilization.push(share.clamp(0.0, 1.0));
            self.autoscale(index, share);
        }
        utilization
    }

    fn autoscale(&mut self, index: usize, utilization: f64) {
        let Some(rule) = &self.databases[index].autoscaling else {
            return;
        };
        if let Some((takes, replicas)) = self.watch.scaler.order(self.now, index, rule, utilization) {
            self.provide(
                takes,
                Provision::Replicas {
                    database: index,
                    replicas,
                },
            );
        }
    }

    fn sample_services(&mut self, utilization: &[f64]) {
        let now = self.now;
        for index in 0..self.services.len() {
            let signals = self.signals(index);
            let full = self.fullness(index, utilization);
            let service = &mut self.services[index];
            if service.gated {
                service.gate.observe(now, &signals, Some(full));
            }
            let mut counted = [0_u64; 6];
            let (mut up, mut busy, mut depth, mut breaker, mut limit) = (0, service.hidden, 0, 0.0, 0.0);
            for instance in &service.instances {
                let counters = instance.guard.counters();
                counted[0] += counters.loads;
                counted[1] += counters.coalesced;
                counted[2] += counters.retries;
                counted[3] += instance.guard.breaker_transitions();
                counted[4] += counters.warmed;
                counted[5] += counters.cache_errors[CacheFault::Corrupt as usize];
                up += usize::from(instance.up);
                busy += instance.busy;
                depth += instance.line.len();
                breaker += instance.guard.breaker_state(now);
                limit += instance.guard.limiter_limit().map_or(0.0, f64::from);
            }
            let meters = &service.meters;
            let before = &mut self.watch.counted[index];
            let cache = service.tiers.last().map(|cache| &self.caches[*cache]);
            let counters = [
                Some(meters.loads),
                Some(meters.coalesced),
                Some(meters.retries),
                Some(meters.transitions),
                Some(meters.warmed),
                cache.map(|cache| cache.failed(CacheFault::Corrupt)),
            ];
            for ((counter, count), before) in counters.into_iter().zip(counted).zip(before) {
                // A guard that died has taken its counts with it.
                if let Some(counter) = counter {
                    self.meter.add(counter, count.saturating_sub(*before) as f64);
                }
                *before = count;
            }
            let standing = if now < service.tripped_until { 0 } else { up };
            self.meter
                .set(meters.up, standing as f64 * self.plan.copies[index]);
            self.meter.set(meters.busy, f64::from(busy));
            self.meter.set(meters.depth, depth as f64);
            self.meter.set(meters.in_flight, f64::from(busy) + depth as f64);
            self.meter
                .set(meters.breaker, breaker / service.instances.len().max(1) as f64);
            self.meter.set(meters.limit, limit);
            self.meter.set(meters.share, service.gate.share());
            self.meter.set(meters.level, f64::from(service.gate.level()));
        }
    }

    fn sample_gateways(&mut self, utilization: &[f64]) {
        let now = self.now;
        for index in 0..self.gateways.len() {
            let seawall_scenario::Place::Service(service) = self.plan.scenario.gateways[index].calls else {
                continue;
            };
            let signals = self.signals(service);
            let full = self.fullness(service, utilization);
            let gateway = &mut self.gateways[index];
            gateway.gate.observe(now, &signals, Some(full));
            self.meter.set(gateway.depth, gateway.line.len() as f64);
            self.meter.set(gateway.share, gateway.gate.share());
            self.meter.set(gateway.level, f64::from(gateway.gate.level()));
        }
    }

    /// What a door in front of a service is told: how slow the origin was in this period, and whether the cache is up.
    fn signals(&self, service: usize) -> Signals {
        let every = self.plan.scenario.run.every;
        let sim = &self.services[service];
        let origin_latency = match sim.origin {
            Some(Target::Database(database)) => {
                let database = database as usize;
                let took = self.meter.quantile(self.databases[database].meters.took, 0.99);
                let busy: usize = self.databases[database]
                    .nodes
                    .iter()
                    .map(super::databases::DatabaseNode::busy)
                    .sum();
                // An origin from which nothing comes back at all is slower than any that answers.
                took.or_else(|| (busy > 0).then(|| self.oldest(database).max(every)))
            }
            Some(Target::Service(origin)) => self
                .meter
                .quantile(self.services[origin as usize].meters.origin_took, 0.99),
            None => None,
        };
        let cache_up = sim
            .first_shared
            .is_none_or(|cache| self.caches[cache].up() >= 0.5);
        Signals {
            origin_latency,
            cache_up,
            since: self.now - every,
        }
    }

    /// For how long the oldest query has been inside a database.
    fn oldest(&self, database: usize) -> Span {
        let inside = |stage: &Stage| matches!(stage, Stage::Queued | Stage::Running | Stage::Lost);
        let target = Target::Database(database as u16);
        let oldest = self
            .calls
            .iter()
            .filter(|(_, call)| call.target == target && inside(&call.stage));
        oldest
            .map(|(_, call)| self.now.since(call.born))
            .max()
            .unwrap_or(Span::ZERO)
    }

    /// How full the fuller of a service's threads and its database is, from 0 to 1.
    fn fullness(&self, service: usize, utilization: &[f64]) -> f64 {
        let sim = &self.services[service];
        let busy: u32 = sim.hidden + sim.instances.iter().map(|instance| instance.busy).sum::<u32>();
        let threads = sim.threads.map_or(0.0, |threads| {
            f64::from(busy) / (f64::from(threads) * sim.instances.len().max(1) as f64)
        });
        let origin = match sim.origin {
            Some(Target::Database(database)) => utilization[database as usize],
            _ => 0.0,
        };
        threads.max(origin).min(1.0)
    }
}
