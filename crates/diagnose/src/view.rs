//! A record sorted by the parts of a system, so that rules can ask for what they need by name.
//!
//! Which component is a cache, an origin, a service or a client is told by what was measured of it: a record of a
//! system that nobody has described is read like one of a scenario.

use seawall_core::record::{Metric, Record};

use crate::line::Line;

/// A record, sorted.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The length of a period, in seconds.
    pub(crate) period: f64,
    pub(crate) periods: usize,
    pub(crate) caches: Vec<Cache>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) services: Vec<Service>,
    pub(crate) clients: Vec<Client>,
    pub(crate) logs: Vec<(String, Line)>,
}

/// What a prober met, of one node or of a whole component.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probed {
    pub(crate) node: Option<u32>,
    pub(crate) probes: Line,
    /// Failures by step and cause.
    pub(crate) failures: Vec<(String, Line)>,
    pub(crate) reply: Line,
    pub(crate) uptime: Line,
}

/// A cache.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) name: String,
    pub(crate) hits: Line,
    pub(crate) misses: Line,
    /// All errors, and by their reason.
    pub(crate) errors: Line,
    pub(crate) reasons: Vec<(String, Line)>,
    pub(crate) sets: Line,
    pub(crate) evictions: Line,
    pub(crate) invalidations: Line,
    pub(crate) expired: Line,
    pub(crate) entries: Line,
    pub(crate) memory: Line,
    pub(crate) memory_limit: Line,
    pub(crate) evicting: Line,
    pub(crate) clients: Line,
    pub(crate) clients_limit: Line,
    pub(crate) rejected: Line,
    pub(crate) cpu: Line,
    /// The mean time of a command inside the server; the slowest command's.
    pub(crate) command: Line,
    pub(crate) slow: Line,
    pub(crate) replica: Line,
    pub(crate) hot: Line,
    pub(crate) probed: Vec<Probed>,
}

/// What stands behind a cache.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) requests: Line,
    pub(crate) errors: Line,
    pub(crate) wasted: Line,
    pub(crate) connections: Line,
    pub(crate) limit: Line,
    /// How full the fullest of its servers is, from 0 to 1.
    pub(crate) fullness: Line,
    pub(crate) locks: Line,
    pub(crate) identical: Line,
    pub(crate) empty: Line,
    pub(crate) waiting: Line,
    pub(crate) up: Line,
    pub(crate) typical: Line,
    pub(crate) probed: Vec<Probed>,
}

/// A service that reads through caches.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) up: Line,
    pub(crate) busy: Line,
    pub(crate) waiting: Line,
}

/// Those who ask.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) ended: Line,
    pub(crate) good: Line,
    pub(crate) wrong: Line,
    pub(crate) retries: Line,
    pub(crate) slowest: Line,
}

impl View {
    /// Sorts a record.
    pub(crate) fn new(record: &Record) -> View {
        let services = named(record, &[Metric::ThreadsBusy, Metric::Loads]);
        let clients = named(record, &[Metric::Requests]);
        let caches = named(
            record,
            &[Metric::CacheHits, Metric::CacheMemory, Metric::CacheUptime],
        );
        let mut origins = named(record, &[Metric::OriginConnections]);
        for name in named(record, &[Metric::OriginRequests]) {
            let asked = record.values(Metric::OriginRequests, &name, None);
            if !origins.contains(&name) && asked.iter().any(|value| *value > 0.0) {
                origins.push(name);
            }
        }
        View {
            period: record.period.as_secs_f64(),
            periods: record.periods,
            caches: caches.iter().map(|name| cache(record, name)).collect(),
            origins: origins.iter().map(|name| origin(record, name)).collect(),
            services: services.iter().map(|name| service(record, name)).collect(),
            clients: clients.iter().map(|name| client(record, name)).collect(),
            logs: logs(record),
        }
    }

    /// So many periods as so many seconds are, at least this many.
    pub(crate) fn periods_in(&self, seconds: f64, at_least: usize) -> usize {
        ((seconds / self.period).round() as usize).max(at_least)
    }
}

impl Cache {
    /// Errors for one reason.
    pub(crate) fn errors_for(&self, reason: &str) -> Option<&Line> {
        self.reasons
            .iter()
            .find_map(|(name, line)| (name == reason).then_some(line))
    }
}

