//! What all commands that play a scenario have in common: how an engine, a share and a setting are spelled, and who
//! judges what was played.

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_report::{Judged, Played};
use seawall_scenario::{Scenario, units};
use seawall_sim::{Choice, Engine};

/// An engine, as it is spelled on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Playing {
    /// The fastest that may be used and is near enough; the output says which, and why
    Auto,
    /// Every request on its own
    Exact,
    /// Exact in law: plain hits are drawn in number and not played
    Elided,
    /// Cohorts of requests in short ticks
    Aggregate,
}

impl From<Playing> for Engine {
    fn from(playing: Playing) -> Engine {
        match playing {
            Playing::Auto => Engine::Auto,
            Playing::Exact => Engine::Exact,
            Playing::Elided => Engine::Elided,
            Playing::Aggregate => Engine::Aggregate,
        }
    }
}

/// What a report says of the engine that played.
pub(crate) fn played(choice: &Choice) -> Played {
    Played {
        engine: choice.engine.to_string(),
        why: choice.why.clone(),
        envelope: choice.envelope.clone(),
    }
}

/// What must hold in a variant, and whether it did.
pub(crate) fn judged(scenario: &Scenario, records: &[Record]) -> Vec<Judged> {
    let told = |judged: seawall_scenario::Judged| Judged {
        that: judged.that,
        met: judged.met,
        seen: judged.seen,
        wanted: judged.wanted,
        over: (judged.over.from, judged.over.to),
        metric: judged.metric.name().to_owned(),
        of: judged.of,
    };
    scenario.judge(records).into_iter().map(told).collect()
}

/// How many runs go on at the same time, if nobody says.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A share of the full size.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = match text.split_once('/') {
        Some((above, below)) => number(above)? / number(below)?,
        None => units::ratio(text).or_else(|_| number(text))?,
    };
    if share > 0.0 && share <= 1.0 {
        Ok(share)
    } else {
        Err("it must be above 0 and at most 1, such as 1, 0.01, 1/100 or 1%".to_owned())
    }
}

fn number(text: &str) -> Result<f64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{text}` is no number; write 1, 0.01, 1/100 or 1%"))
}

/// A length of time that is not nothing.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    let span = units::duration(text).map_err(|error| error.to_string())?;
    if span.is_zero() {
        Err("it must be longer than nothing".to_owned())
    } else {
        Ok(span)
    }
}

/// A path in the document, and the value there.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    let (path, value) = text
        .split_once('=')
        .ok_or("write PATH=VALUE, such as protect.breaker.failures=3")?;
    Ok((path.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_may_be_written_in_four_ways() {
        for text in ["0.01", "1/100", "1%"] {
            assert!((share(text).unwrap() - 0.01).abs() < 1e-12, "{text}");
        }
        assert!(
            share("2").is_err() && share("0").is_err() && share("1/0").is_err() && share("much").is_err()
        );
    }

    #[test]
    fn a_setting_has_a_path_and_a_value() {
        assert_eq!(setting("a.b = 3"), Ok(("a.b".to_owned(), "3".to_owned())));
        assert!(setting("a.b").is_err());
    }
}
