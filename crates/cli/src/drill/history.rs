//! Drills that were done before: which there are, what came of one, and what changed between two.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use seawall_drill::history::{Change, Entry, History, NotFound, Sort, compare as changes};
use seawall_drill::journal::utc;
use seawall_drill::kept::Kept;
use seawall_drill::outcome::Verdict as Outcome;
use seawall_drill::verdict::Measure;

use super::plan::usual_history;
use crate::output::print;
use crate::stop::Stop;

/// Says what changed between two drills, and whether it is more than noise
#[derive(clap::Args)]
#[command(after_help = "\
A drill is named by its name in the list or a part of it, by its number there (1 is the last one), or by the file of its
journal. Variants of one name are compared; of two drills with one variant each, those.

A change is called one when the periods of the phase say so (rank sum, 99%) and it is 5% at least. That is more than a run
varies within itself; how much one run differs from the next on this machine is what several runs tell.")]
pub(crate) struct Compare {
    /// The one before
    #[arg(value_name = "DRILL")]
    first: String,
    /// The one after
    #[arg(value_name = "DRILL")]
    second: String,
    /// Where drills are kept [default: seawall/drills in `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FOLDER")]
    history: Option<PathBuf>,
}

/// Says what came of a drill by its journal: the exit status is the drill's
#[derive(clap::Args)]
#[command(after_help = "\
While there is no journal the status is 0: nothing has deviated yet. An experiment of Chaos Toolkit asks this before and
after its method.")]
pub(crate) struct Verdict {
    /// The journal
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Moves the journal aside, so that the next drill begins without one; the status is 5 when something is left behind, and 0 otherwise
    #[arg(long)]
    put_away: bool,
}

fn folder(asked: Option<&Path>) -> Result<History, Stop> {
    let folder = asked.map(Path::to_owned).or_else(usual_history);
    let folder = folder.ok_or_else(|| {
        Stop::Input(
            "there is no home to keep drills in".to_owned(),
            "name a folder with --history".to_owned(),
        )
    })?;
    Ok(History::of(&folder))
}

/// Lists the drills, the last one first.
pub(super) fn list(asked: Option<&Path>) -> Result<u8, Stop> {
    let (entries, unread) = folder(asked)?.entries();
    let mut text = String::new();
    if entries.is_empty() {
        text += "no drill is kept yet\n";
    }
    for (number, entry) in entries.iter().rev().enumerate() {
        text += &row(number + 1, entry);
    }
    for name in unread {
        // Writing to a string does not fail.
        let _ = writeln!(text, "     {name} cannot be read");
    }
    print(&text)?;
    Ok(0)
}

fn row(number: usize, entry: &Entry) -> String {
    let kept = &entry.kept;
    let verdicts: Vec<String> = kept
        .variants
        .iter()
        .map(|drilled| format!("{} {}", drilled.variant, drilled.outcome.verdict.word()))
        .collect();
    let when = utc(kept.began)[..16].replace('T', " ");
    format!(
        "{number:>4} {when}  {:<24} {}\n     {}\n",
        kept.scenario,
        verdicts.join(", "),
        entry.name
    )
}

fn found(history: &History, what: &str) -> Result<Entry, Stop> {
    history.find(what).map_err(|error| {
        let help = match error {
            NotFound::Nothing(_) => "`seawall drill --list` lists what is kept",
            NotFound::Several(..) => "write more of the name",
            _ => "name a journal that `seawall drill` wrote",
        };
        Stop::Input(error.to_string(), help.to_owned())
    })
}

/// Tells what changed.
pub(super) fn compare(asked: &Compare) -> Result<u8, Stop> {
    let history = folder(asked.history.as_deref())?;
    let (first, second) = (found(&history, &asked.first)?, found(&history, &asked.second)?);
    let changes = changes(&first.kept, &second.kept);
    if changes.is_empty() {
        return Err(Stop::Input(
            format!(
                "{} and {} have no variant in common that was measured",
                first.name, second.name
            ),
            "drill the same variants, or one variant each".to_owned(),
        ));
    }
    let mut text = format!("first   {}\nsecond  {}\n", named(&first), named(&second));
    for note in differences(&first.kept, &second.kept) {
        let _ = writeln!(text, "note: {note}");
    }
    text += &table(&changes);
    print(&text)?;
    Ok(0)
}

fn named(entry: &Entry) -> String {
    let verdicts: Vec<String> = entry
        .kept
        .variants
        .iter()
        .map(|drilled| format!("{} {}", drilled.variant, drilled.outcome.verdict.word()))
        .collect();
    format!("{}: {}", entry.name, verdicts.join(", "))
}

