//! One direction of a TCP connection, and what can be wrong with it.
//!
//! A [`Link`] carries messages. A [`Flow`] carries the bytes of a connection through a chain of faults: those of a link,
//! and those that only a stream of bytes can have. It is what the fault proxy asks; it holds no bytes, reads no clock
//! and owns no socket. **Whoever drives it sends the bytes in order, asks again for what a verdict leaves over, says what
//! has gone, and after [`Flow::set`] sends again what is still on its way.**
//!
//! What happens to a byte depends on the seed and on where in the stream the byte is, never on how many reads it took
//! to bring it: a stream is judged in segments of a packet's size, which begin at the first byte of a message (the first
//! one after the other side has spoken), and each segment's draws come from a random stream of its own.
//!
//! ```
//! use seawall_core::{flow::{Fault, Flow, Part, Setting, Verdict}, link, rng::Seed, time::{Span, Time}};
//! let mut flow = Flow::default();
//! let late = Fault::Link(link::Fault::Latency { add: Span::millis(200), jitter: Span::ZERO });
//! flow.set(Time::ZERO, 0, &[Setting { id: 1, seed: Seed(7), turns: true, fault: late }]);
//! let sent = flow.send(Time::ZERO, Part { offset: 0, bytes: 50, message: 0 });
//! let at = Time::ZERO + Span::millis(200);
//! assert_eq!(sent, Verdict::Passes { at, bytes: 50, alone: false, last: false });
//! flow.set(Time::ZERO, 0, &[]);
//! let again = flow.send(Time::ZERO, Part { offset: 0, bytes: 50, message: 0 });
//! assert_eq!(again, Verdict::Passes { at: Time::ZERO, bytes: 50, alone: false, last: false });
//! ```

use std::collections::VecDeque;

use crate::dist::Dist;
use crate::link::{self, Delivery, Link, PACKET_BYTES};
use crate::rng::Seed;
use crate::time::{Span, Time};

/// Bytes are damaged block by block, so that any byte's fate is found without looking at all before it.
const BLOCK_BYTES: u64 = 4_096;

/// A fault of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// What can be wrong with a link. A reset comes with the first byte, or the end.
    Link(link::Fault),
    /// The bytes come in small parts, each written on its own, with a pause after each.
    Slices {
        /// Bytes of a part, on average; one at least.
        bytes: u64,
        /// Give or take so many bytes, evenly.
        variation: u64,
        /// Until the next part goes.
        pause: Span,
    },
    /// So many bytes go through, then the connection is closed.
    Limit {
        /// Bytes, counted from when the fault came.
        bytes: u64,
    },
    /// Every byte is taken and thrown away.
    Blackhole {
        /// So long after the fault came, the connection is closed.
        close_after: Option<Span>,
    },
    /// The connection is cut so long after the first byte, or the end, that comes.
    ResetAfter {
        /// How long after.
        delay: Span,
    },
    /// The end of the stream is told later.
    SlowClose {
        /// How much later.
        delay: Span,
    },
    /// This share of the bytes is changed, each for itself.
    Corrupt {
        /// From 0 to 1.
        share: f64,
    },
}

/// A fault of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Tells faults apart; what is known of a fault lives as long as its number is in the chain.
    pub id: u64,
    /// All draws of this fault on this flow come from it.
    pub seed: Seed,
    /// Whether a segment also begins with each message. Without it, segments are cut by the count of bytes alone, and
    /// are the same also where both sides speak at once.
    pub turns: bool,
    /// What is wrong.
    pub fault: Fault,
}

/// Bytes of the stream, next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// So many bytes came before it.
    pub offset: u64,
    /// How many they are, one at least.
    pub bytes: u64,
    /// Where their message began: at the first byte after the other side had spoken.
    pub message: u64,
}

/// What becomes of bytes, or of the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They arrive.
    Passes {
        /// When.
        at: Time,
        /// How many of those asked about, from the front. The rest is asked about next.
        bytes: u64,
        /// Whether they are handed over without any others.
        alone: bool,
        /// Whether the connection is closed behind them.
        last: bool,
    },
    /// They are on their way until the faults change.
    Held,
    /// They are thrown away.
    Lost {
        /// How many, from the front.
        bytes: u64,
    },
    /// The connection is closed at this instant.
    Closed(Time),
    /// The connection is cut at this instant.
    Reset(Time),
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    stages: Vec<Stage>,
}

/// One fault of the chain, and what it remembers of this flow.
#[derive(Clone, Debug)]
struct Stage {
    setting: Setting,
    /// When and where it came.
    since: Time,
    from: u64,
    link: Link,
    /// The segment the link sent last.
    segment: Option<u64>,
    /// Where the slice under way began and where it ends.
    slice: (u64, u64),
    /// When the slice under way goes.
    goes: Time,
    /// Up to which byte, the place where one waits for the other is taken until when: what is on its way, and before it
    /// what has gone.
    taken: VecDeque<(u64, Time)>,
    gone: Time,
    /// When the first byte came that a reset waits for.
    tripped: Option<Time>,
}

