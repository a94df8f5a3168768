//! What a prober would see of caches, once a period: `seawall watch` asks a real server the same questions.
//!
//! It reads the state that faults have made, and changes nothing: it draws from a stream of its own, and from a copy of
//! a link, so a run with probes is to the last bit the run without. What it sees is what the model knows. A model's
//! look-up has one time in which the way and the work are not told apart, and it counts as work; only what a fault adds
//! on the way is the way's.

use seawall_core::guard::CacheFault;
use seawall_core::link::Delivery;
use seawall_core::record::Metric;
use seawall_core::time::{Span, Time};
use seawall_scenario::{Cache, Eviction};

use crate::caches::CacheNode;
use crate::meter::{Counter, Meter};
use crate::world::World;

/// How long a prober waits for a step.
const PATIENCE: Span = Span::secs(1);

/// What fails, by the fault: the answer to a question.
const REPLIES: [&str; CacheFault::ALL.len()] = [
    "reply_refused",
    "reply_timed_out",
    "reply_reset",
    "reply_loading",
    "reply_read_only",
    "reply_disk_full",
    "reply_out_of_memory",
    "reply_too_many_clients",
    "reply_no_auth",
    "reply_moved",
    "reply_corrupt",
    "reply_wrong_type",
    "reply_unavailable",
    "reply_error",
];

/// What fails, by the fault: a write.
const WRITES: [&str; CacheFault::ALL.len()] = [
    "write_refused",
    "write_timed_out",
    "write_reset",
    "write_loading",
    "write_read_only",
    "write_disk_full",
    "write_out_of_memory",
    "write_too_many_clients",
    "write_no_auth",
    "write_moved",
    "write_corrupt",
    "write_wrong_type",
    "write_unavailable",
    "write_error",
];

/// What is written down of one node.
pub(crate) struct NodeProbe {
    probes: Counter,
    connect: Counter,
    reply: Counter,
    uptime: Counter,
    memory: Counter,
    memory_limit: Counter,
    evicting: Counter,
    clients: Counter,
    clients_limit: Counter,
    cpu: Counter,
    command: Counter,
    replica: Counter,
    expired: Counter,
    failures: Vec<(&'static str, Counter)>,
    component: String,
    node: u32,
    /// Entries at the end of the last period, and what the store had counted then.
    before: (u64, crate::store::Counts),
    emptied: bool,
}

impl NodeProbe {
    pub(crate) fn new(cache: &Cache, node: u32, meter: &mut Meter) -> NodeProbe {
        let name = cache.name.as_str();
        let mut of = |metric| meter.counter_of(metric, name, node);
        NodeProbe {
            probes: of(Metric::Probes),
            uptime: of(Metric::CacheUptime),
            memory: of(Metric::CacheMemory),
            memory_limit: of(Metric::CacheMemoryLimit),
            evicting: of(Metric::CacheEvicting),
            clients: of(Metric::CacheClients),
            clients_limit: of(Metric::CacheClientsLimit),
            cpu: of(Metric::CacheCpu),
            replica: of(Metric::CacheReplica),
            expired: of(Metric::CacheExpired),
            connect: meter.counter_at(Metric::ProbeSeconds, name, node, "connect"),
            reply: meter.counter_at(Metric::ProbeSeconds, name, node, "reply"),
            command: meter.counter_at(Metric::CacheCommandSeconds, name, node, "get"),
            failures: Vec::new(),
            component: name.to_owned(),
            node,
            before: Default::default(),
            emptied: false,
        }
    }

    /// The node has lost all entries in this period: what is missing at its end has not expired.
    pub(crate) fn emptied(&mut self) {
        self.emptied = true;
    }

    fn fails(&mut self, reason: &'static str, meter: &mut Meter) {
        let known = self.failures.iter().find(|(known, _)| *known == reason);
        let counter = if let Some((_, counter)) = known {
            *counter
        } else {
            let counter = meter.counter_at(Metric::ProbeFailures, &self.component, self.node, reason);
            self.failures.push((reason, counter));
            counter
        };
        meter.count(counter);
    }

