//! `seawall audit`: what should be mended before there is an incident.

use std::process::ExitCode;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_diagnose::audit::{Audit, Facts, Reading, Severity, audit, json, sarif, text};
use seawall_diagnose::probe::{Fault, Why};

use crate::live::{asked, target, unread};
use crate::output::print;
use crate::playing::span;
use crate::stop::Stop;

/// Checks a live Redis, and the PostgreSQL behind it, for what makes incidents
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seawall audit redis://cache:6379
  seawall audit redis://cache-0 redis://cache-1 postgres://app@db/shop --fail-on high
  seawall audit rediss://cache:6380 --format sarif > audit.sarif

It changes nothing. Keys are looked at by sampling. REDISCLI_AUTH and PGPASSWORD are read where an address has no password.
docs/audit.md explains every check.

Exit status: 0 nothing found that weighs as much as --fail-on; 1 something was; 2 a server could not be read, or the input is \
wrong; 3 it could not be done.")]
pub(crate) struct Arguments {
    /// Addresses: redis://, rediss://, postgres://
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,
    /// From which weight on a finding fails the command
    #[arg(long, value_enum, value_name = "WEIGHT", default_value_t = FailOn::Medium)]
    fail_on: FailOn,
    /// So many keys are looked at
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    keys: u32,
    /// So long look-ups are counted
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = span)]
    window: Span,
    /// One server is read within this time
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    within: Span,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    High,
    Medium,
    Low,
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    Sarif,
}

/// Reads, judges and tells.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let targets: Vec<_> = arguments
        .addresses
        .iter()
        .map(|text| target(text))
        .collect::<Result<_, _>>()?;
    let reading = Reading {
        patience: Duration::from_nanos(arguments.within.as_nanos()),
        keys_max: arguments.keys as usize,
        window: Duration::from_nanos(arguments.window.as_nanos()),
    };
    if reading.window >= reading.patience || reading.window.is_zero() {
        let what = "--window must be more than nothing and less than --within".to_owned();
        return Err(Stop::Input(
            what,
            "for example --window 2s --within 10s".to_owned(),
        ));
    }
    let facts = asked(Facts::read(&targets, reading))?;
    let facts = facts.map_err(|failed| unread(&failed.target, &named(failed.fault)))?;
    let audit = audit(&facts);
    match arguments.format {
        Format::Text => print(&text(&audit))?,
        Format::Json => print(&format!("{:#}\n", json(&audit)))?,
        Format::Sarif => print(&format!("{:#}\n", sarif(&audit, env!("CARGO_PKG_VERSION"))))?,
    }
    Ok(ExitCode::from(u8::from(fails(&audit, arguments.fail_on))))
}

/// A deadline that came while reading is the reading's own.
fn named(fault: Fault) -> Fault {
    let text = match fault.why {
        Why::TimedOut => format!("{} (--within allows more)", fault.text),
        _ => fault.text,
    };
    Fault { text, ..fault }
}

fn fails(audit: &Audit, fail_on: FailOn) -> bool {
    let least = match fail_on {
        FailOn::High => Severity::High,
        FailOn::Medium => Severity::Medium,
        FailOn::Low => Severity::Low,
        FailOn::Never => return false,
    };
    audit.worst() >= Some(least)
}
