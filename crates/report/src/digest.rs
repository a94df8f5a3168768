//! The few figures that say how a variant fared.
//!
//! They are what a tired person asks first: did the users get answers, did the origin hold, when was it over.

use seawall_core::record::{Metric, Record};

use crate::estimate::Estimate;
use crate::phase::{Phases, Window, cause_ends, extent};
use crate::{ComponentKind, Report, Variant};

/// Goodput counts as normal again at this share of what it was before.
pub(crate) const NORMAL: f64 = 0.95;
/// How long it must stay normal to count as recovered, in seconds.
const HOLD_S: f64 = 30.0;
/// The span over which goodput is smoothed, in periods: one bad second is no relapse.
const SMOOTH: usize = 5;

/// How a variant fared, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Users noticed nothing, or hardly anything.
    Stands,
    /// Part of the answers was lost.
    Degrades,
    /// Most answers were lost.
    Collapses,
}

/// When goodput was normal again after the last fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recovery {
    /// It never left normal.
    Unhurt,
    /// At this point of the clock, in the first number of the runs that were hurt, the second.
    At(Estimate, usize, usize),
    /// Not before the end of the run.
    Never,
    /// The run ends with the fault.
    Unseen,
}

/// The figures of a variant; arrays are over the phases before, during and after.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// Right answers in time, as a share of the calls that ended.
    pub goodput: [Estimate; 3],
    /// Right answers in time, per second.
    pub good_per_s: [Estimate; 3],
    /// Calls that were turned away on purpose, as a share.
    pub shed: [Estimate; 3],
    /// The median over the periods of the 99th percentile of the calls' time, in seconds.
    pub p99_s: [Estimate; 3],
    /// Hits as a share of look-ups, of the cache that has the most look-ups.
    pub hit_rate: [Estimate; 3],
    /// The lowest goodput ratio from the first fault on, smoothed over five periods.
    pub worst: Estimate,
    /// What the origins bore.
    pub origins: Vec<OriginDigest>,
    /// When the last of its faults ended, in seconds of the scenario's clock.
    pub cause_ends: f64,
    /// When it was over.
    pub recovery: Recovery,
}

/// What an origin bore.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginDigest {
    /// Its name.
    pub name: String,
    /// What it can complete at best, per second, at the start.
    pub capacity_per_s: Option<f64>,
    /// Calls per second in each phase.
    pub load_per_s: [Estimate; 3],
    /// The most calls in a second from the first fault on.
    pub peak_per_s: Estimate,
    /// When that was in the first run, on the scenario's clock.
    pub peak_at: f64,
}

impl Digest {
    /// The figures of a variant of a report, by its index.
    ///
    /// # Panics
    /// When there is no such variant.
    pub fn of(report: &Report, index: usize, phases: &Phases) -> Digest {
        let variant = &report.variants[index];
        let healing = Window {
            from: cause_ends(report, index),
            to: extent(report).1,
        };
        let windows = phases.named().map(|(_, window)| window);
        let per_phase = |figure: &dyn Fn(&Record, Window) -> f64| {
            windows.map(|window| Estimate::of(variant.records.iter().map(|record| figure(record, window))))
        };
        let aftermath = Window {
            from: phases.during.from,
            to: f64::INFINITY,
        };
        Digest {
            goodput: per_phase(&|record, window| goodput_in(report, record, window)),
            good_per_s: per_phase(&|record, window| rate_in(record, &good(report, record), window)),
            shed: per_phase(&|record, window| {
                let all = sum_in(record, &calls(report, record, None), window);
                sum_in(record, &calls(report, record, Some("shed")), window) / all
            }),
            p99_s: per_phase(&|record, window| p99_in(report, record, window)),
            hit_rate: per_phase(&hit_rate_in),
            worst: Estimate::of(variant.records.iter().map(|record| {
                let smooth = smoothed(&goodput_ratio(report, record));
                let values = smooth
                    .get(record.window(aftermath.from, aftermath.to))
                    .unwrap_or(&[]);
                values.iter().copied().fold(f64::NAN, f64::min)
            })),
            origins: origins_of(report, variant, windows, aftermath),
            cause_ends: healing.from,
            recovery: recovery_of(report, variant, phases, healing),
        }
    }

    /// How it fared, in one word; judged on what users got while the fault lasted.
    pub fn fate(&self) -> Fate {
        let during = self.goodput[1].mean;
        if during >= 0.99 && self.worst.mean >= 0.9 {
            Fate::Stands
        } else if during >= 0.5 {
            Fate::Degrades
        } else {
            Fate::Collapses
        }
    }

    /// Whether it was still hurt when the run ended, long after the cause had gone.
    pub fn stays_down(&self) -> bool {
        self.recovery == Recovery::Never
    }
}

