//! The record of a run: what was counted and measured, period by period.
//!
//! The simulator, a drill and a live system all leave this one record behind; reports, expectations, findings and
//! alert rules read nothing else. The names are Prometheus names, so a simulated incident can be written as
//! OpenMetrics and met by real alert rules.
//!
//! A [`Series`] holds one value a period. A counter's value is what was *added* in the period (not the running sum);
//! a gauge's is what it was when the period ended; a `…_seconds` metric has one series a quantile, over the
//! observations of the period, and `NaN` where there were none. A gauge that nobody could read is `NaN` too. Ratios such as [`Metric::CacheHitRate`] are never
//! stored: [`Record::values`] and [`Record::ratio`] make them from their counters, so a ratio over a window is the
//! ratio of the sums and not a mean of means.
//!
//! ```
//! use seawall_core::record::{Metric, Record, Series};
//! use seawall_core::time::Span;
//! let mut record = Record::new(Span::secs(1), Span::ZERO, 3);
//! record.push(Series::new(Metric::CacheHits, "redis", vec![80.0, 90.0, 0.0]));
//! record.push(Series::new(Metric::CacheMisses, "redis", vec![20.0, 10.0, 100.0]));
//! assert_eq!(record.values(Metric::CacheHitRate, "redis", None), [0.8, 0.9, 0.0]);
//! assert_eq!(record.ratio(Metric::CacheHitRate, "redis", 0..2), 0.85);
//! ```

use std::ops::Range;

use crate::time::{Span, Time};

/// How the values of a metric are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was added in each period.
    Counter,
    /// What it was at the end of each period.
    Gauge,
    /// Quantiles of the observations of each period, in seconds.
    Duration,
    /// A share between 0 and 1, made from counters.
    Ratio,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal, $kind:ident, $label:expr;)+) => {
        /// What can be measured, by its Prometheus name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Metric {
            /// Every metric, in the order in which they are written.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)+];

            /// The Prometheus name.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)+ }
            }

            /// How its values are read.
            pub const fn kind(self) -> Kind {
                match self { $(Metric::$variant => Kind::$kind,)+ }
            }

            /// One sentence on what it says.
            pub const fn help(self) -> &'static str {
                match self { $(Metric::$variant => concat!($($help,)+).trim_ascii(),)+ }
            }

            /// The name of the label that tells its series apart, beside component and instance.
            pub const fn label(self) -> Option<&'static str> {
                match self { $(Metric::$variant => $label,)+ }
            }
        }
    };
}

