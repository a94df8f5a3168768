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
use super::doing::{Hands, before};
use super::plan::{Outputs, Plan, worst};
use crate::live::wall_clock;
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
            kept.ended = wall_clock();
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
    kept.ended = wall_clock();
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

#[cfg(test)]
mod tests {
    use seawall_core::record::{Record, Series};
    use seawall_core::time::Span;
    use seawall_drill::kept::Told;
    use seawall_drill::outcome::{Facts, Rules, outcome};
    use seawall_scenario::Document;

    use super::*;

    const SMALL: &str = "[client.web]\ncalls = \"app\"\nrate = \"1/s\"\nkeys = { uniform = { count = 1 } }\n\
        [service.app]\nservice_time = \"1ms\"\n[run]\nduration = \"3s\"\nwarmup = \"1s\"";

    fn plan() -> Plan {
        let document = Document::parse("small.toml", SMALL).expect("it is in order");
        let scenario = document.scenario("as-written", &[]).expect("it is in order");
        let what = seawall_drill::app::What {
            name: "small.toml".to_owned(),
            text: SMALL.to_owned(),
            variant: "as-written".to_owned(),
            sets: Vec::new(),
            time: 1.0,
            scale: 1.0,
        };
        Plan {
            name: "small.toml".to_owned(),
            variants: vec![(what, scenario)],
        }
    }

    fn said(pairs: &[[f64; 2]]) -> (String, bool) {
        told(&plan(), ProtectionName::Breaker, pairs)
    }

    #[test]
    fn a_difference_is_one_when_chance_does_not_make_it() {
        // Differences of 50, 52 and 54 points: 52 ± 4.303 · 2/√3.
        let (text, made) = said(&[[0.95, 0.45], [0.96, 0.44], [0.97, 0.43]]);
        assert!(made);
        assert!(
            text.starts_with("MADE THE DIFFERENCE: `breaker` in small.toml, variant as-written\n"),
            "{text}"
        );
        assert!(
            text.contains("difference 52.0 points, with 95% confidence between 47.0 and 57.0"),
            "{text}"
        );
        assert!(text.contains("pair 2: with 96.0%, without 44.0%"), "{text}");
    }

    #[test]
    fn what_varies_as_much_as_it_differs_shows_nothing() {
        let (text, made) = said(&[[0.9, 0.5], [0.5, 0.9], [0.9, 0.6]]);
        assert!(!made && text.starts_with("NO DIFFERENCE SHOWN"), "{text}");
        // It is certain, and too little to matter.
        let (text, made) = said(&[[0.961, 0.96], [0.961, 0.96], [0.961, 0.96]]);
        assert!(!made && text.starts_with("NO DIFFERENCE SHOWN"), "{text}");
    }

    #[test]
    fn harm_is_told_and_is_no_proof() {
        let (text, made) = said(&[[0.4, 0.9], [0.41, 0.9], [0.42, 0.9]]);
        assert!(!made && text.starts_with("DID HARM"), "{text}");
    }

    #[test]
    fn one_pair_proves_nothing_and_a_drill_without_calls_is_no_pair() {
        let (text, made) = said(&[[0.9, 0.1]]);
        assert!(!made && text.contains("one pair has no confidence"), "{text}");
        let (text, made) = said(&[[0.9, 0.1], [f64::NAN, 0.1], [0.91, 0.1]]);
        assert!(made && text.contains("difference 80.5 points"), "{text}");
    }

    #[test]
    fn what_is_answered_counts_from_the_beginning_of_the_scenario() {
        let plan = plan();
        let mut record = Record::new(Span::secs(1), Span::secs(1), 4);
        record.push(Series::new(
            Metric::Requests,
            "web",
            vec![100.0, 10.0, 10.0, 20.0],
        ));
        record.push(Series::new(Metric::Goodput, "web", vec![0.0, 10.0, 5.0, 15.0]));
        let scenario = &plan.variants[0].1;
        let mut drilled = drilled(scenario);
        drilled.measured = Told::of(&record);
        assert!((answered(scenario, &drilled) - 0.75).abs() < 1e-9);
    }

    /// A drill of which nothing is known.
    fn drilled(scenario: &Scenario) -> Drilled {
        let nothing = Told::of(&Record::new(Span::secs(1), Span::secs(1), 0));
        Drilled {
            variant: scenario.variant.clone(),
            about: String::new(),
            outcome: outcome(&Facts::whole(), &Rules::default()),
            began: 0.0,
            seconds: 0.0,
            phases: Vec::new(),
            compared: Vec::new(),
            expectations: Vec::new(),
            clients: Vec::new(),
            happened: Vec::new(),
            left: Vec::new(),
            troubles: Vec::new(),
            after: None,
            evidence: Vec::new(),
            doubts: Vec::new(),
            parts: Vec::new(),
            prediction: String::new(),
            diagnosed: None,
            measured: nothing,
            predicted: Vec::new(),
        }
    }
}
