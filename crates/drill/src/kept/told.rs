//! From a drill that has just ended to what is kept of it.

use std::collections::BTreeMap;

use seawall_core::record::{Ending as Outcomes, Metric, Record};
use seawall_scenario::{Scenario, Tolerance};

use super::diagnosed::diagnosed;
use super::{Client, Drilled, Happened, Line, Told};
use crate::load::Report;
use crate::outcome::{Expectation, Facts, Rules, Standing, outcome};
use crate::run::{Ending, News, Ran};
use crate::verdict::{Compared, Measure, compare, mean_error, phases};

/// What was seen from outside while a drill ran.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// When it began, in seconds since 1970, UTC.
    pub began: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What was done, as it was done.
    pub happened: Vec<Happened>,
    /// How the prediction was made, in a sentence.
    pub prediction: String,
    /// The share of their time that slow things took.
    pub pace: f64,
}

/// The most happenings that are kept.
const HAPPENED_MAX: usize = 1_000;

impl Gathered {
    /// Takes notice of something that was told.
    pub fn hear(&mut self, news: &News) {
        let (at, what, over) = match news {
            News::Done(at, what) => (at, what, false),
            News::Over(at, what) => (at, what, true),
            _ => return,
        };
        if self.happened.len() < HAPPENED_MAX {
            let what = what.clone();
            self.happened.push(Happened { at: *at, what, over });
        }
    }
}

/// Judges a drill and writes it down. The scenario is the one that was drilled, in its full size; the first of the
/// predictions is what is compared.
pub fn drilled(
    scenario: &Scenario,
    ran: &Ran,
    predicted: &[Record],
    gathered: Gathered,
    rules: &Rules,
) -> Drilled {
    let whole = ran.ending == Ending::Whole;
    let first = predicted.first().filter(|_| whole);
    let compared = first.map_or_else(Vec::new, |predicted| compare(scenario, predicted, &ran.record));
    let expectations = if whole {
        expectations(scenario, predicted, &ran.record, &ran.blind)
    } else {
        Vec::new()
    };
    let errors = (!compared.is_empty()).then(|| {
        (
            mean_error(&compared, Measure::Goodput),
            mean_error(&compared, Measure::OriginLoad),
        )
    });
    let facts = Facts {
        ending: ran.ending.clone(),
        wrong: ran.clients.iter().map(Report::wrong).sum(),
        examples: ran
            .clients
            .iter()
            .flat_map(|client| client.examples.iter().copied())
            .collect(),
        expectations: expectations.clone(),
        troubles: ran.troubles.clone(),
        unfelt: ran.unfelt.clone(),
        left: ran.left.clone(),
        after: ran.after.clone(),
        heals: first.is_none_or(|predicted| heals(scenario, predicted)),
        errors,
    };
    Drilled {
        variant: scenario.variant.clone(),
        about: scenario.variant_about.clone(),
        outcome: outcome(&facts, rules),
        began: gathered.began,
        seconds: gathered.seconds,
        phases: phases(scenario),
        compared: compared.iter().map(line).collect(),
        expectations,
        clients: ran.clients.iter().map(client).collect(),
        happened: gathered.happened,
        left: ran.left.clone(),
        troubles: troubles(ran),
        after: ran.after.clone(),
        evidence: ran.evidence.clone(),
        doubts: ran.doubts.clone(),
        parts: ran.parts.clone(),
        prediction: gathered.prediction,
        diagnosed: whole.then(|| diagnosed(scenario, &ran.record, gathered.pace)),
        measured: Told::of(&ran.record),
        predicted: predicted.iter().map(Told::of).collect(),
    }
}

/// What could not be done, and what was done in vain.
fn troubles(ran: &Ran) -> Vec<String> {
    let vain = ran.unfelt.iter().map(|fault| format!("no effect: {fault}"));
    ran.troubles.iter().cloned().chain(vain).collect()
}

fn line(one: &Compared) -> Line {
    Line {
        phase: one.phase,
        measure: one.measure.name().to_owned(),
        of: one.of.clone(),
        predicted: one.predicted,
        measured: one.measured,
        error: one.error,
    }
}

/// The last part of a run, in which it is to be well again, in seconds; and the share of good answers that this takes.
const LAST_S: f64 = 3.0;
const WELL: f64 = 0.9;

/// Whether the system is predicted to be well at the end.
fn heals(scenario: &Scenario, predicted: &Record) -> bool {
    let end = scenario.run.duration.as_secs_f64();
    let window = predicted.window(end - LAST_S, end);
    let share = |name: &str| predicted.ratio(Metric::GoodputRatio, name, window.clone());
    scenario
        .clients
        .iter()
        .all(|client| share(&client.name).is_nan() || share(&client.name) >= WELL)
}

/// What had to hold, by both records. What the simulator itself does not meet is not held against the system.
fn expectations(
    scenario: &Scenario,
    predicted: &[Record],
    record: &Record,
    blind: &[String],
) -> Vec<Expectation> {
    let measured = scenario.judge_within(std::slice::from_ref(record), Tolerance::MEASURED);
    let predicted = if predicted.is_empty() {
        Vec::new()
    } else {
        scenario.judge(&predicted[..1])
    };
    let mut all = Vec::new();
    for (place, measured) in measured.into_iter().enumerate() {
        let before = predicted.get(place);
        // What never happened has no series, and what nobody counts has none either.
        let is_measured = !blind.contains(&measured.of)
            || record.components(measured.metric).contains(&measured.of.as_str());
        let can_be = is_measured && before.is_none_or(|before| before.met);
        let standing = match (measured.met, can_be) {
            (_, false) => Standing::NotJudged,
            (true, true) => Standing::Met,
            (false, true) => Standing::NotMet,
        };
        all.push(Expectation {
            that: measured.that,
            standing,
            wanted: measured.wanted,
            predicted: before.map_or_else(String::new, |before| before.seen.clone()),
            measured: if is_measured {
                measured.seen
            } else {
                "nothing: it is not measured here".to_owned()
            },
            metric: measured.metric.name().to_owned(),
            of: measured.of,
            from: measured.over.from,
            to: measured.over.to,
        });
    }
    all
}

fn client(report: &Report) -> Client {
    let named = |counts: &BTreeMap<&'static str, u64>| {
        counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    Client {
        name: report.name.clone(),
        calls: report.calls(),
        ended: Outcomes::ALL
            .into_iter()
            .map(|ending| (ending.name().to_owned(), report.of(ending)))
            .collect(),
        examples: report.examples.clone(),
        wrongs: named(&report.wrongs),
        failures: report.failures.clone(),
        lag_p99: report.lag(0.99).as_secs_f64(),
        overruns: report.overruns,
    }
}
