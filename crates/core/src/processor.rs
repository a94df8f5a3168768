//! A database node: queries that share one processor and slow each other down.
//!
//! Every running query gets the same speed, which depends on how many run; a lone query runs at speed 1, so its
//! work is what it takes alone. The [`Curve`] says how speed falls: not at all until all servers are taken (then
//! this is processor sharing), or by the universal scalability law (Gunther, 2007), where more load completes less.
//! A query is done when its attained service reaches its work (Kleinrock, "Queueing Systems" 2, 1976, chapter 4):
//! since all attain alike, one number is kept for all, and a heap of where each is done.
//!
//! A processor bounds nothing: who may run is the [`crate::station`]'s business.
//!
//! ```
//! use seawall_core::time::{Span, Time};
//! use seawall_core::processor::{Curve, Processor};
//! let at = |ms| Time::ZERO + Span::millis(ms);
//! let mut node = Processor::new(Curve::Servers(1.0), 1.0);
//! node.begin(at(0), 1, Span::millis(10));
//! node.begin(at(4), 2, Span::millis(3));
//! // The second shares: 3 ms of work take 6 ms.
//! assert_eq!(node.next(), Some(at(10)));
//! assert_eq!(node.finish(at(10)), Some(2));
//! assert_eq!(node.finish(at(10)), None);
//! assert_eq!(node.next(), Some(at(13)));
//! ```

use crate::time::{Span, Time};

/// How the speed of a query depends on how many run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    /// Full speed up to this many; then they share as much as these many do. 0 stops all work.
    Servers(f64),
    /// The universal scalability law: `n` queries complete `n / (1 + σ(n − 1) + κn(n − 1))` times as much as one.
    Scalability {
        /// σ: the share of work that only one can do at a time.
        contention: f64,
        /// κ: the cost of keeping each two consistent.
        coherence: f64,
    },
}

impl Curve {
    /// The speed of each of `n` running queries, of which there may be fractions.
    pub fn speed(&self, n: f64) -> f64 {
        match *self {
            Curve::Servers(servers) => (servers / n).clamp(0.0, 1.0),
            Curve::Scalability {
                contention,
                coherence,
            } => 1.0 / (1.0 + contention * (n - 1.0) + coherence * n * (n - 1.0)).max(1.0),
        }
    }

    /// How many running queries complete the most; more than that is overload. Infinite where there is no such
    /// number.
    pub fn best(&self) -> f64 {
        match *self {
            Curve::Servers(servers) => servers,
            // X(n) is greatest where the derivative of n/(1 + σ(n−1) + κn(n−1)) is zero.
            Curve::Scalability {
                contention,
                coherence,
            } if coherence > 0.0 => libm::sqrt(((1.0 - contention) / coherence).max(0.0)).max(1.0),
            Curve::Scalability { .. } => f64::INFINITY,
        }
    }
}

/// A processor that its queries share.
#[derive(Clone, Debug)]
pub struct Processor {
    curve: Curve,
    /// The curve's best concurrency.
    best: f64,
    scale: f64,
    pace: f64,
    /// A heap of what runs: the one that is done first is in front.
    running: Vec<Running>,
    begun: u64,
    /// What each query that has been running all the time has attained since the processor was last idle, in
    /// nanoseconds of work.
    attained: f64,
    speed: f64,
    at: Time,
    busy: f64,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    /// What will have been attained when it is done.
    done: f64,
    order: u64,
    id: u64,
}

impl Running {
    fn before(&self, other: &Running) -> bool {
        (self.done, self.order) < (other.done, other.order)
    }
}

impl Processor {
    /// An idle processor. With `scale` below 1 this processor stands for a larger one of which it sees that share
    /// of the queries: `n` of its own count as `(n − 1) / scale + 1`.
    pub fn new(curve: Curve, scale: f64) -> Processor {
        debug_assert!(scale > 0.0, "a scale of nothing");
        Processor {
            curve,
            best: curve.best(),
            scale,
            pace: 1.0,
            running: Vec::new(),
            begun: 0,
            attained: 0.0,
            speed: 1.0,
            at: Time::ZERO,
            busy: 0.0,
        }
    }

    /// Begins a query that would take `work` alone.
    pub fn begin(&mut self, now: Time, id: u64, work: Span) {
        self.advance(now);
        self.begun += 1;
        let done = self.attained + work.as_nanos() as f64;
        self.running.push(Running {
            done,
            order: self.begun,
            id,
        });
        self.rise(self.running.len() - 1);
        self.respeed();
    }

