//! How bad it is, by the levels of the runbook of stampedes, and when to call for more people.
//!
//! | level | the runbook | here |
//! | --- | --- | --- |
//! | P0 | all services affected, the pool of the database exhausted, the API unavailable | half of all calls lost or more; or every connection of the origin taken while calls are lost |
//! | P1 | critical endpoints affected, backends overwhelmed, partial degradation | one call in twenty lost or more; a wrong answer; or the origin has three times its normal work or more |
//! | P2 | one service, minor impact | anything else that is likely |

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::finding::Finding;
use crate::situation::{Impact, Situation};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Minor, or nobody suffers yet.
    P2,
    /// High: a part of the calls is lost.
    P1,
    /// Critical: most is lost.
    P0,
}

impl Severity {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::P0 => "P0",
            Severity::P1 => "P1",
            Severity::P2 => "P2",
        }
    }
}

/// A level, and why it is this one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The level.
    pub severity: Severity,
    /// The reason, in a few words with its number.
    pub reason: String,
}

/// The level of what was found; nothing when nothing is likely.
pub(crate) fn judge(situation: &Situation, findings: &[Finding], impact: &Impact) -> Option<Judged> {
    if !findings.iter().any(Finding::is_likely) {
        return None;
    }
    let lost = impact.lost().unwrap_or(0.0);
    let percent = |share: f64| format!("{:.0}% of the calls", share * 100.0);
    let judged = |severity, reason: String| Some(Judged { severity, reason });
    if lost >= 0.5 {
        return judged(Severity::P0, format!("{} are lost", percent(lost)));
    }
    let likely = |failure: Failure| {
        findings
            .iter()
            .any(|finding| finding.failure == failure && finding.is_likely())
    };
    if likely(Failure::OriginFull) && lost >= 0.02 {
        let reason = format!(
            "every connection of the origin is taken, and {} are lost",
            percent(lost)
        );
        return judged(Severity::P0, reason);
    }
    if let Some(wrong) = impact.wrong_per_s.filter(|wrong| *wrong > 0.0) {
        return judged(Severity::P1, format!("{wrong:.1} wrong answers a second"));
    }
    if lost >= 0.05 {
        return judged(Severity::P1, format!("{} are lost", percent(lost)));
    }
    let more = situation
        .view
        .origins
        .iter()
        .filter_map(|origin| situation.grown(&origin.requests, 1.0))
        .fold(1.0_f64, f64::max);
    if more >= 3.0 {
        let reason = format!("the origin is asked for {more:.1} times as much as while it was calm");
        return judged(Severity::P1, reason);
    }
    let reason = if lost > 0.02 {
        format!("{} are lost", percent(lost))
    } else if impact.is_felt() {
        "calls take much longer, and are answered".to_owned()
    } else if impact.good.is_none() {
        "whether calls are lost was not measured (name the app's address, too)".to_owned()
    } else {
        "no call is lost".to_owned()
    };
    judged(Severity::P2, reason)
}

/// Why more people should be called, by the rules of the runbook; empty when nothing asks for it.
pub fn escalation(
    severity: Severity,
    seconds: f64,
    services: usize,
    findings: &[Finding],
    impact: &Impact,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if seconds > 30.0 * 60.0 {
        reasons.push(format!("it has lasted for {:.0} minutes", seconds / 60.0));
    }
    if services > 1 {
        reasons.push(format!("{services} services are affected"));
    }
    let full = findings
        .iter()
        .any(|finding| finding.failure == Failure::OriginFull && finding.is_likely());
    if full {
        reasons.push("every connection of the origin is taken".to_owned());
    }
    if severity == Severity::P0 && impact.good.is_some_and(|good| good < 0.05) {
        reasons.push("hardly any call is answered".to_owned());
    }
    reasons
}
