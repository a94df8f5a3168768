//! What is on its way in one direction of a connection.
//!
//! Bytes wait here from when they were read until a flow's verdict lets them go. When the faults change, all that waits
//! is judged anew, from when it came: what is taken away is undone at once. There is no socket and no clock in it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use seawall_core::flow::{Flow, Part, Setting, Verdict};
use seawall_core::time::Time;

/// So many parts are written at once.
const PARTS_MAX: usize = 32;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Some bytes may go.
    Write,
    /// Nothing before this instant, unless something comes.
    Wait(Time),
    /// All has gone, and the other end is told that no more comes.
    Finish,
    /// The connection is closed.
    Close,
    /// The connection is cut.
    Cut,
}

/// Bytes next to each other that came together.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    offset: u64,
    came: Time,
    message: u64,
    /// Not before this instant, while this toxic is there.
    wait: Option<(u64, Time)>,
    verdict: Option<Verdict>,
    damaged: bool,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Way {
    flow: Flow,
    queue: VecDeque<Piece>,
    queued: usize,
    /// How many pieces from the front have a verdict that lets them go.
    judged: usize,
    /// How many bytes have come, and where the last message began.
    tail: u64,
    message: u64,
    /// When the last judged byte goes.
    last: Time,
    /// When the end came, and what becomes of it.
    ended: Option<Time>,
    end: Option<Verdict>,
    /// Whether the connection is closed, now that some byte has gone.
    closing: bool,
}

impl Way {
    /// Whether bytes go as they come.
    pub(super) fn free(&self) -> bool {
        self.flow.healthy() && self.queue.is_empty() && self.ended.is_none()
    }

