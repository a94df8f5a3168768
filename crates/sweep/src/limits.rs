//! At which traffic a system turns, what protects it, and how much database would do instead: by bisection.
//!
//! Every question is answered by trials: the scenario is changed in one thing and played `runs` times, always with the
//! same seeds, so that two trials differ by the change and not by luck. A trial is classed by
//! [`seawall_report::class`]. What is done, in this order:
//!
//! 1. Traffic: all clients' rates by one factor. Powers of two up and down from 1, until it holds below and is ill
//!    above; then each limit is halved (by ratio) until its two sides are within the tolerance.
//! 2. Protections are tried where they are needed: as written if the system stays down there, else a tenth above the
//!    traffic from which it stays down; if it never does, as written, and then they are asked to make it hold.
//!    Each alone; when none is enough, pairs of the six that did best.
//! 3. For each that is enough and has a setting to loosen: the loosest one that is still enough.
//! 4. The database: its capacity and connections (its replicas, where crowding bends its throughput) by one factor.
//!
//! Bisection assumes one turn between two trials. It looks at all trials afterwards, and where a system is better
//! with more traffic or worse with more database it says so.

mod bench;
mod candidates;
mod change;
mod search;

use seawall_report::class::Class;
use seawall_report::limits::{Limits, Loosest, Scan, Trial};
use seawall_scenario::{Document, Scenario};
use seawall_sim::Engine;

use crate::play::Tell;
use bench::Bench;
use candidates::{Candidate, candidates};
use search::{Ladder, search};

