//! A conversation in RESP, watched so that it can be broken in the right place.
//!
//! A connection whose first byte is `*` is taken for one of a Redis client. From then on its commands and replies are
//! counted, which is all that is needed to put an error where the reply to a command would stand, also when many
//! commands are on their way. Nothing is kept of a value. Whatever is not a command and one reply to it (a subscription,
//! `MONITOR`, a replica, bytes that are not RESP) ends the watching for good: then all bytes pass as they came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use seawall_core::rng::Seed;
use seawall_core::time::{Span, Time};

use super::glob;
use super::toxic::Resp;

/// No line that says a length or a count is longer.
const LINE_MAX: usize = 64;
/// What Redis takes at most: bytes of a string, arguments of a command; and elements that a reply may have.
const BULK_MAX: i64 = 512 << 20;
const ARGUMENTS_MAX: i64 = 1 << 20;
const ELEMENTS_MAX: i64 = u32::MAX as i64;
/// So much of a name or a key is looked at.
const WORD_MAX: usize = 512;
/// So many errors wait for their place at most; what comes then passes.
const ERRORS_MAX: usize = 16_384;
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

/// Which commands fail or take long on one connection.
pub(super) struct Rule {
    /// The toxic it comes from.
    pub(super) id: u64,
    pub(super) seed: Seed,
    pub(super) resp: Resp,
}

/// Bytes to be sent on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// Not before this instant, for as long as the toxic with this number is there.
    pub(super) wait: Option<(u64, Time)>,
}

/// What is awaited from the server, in order.
#[derive(Debug)]
enum Awaited {
    /// So many replies.
    Replies(u64),
    /// None, but this error in the place of one.
    Error(Chunk),
}

/// Both sides of a conversation.
#[derive(Default)]
pub(super) struct Dialogue {
    state: State,
    requests: Requests,
    replies: Replies,
    awaited: VecDeque<Awaited>,
    errors: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No byte has come.
    #[default]
    Silent,
    /// Commands and replies.
    Spoken,
    /// Something else.
    Foreign,
}

impl Dialogue {
    /// Whether it is not watched any more.
    pub(super) fn foreign(&self) -> bool {
        self.state == State::Foreign
    }

    /// Whether errors wait for their place.
    pub(super) fn injecting(&self) -> bool {
        self.errors > 0
    }

    /// Listens to the client, if nothing of it is to be changed; says whether it is so.
    pub(super) fn overhear_request(&mut self, said: &[u8]) -> bool {
        if self.requests.holds() {
            return false;
        }
        self.begin(said);
        self.read_requests(Time::ZERO, &[], said, false);
        self.requests.sent = self.requests.under_way();
        true
    }

    /// Listens to the server, if nothing of it is to be changed; says whether it is so.
    pub(super) fn overhear_reply(&mut self, said: &[u8]) -> bool {
        if self.errors > 0 {
            return false;
        }
        let mut rest = said;
        while !rest.is_empty() && self.speaks() {
            match self.replies.read(&mut rest) {
                Step::Broken => self.end(),
                Step::Over => self.replied(),
                Step::More | Step::Known => {}
            }
        }
        true
    }

    /// Takes what the client says and gives what goes on to the server.
    pub(super) fn ask(&mut self, now: Time, rules: &[Rule], said: Bytes, out: &mut Vec<Chunk>) {
        self.begin(&said);
        if self.state != State::Spoken {
            if !said.is_empty() {
                out.push(plain(said));
            }
            return;
        }
        let left = self.read_requests(now, rules, &said, true);
        self.requests.flush(out);
        if self.state == State::Foreign {
            self.release(out);
            if left > 0 {
                out.push(plain(said.slice(said.len() - left..)));
            }
        }
    }

    /// Takes what the server says and gives what goes on to the client, with errors in their places.
    pub(super) fn answer(&mut self, said: &Bytes, out: &mut Vec<Chunk>) {
        self.inject(out);
        let (mut from, mut at) = (0, 0);
        while at < said.len() && self.speaks() {
            let mut rest = &said[at..];
            let step = self.replies.read(&mut rest);
            at = said.len() - rest.len();
            match step {
                Step::Broken => self.end(),
                Step::Over => {
                    self.replied();
                    if matches!(self.awaited.front(), Some(Awaited::Error(_))) {
                        out.push(plain(said.slice(from..at)));
                        from = at;
                        self.inject(out);
                    }
                }
                Step::More | Step::Known => {}
            }
        }
        if from < said.len() {
            out.push(plain(said.slice(from..)));
        }
    }

