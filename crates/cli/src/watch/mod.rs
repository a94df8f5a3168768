//! `seawall watch`: looks at a system once a period, and makes incidents of what it sees.

mod incidents;
mod lines;
mod scene;
mod screen;
mod source;
mod watching;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_diagnose::incident::Utc;
use seawall_diagnose::incident::alerts::{Ear, Herald};
use seawall_diagnose::probe::{Kind, LogProbe, Options, Place, Prober, Target};
use seawall_diagnose::runbook::Known;
use seawall_report::read_csv;

use crate::live::{admin_token, target_of};
use crate::playing::span;
use crate::stop::Stop;
use source::{Live, Played};
use watching::{Setup, Watching};

/// Watches a system: which failure it is, how bad, what helps; keeps incidents, tells of them, and writes them down
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  seawall watch --redis redis://cache:6379 --postgres postgres://app@db/shop --app http://app:8080
  seawall watch --redis redis://cache:6379 --webhook http://pager:8080/hook --listen 127.0.0.1:9095
  seawall watch --redis redis://cache:6379 --once          looks until it can judge, says what it found, and ends
  seawall simulate redis-down --series run.csv && seawall watch --source-record run.csv --speed 20
  seawall watch incidents                                  the incidents that are kept
  seawall watch incidents letter last update               the mitigation update of the last one
  seawall watch incidents postmortem last > postmortem.md

What is calm is learnt from the first ten seconds in which all is well, so begin before there is trouble. It only reads, and
writes one short-lived key of its own to each Redis; --no-canary leaves that out. Ctrl-C ends it; an incident that is under
way is taken up again by the next `watch` with the same --state. docs/watch.md tells more.

Exit status: 0 it ended in order; with --once and --source-record 1 when an incident is under way at the end; 2 the input is
wrong; 3 it could not be done."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    watching: Asked,
}

#[derive(clap::Subcommand)]
enum Other {
    Incidents(incidents::Arguments),
}

/// What is watched, and what is made of it.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Asked {
    /// A Redis; may be repeated, each is then a node
    #[arg(long, value_name = "URL")]
    redis: Vec<String>,
    /// A PostgreSQL behind it; may be repeated
    #[arg(long, value_name = "URL")]
    postgres: Vec<String>,
    /// An app with /health/ready and /metrics; may be repeated
    #[arg(long, value_name = "URL")]
    app: Vec<String>,
    /// The admin API of a gateway, for its health and its metrics
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// The file with its bearer token [default: what `SEAWALL_ADMIN_TOKEN` holds]
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// A Prometheus, for what is not asked directly; with --every 5s or more
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// A log that is followed; `-` is the standard input; may be repeated
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<String>,
    /// Reads a recorded run instead: `simulate --series`, or `diagnose --save`
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["redis", "postgres", "app", "gateway", "prometheus", "logs", "every"])]
    source_record: Option<PathBuf>,
    /// Which variant of the record [default: the first]
    #[arg(long, value_name = "NAME", requires = "source_record")]
    variant: Option<String>,
    /// Plays the record from this second of it on
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "source_record",
        default_value_t = 0.0
    )]
    from: f64,
    /// So many times as fast as it happened; 0 for at once
    #[arg(
        long,
        value_name = "FACTOR",
        requires = "source_record",
        default_value_t = 1.0
    )]
    speed: f64,
    /// The instant at which the record begins, such as 2026-11-22T02:00:00Z [default: now]
    #[arg(long, value_name = "UTC", requires = "source_record")]
    began: Option<Utc>,
    /// Where incidents are kept, at most 200 [default: seawall/watch in `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Posts incidents there as Alertmanager's webhook does, version 4
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Listens there for what Alertmanager posts to /alerts
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// A file with the token that posts must have (`Authorization: Bearer`); needed to listen beyond this machine
    #[arg(long, value_name = "FILE", requires = "listen")]
    listen_token_file: Option<PathBuf>,
    /// How often it looks
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = span)]
    every: Span,
    /// Writes nothing at all to Redis
    #[arg(long)]
    no_canary: bool,
    /// Looks until it can judge, says what it found, and ends
    #[arg(long)]
    once: bool,
    /// Lines, also in a terminal
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// One JSON object a line, for each thing that happens
    #[arg(long)]
    json: bool,
}

/// What time it is.
fn wall_clock() -> Utc {
    Utc::from_millis((crate::live::wall_clock() * 1e3) as i64)
}

/// The folder where incidents are kept.
fn folder(asked: Option<&PathBuf>) -> Result<PathBuf, Stop> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    asked
        .cloned()
        .or_else(|| Some(from("XDG_STATE_HOME")?.join("seawall/watch")))
        .or_else(|| Some(from("HOME")?.join(".local/state/seawall/watch")))
        .ok_or_else(|| {
            Stop::Input(
                "there is no home to keep incidents in".to_owned(),
                "name a folder with --state".to_owned(),
            )
        })
}