    /// Counts bytes that go over as they came.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.tail += bytes as u64;
    }

    /// Takes back the last of the bytes that were to go as they came: they could not be written yet.
    pub(super) fn unskip(&mut self, now: Time, bytes: Bytes) {
        self.tail -= bytes.len() as u64;
        self.push(now, bytes, None);
    }

    /// How many bytes are on their way.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// The other side has spoken: what comes is another message.
    pub(super) fn turn(&mut self) {
        self.message = self.tail;
    }

    /// Takes bytes that came.
    pub(super) fn push(&mut self, now: Time, bytes: Bytes, wait: Option<(u64, Time)>) {
        if bytes.is_empty() {
            return;
        }
        let offset = self.tail;
        self.tail += bytes.len() as u64;
        self.queued += bytes.len();
        self.queue.push_back(Piece {
            bytes,
            offset,
            came: now,
            message: self.message,
            wait,
            verdict: None,
            damaged: false,
        });
        self.judge();
    }

    /// Takes the end of the stream.
    pub(super) fn finish(&mut self, now: Time) {
        self.ended = Some(now);
        self.judge();
    }

    /// Changes the faults; `alive` says which toxics there are.
    pub(super) fn change(&mut self, now: Time, chain: &[Setting], alive: impl Fn(u64) -> bool) {
        self.flow.set(now, self.head(), chain);
        for piece in &mut self.queue {
            piece.verdict = None;
            piece.wait = piece.wait.filter(|(id, _)| alive(*id));
        }
        self.judged = 0;
        self.last = Time::ZERO;
        self.end = None;
        self.judge();
    }

    /// What is to be done.
    pub(super) fn next(&mut self, now: Time) -> Next {
        let closes = self.flow.closes_at();
        if self.closing || closes <= now {
            return Next::Close;
        }
        let verdict = match self.queue.front() {
            Some(piece) => piece.verdict,
            None => self.end,
        };
        let (at, next) = match verdict {
            None | Some(Verdict::Held | Verdict::Lost { .. }) => return Next::Wait(closes),
            Some(Verdict::Passes { at, .. }) if self.queue.is_empty() => (at, Next::Finish),
            Some(Verdict::Passes { at, .. }) => (at, Next::Write),
            Some(Verdict::Closed(at)) => (at, Next::Close),
            Some(Verdict::Reset(at)) => (at, Next::Cut),
        };
        if at > now {
            return Next::Wait(at.min(closes));
        }
        if next == Next::Write && self.flow.damages() {
            self.damage(now);
        }
        next
    }

    /// What may go now, to be written at once.
    pub(super) fn parts<'a>(&'a self, now: Time, parts: &mut [IoSlice<'a>; PARTS_MAX]) -> usize {
        let mut count = 0;
        for piece in self.queue.iter().take(PARTS_MAX) {
            match piece.verdict {
                Some(Verdict::Passes { at, alone, .. }) if at <= now && (count == 0 || !alone) => {
                    parts[count] = IoSlice::new(&piece.bytes);
                    count += 1;
                    if alone {
                        break;
                    }
                }
                _ => break,
            }
        }
        count
    }

    /// So many bytes have gone.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let mut left = bytes;
        self.queued -= bytes;
        while left > 0 {
            let Some(piece) = self.queue.front_mut() else {
                break;
            };
            let gone = left.min(piece.bytes.len());
            piece.bytes.advance(gone);
            piece.offset += gone as u64;
            left -= gone;
            if !piece.bytes.is_empty() {
                break;
            }
            self.closing |= matches!(piece.verdict, Some(Verdict::Passes { last: true, .. }));
            self.queue.pop_front();
            self.judged -= 1;
        }
        self.flow.gone(self.head());
    }

    /// Where the first byte is that has not gone.
    fn head(&self) -> u64 {
        self.queue.front().map_or(self.tail, |piece| piece.offset)
    }

    /// Asks what becomes of all that has not been asked about.
    fn judge(&mut self) {
        while let Some(piece) = self.queue.get_mut(self.judged) {
            if piece.verdict.is_some() {
                // It stays, and what is behind it too.
                return;
            }
            let came = piece.wait.map_or(piece.came, |(_, until)| until.max(piece.came));
            let part = Part {
                offset: piece.offset,
                bytes: piece.bytes.len() as u64,
                message: piece.message,
            };
            let verdict = self.flow.send(came, part);
            match verdict {
                Verdict::Passes { at, bytes, .. } => {
                    self.last = self.last.max(at);
                    self.split(bytes as usize);
                    self.queue[self.judged].verdict = Some(verdict);
                    self.judged += 1;
                }
                Verdict::Lost { bytes } => {
                    self.split(bytes as usize);
                    self.queue.remove(self.judged);
                    self.queued -= bytes as usize;
                    self.flow.gone(self.head());
                }
                fate => piece.verdict = Some(fate),
            }
        }
        if let Some(ended) = self.ended {
            self.end.get_or_insert(self.flow.finish(ended.max(self.last)));
        }
    }

    /// Cuts the piece to be judged behind so many bytes.
    fn split(&mut self, bytes: usize) {
        let piece = &mut self.queue[self.judged];
        if bytes < piece.bytes.len() {
            let front = piece.bytes.split_to(bytes);
            let front = Piece {
                bytes: front,
                offset: piece.offset,
                came: piece.came,
                message: piece.message,
                wait: piece.wait,
                verdict: None,
                damaged: piece.damaged,
            };
            piece.offset += bytes as u64;
            self.queue.insert(self.judged, front);
        }
    }

    /// Damages what may go now, once.
    fn damage(&mut self, now: Time) {
        for piece in self.queue.iter_mut().take(PARTS_MAX) {
            match piece.verdict {
                Some(Verdict::Passes { at, .. }) if at <= now => {}
                _ => break,
            }
            if !piece.damaged {
                piece.damaged = true;
                let mut bytes = BytesMut::from(&piece.bytes[..]);
                self.flow.damage(piece.offset, &mut bytes);
                piece.bytes = bytes.freeze();
            }
        }
    }
}

/// Room for what is written at once.
pub(super) fn no_parts<'a>() -> [IoSlice<'a>; PARTS_MAX] {
    [IoSlice::new(&[]); PARTS_MAX]
}

#[cfg(test)]
mod tests;
