//! The report for a terminal: verdict, what happened when, numbers, what would have helped, what was met.
//!
//! No colour and no control characters: what prints it may add those. Lines are as wide as asked, 60 to 100 columns.

use crate::story::{Moment, Story};
use crate::table::rows;
use crate::wording::{clock, counted, cut, listed, number, percent, right, width, wrapped};
use crate::{Played, Refused, Report};

/// The most lines that the timeline takes.
const MOMENTS: usize = 48;
/// The most expectations that were met and are told one by one.
const MET: usize = 12;
/// Columns of a cell of the table of numbers.
const CELL: usize = 13;
/// Columns of the title and the phase of a row of that table.
const ROW: (usize, usize) = (21, 8);

/// The report in lines no wider than `width` columns, which is held between 60 and 100.
pub fn text(report: &Report, width: usize) -> String {
    let columns = width.clamp(60, 100);
    let story = Story::of(report);
    let mut lines = head(report, columns);
    lines.extend(verdict(&story, columns));
    lines.extend(missed(&story, columns));
    lines.extend(timeline(&story, columns));
    lines.extend(numbers(&story, columns));
    lines.extend(help(&story, columns));
    lines.extend(met(&story, columns));
    lines.push(String::new());
    lines.extend(wrapped(&foot(report), columns));
    for line in played(report) {
        lines.extend(wrapped(&line, columns));
    }
    let trimmed: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    trimmed.join("\n") + "\n"
}

fn head(report: &Report, columns: usize) -> Vec<String> {
    let mut lines = wrapped(&report.title, columns);
    if !report.about.is_empty() {
        lines.extend(wrapped(&report.about, columns));
    }
    lines
}

fn verdict(story: &Story, columns: usize) -> Vec<String> {
    let mut lines = section(&format!("Verdict: {}", story.verdict()));
    let names = story
        .report
        .variants
        .iter()
        .map(|variant| width(&variant.name))
        .max();
    let name_columns = names.unwrap_or(0).min(columns / 4);
    for (index, variant) in story.report.variants.iter().enumerate() {
        let mark = if variant.is_met() { "✓" } else { "✗" };
        let name = cut(&variant.name, name_columns);
        let score = Story::score(variant);
        let mut start = format!("  {mark} {name:<name_columns$}  {}", story.fate(index));
        if !score.is_empty() {
            start += "; ";
            start += &score;
        }
        lines.push(start);
        let body = story.phrases(index).join("; ");
        lines.extend(indented(&body, name_columns + 6, columns));
    }
    for line in refused(story.report) {
        lines.extend(bulleted(&format!("– {line}"), columns));
    }
    lines
}

fn missed(story: &Story, columns: usize) -> Vec<String> {
    let missed = story.missed();
    let mut lines = Vec::new();
    if !missed.is_empty() {
        lines.extend(section("Not met"));
    }
    for (variant, judged) in missed {
        lines.extend(bulleted(&format!("✗ {}: {}", variant.name, judged.that), columns));
        let (from, to) = (clock(judged.over.0), clock(judged.over.1));
        let seen = format!("wanted {}; seen {}", judged.wanted, judged.seen);
        let over = format!("{} of {}, {from} to {to}", judged.metric, judged.of);
        lines.extend(indented(&format!("{seen} ({over})"), 6, columns));
    }
    lines
}

/// What was met is good news and stands last; it is not told at length.
fn met(story: &Story, columns: usize) -> Vec<String> {
    let met = story.met_everywhere();
    if met.is_empty() {
        return Vec::new();
    }
    let mut lines = section("Met");
    for judged in met.iter().take(MET) {
        lines.extend(bulleted(&format!("✓ {}", judged.that), columns));
    }
    if met.len() > MET {
        lines.push(format!(
            "  … and {} more, which the page of --report shows",
            met.len() - MET
        ));
    }
    lines
}

fn timeline(story: &Story, columns: usize) -> Vec<String> {
    let moments = story.moments();
    if moments.is_empty() {
        return Vec::new();
    }
    let mut lines = section("What happened when");
    let whom_columns = moments
        .iter()
        .map(|moment| width(&story.whom(moment)))
        .max()
        .unwrap_or(0)
        .min(26);
    let longest = moments.iter().map(|moment| width(&moment.what)).max();
    let what_columns = longest.unwrap_or(0).min(columns - whom_columns - 22) + 2;
    for moment in moments.iter().take(MOMENTS) {
        lines.extend(moment_lines(story, moment, whom_columns, what_columns));
    }
    if moments.len() > MOMENTS {
        lines.push(format!(
            "  … and {} more, which the page of --report shows",
            moments.len() - MOMENTS
        ));
    }
    lines
}

fn moment_lines(story: &Story, moment: &Moment, whom_columns: usize, what_columns: usize) -> Vec<String> {
    let at = clock(moment.at);
    let whom = wrapped(&story.whom(moment), whom_columns);
    let what = wrapped(&moment.what, what_columns - 2);
    let count = whom.len().max(what.len());
    let empty = String::new();
    (0..count)
        .map(|line| {
            let (at, mark) = if line == 0 {
                (at.as_str(), moment.mark.word())
            } else {
                ("", "")
            };
            let (whom, what) = (whom.get(line).unwrap_or(&empty), what.get(line).unwrap_or(&empty));
            format!("  {at:>8}  {mark:<6}  {what:<what_columns$}{whom}")
        })
        .collect()
}

