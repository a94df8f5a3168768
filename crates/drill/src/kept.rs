//! What is kept of a drill: all that is told of it later, and what two drills are compared by.
//!
//! A [`Kept`] is one call of `seawall drill`: a scenario and what came of each of its variants. It is plain data, and the
//! `seawall` object of a [journal](crate::journal) is this. It keeps the record in full, so that a page can be drawn and
//! phases be compared without running anything again.

mod diagnosed;
mod told;

use std::collections::BTreeMap;

use seawall_core::record::{Ending, Metric, Record, Series};
use seawall_core::time::Span;
use seawall_scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::outcome::{Expectation, Outcome, Verdict};
use crate::verdict::{Measure, Phase};

pub use diagnosed::Diagnosed;
pub use told::{Gathered, drilled};

/// The version of what is kept: it changes when an older one can no longer be read.
pub const FORMAT: u32 = 1;

/// One call of `seawall drill`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// How it is written down.
    pub format: u32,
    /// The scenario's file or built-in name.
    pub scenario: String,
    /// What happens in it.
    pub title: String,
    /// What it is about.
    pub about: String,
    /// The seed of all draws.
    pub seed: u64,
    /// The share of the size.
    pub scale: f64,
    /// The share of their time that slow things take.
    pub time: f64,
    /// Settings laid over the document.
    pub sets: Vec<(String, String)>,
    /// The program's version.
    pub version: String,
    /// The machine: system, processors.
    pub machine: String,
    /// When it began, in seconds since 1970, UTC.
    pub began: f64,
    /// When it had ended.
    pub ended: f64,
    /// The variants, in the order in which they were drilled.
    pub variants: Vec<Drilled>,
}

/// One variant, drilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drilled {
    /// Its name.
    pub variant: String,
    /// What is different in it.
    pub about: String,
    /// What it means.
    pub outcome: Outcome,
    /// When it began, in seconds since 1970, UTC.
    pub began: f64,
    /// How long it took, from the first server to the last one gone, in seconds.
    pub seconds: f64,
    /// The parts of the run.
    pub phases: Vec<Phase>,
    /// Predicted and measured, by phase.
    pub compared: Vec<Line>,
    /// What had to hold.
    pub expectations: Vec<Expectation>,
    /// What each client met.
    pub clients: Vec<Client>,
    /// What was done, as it was done.
    pub happened: Vec<Happened>,
    /// What could not be taken back.
    pub left: Vec<String>,
    /// What could not be done.
    pub troubles: Vec<String>,
    /// Why it was not well after all had been taken back.
    pub after: Option<String>,
    /// What was done to servers, and what was seen of it from outside.
    pub evidence: Vec<String>,
    /// What makes the numbers worth less.
    pub doubts: Vec<String>,
    /// What it was made of.
    pub parts: Vec<String>,
    /// How the prediction was made, in a sentence.
    pub prediction: String,
    /// What a diagnosis of what was measured says; nothing where nothing was injected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosed: Option<Diagnosed>,
    /// What was measured, at full size.
    pub measured: Told,
    /// What was predicted, once a simulated run.
    pub predicted: Vec<Told>,
}

/// One number, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// In which phase, by its place among them.
    pub phase: usize,
    /// What: `goodput`, `origin load`, `p50` or `p99`.
    pub measure: String,
    /// Of which component.
    pub of: String,
    /// What was predicted: a second, or in seconds.
    #[serde(with = "number")]
    pub predicted: f64,
    /// What was measured.
    #[serde(with = "number")]
    pub measured: f64,
    /// How far they are from each other, as a share of what is at stake.
    #[serde(with = "number")]
    pub error: f64,
}

/// What a client met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Its calls.
    pub calls: u64,
    /// By how they ended.
    pub ended: BTreeMap<String, u64>,
    /// Keys of the first wrong answers.
    pub examples: Vec<u64>,
    /// How answers were wrong.
    pub wrongs: BTreeMap<String, u64>,
    /// Why calls failed.
    pub failures: BTreeMap<String, u64>,
    /// The error of the load generator itself: 99% of the calls were sent no later than this, in seconds.
    pub lag_p99: f64,
    /// Calls that were due and not sent.
    pub overruns: u64,
}

impl Drilled {
    /// The mean error of the prediction of a measure over all phases and components, as a share; `NaN` when there is none.
    pub fn mean_error(&self, measure: Measure) -> f64 {
        let lines = self.compared.iter().filter(|line| line.measure == measure.name());
        let errors: Vec<f64> = lines
            .map(|line| line.error)
            .filter(|error| error.is_finite())
            .collect();
        errors.iter().sum::<f64>() / errors.len() as f64
    }

    /// Wrong answers that clients were given.
    pub fn wrong(&self) -> u64 {
        self.clients.iter().map(Client::wrong).sum()
    }
}

impl Client {
    /// Wrong answers.
    pub fn wrong(&self) -> u64 {
        self.ended.get(Ending::Wrong.name()).copied().unwrap_or(0)
    }
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// When, in seconds of the scenario's clock.
    pub at: f64,
    /// What.
    pub what: String,
    /// Whether it ended here; otherwise it began, or was done at once.
    pub over: bool,
}

