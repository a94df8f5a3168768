//! One connection, as the server knows it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use crate::resp::Protocol;

/// A client whose messages pile up beyond this is sent away, as Redis does with slow subscribers.
const OUTBOX_MAX: usize = 32 << 20;

/// Whether a client hears answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    On,
    Off,
    /// Not the answer to the next command.
    SkipNext,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) name: Bytes,
    pub(crate) library: (Bytes, Bytes),
    /// In milliseconds since 1970.
    pub(crate) since: u64,
    pub(crate) heard: u64,
    pub(crate) database: usize,
    pub(crate) protocol: Protocol,
    pub(crate) trusted: bool,
    pub(crate) channels: BTreeSet<Bytes>,
    pub(crate) patterns: BTreeSet<Bytes>,
    pub(crate) hearing: Hearing,
    pub(crate) last: &'static str,
    /// What is to be written to it.
    pub(crate) outbox: BytesMut,
    /// Tells its task that something is in the outbox, or that it is to end.
    pub(crate) wake: Arc<Notify>,
    /// It is sent away: at once, or when the outbox is written.
    pub(crate) killed: bool,
    pub(crate) leaving: bool,
}

impl Client {
    pub(crate) fn new(id: u64, address: SocketAddr, local: SocketAddr, now: u64, trusted: bool) -> Client {
        Client {
            id,
            address,
            local,
            name: Bytes::new(),
            library: (Bytes::new(), Bytes::new()),
            since: now,
            heard: now,
            database: 0,
            protocol: Protocol::Two,
            trusted,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            hearing: Hearing::On,
            last: "NULL",
            outbox: BytesMut::new(),
            wake: Arc::new(Notify::new()),
            killed: false,
            leaving: false,
        }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.subscriptions() > 0 {
            "pubsub"
        } else {
            "normal"
        }
    }

    /// Sends it away without another word.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        self.wake.notify_one();
    }

    /// What was put into its outbox by somebody else is to be sent; one that does not read is sent away.
    pub(crate) fn deliver(&mut self) {
        if self.outbox.len() > OUTBOX_MAX {
            self.outbox = BytesMut::new();
            self.killed = true;
        }
        self.wake.notify_one();
    }

    /// Its line of `CLIENT LIST`.
    pub(crate) fn describe(&self, now: u64) -> String {
        let mut line = String::new();
        let (age, idle) = (
            now.saturating_sub(self.since) / 1_000,
            now.saturating_sub(self.heard) / 1_000,
        );
        let flags = if self.subscriptions() > 0 { "P" } else { "N" };
        let resp = if self.protocol == Protocol::Three { 3 } else { 2 };
        let name = String::from_utf8_lossy(&self.name);
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd={} name={name} age={age} idle={idle} flags={flags} db={} sub={} psub={} \
             ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=1024 rbp=0 obl={} oll=0 omem=0 tot-mem={} \
             events=r cmd={} user=default redir=-1 resp={resp}",
            self.id,
            self.address,
            self.local,
            self.id + 7,
            self.database,
            self.channels.len(),
            self.patterns.len(),
            self.outbox.len(),
            self.outbox.capacity() + 1_024,
            self.last,
        );
        line
    }
}
