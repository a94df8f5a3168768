//! At which traffic a system turns, what protects it, and how much database would do instead: by bisection.
//!
//! Every question is answered by trials: the scenario is changed in one thing and played `runs` times, always with the
//! same seeds, so that two trials differ by the change and not by luck. A trial is classed by
//! [`seawall_report::class`]. What is done, in this order:
//!
//! 1. Traffic: all clients' rates by one factor. Powers of two up and down from 1, until it holds below and is ill
//!    above; then each limit is halved (by ratio) until its two sides are within the tolerance.
//! 2. Protections are tried where they are needed: as written if the system stays down there, else a tenth above the
//!    traffic from which it stays down, and there to recover is enough. If it never stays down, as written: there most
//!    calls must be answered during the fault, or, where they are without protection, it must hold. Each alone; when
//!    none is enough, the two that did best with each of the others.
//! 3. For each that is enough and has a setting to loosen: the loosest one that is still enough.
//! 4. The database: its capacity and connections (its replicas, where crowding bends its throughput) by one factor.
//!
//! Bisection assumes one turn between two trials. It looks at all trials afterwards, and where a system is better
//! with more traffic or worse with more database it says so.

mod bench;
mod candidates;
mod change;
mod protect;
mod search;

use seawall_report::class::Class;
use seawall_report::figures::Figures;
use seawall_report::limits::{Aim, Limits, Line, Scan};
use seawall_scenario::{Document, Scenario};
use seawall_sim::Engine;

use crate::play::Tell;
use bench::Bench;
use search::{Ladder, search};

/// How far beyond the traffic from which it stays down protections are tried.
const BEYOND: f64 = 1.1;
/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The document.
    pub document: &'a Document,
    /// The variant whose limits are wanted.
    pub variant: &'a str,
    /// Settings that hold in all trials.
    pub settings: Vec<(String, String)>,
    /// The seed.
    pub seed: u64,
    /// How many runs a trial has.
    pub runs: u32,
    /// The share of the full size that is played.
    pub scale: f64,
    /// What plays it.
    pub engine: Engine,
    /// How near a limit must be known: by this share.
    pub tolerance: f64,
    /// How many runs go on at the same time.
    pub threads: usize,
}

/// Finds the limits. `enough_time` is asked before every round of trials; once it says no, what is left is named as not
/// finished. `progress` is told the share that is done, as far as it can be known.
///
/// # Errors
/// When the variant is wrong, or cannot be played.
pub fn limits(
    question: &Question<'_>,
    tell: &Tell<'_>,
    enough_time: &dyn Fn() -> bool,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Limits, String> {
    let base = scenario(question, &[])?;
    let mut bench = Bench::new(question, tell, enough_time, progress);
    let mut found = Limits {
        title: base.title.clone(),
        file: question.document.name().to_owned(),
        variant: question.variant.to_owned(),
        seed: question.seed,
        runs: question.runs,
        scale: question.scale,
        tolerance: question.tolerance,
        rate: change::rate(&base),
        ..Limits::default()
    };
    bench.stage(0.0, 0.4);
    let traffic = Ladder {
        lowest: 1.0 / 16.0,
        highest: 8.0,
        highest_when_down: 4.0,
        more_is_worse: true,
        lines: &[
            Line::Worse(Class::Degrades),
            Line::Worse(Class::NeverRecovers),
            Line::Worse(Class::Ill),
        ],
    };
    found.traffic = search(&mut bench, &traffic, question.tolerance, &|factor| {
        let words = format!("{}/s", change::number(found.rate * factor));
        (change::traffic(&base, factor), words)
    })?;
    if !bench.in_time() {
        found
            .unfinished
            .push("the limits of traffic are not as near as asked for".to_owned());
    }
    let at_one = found
        .traffic
        .probes
        .iter()
        .find(|probe| (probe.factor - 1.0).abs() < 1e-12);
    found.as_written = at_one.map(|probe| probe.figures.clone()).unwrap_or_default();
    (found.tried_at, found.aim) = where_to_try(&found.traffic, &found.as_written);
    protect::protect(question, &base, &mut bench, &mut found)?;
    if let Some(database) = change::Growth::of(&base) {
        bench.stage(0.8, 1.0);
        found.database_words = database.words(&base, 1.0);
        let ladder = Ladder {
            lowest: 1.0 / 4.0,
            highest: 64.0,
            highest_when_down: 64.0,
            more_is_worse: false,
            lines: &[Line::Fails(found.aim)],
        };
        let loaded = change::traffic(&base, found.tried_at);
        found.database = Some(search(&mut bench, &ladder, question.tolerance, &|factor| {
            (database.grown(&loaded, factor), database.words(&base, factor))
        })?);
        if !bench.in_time() {
            found.unfinished.push("how much database is needed".to_owned());
        }
    }
    (found.played, found.engines) = bench.played();
    Ok(found)
}

/// The traffic at which protections are tried, and what is asked of them there.
fn where_to_try(traffic: &Scan, as_written: &Figures) -> (f64, Aim) {
    if as_written.class == Class::NeverRecovers {
        return (1.0, Aim::Recover);
    }
    let down = traffic
        .probes
        .iter()
        .filter(|probe| probe.figures.class == Class::NeverRecovers);
    let factors: Vec<f64> = down.map(|probe| probe.factor).collect();
    match factors.as_slice() {
        [] => (1.0, Aim::of(as_written)),
        // A tenth beyond, unless that is where the load alone is too much.
        [first, ..] => {
            let ill = traffic.turn(Line::Worse(Class::Ill)).and_then(|turn| turn.worse);
            let beyond = first * BEYOND;
            let is_down = ill.is_none_or(|ill| beyond < ill);
            (if is_down { beyond } else { *first }, Aim::Recover)
        }
    }
}

fn scenario(question: &Question<'_>, more: &[(String, String)]) -> Result<Scenario, String> {
    let sets = question.settings.iter().chain(more);
    let sets: Vec<(&str, &str)> = sets
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect();
    let scenario = question.document.scenario(question.variant, &sets);
    scenario.map_err(|mistakes| {
        mistakes
            .list()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    })
}
