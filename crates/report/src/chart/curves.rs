//! Which charts a page has, and where the numbers of their curves come from.

use std::ops::Range;

use seawall_core::record::{Ending, Kind, Metric, QUANTILES, Record};

use super::{Chart, Curve};
use crate::Report;
use crate::digest::{calls, clients, origins};
use crate::estimate::Estimate;

/// The most nodes that get a curve each.
const NODES: u32 = 12;

/// The charts, from what users see inwards.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
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

pub(super) fn rates(record: &Record, values: &[f64], stride: usize) -> Vec<f64> {
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