metrics! {
    /// Calls that ended, as their client saw them: `fresh`, `stale`, `wrong`, `shed`, `error` or `timeout`.
    Requests = "requests_total", Counter, Some("outcome");
    /// Time from a call's arrival to its end, retries included.
    RequestDuration = "request_duration_seconds", Duration, Some("quantile");
    /// Right answers in time: `fresh` and `stale`.
    Goodput = "goodput_total", Counter, None;
    /// Right answers in time, as a share of all calls that ended.
    GoodputRatio = "goodput_ratio", Ratio, None;
    /// Calls that were tried again.
    Retries = "retries_total", Counter, None;
    /// Look-ups that found an entry that could be used.
    CacheHits = "cache_hits_total", Counter, None;
    /// Look-ups that found nothing.
    CacheMisses = "cache_misses_total", Counter, None;
    /// Look-ups and writes that failed, by the cause.
    CacheErrors = "cache_errors_total", Counter, Some("reason");
    /// Hits as a share of hits, misses and errors.
    CacheHitRate = "cache_hit_rate", Ratio, None;
    /// Entries written.
    CacheSets = "cache_sets_total", Counter, None;
    /// Entries pushed out to make room.
    CacheEvictions = "cache_evictions_total", Counter, None;
    /// Entries taken out by a purge, a write, a flush or the loss of a node.
    CacheInvalidations = "cache_invalidations_total", Counter, None;
    /// Entries held that have not expired.
    CacheEntries = "cache_entries", Gauge, None;
    /// Calls that reached the origin.
    OriginRequests = "origin_requests_total", Counter, None;
    /// Calls to the origin that failed.
    OriginErrors = "origin_errors_total", Counter, None;
    /// Work that the origin finished after its caller had gone.
    OriginWasted = "origin_wasted_total", Counter, None;
    /// Calls inside the origin, waiting ones included.
    OriginInFlight = "origin_in_flight", Gauge, None;
    /// Connections of the origin that hold a running call.
    OriginConnections = "origin_connections_active", Gauge, None;
    /// Time that a call spent at the origin, waiting included.
    OriginDuration = "origin_duration_seconds", Duration, Some("quantile");
    /// Copies that are up and serving.
    Instances = "instances_up", Gauge, None;
    /// Requests inside a service: those at work, those waiting, and those whose client has left.
    InFlight = "requests_in_flight", Gauge, None;
    /// Threads of a service that are held.
    ThreadsBusy = "threads_busy", Gauge, None;
    /// Requests that wait for a thread, a turn or a connection.
    QueueDepth = "queue_depth", Gauge, None;
    /// Time spent waiting for a thread or a turn.
    QueueWait = "queue_wait_seconds", Duration, Some("quantile");
    /// Requests turned away on purpose, by the protection that did it.
    Shed = "shed_total", Counter, Some("reason");
    /// Breakers: 0 closed, 1 half open, 2 open; the mean over instances.
    BreakerState = "breaker_state", Gauge, None;
    /// Changes of state of breakers.
    BreakerTransitions = "breaker_transitions_total", Counter, None;
    /// Loads from the origin that were begun by a service.
    Loads = "loads_total", Counter, None;
    /// Misses that shared another's load.
    Coalesced = "coalesced_total", Counter, None;
    /// Misses that shared another's load, as a share of all misses that needed one.
    CoalescingRate = "coalescing_rate", Ratio, None;
    /// Entries filled by warming.
    Warmed = "warmed_total", Counter, None;
    /// The limit that an adaptive limiter holds at the moment; the sum over instances.
    LimiterLimit = "limiter_limit", Gauge, None;
    /// The share of reads that a throttle lets through.
    ThrottleRatio = "throttle_admitted_ratio", Gauge, None;
    /// The level of degradation, 0 for none; the highest over instances.
    DegradationLevel = "degradation_level", Gauge, None;
    /// Times that a prober asked a part of the system how it is.
    Probes = "probes_total", Counter, None;
    /// Steps of probes that failed, by the step and the cause, such as `reply_timed_out`.
    ProbeFailures = "probe_failures_total", Counter, Some("reason");
    /// How long a step of a probe took, in seconds; empty when it did not end well.
    ProbeSeconds = "probe_seconds", Gauge, Some("step");
    /// Bytes that a cache holds in memory.
    CacheMemory = "cache_memory_bytes", Gauge, None;
    /// Bytes that a cache may hold in memory; 0 when there is no limit.
    CacheMemoryLimit = "cache_memory_limit_bytes", Gauge, None;
    /// Whether a full cache makes room by evicting (1) or refuses writes (0).
    CacheEvicting = "cache_evicting", Gauge, None;
    /// Entries taken out because their time was over.
    CacheExpired = "cache_expired_total", Counter, None;
    /// Clients that are connected to a cache.
    CacheClients = "cache_clients", Gauge, None;
    /// Clients that a cache lets in.
    CacheClientsLimit = "cache_clients_limit", Gauge, None;
    /// Connections that a cache turned away, for want of room for clients.
    CacheRejected = "cache_rejected_connections_total", Counter, None;
    /// Seconds since a cache's process began; empty when nobody could ask.
    CacheUptime = "cache_uptime_seconds", Gauge, None;
    /// Processors that a cache's process used.
    CacheCpu = "cache_cpu_ratio", Gauge, None;
    /// Mean time of a command inside a cache, in seconds, over the commands of the period; empty without any.
    CacheCommandSeconds = "cache_command_seconds", Gauge, Some("command");
    /// Commands that took long enough for a cache to write down.
    CacheSlow = "cache_slow_commands_total", Counter, None;
    /// Whether a cache is a replica, which takes no writes (1).
    CacheReplica = "cache_replica", Gauge, None;
    /// The share of look-ups that are for the key that is looked up most.
    HotKeyShare = "hot_key_share", Gauge, None;
    /// Calls that asked the origin for what does not exist.
    OriginEmpty = "origin_empty_total", Counter, None;
    /// Connections that the origin lets in.
    OriginConnectionsLimit = "origin_connections_limit", Gauge, None;
    /// Queries of the origin that wait for a lock.
    OriginLockWaits = "origin_lock_waits", Gauge, None;
    /// Queries under way at the origin that are the same as the one that is there most often.
    OriginIdentical = "origin_identical_queries", Gauge, None;
    /// What a part of the system says of its health: 1 ready, 0.5 degraded, 0 not ready.
    Ready = "ready", Gauge, None;
    /// Lines of logs that tell of a failure, by its kind.
    LogLines = "log_lines_total", Counter, Some("reason");
}

