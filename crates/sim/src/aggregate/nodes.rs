//! Nodes of a cache that fare alike, and what they make of look-ups and writes.

use seawall_core::guard::CacheFault;
use seawall_core::link::{Delivery, Link};
use seawall_core::time::Time;

use super::caches::Tier;
use super::cohort::about;
use super::panel::End;

/// How quickly the mean number of calls in a tick follows.
const ASKED_FOLLOWS: f64 = 0.02;
/// Messages that are sent over a faulty link to see what becomes of all.
const SAMPLE: usize = 200;

/// What a node makes of a share of the look-ups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) share: f64,
    pub(super) took: f64,
    pub(super) fault: Option<CacheFault>,
}

/// Nodes that fare alike.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub(super) count: f64,
    pub(super) link: Link,
    pub(super) says: Option<CacheFault>,
    pub(super) writes_say: Option<CacheFault>,
    pub(super) frozen_until: Option<Time>,
    pub(super) answers: bool,
    pub(super) slow: f64,
    pub(super) far: f64,
    pub(super) pieces: Vec<Piece>,
    /// The share of writes that its link lets through in time.
    pub(super) writes: f64,
    /// The share of writes that arrive, whenever the answer comes.
    pub(super) arrives: f64,
    /// Look-ups and stores in a tick: on average of late, and in this one.
    pub(super) asked: f64,
    pub(super) asked_now: f64,
    /// The share of them that find too many clients there.
    pub(super) full: f64,
}

impl Nodes {
    /// Lets a tick pass: how often a node has too many clients follows from how many calls are under way (Erlang B). A
    /// store has its client for as long as the look-ups around it.
    pub(super) fn pass(&mut self, dt: f64, clients_max: Option<u32>) {
        self.asked += ASKED_FOLLOWS * (std::mem::take(&mut self.asked_now) - self.asked);
        let Some(most) = clients_max else {
            self.full = 0.0;
            return;
        };
        let took: f64 = self.pieces.iter().map(|piece| piece.share * piece.took).sum();
        let offered = self.asked / dt / self.count * took;
        self.full = 1.0;
        for servers in 1..=most {
            self.full = offered * self.full / (f64::from(servers) + offered * self.full);
            if self.full < 1e-12 {
                self.full = 0.0;
                return;
            }
        }
    }
}

impl Tier {
    /// Works out again what nodes make of look-ups.
    pub(super) fn reshape(&mut self) {
        for group in 0..self.nodes.len() {
            let pieces = self.pieces(group);
            self.nodes[group].pieces = pieces;
            // Storing takes no time of the node, only that of the way.
            let (size, patience, far) = (self.written.entry_size, self.timeout, self.nodes[group].far);
            let nodes = &mut self.nodes[group];
            let (mut heard, mut arrived) = (0_usize, 0_usize);
            for _ in 0..SAMPLE {
                match nodes.link.send(Time::ZERO, size, &mut self.rng) {
                    Delivery::At(at) => {
                        arrived += 1;
                        heard += usize::from(at.as_secs_f64() + far <= patience);
                    }
                    // After the first moments connections to a process that stands still are given up.
                    Delivery::Held | Delivery::Dropped | Delivery::Reset | Delivery::Refused => {}
                }
            }
            nodes.writes = heard as f64 / SAMPLE as f64;
            nodes.arrives = arrived as f64 / SAMPLE as f64;
        }
    }

