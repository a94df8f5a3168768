//! Databases: nodes with a limited number of connections and shared processors.
//!
//! A query finds its shard by its key and one of the shard's replicas; a write goes to the shard's primary. It waits
//! for a connection, then runs at the speed that the others leave it. A caller that left does not stop a query.

use seawall_core::balance::{Balancer, Strategy};
use seawall_core::dist::Dist;
use seawall_core::keymap::KeyMap;
use seawall_core::keys::MISSING;
use seawall_core::link::{Delivery, Link};
use seawall_core::record::{Ending, Metric};
use seawall_core::rng::{Seed, Stream, mix};
use seawall_core::time::{Span, Time};
use seawall_scenario::{Autoscaling, Place};

use crate::clients::some_time;
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;
use crate::probes::DatabaseProbe;
use crate::slab::Ticket;
use crate::world::{Answer, Call, Event, Stage, Target, World};
use seawall_core::processor::{Curve, Processor};
use seawall_core::station::{Offered, Station};

/// A database.
pub(crate) struct DatabaseSim {
    pub(crate) nodes: Vec<DatabaseNode>,
    /// For each shard, the nodes that serve its reads.
    pub(crate) replicas: Vec<Vec<u16>>,
    primaries: Vec<u16>,
    balancers: Vec<Balancer>,
    pub(crate) strategy: Strategy,
    pub(crate) service_time: Dist,
    write_time: Dist,
    pub(crate) timeout: Option<Span>,
    latency: Option<Dist>,
    pub(crate) far: Span,
    pub(crate) connections: Option<u32>,
    queue: Option<u32>,
    curve: Curve,
    size: f64,
    pub(crate) autoscaling: Option<Autoscaling>,
    versions: KeyMap<u64>,
    written: u64,
    pub(crate) rng: Stream,
    latency_rng: Stream,
    load: Vec<u32>,
    /// The size of an answer in bytes, for links of limited bandwidth.
    answer_size: u64,
    pub(crate) meters: Meters,
    pub(crate) probe: DatabaseProbe,
}

/// One node of a database.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that is wrong with it, and they combine freely"
)]
pub(crate) struct DatabaseNode {
    station: Station<Ticket>,
    pub(crate) processor: Processor,
    pub(crate) link: Link,
    pub(crate) up: bool,
    pub(crate) hangs: bool,
    pub(crate) slow: f64,
    /// A lock stops all queries.
    pub(crate) locked: bool,
    pub(crate) writes_fail: bool,
    pub(crate) requests: Counter,
    pub(crate) running: Counter,
    pub(crate) connected: Counter,
    pub(crate) let_in: Counter,
    stamp: u32,
    scheduled: Option<Time>,
    /// Queries that run and are carried the short way.
    pub(crate) plain: u32,
}

pub(crate) struct Meters {
    pub(crate) requests: Counter,
    errors: Counter,
    wasted: Counter,
    pub(crate) took: Timer,
    pub(crate) in_flight: Counter,
    pub(crate) connections: Counter,
    pub(crate) depth: Counter,
    pub(crate) up: Counter,
    empty: Counter,
    pub(crate) limit: Counter,
    pub(crate) locks: Counter,
}

impl DatabaseSim {
    pub(crate) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> DatabaseSim {
        let database = &plan.scenario.databases[index];
        let name = database.name.as_str();
        let mut counter = |metric| meter.counter(metric, name, None);
        let meters_requests = counter(Metric::OriginRequests);
        let errors = counter(Metric::OriginErrors);
        let wasted = counter(Metric::OriginWasted);
        let in_flight = counter(Metric::OriginInFlight);
        let connections = counter(Metric::OriginConnections);
        let depth = counter(Metric::QueueDepth);
        let up = counter(Metric::Instances);
        let empty = counter(Metric::OriginEmpty);
        let limit = counter(Metric::OriginConnectionsLimit);
        let locks = counter(Metric::OriginLockWaits);
        let took = meter.timer(Metric::OriginDuration, name);
        let strategy = plan
            .scenario
            .services
            .iter()
            .enumerate()
            .find_map(|(at, service)| {
                let calls = service.origin == Some(Place::Database(index));
                calls
                    .then(|| plan.scenario.policies(Place::Service(at)).balance)
                    .flatten()
            });
        let mut sim = DatabaseSim {
            probe: DatabaseProbe::new(name, meter),
            nodes: Vec::new(),
            replicas: Vec::new(),
            primaries: Vec::new(),
            balancers: Vec::new(),
            strategy: strategy.unwrap_or_default(),
            service_time: database.service_time,
            write_time: database.write_time.unwrap_or(database.service_time),
            timeout: database.timeout,
            latency: some_time(&database.latency),
            far: Span::ZERO,
            connections: database.connections,
            queue: database.queue,
            curve: database.curve(plan.nodes[index]),
            size: plan.nodes[index],
            autoscaling: database.autoscaling.clone(),
            versions: KeyMap::default(),
            written: 0,
            rng: seed.stream("queries", index as u64),
            latency_rng: seed.stream("database latency", index as u64),
            load: Vec::new(),
            answer_size: plan.answer_size(),
            meters: Meters {
                requests: meters_requests,
                errors,
                wasted,
                took,
                in_flight,
                connections,
                depth,
                up,
                empty,
                limit,
                locks,
            },
        };
        for _ in 0..database.shards {
            let replicas = (0..database.replicas)
                .map(|_| sim.add_node(name, meter))
                .collect();
            sim.replicas.push(replicas);
        }
        for _ in 0..database.shards {
            let primary = sim.add_node(name, meter);
            sim.primaries.push(primary);
        }
        sim.rebalance();
        sim
    }

