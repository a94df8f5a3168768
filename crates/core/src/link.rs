//! A network link, and what can be wrong with it.
//!
//! A [`Link`] is a machine without a network: a message goes in, and out comes when it arrives, or how it fails.
//! The simulated network and the real fault proxy both ask it, so they mean the same by "200 ms more latency" or "2%
//! loss". It carries messages as TCP does: they arrive whole and in the order of their sending, and a lost packet is
//! a delay until it is sent again (RFC 6298: after 200 ms as on Linux, then twice as long each time), not a lost
//! message. There is no congestion control and no fast retransmission here: requests and answers of a cache are a
//! packet or two, too short for either.
//!
//! Faults of different kinds add up; of each kind there is one at a time.
//!
//! ```
//! use seawall_core::{dist::Dist, link::{Delivery, Fault, Link}, rng::Seed, time::{Span, Time}};
//! let mut link = Link::new(Dist::Fixed(Span::millis(1)));
//! let mut rng = Seed(1).stream("link", 0);
//! let at = |ms| Time::ZERO + Span::millis(ms);
//! assert_eq!(link.send(at(0), 100, &mut rng), Delivery::At(at(1)));
//! link.set(Fault::Latency { add: Span::millis(200), jitter: Span::ZERO });
//! assert_eq!(link.send(at(1), 100, &mut rng), Delivery::At(at(202)));
//! link.set(Fault::Partition);
//! assert_eq!(link.send(at(2), 100, &mut rng), Delivery::Dropped);
//! ```

use crate::dist::Dist;
use crate::rng::Stream;
use crate::time::{Span, Time};

/// What one packet carries, in bytes: Ethernet's 1 500 without headers.
pub const PACKET_BYTES: u64 = 1_448;
/// After how long a packet is first sent again, and at most (Linux: `TCP_RTO_MIN`, `TCP_RTO_MAX`).
const RESEND_AFTER: Span = Span::millis(200);
const RESEND_AFTER_MAX: Span = Span::secs(120);
/// After how many resendings the connection is given up (Linux: `tcp_retries2`): a quarter of an hour.
const RESENDINGS_MAX: u32 = 15;

/// A fault of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Every message takes longer, by `add` give or take up to `jitter`, evenly, and never by less than nothing.
    Latency {
        /// How much longer.
        add: Span,
        /// Give or take.
        jitter: Span,
    },
    /// Messages go through one after the other at this speed.
    Bandwidth {
        /// Bytes a second, above zero.
        bytes_per_s: f64,
    },
    /// This share of the packets is lost, each for itself.
    Loss {
        /// From 0 to 1.
        share: f64,
    },
    /// Nothing arrives, and nobody says so.
    Partition,
    /// Nobody listens at the other end.
    Refuse,
    /// Connections are cut.
    Reset,
    /// The other end accepts everything and does nothing: a stopped process.
    Hang,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It arrives at this instant.
    At(Time),
    /// It never arrives, and the sender hears nothing.
    Dropped,
    /// The sender hears that the connection was cut.
    Reset,
    /// The sender hears that nobody listens.
    Refused,
    /// It has arrived and lies there until the other end goes on: whoever drives the link keeps it, and sends it
    /// again when the fault ends.
    Held,
}

/// A link in one direction.
#[derive(Clone, Debug)]
pub struct Link {
    latency: Dist,
    /// Whether messages keep their order, which they do within a connection.
    ordered: bool,
    faults: Faults,
    /// Whether any fault is set: the common case is one comparison.
    healthy: bool,
    /// When the last message arrives.
    last: Time,
    /// When the last message has gone through the narrow place.
    through: Time,
    /// How long the last message was on its way without having been lost; none when it was given up.
    travel: Option<Span>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault of its own, and all may be set at once"
)]
struct Faults {
    latency: Option<(Span, Span)>,
    bytes_per_s: Option<f64>,
    loss: f64,
    partition: bool,
    refuse: bool,
    reset: bool,
    hang: bool,
}

impl Link {
    /// One connection with this latency: messages arrive in the order of their sending.
    pub fn new(latency: Dist) -> Link {
        Link {
            latency,
            ordered: true,
            faults: Faults::default(),
            healthy: true,
            last: Time::ZERO,
            through: Time::ZERO,
            travel: Some(Span::ZERO),
        }
    }

    /// Many connections between the same two ends, each message on its own: a slow one delays no other.
    pub fn pooled(latency: Dist) -> Link {
        Link {
            ordered: false,
            ..Link::new(latency)
        }
    }

