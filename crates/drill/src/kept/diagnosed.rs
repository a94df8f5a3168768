//! What a diagnosis said of a drill, kept: it knew the record and not the scenario.

use seawall_core::record::Record;
use seawall_diagnose::{Held, held};
use seawall_scenario::Scenario;
use serde::{Deserialize, Serialize};

/// What was said of a drill, beside what was done. Times are seconds from what was done first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosed {
    /// What is right to say, by name; several where one happening is rightly told in more than one way.
    pub truth: Vec<String>,
    /// What came first when it was sure enough to speak.
    pub first: Option<String>,
    /// How sure it was, from 0 to 1.
    pub confidence: Option<f64>,
    /// How bad it was: P0, P1 or P2.
    pub severity: Option<String>,
    /// The evidence for it.
    pub evidence: Vec<String>,
    /// What came first later, and after how long.
    pub later: Vec<(f64, String)>,
    /// The first step that was proposed.
    pub step: Option<String>,
    /// Right at first rank; where nobody suffered, silence is right too.
    pub right: bool,
    /// It spoke before anything was done.
    pub false_alarm: bool,
    /// The first step does harm in what it really is.
    pub harmful: bool,
    /// It spoke.
    pub detected_s: Option<f64>,
    /// What was lost is less than half of the worst.
    pub mitigated_s: Option<f64>,
    /// Hardly anything is lost.
    pub stabilised_s: Option<f64>,
    /// Nothing is the matter any more.
    pub recovered_s: Option<f64>,
}

/// So many pieces of evidence are kept.
const EVIDENCE_MAX: usize = 6;

/// Diagnoses a drill of a scenario in which slow things took `pace` of their time.
pub(super) fn diagnosed(scenario: &Scenario, record: &Record, pace: f64) -> Diagnosed {
    let held = held(scenario, record, pace);
    let diagnosis = held.diagnosis.as_ref();
    let first = diagnosis.and_then(|diagnosis| diagnosis.first());
    let evidence = first.map_or_else(Vec::new, |first| {
        let facts = first.for_it().map(|piece| piece.fact.clone());
        facts.take(EVIDENCE_MAX).collect()
    });
    let severity = diagnosis.and_then(|diagnosis| diagnosis.severity.as_ref());
    let Held {
        detected_s,
        mitigated_s,
        stabilised_s,
        recovered_s,
        false_alarm,
        harmful,
        ..
    } = held;
    Diagnosed {
        truth: held.truth.iter().map(ToString::to_string).collect(),
        first: held.first().map(|failure| failure.to_string()),
        confidence: first.map(|first| first.confidence),
        severity: severity.map(|judged| judged.severity.name().to_owned()),
        evidence,
        later: held
            .later
            .iter()
            .map(|(after, failure)| (*after, failure.to_string()))
            .collect(),
        step: held.step.map(str::to_owned),
        right: held.is_right(),
        false_alarm,
        harmful,
        detected_s,
        mitigated_s,
        stabilised_s,
        recovered_s,
    }
}
