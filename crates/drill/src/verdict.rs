//! What was measured beside what was predicted, phase by phase.

use seawall_core::record::{Metric, Record};
use seawall_scenario::{Fault, Place, Scenario, What};
use serde::{Deserialize, Serialize};

/// A part of a run between two things that happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What it is called.
    pub name: String,
    /// From when, in seconds of the scenario's clock.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Right answers in time, a second.
    Goodput,
    /// Calls that reached the origin, a second.
    OriginLoad,
    /// The median latency of a client's calls, in seconds: the median over the phase's periods.
    P50,
    /// The 99th percentile, in the same way.
    P99,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 4] = [Measure::Goodput, Measure::OriginLoad, Measure::P50, Measure::P99];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Goodput => "goodput",
            Measure::OriginLoad => "origin load",
            Measure::P50 => "p50",
            Measure::P99 => "p99",
        }
    }

    /// Whether it is a time, in seconds, and not a rate.
    pub fn is_time(self) -> bool {
        matches!(self, Measure::P50 | Measure::P99)
    }
}

/// One number, predicted and measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// In which phase, by its place among them.
    pub phase: usize,
    /// What.
    pub measure: Measure,
    /// Of which component.
    pub of: String,
    /// What was predicted.
    pub predicted: f64,
    /// What was measured.
    pub measured: f64,
    /// How far they are from each other, as a share of what is at stake: for goodput all that is asked for, for the
    /// origin's load the larger of what was predicted here and what it normally has; for times what was predicted.
    pub error: f64,
}

/// Things closer to each other than this, in seconds, are one.
const TOGETHER_S: f64 = 2.0;

/// The phases of a scenario: before the first thing that happens, between the others, and after the last.
pub fn phases(scenario: &Scenario) -> Vec<Phase> {
    let end = scenario.run.duration.as_secs_f64();
    let start = -scenario.run.warmup.as_secs_f64();
    // Each change, and what holds after it.
    let mut changes: Vec<(f64, String, bool)> = Vec::new();
    for event in &scenario.timeline {
        let at = match event.what {
            What::Fault(Fault::ExpireAt { instant }) => instant.as_secs_f64(),
            _ => event.at.as_secs_f64(),
        };
        let word = match &event.what {
            What::Fault(fault) => fault.word().replace('_', " "),
            What::Action(_) => "an action".to_owned(),
        };
        let ends = match &event.what {
            What::Fault(fault) if !fault.is_instant() => event.for_.map(|length| at + length.as_secs_f64()),
            _ => None,
        };
        changes.push((at, word, true));
        changes.extend(ends.map(|at| (at, "after".to_owned(), false)));
    }
    changes.retain(|(at, ..)| *at < end);
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.2.cmp(&b.2)));
    let mut phases: Vec<Phase> = Vec::new();
    let mut from = start;
    let mut name = "before".to_owned();
    for (at, word, _) in changes {
        if at - from >= TOGETHER_S || (at > from && phases.is_empty() && from < 0.0) {
            phases.push(Phase { name, from, to: at });
            from = at;
        }
        name = word;
    }
    if end - from > 0.0 {
        phases.push(Phase { name, from, to: end });
    }
    phases
}

/// The mean of a rate over a phase, a second.
fn rate(record: &Record, metric: Metric, of: &str, phase: &Phase) -> f64 {
    let window = record.window(phase.from, phase.to);
    let values = record.values(metric, of, None);
    let values = values.get(window).unwrap_or_default();
    let sum: f64 = values.iter().sum();
    sum / (values.len() as f64 * record.period.as_secs_f64())
}

/// The median over a phase's periods of a quantile.
fn quantile(record: &Record, of: &str, label: &str, phase: &Phase) -> f64 {
    let window = record.window(phase.from, phase.to);
    let values = record.values(Metric::RequestDuration, of, Some(label));
    let mut values: Vec<f64> = values.get(window).unwrap_or_default().to_vec();
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Lays two records of a scenario beside each other.
pub fn compare(scenario: &Scenario, predicted: &Record, measured: &Record) -> Vec<Compared> {
    let mut all = Vec::new();
    let phases = phases(scenario);
    let origins: Vec<&str> = origins(scenario).map(|place| scenario.name(place)).collect();
    for (place, phase) in phases.iter().enumerate() {
        for client in &scenario.clients {
            let name = client.name.as_str();
            let of = |record: &Record| rate(record, Metric::Goodput, name, phase);
            let asked = rate(predicted, Metric::Requests, name, phase).max(client.rate);
            let (expected, seen) = (of(predicted), of(measured));
            all.push(compared(place, Measure::Goodput, name, expected, seen, asked));
            for (measure, label) in [(Measure::P50, "0.5"), (Measure::P99, "0.99")] {
                let (expected, seen) = (
                    quantile(predicted, name, label, phase),
                    quantile(measured, name, label, phase),
                );
                all.push(compared(place, measure, name, expected, seen, expected));
            }
        }
        for origin in &origins {
            // What nobody counts is not nothing.
            let is_counted = measured.components(Metric::OriginRequests).contains(origin);
            let of = |record: &Record, phase: &Phase| rate(record, Metric::OriginRequests, origin, phase);
            let usual = phases.first().map_or(0.0, |before| of(predicted, before));
            let seen = if is_counted { of(measured, phase) } else { f64::NAN };
            let expected = of(predicted, phase);
            let usual = if usual.is_finite() { usual } else { 0.0 };
            all.push(compared(
                place,
                Measure::OriginLoad,
                origin,
                expected,
                seen,
                expected.max(usual),
            ));
        }
    }
    all
}

fn compared(phase: usize, measure: Measure, of: &str, predicted: f64, measured: f64, stake: f64) -> Compared {
    Compared {
        phase,
        measure,
        of: of.to_owned(),
        predicted,
        measured,
        error: if stake > 0.0 {
            (measured - predicted).abs() / stake
        } else {
            f64::NAN
        },
    }
}

/// What services load from.
fn origins(scenario: &Scenario) -> impl Iterator<Item = Place> {
    let mut places: Vec<Place> = scenario
        .services
        .iter()
        .filter_map(|service| service.origin)
        .collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter()
}

/// The mean error of a measure over all phases and components; `NaN` when there is none.
pub fn mean_error(compared: &[Compared], measure: Measure) -> f64 {
    let errors = compared
        .iter()
        .filter(|one| one.measure == measure && one.error.is_finite());
    let (sum, count) = errors.fold((0.0, 0.0), |(sum, count), one| (sum + one.error, count + 1.0));
    sum / count
}
