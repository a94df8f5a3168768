//! The report as one page that needs nothing else: no network, no server, no other file.
//!
//! All words and tables are in the page itself, so it can be read without JavaScript; the script only draws the
//! curves from the data that the page carries. It says the verdict first.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::data;
use crate::digest::{Fate, goodput_ratio};
use crate::phase::extent;
use crate::story::{Mark, Story};
use crate::table::rows;
use crate::text::{foot, played, refused};
use crate::wording::{clock, counted};
use crate::{Report, Variant};

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// Width and height of the small curve on a card.
const SPARK: (f64, f64) = (240.0, 40.0);

/// The page. It is made of what the report holds, every word of it escaped.
pub fn html(report: &Report) -> String {
    let story = Story::of(report);
    // Within a script element only `<` could end the data early.
    let data = data(report).to_string().replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) " · Seawall" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(report))
                main {
                    (verdict(&story))
                    (missed(&story))
                    (help(&story))
                    (curves())
                    (timeline(&story))
                    (numbers(&story))
                    (met(&story))
                }
                footer {
                    p { (foot(report)) }
                    @for line in played(report).into_iter().chain(refused(report)) {
                        p { (sentence_case(&line)) "." }
                    }
                }
                script id="data" type="application/json" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn head(report: &Report) -> Markup {
    html! {
        header {
            div {
                h1 { (report.title) }
                p.about { (report.about) }
            }
            button #theme type="button" hidden aria-label="switch between light and dark" { "◐" }
        }
    }
}

fn verdict(story: &Story) -> Markup {
    let met = story.report.is_met();
    html! {
        section aria-labelledby="verdict" {
            h2 #verdict {
                span .mark .good[met] .bad[!met] aria-hidden="true" { @if met { "✓" } @else { "✗" } }
                " " (sentence_case(&story.verdict()))
            }
            div.cards {
                @for (index, variant) in story.report.variants.iter().enumerate() {
                    (card(story, index, variant))
                }
            }
        }
    }
}

fn card(story: &Story, index: usize, variant: &Variant) -> Markup {
    let fate = match story.digests.get(index).map(crate::digest::Digest::fate) {
        Some(Fate::Stands) => "stands",
        Some(Fate::Degrades) => "degrades",
        _ => "collapses",
    };
    html! {
        article class={ "card " (fate) } {
            h3 { (variant.name) }
            @if !variant.about.is_empty() { p.about { (variant.about) } }
            p.fate { (story.fate(index)) }
            (spark(story, variant))
            ul { @for phrase in story.phrases(index) { li { (phrase) } } }
            @if !variant.judged.is_empty() {
                p.score .good[variant.is_met()] .bad[!variant.is_met()] {
                    @if variant.is_met() { "✓ " } @else { "✗ " } (Story::score(variant))
                }
            }
        }
    }
}

/// Goodput over the whole run, small, with the fault shaded.
fn spark(story: &Story, variant: &Variant) -> Markup {
    let Some(record) = variant.records.first() else {
        return html! {};
    };
    let ratio = goodput_ratio(story.report, record);
    let stride = (ratio.len() / 160).max(1);
    let count = ratio.len().max(1) as f64;
    let mut path = String::new();
    for (point, values) in ratio.chunks(stride).enumerate() {
        let mean = crate::estimate::Estimate::of(values.iter().copied()).mean;
        if mean.is_finite() {
            let x = (point * stride) as f64 / count * SPARK.0;
            let y = (1.0 - mean.clamp(0.0, 1.0)) * (SPARK.1 - 2.0) + 1.0;
            path += if path.is_empty() { "M" } else { "L" };
            path += &format_pair(x, y);
        }
    }
    let (from, to) = extent(story.report);
    let place = |at: f64| (at - from) / (to - from).max(1e-9) * SPARK.0;
    let (start, end) = (place(story.phases.during.from), place(story.phases.during.to));
    html! {
        svg.spark viewBox={"0 0 " (SPARK.0) " " (SPARK.1)} preserveAspectRatio="none" role="img"
            aria-label={"goodput of " (variant.name) " over the run"} {
            @if story.phases.faulty {
                rect.during x=(one_digit(start)) y="0" width=(one_digit(end - start)) height=(SPARK.1) {}
            }
            path d=(path) {}
        }
    }
}

