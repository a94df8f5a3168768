//! A journal of what guards were told and what they said, for tests that hold two drivers against each other.
//!
//! It is there with the feature `journal` only, and then it is of the thread: whoever drives a guard on this thread is
//! heard, without knowing it.

use std::cell::RefCell;

use crate::coalesce::LoadId;
use crate::time::Time;

use super::Request;
use super::step::{Effect, LoadReply, LoadStep, Reply, Step};

/// One thing that was said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    /// A request began.
    Begin {
        /// The driver's name for it.
        token: u32,
        /// Its key.
        key: u64,
        /// Whether it reads.
        read: bool,
        /// When its time is over.
        deadline: Time,
        /// What it does first.
        step: Step,
    },
    /// A request went on.
    Resume {
        /// The driver's name for it.
        token: u32,
        /// What it was told.
        reply: Reply,
        /// What it does next.
        step: Step,
    },
    /// A request was abandoned.
    Abandon(u32),
    /// A load went on.
    Load(LoadId, LoadReply, LoadStep),
    /// Something beside a step, when the driver asked for it.
    Effect(Effect),
}

impl Line {
    pub(super) fn begin(request: &Request, step: Step) -> Line {
        Line::Begin {
            token: request.token,
            key: request.key,
            read: request.read,
            deadline: request.deadline,
            step,
        }
    }

    pub(super) fn resume(request: &Request, reply: Reply, step: Step) -> Line {
        Line::Resume {
            token: request.token,
            reply,
            step,
        }
    }
}

std::thread_local! {
    static JOURNAL: RefCell<Option<Journal>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Journal {
    now: Time,
    lines: Vec<(Time, Line)>,
}

/// Listens to all guards of this thread from now on.
pub fn listen() {
    JOURNAL.set(Some(Journal::default()));
}

/// What was heard since [`listen`]. Nobody listens any more.
pub fn take() -> Vec<(Time, Line)> {
    JOURNAL.take().unwrap_or_default().lines
}

/// It is so late now. Effects, which are asked for right after what caused them, are of this instant.
pub(super) fn note(now: Time) {
    JOURNAL.with_borrow_mut(|journal| {
        if let Some(journal) = journal {
            journal.now = now;
        }
    });
}

pub(super) fn write_at(now: Time, line: Line) {
    note(now);
    write(line);
}

pub(super) fn write(line: Line) {
    JOURNAL.with_borrow_mut(|journal| {
        if let Some(journal) = journal {
            journal.lines.push((journal.now, line));
        }
    });
}
