//! How often the diagnosis is right: every scenario that comes with Seawall, every fault on a system of its own, and
//! a hundred runs in which nothing is the matter, each simulated and then diagnosed from its record alone.
//!
//! `UPDATE=1` writes the tables in `docs/diagnose.md`; without it, they must be what is found now.

mod runs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use seawall_diagnose::{Episode, Held, Settings, follow, held};
use seawall_sim::{Engine, Options, simulate};

use runs::Case;

const FROM: &str = "<!-- confusion: from here on written by crates/diagnose/tests/confusion -->";
const TO: &str = "<!-- confusion: up to here -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What was said of a run, and of which.
struct Said {
    held: Held,
    name: String,
    story: String,
}

fn listen(case: &Case) -> Said {
    let options = Options {
        seed: case.seed,
        run: 0,
        scale: case.scenario.run.scale,
        engine: Engine::Exact,
    };
    let run = simulate(&case.scenario, &options, &|_| {}).expect("the run is played");
    let record = &run.record;
    let episodes = follow(record, Settings::default());
    Said {
        held: held(&case.scenario, record, 1.0),
        name: case.name.clone(),
        story: story(&episodes, |at| record.clock(at)),
    }
}

fn story(episodes: &[Episode], clock: impl Fn(usize) -> f64) -> String {
    let mut story = String::new();
    for episode in episodes {
        let likely: Vec<String> = episode
            .diagnosis
            .likely()
            .map(|finding| {
                let of = finding
                    .effect_of
                    .map_or(String::new(), |of| format!(" (by {of})"));
                format!("{}{of} {:.2}", finding.failure, finding.confidence)
            })
            .collect();
        let later: Vec<String> = episode
            .later
            .iter()
            .map(|(at, failure)| format!("{:.0}s {failure}", clock(*at)))
            .collect();
        let _ = writeln!(
            story,
            "    {:.0}s: {}; later {}",
            clock(episode.opened),
            likely.join(", "),
            later.join(", ")
        );
        for finding in episode.diagnosis.findings.iter().take(2) {
            for piece in &finding.evidence {
                let _ = writeln!(
                    story,
                    "        {} {:+.1} {}",
                    finding.failure, piece.weight, piece.fact
                );
            }
        }
    }
    story
}

fn all_said(cases: &[Case]) -> Vec<Said> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let said = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    let one = listen(case);
                    said.lock().expect("nobody panics with it").push((at, one));
                }
            });
        }
    });
    let mut said = said.into_inner().expect("nobody panics with it");
    said.sort_by_key(|(at, _)| *at);
    said.into_iter().map(|(_, said)| said).collect()
}

/// One row for each thing that is really the matter.
fn table(said: &[Said]) -> String {
    let mut rows: BTreeMap<String, Vec<&Said>> = BTreeMap::new();
    for one in said {
        let names: Vec<String> = one
            .held
            .truth
            .iter()
            .map(|failure| format!("`{failure}`"))
            .collect();
        let name = if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(" or ")
        };
        rows.entry(name).or_default().push(one);
    }
    let mut table = String::from(
        "| what it is | runs | right at first | said nothing, and nobody suffered | said otherwise | spoke after, median | at most |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, said) in rows {
        let right = said.iter().filter(|one| one.held.is_right()).count();
        let silent = said
            .iter()
            .filter(|one| one.held.first().is_none() && one.held.is_right())
            .count();
        let mut otherwise: BTreeMap<String, usize> = BTreeMap::new();
        for one in said.iter().filter(|one| !one.held.is_right()) {
            let first = one
                .held
                .first()
                .map_or("nothing".to_owned(), |first| format!("`{first}`"));
            *otherwise.entry(first).or_default() += 1;
        }
        let otherwise: Vec<String> = otherwise
            .iter()
            .map(|(name, count)| format!("{count} × {name}"))
            .collect();
        let mut times: Vec<f64> = said.iter().filter_map(|one| one.held.detected_s).collect();
        times.sort_by(f64::total_cmp);
        let time = |at: Option<&f64>| at.map_or(String::new(), |time| format!("{time:.0} s"));
        let _ = writeln!(
            table,
            "| {name} | {} | {right} | {} | {} | {} | {} |",
            said.len(),
            if silent == 0 || name == "nothing" {
                String::new()
            } else {
                silent.to_string()
            },
            otherwise.join(", "),
            time(times.get(times.len() / 2)),
            time(times.last()),
        );
    }
    table
}

fn written(said: &[Said]) -> String {
    let ill: Vec<&Said> = said.iter().filter(|one| !one.held.truth.is_empty()).collect();
    let well = said.len() - ill.len();
    let right = ill.iter().filter(|one| one.held.is_right()).count();
    let alarms = said.iter().filter(|one| one.held.is_alarm()).count();
    let harmful = said.iter().filter(|one| one.held.harmful).count();
    format!(
        "{} runs in which something is the matter: {right} right at first rank ({:.1}%), {harmful} in which the first step \
         would do harm. {well} runs in which nothing is, and the calm before the others: {alarms} false alarms in {} runs \
         ({:.1}%).\n\n{}",
        ill.len(),
        100.0 * right as f64 / ill.len() as f64,
        said.len(),
        100.0 * alarms as f64 / said.len() as f64,
        table(said)
    )
}

#[test]
fn every_failure_is_told_for_what_it_is() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut cases = runs::shipped(&root());
    cases.extend(runs::vocabulary());
    cases.extend(runs::calm(&root()));
    cases.retain(|case| case.name.contains(&only));
    let said = all_said(&cases);
    let mut wrong = String::new();
    for one in said
        .iter()
        .filter(|one| !one.held.is_right() || one.held.false_alarm || one.held.harmful || !only.is_empty())
    {
        let _ = writeln!(
            wrong,
            "{}: {:?} was {:?}, later {:?}\n{}",
            one.name,
            one.held.truth,
            one.held.first(),
            one.held.later,
            one.story
        );
    }
    let page = written(&said);
    assert!(only.is_empty(), "{wrong}{page}");
    let ill: Vec<&Said> = said.iter().filter(|one| !one.held.truth.is_empty()).collect();
    let right = ill.iter().filter(|one| one.held.is_right()).count() as f64 / ill.len() as f64;
    let well = said.iter().filter(|one| one.held.truth.is_empty());
    let alarms = said.iter().filter(|one| one.held.is_alarm()).count() as f64 / said.len() as f64;
    assert!(
        well.count() >= 100,
        "a hundred runs in which nothing is the matter"
    );
    assert!(right >= 0.95, "{right:.3} right\n{wrong}{page}");
    assert!(alarms < 0.05, "{alarms:.3} false alarms\n{wrong}{page}");
    assert!(
        said.iter().all(|one| !one.held.harmful),
        "a first step that does harm\n{wrong}"
    );
    hold(&page);
}

/// The page says what was found.
fn hold(table: &str) {
    let path = root().join("docs/diagnose.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (head, rest) = page
        .split_once(FROM)
        .expect("the page has a place for the tables");
    let (old, tail) = rest.split_once(TO).expect("the tables have an end");
    if old.trim() == table.trim() {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "docs/diagnose.md is stale (UPDATE=1 writes it); now it is\n{table}"
    );
    std::fs::write(&path, format!("{head}{FROM}\n\n{}\n\n{TO}{tail}", table.trim()))
        .expect("the page is written");
}
