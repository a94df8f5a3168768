//! The three communications of the runbook of stampedes, written from the facts: detection, mitigation update, resolution.
//!
//! Nothing is made up: what nobody measured or decided is `unknown`. Nothing in an incident holds an address with a login, so
//! no letter does.
//!
//! ```
//! use seawall_diagnose::incident::letters::{Letter, Style};
//! assert_eq!(Letter::from_name("update"), Some(Letter::Update));
//! ```

use std::fmt::Write;

use super::{Entry, Found, Incident, Utc, What, lasting};
use crate::severity::Severity;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// It has begun.
    Detection,
    /// How it goes.
    Update,
    /// It is over.
    Resolution,
}

/// How it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// Markdown.
    Markdown,
}

/// What the facts do not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// Whom to write to.
    pub contact: Option<&'a str>,
    /// When the next letter comes.
    pub next: Option<&'a str>,
}

impl Letter {
    /// The letter of this name.
    pub fn from_name(name: &str) -> Option<Letter> {
        match name {
            "detection" => Some(Letter::Detection),
            "update" => Some(Letter::Update),
            "resolution" => Some(Letter::Resolution),
            _ => None,
        }
    }
}

const UNKNOWN: &str = "unknown";

/// A letter about an incident, as of `now`.
pub fn letter(now: Utc, incident: &Incident, which: Letter, style: Style, sender: Sender<'_>) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    match which {
        Letter::Detection => detection(&mut page, incident, sender),
        Letter::Update => update(&mut page, now, incident, sender),
        Letter::Resolution => resolution(&mut page, now, incident, sender),
    }
    page.field("Incident", &incident.id);
    page.field("Contact", sender.contact.unwrap_or(UNKNOWN));
    page.text
}

