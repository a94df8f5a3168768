//! Two engines, one law?

use seawall_core::record::{Kind, Metric, Record};
use seawall_scenario::Scenario;
use seawall_sim::{Engine, Run};

use crate::support::runs_by;

/// A difference of so many of its own deviations does not happen by chance: one in a million, where many are looked at.
const FAR: f64 = 5.2;

/// A number of a window in all runs.
struct Sample {
    mean: f64,
    /// The variance of the mean.
    error: f64,
    /// The variance from run to run.
    variance: f64,
}

impl Sample {
    fn of(values: &[f64]) -> Sample {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let variance = squares / (n - 1.0);
        Sample {
            mean,
            error: variance / n,
            variance,
        }
    }
}

/// Runs of a scenario by the exact engine and by the elided one, from different seeds.
pub(crate) fn both(scenario: &Scenario, count: u32) -> [Vec<Run>; 2] {
    [(Engine::Exact, 77), (Engine::Elided, 1_234)]
        .map(|(engine, seed)| runs_by(engine, seed, scenario, count, 2, 1.0))
}

/// Demands that both engines measured the same in law: the mean of every series over every window of so many periods.
#[track_caller]
pub(crate) fn alike([exact, elided]: &[Vec<Run>; 2], window: usize) {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for series in exact[0].record.series() {
        let label = series.label.as_deref();
        let key = (series.metric, series.component.as_str(), series.instance, label);
        let latency = series.metric.kind() == Kind::Duration;
        let periods = series.values.len();
        for from in (0..periods).step_by(window) {
            let over = from..(from + window).min(periods);
            let sums = |runs: &[Run]| -> Option<Vec<f64>> {
                let sum = |run: &Run| Some(values(&run.record, key)?[over.clone()].iter().sum::<f64>());
                runs.iter().map(sum).collect()
            };
            let (Some(a), Some(b)) = (sums(exact), sums(elided)) else {
                wrong.push(format!("{key:?} is not in all records"));
                break;
            };
            if a.iter().chain(&b).any(|sum| sum.is_nan()) {
                continue;
            }
            let (a, b) = (Sample::of(&a), Sample::of(&b));
            let error = (a.error + b.error).sqrt();
            // A quantile that never varies is the middle of a bucket in one engine and may be its neighbour in the other.
            let slack = if latency { 0.015 * a.mean } else { 1e-9 };
            compared += 1;
            if (a.mean - b.mean).abs() > FAR * error + slack {
                wrong.push(format!(
                    "{key:?} over {over:?}: exact {:.4}, elided {:.4}, error {error:.4}",
                    a.mean, b.mean
                ));
            }
        }
    }
    assert!(compared > 20, "only {compared} numbers were compared");
    assert!(wrong.is_empty(), "{} of {compared}: {wrong:#?}", wrong.len());
    let skipped: u64 = elided.iter().map(|run| run.events).sum();
    let played: u64 = exact.iter().map(|run| run.requests).sum();
    assert!(skipped > 0 && played > 0, "both have played");
}

/// Demands that a count varies as much from period to period, and from run to run, by both engines.
#[track_caller]
pub(crate) fn varies_alike(
    [exact, elided]: &[Vec<Run>; 2],
    metric: Metric,
    of: &str,
    periods: std::ops::Range<usize>,
) {
    let ratio = |runs: &[Run]| -> (f64, f64) {
        let (mut mean, mut variance) = (0.0, 0.0);
        for period in periods.clone() {
            let values: Vec<f64> = runs
                .iter()
                .map(|run| run.record.values(metric, of, None)[period])
                .collect();
            let sample = Sample::of(&values);
            mean += sample.mean;
            variance += sample.variance;
        }
        (mean, variance)
    };
    let ((mean, a), (_, b)) = (ratio(exact), ratio(elided));
    // The variance of a sample variance of a count that is nearly normal is 2/(n − 1) of its square.
    let freedom = (exact.len() - 1) as f64 * periods.len() as f64;
    let error = (4.0 / freedom).sqrt();
    assert!(
        (b / a - 1.0).abs() < 4.5 * error,
        "{} of {of}: an index of dispersion of {:.3} in the exact engine and of {:.3} in the elided one ({error:.3})",
        metric.name(),
        a / mean,
        b / mean
    );
    assert!(error < 0.1, "too few periods to say anything: {error:.3}");
}

fn values<'a>(
    record: &'a Record,
    (metric, component, instance, label): (Metric, &str, Option<u32>, Option<&str>),
) -> Option<&'a [f64]> {
    let mut all = record.series().iter().filter(|series| {
        series.metric == metric
            && series.component == component
            && series.instance == instance
            && series.label.as_deref() == label
    });
    all.next().map(|series| series.values.as_slice())
}
