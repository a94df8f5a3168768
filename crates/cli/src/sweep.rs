//! `seawall sweep`: the same scenario at many points, side by side on a map.

use std::fs;
use std::path::{Path, PathBuf};

use seawall_report::sweep as told;
use seawall_report::{HappeningKind, Report, Variant};
use seawall_scenario::{Document, Scenario};
use seawall_sim::Run;
use seawall_sweep::{Axis, Broken, Journal, Recipe, Shard, Sweep, merge, play};

use crate::output::{print, write_file};
use crate::playing::{Playing, judged, processors, setting, share};
use crate::progress::Progress;
use crate::simulate::{Format, columns, variants_of};
use crate::source::document;
use crate::stop::Stop;
use crate::telling::{happenings, topology};

/// Plays a scenario at many points, and maps where it holds, where it degrades and where it never recovers
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  seawall sweep redis-down --over client.readers.rate=200k/s..2M/s:10
  seawall sweep redis-down --over client.readers.rate=200k/s..2M/s:20:log --over cache.redis.ttl=30s..10m:20
  seawall sweep stampede --over database.postgres.replicas=1,2,4 --over client.web.timeout=1s..10s:10 --variant unprotected
  seawall sweep mine.toml --over service.app.threads=50..500:10 --shard 3/64 --out /shared/sweep
  seawall sweep merge /shared/sweep

Killed, it goes on where it stopped when the same command is given again. The folder then holds report.html, results.csv
and results.parquet. Exit status: 0 done; 2 the input is wrong; 3 it could not be done."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    merge: Option<Command>,
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "NAME|FILE", required = true)]
    scenario: Option<String>,
    /// What is varied: PATH=A..B:N for N values at equal distances, PATH=A..B:N:log at equal ratios, PATH=a,b,c for
    /// these. May be repeated; the first goes to the right on the map, the second upwards
    #[arg(long, value_name = "PATH=VALUES", required = true)]
    over: Vec<String>,
    /// Only this variant; may be repeated. Without it, all
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// How many times each variant is run at each point
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// The seed of all random draws, the same at every point [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The share of the full size that is simulated: 1, 0.01, 1/100 or 1% [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    scale: Option<f64>,
    /// What plays it: every request on its own, without plain hits, cohorts of requests, or what suits best
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Playing::Auto)]
    engine: Playing,
    /// Changes the scenario at all points, as if it were written there; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How many runs go on at the same time; it changes no result [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Plays only every Nth point, from point I on, and leaves a journal for `seawall sweep merge`
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// The folder for the journal and the results [default: NAME.sweep]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Subcommand)]
enum Command {
    Merge(Merge),
}

/// Puts the shards of a sweep together: the same files, to the byte, as if one had played it all
#[derive(clap::Args)]
struct Merge {
    /// Journals, or folders of journals
    #[arg(value_name = "DIR|FILE", required = true)]
    from: Vec<PathBuf>,
    /// The folder for the results [default: the first folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Plays the grid, or merges what was played.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    match (&arguments.merge, &arguments.scenario) {
        (Some(Command::Merge(arguments)), _) => merged(arguments),
        (None, Some(scenario)) => swept(arguments, scenario),
        // clap has refused it.
        (None, None) => Err(Stop::Input("no scenario".into(), "name one, or a file".into())),
    }
}

fn swept(arguments: &Arguments, name: &str) -> Result<bool, Stop> {
    let document = document(name)?;
    let recipe = recipe(arguments, &document)?;
    let sweep = Sweep::new(document, recipe).map_err(Stop::Mistakes)?;
    let out = arguments.out.clone().unwrap_or_else(|| folder_of(name));
    fs::create_dir_all(&out)
        .map_err(|error| Stop::Failed(format!("failed to make {}: {error}", out.display())))?;
    let shard = arguments.shard.unwrap_or(Shard::WHOLE);
    let mut journal = Journal::open(&out, sweep.recipe(), shard).map_err(|why| broken(&why))?;
    let threads = arguments.threads.map_or_else(processors, usize::from);
    let progress = Progress::new(name);
    let shown = |share| progress.show(share);
    let played = play(&sweep, shard, &mut journal, threads, &tell, &shown);
    progress.end();
    played.map_err(Stop::Failed)?;
    if shard != Shard::WHOLE {
        let told = format!(
            "shard {shard} is done: {} rows in {}\n`seawall sweep merge {}` puts the shards together when all are done\n",
            journal.rows(),
            out.display(),
            out.display()
        );
        return print(&told).map(|()| true);
    }
    let whole = told::Sweep {
        rows: journal.into_rows(),
        ..sweep.recipe().told()
    };
    deliver(&whole, &out, arguments.format)
}

