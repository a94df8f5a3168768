//! What an incident keeps of findings, and what happens in it.

use serde::{Deserialize, Serialize};

use super::{Utc, clipped, lasting};
use crate::diagnosis::Diagnosis;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::severity::Severity;

/// So many pieces of evidence of a finding are kept, each way.
const EVIDENCE_MAX: usize = 6;

/// A finding as an incident keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What is the matter.
    pub failure: Failure,
    /// Of which part of the system.
    pub component: String,
    /// Of which node of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    /// How likely it is, between 0 and 1.
    pub confidence: f64,
    /// The facts that speak for it, the heaviest first.
    pub pro: Vec<String>,
    /// The facts that speak against it.
    pub contra: Vec<String>,
    /// What was not measured and would tell more.
    pub unknown: Vec<String>,
    /// Other findings that are likely, as what follows from it or stands beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<(Failure, String)>,
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Utc,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// It was detected; without a finding, an alert said so.
    Opened {
        /// What was found.
        found: Option<Found>,
    },
    /// Another failure comes first now.
    Turned {
        /// Which.
        found: Found,
    },
    /// It is worse or less bad than before.
    Judged {
        /// How bad.
        severity: Severity,
        /// Why.
        reason: String,
    },
    /// Somebody or something did something about it.
    Acted {
        /// Who.
        by: String,
        /// What.
        action: String,
        /// What was measured before.
        before: Option<String>,
        /// What was measured afterwards.
        after: Option<String>,
        /// Whether it helped; nothing when nobody could tell.
        helped: Option<bool>,
    },
    /// Its impact is below half of its worst, since an instant.
    Mitigated {
        /// Since when.
        since: Utc,
    },
    /// It stays that way.
    Stabilised {
        /// Since when.
        since: Utc,
    },
    /// The impact is back.
    Relapsed,
    /// Nothing is likely any more and nobody suffers, since an instant.
    Over {
        /// Since when.
        since: Utc,
    },
    /// The hit rate is back as well.
    Recovered {
        /// Since when.
        since: Utc,
    },
    /// It is closed.
    Closed {
        /// Why.
        why: String,
    },
    /// Somebody closed it.
    ClosedByHand {
        /// Who.
        by: String,
        /// Whether nothing was the matter at all.
        false_alarm: bool,
    },
    /// It is back.
    Reopened,
    /// An alert of another system began or ended.
    Alerted {
        /// Its name.
        name: String,
        /// Whether it fires.
        firing: bool,
        /// What it says of its severity.
        severity: Option<String>,
        /// What it says of itself.
        summary: Option<String>,
    },
    /// Watching went on after nobody had watched for a while.
    WatchedAgain {
        /// How long nobody had, in seconds.
        blind_s: f64,
    },
    /// Somebody wrote something down.
    Noted {
        /// Who.
        by: String,
        /// What.
        text: String,
    },
}

impl Found {
    /// What a diagnosis says first; nothing when nothing is likely.
    pub fn first_of(diagnosis: &Diagnosis) -> Option<Found> {
        let first = diagnosis.first()?;
        let facts = |pieces: &mut dyn Iterator<Item = &crate::Evidence>| -> Vec<String> {
            pieces
                .take(EVIDENCE_MAX)
                .map(|piece| clipped(&piece.fact))
                .collect()
        };
        let beside = |other: &Finding| (other.failure, clipped(&other.component));
        Some(Found {
            failure: first.failure,
            component: clipped(&first.component),
            node: first.node,
            confidence: first.confidence,
            pro: facts(&mut first.for_it()),
            contra: facts(&mut first.against_it()),
            unknown: first.unknown.iter().map(|what| (*what).to_owned()).collect(),
            beside: diagnosis
                .likely()
                .skip(1)
                .take(EVIDENCE_MAX)
                .map(beside)
                .collect(),
        })
    }

    /// What tells it from another.
    pub fn fingerprint(&self) -> String {
        format!("{}/{}", self.failure, self.component)
    }

