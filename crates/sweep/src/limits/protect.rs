//! Which protections are enough: each alone, the best in pairs when none is, and how far their settings can be loosened.

use std::cmp::Ordering;

use seawall_report::figures::Figures;
use seawall_report::limits::{Aim, Limits, Loosest, Trial};
use seawall_scenario::Scenario;

use super::bench::Bench;
use super::candidates::{Candidate, candidates};
use super::{Question, change, scenario};

/// So many of those that did best alone are tried with each of the others when none is enough.
const PAIRED: usize = 2;
/// How far settings are loosened at most.
const LOOSER_MAX: f64 = 64.0;

/// At which traffic protections are tried, and what is enough there.
#[derive(Clone, Copy)]
struct Trying<'a> {
    question: &'a Question<'a>,
    factor: f64,
    aim: Aim,
}

impl Trying<'_> {
    /// The scenario with protections, their settings so many times looser.
    fn with(self, candidates: &[&Candidate], looser: f64) -> Result<Scenario, String> {
        let settings = candidates.iter().map(|candidate| candidate.setting(looser));
        let scenario = scenario(self.question, &settings.collect::<Vec<_>>())?;
        Ok(change::traffic(&scenario, self.factor))
    }

    fn trial(self, candidates: &[&Candidate], figures: Figures) -> Trial {
        Trial {
            settings: candidates
                .iter()
                .map(|candidate| candidate.setting(1.0))
                .collect(),
            enough: self.aim.is_met(&figures),
            figures,
        }
    }
}

/// Tries protections: alone, in pairs, loosened.
pub(super) fn protect(
    question: &Question<'_>,
    base: &Scenario,
    bench: &mut Bench<'_>,
    found: &mut Limits,
) -> Result<(), String> {
    let trying = Trying {
        question,
        factor: found.tried_at,
        aim: found.aim,
    };
    bench.stage(0.4, 0.65);
    let mut fit = Vec::new();
    for candidate in candidates(base) {
        match trying.with(&[&candidate], 1.0) {
            Ok(scenario) => fit.push((candidate, scenario)),
            Err(why) => found.unfit.push((candidate.name.to_owned(), why)),
        }
    }
    let mut jobs = vec![change::traffic(base, found.tried_at)];
    jobs.extend(fit.iter().map(|(_, scenario)| scenario.clone()));
    let Some(figures) = bench.trials(&jobs)? else {
        found.unfinished.push("protections".to_owned());
        return Ok(());
    };
    let mut figures = figures.into_iter();
    found.unprotected = figures.next().unwrap_or_default();
    if trying.aim.is_met(&found.unprotected) {
        return Ok(());
    }
    let mut singles: Vec<(&Candidate, Trial)> = fit
        .iter()
        .zip(figures)
        .map(|((candidate, _), figures)| (candidate, trying.trial(&[candidate], figures)))
        .collect();
    singles.sort_by(|(_, a), (_, b)| best_first(a, b));
    found.trials = singles.iter().map(|(_, trial)| trial.clone()).collect();
    bench.stage(0.65, 0.8);
    if singles.iter().any(|(_, trial)| trial.enough) {
        loosen(trying, &singles, bench, found)
    } else {
        pair(trying, &singles, bench, found)
    }
}

/// Tries those that did best alone with each of the others.
fn pair(
    trying: Trying<'_>,
    singles: &[(&Candidate, Trial)],
    bench: &mut Bench<'_>,
    found: &mut Limits,
) -> Result<(), String> {
    let pairs: Vec<[&Candidate; 2]> = (0..singles.len().min(PAIRED))
        .flat_map(|a| (a + 1..singles.len()).map(move |b| [singles[a].0, singles[b].0]))
        .collect();
    let jobs = pairs.iter().map(|pair| trying.with(pair, 1.0));
    let Some(figures) = bench.trials(&jobs.collect::<Result<Vec<_>, _>>()?)? else {
        found.unfinished.push("pairs of protections".to_owned());
        return Ok(());
    };
    let trials = pairs.iter().zip(figures);
    let mut trials: Vec<Trial> = trials
        .map(|(pair, figures)| trying.trial(pair, figures))
        .collect();
    trials.sort_by(best_first);
    found.trials.extend(trials);
    Ok(())
}

/// How far each setting that is enough can be loosened, by powers of two.
fn loosen(
    trying: Trying<'_>,
    singles: &[(&Candidate, Trial)],
    bench: &mut Bench<'_>,
    found: &mut Limits,
) -> Result<(), String> {
    let enough = singles.iter().filter(|(_, trial)| trial.enough);
    for (candidate, _) in enough.filter(|(candidate, _)| candidate.can_be_looser()) {
        let powers = std::iter::successors(Some(2.0), |looser| Some(looser * 2.0));
        let factors: Vec<f64> = powers
            .take_while(|looser| *looser <= LOOSER_MAX)
            .filter(|looser| candidate.knob(*looser) != candidate.knob(looser / 2.0))
            // What the document does not take is beyond the end of the setting.
            .filter(|looser| trying.with(&[candidate], *looser).is_ok())
            .collect();
        let jobs = factors.iter().map(|looser| trying.with(&[candidate], *looser));
        let Some(figures) = bench.trials(&jobs.collect::<Result<Vec<_>, _>>()?)? else {
            let left = format!("how far `{}` can be loosened", candidate.name);
            found.unfinished.push(left);
            return Ok(());
        };
        let kept: Vec<bool> = figures.iter().map(|figures| trying.aim.is_met(figures)).collect();
        let lost = kept.iter().position(|kept| !kept).unwrap_or(kept.len());
        let still = if lost == 0 { 1.0 } else { factors[lost - 1] };
        found.loosest.push(Loosest {
            name: candidate.name.to_owned(),
            tried: candidate.knob(1.0),
            enough: candidate.knob(still),
            not_enough: factors.get(lost).map(|factor| candidate.knob(*factor)),
            mixed: kept.iter().skip(lost).any(|kept| *kept),
        });
    }
    Ok(())
}

/// Better classes first, then more goodput during and after.
fn best_first(a: &Trial, b: &Trial) -> Ordering {
    let got = |trial: &Trial| trial.figures.goodput_during + trial.figures.goodput_after;
    let classes = a.figures.class.cmp(&b.figures.class);
    classes.then(got(b).total_cmp(&got(a)))
}
