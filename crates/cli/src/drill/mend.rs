//! `seawall drill NAME --mend`: what would mend the weaknesses that were found, by the simulator, and tried by more drills.

use std::fmt::Write as _;

use seawall_drill::app::What;
use seawall_drill::kept::Drilled;
use seawall_drill::outcome::{Standing, Verdict};
use seawall_report::limits::{Aim, Trial};
use seawall_scenario::{Document, Scenario};
use seawall_sim::Engine;
use seawall_sweep::limits::{Question, limits};

use super::Doing;
use super::doing::Hands;
use super::plan::Plan;
use super::prove::answered;
use crate::playing::processors;
use crate::source::document;
use crate::stop::Stop;
use crate::sweep::tell;

/// The simulator looks for so many rounds of trials at most.
const ROUNDS: u32 = 40;
/// As near as a setting has to be known to be tried.
const TOLERANCE: f64 = 0.25;
/// So many are named.
const NAMED: usize = 3;
/// A system that answers fewer of the calls has a weakness, whatever was expected of it.
const WELL: f64 = 0.9;
/// What was tried helped when it answers so much more of the calls.
const HELPS: f64 = 0.02;

/// For each variant that was found weak: which settings would mend it, and what came of them.
pub(super) fn mended(doing: &Doing, hands: &Hands, plan: &Plan, drilled: &[Drilled]) -> Result<String, Stop> {
    let document = document(&plan.name)?;
    let mut text = String::new();
    for ((what, scenario), drilled) in plan.variants.iter().zip(drilled) {
        if drilled.outcome.verdict > Verdict::Deviated || hands.is_stopped() {
            continue;
        }
        let weak = weaknesses(scenario, drilled);
        if weak.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}: no weakness was found", what.variant);
            continue;
        }
        let _ = writeln!(text, "{}: weaknesses", what.variant);
        for weakness in &weak {
            let _ = writeln!(text, "  - {weakness}");
        }
        let (trials, aim) = trials(doing, &document, &what.variant)?;
        if trials.is_empty() {
            let _ = writeln!(
                text,
                "  the simulator found no single setting, and no pair, that is enough {}",
                aim.words()
            );
            continue;
        }
        let _ = writeln!(
            text,
            "  by the simulator, each of these is enough {}:",
            aim.words()
        );
        for trial in trials.iter().take(NAMED) {
            let _ = writeln!(text, "    {}", options(&trial.settings));
        }
        // What is enough in the simulator may not be here: then the next one is tried.
        for trial in trials.iter().take(NAMED) {
            if hands.is_stopped() {
                break;
            }
            let (helps, told) = tried(hands, plan, what, (scenario, drilled), trial)?;
            let _ = writeln!(text, "  {told}");
            if helps {
                break;
            }
        }
    }
    Ok(text)
}

/// What was seen to be weak, one sentence each.
fn weaknesses(scenario: &Scenario, drilled: &Drilled) -> Vec<String> {
    let unmet = drilled
        .expectations
        .iter()
        .filter(|one| one.standing == Standing::NotMet);
    let mut weak: Vec<String> = unmet
        .map(|one| format!("not met: {} (measured {})", one.that, one.measured))
        .collect();
    if drilled.wrong() > 0 {
        weak.push(format!("{} answers were wrong", drilled.wrong()));
    }
    let share = answered(scenario, drilled);
    if share < WELL {
        weak.push(format!(
            "only {:.0}% of the calls were answered well from T=0 on",
            100.0 * share
        ));
    }
    if let Some(after) = &drilled.after {
        weak.push(format!("it does not heal by itself: {after}"));
    }
    weak
}

/// Settings that are enough in the simulator, single ones first.
fn trials(doing: &Doing, document: &Document, variant: &str) -> Result<(Vec<Trial>, Aim), Stop> {
    let scenario = document.scenario(variant, &[])?;
    let question = Question {
        document,
        variant,
        settings: doing.set.clone(),
        seed: scenario.run.seed,
        runs: 1,
        scale: scenario.run.scale,
        engine: Engine::Auto,
        tolerance: TOLERANCE,
        threads: processors(),
    };
    let rounds = std::cell::Cell::new(0);
    let enough_time = || {
        rounds.set(rounds.get() + 1);
        rounds.get() <= ROUNDS
    };
    let found = limits(&question, &tell, &enough_time, &|_| {}).map_err(Stop::Failed)?;
    let aim = found.aim;
    let mut enough: Vec<Trial> = found.trials.into_iter().filter(|trial| trial.enough).collect();
    enough.sort_by(|a, b| {
        let answered = b.figures.goodput_during.total_cmp(&a.figures.goodput_during);
        a.settings.len().cmp(&b.settings.len()).then(answered)
    });
    Ok((enough, aim))
}

fn options(settings: &[(String, String)]) -> String {
    let options: Vec<String> = settings
        .iter()
        .map(|(path, value)| format!("--set '{path}={value}'"))
        .collect();
    options.join(" ")
}

/// One more drill, with the setting: whether it helps, and what is said of it.
fn tried(
    hands: &Hands,
    plan: &Plan,
    what: &What,
    (scenario, before): (&Scenario, &Drilled),
    trial: &Trial,
) -> Result<(bool, String), Stop> {
    let mut mended = what.clone();
    mended.sets.extend(trial.settings.iter().cloned());
    let again = mended.scenario()?;
    let after = hands.variant(plan, &mended, &again)?;
    let tried = format!("tried {}", options(&trial.settings));
    if after.outcome.verdict > Verdict::Deviated {
        let outcome = &after.outcome;
        return Ok((
            false,
            format!("{tried}: {}: {}", outcome.verdict.word(), outcome.why),
        ));
    }
    let (was, is) = (answered(scenario, before), answered(&again, &after));
    let helps = is > was + HELPS;
    let verdict = if helps {
        "it helps"
    } else {
        "it does not help here"
    };
    let told = format!(
        "{tried}: {verdict}: {:.1}% of the calls were answered well from T=0 on, and {:.1}% without it",
        100.0 * is,
        100.0 * was
    );
    Ok((helps, told))
}
