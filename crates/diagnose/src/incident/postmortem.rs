//! The draft of a postmortem: what is on record, in the order in which people ask, and places for what only they know.

// Writing to a string does not fail, so what comes of it is not looked at.
use std::fmt::Write;

use super::letters::{Page, Style, count, impact};
use super::{Entry, Found, Incident, What, kpis, lasting, mttr_s, prevention};
use crate::failure::Failure;

/// The draft, in Markdown. `all` are the incidents that are kept, for the mean time to recovery.
pub fn postmortem(incident: &Incident, all: &[Incident]) -> String {
    let mut page = Page {
        text: String::new(),
        style: Style::Markdown,
    };
    page.title(&format!("Postmortem: {}", incident.title()));
    summary(&mut page, incident);
    cost(&mut page, incident);
    cause(&mut page, incident);
    timeline(&mut page, incident);
    helped(&mut page, incident);
    targets(&mut page, incident, all);
    follow_ups(&mut page, incident);
    page.text
}

fn heading(page: &mut Page, text: &str) {
    let _ = write!(page.text, "## {text}\n\n");
}

fn bullet(page: &mut Page, text: &str) {
    let text = page.plain(text);
    let _ = writeln!(page.text, "- {text}");
}

fn summary(page: &mut Page, incident: &Incident) {
    page.text += "A draft from what is on record. What is in brackets is for people to fill in.\n\n";
    let row = |page: &mut Page, name: &str, value: &str| {
        let value = page.plain(value);
        let _ = writeln!(page.text, "| {name} | {value} |");
    };
    let told = |at: Option<super::Utc>| at.map_or_else(|| "unknown".to_owned(), super::Utc::told);
    page.text += "| | |\n| --- | --- |\n";
    row(page, "Incident", &incident.id);
    row(page, "State", incident.state());
    row(page, "Severity at its worst", incident.worst.name());
    row(page, "Began", &incident.began.told());
    row(page, "Detected", &incident.opened.told());
    row(page, "Mitigated", &told(incident.mitigated()));
    row(page, "Stabilised", &told(incident.stabilised()));
    row(page, "Recovered", &told(incident.recovered));
    row(page, "Closed", &told(incident.closed));
    page.text.push('\n');
}

fn cost(page: &mut Page, incident: &Incident) {
    heading(page, "Impact");
    bullet(page, &format!("{}.", impact(incident)));
    let tally = &incident.tally;
    if tally.is_measured() {
        let beyond = tally.lost_beyond(&incident.usual);
        let good = incident
            .usual
            .good
            .map_or_else(|| "unknown".to_owned(), |good| format!("{:.2}%", good * 100.0));
        let line = format!(
            "Beyond what is usual, {} calls were lost; before it, {good} of the calls had a right answer in time.",
            count(beyond)
        );
        bullet(page, &line);
    }
    let line = match (tally.origin, tally.origin_beyond(&incident.usual)) {
        (Some(origin), Some(beyond)) => format!(
            "The origin was called {} times, {} of them beyond what is usual in that time.",
            count(origin),
            count(beyond)
        ),
        (Some(origin), None) => format!(
            "The origin was called {} times; what is usual is unknown.",
            count(origin)
        ),
        (None, _) => "How often the origin was called is unknown.".to_owned(),
    };
    bullet(page, &line);
    bullet(
        page,
        &format!("Severity: {}: {}.", incident.severity.name(), incident.reason),
    );
    page.text += "- [What users saw, and what it cost beyond requests.]\n\n";
}

fn cause(page: &mut Page, incident: &Incident) {
    heading(page, "Root cause");
    let Some(found) = incident.cause() else {
        page.text += "Unknown: nothing was found. [What it was.]\n\n";
        return;
    };
    let line = format!(
        "{} ({:.0}% sure). {}",
        found.name(),
        found.confidence * 100.0,
        found.failure.what()
    );
    page.text += &(page.plain(&line) + "\n\n");
    facts(page, "For it", &found.pro);
    facts(page, "Against it", &found.contra);
    facts(page, "Not measured, and would have told more", &found.unknown);
    let beside: Vec<String> = found
        .beside
        .iter()
        .map(|(failure, of)| format!("{failure} of {of}: {}", failure.what()))
        .collect();
    facts(page, "What followed from it, or stood beside it", &beside);
    let others: Vec<String> = incident
        .beliefs()
        .filter(|other| *other != found)
        .map(Found::name)
        .collect();
    facts(page, "What came first at other times", &others);
    page.text += "[Why it could happen; why it could reach the users.]\n\n";
}

