//! Every scenario that is built in, drilled one after the other, and one summary of all.

use std::path::{Path, PathBuf};

use seawall_drill::kept::Kept;
use seawall_drill::outcome::Verdict;
use seawall_report::drill::summary::{self, Row};

use super::doing::Hands;
use super::plan::{Outputs, Plan, complain, worst, writable};
use super::{Doing, told};
use crate::builtin::SCENARIOS;
use crate::output::{print, write_file};
use crate::stop::Stop;

/// Where the summary and the pages of the drills go.
enum Pages {
    /// The summary alone.
    One(PathBuf),
    /// A folder with the summary and a page for each scenario.
    Folder(PathBuf),
}

impl Pages {
    fn of(path: &Path) -> Result<Pages, Stop> {
        let is_page = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("html"));
        if is_page && !path.is_dir() {
            writable(path)?;
            return Ok(Pages::One(path.to_owned()));
        }
        let made = std::fs::create_dir_all(path).map_err(|error| error.to_string());
        made.map_err(|why| {
            let what = format!("the folder {} cannot be made: {why}", path.display());
            Stop::Input(what, "nothing was started".to_owned())
        })?;
        writable(&path.join("index.html"))?;
        Ok(Pages::Folder(path.to_owned()))
    }

    fn summary(&self) -> PathBuf {
        match self {
            Pages::One(path) => path.clone(),
            Pages::Folder(folder) => folder.join("index.html"),
        }
    }
}

/// Drills all, and says how they went; the worst status.
pub(super) fn run(doing: &Doing) -> Result<u8, Stop> {
    let plans = plans(doing)?;
    let pages = doing.report.as_deref().map(Pages::of).transpose()?;
    if let Some(path) = &doing.table {
        writable(path)?;
    }
    let outputs = Outputs::without_files(doing)?;
    let hands = Hands::new(doing)?;
    let mut rows = Vec::new();
    let mut verdicts = Vec::new();
    let mut last: Option<Kept> = None;
    let count = plans.len();
    for (place, plan) in plans.iter().enumerate() {
        if hands.is_stopped() {
            break;
        }
        complain(&format!("[{}/{count}] {}", place + 1, plan.name));
        let kept = scenario(&hands, plan, &mut rows, &mut verdicts);
        if kept.variants.is_empty() {
            continue;
        }
        outputs.keep(&kept, &plan.journal(&kept, doing));
        if let Some(Pages::Folder(folder)) = &pages {
            let page = format!("{}.html", plan.name);
            let drill = told::drill(&plan.scenarios(), &kept);
            write_file(&folder.join(&page), |out| {
                out.write_all(seawall_report::drill::html(&drill).as_bytes())
            })?;
            rows.iter_mut()
                .filter(|row| row.scenario == plan.name)
                .for_each(|row| row.page = Some(page.clone()));
        }
        last = Some(kept);
        // What is known is worth having when the rest is never done.
        write(doing, pages.as_ref(), &rows, last.as_ref())?;
    }
    write(doing, pages.as_ref(), &rows, last.as_ref())?;
    print(&summary::text(&rows))?;
    Ok(worst(verdicts))
}

/// One scenario: what cannot be drilled, or fails, is a row too, and the next one is drilled all the same.
fn scenario(hands: &Hands, plan: &Plan, rows: &mut Vec<Row>, verdicts: &mut Vec<Verdict>) -> Kept {
    let mut kept = super::doing::before(plan);
    for (what, scenario) in &plan.variants {
        if hands.is_stopped() {
            break;
        }
        let mut row = Row {
            scenario: plan.name.clone(),
            title: scenario.title.clone(),
            variant: scenario.variant.clone(),
            ..Row::default()
        };
        match hands.variant(plan, what, scenario) {
            Ok(drilled) => {
                row.told = told::told(&drilled);
                verdicts.push(drilled.outcome.verdict);
                complain(&format!(
                    "{}, {}: {}: {}",
                    row.scenario, row.variant, row.told.verdict, row.told.why
                ));
                kept.variants.push(drilled);
            }
            Err(stop) => {
                // It could not be brought to where anything could have been injected.
                verdicts.push(Verdict::BaselineUnmet);
                row.refused = Some(stop.brief());
                complain(&format!(
                    "{}, {}: not drilled: {}",
                    row.scenario,
                    row.variant,
                    stop.brief()
                ));
            }
        }
        rows.push(row);
    }
    kept.ended = crate::live::wall_clock();
    kept
}

/// All that is built in and says how it is drilled.
fn plans(doing: &Doing) -> Result<Vec<Plan>, Stop> {
    let mut plans = Vec::new();
    for (name, text) in SCENARIOS {
        // Whoever has no `[drill]` was not made for one.
        if text.lines().any(|line| line.trim() == "[drill]") {
            plans.push(Plan::of(doing, name)?);
        }
    }
    Ok(plans)
}

fn write(doing: &Doing, pages: Option<&Pages>, rows: &[Row], last: Option<&Kept>) -> Result<(), Stop> {
    let Some(kept) = last else { return Ok(()) };
    let place = told::where_and_when_all(kept);
    if let Some(pages) = pages {
        write_file(&pages.summary(), |out| {
            out.write_all(summary::html(rows, &place).as_bytes())
        })?;
    }
    if let Some(path) = &doing.table {
        let command = "seawall drill --all --table docs/drills.md";
        let text = summary::markdown(rows, command, &format!("{place}."));
        write_file(path, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}
