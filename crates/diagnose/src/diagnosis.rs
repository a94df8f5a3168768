//! What is the matter at a moment: findings, impact, severity, in one.

use std::ops::Range;

use seawall_core::record::Record;
use serde::Serialize;

use crate::finding::Finding;
use crate::rules;
use crate::severity::{self, Judged};
use crate::situation::{Impact, Situation};
use crate::view::View;

/// What is the matter at a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The index of the period at whose end it was made.
    pub at: usize,
    /// All hypotheses, the likeliest cause first.
    pub findings: Vec<Finding>,
    /// How clients fare.
    pub impact: Impact,
    /// How bad it is; nothing when nothing is likely.
    pub severity: Option<Judged>,
}

impl Diagnosis {
    /// The likeliest cause, when anything is likely.
    pub fn first(&self) -> Option<&Finding> {
        self.findings.first().filter(|finding| finding.is_likely())
    }

    /// All that is likely.
    pub fn likely(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_likely())
    }

    /// Whether nothing is likely.
    pub fn is_healthy(&self) -> bool {
        self.first().is_none()
    }
}

/// Says what is the matter at the end of period `at` of a record, beside the calm: the periods in which all was well.
///
/// Without calm periods the evidence that needs a comparison is missing, and says so.
pub fn diagnose(record: &Record, at: usize, calm: Range<usize>) -> Diagnosis {
    let view = View::new(record);
    let calm: Vec<usize> = calm.collect();
    examine(&view, at, &calm)
}

pub(crate) fn examine(view: &View, at: usize, calm: &[usize]) -> Diagnosis {
    let situation = Situation::new(view, at, calm);
    let findings = rules::examine(&situation);
    let impact = situation.impact();
    let severity = severity::judge(&situation, &findings, &impact);
    Diagnosis {
        at,
        findings,
        impact,
        severity,
    }
}
