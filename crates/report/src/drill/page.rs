//! A drill as one page that needs nothing else: the measured curves over the predicted ones.
//!
//! It is the page of a simulation with other words around its curves. Measured curves are solid; predicted ones are dashed,
//! in a band that covers all predicted runs, when there are several.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Drill, Expectation, NOT_JUDGED, Standing, Told, error_said};
use crate::Variant;
use crate::chart::data_over;
use crate::wording::{clock, seconds};

const STYLE: &str = include_str!("../page/page.css");
const DRILL_STYLE: &str = include_str!("../page/drill.css");
const SCRIPT: &str = include_str!("../page/page.js");

/// The page. Every word of the drill in it is escaped.
pub fn html(drill: &Drill) -> String {
    let predicted: Vec<&[_]> = drill.told.iter().map(|told| told.predicted.as_slice()).collect();
    // Within a script element only `<` could end the data early.
    let data = data_over(&drill.report, &predicted)
        .to_string()
        .replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (drill.report.title) " · Drill · Seawall" }
                style { (PreEscaped(STYLE)) (PreEscaped(DRILL_STYLE)) }
            }
            body {
                header {
                    div {
                        h1 { (drill.report.title) }
                        p.about { (drill.report.about) }
                    }
                    button #theme type="button" hidden aria-label="switch between light and dark" { "◐" }
                }
                main {
                    (verdict(drill))
                    (alarms(drill))
                    (advice(drill))
                    (curves())
                    (compared(drill))
                    (expectations(drill))
                    (diagnosed(drill))
                    (happened(drill))
                    (made_of(drill))
                }
                footer { p { (drill.where_and_when) } }
                script id="data" type="application/json" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn variants(drill: &Drill) -> impl Iterator<Item = (&Variant, &Told)> {
    drill.report.variants.iter().zip(&drill.told)
}

fn verdict(drill: &Drill) -> Markup {
    html! {
        section aria-label="verdict" {
            div.cards {
                @for (variant, told) in variants(drill) {
                    article class={ "card " (told.mood.class()) } {
                        h3 { (variant.name) }
                        @if !variant.about.is_empty() { p.about { (variant.about) } }
                        p.fate { (told.mood.mark()) " " (told.verdict) }
                        p { (told.why) }
                        ul {
                            @if let Some(well) = told.predicted_well {
                                li {
                                    "prediction " @if well { "right" } @else { strong { "off" } }
                                    ": mean error " (error_said(told.errors.0)) " of goodput, " (error_said(told.errors.1)) " of origin load"
                                }
                            }
                            @let judged = told.expectations.iter().filter(|one| one.standing != Standing::NotJudged).count();
                            @let met = told.expectations.iter().filter(|one| one.standing == Standing::Met).count();
                            @if judged > 0 { li { (met) " of " (judged) " expectations met" } }
                            li { "took " (seconds(told.took_s)) }
                        }
                    }
                }
            }
        }
    }
}

/// What nobody may overlook.
fn alarms(drill: &Drill) -> Markup {
    html! {
        @for (variant, told) in variants(drill) {
            @if told.wrong.0 > 0 {
                section.alarm {
                    h2 { (variant.name) ": " (told.wrong.0) " wrong answers" }
                    p { "Keys of the first: " @for key in &told.wrong.1 { code { (key) } " " } }
                }
            }
            @if !told.left.is_empty() {
                section.alarm {
                    h2 { (variant.name) ": not taken back" }
                    ul { @for left in &told.left { li { (left) } } }
                }
            }
            @if !told.troubles.is_empty() {
                section.alarm {
                    h2 { (variant.name) ": could not be done" }
                    ul { @for trouble in &told.troubles { li { (trouble) } } }
                }
            }
        }
    }
}

fn advice(drill: &Drill) -> Markup {
    let any = drill.told.iter().any(|told| !told.advice.is_empty());
    html! {
        @if any {
            section {
                h2 { "What to do" }
                ul {
                    @for (variant, told) in variants(drill) {
                        @for line in &told.advice { li { strong { (variant.name) } ": " (line) } }
                    }
                }
            }
        }
    }
}

fn curves() -> Markup {
    html! {
        section #curves aria-labelledby="curves-title" {
            h2 #curves-title { "Measured over predicted" }
            noscript { p { "The curves need JavaScript. The verdict and all numbers are on this page without it." } }
            div #tools hidden {}
            div #charts {}
            div #readout role="status" hidden {}
        }
    }
}

