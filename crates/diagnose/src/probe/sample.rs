//! What a period's questions came to, and a bounded recording of it.

use std::collections::{BTreeMap, VecDeque};

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;

use super::fault::Fault;
use super::step::Step;

/// One number of one period.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What it is.
    pub metric: Metric,
    /// Of which part of the system.
    pub component: String,
    /// Of which copy or node of it, where there are several.
    pub instance: Option<u32>,
    /// The value of the metric's own label.
    pub label: Option<String>,
    /// The number; of a counter, what was added since the last sample.
    pub value: f64,
}

/// What one period's questions came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// All numbers.
    pub points: Vec<Point>,
    /// Steps that did not end well, in words.
    pub troubles: Vec<Trouble>,
}

/// A step that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which part of the system.
    pub component: String,
    /// Of which copy of it.
    pub instance: Option<u32>,
    /// Which step.
    pub step: Step,
    /// Why.
    pub fault: Fault,
}

/// So many numbers of one period are kept.
const POINTS_MAX: usize = 4_096;
/// So many troubles of one period are kept.
const TROUBLES_MAX: usize = 64;

impl Sample {
    /// The number of a metric of a component, over its instances and labels; nothing where there is none.
    pub fn value(&self, metric: Metric, component: &str) -> Option<f64> {
        self.sum(|point| point.metric == metric && point.component == component)
    }

    /// The number of a metric with this label, over components.
    pub fn labelled(&self, metric: Metric, label: &str) -> Option<f64> {
        self.sum(|point| point.metric == metric && point.label.as_deref() == Some(label))
    }

    fn sum(&self, fits: impl Fn(&Point) -> bool) -> Option<f64> {
        let mut found = self
            .points
            .iter()
            .filter(|point| fits(point))
            .map(|point| point.value);
        let first = found.next()?;
        Some(first + found.sum::<f64>())
    }

    /// Says that there is such a thing, although it told nothing: what is there and silent is not the same as what is not
    /// there.
    pub(crate) fn silent(&mut self, place: &Place, metric: Metric) {
        if !self.points.iter().any(|point| point.metric == metric) {
            self.points.push(place.point(metric, f64::NAN));
        }
    }

    /// Adds another part's.
    pub fn extend(&mut self, other: Sample) {
        let room = POINTS_MAX.saturating_sub(self.points.len());
        self.points.extend(other.points.into_iter().take(room));
        let room = TROUBLES_MAX.saturating_sub(self.troubles.len());
        self.troubles.extend(other.troubles.into_iter().take(room));
    }
}

/// Where numbers belong: a part of the system, and which copy of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the part.
    pub component: String,
    /// Which copy, where there are several.
    pub instance: Option<u32>,
}

impl Place {
    /// The only one of its name.
    pub fn new(component: &str) -> Place {
        Place {
            component: component.to_owned(),
            instance: None,
        }
    }

    pub(crate) fn point(&self, metric: Metric, value: f64) -> Point {
        Point {
            metric,
            component: self.component.clone(),
            instance: self.instance,
            label: None,
            value,
        }
    }

    pub(crate) fn labelled(&self, metric: Metric, label: &str, value: f64) -> Point {
        Point {
            label: Some(label.to_owned()),
            ..self.point(metric, value)
        }
    }
}

/// The last periods, and what was measured in them.
///
/// ```
/// use seawall_core::record::Metric;
/// use seawall_core::time::Span;
/// use seawall_diagnose::probe::{Place, Recording, Sample};
/// let mut recording = Recording::new(Span::secs(1), 900);
/// recording.push(Sample::default());
/// assert_eq!(recording.record().periods, 1);
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    period: Span,
    periods_max: usize,
    samples: VecDeque<Sample>,
}

/// So many series are told of; a system has not as many.
const SERIES_MAX: usize = 2_048;

impl Recording {
    /// An empty one of so many periods at most, each as long as said.
    pub fn new(period: Span, periods_max: usize) -> Recording {
        Recording {
            period,
            periods_max: periods_max.max(1),
            samples: VecDeque::new(),
        }
    }

