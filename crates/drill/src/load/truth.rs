//! What the origin holds, so that every answer can be checked.
//!
//! A value says its key and its version, and the rest of it follows from the two, so a value that is another's, is older
//! than it may be, was never written, or is damaged, is found out. Writes to one key do not overlap: which of two would
//! have won cannot be known.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use seawall_core::keys::MISSING;
use seawall_core::rng::mix;
use seawall_core::time::{Span, Time};

/// Keys that are written, at most; writes for others become reads.
const WRITTEN_MAX: usize = 1 << 20;

/// Key and version, and as much as makes sure of both.
const SIZE_MIN: usize = 50;

/// So many versions of a key are remembered, and so many whose fate is unknown.
const REMEMBERED: usize = 32;

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is what the origin held when it was asked for, or newer.
    Fresh,
    /// The origin had something newer for so long, and that is permitted.
    Stale(Span),
    /// It is wrong, and how.
    Wrong(&'static str),
}

/// What the origin holds.
#[derive(Debug)]
pub struct Truth {
    size: usize,
    checked: bool,
    absent_is_wrong: bool,
    stale_max: Option<Span>,
    written: Mutex<HashMap<u64, History>>,
}

/// What became of the versions of a key. Version 0 was there from the start.
#[derive(Debug, Default)]
struct History {
    /// The last version that was begun.
    begun: u64,
    under_way: bool,
    /// Since when a version is there, oldest first.
    there: VecDeque<(u64, Time)>,
    /// Versions that may be there, or may come to be there at any time.
    unknown: BTreeSet<u64>,
}

impl Truth {
    /// Every key holds version 0, in values of this many bytes; never less than 50, which is what it takes to be sure of
    /// key and version.
    pub fn new(size: usize) -> Truth {
        Truth {
            size,
            checked: true,
            absent_is_wrong: true,
            stale_max: None,
            written: Mutex::default(),
        }
    }

    /// Nothing is known: every value is right.
    pub fn unknown() -> Truth {
        Truth {
            checked: false,
            absent_is_wrong: false,
            ..Truth::new(0)
        }
    }

    /// The target is a cache: it may say of any key that it does not have it. That is no answer, and is counted as an error.
    pub fn of_cache(self) -> Truth {
        Truth {
            absent_is_wrong: false,
            ..self
        }
    }

    /// What is older than this is wrong; otherwise what is old is stale, however old.
    pub fn stale_at_most(self, stale_max: Span) -> Truth {
        Truth {
            stale_max: Some(stale_max),
            ..self
        }
    }

