//! Warming: refilling a cold cache at a pace, the most popular keys first.
//!
//! A plan says which key to load next and when; it loads nothing itself, and it does not jitter what it fills: the
//! TTL does ([`crate::ttl`]), or all of it would expire together.
//!
//! ```
//! use seawall_core::{time::{Span, Time}, warm::{self, Plan, Settings}};
//! let keys = warm::by_popularity(&[(7, 10.0), (8, 80.0), (9, 10.0)], 0.8);
//! assert_eq!(keys, [8]);
//! let mut plan = Plan::new(&Settings { pace: 2.0, ..Settings::default() }, vec![8, 7]);
//! assert_eq!(plan.poll(Time::ZERO), Some(8));
//! assert_eq!(plan.poll(Time::ZERO), None);
//! assert_eq!(plan.next(), Time::ZERO + Span::millis(500));
//! ```

use crate::pace::Pace;
use crate::time::{Span, Time};

/// How a cold cache is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Loads a second (over all instances of the service).
    pub pace: f64,
    /// Keep the keys that bring this share of the traffic (predictive, by popularity).
    pub threshold: f64,
    /// The window over which popularity is counted.
    pub window: Span,
    /// Begin by itself when a cache comes back empty or its breaker closes; otherwise only when told to.
    pub automatic: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: 1000.0,
            threshold: 0.8,
            window: Span::secs(300),
            automatic: true,
        }
    }
}

/// How far a plan has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Keys handed out.
    pub begun: usize,
    /// Keys in the plan.
    pub total: usize,
}

/// A paced refill: `n` keys take `n / pace` seconds, whatever happened in between.
#[derive(Clone, Debug)]
pub struct Plan {
    keys: Vec<u64>,
    begun: usize,
    pace: Pace,
    paused: bool,
}

impl Plan {
    /// A plan to load these keys, hottest first. The first one is due at once.
    pub fn new(settings: &Settings, keys: Vec<u64>) -> Plan {
        Plan {
            keys,
            begun: 0,
            pace: Pace::new(settings.pace),
            paused: false,
        }
    }

    /// The key to load now, if one is due. After a pause or a late poll there is no burst to catch up.
    pub fn poll(&mut self, now: Time) -> Option<u64> {
        if self.paused || self.done() || !self.pace.take(now) {
            return None;
        }
        let key = self.keys[self.begun];
        self.begun += 1;
        self.invariants();
        Some(key)
    }

    /// When the next key is due; never when the plan is done or paused.
    pub fn next(&self) -> Time {
        if self.paused || self.done() {
            Time::NEVER
        } else {
            self.pace.next()
        }
    }

    /// Whether every key was handed out, or the plan was abandoned.
    pub fn done(&self) -> bool {
        self.begun >= self.keys.len()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            begun: self.begun,
            total: self.keys.len(),
        }
    }

    /// Hands out nothing until [`Plan::unpause`]: what a plan should do while the origin suffers.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on after a pause, at the same pace.
    pub fn unpause(&mut self) {
        self.paused = false;
    }

    /// Hands out nothing more, for good; what was begun stays begun.
    pub fn abandon(&mut self) {
        self.keys.truncate(self.begun);
        self.invariants();
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert!(self.begun <= self.keys.len(), "more keys begun than planned");
        debug_assert!(
            !self.done() || self.next() == Time::NEVER,
            "a plan that is done wakes nobody"
        );
    }
}

/// The fewest keys that bring `threshold` of all the weight in `counts` (key and count, or share), hottest first.
///
/// Keys of equal weight come in the order of their numbers. What weighs nothing, or is not a number, is left out.
pub fn by_popularity(counts: &[(u64, f64)], threshold: f64) -> Vec<u64> {
    let mut ranked: Vec<(u64, f64)> = counts.iter().copied().filter(|(_, count)| *count > 0.0).collect();
    ranked.sort_unstable_by(|(key_a, a), (key_b, b)| b.total_cmp(a).then(key_a.cmp(key_b)));
    let total: f64 = ranked.iter().map(|(_, count)| count).sum();
    let wanted = total * threshold;
    let mut covered = 0.0;
    let mut keys = Vec::new();
    for (key, count) in ranked {
        // A sum of shares ends a rounding error away from the whole.
        if covered >= wanted * (1.0 - 1e-12) {
            break;
        }
        covered += count;
        keys.push(key);
    }
    keys
}
