//! Where trials are played: on threads, counted, and only while there is time.

use std::collections::BTreeSet;

use seawall_report::figures::Figures;
use seawall_scenario::Scenario;
use seawall_sim::{Options, replicate};

use super::Question;
use crate::play::{Tell, figures};

/// Plays trials.
pub(super) struct Bench<'a> {
    question: &'a Question<'a>,
    tell: &'a Tell<'a>,
    enough_time: &'a dyn Fn() -> bool,
    progress: &'a (dyn Fn(f64) + Sync),
    /// The share of the whole that is done, and up to where this stage goes.
    done: f64,
    until: f64,
    played: u64,
    engines: BTreeSet<String>,
    late: bool,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        question: &'a Question<'a>,
        tell: &'a Tell<'a>,
        enough_time: &'a dyn Fn() -> bool,
        progress: &'a (dyn Fn(f64) + Sync),
    ) -> Bench<'a> {
        Bench {
            question,
            tell,
            enough_time,
            progress,
            done: 0.0,
            until: 1.0,
            played: 0,
            engines: BTreeSet::new(),
            late: false,
        }
    }

    /// A part of the whole begins.
    pub(super) fn stage(&mut self, from: f64, until: f64) {
        self.done = from;
        self.until = until;
    }

    /// Plays each scenario with all its runs; nothing once there is no time left.
    pub(super) fn trials(&mut self, scenarios: &[Scenario]) -> Result<Option<Vec<Figures>>, String> {
        if self.late || !(self.enough_time)() {
            self.late = true;
            return Ok(None);
        }
        let question = self.question;
        let options = |run| Options {
            seed: question.seed,
            run,
            scale: question.scale,
            engine: question.engine,
        };
        let jobs: Vec<(Scenario, Options)> = scenarios
            .iter()
            .flat_map(|scenario| (0..question.runs).map(|run| (scenario.clone(), options(run))))
            .collect();
        // How many rounds a stage takes is not known: each takes a quarter of what is left of it.
        let (done, part) = (self.done, (self.until - self.done) / 4.0);
        let progress = self.progress;
        let results = replicate(&jobs, question.threads, &|share| progress(done + part * share));
        self.done += part;
        let mut results = results.into_iter();
        let mut all = Vec::new();
        for scenario in scenarios {
            let runs: Vec<_> = results
                .by_ref()
                .take(question.runs as usize)
                .collect::<Result<_, _>>()
                .map_err(|refusal| format!("failed to simulate a trial: {refusal}"))?;
            self.played += runs.len() as u64;
            self.engines
                .extend(runs.iter().map(|run| run.choice.engine.to_string()));
            all.push(figures(scenario, runs, question.scale, self.tell));
        }
        Ok(Some(all))
    }

    /// Whether all trials that were asked for have been played.
    pub(super) fn in_time(&self) -> bool {
        !self.late
    }

    /// How many runs were played, and by which engines.
    pub(super) fn played(self) -> (u64, Vec<String>) {
        (self.played, self.engines.into_iter().collect())
    }
}
