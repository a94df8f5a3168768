//! An incident held against the targets of the runbook of stampedes ("Metrics & KPIs").
//!
//! | what | target | measured as |
//! | --- | --- | --- |
//! | detection | < 2 min | opened − began |
//! | initial mitigation | < 5 min | mitigated − began |
//! | stabilisation | < 15 min | stabilised − began |
//! | full recovery | < 30 min | recovered − began |
//! | MTTR | < 15 min | mean of recovered − began over all incidents that recovered, false alarms left out |
//! | hit rate while all is well | > 95% | hits as a share of look-ups, in the calm before it |
//! | coalescing | > 90% | misses that shared a load, as a share of all misses that needed one, during it |
//! | false positives | < 5% | incidents closed as a false alarm, as a share of all closed ones |

use super::{Incident, lasting};

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody measured it, or it has not come yet.
    Unknown,
}

/// A figure beside its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Kpi {
    /// What it is.
    pub name: &'static str,
    /// Its target, in words.
    pub target: &'static str,
    /// What was measured, in words; nothing when nobody did.
    pub measured: Option<String>,
    /// Whether the target is met.
    pub met: Met,
}

const MINUTE: f64 = 60.0;

/// An incident beside the targets that are about one.
pub fn kpis(incident: &Incident) -> Vec<Kpi> {
    let after = |instant: Option<super::Utc>| instant.map(|at| at.since_s(incident.began));
    vec![
        time("detection", "< 2 min", 2.0, after(Some(incident.opened))),
        time("initial mitigation", "< 5 min", 5.0, after(incident.mitigated())),
        time("stabilisation", "< 15 min", 15.0, after(incident.stabilised())),
        time("full recovery", "< 30 min", 30.0, after(incident.recovered)),
        share(
            "hit rate while all is well",
            "> 95%",
            0.95,
            incident.usual.hit_rate,
            true,
        ),
        share("coalescing", "> 90%", 0.90, incident.tally.coalescing(), true),
    ]
}

/// All incidents beside the targets that are about many.
pub fn overall(incidents: &[Incident]) -> Vec<Kpi> {
    let closed: Vec<&Incident> = incidents.iter().filter(|incident| !incident.is_open()).collect();
    let false_alarms = closed.iter().filter(|incident| incident.false_alarm).count();
    let wrong = (!closed.is_empty()).then(|| false_alarms as f64 / closed.len() as f64);
    vec![
        time("MTTR", "< 15 min", 15.0, mttr_s(incidents)),
        share("false positives", "< 5%", 0.05, wrong, false),
    ]
}

/// Mean time to recovery, in seconds; nothing while none has recovered.
pub fn mttr_s(incidents: &[Incident]) -> Option<f64> {
    let times: Vec<f64> = incidents
        .iter()
        .filter(|incident| !incident.false_alarm)
        .filter_map(|incident| Some(incident.recovered?.since_s(incident.began)))
        .collect();
    (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
}

fn met(measured: Option<f64>, holds: impl Fn(f64) -> bool) -> Met {
    match measured {
        None => Met::Unknown,
        Some(value) if holds(value) => Met::Yes,
        Some(_) => Met::No,
    }
}

fn time(name: &'static str, target: &'static str, minutes: f64, seconds: Option<f64>) -> Kpi {
    Kpi {
        name,
        target,
        measured: seconds.map(lasting),
        met: met(seconds, |seconds| seconds < minutes * MINUTE),
    }
}

fn share(name: &'static str, target: &'static str, bound: f64, share: Option<f64>, more: bool) -> Kpi {
    Kpi {
        name,
        target,
        measured: share.map(|share| format!("{:.1}%", share * 100.0)),
        met: met(share, |share| if more { share > bound } else { share < bound }),
    }
}

impl Met {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Met::Yes => "met",
            Met::No => "missed",
            Met::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_held_against_its_targets() {
        let mut incident = super::super::tests::example();
        incident.marks.stabilised = Some(incident.began.after_s(900.0));
        incident.recovered = None;
        let told: Vec<(Option<String>, Met)> = kpis(&incident)
            .into_iter()
            .map(|kpi| (kpi.measured, kpi.met))
            .collect();
        let measured = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (measured("2 s"), Met::Yes),
                (measured("1 min 32 s"), Met::Yes),
                (measured("15 min"), Met::No),
                (None, Met::Unknown),
                (measured("97.0%"), Met::Yes),
                (measured("90.0%"), Met::No),
            ],
            "a target that is just reached is missed"
        );
    }

    #[test]
    fn false_alarms_are_counted_and_recover_nothing() {
        let real = super::super::tests::example();
        let mut wrong = real.clone();
        wrong.false_alarm = true;
        wrong.recovered = Some(wrong.began.after_s(9_999.0));
        assert_eq!(overall(&[])[0].met, Met::Unknown);
        let told = overall(&[real, wrong]);
        assert_eq!(told[0].measured.as_deref(), Some("2 min 8 s"));
        assert_eq!(
            (told[1].measured.as_deref(), told[1].met),
            (Some("50.0%"), Met::No)
        );
    }
}
