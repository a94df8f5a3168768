//! The latest periods in columns, and the calm that outlives them.
//!
//! A [`Window`] is a record that goes on and forgets its beginning. A [`Calm`] is a part of it that is kept: what all is
//! compared with in an incident, which may last longer than the window, or than the process that watches.

use std::collections::BTreeMap;

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;
use serde::{Deserialize, Serialize};

use super::Utc;
use crate::probe::Point;

/// So many series are kept.
const SERIES_MAX: usize = 2_048;

type Key = (Metric, String, Option<u32>, Option<String>);

/// The latest periods.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    period: Span,
    periods_max: usize,
    /// The number of its first period, of all that there were.
    first: usize,
    periods: usize,
    columns: BTreeMap<Key, Vec<f64>>,
}

/// Periods in which all was well, kept for later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calm {
    /// When the last of them was.
    pub taken: Utc,
    /// How long each is, in nanoseconds.
    pub period_ns: u64,
    /// How many there are.
    pub periods: usize,
    columns: Vec<Column>,
}

/// One series of it. What was not measured is nothing, because JSON has no word for `NaN`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Column {
    metric: String,
    component: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    values: Vec<Option<f64>>,
}

impl Window {
    /// An empty one of so many periods at most.
    pub(crate) fn new(period: Span, periods_max: usize) -> Window {
        Window {
            period,
            periods_max: periods_max.max(2),
            first: 0,
            periods: 0,
            columns: BTreeMap::new(),
        }
    }

    /// One that begins with the calm of another time.
    pub(crate) fn knowing(calm: &Calm, periods_max: usize) -> Window {
        let mut window = Window::new(Span::nanos(calm.period_ns.max(1)), periods_max);
        window.periods = calm.periods;
        for column in calm.columns.iter().take(SERIES_MAX) {
            let Some(metric) =
                Metric::from_name(&column.metric).filter(|metric| metric.kind() != Kind::Ratio)
            else {
                continue;
            };
            let key = (
                metric,
                column.component.clone(),
                column.instance,
                column.label.clone(),
            );
            let mut values: Vec<f64> = column
                .values
                .iter()
                .map(|value| value.unwrap_or(f64::NAN))
                .collect();
            values.resize(calm.periods, nothing(metric));
            window.columns.insert(key, values);
        }
        window
    }

    /// Adds a period; the oldest goes when there are too many. A counter that was not told of added nothing, and a gauge
    /// that was not told of is not known.
    pub(crate) fn push(&mut self, points: &[Point]) {
        if self.periods == self.periods_max {
            for values in self.columns.values_mut() {
                values.remove(0);
            }
            self.first += 1;
            self.periods -= 1;
        }
        for ((metric, ..), values) in &mut self.columns {
            values.push(nothing(*metric));
        }
        self.periods += 1;
        for point in points {
            let is_ratio = point.metric.kind() == Kind::Ratio;
            if is_ratio {
                continue;
            }
            let key = (
                point.metric,
                point.component.clone(),
                point.instance,
                point.label.clone(),
            );
            if self.columns.len() == SERIES_MAX && !self.columns.contains_key(&key) {
                continue;
            }
            let periods = self.periods;
            let values = self
                .columns
                .entry(key)
                .or_insert_with(|| vec![nothing(point.metric); periods]);
            let Some(last) = values.last_mut() else { continue };
            let adds = point.metric.kind() == Kind::Counter;
            *last = if adds { *last + point.value } else { point.value };
        }
    }

    /// Adds these periods of another, by their numbers there.
    pub(crate) fn follow_with(&mut self, other: &Window, numbers: &[usize]) {
        for number in numbers {
            let Some(index) = number.checked_sub(other.first) else {
                continue;
            };
            let points = other
                .columns
                .iter()
                .filter_map(|((metric, component, instance, label), values)| {
                    let value = *values.get(index)?;
                    value.is_finite().then(|| Point {
                        metric: *metric,
                        component: component.clone(),
                        instance: *instance,
                        label: label.clone(),
                        value,
                    })
                });
            let points: Vec<Point> = points.collect();
            self.push(&points);
        }
    }

    /// The number of its first period.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// The number of its last period.
    pub(crate) fn last(&self) -> usize {
        (self.first + self.periods).saturating_sub(1)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.periods == self.periods_max
    }

    /// All of it, as one record.
    pub(crate) fn record(&self) -> Record {
        let mut record = Record::new(self.period, Span::ZERO, self.periods);
        for ((metric, component, instance, label), values) in &self.columns {
            record.push(Series {
                metric: *metric,
                component: component.clone(),
                instance: *instance,
                label: label.clone(),
                values: values.clone(),
            });
        }
        record
    }

    /// These periods of it, by their numbers.
    pub(crate) fn keep(&self, numbers: &[usize], taken: Utc) -> Calm {
        let inside: Vec<usize> = numbers
            .iter()
            .filter_map(|number| number.checked_sub(self.first))
            .filter(|index| *index < self.periods)
            .collect();
        let column = |(key, values): (&Key, &Vec<f64>)| Column {
            metric: key.0.name().to_owned(),
            component: key.1.clone(),
            instance: key.2,
            label: key.3.clone(),
            values: inside
                .iter()
                .map(|index| values.get(*index).copied().filter(|value| value.is_finite()))
                .collect(),
        };
        Calm {
            taken,
            period_ns: self.period.as_nanos(),
            periods: inside.len(),
            columns: self.columns.iter().map(column).collect(),
        }
    }
}

/// What a period holds that nothing was told of.
fn nothing(metric: Metric) -> f64 {
    if metric.kind() == Kind::Counter {
        0.0
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Place;

    fn point(metric: Metric, value: f64) -> Point {
        let Place { component, instance } = Place::new("redis");
        Point {
            metric,
            component,
            instance,
            label: None,
            value,
        }
    }

    #[test]
    fn it_forgets_its_beginning_and_keeps_what_was_calm() {
        let mut window = Window::new(Span::secs(1), 4);
        for at in 0..6 {
            let mut points = vec![point(Metric::CacheHits, f64::from(at))];
            if at % 2 == 0 {
                points.push(point(Metric::CacheEntries, 7.0));
            }
            window.push(&points);
        }
        assert_eq!((window.first(), window.last(), window.is_full()), (2, 5, true));
        let record = window.record();
        assert_eq!(
            record.values(Metric::CacheHits, "redis", None),
            [2.0, 3.0, 4.0, 5.0]
        );
        let calm = window.keep(&[0, 3, 4], Utc::default());
        assert_eq!(calm.periods, 2, "what is forgotten is not kept");
        let text = serde_json::to_string(&calm).expect("plain data");
        let again = Window::knowing(&serde_json::from_str(&text).expect("what was written"), 4).record();
        assert_eq!(again.values(Metric::CacheHits, "redis", None), [3.0, 4.0]);
        let entries = again.values(Metric::CacheEntries, "redis", None);
        assert!(
            entries[0].is_nan() && (entries[1] - 7.0).abs() < 1e-9,
            "{entries:?}"
        );
    }
}
