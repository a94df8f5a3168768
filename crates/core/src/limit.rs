//! The concurrency limit: how many calls may be inside the origin at a time, across all keys.
//!
//! Fixed, or found by itself: additive increase and multiplicative decrease as in TCP (RFC 5681), or following latency
//! as Netflix's concurrency-limits do (`Gradient2Limit`). The adaptive ones move in rounds: a change is judged only by
//! calls that began after it, for the others saw the limit before it. And they grow only while the limit is used:
//! a limit that nobody has touched says nothing about what the origin can do. It does not queue: who finds no place
//! waits in a [`crate::queue::Queue`] of `places` and `timeout`, or is shed.
//!
//! ```
//! use seawall_core::limit::{Limiter, Outcome, Settings};
//! use seawall_core::time::Time;
//! let mut limiter = Limiter::new(Settings { max: 1, ..Settings::default() });
//! let permit = limiter.acquire(Time::ZERO).unwrap();
//! assert!(limiter.acquire(Time::ZERO).is_none());
//! limiter.release(Time::ZERO, permit, Outcome::Ok);
//! assert_eq!(limiter.in_flight(), 0);
//! ```

use crate::time::{Span, Time};

mod round;
#[cfg(test)]
mod tests;

/// How the limit is found.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Mode {
    /// It is `max`, always.
    #[default]
    Fixed,
    /// Additive increase, multiplicative decrease, on failures and on latency above this.
    Aimd {
        /// A call that takes longer counts as a sign of overload.
        latency: Span,
        /// The limit is multiplied by this on overload.
        decrease: f64,
    },
    /// Follows the ratio of the lowest latency seen to the latency now.
    Gradient {
        /// How many times the lowest latency is still fine.
        tolerance: f64,
    },
}

/// The bounds of the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How the limit is found.
    pub mode: Mode,
    /// The floor of an adaptive limit.
    pub min: u32,
    /// The limit, or the ceiling of an adaptive one.
    pub max: u32,
    /// Where an adaptive limit begins.
    pub initial: u32,
    /// How many may wait for a place; the next one is shed.
    pub places: u32,
    /// Who has waited this long for a place is shed.
    pub timeout: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Fixed,
            min: 1,
            max: 100,
            initial: 20,
            places: 100,
            timeout: Span::millis(100),
        }
    }
}

/// The right to be inside the origin, until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    start: Time,
    generation: u32,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// It failed or timed out: a sign of overload.
    Failed,
    /// It was cancelled, or never made: it says nothing.
    Dropped,
}

/// Bounds how many calls are inside the origin.
#[derive(Clone, Debug)]
pub struct Limiter {
    settings: Settings,
    limit: u32,
    in_flight: u32,
    /// Counts the changes of the limit; calls of an earlier generation are no samples.
    generation: u32,
    round: round::Round,
    /// What a round's mean latency is when the origin is at ease ([`Mode::Gradient`]); in nanoseconds.
    ease: Option<f64>,
}

impl Limiter {
    /// A limiter with nothing in flight.
    pub fn new(settings: Settings) -> Limiter {
        let limit = first_limit(&settings);
        Limiter {
            settings,
            limit,
            in_flight: 0,
            generation: 0,
            round: round::Round::default(),
            ease: None,
        }
    }

    /// A place inside the origin, when there is one. Give it back with [`Limiter::release`], whatever happens.
    pub fn acquire(&mut self, now: Time) -> Option<Permit> {
        if self.in_flight >= self.limit {
            return None;
        }
        self.in_flight += 1;
        self.round.peak = self.round.peak.max(self.in_flight);
        Some(Permit {
            start: now,
            generation: self.generation,
        })
    }

    /// Gives a place back, and learns from what became of the call.
    pub fn release(&mut self, now: Time, permit: Permit, outcome: Outcome) {
        debug_assert!(self.in_flight > 0, "a permit was released twice");
        self.in_flight = self.in_flight.saturating_sub(1);
        self.learn(permit.generation, now.since(permit.start), outcome);
    }

    /// For a driver that counts places itself, many at a time: so many are inside. Gives the name of the limit as it is,
    /// which calls that begin now take to [`Limiter::learn`].
    pub fn note(&mut self, inside: u32) -> u32 {
        self.in_flight = inside;
        self.round.peak = self.round.peak.max(inside);
        self.generation
    }

    /// Learns from what became of a call that began under this limit, and gives no place back.
    pub fn learn(&mut self, generation: u32, latency: Span, outcome: Outcome) {
        if generation == self.generation && outcome != Outcome::Dropped {
            let limit = match self.settings.mode {
                Mode::Fixed => return,
                Mode::Aimd {
                    latency: slow,
                    decrease,
                } => self
                    .round
                    .aimd(self.limit, outcome == Outcome::Failed || latency > slow, decrease),
                Mode::Gradient { tolerance } => {
                    self.round.count(latency, outcome == Outcome::Failed);
                    let floor = self.settings.min.max(1);
                    self.round.gradient(self.limit, floor, tolerance, &mut self.ease)
                }
            };
            if let Some(limit) = limit {
                self.change(limit);
            }
        }
        self.check();
    }

    /// How many calls may be inside at a time.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many are inside. More than the limit only after it was lowered.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How the limit is found, and its bounds.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes over other settings. Permits stay valid; an adaptive limit goes on from where it is, unless the way of
    /// finding it changes.
    pub fn retune(&mut self, _now: Time, settings: Settings) {
        let same = std::mem::discriminant(&self.settings.mode) == std::mem::discriminant(&settings.mode);
        let limit = if same && settings.mode != Mode::Fixed {
            self.limit
        } else {
            first_limit(&settings)
        };
        if !same {
            self.ease = None;
        }
        self.settings = settings;
        self.change(limit);
        self.check();
    }

    /// Panics when the limiter contradicts itself.
    pub fn invariants(&self) {
        let (floor, ceiling) = bounds(&self.settings);
        assert!(
            (floor..=ceiling).contains(&self.limit),
            "limit {} outside its bounds",
            self.limit
        );
        assert!(self.ease.is_none_or(|ease| ease >= 0.0));
        self.round.invariants();
    }

    /// Begins a round at this limit. Calls that are inside now began before the change, when there is one.
    fn change(&mut self, limit: u32) {
        let (floor, ceiling) = bounds(&self.settings);
        let limit = limit.clamp(floor, ceiling);
        if limit != self.limit {
            self.limit = limit;
            self.generation = self.generation.wrapping_add(1);
        }
        self.round = round::Round::new(self.in_flight);
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}

fn bounds(settings: &Settings) -> (u32, u32) {
    match settings.mode {
        Mode::Fixed => (0, settings.max),
        // At a limit of nothing, nothing would ever be learned again.
        _ => (settings.min.max(1), settings.max.max(settings.min).max(1)),
    }
}

fn first_limit(settings: &Settings) -> u32 {
    let (floor, ceiling) = bounds(settings);
    match settings.mode {
        Mode::Fixed => settings.max,
        _ => settings.initial.clamp(floor, ceiling),
    }
}
