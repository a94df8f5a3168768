//! `seawall simulate`: what happens, in virtual time, with and without each protection.

use std::io::IsTerminal;
use std::path::PathBuf;

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_report::{Refused, Report, Variant};
use seawall_scenario::{Document, Scenario};
use seawall_sim::{Options, Refusal, Run, replicate};

use crate::output::{print, write_file};
use crate::playing::{Playing, judged, played, processors, setting, share, span};
use crate::progress::Progress;
use crate::protections;
use crate::source::{document, unknown};
use crate::stop::Stop;
use crate::telling::{happenings, topology};

/// The most columns that the text takes; wider lines are hard to read.
const COLUMNS_MAX: usize = 100;

/// Predicts what a cache failure does, and says whether what must hold holds
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seawall simulate redis-down                            all variants, the verdict first
  seawall simulate redis-down --report out.html          a page with curves, for the browser or a mail
  seawall simulate redis-down --variant seawall --runs 5 numbers with confidence intervals
  seawall simulate redis-down --set protect.breaker.failures=3
  seawall simulate redis-down --protect seawall.toml     what the gateway's protections make of it
  seawall simulate mine.toml --scale 1                   every single request, at full size

Exit status: 0 expectations met; 1 some not met; 2 the input is wrong, or the engine that was asked for refuses a
variant, and the others were played; 3 it could not be done.")]
pub(crate) struct Arguments {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Only this variant; may be repeated. Without it, all
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// The seed of all random draws; the same seed gives the same bytes [default: the scenario's]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How many times each variant is run, each with other draws; numbers then carry confidence intervals
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// The share of the full size that is simulated: 1, 0.01, 1/100 or 1% [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    scale: Option<f64>,
    /// What plays it: every request on its own, without plain hits, cohorts of requests, or what suits best
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t = Playing::Auto)]
    engine: Playing,
    /// Plays it a second time with the protections of a gateway's document (seawall.toml), and with those that a gateway
    /// has without a word; of all variants the first, if none is named
    #[arg(long, value_name = "FILE")]
    protect: Option<PathBuf>,
    /// Changes the scenario, as if it were written there; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// How many runs go on at the same time; it changes no result [default: as many as there are processors]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Writes a page with curves: one file that needs no network
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Writes all series as CSV, one value a row
    #[arg(long, value_name = "FILE.csv")]
    series: Option<PathBuf>,
    /// The length of a row of --series and --openmetrics [default: the scenario's period]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    every: Option<Span>,
    /// Writes all series for Prometheus: `promtool tsdb create-blocks-from openmetrics FILE DIR`. T=0 is at
    /// 2001-01-01T00:00:00Z
    #[arg(long, value_name = "FILE")]
    openmetrics: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For a person
    Text,
    /// For a script
    Json,
}

/// Runs the variants, writes what was asked for, and says whether all expectations were met.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let document = document(&arguments.scenario)?;
    let scenarios = chosen(&document, arguments)?;
    let report = report(arguments, &scenarios)?;
    if let Some(path) = &arguments.report {
        write_file(path, |out| {
            out.write_all(seawall_report::html(&report).as_bytes())
        })?;
    }
    if let Some(path) = &arguments.series {
        write_file(path, |out| {
            seawall_report::series_csv(&report, arguments.every, out)
        })?;
    }
    if let Some(path) = &arguments.openmetrics {
        write_file(path, |out| {
            seawall_report::openmetrics(&report, arguments.every, out)
        })?;
    }
    print(&match arguments.format {
        Format::Text => seawall_report::text(&report, columns()),
        Format::Json => seawall_report::json(&report),
    })?;
    if report.refused.is_empty() {
        return Ok(report.is_met());
    }
    let names: Vec<&str> = report
        .refused
        .iter()
        .map(|refused| refused.name.as_str())
        .collect();
    Err(Stop::Input(
        format!("not played: {}", names.join(", ")),
        "leave --engine out, and each variant is played by what can".to_owned(),
    ))
}

/// The names of the variants that were asked for, in the order of the document; all when none was.
pub(crate) fn variants_of<'d>(document: &'d Document, asked: &[String]) -> Result<Vec<&'d str>, Stop> {
    let names = document.variants();
    for name in asked {
        if !names.contains(&name.as_str()) {
            let all = format!("its variants: {}", names.join(", "));
            return Err(unknown("variant", name, &names, &all));
        }
    }
    let wanted = |name: &&str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    Ok(names.into_iter().filter(wanted).collect())
}

