//! The simulator: plays a scenario in virtual time, every request on its own.
//!
//! On the path of each request stands [`seawall_core::guard::Guard`], the code that a service runs in production; the
//! simulator only schedules its replies. It is exact: no request is averaged away, threads are held while they wait,
//! a client that gives up leaves its work behind, retries are calls like any other. What it is not: a model of the
//! network's packets or of a server's instructions; a cache node answers after a drawn latency, a database shares its
//! processors evenly.
//!
//! Same scenario and same [`Options`], same [`Run`], to the byte. Threads are used across runs, never inside one.

pub mod agenda;
mod aggregate;
mod autoscaler;
mod caches;
mod clients;
mod databases;
mod elided;
mod engine;
mod meter;
mod plain;
mod plan;
mod probes;
mod sample;
mod services;
pub mod slab;
pub mod store;
mod timeline;
mod world;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall_core::record::Record;
use seawall_core::rng::Seed;
use seawall_scenario::Scenario;

pub use aggregate::{Envelope, envelope};
pub use engine::{Choice, Engine};

/// Which run of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The seed; together with `run` it decides every draw.
    pub seed: u64,
    /// The number of the replication, from 0.
    pub run: u32,
    /// The share of the document's size that is played, above 0 and at most 1.
    pub scale: f64,
    /// What plays it.
    pub engine: Engine,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was measured, in the size of the document.
    pub record: Record,
    /// How many calls clients made.
    pub requests: u64,
    /// How many events were scheduled.
    pub events: u64,
    /// The most calls that were inside the system at one instant.
    pub in_flight_max: u64,
    /// What played it, and why.
    pub choice: Choice,
}

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub(crate) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Plays one run. `progress` is told the share that is done, now and then.
///
/// # Errors
/// When the scenario asks for what this engine cannot play, or for more memory than it may take.
pub fn simulate(scenario: &Scenario, options: &Options, progress: &dyn Fn(f64)) -> Result<Run, Refusal> {
    let choice = Choice::of(scenario, options);
    let reasons = choice.engine.refusals(scenario);
    if !reasons.is_empty() {
        return Err(Refusal(format!(
            "the {} engine cannot play this: {}",
            choice.engine,
            reasons.join("; ")
        )));
    }
    if choice.engine == Engine::Aggregate {
        return aggregate::play(scenario, options, choice, progress);
    }
    let plan = plan::of(scenario, options)?;
    let mut world = world::World::new(plan, Seed(options.seed).replication(options.run));
    if choice.engine == Engine::Elided {
        world.elide();
    }
    world.play(progress);
    Ok(world.into_run(choice))
}

/// The jobs in the order in which they are begun: what will probably take longest comes first, so that no thread is left
/// with it alone at the end. The more protections and whatever scales by itself, the more there is to play.
fn longest_first(jobs: &[(Scenario, Options)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|index| {
        let scenario = &jobs[*index].0;
        let scaling = scenario
            .databases
            .iter()
            .filter(|database| database.autoscaling.is_some());
        std::cmp::Reverse(scenario.protections.len() + scaling.count())
    });
    order
}

/// Plays many runs on up to `threads` threads; the results are in the order of the jobs, whatever the threads did.
/// `progress` is told the share of all jobs that is done.
pub fn replicate(
    jobs: &[(Scenario, Options)],
    threads: usize,
    progress: &(dyn Fn(f64) + Sync),
) -> Vec<Result<Run, Refusal>> {
    let next = AtomicUsize::new(0);
    let order = longest_first(jobs);
    let shares: Mutex<Vec<f64>> = Mutex::new(vec![0.0; jobs.len()]);
    let results: Mutex<Vec<Option<Result<Run, Refusal>>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    let work = || loop {
        let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() else {
            return;
        };
        let (scenario, options) = &jobs[index];
        let told = |share: f64| {
            let Ok(mut shares) = shares.lock() else { return };
            shares[index] = share;
            progress(shares.iter().sum::<f64>() / shares.len() as f64);
        };
        let result = simulate(scenario, options, &told);
        told(1.0);
        if let Ok(mut results) = results.lock() {
            results[index] = Some(result);
        }
    };
    let threads = threads.clamp(1, jobs.len().max(1));
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let results = results.into_inner().unwrap_or_default();
    results
        .into_iter()
        .map(|result| result.unwrap_or_else(|| Err(Refusal("a run did not end".into()))))
        .collect()
}
