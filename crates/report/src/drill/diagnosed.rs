//! What a diagnosis says of what was measured in a drill, without knowing what was done.

use crate::wording::seconds;

/// A diagnosis beside what was done. Times are seconds from what was done first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosed {
    /// What came first; nothing when it said nothing.
    pub first: Option<String>,
    /// How sure it was, from 0 to 1, and how bad it was.
    pub confidence: f64,
    /// How bad it was.
    pub severity: String,
    /// What is right to say; empty when nothing was the matter.
    pub truth: Vec<String>,
    /// Whether it was right.
    pub right: bool,
    /// It spoke before anything was done.
    pub false_alarm: bool,
    /// The first step that it proposed.
    pub step: Option<String>,
    /// That step does harm in what it really is.
    pub harmful: bool,
    /// The evidence.
    pub evidence: Vec<String>,
    /// What came first later, and after how many seconds.
    pub later: Vec<(f64, String)>,
    /// It spoke.
    pub detected_s: Option<f64>,
    /// What was lost is less than half of the worst.
    pub mitigated_s: Option<f64>,
    /// Hardly anything is lost.
    pub stabilised_s: Option<f64>,
    /// Nothing is the matter any more.
    pub recovered_s: Option<f64>,
}

impl Diagnosed {
    /// What was said, with a mark.
    pub(super) fn said(&self) -> String {
        let first = self.first.as_deref().unwrap_or("nothing");
        format!("{} {first}", self.mark())
    }

    pub(super) fn mark(&self) -> &'static str {
        if self.right { "✓" } else { "✗" }
    }

    /// Detection, mitigation, stabilisation, recovery.
    pub(super) fn times(&self) -> [String; 4] {
        [
            self.detected_s,
            self.mitigated_s,
            self.stabilised_s,
            self.recovered_s,
        ]
        .map(|time| time.map_or_else(|| "–".to_owned(), seconds))
    }

    /// In a sentence, the most important first.
    pub(super) fn sentence(&self) -> String {
        let truth = self.truth.join(" or ");
        let said = match (&self.first, self.right) {
            (Some(first), true) => format!("said {first}, which it was"),
            (Some(first), false) if truth.is_empty() => format!("said {first}, and nothing was the matter"),
            (Some(first), false) => format!("said {first}, and it was {truth}"),
            (None, true) if truth.is_empty() => "said nothing, and nothing was the matter".to_owned(),
            (None, true) => format!("said nothing of {truth}, which nobody suffered from"),
            (None, false) => format!("said nothing, and it was {truth}"),
        };
        let spoke = self.detected_s.map_or_else(String::new, |detected| {
            format!(
                ", after {}, {:.0}% sure, {}",
                seconds(detected),
                self.confidence * 100.0,
                self.severity
            )
        });
        let early = if self.false_alarm {
            "; it had spoken before anything was done"
        } else {
            ""
        };
        let step = self.step.as_ref().map_or_else(String::new, |step| {
            let harm = if self.harmful {
                ", WHICH DOES HARM HERE"
            } else {
                ""
            };
            format!("; first step: {step}{harm}")
        });
        format!("{said}{spoke}{early}{step}")
    }

    /// What came of it, in a sentence; nothing when it said nothing.
    pub(super) fn course(&self) -> Option<String> {
        self.first.as_ref()?;
        let [detected, mitigated, stabilised, recovered] = self.times();
        Some(format!(
            "detected after {detected}, mitigated {mitigated}, stable {stabilised}, recovered {recovered}"
        ))
    }
}

/// How many diagnoses were right, in one line; nothing when there are none.
pub(super) fn headline<'a>(all: impl Iterator<Item = &'a Diagnosed> + Clone) -> Option<String> {
    let count = all.clone().count();
    let right = all.clone().filter(|one| one.right).count();
    let alarms = all.clone().filter(|one| one.false_alarm).count();
    let harmful = all.clone().filter(|one| one.harmful).count();
    let slowest = all.filter_map(|one| one.detected_s).reduce(f64::max);
    let slowest = slowest.map_or_else(String::new, |slowest| {
        format!(", the latest after {}", seconds(slowest))
    });
    (count > 0).then(|| {
        format!(
            "{right} of {count} diagnoses right at first{slowest}; {alarms} false alarms; {harmful} first steps that do harm"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_told_beside_what_was_done() {
        let mut one = Diagnosed {
            first: Some("hung".into()),
            confidence: 0.97,
            severity: "P0".into(),
            truth: vec!["hung".into()],
            right: true,
            step: Some("open-breaker".into()),
            detected_s: Some(2.5),
            ..Diagnosed::default()
        };
        assert_eq!(
            one.sentence(),
            "said hung, which it was, after 2.5s, 97% sure, P0; first step: open-breaker"
        );
        assert_eq!(
            one.course().as_deref(),
            Some("detected after 2.5s, mitigated –, stable –, recovered –")
        );
        (one.truth, one.right, one.harmful) = (vec!["paused".into()], false, true);
        assert!(one.sentence().contains("and it was paused"), "{}", one.sentence());
        assert!(one.sentence().ends_with("WHICH DOES HARM HERE"));
        let nothing = Diagnosed {
            right: true,
            truth: vec!["cold".into()],
            ..Diagnosed::default()
        };
        assert_eq!(
            nothing.sentence(),
            "said nothing of cold, which nobody suffered from"
        );
        assert_eq!(nothing.course(), None);
        assert_eq!(
            headline([&one, &nothing].into_iter()).as_deref(),
            Some(
                "1 of 2 diagnoses right at first, the latest after 2.5s; 0 false alarms; 1 first steps that do harm"
            )
        );
        assert_eq!(headline([].into_iter()), None);
    }
}
