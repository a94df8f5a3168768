//! The throttle: lets through a share of the *reads* while the origin is slow or the cache is gone; writes always pass.
//!
//! It closes by a factor and opens by a step, and holds to three rules:
//! - It acts only on news that *began* after its last change. The latency of before says what the share of before did;
//!   acting on it twice sends the share to its floor and back for ever.
//! - It opens in steps, also when the cache is back: a recovered cache is empty, and all at once would fell it again.
//! - It remembers the share that was too much and nears it by halves, then by an eighth of a step; when that share
//!   turns out to be fine, the steps double again. So it settles beside what the origin can do.
//!
//! A cache that goes down closes it by one step at once, and keeps it there or below until the cache is back;
//! in between, latency decides, or each decision closes further when latency is not watched. It measures nothing:
//! who drives it brings [`Signals`], about the time since the last decision.
//!
//! ```
//! use seawall_core::throttle::{Settings, Signals, Throttle};
//! use seawall_core::time::{Span, Time};
//! let mut throttle = Throttle::new(Time::ZERO, Settings::default());
//! let now = throttle.next_decision();
//! let slow = Some(Span::millis(900));
//! throttle.observe(now, &Signals { origin_latency: slow, cache_up: true, since: Time::ZERO });
//! assert_eq!(throttle.share(), 0.6);
//! ```

use crate::rng::Stream;
use crate::time::{Span, Time};

#[cfg(test)]
mod tests;

/// When the throttle closes and how it opens again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The origin is slow above this (99th percentile over the last `every`).
    pub latency: Option<Span>,
    /// Also throttle as long as the cache is reported down.
    pub on_cache_down: bool,
    /// How often it decides.
    pub every: Span,
    /// Each decision to close multiplies the share by this.
    pub decrease: f64,
    /// Each decision to open adds this to the share.
    pub increase: f64,
    /// The share never falls below this.
    pub min: f64,
    /// All must have been well for this long before it opens by a step.
    pub hold: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            latency: Some(Span::millis(100)),
            on_cache_down: false,
            every: Span::secs(5),
            decrease: 0.6,
            increase: 0.05,
            min: 0.05,
            hold: Span::secs(10),
        }
    }
}

/// The smallest step with which a share is neared that was too much, as a part of `increase`.
const SMALLEST: f64 = 0.125;
/// A latency that is below this part of the one before is falling.
const DRAINS: f64 = 0.9;

/// What is known about the origin and the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signals {
    /// The 99th percentile of the origin's latency; absent when it was not asked.
    pub origin_latency: Option<Span>,
    /// Whether the cache answers.
    pub cache_up: bool,
    /// When the time began that these were measured over.
    pub since: Time,
}

/// Lets a share of the reads through.
#[derive(Clone, Debug)]
pub struct Throttle {
    settings: Settings,
    share: f64,
    changed_at: Time,
    next: Time,
    well_since: Option<Time>,
    /// The lowest share that was found to be too much, while nothing says otherwise.
    too_much: Option<f64>,
    /// The last step of opening.
    step: f64,
    /// By how much to close when it was a step of opening that was too much.
    cut: Option<f64>,
    /// Whether the last change was an opening; so it begins.
    opened: bool,
    /// The latency of the last decision, when that was slow.
    slow: Option<Span>,
    cache_down: bool,
}

impl Throttle {
    /// Wide open.
    pub fn new(now: Time, settings: Settings) -> Throttle {
        Throttle {
            share: 1.0,
            changed_at: now,
            next: now + settings.every,
            well_since: None,
            too_much: None,
            step: settings.increase,
            cut: None,
            opened: true,
            slow: None,
            cache_down: false,
            settings,
        }
    }

    /// Whether this request passes. Writes always do, and a throttle that is open draws nothing.
    pub fn admit(&mut self, _now: Time, is_read: bool, rng: &mut Stream) -> bool {
        !is_read || self.share >= 1.0 || rng.chance(self.share)
    }

