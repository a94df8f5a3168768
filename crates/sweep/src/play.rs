//! Playing a sweep: rows on threads, each noted as soon as it is known.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use seawall_report::figures::Figures;
use seawall_report::{Played, Report};
use seawall_scenario::Scenario;
use seawall_sim::{Options, Run, simulate};

use crate::grid::{Shard, Sweep};
use crate::journal::Journal;

/// From a variant and its runs to what a report says of it: a report with this one variant.
pub type Tell<'a> = dyn Fn(&Scenario, Vec<Run>) -> Report + Sync + 'a;

/// Plays all rows of a shard that the journal does not have yet, on up to `threads` threads. `progress` is told the share
/// of the shard that is done.
///
/// # Errors
/// When a point cannot be played or noted; what is already noted stays.
pub fn play(
    sweep: &Sweep,
    shard: Shard,
    journal: &mut Journal,
    threads: usize,
    tell: &Tell<'_>,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<(), String> {
    let all: Vec<usize> = sweep.rows_of(shard).collect();
    let rows: Vec<usize> = all.iter().copied().filter(|row| !journal.has(*row)).collect();
    let done = all.len() - rows.len();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let journal = Mutex::new(journal);
    let shares = Mutex::new(vec![0.0; rows.len()]);
    let failure: Mutex<Option<String>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(index) else { return };
            let told = |share: f64| {
                let Ok(mut shares) = shares.lock() else { return };
                shares[index] = share;
                progress((done as f64 + shares.iter().sum::<f64>()) / all.len() as f64);
            };
            let noted = one(sweep, *row, tell, &told).and_then(|figures| {
                let mut journal = journal.lock().map_err(|_| "a thread ended early".to_owned())?;
                journal.push(*row, figures).map_err(|broken| broken.to_string())
            });
            told(1.0);
            if let Err(why) = noted {
                stop.store(true, Ordering::Relaxed);
                if let Ok(mut failure) = failure.lock() {
                    failure.get_or_insert(why);
                }
            }
        }
    };
    let threads = threads.clamp(1, rows.len().max(1));
    if threads == 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let journal = journal
        .into_inner()
        .map_err(|_| "a thread ended early".to_owned())?;
    journal.sync().map_err(|broken| broken.to_string())?;
    failure.into_inner().unwrap_or_default().map_or(Ok(()), Err)
}

/// Plays one row.
fn one(sweep: &Sweep, row: usize, tell: &Tell<'_>, progress: &dyn Fn(f64)) -> Result<Figures, String> {
    let recipe = sweep.recipe();
    let (point, variant) = (row / recipe.variants.len(), row % recipe.variants.len());
    let place = || format!("point {point}, variant `{}`", recipe.variants[variant]);
    let scenario = sweep.scenario(point, variant).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        format!("{}: {first}", place())
    })?;
    let mut runs = Vec::new();
    for run in 0..recipe.runs {
        let options = Options {
            seed: recipe.seed,
            run,
            scale: recipe.scale,
            engine: recipe.engine,
        };
        let told = |share: f64| progress((f64::from(run) + share) / f64::from(recipe.runs));
        let run = simulate(&scenario, &options, &told);
        runs.push(run.map_err(|refusal| format!("failed to simulate {}: {refusal}", place()))?);
    }
    Ok(figures(&scenario, runs, recipe.scale, tell))
}

/// The figures of a variant from its runs, which were played at a scale.
pub fn figures(scenario: &Scenario, runs: Vec<Run>, scale: f64, tell: &Tell<'_>) -> Figures {
    let in_flight: Vec<f64> = runs.iter().map(|run| run.in_flight_max as f64 / scale).collect();
    let requests = runs.iter().map(|run| run.requests).sum();
    let choice = runs.first().map(|run| run.choice.clone());
    let mut report = tell(scenario, runs);
    let variant = &mut report.variants[0];
    variant.requests = requests;
    variant.played = choice.map(|choice| Played {
        engine: choice.engine.to_string(),
        why: choice.why,
        envelope: choice.envelope,
    });
    Figures::of(&report, 0, &in_flight)
}