    /// How many connections its nodes let in, all together; nothing when there is no bound.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.nodes.iter().map(DatabaseNode::limit).sum()
    }

    /// Puts one more node there.
    pub(crate) fn add_node(&mut self, name: &str, meter: &mut Meter) -> u16 {
        let index = self.nodes.len() as u16;
        let connections = self.connections.map_or(usize::MAX, |most| most as usize);
        self.nodes.push(DatabaseNode {
            station: Station::new(connections, self.queue.map(|places| places as usize)),
            processor: Processor::new(self.curve, self.seen()),
            link: Link::pooled(Dist::Fixed(Span::ZERO)),
            up: true,
            hangs: false,
            slow: 1.0,
            locked: false,
            writes_fail: false,
            requests: meter.counter_of(Metric::OriginRequests, name, u32::from(index)),
            running: meter.counter_of(Metric::OriginInFlight, name, u32::from(index)),
            connected: meter.counter_of(Metric::OriginConnections, name, u32::from(index)),
            let_in: meter.counter_of(Metric::OriginConnectionsLimit, name, u32::from(index)),
            stamp: 0,
            scheduled: None,
            plain: 0,
        });
        index
    }

    /// The share of a real node's queries that a node sees, as far as its curve has not been made smaller already.
    fn seen(&self) -> f64 {
        match self.curve {
            Curve::Servers(_) => 1.0,
            Curve::Scalability { .. } => self.size,
        }
    }

    /// Makes nodes that stand for several larger, as if some of those had been added.
    pub(crate) fn enlarge(&mut self, now: Time, factor: f64) {
        let curve = match self.curve {
            Curve::Servers(servers) => Curve::Servers(servers * factor),
            law @ Curve::Scalability { .. } => law,
        };
        for node in self.replicas.iter().flatten() {
            self.nodes[*node as usize].processor.set_curve(now, curve);
        }
    }

    /// Makes the balancers anew, after nodes came or the strategy changed.
    pub(crate) fn rebalance(&mut self) {
        self.balancers = self
            .replicas
            .iter()
            .map(|replicas| Balancer::new(self.strategy, replicas.len()))
            .collect();
    }

    /// Lets a node have so many connections; those beyond wait in its line, or are refused.
    pub(crate) fn set_connections(&mut self, node: usize, most: Option<u32>, refuses: bool) {
        let most = most.map_or(usize::MAX, |most| most as usize);
        let places = if refuses { Some(0) } else { self.queue };
        self.nodes[node]
            .station
            .retune(most, places.map(|places| places as usize));
    }

    /// Whether a read that comes now runs at once, alone, and is answered after its own time; and what that time is
    /// less than, all but certainly.
    pub(crate) fn plain_time(&self) -> Option<Span> {
        let free = |node: &DatabaseNode| {
            node.up
                && !node.hangs
                && node.link.healthy()
                && (node.slow - 1.0).abs() <= f64::EPSILON
                && node.processor.is_free()
                && node.station.connections() == usize::MAX
                && node.station.waiting() == 0
        };
        let near = self.latency.is_none() && self.far.is_zero() && self.autoscaling.is_none();
        if !near || !self.nodes.iter().all(free) {
            return None;
        }
        let most = match self.service_time {
            Dist::Fixed(time) => time,
            // Longer than this comes once in e⁶⁴ times.
            Dist::Exponential { mean } => mean.scaled(64.0),
            Dist::Normal { mean, deviation } => mean + deviation.scaled(12.0),
            Dist::Uniform { min, max } => min.max(max),
            Dist::LogNormal { .. } => return None,
        };
        (!most.is_zero() && self.timeout.is_none_or(|timeout| most < timeout)).then_some(most)
    }

    /// What a read of this key gives, now that it is done.
    pub(crate) fn version(&self, key: u64) -> u64 {
        if self.written == 0 {
            0
        } else {
            self.versions.get(key).copied().unwrap_or(0)
        }
    }

    /// The node that serves a query.
    pub(crate) fn route(&mut self, key: u64, read: bool) -> Option<u16> {
        let shard = match self.replicas.len() {
            1 => 0,
            shards => (mix(key) % shards as u64) as usize,
        };
        if !read {
            return Some(self.primaries[shard]);
        }
        let replicas = &self.replicas[shard];
        if replicas.is_empty() {
            return Some(self.primaries[shard]);
        }
        let nodes = &self.nodes;
        if let [only] = replicas.as_slice()
            && self.strategy == Strategy::RoundRobin
        {
            return nodes[*only as usize].up.then_some(*only);
        }
        self.load.clear();
        if self.strategy != Strategy::RoundRobin && self.strategy != Strategy::Random {
            let busy = |at: &u16| nodes[*at as usize].busy() as u32;
            self.load.extend(replicas.iter().map(busy));
        } else {
            self.load.resize(replicas.len(), 0);
        }
        let up = |at: usize| nodes[replicas[at] as usize].up;
        let picked = self.balancers[shard].pick(&mut self.rng, &self.load, up)?;
        Some(replicas[picked])
    }
}

