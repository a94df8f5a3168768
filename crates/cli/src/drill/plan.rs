//! What is to be drilled, and where it is told: found out, and found possible, before anything is started.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use seawall_drill::app::What;
use seawall_drill::experiment::{self, experiment};
use seawall_drill::history::{History, usual_folder};
use seawall_drill::journal::journal;
use seawall_drill::kept::Kept;
use seawall_drill::outcome::Verdict;
use seawall_drill::run::{refusals, refusals_of_this_machine};
use seawall_report::drill::Drill;
use seawall_scenario::{Document, Scenario};
use serde_json::Value;

use super::Doing;
use crate::output::{print, write_file};
use crate::simulate::variants_of;
use crate::source::document;
use crate::stop::Stop;

/// A scenario and the variants of it that are drilled.
pub(super) struct Plan {
    /// As it was typed.
    pub(super) name: String,
    /// Each variant: how it is drilled, and the scenario in the time in which it is.
    pub(super) variants: Vec<(What, Scenario)>,
}

impl Plan {
    /// What was asked for.
    pub(super) fn of(doing: &Doing, name: &str) -> Result<Plan, Stop> {
        let document = document(name)?;
        let mut variants = Vec::new();
        for variant in chosen(&document, &doing.variant)? {
            let what = what(&document, variant, doing)?;
            let scenario = what.scenario()?;
            variants.push((what, scenario));
        }
        if variants.is_empty() {
            return Err(Stop::Failed("the document has no variant to drill".to_owned()));
        }
        Ok(Plan {
            name: name.to_owned(),
            variants,
        })
    }

    /// Whether each variant can be drilled here.
    pub(super) fn judge_refusals(&self, embedded: bool) -> Result<(), Stop> {
        let program = std::env::current_exe()
            .map_err(|error| Stop::Failed(format!("failed to find out what program this is: {error}")))?;
        let mut refused = Vec::new();
        for (what, _) in &self.variants {
            let scaled = what.scaled()?;
            let mut whys = refusals(&scaled, embedded);
            if whys.is_empty() {
                whys = refusals_of_this_machine(&scaled, embedded, &program);
            }
            for why in whys {
                let line = if self.variants.len() == 1 {
                    why
                } else {
                    format!("{}: {why}", what.variant)
                };
                refused.push(line);
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let all = if refused.len() == 1 {
            format!(" {}", refused.concat())
        } else {
            format!("\n  {}", refused.join("\n  "))
        };
        Err(Stop::Input(
            format!("{} cannot be drilled here:{all}", self.name),
            "nothing was started".to_owned(),
        ))
    }

    /// What would be drilled, one line a variant.
    pub(super) fn told(&self) -> String {
        let line = |(what, scenario): &(What, Scenario)| {
            let run = &scenario.run;
            format!(
                "{}, variant {}: can be drilled here, in {}\n",
                self.name,
                what.variant,
                run.warmup + run.duration
            )
        };
        self.variants.iter().map(line).collect()
    }

    /// The scenarios, in the order in which they are drilled.
    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        self.variants
            .iter()
            .map(|(_, scenario)| scenario.clone())
            .collect()
    }

    fn experiment(&self, program: &str, journal: &str, doing: &Doing) -> Value {
        let mut more = Vec::new();
        for (option, given) in [
            ("--real", doing.real),
            ("--embedded", doing.embedded),
            ("--strict", doing.strict),
        ] {
            more.extend(given.then(|| option.to_owned()));
        }
        if let Some((what, scenario)) = self.variants.first() {
            for (path, value) in &what.sets {
                more.extend(["--set".to_owned(), format!("{path}={value}")]);
            }
            let usual = scenario.drill.scale.unwrap_or(scenario.run.scale);
            for (option, value, usual) in [
                ("--time", what.time, scenario.drill.time),
                ("--scale", what.scale, usual),
            ] {
                if (value - usual).abs() > 1e-12 {
                    more.extend([option.to_owned(), value.to_string()]);
                }
            }
        }
        let variants = self.scenarios();
        experiment(&experiment::Plan {
            program,
            name: &self.name,
            variants: &variants,
            journal,
            more: &more,
        })
    }

    /// Writes the experiment; nothing is run.
    pub(super) fn write_experiment(&self, path: &Path, doing: &Doing) -> Result<u8, Stop> {
        // A file's scenario is found from anywhere.
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let beside = format!("{stem}-journal.json");
        let experiment = self.experiment("seawall", &beside, doing);
        write_file(path, |out| writeln!(out, "{experiment:#}"))?;
        print(&format!(
            "{}: an experiment of Chaos Toolkit; `chaos validate` checks it, `chaos run` does it\n",
            path.display()
        ))?;
        Ok(0)
    }

    /// The journal of what was done.
    pub(super) fn journal(&self, kept: &Kept, doing: &Doing) -> Value {
        let path = doing.journal.as_deref().unwrap_or(Path::new("journal.json"));
        journal(
            &self.experiment("seawall", &path.display().to_string(), doing),
            kept,
        )
    }
}

fn chosen<'d>(document: &'d Document, named: &[String]) -> Result<Vec<&'d str>, Stop> {
    let asked = variants_of(document, named)?;
    if !named.is_empty() {
        return Ok(asked);
    }
    let Some(first) = asked.first() else {
        return Ok(asked);
    };
    let scenario = document.scenario(first, &[])?;
    Ok(asked
        .into_iter()
        .filter(|name| scenario.drill.knows(name))
        .collect())
}