/// Watches, or tells of incidents.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    if let Some(Other::Incidents(asked)) = &arguments.other {
        return incidents::run(asked);
    }
    let asked = &arguments.watching;
    let folder = folder(asked.state.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to begin: {error}")))?;
    let done = runtime.block_on(async {
        let (herald, ear) = wires(asked).await?;
        let look = if asked.json {
            Look::Json
        } else if asked.plain || asked.once || !std::io::stdout().is_terminal() {
            Look::Plain
        } else {
            Look::Screen
        };
        let setup = Setup {
            folder: &folder,
            every: asked.every,
            herald,
            ear,
            look,
            known: Known::default(),
            once: asked.once,
            played: None,
        };
        if let Some(path) = &asked.source_record {
            let source = played(asked, path)?;
            let (every, played) = (source.every(), Some(source.now()));
            return Watching::open(Setup {
                every,
                played,
                ..setup
            })?
            .run(source)
            .await;
        }
        let (targets, known) = targets(asked)?;
        let source = live(asked, targets)?;
        Watching::open(Setup { known, ..setup })?.run(source).await
    });
    runtime.shutdown_background();
    let under_way = done?;
    let tells = asked.once || asked.source_record.is_some();
    Ok(ExitCode::from(u8::from(tells && under_way)))
}

/// How it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Screen,
    Plain,
    Json,
}

/// What is told to others and heard from them.
async fn wires(asked: &Asked) -> Result<(Option<Herald>, Option<Ear>), Stop> {
    let herald = match &asked.webhook {
        Some(url) => Some(Herald::new(target_of(url, Kind::Http, "--webhook")?)),
        None => None,
    };
    let Some(address) = asked.listen else {
        return Ok((herald, None));
    };
    let token = match &asked.listen_token_file {
        Some(path) => {
            let wrong = |what: String| Stop::Input(what, "a file with one word".to_owned());
            let text = std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("failed to read {}: {error}", path.display())))?;
            let token = text.trim().to_owned();
            if token.is_empty() {
                return Err(wrong(format!("{} is empty", path.display())));
            }
            Some(token)
        }
        None if address.ip().is_loopback() => None,
        None => {
            return Err(Stop::Input(
                format!("{address} can be reached from other machines, and nothing says who may post"),
                "name a --listen-token-file, or listen at 127.0.0.1".to_owned(),
            ));
        }
    };
    let ear = Ear::open(address, token).await.map_err(|error| {
        Stop::Input(
            format!("failed to listen at {address}: {error}"),
            "is the port taken?".to_owned(),
        )
    })?;
    Ok((herald, Some(ear)))
}

fn played(asked: &Asked, path: &PathBuf) -> Result<Played, Stop> {
    let wrong = |what: String| {
        let help =
            "files are written by `seawall simulate NAME --series FILE` and `seawall diagnose … --save FILE`";
        Stop::Input(format!("{}: {what}", path.display()), help.to_owned())
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let record = read_csv(&text, asked.variant.as_deref()).map_err(|error| wrong(error.to_string()))?;
    if !(asked.speed >= 0.0 && asked.from >= 0.0) {
        return Err(Stop::Input(
            "--speed and --from are not below zero".to_owned(),
            "for example --from 60 --speed 20".to_owned(),
        ));
    }
    let began = asked.began.unwrap_or_else(wall_clock);
    Ok(Played::new(record, began, asked.from, asked.speed))
}

/// The servers, and the names that commands need.
fn targets(asked: &Asked) -> Result<(Vec<Target>, Known), Stop> {
    let mut targets = Vec::new();
    for (urls, kind, option) in [
        (&asked.redis, Kind::Redis, "--redis"),
        (&asked.postgres, Kind::Postgres, "--postgres"),
        (&asked.app, Kind::Http, "--app"),
    ] {
        for url in urls {
            targets.push(target_of(url, kind, option)?);
        }
    }
    if let Some(url) = &asked.gateway {
        let token = admin_token(asked.token_file.as_deref())?;
        targets.push(target_of(url, Kind::Http, "--gateway")?.with_token(token));
    }
    let first = |kind| targets.iter().find(|target| target.kind() == kind);
    let known = Known {
        cache: first(Kind::Redis).map(|redis| (redis.host().to_owned(), redis.port())),
        origin: first(Kind::Postgres).map(|origin| origin.host().to_owned()),
    };
    Ok((targets, known))
}

fn live(asked: &Asked, targets: Vec<Target>) -> Result<Live, Stop> {
    let prometheus = match &asked.prometheus {
        Some(url) => Some(target_of(url, Kind::Http, "--prometheus")?),
        None => None,
    };
    if targets.is_empty() && prometheus.is_none() && asked.logs.is_empty() {
        let help = "for example `seawall watch --redis redis://localhost`, or --source-record with a run";
        return Err(Stop::Input(
            "there is nothing to watch".to_owned(),
            help.to_owned(),
        ));
    }
    if asked.every < Span::millis(100) || asked.every > Span::secs(60) {
        let what = "--every is between 100ms and 60s".to_owned();
        return Err(Stop::Input(what, "for example --every 1s".to_owned()));
    }
    if prometheus.is_some() && asked.every < Span::secs(5) {
        return Err(Stop::Input(
            "a Prometheus knows no shorter periods than those in which it asks".to_owned(),
            "with --prometheus, --every is its scrape interval, and 5s at least".to_owned(),
        ));
    }
    let patience = Duration::from_nanos(asked.every.as_nanos());
    let options = Options {
        canary: !asked.no_canary,
        patience: patience.clamp(Duration::from_millis(200), Duration::from_secs(1)),
        ..Options::default()
    };
    let mut prober = Prober::new(targets, options);
    for log in &asked.logs {
        let probe = if log == "-" {
            LogProbe::stream(tokio::io::stdin(), Place::new("log"))
        } else {
            LogProbe::file(std::path::Path::new(log), Place::new("log"), false)
        };
        prober = prober.with_log(probe);
    }
    Ok(Live::new(prober, prometheus, asked.every))
}
