//! The three phases of a run: before the first fault, during the faults, and after the last.
//!
//! They are read off the timeline of all variants, so that variants are compared over the same windows.

use crate::{Happening, HappeningKind, Report};

/// How long after an instant fault its effect is counted as the fault itself, in seconds.
const AFTERMATH_S: f64 = 60.0;
/// How much of the calm before the fault is looked at, in seconds.
const CALM_S: f64 = 60.0;

/// A window on the scenario's clock, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// The windows over which a report counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phases {
    /// At most a minute before the first fault.
    pub before: Window,
    /// From the first fault to the end of the last; a fault of an instant is given a minute.
    pub during: Window,
    /// From there to the end of the run.
    pub after: Window,
    /// Whether there was any fault; without one the whole run is `during`.
    pub faulty: bool,
}

impl Window {
    /// Whether nothing fits in.
    pub fn is_empty(self) -> bool {
        self.to - self.from < 1e-9
    }
}

impl Phases {
    /// The phases of a report.
    pub fn of(report: &Report) -> Phases {
        let (start, end) = extent(report);
        let all = report.happenings.iter();
        let mut faults: Vec<&Happening> = all
            .filter(|happening| happening.kind == HappeningKind::Fault && happening.from < end)
            .collect();
        // What befalls one variant alone is no phase of the others.
        if faults.iter().any(|fault| fault.variant.is_none()) {
            faults.retain(|fault| fault.variant.is_none());
        }
        if faults.is_empty() {
            return Phases {
                before: Window {
                    from: start,
                    to: 0.0_f64.clamp(start, end),
                },
                during: Window {
                    from: 0.0_f64.clamp(start, end),
                    to: end,
                },
                after: Window { from: end, to: end },
                faulty: false,
            };
        }
        let first = faults
            .iter()
            .fold(end, |first, fault| first.min(fault.from))
            .max(start);
        let last = faults
            .iter()
            .fold(first, |last, fault| last.max(lasts_until(fault, end)));
        Phases {
            before: Window {
                from: start.max(first - CALM_S),
                to: first,
            },
            during: Window {
                from: first,
                to: last,
            },
            after: Window { from: last, to: end },
            faulty: true,
        }
    }

    /// The phases with their names, in order.
    pub fn named(&self) -> [(&'static str, Window); 3] {
        [
            ("before", self.before),
            ("during", self.during),
            ("after", self.after),
        ]
    }
}

/// When the last fault of a variant ended, an instant one at once: its recovery is counted from here.
pub(crate) fn cause_ends(report: &Report, variant: usize) -> f64 {
    let (start, end) = extent(report);
    let faults = report
        .happenings_in(variant)
        .filter(|happening| happening.kind == HappeningKind::Fault);
    let last = faults
        .map(|fault| fault.to.unwrap_or(fault.from))
        .fold(f64::NAN, f64::max);
    if last.is_nan() {
        end
    } else {
        last.clamp(start, end)
    }
}

/// When a run begins and ends, in seconds of the scenario's clock.
pub(crate) fn extent(report: &Report) -> (f64, f64) {
    let record = report.variants.iter().find_map(|variant| variant.records.first());
    record.map_or((0.0, 0.0), |record| {
        let start = -record.origin.as_secs_f64();
        (start, start + record.period.as_secs_f64() * record.periods as f64)
    })
}

fn lasts_until(fault: &Happening, end: f64) -> f64 {
    let aftermath = || fault.from + AFTERMATH_S.min((end - fault.from) / 2.0);
    fault.to.unwrap_or_else(aftermath).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Variant;
    use seawall_core::record::Record;
    use seawall_core::time::Span;

    fn report(happenings: Vec<Happening>) -> Report {
        let record = Record::new(Span::secs(1), Span::secs(100), 1000);
        let variant = Variant {
            records: vec![record],
            ..Variant::default()
        };
        Report {
            happenings,
            variants: vec![variant],
            ..Report::default()
        }
    }

    fn fault(from: f64, to: Option<f64>) -> Happening {
        Happening {
            variant: None,
            from,
            to,
            kind: HappeningKind::Fault,
            what: "killed".into(),
            on: "redis".into(),
        }
    }

    #[test]
    fn a_fault_that_lasts_sets_the_window() {
        let phases = Phases::of(&report(vec![fault(0.0, Some(600.0))]));
        assert_eq!(phases.before, Window { from: -60.0, to: 0.0 });
        assert_eq!(phases.during, Window { from: 0.0, to: 600.0 });
        assert_eq!(
            phases.after,
            Window {
                from: 600.0,
                to: 900.0
            }
        );
    }

    #[test]
    fn an_instant_is_given_a_minute() {
        let phases = Phases::of(&report(vec![fault(50.0, None), fault(200.0, None)]));
        assert_eq!(
            phases.during,
            Window {
                from: 50.0,
                to: 260.0
            }
        );
    }

    #[test]
    fn a_fault_of_one_variant_is_no_phase_of_the_others() {
        let mut lasting = fault(10.0, Some(900.0));
        lasting.variant = Some(0);
        let report = report(vec![fault(50.0, None), lasting]);
        assert!((Phases::of(&report).during.from - 50.0).abs() < 1e-9);
        assert!((cause_ends(&report, 0) - 900.0).abs() < 1e-9);
        assert!(
            (cause_ends(&report, 1) - 50.0).abs() < 1e-9,
            "an instant ends at once"
        );
    }

    #[test]
    fn a_calm_run_is_one_window() {
        let phases = Phases::of(&report(vec![]));
        assert!(!phases.faulty && phases.after.is_empty());
        assert_eq!(phases.during, Window { from: 0.0, to: 900.0 });
    }
}
