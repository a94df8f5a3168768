//! The curves of the page as data: which charts there are, what is in them, and at which resolution.
//!
//! A chart is the same for all variants, so that they share a scale. It has at most 600 points a curve, fewer when a
//! report has very many curves: the page must stay small enough to be sent by mail. Rates are means over a point's
//! periods, quantiles are their highest, ratios are of sums. With several runs a point is the mean over them, and its
//! 95% confidence interval is drawn as a band.

use std::ops::Range;

use seawall_core::record::{Ending, Kind, Metric, QUANTILES, Record};
use serde_json::{Value, json};

use crate::digest::{calls, clients, origins};
use crate::estimate::Estimate;
use crate::phase::extent;
use crate::{HappeningKind, Report, Variant};

/// The most points of a curve.
const POINTS: usize = 600;
/// The most numbers on a page, about six bytes each.
const NUMBERS: usize = 150_000;
/// The most nodes that get a curve each.
const NODES: u32 = 12;

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
    let charts: Vec<Chart> = charts(report)
        .into_iter()
        .map(|chart| Chart {
            curves: alive(report, chart.curves),
            ..chart
        })
        .filter(|chart| !chart.curves.is_empty())
        .collect();
    let curves: usize = charts.iter().map(|chart| chart.curves.len()).sum();
    let bands = if report.runs > 1 { 2 } else { 1 };
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
        "variants": report.variants.iter().map(|variant| json!({"name": variant.name})).collect::<Vec<_>>(),
        "windows": windows(report),
        "charts": charts.iter().map(|chart| drawn(report, chart, stride)).collect::<Vec<_>>(),
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

