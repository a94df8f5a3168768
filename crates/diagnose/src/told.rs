//! A diagnosis in words, for a person who has just been woken: the verdict, why, and what to do.

use std::fmt::Write as _;

use crate::diagnosis::Diagnosis;
use crate::finding::Finding;
use crate::runbook::{How, Step};

/// So many pieces of evidence are told of each side.
const EVIDENCE_MAX: usize = 5;

/// A diagnosis and its steps as text.
pub fn told(diagnosis: &Diagnosis, steps: &[Step]) -> String {
    let mut text = String::new();
    verdict(&mut text, diagnosis);
    if let Some(first) = diagnosis.first() {
        evidence(&mut text, first);
    }
    let others: Vec<&Finding> = diagnosis.likely().skip(1).collect();
    if !others.is_empty() {
        text.push_str("\nalso\n");
        for finding in others {
            let of = finding
                .effect_of
                .map_or(String::new(), |of| format!(", which follows from {of}"));
            let _ = writeln!(text, "  {finding}, {:.0}% sure{of}", finding.confidence * 100.0);
        }
    }
    unknown(&mut text, diagnosis);
    if !steps.is_empty() {
        text.push_str("\nwhat to do, in this order\n");
        for (number, step) in steps.iter().enumerate() {
            one_step(&mut text, number + 1, step);
        }
    }
    text
}

fn verdict(text: &mut String, diagnosis: &Diagnosis) {
    let impact = &diagnosis.impact;
    let Some(first) = diagnosis.first() else {
        if impact.is_felt() {
            text.push_str(
                "UNKNOWN: calls are lost or take much longer, and nothing that was measured says why\n",
            );
        } else {
            text.push_str("HEALTHY: nothing that was measured is out of order\n");
        }
        impact_of(text, diagnosis);
        return;
    };
    let _ = writeln!(
        text,
        "{}: {}",
        first.failure.name().to_uppercase(),
        first.failure.what()
    );
    if let Some(judged) = &diagnosis.severity {
        let _ = writeln!(
            text,
            "{} at {}: {}; {:.0}% sure",
            judged.severity.name(),
            first.place(),
            judged.reason,
            first.confidence * 100.0
        );
    }
    impact_of(text, diagnosis);
}

fn impact_of(text: &mut String, diagnosis: &Diagnosis) {
    let impact = &diagnosis.impact;
    let mut parts = Vec::new();
    if let (Some(asked), Some(good)) = (impact.asked_per_s, impact.good) {
        parts.push(format!(
            "{:.1}% of {asked:.0} calls a second are answered well",
            good * 100.0
        ));
    }
    if let Some(slower) = impact.slower {
        parts.push(format!("the slowest take {slower:.1} times as long"));
    }
    if let Some(wrong) = impact.wrong_per_s.filter(|wrong| *wrong > 0.0) {
        parts.push(format!("{wrong:.1} wrong answers a second"));
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "{}", parts.join("; "));
    }
}

fn evidence(text: &mut String, finding: &Finding) {
    text.push_str("\nwhy\n");
    for piece in finding.for_it().take(EVIDENCE_MAX) {
        let _ = writeln!(text, "  + {}", piece.fact);
    }
    let against: Vec<&str> = finding.against_it().map(|piece| piece.fact.as_str()).collect();
    if !against.is_empty() {
        text.push_str("what speaks against it\n");
        for fact in against.into_iter().take(EVIDENCE_MAX) {
            let _ = writeln!(text, "  - {fact}");
        }
    }
}

fn unknown(text: &mut String, diagnosis: &Diagnosis) {
    // What is missing matters for what is likely, or nearly so; a list of all that could be measured helps nobody.
    let mut unknown: Vec<&str> = Vec::new();
    for finding in diagnosis
        .findings
        .iter()
        .filter(|finding| finding.confidence >= 0.02)
        .take(3)
    {
        for what in &finding.unknown {
            if !unknown.contains(what) && unknown.len() < EVIDENCE_MAX {
                unknown.push(what);
            }
        }
    }
    if !unknown.is_empty() {
        text.push_str("\nwhat was not measured and would tell more\n");
        for what in unknown {
            let _ = writeln!(text, "  ? {what}");
        }
    }
}

fn one_step(text: &mut String, number: usize, step: &Step) {
    let _ = writeln!(
        text,
        "  {number}. {} [{}], against {}",
        step.title,
        step.id.name(),
        step.against
    );
    let _ = writeln!(text, "     does    {}", step.does);
    let _ = writeln!(text, "     risk    {}", step.risk);
    let _ = writeln!(text, "     see     {}", step.verify);
    let _ = writeln!(text, "     back    {}", step.undo);
    match &step.how {
        How::Seawall(_) => {
            let _ = writeln!(text, "     do it   --apply {}", step.id.name());
        }
        How::Person(commands) => {
            text.push_str("     only you can:\n");
            for command in commands {
                let _ = writeln!(text, "       {command}");
            }
        }
    }
}
