//! The end of a period: gauges are read, doors are told what the system feels like, and autoscaling decides.

use seawall_core::throttle::Signals;
use seawall_core::time::Span;

use super::timeline::Provision;
use super::{Target, World};
use crate::autoscaler::Autoscaler;
use crate::plan::Plan;

/// What is remembered from one period to the next.
pub(super) struct Watch {
    busy: Vec<f64>,
    pub(super) scaler: Autoscaler,
}

impl Watch {
    pub(super) fn new(plan: &Plan) -> Watch {
        let count = plan.scenario.databases.len();
        Watch {
            busy: vec![0.0; count],
            scaler: Autoscaler::new(plan),
        }
    }
}

impl World {
    pub(super) fn sample(&mut self) {
        self.sample_caches();
        let utilization = self.sample_databases();
        self.sample_services(&utilization);
        self.sample_gateways(&utilization);
        self.meter.close();
    }

    fn sample_caches(&mut self) {
        for service in &mut self.services {
            let groups = &service.classes.group;
            for tier in &mut service.tiers {
                let mut by_group = vec![0.0; tier.groups.count];
                for (class, keys) in tier.shelf.keys.iter().enumerate() {
                    let group = if tier.local { 0 } else { groups[class] as usize };
                    by_group[group] += keys - tier.shelf.absent[class];
                }
                for (node, counter) in tier.node_entries.iter().enumerate() {
                    let group = tier.groups.of_node.get(node).copied().unwrap_or(0) as usize;
                    let nodes = tier.groups.size(group).max(1) as f64;
                    self.meter.set(*counter, libm::round(by_group[group] / nodes));
                }
                self.meter.set(tier.entries, libm::round(by_group.iter().sum()));
                let evicted = tier.take_evicted();
                self.meter.add(tier.evictions, libm::round(evicted));
            }
        }
    }

    /// Reads the gauges of databases; says how busy each was.
    fn sample_databases(&mut self) -> Vec<f64> {
        let every = self.plan.scenario.run.every.as_secs_f64();
        let mut utilization = Vec::new();
        for index in 0..self.databases.len() {
            let database = &self.databases[index];
            let meters = &database.meters;
            let (runs, waits) = (
                database.reads.runs + database.writes.runs,
                database.reads.waits + database.writes.waits,
            );
            self.meter.set(meters.in_flight, (runs + waits) as f64);
            self.meter.set(meters.connections, runs as f64);
            self.meter.set(meters.depth, waits as f64);
            let nodes = database.reads.nodes + database.writes.nodes;
            self.meter.set(meters.up, if database.up { nodes } else { 0.0 });
            let readers = (meters.node_running.len() as f64 - database.shards).max(1.0);
            for (node, counter) in meters.node_running.iter().enumerate() {
                let inside = if (node as f64) < readers {
                    database.reads.inside() as f64 / readers
                } else {
                    database.writes.inside() as f64 / database.shards
                };
                self.meter.set(*counter, inside);
            }
            let share = (database.reads.busy - self.watch.busy[index]) / every;
            self.watch.busy[index] = database.reads.busy;
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
            service.door.observe(now, &signals, full);
            let loads = &mut service.loads;
            let mut transitions = 0.0;
            let (mut state, mut count) = (0.0, 0.0);
            for tier in &mut service.tiers {
                for panel in &mut tier.panels {
                    transitions += panel.transitions();
                    state += panel.state(now) * panel.real();
                    count += panel.real();
                }
            }
            if let Some(panel) = &mut loads.origin_panel {
                transitions += panel.transitions();
                state += panel.state(now) * panel.real();
                count += panel.real();
            }
            let meters = &service.meters;
            let counted = [
                (meters.loads, &mut loads.begun),
                (meters.coalesced, &mut loads.coalesced),
                (meters.retries, &mut loads.retried),
                (meters.warmed, &mut loads.warmed),
            ];
            for (counter, value) in counted {
                self.meter.add(counter, std::mem::take(value));
            }
            self.meter.add(meters.transitions, libm::round(transitions));
            self.meter
                .set(meters.breaker, if count > 0.0 { state / count } else { 0.0 });
            let limit = loads.limit().unwrap_or(0.0);
            self.meter.set(meters.limit, limit);
            let busy = libm::round(service.busy());
            let standing = if now < service.tripped_until {
                0.0
            } else {
                service.up
            };
            self.meter.set(meters.up, standing * self.plan.copies[index]);
            self.meter.set(meters.busy, busy);
            self.meter.set(meters.depth, service.lined as f64);
            self.meter.set(meters.in_flight, busy + service.lined as f64);
            self.meter.set(meters.share, service.door.share());
            self.meter.set(meters.level, f64::from(service.door.level()));
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
            gateway.door.observe(now, &signals, full);
            self.meter.set(gateway.depth, 0.0);
            self.meter.set(gateway.share, gateway.door.share());
            self.meter.set(gateway.level, f64::from(gateway.door.level()));
        }
    }

    /// What a door in front of a service is told: how slow the origin was in this period, and whether the cache is up.
    fn signals(&self, service: usize) -> Signals {
        let every = self.plan.scenario.run.every;
        let sim = &self.services[service];
        let origin_latency = match sim.origin {
            Some(Target::Database(database)) => {
                let database = &self.databases[database];
                let took = self.meter.quantile(database.meters.took, 0.99);
                // An origin from which nothing comes back at all is slower than any that answers.
                took.or_else(|| {
                    let oldest = || Span::from_secs_f64(database.oldest(|cohort| self.age(cohort)));
                    (database.inside() > 0).then(|| oldest().max(every))
                })
            }
            Some(Target::Service(origin)) => self
                .meter
                .quantile(self.services[origin].meters.origin_took, 0.99),
            None => None,
        };
        let shared = sim.tiers.iter().find(|tier| !tier.local);
        Signals {
            origin_latency,
            cache_up: shared.is_none_or(|tier| tier.up() >= 0.5),
            since: self.now - every,
        }
    }

    /// How full the fuller of a service's threads and its database is, from 0 to 1.
    fn fullness(&self, service: usize, utilization: &[f64]) -> f64 {
        let sim = &self.services[service];
        let origin = match sim.origin {
            Some(Target::Database(database)) => utilization[database],
            _ => 0.0,
        };
        sim.full().max(origin).min(1.0)
    }
}
