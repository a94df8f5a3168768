//! One direction of a connection: reads, waits as it is told, writes.
//!
//! While nothing is wrong, bytes go from socket to socket through one buffer. As soon as a toxic is there, they go by way
//! of the queue in `way`, from the next byte on; and back again when the last toxic is gone and the queue is empty.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use seawall_core::time::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};

use super::chain::{Chain, Share};
use super::dialogue::{Chunk, Dialogue};
use super::passage::Wiring;
use super::toxic::Side;
use super::way::{Next, Way, no_parts};

/// The first buffer of a direction, and the largest: it grows while reads fill it.
const BUFFER: usize = 8 << 10;
const BUFFER_MAX: usize = 128 << 10;
/// So many bytes wait in one direction of a connection; then nothing more is read.
const QUEUED_MAX: usize = 1 << 20;

/// How a connection ends before both sides have ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is closed.
    Closed,
    /// It is cut: the ends are told that it was reset.
    Cut,
}

impl From<io::Error> for End {
    /// What one end did to us is done to the other.
    fn from(_: io::Error) -> End {
        End::Cut
    }
}

/// What both directions of a connection share.
pub(super) struct Both<'a> {
    pub(super) wiring: &'a Wiring,
    /// Which connection it is, in order of acceptance.
    pub(super) number: u64,
    /// How often each side has spoken.
    spoken: [AtomicU64; 2],
    dialogue: Mutex<Dialogue>,
    /// An error waits to be put between replies.
    injected: Notify,
}

impl<'a> Both<'a> {
    pub(super) fn new(wiring: &'a Wiring, number: u64) -> Both<'a> {
        Both {
            wiring,
            number,
            spoken: [AtomicU64::new(0), AtomicU64::new(0)],
            dialogue: Mutex::new(Dialogue::default()),
            injected: Notify::new(),
        }
    }

    fn dialogue(&self) -> MutexGuard<'_, Dialogue> {
        // Nobody panics within.
        self.dialogue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of a connection.
pub(super) struct Pump<'a> {
    side: Side,
    both: &'a Both<'a>,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    chain: watch::Receiver<Chain>,
    stale: bool,
    share: Share,
    way: Way,
    /// How often the other side had spoken when this one last did.
    heard: u64,
    ended: bool,
    foreign: bool,
    buffer: Vec<u8>,
    chunks: Vec<Chunk>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(side: Side, both: &'a Both<'a>, from: ReadHalf<'a>, to: WriteHalf<'a>) -> Pump<'a> {
        Pump {
            side,
            both,
            from,
            to,
            chain: both.wiring.chain.clone(),
            stale: true,
            share: Share::default(),
            way: Way::default(),
            heard: 0,
            ended: false,
            foreign: false,
            buffer: vec![0; BUFFER],
            chunks: Vec::new(),
        }
    }

