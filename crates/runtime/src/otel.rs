//! Metrics through the API of OpenTelemetry, for whatever exporter a service has.
//!
//! The names and labels are those of the record, as on the Prometheus page. Counters and gauges are asked when somebody
//! collects. Durations have to be told one by one, which is too much for what memory answers in less than a
//! microsecond: those are in `requests_total` and not in `request_duration_seconds`.
//!
//! It makes no exporter and sets nothing global. Spans (`read`, `load`, `tier`) are those of `tracing`; the crate
//! `tracing-opentelemetry` takes them where they are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use seawall_core::guard::TIERS_MAX;
use seawall_core::record::{Kind, Metric};
use seawall_core::time::Span;

use crate::cache::Cache;
use crate::engine::Engine;
use crate::key::Key;
use crate::meters::BOUNDS_S;
use crate::stats::{TIER_DURATION, TIER_DURATION_HELP};

/// Where durations are told.
#[derive(Debug)]
pub(crate) struct Hooks {
    requests: Histogram<f64>,
    origin: Histogram<f64>,
    tiers: Histogram<f64>,
    component: [KeyValue; 1],
    by_tier: [[KeyValue; 2]; TIERS_MAX],
}

impl Hooks {
    pub(crate) fn request(&self, took: Span) {
        self.requests.record(took.as_secs_f64(), &self.component);
    }

    pub(crate) fn origin(&self, took: Span) {
        self.origin.record(took.as_secs_f64(), &self.component);
    }

    pub(crate) fn tier(&self, tier: u8, took: Span) {
        self.tiers
            .record(took.as_secs_f64(), &self.by_tier[tier as usize]);
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// Tells this meter all metrics of [`Cache::write_metrics`], under the same names. Only the first meter is told; a
    /// later one is left alone. Whether this one was the first.
    ///
    /// ```
    /// use opentelemetry::global;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let users: seawall::Cache<u64, String> = seawall::Cache::builder("users").build();
    /// assert!(users.export_to(&global::meter("my-service")));
    /// # });
    /// ```
    pub fn export_to(&self, meter: &Meter) -> bool {
        let engine = &self.engine;
        let mut first = false;
        engine.meters.hooks.get_or_init(|| {
            first = true;
            engine.hooks(meter)
        });
        if first {
            let mut metrics = BTreeSet::new();
            engine.samples(&mut |metric, _, _| {
                metrics.insert(metric);
            });
            for metric in metrics {
                engine.observe(meter, metric);
            }
        }
        first
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    fn hooks(&self, meter: &Meter) -> Hooks {
        let histogram = |name: &'static str, help: &'static str| {
            let builder = meter.f64_histogram(name).with_description(help).with_unit("s");
            builder.with_boundaries(BOUNDS_S.to_vec()).build()
        };
        let component = KeyValue::new("component", Arc::clone(&self.name));
        let tiers: Vec<String> = self.far_tiers().map(|(_, name)| name.to_owned()).collect();
        let first = usize::from(self.memory.is_some());
        let by_tier = std::array::from_fn(|place| {
            let name = place.checked_sub(first).and_then(|place| tiers.get(place));
            let name = name.map_or("memory", String::as_str);
            [component.clone(), KeyValue::new("tier", name.to_owned())]
        });
        let of = |metric: Metric| histogram(metric.name(), metric.help());
        Hooks {
            requests: of(Metric::RequestDuration),
            origin: of(Metric::OriginDuration),
            tiers: histogram(TIER_DURATION, TIER_DURATION_HELP),
            component: [component],
            by_tier,
        }
    }

    /// Lets this metric be asked for, for as long as the cache lives.
    fn observe(&self, meter: &Meter, metric: Metric) {
        let (engine, name, help) = (self.me.clone(), metric.name(), metric.help());
        let each = move |tell: &dyn Fn(f64, &[KeyValue])| {
            let Some(engine) = engine.upgrade() else { return };
            let mut attributes = Vec::new();
            engine.samples(&mut |sampled, labels, value| {
                // "No limit" is no number that can be exported.
                if sampled != metric || !value.is_finite() {
                    return;
                }
                attributes.clear();
                attributes.push(KeyValue::new("component", Arc::clone(&engine.name)));
                let labels = labels.iter();
                attributes.extend(
                    labels.map(|(label, value)| KeyValue::new((*label).to_owned(), (*value).to_owned())),
                );
                tell(value, &attributes);
            });
        };
        if metric.kind() == Kind::Counter {
            let builder = meter.f64_observable_counter(name).with_description(help);
            let _ = builder
                .with_callback(move |observer| each(&|value, labels| observer.observe(value, labels)))
                .build();
        } else {
            let builder = meter.f64_observable_gauge(name).with_description(help);
            let _ = builder
                .with_callback(move |observer| each(&|value, labels| observer.observe(value, labels)))
                .build();
        }
    }
}
