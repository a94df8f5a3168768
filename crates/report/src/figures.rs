//! The figures of one variant at one point of a sweep: one row of a table.
//!
//! One declaration gives the struct, the columns, and the way to text and back, so that a file of results, the journal
//! of a sweep and its page never disagree. Shares are between 0 and 1, times in seconds, rates per second in the size
//! of the document. What is not known is `NaN`, and an empty cell.

use crate::Report;
use crate::class::Class;
use crate::digest::{Digest, OriginDigest, Recovery};
use crate::estimate::Estimate;
use crate::phase::Phases;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A word.
    Text,
    /// A whole number.
    Count,
    /// A number, which may be missing.
    Number,
    /// Yes or no.
    Flag,
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What that means.
    pub about: &'static str,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A word.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A number; missing when `NaN`.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// What can stand in a cell.
trait Content: Sized {
    const KIND: Kind;
    fn cell(&self) -> Cell;
    fn read(text: &str) -> Option<Self>;
}

macro_rules! figures {
    ($(#[doc = $about:literal] $field:ident: $type:ty;)+) => {
        /// The figures of one variant at one point, means over its runs.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Figures { $(#[doc = $about] pub $field: $type,)+ }

        impl Figures {
            /// The columns, in order.
            pub const COLUMNS: &'static [Column] = &[$(Column {
                name: stringify!($field),
                kind: <$type as Content>::KIND,
                about: $about,
            },)+];

            /// The cells, in the order of the columns.
            pub fn cells(&self) -> Vec<Cell> {
                vec![$(self.$field.cell(),)+]
            }

            /// The figures from the texts of their cells; `None` when there are too few or too many, or when one is
            /// not what its column holds.
            pub fn read(texts: &[&str]) -> Option<Figures> {
                let mut texts = texts.iter();
                let figures = Figures { $($field: <$type as Content>::read(texts.next()?)?,)+ };
                texts.next().is_none().then_some(figures)
            }
        }
    };
}

figures! {
    /// What became of it: `holds`, `degrades`, `never_recovers` or `ill_before`.
    class: Class;
    /// Whether all expectations were met.
    met: bool;
    /// How many expectations were met.
    expectations_met: u64;
    /// How many expectations there are.
    expectations: u64;
    /// The share of the runs that never recovered.
    never_recovers_ratio: f64;
    /// Right answers in time as a share of calls, in the minute before the first fault.
    goodput_before: f64;
    /// The same from the first fault to the end of the last.
    goodput_during: f64;
    /// The same from there to the end of the run.
    goodput_after: f64;
    /// The lowest share from the first fault on, smoothed over five periods.
    goodput_worst: f64;
    /// Right answers in time per second, before.
    goodput_before_per_s: f64;
    /// Right answers in time per second, during.
    goodput_during_per_s: f64;
    /// Right answers in time per second, after.
    goodput_after_per_s: f64;
    /// From the end of the last fault until goodput is normal again: 0 when it always was, empty when it never is.
    recovery_s: f64;
    /// Calls that were turned away on purpose during the faults, as a share.
    shed_during: f64;
    /// The 99th percentile of the calls' time before.
    p99_before_s: f64;
    /// The 99th percentile of the calls' time during.
    p99_during_s: f64;
    /// The 99th percentile of the calls' time after.
    p99_after_s: f64;
    /// Hits as a share of look-ups, before.
    hit_rate_before: f64;
    /// Hits as a share of look-ups, during.
    hit_rate_during: f64;
    /// Hits as a share of look-ups, after.
    hit_rate_after: f64;
    /// The origin that the next figures are about: the one whose peak is nearest to its capacity, or highest.
    origin: String;
    /// Calls to the origin per second, before.
    origin_before_per_s: f64;
    /// Calls to the origin per second, during.
    origin_during_per_s: f64;
    /// Calls to the origin per second, after.
    origin_after_per_s: f64;
    /// The most calls to the origin in a second from the first fault on.
    origin_peak_per_s: f64;
    /// The same as a share of what the origin can complete; empty when that has no limit.
    origin_peak_ratio: f64;
    /// The most calls inside the system at an instant, in the size of the document.
    in_flight_max: f64;
    /// How many requests were played, over all runs.
    requests: u64;
    /// The engine that played it.
    engine: String;
}