/// The clients of a record; when none is known, whatever counts calls.
pub(crate) fn clients<'a>(report: &Report, record: &'a Record) -> Vec<&'a str> {
    let known = report.names_of(ComponentKind::Client);
    let mut names = record.components(Metric::Requests);
    if names.iter().any(|name| known.contains(name)) {
        names.retain(|name| known.contains(name));
    }
    names
}

/// The calls that ended in each period over all clients, with one outcome or any.
pub(crate) fn calls(report: &Report, record: &Record, outcome: Option<&str>) -> Vec<f64> {
    let parts = clients(report, record)
        .into_iter()
        .map(|client| record.values(Metric::Requests, client, outcome));
    added(record, parts)
}

/// Right answers in each period over all clients.
pub(crate) fn good(report: &Report, record: &Record) -> Vec<f64> {
    let parts = clients(report, record)
        .into_iter()
        .map(|client| record.values(Metric::Goodput, client, None));
    added(record, parts)
}

/// Right answers as a share of calls, period by period; `NaN` where nothing ended.
pub(crate) fn goodput_ratio(report: &Report, record: &Record) -> Vec<f64> {
    let all = calls(report, record, None);
    good(report, record)
        .iter()
        .zip(&all)
        .map(|(good, all)| good / all)
        .collect()
}