    /// Decides on new signals, when it is time to.
    pub fn observe(&mut self, now: Time, signals: &Signals) {
        if now < self.next {
            return;
        }
        let pause = self.settings.every.max(Span::nanos(1));
        if signals.since < self.changed_at {
            // About the share of before. The first news of this one is whole one pause after the change.
            let whole = self.changed_at + pause;
            self.next = if whole > now { whole } else { now + pause };
            return;
        }
        self.next = now + pause;
        let slow = signals
            .origin_latency
            .filter(|latency| self.settings.latency.is_some_and(|limit| *latency > limit));
        let down = self.settings.on_cache_down && !signals.cache_up;
        let went_down = down && !self.cache_down;
        self.cache_down = down;
        if let Some(latency) = slow {
            self.well_since = None;
            if !self.drains(latency) {
                self.close(now, self.cut);
            }
        } else if went_down || (down && self.settings.latency.is_none()) {
            self.close(now, None);
        } else {
            self.open(now, signals.since);
        }
        self.slow = slow;
        self.check();
    }

    /// The share of reads that pass.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// When it decides next: bring signals then.
    pub fn next_decision(&self) -> Time {
        self.next
    }

    /// How long a refused reader should wait: nothing changes before the next decision.
    pub fn retry_after(&self, now: Time) -> Span {
        self.next.since(now).max(Span::secs(1))
    }

    /// Takes over other settings; the share goes on from where it is.
    pub fn retune(&mut self, now: Time, settings: Settings) {
        self.settings = settings;
        self.next = self.next.min(now + self.settings.every);
        self.step = self.settings.increase;
        self.move_to(now, self.share);
        self.check();
    }

    /// Panics when the throttle contradicts itself.
    pub fn invariants(&self) {
        assert!(
            self.share >= self.settings.min.clamp(0.0, 1.0) && self.share <= 1.0,
            "share {}",
            self.share
        );
        assert!(self.too_much.is_none_or(|share| share > 0.0 && share <= 1.0));
        assert!(
            self.well_since.is_none_or(|since| since >= self.changed_at),
            "well before the change"
        );
        assert!(self.changed_at <= self.next);
    }

    /// Less: by this much, or by the factor when that is gentler or nothing is given.
    ///
    /// An excess that a step of opening brought about takes that step back, and as much again to drain what it left
    /// behind; if that is not enough, four times as much. The factor is for a world that changed.
    fn close(&mut self, now: Time, cut: Option<f64>) {
        let factor = self.share * self.settings.decrease.clamp(0.0, 1.0);
        let before = self.share;
        self.well_since = None;
        self.move_to(now, cut.map_or(factor, |cut| before - cut).max(factor));
        // Further down the same slope it may be only the backlog that is still slow.
        if self.opened && self.share < before {
            self.too_much = Some(before);
        }
        self.opened = false;
        self.cut = cut.map(|cut| cut * 4.0);
    }

    /// Whether a small excess is draining by itself: it was cut, and latency falls.
    fn drains(&self, latency: Span) -> bool {
        let falls = self.slow.is_some_and(|slow| latency < slow.scaled(DRAINS));
        falls && self.cut.is_some() && !self.opened
    }

    /// More, when all has been well for long enough.
    fn open(&mut self, now: Time, since: Time) {
        let since = *self.well_since.get_or_insert(since);
        let ceiling = if self.cache_down {
            self.settings.decrease
        } else {
            1.0
        };
        if now.since(since) < self.settings.hold {
            return;
        }
        if self.share >= 1.0 {
            // All was well with everything let in: the next overload has nothing to do with the last.
            (self.too_much, self.cut, self.step) = (None, None, self.settings.increase);
        }
        if self.share >= ceiling {
            return;
        }
        let increase = self.settings.increase.max(0.0);
        let smallest = increase * SMALLEST;
        self.step = match self.too_much {
            Some(too_much) if self.share < too_much => {
                ((too_much - self.share) / 2.0).max(smallest).min(increase)
            }
            _ => {
                self.too_much = None;
                (self.step * 2.0).max(smallest).min(increase)
            }
        };
        let before = self.share;
        self.move_to(now, (before + self.step).min(ceiling));
        self.opened = true;
        self.cut = Some(2.0 * (self.share - before));
    }

    fn move_to(&mut self, now: Time, share: f64) {
        let share = share.max(self.settings.min.clamp(0.0, 1.0)).min(1.0);
        // Exact on purpose: whether anything changed at all.
        if share.to_bits() == self.share.to_bits() {
            return;
        }
        self.share = share;
        self.changed_at = now;
        self.next = now + self.settings.every.max(Span::nanos(1));
        self.well_since = None;
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}
