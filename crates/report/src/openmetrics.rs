//! The record as OpenMetrics text, so that a real Prometheus, its alert rules and Grafana can look at the run.
//!
//! Virtual time has no date. The scenario's zero is put at 2001-01-01T00:00:00Z ([`OPENMETRICS_EPOCH_S`]): long ago
//! enough to be mistaken for nothing real, and the same every time. Load it with
//! `promtool tsdb create-blocks-from openmetrics FILE DIR`.
//!
//! The format is that of OpenMetrics 1.0: families are not interleaved, counters are running sums that end in
//! `_total`, quantiles are summaries without a sum, and `# EOF` ends the text.

use std::io::{self, Write};
use std::ops::Range;

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;

use crate::Report;
use crate::bucket::{buckets, decimal, end_nanos, value};

/// Where the scenario's zero lies, in seconds since 1970: 2001-01-01T00:00:00Z.
pub const OPENMETRICS_EPOCH_S: i64 = 978_307_200;

/// Writes every series of every run, with the labels `variant`, `run`, `component`, `instance` and the metric's own.
/// `every` makes longer periods of several, as in [`crate::series_csv`].
///
/// # Errors
/// What `out` refuses.
pub fn openmetrics(report: &Report, every: Option<Span>, out: &mut dyn Write) -> io::Result<()> {
    for metric in Metric::ALL {
        let mut begun = false;
        for variant in &report.variants {
            for (run, record) in variant.records.iter().enumerate() {
                let cut = buckets(record, every);
                let about = format!("variant=\"{}\",run=\"{run}\"", escaped(&variant.name));
                if has(record, *metric) && !begun {
                    begun = true;
                    head(out, *metric)?;
                }
                for series in record.series().iter().filter(|series| series.metric == *metric) {
                    let labels = format!("{{{about},{}}}", labels_of(series));
                    samples(out, record, &cut, series, &labels)?;
                }
                if metric.kind() == Kind::Ratio {
                    ratios(out, record, &cut, *metric, &about)?;
                }
            }
        }
    }
    writeln!(out, "# EOF")
}

fn has(record: &Record, metric: Metric) -> bool {
    match metric.kind() {
        Kind::Ratio => !record.components(metric).is_empty(),
        _ => record.series().iter().any(|series| series.metric == metric),
    }
}

fn head(out: &mut dyn Write, metric: Metric) -> io::Result<()> {
    let family = metric.name().trim_end_matches("_total");
    let kind = match metric.kind() {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Ratio => "gauge",
        Kind::Duration => "summary",
    };
    writeln!(out, "# HELP {family} {}", escaped(metric.help()))?;
    writeln!(out, "# TYPE {family} {kind}")?;
    if metric.kind() == Kind::Duration {
        writeln!(out, "# UNIT {family} seconds")?;
    }
    Ok(())
}

fn samples(
    out: &mut dyn Write,
    record: &Record,
    cut: &[Range<usize>],
    series: &Series,
    labels: &str,
) -> io::Result<()> {
    let name = series.metric.name();
    let mut sum = 0.0;
    for bucket in cut {
        let mut value = value(series, bucket);
        if !value.is_finite() {
            continue;
        }
        if series.metric.kind() == Kind::Counter {
            sum += value;
            value = sum;
        }
        writeln!(out, "{name}{labels} {value} {}", timestamp(record, bucket))?;
    }
    Ok(())
}

fn ratios(
    out: &mut dyn Write,
    record: &Record,
    cut: &[Range<usize>],
    metric: Metric,
    about: &str,
) -> io::Result<()> {
    for component in record.components(metric) {
        let labels = format!("{{{about},component=\"{}\"}}", escaped(component));
        for bucket in cut {
            let value = record.ratio(metric, component, bucket.clone());
            if value.is_finite() {
                writeln!(
                    out,
                    "{}{labels} {value} {}",
                    metric.name(),
                    timestamp(record, bucket)
                )?;
            }
        }
    }
    Ok(())
}

fn timestamp(record: &Record, bucket: &Range<usize>) -> String {
    decimal(end_nanos(record, bucket) + i128::from(OPENMETRICS_EPOCH_S) * 1_000_000_000)
}

fn labels_of(series: &Series) -> String {
    let mut labels = vec![pair("component", &series.component)];
    if let Some(instance) = series.instance {
        labels.push(pair("instance", &instance.to_string()));
    }
    if let (Some(key), Some(label)) = (series.metric.label(), &series.label) {
        labels.push(pair(key, label));
    }
    labels.join(",")
}

fn pair(key: &str, value: &str) -> String {
    format!("{key}=\"{}\"", escaped(value))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