    /// Adds a period; the oldest goes when there are too many.
    pub fn push(&mut self, mut sample: Sample) {
        sample.points.truncate(POINTS_MAX);
        sample.troubles.truncate(TROUBLES_MAX);
        if self.samples.len() == self.periods_max {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// How many periods there are.
    pub fn periods(&self) -> usize {
        self.samples.len()
    }

    /// The newest period.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// All of it, in the one form that findings are made from. A counter that was not told of added nothing; a gauge
    /// that was not told of is not known.
    pub fn record(&self) -> Record {
        let periods = self.samples.len();
        let mut places: BTreeMap<Key<'_>, usize> = BTreeMap::new();
        let mut series: Vec<Series> = Vec::new();
        for (period, sample) in self.samples.iter().enumerate() {
            for point in &sample.points {
                if point.metric.kind() == Kind::Ratio {
                    continue;
                }
                let key = (
                    point.metric,
                    point.component.as_str(),
                    point.instance,
                    point.label.as_deref(),
                );
                let known = places.get(&key).copied();
                let at = match known {
                    Some(at) => at,
                    None if series.len() == SERIES_MAX => continue,
                    None => {
                        places.insert(key, series.len());
                        series.push(empty(point, periods));
                        series.len() - 1
                    }
                };
                let value = &mut series[at].values[period];
                let counts = point.metric.kind() == Kind::Counter && value.is_finite();
                *value = if counts { *value + point.value } else { point.value };
            }
        }
        let mut record = Record::new(self.period, Span::ZERO, periods);
        for series in series {
            record.push(series);
        }
        record
    }
}

/// What tells series apart.
type Key<'a> = (Metric, &'a str, Option<u32>, Option<&'a str>);

fn empty(point: &Point, periods: usize) -> Series {
    let nothing = if point.metric.kind() == Kind::Counter {
        0.0
    } else {
        f64::NAN
    };
    Series {
        metric: point.metric,
        component: point.component.clone(),
        instance: point.instance,
        label: point.label.clone(),
        values: vec![nothing; periods],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_is_nothing_or_not_known() {
        let redis = Place::new("redis");
        let mut recording = Recording::new(Span::secs(1), 3);
        let sample = |points| Sample {
            points,
            ..Sample::default()
        };
        recording.push(sample(vec![redis.point(Metric::CacheHits, 9.0)]));
        recording.push(Sample::default());
        recording.push(sample(vec![
            redis.point(Metric::CacheHits, 5.0),
            redis.point(Metric::CacheUptime, 7.0),
            redis.labelled(Metric::ProbeFailures, "reply_timed_out", 1.0),
        ]));
        let record = recording.record();
        assert_eq!(record.values(Metric::CacheHits, "redis", None), [9.0, 0.0, 5.0]);
        let uptime = record.values(Metric::CacheUptime, "redis", None);
        assert!(uptime[0].is_nan() && uptime[1].is_nan());
        assert_eq!(uptime[2..], [7.0]);
        let failures = record.values(Metric::ProbeFailures, "redis", Some("reply_timed_out"));
        assert_eq!(failures, [0.0, 0.0, 1.0]);

        recording.push(Sample::default());
        assert_eq!(recording.periods(), 3, "it is bounded");
        let hits = recording.record().values(Metric::CacheHits, "redis", None);
        assert_eq!(hits, [0.0, 5.0, 0.0], "the oldest is gone");
    }

    #[test]
    fn series_are_bounded() {
        let mut recording = Recording::new(Span::secs(1), 4);
        let redis = Place::new("redis");
        for round in 0..4 {
            let labels = (0..POINTS_MAX * 2).map(|index| format!("{round}-{index}"));
            let points = labels.map(|label| redis.labelled(Metric::LogLines, &label, 1.0));
            recording.push(Sample {
                points: points.collect(),
                ..Sample::default()
            });
        }
        assert_eq!(recording.record().series().len(), SERIES_MAX);
    }
}
