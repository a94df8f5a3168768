//! An incident from its detection to its closing: what it is, how bad, what it cost in requests, what was done and what helped.
//!
//! An [`Incident`] is a value. A [`Course`] makes one from what is measured, a period at a time; a [`Store`] keeps it through
//! crashes; [`letters`] and [`postmortem`](postmortem()) write it down for people; [`alerts`] tells other systems and hears
//! from them. Nothing here reads a clock but the store's lock and the sockets: what time it is is an argument.
//!
//! The instants of an incident, all in UTC:
//!
//! | instant | definition |
//! | --- | --- |
//! | began | the end of the first period of the suspicion that opened it; of one that an alert opened, the alert's `startsAt` |
//! | opened | the end of the period in which the suspicion was sure enough to speak |
//! | mitigated | from when on each measured impact was below half of its worst, for 10 s; see `marks` |
//! | stabilised | from when on fewer than 5% of calls were lost and nothing else came first, for 30 s |
//! | over | from when on nothing was likely and nobody suffered, for 15 s |
//! | recovered | over, and the hit rate back at 95% of what was usual |
//! | closed | when that was certain, or somebody closed it |
//!
//! Mitigation, stabilisation and recovery are counted from its beginning, like detection. An incident that is back within five
//! minutes of its closing is the same one, opened again.

use serde::{Deserialize, Serialize};

use crate::failure::Role;
use crate::severity::Severity;

pub mod alerts;
mod course;
mod entry;
mod kpi;
pub mod letters;
mod marks;
mod postmortem;
mod prevention;
mod store;
mod tally;
mod utc;
mod window;

pub use course::Course;
pub use entry::{Entry, Found, What};
pub use kpi::{Kpi, Met, kpis, mttr_s, overall};
pub(crate) use marks::{Marks, Moment};
pub use postmortem::postmortem;
pub use prevention::prevention;
pub use store::{Arrived, BYTES_MAX, INCIDENTS_MAX, Opening, Store, StoreError};
pub use tally::{Tally, Usual};
pub use utc::{BadInstant, Utc, lasting};
pub use window::Calm;

/// So many entries of a timeline are kept; what comes later is counted.
pub const ENTRIES_MAX: usize = 500;
/// So many characters of a text that somebody else wrote are kept.
pub const TEXT_MAX: usize = 2_000;

/// Something that was the matter, from its detection on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, which nothing else has: `20261122T021134-hung-redis`.
    pub id: String,
    /// What it is, for telling the same from another: failure and component, or the fingerprint of an alert.
    pub fingerprint: String,
    /// What it is in few words, where no failure was found: the name of the alert that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// What is believed to be the matter, the newest belief.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// How bad it is now.
    pub severity: Severity,
    /// How bad it was at its worst.
    pub worst: Severity,
    /// Why it is this bad.
    pub reason: String,
    /// Why more people should be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<String>,
    /// The first suspicion.
    pub began: Utc,
    /// When it was told.
    pub opened: Utc,
    /// When it was last looked at.
    pub seen: Utc,
    /// The degrees of getting better.
    pub(crate) marks: Marks,
    /// Since when nothing is likely and nobody suffers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Utc>,
    /// When the hit rate was back as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Utc>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Utc>,
    /// Somebody said that nothing was the matter.
    #[serde(default)]
    pub false_alarm: bool,
    /// What was usual before.
    pub usual: Usual,
    /// What it cost.
    pub tally: Tally,
    /// The last hit rate that was seen, over ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<f64>,
    /// Alerts that fire, by their fingerprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firing: Vec<String>,
    /// What happened, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Entry>,
    /// Entries that were too many to keep.
    #[serde(default)]
    pub dropped: u64,
}