    fn pieces(&mut self, group: usize) -> Vec<Piece> {
        let patience = self.timeout;
        let late = |share: f64| Piece {
            share,
            took: patience,
            fault: Some(CacheFault::TimedOut),
        };
        let size = self.written.entry_size;
        let nodes = &mut self.nodes[group];
        let plain = nodes.link.healthy() && nodes.says.is_none();
        let steady = self.latency.is_fixed() && plain;
        let count = if steady { 1 } else { SAMPLE as u64 };
        let mut lengths = Vec::new();
        self.latency.deal(count, &mut self.rng, |length, count| {
            lengths.extend(std::iter::repeat_n(length, count as usize));
        });
        let mut pieces: Vec<Piece> = Vec::new();
        for length in lengths {
            let mut took = length * nodes.slow + nodes.far;
            let mut fault = None;
            match nodes.link.send(Time::ZERO, size, &mut self.rng) {
                Delivery::At(at) => took += at.as_secs_f64(),
                Delivery::Refused => (took, fault) = (took.min(patience), Some(CacheFault::Refused)),
                Delivery::Reset => (took, fault) = (took.min(patience), Some(CacheFault::Reset)),
                Delivery::Dropped | Delivery::Held => (took, fault) = (patience, Some(CacheFault::TimedOut)),
            }
            let share = 1.0 / count as f64;
            pieces.push(match fault {
                Some(_) => Piece { share, took, fault },
                None if took > patience => late(share),
                None => Piece {
                    share,
                    took,
                    fault: nodes.says,
                },
            });
        }
        fold(pieces)
    }

    /// The share of so many stores on the nodes of a group that breakers let through. They learn from them: a store takes no
    /// time.
    pub(super) fn lets_store(&mut self, now: Time, tick: u32, group: usize, stores: f64) -> f64 {
        let well = self.hears(group);
        let nodes = &self.nodes[group];
        let faults = [nodes.says, nodes.writes_say];
        let outage = faults.into_iter().flatten().any(CacheFault::is_outage);
        let bad = if outage || nodes.frozen_until.is_some() {
            1.0
        } else {
            1.0 - nodes.writes
        };
        let count = about(stores, &mut self.rng);
        let Some(panel) = self.panels.get_mut(group) else {
            return 1.0;
        };
        if count == 0 || panel.is_calm(now, well >= 1.0) {
            return 1.0 - panel.state(now) / 2.0;
        }
        let end = |share: f64, ok: bool| End {
            share,
            ok,
            took: 0.0,
            tick,
        };
        let passed = panel.admit_known(now, count, &[end(1.0 - bad, true), end(bad, false)]);
        panel.pass(now, tick);
        passed as f64 / count as f64
    }

    /// The share of what is loaded that is stored on the nodes of a group.
    ///
    /// What has arrived is stored, also when its answer comes too late.
    pub(super) fn stores(&self, group: usize) -> f64 {
        let nodes = &self.nodes[group];
        if self.local {
            1.0
        } else if nodes.writes_say.is_none() && nodes.says.is_none() {
            nodes.arrives * (1.0 - nodes.full)
        } else {
            0.0
        }
    }

    /// The share of stores on the nodes of a group that are answered well in time.
    fn hears(&self, group: usize) -> f64 {
        let nodes = &self.nodes[group];
        let well = nodes.writes_say.is_none() && nodes.says.is_none() && nodes.frozen_until.is_none();
        if self.local {
            1.0
        } else if well {
            nodes.writes * (1.0 - nodes.full)
        } else {
            0.0
        }
    }
}

/// Puts pieces together that are alike, so that few are left.
fn fold(mut pieces: Vec<Piece>) -> Vec<Piece> {
    const KEPT: usize = 8;
    if pieces.len() <= 1 {
        return pieces;
    }
    pieces.sort_by(|a, b| {
        (a.fault, a.took)
            .partial_cmp(&(b.fault, b.took))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let each = 1.0 / KEPT as f64;
    let mut folded: Vec<Piece> = Vec::new();
    for piece in pieces {
        match folded.last_mut() {
            Some(last)
                if last.fault == piece.fault
                    && (last.share < each || (last.took - piece.took).abs() < 1e-9) =>
            {
                let share = piece.share / (last.share + piece.share);
                last.took += (piece.took - last.took) * share;
                last.share += piece.share;
            }
            _ => folded.push(piece),
        }
    }
    folded
}