    /// Carries bytes until the end has been told.
    pub(super) async fn run(mut self) -> Result<(), End> {
        loop {
            self.refresh()?;
            let now = self.both.wiring.clock.now();
            let (ready, until) = match self.way.next(now) {
                Next::Write => (true, Time::NEVER),
                Next::Wait(until) => (false, until),
                Next::Finish => {
                    self.to.shutdown().await?;
                    return Ok(());
                }
                Next::Close => return Err(End::Closed),
                Next::Cut => return Err(End::Cut),
            };
            let room = !self.ended && self.way.queued() < QUEUED_MAX;
            let mut parts = no_parts();
            let count = if ready { self.way.parts(now, &mut parts) } else { 0 };
            tokio::select! {
                biased;
                changed = self.chain.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    self.stale = true;
                }
                wrote = self.to.write_vectored(&parts[..count]), if ready => {
                    let wrote = wrote?;
                    self.way.wrote(wrote);
                    self.both.wiring.counters.sent(self.side, wrote);
                }
                read = self.from.read(&mut self.buffer), if room => self.take(read?).await?,
                () = self.both.wiring.clock.sleep_until(until), if until != Time::NEVER => {}
                () = self.both.injected.notified(), if self.side == Side::Downstream => {
                    self.hear(Bytes::new());
                }
            }
        }
    }

    /// Takes over the toxics if they have changed.
    fn refresh(&mut self) -> Result<(), End> {
        if !self.stale && !self.chain.has_changed().map_err(|_| End::Closed)? {
            return Ok(());
        }
        self.stale = false;
        let chain = Chain::clone(&self.chain.borrow_and_update());
        let share = Share::of(&chain, self.both.wiring, self.side, self.both.number);
        if self.share.closes_without(&share) {
            return Err(End::Closed);
        }
        let now = self.both.wiring.clock.now();
        self.way.change(now, &share.settings, |id| chain.has(id));
        self.share = share;
        if self.side == Side::Upstream && self.share.rules.is_empty() {
            self.both.dialogue().release(&mut self.chunks);
            self.send_on(now);
        }
        Ok(())
    }

    /// Takes what was read: so many bytes, in the buffer.
    async fn take(&mut self, read: usize) -> Result<(), End> {
        // What comes after a change meets the change.
        self.refresh()?;
        let now = self.both.wiring.clock.now();
        if read == 0 {
            self.ended = true;
            if self.side == Side::Upstream {
                self.both.dialogue().release(&mut self.chunks);
                self.send_on(now);
            }
            self.way.finish(now);
            return Ok(());
        }
        self.both.wiring.counters.received(self.side, read);
        self.both.spoken[self.side as usize].fetch_add(1, Ordering::Relaxed);
        let heard = self.both.spoken[1 - self.side as usize].load(Ordering::Relaxed);
        if heard != self.heard {
            self.heard = heard;
            self.way.turn();
        }
        if self.way.free() && self.overhear(read) {
            self.pass(read).await?;
        } else {
            self.hear(Bytes::copy_from_slice(&self.buffer[..read]));
        }
        if read == self.buffer.len() && read < BUFFER_MAX {
            self.buffer.resize(2 * read, 0);
        }
        Ok(())
    }

    /// Follows the conversation, if it is enough to listen: then what was read goes on as it is.
    fn overhear(&mut self, read: usize) -> bool {
        if self.foreign {
            return true;
        }
        let mut dialogue = self.both.dialogue();
        let said = &self.buffer[..read];
        let passes = match self.side {
            Side::Upstream => self.share.rules.is_empty() && dialogue.overhear_request(said),
            Side::Downstream => dialogue.overhear_reply(said),
        };
        self.foreign = dialogue.foreign();
        passes
    }

    /// Follows the conversation and changes it.
    fn hear(&mut self, said: Bytes) {
        let now = self.both.wiring.clock.now();
        if self.foreign {
            self.way.push(now, said, None);
            return;
        }
        let mut dialogue = self.both.dialogue();
        match self.side {
            Side::Upstream => {
                dialogue.ask(now, &self.share.rules, said, &mut self.chunks);
                if dialogue.injecting() {
                    self.both.injected.notify_one();
                }
            }
            Side::Downstream => dialogue.answer(&said, &mut self.chunks),
        }
        self.foreign = dialogue.foreign();
        drop(dialogue);
        self.send_on(now);
    }

    fn send_on(&mut self, now: Time) {
        for chunk in self.chunks.drain(..) {
            self.way.push(now, chunk.bytes, chunk.wait);
        }
    }

    /// Writes what was read, straight from the buffer, until the toxics change.
    async fn pass(&mut self, read: usize) -> Result<(), End> {
        self.way.skip(read);
        let mut at = 0;
        while at < read {
            tokio::select! {
                biased;
                wrote = self.to.write(&self.buffer[at..read]) => {
                    let wrote = wrote?;
                    at += wrote;
                    self.both.wiring.counters.sent(self.side, wrote);
                }
                changed = self.chain.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    self.stale = true;
                    self.way.unskip(self.both.wiring.clock.now(), Bytes::copy_from_slice(&self.buffer[at..read]));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
