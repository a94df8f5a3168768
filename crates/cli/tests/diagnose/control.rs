//! What is left alone beside what is changed: what gets better there as well was not the step's doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::stage::{Folder, Started, diagnose, started};
use crate::world::{Gateway, Readers, Reply, World};

const MS: Duration = Duration::from_millis(1);

/// An origin that fails until it is told to be well, two gateways before it, and readers of each.
struct Pair {
    folder: Folder,
    _world: World,
    well: Arc<AtomicBool>,
    gateways: [Gateway; 2],
    readers: [Readers; 2],
}

impl Pair {
    fn new(name: &str) -> Pair {
        let (folder, world) = (Folder::new(name), World::new());
        let well = Arc::<AtomicBool>::default();
        let is = Arc::clone(&well);
        let upstream = world.upstream(move |_| {
            if is.load(Ordering::Relaxed) {
                Reply::right(5 * MS, "max-age=600")
            } else {
                Reply::failing(5 * MS)
            }
        });
        let gateways = ["changed", "alone"].map(|name| {
            let text = format!(
                "[upstream.app]\naddresses = [\"{upstream}\"]\n[protect]\norigin_breaker = {{ on = false }}\n\
                 retry = {{ attempts = 5, backoff = \"1ms\", budget = \"none\" }}\n"
            );
            Gateway::of(&folder, name, &text)
        });
        let ask = |gateway| world.readers(gateway, 30, 500 * MS, |number| format!("/{number}"));
        let readers = [ask(&gateways[0]), ask(&gateways[1])];
        for readers in &readers {
            readers.wait_until_lost(0.9);
        }
        Pair {
            folder,
            _world: world,
            well,
            gateways,
            readers,
        }
    }

    /// Begins to apply a step to the first gateway, which calls for less work of the origin and mends nothing.
    fn apply(&self, more: &[&str]) -> Started {
        let log = self.folder.0.join("actions.jsonl").display().to_string();
        let (admin, page) = (self.gateways[0].url(), self.readers[0].url());
        let own = [
            &admin,
            &page,
            "--gateway",
            &admin,
            "--apply",
            "retry-budget",
            "--yes",
            "--audit-log",
            &log,
        ];
        let quick = ["--for", "2s", "--every", "500ms", "--settle", "1500ms"];
        started(&[own.as_slice(), &quick, more].concat())
    }
}

#[test]
fn a_step_is_not_credited_with_what_got_better_by_itself() {
    let pair = Pair::new("itself");
    let control = [pair.gateways[1].url(), pair.readers[1].url()];
    let mut applied = pair.apply(&["--control", &control[0], "--control", &control[1]]);
    applied.wait_for("done: ");
    pair.well.store(true, Ordering::Relaxed);
    let (text, status) = applied.ended();
    assert!(text.contains("it made no difference: "), "{text}");
    assert!(text.contains("and so it is where nothing was done"), "{text}");
    assert!(text.contains("taken back: "), "{text}");
    assert_eq!(status, 1, "{text}");
}

#[test]
fn a_step_is_credited_with_what_is_better_where_it_was_done() {
    let pair = Pair::new("credited");
    let control = [pair.gateways[1].url(), pair.readers[1].url()];
    let applied = pair.apply(&["--control", &control[0], "--control", &control[1]]);
    let (text, status) = applied.ended();
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(status, 0, "{text}");
}

#[test]
fn what_a_control_is_and_is_not() {
    for (more, said) in [
        (&["--control", "http://127.0.0.1:1"][..], "--apply"),
        (&["--apply", "coalesce", "--control", "app"][..], "error: "),
        (
            &["--apply", "coalesce", "--idle", "2s"][..],
            "it is for drop-idle-clients",
        ),
        (
            &["--apply", "drop-idle-clients", "--idle", "10ms"][..],
            "at least a second",
        ),
    ] {
        let (text, status) = diagnose(&[&["redis://127.0.0.1:1", "--for", "1s"], more].concat());
        assert!(text.contains(said), "{text}");
        assert_eq!(status, 2, "{text}");
    }
}
