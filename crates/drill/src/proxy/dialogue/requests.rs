//! What a client says: commands, of which the name and the key are kept until it is decided what becomes of them.

use bytes::BytesMut;
use seawall_core::time::Time;

use super::{At, BULK_MAX, Chunk, LINE_MAX, Rule, Step, number};
use crate::glob::matches;

/// What Redis takes at most.
const ARGUMENTS_MAX: i64 = 1 << 20;
/// So much of a name or a key is looked at.
const WORD_MAX: usize = 512;
/// After these, replies come of themselves or not at all.
const ENDING: [&str; 7] = [
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "monitor",
    "psync",
    "sync",
    "replconf",
];

/// What becomes of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not decided yet.
    #[default]
    Open,
    /// It goes on, perhaps later.
    Pass(Option<(u64, Time)>),
    /// It does not reach the server.
    Swallow,
}

/// The name and the key of a command.
#[derive(Debug, Default)]
pub(super) struct Words {
    name: Vec<u8>,
    key: Vec<u8>,
    /// Whether it has a key that is short enough to be looked at.
    keyed: bool,
}

impl Words {
    /// An argument of this length begins.
    fn begin(&mut self, index: u64, length: u64) {
        if index > 0 && index == self.place() {
            self.keyed = length <= WORD_MAX as u64;
        }
    }

    /// More of an argument comes; of it and its line break, `left` bytes were missing.
    fn learn(&mut self, index: u64, bytes: &[u8], left: u64) {
        let data = bytes.len().min(left.saturating_sub(2) as usize);
        let word = match index {
            0 => &mut self.name,
            index if index == self.place() => &mut self.key,
            _ => return,
        };
        let room = WORD_MAX - word.len();
        word.extend_from_slice(&bytes[..data.min(room)]);
        if index == 0 {
            word.make_ascii_lowercase();
        }
    }

    pub(super) fn ends_watching(&self) -> bool {
        let client_reply = self.name == b"client" && self.key.eq_ignore_ascii_case(b"reply");
        client_reply || ENDING.iter().any(|name| name.as_bytes() == self.name)
    }

    pub(super) fn meets(&self, rule: &Rule, number: u64) -> bool {
        let resp = &rule.resp;
        let named = resp.command.is_empty()
            || resp.command == "*"
            || resp.command.as_bytes().eq_ignore_ascii_case(&self.name);
        let keyed = resp.key.is_empty() || (self.keyed && matches(resp.key.as_bytes(), &self.key, false));
        // Each command has a draw of its own, so that it does not matter which others come.
        let mut rng = rule.seed.stream("command", number);
        named && keyed && rng.chance(resp.rate.unwrap_or(1.0))
    }

    /// Which argument is the key: the first one, but for scripts.
    fn place(&self) -> u64 {
        let scripts: [&[u8]; 6] = [
            b"eval",
            b"evalsha",
            b"eval_ro",
            b"evalsha_ro",
            b"fcall",
            b"fcall_ro",
        ];
        if scripts.contains(&&self.name[..]) { 3 } else { 1 }
    }
}

/// Reads what a client says.
#[derive(Debug, Default)]
pub(super) struct Requests {
    at: At,
    line: Vec<u8>,
    /// How many arguments are still to come, of how many.
    pub(super) left: u64,
    count: u64,
    pub(super) words: Words,
    fate: Fate,
    /// Whether some of the command under way has gone on already.
    pub(super) sent: bool,
    /// How many commands have come before.
    pub(super) number: u64,
    /// What is held back of the command under way.
    pub(super) held: BytesMut,
    /// What goes on next, and not before when.
    going: BytesMut,
    wait: Option<(u64, Time)>,
    passed: Vec<Chunk>,
}

impl Requests {
    /// Whether the command under way is held back, or has a fate other than to pass.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty() || matches!(self.fate, Fate::Swallow | Fate::Pass(Some(_)))
    }

    /// Whether some of a command has been read.
    pub(super) fn under_way(&self) -> bool {
        self.left > 0 || !self.line.is_empty()
    }

    /// Reads as far as the next thing to be known.
    pub(super) fn read(&mut self, rest: &mut &[u8], keep: bool) -> Step {
        match self.at {
            At::Line => {
                let end = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
                let length = end.map_or(rest.len(), |end| end + 1);
                if self.line.len() + length > LINE_MAX {
                    return Step::Broken;
                }
                let taken = self.take(rest, length, keep);
                self.line.extend_from_slice(taken);
                if end.is_none() {
                    return Step::More;
                }
                let step = self.understand(keep);
                self.line.clear();
                step
            }
            At::Bulk(left) => {
                let length = left.min(rest.len() as u64);
                let taken = self.take(rest, length as usize, keep);
                self.words.learn(self.count - self.left, taken, left);
                self.at = At::Bulk(left - length);
                if left > length {
                    return Step::More;
                }
                self.at = At::Line;
                let index = self.count - self.left;
                self.left -= 1;
                if self.fate == Fate::Open && (self.left == 0 || index == self.words.place()) {
                    return Step::Known;
                }
                if self.left == 0 { Step::Over } else { Step::More }
            }
        }
    }

    /// A line has come to its end.
    fn understand(&mut self, keep: bool) -> Step {
        let Some((kind, number)) = number(&self.line) else {
            return Step::Broken;
        };
        if self.left > 0 {
            if kind != b'$' || !(0..=BULK_MAX).contains(&number) {
                return Step::Broken;
            }
            self.at = At::Bulk(number as u64 + 2);
            self.words.begin(self.count - self.left, number as u64);
            return Step::More;
        }
        if kind != b'*' || number > ARGUMENTS_MAX {
            return Step::Broken;
        }
        if number <= 0 {
            // Nothing is asked, and nothing answered.
            if keep {
                self.decided(Fate::Pass(None));
            }
            return Step::Over;
        }
        self.count = number as u64;
        self.left = self.count;
        Step::More
    }

    fn take<'a>(&mut self, rest: &mut &'a [u8], length: usize, keep: bool) -> &'a [u8] {
        let (taken, left) = rest.split_at(length);
        *rest = left;
        if keep {
            match self.fate {
                Fate::Open if self.sent => self.going.extend_from_slice(taken),
                Fate::Open => self.held.extend_from_slice(taken),
                Fate::Pass(_) => self.going.extend_from_slice(taken),
                Fate::Swallow => {}
            }
        }
        taken
    }

    /// What becomes of the command under way.
    pub(super) fn decided(&mut self, fate: Fate) {
        self.fate = fate;
        match fate {
            Fate::Pass(wait) => {
                if wait != self.wait {
                    self.part();
                    self.wait = wait;
                }
                let held = self.held.split();
                self.going.unsplit(held);
            }
            _ => self.held.clear(),
        }
    }

    /// The next command begins.
    pub(super) fn begin(&mut self) {
        self.number += 1;
        self.fate = Fate::Open;
        self.sent = false;
        self.words = Words::default();
    }

    fn part(&mut self) {
        if !self.going.is_empty() {
            let bytes = self.going.split().freeze();
            let wait = self.wait;
            self.passed.push(Chunk { bytes, wait });
        }
    }

    pub(super) fn flush(&mut self, out: &mut Vec<Chunk>) {
        self.part();
        out.append(&mut self.passed);
    }
}