/// A record, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The length of a period in seconds.
    pub period: f64,
    /// How long after the first period began the scenario's clock says zero, in seconds.
    pub origin: f64,
    /// How many periods there are.
    pub periods: usize,
    /// One value a period.
    pub series: Vec<Row>,
}

/// One series, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The metric's Prometheus name.
    pub metric: String,
    /// Of which component.
    pub of: String,
    /// Of which node of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// The value of the metric's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// One value a period; nothing where there is none.
    pub values: Vec<Option<f64>>,
}

/// The most periods that are read back.
const PERIODS_MAX: usize = 1_000_000;

impl Told {
    /// Writes a record down.
    pub fn of(record: &Record) -> Told {
        let row = |series: &Series| Row {
            metric: series.metric.name().to_owned(),
            of: series.component.clone(),
            instance: series.instance,
            label: series.label.clone(),
            values: series
                .values
                .iter()
                .map(|value| value.is_finite().then(|| short(*value)))
                .collect(),
        };
        Told {
            period: record.period.as_secs_f64(),
            origin: record.origin.as_secs_f64(),
            periods: record.periods,
            series: record.series().iter().map(row).collect(),
        }
    }

    /// A record of the same time in which nothing was measured.
    pub fn empty(&self) -> Record {
        let span = |seconds: f64| Span::from_secs_f64(seconds.clamp(0.0, 1e9));
        Record::new(
            span(self.period).max(Span::millis(1)),
            span(self.origin),
            self.periods.min(PERIODS_MAX),
        )
    }

    /// The record again. Series that this version does not know, or that are not whole, are left out.
    pub fn record(&self) -> Record {
        let mut record = self.empty();
        for row in &self.series {
            let Some(metric) = Metric::from_name(&row.metric) else {
                continue;
            };
            if row.values.len() != record.periods || metric.kind() == seawall_core::record::Kind::Ratio {
                continue;
            }
            let values = row.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
            let mut series = Series::new(metric, &row.of, values);
            (series.instance, series.label) = (row.instance, row.label.clone());
            record.push(series);
        }
        record
    }
}

/// Six significant digits: more than is measured, and short in a file.
fn short(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let text = format!("{value:.5e}");
    text.parse().unwrap_or(value)
}

impl Kept {
    /// The worst verdict of its variants; held when there is none.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.variants.iter().map(|drilled| drilled.outcome.verdict);
        verdicts.max().unwrap_or(Verdict::Held)
    }

    /// Of a scenario, before anything was drilled.
    pub fn of(scenario: &Scenario, name: &str) -> Kept {
        Kept {
            format: FORMAT,
            scenario: name.to_owned(),
            title: scenario.title.clone(),
            about: scenario.about.clone(),
            seed: scenario.run.seed,
            scale: scenario.run.scale,
            time: scenario.drill.time,
            sets: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: machine(),
            began: 0.0,
            ended: 0.0,
            variants: Vec::new(),
        }
    }
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plural = if processors == 1 {
        "processor"
    } else {
        "processors"
    };
    format!(
        "{} {}, {processors} {plural}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// Numbers that may be none: JSON has no `NaN`.
mod number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value
            .is_finite()
            .then(|| super::short(*value))
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let mut record = Record::new(Span::millis(500), Span::secs(1), 3);
        record.push(Series::new(Metric::Requests, "web", vec![1.0, 2.5, 0.0]).labelled("fresh"));
        record.push(Series::new(Metric::CacheEntries, "redis", vec![4.0, 0.000_123, 7e9]).of_instance(2));
        record.push(Series::new(Metric::RequestDuration, "web", vec![f64::NAN, 0.25, 0.5]).labelled("0.99"));
        let text = serde_json::to_string(&Told::of(&record)).expect("it is plain data");
        assert!(text.contains("null") && !text.contains("NaN"), "{text}");
        let told: Told = serde_json::from_str(&text).expect("it was just written");
        let back = told.record();
        assert_eq!(
            (back.period, back.origin, back.periods),
            (record.period, record.origin, 3)
        );
        assert_eq!(back.series()[..2], record.series()[..2]);
        let p99 = back.values(Metric::RequestDuration, "web", Some("0.99"));
        assert!(p99[0].is_nan() && p99[1..] == [0.25, 0.5], "{p99:?}");
    }

    #[test]
    fn what_a_later_version_wrote_is_left_out() {
        let row = |metric: &str, count: usize| Row {
            metric: metric.to_owned(),
            of: "web".to_owned(),
            instance: None,
            label: None,
            values: vec![Some(1.0); count],
        };
        let told = Told {
            period: 1.0,
            origin: 0.0,
            periods: 2,
            series: vec![
                row("goodput_total", 2),
                row("goodput_total", 3),
                row("unheard_of", 2),
                row("goodput_ratio", 2),
            ],
        };
        assert_eq!(told.record().series().len(), 1);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1.0 / 3.0).to_string(), "0.333333");
        assert_eq!(short(123_456_789.0).to_string(), "123457000");
    }
}