/// How many of the single protections are tried in pairs when none is enough.
const PAIRED: usize = 6;
/// How far beyond the traffic from which it stays down protections are tried.
const BEYOND: f64 = 1.1;
/// How far settings are loosened at most.
const LOOSER_MAX: f64 = 64.0;

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
        highest: 16.0,
        more_is_worse: true,
        classes: &[Class::Degrades, Class::NeverRecovers, Class::Ill],
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
    (found.tried_at, found.tried_down) = where_to_try(&found.traffic, found.as_written.class);
    protect(question, &base, &mut bench, &mut found)?;
    if let Some(database) = change::Growth::of(&base) {
        bench.stage(0.8, 1.0);
        found.database_words = database.words(&base, 1.0);
        let ladder = Ladder {
            lowest: 1.0 / 4.0,
            highest: 64.0,
            more_is_worse: false,
            classes: if found.tried_down {
                &[Class::NeverRecovers]
            } else {
                &[Class::Degrades]
            },
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

/// The traffic at which protections are tried, and whether the system stays down there.
fn where_to_try(traffic: &Scan, as_written: Class) -> (f64, bool) {
    if as_written == Class::NeverRecovers {
        return (1.0, true);
    }
    let down = traffic
        .probes
        .iter()
        .filter(|probe| probe.figures.class == Class::NeverRecovers);
    let factors: Vec<f64> = down.map(|probe| probe.factor).collect();
    match factors.as_slice() {
        [] => (1.0, false),
        // A tenth beyond, unless that is where the load alone is too much.
        [first, ..] => {
            let ill = traffic.turn(Class::Ill).and_then(|turn| turn.worse);
            let beyond = first * BEYOND;
            let is_down = ill.is_none_or(|ill| beyond < ill);
            (if is_down { beyond } else { *first }, true)
        }
    }
}

/// Tries protections: alone, in pairs, loosened.
fn protect(
    question: &Question<'_>,
    base: &Scenario,
    bench: &mut Bench<'_>,
    found: &mut Limits,
) -> Result<(), String> {
    bench.stage(0.4, 0.65);
    let (factor, down) = (found.tried_at, found.tried_down);
    let enough = |class: Class| class == Class::Holds || down && class == Class::Degrades;
    let with = |trial: &[&Candidate], looser: f64| -> Result<Scenario, String> {
        let settings: Vec<(String, String)> =
            trial.iter().map(|candidate| candidate.setting(looser)).collect();
        Ok(change::traffic(&scenario(question, &settings)?, factor))
    };
    let mut fit = Vec::new();
    for candidate in candidates(base) {
        match with(&[&candidate], 1.0) {
            Ok(scenario) => fit.push((candidate, scenario)),
            Err(why) => found.unfit.push((candidate.name.to_owned(), why)),
        }
    }
    let mut jobs = vec![change::traffic(base, factor)];
    jobs.extend(fit.iter().map(|(_, scenario)| scenario.clone()));
    let Some(figures) = bench.trials(&jobs)? else {
        found.unfinished.push("protections".to_owned());
        return Ok(());
    };
    let mut figures = figures.into_iter();
    found.unprotected = figures.next().unwrap_or_default();
    if enough(found.unprotected.class) {
        return Ok(());
    }
    let trial = |candidates: &[&Candidate], figures: seawall_report::figures::Figures| Trial {
        settings: candidates
            .iter()
            .map(|candidate| candidate.setting(1.0))
            .collect(),
        enough: enough(figures.class),
        figures,
    };
    let mut singles: Vec<(&Candidate, Trial)> = fit
        .iter()
        .zip(figures)
        .map(|((candidate, _), figures)| (candidate, trial(&[candidate], figures)))
        .collect();
    singles.sort_by(|(_, a), (_, b)| best_first(a, b));
    found.trials = singles.iter().map(|(_, trial)| trial.clone()).collect();
    if singles.iter().any(|(_, trial)| trial.enough) {
        return loosen(&singles, bench, found, &with, &enough);
    }
    let best = &singles[..singles.len().min(PAIRED)];
    let pairs: Vec<[&Candidate; 2]> = (0..best.len())
        .flat_map(|a| (a + 1..best.len()).map(move |b| [best[a].0, best[b].0]))
        .collect();
    let jobs = pairs.iter().map(|pair| with(pair, 1.0));
    let Some(figures) = bench.trials(&jobs.collect::<Result<Vec<_>, _>>()?)? else {
        found.unfinished.push("pairs of protections".to_owned());
        return Ok(());
    };
    let mut trials: Vec<Trial> = pairs
        .iter()
        .zip(figures)
        .map(|(pair, figures)| trial(pair, figures))
        .collect();
    trials.sort_by(best_first);
    found.trials.extend(trials);
    Ok(())
}

/// Better classes first, then more goodput during and after.
fn best_first(a: &Trial, b: &Trial) -> std::cmp::Ordering {
    let got = |trial: &Trial| trial.figures.goodput_during + trial.figures.goodput_after;
    let classes = a.figures.class.cmp(&b.figures.class);
    classes.then(got(b).total_cmp(&got(a)))
}

/// How far each setting that is enough can be loosened: by powers of two, all at once.
fn loosen(
    singles: &[(&Candidate, Trial)],
    bench: &mut Bench<'_>,
    found: &mut Limits,
    with: &dyn Fn(&[&Candidate], f64) -> Result<Scenario, String>,
    enough: &dyn Fn(Class) -> bool,
) -> Result<(), String> {
    bench.stage(0.65, 0.8);
    for (candidate, trial) in singles {
        if !trial.enough || !candidate.can_be_looser() {
            continue;
        }
        let mut factors = Vec::new();
        let mut looser = 2.0;
        while looser <= LOOSER_MAX {
            // What the document does not take is beyond the end of the setting.
            if candidate.knob(looser) != candidate.knob(looser / 2.0) && with(&[candidate], looser).is_ok() {
                factors.push(looser);
            }
            looser *= 2.0;
        }
        let jobs = factors.iter().map(|looser| with(&[candidate], *looser));
        let Some(figures) = bench.trials(&jobs.collect::<Result<Vec<_>, _>>()?)? else {
            found
                .unfinished
                .push(format!("how far `{}` can be loosened", candidate.name));
            return Ok(());
        };
        let kept: Vec<bool> = figures.iter().map(|figures| enough(figures.class)).collect();
        let first_lost = kept.iter().position(|kept| !kept).unwrap_or(kept.len());
        let last = if first_lost == 0 {
            1.0
        } else {
            factors[first_lost - 1]
        };
        found.loosest.push(Loosest {
            name: candidate.name.to_owned(),
            tried: candidate.knob(1.0),
            enough: candidate.knob(last),
            not_enough: factors.get(first_lost).map(|factor| candidate.knob(*factor)),
            mixed: kept.iter().skip(first_lost).any(|kept| *kept),
        });
    }
    Ok(())
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
