//! `seawall init`: the scenario of a live system, and what would happen to it without its cache.

use std::path::PathBuf;
use std::time::Duration;

use seawall_core::record::{Metric, Record};
use seawall_core::time::Span;
use seawall_diagnose::init::{Assumed, Measured, Wanted, document, measure};
use seawall_diagnose::probe::prometheus::{Past, past};
use seawall_diagnose::probe::{Kind, Target};
use seawall_scenario::{AS_WRITTEN, Document, Scenario};
use seawall_sim::{Options, replicate};

use crate::live::{asked, target_of, unread, wall_clock};
use crate::output::{print, write_file};
use crate::playing::{Playing, processors, span};
use crate::stop::Stop;

/// Measures a live system for a while, writes the scenario that simulates it, and says what losing the cache now would do
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  seawall init --redis redis://cache:6379 --postgres postgres://app@db/shop --out now.toml
  seawall init --redis redis://cache-0 --redis redis://cache-1 --prometheus http://prometheus:9090 > now.toml
  seawall simulate now.toml              what is then predicted, with all curves

It changes nothing. Each number in the scenario says where it comes from; what cannot be measured from outside (how much the \
database can do, how long clients wait) is called assumed.
REDISCLI_AUTH and PGPASSWORD are read where an address has no password.

Exit status: 0 done; 2 a server could not be read, or the input is wrong; 3 it could not be done.")]
pub(crate) struct Arguments {
    /// The cache; may be repeated, once for each node
    #[arg(long, value_name = "ADDRESS", required = true)]
    redis: Vec<String>,
    /// The database behind it
    #[arg(long, value_name = "ADDRESS")]
    postgres: Option<String>,
    /// A Prometheus, for what the last hour was like
    #[arg(long, value_name = "ADDRESS")]
    prometheus: Option<String>,
    /// So long it is measured
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = span)]
    window: Span,
    /// One question may take so long
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = span)]
    patience: Span,
    /// So many keys of each node are looked at
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    keys: u32,
    /// How many queries the database works on at once at full speed
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    processors: u16,
    /// How long a client waits
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = span)]
    timeout: Span,
    /// Where the scenario is written [default: the standard output, and what would happen to the standard error stream]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The last hour is asked for in minutes.
const HOUR: Past = Past {
    end: 0,
    periods: 60,
    period: Span::secs(60),
};

/// Measures, writes, predicts.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let mut targets = Vec::new();
    for address in &arguments.redis {
        targets.push(target_of(address, Kind::Redis, "--redis")?);
    }
    if let Some(address) = &arguments.postgres {
        targets.push(target_of(address, Kind::Postgres, "--postgres")?);
    }
    let prometheus = arguments.prometheus.as_ref();
    let prometheus = prometheus
        .map(|address| target_of(address, Kind::Http, "--prometheus"))
        .transpose()?;
    let measured = asked(measured(&targets, prometheus.as_ref(), arguments))??;
    let assumed = Assumed {
        processors: f64::from(arguments.processors),
        timeout: arguments.timeout.as_secs_f64(),
        places: targets.iter().map(ToString::to_string).collect(),
    };
    let text = document(&measured, &assumed);
    let name = arguments
        .out
        .as_ref()
        .map_or_else(|| "now.toml".to_owned(), |path| path.display().to_string());
    let scenario = Document::parse(&name, &text).and_then(|document| document.scenario(AS_WRITTEN, &[]));
    let told = told(&scenario?, &assumed)?;
    if let Some(path) = &arguments.out {
        write_file(path, |out| out.write_all(text.as_bytes()))?;
        print(&format!(
            "{told}\nThe scenario is in {name}: seawall simulate {name}\n"
        ))?;
    } else {
        print(&text)?;
        eprint(&told);
    }
    Ok(true)
}

