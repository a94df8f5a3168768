//! Databases: the nodes that serve reads as one pool, the primaries that take writes as another.

use seawall_core::gate::Reason;
use seawall_core::record::Metric;
use seawall_core::rng::Seed;
use seawall_scenario::Autoscaling;

use super::cohort::{Cohort, Who};
use super::law::Law;
use super::pool::{Leaving, Left, Pool};
use super::{Stage, World};
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;
use seawall_core::processor::Curve;

/// The limit of the only service that calls a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub(super) most: f64,
    pub(super) places: f64,
    /// Seconds that somebody waits for a place.
    pub(super) patience: f64,
}

/// A database.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the database, and they combine freely"
)]
pub(super) struct Database {
    pub(super) gate: Option<Gate>,
    pub(super) reads: Pool,
    pub(super) writes: Pool,
    pub(super) shards: f64,
    /// Replicas of a shard, as the document counts them.
    pub(super) replicas: u32,
    pub(super) connections_each: Option<u32>,
    /// What a fault leaves of them.
    pub(super) connections_max: Option<u32>,
    queue_each: Option<u32>,
    latency: Law,
    pub(super) far: f64,
    pub(super) up: bool,
    pub(super) refuses: bool,
    pub(super) silent: bool,
    pub(super) writes_fail: bool,
    /// Calls that got no answer and will not.
    lost: Vec<Cohort>,
    lost_count: u64,
    pub(super) autoscaling: Option<Autoscaling>,
    pub(super) meters: Meters,
    left: Vec<Left>,
}

pub(super) struct Meters {
    requests: Counter,
    errors: Counter,
    wasted: Counter,
    pub(super) took: Timer,
    pub(super) in_flight: Counter,
    pub(super) connections: Counter,
    pub(super) depth: Counter,
    pub(super) up: Counter,
    pub(super) node_requests: Vec<Counter>,
    pub(super) node_running: Vec<Counter>,
}

impl Database {
    pub(super) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> Database {
        let database = &plan.scenario.databases[index];
        let name = database.name.as_str();
        let size = plan.nodes[index];
        let curve = match (&database.overload, database.capacity) {
            (Some(law), _) => Curve::Scalability {
                contention: law.contention,
                coherence: law.coherence,
            },
            (None, Some(rate)) => Curve::Servers(rate * database.service_time.mean().as_secs_f64() * size),
            (None, None) => Curve::Servers(f64::INFINITY),
        };
        let mut counter = |metric| meter.counter(metric, name, None);
        let (requests, errors, wasted) = (
            counter(Metric::OriginRequests),
            counter(Metric::OriginErrors),
            counter(Metric::OriginWasted),
        );
        let (in_flight, connections) = (
            counter(Metric::OriginInFlight),
            counter(Metric::OriginConnections),
        );
        let (depth, up) = (counter(Metric::QueueDepth), counter(Metric::Instances));
        let nodes = database.shards * database.replicas + database.shards;
        let meters = Meters {
            requests,
            errors,
            wasted,
            in_flight,
            connections,
            depth,
            up,
            took: meter.timer(Metric::OriginDuration, name),
            node_requests: (0..nodes)
                .map(|node| meter.counter_of(Metric::OriginRequests, name, node))
                .collect(),
            node_running: (0..nodes)
                .map(|node| meter.counter_of(Metric::OriginInFlight, name, node))
                .collect(),
        };
        let write_law = Law::new(&database.write_time.unwrap_or(database.service_time));
        let mut sim = Database {
            gate: None,
            reads: Pool::new(
                curve,
                size,
                Law::new(&database.service_time),
                seed.stream("queries", index as u64),
            ),
            writes: Pool::new(curve, size, write_law, seed.stream("writes", index as u64)),
            shards: f64::from(database.shards),
            replicas: database.replicas,
            connections_each: database.connections,
            connections_max: None,
            queue_each: database.queue,
            latency: Law::new(&database.latency),
            far: 0.0,
            up: true,
            refuses: false,
            silent: false,
            writes_fail: false,
            lost: Vec::new(),
            lost_count: 0,
            autoscaling: database.autoscaling.clone(),
            meters,
            left: Vec::new(),
        };
        let timeout = database
            .timeout
            .map_or(f64::INFINITY, seawall_core::time::Span::as_secs_f64);
        (sim.reads.timeout, sim.writes.timeout) = (timeout, timeout);
        sim.writes.nodes = sim.shards;
        sim.set_nodes(sim.shards * f64::from(sim.replicas));
        sim
    }

