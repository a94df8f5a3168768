//! The series as long-form CSV, one value a row (RFC 4180): what a data frame wants.
//!
//! A labelled metric keeps its label in its name: `requests_total{outcome="fresh"}`. What was not observed is an
//! empty field.

mod read;

use std::io::{self, Write};
use std::ops::Range;

use seawall_core::record::{Record, Series};
use seawall_core::time::Span;

use crate::Report;
use crate::bucket::{buckets, decimal, end_nanos, ratios, value};

pub use read::{Unreadable, read_csv, record_csv};

/// The first line.
pub(crate) const HEADER: &str = "variant,run,time_s,metric,component,instance,value";

/// Writes every series of every run. `time_s` is the end of the period on the scenario's clock; `every` makes longer
/// periods of several: counters add up, gauges and quantiles keep their last value.
///
/// # Errors
/// What `out` refuses.
pub fn series_csv(report: &Report, every: Option<Span>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for variant in &report.variants {
        for (run, record) in variant.records.iter().enumerate() {
            let cut = buckets(record, every);
            let times: Vec<String> = cut
                .iter()
                .map(|bucket| decimal(end_nanos(record, bucket)))
                .collect();
            let start = format!("{},{run}", field(&variant.name));
            for series in record.series() {
                let metric = metric_name(series);
                let instance = series
                    .instance
                    .map(|instance| instance.to_string())
                    .unwrap_or_default();
                let end = format!("{},{},{instance}", field(&metric), field(&series.component));
                rows(out, &start, &end, &times, &cut, &|bucket| value(series, bucket))?;
            }
            for (metric, component) in ratios(record) {
                let end = format!("{},{},", metric.name(), field(component));
                let ratio = |bucket: &Range<usize>| ratio_of(record, metric, component, bucket);
                rows(out, &start, &end, &times, &cut, &ratio)?;
            }
        }
    }
    Ok(())
}

fn ratio_of(
    record: &Record,
    metric: seawall_core::record::Metric,
    component: &str,
    bucket: &Range<usize>,
) -> f64 {
    record.ratio(metric, component, bucket.clone())
}

fn rows(
    out: &mut dyn Write,
    start: &str,
    end: &str,
    times: &[String],
    cut: &[Range<usize>],
    value: &dyn Fn(&Range<usize>) -> f64,
) -> io::Result<()> {
    for (bucket, time) in cut.iter().zip(times) {
        let value = value(bucket);
        if value.is_finite() {
            writeln!(out, "{start},{time},{end},{value}")?;
        } else {
            writeln!(out, "{start},{time},{end},")?;
        }
    }
    Ok(())
}

fn metric_name(series: &Series) -> String {
    let name = series.metric.name();
    match (series.metric.label(), &series.label) {
        (Some(key), Some(label)) => format!("{name}{{{key}=\"{label}\"}}"),
        _ => name.to_owned(),
    }
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
