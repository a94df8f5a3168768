//! The engines side by side, on every scenario that comes with Seawall: how far the fast ones are from the exact one.
//!
//! `UPDATE=1` writes the table in `docs/engines.md`; without it, the table must be what is played now.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use seawall_core::record::{Metric, Record};
use seawall_scenario::{AS_WRITTEN, Document, Scenario, What};
use seawall_sim::{Engine, Options, Run};

/// The table in the docs lies between these lines.
const FROM: &str = "<!-- agreement: from here on written by crates/sim/tests/agreement.rs -->";
const TO: &str = "<!-- agreement: up to here -->";

/// What is compared.
#[derive(Clone, Debug)]
struct Figures {
    /// Answers in time as a share of all calls: before, during and after what happens.
    goodput: [f64; 3],
    /// Calls a second that reach all databases.
    origin: [f64; 3],
    in_flight: u64,
    /// Seconds until all was well again for ten seconds; negative when it never was, zero when it always was.
    recovery: f64,
    verdict: String,
}

/// One variant under one engine.
struct Row {
    scenario: String,
    variant: String,
    engine: Engine,
    played: Result<Figures, String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn scenarios() -> Vec<(String, Vec<Scenario>)> {
    let folder = std::fs::read_dir(root().join("scenarios")).expect("the scenarios are there");
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let text = std::fs::read_to_string(&path).expect("a scenario is a text");
        let name = name.expect("a file has a name");
        let document = Document::parse(&name, &text).expect("a scenario that comes with Seawall is right");
        let mut variants: Vec<String> = document.variants().into_iter().map(str::to_owned).collect();
        if variants.is_empty() {
            variants.push(AS_WRITTEN.to_owned());
        }
        let variants = variants.iter().map(|variant| {
            let scenario = document.scenario(variant, &[]);
            scenario.expect("a variant that comes with Seawall is right")
        });
        all.push((name, variants.collect()));
    }
    all
}

/// When faults begin and end, in seconds of the scenario's clock.
fn disturbed(scenario: &Scenario) -> (f64, f64) {
    let length = scenario.run.duration.as_secs_f64();
    let faults = scenario.timeline.iter().filter(|event| {
        matches!(event.what, What::Fault(_))
            || scenario
                .timeline
                .iter()
                .all(|event| matches!(event.what, What::Action(_)))
    });
    let mut bounds = (f64::INFINITY, 0.0_f64);
    for event in faults {
        let at = event.at.as_secs_f64();
        let lasts = match (&event.what, event.for_) {
            (_, Some(length)) => length.as_secs_f64(),
            (What::Fault(fault), None) if !fault.is_instant() => length,
            _ => 30.0,
        };
        bounds = (bounds.0.min(at), bounds.1.max(at + lasts).min(length));
    }
    if bounds.0.is_infinite() {
        (0.0, length)
    } else {
        bounds
    }
}

fn sum(record: &Record, metric: Metric, of: &str, window: Range<usize>) -> f64 {
    let values = record.values(metric, of, None);
    values.get(window).unwrap_or(&[]).iter().sum()
}

fn figures(scenario: &Scenario, run: &Run) -> Figures {
    let record = &run.record;
    let (from, to) = disturbed(scenario);
    let warmup = scenario.run.warmup.as_secs_f64();
    let end = scenario.run.duration.as_secs_f64();
    let windows = [(-warmup / 2.0, from), (from, to), (to, end)].map(|(from, to)| record.window(from, to));
    let period = scenario.run.every.as_secs_f64();
    let goodput = windows.clone().map(|window| {
        let (mut good, mut all) = (0.0, 0.0);
        for client in &scenario.clients {
            good += sum(record, Metric::Goodput, &client.name, window.clone());
            all += sum(record, Metric::Requests, &client.name, window.clone());
        }
        good / all
    });
    let origin = windows.map(|window| {
        let seconds = window.len() as f64 * period;
        let databases = scenario.databases.iter();
        // From nothing and not from −0, which is what a sum of no numbers is.
        let calls = databases
            .map(|database| sum(record, Metric::OriginRequests, &database.name, window.clone()))
            .fold(0.0, std::ops::Add::add);
        calls / seconds
    });
    let judged = scenario.judge(std::slice::from_ref(record));
    Figures {
        goodput,
        origin,
        in_flight: run.in_flight_max,
        recovery: recovery(scenario, record, from, goodput[0]),
        verdict: judged
            .iter()
            .map(|judged| if judged.met { '+' } else { '-' })
            .collect(),
    }
}

