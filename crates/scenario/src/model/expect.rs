//! What must be seen.

use seawall_core::record::{Ending, Kind, Metric, QUANTILES};
use seawall_core::time::Span;

use serde_json::{Value as Json, json};

use super::{Place, Run};
use crate::element::{element, words};
use crate::form::{Clock, Component, Count, Duration, Form, List, MetricName, Number, Quantity, Text};
use crate::node::{At, Node};
use crate::reader::{self, Reader};

/// A window of the scenario's clock, in seconds; negative in the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// What must be seen, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The sentence that must be true.
    pub that: String,
    /// What is measured. Counters are judged as rates per second.
    pub metric: Metric,
    /// Of which component.
    pub of: Place,
    /// The value of the metric's label; all of them together when absent (of a duration: the 99th percentile).
    pub label: Option<String>,
    /// Which copy or node; the whole component when absent.
    pub instance: Option<u32>,
    /// When.
    pub over: Window,
    /// What it must be.
    pub wanted: Wanted,
}

/// A bound on a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// Between these, both included.
    Between(f64, f64),
}

impl Bound {
    /// Makes it this many times as large.
    pub(crate) fn times(&mut self, factor: f64) {
        match self {
            Bound::Above(one) | Bound::Below(one) => *one *= factor,
            Bound::Between(low, high) => {
                *low *= factor;
                *high *= factor;
            }
        }
    }
}

/// What is made of the values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Their mean (of a ratio: the ratio of the sums).
    Mean,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The first.
    First,
    /// The last.
    Last,
    /// Their sum (of a counter: how many there were).
    Sum,
    /// Their median.
    P50,
    /// Their 99th percentile.
    P99,
}

/// What must be true of the values of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// A statistic lies within a bound.
    Is(Statistic, Bound),
    /// A statistic, as a multiple of the same over another window, lies within a bound.
    Times {
        /// What is compared.
        by: Statistic,
        /// The window it is compared with.
        of: Window,
        /// What the multiple must be.
        bound: Bound,
    },
    /// The values come within the bound, soon enough, and stay there for a while.
    Reaches {
        /// What the values must come to.
        bound: Bound,
        /// Counted from the beginning of the window.
        within: Span,
        /// How long they must stay there.
        hold: Span,
    },
    /// No value of the window lies within the bound.
    Never(Bound),
    /// All values of the window lie within the bound.
    Always(Bound),
}

/// A window as it is written: two instants.
pub(crate) struct Instants;

impl Form for Instants {
    type Out = Window;
    fn read(cx: &mut Reader, node: &Node) -> Option<Window> {
        let [from, to] = node.items() else {
            cx.wrong_kind(node, "two instants, such as [\"10s\", \"15s\"]");
            return None;
        };
        let (from, to) = (Clock::read(cx, from), Clock::read(cx, to));
        let window = Window { from: from?, to: to? };
        if window.from < window.to {
            return Some(window);
        }
        cx.mistake(
            node.at,
            "this window ends before it begins",
            "empty",
            "write the earlier instant first",
        );
        None
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": Clock::schema(), "minItems": 2, "maxItems": 2 })
    }
}

/// Two numbers, the smaller first.
struct Pair;

impl Form for Pair {
    type Out = (f64, f64);
    fn read(cx: &mut Reader, node: &Node) -> Option<(f64, f64)> {
        let [low, high] = node.items() else {
            cx.wrong_kind(node, "two quantities, such as [\"90%\", \"95%\"]");
            return None;
        };
        let (low, high) = (Quantity::read(cx, low), Quantity::read(cx, high));
        let (low, high) = (low?, high?);
        if low <= high {
            return Some((low, high));
        }
        cx.mistake(
            node.at,
            "nothing is between these",
            "empty",
            "write the smaller one first",
        );
        None
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": Quantity::schema(), "minItems": 2, "maxItems": 2 })
    }
}

/// One bound out of three that may be written.
fn bound(
    cx: &mut Reader,
    node: &Node,
    above: Option<f64>,
    below: Option<f64>,
    between: Option<(f64, f64)>,
) -> Option<Bound> {
    let mut bounds = above
        .map(Bound::Above)
        .into_iter()
        .chain(below.map(Bound::Below))
        .chain(between.map(|(low, high)| Bound::Between(low, high)));
    if let (Some(bound), None) = (bounds.next(), bounds.next()) {
        return Some(bound);
    }
    cx.mistake(
        node.at,
        "one bound is needed here",
        "one of them",
        "write one of `above`, `below`, `between`",
    );
    None
}

