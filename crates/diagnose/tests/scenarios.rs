//! Every scenario that comes with Seawall, simulated and then diagnosed from its record alone.

use std::path::PathBuf;

use seawall_diagnose::{Episode, Failure, Settings, follow};
use seawall_scenario::{AS_WRITTEN, Action, Document, Fault, Place, Scenario, What};
use seawall_sim::{Engine, Options, simulate};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn scenarios() -> Vec<(String, String, Scenario)> {
    let folder = std::fs::read_dir(root().join("scenarios")).expect("the scenarios are there");
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let name = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("a scenario is a text");
        let document = Document::parse(&name, &text).expect("a scenario that comes with Seawall is right");
        let mut variants: Vec<String> = document.variants().into_iter().map(str::to_owned).collect();
        if variants.is_empty() {
            variants.push(AS_WRITTEN.to_owned());
        }
        for variant in variants {
            let scenario = document
                .scenario(&variant, &[])
                .expect("a variant that comes with Seawall is right");
            all.push((name.clone(), variant, scenario));
        }
    }
    all
}

/// What is right to say of a scenario in which this happens.
fn truth(scenario: &Scenario) -> (f64, Vec<Failure>) {
    use Failure as F;
    let mut truth = Vec::new();
    let mut first = f64::INFINITY;
    for event in &scenario.timeline {
        let at = event.at.as_secs_f64();
        let of_service = matches!(event.on, Some(Place::Service(_)));
        let of_origin = matches!(event.on, Some(Place::Database(_)));
        let said: &[Failure] = match &event.what {
            What::Fault(fault) => match fault {
                Fault::Kill | Fault::Refuse if of_service => &[F::InstancesDown],
                Fault::Kill | Fault::Refuse if of_origin => &[F::OriginDown],
                Fault::Kill | Fault::Refuse => &[F::Refused],
                Fault::Replace | Fault::Flush => &[F::Cold],
                Fault::Hang if of_origin => &[F::OriginDown, F::OriginSlow],
                Fault::Hang => &[F::Hung],
                Fault::Pause => &[F::Paused],
                Fault::Latency { .. }
                | Fault::Bandwidth { .. }
                | Fault::Loss { .. }
                | Fault::FarRegion { .. } => &[F::NetworkLatency],
                Fault::Partition => &[F::Unreachable],
                Fault::Reset => &[F::Reset],
                Fault::Expire { .. } => &[F::MassExpiry],
                Fault::ExpireAt { .. } => &[F::MassExpiry, F::Stampede],
                Fault::NeverStored => &[F::NotStored],
                Fault::TtlIgnored => &[],
                Fault::Corrupt { .. } => &[F::Corruption],
                Fault::OutOfMemory => &[F::OutOfMemory],
                Fault::TooManyClients => &[F::TooManyClients],
                Fault::Slow { .. } if of_service => &[F::ServiceStarved],
                Fault::Slow { .. } => &[F::SlowCommands],
                Fault::Loading => &[F::Loading],
                Fault::ReadOnly => &[F::ReadOnly],
                Fault::Starve { .. } if of_service => &[F::ServiceStarved],
                Fault::Starve { .. } => &[F::CpuStarved],
                Fault::DiskFull => &[F::DiskFull],
                Fault::Spike { .. } if scenario.caches.iter().any(|cache| cache.max_clients.is_some()) => {
                    &[F::TooManyClients, F::TrafficSpike]
                }
                Fault::Spike { .. } => &[F::TrafficSpike],
                Fault::HotKey { .. } => &[F::HotKey],
                Fault::Penetration { .. } => &[F::Penetration],
                Fault::Connections { .. } => &[F::OriginFull],
                Fault::Lock => &[F::OriginLocked],
                Fault::SlowQuery { .. } => &[F::OriginSlow],
                Fault::Leak { .. } | Fault::Crash { .. } | Fault::Restart { .. } => &[F::InstancesDown],
            },
            What::Action(Action::Restart { .. }) if !of_service && !of_origin => &[F::Refused, F::Cold],
            What::Action(Action::Flush) => &[F::Cold],
            What::Action(Action::Set { .. })
                if format!("{:?}", event.what).to_lowercase().contains("maxmemory") =>
            {
                &[F::OutOfMemory]
            }
            What::Action(_) => &[],
        };
        if said.is_empty() {
            continue;
        }
        if at < first - 1e-9 {
            // What comes later is what people do about it, or what comes on top.
            first = at;
            truth.clear();
        }
        if (at - first).abs() < 1e-9 {
            truth.extend_from_slice(said);
        }
    }
    (first, truth)
}

fn told(episode: &Episode, clock: impl Fn(usize) -> f64) -> String {
    let first = |diagnosis: &seawall_diagnose::Diagnosis| {
        let likely: Vec<String> = diagnosis
            .likely()
            .map(|finding| {
                let effect = finding.effect_of.map_or(String::new(), |of| format!("<{of}"));
                format!("{}{effect} {:.2}", finding.failure, finding.confidence)
            })
            .collect();
        likely.join(", ")
    };
    let later: Vec<String> = episode
        .later
        .iter()
        .map(|(at, failure)| format!("{:.0}s {failure}", clock(*at)))
        .collect();
    format!(
        "  {:.0}s..{} {} | {} | later {}",
        clock(episode.opened),
        episode
            .closed
            .map_or("never".to_owned(), |at| format!("{:.0}s", clock(at))),
        episode
            .diagnosis
            .severity
            .as_ref()
            .map_or("", |judged| judged.severity.name()),
        first(&episode.diagnosis),
        later.join(", ")
    )
}

#[test]
fn every_scenario_is_diagnosed_for_what_it_is() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let (mut right, mut all) = (0, 0);
    for (name, variant, scenario) in scenarios() {
        if !name.contains(&only) {
            continue;
        }
        let options = Options {
            seed: 1,
            run: 0,
            scale: scenario.run.scale,
            engine: Engine::Exact,
        };
        let run =
            simulate(&scenario, &options, &|_| {}).expect("a scenario that comes with Seawall is played");
        let record = &run.record;
        let (began, truth) = truth(&scenario);
        let episodes = follow(record, Settings::default());
        let before = episodes
            .iter()
            .filter(|episode| record.clock(episode.opened) < began)
            .count();
        let found = episodes
            .iter()
            .find(|episode| record.clock(episode.opened) >= began);
        let failure = found
            .and_then(|episode| episode.diagnosis.first())
            .map(|finding| finding.failure);
        let hit = failure.is_some_and(|failure| truth.contains(&failure));
        all += 1;
        right += usize::from(hit);
        let mark = if hit { "ok  " } else { "MISS" };
        println!("{mark} {name}/{variant}: {truth:?} at {began}; {before} before");
        for episode in &episodes {
            println!("{}", told(episode, |at| record.clock(at)));
        }
        if !hit && let Some(episode) = found {
            for finding in episode.diagnosis.findings.iter().take(4) {
                println!("      {finding} {:.3}", finding.confidence);
                for piece in &finding.evidence {
                    println!("        {:+.1} {}", piece.weight, piece.fact);
                }
            }
        }
    }
    println!("{right} of {all}");
}