fn drawn(report: &Report, chart: &Chart, stride: usize) -> Value {
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
fn alive(report: &Report, mut curves: Vec<Curve>) -> Vec<Curve> {
    curves.retain(|curve| is_alive(report, curve));
    let lines = curves.iter_mut().filter(|curve| curve.style.starts_with("line"));
    for (place, curve) in lines.enumerate() {
        curve.style = format!("line{}", place % 8);
    }
    curves
}

/// Whether a curve is ever anything but zero or unknown in any variant.
fn is_alive(report: &Report, curve: &Curve) -> bool {
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
        .any(alive)
}

fn charts(report: &Report) -> Vec<Chart> {
    let mut charts = vec![answers()];
    charts.push(origin_load(report));
    charts.push(durations(
        report,
        "Time of a call",
        Metric::RequestDuration,
        |report, record| clients(report, record).into_iter().map(str::to_owned).collect(),
    ));
    charts.push(durations(
        report,
        "Time at the origin",
        Metric::OriginDuration,
        |_, record| {
            record
                .components(Metric::OriginDuration)
                .into_iter()
                .map(str::to_owned)
                .collect()
        },
    ));
    charts.push(hit_rates(report));
    charts.push(entries(report));
    charts.push(held(report));
    charts.push(protections(report));
    charts.push(turned_away(report));
    charts
}

fn answers() -> Chart {
    let curve = |ending: &Ending| {
        let name = ending.name();
        Curve {
            name: name.to_owned(),
            style: name.to_owned(),
            values: Box::new(move |report, record, stride| {
                rates(record, &calls(report, record, Some(name)), stride)
            }),
        }
    };
    Chart {
        title: "Answers to the clients".to_owned(),
        note: "per second, by how the call ended",
        form: "stack",
        unit: "rate",
        hints: Vec::new(),
        curves: Ending::ALL.iter().map(curve).collect(),
    }
}

fn origin_load(report: &Report) -> Chart {
    let mut curves = Vec::new();
    let mut hints = Vec::new();
    for name in named(report, |record| {
        origins(record).into_iter().map(str::to_owned).collect()
    }) {
        if let Some(capacity) = report.capacity_of(&name) {
            hints.push((capacity, format!("capacity of {name}")));
        }
        for (metric, what) in [
            (Metric::OriginRequests, "calls"),
            (Metric::OriginErrors, "failed"),
            (Metric::OriginWasted, "wasted"),
        ] {
            curves.push(plain(format!("{name} {what}"), curves.len(), metric, &name, None));
        }
    }
    Chart {
        title: "Load on the origin".to_owned(),
        note: "calls per second",
        form: "lines",
        unit: "rate",
        hints,
        curves,
    }
}

fn durations(
    report: &Report,
    title: &str,
    metric: Metric,
    names: fn(&Report, &Record) -> Vec<String>,
) -> Chart {
    let names = named(report, |record| names(report, record));
    let mut curves = Vec::new();
    for name in &names {
        for (share, label) in QUANTILES {
            let which = format!("p{}", (share * 100.0).round());
            let name_of = if names.len() > 1 {
                format!("{name} {which}")
            } else {
                which
            };
            curves.push(plain(name_of, curves.len(), metric, name, Some(label)));
        }
    }
    curves.truncate(12);
    Chart {
        title: title.to_owned(),
        note: "quantiles, logarithmic",
        form: "lines",
        unit: "seconds",
        hints: Vec::new(),
        curves,
    }
}

fn hit_rates(report: &Report) -> Chart {
    let mut curves = Vec::new();
    for name in named(report, |record| owned(record.components(Metric::CacheHitRate))) {
        let whole = name.clone();
        curves.push(Curve {
            name: name.clone(),
            style: format!("line{}", curves.len()),
            values: Box::new(move |_, record, stride| {
                let count = |metric| record.values(metric, &whole, None);
                let counts = [Metric::CacheHits, Metric::CacheMisses, Metric::CacheErrors].map(count);
                hit_shares(record, &counts, stride)
            }),
        });
        for node in nodes(report, Metric::CacheHits, &name) {
            let of = name.clone();
            curves.push(Curve {
                name: format!("{name} {node}"),
                style: "node".to_owned(),
                values: Box::new(move |_, record, stride| {
                    let count = |metric| record.values_of_instance(metric, &of, node);
                    let counts = [Metric::CacheHits, Metric::CacheMisses, Metric::CacheErrors].map(count);
                    hit_shares(record, &counts, stride)
                }),
            });
        }
    }
    Chart {
        title: "Cache hit rate".to_owned(),
        note: "share of look-ups; thin lines are nodes",
        form: "lines",
        unit: "share",
        hints: Vec::new(),
        curves,
    }
}

fn entries(report: &Report) -> Chart {
    let mut curves = Vec::new();
    for name in named(report, |record| owned(record.components(Metric::CacheEntries))) {
        curves.push(plain(
            name.clone(),
            curves.len(),
            Metric::CacheEntries,
            &name,
            None,
        ));
        for node in nodes(report, Metric::CacheEntries, &name) {
            let of = name.clone();
            curves.push(Curve {
                name: format!("{name} {node}"),
                style: "node".to_owned(),
                values: Box::new(move |_, record, stride| {
                    means(
                        &record.values_of_instance(Metric::CacheEntries, &of, node),
                        stride,
                    )
                }),
            });
        }
    }
    Chart {
        title: "Cache entries".to_owned(),
        note: "held; thin lines are nodes",
        form: "lines",
        unit: "count",
        hints: Vec::new(),
        curves,
    }
}

fn held(report: &Report) -> Chart {
    let mut curves = Vec::new();
    for (metric, what) in [
        (Metric::InFlight, "in flight"),
        (Metric::ThreadsBusy, "threads held"),
        (Metric::QueueDepth, "waiting"),
        (Metric::OriginInFlight, "in flight"),
        (Metric::OriginConnections, "connections"),
        (Metric::LimiterLimit, "limit"),
    ] {
        for name in named(report, |record| owned(record.components(metric))) {
            curves.push(plain(format!("{name} {what}"), curves.len(), metric, &name, None));
        }
    }
    curves.truncate(12);
    Chart {
        title: "Held and waiting".to_owned(),
        note: "requests, threads, connections",
        form: "lines",
        unit: "count",
        hints: Vec::new(),
        curves,
    }
}

fn protections(report: &Report) -> Chart {
    let mut curves = Vec::new();
    for (metric, what, style) in [
        (Metric::BreakerState, "breaker", "breaker"),
        (Metric::ThrottleRatio, "throttle", "throttle"),
        (Metric::DegradationLevel, "degradation", "level"),
    ] {
        for name in named(report, |record| owned(record.components(metric))) {
            let mut curve = plain(format!("{name} {what}"), 0, metric, &name, None);
            style.clone_into(&mut curve.style);
            if metric == Metric::ThrottleRatio {
                // What a throttle takes away is what is worth seeing.
                let admitted = curve.values;
                curve.values = Box::new(move |report, record, stride| {
                    admitted(report, record, stride)
                        .iter()
                        .map(|admitted| 1.0 - admitted)
                        .collect()
                });
            }
            curves.push(curve);
        }
    }
    Chart {
        title: "Protections at work".to_owned(),
        note: "higher is more: breaker open, throttle closed",
        form: "lanes",
        unit: "count",
        hints: Vec::new(),
        curves,
    }
}

fn turned_away(report: &Report) -> Chart {
    let mut curves = Vec::new();
    for name in named(report, |record| owned(record.components(Metric::Shed))) {
        for label in named(report, |record| record.labels(Metric::Shed, &name)) {
            let mut curve = plain(
                format!("{name} sheds: {label}"),
                curves.len(),
                Metric::Shed,
                &name,
                None,
            );
            let of = name.clone();
            curve.values = Box::new(move |_, record, stride| {
                rates(record, &record.values(Metric::Shed, &of, Some(&label)), stride)
            });
            curves.push(curve);
        }
    }
    for (metric, what) in [
        (Metric::Coalesced, "coalesced"),
        (Metric::Retries, "retries"),
        (Metric::Warmed, "warmed"),
    ] {
        for name in named(report, |record| owned(record.components(metric))) {
            curves.push(plain(format!("{name} {what}"), curves.len(), metric, &name, None));
        }
    }
    curves.truncate(12);
    Chart {
        title: "Turned away, shared, tried again".to_owned(),
        note: "per second",
        form: "lines",
        unit: "rate",
        hints: Vec::new(),
        curves,
    }
}

/// A curve of one metric of one component.
fn plain(name: String, place: usize, metric: Metric, component: &str, label: Option<&'static str>) -> Curve {
    let component = component.to_owned();
    Curve {
        name,
        style: format!("line{}", place % 8),
        values: Box::new(move |_, record, stride| {
            let values = record.values(metric, &component, label);
            match metric.kind() {
                Kind::Counter => rates(record, &values, stride),
                Kind::Duration => highest(&values, stride),
                Kind::Gauge | Kind::Ratio => means(&values, stride),
            }
        }),
    }
}

/// Names over all variants, each once, in the order in which they are met.
fn named(report: &Report, names: impl Fn(&Record) -> Vec<String>) -> Vec<String> {
    let mut all = Vec::new();
    for record in report
        .variants
        .iter()
        .filter_map(|variant| variant.records.first())
    {
        for name in names(record) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
    }
    all
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The nodes of a component that were recorded one by one; none when they are too many to tell apart.
fn nodes(report: &Report, metric: Metric, component: &str) -> Range<u32> {
    let records = report
        .variants
        .iter()
        .filter_map(|variant| variant.records.first());
    let series = records.flat_map(Record::series);
    let count = series
        .filter(|series| series.metric == metric && series.component == component)
        .filter_map(|series| series.instance)
        .max()
        .map_or(0, |last| last + 1);
    if (2..=NODES).contains(&count) {
        0..count
    } else {
        0..0
    }
}

fn rates(record: &Record, values: &[f64], stride: usize) -> Vec<f64> {
    let seconds = record.period.as_secs_f64();
    let rate = |values: &[f64]| values.iter().sum::<f64>() / (values.len() as f64 * seconds);
    values.chunks(stride).map(rate).collect()
}

fn means(values: &[f64], stride: usize) -> Vec<f64> {
    let mean = |values: &[f64]| Estimate::of(values.iter().copied()).mean;
    values.chunks(stride).map(mean).collect()
}

fn highest(values: &[f64], stride: usize) -> Vec<f64> {
    let highest = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::max);
    values.chunks(stride).map(highest).collect()
}

/// Hits as a share of hits, misses and errors.
fn hit_shares(record: &Record, counts: &[Vec<f64>; 3], stride: usize) -> Vec<f64> {
    let sum = |values: &[f64], start: usize| -> f64 {
        let end = (start + stride).min(values.len());
        values.get(start..end).map_or(0.0, |values| values.iter().sum())
    };
    let [hits, misses, errors] = counts;
    let share = |start| sum(hits, start) / (sum(hits, start) + sum(misses, start) + sum(errors, start));
    (0..record.periods).step_by(stride).map(share).collect()
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
