//! What a run says to a person: the verdict, what happened when, the numbers, and the curves.
//!
//! The input is a [`Report`]: who ran, what was done to it, and one [`Record`] a run. The outputs are text for a
//! terminal ([`text()`]), one self-contained page ([`html()`]), and three forms for machines ([`json()`],
//! [`series_csv`], [`openmetrics()`]). All of them read the record alone, so a simulated and a real incident are
//! told in the same words.
//!
//! What this crate is not: it judges nothing (the [`Judged`] come with the report), reads no file and no clock.
//! The same report gives the same bytes.
//!
//! ```
//! use seawall_core::record::{Metric, Record, Series};
//! use seawall_core::time::Span;
//! use seawall_report::{Report, Variant};
//! let mut record = Record::new(Span::secs(1), Span::ZERO, 2);
//! record.push(Series::new(Metric::Requests, "web", vec![100.0, 100.0]).labelled("fresh"));
//! record.push(Series::new(Metric::Goodput, "web", vec![100.0, 100.0]));
//! let report = Report {
//!     title: "a calm day".into(),
//!     variants: vec![Variant { name: "as-written".into(), records: vec![record], ..Variant::default() }],
//!     ..Report::default()
//! };
//! assert!(seawall_report::text(&report, 80).contains("a calm day"));
//! ```

mod bucket;
mod chart;
pub mod class;
mod csv;
pub mod digest;
pub mod drill;
pub mod estimate;
pub mod event;
pub mod figures;
mod html;
mod json;
pub mod limits;
mod openmetrics;
pub mod phase;
mod story;
pub mod sweep;
mod table;
mod text;
mod wording;

use seawall_core::record::Record;

pub use csv::{Unreadable, read_csv, record_csv, series_csv};
pub use html::html;
pub use json::json;
pub use openmetrics::{OPENMETRICS_EPOCH_S, openmetrics};
pub use text::text;

/// All that is told about one scenario: its variants side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What happens, in a few words.
    pub title: String,
    /// What it is about, in a sentence or two.
    pub about: String,
    /// The scenario's file or built-in name.
    pub file: String,
    /// The seed of the first run.
    pub seed: u64,
    /// How many runs each variant had.
    pub runs: u32,
    /// The share of the full size at which it ran. The records are in full size all the same.
    pub scale: f64,
    /// What ran it: an engine of the simulator, or a drill.
    pub engine: String,
    /// What was done to the system, in the order of the clock.
    pub happenings: Vec<Happening>,
    /// The variants, in the order of the file.
    pub variants: Vec<Variant>,
    /// Variants that were asked for and not played, in the order of the file.
    pub refused: Vec<Refused>,
    /// The components, from the clients inwards.
    pub topology: Vec<Component>,
}

/// A variant that was not played.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Its name in the file.
    pub name: String,
    /// Why not, as a sentence without a full stop.
    pub why: String,
}

/// One entry of the timeline: something that was done to the system.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// The index of the only variant in which it happened; every variant when absent.
    pub variant: Option<usize>,
    /// When it began, in seconds of the scenario's clock.
    pub from: f64,
    /// When it ended, in seconds of the scenario's clock; absent when it took but an instant.
    pub to: Option<f64>,
    /// Who did it: misfortune or an operator.
    pub kind: HappeningKind,
    /// What was done, in a few words.
    pub what: String,
    /// The component to which it was done; empty when to the whole.
    pub on: String,
}

/// Whether something befell the system or was done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HappeningKind {
    /// A fault.
    Fault,
    /// What an operator did.
    Action,
}

/// One variant of the scenario: its runs and how they were judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// Its name in the file.
    pub name: String,
    /// What is different in it.
    pub about: String,
    /// One record a run, all with the same periods.
    pub records: Vec<Record>,
    /// The expectations that apply to it.
    pub judged: Vec<Judged>,
    /// How many requests were simulated or sent, over all runs.
    pub requests: u64,
    /// The engine that played it; absent when it was no simulation.
    pub played: Option<Played>,
}

/// The engine that played a variant, and what that means for its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Its name.
    pub engine: String,
    /// Why this one; a fragment that reads after "because".
    pub why: String,
    /// How far its numbers are from those of the exact engine, in words.
    pub envelope: String,
}

/// One expectation, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The expectation, as a sentence.
    pub that: String,
    /// Whether it was met.
    pub met: bool,
    /// What was seen, with its unit.
    pub seen: String,
    /// What was wanted, with its unit.
    pub wanted: String,
    /// The window over which it was judged, in seconds of the scenario's clock.
    pub over: (f64, f64),
    /// The metric that was judged.
    pub metric: String,
    /// The component that was judged.
    pub of: String,
}

/// One component of the system.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its name in the scenario.
    pub name: String,
    /// What it is.
    pub kind: ComponentKind,
    /// How many calls a second it can complete at best, as it stands at the start, where that is known.
    pub capacity_per_s: Option<f64>,
}

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// Calls and judges the answers.
    Client,
    /// Stands at the entry.
    Gateway,
    /// Does work on threads.
    Service,
    /// Shields the origin.
    Cache,
    /// Stands at the end.
    Database,
}

impl Happening {
    /// What was done, and to what.
    pub(crate) fn words(&self) -> String {
        if self.on.is_empty() {
            self.what.clone()
        } else {
            format!("{}: {}", self.on, self.what)
        }
    }
}

impl Report {
    /// Whether every expectation of every variant was met.
    pub fn is_met(&self) -> bool {
        self.variants.iter().all(Variant::is_met)
    }

    /// The names of the components of a kind, in the order of the topology.
    pub fn names_of(&self, kind: ComponentKind) -> Vec<&str> {
        self.topology
            .iter()
            .filter(|component| component.kind == kind)
            .map(|component| component.name.as_str())
            .collect()
    }

    /// What a component can complete at best, per second, where that is known.
    pub fn capacity_of(&self, name: &str) -> Option<f64> {
        let component = self.topology.iter().find(|component| component.name == name)?;
        component.capacity_per_s
    }

    /// What was done in a variant, in the order of the clock.
    pub fn happenings_in(&self, variant: usize) -> impl Iterator<Item = &Happening> {
        self.happenings
            .iter()
            .filter(move |happening| happening.variant.is_none_or(|only| only == variant))
    }
}

impl Variant {
    /// Whether all of its expectations were met.
    pub fn is_met(&self) -> bool {
        self.judged.iter().all(|judged| judged.met)
    }
}
