//! `seawall load`: sends calls when they are due, and says how they fared.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use seawall_core::arrivals::Spacing;
use seawall_core::keys::{Keys, Law};
use seawall_core::time::Span;
use seawall_drill::load::{Load, Pipeline, Report, Settings, Truth, Web};
use seawall_scenario::units;

use crate::output::{print, write_file};
use crate::playing::span;
use crate::stop::Stop;

/// Sends load to a Redis or an HTTP service, each call when it is due, and checks the answers
#[derive(clap::Args)]
#[command(after_help = "\
Latency counts from when a call was due, so a server that stands still is seen by all the calls that would have come. How \
late calls were sent is told too: it is this command's own error. docs/load.md has more.

  seawall load redis://127.0.0.1:6379 --rate 20k/s --duration 10s --keys zipf:100k:0.9
  seawall load http://127.0.0.1:8080/users/{key} --rate 500/s --retries 2 --p99 100ms

Before it begins, keys are written to a Redis, under a prefix of their own; they expire an hour after the run.

Exit status: 0 sound, and what was asked for holds; 1 wrong answers, not sound, or it does not hold; 2 the input is wrong; \
3 it could not be done.")]
pub(crate) struct Arguments {
    /// redis://HOST:PORT, or http://…, with {key} where the key goes
    target: String,

    /// Calls a second
    #[arg(long, value_parser = rate, default_value = "1000/s")]
    rate: f64,

    /// For how long calls are sent
    #[arg(long, value_parser = span, default_value = "10s")]
    duration: Span,

    /// Which keys: zipf:COUNT:EXPONENT, uniform:COUNT, normal:MEAN:DEVIATION, or single
    #[arg(long, value_parser = law, default_value = "zipf:10k:0.9")]
    keys: Law,

    /// Send at equal distances instead of at random
    #[arg(long)]
    even: bool,

    /// The share of calls that write
    #[arg(long, value_parser = share, default_value = "0%")]
    writes: f64,

    /// The share of reads for keys that do not exist
    #[arg(long, value_parser = share, default_value = "0%")]
    missing: f64,

    /// How long an attempt may take
    #[arg(long, value_parser = span, default_value = "1s")]
    timeout: Span,

    /// How often a call that failed is tried again
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    retries: u32,

    /// The pause before each retry
    #[arg(long, value_parser = span, default_value = "1s")]
    backoff: Span,

    /// Calls under way at the same time; those due beyond are told as overruns
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    in_flight: usize,

    /// Connections to a Redis; to an HTTP service there is one for each call under way
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    connections: usize,

    /// Bytes of a value
    #[arg(long, value_parser = units::size, default_value = "100b")]
    size: u64,

    /// Do not write the keys to the Redis first
    #[arg(long)]
    no_fill: bool,

    /// Hold the answers of an HTTP service against the values that this command would have written
    #[arg(long)]
    check: bool,

    /// Right answers must be at least this share of all calls
    #[arg(long, value_parser = share)]
    goodput: Option<f64>,

    /// 99% of the calls must take no longer
    #[arg(long, value_parser = span)]
    p99: Option<Span>,