fn what(document: &Document, variant: &str, doing: &Doing) -> Result<What, Stop> {
    let sets: Vec<(&str, &str)> = doing
        .set
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect();
    let scenario = document.scenario(variant, &sets)?;
    Ok(What {
        name: document.name().to_owned(),
        text: document.text().to_owned(),
        variant: variant.to_owned(),
        sets: doing.set.clone(),
        time: doing.time.unwrap_or(scenario.drill.time),
        scale: doing.scale.or(scenario.drill.scale).unwrap_or(scenario.run.scale),
    })
}

/// Where a drill is told and kept. All of it was tried before the drill: nobody wants to hear afterwards that there was no
/// room for what was measured.
pub(super) struct Outputs {
    report: Option<PathBuf>,
    journal: Option<PathBuf>,
    history: Option<History>,
}

impl Outputs {
    /// Finds out whether all of it can be written.
    pub(super) fn of(doing: &Doing) -> Result<Outputs, Stop> {
        for path in [&doing.report, &doing.journal].into_iter().flatten() {
            writable(path)?;
        }
        Ok(Outputs {
            report: doing.report.clone(),
            journal: doing.journal.clone(),
            history: history(doing.history.as_deref())?,
        })
    }

    /// The history alone.
    pub(super) fn without_files(doing: &Doing) -> Result<Outputs, Stop> {
        Ok(Outputs {
            report: None,
            journal: None,
            history: history(doing.history.as_deref())?,
        })
    }

    /// Keeps the drill. What cannot be kept was drilled all the same.
    pub(super) fn keep(&self, kept: &Kept, journal: &Value) {
        let Some(history) = &self.history else { return };
        if let Err(error) = history.keep(kept, journal) {
            complain(&format!("the drill is not kept: {error}"));
        }
    }

    /// Writes the files that were asked for.
    pub(super) fn write(&self, drill: &Drill, journal: &Value) -> Result<(), Stop> {
        if let Some(path) = &self.report {
            write_file(path, |out| {
                out.write_all(seawall_report::drill::html(drill).as_bytes())
            })?;
        }
        if let Some(path) = &self.journal {
            write_file(path, |out| writeln!(out, "{journal:#}"))?;
        }
        Ok(())
    }
}

/// Says on the standard error stream what is no reason to stop.
#[expect(clippy::print_stderr, reason = "a person watches")]
pub(super) fn complain(what: &str) {
    eprintln!("{what}");
}

/// Whether a file can be written here. What is there stays as it is.
pub(super) fn writable(path: &Path) -> Result<(), Stop> {
    let cannot = |why: &dyn std::fmt::Display| {
        Err(Stop::Input(
            format!("{} cannot be written: {why}", path.display()),
            "nothing was started".to_owned(),
        ))
    };
    if path.is_dir() {
        return cannot(&"it is a folder");
    }
    let there = path.exists();
    match OpenOptions::new().append(true).create(true).open(path) {
        Err(error) => cannot(&error),
        Ok(_) if there => Ok(()),
        Ok(_) => {
            // It was made for the question only.
            let _ = std::fs::remove_file(path);
            Ok(())
        }
    }
}

/// The folder of a user's drills, if there is a home.
pub(super) fn usual_history() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    usual_folder(folder("XDG_STATE_HOME"), folder("HOME"))
}

fn history(asked: Option<&Path>) -> Result<Option<History>, Stop> {
    let (folder, asked) = match (asked, usual_history()) {
        (Some(folder), _) => (folder.to_owned(), true),
        (None, Some(folder)) => (folder, false),
        (None, None) => return Ok(None),
    };
    match History::open(&folder) {
        Ok(history) => Ok(Some(history)),
        Err(error) if asked => Err(Stop::Input(
            format!("drills cannot be kept in {}: {error}", folder.display()),
            "nothing was started; name another folder with --history".to_owned(),
        )),
        Err(error) => {
            complain(&format!(
                "the drill will not be kept: {}: {error}",
                folder.display()
            ));
            Ok(None)
        }
    }
}

/// The status of several.
pub(super) fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> u8 {
    verdicts.into_iter().max().unwrap_or(Verdict::Held).status()
}
