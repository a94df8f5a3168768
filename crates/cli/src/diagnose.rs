//! `seawall diagnose`: which failure is it, with the evidence, and what to do; does one step when told to.

mod acting;
mod audit_log;
mod measuring;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_diagnose::runbook::{Id, Known, Step, plan};
use seawall_diagnose::{Diagnosis, Settings, diagnose, follow, joined, told};
use seawall_report::{read_csv, record_csv};
use serde_json::json;

use crate::output::{print, write_file};
use crate::playing::span;
use crate::stop::Stop;

/// Says which failure it is, with the evidence for and against, and what to do
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seawall diagnose redis://cache:6379 postgres://app@db/shop http://app:8080
  seawall diagnose redis://cache:6379 --calm calm.csv            compared with a time when all was well
  seawall diagnose redis://cache:6379 --for 60s --save calm.csv  measures such a time
  seawall diagnose redis://cache:6379 --prometheus http://prometheus:9090
  seawall diagnose redis://cache:6379 --apply raise-maxmemory    shows what it would do; --yes does it
  seawall simulate redis-down --series run.csv && seawall diagnose --series run.csv --variant breaker

Addresses are redis://, rediss://, postgres:// and http:// of an app or gateway with /health/ready and /metrics. It only reads,
and writes one short-lived key of its own to Redis; --no-canary leaves that out. REDISCLI_AUTH and PGPASSWORD are read where
an address has no password. docs/diagnose.md says how a finding is come to.

Exit status: 0 nothing is the matter, or the step helped; 1 something is, or the step did not help and was taken back; 2 the
input is wrong; 3 it could not be done.")]
pub(crate) struct Arguments {
    /// Servers that are asked: redis://, rediss://, postgres://, http://
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// A log that is followed; `-` is the standard input
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<String>,
    /// A Prometheus that knows the last hour
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// How long it is measured
    #[arg(long = "for", value_name = "SPAN", default_value = "6s", value_parser = span)]
    length: Span,
    /// How often
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = span)]
    every: Span,
    /// Writes nothing at all to Redis
    #[arg(long)]
    no_canary: bool,
    /// What was measured while all was well, by --save
    #[arg(long, value_name = "FILE.csv")]
    calm: Option<PathBuf>,
    /// Writes what is measured
    #[arg(long, value_name = "FILE.csv")]
    save: Option<PathBuf>,
    /// Reads a run instead of asking servers: `simulate --series`, or --save
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["addresses", "logs", "prometheus", "apply"])]
    series: Option<PathBuf>,
    /// Which variant of --series [default: the first]
    #[arg(long, value_name = "NAME", requires = "series")]
    variant: Option<String>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    acting: acting::Acting,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Measures, or reads what was measured, and tells.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    if let Some(path) = &arguments.series {
        return of_run(arguments, path);
    }
    if arguments.addresses.is_empty() && arguments.logs.is_empty() && arguments.prometheus.is_none() {
        let help = "for example `seawall diagnose redis://localhost`, or --series with a run".to_owned();
        return Err(Stop::Input("there is nothing to ask".to_owned(), help));
    }
    let mut measuring = measuring::Measuring::new(arguments)?;
    let calm = arguments
        .calm
        .as_deref()
        .map(|path| read(path, None))
        .transpose()?;
    if let Some(step) = arguments.acting.step()? {
        return acting::run(arguments, step, &mut measuring, calm.as_ref());
    }
    let now = measuring.measure()?;
    if let Some(path) = &arguments.save {
        write_file(path, |out| record_csv("measured", &now, out))?;
    }
    let diagnosis = at_the_end(&now, calm.as_ref().or(measuring.past()));
    let steps = plan(&diagnosis, &measuring.known());
    tell(arguments, &diagnosis, &steps, measuring.details())?;
    Ok(ExitCode::from(u8::from(!diagnosis.is_healthy())))
}

/// What is the matter at the end of what was measured, compared with the calm where one is known.
fn at_the_end(now: &Record, calm: Option<&Record>) -> Diagnosis {
    match calm {
        Some(calm) => {
            let (both, calm) = joined(calm, now);
            diagnose(&both, both.periods - 1, calm)
        }
        None => diagnose(now, now.periods - 1, 0..0),
    }
}

fn read(path: &std::path::Path, variant: Option<&str>) -> Result<Record, Stop> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Stop::Input(
            format!("failed to read {shown}: {error}"),
            "is the path right?".to_owned(),
        )
    })?;
    read_csv(&text, variant).map_err(|wrong| {
        let help =
            "files are written by `seawall simulate NAME --series FILE` and `seawall diagnose … --save FILE`";
        Stop::Input(format!("{shown}: {wrong}"), help.to_owned())
    })
}

/// A run from its beginning to its end: every incident in it.
fn of_run(arguments: &Arguments, path: &std::path::Path) -> Result<ExitCode, Stop> {
    let record = read(path, arguments.variant.as_deref())?;
    if let Some(calm) = &arguments.calm {
        let calm = read(calm, None)?;
        let diagnosis = at_the_end(&record, Some(&calm));
        tell(arguments, &diagnosis, &plan(&diagnosis, &Known::default()), &[])?;
        return Ok(ExitCode::from(u8::from(!diagnosis.is_healthy())));
    }
    let episodes = follow(&record, Settings::default());
    if arguments.format == Format::Json {
        let told = json!({ "episodes": episodes, "period_s": record.period.as_secs_f64() });
        print(&format!("{told:#}\n"))?;
        return Ok(ExitCode::from(u8::from(!episodes.is_empty())));
    }
    let mut text = String::new();
    if episodes.is_empty() {
        text.push_str("HEALTHY: nothing that was measured is out of order, from the beginning to the end\n");
    }
    for episode in &episodes {
        let closed = episode.closed.map_or("to the end".to_owned(), |at| {
            format!("until {}", clock(&record, at))
        });
        let _ = writeln!(text, "from {} {closed}", clock(&record, episode.opened));
        let steps = plan(&episode.diagnosis, &Known::default());
        text.push_str(&told(&episode.diagnosis, &steps));
        for (at, failure) in &episode.later {
            let _ = writeln!(
                text,
                "later, from {} on: {failure}: {}",
                clock(&record, *at),
                failure.what()
            );
        }
        text.push('\n');
    }
    print(&text)?;
    Ok(ExitCode::from(u8::from(!episodes.is_empty())))
}

fn clock(record: &Record, at: usize) -> String {
    format!("T{:+.0}s", record.clock(at))
}

fn tell(
    arguments: &Arguments,
    diagnosis: &Diagnosis,
    steps: &[Step],
    details: &[String],
) -> Result<(), Stop> {
    if arguments.format == Format::Json {
        let told = json!({ "diagnosis": diagnosis, "steps": steps, "details": details });
        return print(&format!("{told:#}\n"));
    }
    let mut text = told(diagnosis, steps);
    if !details.is_empty() {
        text.push_str("\nseen beside it\n");
        for line in details {
            let _ = writeln!(text, "  {line}");
        }
    }
    print(&text)
}

/// The names of all steps that can be applied.
fn names() -> String {
    let names: Vec<&str> = Id::ALL.iter().map(|id| id.name()).collect();
    names.join(", ")
}
