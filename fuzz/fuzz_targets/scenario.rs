//! Whatever comes in as a scenario document: no panic, and every mistake lies within the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall_scenario::Document;

fuzz_target!(|bytes: &[u8]| {
    match Document::read("fuzz", bytes) {
        Ok(document) => {
            for variant in document.variants() {
                let scenario = document.scenario(variant, &[]).expect("checked in all variants");
                let _ = seawall_scenario::explain(&scenario).text();
            }
        }
        Err(mistakes) => {
            for mistake in mistakes.list() {
                assert!(mistake.source.inner().get(mistake.span.clone()).is_some());
            }
        }
    }
});
