//! `seawall watch incidents`: what is kept, and what people write about it.

// Writing to a string does not fail, so what comes of it is not looked at.
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use seawall_diagnose::incident::letters::{Letter, Sender, Style, letter};
use seawall_diagnose::incident::{
    Entry, Incident, Opening, Store, StoreError, What, kpis, lasting, overall, postmortem,
};

use super::lines::{cost, verdict};
use super::{folder, wall_clock};
use crate::output::print;
use crate::stop::Stop;

/// Incidents that are kept: lists and shows them, writes letters and postmortems, takes notes
#[derive(clap::Args)]
#[command(after_help = "\
An incident is named by its name in the list, a part of it, or `last`. What is written here reaches a watch that is under way
within a period.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<Verb>,
    /// Where incidents are kept [default: seawall/watch in `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FOLDER", global = true)]
    state: Option<PathBuf>,
    /// What is read by a program
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// All of them, the last one first, and the means over them
    List,
    /// One of them: what it is, what it cost, what happened
    Show {
        /// Which
        #[arg(value_name = "INCIDENT", default_value = "last")]
        id: String,
    },
    /// Writes a letter about one, from the facts: what nobody knows stays `unknown`
    Letter {
        /// Which
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// Which letter
        #[arg(value_enum)]
        which: Which,
        /// Markdown in place of plain text
        #[arg(long)]
        markdown: bool,
        /// Whom to write to
        #[arg(long, value_name = "TEXT")]
        contact: Option<String>,
        /// When the next letter comes, or how it is watched from now on
        #[arg(long, value_name = "TEXT")]
        next: Option<String>,
    },
    /// Writes the draft of a postmortem, in Markdown
    Postmortem {
        /// Which
        #[arg(value_name = "INCIDENT", default_value = "last")]
        id: String,
    },
    /// Writes a line into its timeline
    Note {
        /// Which
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// What
        #[arg(value_name = "TEXT")]
        text: String,
        /// Who says so
        #[arg(long, value_name = "NAME", default_value = "operator")]
        by: String,
    },
    /// Writes into its timeline what was done about it
    Act {
        /// Which
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// What was done
        #[arg(value_name = "TEXT")]
        text: String,
        /// Who did it
        #[arg(long, value_name = "NAME", default_value = "operator")]
        by: String,
        /// Whether it helped [default: unknown]
        #[arg(long, value_name = "yes|no")]
        helped: Option<Helped>,
    },
    /// Closes it; it is not opened again while what it is about lasts
    Close {
        /// Which
        #[arg(value_name = "INCIDENT")]
        id: String,
        /// Nothing was the matter
        #[arg(long)]
        false_alarm: bool,
        /// Who closes it
        #[arg(long, value_name = "NAME", default_value = "operator")]
        by: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// It has begun
    Detection,
    /// How it goes
    Update,
    /// It is over
    Resolution,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Helped {
    Yes,
    No,
}

/// Does what is asked.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let folder = folder(arguments.state.as_ref())?;
    let find = |id: &str| Store::find(&folder, id).map_err(stop);
    let write = |id: &str, what: What| {
        let id = find(id)?.id;
        let incident = Store::write(&folder, &id, wall_clock(), what).map_err(stop)?;
        print(&format!(
            "{}: {}\n",
            incident.id,
            incident.timeline.last().map_or_else(String::new, Entry::line)
        ))
    };
    match arguments.what.as_ref().unwrap_or(&Verb::List) {
        Verb::List => list(&Store::look(&folder).map_err(stop)?, arguments.json)?,
        Verb::Show { id } if arguments.json => {
            let told = serde_json::to_string_pretty(&find(id)?);
            print(&format!(
                "{}\n",
                told.map_err(|error| Stop::Failed(error.to_string()))?
            ))?;
        }
        Verb::Show { id } => print(&shown(&find(id)?))?,
        Verb::Letter {
            id,
            which,
            markdown,
            contact,
            next,
        } => {
            let style = if *markdown { Style::Markdown } else { Style::Plain };
            let which = match which {
                Which::Detection => Letter::Detection,
                Which::Update => Letter::Update,
                Which::Resolution => Letter::Resolution,
            };
            let sender = Sender {
                contact: contact.as_deref(),
                next: next.as_deref(),
            };
            let incident = find(id)?;
            // Of one that was watched in another time, such as a record's, that time is now.
            let now = wall_clock().max(incident.seen);
            print(&letter(now, &incident, which, style, sender))?;
        }
        Verb::Postmortem { id } => {
            let all = Store::look(&folder).map_err(stop)?.incidents;
            print(&postmortem(&find(id)?, &all))?;
        }
        Verb::Note { id, text, by } => write(
            id,
            What::Noted {
                by: by.clone(),
                text: text.clone(),
            },
        )?,
        Verb::Act { id, text, by, helped } => {
            let helped = helped.map(|helped| helped == Helped::Yes);
            let (by, action) = (by.clone(), text.clone());
            write(
                id,
                What::Acted {
                    by,
                    action,
                    before: None,
                    after: None,
                    helped,
                },
            )?;
        }
        Verb::Close { id, false_alarm, by } => {
            if !find(id)?.is_open() && !false_alarm {
                let help =
                    "`seawall watch incidents` lists their states; --false-alarm may be said afterwards";
                return Err(Stop::Input(
                    format!("{} is closed already", find(id)?.id),
                    help.to_owned(),
                ));
            }
            write(
                id,
                What::ClosedByHand {
                    by: by.clone(),
                    false_alarm: *false_alarm,
                },
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stop(error: StoreError) -> Stop {
    match error {
        StoreError::NotOne(what) => {
            Stop::Input(what, "`seawall watch incidents` lists what is kept".to_owned())
        }
        other => Stop::Failed(other.to_string()),
    }
}

fn list(opening: &Opening, json: bool) -> Result<(), Stop> {
    if json {
        let told = serde_json::to_string_pretty(&opening.incidents);
        return print(&format!(
            "{}\n",
            told.map_err(|error| Stop::Failed(error.to_string()))?
        ));
    }
    let mut text = String::new();
    if opening.incidents.is_empty() {
        text += "no incident is kept\n";
    }
    for incident in opening.incidents.iter().rev() {
        let _ = writeln!(
            text,
            "{}  {}\n    {}\n    {}",
            incident.began.told(),
            incident.id,
            verdict(incident),
            cost(incident)
        );
    }
    if opening.bad_lines > 0 {
        let _ = writeln!(text, "{} damaged lines were left out", opening.bad_lines);
    }
    if !opening.incidents.is_empty() {
        for kpi in overall(&opening.incidents) {
            let measured = kpi.measured.as_deref().unwrap_or("unknown");
            let _ = writeln!(
                text,
                "{}: {measured} (target {}: {})",
                kpi.name,
                kpi.target,
                kpi.met.word()
            );
        }
    }
    print(&text)
}

fn shown(incident: &Incident) -> String {
    let mut text = format!("{}\n{}\n{}\n", incident.id, verdict(incident), cost(incident));
    for found in incident.beliefs() {
        let _ = writeln!(
            text,
            "\n{} ({:.0}% sure): {}",
            found.name(),
            found.confidence * 100.0,
            found.failure.what()
        );
        for fact in &found.pro {
            let _ = writeln!(text, "  + {fact}");
        }
        for fact in &found.contra {
            let _ = writeln!(text, "  - {fact}");
        }
        for what in &found.unknown {
            let _ = writeln!(text, "  ? {what} would tell more");
        }
    }
    text += "\n";
    for entry in &incident.timeline {
        let _ = writeln!(
            text,
            "{} {:>10}  {}",
            entry.at.clock(),
            lasting(entry.at.since_s(incident.began)),
            entry.line()
        );
    }
    text += "\n";
    for kpi in kpis(incident) {
        let measured = kpi.measured.as_deref().unwrap_or("unknown");
        let _ = writeln!(
            text,
            "{:<28}{measured:>12}  target {:<9} {}",
            kpi.name,
            kpi.target,
            kpi.met.word()
        );
    }
    for reason in &incident.escalate {
        let _ = writeln!(text, "escalate: {reason}");
    }
    text
}
