//! Many drills in one table: as text, as a page, and as a part of a document in Markdown.

use std::fmt::Write;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Diagnosed, Mood, Told, diagnosed, error_said};
use crate::wording::{clock, cut, right, seconds, width};

const STYLE: &str = include_str!("../page/page.css");
const DRILL_STYLE: &str = include_str!("../page/drill.css");

/// One variant of one scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// What happens in it.
    pub title: String,
    /// The variant's name.
    pub variant: String,
    /// What became of it; nothing when it was not drilled, and why is in `refused`.
    pub told: Told,
    /// Why it was not drilled.
    pub refused: Option<String>,
    /// A page with its curves, relative to the summary.
    pub page: Option<String>,
}

impl Row {
    fn mood(&self) -> Mood {
        if self.refused.is_some() {
            Mood::Unclear
        } else {
            self.told.mood
        }
    }

    fn verdict(&self) -> &str {
        if self.refused.is_some() {
            "not drilled"
        } else {
            &self.told.verdict
        }
    }

    fn why(&self) -> &str {
        self.refused.as_deref().unwrap_or(&self.told.why)
    }

    fn errors(&self) -> [String; 2] {
        match self.refused {
            Some(_) => ["–".to_owned(), "–".to_owned()],
            None => [error_said(self.told.errors.0), error_said(self.told.errors.1)],
        }
    }

    fn diagnosed(&self) -> Option<&Diagnosed> {
        self.told.diagnosed.as_ref().filter(|_| self.refused.is_none())
    }

    /// What a diagnosis said, and after how long.
    fn said(&self) -> [String; 2] {
        match self.diagnosed() {
            None => ["–".to_owned(), "–".to_owned()],
            Some(one) => {
                let [detected, ..] = one.times();
                [one.said(), detected]
            }
        }
    }

    fn took(&self) -> String {
        if self.refused.is_some() {
            "–".to_owned()
        } else {
            seconds(self.told.took_s)
        }
    }
}

/// How many held, and how long all of it took, in one line.
pub fn headline(rows: &[Row]) -> String {
    let held = rows.iter().filter(|row| row.mood() == Mood::Good).count();
    let well = rows
        .iter()
        .filter(|row| row.told.predicted_well == Some(true))
        .count();
    let compared = rows
        .iter()
        .filter(|row| row.told.predicted_well.is_some())
        .count();
    let took: f64 = rows.iter().map(|row| row.told.took_s).sum();
    let minutes = if took >= 60.0 { clock(took) } else { seconds(took) };
    let said = diagnosed::headline(rows.iter().filter_map(Row::diagnosed));
    let said = said.map_or_else(String::new, |said| format!("; {said}"));
    format!(
        "{held} of {} drills held; {well} of {compared} predictions within 15%; {minutes} in all{said}",
        rows.len()
    )
}

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut lines = vec![headline(rows)];
    let longest = |of: fn(&Row) -> &str| rows.iter().map(|row| width(of(row))).max().unwrap_or(0).min(28);
    let (scenario, variant) = (longest(|row| &row.scenario), longest(|row| &row.variant));
    let verdict = longest(Row::verdict);
    let head = ["goodput", "load", "took", "found"]
        .map(|title| right(title, 8))
        .concat();
    lines.push(format!(
        "  {:scenario$}  {:variant$}  {:verdict$}{head}",
        "", "", ""
    ));
    for row in rows {
        let [goodput, load] = row.errors();
        let [said, after] = row.said();
        let numbers = [goodput, load, row.took(), after]
            .map(|cell| right(&cell, 8))
            .concat();
        lines.push(format!(
            "{} {:<scenario$}  {:<variant$}  {:<verdict$}{numbers}  {said}",
            row.mood().mark(),
            cut(&row.scenario, 28),
            cut(&row.variant, 28),
            row.verdict(),
        ));
    }
    for row in rows.iter().filter(|row| row.mood() != Mood::Good) {
        lines.push(format!(
            "{} {}, {}: {}",
            row.mood().mark(),
            row.scenario,
            row.variant,
            row.why()
        ));
    }
    lines.join("\n") + "\n"
}

/// One page that needs nothing else.
pub fn html(rows: &[Row], where_and_when: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Drills · Seawall" }
                style { (PreEscaped(STYLE)) (PreEscaped(DRILL_STYLE)) }
            }
            body {
                header { div { h1 { "Drills" } p.about { (headline(rows)) "." } } }
                main { (table(rows)) }
                footer { p { (where_and_when) } }
            }
        }
    };
    page.into_string()
}