    /// In a few words: `hung of redis, node 2`.
    pub fn name(&self) -> String {
        let node = self.node.map(|node| format!(", node {node}")).unwrap_or_default();
        format!("{} of {}{node}", self.failure, self.component)
    }
}

impl Entry {
    /// In one line, without the time.
    pub fn line(&self) -> String {
        match &self.what {
            What::Opened { found: Some(found) } => format!(
                "detected: {} ({:.0}% sure); {}",
                found.name(),
                found.confidence * 100.0,
                found.pro.first().map_or("no evidence was kept", String::as_str)
            ),
            What::Opened { found: None } => "reported by an alert; nothing was found yet".to_owned(),
            What::Turned { found } => format!(
                "now {} comes first ({:.0}% sure); {}",
                found.name(),
                found.confidence * 100.0,
                found.pro.first().map_or("no evidence was kept", String::as_str)
            ),
            What::Judged { severity, reason } => format!("{}: {reason}", severity.name()),
            What::Acted {
                by,
                action,
                before,
                after,
                helped,
            } => acted(by, action, before.as_deref(), after.as_deref(), *helped),
            What::Mitigated { since } => format!(
                "mitigated: the impact is below half of its worst since {}",
                since.clock()
            ),
            What::Stabilised { since } => format!("stabilised since {}", since.clock()),
            What::Relapsed => "the impact is back".to_owned(),
            What::Over { since } => format!(
                "nothing is likely any more and nobody suffers since {}",
                since.clock()
            ),
            What::Recovered { since } => format!("recovered since {}", since.clock()),
            What::Closed { why } => format!("closed: {why}"),
            What::ClosedByHand {
                by,
                false_alarm: true,
            } => format!("closed by {by} as a false alarm"),
            What::ClosedByHand {
                by,
                false_alarm: false,
            } => format!("closed by {by}"),
            What::Reopened => "it is back, and opened again".to_owned(),
            What::Alerted {
                name,
                firing,
                severity,
                summary,
            } => {
                let severity = severity
                    .as_ref()
                    .map(|severity| format!(" ({severity})"))
                    .unwrap_or_default();
                let summary = summary
                    .as_ref()
                    .map(|summary| format!(": {summary}"))
                    .unwrap_or_default();
                let verb = if *firing { "fires" } else { "is resolved" };
                format!("the alert {name}{severity} {verb}{summary}")
            }
            What::WatchedAgain { blind_s } => {
                format!("watched again; nobody had watched for {}", lasting(*blind_s))
            }
            What::Noted { by, text } => format!("{by}: {text}"),
        }
    }
}

fn acted(by: &str, action: &str, before: Option<&str>, after: Option<&str>, helped: Option<bool>) -> String {
    let measured = match (before, after) {
        (Some(before), Some(after)) => format!(" ({before} before, {after} after)"),
        (Some(before), None) => format!(" ({before} before)"),
        (None, Some(after)) => format!(" ({after} after)"),
        (None, None) => String::new(),
    };
    let word = match helped {
        Some(true) => "it helped",
        Some(false) => "it did not help",
        None => "whether it helped is unknown",
    };
    format!("{by}: {action}{measured}; {word}")
}

impl What {
    /// With every text that somebody else wrote cut to what is kept.
    pub(crate) fn clipped(mut self) -> What {
        match &mut self {
            What::Noted { by, text } => {
                *by = clipped(by);
                *text = clipped(text);
            }
            What::ClosedByHand { by, .. } => *by = clipped(by),
            What::Alerted {
                name,
                severity,
                summary,
                ..
            } => {
                *name = clipped(name);
                *severity = severity.as_deref().map(clipped);
                *summary = summary.as_deref().map(clipped);
            }
            What::Acted {
                by,
                action,
                before,
                after,
                ..
            } => {
                *by = clipped(by);
                *action = clipped(action);
                *before = before.as_deref().map(clipped);
                *after = after.as_deref().map(clipped);
            }
            _ => {}
        }
        self
    }
}
