//! What a cache has done, in numbers: for a program, and as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall_core::gate::Reason;
use seawall_core::guard::{CacheFault, Counters};
use seawall_core::record::{Ending, Metric};

use crate::cache::Cache;
use crate::engine::Engine;
use crate::key::Key;
use crate::meters::{BOUNDS_S, Durations};

/// What a cache has done since it was built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// By tier, in the order in which they are asked.
    pub tiers: Vec<TierStats>,
    /// Loads that were handed to the origin, refreshes and warming included, retries not.
    pub loads: u64,
    /// Calls to the origin, retries included.
    pub origin_requests: u64,
    /// Calls to the origin that failed.
    pub origin_errors: u64,
    /// Calls to the origin that were answered when nobody wanted the answer any more.
    pub origin_wasted: u64,
    /// Misses that shared another's load.
    pub coalesced: u64,
    /// Answers served past their freshness.
    pub stale_served: u64,
    /// Requests that were turned away.
    pub shed: u64,
    /// Background refreshes that were begun.
    pub refreshes: u64,
    /// Calls to the origin that were tried again.
    pub retries: u64,
    /// Loads that were given up at their hard timeout.
    pub loads_given_up: u64,
    /// Entries filled by warming.
    pub warmed: u64,
    /// Where warming stands, from 0 to 1; `None` when it is not under way.
    pub warming: Option<f64>,
    /// Snapshots of the hot keys that were written.
    pub snapshots: u64,
    /// Snapshots that could not be written or read.
    pub snapshots_failed: u64,
    /// Snapshots that were found and were not whole.
    pub snapshots_damaged: u64,
    /// Entries of stores that were damaged, and so no answer.
    pub corrupt: u64,
    /// Entries of stores that were not ours, or of another version or key.
    pub foreign: u64,
    /// Copies into tiers that were let go because too many were under way.
    pub dropped: u64,
    /// Invalidations that some tier has not been told of yet.
    pub untold: usize,
    /// Invalidations that some tier will never be told of.
    pub forgotten: u64,
    /// Calls inside the origin.
    pub in_flight: u32,
    /// Loads that wait for a place at the origin.
    pub queued: u32,
    /// Requests that have not ended, those excepted that memory answered.
    pub requests: u64,
    /// Bytes that memory holds, overhead included.
    pub memory_bytes: u64,
}

/// What one tier has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// `memory`, or the store's name.
    pub name: String,
    /// Look-ups that found an entry that could be used.
    pub hits: u64,
    /// Look-ups that found nothing usable.
    pub misses: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Entries written.
    pub sets: u64,
    /// Entries held, where that is known.
    pub entries: Option<u64>,
    /// Entries pushed out to make room, where that is known.
    pub evictions: Option<u64>,
}

