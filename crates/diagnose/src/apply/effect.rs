//! Did it help: what was found and how clients fared, before and after, and beside what was left alone.

use serde::Serialize;

use crate::diagnosis::Diagnosis;
use crate::failure::Failure;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It helped: what it was for is gone, or hurts less.
    Helped {
        /// What is better, with its numbers.
        because: String,
    },
    /// Nothing that was measured is better.
    NoDifference {
        /// What was compared.
        because: String,
    },
    /// It is worse than before.
    Worse {
        /// What is worse, with its numbers.
        because: String,
    },
}

impl Effect {
    /// Whether what was done should stay.
    pub fn is_good(&self) -> bool {
        matches!(self, Effect::Helped { .. })
    }

    /// In one line.
    pub fn told(&self) -> String {
        match self {
            Effect::Helped { because } => format!("it helped: {because}"),
            Effect::NoDifference { because } => format!("it made no difference: {because}"),
            Effect::Worse { because } => format!("it made it worse: {because}"),
        }
    }
}

/// What was measured of one part of the system at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was found.
    pub diagnosis: Diagnosis,
    /// Calls of the origin a second.
    pub origin_per_s: Option<f64>,
    /// How long a call of the origin takes, in seconds.
    pub origin_s: Option<f64>,
}

impl Measured {
    fn confidence(&self, failure: Failure) -> f64 {
        let of = self
            .diagnosis
            .findings
            .iter()
            .filter(|finding| finding.failure == failure);
        of.map(|finding| finding.confidence).fold(0.0, f64::max)
    }

    fn lost(&self) -> Option<f64> {
        self.diagnosis.impact.lost()
    }
}

/// Compares before and after. Where there is a control (a like part to which nothing was done), what changed there as
/// well was not the step's doing.
pub fn effect(
    against: Failure,
    before: &Measured,
    after: &Measured,
    control: Option<(&Measured, &Measured)>,
) -> Effect {
    let (was, is) = (before.confidence(against), after.confidence(against));
    let found = format!("{against} {:.0}% before, {:.0}% after", was * 100.0, is * 100.0);
    let changed = |of: fn(&Measured) -> Option<f64>| -> Option<(f64, f64, f64)> {
        let (from, to) = (of(before)?, of(after)?);
        let drift = control
            .and_then(|(was, is)| Some(of(is)? - of(was)?))
            .unwrap_or(0.0);
        Some((from, to, to - from - drift))
    };
    let lost = changed(Measured::lost);
    let mut elsewhere = None;
    if let Some((from, to, by)) = lost {
        let told = format!(
            "{:.0}% of the calls lost before, {:.0}% after",
            from * 100.0,
            to * 100.0
        );
        if by > 0.05 && by > 0.2 * from {
            return Effect::Worse { because: told };
        }
        if by < -0.02 && by < -0.2 * from {
            return Effect::Helped { because: told };
        }
        if to < from - 0.02 && to < 0.8 * from {
            elsewhere = Some(told);
        }
    }
    let gone_there =
        control.is_some_and(|(was, is)| was.confidence(against) >= 0.5 && is.confidence(against) < 0.5);
    // Who fares better elsewhere as well has not been helped, whatever is found no more.
    if was >= 0.5 && is < 0.5 && !gone_there && elsewhere.is_none() {
        return Effect::Helped { because: found };
    }
    for (of, what) in [
        (
            Measured::load as fn(&Measured) -> Option<f64>,
            "calls of the origin a second",
        ),
        (Measured::pace, "ms at the origin"),
    ] {
        if let Some((from, to, by)) = changed(of) {
            let told = format!("{from:.0} {what} before, {to:.0} after");
            if from > 1.0 && by < -0.3 * from && lost.is_none_or(|(_, _, by)| by <= 0.02) {
                return Effect::Helped { because: told };
            }
            if control.is_some() && from > 1.0 && to < 0.7 * from {
                elsewhere = elsewhere.or(Some(told));
            }
        }
    }
    let because = match elsewhere {
        _ if gone_there => format!("{found}, and so it is where nothing was done"),
        Some(better) => format!("{better}, and so it is where nothing was done"),
        None => found,
    };
    Effect::NoDifference { because }
}

impl Measured {
    fn load(&self) -> Option<f64> {
        self.origin_per_s
    }

    fn pace(&self) -> Option<f64> {
        Some(self.origin_s? * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Case;
    use crate::situation::Impact;

    fn measured(confident: bool, good: f64, load: f64) -> Measured {
        let mut case = Case::new(Failure::OutOfMemory, "redis");
        case.supports(confident, 9.0, || "writes are refused".to_owned());
        Measured {
            diagnosis: Diagnosis {
                at: 0,
                findings: vec![case.close()],
                impact: Impact {
                    good: Some(good),
                    good_calm: Some(1.0),
                    ..Impact::default()
                },
                severity: None,
            },
            origin_per_s: Some(load),
            origin_s: None,
        }
    }

    #[test]
    fn what_is_better_helped() {
        let of = |before, after| effect(Failure::OutOfMemory, &before, &after, None);
        assert!(of(measured(true, 1.0, 90.0), measured(false, 1.0, 90.0)).is_good());
        assert!(of(measured(true, 0.5, 90.0), measured(true, 0.9, 90.0)).is_good());
        assert!(of(measured(true, 1.0, 90.0), measured(true, 1.0, 30.0)).is_good());
        let none = of(measured(true, 0.5, 90.0), measured(true, 0.5, 88.0));
        assert!(matches!(none, Effect::NoDifference { .. }), "{none:?}");
        let worse = of(measured(true, 0.9, 90.0), measured(false, 0.5, 10.0));
        assert!(matches!(worse, Effect::Worse { .. }), "{worse:?}");
    }

    #[test]
    fn what_is_better_elsewhere_as_well_was_not_the_step() {
        let (ill, well) = (measured(true, 0.5, 90.0), measured(false, 1.0, 90.0));
        let control = Some((&ill, &well));
        let told = effect(Failure::OutOfMemory, &ill, &well, control).told();
        assert!(told.starts_with("it made no difference: "), "{told}");
        assert!(told.ends_with("and so it is where nothing was done"), "{told}");
        // A control of which less is measured: what is found no more is not credited when clients fare better there, too.
        let (lost, answered) = (measured(false, 0.5, 90.0), measured(false, 1.0, 90.0));
        assert!(!effect(Failure::OutOfMemory, &ill, &well, Some((&lost, &answered))).is_good());
        // Fewer calls of the origin, there as here.
        let (much, little) = (measured(false, 1.0, 90.0), measured(false, 1.0, 9.0));
        let told = effect(Failure::OriginFull, &much, &little, Some((&much, &little))).told();
        assert!(
            told.ends_with("9 after, and so it is where nothing was done"),
            "{told}"
        );
        assert!(effect(Failure::OriginFull, &much, &little, Some((&much, &much))).is_good());
        assert!(effect(Failure::OutOfMemory, &ill, &well, Some((&ill, &ill))).is_good());
    }
}