element! {
    /// A bound on a number.
    pub(crate) struct BoundTable, "a bound" {
        /// It must be more than this.
        above: Option<f64>, optional Quantity;
        /// It must be less than this.
        below: Option<f64>, optional Quantity;
        /// It must be between these, both included.
        between: Option<(f64, f64)>, optional Pair;
    }
}

impl Form for Bound {
    type Out = Bound;
    fn read(cx: &mut Reader, node: &Node) -> Option<Bound> {
        let table = BoundTable::read(cx, node)?;
        bound(cx, node, table.above, table.below, table.between)
    }
    fn schema() -> Json {
        BoundTable::schema()
    }
}

element! {
    /// A comparison with another window.
    pub(crate) struct TimesTable, "`times`" {
        /// The window that is compared with.
        of: Window, required Instants;
        /// What is compared.
        by: Statistic, default Statistic = Statistic::Mean;
        /// It must be more than this many times as much.
        above: Option<f64>, optional Number;
        /// It must be less than this many times as much.
        below: Option<f64>, optional Number;
        /// It must be between these.
        between: Option<(f64, f64)>, optional Pair;
    }
}

element! {
    /// The first time that something holds.
    pub(crate) struct ReachesTable, "`reaches`" {
        /// The values come above this.
        above: Option<f64>, optional Quantity;
        /// The values come below this.
        below: Option<f64>, optional Quantity;
        /// The values come between these.
        between: Option<(f64, f64)>, optional Pair;
        /// How soon, from the beginning of the window; by its end when absent.
        within: Option<Span>, optional Duration;
        /// How long they must stay there.
        hold: Span, default Duration = Span::ZERO;
    }
}

words! {
    Statistic, "statistic" {
        "mean" = Mean, "max" = Max, "min" = Min, "first" = First, "last" = Last, "sum" = Sum, "p50" = P50, "p99" = P99
    }
}

element! {
    /// What must be seen.
    pub(crate) struct ExpectTable, "an expectation" {
        /// The sentence that must be true.
        that: String, required Text;
        /// What is measured.
        metric: Metric, required MetricName;
        /// Of which component.
        of: Place, required Component;
        /// The value of the metric's label.
        label: Option<String>, optional Text;
        /// Which copy or node.
        instance: Option<u32>, optional Count;
        /// From when to when; all of the run after T=0 when absent.
        over: Option<Window>, optional Instants;
        /// When: the period that begins at this instant.
        at: Option<f64>, optional Clock;
        /// In which variants; in all when absent.
        variants: Vec<String>, default List<Text> = Vec::new();
        /// Their mean (of a ratio: the ratio of the sums).
        mean: Option<Bound>, optional Bound;
        /// The largest value.
        max: Option<Bound>, optional Bound;
        /// The smallest value.
        min: Option<Bound>, optional Bound;
        /// The first value.
        first: Option<Bound>, optional Bound;
        /// The last value.
        last: Option<Bound>, optional Bound;
        /// The sum of the values (of a counter: how many there were).
        sum: Option<Bound>, optional Bound;
        /// The median of the values.
        p50: Option<Bound>, optional Bound;
        /// The 99th percentile of the values.
        p99: Option<Bound>, optional Bound;
        /// How many times as much as over another window.
        times: Option<TimesTable>, optional TimesTable;
        /// That the values come within a bound, soon enough.
        reaches: Option<ReachesTable>, optional ReachesTable;
        /// That no value lies within the bound.
        never: Option<Bound>, optional Bound;
        /// That all values lie within the bound.
        always: Option<Bound>, optional Bound;
    }
}

/// Reads one expectation, with the names of the variants it is for.
pub(crate) fn read(cx: &mut Reader, node: &Node, run: &Run) -> Option<(Expect, Vec<String>)> {
    let table = ExpectTable::read(cx, node)?;
    let over = window(cx, node, &table, run)?;
    let wanted = wanted(cx, node, &table, run, over)?;
    if let Some(label) = &table.label
        && table.metric.label().is_none()
    {
        cx.mistake(
            node.at_field("label"),
            format!("`{}` has no label", table.metric.name()),
            "not needed",
            format!("leave it out: there is no `{}` to choose", reader::clip(label)),
        );
    }
    if table.metric.kind() == Kind::Ratio && table.instance.is_some() {
        cx.mistake(
            node.at_field("instance"),
            format!("`{}` is measured of the whole component", table.metric.name()),
            "not needed",
            "leave it out, or judge the counters that the ratio is made of",
        );
    }
    if table.metric.label() == Some("quantile")
        && let Some(label) = &table.label
        && !QUANTILES.iter().any(|(_, quantile)| quantile == label)
    {
        let known: Vec<&str> = QUANTILES.iter().map(|(_, label)| *label).collect();
        cx.mistake(
            node.at_field("label"),
            "there is no such quantile",
            "unknown",
            reader::one_of(&known),
        );
    }
    if table.metric.label() == Some("outcome")
        && let Some(label) = &table.label
        && !Ending::ALL.iter().any(|ending| ending.name() == label)
    {
        let known: Vec<&str> = Ending::ALL.iter().map(|ending| ending.name()).collect();
        cx.mistake(
            node.at_field("label"),
            "no call ends like this",
            "unknown",
            reader::suggestion(label, &known),
        );
    }
    let expect = Expect {
        that: table.that,
        metric: table.metric,
        of: table.of,
        label: table.label,
        instance: table.instance,
        over,
        wanted,
    };
    Some((expect, table.variants))
}

