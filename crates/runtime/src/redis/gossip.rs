//! What processes tell each other over a channel that may lose it, so that they know when it did.
//!
//! Each sender counts its invalidations, and says every second how many there were. Who hears the count jump, or hears a
//! sender no more, has lost something. It is arithmetic alone: no connection, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::backplane::Invalidation;

/// How often a sender says how many invalidations there were.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// Who is not heard for so long is gone, and what it said last may be lost.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// Who is not heard within so long after we began to listen was not there.
const INTRODUCTION: Duration = Duration::from_secs(3);
/// So many senders are known; of others, what is lost is not noticed until one of these is gone.
const SENDERS_MAX: usize = 4096;

const MAGIC: &[u8; 4] = b"SWB\x01";
const LENGTH: usize = 29;

/// One thing that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) sender: u64,
    /// How many invalidations it has sent, this one included.
    pub(super) count: u64,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Beat,
    Invalid(Invalidation),
    /// It ends, and has nothing more to say.
    Bye,
}

impl Word {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let (kind, hash) = match self.what {
            What::Beat => (0, 0),
            What::Invalid(Invalidation::Key(hash)) => (1, hash),
            What::Invalid(Invalidation::Tag(hash)) => (2, hash),
            What::Bye => (3, 0),
        };
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.sender.to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(&hash.to_be_bytes());
    }

    /// The words of a message; `None` for what is none of ours.
    pub(super) fn read_all(bytes: &[u8]) -> impl Iterator<Item = Option<Word>> {
        bytes.chunks(LENGTH).map(Word::read)
    }

    fn read(bytes: &[u8]) -> Option<Word> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (sender, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let hash = u64::from_be_bytes(rest.try_into().ok()?);
        let what = match kind {
            0 => What::Beat,
            1 => What::Invalid(Invalidation::Key(hash)),
            2 => What::Invalid(Invalidation::Tag(hash)),
            3 => What::Bye,
            _ => return None,
        };
        Some(Word {
            sender: u64::from_be_bytes(*sender),
            count: u64::from_be_bytes(*count),
            what,
        })
    }
}

/// What was heard of all senders.
#[derive(Debug)]
pub(super) struct Gossip {
    since: Instant,
    senders: BTreeMap<u64, (u64, Instant)>,
}

impl Gossip {
    /// Begins to listen.
    pub(super) fn new(now: Instant) -> Gossip {
        Gossip {
            since: now,
            senders: BTreeMap::new(),
        }
    }

    /// Takes a word in. Whether something before it was lost.
    pub(super) fn hear(&mut self, now: Instant, word: &Word) -> bool {
        let own = u64::from(matches!(word.what, What::Invalid(_)));
        let before = word.count.saturating_sub(own);
        let known = self.senders.get(&word.sender).map(|(count, _)| *count);
        let lost = match known {
            Some(count) => before > count,
            // Either it began after us, and this is not its first word, or it is one of those that were there.
            None => before > 0 && now.duration_since(self.since) > INTRODUCTION,
        };
        if word.what == What::Bye {
            self.senders.remove(&word.sender);
        } else if known.is_some() || self.senders.len() < SENDERS_MAX {
            let count = known.unwrap_or(0).max(word.count);
            self.senders.insert(word.sender, (count, now));
        }
        lost
    }

    /// Whether a sender has fallen silent, and so may have said something that was not heard.
    pub(super) fn missing(&mut self, now: Instant) -> bool {
        let before = self.senders.len();
        self.senders
            .retain(|_, (_, heard)| now.duration_since(*heard) < SILENCE);
        self.senders.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(count: u64, what: What) -> Word {
        Word {
            sender: 7,
            count,
            what,
        }
    }

    const KEY: What = What::Invalid(Invalidation::Key(42));

    #[test]
    fn a_jump_in_the_count_is_a_loss() {
        let now = Instant::now();
        let mut gossip = Gossip::new(now);
        assert!(
            !gossip.hear(now, &word(10, What::Beat)),
            "what was before us is no loss"
        );
        assert!(!gossip.hear(now, &word(11, KEY)));
        assert!(!gossip.hear(now, &word(11, What::Beat)));
        assert!(gossip.hear(now, &word(12, What::Beat)), "the 12th was not heard");
        assert!(gossip.hear(now, &word(14, KEY)), "nor was the 13th");
        assert!(!gossip.hear(now, &word(14, KEY)), "twice is no loss");
        assert!(!gossip.hear(now, &word(15, KEY)));
        assert!(
            gossip.hear(now, &word(16, What::Bye)),
            "its last word was not heard"
        );
    }

    #[test]
    fn who_begins_late_or_ends_early_is_noticed() {
        let now = Instant::now();
        let mut gossip = Gossip::new(now);
        let late = now + INTRODUCTION * 2;
        assert!(!gossip.hear(late, &word(1, KEY)), "its first word");
        let other = Word {
            sender: 8,
            ..word(2, KEY)
        };
        assert!(gossip.hear(late, &other), "its second one");
        assert!(!gossip.missing(late + SILENCE / 2));
        assert!(gossip.missing(late + SILENCE));
        assert!(!gossip.missing(late + SILENCE * 2), "once");
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let words = [
            word(1, KEY),
            word(2, What::Invalid(Invalidation::Tag(u64::MAX))),
            word(2, What::Beat),
            word(2, What::Bye),
        ];
        let mut bytes = Vec::new();
        for word in &words {
            word.write(&mut bytes);
        }
        assert_eq!(bytes.len(), 4 * LENGTH);
        assert!(Word::read_all(&bytes).eq(words.iter().copied().map(Some)));
        assert!(Word::read_all(b"something else").eq([None]));
        assert!(Word::read_all(&bytes[..LENGTH - 1]).eq([None]));
    }
}
