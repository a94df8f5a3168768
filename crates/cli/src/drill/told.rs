//! From what is kept of a drill to what a report tells of it.

use std::fmt::Write;

use seawall_core::record::Record;
use seawall_drill::journal::utc;
use seawall_drill::kept::{Drilled, Happened, Kept};
use seawall_drill::outcome::{self, Verdict};
use seawall_drill::verdict::Measure;
use seawall_report::drill::{Diagnosed, Drill, Expectation, Line, Mood, Standing, Told};
use seawall_report::{Report, Variant};
use seawall_scenario::Scenario;

use crate::telling::{happenings, topology};

/// A drill of these scenarios, as it is told.
pub(super) fn drill(scenarios: &[Scenario], kept: &Kept) -> Drill {
    let done = |drilled: &Drilled| {
        scenarios
            .iter()
            .find(|scenario| scenario.variant == drilled.variant)
            .cloned()
    };
    let scenarios: Vec<Scenario> = kept.variants.iter().filter_map(done).collect();
    let variants = kept.variants.iter().map(|drilled| Variant {
        name: drilled.variant.clone(),
        about: drilled.about.clone(),
        records: vec![measured(drilled)],
        judged: Vec::new(),
        requests: drilled.clients.iter().map(|client| client.calls).sum(),
        played: None,
    });
    Drill {
        report: Report {
            title: kept.title.clone(),
            about: kept.about.clone(),
            file: kept.scenario.clone(),
            seed: kept.seed,
            runs: 1,
            scale: kept.scale,
            engine: "a drill".to_owned(),
            happenings: happenings(&scenarios),
            variants: variants.collect(),
            refused: Vec::new(),
            topology: scenarios.first().map_or_else(Vec::new, topology),
        },
        told: kept.variants.iter().map(told).collect(),
        where_and_when: where_and_when(kept),
    }
}

/// The record; of a drill that never began an empty one of the time that it would have had.
fn measured(drilled: &Drilled) -> Record {
    let record = drilled.measured.record();
    match drilled.predicted.first() {
        Some(predicted) if record.periods == 0 => predicted.empty(),
        _ => record,
    }
}

/// The machine, the time and the size, in a line.
pub(super) fn where_and_when(kept: &Kept) -> String {
    let share = |share: f64| {
        let parts = (1.0 / share).round();
        if (1.0 / share - parts).abs() > 1e-6 {
            format!("{:.3}%", share * 100.0)
        } else if parts > 1.0 {
            format!("1/{parts}")
        } else {
            "all".to_owned()
        }
    };
    format!(
        "Drilled {} UTC on {}; seawall {}, seed {}; {} of the size, slow things in {} of their time",
        utc(kept.began)[..19].replace('T', " "),
        kept.machine,
        kept.version,
        kept.seed,
        share(kept.scale),
        share(kept.time),
    )
}

/// The machine and the day: what all drills of a summary share.
pub(super) fn where_and_when_all(kept: &Kept) -> String {
    format!(
        "Drilled on {} on {}; seawall {}",
        &utc(kept.began)[..10],
        kept.machine,
        kept.version
    )
}

/// One variant.
pub(super) fn told(drilled: &Drilled) -> Told {
    let examples = drilled
        .clients
        .iter()
        .flat_map(|client| client.examples.iter().copied())
        .take(16)
        .collect();
    Told {
        verdict: drilled.outcome.verdict.word().to_owned(),
        mood: mood(drilled.outcome.verdict),
        why: drilled.outcome.why.clone(),
        took_s: drilled.seconds,
        predicted: drilled
            .predicted
            .iter()
            .map(seawall_drill::kept::Told::record)
            .collect(),
        prediction: drilled.prediction.clone(),
        predicted_well: drilled.outcome.predicted_well,
        errors: (
            drilled.mean_error(Measure::Goodput),
            drilled.mean_error(Measure::OriginLoad),
        ),
        phases: drilled
            .phases
            .iter()
            .map(|phase| (phase.name.clone(), phase.from, phase.to))
            .collect(),
        lines: drilled.compared.iter().map(line).collect(),
        expectations: drilled.expectations.iter().map(expectation).collect(),
        wrong: (drilled.wrong(), examples),
        happened: drilled.happened.iter().map(happened).collect(),
        left: drilled.left.clone(),
        troubles: drilled.troubles.clone(),
        evidence: drilled.evidence.clone(),
        doubts: drilled.doubts.clone(),
        notes: notes(drilled),
        parts: drilled.parts.clone(),
        advice: drilled.outcome.advice.clone(),
        diagnosed: drilled.diagnosed.as_ref().map(diagnosed),
    }
}

pub(super) fn mood(verdict: Verdict) -> Mood {
    match verdict {
        Verdict::Held => Mood::Good,
        Verdict::Deviated | Verdict::RollbackFailed => Mood::Bad,
        Verdict::BaselineUnmet | Verdict::Aborted => Mood::Unclear,
    }
}

fn line(line: &seawall_drill::kept::Line) -> Line {
    Line {
        phase: line.phase,
        measure: line.measure.clone(),
        of: line.of.clone(),
        is_time: Measure::ALL
            .into_iter()
            .any(|measure| measure.is_time() && measure.name() == line.measure),
        predicted: line.predicted,
        measured: line.measured,
        error: line.error,
    }
}

fn diagnosed(one: &seawall_drill::kept::Diagnosed) -> Diagnosed {
    Diagnosed {
        first: one.first.clone(),
        confidence: one.confidence.unwrap_or(0.0),
        severity: one.severity.clone().unwrap_or_default(),
        truth: one.truth.clone(),
        right: one.right,
        false_alarm: one.false_alarm,
        step: one.step.clone(),
        harmful: one.harmful,
        evidence: one.evidence.clone(),
        later: one.later.clone(),
        detected_s: one.detected_s,
        mitigated_s: one.mitigated_s,
        stabilised_s: one.stabilised_s,
        recovered_s: one.recovered_s,
    }
}

fn expectation(one: &outcome::Expectation) -> Expectation {
    Expectation {
        that: one.that.clone(),
        standing: match one.standing {
            outcome::Standing::Met => Standing::Met,
            outcome::Standing::NotMet => Standing::NotMet,
            outcome::Standing::NotJudged => Standing::NotJudged,
        },
        wanted: one.wanted.clone(),
        predicted: one.predicted.clone(),
        measured: one.measured.clone(),
    }
}

fn happened(one: &Happened) -> (f64, String) {
    let what = if one.over {
        format!("over: {}", one.what)
    } else {
        one.what.clone()
    };
    (one.at, what)
}

/// The error of the load generator itself, and why calls failed.
fn notes(drilled: &Drilled) -> Vec<String> {
    let mut notes = Vec::new();
    for client in &drilled.clients {
        let mut note = format!(
            "{}: {} calls, 99% of them sent no later than {:.1} ms after they were due",
            client.name,
            client.calls,
            client.lag_p99 * 1e3
        );
        if client.overruns > 0 {
            let _ = write!(note, "; {} were due and not sent", client.overruns);
        }
        let mut failures: Vec<(&String, &u64)> = client.failures.iter().collect();
        failures.sort_by(|a, b| b.1.cmp(a.1));
        for (why, count) in failures.into_iter().take(3) {
            let _ = write!(note, "; {count} failed: {why}");
        }
        notes.push(note);
    }
    notes
}
