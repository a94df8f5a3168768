//! `seawall limits`: where a system turns, found by bisection.

use std::time::Duration;

use seawall_core::time::Span;
use seawall_sweep::limits::{Question, limits};

use crate::output::print;
use crate::playing::{Playing, processors, setting, share, span};
use crate::progress::Progress;
use crate::simulate::{Format, columns, variants_of};
use crate::source::document;
use crate::stop::Stop;
use crate::sweep::tell;

/// Finds the traffic at which a system begins to stay down, the least protection that saves it, and how much database
/// would do without any
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seawall limits retry-storm                     of its variant `unprotected`
  seawall limits redis-down --variant breaker --runs 5 --tolerance 2%
  seawall limits mine.toml --within 1m --format json

Every answer is played, not reckoned: each trial changes one thing and is run with the same seeds as all others.
Exit status: 0 done; 2 the input is wrong; 3 it could not be done.")]
pub(crate) struct Arguments {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Of this variant [default: `unprotected` if there is one, else the first]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// How many runs a trial has; it is judged as most of them end
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How near each limit must be known
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    tolerance: f64,
    /// No new trial begins after this time; what was not finished is said
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = span)]
    within: Span,
    /// The seed of all random draws [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The share of the full size that is simulated: 1, 0.01, 1/100 or 1% [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    scale: Option<f64>,
    /// What plays it: every request on its own, without plain hits, cohorts of requests, or what suits best
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Playing::Auto)]
    engine: Playing,
    /// Changes the scenario, as if it were written there; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How many runs go on at the same time; it changes no result [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Finds the limits, and prints them.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let document = document(&arguments.scenario)?;
    let asked: Vec<String> = arguments.variant.iter().cloned().collect();
    let names = variants_of(&document, &asked)?;
    let variant = match names.iter().find(|name| **name == "unprotected") {
        Some(unprotected) => unprotected,
        None => names[0],
    };
    let sets: Vec<(&str, &str)> = arguments
        .set
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect();
    let scenario = document.scenario(variant, &sets)?;
    let question = Question {
        document: &document,
        variant,
        settings: arguments.set.clone(),
        seed: arguments.seed.unwrap_or(scenario.run.seed),
        runs: arguments.runs,
        scale: arguments.scale.unwrap_or(scenario.run.scale),
        engine: arguments.engine.into(),
        tolerance: arguments.tolerance,
        threads: arguments.threads.map_or_else(processors, usize::from),
    };
    let enough_time = patience(arguments.within);
    let progress = Progress::new(&arguments.scenario);
    let found = limits(&question, &tell, &enough_time, &|share| progress.show(share));
    progress.end();
    let found = found.map_err(Stop::Failed)?;
    print(&match arguments.format {
        Format::Text => seawall_report::limits::text(&found, columns()),
        Format::Json => seawall_report::limits::json(&found),
    })?;
    Ok(true)
}

/// Whether there is time for another trial.
#[expect(
    clippy::disallowed_methods,
    reason = "a person waits in real time, not in virtual time"
)]
fn patience(within: Span) -> impl Fn() -> bool {
    let started = std::time::Instant::now();
    let within = Duration::from_nanos(within.as_nanos());
    move || started.elapsed() < within
}
