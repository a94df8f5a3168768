//! Purges and writes that must not be undone by something older.
//!
//! A store is far away and a load takes time, so after a key was purged the old value can still turn up: in a look-up
//! that overtook the invalidation, in a stale answer that a request remembered, in a load that began before. A mark
//! says of a key: what was read from the origin up to this instant counts only from this version on.

use std::collections::VecDeque;

use crate::keymap::KeyMap;
use crate::time::Time;

/// So many marks are kept. When the oldest one goes, loads that are older than it are no longer stored at all.
const MARKS_MAX: usize = 1 << 14;

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Time,
    version: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    by_key: KeyMap<Mark>,
    oldest_first: VecDeque<(Time, u64)>,
    /// No mark up to this instant is remembered.
    forgotten: Option<Time>,
}

impl Marks {
    /// What was read of `key` up to `now` counts only from `version` on.
    pub(super) fn add(&mut self, now: Time, key: u64, version: u64) {
        self.by_key.insert(key, Mark { at: now, version });
        self.oldest_first.push_back((now, key));
        while self.oldest_first.len() > MARKS_MAX {
            let Some((at, key)) = self.oldest_first.pop_front() else {
                break;
            };
            self.forgotten = self.forgotten.max(Some(at));
            if self.by_key.get(key).is_some_and(|mark| mark.at == at) {
                self.by_key.remove(key);
            }
        }
    }

    /// Whether a value that was read at `read` has been purged or overtaken since.
    pub(super) fn overtaken(&self, key: u64, read: Time, version: u64) -> bool {
        !self.by_key.is_empty()
            && self
                .by_key
                .get(key)
                .is_some_and(|mark| read <= mark.at && version < mark.version)
    }

    /// The same of a load, which must rather not be stored than undo a purge that is no longer remembered.
    pub(super) fn load_overtaken(&self, key: u64, began: Time, version: u64) -> bool {
        self.forgotten.is_some_and(|at| began <= at) || self.overtaken(key, began, version)
    }

    pub(super) fn invariants(&self) {
        assert!(self.by_key.len() <= self.oldest_first.len() && self.oldest_first.len() <= MARKS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn what_is_forgotten_is_not_undone() {
        let mut marks = Marks::default();
        let at = |nanos: u64| Time::ZERO + Span::nanos(nanos);
        marks.add(at(5), 1, u64::MAX);
        assert!(
            marks.overtaken(1, at(5), 9) && !marks.overtaken(1, at(6), 9) && !marks.overtaken(2, at(5), 9)
        );
        for key in 0..MARKS_MAX as u64 {
            marks.add(at(10 + key), 100 + key, 3);
        }
        marks.invariants();
        assert!(!marks.overtaken(1, at(5), 9), "its mark is gone");
        assert!(
            marks.load_overtaken(1, at(5), 9),
            "and a load that old is not stored"
        );
        assert!(
            marks.overtaken(100, at(1), 2) && !marks.overtaken(100, at(1), 3),
            "a newer version stays"
        );
    }
}
