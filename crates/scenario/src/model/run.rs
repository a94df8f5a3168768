//! How long a run is, how large, and where it may be done for real.

use seawall_core::time::Span;

use super::expect::{Instants, Window};
use crate::element::element;
use crate::form::{Duration, Flag, List, Natural, Period, Ratio, Text};
use crate::node::Node;
use crate::reader::Reader;

element! {
    /// How long the run is, and how large.
    pub struct Run, "[run]", check = check {
        /// How long it lasts, from T=0.
        duration: Span, required Period;
        /// How long the system runs before T=0; nothing in it is judged unless an expectation asks for it.
        warmup: Span, default Duration = Span::ZERO;
        /// The seed of all random draws.
        seed: u64, default Natural = 1;
        /// The share of the system that is simulated ("1/100"): rates and capacities shrink together.
        scale: f64, default Ratio = 1.0;
        /// The length of a period of the record.
        every: Span, default Period = Span::secs(1);
        /// Whether caches begin in their stationary state instead of empty.
        prefilled: bool, default Flag = false;
    }
}

element! {
    /// How the scenario is drilled: on real servers, in the time that a person watches.
    pub struct Drill, "[drill]" {
        /// The share of their time that slow things take ("1/12"): the timeline, how long entries live, how long orders
        /// take. What requests do stays as it is, and keys become fewer, so that each is asked for as often in its life.
        time: f64, default Ratio = 1.0;
        /// Parts of the scenario's time that are left out of `variants`, because nothing new happens in them.
        skip: Vec<Window>, default List<Instants> = Vec::new();
        /// The share of the system that is drilled; that of `[run]` when absent.
        scale: Option<f64>, optional Ratio;
        /// The variants that are drilled when none is named; all of them when this is left out.
        variants: Vec<String>, default List<Text> = Vec::new();
    }
}

impl Drill {
    /// Whether this variant is one of those that are drilled, so that what is left out is left out of it.
    pub fn knows(&self, variant: &str) -> bool {
        self.variants.is_empty() || self.variants.iter().any(|known| known == variant)
    }
}

/// The most periods a run has.
const PERIODS_MAX: u64 = 1_000_000;

fn check(cx: &mut Reader, node: &Node, run: &Run) {
    let whole = run.duration + run.warmup;
    if whole.as_nanos() / run.every.as_nanos().max(1) > PERIODS_MAX {
        cx.mistake(
            node.at_field("every"),
            "the run has too many periods",
            "too short",
            format!("at most {PERIODS_MAX}: lengthen `every` or shorten the run"),
        );
    }
    for (key, span) in [("duration", run.duration), ("warmup", run.warmup)] {
        if span.as_nanos() % run.every.as_nanos().max(1) != 0 {
            cx.mistake(
                node.at_field(key),
                format!("`{key}` is not a whole number of periods"),
                "not a multiple of `every`",
                format!("make it a multiple of {}", run.every),
            );
        }
    }
}