    /// Sends a message of this many bytes.
    #[inline]
    pub fn send(&mut self, now: Time, bytes: u64, rng: &mut Stream) -> Delivery {
        let latency = self.latency.draw(rng);
        if self.healthy {
            self.travel = Some(latency);
            return self.deliver(now + latency);
        }
        self.send_faulty(now, bytes, latency, rng)
    }

    /// Sends `bytes` more of the last message, which came late: they take as long as what was sent of it before, and
    /// are not lost on their own. Nothing is drawn, so it does not matter in how many parts a message comes.
    pub fn send_more(&mut self, now: Time, bytes: u64) -> Delivery {
        if let Some(fate) = self.faults.fate() {
            return fate;
        }
        let Some(travel) = self.travel else {
            return Delivery::Dropped;
        };
        let leaves = self.squeeze(now, bytes);
        self.deliver(leaves + travel)
    }

    /// Sets a fault, in the place of one of its kind.
    pub fn set(&mut self, fault: Fault) {
        let faults = &mut self.faults;
        match fault {
            Fault::Latency { add, jitter } => faults.latency = Some((add, jitter)),
            Fault::Bandwidth { bytes_per_s } => faults.bytes_per_s = Some(bytes_per_s.max(f64::MIN_POSITIVE)),
            Fault::Loss { share } => faults.loss = share.clamp(0.0, 1.0),
            Fault::Partition => faults.partition = true,
            Fault::Refuse => faults.refuse = true,
            Fault::Reset => faults.reset = true,
            Fault::Hang => faults.hang = true,
        }
        self.healthy = self.faults == Faults::default();
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Ends a fault of this kind, whatever its numbers.
    pub fn clear(&mut self, fault: Fault) {
        let faults = &mut self.faults;
        match fault {
            Fault::Latency { .. } => faults.latency = None,
            Fault::Bandwidth { .. } => faults.bytes_per_s = None,
            Fault::Loss { .. } => faults.loss = 0.0,
            Fault::Partition => faults.partition = false,
            Fault::Refuse => faults.refuse = false,
            Fault::Reset => faults.reset = false,
            Fault::Hang => faults.hang = false,
        }
        self.healthy = self.faults == Faults::default();
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.healthy = true;
    }

    /// Whether no fault is set.
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    /// Begins a new connection: what was sent on the old one delays nothing sent on this.
    pub fn reconnect(&mut self) {
        self.last = Time::ZERO;
    }

    /// Until when the narrow place is taken.
    pub fn busy_until(&self) -> Time {
        self.through
    }

    /// Takes the narrow place until then, by what was sent before this link was made.
    pub fn occupy(&mut self, until: Time) {
        self.through = self.through.max(until);
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        assert_eq!(self.healthy, self.faults == Faults::default());
        assert!((0.0..=1.0).contains(&self.faults.loss));
        assert!(self.faults.bytes_per_s.is_none_or(|speed| speed > 0.0));
    }

    #[cold]
    fn send_faulty(&mut self, now: Time, bytes: u64, latency: Span, rng: &mut Stream) -> Delivery {
        if let Some(fate) = self.faults.fate() {
            return fate;
        }
        let faults = self.faults;
        let leaves = self.squeeze(now, bytes);
        let mut travel = latency;
        if let Some((add, jitter)) = faults.latency {
            let twice = jitter + jitter;
            let give = Span::nanos(rng.below(twice.as_nanos().saturating_add(1)));
            travel += (add + give).saturating_sub(jitter);
        }
        self.travel = Some(travel);
        let mut arrives = leaves + travel;
        if faults.loss > 0.0 {
            let Some(delay) = resending(bytes, faults.loss, rng) else {
                self.travel = None;
                return Delivery::Dropped;
            };
            arrives += delay;
        }
        self.deliver(arrives)
    }

    /// When these bytes have gone through the narrow place, if there is one.
    fn squeeze(&mut self, now: Time, bytes: u64) -> Time {
        let Some(bytes_per_s) = self.faults.bytes_per_s else {
            return now;
        };
        let takes = Span::from_secs_f64(bytes as f64 / bytes_per_s);
        self.through = self.through.max(now) + takes;
        self.through
    }

    #[inline]
    fn deliver(&mut self, arrives: Time) -> Delivery {
        if self.ordered {
            self.last = self.last.max(arrives);
            return Delivery::At(self.last);
        }
        Delivery::At(arrives)
    }
}

impl Faults {
    /// What becomes of everything, when nothing gets through.
    fn fate(&self) -> Option<Delivery> {
        // Through a partition, not even a refusal comes back.
        if self.partition {
            Some(Delivery::Dropped)
        } else if self.refuse {
            Some(Delivery::Refused)
        } else if self.reset {
            Some(Delivery::Reset)
        } else if self.hang {
            Some(Delivery::Held)
        } else {
            None
        }
    }
}

/// How long resending delays a message; none when the connection is given up before it gets through, which is later
/// than anybody waits.
fn resending(bytes: u64, share: f64, rng: &mut Stream) -> Option<Span> {
    let packets = bytes.div_ceil(PACKET_BYTES).clamp(1, 1 << 20) as f64;
    let mut delay = Span::ZERO;
    let mut after = RESEND_AFTER;
    // The first time all packets have to get through; after that, those that were lost, and one decides.
    let mut arrives = libm::pow(1.0 - share, packets);
    for _ in 0..=RESENDINGS_MAX {
        if rng.chance(arrives) {
            return Some(delay);
        }
        delay += after;
        after = (after + after).min(RESEND_AFTER_MAX);
        arrives = 1.0 - share;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Seed;

    const MS: fn(u64) -> Span = Span::millis;

    fn fault(kind: u8, size: u64) -> Fault {
        match kind {
            0 => Fault::Latency {
                add: MS(size),
                jitter: MS(size / 2),
            },
            1 => Fault::Bandwidth {
                bytes_per_s: size as f64 * 1_000.0,
            },
            2 => Fault::Loss {
                share: size as f64 / 100.0,
            },
            3 => Fault::Partition,
            4 => Fault::Refuse,
            5 => Fault::Reset,
            _ => Fault::Hang,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_arrives_before_it_was_sent_or_out_of_order(
            ops in prop::collection::vec((0..12_u8, 0..7_u8, 0..100_u64), 1..300),
        ) {
            let mut link = Link::new(Dist::Exponential { mean: MS(2) });
            let mut pool = Link::pooled(Dist::Fixed(MS(2)));
            let mut rng = Seed(1).stream("link", 0);
            let mut now = Time::ZERO;
            let mut last = Time::ZERO;
            for (op, kind, size) in ops {
                let fault = fault(kind, size);
                match op {
                    0 => { link.set(fault); pool.set(fault); }
                    1 | 2 => { link.clear(fault); pool.clear(fault); }
                    3 if size < 10 => { link.heal(); pool.heal(); }
                    _ => {
                        now += Span::micros(size * 20);
                        if let Delivery::At(time) = link.send(now, size * 100, &mut rng) {
                            prop_assert!(time >= now && time >= last);
                            last = time;
                        }
                        match pool.send(now, size * 100, &mut rng) {
                            Delivery::At(time) => prop_assert!(time >= now + MS(2)),
                            _ => prop_assert!(!pool.healthy()),
                        }
                    }
                }
                link.invariants();
                pool.invariants();
            }
            link.heal();
            prop_assert!(matches!(link.send(now, 1, &mut rng), Delivery::At(_)));
        }
    }

    #[test]
    fn a_narrow_link_makes_a_line() {
        let mut link = Link::new(Dist::Fixed(MS(1)));
        let mut rng = Seed(2).stream("link", 0);
        link.set(Fault::Bandwidth { bytes_per_s: 1e6 });
        let times: Vec<Delivery> = (0..3).map(|_| link.send(Time::ZERO, 10_000, &mut rng)).collect();
        assert_eq!(times, [11, 21, 31].map(|ms| Delivery::At(Time::ZERO + MS(ms))));
        link.clear(Fault::Bandwidth { bytes_per_s: 0.0 });
        let later = Time::ZERO + MS(100);
        assert_eq!(link.send(later, 10_000, &mut rng), Delivery::At(later + MS(1)));
    }

    #[test]
    fn a_lost_packet_is_a_delay() {
        let mut link = Link::pooled(Dist::Fixed(Span::ZERO));
        link.set(Fault::Loss { share: 0.1 });
        let mut rng = Seed(3).stream("link", 0);
        let mut counts = [0_u32; 3];
        for _ in 0..50_000 {
            let Delivery::At(time) = link.send(Time::ZERO, 100, &mut rng) else {
                panic!("lost for good")
            };
            match time.as_nanos() / 1_000_000 {
                0 => counts[0] += 1,
                200 => counts[1] += 1,
                600 => counts[2] += 1,
                _ => {}
            }
        }
        for (count, share) in counts.into_iter().zip([0.9, 0.09, 0.009]) {
            let expected = 50_000.0 * share;
            assert!(
                (f64::from(count) - expected).abs() < 4.5 * expected.sqrt(),
                "{counts:?}"
            );
        }
        // Ten packets: all get through at once with 0.9¹⁰.
        let whole = (0..50_000)
            .filter(|_| link.send(Time::ZERO, 10 * PACKET_BYTES, &mut rng) == Delivery::At(Time::ZERO))
            .count();
        assert!((whole as f64 / 50_000.0 - 0.348_7).abs() < 0.01, "{whole}");
        link.set(Fault::Loss { share: 1.0 });
        assert_eq!(link.send(Time::ZERO, 100, &mut rng), Delivery::Dropped);
    }

    #[test]
    fn added_latency_is_even_around_its_middle() {
        let mut link = Link::pooled(Dist::Fixed(MS(1)));
        link.set(Fault::Latency {
            add: MS(100),
            jitter: MS(50),
        });
        let mut rng = Seed(4).stream("link", 0);
        let times: Vec<Time> = (0..10_000)
            .filter_map(|_| match link.send(Time::ZERO, 1, &mut rng) {
                Delivery::At(time) => Some(time),
                _ => None,
            })
            .collect();
        assert_eq!(times.len(), 10_000);
        let at = |ms| Time::ZERO + MS(ms);
        assert!(times.iter().all(|time| (at(51)..=at(151)).contains(time)));
        let late = times.iter().filter(|time| **time > at(126)).count();
        assert!((2_300..2_700).contains(&late), "{late}");
    }

    #[test]
    fn the_worse_fault_speaks() {
        let mut link = Link::new(Dist::Fixed(MS(1)));
        let mut rng = Seed(5).stream("link", 0);
        let kinds = [Fault::Hang, Fault::Reset, Fault::Refuse, Fault::Partition];
        let seen: Vec<Delivery> = kinds
            .iter()
            .map(|fault| {
                link.set(*fault);
                link.send(Time::ZERO, 1, &mut rng)
            })
            .collect();
        assert_eq!(
            seen,
            [
                Delivery::Held,
                Delivery::Reset,
                Delivery::Refused,
                Delivery::Dropped
            ]
        );
        for fault in kinds {
            link.clear(fault);
        }
        assert!(link.healthy());
    }

    #[test]
    fn a_new_connection_is_not_delayed_by_the_old_one() {
        let mut link = Link::new(Dist::Fixed(MS(1)));
        let mut rng = Seed(6).stream("link", 0);
        link.set(Fault::Latency {
            add: Span::secs(5),
            jitter: Span::ZERO,
        });
        link.send(Time::ZERO, 1, &mut rng);
        link.heal();
        let late = Delivery::At(Time::ZERO + MS(5_001));
        assert_eq!(link.send(Time::ZERO, 1, &mut rng), late, "behind the slow one");
        link.reconnect();
        assert_eq!(
            link.send(Time::ZERO, 1, &mut rng),
            Delivery::At(Time::ZERO + MS(1))
        );
    }

    #[test]
    fn it_does_not_matter_in_how_many_parts_a_message_comes() {
        let faults = [
            Fault::Latency {
                add: MS(100),
                jitter: MS(50),
            },
            Fault::Loss { share: 0.5 },
        ];
        for (seed, fault) in (0..50).flat_map(|seed| faults.map(|fault| (seed, fault))) {
            let mut whole = Link::new(Dist::Fixed(MS(1)));
            whole.set(fault);
            let mut parts = whole.clone();
            let (mut a, mut b) = (Seed(seed).stream("link", 0), Seed(seed).stream("link", 0));
            let arrives = whole.send(Time::ZERO, 1_000, &mut a);
            assert_eq!(parts.send(Time::ZERO, 10, &mut b), arrives);
            assert_eq!(parts.send_more(Time::ZERO, 990), arrives);
            assert_eq!(a.bits(), b.bits(), "nothing more was drawn");
        }
        let mut lossy = Link::new(Dist::Fixed(MS(1)));
        lossy.set(Fault::Loss { share: 0.5 });
        let mut rng = Seed(1).stream("link", 0);
        assert_ne!(lossy.send(Time::ZERO, 10, &mut rng), Delivery::Dropped);
        let late = Time::ZERO + Span::secs(1_000_000);
        assert_eq!(
            lossy.send_more(late, 10),
            Delivery::At(late + MS(1)),
            "what was lost once is not lost again"
        );
    }

    #[test]
    fn more_of_a_message_waits_its_turn_at_the_narrow_place() {
        let mut link = Link::new(Dist::Fixed(MS(1)));
        let mut rng = Seed(1).stream("link", 0);
        link.set(Fault::Bandwidth { bytes_per_s: 1e6 });
        assert_eq!(
            link.send(Time::ZERO, 10_000, &mut rng),
            Delivery::At(Time::ZERO + MS(11))
        );
        assert_eq!(
            link.send_more(Time::ZERO, 10_000),
            Delivery::At(Time::ZERO + MS(21))
        );
        link.set(Fault::Partition);
        assert_eq!(link.send_more(Time::ZERO, 10_000), Delivery::Dropped);
    }
}