    /// How many entries have expired since the last period: what is missing of those that were there and were added.
    fn expired(&mut self, live: u64, counts: crate::store::Counts) -> u64 {
        let (were, past) = std::mem::replace(&mut self.before, (live, counts));
        if std::mem::take(&mut self.emptied) {
            return 0;
        }
        let added = counts.added - past.added;
        let taken = (counts.evicted - past.evicted) + (counts.removed - past.removed);
        (were + added).saturating_sub(taken + live)
    }
}

/// How a probe of a node ends.
struct Seen {
    connect: Option<Span>,
    reply: Option<Span>,
    failures: [Option<&'static str>; 3],
}

impl Seen {
    const NOTHING: Seen = Seen {
        connect: None,
        reply: None,
        failures: [None; 3],
    };

    fn failing(failures: [Option<&'static str>; 3]) -> Seen {
        Seen {
            failures,
            ..Seen::NOTHING
        }
    }
}

impl World {
    /// Probes every node of every shared cache.
    pub(crate) fn probe_caches(&mut self) {
        let now = self.now;
        let every = self.plan.scenario.run.every.as_secs_f64();
        let rng = &mut self.probes_rng;
        // The law says how much of a client's reads is for one key; nobody has to count.
        let hottest = self.clients.iter().map(|client| {
            let usual = client
                .keys
                .popular(1)
                .next()
                .map_or(0.0, |key| client.keys.probability(key));
            client.hot + (1.0 - client.hot) * usual
        });
        let hottest = hottest.fold(0.0_f64, f64::max);
        for (index, cache) in self.caches.iter_mut().enumerate() {
            self.meter.set(cache.hot, hottest);
            let written = &self.plan.scenario.caches[index];
            let own = cache
                .latency
                .as_ref()
                .map_or(Span::ZERO, seawall_core::dist::Dist::mean);
            let calls = self.meter.so_far(cache.hits)
                + self.meter.so_far(cache.misses)
                + self.meter.so_far(cache.sets)
                + self.meter.so_far(cache.failed(CacheFault::TimedOut));
            let nodes = cache.nodes.len() as f64;
            for node in &mut cache.nodes {
                let seen = node.probed(now, own, rng);
                let live = node.store.live(now) as u64;
                let expired = node.probe.expired(live, node.store.counts());
                let clients = node
                    .max_clients
                    .map(|most| (node.clients(now) as f64, f64::from(most)));
                let meter = &mut self.meter;
                let probe = &mut node.probe;
                meter.count(probe.probes);
                meter.add(probe.expired, expired as f64);
                for reason in seen.failures.into_iter().flatten() {
                    probe.fails(reason, meter);
                }
                let seconds = |span: Option<Span>| span.map_or(f64::NAN, Span::as_secs_f64);
                meter.set(probe.connect, seconds(seen.connect));
                meter.set(probe.reply, seconds(seen.reply));
                // The rest is what the node says of itself.
                let told = |value: f64| if seen.reply.is_some() { value } else { f64::NAN };
                let command = own.as_secs_f64() * node.slow;
                let busy = (calls / nodes / every * command * node.processor).min(node.processor);
                let size = written.entry_size as f64;
                meter.set(probe.uptime, told(now.since(node.born).as_secs_f64()));
                meter.set(probe.memory, told(live as f64 * size));
                let limit = node
                    .store
                    .settings()
                    .capacity
                    .map_or(0.0, |most| most as f64 * size);
                meter.set(probe.memory_limit, told(limit));
                meter.set(
                    probe.evicting,
                    told(f64::from(u8::from(written.eviction == Eviction::Lru))),
                );
                meter.set(
                    probe.clients,
                    told(clients.map_or(f64::NAN, |(clients, _)| clients)),
                );
                meter.set(
                    probe.clients_limit,
                    told(clients.map_or(f64::NAN, |(_, most)| most)),
                );
                meter.set(probe.command, told(command));
                meter.set(probe.cpu, told(busy));
                let replica = node.writes_say == Some(CacheFault::ReadOnly);
                meter.set(probe.replica, told(f64::from(u8::from(replica))));
            }
        }
    }
}

/// What is written down of a database.
pub(crate) struct DatabaseProbe {
    probes: Counter,
    failures: Vec<(&'static str, Counter)>,
    component: String,
}

impl DatabaseProbe {
    pub(crate) fn new(component: &str, meter: &mut Meter) -> DatabaseProbe {
        DatabaseProbe {
            probes: meter.counter(Metric::Probes, component, None),
            failures: Vec::new(),
            component: component.to_owned(),
        }
    }