/// Nobody is left to tell when the standard error stream is closed.
fn eprint(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

async fn measured(
    targets: &[Target],
    prometheus: Option<&Target>,
    arguments: &Arguments,
) -> Result<Measured, Stop> {
    let patience = Duration::from_nanos(arguments.patience.as_nanos());
    let mut before = None;
    if let Some(prometheus) = prometheus {
        let known = past(
            prometheus,
            Past {
                end: wall_clock() as u64,
                ..HOUR
            },
            patience,
        )
        .await;
        before = Some(known.map_err(|fault| unread(&prometheus.to_string(), &fault))?);
    }
    let wanted = Wanted {
        window: Duration::from_nanos(arguments.window.as_nanos()),
        patience,
        keys_max: arguments.keys as usize,
    };
    let measured = measure(targets, wanted).await;
    let measured = measured.map_err(|failed| unread(&failed.target, &failed.fault))?;
    measured.enough().map_err(|fault| {
        let help = "measure while it is in use, or for longer (--window 1m)";
        Stop::Input(fault.to_string(), help.to_owned())
    })?;
    Ok(match before {
        Some(before) => measured.with_past(&before),
        None => measured,
    })
}

/// What the simulator says of the loss, in one paragraph.
fn told(scenario: &Scenario, assumed: &Assumed) -> Result<String, Stop> {
    let options = Options {
        seed: scenario.run.seed,
        run: 0,
        scale: scenario.run.scale,
        engine: Playing::Auto.into(),
    };
    let mut runs = replicate(&[(scenario.clone(), options)], processors(), &|_| {});
    let run = runs
        .pop()
        .ok_or_else(|| Stop::Failed("nothing was simulated".to_owned()))?;
    let record = run
        .map_err(|refusal| Stop::Failed(format!("failed to simulate it: {refusal}")))?
        .record;
    Ok(paragraph(&record, assumed))
}

/// When the cache goes in the scenario, and when it is back, in seconds.
const GONE: (f64, f64) = (30.0, 90.0);

fn paragraph(record: &Record, assumed: &Assumed) -> String {
    let end = record.clock(record.periods.saturating_sub(1));
    let (before, gone, after) = (
        record.window(0.0, GONE.0),
        record.window(GONE.0, GONE.1),
        record.window(GONE.1, end),
    );
    let period = record.period.as_secs_f64();
    let origin = record.values(Metric::OriginRequests, "postgres", None);
    let mean = |window: &std::ops::Range<usize>| {
        let values = origin.get(window.clone()).unwrap_or_default();
        values.iter().sum::<f64>() / values.len().max(1) as f64 / period
    };
    let good = |window: std::ops::Range<usize>| record.ratio(Metric::GoodputRatio, "readers", window);
    let slowest = record.values(Metric::RequestDuration, "readers", Some("0.99"));
    let slowest = slowest
        .get(gone.clone())
        .unwrap_or_default()
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let usual = good(before.clone());
    // Back to normal: from here on as many right answers as before, in every ten seconds.
    let well = |from: usize| good(from..(from + 10).min(after.end)) >= usual * 0.98;
    let recovered = after
        .clone()
        .find(|from| (*from..after.end).step_by(10).all(well));
    let recovery = match recovered {
        Some(at) if at == after.start => {
            "When the cache is back a minute later, empty, all is well at once.".to_owned()
        }
        Some(at) => format!(
            "When the cache is back a minute later, empty, it takes {:.0} s until all is as it was.",
            (at - after.start) as f64 * period
        ),
        None => format!(
            "When the cache is back a minute later, empty, the system does not recover within {:.0} s: it stays down by itself.",
            end - GONE.1
        ),
    };
    format!(
        "If the cache went away now: the database would be asked for {:.0} reads a second instead of {:.0}; {:.0}% of reads would \
         be answered in time instead of {:.0}%, and one in a hundred would take {:.1} s or more. {recovery} (Assumed: the \
         database works on {:.0} queries at once at full speed, clients wait {:.1} s and do not try again.)\n",
        mean(&gone),
        mean(&before),
        good(gone) * 100.0,
        usual * 100.0,
        slowest,
        assumed.processors,
        assumed.timeout,
    )
}