impl Incident {
    /// In a few words: what it is, or what was reported.
    pub fn title(&self) -> String {
        match (&self.found, &self.reported) {
            (Some(_), _) => self.cause().map_or_else(String::new, Found::name),
            (None, Some(alert)) => format!("{alert}, reported by an alert"),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// What began it, as far as is known: the first cause among all that came first, or else what came first at the
    /// beginning. What merely follows from something is no cause.
    pub fn cause(&self) -> Option<&Found> {
        let mut all = self.beliefs();
        let first = all.next()?;
        if first.failure.role() == Role::Cause {
            return Some(first);
        }
        all.find(|found| found.failure.role() == Role::Cause)
            .or(Some(first))
    }

    /// All that came first, in order; what is believed now when the timeline has forgotten them.
    pub fn beliefs(&self) -> impl Iterator<Item = &Found> {
        let told = self.timeline.iter().filter_map(|entry| match &entry.what {
            What::Opened { found: Some(found) } | What::Turned { found } => Some(found),
            _ => None,
        });
        let mut told = told.peekable();
        let spare = if told.peek().is_none() {
            self.found.as_ref()
        } else {
            None
        };
        told.chain(spare)
    }

    /// What was done.
    pub fn actions(&self) -> impl Iterator<Item = &Entry> {
        self.timeline
            .iter()
            .filter(|entry| matches!(entry.what, What::Acted { .. }))
    }

    /// When its impact was below half of its worst.
    pub fn mitigated(&self) -> Option<Utc> {
        self.marks.mitigated
    }

    /// When it stayed so.
    pub fn stabilised(&self) -> Option<Utc> {
        self.marks.stabilised
    }

    /// Whether it is under way.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// What state it is in, in a word.
    pub fn state(&self) -> &'static str {
        match (
            self.closed,
            self.over,
            self.marks.stabilised,
            self.marks.mitigated,
        ) {
            (Some(_), ..) if self.false_alarm => "false alarm",
            (Some(_), ..) => "closed",
            (None, Some(_), ..) => "recovering",
            (None, None, Some(_), _) => "stabilised",
            (None, None, None, Some(_)) => "mitigated",
            (None, None, None, None) => "open",
        }
    }

    /// It is back: nothing of how it ended holds.
    pub(crate) fn reopen(&mut self, now: Utc) {
        self.closed = None;
        self.over = None;
        self.recovered = None;
        self.enter(now, What::Reopened);
    }

    /// Writes something into its timeline, and draws what follows from it. What is too much is counted and not kept; what
    /// says how it ended always is.
    pub fn enter(&mut self, at: Utc, what: What) {
        if let What::ClosedByHand { false_alarm, .. } = &what {
            self.false_alarm |= *false_alarm;
            self.closed.get_or_insert(at);
        }
        let ends = matches!(
            what,
            What::Closed { .. } | What::ClosedByHand { .. } | What::Recovered { .. } | What::Over { .. }
        );
        if self.timeline.len() >= ENTRIES_MAX && !(ends && self.timeline.len() < ENTRIES_MAX + 64) {
            self.dropped += 1;
            return;
        }
        self.timeline.push(Entry {
            at,
            what: what.clipped(),
        });
    }
}

/// In one line, without what a terminal would obey, and not longer than is kept.
pub(crate) fn clipped(text: &str) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.trim().chars().map(plain).take(TEXT_MAX).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::failure::Failure;

    /// What happened in it, by the second.
    fn happened(found: Found) -> Vec<(i64, What)> {
        let at = |second: i64| Utc::from_millis(1_795_312_800_000 + second * 1_000);
        let acted = What::Acted {
            by: "operator".to_owned(),
            action: "restart the process of redis".to_owned(),
            before: Some("80% of the calls lost".to_owned()),
            after: Some("1% lost".to_owned()),
            helped: Some(true),
        };
        let useless = What::Acted {
            by: "operator".to_owned(),
            action: "scale the service to 10 copies".to_owned(),
            before: None,
            after: None,
            helped: Some(false),
        };
        let alerted = What::Alerted {
            name: "RedisDown".to_owned(),
            firing: true,
            severity: Some("critical".to_owned()),
            summary: None,
        };
        vec![
            (4, What::Opened { found: Some(found) }),
            (
                4,
                What::Judged {
                    severity: Severity::P0,
                    reason: "80% of the calls are lost".to_owned(),
                },
            ),
            (35, alerted),
            (50, useless),
            (90, acted),
            (104, What::Mitigated { since: at(94) }),
            (125, What::Over { since: at(110) }),
            (130, What::Stabilised { since: at(100) }),
            (140, What::Recovered { since: at(130) }),
            (
                145,
                What::Closed {
                    why: "all is well".to_owned(),
                },
            ),
        ]
    }

