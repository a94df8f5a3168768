//! What became of a system, in four words that a map can be coloured by.
//!
//! The words are about what users got, not about expectations: a point of a sweep can hold and yet miss an
//! expectation on latency. Each run is classed by itself; several runs are classed as most of them are.
//!
//! With `g` the right answers in time as a share of calls ([`crate::phase::Phases`] has the windows):
//!
//! - [`Class::Ill`]: g before the first fault is below 90%. The load alone is too much; nothing had to break.
//! - [`Class::NeverRecovers`]: the last fault is over, and g over the last 30 s of the run (over all that is left of it
//!   after the fault, where that is less) is below 95% of g before.
//! - [`Class::Holds`]: g during the faults and g after them are each at least 95% of g before.
//! - [`Class::Degrades`]: everything else: less during the faults or for a while after them, and back by the end.
//!
//! A run that ends before its fault does cannot show whether it recovers. It holds or degrades.

use seawall_core::record::Record;

use crate::Report;
use crate::digest::{NORMAL, goodput_in};
use crate::phase::{Phases, Window, cause_ends, extent};

/// Below this goodput ratio before the first fault, the system is ill without any.
const ILL: f64 = 0.9;
/// The part of the run at its end over which it must be well again, in seconds.
const END_S: f64 = 30.0;

/// What became of a system, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Users noticed nothing, or hardly anything.
    #[default]
    Holds,
    /// Answers were lost, and then no longer.
    Degrades,
    /// At the end of the run it was still not well, long after the cause had gone.
    NeverRecovers,
    /// It was not well before anything broke.
    Ill,
}

impl Class {
    /// All of them, from best to worst.
    pub const ALL: [Class; 4] = [Class::Holds, Class::Degrades, Class::NeverRecovers, Class::Ill];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Class::Holds => "holds",
            Class::Degrades => "degrades",
            Class::NeverRecovers => "never_recovers",
            Class::Ill => "ill_before",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    /// What it does, in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Class::Holds => "holds",
            Class::Degrades => "degrades",
            Class::NeverRecovers => "never recovers",
            Class::Ill => "is ill from the start",
        }
    }

    /// A sign that tells it apart without colour.
    pub fn sign(self) -> char {
        match self {
            Class::Holds => '·',
            Class::Degrades => '◐',
            Class::NeverRecovers => '✗',
            Class::Ill => '#',
        }
    }

    /// The class of each run of a variant, by its index.
    ///
    /// # Panics
    /// When there is no such variant.
    pub fn of_runs(report: &Report, index: usize, phases: &Phases) -> Vec<Class> {
        let healing = Window {
            from: cause_ends(report, index),
            to: extent(report).1,
        };
        let records = report.variants[index].records.iter();
        records
            .map(|record| of_run(report, record, phases, healing))
            .collect()
    }

    /// The class of several runs: that of most of them, the worse one of two that are as many.
    pub fn of_most(mut classes: Vec<Class>) -> Class {
        classes.sort_unstable();
        classes.get(classes.len() / 2).copied().unwrap_or_default()
    }
}

fn of_run(report: &Report, record: &Record, phases: &Phases, healing: Window) -> Class {
    // Nothing that ended is nothing that went well, where there are calls at all.
    let goodput = |window: Window| {
        let ratio = goodput_in(report, record, window);
        if ratio.is_nan() { 0.0 } else { ratio }
    };
    let before = if phases.before.is_empty() {
        1.0
    } else {
        goodput(phases.before)
    };
    if before < ILL {
        return Class::Ill;
    }
    let normal = NORMAL * before;
    let end = Window {
        from: healing.from.max(healing.to - END_S),
        to: healing.to,
    };
    if !end.is_empty() && goodput(end) < normal {
        return Class::NeverRecovers;
    }
    let well = |window: Window| window.is_empty() || goodput(window) >= normal;
    if well(phases.during) && well(phases.after) {
        Class::Holds
    } else {
        Class::Degrades
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Happening, HappeningKind, Variant};
    use seawall_core::record::{Metric, Series};
    use seawall_core::time::Span;

    /// A client with 100 calls a second of which `good(clock)` succeed, from -60 s to 240 s, and a fault.
    fn class(good: fn(f64) -> f64, fault: (f64, Option<f64>)) -> Class {
        let mut record = Record::new(Span::secs(1), Span::secs(60), 300);
        let values: Vec<f64> = (0..300).map(|index| good(f64::from(index) - 60.0)).collect();
        let lost = values.iter().map(|value| 100.0 - value).collect();
        record.push(Series::new(Metric::Requests, "web", values.clone()).labelled("fresh"));
        record.push(Series::new(Metric::Requests, "web", lost).labelled("error"));
        record.push(Series::new(Metric::Goodput, "web", values));
        let report = Report {
            happenings: vec![Happening {
                variant: None,
                from: fault.0,
                to: fault.1,
                kind: HappeningKind::Fault,
                what: "killed".into(),
                on: "redis".into(),
            }],
            variants: vec![Variant {
                records: vec![record],
                ..Variant::default()
            }],
            ..Report::default()
        };
        Class::of_most(Class::of_runs(&report, 0, &Phases::of(&report)))
    }

    const OUTAGE: (f64, Option<f64>) = (0.0, Some(100.0));

    #[test]
    fn a_dent_of_less_than_a_twentieth_holds() {
        let dented = |clock: f64| {
            if (0.0..100.0).contains(&clock) {
                96.0
            } else {
                100.0
            }
        };
        assert_eq!(class(dented, OUTAGE), Class::Holds);
        let deeper = |clock: f64| {
            if (0.0..100.0).contains(&clock) {
                94.0
            } else {
                100.0
            }
        };
        assert_eq!(class(deeper, OUTAGE), Class::Degrades);
    }

    #[test]
    fn what_is_measured_is_measured_against_the_time_before() {
        // 92% before: 88% is 95.7% of that.
        let poor = |clock: f64| if clock < 0.0 { 92.0 } else { 88.0 };
        assert_eq!(class(poor, OUTAGE), Class::Holds);
        let ill = |_: f64| 89.0;
        assert_eq!(class(ill, OUTAGE), Class::Ill);
    }

    #[test]
    fn an_outage_that_only_comes_after_the_fault_is_no_holding() {
        let late = |clock: f64| {
            if (120.0..150.0).contains(&clock) {
                0.0
            } else {
                100.0
            }
        };
        assert_eq!(class(late, OUTAGE), Class::Degrades);
    }

    #[test]
    fn what_is_down_at_the_end_never_recovers() {
        let down = |clock: f64| if clock >= 0.0 { 0.0 } else { 100.0 };
        assert_eq!(class(down, OUTAGE), Class::NeverRecovers);
        let back = |clock: f64| if (0.0..205.0).contains(&clock) { 0.0 } else { 100.0 };
        assert_eq!(
            class(back, OUTAGE),
            Class::Degrades,
            "the last half minute is well"
        );
        assert_eq!(
            class(down, (0.0, Some(240.0))),
            Class::Degrades,
            "the run ends with the fault, so nobody knows"
        );
        assert_eq!(class(down, (0.0, None)), Class::NeverRecovers, "an instant fault");
    }

    #[test]
    fn several_runs_are_as_most_of_them_are() {
        use Class::{Degrades, Holds, NeverRecovers};
        assert_eq!(Class::of_most(vec![Holds, NeverRecovers, Holds]), Holds);
        assert_eq!(Class::of_most(vec![Holds, Degrades]), Degrades);
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.name()), Some(class));
        }
    }
}