fn numbers(story: &Story, columns: usize) -> Vec<String> {
    let rows = rows(story);
    let cell_columns = rows
        .iter()
        .flat_map(|row| &row.cells)
        .map(|cell| width(cell) + 2)
        .max()
        .unwrap_or(0)
        .max(CELL);
    let fits = ((columns - 2 - ROW.0 - ROW.1) / cell_columns).max(1);
    let count = story.report.variants.len();
    let mut lines = Vec::new();
    let title = if story.report.runs > 1 {
        format!("Numbers (mean of {} runs ± 95% confidence)", story.report.runs)
    } else {
        "Numbers".to_owned()
    };
    if !rows.is_empty() {
        lines.extend(section(&title));
    }
    for start in (0..count).step_by(fits) {
        let end = (start + fits).min(count);
        if start > 0 {
            lines.push(String::new());
        }
        lines.extend(column_heads(story, start, end, cell_columns));
        for row in &rows {
            let mut line = format!(
                "  {:<2$}{:<3$}",
                cut(&row.title, ROW.0 - 1),
                row.phase,
                ROW.0,
                ROW.1
            );
            for cell in row.cells.get(start..end).unwrap_or(&[]) {
                line += &right(cell, cell_columns);
            }
            lines.push(line);
        }
    }
    lines
}

/// The names of the variants over their columns, broken at hyphens where they are too long.
fn column_heads(story: &Story, start: usize, end: usize, columns: usize) -> Vec<String> {
    let names = story.report.variants.get(start..end).unwrap_or(&[]);
    let broken: Vec<Vec<String>> = names
        .iter()
        .map(|variant| {
            let spaced = variant.name.replace('-', "- ");
            wrapped(&spaced, columns - 1)
                .iter()
                .map(|line| cut(&line.replace("- ", "-"), columns - 1))
                .collect()
        })
        .collect();
    let height = broken.iter().map(Vec::len).max().unwrap_or(0);
    (0..height)
        .map(|line| {
            let mut text = " ".repeat(2 + ROW.0 + ROW.1);
            for name in &broken {
                // Short names stand at the bottom, next to their numbers.
                let skipped = height - name.len();
                let part = line.checked_sub(skipped).and_then(|line| name.get(line));
                let part = part.map_or("", String::as_str);
                text += &right(part, columns);
            }
            text
        })
        .collect()
}

fn help(story: &Story, columns: usize) -> Vec<String> {
    let help = story.help();
    if help.is_empty() {
        return Vec::new();
    }
    let mut lines = section("What would have helped");
    for line in help {
        lines.extend(bulleted(&line, columns));
    }
    lines
}

/// Which engine played what, why, and how exact that is; one sentence each. Nothing for what was no simulation.
pub(crate) fn played(report: &Report) -> Vec<String> {
    let mut told: Vec<(&Played, Vec<String>)> = Vec::new();
    for variant in &report.variants {
        let Some(played) = &variant.played else { continue };
        match told.iter_mut().find(|(known, _)| *known == played) {
            Some((_, names)) => names.push(variant.name.clone()),
            None => told.push((played, vec![variant.name.clone()])),
        }
    }
    let alone = told.len() == 1;
    told.iter()
        .map(|(played, names)| {
            let whom = if alone {
                String::new()
            } else {
                format!("{}: ", listed(names))
            };
            let Played {
                engine,
                why,
                envelope,
            } = played;
            format!("{whom}played by the {engine} engine, because {why}; {envelope}")
        })
        .collect()
}

/// Which variants were not played, and why; one sentence each.
pub(crate) fn refused(report: &Report) -> Vec<String> {
    let told = |refused: &Refused| format!("{}: not played; {}", refused.name, refused.why);
    report.refused.iter().map(told).collect()
}

/// Where the numbers come from, in one line.
pub(crate) fn foot(report: &Report) -> String {
    let requests: u64 = report.variants.iter().map(|variant| variant.requests).sum();
    let scale = if (report.scale - 1.0).abs() < 1e-12 || report.scale <= 0.0 {
        "full size".to_owned()
    } else {
        format!("{} of full size", percent(report.scale))
    };
    let runs = counted(report.runs as usize, "run", "runs");
    format!(
        "{}: {} a variant, seed {}, {scale}, {} requests, {}",
        report.file,
        runs,
        report.seed,
        number(requests as f64),
        report.engine
    )
}

fn section(title: &str) -> Vec<String> {
    vec![String::new(), title.to_owned()]
}

fn bulleted(text: &str, columns: usize) -> Vec<String> {
    let mut lines = wrapped(text, columns - 4);
    for (index, line) in lines.iter_mut().enumerate() {
        line.insert_str(0, if index == 0 { "  " } else { "    " });
    }
    lines
}

fn indented(text: &str, indent: usize, columns: usize) -> Vec<String> {
    let lines = wrapped(text, columns - indent);
    lines
        .into_iter()
        .map(|line| format!("{}{line}", " ".repeat(indent)))
        .collect()
}