fn detection(page: &mut Page, incident: &Incident, sender: Sender<'_>) {
    let what = incident.title();
    page.title(&format!("[{}] Detected: {what}", level(incident.worst)));
    page.field("Time", &incident.opened.told());
    page.field("Began", &incident.began.told());
    page.field("Affected component", component(incident));
    let meaning = incident
        .found
        .as_ref()
        .map_or("nothing was found yet", |found| found.failure.what());
    page.field("What it is", meaning);
    let first = incident.timeline.iter().find_map(|entry| match &entry.what {
        What::Judged { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    let measured = incident.usual.asked_per_s.is_some();
    page.field(
        "Impact when it was detected",
        &reach(first.unwrap_or(&incident.reason), measured),
    );
    page.field("Status", incident.state());
    evidence(page, incident.beliefs().next());
    actions(page, "Immediate actions", incident);
    page.field("Expected duration", UNKNOWN);
    escalation(page, incident);
    page.field("Next update", sender.next.unwrap_or(UNKNOWN));
}

fn update(page: &mut Page, now: Utc, incident: &Incident, sender: Sender<'_>) {
    page.title(&format!(
        "[{}] Update: {}",
        level(incident.severity),
        incident.title()
    ));
    page.field("Time", &now.told());
    page.field("Status", incident.state());
    page.field("Component", component(incident));
    page.field(
        "Lasts for",
        &lasting(incident.closed.unwrap_or(now).since_s(incident.began)),
    );
    let now_believed = incident
        .found
        .as_ref()
        .map_or_else(|| UNKNOWN.to_owned(), Found::name);
    page.field("Comes first now", &now_believed);
    page.field("Current impact", &impact_now(incident));
    page.field("Impact so far", &impact(incident));
    page.field("Hit rate", &hit_rate(incident));
    actions(page, "Progress", incident);
    let turns = |entry: &&Entry| {
        matches!(
            entry.what,
            What::Turned { .. }
                | What::Mitigated { .. }
                | What::Stabilised { .. }
                | What::Relapsed
                | What::Reopened
        )
    };
    let steps: Vec<&Entry> = incident.timeline.iter().filter(turns).collect();
    page.list(
        "Since its detection",
        steps.iter().map(|entry| timed(entry)),
        "nothing has changed",
    );
    escalation(page, incident);
    page.field("Next update", sender.next.unwrap_or(UNKNOWN));
}

fn resolution(page: &mut Page, now: Utc, incident: &Incident, sender: Sender<'_>) {
    let over = incident.closed.is_some();
    let word = match (over, incident.false_alarm) {
        (true, true) => "False alarm",
        (true, false) => "Resolved",
        (false, _) => "NOT resolved yet",
    };
    page.title(&format!("{word}: {}", incident.title()));
    page.field("Time", &incident.closed.unwrap_or(now).told());
    let ended = incident
        .timeline
        .iter()
        .rev()
        .find_map(|entry| match &entry.what {
            What::Closed { why } => Some(why.clone()),
            What::ClosedByHand { .. } => Some(entry.line()),
            _ => None,
        });
    page.field(
        "Resolution",
        ended
            .as_deref()
            .unwrap_or(if over { UNKNOWN } else { "it goes on" }),
    );
    let cause = incident.cause();
    let words = cause.map_or_else(
        || UNKNOWN.to_owned(),
        |found| {
            format!(
                "{} ({:.0}% sure): {}",
                found.name(),
                found.confidence * 100.0,
                found.failure.what()
            )
        },
    );
    page.field("Root cause", &words);
    page.field("Severity at its worst", level(incident.worst));
    let until = incident.recovered.or(incident.closed);
    let duration = until.map_or_else(
        || UNKNOWN.to_owned(),
        |until| lasting(until.since_s(incident.began)),
    );
    page.field("Duration", &duration);
    page.field("Impact", &impact(incident));
    actions(page, "Actions taken", incident);
    page.field("Hit rate", &hit_rate(incident));
    page.field("Monitoring", sender.next.unwrap_or(UNKNOWN));
}

/// How bad, as the runbook names it.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::P0 => "P0, critical",
        Severity::P1 => "P1, high",
        Severity::P2 => "P2, medium",
    }
}

fn component(incident: &Incident) -> &str {
    incident.cause().map_or(UNKNOWN, |found| found.component.as_str())
}

fn impact_now(incident: &Incident) -> String {
    let what = if incident.over.is_some() {
        "nobody suffers any more"
    } else {
        incident.reason.as_str()
    };
    reach(what, incident.tally.is_measured())
}

fn reach(what: &str, measured: bool) -> String {
    if measured {
        what.to_owned()
    } else {
        format!("{what}; how callers fare is unknown: nobody measures it")
    }
}

/// What it cost, in requests.
pub(super) fn impact(incident: &Incident) -> String {
    let tally = &incident.tally;
    if !tally.is_measured() {
        return format!("{UNKNOWN}: no calls were measured");
    }
    let mut text = format!(
        "{} of {} calls had no right answer in time ({} failed, {} timed out, {} were turned away, {} were answered wrongly)",
        count(tally.lost()),
        count(tally.asked),
        count(tally.failed),
        count(tally.timed_out),
        count(tally.shed),
        count(tally.wrong)
    );
    if let Some((at, share)) = tally.worst {
        let _ = write!(text, "; {:.0}% at its worst, at {}", share * 100.0, at.clock());
    }
    if tally.blind_s >= 1.0 {
        let _ = write!(text, "; in {} of it nothing was measured", lasting(tally.blind_s));
    }
    text
}

fn hit_rate(incident: &Incident) -> String {
    let told =
        |rate: Option<f64>| rate.map_or_else(|| UNKNOWN.to_owned(), |rate| format!("{:.1}%", rate * 100.0));
    format!(
        "{} ({} before)",
        told(incident.hit_rate),
        told(incident.usual.hit_rate)
    )
}

/// A count with its thousands apart.
pub(super) fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn timed(entry: &Entry) -> String {
    format!("{} {}", entry.at.clock(), entry.line())
}

fn evidence(page: &mut Page, found: Option<&Found>) {
    let Some(found) = found else {
        page.field("Evidence", UNKNOWN);
        return;
    };
    page.list("Evidence for it", found.pro.iter().cloned(), "none was kept");
    if !found.contra.is_empty() {
        page.list("Evidence against it", found.contra.iter().cloned(), "");
    }
}

fn actions(page: &mut Page, title: &str, incident: &Incident) {
    page.list(title, incident.actions().map(timed), "none are on record");
}

fn escalation(page: &mut Page, incident: &Incident) {
    if !incident.escalate.is_empty() {
        page.list("To be escalated, because", incident.escalate.iter().cloned(), "");
    }
}

/// Text as it is written; writing to it does not fail.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Page {
    /// What somebody else wrote may hold marks that would be obeyed.
    pub(super) fn plain(&self, text: &str) -> String {
        if self.style == Style::Plain {
            return text.to_owned();
        }
        let mut safe = String::with_capacity(text.len());
        for letter in text.chars() {
            if "\\`*_[]<>|#!".contains(letter) {
                safe.push('\\');
            }
            safe.push(letter);
        }
        safe
    }

    pub(super) fn title(&mut self, text: &str) {
        let text = self.plain(text);
        match self.style {
            Style::Plain => {
                let _ = write!(
                    self.text,
                    "{text}\n{}\n",
                    "=".repeat(text.chars().count().min(100))
                );
            }
            Style::Markdown => {
                let _ = write!(self.text, "# {text}\n\n");
            }
        }
    }

    fn field(&mut self, name: &str, text: &str) {
        let text = self.plain(text);
        // Two spaces at the end break a line in Markdown.
        let line = match self.style {
            Style::Plain => format!("{name}: {text}\n"),
            Style::Markdown => format!("**{name}**: {text}  \n"),
        };
        self.text += &line;
    }

    fn list(&mut self, name: &str, lines: impl Iterator<Item = String>, none: &str) {
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            self.field(name, none);
            return;
        }
        match self.style {
            Style::Plain => {
                let _ = writeln!(self.text, "{name}:");
            }
            Style::Markdown => {
                let _ = write!(self.text, "\n**{name}**:\n\n");
            }
        }
        for line in lines {
            let line = self.plain(&line);
            let _ = writeln!(self.text, "- {line}");
        }
        if self.style == Style::Markdown {
            self.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(incident: &Incident, which: Letter, style: Style) -> String {
        let now = incident.began.after_s(60.0);
        let sender = Sender {
            contact: Some("platform-team@example.com"),
            next: None,
        };
        letter(now, incident, which, style, sender)
    }

    #[test]
    fn letters_say_what_is_known() {
        let incident = super::super::tests::example();
        insta::assert_snapshot!(
            "detection",
            written(&incident, Letter::Detection, Style::Markdown)
        );
        insta::assert_snapshot!("update", written(&incident, Letter::Update, Style::Plain));
        insta::assert_snapshot!(
            "resolution",
            written(&incident, Letter::Resolution, Style::Markdown)
        );
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        let mut incident = super::super::tests::example();
        incident.found = None;
        incident.timeline.clear();
        incident.tally = super::super::Tally::default();
        incident.usual = super::super::Usual::default();
        incident.hit_rate = None;
        incident.closed = None;
        incident.recovered = None;
        incident.over = None;
        insta::assert_snapshot!("unknown", written(&incident, Letter::Resolution, Style::Plain));
        assert!(written(&incident, Letter::Update, Style::Plain).contains("how callers fare is unknown"));
    }

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        let mut incident = super::super::tests::example();
        let text = "<img src=x> [here](http://evil)\n# big".to_owned();
        let what = What::Acted {
            by: "me".to_owned(),
            action: text,
            before: None,
            after: None,
            helped: None,
        };
        incident.enter(incident.opened, what);
        let letter = written(&incident, Letter::Resolution, Style::Markdown);
        assert!(
            letter.contains(r"me: \<img src=x\> \[here\](http://evil) \# big"),
            "{letter}"
        );
    }
}