    /// Whether anything is known.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    pub(crate) fn absent_is_wrong(&self) -> bool {
        self.absent_is_wrong
    }

    /// The value of a key at a version.
    pub fn value(&self, key: u64, version: u64) -> Vec<u8> {
        let mut value = format!("{key:016x}.{version:016x}.").into_bytes();
        let (mut word, size) = (mix(key ^ mix(version)), self.size.max(SIZE_MIN));
        while value.len() < size {
            word = mix(word);
            let digits = format!("{word:016x}");
            let missing = size - value.len();
            value.extend_from_slice(&digits.as_bytes()[..missing.min(16)]);
        }
        value
    }

    /// The key and the version that a value says, when it is whole.
    pub fn read(&self, value: &[u8]) -> Option<(u64, u64)> {
        let number = |at: usize| {
            let digits = std::str::from_utf8(value.get(at..at + 16)?).ok()?;
            u64::from_str_radix(digits, 16).ok()
        };
        let (key, version) = (number(0)?, number(17)?);
        (self.value(key, version) == value).then_some((key, version))
    }

    fn written(&self) -> MutexGuard<'_, HashMap<u64, History>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to write a key: the version to write. Nothing when that has to wait for another.
    pub fn begin(&self, key: u64) -> Option<u64> {
        let mut written = self.written();
        if written.len() >= WRITTEN_MAX && !written.contains_key(&key) {
            return None;
        }
        let history = written.entry(key).or_default();
        if history.under_way || history.unknown.len() >= REMEMBERED {
            return None;
        }
        history.under_way = true;
        history.begun += 1;
        Some(history.begun)
    }

    /// The write of a version ended: it is there, or nobody knows.
    pub fn end(&self, now: Time, key: u64, version: u64, there: bool) {
        let mut written = self.written();
        let history = written.entry(key).or_default();
        history.under_way = false;
        if there {
            history.there.push_back((version, now));
            if history.there.len() > REMEMBERED {
                history.there.pop_front();
            }
        } else {
            history.unknown.insert(version);
        }
    }

    /// Judges what came when a key was asked for at an instant: a value, or that there is none.
    pub fn judge(&self, asked: Time, key: u64, value: Option<&[u8]>) -> Judgement {
        if !self.checked {
            return Judgement::Fresh;
        }
        let missing = key & MISSING != 0;
        let value = match value {
            None if missing || !self.absent_is_wrong => return Judgement::Fresh,
            None => return Judgement::Wrong("nothing where there is a value"),
            Some(_) if missing => return Judgement::Wrong("a value where there is none"),
            Some(value) => value,
        };
        let Some((said, version)) = self.read(value) else {
            return Judgement::Wrong("a damaged value");
        };
        if said != key {
            return Judgement::Wrong("the value of another key");
        }
        let written = self.written();
        let Some(history) = written.get(&key) else {
            return match version {
                0 => Judgement::Fresh,
                _ => Judgement::Wrong("a version that was never written"),
            };
        };
        if version > history.begun {
            return Judgement::Wrong("a version that was never written");
        }
        if history.unknown.contains(&version) {
            return Judgement::Fresh;
        }
        let newer = |(there, since): &&(u64, Time)| *there > version && *since < asked;
        match history.there.iter().find(newer) {
            None => Judgement::Fresh,
            Some((_, since)) => {
                let age = asked.since(*since);
                if self.stale_max.is_some_and(|most| age > most) {
                    return Judgement::Wrong("older than permitted");
                }
                Judgement::Stale(age)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::millis(millis)
    }

    #[test]
    fn a_value_says_what_it_is() {
        for size in [0, 50, 51, 66, 1_000] {
            let truth = Truth::new(size);
            let value = truth.value(7, 3);
            assert_eq!(value.len(), size.max(50));
            assert_eq!(truth.read(&value), Some((7, 3)));
            for place in 0..value.len() {
                let mut damaged = value.clone();
                damaged[place] ^= 1;
                assert_eq!(truth.read(&damaged), None, "{place} of {size}");
            }
            assert_eq!(truth.read(&value[1..]), None);
        }
    }

    #[test]
    fn answers_are_judged_by_what_was_there() {
        let truth = Truth::new(40).stale_at_most(Span::secs(2));
        let judge = |asked, key, version| truth.judge(asked, key, Some(&truth.value(key, version)));
        assert_eq!(judge(at(0), 1, 0), Judgement::Fresh);
        assert_eq!(truth.begin(1), Some(1));
        assert_eq!(truth.begin(1), None, "one at a time");
        assert_eq!(judge(at(5), 1, 0), Judgement::Fresh, "not written yet");
        assert_eq!(judge(at(5), 1, 1), Judgement::Fresh, "perhaps written already");
        truth.end(at(10), 1, 1, true);
        assert_eq!(
            judge(at(10), 1, 0),
            Judgement::Fresh,
            "asked for before it was there"
        );
        assert_eq!(judge(at(1_010), 1, 0), Judgement::Stale(Span::secs(1)));
        assert_eq!(judge(at(2_011), 1, 0), Judgement::Wrong("older than permitted"));
        assert_eq!(judge(at(20), 1, 1), Judgement::Fresh);
        for (key, version) in [(1, 2), (2, 1)] {
            assert_eq!(
                judge(at(20), key, version),
                Judgement::Wrong("a version that was never written")
            );
        }
        let other = truth.value(2, 0);
        let wrong = Judgement::Wrong("the value of another key");
        assert_eq!(truth.judge(at(0), 1, Some(&other)), wrong);
        let nothing = Judgement::Wrong("nothing where there is a value");
        assert_eq!(truth.judge(at(0), 1, None), nothing);
        assert_eq!(truth.judge(at(0), MISSING | 1, None), Judgement::Fresh);
        let value = truth.value(MISSING | 1, 0);
        let something = Judgement::Wrong("a value where there is none");
        assert_eq!(truth.judge(at(0), MISSING | 1, Some(&value)), something);
    }

    #[test]
    fn what_may_have_been_written_may_be_read_at_any_time() {
        let truth = Truth::new(40);
        let judge = |asked, version| truth.judge(asked, 1, Some(&truth.value(1, version)));
        assert_eq!(truth.begin(1), Some(1));
        truth.end(at(10), 1, 1, false);
        assert_eq!(
            (judge(at(20), 0), judge(at(20), 1)),
            (Judgement::Fresh, Judgement::Fresh)
        );
        assert_eq!(truth.begin(1), Some(2));
        truth.end(at(30), 1, 2, true);
        assert_eq!(
            judge(at(40), 1),
            Judgement::Fresh,
            "it may have come after the other"
        );
        assert_eq!(judge(at(40), 0), Judgement::Stale(Span::millis(10)));
    }
}