fn merged(arguments: &Merge) -> Result<bool, Stop> {
    let (recipe, rows) = merge(&arguments.from).map_err(|why| broken(&why))?;
    let first = arguments.from.iter().find(|path| path.is_dir());
    let out = arguments.out.clone().or_else(|| first.cloned());
    let out = out.unwrap_or_else(|| PathBuf::from("."));
    fs::create_dir_all(&out)
        .map_err(|error| Stop::Failed(format!("failed to make {}: {error}", out.display())))?;
    let whole = told::Sweep {
        rows,
        ..recipe.told()
    };
    deliver(&whole, &out, arguments.format)
}

/// Writes the results, and says what they are.
fn deliver(sweep: &told::Sweep, out: &Path, format: Format) -> Result<bool, Stop> {
    write_file(&out.join("results.csv"), |file| told::csv(sweep, file))?;
    #[cfg(feature = "parquet")]
    {
        let bytes = seawall_sweep::parquet(sweep)
            .map_err(|error| Stop::Failed(format!("failed to write the results as Parquet: {error}")))?;
        write_file(&out.join("results.parquet"), |file| file.write_all(&bytes))?;
    }
    write_file(&out.join("report.html"), |file| {
        file.write_all(told::html(sweep).as_bytes())
    })?;
    print(&match format {
        Format::Text => told::text(sweep, columns()) + &format!("Maps and tables are in {}\n", out.display()),
        Format::Json => told::json(sweep),
    })?;
    Ok(true)
}

fn recipe(arguments: &Arguments, document: &Document) -> Result<Recipe, Stop> {
    let axes = arguments.over.iter().map(|typed| Axis::parse(typed));
    let axes: Vec<Axis> = axes
        .collect::<Result<_, _>>()
        .map_err(|mistake| Stop::Mistakes(vec![*mistake]))?;
    let variants = variants_of(document, &arguments.variant)?;
    let sets: Vec<(&str, &str)> = arguments
        .set
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect();
    let first = document.scenario(variants[0], &sets)?;
    Ok(Recipe {
        about: first.about,
        axes,
        variants: variants.into_iter().map(str::to_owned).collect(),
        settings: arguments.set.clone(),
        seed: arguments.seed.unwrap_or(first.run.seed),
        runs: arguments.runs,
        scale: arguments.scale.unwrap_or(first.run.scale),
        engine: arguments.engine.into(),
        ..Recipe::of(document, env!("CARGO_PKG_VERSION"))
    })
}

/// What a report tells of one variant and its runs. Where nothing breaks by itself, the first thing that is done stands
/// for the fault: a restart, a limit that is set too low.
pub(crate) fn tell(scenario: &Scenario, runs: Vec<Run>) -> Report {
    let records: Vec<_> = runs.into_iter().map(|run| run.record).collect();
    let mut happenings = happenings(std::slice::from_ref(scenario));
    if happenings
        .iter()
        .all(|happening| happening.kind == HappeningKind::Action)
        && let Some(first) = happenings.first_mut()
    {
        first.kind = HappeningKind::Fault;
    }
    Report {
        happenings,
        topology: topology(scenario),
        variants: vec![Variant {
            name: scenario.variant.clone(),
            judged: judged(scenario, &records),
            records,
            ..Variant::default()
        }],
        ..Report::default()
    }
}

/// `redis-down` and `some/redis-down.toml` both sweep into `redis-down.sweep` here.
fn folder_of(name: &str) -> PathBuf {
    let stem = Path::new(name).file_stem().unwrap_or_default();
    PathBuf::from(format!("{}.sweep", stem.to_string_lossy()))
}

fn broken(broken: &Broken) -> Stop {
    let help = match broken {
        Broken::File { .. } => return Stop::Failed(broken.to_string()),
        Broken::Busy(_) => "wait for it to end, or choose another folder with --out",
        Broken::Foreign(_) => "name a journal, or a folder that `seawall sweep` wrote",
        Broken::Other { .. } => {
            "give the same command again to go on, choose another folder with --out, or remove this file to begin anew"
        }
        Broken::Damaged { .. } => "remove the file, or the damaged line, and give the same command again",
        Broken::Disagrees { .. } => "they are not of the same build; play one of them anew",
        Broken::Missing { .. } => "play the missing shards, then merge again",
    };
    Stop::Input(broken.to_string(), help.to_owned())
}
