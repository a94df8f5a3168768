//! Which engine plays a scenario, and why.
//!
//! The exact engine plays everything. The others are faster where they may be used: elided is exact in law and skips
//! hits that hold nothing anybody else wants; aggregate plays cohorts of requests in short ticks. Each says what it
//! cannot do, by the name that the document has for it.

use std::fmt;

use seawall_scenario::Scenario;

use crate::{Options, aggregate, elided};

/// How requests are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Engine {
    /// The fastest one that may be used and is near enough.
    #[default]
    Auto,
    /// Every request on its own.
    Exact,
    /// Every request that is not a plain hit; the others are drawn in number.
    Elided,
    /// Cohorts of requests in ticks.
    Aggregate,
}

impl Engine {
    /// All that play, in order of exactness.
    pub const PLAYING: [Engine; 3] = [Engine::Exact, Engine::Elided, Engine::Aggregate];

    /// Why this engine cannot play a scenario, by the names of the document; nothing when it can.
    pub fn refusals(self, scenario: &Scenario) -> Vec<String> {
        match self {
            Engine::Auto | Engine::Exact => Vec::new(),
            Engine::Elided => elided::refusals(scenario),
            Engine::Aggregate => aggregate::refusals(scenario),
        }
    }

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Auto => "auto",
            Engine::Exact => "exact",
            Engine::Elided => "elided",
            Engine::Aggregate => "aggregate",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The engine that plays a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Never [`Engine::Auto`].
    pub engine: Engine,
    /// Why this one; a fragment that reads after "because".
    pub why: String,
    /// How far its numbers were seen to be from those of the exact engine, in words.
    pub envelope: String,
}

/// Up to so many calls of clients, playing each takes seconds.
const FEW: f64 = 3e7;

impl Choice {
    /// The engine that `options` ask for, or the one that suits the scenario best.
    pub fn of(scenario: &Scenario, options: &Options) -> Choice {
        let (engine, why) = match options.engine {
            Engine::Auto => pick(scenario, options.scale),
            asked => (asked, "it was asked for".to_owned()),
        };
        let envelope = match engine {
            Engine::Aggregate => aggregate::spell_envelope(scenario),
            Engine::Elided => "exact in law".to_owned(),
            Engine::Auto | Engine::Exact => "every request is played".to_owned(),
        };
        Choice {
            engine,
            why,
            envelope,
        }
    }
}

/// The fastest engine that is near enough and plays this scenario, and why it is that one.
fn pick(scenario: &Scenario, scale: f64) -> (Engine, String) {
    let length = (scenario.run.warmup + scenario.run.duration).as_secs_f64();
    let rate = scenario.clients.iter().map(|client| client.rate).sum::<f64>() * scale;
    let calls = rate * length;
    let many = match calls {
        1e9.. => format!("{:.1}G", calls / 1e9),
        1e6.. => format!("{:.0}M", calls / 1e6),
        _ => format!("{calls:.0}"),
    };
    if calls <= FEW {
        return (
            Engine::Exact,
            format!("{many} requests are few enough to play each"),
        );
    }
    let too_many = format!("{many} requests are too many to play each");
    let refusals = Engine::Aggregate.refusals(scenario);
    let Some(first) = refusals.first() else {
        return (Engine::Aggregate, too_many);
    };
    let not = format!("the aggregate engine cannot play `{}`", first.trim_matches('`'));
    if Engine::Elided.refusals(scenario).is_empty() {
        return (Engine::Elided, format!("{too_many}, and {not}"));
    }
    (
        Engine::Exact,
        format!("no faster engine plays this scenario: {not}"),
    )
}