/// How a call ended, as the label `outcome` of [`Metric::Requests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// A right answer, as new as was asked for.
    Fresh,
    /// A right answer that was served past its freshness, within its bound.
    Stale,
    /// An answer that is not what the origin holds or held within the bound.
    Wrong,
    /// Turned away on purpose, with a word on when to come back.
    Shed,
    /// Failed.
    Error,
    /// The client stopped waiting.
    Timeout,
}

impl Ending {
    /// Every ending, in the order in which charts stack them.
    pub const ALL: [Ending; 6] = [
        Ending::Fresh,
        Ending::Stale,
        Ending::Wrong,
        Ending::Shed,
        Ending::Error,
        Ending::Timeout,
    ];

    /// The value of the label.
    pub const fn name(self) -> &'static str {
        match self {
            Ending::Fresh => "fresh",
            Ending::Stale => "stale",
            Ending::Wrong => "wrong",
            Ending::Shed => "shed",
            Ending::Error => "error",
            Ending::Timeout => "timeout",
        }
    }

    /// Whether this counts as goodput.
    pub const fn is_good(self) -> bool {
        matches!(self, Ending::Fresh | Ending::Stale)
    }
}

impl Metric {
    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.iter().copied().find(|metric| metric.name() == name)
    }

    /// For a ratio: the counters whose sum is above the line, and those whose sum is below it.
    const fn parts(self) -> Option<(&'static [Metric], &'static [Metric])> {
        use Metric::{CacheErrors, CacheHits, CacheMisses, Coalesced, Goodput, Loads, Requests};
        match self {
            Metric::GoodputRatio => Some((&[Goodput], &[Requests])),
            Metric::CacheHitRate => Some((&[CacheHits], &[CacheHits, CacheMisses, CacheErrors])),
            Metric::CoalescingRate => Some((&[Coalesced], &[Coalesced, Loads])),
            _ => None,
        }
    }

    /// Whether the metric grows with the size of the system, so that a run at a tenth of the size measures a tenth.
    pub const fn is_extensive(self) -> bool {
        match self {
            Metric::Instances
            | Metric::BreakerState
            | Metric::ThrottleRatio
            | Metric::DegradationLevel
            | Metric::BreakerTransitions
            | Metric::Probes
            | Metric::ProbeFailures
            | Metric::ProbeSeconds
            | Metric::CacheEvicting
            | Metric::CacheUptime
            | Metric::CacheCpu
            | Metric::CacheCommandSeconds
            | Metric::CacheReplica
            | Metric::HotKeyShare
            | Metric::Ready => false,
            _ => matches!(self.kind(), Kind::Counter | Kind::Gauge),
        }
    }
}

/// The quantiles that a `…_seconds` metric has a series for, with the value of the label.
pub const QUANTILES: [(f64, &str); 3] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99")];

/// One metric of one component, period by period.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What was measured.
    pub metric: Metric,
    /// The component's name in the scenario, or in the running system.
    pub component: String,
    /// Which copy or node of it; the whole component when absent.
    pub instance: Option<u32>,
    /// The value of the metric's own label ([`Metric::label`]), where it has one.
    pub label: Option<String>,
    /// One value a period.
    pub values: Vec<f64>,
}