/// Takes a sample: the metric, the labels beside the component, the value.
pub(crate) type Take<'a> = dyn FnMut(Metric, &[(&str, &str)], f64) + 'a;

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    fn tier_stats(&self, counters: &Counters) -> Vec<TierStats> {
        let memory = self.memory.as_ref().map(|memory| {
            let (entries, evictions) = (memory.len() as u64, memory.evictions());
            ("memory", Some(entries), Some(evictions))
        });
        let far = self.far.iter();
        let far = far.map(|store| (store.name(), store.entries(), store.evictions()));
        let named = memory.into_iter().chain(far).enumerate();
        named
            .map(|(tier, (name, entries, evictions))| {
                let alone = if tier == 0 && self.memory.is_some() {
                    self.meters.fast_hits.sum()
                } else {
                    0
                };
                TierStats {
                    name: name.to_owned(),
                    hits: counters.hits[tier] + alone,
                    misses: counters.misses[tier],
                    errors: self.meters.faults[tier].iter().map(read).sum(),
                    sets: read(&self.meters.sets[tier]),
                    entries,
                    evictions,
                }
            })
            .collect()
    }

    /// The tiers beyond memory, by place and name.
    pub(crate) fn far_tiers(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = usize::from(self.memory.is_some());
        (first..).zip(self.far.iter().map(|store| store.name()))
    }

    /// Hands out each counter and gauge, with its labels beside the component.
    pub(crate) fn samples(&self, add: &mut Take<'_>) {
        let meters = &self.meters;
        let core = self.core();
        let counters = core.guard.counters().clone();
        let now = self.clock.now();
        let gauges = [
            (Metric::OriginInFlight, f64::from(core.guard.in_flight())),
            (Metric::QueueDepth, f64::from(core.guard.queued())),
            (Metric::InFlight, core.guard.requests() as f64),
            (Metric::BreakerState, core.guard.breaker_state(now)),
            (
                Metric::LimiterLimit,
                core.guard.limiter_limit().map_or(f64::INFINITY, f64::from),
            ),
        ];
        let transitions = core.guard.breaker_transitions();
        drop(core);
        self.tier_samples(&counters, add);
        let alone = meters.fast_hits.sum();
        for ending in Ending::ALL {
            let fast = if ending == Ending::Fresh { alone } else { 0 };
            let count = read(&meters.endings[ending as usize]) + fast;
            add(Metric::Requests, &[("outcome", ending.name())], count as f64);
        }
        let good = Ending::ALL.iter().filter(|ending| ending.is_good());
        let good: u64 = good.map(|ending| read(&meters.endings[*ending as usize])).sum();
        add(Metric::Goodput, &[], (good + alone) as f64);
        for (reason, count) in Reason::ALL.iter().zip(counters.shed) {
            add(Metric::Shed, &[("reason", reason.name())], count as f64);
        }
        for (metric, count) in [
            (Metric::CacheInvalidations, read(&meters.invalidations)),
            (Metric::Loads, counters.loads),
            (Metric::Coalesced, counters.coalesced),
            (Metric::Retries, counters.retries),
            (Metric::Warmed, counters.warmed),
            (Metric::OriginRequests, read(&meters.origin_requests)),
            (Metric::OriginErrors, read(&meters.origin_errors)),
            (Metric::OriginWasted, read(&meters.origin_wasted)),
            (Metric::BreakerTransitions, transitions),
        ] {
            add(metric, &[], count as f64);
        }
        for (metric, value) in gauges {
            add(metric, &[], value);
        }
    }

    fn tier_samples(&self, counters: &Counters, add: &mut Take<'_>) {
        for (place, tier) in self.tier_stats(counters).iter().enumerate() {
            let label = [("tier", tier.name.as_str())];
            add(Metric::CacheHits, &label, tier.hits as f64);
            add(Metric::CacheMisses, &label, tier.misses as f64);
            add(Metric::CacheSets, &label, tier.sets as f64);
            if let Some(entries) = tier.entries {
                add(Metric::CacheEntries, &label, entries as f64);
            }
            if let Some(evictions) = tier.evictions {
                add(Metric::CacheEvictions, &label, evictions as f64);
            }
            for fault in CacheFault::ALL {
                let count = read(&self.meters.faults[place][fault as usize]);
                let label = [label[0], ("reason", fault.name())];
                add(Metric::CacheErrors, &label, count as f64);
            }
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// What it has done since it was built.
    pub fn stats(&self) -> Stats {
        let engine = &*self.engine;
        let meters = &engine.meters;
        let core = engine.core();
        let counters = core.guard.counters();
        Stats {
            tiers: engine.tier_stats(counters),
            loads: counters.loads,
            origin_requests: read(&meters.origin_requests),
            origin_errors: read(&meters.origin_errors),
            origin_wasted: read(&meters.origin_wasted),
            coalesced: counters.coalesced,
            stale_served: counters.stale_served,
            shed: counters.shed.iter().sum(),
            refreshes: counters.refreshes,
            retries: counters.retries,
            loads_given_up: counters.loads_given_up,
            warmed: counters.warmed,
            warming: core.guard.warming(),
            snapshots: read(&meters.snapshots),
            snapshots_failed: read(&meters.snapshots_failed),
            snapshots_damaged: read(&meters.snapshots_damaged),
            corrupt: read(&meters.corrupt),
            foreign: read(&meters.foreign),
            dropped: read(&meters.dropped),
            untold: engine.untold(),
            forgotten: read(&meters.forgotten),
            in_flight: core.guard.in_flight(),
            queued: core.guard.queued(),
            requests: core.guard.requests(),
            memory_bytes: engine.memory.as_ref().map_or(0, super::memory::Memory::bytes),
        }
    }

    /// Writes all metrics as Prometheus text: the names of the simulator's record, with the cache's name as the label
    /// `component`. The number of series is fixed by how many tiers there are.
    ///
    /// One family more than the record has: `cache_duration_seconds{tier}`, what calls to tiers beyond memory took.
    pub fn write_metrics(&self, page: &mut MetricsPage) {
        let engine = &*self.engine;
        let (meters, name) = (&engine.meters, &*engine.name);
        engine.samples(&mut |metric, labels, value| page.add(metric, name, labels, value));
        for (place, tier) in engine.far_tiers() {
            page.add_tier_durations(name, tier, &meters.tier_durations[place]);
        }
        let alone = meters.fast_hits.sum();
        page.add_durations(Metric::RequestDuration, name, &meters.durations, alone);
        page.add_durations(Metric::OriginDuration, name, &meters.origin_durations, 0);
    }
}

/// A page of metrics of several caches, in the text format of Prometheus.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cache: seawall::Cache<u64, String> = seawall::Cache::builder("users").build();
/// let mut page = seawall::MetricsPage::default();
/// cache.write_metrics(&mut page);
/// let text = page.text();
/// assert!(text.contains("# TYPE cache_hits_total counter\n"));
/// assert!(text.contains("cache_hits_total{component=\"users\",tier=\"memory\"} 0\n"));
/// # });
/// ```
#[derive(Debug, Default)]
pub struct MetricsPage {
    /// By family, in the order of the record.
    families: std::collections::BTreeMap<Metric, String>,
    /// Samples of [`TIER_DURATION`], which the record does not have.
    tier_durations: String,
}

/// What calls to tiers took.
pub(crate) const TIER_DURATION: &str = "cache_duration_seconds";
pub(crate) const TIER_DURATION_HELP: &str = "Time that a call to a tier took, failed calls included.";

impl MetricsPage {
    /// Adds one sample. Label names are fixed words; values are escaped.
    pub fn add(&mut self, metric: Metric, component: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(metric, "", component, labels, value);
    }

    fn sample(&mut self, metric: Metric, suffix: &str, component: &str, labels: &[(&str, &str)], value: f64) {
        let text = self.families.entry(metric).or_default();
        sample(text, metric.name(), suffix, component, labels, value);
    }

    /// Adds a histogram. `instant` observations took next to no time.
    fn add_durations(&mut self, metric: Metric, component: &str, durations: &Durations, instant: u64) {
        let text = self.families.entry(metric).or_default();
        histogram(text, metric.name(), component, &[], durations, instant);
    }

    fn add_tier_durations(&mut self, component: &str, tier: &str, durations: &Durations) {
        let text = &mut self.tier_durations;
        histogram(text, TIER_DURATION, component, &[("tier", tier)], durations, 0);
    }

    /// The page.
    pub fn text(&self) -> String {
        use seawall_core::record::Kind;
        let mut page = String::new();
        for (metric, samples) in &self.families {
            let name = metric.name();
            let kind = match metric.kind() {
                Kind::Counter => "counter",
                Kind::Gauge | Kind::Ratio => "gauge",
                Kind::Duration => "histogram",
            };
            let _ = write!(
                page,
                "# HELP {name} {}\n# TYPE {name} {kind}\n{samples}",
                metric.help()
            );
        }
        if !self.tier_durations.is_empty() {
            let _ = write!(
                page,
                "# HELP {TIER_DURATION} {TIER_DURATION_HELP}\n# TYPE {TIER_DURATION} histogram\n{}",
                self.tier_durations
            );
        }
        page
    }
}

fn sample(text: &mut String, name: &str, suffix: &str, component: &str, labels: &[(&str, &str)], value: f64) {
    // Writing to a string does not fail.
    let _ = write!(text, "{name}{suffix}{{component=\"{}\"", escaped(component));
    for (label, content) in labels {
        let _ = write!(text, ",{label}=\"{}\"", escaped(content));
    }
    let _ = match value {
        value if value == f64::INFINITY => writeln!(text, "}} +Inf"),
        value => writeln!(text, "}} {value}"),
    };
}

fn histogram(
    text: &mut String,
    name: &str,
    component: &str,
    labels: &[(&str, &str)],
    durations: &Durations,
    instant: u64,
) {
    let mut sum = instant;
    let mut bucket = |text: &mut String, bound: &str, count: u64| {
        sum += count;
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        sample(text, name, "_bucket", component, &labels, sum as f64);
    };
    for (bound, count) in BOUNDS_S.iter().zip(&durations.buckets) {
        bucket(text, &bound.to_string(), read(count));
    }
    bucket(text, "+Inf", read(&durations.buckets[BOUNDS_S.len()]));
    let seconds = read(&durations.sum_ns) as f64 / 1e9;
    sample(text, name, "_sum", component, labels, seconds);
    sample(text, name, "_count", component, labels, sum as f64);
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
