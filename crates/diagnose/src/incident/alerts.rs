//! Alerts of other systems, and ours to them: the webhook of Prometheus' Alertmanager, version 4, both ways.
//!
//! [`read`] makes alerts of what Alertmanager posts, [`notice`] makes of an incident what a receiver of such posts takes.
//! [`Herald`] sends notices, a few times if need be; [`Ear`] listens for posts. An alert without a name is none; one of the
//! severity `none` (the watchdogs that fire always) and one that we sent ourselves say nothing about the system, and are left
//! out.
//!
//! ```
//! use seawall_diagnose::incident::alerts;
//! let body = r#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"RedisDown","severity":"critical"},
//!     "annotations":{"summary":"nobody answers"},"startsAt":"2026-11-22T02:11:34.5Z","fingerprint":"c0ffee"}]}"#;
//! let alerts = alerts::read(body.as_bytes())?;
//! assert_eq!(alerts[0].name, "RedisDown");
//! assert!(alerts[0].firing);
//! # Ok::<(), alerts::BadPayload>(())
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Incident, Utc, clipped, lasting};
use crate::severity::Severity;

mod ear;
mod herald;

pub use ear::{Ear, Heard};
pub use herald::{Herald, Told};

/// So many alerts of one post are read.
const ALERTS_MAX: usize = 256;
/// Who sends our notices.
const SENDER: &str = "seawall";

/// An alert of another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What tells it from others.
    pub fingerprint: String,
    /// Its name.
    pub name: String,
    /// Whether it fires; if not, it is resolved.
    pub firing: bool,
    /// The label `severity`.
    pub severity: Option<String>,
    /// The annotation `summary`, or else `description`.
    pub summary: Option<String>,
    /// Since when.
    pub starts: Option<Utc>,
}

/// A post that is not one of Alertmanager's, version 4.
#[derive(Debug, thiserror::Error)]
pub enum BadPayload {
    /// It is something else.
    #[error("not a webhook post of Alertmanager: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another version.
    #[error("a post of version {0}, and only version 4 is understood")]
    Version(String),
}

/// The post, by its public definition; what is not needed here is not read.
#[derive(Deserialize)]
struct Post {
    version: String,
    alerts: Vec<Posted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    status: String,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: String,
    #[serde(default)]
    fingerprint: String,
}

/// The alerts of a post.
///
/// # Errors
/// When it is none of Alertmanager's, or of another version.
pub fn read(body: &[u8]) -> Result<Vec<Alert>, BadPayload> {
    let post: Post = serde_json::from_slice(body)?;
    if post.version != "4" {
        return Err(BadPayload::Version(
            clipped(&post.version).chars().take(20).collect(),
        ));
    }
    Ok(post
        .alerts
        .into_iter()
        .take(ALERTS_MAX)
        .filter_map(|posted| alert(&posted))
        .collect())
}

fn alert(posted: &Posted) -> Option<Alert> {
    let of = |map: &BTreeMap<String, String>, key: &str| map.get(key).map(|text| clipped(text));
    let name = of(&posted.labels, "alertname").filter(|name| !name.is_empty())?;
    let severity = of(&posted.labels, "severity");
    let ours = posted.labels.get("sender").is_some_and(|sender| sender == SENDER);
    if ours || severity.as_deref() == Some("none") {
        return None;
    }
    let fingerprint = if posted.fingerprint.is_empty() {
        let labels: Vec<String> = posted
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        hash(&labels.join("\n"))
    } else {
        clipped(&posted.fingerprint).chars().take(64).collect()
    };
    let starts: Option<Utc> = posted.starts_at.parse().ok();
    Some(Alert {
        fingerprint,
        name,
        firing: posted.status == "firing",
        severity,
        summary: of(&posted.annotations, "summary").or(of(&posted.annotations, "description")),
        // The year 1 stands for never.
        starts: starts.filter(|starts| starts.millis() > 0),
    })
}

/// What is posted of an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice(Json);