impl Series {
    /// A series of the whole component, without a label.
    pub fn new(metric: Metric, component: &str, values: Vec<f64>) -> Series {
        Series {
            metric,
            component: component.to_owned(),
            instance: None,
            label: None,
            values,
        }
    }

    /// The same series, of one copy or node.
    pub fn of_instance(mut self, instance: u32) -> Series {
        self.instance = Some(instance);
        self
    }

    /// The same series, with the value of the metric's label.
    pub fn labelled(mut self, label: &str) -> Series {
        self.label = Some(label.to_owned());
        self
    }
}

/// What one run left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The length of a period.
    pub period: Span,
    /// How long after the first period began the scenario's own clock says zero: the length of the warm-up.
    pub origin: Span,
    /// How many periods there are.
    pub periods: usize,
    series: Vec<Series>,
}

impl Record {
    /// An empty record of `periods` periods.
    pub fn new(period: Span, origin: Span, periods: usize) -> Record {
        assert!(!period.is_zero(), "a period takes time");
        Record {
            period,
            origin,
            periods,
            series: Vec::new(),
        }
    }

    /// Adds a series.
    ///
    /// # Panics
    /// When it has not one value a period, or belongs to a ratio, which is made and not stored.
    pub fn push(&mut self, series: Series) {
        assert_eq!(
            series.values.len(),
            self.periods,
            "{} has one value a period",
            series.metric.name()
        );
        assert!(
            series.metric.kind() != Kind::Ratio,
            "a ratio is made from its counters"
        );
        self.series.push(series);
    }

    /// What the whole would have left behind, of which this is the record of a share: what grows with size is divided by it.
    #[must_use]
    pub fn at_full_size(mut self, share: f64) -> Record {
        for series in self
            .series
            .iter_mut()
            .filter(|series| series.metric.is_extensive())
        {
            series.values.iter_mut().for_each(|value| *value /= share);
        }
        self
    }

    /// All series, in the order in which they were added.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The scenario's clock at the *end* of period `index`, in seconds; negative in the warm-up.
    pub fn clock(&self, index: usize) -> f64 {
        (index as f64 + 1.0) * self.period.as_secs_f64() - self.origin.as_secs_f64()
    }

    /// The periods that lie within `from..to`, both in seconds of the scenario's clock; clipped to the run.
    pub fn window(&self, from: f64, to: f64) -> Range<usize> {
        let index = |clock: f64| {
            let periods = (clock + self.origin.as_secs_f64()) / self.period.as_secs_f64();
            (periods.max(0.0) + 1e-9) as usize
        };
        let end = index(to).min(self.periods);
        index(from).min(end)..end
    }

