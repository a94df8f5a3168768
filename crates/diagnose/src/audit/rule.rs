//! What a check is, and what it finds.

use super::facts::{CacheFacts, DatabaseFacts, Facts};

/// How much harm it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; harms an investigation more than a service.
    Low,
    /// Makes an incident more likely, or worse.
    Medium,
    /// An incident that waits for its day.
    High,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Severity; 3] = [Severity::High, Severity::Medium, Severity::Low];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

/// A check: what it looks for, why that matters, and what is done about it. The same for all servers.
pub struct Rule {
    /// Its name, which does not change.
    pub id: &'static str,
    /// At most; a finding may weigh less.
    pub severity: Severity,
    /// What it looks for, as a sentence that is true where it finds something.
    pub title: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// What is done about it, in general; a finding has the exact commands.
    pub mend: &'static str,
    pub(super) look: Look,
}

/// What a check looks at.
pub(super) enum Look {
    Cache(fn(&CacheFacts) -> Option<Found>),
    Database(fn(&DatabaseFacts) -> Option<Found>),
    /// A database beside the caches before it.
    Both(fn(&DatabaseFacts, &[CacheFacts]) -> Option<Found>),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) severity: Option<Severity>,
    pub(super) read: String,
    pub(super) mend: Vec<String>,
}

pub(super) fn found(read: impl Into<String>) -> Found {
    Found {
        severity: None,
        read: read.into(),
        mend: Vec::new(),
    }
}

impl Found {
    pub(super) fn weighs(mut self, severity: Severity) -> Found {
        self.severity = Some(severity);
        self
    }

    /// A line to be copied.
    pub(super) fn mend(mut self, line: impl Into<String>) -> Found {
        self.mend.push(line.into());
        self
    }
}

/// A finding of an audit.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The check's name.
    pub id: &'static str,
    /// How much it weighs here.
    pub severity: Severity,
    /// Which server.
    pub target: String,
    /// What is wrong, as a sentence.
    pub title: &'static str,
    /// What was read there.
    pub read: String,
    /// Why that matters.
    pub why: &'static str,
    /// What mends it: commands and settings to be copied, line by line.
    pub mend: Vec<String>,
}

impl Check {
    /// Where it is explained.
    pub fn link(&self) -> String {
        format!("docs/audit.md#{}", self.id)
    }
}

/// What an audit came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// All that was found, the worst first.
    pub checks: Vec<Check>,
    /// How often a check looked and found nothing.
    pub passed: usize,
    /// The servers, in their order.
    pub targets: Vec<String>,
}

/// Holds all checks against the facts.
pub fn audit(facts: &Facts) -> Audit {
    let mut audit = Audit::default();
    let caches = facts.caches.iter().map(|cache| &cache.name);
    audit.targets = caches
        .chain(facts.databases.iter().map(|database| &database.name))
        .cloned()
        .collect();
    for rule in super::RULES {
        let looked: Vec<(&str, Option<Found>)> = match rule.look {
            Look::Cache(look) => facts
                .caches
                .iter()
                .map(|cache| (&*cache.name, look(cache)))
                .collect(),
            Look::Database(look) => {
                let databases = facts.databases.iter();
                databases
                    .map(|database| (&*database.name, look(database)))
                    .collect()
            }
            Look::Both(look) => {
                let databases = facts.databases.iter();
                databases
                    .map(|database| (&*database.name, look(database, &facts.caches)))
                    .collect()
            }
        };
        for (target, found) in looked {
            let Some(found) = found else {
                audit.passed += 1;
                continue;
            };
            audit.checks.push(Check {
                id: rule.id,
                severity: found.severity.unwrap_or(rule.severity),
                target: target.to_owned(),
                title: rule.title,
                read: found.read,
                why: rule.why,
                mend: found.mend,
            });
        }
    }
    audit
        .checks
        .sort_by_key(|check| std::cmp::Reverse(check.severity));
    audit
}

impl Audit {
    /// The worst that was found.
    pub fn worst(&self) -> Option<Severity> {
        self.checks.iter().map(|check| check.severity).max()
    }
}
