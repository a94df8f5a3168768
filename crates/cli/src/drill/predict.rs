//! What the simulator says of a drill, with the times that were measured before anything was injected.

use seawall_core::record::Record;
use seawall_drill::run::Ran;
use seawall_drill::steady::Steady;
use seawall_scenario::Scenario;
use seawall_sim::{Engine, Options, replicate};

use crate::playing::processors;
use crate::stop::Stop;

/// With a band: so many runs.
const RUNS: u32 = 5;

/// The records of one run, or of several for a band, and how they came about.
pub(super) fn predict(
    scenario: &Scenario,
    scale: f64,
    ran: &Ran,
    band: bool,
) -> Result<(Vec<Record>, String), Stop> {
    // As large as what was drilled, and not a part of something larger.
    let alone = scenario.scaled(scale).alone();
    let mut first = simulated(&alone, scale, 1)?;
    let as_written = first
        .pop()
        .ok_or_else(|| Stop::Failed("failed to predict".to_owned()))?;
    if ran.record.periods == 0 {
        return Ok((
            vec![as_written],
            "Predicted by the exact engine from the scenario as it is written.".to_owned(),
        ));
    }
    let near = ran.steady.applied(&alone, &as_written, &ran.record);
    let mut second = simulated(&near, scale, 1)?;
    let nearly = second
        .pop()
        .ok_or_else(|| Stop::Failed("failed to predict".to_owned()))?;
    let nearer = Steady::of_clients(&near, &nearly, &ran.record);
    let runs = if band { RUNS } else { 1 };
    let told = format!(
        "Predicted by the exact engine{}, with the times to caches, origins and services that were measured before anything was injected.",
        if band {
            format!(" in {RUNS} runs")
        } else {
            String::new()
        }
    );
    Ok((simulated(&nearer, scale, runs)?, told))
}

fn simulated(scenario: &Scenario, scale: f64, runs: u32) -> Result<Vec<Record>, Stop> {
    let options = |run| Options {
        seed: scenario.run.seed,
        run,
        scale: 1.0,
        engine: Engine::Exact,
    };
    let jobs: Vec<_> = (0..runs).map(|run| (scenario.clone(), options(run))).collect();
    let results = replicate(&jobs, processors(), &|_| {});
    let record = |result: Result<seawall_sim::Run, seawall_sim::Refusal>| match result {
        Ok(run) => Ok(run.record.at_full_size(scale)),
        Err(refusal) => Err(Stop::Failed(format!("failed to predict: {refusal}"))),
    };
    results.into_iter().map(record).collect()
}
