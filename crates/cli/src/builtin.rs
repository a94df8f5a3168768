//! The scenarios that come with the binary.

/// Name and text of each, sorted by name.
pub(crate) const SCENARIOS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// The text of the scenario of this name.
pub(crate) fn text_of(name: &str) -> Option<&'static str> {
    SCENARIOS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_scenario::Document;

    #[test]
    fn all_are_sorted_and_in_order() {
        assert!(SCENARIOS.is_sorted());
        for (name, text) in SCENARIOS {
            let document = Document::parse(name, text)
                .unwrap_or_else(|mistakes| panic!("{name}: {:?}", mistakes.list()));
            assert!(!document.title().is_empty(), "{name} says what happens");
            assert_eq!(text_of(name), Some(*text));
        }
    }
}
