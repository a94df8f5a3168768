//! Which engine plays a scenario, and why.
//!
//! The exact engine plays everything. The others are faster where they may be used: elided is exact in law and skips
//! hits that hold nothing anybody else wants; aggregate plays cohorts of requests in short ticks. Each says what it
//! cannot do, by the name that the document has for it.

use std::fmt;

use seawall_scenario::Scenario;

use crate::{Options, elided};

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
            Engine::Aggregate => vec!["it is not built yet".to_owned()],
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

impl Choice {
    /// The engine that `options` ask for, or the one that suits the scenario best.
    pub fn of(_scenario: &Scenario, options: &Options) -> Choice {
        let why = match options.engine {
            Engine::Auto => "no faster engine plays this scenario".to_owned(),
            _ => "it was asked for".to_owned(),
        };
        Choice {
            engine: match options.engine {
                Engine::Auto => Engine::Exact,
                asked => asked,
            },
            why,
            envelope: "every request is played".to_owned(),
        }
    }
}