fn named(record: &Record, metrics: &[Metric]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for metric in metrics {
        for name in record.components(*metric) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

fn whole(record: &Record, metric: Metric, name: &str) -> Line {
    Line::new(record.values(metric, name, None))
}

fn labelled(record: &Record, metric: Metric, name: &str, label: &str) -> Line {
    Line::new(record.values(metric, name, Some(label)))
}

fn by_label(record: &Record, metric: Metric, name: &str) -> Vec<(String, Line)> {
    let labels = record.labels(metric, name);
    let line = |label: String| {
        let line = labelled(record, metric, name, &label);
        (label, line)
    };
    labels.into_iter().map(line).collect()
}

fn nodes_of(record: &Record, metric: Metric, name: &str) -> Vec<u32> {
    let mut nodes: Vec<u32> = record
        .series()
        .iter()
        .filter(|series| series.metric == metric && series.component == name)
        .filter_map(|series| series.instance)
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// The probes of a component: of each node where nodes are probed on their own.
fn probed(record: &Record, name: &str) -> Vec<Probed> {
    let nodes = nodes_of(record, Metric::Probes, name);
    if nodes.is_empty() {
        let probes = whole(record, Metric::Probes, name);
        if !probes.is_measured() {
            return Vec::new();
        }
        return vec![Probed {
            node: None,
            probes,
            failures: by_label(record, Metric::ProbeFailures, name),
            reply: labelled(record, Metric::ProbeSeconds, name, "reply"),
            uptime: whole(record, Metric::CacheUptime, name),
        }];
    }
    nodes
        .into_iter()
        .map(|node| probed_node(record, name, node))
        .collect()
}

fn probed_node(record: &Record, name: &str, node: u32) -> Probed {
    let of_node = |metric: Metric| {
        record.series().iter().filter(move |series| {
            series.metric == metric && series.component == name && series.instance == Some(node)
        })
    };
    let step = |step: &str| {
        let series = of_node(Metric::ProbeSeconds).find(|series| series.label.as_deref() == Some(step));
        Line::new(series.map(|series| series.values.clone()).unwrap_or_default())
    };
    let failures = of_node(Metric::ProbeFailures)
        .filter_map(|series| Some((series.label.clone()?, Line::new(series.values.clone()))));
    Probed {
        node: Some(node),
        probes: Line::new(record.values_of_instance(Metric::Probes, name, node)),
        failures: failures.collect(),
        reply: step("reply"),
        uptime: Line::new(record.values_of_instance(Metric::CacheUptime, name, node)),
    }
}

/// The largest of the values of all labels, period by period.
fn largest(record: &Record, metric: Metric, name: &str) -> Line {
    let mut most: Vec<f64> = Vec::new();
    for series in record.series() {
        if series.metric != metric || series.component != name {
            continue;
        }
        if most.is_empty() {
            most.clone_from(&series.values);
            continue;
        }
        for (most, value) in most.iter_mut().zip(&series.values) {
            // Both `max` and a missing value: what is there counts.
            *most = most.max(*value);
        }
    }
    Line::new(most)
}

fn cache(record: &Record, name: &str) -> Cache {
    let of = |metric| whole(record, metric, name);
    Cache {
        name: name.to_owned(),
        hits: of(Metric::CacheHits),
        misses: of(Metric::CacheMisses),
        errors: of(Metric::CacheErrors),
        reasons: by_label(record, Metric::CacheErrors, name),
        sets: of(Metric::CacheSets),
        evictions: of(Metric::CacheEvictions),
        invalidations: of(Metric::CacheInvalidations),
        expired: of(Metric::CacheExpired),
        entries: of(Metric::CacheEntries),
        memory: of(Metric::CacheMemory),
        memory_limit: of(Metric::CacheMemoryLimit),
        evicting: largest(record, Metric::CacheEvicting, name),
        clients: of(Metric::CacheClients),
        clients_limit: of(Metric::CacheClientsLimit),
        rejected: of(Metric::CacheRejected),
        cpu: largest(record, Metric::CacheCpu, name),
        command: largest(record, Metric::CacheCommandSeconds, name),
        slow: of(Metric::CacheSlow),
        replica: largest(record, Metric::CacheReplica, name),
        hot: largest(record, Metric::HotKeyShare, name),
        probed: probed(record, name),
    }
}

/// Connections as a share of those that are let in, of the server where it is largest.
fn fullness(record: &Record, name: &str) -> Line {
    let nodes = nodes_of(record, Metric::OriginConnectionsLimit, name);
    let pairs: Vec<(Vec<f64>, Vec<f64>)> = if nodes.is_empty() {
        let of = |metric| record.values(metric, name, None);
        vec![(of(Metric::OriginConnections), of(Metric::OriginConnectionsLimit))]
    } else {
        let of = |metric, node| record.values_of_instance(metric, name, node);
        nodes
            .into_iter()
            .map(|node| {
                (
                    of(Metric::OriginConnections, node),
                    of(Metric::OriginConnectionsLimit, node),
                )
            })
            .collect()
    };
    let mut fullest: Vec<f64> = Vec::new();
    for (used, limit) in pairs {
        let shares = used
            .iter()
            .zip(&limit)
            .map(|(used, limit)| if *limit > 0.0 { used / limit } else { f64::NAN });
        if fullest.is_empty() {
            fullest = shares.collect();
        } else {
            fullest
                .iter_mut()
                .zip(shares)
                .for_each(|(most, share)| *most = most.max(share));
        }
    }
    Line::new(fullest)
}

fn origin(record: &Record, name: &str) -> Origin {
    let of = |metric| whole(record, metric, name);
    Origin {
        name: name.to_owned(),
        requests: of(Metric::OriginRequests),
        errors: of(Metric::OriginErrors),
        wasted: of(Metric::OriginWasted),
        connections: of(Metric::OriginConnections),
        limit: of(Metric::OriginConnectionsLimit),
        fullness: fullness(record, name),
        locks: of(Metric::OriginLockWaits),
        identical: of(Metric::OriginIdentical),
        empty: of(Metric::OriginEmpty),
        waiting: of(Metric::QueueDepth),
        up: of(Metric::Instances),
        typical: labelled(record, Metric::OriginDuration, name, "0.5"),
        probed: probed(record, name),
    }
}

fn service(record: &Record, name: &str) -> Service {
    let of = |metric| whole(record, metric, name);
    Service {
        name: name.to_owned(),
        up: of(Metric::Instances),
        busy: of(Metric::ThreadsBusy),
        waiting: of(Metric::QueueDepth),
    }
}

fn client(record: &Record, name: &str) -> Client {
    let of = |metric| whole(record, metric, name);
    Client {
        name: name.to_owned(),
        ended: of(Metric::Requests),
        good: of(Metric::Goodput),
        wrong: labelled(record, Metric::Requests, name, "wrong"),
        retries: of(Metric::Retries),
        slowest: labelled(record, Metric::RequestDuration, name, "0.99"),
    }
}

fn logs(record: &Record) -> Vec<(String, Line)> {
    let mut lines = Vec::new();
    for name in named(record, &[Metric::LogLines]) {
        lines.extend(by_label(record, Metric::LogLines, &name));
    }
    lines
}
