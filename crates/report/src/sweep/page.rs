//! A sweep as one page that needs nothing else: a map for each variant.
//!
//! The maps of classes are in the page itself and can be read and printed without JavaScript. The script repaints
//! them with another figure, moves along further axes, and tells the figures of the point under the pointer or the
//! keyboard's focus.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::class::Class;
use crate::figures::Figures;
use crate::sweep::map::{MEANINGS, class_at, shares, size, told, verdict, whole_percent};
use crate::sweep::words::foot;
use crate::sweep::{Axis, Sweep};
use crate::wording::counted;

const STYLE: &str = include_str!("../page/page.css");
const MAP_STYLE: &str = include_str!("../page/sweep.css");
const SCRIPT: &str = include_str!("../page/sweep.js");

/// The figures that a map can show: column, title, unit, and whether more of it is better.
const SHOWN: [(&str, &str, &str, bool); 13] = [
    ("goodput_during", "goodput during the fault", "share", true),
    ("goodput_after", "goodput after it", "share", true),
    ("goodput_worst", "goodput at its worst", "share", true),
    ("recovery_s", "time to recover", "seconds", false),
    (
        "never_recovers_ratio",
        "share of runs that never recover",
        "share",
        false,
    ),
    ("origin_peak_per_s", "peak load on the origin", "rate", false),
    (
        "origin_peak_ratio",
        "peak load as a share of capacity",
        "share",
        false,
    ),
    (
        "p99_during_s",
        "99th percentile of the time, during",
        "seconds",
        false,
    ),
    ("hit_rate_during", "hit rate during the fault", "share", true),
    ("shed_during", "turned away during the fault", "share", false),
    ("in_flight_max", "most calls in flight", "number", false),
    ("expectations_met", "expectations met", "number", true),
    ("goodput_before", "goodput before the fault", "share", true),
];