/// How long after `from` the share of good answers is 95% of what it was, for ten seconds.
fn recovery(scenario: &Scenario, record: &Record, from: f64, before: f64) -> f64 {
    let window = record.window(from, scenario.run.duration.as_secs_f64());
    let period = scenario.run.every.as_secs_f64();
    let held = (10.0 / period).ceil().max(1.0) as usize;
    let mut share = vec![(0.0, 0.0); record.periods];
    for client in &scenario.clients {
        let good = record.values(Metric::Goodput, &client.name, None);
        let all = record.values(Metric::Requests, &client.name, None);
        for (share, (good, all)) in share.iter_mut().zip(good.iter().zip(&all)) {
            share.0 += good;
            share.1 += all;
        }
    }
    let well = |index: usize| share[index].1 == 0.0 || share[index].0 >= 0.95 * before * share[index].1;
    let Some(lost) = window.clone().find(|index| !well(*index)) else {
        return 0.0;
    };
    let back = (lost..window.end.saturating_sub(held)).find(|index| (*index..*index + held).all(well));
    back.map_or(-1.0, |index| (index - window.start) as f64 * period)
}

fn play(scenario: &Scenario, engine: Engine) -> Result<Figures, String> {
    let options = Options {
        seed: scenario.run.seed,
        run: 0,
        scale: scenario.run.scale,
        engine,
    };
    let run = seawall_sim::simulate(scenario, &options, &|_| ());
    run.map(|run| figures(scenario, &run))
        .map_err(|refusal| refusal.to_string())
}

/// The scenarios that are played each time; the others only when the table is written anew.
const QUICK: &[&str] = &[
    "cache-latency",
    "cache-node-loss",
    "cache-partition",
    "disk-exhaustion",
    "fallback-active",
    "retry-storm",
];

#[expect(clippy::print_stdout, reason = "it is printed for who asked for it")]
fn show(table: &str, off: &[String]) {
    println!("{table}\n{}", off.join("\n"));
}

fn updates() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// The scenarios that are played and printed while somebody works on one of them: `ONLY=redis-slow,redis-down`.
fn only() -> Option<String> {
    std::env::var("ONLY").ok()
}

/// All rows on two threads, in the order of the table.
fn rows() -> Vec<Row> {
    let mut jobs: Vec<(String, Scenario, Engine)> = Vec::new();
    for (name, variants) in scenarios() {
        let wanted = match only() {
            Some(only) => only.split(',').any(|wanted| wanted == name),
            None => updates() || QUICK.contains(&name.as_str()),
        };
        if !wanted {
            continue;
        }
        for scenario in variants {
            for engine in Engine::PLAYING {
                jobs.push((name.clone(), scenario.clone(), engine));
            }
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((scenario_name, scenario, engine)) = jobs.get(index) else {
                        return;
                    };
                    let row = Row {
                        scenario: scenario_name.clone(),
                        variant: scenario.variant.clone(),
                        engine: *engine,
                        played: play(scenario, *engine),
                    };
                    results.lock().expect("no test panics here").push((index, row));
                }
            });
        }
    });
    let mut rows = results.into_inner().expect("no test panics here");
    rows.sort_by_key(|(index, _)| *index);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn spell(figures: &Figures) -> String {
    let share = |share: f64| {
        if share.is_nan() {
            "–".to_owned()
        } else {
            format!("{:.1}%", 100.0 * share)
        }
    };
    let rate = |rate: f64| {
        if rate.is_nan() {
            "–".to_owned()
        } else if rate >= 10_000.0 {
            format!("{:.0}k", rate / 1_000.0)
        } else {
            format!("{rate:.0}")
        }
    };
    let [g, o] = [figures.goodput.map(share), figures.origin.map(rate)];
    let recovery = match figures.recovery {
        seconds if seconds < 0.0 => "never".to_owned(),
        0.0 => "–".to_owned(),
        seconds => format!("{seconds:.0} s"),
    };
    let met = figures.verdict.chars().filter(|met| *met == '+').count();
    format!(
        "{} / {} / {} | {} / {} / {} | {} | {recovery} | {met} of {}",
        g[0],
        g[1],
        g[2],
        o[0],
        o[1],
        o[2],
        figures.in_flight,
        figures.verdict.len()
    )
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| scenario | variant | engine | answered in time: before / during / after | origin, calls a second: before / during / after | peak in flight | well again after | expectations met |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let (scenario, variant, engine) = (&row.scenario, &row.variant, row.engine);
        let _ = match &row.played {
            Ok(figures) => writeln!(text, "| {scenario} | {variant} | {engine} | {} |", spell(figures)),
            Err(_) if engine == Engine::Elided => Ok(()),
            Err(refusal) => {
                let why = refusal.split_once(": ").map_or(refusal.as_str(), |(_, why)| why);
                writeln!(
                    text,
                    "| {scenario} | {variant} | {engine} | refused: {why} | | | | |"
                )
            }
        };
    }
    text
}