fn missed(story: &Story) -> Markup {
    let missed = story.missed();
    html! {
        @if !missed.is_empty() {
            section {
                h2 { "Not met" }
                ul.judged {
                    @for (variant, judged) in missed {
                        li {
                            span.mark.bad aria-hidden="true" { "✗" } " "
                            strong { (variant.name) } ": " (judged.that)
                            div.detail {
                                "wanted " (judged.wanted) "; seen " strong { (judged.seen) } " · "
                                (judged.metric) " of " (judged.of) ", "
                                (clock(judged.over.0)) " to " (clock(judged.over.1))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn help(story: &Story) -> Markup {
    let help = story.help();
    html! {
        @if !help.is_empty() {
            section {
                h2 { "What would have helped" }
                ul { @for line in help { li { (line) } } }
            }
        }
    }
}

fn curves() -> Markup {
    html! {
        section #curves aria-labelledby="curves-title" {
            h2 #curves-title { "Curves" }
            noscript { p { "The curves need JavaScript. The verdict, the timeline and all numbers are on this page without it." } }
            div #tools hidden {}
            div #charts {}
            div #readout role="status" hidden {}
        }
    }
}

fn timeline(story: &Story) -> Markup {
    let moments = story.moments();
    let mut tags = tags(story.report);
    html! {
        @if !moments.is_empty() {
            section {
                h2 { "What happened when" }
                div.scroll {
                    table.timeline {
                        thead { tr { th { "clock" } th { "" } th { "what" } th { "variants" } } }
                        tbody {
                            @for moment in moments {
                                tr class=(class_of(moment.mark)) {
                                    td.clock { (clock(moment.at)) }
                                    td.kind {
                                        @if let Some(tag) = tag_of(&mut tags, &moment) { span.tag { (tag) } }
                                        @else { (moment.mark.word()) }
                                    }
                                    td { (moment.what) }
                                    td.whom { (story.whom(&moment)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The tags that the curves give to what was done: its start in milliseconds, whether a fault, and the tag.
fn tags(report: &Report) -> Vec<(i64, Mark, String)> {
    let (mut faults, mut actions) = (0, 0);
    let tag = |happening: &crate::Happening| {
        let (count, letter, mark) = match happening.kind {
            crate::HappeningKind::Fault => (&mut faults, "F", Mark::Fault),
            crate::HappeningKind::Action => (&mut actions, "A", Mark::Action),
        };
        *count += 1;
        (
            (happening.from * 1e3).round() as i64,
            mark,
            format!("{letter}{count}"),
        )
    };
    report.happenings.iter().map(tag).collect()
}

fn tag_of(tags: &mut Vec<(i64, Mark, String)>, moment: &crate::story::Moment) -> Option<String> {
    let at = (moment.at * 1e3).round() as i64;
    let index = tags
        .iter()
        .position(|(from, mark, _)| *from == at && *mark == moment.mark)?;
    Some(tags.remove(index).2)
}

fn numbers(story: &Story) -> Markup {
    html! {
        section {
            h2 { "Numbers" }
            @if story.report.runs > 1 {
                p.about { "Means of " (story.report.runs) " runs, ± half of the 95% confidence interval." }
            }
            div.scroll {
                table.numbers {
                    thead {
                        tr {
                            th { "" } th { "" }
                            @for variant in &story.report.variants { th scope="col" { (variant.name) } }
                        }
                    }
                    tbody {
                        @for row in rows(story) {
                            tr .first[!row.title.is_empty()] {
                                th scope="row" { (row.title) }
                                td.phase { (row.phase) }
                                @for cell in &row.cells { td { (cell) } }
                            }
                        }
                    }
                }
            }
            @if story.phases.faulty {
                p.about {
                    @for (name, window) in story.phases.named() {
                        @if !window.is_empty() {
                            strong { (name) } " " (clock(window.from)) " to " (clock(window.to)) "  "
                        }
                    }
                }
            }
        }
    }
}

fn met(story: &Story) -> Markup {
    let met = story.met_everywhere();
    html! {
        @if !met.is_empty() {
            section {
                details open[met.len() <= 12] {
                    summary { h2 { "Met: " (counted(met.len(), "expectation", "expectations")) } }
                    ul.judged {
                        @for judged in met {
                            li {
                                span.mark.good aria-hidden="true" { "✓" } " " (judged.that)
                                div.detail { "wanted " (judged.wanted) "; seen " (judged.seen) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class_of(mark: Mark) -> &'static str {
    match mark {
        Mark::Fault => "fault",
        Mark::Action => "action",
        Mark::Bad => "worse",
        Mark::Good => "better",
    }
}

fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn format_pair(x: f64, y: f64) -> String {
    format!("{x:.1} {y:.1}")
}

fn one_digit(value: f64) -> String {
    format!("{value:.1}")
}
