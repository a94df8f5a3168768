//! A drill for a terminal: the verdict of each variant in one line, then what is behind it.

use super::{Drill, NOT_JUDGED, Standing, Told, error_said};
use crate::wording::{clock, cut, right, width, wrapped};

/// Columns of a number.
const CELL: usize = 11;

/// The verdict of each variant in a line: what is to be read first.
pub fn verdicts(drill: &Drill, columns: usize) -> String {
    let mut lines = Vec::new();
    let names = drill
        .report
        .variants
        .iter()
        .map(|variant| width(&variant.name))
        .max()
        .unwrap_or(0);
    let words = drill
        .told
        .iter()
        .map(|told| width(&told.verdict))
        .max()
        .unwrap_or(0);
    for (variant, told) in drill.report.variants.iter().zip(&drill.told) {
        let word = told.verdict.to_uppercase();
        let start = format!("{} {word:<words$}  {:<names$}  ", told.mood.mark(), variant.name);
        hang(&mut lines, &start, &told.why, columns.clamp(60, 160));
    }
    finished(&lines)
}

/// The whole of it, in lines no wider than `width` columns, which is held between 60 and 100.
pub fn text(drill: &Drill, width: usize) -> String {
    let columns = width.clamp(60, 100);
    let mut lines = Vec::new();
    for (variant, told) in drill.report.variants.iter().zip(&drill.told) {
        lines.push(String::new());
        let about = if variant.about.is_empty() {
            String::new()
        } else {
            format!(": {}", variant.about)
        };
        lines.extend(wrapped(&format!("{}{about}", variant.name), columns));
        one(&mut lines, told, columns);
    }
    if let Some(told) = drill.told.first().filter(|told| !told.parts.is_empty()) {
        lines.push(String::new());
        hang(&mut lines, "made of ", &told.parts.join("; "), columns);
    }
    hang(&mut lines, "", &drill.where_and_when, columns);
    finished(&lines)
}

fn one(lines: &mut Vec<String>, told: &Told, columns: usize) {
    if told.wrong.0 > 0 {
        let keys: Vec<String> = told.wrong.1.iter().map(u64::to_string).collect();
        hang(
            lines,
            "  ✗ ",
            &format!("{} wrong answers; keys: {}", told.wrong.0, keys.join(", ")),
            columns,
        );
    }
    table(lines, told, columns);
    expectations(lines, told, columns);
    if let Some(diagnosed) = &told.diagnosed {
        lines.push("  diagnosed, by what was measured alone".to_owned());
        let start = format!("    {} ", diagnosed.mark());
        hang(lines, &start, &diagnosed.sentence(), columns);
        for fact in diagnosed.course().iter().chain(&diagnosed.evidence) {
            hang(lines, "      ", fact, columns);
        }
    }
    listed(lines, "could not be done", &told.troubles, columns);
    listed(lines, "NOT TAKEN BACK", &told.left, columns);
    listed(lines, "what was seen of the faults", &told.evidence, columns);
    listed(lines, "worth less than it looks", &told.doubts, columns);
    listed(lines, "measured", &told.notes, columns);
    listed(lines, "what to do", &told.advice, columns);
}

fn table(lines: &mut Vec<String>, told: &Told, columns: usize) {
    if told.lines.is_empty() {
        return;
    }
    let cells = |cells: [&str; 3]| cells.map(|cell| right(cell, CELL)).concat();
    lines.push(format!(
        "  {:<32}{}",
        "",
        cells(["predicted", "measured", "error"])
    ));
    for (place, (name, from, to)) in told.phases.iter().enumerate() {
        let those: Vec<_> = told.lines.iter().filter(|line| line.phase == place).collect();
        if those.is_empty() {
            continue;
        }
        lines.push(format!("  {name}, {} to {}", clock(*from), clock(*to)));
        for line in those {
            let title = cut(&format!("{} of {}", line.measure, line.of), 28);
            let numbers = cells([
                &line.said(line.predicted),
                &line.said(line.measured),
                &line.error_said(),
            ]);
            let mark = if line.is_far_off() { " !" } else { "" };
            lines.push(format!("    {title:<30}{numbers}{mark}"));
        }
    }
    let (goodput, load) = told.errors;
    let well = match told.predicted_well {
        Some(true) => "within the 15% that a prediction is allowed",
        Some(false) => {
            "MORE than the 15% that a prediction is allowed; it is the prediction that is off, not the system"
        }
        None => "",
    };
    let mean = format!(
        "mean error: goodput {}, origin load {}: {well}",
        error_said(goodput),
        error_said(load)
    );
    hang(lines, "  ", &mean, columns);
    if !told.prediction.is_empty() {
        hang(lines, "  ", &told.prediction, columns);
    }
}

fn expectations(lines: &mut Vec<String>, told: &Told, columns: usize) {
    for standing in [Standing::NotMet, Standing::Met, Standing::NotJudged] {
        let those: Vec<_> = told
            .expectations
            .iter()
            .filter(|one| one.standing == standing)
            .collect();
        if those.is_empty() {
            continue;
        }
        match standing {
            Standing::NotMet => lines.push("  not met".to_owned()),
            Standing::Met => lines.push("  met".to_owned()),
            Standing::NotJudged => hang(lines, "  not judged: ", NOT_JUDGED, columns),
        }
        for one in those {
            let seen = match standing {
                Standing::Met => format!("{}: {}", one.that, one.measured),
                _ => format!(
                    "{}: measured {}, predicted {}, wanted {}",
                    one.that, one.measured, one.predicted, one.wanted
                ),
            };
            hang(lines, &format!("    {} ", standing.mark()), &seen, columns);
        }
    }
}

fn listed(lines: &mut Vec<String>, title: &str, all: &[String], columns: usize) {
    if all.is_empty() {
        return;
    }
    lines.push(format!("  {title}"));
    for one in all {
        hang(lines, "    ", one, columns);
    }
}

/// A text behind a start, its further lines under its first.
fn hang(lines: &mut Vec<String>, start: &str, text: &str, columns: usize) {
    let indent = width(start).min(columns / 2);
    for (place, line) in wrapped(text, columns.saturating_sub(indent).max(30))
        .into_iter()
        .enumerate()
    {
        lines.push(if place == 0 {
            format!("{start}{line}")
        } else {
            format!("{:indent$}{line}", "")
        });
    }
}

fn finished(lines: &[String]) -> String {
    let trimmed: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    trimmed.join("\n") + "\n"
}
