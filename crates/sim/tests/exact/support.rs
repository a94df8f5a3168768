//! Scenarios from text, runs of them, and intervals over runs.

use std::ops::Range;

use seawall_core::record::{Metric, Record};
use seawall_scenario::{AS_WRITTEN, Document, Scenario};
use seawall_sim::{Engine, Options, Run, replicate};

/// The seed of every replication; the runs are told apart by their numbers.
const SEED: u64 = 20_250_101;

/// The first variant of a document.
pub(crate) fn scenario(text: &str) -> Scenario {
    variant(text, None)
}

/// The variant of a document with this name.
pub(crate) fn variant(text: &str, name: Option<&str>) -> Scenario {
    let text = format!("title = \"a test\"\n{text}");
    let document = Document::parse("test.toml", &text).unwrap_or_else(|mistakes| {
        let list: Vec<String> = mistakes
            .list()
            .iter()
            .map(|mistake| {
                let at = &mistake.source.inner()[mistake.span.clone()];
                format!("{} at `{at}`: {:?}", mistake.message, mistake.help)
            })
            .collect();
        panic!("{}\n{text}", list.join("\n"))
    });
    let name = name.unwrap_or(AS_WRITTEN);
    let found = document.scenario(name, &[]);
    found.unwrap_or_else(|mistakes| panic!("{:?}", mistakes.list()))
}

/// This many runs of a scenario, on two threads.
pub(crate) fn runs(scenario: &Scenario, count: u32) -> Vec<Run> {
    runs_on(scenario, count, 2)
}

/// This many runs of a scenario.
pub(crate) fn runs_on(scenario: &Scenario, count: u32, threads: usize) -> Vec<Run> {
    runs_at(scenario, count, threads, 1.0)
}

/// This many runs of a scenario, in a part of its size.
pub(crate) fn runs_at(scenario: &Scenario, count: u32, threads: usize, scale: f64) -> Vec<Run> {
    runs_by(Engine::Exact, SEED, scenario, count, threads, scale)
}

/// This many runs of a scenario by one engine, from one seed.
pub(crate) fn runs_by(
    engine: Engine,
    seed: u64,
    scenario: &Scenario,
    count: u32,
    threads: usize,
    scale: f64,
) -> Vec<Run> {
    let jobs: Vec<(Scenario, Options)> = (0..count)
        .map(|run| {
            let options = Options {
                seed,
                run,
                scale,
                engine,
            };
            (scenario.clone(), options)
        })
        .collect();
    let results = replicate(&jobs, threads, &|_| {});
    results
        .into_iter()
        .map(|run| run.unwrap_or_else(|refusal| panic!("{refusal}")))
        .collect()
}

/// One run of a document.
pub(crate) fn run(text: &str) -> Run {
    runs_on(&scenario(text), 1, 1).remove(0)
}

/// The sum of a metric over a window of the scenario's clock, in seconds.
pub(crate) fn sum(record: &Record, metric: Metric, of: &str, label: Option<&str>, over: Range<f64>) -> f64 {
    let values = record.values(metric, of, label);
    let window = record.window(over.start, over.end);
    assert!(!window.is_empty(), "there is no {over:?}");
    assert!(
        values.len() >= window.end,
        "{} of {of} is recorded",
        metric.name()
    );
    values[window].iter().sum()
}

/// The rate a second of a counter over a window.
pub(crate) fn rate(record: &Record, metric: Metric, of: &str, over: Range<f64>) -> f64 {
    let seconds = over.end - over.start;
    sum(record, metric, of, None, over) / seconds
}

/// The mean of a gauge over a window.
pub(crate) fn mean(record: &Record, metric: Metric, of: &str, over: Range<f64>) -> f64 {
    let periods = record.window(over.start, over.end).len();
    sum(record, metric, of, None, over) / periods as f64
}

/// The share of calls of a client that ended so, over a window.
pub(crate) fn share(record: &Record, client: &str, ending: &str, over: Range<f64>) -> f64 {
    sum(record, Metric::Requests, client, Some(ending), over.clone())
        / sum(record, Metric::Requests, client, None, over)
}

/// Student's t for a two-sided interval at 99.9%.
fn student(runs: usize) -> f64 {
    match runs {
        6 => 6.869,
        8 => 5.408,
        10 => 4.781,
        12 => 4.437,
        16 => 4.073,
        20 => 3.883,
        30 => 3.659,
        40 => 3.558,
        _ => panic!("the table has no row for {runs} runs"),
    }
}

/// A mean over runs, and the half width of its interval at 99.9%.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    pub(crate) half: f64,
}

impl Estimate {
    /// What independent runs say together.
    pub(crate) fn of(values: &[f64]) -> Estimate {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Estimate {
            mean,
            half: student(values.len()) * (squares / (n - 1.0) / n).sqrt(),
        }
    }

    /// What a number taken from each run says.
    pub(crate) fn over(runs: &[Run], number: impl Fn(&Record) -> f64) -> Estimate {
        let values: Vec<f64> = runs.iter().map(|run| number(&run.record)).collect();
        Estimate::of(&values)
    }

    /// Demands that the interval holds the truth, and is no wider on each side than this share of it.
    #[track_caller]
    pub(crate) fn agrees(self, what: &str, truth: f64, width: f64) {
        let Estimate { mean, half } = self;
        assert!(
            (mean - truth).abs() <= half,
            "{what}: {mean:.6} ± {half:.6} does not hold {truth:.6}"
        );
        self.is_narrow(what, truth, width);
    }

    /// Demands that the mean is this close to an approximation, and the interval narrower than that.
    #[track_caller]
    pub(crate) fn is_near(self, what: &str, value: f64, tolerance: f64) {
        let Estimate { mean, half } = self;
        assert!(
            (mean / value - 1.0).abs() <= tolerance,
            "{what}: {mean:.6} ± {half:.6} is not near {value:.6}"
        );
        self.is_narrow(what, value, tolerance);
    }

    #[track_caller]
    fn is_narrow(self, what: &str, truth: f64, width: f64) {
        let Estimate { mean, half } = self;
        assert!(
            half <= width * truth,
            "{what}: {mean:.6} ± {half:.6} is too wide ({:.2}%) to say anything about {truth:.6}",
            100.0 * half / truth
        );
    }
}

/// A number that a formula gives, against the digits that are published for it.
#[track_caller]
pub(crate) fn published(what: &str, formula: f64, digits: f64, tolerance: f64) {
    assert!(
        (formula / digits - 1.0).abs() <= tolerance,
        "{what}: the formula says {formula}, the table {digits}"
    );
}

/// The probability of each key of a Zipf law, most popular first.
pub(crate) fn zipf(count: u32, exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}
