//! What live servers say, for a while.

use std::time::Duration;

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_diagnose::probe::prometheus::{Past, past};
use seawall_diagnose::probe::{
    Details, Kind, LogProbe, Options, Place, Prober, Recording, Step, Target, Trouble,
};
use seawall_diagnose::runbook::Known;

use super::Arguments;
use crate::live::{target, target_of, unread, wall_clock};
use crate::stop::Stop;

/// So many periods are measured at most.
const PERIODS_MAX: u64 = 3_600;
/// A past in so many periods of so many seconds.
const PAST: (usize, u64) = (240, 15);
/// What is newer than so many seconds may be the incident.
const RECENT_S: u64 = 900;

/// Servers that are asked, and a place for their answers.
pub(super) struct Measuring {
    runtime: tokio::runtime::Runtime,
    prober: Prober,
    /// Like servers to which nothing is done.
    control: Option<Prober>,
    targets: Vec<Target>,
    length: Span,
    every: Span,
    past: Option<Record>,
    details: Vec<String>,
}

impl Measuring {
    pub(super) fn new(arguments: &Arguments) -> Result<Measuring, Stop> {
        let targets = arguments.addresses.iter().map(|text| target(text));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let (length, every) = (arguments.length, arguments.every);
        if every.is_zero() || length < every || length.as_nanos() / every.as_nanos() > PERIODS_MAX {
            return Err(Stop::Input(
                "--for must be between one and 3600 times --every".to_owned(),
                "for example --for 6s --every 1s".to_owned(),
            ));
        }
        let options = Options {
            canary: !arguments.no_canary,
            patience: Duration::from_nanos(every.as_nanos())
                .clamp(Duration::from_millis(200), Duration::from_secs(1)),
            ..Options::default()
        };
        let control = arguments.acting.control().iter().map(|text| target(text));
        let control = control.collect::<Result<Vec<_>, _>>()?;
        let control = (!control.is_empty()).then(|| Prober::new(control, options));
        let mut prober = Prober::new(targets.clone(), options);
        for log in &arguments.logs {
            let probe = if log == "-" {
                LogProbe::stream(tokio::io::stdin(), Place::new("log"))
            } else {
                LogProbe::file(std::path::Path::new(log), Place::new("log"), false)
            };
            prober = prober.with_log(probe);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to begin: {error}")))?;
        let past = match &arguments.prometheus {
            Some(url) => Some(past_of(&runtime, &target_of(url, Kind::Http, "--prometheus")?)?),
            None => None,
        };
        Ok(Measuring {
            runtime,
            prober,
            control,
            targets,
            length,
            every,
            past,
            details: Vec::new(),
        })
    }

    /// What Prometheus knows of the time before.
    pub(super) fn past(&self) -> Option<&Record> {
        self.past.as_ref()
    }

    /// What stands beside the numbers.
    pub(super) fn details(&self) -> &[String] {
        &self.details
    }

    /// The first address of a kind.
    pub(super) fn first(&self, kind: Kind) -> Option<&Target> {
        self.targets.iter().find(|target| target.kind() == kind)
    }

    /// The names that commands need.
    pub(super) fn known(&self) -> Known {
        Known {
            cache: self
                .first(Kind::Redis)
                .map(|redis| (redis.host().to_owned(), redis.port())),
            origin: self.first(Kind::Postgres).map(|origin| origin.host().to_owned()),
        }
    }

    /// Waits for an answer of a server.
    pub(super) fn block_on<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Lets time pass; false when somebody pressed Ctrl-C.
    pub(super) fn wait(&self, time: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(time) => true,
                pressed = tokio::signal::ctrl_c() => pressed.is_err(),
            }
        })
    }

    /// Asks once a period, for as long as was said. A hung server costs a period's patience and no more.
    pub(super) fn measure(&mut self) -> Result<Record, Stop> {
        Ok(self.measure_both()?.0)
    }

    /// The same; and at the same time what is left alone, where there is such.
    pub(super) fn measure_both(&mut self) -> Result<(Record, Option<Record>), Stop> {
        let periods = (self.length.as_nanos() / self.every.as_nanos()).max(1) as usize;
        let every = self.every;
        let (prober, control, details) = (&mut self.prober, &mut self.control, &mut self.details);
        let asked = async {
            let beside = async {
                match control {
                    Some(control) => Some(asked(control, periods, every).await),
                    None => None,
                }
            };
            let both = tokio::join!(asked(prober, periods, every), beside);
            if periods > 1 {
                *details = seen(prober.details().await.into_iter().flatten());
            }
            both
        };
        let both = self.runtime.block_on(async {
            tokio::select! {
                both = asked => Some(both),
                _ = tokio::signal::ctrl_c() => None,
            }
        });
        let Some((recording, control)) = both else {
            return Err(Stop::Failed("it was ended by hand".to_owned()));
        };
        if let Some(stranger) = stranger_in(&recording) {
            let kind = if stranger.component == "postgres" {
                Kind::Postgres
            } else if stranger.component == "redis" {
                Kind::Redis
            } else {
                Kind::Http
            };
            let of = |target: &&Target| target.kind() == kind;
            let number = stranger.instance.unwrap_or(0) as usize;
            let target = self.targets.iter().filter(of).nth(number);
            let name = target.map_or_else(|| stranger.component.clone(), ToString::to_string);
            return Err(unread(&name, &stranger.fault));
        }
        if self.targets.is_empty() && self.past.is_some() {
            // Nobody is asked: the end of what Prometheus knows is now.
            let past = self.past.take();
            let past = past.ok_or_else(|| Stop::Failed("nothing was measured".to_owned()))?;
            return Ok((past, None));
        }
        Ok((recording.record(), control.map(|control| control.record())))
    }
}