impl Figures {
    /// The figures of a variant of a report, by its index. `in_flight_max` comes from the engine, one a run.
    ///
    /// # Panics
    /// When there is no such variant.
    pub fn of(report: &Report, index: usize, in_flight_max: &[f64]) -> Figures {
        let phases = Phases::of(report);
        let digest = Digest::of(report, index, &phases);
        let classes = Class::of_runs(report, index, &phases);
        let never = classes
            .iter()
            .filter(|class| **class == Class::NeverRecovers)
            .count();
        let variant = &report.variants[index];
        let [goodput_before, goodput_during, goodput_after] = means(&digest.goodput);
        let [goodput_before_per_s, goodput_during_per_s, goodput_after_per_s] = means(&digest.good_per_s);
        let [p99_before_s, p99_during_s, p99_after_s] = means(&digest.p99_s);
        let [hit_rate_before, hit_rate_during, hit_rate_after] = means(&digest.hit_rate);
        let origin = hardest_pressed(&digest.origins);
        let load = origin.map_or([f64::NAN; 3], |origin| means(&origin.load_per_s));
        let never_recovers_ratio = never as f64 / classes.len() as f64;
        let class = Class::of_most(classes);
        Figures {
            never_recovers_ratio,
            class,
            met: variant.is_met(),
            expectations_met: variant.judged.iter().filter(|judged| judged.met).count() as u64,
            expectations: variant.judged.len() as u64,
            goodput_before,
            goodput_during,
            goodput_after,
            goodput_worst: digest.worst.mean,
            goodput_before_per_s,
            goodput_during_per_s,
            goodput_after_per_s,
            recovery_s: match digest.recovery {
                // It may have been well for half a minute, and down again at the end.
                _ if class >= Class::NeverRecovers => f64::NAN,
                Recovery::Unhurt => 0.0,
                Recovery::At(at, back, hurt) if back == hurt => (at.mean - digest.cause_ends).max(0.0),
                _ => f64::NAN,
            },
            shed_during: digest.shed[1].mean,
            p99_before_s,
            p99_during_s,
            p99_after_s,
            hit_rate_before,
            hit_rate_during,
            hit_rate_after,
            origin: origin.map_or_else(String::new, |origin| origin.name.clone()),
            origin_before_per_s: load[0],
            origin_during_per_s: load[1],
            origin_after_per_s: load[2],
            origin_peak_per_s: origin.map_or(f64::NAN, |origin| origin.peak_per_s.mean),
            origin_peak_ratio: origin.and_then(utilization).unwrap_or(f64::NAN),
            in_flight_max: Estimate::of(in_flight_max.iter().copied()).mean,
            requests: variant.requests,
            engine: variant
                .played
                .as_ref()
                .map_or_else(String::new, |played| played.engine.clone()),
        }
    }

    /// The number in a column, by its name: `NaN` for what is no number.
    pub fn number(&self, column: &str) -> f64 {
        let index = Figures::COLUMNS.iter().position(|known| known.name == column);
        match index.and_then(|index| self.cells().into_iter().nth(index)) {
            Some(Cell::Number(number)) => number,
            Some(Cell::Count(count)) => count as f64,
            _ => f64::NAN,
        }
    }
}

impl Cell {
    /// The cell as a text that [`Figures::read`] reads back to the same bits.
    pub fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => count.to_string(),
            Cell::Number(number) if number.is_finite() => number.to_string(),
            Cell::Number(_) => String::new(),
            Cell::Flag(flag) => flag.to_string(),
        }
    }
}

fn means(phases: &[Estimate; 3]) -> [f64; 3] {
    phases.map(|estimate| estimate.mean)
}

fn utilization(origin: &OriginDigest) -> Option<f64> {
    origin
        .capacity_per_s
        .map(|capacity| origin.peak_per_s.mean / capacity)
}

/// The origin that a person would look at first.
fn hardest_pressed(origins: &[OriginDigest]) -> Option<&OriginDigest> {
    origins.iter().max_by(|a, b| {
        let used = |origin: &OriginDigest| utilization(origin).unwrap_or(-1.0);
        let peaks = a.peak_per_s.mean.total_cmp(&b.peak_per_s.mean);
        used(a).total_cmp(&used(b)).then(peaks)
    })
}

impl Content for f64 {
    const KIND: Kind = Kind::Number;
    fn cell(&self) -> Cell {
        Cell::Number(*self)
    }
    fn read(text: &str) -> Option<f64> {
        if text.is_empty() {
            return Some(f64::NAN);
        }
        text.parse().ok()
    }
}

impl Content for u64 {
    const KIND: Kind = Kind::Count;
    fn cell(&self) -> Cell {
        Cell::Count(*self)
    }
    fn read(text: &str) -> Option<u64> {
        text.parse().ok()
    }
}

impl Content for bool {
    const KIND: Kind = Kind::Flag;
    fn cell(&self) -> Cell {
        Cell::Flag(*self)
    }
    fn read(text: &str) -> Option<bool> {
        text.parse().ok()
    }
}

impl Content for String {
    const KIND: Kind = Kind::Text;
    fn cell(&self) -> Cell {
        Cell::Text(self.clone())
    }
    fn read(text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

impl Content for Class {
    const KIND: Kind = Kind::Text;
    fn cell(&self) -> Cell {
        Cell::Text(self.name().to_owned())
    }
    fn read(text: &str) -> Option<Class> {
        Class::from_name(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(figures: &Figures) -> Vec<String> {
        figures.cells().iter().map(Cell::text).collect()
    }

    #[test]
    fn figures_come_back_from_their_texts() {
        let figures = Figures {
            class: Class::NeverRecovers,
            met: true,
            goodput_during: 0.1 + 0.2,
            origin_peak_per_s: 1.0 / 3.0 * 1e7,
            requests: u64::MAX,
            origin: "postgres".into(),
            ..Figures::default()
        };
        let texts = texts(&figures);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(Figures::read(&texts), Some(figures));
        assert_eq!(Figures::read(&texts[1..]), None, "a cell is missing");
        let more: Vec<&str> = texts.iter().copied().chain(["1"]).collect();
        assert_eq!(Figures::read(&more), None, "a cell is too many");
    }

    #[test]
    fn what_is_not_known_is_an_empty_cell() {
        let figures = Figures {
            recovery_s: f64::NAN,
            ..Figures::default()
        };
        let index = Figures::COLUMNS
            .iter()
            .position(|column| column.name == "recovery_s")
            .expect("there is such a column");
        assert_eq!(texts(&figures)[index], "");
        assert!(figures.number("recovery_s").is_nan());
        assert!(figures.number("goodput_during").abs() < 1e-12);
    }
}