    /// So many nodes serve reads.
    pub(super) fn set_nodes(&mut self, nodes: f64) {
        self.reads.nodes = nodes;
        self.reconnect();
    }

    /// Works out again how many connections there are.
    pub(super) fn reconnect(&mut self) {
        let each = self.connections_max.or(self.connections_each);
        for pool in [&mut self.reads, &mut self.writes] {
            pool.connections = each.map_or(f64::INFINITY, |each| f64::from(each) * pool.nodes);
            pool.places = self
                .queue_each
                .map_or(f64::INFINITY, |places| f64::from(places) * pool.nodes);
        }
        if let Some(gate) = &self.gate {
            let pool = &mut self.reads;
            (pool.gate, pool.places, pool.patience) = (gate.most, gate.places, gate.patience);
        } else {
            (self.reads.gate, self.reads.patience) = (f64::INFINITY, f64::INFINITY);
        }
    }

    /// Calls inside, those included that will never be answered.
    pub(super) fn inside(&self) -> u64 {
        self.reads.inside() + self.writes.inside() + self.lost_count
    }

    /// Calls that have been made and not answered, with those that wait for their caller's limit.
    pub(super) fn calls(&self) -> u64 {
        let waits = self.reads.waits + self.writes.waits;
        waits + self.reads.runs + self.writes.runs + self.lost_count
    }

    /// When the oldest call inside was made, by its age.
    pub(super) fn oldest(&self, age: impl Fn(&Cohort) -> f64) -> f64 {
        let pools = [&self.reads, &self.writes];
        let inside = pools.into_iter().flat_map(|pool| {
            let running = pool.running.iter().take(64).map(|each| &each.cohort);
            pool.waiting.front().into_iter().chain(running)
        });
        inside
            .chain(self.lost.first())
            .map(|cohort| age(cohort) - cohort.since)
            .fold(0.0, f64::max)
    }
}

impl World {
    /// Queries reach a database.
    pub(super) fn query(&mut self, index: usize, mut cohort: Cohort) {
        let database = &mut self.databases[index];
        if database.gate.is_none() || !cohort.read {
            let count = cohort.count as f64;
            self.meter.add(database.meters.requests, count);
            let (nodes, shards) = (&database.meters.node_requests, database.shards);
            self.meter.add_spread(nodes, count, cohort.read, shards);
        }
        cohort.since = cohort.age;
        cohort.lag += database.latency.mean() + database.far;
        let refused = !database.up || database.refuses || (!cohort.read && database.writes_fail);
        if refused && !database.silent {
            return self.query_failed(index, cohort);
        }
        if database.silent {
            database.lost_count += cohort.count;
            database.lost.push(cohort);
            return;
        }
        let pool = if cohort.read {
            &mut database.reads
        } else {
            &mut database.writes
        };
        pool.offer(cohort);
    }

    fn query_failed(&mut self, index: usize, mut cohort: Cohort) {
        self.meter
            .add(self.databases[index].meters.errors, cohort.count as f64);
        cohort.age += std::mem::take(&mut cohort.lag);
        // A refusal takes its turn: a load that is refused at once must not go round within one tick.
        let due = self
            .tick_of(&cohort, cohort.age)
            .max(self.tick + u32::from(cohort.first > 0));
        if due > self.tick {
            self.wheel.push(
                due,
                Stage::Landed {
                    ok: false,
                    shed: false,
                },
                cohort,
            );
        } else {
            self.landed(cohort, false, false);
        }
    }