/// An incident as a post of Alertmanager's webhook, version 4: one group of one alert, which fires while the incident is open.
/// Group and fingerprint stay the same from the opening to the closing, and when it is opened again.
pub fn notice(incident: &Incident) -> Notice {
    let status = if incident.is_open() { "firing" } else { "resolved" };
    let severity = match incident.severity {
        Severity::P0 => "critical",
        Severity::P1 => "warning",
        Severity::P2 => "info",
    };
    let mut labels = BTreeMap::from([
        ("alertname", "SeawallIncident".to_owned()),
        ("incident", incident.id.clone()),
        ("sender", SENDER.to_owned()),
        ("severity", severity.to_owned()),
        ("level", incident.severity.name().to_owned()),
    ]);
    if let Some(found) = &incident.found {
        labels.insert("failure", found.failure.name().to_owned());
        labels.insert("component", found.component.clone());
    }
    let tally = &incident.tally;
    let mut annotations = BTreeMap::from([
        (
            "summary",
            format!("{}: {}", incident.severity.name(), incident.title()),
        ),
        ("description", incident.reason.clone()),
        ("state", incident.state().to_owned()),
    ]);
    if tally.is_measured() {
        let lost = format!(
            "{:.0} of {:.0} calls had no right answer in time",
            tally.lost(),
            tally.asked
        );
        annotations.insert("impact", lost);
    }
    if let Some(fact) = incident.found.as_ref().and_then(|found| found.pro.first()) {
        annotations.insert("evidence", fact.clone());
    }
    if let Some(recovered) = incident.recovered {
        annotations.insert("recovered_after", lasting(recovered.since_s(incident.began)));
    }
    let ends = incident
        .closed
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
    Notice(json!({
        "version": "4",
        "groupKey": format!("{{}}:{{incident=\"{}\"}}", incident.id),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": SENDER,
        "groupLabels": { "incident": incident.id },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": incident.began.to_string(),
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": hash(&incident.id),
        }],
    }))
}

impl Notice {
    /// As it is sent.
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

/// Sixteen digits that stay the same (FNV-1a; Fowler, Noll, Vo).
fn hash(text: &str) -> String {
    let mixed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{mixed:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_post_is_what_is_read() {
        let mut incident = super::super::tests::example();
        let post: Json = serde_json::from_str(&notice(&incident).text()).expect("JSON");
        assert_eq!(post["status"], "resolved");
        assert_eq!(
            post["alerts"][0]["endsAt"],
            incident.closed.expect("it is").to_string()
        );
        incident.closed = None;
        incident.severity = Severity::P1;
        let firing: Json = serde_json::from_str(&notice(&incident).text()).expect("JSON");
        assert_eq!(firing["status"], "firing");
        assert_eq!(firing["groupKey"], post["groupKey"], "the group stays the same");
        assert_eq!(
            firing["alerts"][0]["fingerprint"],
            post["alerts"][0]["fingerprint"]
        );
        assert_eq!(firing["commonLabels"]["failure"], "hung");
        for map in ["commonLabels", "commonAnnotations", "groupLabels"] {
            let all = firing[map].as_object().expect("a map");
            assert!(all.values().all(Json::is_string), "{map} holds text alone");
        }
        // Who listens to itself hears nothing.
        assert_eq!(read(notice(&incident).text().as_bytes()).expect("version 4"), []);
    }

    #[test]
    fn what_is_no_post_is_told() {
        for (body, told) in [
            ("", "not a webhook post"),
            ("[]", "not a webhook post"),
            (r#"{"version":"4"}"#, "missing field `alerts`"),
            (r#"{"version":"3","alerts":[]}"#, "version 3"),
        ] {
            let error = read(body.as_bytes()).expect_err(body).to_string();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn watchdogs_and_the_nameless_say_nothing() {
        let body = json!({"version": "4", "alerts": [
            {"status": "firing", "labels": {"alertname": "Watchdog", "severity": "none"}},
            {"status": "firing", "labels": {"job": "x"}},
            {"status": "resolved", "labels": {"alertname": "A"}, "startsAt": "0001-01-01T00:00:00Z"},
        ]});
        let alerts = read(body.to_string().as_bytes()).expect("version 4");
        assert_eq!(alerts.len(), 1);
        assert_eq!(
            (alerts[0].firing, alerts[0].starts, alerts[0].fingerprint.len()),
            (false, None, 16)
        );
    }
}