    /// An incident as the course makes them, an hour into a day.
    pub(crate) fn example() -> Incident {
        let at = |second: i64| Utc::from_millis(1_795_312_800_000 + second * 1_000);
        let found = Found {
            failure: Failure::Hung,
            component: "redis".to_owned(),
            node: None,
            confidence: 0.98,
            pro: vec![
                "PING is not answered".to_owned(),
                "connections are accepted".to_owned(),
            ],
            contra: vec!["the machine has a free processor".to_owned()],
            unknown: vec!["the state of the process".to_owned()],
            beside: vec![(Failure::FallbackActive, "app".to_owned())],
        };
        let mut incident = Incident {
            id: "20261122T020004-hung-redis".to_owned(),
            fingerprint: found.fingerprint(),
            reported: None,
            found: Some(found.clone()),
            severity: Severity::P0,
            worst: Severity::P0,
            reason: "80% of the calls are lost".to_owned(),
            escalate: Vec::new(),
            began: at(2),
            opened: at(4),
            seen: at(145),
            marks: Marks {
                mitigated: Some(at(94)),
                stabilised: Some(at(100)),
                ..Marks::default()
            },
            over: Some(at(110)),
            recovered: Some(at(130)),
            closed: Some(at(145)),
            false_alarm: false,
            usual: Usual {
                asked_per_s: Some(1_000.0),
                good: Some(1.0),
                hit_rate: Some(0.97),
                origin_per_s: Some(30.0),
            },
            tally: Tally {
                measured_s: 128.0,
                blind_s: 0.0,
                asked: 128_000.0,
                good: 60_000.0,
                wrong: 0.0,
                shed: 8_000.0,
                failed: 20_000.0,
                timed_out: 40_000.0,
                worst: Some((at(20), 0.8)),
                coalesced: 900.0,
                loads: 100.0,
                origin: Some(20_000.0),
            },
            hit_rate: Some(0.96),
            firing: Vec::new(),
            timeline: Vec::new(),
            dropped: 0,
        };
        for (second, what) in happened(found) {
            incident.enter(at(second), what);
        }
        incident
    }

    #[test]
    fn it_is_written_and_read_back() {
        let incident = example();
        let text = serde_json::to_string(&incident).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Incident>(&text).expect("what was written"),
            incident
        );
    }

    #[test]
    fn timelines_and_texts_are_bounded() {
        let mut incident = example();
        for _ in 0..2 * ENTRIES_MAX {
            let text = "x".repeat(10 * TEXT_MAX) + "\u{1b}[2J";
            incident.enter(
                incident.opened,
                What::Noted {
                    by: "a\nb".to_owned(),
                    text,
                },
            );
        }
        assert_eq!(incident.timeline.len(), ENTRIES_MAX);
        assert_eq!(incident.dropped as usize, ENTRIES_MAX + 10);
        let line = incident.timeline[20].line();
        assert!(
            line.len() < TEXT_MAX + 10 && line.starts_with("a b: x"),
            "{}",
            &line[..20]
        );
        incident.enter(
            incident.opened,
            What::ClosedByHand {
                by: "me".to_owned(),
                false_alarm: true,
            },
        );
        assert_eq!(
            (incident.timeline.len(), incident.state()),
            (ENTRIES_MAX + 1, "false alarm")
        );
    }

    #[test]
    fn the_cause_is_no_effect() {
        let mut incident = example();
        let mut effect = incident.found.clone().expect("it has one");
        effect.failure = Failure::FallbackActive;
        incident.timeline.insert(
            0,
            Entry {
                at: incident.opened,
                what: What::Opened { found: Some(effect) },
            },
        );
        assert_eq!(incident.cause().map(|found| found.failure), Some(Failure::Hung));
        assert_eq!(incident.title(), "hung of redis");
    }
}