fn chosen(document: &Document, arguments: &Arguments) -> Result<Vec<Scenario>, Stop> {
    let names = variants_of(document, &arguments.variant)?;
    let sets: Vec<(&str, &str)> = arguments
        .set
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()))
        .collect();
    let Some(file) = &arguments.protect else {
        let scenarios = names.iter().map(|name| document.scenario(name, &sets));
        return Ok(scenarios.collect::<Result<_, _>>()?);
    };
    let protections = protections::read(file)?;
    let protections = protections
        .iter()
        .map(|(path, value)| (path.as_str(), value.as_str()));
    let all: Vec<(&str, &str)> = protections.chain(sets.iter().copied()).collect();
    let label = file.file_name().unwrap_or(file.as_os_str()).display();
    let mut scenarios = Vec::new();
    for name in names.iter().take(if arguments.variant.is_empty() {
        1
    } else {
        names.len()
    }) {
        scenarios.push(document.scenario(name, &sets)?);
        let mut protected = document.scenario(name, &all)?;
        protected.variant = format!("{name}, {label}");
        protected.variant_about = format!("with the protections of {label}");
        scenarios.push(protected);
    }
    Ok(scenarios)
}

fn report(arguments: &Arguments, scenarios: &[Scenario]) -> Result<Report, Stop> {
    let [first, ..] = scenarios else {
        return Err(Stop::Failed("the document has no variant to run".to_owned()));
    };
    let seed = arguments.seed.unwrap_or(first.run.seed);
    let scale = arguments.scale.unwrap_or(first.run.scale);
    let (variants, refused) = variants(arguments, scenarios)?;
    let was_played = |scenario: &&Scenario| variants.iter().any(|variant| variant.name == scenario.variant);
    let scenarios: Vec<Scenario> = scenarios.iter().filter(was_played).cloned().collect();
    Ok(Report {
        title: first.title.clone(),
        about: first.about.clone(),
        file: arguments.scenario.clone(),
        seed,
        runs: arguments.runs,
        scale,
        engine: engines(&variants),
        happenings: happenings(&scenarios),
        variants,
        refused,
        topology: topology(first),
    })
}

/// The engines that played, each once.
fn engines(variants: &[Variant]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for played in variants.iter().filter_map(|variant| variant.played.as_ref()) {
        if !names.contains(&played.engine.as_str()) {
            names.push(&played.engine);
        }
    }
    let plural = if names.len() == 1 { "engine" } else { "engines" };
    format!("{} {plural}", names.join(" and "))
}

/// Runs everything, and judges it. What the engine that was asked for refuses is told apart.
fn variants(arguments: &Arguments, scenarios: &[Scenario]) -> Result<(Vec<Variant>, Vec<Refused>), Stop> {
    let mut jobs = Vec::new();
    for scenario in scenarios {
        for run in 0..arguments.runs {
            let options = Options {
                seed: arguments.seed.unwrap_or(scenario.run.seed),
                run,
                scale: arguments.scale.unwrap_or(scenario.run.scale),
                engine: arguments.engine.into(),
            };
            jobs.push((scenario.clone(), options));
        }
    }
    let threads = arguments.threads.map_or_else(processors, usize::from);
    let progress = Progress::new(&arguments.scenario);
    let results = replicate(&jobs, threads, &|share| progress.show(share));
    progress.end();
    let mut results = results.into_iter();
    let (mut variants, mut refused) = (Vec::new(), Vec::new());
    for scenario in scenarios {
        let mut records: Vec<Record> = Vec::new();
        let mut requests = 0;
        let mut choice = None;
        let runs: Vec<Result<Run, Refusal>> = results.by_ref().take(arguments.runs as usize).collect();
        let runs = match runs.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(runs) => runs,
            Err(refusal) if arguments.engine == Playing::Auto => {
                let name = &scenario.variant;
                return Err(Stop::Failed(format!(
                    "failed to simulate variant `{name}`: {refusal}"
                )));
            }
            Err(refusal) => {
                refused.push(Refused {
                    name: scenario.variant.clone(),
                    why: refusal.to_string(),
                });
                continue;
            }
        };
        for run in runs {
            requests += run.requests;
            choice.get_or_insert_with(|| played(&run.choice));
            records.push(run.record);
        }
        variants.push(Variant {
            name: scenario.variant.clone(),
            about: scenario.variant_about.clone(),
            judged: judged(scenario, &records),
            records,
            requests,
            played: choice,
        });
    }
    if let ([], [first, ..]) = (variants.as_slice(), refused.as_slice()) {
        return Err(Stop::Input(
            format!("no variant was played; `{}`: {}", first.name, first.why),
            "leave --engine out, and each variant is played by what can".to_owned(),
        ));
    }
    Ok((variants, refused))
}

/// As wide as the terminal says it is, within what is readable.
pub(crate) fn columns() -> usize {
    let told = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    if std::io::stdout().is_terminal() {
        told.unwrap_or(COLUMNS_MAX)
    } else {
        COLUMNS_MAX
    }
}