/// Where an engine is further from the exact one than it may be.
fn disagreements(scenario: &Scenario, engine: Engine, exact: &Figures, other: &Figures) -> Vec<String> {
    let (from, to) = disturbed(scenario);
    let (warmup, end) = (
        scenario.run.warmup.as_secs_f64(),
        scenario.run.duration.as_secs_f64(),
    );
    let seconds = [warmup / 2.0 + from, to - from, end - to].map(|seconds| seconds * scenario.run.scale);
    let bounds = match engine {
        Engine::Aggregate => seawall_sim::envelope(scenario).0,
        // Exact in law, which tests/elided shows: what is left is that two seeds differ, and one run of a throttle that
        // opens a step later, or of answers that move along the bound of recovery, differs by this much.
        _ => seawall_sim::Envelope {
            origin: 0.08,
            answered: 0.05,
            well_again_s: 60.0,
            same_verdict: true,
        },
    };
    let mut off = Vec::new();
    for (phase, name) in ["before", "during", "after"].iter().enumerate() {
        let (a, b) = (exact.origin[phase], other.origin[phase]);
        // What two seeds differ by is no disagreement: three standard deviations of independent counts.
        let noise = 3.0 * (2.0 / (a * seconds[phase]).max(1.0)).sqrt();
        let apart = (b - a).abs() / a;
        if apart > bounds.origin + noise {
            off.push(format!("origin {name}: {a:.0} and {b:.0} a second"));
        }
        let (a, b) = (exact.goodput[phase], other.goodput[phase]);
        if (a - b).abs() > bounds.answered {
            off.push(format!("answered in time {name}: {a:.3} and {b:.3}"));
        }
    }
    let (a, b) = (exact.recovery, other.recovery);
    if (a - b).abs() > bounds.well_again_s {
        off.push(format!("well again after {a} and {b} s"));
    }
    if bounds.same_verdict && exact.verdict != other.verdict {
        off.push(format!("expectations {} and {}", exact.verdict, other.verdict));
    }
    off
}

#[test]
fn the_fast_engines_agree_with_the_exact_one_and_the_table_says_how_well() {
    let rows = rows();
    let all = scenarios();
    let mut off = Vec::new();
    for row in &rows {
        let exact = rows.iter().find(|other| {
            let named = (&other.scenario, &other.variant) == (&row.scenario, &row.variant);
            named && other.engine == Engine::Exact
        });
        let (Some(Ok(exact)), Ok(played)) = (exact.map(|row| &row.played), &row.played) else {
            continue;
        };
        let variants = all
            .iter()
            .find(|(name, _)| *name == row.scenario)
            .map(|(_, variants)| variants);
        let scenario = variants
            .into_iter()
            .flatten()
            .find(|scenario| scenario.variant == row.variant);
        let scenario = scenario.expect("what was played is there");
        for what in disagreements(scenario, row.engine, exact, played) {
            off.push(format!("{} {} {}: {what}", row.scenario, row.variant, row.engine));
        }
        // A scenario that comes with Seawall meets its own expectations.
        if row.engine == Engine::Exact && played.verdict.contains('-') {
            let (scenario, variant, verdict) = (&row.scenario, &row.variant, &played.verdict);
            off.push(format!("{scenario} {variant}: expectations {verdict}"));
        }
    }
    let path = root().join("docs/engines.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (head, rest) = page.split_once(FROM).expect("the page has a place for the table");
    let (old, tail) = rest.split_once(TO).expect("the table has an end");
    let table = table(&rows);
    if only().is_some() {
        return show(&table, &off);
    }
    if updates() {
        std::fs::write(&path, format!("{head}{FROM}\n\n{table}\n{TO}{tail}"))
            .expect("the page can be written");
    } else {
        for line in table.lines() {
            assert!(
                old.contains(line),
                "docs/engines.md is stale (UPDATE=1 writes it): {line}"
            );
        }
    }
    assert!(
        off.is_empty(),
        "these are further apart than they may be:\n{}",
        off.join("\n")
    );
}
