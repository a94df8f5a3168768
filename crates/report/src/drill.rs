//! A drill as it is told: verdict first, what was measured beside what was predicted, and what to do.
//!
//! The input is a [`Drill`]: a [`Report`] whose records are the measured ones, and for each of its variants what a drill
//! knows beyond a simulation ([`Told`]). The outputs are text for a tired person ([`text`]), a page with the measured curves
//! over the predicted ones ([`html`]), and a summary of many drills in three forms ([`summary`]).
//!
//! It judges nothing: verdicts and errors come with the drill.

mod diagnosed;
mod page;
pub mod summary;
mod text;

use seawall_core::record::Record;

use crate::Report;
use crate::wording::{number, percent, seconds};

pub use diagnosed::Diagnosed;
pub use page::html;
pub use text::{text, verdicts};

/// All that is told of a drill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drill {
    /// The scenario, what was done to it, and each variant with its measured record.
    pub report: Report,
    /// What is known beyond that, one for each variant of the report, in the same order.
    pub told: Vec<Told>,
    /// The machine and the time, in a line.
    pub where_and_when: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// As it has to be.
    #[default]
    Good,
    /// It says nothing about the system.
    Unclear,
    /// Not as it has to be.
    Bad,
}

/// One variant, drilled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The verdict in a word or two.
    pub verdict: String,
    /// How bad that is.
    pub mood: Mood,
    /// Why, in one line.
    pub why: String,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// What was predicted, once a run; the first is what was compared.
    pub predicted: Vec<Record>,
    /// How the prediction was made, in a sentence.
    pub prediction: String,
    /// Whether the prediction was right; nothing when there was none.
    pub predicted_well: Option<bool>,
    /// The mean errors of goodput and of the origin's load, as shares; `NaN` where there is none.
    pub errors: (f64, f64),
    /// The parts of the run: name, from, until, in seconds of the scenario's clock.
    pub phases: Vec<(String, f64, f64)>,
    /// Predicted and measured, by phase.
    pub lines: Vec<Line>,
    /// What had to hold.
    pub expectations: Vec<Expectation>,
    /// Wrong answers: how many, and keys of some.
    pub wrong: (u64, Vec<u64>),
    /// What was done when it was done, in seconds of the scenario's clock.
    pub happened: Vec<(f64, String)>,
    /// What could not be taken back.
    pub left: Vec<String>,
    /// What could not be done.
    pub troubles: Vec<String>,
    /// What was seen from outside of what was done.
    pub evidence: Vec<String>,
    /// What makes the numbers worth less.
    pub doubts: Vec<String>,
    /// The load generator's own error, and other remarks on the measuring.
    pub notes: Vec<String>,
    /// What it was made of.
    pub parts: Vec<String>,
    /// What to do now.
    pub advice: Vec<String>,
    /// What a diagnosis says of it; nothing where nothing was injected.
    pub diagnosed: Option<Diagnosed>,
}

/// One number, predicted and measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// In which phase, by its place.
    pub phase: usize,
    /// What.
    pub measure: String,
    /// Of which component.
    pub of: String,
    /// In seconds; otherwise it is a rate a second.
    pub is_time: bool,
    /// What was predicted.
    pub predicted: f64,
    /// What was measured.
    pub measured: f64,
    /// How far they are from each other, as a share of what is at stake.
    pub error: f64,
}

/// What became of an expectation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It was met.
    #[default]
    Met,
    /// It was not.
    NotMet,
    /// The prediction itself does not meet it in the time of the drill.
    NotJudged,
}

/// One expectation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    /// The sentence that had to be true.
    pub that: String,
    /// What became of it.
    pub standing: Standing,
    /// What had to be seen.
    pub wanted: String,
    /// What was predicted.
    pub predicted: String,
    /// What was measured.
    pub measured: String,
}

/// An error that is marked, as a share.
pub const ERROR_MARKED: f64 = 0.15;

impl Mood {
    /// A mark that needs no colour.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Mood::Good => "✓",
            Mood::Unclear => "–",
            Mood::Bad => "✗",
        }
    }

    /// The class of the page's style.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Mood::Good => "good",
            Mood::Unclear => "warn",
            Mood::Bad => "bad",
        }
    }
}

impl Standing {
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Standing::Met => "✓",
            Standing::NotMet => "✗",
            Standing::NotJudged => "–",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Standing::Met => "good",
            Standing::NotMet => "bad",
            Standing::NotJudged => "warn",
        }
    }
}

impl Line {
    /// A value with its unit.
    pub(crate) fn said(&self, value: f64) -> String {
        match (value.is_finite(), self.is_time) {
            (false, _) => "–".to_owned(),
            (true, true) => seconds(value),
            (true, false) => format!("{}/s", number(value)),
        }
    }

    /// Only these have a bound.
    pub(crate) fn is_far_off(&self) -> bool {
        !self.is_time && self.error > ERROR_MARKED
    }

    pub(crate) fn error_said(&self) -> String {
        error_said(self.error)
    }
}

/// An error in whole percent.
pub(crate) fn error_said(error: f64) -> String {
    match error {
        e if !e.is_finite() => "–".to_owned(),
        e if e < 0.0995 => percent((e * 1000.0).round() / 1000.0),
        e if e >= 9.995 => ">999%".to_owned(),
        e => format!("{:.0}%", e * 100.0),
    }
}

/// Why some expectations are not judged.
pub(crate) const NOT_JUDGED: &str = "the simulator does not meet it either in the shortened time of a drill, so it says nothing, or nobody measures it";
