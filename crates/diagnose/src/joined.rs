//! Two records as one: the calm of another time before what is measured now.

use std::ops::Range;

use seawall_core::record::{Kind, Record, Series};

/// `now` after `calm`, in periods of `now`, and which periods are the calm.
///
/// The calm may have longer periods, as Prometheus has: what is counted is then divided. A series that only one of them
/// has is missing in the other's time, and is not zero there.
pub fn joined(calm: &Record, now: &Record) -> (Record, Range<usize>) {
    let share = now.period.as_secs_f64() / calm.period.as_secs_f64();
    let periods = calm.periods + now.periods;
    let mut record = Record::new(now.period, now.origin, periods);
    let same = |one: &Series, other: &Series| {
        one.metric == other.metric
            && one.component == other.component
            && one.instance == other.instance
            && one.label == other.label
    };
    let missing = |series: &Series, count: usize| -> Vec<f64> {
        // A failure that has no series has not happened; what nobody measured is not known.
        let nothing = if series.label.is_some() && series.metric.kind() == Kind::Counter {
            0.0
        } else {
            f64::NAN
        };
        vec![nothing; count]
    };
    let sized = |series: &Series| -> Vec<f64> {
        let factor = if series.metric.kind() == Kind::Counter {
            share
        } else {
            1.0
        };
        series.values.iter().map(|value| value * factor).collect()
    };
    for series in calm.series() {
        let mut values = sized(series);
        let later = now.series().iter().find(|other| same(series, other));
        values.extend(later.map_or_else(|| missing(series, now.periods), |later| later.values.clone()));
        record.push(Series {
            values,
            ..series.clone()
        });
    }
    for series in now.series() {
        if calm.series().iter().any(|other| same(series, other)) {
            continue;
        }
        let mut values = missing(series, calm.periods);
        values.extend(&series.values);
        record.push(Series {
            values,
            ..series.clone()
        });
    }
    (record, 0..calm.periods)
}

#[cfg(test)]
mod tests {
    use seawall_core::record::Metric;
    use seawall_core::time::Span;

    use super::*;

    #[test]
    fn longer_periods_are_divided() {
        let mut calm = Record::new(Span::secs(10), Span::ZERO, 2);
        calm.push(Series::new(Metric::CacheHits, "redis", vec![1000.0, 2000.0]));
        calm.push(Series::new(Metric::CacheEntries, "redis", vec![7.0, 7.0]));
        let mut now = Record::new(Span::secs(1), Span::ZERO, 1);
        now.push(Series::new(Metric::CacheHits, "redis", vec![50.0]));
        now.push(Series::new(Metric::ProbeFailures, "redis", vec![1.0]).labelled("reply_timed_out"));
        let (both, calm) = joined(&calm, &now);
        assert_eq!(calm, 0..2);
        assert_eq!(
            both.values(Metric::CacheHits, "redis", None),
            [100.0, 200.0, 50.0]
        );
        assert!(both.values(Metric::CacheEntries, "redis", None)[2].is_nan());
        assert_eq!(both.values(Metric::ProbeFailures, "redis", None), [0.0, 0.0, 1.0]);
    }
}
