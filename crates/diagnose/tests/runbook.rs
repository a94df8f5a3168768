//! What the guide says of the runbooks is what the code knows of them.

use std::fmt::Write as _;
use std::path::PathBuf;

use seawall_diagnose::runbook::{COUNTERPARTS, How, Id, catalog};

const FROM: &str = "<!-- runbook: from here on written by crates/diagnose/tests/runbook.rs -->";
const TO: &str = "<!-- runbook: up to here -->";

fn written() -> String {
    let mut text =
        String::from("| step | who | what it does | risk | back |\n| --- | --- | --- | --- | --- |\n");
    for id in Id::ALL {
        let recipe = catalog(*id);
        let who = match recipe.how {
            How::Seawall(_) => "`--apply`",
            How::Person(_) => "a person",
        };
        let _ = writeln!(
            text,
            "| `{}` | {who} | {} | {} | {} |",
            id.name(),
            recipe.does,
            recipe.risk,
            recipe.undo
        );
    }
    for runbook in ["cache failures", "cache stampede"] {
        let _ = writeln!(
            text,
            "\n### What became of the runbook \"{runbook}\"\n\n| there | here | why in another way |\n| --- | --- | --- |"
        );
        for row in COUNTERPARTS.iter().filter(|row| row.runbook == runbook) {
            let bars = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                bars(row.step),
                bars(row.here),
                bars(row.because)
            );
        }
    }
    text
}

#[test]
fn the_guide_names_every_step() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnose.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (head, rest) = page
        .split_once(FROM)
        .expect("the page has a place for the tables");
    let (old, tail) = rest.split_once(TO).expect("the tables have an end");
    let new = written();
    if old.trim() == new.trim() {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "docs/diagnose.md is stale (UPDATE=1 writes it)"
    );
    std::fs::write(&path, format!("{head}{FROM}\n\n{}\n\n{TO}{tail}", new.trim()))
        .expect("the page is written");
}
