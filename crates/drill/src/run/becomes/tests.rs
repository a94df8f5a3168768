//! Every fault of the vocabulary becomes something, and the table in the documentation says what.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use seawall_core::time::Span;
use seawall_scenario::Document;

use super::*;

/// One of each.
fn faults() -> Vec<Fault> {
    let (share, add) = (0.5, Span::millis(100));
    vec![
        Fault::Kill,
        Fault::Replace,
        Fault::Hang,
        Fault::Pause,
        Fault::Latency {
            add,
            jitter: Span::ZERO,
        },
        Fault::FarRegion { add },
        Fault::Bandwidth { rate: 1e6 },
        Fault::Partition,
        Fault::Refuse,
        Fault::Reset,
        Fault::Loss { share },
        Fault::Flush,
        Fault::Expire { share },
        Fault::ExpireAt { instant: add },
        Fault::TtlIgnored,
        Fault::NeverStored,
        Fault::Corrupt { share },
        Fault::WrongType { share },
        Fault::OutOfMemory,
        Fault::TooManyClients,
        Fault::Slow { factor: 2.0 },
        Fault::Blocked { share, burst: add },
        Fault::Loading,
        Fault::ReadOnly,
        Fault::DiskFull,
        Fault::Starve { share },
        Fault::Spike { factor: 2.0 },
        Fault::HotKey { share },
        Fault::Penetration { share },
        Fault::Connections { max: 1, waits: true },
        Fault::Connections { max: 1, waits: false },
        Fault::Lock,
        Fault::SlowQuery { factor: 2.0 },
        Fault::Leak {
            after: 1,
            restart: add,
        },
        Fault::Crash { instances: None },
        Fault::Restart { each: add },
    ]
}

const PLACES: [(Place, &str); 4] = [
    (Place::Client(0), "client"),
    (Place::Cache(0), "cache"),
    (Place::Database(0), "database"),
    (Place::Service(0), "service"),
];

/// The word as the table has it.
fn spelled(fault: &Fault) -> String {
    match fault {
        Fault::Connections { waits: false, .. } => "`connections`, `waits = false`".to_owned(),
        fault => format!("`{}`", fault.word()),
    }
}

/// How it is done otherwise, as a part of a sentence.
fn otherwise(fault: &Fault, place: Place) -> String {
    let usual = becomes(fault, place, Stands::Own, true);
    let kinds: &[(Stands, &str)] = match place {
        Place::Client(_) | Place::Gateway(_) => &[],
        Place::Service(_) => &[
            (Stands::Program, "a program of one's own"),
            (Stands::Elsewhere, "`at`"),
        ],
        _ => &[(Stands::StandIn, "a stand-in"), (Stands::Elsewhere, "`at`")],
    };
    let mut parts = Vec::new();
    for (stands, name) in kinds {
        match becomes(fault, place, *stands, true) {
            Refused(_) => parts.push(format!("{name}: refused")),
            Done(how, _) if becomes(fault, place, *stands, true) != usual => {
                parts.push(format!("{name}: {how}"));
            }
            Done(..) => {}
        }
    }
    if let (Place::Database(_), Done(how, _)) = (place, becomes(fault, place, Stands::Own, false)) {
        if becomes(fault, place, Stands::Own, false) != usual {
            parts.push(format!("some nodes: {how}"));
        }
    } else if matches!(place, Place::Database(_)) {
        parts.push("some nodes: refused".to_owned());
    }
    parts.join("; ")
}

fn table() -> String {
    let mut text = String::from(
        "| fault | of a | what is done | how it is felt | elsewhere |\n| --- | --- | --- | --- | --- |\n",
    );
    for fault in faults() {
        for (place, kind) in PLACES {
            if fault.misfit(place).is_some() {
                continue;
            }
            let (how, felt) = match becomes(&fault, place, Stands::Own, true) {
                Done(how, felt) => (how, felt),
                Refused(why) => (why, "refused"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {kind} | {how} | {felt} | {} |",
                spelled(&fault),
                otherwise(&fault, place)
            );
        }
    }
    text
}

const BEGIN: &str =
    "<!-- the beginning of what a fault becomes; `crates/drill/src/run/becomes/tests.rs` writes it -->\n";
const END: &str = "<!-- the end of it -->\n";

#[test]
fn the_table_in_the_documentation_is_the_one_that_drills_go_by() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drill.md");
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the page has the beginning of the table");
    let (shown, after) = rest.split_once(END).expect("the page has its end");
    let made = format!("\n{}\n", table());
    if std::env::var_os("UPDATE").is_some() {
        let whole = format!("{before}{BEGIN}{made}{END}{after}");
        std::fs::write(&path, whole).expect("the repository can be written");
        return;
    }
    assert_eq!(shown, made, "docs/drill.md is stale: run the test with UPDATE=1");
}

