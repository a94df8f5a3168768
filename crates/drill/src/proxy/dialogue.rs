//! A conversation in RESP, watched so that it can be broken in the right place.
//!
//! A connection whose first byte is `*` is taken for one of a Redis client. From then on its commands and replies are
//! counted, which is all that is needed to put an error where the reply to a command would stand, also when many
//! commands are on their way. Nothing is kept of a value. Whatever is not a command and one reply to it (a subscription,
//! `MONITOR`, a replica, bytes that are not RESP) ends the watching for good: then all bytes pass as they came.

use std::collections::VecDeque;

use bytes::Bytes;
use seawall_core::rng::Seed;
use seawall_core::time::{Span, Time};

use super::attributes::Resp;

mod replies;
mod requests;

use replies::Replies;
use requests::{Fate, Requests};

/// No line that says a length or a count is longer.
const LINE_MAX: usize = 64;
/// A string that Redis takes is no longer.
const BULK_MAX: i64 = 512 << 20;
/// So many errors wait for their place at most; what comes then passes.
const ERRORS_MAX: usize = 16_384;
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

/// Where a reader is within RESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In a line that begins with its type.
    #[default]
    Line,
    /// So many bytes before the end of a string, with its line break.
    Bulk(u64),
}

/// A line's type and its number.
fn number(line: &[u8]) -> Option<(u8, i64)> {
    let (kind, rest) = line.split_first()?;
    let digits = std::str::from_utf8(rest.strip_suffix(b"\r\n")?).ok()?;
    Some((*kind, digits.parse().ok()?))
}

#[cfg(test)]
mod tests;