impl Flow {
    /// Sets the chain of faults, in the place of the one before. `offset` is how many bytes have been handed over.
    pub fn set(&mut self, now: Time, offset: u64, chain: &[Setting]) {
        let old = std::mem::take(&mut self.stages);
        self.stages = chain
            .iter()
            .map(|setting| {
                let known = old.iter().find(|stage| stage.setting.id == setting.id);
                let (since, from) = known.map_or((now, offset), |stage| (stage.since, stage.from));
                let mut stage = Stage::new(*setting, since, from);
                stage.slice = (offset, offset);
                if let Some(known) = known {
                    stage.tripped = known.tripped;
                    stage.gone = known.gone;
                    stage.link.occupy(known.gone);
                }
                stage
            })
            .collect();
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// All bytes before `offset` have gone: they are not sent again.
    pub fn gone(&mut self, offset: u64) {
        for stage in &mut self.stages {
            while let Some((end, until)) = stage.taken.front()
                && *end <= offset
            {
                stage.gone = *until;
                stage.taken.pop_front();
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn healthy(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether a connection can be made: not through a partition.
    pub fn connects(&self) -> bool {
        let cut = Fault::Link(link::Fault::Partition);
        self.stages.iter().all(|stage| stage.setting.fault != cut)
    }

    /// When the connection is closed whatever is sent.
    pub fn closes_at(&self) -> Time {
        let closings = self.stages.iter().filter_map(|stage| match stage.setting.fault {
            Fault::Blackhole {
                close_after: Some(delay),
            } => Some(stage.since + delay),
            _ => None,
        });
        closings.min().unwrap_or(Time::NEVER)
    }

    /// Sends bytes, which came at `now`.
    pub fn send(&mut self, now: Time, part: Part) -> Verdict {
        let mut part = part;
        for stage in &mut self.stages {
            part.bytes = part.bytes.min(stage.room(part));
        }
        let (mut at, mut alone, mut last) = (now, false, false);
        for stage in &mut self.stages {
            match stage.send(at, part) {
                Verdict::Passes {
                    at: later,
                    alone: cut,
                    last: end,
                    ..
                } => {
                    at = later;
                    alone |= cut;
                    last |= end;
                }
                fate => return fate,
            }
        }
        Verdict::Passes {
            at,
            bytes: part.bytes,
            alone,
            last,
        }
    }

    /// Sends the end of the stream, which came at `now` and not before the bytes.
    pub fn finish(&mut self, now: Time) -> Verdict {
        let mut at = now;
        for stage in &mut self.stages {
            match stage.finish(at) {
                Verdict::Passes { at: later, .. } => at = later,
                fate => return fate,
            }
        }
        Verdict::Passes {
            at,
            bytes: 0,
            alone: false,
            last: false,
        }
    }

    /// Damages bytes that are handed over; `offset` is where the first one is in the stream.
    pub fn damage(&self, offset: u64, bytes: &mut [u8]) {
        for stage in &self.stages {
            if let Fault::Corrupt { share } = stage.setting.fault {
                corrupt(stage.setting.seed, share, offset, bytes);
            }
        }
    }

    /// Whether bytes may be damaged.
    pub fn damages(&self) -> bool {
        let damages = |stage: &Stage| matches!(stage.setting.fault, Fault::Corrupt { .. });
        self.stages.iter().any(damages)
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        for stage in &self.stages {
            assert!(stage.slice.0 <= stage.slice.1);
            stage.link.invariants();
        }
    }
}

impl Stage {
    fn new(setting: Setting, since: Time, from: u64) -> Stage {
        let mut link = Link::new(Dist::Fixed(Span::ZERO));
        if let Fault::Link(fault) = setting.fault {
            link.set(fault);
        }
        Stage {
            setting,
            since,
            from,
            link,
            segment: None,
            slice: (from, from),
            goes: Time::ZERO,
            taken: VecDeque::new(),
            gone: Time::ZERO,
            tripped: None,
        }
    }

    /// Until when the place is taken where one waits for the other.
    fn free_at(&self) -> Time {
        self.taken.back().map_or(self.gone, |(_, until)| *until)
    }

    /// The first byte of the segment this part begins in.
    fn segment(&self, part: Part) -> u64 {
        let message = if self.setting.turns { part.message } else { 0 };
        part.offset - (part.offset - message) % PACKET_BYTES
    }

    /// How many bytes from the front of this part share one fate.
    fn room(&mut self, part: Part) -> u64 {
        match self.setting.fault {
            Fault::Link(_) => self.segment(part) + PACKET_BYTES - part.offset,
            Fault::Slices { bytes, variation, .. } => {
                if part.offset >= self.slice.1 {
                    let mut rng = self.setting.seed.stream("slice", part.offset);
                    let give = rng.below(variation.saturating_mul(2).saturating_add(1));
                    let size = bytes.saturating_add(give).saturating_sub(variation).max(1);
                    self.slice = (part.offset, part.offset.saturating_add(size));
                }
                self.slice.1 - part.offset
            }
            Fault::Limit { bytes } => match self.from.saturating_add(bytes).saturating_sub(part.offset) {
                0 => u64::MAX,
                left => left,
            },
            _ => u64::MAX,
        }
    }

    fn send(&mut self, now: Time, part: Part) -> Verdict {
        let passes = |at| Verdict::Passes {
            at,
            bytes: part.bytes,
            alone: false,
            last: false,
        };
        match self.setting.fault {
            Fault::Link(_) => self.carry(now, part).map_or_else(|fate| fate, passes),
            Fault::Slices { pause, .. } => {
                if part.offset == self.slice.0 {
                    self.goes = self.free_at().max(now);
                    self.taken.push_back((self.slice.1, self.goes + pause));
                }
                self.goes = self.goes.max(now);
                Verdict::Passes {
                    at: self.goes,
                    bytes: part.bytes,
                    alone: true,
                    last: false,
                }
            }
            Fault::Limit { bytes } => {
                let end = self.from.saturating_add(bytes);
                if part.offset >= end {
                    return Verdict::Closed(now);
                }
                Verdict::Passes {
                    at: now,
                    bytes: part.bytes,
                    alone: false,
                    last: part.offset + part.bytes >= end,
                }
            }
            Fault::Blackhole { .. } => Verdict::Lost { bytes: part.bytes },
            Fault::ResetAfter { delay } => self.trip(now, delay),
            Fault::SlowClose { .. } | Fault::Corrupt { .. } => passes(now),
        }
    }

    /// Sends a part through the link, and says when it arrives or what becomes of it.
    fn carry(&mut self, now: Time, part: Part) -> Result<Time, Verdict> {
        let segment = self.segment(part);
        let delivery = if self.segment == Some(segment) {
            self.link.send_more(now, part.bytes)
        } else {
            self.segment = Some(segment);
            let mut rng = self.setting.seed.stream("segment", segment);
            self.link.send(now, part.bytes, &mut rng)
        };
        if matches!(self.setting.fault, Fault::Link(link::Fault::Bandwidth { .. })) {
            self.taken
                .push_back((part.offset + part.bytes, self.link.busy_until()));
        }
        match delivery {
            Delivery::At(at) => Ok(at),
            // Nothing that was sent on a connection is lost for good: it is sent again until it gets through.
            Delivery::Dropped | Delivery::Held => Err(Verdict::Held),
            Delivery::Reset | Delivery::Refused => Err(Verdict::Reset(now)),
        }
    }

    fn finish(&mut self, now: Time) -> Verdict {
        let at = match self.setting.fault {
            Fault::Link(fault) => match fault {
                link::Fault::Partition | link::Fault::Hang => return Verdict::Held,
                link::Fault::Reset | link::Fault::Refuse => return Verdict::Reset(now),
                _ => now,
            },
            Fault::SlowClose { delay } => now + delay,
            Fault::Blackhole { .. } => return Verdict::Closed(now),
            Fault::ResetAfter { delay } => return self.trip(now, delay),
            _ => now,
        };
        Verdict::Passes {
            at,
            bytes: 0,
            alone: false,
            last: false,
        }
    }

    fn trip(&mut self, now: Time, delay: Span) -> Verdict {
        // What came before the fault did counts from when the fault came.
        let tripped = *self.tripped.get_or_insert(now.max(self.since));
        Verdict::Reset(tripped + delay)
    }
}

/// Changes this share of the bytes of a stream, each to another value.
fn corrupt(seed: Seed, share: f64, offset: u64, bytes: &mut [u8]) {
    let end = offset + bytes.len() as u64;
    let mut block = offset / BLOCK_BYTES;
    while block * BLOCK_BYTES < end {
        let mut rng = seed.stream("corrupt", block);
        let mut at = block * BLOCK_BYTES;
        loop {
            // The number of spared bytes before the next one is geometric.
            let spared = if share >= 1.0 {
                0.0
            } else {
                libm::floor(libm::log1p(-rng.unit()) / libm::log1p(-share.max(0.0)))
            };
            if !(0.0..BLOCK_BYTES as f64).contains(&spared) {
                break;
            }
            at += spared as u64;
            let change = rng.below(255) as u8 + 1;
            if at >= end || at >= (block + 1) * BLOCK_BYTES {
                break;
            }
            if at >= offset {
                bytes[(at - offset) as usize] ^= change;
            }
            at += 1;
        }
        block += 1;
    }
}

#[cfg(test)]
mod tests;
