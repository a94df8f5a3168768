//! What is believed to be the matter, and why: a hypothesis with the evidence for it and against it.
//!
//! Evidence is weighed in bits, as log-odds to the base 2: a piece of weight 3 makes a hypothesis eight times as likely
//! as it was, one of weight −3 eight times less (Good, *Probability and the Weighing of Evidence*, 1950; there in
//! bans). Every hypothesis begins at [`PRIOR`]. The weights are not learnt; what they are worth is measured, over every
//! scenario and over runs where nothing is the matter, in `docs/diagnose.md`.

use std::fmt;

use serde::Serialize;

use crate::failure::Failure;

/// What a hypothesis is worth before anything was seen, in bits: one in 33.
pub const PRIOR: f64 = -5.0;

/// A finding is told of from this confidence on.
pub const LIKELY: f64 = 0.5;

/// One fact, and what it says about a hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The fact, in a few words with its numbers.
    pub fact: String,
    /// Its weight in bits; for the hypothesis above zero, against it below.
    pub weight: f64,
}

/// A hypothesis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What is the matter.
    pub failure: Failure,
    /// Which component of the system.
    pub component: String,
    /// Which of its nodes; the whole component when absent.
    pub node: Option<u32>,
    /// How likely it is, between 0 and 1.
    pub confidence: f64,
    /// All evidence, the heaviest first.
    pub evidence: Vec<Evidence>,
    /// What was not measured and would tell more.
    pub unknown: Vec<&'static str>,
    /// The finding that explains this one, which is then its effect.
    pub effect_of: Option<Failure>,
}

impl Finding {
    /// The evidence that speaks for it.
    pub fn for_it(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().filter(|piece| piece.weight > 0.0)
    }

    /// The evidence that speaks against it.
    pub fn against_it(&self) -> impl Iterator<Item = &Evidence> {
        self.evidence.iter().filter(|piece| piece.weight < 0.0)
    }

    /// Whether it is more likely than not.
    pub fn is_likely(&self) -> bool {
        self.confidence >= LIKELY
    }

    /// The component, with the node where it is one.
    pub fn place(&self) -> String {
        match self.node {
            Some(node) => format!("{} node {node}", self.component),
            None => self.component.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.failure, self.place())
    }
}

/// A hypothesis while its evidence is gathered.
#[derive(Debug)]
pub(crate) struct Case {
    failure: Failure,
    component: String,
    node: Option<u32>,
    score: f64,
    evidence: Vec<Evidence>,
    unknown: Vec<&'static str>,
}

impl Case {
    pub(crate) fn new(failure: Failure, component: &str) -> Case {
        Case {
            failure,
            component: component.to_owned(),
            node: None,
            score: PRIOR,
            evidence: Vec::new(),
            unknown: Vec::new(),
        }
    }

    pub(crate) fn of_node(mut self, node: Option<u32>) -> Case {
        self.node = node;
        self
    }

    /// A fact that weighs `pro` when it is so, and `contra` (below zero) when it is not so. What nobody measured
    /// weighs nothing and is noted as what `would_tell` more.
    pub(crate) fn weigh(
        &mut self,
        so: Option<bool>,
        pro: f64,
        contra: f64,
        would_tell: &'static str,
        fact: impl FnOnce() -> String,
    ) {
        let Some(so) = so else {
            if !would_tell.is_empty() && !self.unknown.contains(&would_tell) {
                self.unknown.push(would_tell);
            }
            return;
        };
        let weight = if so { pro } else { contra };
        if weight != 0.0 {
            self.score += weight;
            self.evidence.push(Evidence { fact: fact(), weight });
        }
    }

    /// A fact that only counts when it is so.
    pub(crate) fn supports(&mut self, so: bool, pro: f64, fact: impl FnOnce() -> String) {
        self.weigh(Some(so), pro, 0.0, "", fact);
    }

    /// The finding.
    pub(crate) fn close(mut self) -> Finding {
        self.evidence
            .sort_by(|one, other| other.weight.abs().total_cmp(&one.weight.abs()));
        Finding {
            failure: self.failure,
            component: self.component,
            node: self.node,
            confidence: 1.0 / (1.0 + (-self.score).exp2()),
            evidence: self.evidence,
            unknown: self.unknown,
            effect_of: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_adds_up_in_bits() {
        let mut case = Case::new(Failure::Hung, "redis");
        case.weigh(Some(true), 9.0, -9.0, "", || "silent".to_owned());
        case.weigh(Some(false), 3.0, -1.0, "", || "but".to_owned());
        case.weigh(None, 3.0, -1.0, "a probe", || unreachable!("nobody measured it"));
        let finding = case.close();
        let odds = finding.confidence / (1.0 - finding.confidence);
        assert!((odds - 8.0).abs() < 1e-9, "-5 + 9 - 1 = 3 bits: {odds}");
        assert_eq!(finding.for_it().count(), 1);
        assert_eq!(finding.against_it().count(), 1);
        assert_eq!(finding.unknown, ["a probe"]);
    }
}