    /// Lets a tick pass in a database.
    pub(super) fn pass_database(&mut self, index: usize) {
        let (dt, tick) = (self.dt, self.tick);
        let age = |cohort: &Cohort| (f64::from(tick) - f64::from(cohort.born)) * dt;
        let database = &mut self.databases[index];
        let mut left = std::mem::take(&mut database.left);
        database.reads.pass(dt, age, &mut left);
        database.writes.pass(dt, age, &mut left);
        let timeout = database.reads.timeout;
        if !database.lost.is_empty() && timeout.is_finite() {
            let lost_count = &mut database.lost_count;
            database.lost.retain(|cohort| {
                let late = age(cohort) - cohort.since >= timeout;
                if late {
                    *lost_count -= cohort.count;
                    left.push(Left {
                        cohort: *cohort,
                        count: cohort.count,
                        took: timeout,
                        how: Leaving::Stopped,
                    });
                }
                !late
            });
        }
        if database.gate.is_some() {
            let begun: u64 = database.reads.begun.iter().map(|cohort| cohort.count).sum();
            self.meter.add(database.meters.requests, begun as f64);
            let (nodes, shards) = (&database.meters.node_requests, database.shards);
            self.meter.add_spread(nodes, begun as f64, true, shards);
            for cohort in &database.reads.begun {
                if let Who::Load { service, attempt, .. } = cohort.who {
                    let loads = &mut self.services[service as usize].loads;
                    loads.go_inside(cohort);
                    if attempt == 0 {
                        loads.begun += cohort.count as f64;
                    }
                }
            }
        }
        for each in left.drain(..) {
            self.left(index, &each);
        }
        self.databases[index].left = left;
    }

    fn left(&mut self, index: usize, left: &Left) {
        let mut cohort = left.cohort.part(left.count);
        let database = &self.databases[index];
        let (meters, gated) = (&database.meters, database.gate.is_some() && cohort.read);
        match left.how {
            Leaving::Done => {
                self.meter
                    .time_many(meters.took, World::span_of(left.took), left.count);
                if self.nobody_waits(&cohort) {
                    self.meter
                        .add(self.databases[index].meters.wasted, left.count as f64);
                }
            }
            Leaving::Stopped => self.meter.add(meters.errors, left.count as f64),
            Leaving::Turned | Leaving::Impatient if gated => {
                cohort.age = cohort.since + left.took;
                let reason = if left.how == Leaving::Turned {
                    Reason::OriginLimit
                } else {
                    Reason::OriginTimeout
                };
                return self.turned(cohort, reason);
            }
            Leaving::Turned | Leaving::Impatient => {
                cohort.age = self.age(&cohort);
                return self.query_failed(index, cohort);
            }
        }
        cohort.age = cohort.since + left.took + std::mem::take(&mut cohort.lag);
        let ok = left.how == Leaving::Done;
        self.later(Stage::Landed { ok, shed: false }, cohort);
    }

    /// Whether those who made calls have given them up.
    fn nobody_waits(&mut self, cohort: &Cohort) -> bool {
        match cohort.who {
            Who::Load { service, launch, .. } => {
                let loads = &mut self.services[service as usize].loads;
                loads.launch(launch).is_none_or(|launch| launch.open == 0)
            }
            _ => false,
        }
    }

    /// What lies in a database that does not answer is given up.
    pub(super) fn let_go(&mut self, index: usize) {
        let database = &mut self.databases[index];
        database.lost_count = 0;
        for cohort in std::mem::take(&mut database.lost) {
            let cohort = Cohort {
                age: self.age(&cohort),
                ..cohort
            };
            self.query_failed(index, cohort);
        }
    }

    /// A database's nodes die, with all that is on them.
    pub(super) fn kill_database(&mut self, index: usize) {
        let database = &mut self.databases[index];
        let mut left = Vec::new();
        database.reads.clear(&mut left);
        database.writes.clear(&mut left);
        for each in left {
            let cohort = Cohort {
                age: self.age(&each.cohort),
                ..each.cohort
            };
            self.query_failed(index, cohort);
        }
    }
}
