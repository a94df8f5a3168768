//! What is measured of a live system, and how.

use std::time::Duration;

use super::pulse::{Pulses, pulses};
use seawall_core::record::Metric;
use tokio::time::{Instant, interval};

use crate::probe::keys::Survey;
use crate::probe::postgres::{OWN, Told};
use crate::probe::{Details, Fault, Kind, Options, Prober, Sample, Target, Why};

/// A live system in numbers: of all nodes of its cache together, a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// For how long it was measured, in seconds.
    pub window: f64,
    /// Nodes of the cache.
    pub nodes: usize,
    /// Look-ups a second.
    pub lookups: f64,
    /// The share of them that found something.
    pub hit_rate: f64,
    /// Entries written a second.
    pub sets: f64,
    /// Entries that expired, a second.
    pub expired: f64,
    /// Entries that made room, a second.
    pub evicted: f64,
    /// Entries at the end.
    pub entries: f64,
    /// Bytes in use.
    pub memory: f64,
    /// Bytes that may be used; 0 without limit.
    pub memory_limit: f64,
    /// Clients that a node lets in.
    pub clients_limit: f64,
    /// The median time of `PING` there and back, in seconds.
    pub reply: f64,
    /// Machines that clients come from, ourselves not.
    pub instances: usize,
    /// Connections of clients.
    pub clients: usize,
    /// Keys that were looked at.
    pub seen: usize,
    /// How long entries live, in seconds: the longest that is left of any, and a little. Nothing when none has an end.
    pub ttl: Option<f64>,
    /// The share of keys without an end.
    pub forever: f64,
    /// A time, and the share of entries that nobody has asked for in it; nothing where the server does not know.
    pub untouched: Option<(f64, f64)>,
    /// The database.
    pub database: Option<Database>,
    /// What Prometheus knows of the time before.
    pub past: Option<Past>,
}

/// A database in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Database {
    /// Transactions a second.
    pub requests: f64,
    /// The mean time of one inside the server, in seconds; nothing when there were too few.
    pub service: Option<f64>,
    /// The median and the mean time of a question that is no work, there and back, in seconds: what the network, and poolers
    /// or proxies before the server, add to it.
    pub reply: Option<(f64, f64)>,
    /// Sessions.
    pub sessions: f64,
    /// Sessions that are let in.
    pub limit: f64,
}

/// Look-ups a second before, as Prometheus has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// The mean.
    pub mean: f64,
    /// The most, over one of its steps.
    pub peak: f64,
}

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For how long.
    pub window: Duration,
    /// How long one question may take.
    pub patience: Duration,
    /// So many keys of each node are looked at.
    pub keys_max: usize,
}

/// What could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target}: {fault}")]
pub struct Unmeasured {
    /// Where, without secrets.
    pub target: String,
    /// Why.
    pub fault: Fault,
}

/// Asks once a second for the whole window, then looks at keys.
///
/// # Errors
/// When a server cannot be asked, at the beginning or for more than half of the time.
pub async fn measure(targets: &[Target], wanted: Wanted) -> Result<Measured, Unmeasured> {
    let options = Options {
        patience: wanted.patience,
        canary: false,
        keys_max: wanted.keys_max,
    };
    let mut prober = Prober::new(targets.to_vec(), options);
    let first = prober.round().await;
    failed(targets, &first)?;
    let before = told(&prober);
    let begun = Instant::now();
    let rounds = async {
        let mut beat = interval(Duration::from_secs(1));
        beat.tick().await;
        let mut samples = Vec::new();
        while begun.elapsed() < wanted.window {
            beat.tick().await;
            samples.push(prober.round().await);
        }
        samples
    };
    let (samples, pulses) = tokio::join!(rounds, pulses(targets, wanted));
    let window = begun.elapsed().as_secs_f64();
    let troubled = samples
        .iter()
        .filter(|sample| !sample.troubles.is_empty())
        .count();
    if troubled * 2 > samples.len() {
        samples
            .iter()
            .rev()
            .try_for_each(|sample| failed(targets, sample))?;
    }
    let after = told(&prober);
    let mut measured = counted(&samples, window);
    measured.nodes = prober.caches().len();
    measured.database = database(&before, &after, &samples, &pulses, window);
    let mut surveys = Vec::new();
    let mut addresses = Vec::new();
    for (details, target) in prober.details().await.into_iter().zip(of(targets, Kind::Redis)) {
        let details: Details = details.map_err(|fault| Unmeasured {
            target: target.to_string(),
            fault,
        })?;
        measured.clients = measured.clients.max(details.clients.count);
        for (who, _) in &details.clients.from {
            let host = who.split(' ').next().unwrap_or_default().to_owned();
            if !addresses.contains(&host) {
                addresses.push(host);
            }
        }
        surveys.push(details.survey);
    }
    measured.instances = addresses.len();
    looked_at(&mut measured, &surveys);
    Ok(measured)
}