    /// The values of a metric of a component, period by period: the sum over its labels (or the one label asked
    /// for), and over instances where the component has no series of its own. Empty when nothing was recorded.
    ///
    /// A duration needs its quantile as the label; without one it is the 99th percentile.
    pub fn values(&self, metric: Metric, component: &str, label: Option<&str>) -> Vec<f64> {
        if let Some((above, below)) = metric.parts() {
            let (above, below) = (self.sum_of(above, component), self.sum_of(below, component));
            return above.iter().zip(&below).map(|(a, b)| a / b).collect();
        }
        let label = if metric.kind() == Kind::Duration {
            label.or(Some("0.99"))
        } else {
            label
        };
        let of_metric = |series: &&Series| {
            series.metric == metric
                && series.component == component
                && label.is_none_or(|label| series.label.as_deref() == Some(label))
        };
        let whole = self
            .series
            .iter()
            .filter(of_metric)
            .any(|series| series.instance.is_none());
        let mut sum: Vec<f64> = Vec::new();
        for series in self.series.iter().filter(of_metric) {
            if series.instance.is_some() && whole {
                continue;
            }
            if sum.is_empty() {
                sum.clone_from(&series.values);
            } else {
                sum.iter_mut()
                    .zip(&series.values)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        sum
    }

    /// The values of one instance of a component, summed over labels; empty when nothing was recorded.
    pub fn values_of_instance(&self, metric: Metric, component: &str, instance: u32) -> Vec<f64> {
        let mut sum: Vec<f64> = Vec::new();
        for series in &self.series {
            if series.metric == metric && series.component == component && series.instance == Some(instance) {
                if sum.is_empty() {
                    sum.clone_from(&series.values);
                } else {
                    sum.iter_mut()
                        .zip(&series.values)
                        .for_each(|(sum, value)| *sum += value);
                }
            }
        }
        sum
    }

    /// A ratio over a window: the sum above the line over the sum below it; `NaN` where nothing happened, or when the
    /// metric is no ratio.
    pub fn ratio(&self, metric: Metric, component: &str, window: Range<usize>) -> f64 {
        let Some((above, below)) = metric.parts() else {
            return f64::NAN;
        };
        let sum = |parts| -> f64 {
            let values = self.sum_of(parts, component);
            values
                .get(window.clone())
                .map_or(0.0, |values| values.iter().sum())
        };
        sum(above) / sum(below)
    }

    /// The values of a labelled metric, one entry a label in the order of recording.
    pub fn labels(&self, metric: Metric, component: &str) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for series in &self.series {
            if series.metric == metric
                && series.component == component
                && let Some(label) = &series.label
                && !labels.contains(label)
            {
                labels.push(label.clone());
            }
        }
        labels
    }

    /// The names of the components that have a series of this metric, in the order of recording.
    pub fn components(&self, metric: Metric) -> Vec<&str> {
        let parts: &[Metric] = metric.parts().map_or(&[], |(above, _)| above);
        let mut names: Vec<&str> = Vec::new();
        for series in &self.series {
            let counts = series.metric == metric || parts.contains(&series.metric);
            if counts && !names.contains(&series.component.as_str()) {
                names.push(&series.component);
            }
        }
        names
    }

    /// The instant at which period `index` ends, from the start of the run.
    pub fn end_of(&self, index: usize) -> Time {
        Time::from_nanos(self.period.as_nanos() * (index as u64 + 1))
    }

    fn sum_of(&self, metrics: &[Metric], component: &str) -> Vec<f64> {
        let mut sum = vec![0.0; self.periods];
        for metric in metrics {
            for (sum, value) in sum.iter_mut().zip(self.values(*metric, component, None)) {
                *sum += value;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(*metric));
            assert!(!metric.help().is_empty());
        }
    }

    #[test]
    fn a_window_is_in_the_scenarios_clock() {
        let record = Record::new(Span::secs(1), Span::secs(60), 100);
        assert_eq!(record.window(0.0, 10.0), 60..70);
        assert_eq!(record.window(-60.0, -59.0), 0..1);
        assert_eq!(record.window(30.0, 1e9), 90..100);
        assert!((record.clock(60) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_whole_component_is_not_counted_twice() {
        let mut record = Record::new(Span::secs(1), Span::ZERO, 1);
        record.push(Series::new(Metric::CacheEntries, "redis", vec![10.0]));
        record.push(Series::new(Metric::CacheEntries, "redis", vec![4.0]).of_instance(0));
        record.push(Series::new(Metric::CacheEntries, "redis", vec![6.0]).of_instance(1));
        assert_eq!(record.values(Metric::CacheEntries, "redis", None), [10.0]);
        assert_eq!(record.values_of_instance(Metric::CacheEntries, "redis", 1), [6.0]);
    }

    #[test]
    fn labels_add_up_or_stand_alone() {
        let mut record = Record::new(Span::secs(1), Span::ZERO, 1);
        record.push(Series::new(Metric::Requests, "web", vec![7.0]).labelled("fresh"));
        record.push(Series::new(Metric::Requests, "web", vec![3.0]).labelled("error"));
        record.push(Series::new(Metric::Goodput, "web", vec![7.0]));
        assert_eq!(record.values(Metric::Requests, "web", None), [10.0]);
        assert_eq!(record.values(Metric::Requests, "web", Some("error")), [3.0]);
        assert!((record.ratio(Metric::GoodputRatio, "web", 0..1) - 0.7).abs() < 1e-12);
        assert_eq!(record.components(Metric::GoodputRatio), ["web"]);
    }
}
