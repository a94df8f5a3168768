//! `seawall drill NAME --prove PROTECTION`: with it and without it, in turns, and whether it made the difference.
//!
//! Drills on one machine differ from each other by what else the machine does. So the two are drilled in pairs, one after the
//! other and in alternating order, and what counts is the difference within each pair.

use std::fmt::Write as _;

use seawall_core::record::Metric;
use seawall_drill::kept::{Drilled, Kept};
use seawall_drill::outcome::Verdict;
use seawall_report::estimate::Estimate;
use seawall_scenario::{ProtectionName, Scenario};

use super::Doing;
use super::doing::{Hands, before, now};
use super::plan::{Outputs, Plan, worst};
use crate::output::print;
use crate::source::unknown;
use crate::stop::Stop;

/// A smaller share of the calls makes no difference to anybody.
const MATTERS: f64 = 0.02;

/// Drills a scenario with a protection and without it.
pub(super) fn run(doing: &Doing, name: &str, protection: &str) -> Result<u8, Stop> {
    let Some(protection) = ProtectionName::from_key(protection) else {
        let known: Vec<&str> = ProtectionName::ALL.iter().map(|one| one.key()).collect();
        return Err(unknown(
            "protection",
            protection,
            &known,
            "docs/scenario.md has them all",
        ));
    };
    let (with, without) = plans(doing, name, protection)?;
    for plan in [&with, &without] {
        plan.judge_refusals(doing.is_embedded())?;
    }
    let outputs = Outputs::without_files(doing)?;
    let hands = Hands::new(doing)?;
    let mut pairs = Vec::new();
    for number in 0..doing.pairs {
        let mut shares = [f64::NAN; 2];
        // The first of a pair meets another machine than the second.
        for place in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
            let plan = if place == 0 { &with } else { &without };
            let (what, scenario) = &plan.variants[0];
            let drilled = hands.variant(plan, what, scenario)?;
            if drilled.outcome.verdict >= Verdict::BaselineUnmet {
                return told_short(&drilled, plan, &outputs, doing);
            }
            shares[place] = answered(scenario, &drilled);
            let mut kept = Kept {
                began: drilled.began,
                ..before(plan)
            };
            kept.variants.push(drilled);
            kept.ended = now();
            outputs.keep(&kept, &plan.journal(&kept, doing));
        }
        pairs.push(shares);
        if hands.is_stopped() {
            break;
        }
    }
    let (text, made) = told(&with, protection, &pairs);
    print(&text)?;
    Ok(u8::from(!made))
}

/// One of them could not be drilled, so nothing follows.
fn told_short(drilled: &Drilled, plan: &Plan, outputs: &Outputs, doing: &Doing) -> Result<u8, Stop> {
    let outcome = &drilled.outcome;
    print(&format!(
        "NOT SHOWN: {}: {}\n",
        outcome.verdict.word(),
        outcome.why
    ))?;
    let status = worst([outcome.verdict]);
    let mut kept = Kept {
        began: drilled.began,
        ..before(plan)
    };
    kept.variants.push(drilled.clone());
    kept.ended = now();
    outputs.keep(&kept, &plan.journal(&kept, doing));
    Ok(status)
}

/// The variant that has the protection, and the same without it.
fn plans(doing: &Doing, name: &str, protection: ProtectionName) -> Result<(Plan, Plan), Stop> {
    let mut with = Plan::of(doing, name)?;
    with.variants.retain(|(_, scenario)| has(scenario, protection));
    with.variants.truncate(1);
    let Some((what, _)) = with.variants.first() else {
        return Err(Stop::Input(
            format!(
                "no variant of {name} that is drilled has `{}` on",
                protection.key()
            ),
            "name one that has with --variant, or switch it on with --set".to_owned(),
        ));
    };
    let mut off = what.clone();
    let value = if protection == ProtectionName::Integrity {
        "protect.integrity"
    } else {
        ""
    };
    off.sets.push(if value.is_empty() {
        (format!("protect.{}.on", protection.key()), "false".to_owned())
    } else {
        (value.to_owned(), "false".to_owned())
    });
    let scenario = off.scenario()?;
    let without = Plan {
        name: with.name.clone(),
        variants: vec![(off, scenario)],
    };
    Ok((with, without))
}

fn has(scenario: &Scenario, protection: ProtectionName) -> bool {
    scenario
        .protections
        .iter()
        .any(|one| one.setting.name() == protection)
}

/// The share of all calls that were answered well from T=0 on.
pub(super) fn answered(scenario: &Scenario, drilled: &Drilled) -> f64 {
    let record = drilled.measured.record();
    let window = record.window(0.0, f64::MAX);
    let sum = |metric: Metric| -> f64 {
        let clients = scenario.clients.iter();
        let values = clients.map(|client| record.values(metric, &client.name, None));
        values
            .map(|values| values.get(window.clone()).unwrap_or_default().iter().sum::<f64>())
            .sum()
    };
    sum(Metric::Goodput) / sum(Metric::Requests)
}

/// The verdict in words, and whether it made the difference.
fn told(plan: &Plan, protection: ProtectionName, pairs: &[[f64; 2]]) -> (String, bool) {
    let of = |place: usize| Estimate::of(pairs.iter().map(|pair| pair[place]));
    let difference = Estimate::of(pairs.iter().map(|[with, without]| with - without));
    let points = |share: f64| format!("{:.1}", 100.0 * share);
    let (low, high) = (
        difference.mean - difference.half,
        difference.mean + difference.half,
    );
    let several = pairs.len() > 1;
    let (made, verdict) = if several && low > 0.0 && difference.mean > MATTERS {
        (true, "MADE THE DIFFERENCE")
    } else if several && high < 0.0 && difference.mean < -MATTERS {
        (false, "DID HARM")
    } else {
        (false, "NO DIFFERENCE SHOWN")
    };
    let (what, _) = &plan.variants[0];
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{verdict}: `{}` in {}, variant {}",
        protection.key(),
        plan.name,
        what.variant
    );
    let said = |estimate: Estimate| format!("{}% ± {}", points(estimate.mean), points(estimate.half));
    let _ = writeln!(
        text,
        "  answered well from T=0 on: with it {}, without it {}",
        said(of(0)),
        said(of(1))
    );
    let _ = writeln!(
        text,
        "  difference {} points, with 95% confidence between {} and {} (Student's t of {} pairs, drilled in turns)",
        points(difference.mean),
        points(low),
        points(high),
        pairs.len()
    );
    for (number, [with, without]) in pairs.iter().enumerate() {
        let _ = writeln!(
            text,
            "  pair {}: with {}%, without {}%",
            number + 1,
            points(*with),
            points(*without)
        );
    }
    if !several {
        let _ = writeln!(text, "  one pair has no confidence: --pairs 3 or more");
    }
    (text, made)
}