fn compared(drill: &Drill) -> Markup {
    html! {
        section {
            h2 { "Phase by phase" }
            div.drilled {
                @for (variant, told) in variants(drill) {
                    @if !told.lines.is_empty() {
                        div {
                            h3 { (variant.name) }
                            (phases(told))
                            p.mean {
                                "Mean error: goodput " (error_said(told.errors.0)) ", origin load " (error_said(told.errors.1)) ". "
                                (told.prediction)
                            }
                        }
                    }
                }
            }
        }
    }
}

fn phases(told: &Told) -> Markup {
    html! {
        div.scroll {
            table.compared {
                thead { tr { th {} th scope="col" { "predicted" } th scope="col" { "measured" } th scope="col" { "error" } } }
                tbody {
                    @for (place, (name, from, to)) in told.phases.iter().enumerate() {
                        @if told.lines.iter().any(|line| line.phase == place) {
                            tr.phase { th colspan="4" { (name) " " small { (clock(*from)) " to " (clock(*to)) } } }
                        }
                        @for line in told.lines.iter().filter(|line| line.phase == place) {
                            tr {
                                th scope="row" { (line.measure) " of " (line.of) }
                                td { (line.said(line.predicted)) }
                                td { (line.said(line.measured)) }
                                td .off[line.is_far_off()] { (line.error_said()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn expectations(drill: &Drill) -> Markup {
    html! {
        @for standing in [Standing::NotMet, Standing::Met, Standing::NotJudged] {
            @let all: Vec<(&Variant, &Expectation)> = variants(drill)
                .flat_map(|(variant, told)| told.expectations.iter().map(move |one| (variant, one)))
                .filter(|(_, one)| one.standing == standing)
                .collect();
            @if !all.is_empty() {
                section {
                    h2 { @match standing { Standing::NotMet => "Not met", Standing::Met => "Met", Standing::NotJudged => "Not judged" } }
                    @if standing == Standing::NotJudged { p.about { "An expectation is not judged when " (NOT_JUDGED) "." } }
                    ul.judged {
                        @for (variant, one) in all {
                            li {
                                span class={ "mark " (standing.class()) } aria-hidden="true" { (standing.mark()) } " "
                                strong { (variant.name) } ": " (one.that)
                                div.detail {
                                    "measured " strong { (one.measured) } "; predicted " (one.predicted) "; wanted " (one.wanted)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn diagnosed(drill: &Drill) -> Markup {
    let any = drill.told.iter().any(|told| told.diagnosed.is_some());
    html! {
        @if any {
            section {
                h2 { "Diagnosed, by what was measured alone" }
                ul.judged {
                    @for (variant, told) in variants(drill) {
                        @if let Some(one) = &told.diagnosed {
                            li {
                                span class={ "mark " (if one.right { "good" } else { "bad" }) } aria-hidden="true" { (one.mark()) } " "
                                strong { (variant.name) } ": " (one.sentence())
                                @if let Some(course) = one.course() { div.detail { (course) } }
                                @for fact in &one.evidence { div.detail { "+ " (fact) } }
                                @for (after, failure) in &one.later { div.detail { "after " (seconds(*after)) ": " (failure) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn happened(drill: &Drill) -> Markup {
    html! {
        section {
            h2 { "What was done" }
            div.drilled {
                @for (variant, told) in variants(drill) {
                    div {
                        h3 { (variant.name) }
                        div.scroll {
                            table.timeline {
                                tbody {
                                    @for (at, what) in &told.happened {
                                        tr { td.clock { (clock(*at)) } td { (what) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn made_of(drill: &Drill) -> Markup {
    html! {
        section {
            h2 { "What it was made of, and how well it measured" }
            div.drilled {
                @for (variant, told) in variants(drill) {
                    div {
                        h3 { (variant.name) }
                        ul.parts { @for line in told.parts.iter().chain(&told.notes) { li { (line) } } }
                        @if !told.evidence.is_empty() {
                            p.parts { "Seen of the faults, from outside:" }
                            ul.parts { @for line in &told.evidence { li { (line) } } }
                        }
                        @for line in &told.doubts { p.warn { (line) } }
                    }
                }
            }
        }
    }
}