/// The page. Every word of the sweep in it is escaped.
pub fn html(sweep: &Sweep) -> String {
    // Within a script element only `<` could end the data early.
    let data = data(sweep).to_string().replace('<', "\\u003c");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Sweep: " (sweep.title) " · Seawall" }
                style { (PreEscaped(STYLE)) (PreEscaped(MAP_STYLE)) }
            }
            body {
                header {
                    div {
                        h1 { (sweep.title) }
                        p.about { (sweep.about) }
                    }
                    button #theme type="button" hidden aria-label="switch between light and dark" { "◐" }
                }
                main {
                    (summary(sweep))
                    (maps(sweep))
                    (swept(sweep))
                }
                footer { p { (foot(sweep)) } }
                script id="data" type="application/json" { (PreEscaped(data)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn summary(sweep: &Sweep) -> Markup {
    html! {
        section aria-labelledby="verdict" {
            h2 #verdict { (verdict(sweep)) "." }
            div.bars {
                @for (variant, name) in sweep.variants.iter().enumerate() {
                    div.name { (name) }
                    div.bar role="img" aria-label={ (name) " " (told(sweep, variant)) } {
                        @for (class, share) in Class::ALL.into_iter().zip(shares(sweep, variant)) {
                            @if share > 0.0 {
                                span class=(style_of(class)) style={ "flex-grow:" (format!("{share:.4}")) } {
                                    @if share >= 0.12 { (class.sign()) " " (whole_percent(share)) }
                                }
                            }
                        }
                    }
                }
            }
            ul.key {
                @for (class, meaning) in Class::ALL.into_iter().zip(MEANINGS) {
                    li {
                        span class={ "cell " (style_of(class)) } aria-hidden="true" { (class.sign()) }
                        span { strong { (class.words()) } ": " (meaning) }
                    }
                }
            }
        }
    }
}

fn maps(sweep: &Sweep) -> Markup {
    let across = sweep.axes.first();
    let up = sweep.axes.get(1);
    html! {
        section aria-labelledby="maps-title" {
            h2 #maps-title { (if up.is_some() { "Maps" } else { "Along the axis" }) }
            p.about {
                @if let Some(axis) = across { "To the right: " strong { (axis.path) } ". " }
                @if let Some(axis) = up { "Upwards: " strong { (axis.path) } ". " }
                @for axis in sweep.axes.iter().skip(2) {
                    strong { (axis.path) } " is at "
                    span.slice data-axis=(axis.path) { (axis.values.first().map_or("", String::as_str)) } ". "
                }
            }
            div #tools hidden {}
            div #scale hidden {}
            div.maps .strips[up.is_none()] #maps {
                @for (variant, name) in sweep.variants.iter().enumerate() {
                    (map(sweep, variant, name))
                }
            }
            div #readout role="status" hidden {}
        }
    }
}

/// One variant's map: signs in a grid, the labels of the values at its edges.
fn map(sweep: &Sweep, variant: usize, name: &str) -> Markup {
    let (across, up) = size(sweep);
    let columns = sweep.axes.first().map_or(&[][..], |axis| &axis.values);
    let rows = sweep.axes.get(1).map_or(&[][..], |axis| &axis.values);
    html! {
        figure.map {
            figcaption { strong { (name) } " " span { (told(sweep, variant)) } }
            div.grid role="grid" aria-label={ "map of " (name) } data-variant=(variant)
                style={ "--across:" (across) } {
                @for row in (0..up).rev() {
                    div.row role="row" {
                        div.up role="rowheader" {
                            (if labelled(row, up) { rows.get(row).map_or("", String::as_str) } else { "" })
                        }
                        @for column in 0..across {
                            @let class = class_at(sweep, row * across + column, variant);
                            div class={ "cell " (style_of(class)) } role="gridcell"
                                tabindex=(if row + 1 == up && column == 0 { "0" } else { "-1" })
                                aria-label=(class.words()) { (class.sign()) }
                        }
                    }
                }
                div.row role="row" {
                    div.up role="columnheader" {}
                    @for column in 0..across {
                        div.across role="columnheader" .last[column + 1 == across && across > 1] {
                            @if column_labelled(column, across) {
                                span { (columns.get(column).map_or("", String::as_str)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Few enough labels that they do not run into each other.
fn labelled(index: usize, count: usize) -> bool {
    let stride = count.div_ceil(12);
    index.is_multiple_of(stride)
}

/// The first, the last, and one or two between.
fn column_labelled(index: usize, count: usize) -> bool {
    let between = if count > 8 { 2 } else { 1 };
    let is_between = (1..=between).any(|part| index == part * (count - 1) / (between + 1));
    index == 0 || index + 1 == count || is_between && count > 2
}

fn swept(sweep: &Sweep) -> Markup {
    let told = |axis: &Axis| match axis.values.as_slice() {
        [first, .., last] => format!(
            "{first} to {last}, {}",
            counted(axis.values.len(), "value", "values")
        ),
        values => values.join(", "),
    };
    html! {
        section {
            h2 { "What was swept" }
            ul {
                @for axis in &sweep.axes { li { strong { (axis.path) } ": " (told(axis)) } }
                @for setting in &sweep.settings { li { "everywhere: " (setting) } }
            }
            p.about {
                "Every point is played with the same seed, so that neighbours differ by what is swept and not by luck. "
                "All figures are in results.csv and results.parquet beside this page."
            }
        }
    }
}

/// What the script repaints from.
fn data(sweep: &Sweep) -> Value {
    let columns = |key: &str| -> Vec<Vec<Value>> {
        let of = |variant: usize| {
            let figures = (0..sweep.points()).filter_map(|point| sweep.at(point, variant));
            figures.map(|figures| short(figures.number(key))).collect()
        };
        (0..sweep.variants.len()).map(of).collect()
    };
    let classes: Vec<Vec<usize>> = (0..sweep.variants.len())
        .map(|variant| {
            let points = 0..sweep.points();
            points
                .map(|point| class_at(sweep, point, variant) as usize)
                .collect()
        })
        .collect();
    json!({
        "axes": sweep.axes.iter().map(|axis| json!({"path": axis.path, "values": axis.values})).collect::<Vec<_>>(),
        "variants": sweep.variants,
        "words": Class::ALL.map(Class::words),
        "signs": Class::ALL.map(|class| class.sign().to_string()),
        "styles": Class::ALL.map(style_of),
        "classes": classes,
        "figures": SHOWN.iter().map(|(key, title, unit, more)| json!({
            "title": title, "unit": unit, "better": more, "about": about(key), "values": columns(key),
        })).collect::<Vec<_>>(),
    })
}

fn about(key: &str) -> &'static str {
    let column = Figures::COLUMNS.iter().find(|column| column.name == key);
    column.map_or("", |column| column.about.trim())
}

/// Four significant digits are enough to look at.
fn short(value: f64) -> Value {
    let text = format!("{value:.3e}");
    let rounded = text.parse().ok().and_then(serde_json::Number::from_f64);
    rounded.map_or(Value::Null, Value::Number)
}

fn style_of(class: Class) -> &'static str {
    match class {
        Class::Holds => "holds",
        Class::Degrades => "degrades",
        Class::NeverRecovers => "never",
        Class::Ill => "ill",
    }
}