    /// Gives up what is held back of a command, because nothing more comes or no rule is left.
    pub(super) fn release(&mut self, out: &mut Vec<Chunk>) {
        let held = self.requests.held.split().freeze();
        if !held.is_empty() {
            self.requests.sent = true;
            out.push(plain(held));
        }
    }

    /// The first byte tells what kind of conversation this is.
    fn begin(&mut self, said: &[u8]) {
        if let (State::Silent, Some(first)) = (self.state, said.first()) {
            self.state = if *first == b'*' {
                State::Spoken
            } else {
                State::Foreign
            };
        }
    }

    /// Whether the server answers commands. One that speaks first does something else.
    fn speaks(&mut self) -> bool {
        if self.state == State::Silent {
            self.state = State::Foreign;
        }
        self.state == State::Spoken
    }

    /// Reads what the client says, and returns how many bytes are left over because it is not RESP.
    fn read_requests(&mut self, now: Time, rules: &[Rule], said: &[u8], keep: bool) -> usize {
        let mut rest = said;
        while !rest.is_empty() && self.state == State::Spoken {
            match self.requests.read(&mut rest, keep) {
                Step::More => {}
                Step::Broken => self.end(),
                Step::Known => {
                    self.decide(now, rules);
                    if self.requests.left == 0 {
                        self.requests.begin();
                    }
                }
                Step::Over => self.requests.begin(),
            }
        }
        rest.len()
    }

    /// A command's name and key are known: what becomes of it?
    fn decide(&mut self, now: Time, rules: &[Rule]) {
        let number = self.requests.number;
        let command = &self.requests.words;
        if command.ends_watching() {
            self.end();
            return;
        }
        // What has partly gone on can only go on.
        let rules = if self.requests.sent { &[] } else { rules };
        let met = rules.iter().find(|rule| command.meets(rule, number));
        let fate = match met {
            None => Fate::Pass(None),
            Some(rule) => {
                let wait = Some((rule.id, now + Span::millis(rule.resp.delay)));
                if rule.resp.error.is_empty() {
                    Fate::Pass(wait)
                } else if self.errors >= ERRORS_MAX {
                    Fate::Pass(None)
                } else {
                    let text = format!("-{}\r\n", rule.resp.error);
                    self.errors += 1;
                    self.awaited.push_back(Awaited::Error(Chunk {
                        bytes: Bytes::from(text),
                        wait,
                    }));
                    Fate::Swallow
                }
            }
        };
        if fate != Fate::Swallow {
            match self.awaited.back_mut() {
                Some(Awaited::Replies(count)) => *count += 1,
                _ => self.awaited.push_back(Awaited::Replies(1)),
            }
        }
        self.requests.decided(fate);
    }

    /// One reply has come to its end.
    fn replied(&mut self) {
        match self.awaited.front_mut() {
            Some(Awaited::Replies(count)) if *count > 1 => *count -= 1,
            Some(Awaited::Replies(_)) => {
                self.awaited.pop_front();
            }
            // Nobody asked for it.
            _ => self.end(),
        }
    }

    fn inject(&mut self, out: &mut Vec<Chunk>) {
        if !self.replies.between() {
            return;
        }
        while let Some(Awaited::Error(_)) = self.awaited.front() {
            if let Some(Awaited::Error(error)) = self.awaited.pop_front() {
                self.errors -= 1;
                out.push(error);
            }
        }
    }

    /// From here on bytes pass as they come. Errors that wait are forgotten: their places are.
    fn end(&mut self) {
        self.state = State::Foreign;
        self.awaited.clear();
        self.errors = 0;
    }
}

fn plain(bytes: Bytes) -> Chunk {
    Chunk { bytes, wait: None }
}

/// What reading some bytes came to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// More bytes are needed.
    More,
    /// All that decides about a command has been read.
    Known,
    /// A command or a reply is over.
    Over,
    /// This is not RESP.
    Broken,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
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
struct Words {
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

    fn ends_watching(&self) -> bool {
        let client_reply = self.name == b"client" && self.key.eq_ignore_ascii_case(b"reply");
        client_reply || ENDING.iter().any(|name| name.as_bytes() == self.name)
    }

