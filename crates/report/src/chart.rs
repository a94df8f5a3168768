//! The curves of the page as data: which charts there are, what is in them, and at which resolution.
//!
//! A chart is the same for all variants, so that they share a scale. It has at most 600 points a curve, fewer when a
//! report has very many curves: the page must stay small enough to be sent by mail. Rates are means over a point's
//! periods, quantiles are their highest, ratios are of sums. With several runs a point is the mean over them, and its
//! 95% confidence interval is drawn as a band.

mod curves;
mod over;

use seawall_core::record::Record;
use serde_json::{Value, json};

use self::curves::charts;
use crate::estimate::Estimate;
use crate::phase::extent;
use crate::{HappeningKind, Report, Variant};

/// The most points of a curve.
const POINTS: usize = 600;
/// The most numbers on a page, about six bytes each.
const NUMBERS: usize = 150_000;

/// The values of a curve in a record, one for each so many periods.
type Values = dyn Fn(&Report, &Record, usize) -> Vec<f64>;

/// One curve: where its numbers come from, and how it is drawn.
struct Curve {
    name: String,
    /// The name of its colour and pattern.
    style: String,
    /// One value for each so many periods of a record; `NaN` where there is none.
    values: Box<Values>,
}

struct Chart {
    title: String,
    note: &'static str,
    /// `stack`, `lines` or `lanes`.
    form: &'static str,
    /// `rate`, `seconds`, `share` or `count`.
    unit: &'static str,
    /// Horizontal lines with their names.
    hints: Vec<(f64, String)>,
    curves: Vec<Curve>,
}

/// All that the page's script draws.
pub(crate) fn data(report: &Report) -> Value {
    data_over(report, &[])
}

/// The same, over what was predicted of each variant: one record a predicted run.
pub(crate) fn data_over(report: &Report, predicted: &[&[Record]]) -> Value {
    let charts: Vec<Chart> = charts(report)
        .into_iter()
        .map(|chart| Chart {
            curves: alive(report, predicted, chart.curves),
            ..chart
        })
        .filter(|chart| !chart.curves.is_empty())
        .collect();
    let curves: usize = charts.iter().map(|chart| chart.curves.len()).sum();
    let bands = if predicted.is_empty() {
        1 + usize::from(report.runs > 1)
    } else {
        4
    };
    let share = NUMBERS / (curves * report.variants.len() * bands).max(1);
    let points = share.clamp(60, POINTS);
    let stride = longest(report).div_ceil(points).max(1);
    let (from, to) = extent(report);
    let period = report.variants.iter().find_map(|variant| variant.records.first());
    json!({
        "from": from,
        "to": to,
        "step": period.map_or(1.0, |record| record.period.as_secs_f64()) * stride as f64,
        "runs": report.runs,
        "over": !predicted.is_empty(),
        "variants": report.variants.iter().map(|variant| json!({"name": variant.name})).collect::<Vec<_>>(),
        "windows": windows(report),
        "charts": charts.iter().map(|chart| drawn(report, predicted, chart, stride)).collect::<Vec<_>>(),
    })
}

fn windows(report: &Report) -> Vec<Value> {
    let mut faults = 0;
    let mut actions = 0;
    let window = |happening: &crate::Happening| {
        let fault = happening.kind == HappeningKind::Fault;
        let count = if fault { &mut faults } else { &mut actions };
        *count += 1;
        json!({
            "tag": format!("{}{count}", if fault { "F" } else { "A" }),
            "fault": fault,
            "variant": happening.variant,
            "from": happening.from,
            "to": happening.to,
            "text": happening.words(),
        })
    };
    report.happenings.iter().map(window).collect()
}

fn drawn(report: &Report, predicted: &[&[Record]], chart: &Chart, stride: usize) -> Value {
    let of = |variant: &Variant, band: bool| -> Vec<Value> {
        let curves = chart.curves.iter();
        curves
            .map(|curve| points(report, variant, curve, stride, band))
            .collect()
    };
    let band = report.runs > 1 && chart.form == "lines";
    json!({
        "title": chart.title,
        "note": chart.note,
        "form": chart.form,
        "unit": chart.unit,
        "hints": chart.hints.iter().map(|(at, text)| json!({"at": at, "text": text})).collect::<Vec<_>>(),
        "curves": chart.curves.iter().map(|curve| json!({"name": curve.name, "style": curve.style})).collect::<Vec<_>>(),
        "data": report.variants.iter().map(|variant| of(variant, false)).collect::<Vec<_>>(),
        "band": band.then(|| report.variants.iter().map(|variant| of(variant, true)).collect::<Vec<_>>()),
        "over": (!predicted.is_empty()).then(|| {
            predicted.iter().map(|records| over::predicted(report, records, chart, stride)).collect::<Vec<_>>()
        }),
    })
}

/// The points of a curve, or the half-widths of their intervals; `null` when the variant has nothing of it.
fn points(report: &Report, variant: &Variant, curve: &Curve, stride: usize, band: bool) -> Value {
    let runs: Vec<Vec<f64>> = variant
        .records
        .iter()
        .map(|record| (curve.values)(report, record, stride))
        .collect();
    let count = runs.iter().map(Vec::len).min().unwrap_or(0);
    let at = |point: usize| Estimate::of(runs.iter().filter_map(|run| run.get(point).copied()));
    let estimates: Vec<Estimate> = (0..count).map(at).collect();
    if estimates.iter().all(|estimate| !estimate.mean.is_finite()) {
        return Value::Null;
    }
    let pick = |estimate: &Estimate| rounded(if band { estimate.half } else { estimate.mean });
    Value::Array(estimates.iter().map(pick).collect())
}

fn longest(report: &Report) -> usize {
    let records = report.variants.iter().flat_map(|variant| &variant.records);
    records.map(|record| record.periods).max().unwrap_or(0)
}

/// The curves that are ever anything but zero, with the first colours for those that are left.
fn alive(report: &Report, predicted: &[&[Record]], mut curves: Vec<Curve>) -> Vec<Curve> {
    curves.retain(|curve| is_alive(report, predicted, curve));
    let lines = curves.iter_mut().filter(|curve| curve.style.starts_with("line"));
    for (place, curve) in lines.enumerate() {
        curve.style = format!("line{}", place % 8);
    }
    curves
}

/// Whether a curve is ever anything but zero or unknown in any variant.
fn is_alive(report: &Report, predicted: &[&[Record]], curve: &Curve) -> bool {
    let alive = |record: &Record| {
        let stride = record.periods.div_ceil(POINTS).max(1);
        (curve.values)(report, record, stride)
            .iter()
            .any(|value| value.is_finite() && *value != 0.0)
    };
    report
        .variants
        .iter()
        .filter_map(|variant| variant.records.first())
        .chain(predicted.iter().filter_map(|records| records.first()))
        .any(alive)
}

/// Four significant digits are more than a screen can show.
fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    if value == 0.0 {
        return json!(0);
    }
    let digits = 3 - libm::floor(libm::log10(value.abs())) as i32;
    let text = if digits <= 0 {
        let unit = libm::pow(10.0, f64::from(-digits));
        format!("{:.0}", (value / unit).round() * unit)
    } else {
        format!("{value:.*}", digits.min(12) as usize)
    };
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if value.fract() == 0.0 && value.abs() < 9e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        let said = [1_234_567.0, 0.001_234_56, 12.3456, -0.5, 0.0].map(|value| rounded(value).to_string());
        assert_eq!(said, ["1235000", "0.001235", "12.35", "-0.5", "0"]);
        assert_eq!(rounded(f64::NAN), Value::Null);
    }
}
