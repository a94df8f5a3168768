//! Tags: what many entries can be invalidated by at once.
//!
//! Nobody looks for the entries of a tag. A mark says: what was read from the origin up to this instant and carries
//! this tag is gone; and it is looked at when an entry that has tags is found, wherever it is found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use seawall_core::time::Time;

/// So many marks are kept. When one more comes, everything that has a tag and is older than the oldest mark is gone.
const MARKS_MAX: usize = 1 << 16;

/// The tags that were invalidated.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    /// Most caches never see a mark, and then nobody takes the lock.
    any: AtomicBool,
    marks: RwLock<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    by_tag: BTreeMap<u64, Time>,
    floor: Option<Time>,
}

impl Tags {
    /// What carries this tag and was read up to now is gone.
    pub(crate) fn mark(&self, now: Time, tag: u64) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.by_tag.insert(tag, now);
        if marks.by_tag.len() > MARKS_MAX
            && let Some((&oldest, &at)) = marks.by_tag.iter().min_by_key(|(_, at)| **at)
        {
            marks.by_tag.remove(&oldest);
            marks.floor = marks.floor.max(Some(at));
        }
        self.any.store(true, Ordering::Release);
    }

    /// Whether something with these tags, read from the origin at `read`, is gone.
    #[inline]
    pub(crate) fn purged(&self, tags: &[u64], read: Time) -> bool {
        !tags.is_empty() && self.any.load(Ordering::Acquire) && self.look(tags, read)
    }

    #[cold]
    fn look(&self, tags: &[u64], read: Time) -> bool {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        marks.floor.is_some_and(|floor| read <= floor)
            || tags
                .iter()
                .any(|tag| marks.by_tag.get(tag).is_some_and(|at| read <= *at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_its_tag_and_of_what_is_older() {
        let at = Time::from_nanos;
        let tags = Tags::default();
        assert!(!tags.purged(&[1], at(1)));
        tags.mark(at(10), 1);
        assert!(tags.purged(&[2, 1], at(10)) && !tags.purged(&[1], at(11)) && !tags.purged(&[2], at(1)));
        assert!(!tags.purged(&[], at(1)));
    }

    #[test]
    fn marks_that_are_forgotten_undo_nothing() {
        let at = Time::from_nanos;
        let tags = Tags::default();
        for tag in 0..=MARKS_MAX as u64 {
            tags.mark(at(100 + tag), tag);
        }
        assert!(
            tags.purged(&[0], at(100)),
            "its mark is gone, and so is what it was for"
        );
        assert!(tags.purged(&[u64::MAX], at(100)) && !tags.purged(&[u64::MAX], at(101)));
    }
}
