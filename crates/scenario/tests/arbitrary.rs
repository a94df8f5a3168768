//! Whatever comes in: nothing panics, nothing takes long, and every mistake lies within the text.

use proptest::prelude::*;
use seawall_scenario::{Document, Mistakes};

const GOOD: &str = include_str!("fixtures/redis-down.toml");

fn check(mistakes: &Mistakes) {
    assert!(!mistakes.list().is_empty());
    for mistake in mistakes.list() {
        let text = mistake.source.inner();
        assert!(
            text.get(mistake.span.clone()).is_some(),
            "{:?} is not within the text: {}",
            mistake.span,
            mistake.message
        );
    }
}

fn read(bytes: &[u8]) {
    match Document::read("arbitrary", bytes) {
        Ok(document) => {
            for variant in document.variants() {
                let scenario = document.scenario(variant, &[]).expect("checked in all variants");
                for place in scenario.places() {
                    assert_eq!(scenario.place(scenario.name(place)), Some(place));
                }
                for event in &scenario.timeline {
                    assert!(!scenario.describe(event).is_empty());
                }
                assert!(!seawall_scenario::explain(&scenario).text().is_empty());
                assert_eq!(scenario.judge(&[]).len(), scenario.expects.len());
            }
        }
        Err(mistakes) => check(&mistakes),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn arbitrary_lines(lines in proptest::collection::vec(
        "(\\[\\[?(run|client\\.a|service\\.b|cache\\.c|timeline|expect|protect\\.(breaker|ttl)|variant\\.v)\\]\\]?|[a-z_.]{1,8} = (\"[0-9a-zé%/]{0,6}\"|-?[0-9.]{1,5}|\\{ [a-z]{1,5} = [0-9] \\}|true|\\[\\]))",
        0..20,
    )) {
        read(lines.join("\n").as_bytes());
    }

    /// A good document of which a piece is cut out, doubled, or replaced by something else.
    #[test]
    fn mutated_documents(
        cuts in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..30, "[a-z0-9\"=.{}é\\[\\]\n ]{0,4}"), 1..4)
    ) {
        let mut text = GOOD.to_owned();
        for (index, length, other) in cuts {
            let mut start = index.index(text.len());
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(start) { start -= 1; }
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &other);
        }
        read(text.as_bytes());
    }

    /// Whole values replaced by other values, so that the text stays TOML and the reader is what is tried.
    #[test]
    fn mutated_values(
        line in any::<proptest::sample::Index>(),
        value in "(\"[0-9]{1,3}(ms|s|%|/s|gb|k|M)?\"|-?[0-9]{1,19}|[0-9]\\.[0-9]e[0-9]{1,3}|nan|inf|true|\\[\\]|\\{\\}|\"none\"|\"redis\"|2026-01-01)",
    ) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        let with_value: Vec<usize> = (0..lines.len()).filter(|index| lines[*index].contains(" = ")).collect();
        let line = &mut lines[with_value[line.index(with_value.len())]];
        let key = line.split(" = ").next().unwrap_or_default().to_owned();
        *line = format!("{key} = {value}");
        read(lines.join("\n").as_bytes());
    }

    #[test]
    fn arbitrary_settings(path in "[a-z0-9.é]{0,30}", value in "[a-z0-9\"{}=/%é ]{0,12}") {
        let document = Document::parse("good", GOOD).expect("it is good");
        if let Err(mistakes) = document.scenario("breaker", &[(path.as_str(), value.as_str())]) {
            check(&mistakes);
        }
    }
}

#[test]
fn deep_and_wide_documents_are_refused_in_time() {
    let deep_key = format!("{}a = 1", "a.".repeat(100_000));
    let deep_list = format!("a = {}", "[".repeat(100_000));
    let deep_table = format!("[{}a]\nb = 1", "a.".repeat(100_000));
    let deep_inline = format!("a = {}", "{ a = ".repeat(50_000));
    let keys: Vec<String> = (0..60_000).map(|index| format!("k{index} = 1")).collect();
    let wide = keys.join("\n");
    let wide_variant = format!("{GOOD}\n[variant.breaker.cache]\n{wide}");
    for text in [deep_key, deep_list, deep_table, deep_inline, wide, wide_variant] {
        check(&Document::parse("large", &text).unwrap_err());
    }
}
