//! Who changed what, when, from what to what: the last changes in memory, and each one as a line of the log.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value as Json;

/// So many changes are kept in memory.
const KEPT: usize = 1_000;

/// One change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    /// Seconds since 1970, with milliseconds.
    pub(crate) at: f64,
    /// Whose address, and by what right.
    pub(crate) who: String,
    /// What was changed.
    pub(crate) what: String,
    /// What it was.
    pub(crate) from: Json,
    /// What it is.
    pub(crate) to: Json,
}

/// The changes.
#[derive(Debug, Default)]
pub(crate) struct Audit(Mutex<VecDeque<Change>>);

impl Audit {
    /// Notes a change.
    pub(crate) fn note(&self, who: &str, what: &str, from: Json, to: Json) {
        tracing::info!(target: "audit", who, what, %from, %to);
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == KEPT {
            changes.pop_front();
        }
        changes.push_back(Change {
            at: crate::clock::unix_ms() as f64 / 1e3,
            who: who.to_owned(),
            what: what.to_owned(),
            from,
            to,
        });
    }

    /// The last changes, the newest first.
    pub(crate) fn last(&self) -> Vec<Change> {
        let changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_the_newest_comes_first() {
        let audit = Audit::default();
        for count in 0..=KEPT {
            audit.note("me", &count.to_string(), Json::Null, Json::Null);
        }
        let last = audit.last();
        assert_eq!((last.len(), last[0].what.as_str()), (KEPT, "1000"));
        assert_eq!(last[KEPT - 1].what, "1");
    }
}