#[test]
fn each_word_of_the_vocabulary_is_done_wherever_it_fits() {
    let schema = seawall_scenario::schema();
    let known: BTreeSet<&str> = faults().iter().map(Fault::word).collect();
    for word in &known {
        assert!(schema.contains(&format!("\"{word}\"")), "{word}");
    }
    assert_eq!(known.len(), 35, "a fault that is new has to be in this list");
    for fault in faults() {
        for (place, kind) in PLACES {
            let done = matches!(becomes(&fault, place, Stands::Own, true), Done(..));
            assert_eq!(
                done,
                fault.misfit(place).is_none(),
                "{} of a {kind}: what the document lets happen is done, and nothing else",
                fault.word()
            );
        }
    }
}

const SMALL: &str = r#"
title = "small"
about = "small"
[client.web]
calls = "app"
rate = "1/s"
keys = { uniform = { count = 1 } }
[service.app]
caches = ["redis", "own"]
origin = "db"
[cache.redis]
[cache.own]
kind = "local"
[database.db]
shards = 2
service_time = "1ms"
[run]
duration = "1s"
"#;

fn refused(environment: &str, on: &str, fault: &str, embedded: bool) -> Option<String> {
    let text = format!("{SMALL}\n{environment}\n[[timeline]]\nat = \"0s\"\non = {on}\nfault = {fault}\n");
    let document = Document::parse("small.toml", &text).expect("it is in order");
    let scaled = document
        .scenario("as-written", &[])
        .expect("it is in order")
        .scaled(1.0);
    refusal(&scaled, &scaled.scenario.timeline[0], embedded)
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let at = "[environment.at]\nredis = \"127.0.0.1:1\"\ndb = \"127.0.0.1:2\"";
    let run = "[environment.run.app]\ncommand = [\"./app\"]";
    for (environment, on, fault, embedded, why) in [
        ("", "\"redis\"", "\"kill\"", false, None),
        (at, "\"redis\"", "\"kill\"", false, Some("not the drill's own")),
        (at, "\"redis\"", "\"pause\"", false, None),
        (at, "\"db\"", "\"lock\"", false, Some("not the drill's own")),
        (at, "\"db\"", "\"partition\"", false, None),
        (
            run,
            "\"app\"",
            "{ leak = { after = 5 } }",
            false,
            Some("instances on the library"),
        ),
        (
            run,
            "\"redis\"",
            "\"never_stored\"",
            false,
            Some("instances on the library"),
        ),
        (run, "\"app\"", "\"kill\"", false, None),
        ("", "\"redis\"", "\"disk_full\"", true, Some("stands in")),
        (
            "",
            "\"redis\"",
            "{ corrupt = { share = 0.1 } }",
            true,
            Some("stands in"),
        ),
        ("", "\"db\"", "\"read_only\"", false, None),
        (
            "",
            "\"db\"\nnodes = [0]",
            "\"read_only\"",
            false,
            Some("all nodes of the one"),
        ),
        ("", "\"own\"", "\"flush\"", false, Some("memory of the instances")),
        (
            "",
            "\"redis\"",
            "{ blocked = { share = 0.5, burst = \"2s\" } }",
            false,
            Some("at most a second"),
        ),
    ] {
        let said = refused(environment, on, fault, embedded);
        match why {
            None => assert_eq!(said, None, "{on} {fault}"),
            Some(why) => {
                let said = said.unwrap_or_default();
                assert!(said.contains(why), "{on} {fault}: {said:?}");
            }
        }
    }
}
