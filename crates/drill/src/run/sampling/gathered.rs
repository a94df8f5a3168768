//! Series while they are gathered, and the record that they become.

use std::collections::BTreeMap;

use seawall_core::histogram::Histogram;
use seawall_core::record::{Kind, Metric, QUANTILES, Record, Series};
use seawall_core::time::Span;
use seawall_diagnose::probe::Point;

use crate::steady::Steady;

/// One series while it is gathered: what, of which component, of which node, with which label.
type Name = (Metric, String, Option<u32>, Option<String>);

/// Series of a run under way.
#[derive(Debug, Default)]
pub(in crate::run) struct Gathered {
    series: BTreeMap<Name, Vec<f64>>,
    /// What a prober told.
    heard: BTreeMap<Name, Vec<f64>>,
    pub(super) periods: usize,
    /// Of each shared cache before anything was injected: how many calls took no longer than so many seconds.
    pub(super) calls: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Gathered {
    pub(super) fn set(&mut self, metric: Metric, component: &str, label: Option<&str>, value: f64) {
        self.put(
            (metric, component.to_owned(), None, label.map(str::to_owned)),
            value,
        );
    }

    /// What a prober has told in the period that is gathered. What it did not tell is not known.
    pub(super) fn hear(&mut self, points: Vec<Point>) {
        for point in points {
            let counts = point.metric.kind() == Kind::Counter;
            let values = self
                .heard
                .entry((point.metric, point.component, point.instance, point.label))
                .or_default();
            let before = values.get(self.periods).copied().unwrap_or(0.0);
            values.resize(self.periods, if counts { 0.0 } else { f64::NAN });
            values.push(if counts { before + point.value } else { point.value });
        }
    }

    pub(super) fn put(&mut self, name: Name, value: f64) {
        let nothing = if name.0.kind() == Kind::Duration {
            f64::NAN
        } else {
            0.0
        };
        let values = self.series.entry(name).or_default();
        if values.len() > self.periods {
            // Two services with one cache.
            if let Some(last) = values.last_mut() {
                *last += value;
            }
            return;
        }
        values.resize(self.periods, nothing);
        values.push(value);
    }

    pub(super) fn durations(&mut self, metric: Metric, component: &str, times: &[u64]) {
        let mut histogram = Histogram::default();
        for micros in times {
            histogram.record(Span::micros(*micros));
        }
        for (q, label) in QUANTILES {
            let value = if histogram.count() > 0 {
                histogram.quantile(q).as_secs_f64()
            } else {
                f64::NAN
            };
            self.set(metric, component, Some(label), value);
        }
    }

    /// What was measured before anything was injected.
    pub(in crate::run) fn steady(&self) -> Steady {
        let medians = self
            .calls
            .iter()
            .filter_map(|(cache, counts)| Some((cache.clone(), median(counts)?)));
        Steady {
            caches: medians.collect(),
        }
    }

    /// The record of so many periods, with what clients have measured, as it would be at full size.
    pub(in crate::run) fn record(
        &self,
        of_clients: &[Record],
        period: Span,
        origin: Span,
        periods: usize,
        scale: f64,
    ) -> Record {
        let mut record = Record::new(period, origin, periods);
        let sized = |metric: Metric, mut values: Vec<f64>| {
            let nothing = if metric.kind() == Kind::Duration {
                f64::NAN
            } else {
                0.0
            };
            values.resize(periods, nothing);
            values
        };
        for one in of_clients.iter().flat_map(Record::series) {
            let values = sized(one.metric, one.values.clone());
            record.push(Series {
                values,
                ..one.clone()
            });
        }
        for ((metric, component, instance, label), values) in &self.series {
            let mut series = Series::new(*metric, component, sized(*metric, values.clone()));
            series.label.clone_from(label);
            series.instance = *instance;
            record.push(series);
        }
        for ((metric, component, instance, label), values) in &self.heard {
            let mut values = values.clone();
            let counts = metric.kind() == Kind::Counter;
            values.resize(periods, if counts { 0.0 } else { f64::NAN });
            let mut series = Series::new(*metric, component, values);
            series.label.clone_from(label);
            series.instance = *instance;
            record.push(series);
        }
        record.at_full_size(scale)
    }
}

/// The median of a histogram of Prometheus, in a straight line within its bucket.
fn median(counts: &BTreeMap<String, f64>) -> Option<Span> {
    let mut buckets: Vec<(f64, f64)> = counts
        .iter()
        .filter_map(|(bound, count)| Some((bound.parse().ok()?, *count)))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = buckets.last()?.1 / 2.0;
    let mut below = (0.0, 0.0);
    for (bound, count) in buckets {
        if half > 0.0 && count >= half && bound.is_finite() {
            let share = (half - below.1) / (count - below.1);
            return Some(Span::from_secs_f64(below.0 + share * (bound - below.0)));
        }
        below = (bound, count);
    }
    None
}