fn facts(page: &mut Page, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(page.text, "{title}:\n\n");
    for line in lines {
        bullet(page, line);
    }
    page.text.push('\n');
}

fn timeline(page: &mut Page, incident: &Incident) {
    heading(page, "Timeline");
    page.text += "All times are UTC.\n\n| time | after | what |\n| --- | --- | --- |\n";
    let began = format!("| {} | 0 s | the first sign of it |\n", incident.began.clock());
    page.text += &began;
    for entry in &incident.timeline {
        let after = lasting(entry.at.since_s(incident.began));
        let line = page.plain(&entry.line());
        let _ = writeln!(page.text, "| {} | {after} | {line} |", entry.at.clock());
    }
    if incident.dropped > 0 {
        let _ = writeln!(page.text, "\n{} more entries were not kept.", incident.dropped);
    }
    page.text.push('\n');
}

fn helped(page: &mut Page, incident: &Incident) {
    let of = |wanted: Option<bool>| -> Vec<String> {
        let fits = |entry: &&Entry| matches!(&entry.what, What::Acted { helped, .. } if *helped == wanted);
        incident
            .actions()
            .filter(fits)
            .map(|entry| format!("{} {}", entry.at.clock(), entry.line()))
            .collect()
    };
    for (title, lines) in [
        ("What helped", of(Some(true))),
        ("What did not help", of(Some(false))),
        ("What was done, and nobody knows whether it helped", of(None)),
    ] {
        heading(page, title);
        if lines.is_empty() {
            page.text += "Nothing is on record.\n";
        }
        for line in &lines {
            bullet(page, line);
        }
        page.text.push('\n');
    }
}

fn targets(page: &mut Page, incident: &Incident, all: &[Incident]) {
    heading(page, "Targets");
    page.text += "| what | target | this time | |\n| --- | --- | --- | --- |\n";
    for kpi in kpis(incident) {
        let measured = kpi.measured.as_deref().unwrap_or("unknown");
        let _ = writeln!(
            page.text,
            "| {} | {} | {measured} | {} |",
            kpi.name,
            kpi.target.replace('<', "\\<"),
            kpi.met.word()
        );
    }
    let recovered = incident.recovered.map(|at| at.since_s(incident.began));
    let this = recovered.map_or_else(|| "unknown".to_owned(), lasting);
    let mean = mttr_s(all).map_or_else(|| "unknown".to_owned(), lasting);
    let _ = writeln!(
        page.text,
        "\nTime to recovery: {this}. The mean over the incidents that are kept (MTTR, target < 15 min): {mean}.\n"
    );
}

fn follow_ups(page: &mut Page, incident: &Incident) {
    heading(page, "Follow-ups");
    let mut told: Vec<&str> = Vec::new();
    let beside = incident
        .cause()
        .into_iter()
        .flat_map(|found| found.beside.iter().map(|(failure, _)| *failure));
    let failures: Vec<Failure> = incident
        .cause()
        .map(|found| found.failure)
        .into_iter()
        .chain(beside)
        .collect();
    for line in failures
        .into_iter()
        .flat_map(|failure| prevention(failure).iter())
    {
        if !told.contains(line) {
            told.push(line);
            let _ = writeln!(page.text, "- [ ] {line}");
        }
    }
    for kpi in kpis(incident).into_iter().filter(|kpi| kpi.met == super::Met::No) {
        let _ = writeln!(
            page.text,
            "- [ ] The target for {} was missed: find out why.",
            kpi.name
        );
    }
    page.text += "- [ ] Hold the postmortem within one business day.\n";
    page.text += "- [ ] Review patterns of access to the cache, and the thresholds of alerts.\n";
    page.text += "- [ ] [What else, who, until when.]\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_on_record() {
        let incident = super::super::tests::example();
        insta::assert_snapshot!(
            "postmortem",
            postmortem(&incident, std::slice::from_ref(&incident))
        );
    }

    #[test]
    fn without_a_finding_there_is_no_root_cause() {
        let mut incident = super::super::tests::example();
        incident.found = None;
        incident.timeline.clear();
        let text = postmortem(&incident, &[]);
        assert!(text.contains("Unknown: nothing was found."), "{text}");
        assert!(!text.contains(Failure::Hung.what()), "{text}");
    }
}
