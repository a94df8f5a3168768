//! Plain lines: for logs, for pipes, and for scripts as JSON.

// Writing to a string does not fail, so what comes of it is not looked at.
use std::fmt::Write as _;

use seawall_diagnose::incident::{Course, Entry, Incident, Utc, What, lasting};
use seawall_diagnose::runbook::{How, Step};
use serde_json::{Value, json};

use crate::output::print;
use crate::stop::Stop;

/// So many steps are told of at once.
const STEPS_MAX: usize = 5;

/// Writes lines.
pub(super) struct Lines {
    json: bool,
}

impl Lines {
    pub(super) fn new(json: bool) -> Lines {
        Lines { json }
    }

    /// Something about the watch itself.
    pub(super) fn say(&self, now: Utc, text: &str) -> Result<(), Stop> {
        if self.json {
            return line(&json!({ "at": now, "kind": "watch", "text": text }));
        }
        print(&format!("{} {text}\n", now.clock()))
    }

    /// Something that happened in an incident.
    pub(super) fn entry(&self, incident: &Incident, entry: &Entry, steps: &[Step]) -> Result<(), Stop> {
        if self.json {
            let mut told = serde_json::to_value(entry).unwrap_or_default();
            told["incident"] = Value::String(incident.id.clone());
            told["state"] = Value::String(incident.state().to_owned());
            return line(&told);
        }
        let mut text = format!(
            "{} {} {}\n",
            entry.at.clock(),
            incident.severity.name(),
            entry.line()
        );
        if let What::Opened { found: Some(_) } | What::Turned { .. } = &entry.what {
            text += &why(incident);
            text += &what_to_do(steps);
        }
        if matches!(entry.what, What::Closed { .. }) {
            let _ = writeln!(text, "         {}", cost(incident));
        }
        print(&text)
    }

    /// What is the matter now, for who asked once.
    pub(super) fn verdict(&self, course: &Course, steps: &[Step]) -> Result<(), Stop> {
        if self.json {
            let told =
                json!({ "kind": "verdict", "incident": course.open(), "diagnosis": course.diagnosis() });
            return line(&told);
        }
        let Some(incident) = course.open() else {
            let text = match course.diagnosis() {
                Some(diagnosis) if diagnosis.is_healthy() => "nothing is the matter\n",
                Some(_) => "something may be the matter, and not for long enough to be sure; look again\n",
                None => "there was too little to judge\n",
            };
            return print(text);
        };
        print(&format!(
            "{}\n{}{}",
            verdict(incident),
            why(incident),
            what_to_do(steps)
        ))
    }
}

/// An incident in one line.
pub(super) fn verdict(incident: &Incident) -> String {
    let sure = incident
        .found
        .as_ref()
        .map(|found| format!(" ({:.0}% sure)", found.confidence * 100.0));
    let lasts = incident.closed.unwrap_or(incident.seen).since_s(incident.began);
    format!(
        "{} {}{}, {}, for {}",
        incident.severity.name(),
        incident.title(),
        sure.unwrap_or_default(),
        incident.state(),
        lasting(lasts)
    )
}

/// What it has cost, in one line.
pub(super) fn cost(incident: &Incident) -> String {
    let tally = &incident.tally;
    if !tally.is_measured() {
        return "how callers fare is unknown: nobody measures it".to_owned();
    }
    format!(
        "{:.0} of {:.0} calls had no right answer in time, {:.0} of them beyond what is usual",
        tally.lost(),
        tally.asked,
        tally.lost_beyond(&incident.usual)
    )
}

fn why(incident: &Incident) -> String {
    let Some(found) = &incident.found else {
        return String::new();
    };
    let mut text = format!("         {}\n", found.failure.what());
    for fact in &found.pro {
        let _ = writeln!(text, "         + {fact}");
    }
    for fact in &found.contra {
        let _ = writeln!(text, "         - {fact}");
    }
    text
}

/// A step in one line: what, and how.
pub(super) fn step(step: &Step) -> String {
    match &step.how {
        How::Seawall(_) => format!("{}: seawall diagnose … --apply {}", step.title, step.id.name()),
        How::Person(commands) => match commands.first() {
            Some(command) => format!("{}: {command}", step.title),
            None => step.title.to_owned(),
        },
    }
}

fn what_to_do(steps: &[Step]) -> String {
    let mut text = String::new();
    for (number, one) in steps.iter().take(STEPS_MAX).enumerate() {
        let _ = writeln!(text, "         {}. {}", number + 1, step(one));
    }
    text
}

fn line(told: &Value) -> Result<(), Stop> {
    print(&format!("{told}\n"))
}