/// The mean over the last five periods, leaving out those without a value.
pub(crate) fn smoothed(values: &[f64]) -> Vec<f64> {
    let mean = |end: usize| {
        let window = values.get((end + 1).saturating_sub(SMOOTH)..=end).unwrap_or(&[]);
        let known: Vec<f64> = window.iter().copied().filter(|value| value.is_finite()).collect();
        known.iter().sum::<f64>() / known.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

/// The origins of a record: what counts calls that reached an origin.
pub(crate) fn origins(record: &Record) -> Vec<&str> {
    record.components(Metric::OriginRequests)
}

fn added(record: &Record, parts: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    let mut sum = vec![0.0; record.periods];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sum
}

fn sum_in(record: &Record, values: &[f64], window: Window) -> f64 {
    let range = record.window(window.from, window.to);
    values.get(range).map_or(0.0, |values| values.iter().sum())
}

fn rate_in(record: &Record, values: &[f64], window: Window) -> f64 {
    let periods = record.window(window.from, window.to).len();
    sum_in(record, values, window) / (periods as f64 * record.period.as_secs_f64())
}

/// Right answers as a share of the calls that ended in a window.
pub(crate) fn goodput_in(report: &Report, record: &Record, window: Window) -> f64 {
    sum_in(record, &good(report, record), window) / sum_in(record, &calls(report, record, None), window)
}

fn p99_in(report: &Report, record: &Record, window: Window) -> f64 {
    let range = record.window(window.from, window.to);
    let worst_client = |client: &str| {
        let values = record.values(Metric::RequestDuration, client, Some("0.99"));
        let mut known: Vec<f64> = values.get(range.clone()).unwrap_or(&[]).to_vec();
        known.retain(|value| value.is_finite());
        known.sort_by(f64::total_cmp);
        known.get(known.len() / 2).copied().unwrap_or(f64::NAN)
    };
    clients(report, record)
        .into_iter()
        .map(worst_client)
        .fold(f64::NAN, f64::max)
}

/// What caches answered together, as a share of the look-ups of the one that is asked most: of caches one behind the
/// other that is the first, and each read is looked up there once.
fn hit_rate_in(record: &Record, window: Window) -> f64 {
    let range = record.window(window.from, window.to);
    let sum = |metric, name: &str| -> f64 {
        let values = record.values(metric, name, None);
        values
            .get(range.clone())
            .map_or(0.0, |values| values.iter().sum())
    };
    let (mut hits, mut asked) = (0.0, 0.0_f64);
    for name in record.components(Metric::CacheHitRate) {
        let of_this = sum(Metric::CacheHits, name);
        hits += of_this;
        asked = asked.max(of_this + sum(Metric::CacheMisses, name) + sum(Metric::CacheErrors, name));
    }
    (hits / asked).min(1.0)
}

fn origins_of(
    report: &Report,
    variant: &Variant,
    windows: [Window; 3],
    aftermath: Window,
) -> Vec<OriginDigest> {
    let Some(first) = variant.records.first() else {
        return Vec::new();
    };
    let digest = |name: &str| {
        let load = |record: &Record| record.values(Metric::OriginRequests, name, None);
        let peak = |record: &Record| {
            let load = load(record);
            let range = record.window(aftermath.from, aftermath.to);
            range
                .filter_map(|index| load.get(index).map(|value| (*value, record.clock(index))))
                .fold(
                    (f64::NAN, f64::NAN),
                    |top, next| if top.0 >= next.0 { top } else { next },
                )
        };
        OriginDigest {
            name: name.to_owned(),
            capacity_per_s: report.capacity_of(name),
            load_per_s: windows.map(|window| {
                Estimate::of(
                    variant
                        .records
                        .iter()
                        .map(|record| rate_in(record, &load(record), window)),
                )
            }),
            peak_per_s: Estimate::of(
                variant
                    .records
                    .iter()
                    .map(|record| peak(record).0 / record.period.as_secs_f64()),
            ),
            peak_at: peak(first).1,
        }
    };
    origins(first).into_iter().map(digest).collect()
}

fn recovery_of(report: &Report, variant: &Variant, phases: &Phases, healing: Window) -> Recovery {
    let mut times = Vec::new();
    let mut hurt = 0;
    for record in &variant.records {
        let before = goodput_in(report, record, phases.before);
        // What was ill before the fault is no measure of health.
        let normal = NORMAL * if before > 0.5 { before } else { 1.0 };
        let smooth = smoothed(&goodput_ratio(report, record));
        let fallen = |index: &usize| smooth.get(*index).is_some_and(|value| *value < normal);
        if !record
            .window(phases.during.from, f64::INFINITY)
            .any(|index| fallen(&index))
        {
            continue;
        }
        hurt += 1;
        times.extend(normal_again(record, &smooth, normal, healing));
    }
    match (hurt, times.len()) {
        (0, _) => Recovery::Unhurt,
        (_, 0) if healing.is_empty() => Recovery::Unseen,
        (_, 0) => Recovery::Never,
        (hurt, back) => Recovery::At(Estimate::of(times), back, hurt),
    }
}

/// The first point of the clock in `after` from which goodput stays normal for half a minute (or to the end).
fn normal_again(record: &Record, smooth: &[f64], normal: f64, after: Window) -> Option<f64> {
    let hold = (HOLD_S / record.period.as_secs_f64()).ceil() as usize;
    let mut range = record.window(after.from, after.to);
    range.find_map(|index| {
        let end = (index + hold).min(smooth.len());
        let relapses = smooth.get(index..end)?.iter().any(|value| *value < normal);
        (!relapses).then(|| (record.clock(index) - record.period.as_secs_f64()).max(after.from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Happening, HappeningKind};
    use seawall_core::record::Series;
    use seawall_core::time::Span;

    /// A client with 100 calls a second of which `good(clock)` succeed, a fault from 0 to 100 s.
    fn report(good: fn(f64) -> f64) -> Report {
        let mut record = Record::new(Span::secs(1), Span::secs(60), 300);
        let values: Vec<f64> = (0..300).map(|index| good(f64::from(index) - 60.0)).collect();
        let lost = values.iter().map(|value| 100.0 - value).collect();
        record.push(Series::new(Metric::Requests, "web", values.clone()).labelled("fresh"));
        record.push(Series::new(Metric::Requests, "web", lost).labelled("error"));
        record.push(Series::new(Metric::OriginRequests, "db", values.clone()));
        record.push(Series::new(Metric::Goodput, "web", values));
        Report {
            happenings: vec![Happening {
                variant: None,
                from: 0.0,
                to: Some(100.0),
                kind: HappeningKind::Fault,
                what: "killed".into(),
                on: "redis".into(),
            }],
            variants: vec![Variant {
                records: vec![record],
                ..Variant::default()
            }],
            ..Report::default()
        }
    }

    fn digest(report: &Report) -> Digest {
        Digest::of(report, 0, &Phases::of(report))
    }

    #[test]
    fn a_collapse_that_ends_twenty_seconds_after_its_cause() {
        let report = report(|clock| {
            if (0.0..120.0).contains(&clock) {
                10.0
            } else {
                100.0
            }
        });
        let digest = digest(&report);
        assert_eq!(digest.fate(), Fate::Collapses);
        assert!((digest.goodput[1].mean - 0.1).abs() < 1e-9);
        let Recovery::At(at, 1, 1) = digest.recovery else {
            panic!("{:?}", digest.recovery)
        };
        assert!((at.mean - 124.0).abs() < 1.5, "{at:?}");
    }

    #[test]
    fn an_instant_fault_is_recovered_from_within_its_minute() {
        let mut report = report(|clock| if (0.0..20.0).contains(&clock) { 10.0 } else { 100.0 });
        report.happenings[0].to = None;
        let Recovery::At(at, 1, 1) = digest(&report).recovery else {
            panic!("{:?}", digest(&report).recovery)
        };
        assert!((at.mean - 24.0).abs() < 1.5, "{at:?}");
    }

    #[test]
    fn an_outage_that_outlives_its_cause() {
        let report = report(|clock| if clock >= 0.0 { 10.0 } else { 100.0 });
        assert!(digest(&report).stays_down());
    }

    #[test]
    fn nothing_happened() {
        let digest = digest(&report(|_| 100.0));
        assert_eq!((digest.fate(), digest.recovery), (Fate::Stands, Recovery::Unhurt));
        assert!((digest.origins[0].peak_per_s.mean - 100.0).abs() < 1e-9);
    }
}