fn of(targets: &[Target], kind: Kind) -> impl Iterator<Item = &Target> {
    targets.iter().filter(move |target| target.kind() == kind)
}

/// The first thing that failed, and where.
fn failed(targets: &[Target], sample: &Sample) -> Result<(), Unmeasured> {
    let Some(trouble) = sample.troubles.first() else {
        return Ok(());
    };
    let kind = if trouble.component == "redis" {
        Kind::Redis
    } else {
        Kind::Postgres
    };
    let number = trouble.instance.unwrap_or(0) as usize;
    let target = of(targets, kind)
        .nth(number)
        .map_or_else(|| trouble.component.clone(), ToString::to_string);
    let fault = trouble.fault.clone();
    Err(Unmeasured { target, fault })
}

fn told(prober: &Prober) -> Vec<Told> {
    let all = prober.databases().iter();
    all.map(|probe| probe.told().cloned().unwrap_or_default())
        .collect()
}

/// What was counted, over all samples.
fn counted(samples: &[Sample], window: f64) -> Measured {
    let sum = |metric| -> f64 {
        let of = samples.iter().filter_map(|sample| sample.value(metric, "redis"));
        of.filter(|value| value.is_finite()).sum()
    };
    let last = |metric| {
        let mut found = samples
            .iter()
            .rev()
            .filter_map(|sample| sample.value(metric, "redis"));
        found.find(|value| value.is_finite()).unwrap_or(0.0)
    };
    let (hits, misses) = (sum(Metric::CacheHits), sum(Metric::CacheMisses));
    let mut replies: Vec<f64> = samples
        .iter()
        .flat_map(|sample| &sample.points)
        .filter(|point| point.metric == Metric::ProbeSeconds && point.component == "redis")
        .filter(|point| point.label.as_deref() == Some("reply") && point.value.is_finite())
        .map(|point| point.value)
        .collect();
    replies.sort_by(f64::total_cmp);
    Measured {
        window,
        lookups: (hits + misses) / window,
        hit_rate: if hits + misses > 0.0 {
            hits / (hits + misses)
        } else {
            0.0
        },
        sets: sum(Metric::CacheSets) / window,
        expired: sum(Metric::CacheExpired) / window,
        evicted: sum(Metric::CacheEvictions) / window,
        entries: last(Metric::CacheEntries),
        memory: last(Metric::CacheMemory),
        memory_limit: last(Metric::CacheMemoryLimit),
        clients_limit: last(Metric::CacheClientsLimit),
        reply: replies.get(replies.len() / 2).copied().unwrap_or(0.0),
        ..Measured::default()
    }
}

/// So few transactions tell nothing of the time of one.
const TRANSACTIONS_MIN: f64 = 20.0;

fn database(
    before: &[Told],
    after: &[Told],
    samples: &[Sample],
    pulses: &Pulses,
    window: f64,
) -> Option<Database> {
    if after.is_empty() {
        return None;
    }
    let mut database = Database {
        reply: pulses.median().zip(pulses.mean()),
        ..Database::default()
    };
    let (mut transactions, mut secs) = (0.0, None);
    for (then, now) in before.iter().zip(after) {
        transactions += (now.commits + now.rollbacks - then.commits - then.rollbacks).max(0.0);
        if let (Some(now), Some(then)) = (now.active_ms, then.active_ms) {
            secs = Some(secs.unwrap_or(0.0) + (now - then).max(0.0) / 1e3);
        }
        database.sessions += now.sessions;
        database.limit += now.limit;
    }
    let asked = pulses.transactions;
    let counted = samples
        .iter()
        .filter_map(|sample| sample.value(Metric::OriginRequests, "postgres"));
    database.requests = (counted.sum::<f64>() - asked).max(0.0) / window;
    // Our own questions take longer than most, and are not of the system.
    let ours = ours(samples, database.reply.map_or(0.0, |(median, _)| median));
    let secs = secs.map(|secs| (secs - ours).max(0.0));
    transactions -= asked + OWN * (samples.len() * after.len()) as f64;
    // Without a clock of its own, by Little's law: those under way are as many as come in the time of one.
    let under_way: Vec<f64> = samples
        .iter()
        .filter_map(|sample| sample.value(Metric::OriginInFlight, "postgres"))
        .collect();
    let mean = under_way.iter().sum::<f64>() / under_way.len().max(1) as f64;
    let secs = secs.or((mean > 0.0).then_some(mean * window));
    database.service = secs
        .filter(|_| transactions >= TRANSACTIONS_MIN)
        .map(|secs| secs / transactions);
    Some(database)
}