    fn meets(&self, rule: &Rule, number: u64) -> bool {
        let resp = &rule.resp;
        let named = resp.command.is_empty()
            || resp.command == "*"
            || resp.command.as_bytes().eq_ignore_ascii_case(&self.name);
        let keyed = resp.key.is_empty() || (self.keyed && glob::fits(resp.key.as_bytes(), &self.key));
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

/// Where a reader is within RESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In a line that begins with its type.
    #[default]
    Line,
    /// So many bytes before the end of a string, with its line break.
    Bulk(u64),
}

/// Reads what a client says.
#[derive(Debug, Default)]
struct Requests {
    at: At,
    line: Vec<u8>,
    /// How many arguments are still to come, of how many.
    left: u64,
    count: u64,
    words: Words,
    fate: Fate,
    /// Whether some of the command under way has gone on already.
    sent: bool,
    /// How many commands have come before.
    number: u64,
    /// What is held back of the command under way.
    held: BytesMut,
    /// What goes on next, and not before when.
    going: BytesMut,
    wait: Option<(u64, Time)>,
    passed: Vec<Chunk>,
}

impl Requests {
    /// Whether the command under way is held back, or has a fate other than to pass.
    fn holds(&self) -> bool {
        !self.held.is_empty() || matches!(self.fate, Fate::Swallow | Fate::Pass(Some(_)))
    }

    /// Whether some of a command has been read.
    fn under_way(&self) -> bool {
        self.left > 0 || !self.line.is_empty()
    }

    /// Reads as far as the next thing to be known.
    fn read(&mut self, rest: &mut &[u8], keep: bool) -> Step {
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
    fn decided(&mut self, fate: Fate) {
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
    fn begin(&mut self) {
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

    fn flush(&mut self, out: &mut Vec<Chunk>) {
        self.part();
        out.append(&mut self.passed);
    }
}

/// Reads what a server says.
#[derive(Debug, Default)]
struct Replies {
    at: At,
    /// The front of the line under way: its type and a number.
    line: Vec<u8>,
    /// How many elements the reply under way still has.
    left: u64,
    /// Whether it is one that nobody asked for.
    push: bool,
}

impl Replies {
    /// Whether no reply is under way.
    fn between(&self) -> bool {
        self.left == 0 && self.line.is_empty()
    }

    fn read(&mut self, rest: &mut &[u8]) -> Step {
        match self.at {
            At::Line => {
                let end = rest.iter().position(|byte| *byte == b'\n');
                let length = end.map_or(rest.len(), |end| end + 1);
                let (taken, left) = rest.split_at(length);
                *rest = left;
                let room = LINE_MAX - self.line.len();
                self.line.extend_from_slice(&taken[..length.min(room)]);
                if end.is_none() {
                    return Step::More;
                }
                let step = self.understand();
                self.line.clear();
                step
            }
            At::Bulk(left) => {
                let length = left.min(rest.len() as u64);
                *rest = &rest[length as usize..];
                if left > length {
                    self.at = At::Bulk(left - length);
                    return Step::More;
                }
                self.at = At::Line;
                self.element()
            }
        }
    }

    fn understand(&mut self) -> Step {
        if self.left == 0 {
            self.left = 1;
            self.push = self.line[0] == b'>';
        }
        if b"+-:_#,(".contains(&self.line[0]) {
            return self.element();
        }
        let Some((kind, number)) = number(&self.line) else {
            return Step::Broken;
        };
        let elements = match kind {
            b'$' | b'=' | b'!' if (0..=BULK_MAX).contains(&number) => {
                self.at = At::Bulk(number as u64 + 2);
                return Step::More;
            }
            b'$' | b'*' if number == -1 => 0,
            b'*' | b'~' | b'>' if (0..=ELEMENTS_MAX).contains(&number) => number as u64,
            b'%' if (0..=ELEMENTS_MAX).contains(&number) => 2 * number as u64,
            // What is said about a reply comes before it.
            b'|' if (0..=ELEMENTS_MAX).contains(&number) => 2 * number as u64 + 1,
            _ => return Step::Broken,
        };
        self.left = self.left.saturating_add(elements);
        self.element()
    }

    /// An element has come to its end.
    fn element(&mut self) -> Step {
        self.left -= 1;
        if self.left > 0 || self.push {
            Step::More
        } else {
            Step::Over
        }
    }
}

/// A line's type and its number.
fn number(line: &[u8]) -> Option<(u8, i64)> {
    let (kind, rest) = line.split_first()?;
    let digits = std::str::from_utf8(rest.strip_suffix(b"\r\n")?).ok()?;
    Some((*kind, digits.parse().ok()?))
}

#[cfg(test)]
mod tests;
