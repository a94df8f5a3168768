//! Series in longer periods than they were recorded in, for the forms that machines read.
//!
//! Counters add up, gauges and quantiles keep the last value of the bucket. Buckets are cut so that the scenario's
//! zero lies between two of them, whatever the length of the warm-up.

use std::ops::Range;

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;

/// The periods of a record in groups of about `every`; one each when it is absent or shorter than a period.
pub(crate) fn buckets(record: &Record, every: Option<Span>) -> Vec<Range<usize>> {
    let period = record.period.as_nanos();
    let size = every.map_or(1, |every| (every.as_nanos() / period).max(1)) as usize;
    let warmup = (record.origin.as_nanos() / period) as usize;
    let mut start = 0;
    let mut found = Vec::new();
    while start < record.periods {
        let past_cut = (start + size - warmup % size) % size;
        let end = (start + size - past_cut).min(record.periods);
        found.push(start..end);
        start = end;
    }
    found
}

/// The value of a series over a bucket; `NaN` when nothing was observed.
pub(crate) fn value(series: &Series, bucket: &Range<usize>) -> f64 {
    let values = series.values.get(bucket.clone()).unwrap_or(&[]);
    match series.metric.kind() {
        Kind::Counter => values.iter().sum(),
        Kind::Gauge | Kind::Duration | Kind::Ratio => {
            let known = values.iter().rev().find(|value| value.is_finite());
            known.copied().unwrap_or(f64::NAN)
        }
    }
}

/// The ratios that a record can tell, with their components.
pub(crate) fn ratios(record: &Record) -> Vec<(Metric, &str)> {
    let is_ratio = |metric: &&Metric| metric.kind() == Kind::Ratio;
    let metrics = Metric::ALL.iter().filter(is_ratio);
    metrics
        .flat_map(|metric| record.components(*metric).into_iter().map(|name| (*metric, name)))
        .collect()
}

/// The scenario's clock at the end of a bucket in nanoseconds; negative in the warm-up.
pub(crate) fn end_nanos(record: &Record, bucket: &Range<usize>) -> i128 {
    i128::from(record.period.as_nanos()) * bucket.end as i128 - i128::from(record.origin.as_nanos())
}

/// Nanoseconds as seconds in decimal digits, exactly, without needless zeros.
pub(crate) fn decimal(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let (whole, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{rest:09}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_lies_between_two_buckets() {
        let record = Record::new(Span::secs(1), Span::secs(7), 20);
        let cut = buckets(&record, Some(Span::secs(5)));
        assert_eq!(cut, [0..2, 2..7, 7..12, 12..17, 17..20]);
        assert_eq!(end_nanos(&record, &cut[1]), 0);
    }

    #[test]
    fn counters_add_and_gauges_stay() {
        let counter = Series::new(Metric::CacheHits, "redis", vec![1.0, 2.0, 3.0]);
        let gauge = Series::new(Metric::CacheEntries, "redis", vec![1.0, 2.0, f64::NAN]);
        assert!((value(&counter, &(0..3)) - 6.0).abs() < 1e-12);
        assert!((value(&gauge, &(0..3)) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal(-500_000_000), "-0.5");
        assert_eq!(decimal(12_000_000_000), "12");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_period_is_in_one_bucket(periods in 0..200_usize, warmup in 0..50_u64, every in 0..40_u64) {
            let record = Record::new(Span::secs(1), Span::secs(warmup), periods);
            let cut = buckets(&record, Some(Span::secs(every)));
            let all: Vec<usize> = cut.into_iter().flatten().collect();
            prop_assert_eq!(all, (0..periods).collect::<Vec<usize>>());
        }
    }
}
