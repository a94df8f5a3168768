//! Documents that are wrong, each with what is said of it.

use std::fmt::Write as _;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use seawall_scenario::{Document, Mistakes};

#[expect(clippy::unwrap_used, reason = "a test")]
fn render(mistakes: &Mistakes) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false);
    let mut text = format!("{mistakes}\n");
    for mistake in mistakes.list() {
        handler
            .render_report(&mut text, mistake as &dyn Diagnostic)
            .unwrap();
    }
    if mistakes.more() > 0 {
        writeln!(text, "and {} more", mistakes.more()).unwrap();
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn every_wrong_document_is_told_what_is_wrong() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wrong");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 40, "the corpus is complete");
    let mut all = String::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mistakes = Document::read(name, &bytes).expect_err(name);
        assert!(!mistakes.list().is_empty(), "{name}");
        for mistake in mistakes.list() {
            assert!(!mistake.message.is_empty(), "{name}");
            assert!(mistake.help.is_some(), "{name}: {} has no help", mistake.message);
            assert!(
                mistake.source.inner().get(mistake.span.clone()).is_some(),
                "{name}"
            );
        }
        write!(all, "=== {name}\n{}\n\n", render(&mistakes)).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn noise_is_one_clear_mistake() {
    let mut state = 1_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let draw = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(draw).collect()
    };
    for bytes in [
        noise(10_000_000),
        noise(1_000),
        b"\0\0\0".to_vec(),
        vec![b'x'; 10_000_000],
    ] {
        let mistakes = Document::read("noise", &bytes).unwrap_err();
        assert_eq!(mistakes.list().len(), 1);
        assert!(mistakes.list()[0].help.is_some());
    }
}

#[test]
fn a_flood_of_mistakes_is_cut_short() {
    let keys: String = (0..500).fold(String::new(), |mut keys, index| {
        writeln!(keys, "key{index} = 1").unwrap();
        keys
    });
    let mistakes = Document::parse("flood", &keys).unwrap_err();
    assert_eq!(mistakes.list().len(), seawall_scenario::MISTAKES_MAX);
    assert!(mistakes.more() > 0);
}