/// What makes the two unlike before anything was measured.
fn differences(first: &Kept, second: &Kept) -> Vec<String> {
    let mut notes = Vec::new();
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            notes.push(format!("{what} is {one} in the first and {other} in the second"));
        }
    };
    differ("the scenario", first.scenario.clone(), second.scenario.clone());
    differ("the size", first.scale.to_string(), second.scale.to_string());
    differ(
        "the share of the time",
        first.time.to_string(),
        second.time.to_string(),
    );
    differ("the seed", first.seed.to_string(), second.seed.to_string());
    differ("the machine", first.machine.clone(), second.machine.clone());
    differ("the release", first.version.clone(), second.version.clone());
    let sets = |kept: &Kept| {
        let sets: Vec<String> = kept
            .sets
            .iter()
            .map(|(path, value)| format!("{path}={value}"))
            .collect();
        if sets.is_empty() {
            "nothing".to_owned()
        } else {
            sets.join(", ")
        }
    };
    differ("what is set", sets(first), sets(second));
    notes
}

fn table(changes: &[Change]) -> String {
    let mut text = String::new();
    let mut above: Option<(&str, &str, &str, f64)> = None;
    for change in changes {
        let here = (
            change.first.as_str(),
            change.second.as_str(),
            change.phase.name.as_str(),
            change.phase.from,
        );
        if above != Some(here) {
            let variant = if here.0 == here.1 {
                here.0.to_owned()
            } else {
                format!("{} → {}", here.0, here.1)
            };
            let _ = writeln!(
                text,
                "\n{variant}: {}, {:.0} s to {:.0} s",
                here.2, change.phase.from, change.phase.to
            );
            above = Some(here);
        }
        let what = format!("{} of {}", change.measure.name(), change.of);
        let _ = writeln!(
            text,
            "  {what:<32}{:>12} →{:>12}  {:>7}  {}",
            said(change.measure, change.before),
            said(change.measure, change.after),
            ratio(change),
            word(change.sort)
        );
    }
    text
}

fn said(measure: Measure, value: f64) -> String {
    match (value.is_finite(), measure.is_time()) {
        (false, _) => "–".to_owned(),
        (true, true) => format!("{:.1} ms", value * 1e3),
        (true, false) => format!("{value:.1}/s"),
    }
}

fn ratio(change: &Change) -> String {
    let percent = (change.after / change.before - 1.0) * 100.0;
    if percent.is_finite() {
        format!("{percent:+.0}%")
    } else {
        String::new()
    }
}

fn word(sort: Sort) -> &'static str {
    match sort {
        Sort::Better => "better",
        Sort::Worse => "WORSE",
        Sort::Other => "changed",
        Sort::Noise => "noise",
        Sort::Unknown => "too short to say",
    }
}

/// Tells what came of a drill.
pub(super) fn verdict(asked: &Verdict) -> Result<u8, Stop> {
    let path = &asked.journal;
    if !path.exists() {
        print(&format!("{}: nothing was drilled yet\n", path.display()))?;
        return Ok(0);
    }
    let history = History::of(Path::new("."));
    let kept = found(&history, &path.display().to_string())?.kept;
    let mut text = String::new();
    for drilled in &kept.variants {
        let _ = writeln!(
            text,
            "{}, {}: {}: {}",
            kept.scenario,
            drilled.variant,
            drilled.outcome.verdict.word(),
            drilled.outcome.why
        );
        for left in &drilled.left {
            let _ = writeln!(text, "  not taken back: {left}");
        }
    }
    print(&text)?;
    if !asked.put_away {
        return Ok(kept.verdict().status());
    }
    let away = path.with_extension(format!("{}.json", utc(kept.began)[..19].replace([':', '-'], "")));
    std::fs::rename(path, &away).map_err(|error| {
        Stop::Failed(format!(
            "failed to move {} to {}: {error}",
            path.display(),
            away.display()
        ))
    })?;
    let left = kept
        .variants
        .iter()
        .any(|drilled| drilled.outcome.verdict == Outcome::RollbackFailed);
    Ok(if left { Outcome::RollbackFailed.status() } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_drill::verdict::Phase;

    #[test]
    fn a_change_is_told_with_what_it_is() {
        let change = |measure, before, after, sort| Change {
            first: "unprotected".to_owned(),
            second: "seawall".to_owned(),
            phase: Phase {
                name: "kill".to_owned(),
                from: 0.0,
                to: 10.0,
            },
            measure,
            of: "web".to_owned(),
            before,
            after,
            sort,
        };
        let text = table(&[
            change(Measure::Goodput, 100.0, 400.0, Sort::Better),
            change(Measure::P99, 0.25, 0.251, Sort::Noise),
            change(Measure::P50, f64::NAN, 0.001, Sort::Unknown),
        ]);
        assert_eq!(
            text,
            "\nunprotected → seawall: kill, 0 s to 10 s\n\
             \u{20} goodput of web                       100.0/s →     400.0/s    +300%  better\n\
             \u{20} p99 of web                          250.0 ms →    251.0 ms      +0%  noise\n\
             \u{20} p50 of web                                 – →      1.0 ms           too short to say\n"
        );
    }
}