    /// Decides arrivals and keys
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Write the result as JSON to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    units::rate(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    units::ratio(text).map_err(|error| error.to_string())
}

/// More keys are not written before a run.
const FILLED_MAX: u64 = 1_000_000;

/// A law of keys, as `zipf:100k:0.9`.
fn law(text: &str) -> Result<Law, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let count = |text: &str| match units::count(text) {
        Ok(count) if (1.0..=1e10).contains(&count) => Ok(count as u64),
        Ok(_) => Err("there must be between 1 and 10G keys".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let number = |text: &str| match text.parse::<f64>() {
        Ok(number) if (0.0..=1e10).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is no number that can be used here")),
    };
    match parts[..] {
        ["single"] => Ok(Law::Single),
        ["uniform", keys] => Ok(Law::Uniform { count: count(keys)? }),
        ["zipf", keys, exponent] => {
            let exponent = number(exponent)?;
            if exponent > 10.0 {
                return Err("the exponent must be at most 10; web traffic has 0.6 to 1.2".to_owned());
            }
            Ok(Law::Zipf {
                count: count(keys)?,
                exponent,
            })
        }
        ["normal", mean, deviation] => Ok(Law::Normal {
            mean: number(mean)?,
            deviation: number(deviation)?,
        }),
        _ => Err("it must be zipf:COUNT:EXPONENT, uniform:COUNT, normal:MEAN:DEVIATION or single".to_owned()),
    }
}

/// Sends, and says how it went.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
    let report = runtime.block_on(async {
        match arguments.target.strip_prefix("redis://") {
            Some(place) => to_redis(arguments, place).await,
            None => to_service(arguments).await,
        }
    })?;
    tell(arguments, &report)
}

async fn to_redis(arguments: &Arguments, place: &str) -> Result<Report, Stop> {
    let wrong = |what: String| {
        Stop::Input(
            what,
            "write redis://HOST:PORT; a password or a database cannot be given".to_owned(),
        )
    };
    let place = place.trim_end_matches('/');
    let place = if place.contains(':') {
        place.to_owned()
    } else {
        format!("{place}:6379")
    };
    let mut addresses = place
        .to_socket_addrs()
        .map_err(|error| wrong(format!("`{place}` is no address: {error}")))?;
    let address: SocketAddr = addresses
        .next()
        .ok_or_else(|| wrong(format!("`{place}` is no address")))?;
    let truth = Truth::new(usize::try_from(arguments.size).unwrap_or(usize::MAX)).of_cache();
    let expiry = arguments.duration.as_secs_f64() as u64 + 3_600;
    let target = Pipeline::new(address, arguments.connections, "seawall-load:").expiring(expiry);
    if !arguments.no_fill {
        let keys = Keys::new(arguments.keys);
        let keys = 0..keys.bound().min(FILLED_MAX);
        let filled = target.fill(keys.map(|key| (key, truth.value(key, 0)))).await;
        filled.map_err(|why| Stop::Failed(format!("failed to write the keys to {address}: {why}")))?;
    }
    let load = Load::start(settings(arguments), target, Arc::new(truth));
    finish(load).await
}

async fn to_service(arguments: &Arguments) -> Result<Report, Stop> {
    let target = Web::new(&arguments.target).map_err(|error| {
        Stop::Input(
            error.to_string(),
            "write redis://HOST:PORT or http://HOST:PORT/{key}".to_owned(),
        )
    })?;
    let truth = if arguments.check {
        Truth::new(usize::try_from(arguments.size).unwrap_or(usize::MAX))
    } else {
        Truth::unknown()
    };
    finish(Load::start(settings(arguments), target, Arc::new(truth))).await
}

async fn finish(load: std::io::Result<Load>) -> Result<Report, Stop> {
    let load = load.map_err(|error| Stop::Failed(format!("failed to start a thread: {error}")))?;
    Ok(load.finish().await)
}

fn settings(arguments: &Arguments) -> Settings {
    Settings {
        spacing: if arguments.even {
            Spacing::Even
        } else {
            Spacing::Poisson
        },
        rate: arguments.rate,
        keys: arguments.keys,
        writes: arguments.writes,
        missing: arguments.missing,
        timeout: Some(arguments.timeout),
        retries: arguments.retries,
        backoff: arguments.backoff,
        duration: arguments.duration,
        in_flight_max: arguments.in_flight,
        seed: arguments.seed,
        ..Settings::default()
    }
}

fn tell(arguments: &Arguments, report: &Report) -> Result<bool, Stop> {
    let mut unmet = Vec::new();
    if let Some(least) = arguments.goodput
        && report.goodput() < least
    {
        unmet.push(format!("NOT HELD: goodput of at least {}%\n", least * 100.0));
    }
    if let Some(most) = arguments.p99
        && report.latency(0.99) > most
    {
        unmet.push(format!("NOT HELD: p99 of at most {most}\n"));
    }
    let held = report.is_sound() && report.wrong() == 0 && unmet.is_empty();
    print(&(unmet.concat() + &report.text()))?;
    if let Some(path) = &arguments.json {
        let mut json = report.json();
        json["held"] = held.into();
        write_file(path, |out| writeln!(out, "{json:#}"))?;
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_of_keys_are_read() {
        assert_eq!(law("single"), Ok(Law::Single));
        assert_eq!(law("uniform:10k"), Ok(Law::Uniform { count: 10_000 }));
        let zipf = Law::Zipf {
            count: 100_000,
            exponent: 0.9,
        };
        assert_eq!(law("zipf:100k:0.9"), Ok(zipf));
        for wrong in [
            "",
            "zipf",
            "zipf:0:1",
            "zipf:1k:11",
            "uniform:x",
            "normal:1",
            "single:1",
            "zipf:1k:-1",
        ] {
            assert!(law(wrong).is_err(), "{wrong}");
        }
    }
}