fn window(cx: &mut Reader, node: &Node, table: &ExpectTable, run: &Run) -> Option<Window> {
    let every = run.every.as_secs_f64();
    let (key, window) = match (table.over, table.at) {
        (Some(over), None) => ("over", over),
        (None, Some(at)) => (
            "at",
            Window {
                from: at,
                to: at + every,
            },
        ),
        (None, None) => {
            return Some(Window {
                from: 0.0,
                to: run.duration.as_secs_f64(),
            });
        }
        (Some(_), Some(_)) => {
            cx.mistake(
                node.at_field("at"),
                "an expectation is over a window or at an instant, not both",
                "a second answer",
                "leave `at` or `over` out",
            );
            return None;
        }
    };
    inside(cx, node.at_field(key), window, run).then_some(window)
}

/// Whether a window lies within the run; a mistake when it does not.
fn inside(cx: &mut Reader, at: At, window: Window, run: &Run) -> bool {
    let (from, to) = (-run.warmup.as_secs_f64(), run.duration.as_secs_f64());
    let inside = window.from >= from - 1e-9 && window.to <= to + 1e-9;
    if !inside {
        let begin = if run.warmup.is_zero() {
            "0s".to_owned()
        } else {
            format!("-{}", run.warmup)
        };
        cx.mistake(
            at,
            "this window lies outside the run",
            "outside the run",
            format!("the run lasts from {begin} to {}", run.duration),
        );
    }
    let periods = (window.to - window.from) / run.every.as_secs_f64();
    if inside && periods < 1.0 - 1e-9 {
        cx.mistake(
            at,
            "this window is shorter than a period of the record",
            "too short",
            format!("a period is {}", run.every),
        );
        return false;
    }
    inside
}

fn wanted(cx: &mut Reader, node: &Node, table: &ExpectTable, run: &Run, over: Window) -> Option<Wanted> {
    let statistics = [
        (Statistic::Mean, table.mean),
        (Statistic::Max, table.max),
        (Statistic::Min, table.min),
        (Statistic::First, table.first),
        (Statistic::Last, table.last),
        (Statistic::Sum, table.sum),
        (Statistic::P50, table.p50),
        (Statistic::P99, table.p99),
    ];
    let mut wanted: Vec<Wanted> = statistics
        .into_iter()
        .filter_map(|(statistic, bound)| bound.map(|bound| Wanted::Is(statistic, bound)))
        .collect();
    wanted.extend(table.never.map(Wanted::Never));
    wanted.extend(table.always.map(Wanted::Always));
    if let Some(times) = &table.times {
        let at = node.field("times").map_or(node.at, |table| table.at_field("of"));
        let table = node.field("times").unwrap_or(node);
        let bound = bound(cx, table, times.above, times.below, times.between)?;
        if !inside(cx, at, times.of, run) {
            return None;
        }
        wanted.push(Wanted::Times {
            by: times.by,
            of: times.of,
            bound,
        });
    }
    if let Some(reaches) = &table.reaches {
        let table = node.field("reaches").unwrap_or(node);
        let bound = bound(cx, table, reaches.above, reaches.below, reaches.between)?;
        let within = reaches.within.unwrap_or(Span::from_secs_f64(over.to - over.from));
        wanted.push(Wanted::Reaches {
            bound,
            within,
            hold: reaches.hold,
        });
    }
    if wanted.len() == 1 {
        return wanted.pop();
    }
    let help = "write one of `mean`, `max`, `min`, `first`, `last`, `sum`, `p50`, `p99`, `times`, `reaches`, `never`, \
                `always`, such as mean = { above = \"95%\" }";
    cx.mistake(
        node.at,
        "an expectation says one thing about the values",
        "one is needed",
        help,
    );
    None
}