impl DatabaseNode {
    /// Queries that run or wait.
    pub(crate) fn busy(&self) -> usize {
        self.running() + self.station.waiting()
    }

    /// Queries that run.
    pub(crate) fn running(&self) -> usize {
        self.processor.in_service() + self.plain as usize
    }

    pub(crate) fn waiting(&self) -> usize {
        self.station.waiting()
    }

    /// How many connections it lets in; nothing when there is no bound.
    pub(crate) fn limit(&self) -> Option<usize> {
        Some(self.station.connections()).filter(|most| *most < usize::MAX)
    }
}

impl World {
    /// A query reaches a database.
    pub(crate) fn query(&mut self, database: u16, call: &mut Call) {
        let now = self.now;
        let sim = &mut self.databases[database as usize];
        self.meter.count(sim.meters.requests);
        if let Some(latency) = &sim.latency {
            call.lag += latency.draw(&mut sim.latency_rng);
        }
        call.lag += sim.far;
        let node = sim.route(call.key, call.read);
        call.instance = node.unwrap_or(0);
        call.stage = Stage::Queued;
        let timeout = sim.timeout;
        let id = self.calls.insert(*call);
        self.remember_fetch(id, call);
        let sim = &mut self.databases[database as usize];
        let Some(node) = node else {
            return self.query_fails(database, id);
        };
        let node = &mut sim.nodes[node as usize];
        self.meter.count(node.requests);
        let refused = !node.up || (!call.read && node.writes_fail);
        let mut held = node.hangs;
        match node.link.send(now, sim.answer_size, &mut sim.rng) {
            Delivery::At(at) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.lag += at.since(now);
                }
            }
            Delivery::Refused | Delivery::Reset => return self.query_fails(database, id),
            Delivery::Dropped | Delivery::Held => held = true,
        }
        if refused {
            return self.query_fails(database, id);
        }
        if let Some(timeout) = timeout {
            self.agenda.push(now + timeout, Event::QueryTimeout(id));
        }
        if held {
            if let Some(call) = self.calls.get_mut(id) {
                call.stage = Stage::Lost;
            }
            return;
        }
        let sim = &mut self.databases[database as usize];
        match sim.nodes[call.instance as usize].station.offer(id) {
            Offered::Begun => self.begin_query(database, call.instance, id),
            Offered::Waiting => {}
            Offered::Refused => self.query_fails(database, id),
        }
    }

    fn query_fails(&mut self, database: u16, id: Ticket) {
        self.meter.count(self.databases[database as usize].meters.errors);
        // A refusal takes its turn, so that a caller that tries again at once goes round the agenda and not the stack.
        if let Some(call) = self.calls.get_mut(id) {
            call.stage = Stage::Returning(Answer::ERROR);
            let at = self.now + call.lag;
            self.agenda.push(at, Event::Return(id));
        }
    }

    fn begin_query(&mut self, database: u16, node: u16, id: Ticket) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.stage = Stage::Running;
        let sim = &mut self.databases[database as usize];
        let dist = if call.read {
            &sim.service_time
        } else {
            &sim.write_time
        };
        let at = &mut sim.nodes[node as usize];
        let mut work = dist.draw(&mut sim.rng);
        if (at.slow - 1.0).abs() > f64::EPSILON {
            work = work.scaled(at.slow);
        }
        at.processor.begin(self.now, id.bits(), work);
        self.watch_node(database, node);
    }

    /// Sees to it that a node's next completion happens.
    pub(crate) fn watch_node(&mut self, database: u16, node: u16) {
        let at = &mut self.databases[database as usize].nodes[node as usize];
        let next = at.processor.next();
        if next == at.scheduled {
            return;
        }
        at.scheduled = next;
        at.stamp = at.stamp.wrapping_add(1);
        if let Some(when) = next {
            self.agenda.push(
                when.max(self.now),
                Event::Node {
                    database,
                    node,
                    stamp: at.stamp,
                },
            );
        }
    }

    pub(crate) fn node_finishes(&mut self, database: u16, node: u16, stamp: u32) {
        let at = &mut self.databases[database as usize].nodes[node as usize];
        if at.stamp != stamp {
            return;
        }
        at.scheduled = None;
        while let Some(bits) = self.databases[database as usize].nodes[node as usize]
            .processor
            .finish(self.now)
        {
            self.query_done(database, node, Ticket::from_bits(bits));
        }
        self.watch_node(database, node);
    }

    fn query_done(&mut self, database: u16, node: u16, id: Ticket) {
        self.free_connection(database, node);
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let sim = &mut self.databases[database as usize];
        self.meter.time(sim.meters.took, self.now.since(call.born));
        if call.gone {
            self.meter.count(sim.meters.wasted);
        }
        let version = if call.read {
            sim.version(call.key)
        } else {
            sim.written += 1;
            let version = sim.written;
            sim.versions.insert(call.key, version);
            version
        };
        let negative = call.key >= MISSING;
        if negative {
            self.meter.count(sim.meters.empty);
        }
        let answer = Answer {
            ending: Ending::Fresh,
            version,
            negative,
        };
        self.send_back_kept(id, answer);
    }

    /// A connection is free: the next query in line has it.
    fn free_connection(&mut self, database: u16, node: u16) {
        let mut next = self.databases[database as usize].nodes[node as usize]
            .station
            .leave();
        while let Some(id) = next {
            if self.calls.get(id).is_some() {
                return self.begin_query(database, node, id);
            }
            next = self.databases[database as usize].nodes[node as usize]
                .station
                .leave();
        }
    }

    /// A query has taken too long: the server stops it.
    pub(crate) fn query_timeout(&mut self, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        let Target::Database(database) = call.target else {
            return;
        };
        if matches!(call.stage, Stage::Returning(_)) {
            return;
        }
        self.stop_query(database, id, &call);
        self.meter.count(self.databases[database as usize].meters.errors);
        if call.gone {
            self.calls.remove(id);
            return;
        }
        self.send_back_kept(id, Answer::of(Ending::Timeout));
    }

    fn stop_query(&mut self, database: u16, id: Ticket, call: &Call) {
        let node = call.instance;
        match call.stage {
            Stage::Running => {
                let at = &mut self.databases[database as usize].nodes[node as usize];
                if at.processor.cancel(self.now, id.bits()) {
                    self.free_connection(database, node);
                }
                self.watch_node(database, node);
            }
            Stage::Queued => {
                self.databases[database as usize].nodes[node as usize]
                    .station
                    .withdraw(id);
            }
            _ => {}
        }
    }

    pub(crate) fn cancel_query(&mut self, database: u16, id: Ticket) {
        let Some(call) = self.calls.get(id).copied() else {
            return;
        };
        self.stop_query(database, id, &call);
        self.calls.remove(id);
    }

    /// A node dies: what runs on it and what waits for it fails.
    pub(crate) fn kill_node(&mut self, database: u16, node: u16) {
        let now = self.now;
        let at = &mut self.databases[database as usize].nodes[node as usize];
        let mut lost: Vec<Ticket> = at
            .processor
            .clear(now)
            .into_iter()
            .map(Ticket::from_bits)
            .collect();
        lost.extend(at.station.clear());
        for id in lost {
            match self.calls.get(id).map(|call| call.gone) {
                Some(true) => {
                    self.calls.remove(id);
                }
                Some(false) => self.query_fails(database, id),
                None => {}
            }
        }
        self.watch_node(database, node);
    }

    /// Those that a hung node kept waiting are told that it is gone, once it is back.
    pub(crate) fn let_go(&mut self, database: u16, node: u16) {
        let lost: Vec<Ticket> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                call.target == Target::Database(database)
                    && call.instance == node
                    && matches!(call.stage, Stage::Lost)
            })
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            self.query_fails(database, id);
        }
    }

    /// New connections may have room for those that wait.
    pub(crate) fn admit_waiting(&mut self, database: u16, node: u16) {
        while let Some(id) = self.databases[database as usize].nodes[node as usize]
            .station
            .admit()
        {
            if self.calls.get(id).is_some() {
                self.begin_query(database, node, id);
            } else {
                self.databases[database as usize].nodes[node as usize]
                    .station
                    .leave();
            }
        }
    }
}