fn table(rows: &[Row]) -> Markup {
    html! {
        section {
            div.scroll {
                table.summary {
                    thead { tr {
                        th { "scenario" } th { "variant" } th { "verdict" }
                        th.figure { "error of goodput" } th.figure { "error of origin load" } th.figure { "took" }
                        th { "diagnosed as" } th.figure { "after" } th { "why" }
                    } }
                    tbody {
                        @for (place, row) in rows.iter().enumerate() {
                            @let first = place == 0 || rows[place - 1].scenario != row.scenario;
                            tr .first[first] {
                                th scope="row" { @if first { span title=(row.title) { (row.scenario) } } }
                                td { @if let Some(page) = &row.page { a href=(page) { (row.variant) } } @else { (row.variant) } }
                                td class={ "mark " (row.mood().class()) } { (row.mood().mark()) " " (row.verdict()) }
                                @for (error, value) in row.errors().iter().zip([row.told.errors.0, row.told.errors.1]) {
                                    td.figure .bad[value > super::ERROR_MARKED] { (error) }
                                }
                                td.figure { (row.took()) }
                                @let [said, after] = row.said();
                                td .off[row.diagnosed().is_some_and(|one| !one.right)] { (said) }
                                td.figure { (after) }
                                td.why { (row.why()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A document: the table of all, and below it each drill, phase by phase, predicted against measured.
pub fn markdown(rows: &[Row], command: &str, where_and_when: &str) -> String {
    let mut text = format!(
        "# Drills, predicted and measured\n\nWritten by `{command}`. {where_and_when}\n\n{}.\n\n\
         The error is the distance between predicted and measured as a share of what is at stake: of all that is asked for, for\n\
         goodput; for the load on the origin, of the larger of what was predicted in the phase and what it normally has; for\n\
         times, of what was predicted. How a drill is judged is in [the guide](drill.md).\n\n\
         | scenario | variant | verdict | mean error of goodput | mean error of origin load | took |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        headline(rows)
    );
    for row in rows {
        let [goodput, load] = row.errors();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {goodput} | {load} | {} |",
            row.scenario,
            row.variant,
            row.verdict(),
            row.took()
        );
    }
    text += &told_apart(rows);
    for row in rows.iter().filter(|row| !row.told.lines.is_empty()) {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n## {}, {}\n\n{}.\n\n",
            row.scenario,
            row.variant,
            cell(&row.told.why)
        );
        text += "| phase | what | predicted | measured | error |\n| --- | --- | --- | --- | --- |\n";
        for line in &row.told.lines {
            let phase = row.told.phases.get(line.phase);
            let phase = phase.map_or_else(String::new, |(name, from, to)| {
                format!("{name}, {} to {}", clock(*from), clock(*to))
            });
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {} of {} | {} | {} | {} |",
                cell(&phase),
                line.measure,
                line.of,
                line.said(line.predicted),
                line.said(line.measured),
                line.error_said()
            );
        }
    }
    text
}

/// What a diagnosis says of each drill, as a table.
fn told_apart(rows: &[Row]) -> String {
    let Some(headline) = diagnosed::headline(rows.iter().filter_map(Row::diagnosed)) else {
        return String::new();
    };
    let mut text = format!(
        "\n## Diagnosed\n\n{headline}.\n\nOf each drill the diagnosis sees what a prober and the metrics of the system tell, once a second, and not what was\n\
         done. Times are real seconds from what was done first; mitigated is less than half of the worst loss, stable fewer than one\n\
         call in twenty lost, recovered nothing any more. They come with the system's own protections and the end of the\n\
         failure, which nobody hurried: see [the guide](diagnose.md).\n\n\
         | scenario | variant | what was done | diagnosed as | detected | mitigated | stable | recovered | first step |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let Some(one) = row.diagnosed() else { continue };
        let [detected, mitigated, stable, recovered] = one.times();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{} | {detected} | {mitigated} | {stable} | {recovered} | {} |",
            row.scenario,
            row.variant,
            one.truth.join(" or "),
            one.said(),
            if one.false_alarm { ", too early" } else { "" },
            one.step.as_deref().unwrap_or("")
        );
    }
    text
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}