/// Asks these servers once a period.
async fn asked(prober: &mut Prober, periods: usize, every: Span) -> Recording {
    let mut recording = Recording::new(every, periods);
    let mut beat = tokio::time::interval(Duration::from_nanos(every.as_nanos()));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first round opens connections and has nothing to compare counters with.
    beat.tick().await;
    let first = prober.round().await;
    if periods == 1 || first.troubles.iter().any(is_stranger) {
        recording.push(first);
        return recording;
    }
    for _ in 0..periods {
        beat.tick().await;
        recording.push(prober.round().await);
    }
    recording
}

/// The first server that we have no reason to believe.
fn stranger_in(recording: &Recording) -> Option<&Trouble> {
    recording
        .last()?
        .troubles
        .iter()
        .find(|trouble| is_stranger(trouble))
}

/// Whether a server is one that we have no reason to believe. Nothing that it measures can say what is the matter.
fn is_stranger(trouble: &Trouble) -> bool {
    trouble.step == Step::Connect && trouble.fault.text.contains("certificate")
}

fn past_of(runtime: &tokio::runtime::Runtime, target: &Target) -> Result<Record, Stop> {
    let now = wall_clock() as u64;
    let (periods, seconds) = PAST;
    let asked = Past {
        end: now.saturating_sub(RECENT_S),
        periods,
        period: Span::secs(seconds),
    };
    runtime
        .block_on(past(target, asked, Duration::from_secs(10)))
        .map_err(|fault| unread(&target.to_string(), &fault))
}

/// What a person wants to see of the details.
fn seen(details: impl Iterator<Item = Details>) -> Vec<String> {
    let mut lines = Vec::new();
    for found in details {
        for slow in found.slow.iter().take(3) {
            let key = if slow.key.is_empty() {
                String::new()
            } else {
                format!(" {}", slow.key)
            };
            lines.push(format!(
                "SLOWLOG: {}{key} took {:.1} ms",
                slow.command,
                slow.seconds * 1e3
            ));
        }
        for (from, count) in found.clients.from.iter().take(3) {
            lines.push(format!("{count} clients from {from}"));
        }
        if found.clients.idle > 0 {
            lines.push(format!(
                "{} of {} clients are idle",
                found.clients.idle, found.clients.count
            ));
        }
    }
    lines
}