    fn fails(&mut self, reason: &'static str, meter: &mut Meter) {
        let known = self.failures.iter().find(|(known, _)| *known == reason);
        let counter = if let Some((_, counter)) = known {
            *counter
        } else {
            let counter = meter.counter(Metric::ProbeFailures, &self.component, Some(reason));
            self.failures.push((reason, counter));
            counter
        };
        meter.count(counter);
    }
}

impl World {
    /// Probes every node of every database.
    pub(crate) fn probe_databases(&mut self) {
        let now = self.now;
        for database in &mut self.databases {
            for node in &mut database.nodes {
                self.meter.count(database.probe.probes);
                let limit = node.limit().map_or(f64::NAN, |limit| limit as f64);
                self.meter.set(node.let_in, limit);
                self.meter.set(node.connected, node.running() as f64);
                let way = node.link.clone().send(now, 100, &mut self.probes_rng);
                let failure = match way {
                    _ if !node.up => "connect_refused",
                    Delivery::Refused => "connect_refused",
                    Delivery::Reset => "connect_reset",
                    Delivery::Dropped => "connect_timed_out",
                    Delivery::Held => "query_timed_out",
                    Delivery::At(at) if at.since(now) > PATIENCE => "connect_timed_out",
                    Delivery::At(_) if node.hangs => "query_timed_out",
                    Delivery::At(_) if node.limit().is_some_and(|limit| node.running() >= limit) => {
                        "connect_too_many_clients"
                    }
                    Delivery::At(_) => continue,
                };
                database.probe.fails(failure, &mut self.meter);
            }
        }
    }
}

impl CacheNode {
    /// Asks the node how it is: a connection, a question, a test write.
    fn probed(&mut self, now: Time, own: Span, rng: &mut seawall_core::rng::Stream) -> Seen {
        let way = match self.link.clone().send(now, 100, rng) {
            Delivery::At(at) => at.since(now) + self.far,
            Delivery::Refused => return Seen::failing([Some("connect_refused"), None, None]),
            Delivery::Reset => return Seen::failing([Some("reply_reset"), None, None]),
            Delivery::Dropped => return Seen::failing([Some("connect_timed_out"), None, None]),
            // The kernel accepts for a process that stands still.
            Delivery::Held => return Seen::failing([Some("reply_timed_out"), Some("alive_timed_out"), None]),
        };
        let connect = Some(way);
        if way > PATIENCE {
            return Seen::failing([Some("connect_timed_out"), None, None]);
        }
        let frozen = self.frozen_until.map_or(Span::ZERO, |until| until.since(now));
        let reply = way + own.scaled(self.slow) + frozen;
        if reply > PATIENCE {
            return Seen {
                connect,
                ..Seen::failing([Some("reply_timed_out"), None, None])
            };
        }
        let full = self
            .max_clients
            .is_some_and(|most| self.clients(now) >= most as usize);
        let said = self.says.or(full.then_some(CacheFault::TooManyClients));
        if let Some(fault) = said {
            return Seen {
                connect,
                ..Seen::failing([Some(REPLIES[fault as usize]), None, None])
            };
        }
        let capacity = self.store.settings();
        let refuses = !capacity.evict && capacity.capacity.is_some_and(|most| self.store.live(now) >= most);
        let write = self.writes_say.or(refuses.then_some(CacheFault::OutOfMemory));
        Seen {
            connect,
            reply: Some(reply),
            failures: [write.map(|fault| WRITES[fault as usize]), None, None],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_the_name_of_its_fault() {
        for fault in CacheFault::ALL {
            assert_eq!(REPLIES[fault as usize].strip_prefix("reply_"), Some(fault.name()));
            assert_eq!(WRITES[fault as usize].strip_prefix("write_"), Some(fault.name()));
        }
    }
}
