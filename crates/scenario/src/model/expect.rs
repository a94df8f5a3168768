//! What must be seen.

use seawall_core::record::Metric;
use seawall_core::time::Span;

use super::Place;

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