    /// When the first query is done if nothing changes; none when nothing runs or nothing moves.
    #[inline]
    pub fn next(&self) -> Option<Time> {
        let first = self.running.first()?;
        let left = first.done - self.attained;
        if left <= 0.0 {
            return Some(self.at);
        }
        if self.speed <= 0.0 {
            return None;
        }
        // To the nearest nanosecond: what remains then is less than half of one, and counts as done.
        Some(self.at + Span::nanos(libm::ceil(left / self.speed - 0.5) as u64))
    }

    /// Takes out one query that is done by now, the first to be done first. Call it until there is none, then ask
    /// for [`Processor::next`].
    #[inline]
    pub fn finish(&mut self, now: Time) -> Option<u64> {
        self.advance(now);
        let first = self.running.first()?;
        // A quarter of a nanosecond more than `next` leaves, for what was rounded away since it was asked.
        if first.done - self.attained > 0.75 * self.speed {
            return None;
        }
        let done = self.take(0);
        self.respeed();
        Some(done)
    }

    /// Stops a query; says whether it was running. Looks through all that run.
    pub fn cancel(&mut self, now: Time, id: u64) -> bool {
        self.advance(now);
        let Some(at) = self.running.iter().position(|running| running.id == id) else {
            return false;
        };
        self.take(at);
        self.respeed();
        true
    }

    /// Stops all queries, and says which, in the order of their beginning.
    pub fn clear(&mut self, now: Time) -> Vec<u64> {
        self.advance(now);
        let mut all = std::mem::take(&mut self.running);
        all.sort_by_key(|running| running.order);
        self.attained = 0.0;
        self.respeed();
        all.into_iter().map(|running| running.id).collect()
    }

    /// Changes the curve under what runs.
    pub fn set_curve(&mut self, now: Time, curve: Curve) {
        self.advance(now);
        self.curve = curve;
        self.best = curve.best();
        self.respeed();
    }

    /// Makes everything this many times as fast: 1 is normal, 0.1 a starved processor, 0 a stopped one.
    pub fn set_pace(&mut self, now: Time, pace: f64) {
        self.advance(now);
        self.pace = pace.max(0.0);
        self.respeed();
    }

    /// Whether each query runs at full speed, however many there are.
    pub fn is_free(&self) -> bool {
        self.curve == Curve::Servers(f64::INFINITY) && (self.pace - 1.0).abs() <= f64::EPSILON
    }

    /// How many queries run.
    pub fn in_service(&self) -> usize {
        self.running.len()
    }

    /// The work that each query does in a unit of time.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The share of its useful concurrency that is taken, at most 1: what an autoscaler sees as the load.
    pub fn load(&self) -> f64 {
        if self.running.is_empty() {
            return 0.0;
        }
        (self.concurrency() / self.best).min(1.0)
    }

    /// The load integrated over time up to now, in seconds: the mean load of a window is its growth in the window
    /// divided by the window's length.
    pub fn busy(&self, now: Time) -> f64 {
        self.busy + self.load() * now.since(self.at).as_secs_f64()
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        for (at, running) in self.running.iter().enumerate().skip(1) {
            assert!(!running.before(&self.running[(at - 1) / 2]), "a heap");
        }
        assert!(self.attained.is_finite() && self.attained >= 0.0);
        assert!((0.0..=self.pace.max(1.0)).contains(&self.speed));
        assert!(!self.running.is_empty() || self.attained == 0.0);
    }

    fn concurrency(&self) -> f64 {
        (self.running.len() as f64 - 1.0) / self.scale + 1.0
    }

    #[inline]
    fn advance(&mut self, now: Time) {
        let passed = now.since(self.at);
        if passed.is_zero() {
            return;
        }
        if !self.running.is_empty() {
            self.busy += self.load() * passed.as_secs_f64();
            self.attained += self.speed * passed.as_nanos() as f64;
        }
        self.at = now;
    }

    #[inline]
    fn respeed(&mut self) {
        if self.running.is_empty() {
            // Starting from nothing keeps the sum exact, however long the run.
            self.attained = 0.0;
            self.speed = self.pace * self.curve.speed(1.0);
        } else {
            self.speed = self.pace * self.curve.speed(self.concurrency());
        }
    }

    fn take(&mut self, at: usize) -> u64 {
        let taken = self.running.swap_remove(at);
        if at < self.running.len() {
            self.sink(at);
            self.rise(at);
        }
        taken.id
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.running[at].before(&self.running[parent]) {
                break;
            }
            self.running.swap(at, parent);
            at = parent;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut first = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.running.len() && self.running[child].before(&self.running[first]) {
                    first = child;
                }
            }
            if first == at {
                break;
            }
            self.running.swap(at, first);
            at = first;
        }
    }
}

#[cfg(test)]
mod tests;
