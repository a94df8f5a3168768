//! Predicted curves, to be drawn under measured ones: the first run as a line, all of them as a band.

use seawall_core::record::Record;
use serde_json::{Value, json};

use super::curves::rates;
use super::{Chart, rounded};
use crate::Report;
use crate::digest::good;

/// What was predicted of each curve of a chart; of a stack, of its right answers as a whole.
pub(super) fn predicted(report: &Report, records: &[Record], chart: &Chart, stride: usize) -> Vec<Value> {
    if chart.form == "stack" {
        let goodput = |record: &Record| rates(record, &good(report, record), stride);
        return vec![line(&records.iter().map(goodput).collect::<Vec<_>>())];
    }
    let of = |values: &super::Values| {
        line(
            &records
                .iter()
                .map(|record| values(report, record, stride))
                .collect::<Vec<_>>(),
        )
    };
    chart.curves.iter().map(|curve| of(&*curve.values)).collect()
}

/// A line with its band; nothing where there is nothing to draw.
fn line(runs: &[Vec<f64>]) -> Value {
    let Some(first) = runs
        .first()
        .filter(|first| first.iter().any(|value| value.is_finite()))
    else {
        return Value::Null;
    };
    let bound = |pick: fn(f64, f64) -> f64| -> Vec<Value> {
        let at = |point: usize| {
            runs.iter()
                .filter_map(|run| run.get(point).copied())
                .fold(f64::NAN, pick)
        };
        (0..first.len()).map(at).map(rounded).collect()
    };
    let band = (runs.len() > 1).then(|| json!([bound(f64::min), bound(f64::max)]));
    json!({ "points": first.iter().copied().map(rounded).collect::<Vec<_>>(), "band": band })
}
