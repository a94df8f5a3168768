//! What the documentation shows is what the command does.
//!
//! With `UPDATE=1` the generated parts are written anew.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use seawall_core::record::{Kind, Metric};
use seawall_scenario::Document;
use serde_json::Value;

/// The line before the block that shows a run.
const SHOWN: &str = "<!-- the beginning of what `seawall simulate redis-down` prints -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// All pages: those at the top, and those in `docs/`.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|kind| kind == "md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    pages
}

/// The blocks of code of this language, each with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(bool, usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(of)) => open = Some((of == language, index + 2, String::new())),
            (Some(_), Some("")) => {
                if let Some((true, first, block)) = open.take() {
                    found.push((first, block));
                }
            }
            (Some((_, _, block)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

#[test]
fn the_readme_shows_a_real_run() {
    let run = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["simulate", "redis-down"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let printed = String::from_utf8(run.stdout).unwrap();
    let (verdict, _) = printed.split_once("\n\nWhat happened when").unwrap();
    let wanted = format!("{SHOWN}```text\n{verdict}\n```\n");

    let readme = text_of("README.md");
    let from = readme.find(SHOWN).unwrap();
    let until = from + readme[from..].find("\n```\n").unwrap() + "\n```\n".len();
    if updating() {
        let written = format!("{}{wanted}{}", &readme[..from], &readme[until..]);
        fs::write(root().join("README.md"), written).unwrap();
        return;
    }
    assert_eq!(
        &readme[from..until],
        wanted,
        "README.md is stale: run this test with UPDATE=1"
    );
}

#[test]
fn every_scenario_in_the_pages_is_in_order() {
    let folder = std::env::temp_dir().join(format!("seawall-docs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut checked = 0;
    for page in pages() {
        for (line, block) in blocks(&text_of(&page), "toml") {
            if !block.starts_with("title =") {
                continue;
            }
            let file = folder.join("scenario.toml");
            fs::write(&file, &block).unwrap();
            let check = Command::new(env!("CARGO_BIN_EXE_seawall"))
                .arg("check")
                .arg(&file)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&check.stderr);
            assert!(
                check.status.success(),
                "the scenario at {page}:{line} is wrong:\n{told}"
            );
            checked += 1;
        }
    }
    // A leftover folder in the temporary one hurts nobody.
    let _ = fs::remove_dir_all(&folder);
    assert!(checked >= 2, "the README and the guide each show one");
}

/// Every key of a document, and every word that is a value.
fn words(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("properties", Value::Object(fields)) => into.extend(fields.keys().cloned()),
                    ("const", Value::String(word)) => {
                        into.insert(word.clone());
                    }
                    ("enum", Value::Array(list)) => {
                        into.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    _ => {}
                }
                words(value, into);
            }
        }
        Value::Array(list) => list.iter().for_each(|schema| words(schema, into)),
        _ => {}
    }
}

#[test]
fn the_guide_names_every_word_of_the_document() {
    let schema: Value = serde_json::from_str(&text_of("schema/scenario.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    words(&schema, &mut known);
    let guide = text_of("docs/scenario.md") + &metrics();
    let told: BTreeSet<&str> = guide
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.'))
        .map(|word| word.trim_end_matches('.'))
        .collect();
    let untold: Vec<&String> = known
        .iter()
        .filter(|word| !told.contains(word.as_str()))
        .collect();
    assert!(known.len() > 150, "the schema has this many words");
    assert!(untold.is_empty(), "docs/scenario.md does not name {untold:?}");
}

/// What a row of a table of the guide spells in its first column: `restart = { each = "10s" }`, `purge`.
fn spelled(section: &str) -> Vec<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(" |").next())
        .flat_map(|cell| cell.trim_end_matches('`').split("`, `").map(str::to_owned))
        .collect()
}

#[test]
fn every_fault_and_action_can_be_written_as_the_guide_spells_it() {
    let guide = text_of("docs/scenario.md");
    let (_, system) = blocks(&guide, "toml").swap_remove(0);
    let (_, timeline) = guide.split_once("### Faults\n").unwrap();
    let (faults, rest) = timeline.split_once("### Actions\n").unwrap();
    let (actions, _) = rest.split_once("\n## ").unwrap();
    for (kind, section, least) in [("fault", faults, 30), ("action", actions, 10)] {
        let list = spelled(section);
        assert!(list.len() >= least, "the guide has this many: {list:?}");
        for example in list {
            let value = if example.contains('=') {
                format!("{{ {example} }}").replace("service.api.trips.above", "service.shop.threads")
            } else {
                format!("\"{example}\"")
            };
            let fits = ["readers", "shop", "redis", "postgres"].iter().any(|on| {
                let event = format!("[[timeline]]\nat = \"1m\"\non = \"{on}\"\n{kind} = {value}\n");
                let text =
                    format!("{system}\n{event}").replace("on = \"shop\"\naction = { set", "action = { set");
                Document::parse("guide.toml", &text).is_ok()
            });
            assert!(fits, "{kind} = {value} is not in order on any component");
        }
    }
}

/// The page of metrics, from the metrics themselves.
fn metrics() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written from the code by a test; change `crates/core/src/record.rs` and run it with `UPDATE=1`.\n\n\
         Every metric has the label `component`, and where it is measured of one node or instance, `instance`. The\n\
         column *label* is the one that it has beside these. How the kinds are read:\n\n\
         | kind | in the record and in `--series` | in an expectation |\n\
         | --- | --- | --- |\n\
         | counter | what was added in the period | as a rate per second; `sum` counts |\n\
         | gauge | what it was when the period ended | as it is |\n\
         | duration | quantiles over the period, in seconds; empty where nothing was observed | \
         `label` chooses `0.5`, `0.9` or `0.99`; the last without one |\n\
         | ratio | made from counters when it is asked for | as the ratio of sums |\n\n\
         | metric | kind | label | what it says |\n\
         | --- | --- | --- | --- |\n",
    );
    for metric in Metric::ALL {
        let kind = match metric.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Duration => "duration",
            Kind::Ratio => "ratio",
        };
        let label = metric.label().map_or(String::new(), |label| format!("`{label}`"));
        let row = format!("| `{}` | {kind} | {label} | {} |\n", metric.name(), metric.help());
        text.push_str(&row.replace("|  |", "| |"));
    }
    text
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    if updating() {
        fs::write(root().join("docs/metrics.md"), metrics()).unwrap();
    }
    assert_eq!(
        text_of("docs/metrics.md"),
        metrics(),
        "docs/metrics.md is stale: run this test with UPDATE=1"
    );
}

#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for page in pages() {
        let text = text_of(&page);
        let base = root().join(&page).parent().unwrap().to_owned();
        for piece in text.split("](").skip(1) {
            let target = piece.split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            assert!(base.join(file).exists(), "{page} links to {target}");
            followed += 1;
        }
    }
    assert!(followed > 5, "the pages link to each other");
}