/// About how long the server worked for our rounds, in seconds: what two questions took beyond two that are no work.
fn ours(samples: &[Sample], reply: f64) -> f64 {
    let took = samples
        .iter()
        .flat_map(|sample| &sample.points)
        .filter(|point| point.metric == Metric::ProbeSeconds && point.component == "postgres")
        .filter(|point| point.label.as_deref() == Some("query") && point.value.is_finite());
    took.map(|point| (point.value - 2.0 * reply).max(0.0)).sum()
}

fn looked_at(measured: &mut Measured, surveys: &[Survey]) {
    let seen = || surveys.iter().flat_map(|survey| &survey.seen);
    measured.seen = seen().count();
    if measured.seen == 0 {
        return;
    }
    let mut ends: Vec<f64> = seen().filter_map(|key| key.ttl).collect();
    ends.sort_by(f64::total_cmp);
    measured.forever = 1.0 - ends.len() as f64 / measured.seen as f64;
    // What is left is spread evenly up to the whole life: the largest of n, and one n-th of it, is the estimate of it.
    let count = ends.len() as f64;
    measured.ttl = ends.last().map(|longest| longest * (count + 1.0) / count);
    let idle: Vec<f64> = seen().filter_map(|key| key.idle).collect();
    if let Some(ttl) = measured.ttl.filter(|ttl| *ttl >= 12.0 && idle.len() >= 100) {
        // The server counts whole seconds.
        let time = libm::floor(ttl / 3.0);
        let share = idle.iter().filter(|idle| **idle >= time).count() as f64 / idle.len() as f64;
        measured.untouched = Some((time, share));
    }
}

impl Measured {
    /// What Prometheus knows of look-ups, from a record of its past.
    #[must_use]
    pub fn with_past(mut self, record: &seawall_core::record::Record) -> Measured {
        let (mut mean, mut peak) = (0.0, 0.0_f64);
        let period = record.period.as_secs_f64();
        for component in record.components(Metric::CacheHitRate) {
            let hits = record.values(Metric::CacheHits, component, None);
            let misses = record.values(Metric::CacheMisses, component, None);
            let rates: Vec<f64> = hits
                .iter()
                .zip(&misses)
                .map(|(hits, misses)| (hits + misses) / period)
                .collect();
            let most = rates.iter().copied().fold(0.0, f64::max);
            if most > peak {
                peak = most;
                mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
            }
        }
        self.past = (peak > 0.0).then_some(Past { mean, peak });
        self
    }

    /// Whether there was enough to make a scenario of.
    ///
    /// # Errors
    /// When hardly anybody asked the cache for anything.
    pub fn enough(&self) -> Result<(), Fault> {
        let lookups = self.lookups * self.window;
        if lookups >= 50.0 {
            return Ok(());
        }
        let text = format!(
            "only {lookups:.0} look-ups in {:.0} s: there is too little to see",
            self.window
        );
        Err(Fault::new(Why::Lost, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Place;
    use crate::probe::keys::Seen;

    #[test]
    fn samples_come_to_rates() {
        let redis = Place::new("redis");
        let sample = |hits, misses, reply| Sample {
            points: vec![
                redis.point(Metric::CacheHits, hits),
                redis.point(Metric::CacheMisses, misses),
                redis.point(Metric::CacheEntries, 77.0),
                redis.labelled(Metric::ProbeSeconds, "reply", reply),
            ],
            ..Sample::default()
        };
        let samples = [
            sample(80.0, 20.0, 0.001),
            sample(100.0, 0.0, f64::NAN),
            sample(60.0, 40.0, 0.003),
        ];
        let measured = counted(&samples, 3.0);
        assert!((measured.lookups - 100.0).abs() < 1e-9 && (measured.hit_rate - 0.8).abs() < 1e-9);
        assert!((measured.entries - 77.0).abs() < 1e-9 && (measured.reply - 0.003).abs() < 1e-9);
    }

    #[test]
    fn a_whole_life_is_told_by_what_is_left_of_some() {
        let key = |ttl: f64| Seen {
            pattern: String::new(),
            ttl: Some(ttl),
            bytes: None,
            frequency: None,
            idle: None,
        };
        let seen: Vec<Seen> = (1..=99).map(|at| key(f64::from(at) * 0.6)).collect();
        let mut measured = Measured::default();
        looked_at(
            &mut measured,
            &[Survey {
                seen,
                ..Survey::default()
            }],
        );
        assert!(
            measured.ttl.is_some_and(|ttl| (ttl - 60.0).abs() < 0.01),
            "{:?}",
            measured.ttl
        );
    }

    #[test]
    fn a_quiet_system_is_no_scenario() {
        let measured = Measured {
            window: 10.0,
            lookups: 2.0,
            ..Measured::default()
        };
        assert!(
            measured
                .enough()
                .is_err_and(|fault| fault.text.contains("only 20 look-ups"))
        );
    }
}
