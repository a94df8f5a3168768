//! A run held against what was really done in it: was the diagnosis right, and how soon.
//!
//! The run may be simulated or a drill; the record is read as that of a live system is, a period at a time, without
//! knowing the scenario. Only then is it compared.

use std::ops::Range;

use seawall_core::record::{Metric, Record};
use seawall_scenario::Scenario;

use crate::diagnosis::Diagnosis;
use crate::failure::Failure;
use crate::follow::{Change, Episode, Follower, Settings};
use crate::incident::{Marks, Moment, Utc};
use crate::runbook::{Known, plan};
use crate::truth::truth;
use crate::view::View;

/// What was said of a run, beside what was right to say. Times are seconds from what happened, at the end of the period
/// in which it was known.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// What is right to say; nothing when nothing is the matter.
    pub truth: Vec<Failure>,
    /// What was found when it was sure enough to speak, after it had happened.
    pub diagnosis: Option<Diagnosis>,
    /// The first step that was proposed then.
    pub step: Option<&'static str>,
    /// What came first later, and after how long.
    pub later: Vec<(f64, Failure)>,
    /// Whether it spoke before anything happened.
    pub false_alarm: bool,
    /// Whether anybody suffered, from what happened on.
    pub felt: bool,
    /// The first step that it proposed does harm in what it really is.
    pub harmful: bool,
    /// Detection: it spoke.
    pub detected_s: Option<f64>,
    /// Mitigation: what was lost is less than half of the worst.
    pub mitigated_s: Option<f64>,
    /// Stabilisation: hardly anything is lost.
    pub stabilised_s: Option<f64>,
    /// Recovery: nothing is the matter any more.
    pub recovered_s: Option<f64>,
}

impl Held {
    /// What came first.
    pub fn first(&self) -> Option<Failure> {
        Some(self.diagnosis.as_ref()?.first()?.failure)
    }

    /// Right at first rank. Where a protection keeps everybody from noticing, silence is right too.
    pub fn is_right(&self) -> bool {
        match self.first() {
            Some(first) => self.truth.contains(&first),
            None => self.truth.is_empty() || !self.felt,
        }
    }

    /// Whether it spoke of something while nothing was the matter.
    pub fn is_alarm(&self) -> bool {
        self.false_alarm || self.truth.is_empty() && self.diagnosis.is_some()
    }
}

/// Reads the record of a run of a scenario in which slow things take `pace` of their time (1 where they do not), and
/// compares.
pub fn held(scenario: &Scenario, record: &Record, pace: f64) -> Held {
    let truth = truth(scenario);
    let began = truth.as_ref().map_or(0.0, |truth| truth.began);
    let failures = truth.map(|truth| truth.failures).unwrap_or_default();
    let after = |at: usize| record.clock(at) - began;
    let mut held = Held {
        felt: felt(scenario, record, record.window(began, f64::MAX)),
        truth: failures,
        diagnosis: None,
        step: None,
        later: Vec::new(),
        false_alarm: false,
        harmful: false,
        detected_s: None,
        mitigated_s: None,
        stabilised_s: None,
        recovered_s: None,
    };
    let view = View::new(record);
    let mut follower = Follower::new(Settings::default().at_pace(pace));
    let mut marks = Marks::at_pace(pace);
    let mut over: Option<Episode> = None;
    for at in 0..view.periods {
        let change = follower.step(&view, at);
        match &change {
            Change::Opened(_) if record.clock(at) < began => held.false_alarm = true,
            Change::Opened(diagnosis) if held.diagnosis.is_none() => {
                held.spoke(diagnosis, after(at));
            }
            Change::Closed(episode) if held.diagnosis.is_some() && over.is_none() => {
                over = Some((**episode).clone());
            }
            _ => {}
        }
        if held.diagnosis.is_none() || over.is_some() {
            continue;
        }
        let Some(diagnosis) = follower.last() else {
            continue;
        };
        let moment = Moment {
            lost: diagnosis.impact.lost(),
            slower: diagnosis.impact.slower,
            likely: diagnosis.first().is_some(),
            turned: matches!(change, Change::Turned(_)),
        };
        marks.observe(Utc::default().after_s(after(at)), moment);
    }
    if held.diagnosis.is_none() {
        return held;
    }
    let episode = over.as_ref().or(follower.under_way());
    let turned = episode.map_or(&[][..], |episode| episode.later.as_slice());
    held.later = turned
        .iter()
        .map(|(at, failure)| (after(*at), *failure))
        .collect();
    // Where the run ends before it is sure, it is over when all has been well until the end.
    let well = over
        .and_then(|episode| episode.closed)
        .or(follower.well_since())
        .map(after);
    if let Some(well) = well {
        marks.end(Utc::default().after_s(well));
    }
    let since = |mark: Option<Utc>| mark.map(|mark| mark.since_s(Utc::default()));
    held.mitigated_s = since(marks.mitigated);
    held.stabilised_s = since(marks.stabilised);
    held.recovered_s = well;
    held
}

impl Held {
    fn spoke(&mut self, diagnosis: &Diagnosis, after_s: f64) {
        let steps = plan(diagnosis, &Known::default());
        if let Some(step) = steps.first() {
            self.step = Some(step.id.name());
            self.harmful = self.truth.iter().any(|truth| step.harms.contains(truth));
        }
        self.detected_s = Some(after_s);
        self.diagnosis = Some(diagnosis.clone());
    }
}

/// Calls are lost when so many in a hundred are, over so many seconds.
const WELL: f64 = 0.98;
const OVER_S: f64 = 10.0;

/// Whether a call in fifty was lost over ten seconds in this stretch.
fn felt(scenario: &Scenario, record: &Record, stretch: Range<usize>) -> bool {
    let length = (OVER_S / record.period.as_secs_f64()).round().max(1.0) as usize;
    scenario.clients.iter().any(|client| {
        let good = record.values(Metric::Goodput, &client.name, None);
        let ended = record.values(Metric::Requests, &client.name, None);
        let mut starts = stretch.clone().step_by((length / 2).max(1));
        starts.any(|at| {
            let over = at..(at + length).min(stretch.end);
            let sum = |values: &[f64]| values[over.clone()].iter().sum::<f64>();
            sum(&ended) > 0.0 && sum(&good) < WELL * sum(&ended)
        })
    })
}
