//! What to do about a finding: steps in their order, each with what it does, what it risks, how it is verified, and how
//! it is taken back.
//!
//! Two runbooks of operators are the source, and every step of theirs has a counterpart here, in a form that does no
//! harm where theirs does ([`COUNTERPARTS`] lists them). The order within a finding is: keep the
//! origin alive, mend the cause, bring the load back slowly, then prevent. A step that needs a person is a command to copy,
//! and never done by itself.
//!
//! **No first step makes anything worse.** Each step names the failures in which it would ([`Step::harms`]), and a test
//! holds that the first step of no finding is in that list for what the finding may be mistaken for.

mod catalog;
mod plan;
mod seeds;

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

pub use catalog::{Id, catalog};
pub use plan::{Known, commands, plan};
pub use seeds::{COUNTERPARTS, Counterpart};

/// When a step is due, by the phases of the runbook of stampedes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// In the first five minutes: stop the damage.
    Mitigate,
    /// Until a quarter of an hour: mend the cause, fill the cache.
    Stabilise,
    /// Until half an hour: spread the load.
    Distribute,
    /// Afterwards: take back what was only for the emergency.
    Recover,
}

/// What Seawall can do itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Changes a protection of the gateway through its admin API.
    Policy {
        /// The protection, by its key in the document.
        name: &'static str,
        /// Its settings.
        settings: Value,
    },
    /// Holds the gateway's breaker of an upstream open: what is kept is answered, and the upstream is not asked.
    HoldBreaker,
    /// Lets the gateway load its hot keys again, at the pace of `protect.warm`.
    Warm,
    /// Purges keys through the gateway, those that `--key` names.
    Purge,
    /// Changes a setting of Redis until it restarts.
    Setting {
        /// The setting.
        name: &'static str,
        /// To what.
        to: To,
    },
    /// Ends the connections of clients of Redis that have been idle for long, and no others.
    DropIdleClients {
        /// How long, in seconds.
        idle_s: u64,
    },
}

/// A new value of a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// This.
    Value(&'static str),
    /// What it is now, times this.
    Times(f64),
}

/// Who does a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// `seawall diagnose --apply` does it, when it is told to.
    Seawall(Action),
    /// Only a person: these commands, with the names of the system where they are known.
    Person(Vec<String>),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its name, as `--apply` takes it.
    pub id: Id,
    /// What it is, in a few words.
    pub title: &'static str,
    /// When it is due.
    pub phase: Phase,
    /// What it does.
    pub does: &'static str,
    /// What can go wrong with it.
    pub risk: &'static str,
    /// How one sees that it helped.
    pub verify: &'static str,
    /// How it is taken back.
    pub undo: &'static str,
    /// Who does it, and how.
    pub how: How,
    /// The failures in which it makes things worse.
    #[serde(skip)]
    pub harms: &'static [Failure],
    /// For which finding it is.
    pub against: Failure,
}
