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
    abandoned: bool,
}

impl Plan {
    /// A plan to load these keys, hottest first. The first one is due at once.
    pub fn new(settings: &Settings, keys: Vec<u64>) -> Plan {
        Plan {
            keys,
            begun: 0,
            pace: Pace::new(settings.pace),
            paused: false,
            abandoned: false,
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
        self.abandoned || self.begun >= self.keys.len()
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
        self.abandoned = true;
        self.invariants();
    }

    /// Goes on at the pace of other settings, with the same keys.
    pub fn retune(&mut self, now: Time, settings: &Settings) {
        self.pace.retune(now, settings.pace);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(pace: f64, keys: u64) -> Plan {
        let settings = Settings {
            pace,
            ..Settings::default()
        };
        Plan::new(&settings, (0..keys).collect())
    }

    /// Drives a plan by its own alarm.
    fn drive(plan: &mut Plan, mut now: Time) -> (Vec<u64>, Time) {
        let mut keys = Vec::new();
        while plan.next() != Time::NEVER {
            now = now.max(plan.next());
            keys.extend(plan.poll(now));
        }
        (keys, now)
    }

    #[test]
    fn as_many_loads_take_as_long_as_the_pace_says() {
        let mut plan = plan(250.0, 1_001);
        let (keys, end) = drive(&mut plan, Time::ZERO);
        assert_eq!(keys, (0..1_001).collect::<Vec<_>>());
        assert_eq!(end, Time::ZERO + Span::secs(4));
        assert!(plan.done());
        assert_eq!(
            plan.progress(),
            Progress {
                begun: 1_001,
                total: 1_001
            }
        );
    }

    #[test]
    fn a_pause_is_not_caught_up() {
        let mut plan = plan(10.0, 100);
        assert_eq!(plan.poll(Time::ZERO), Some(0));
        plan.pause();
        let later = Time::ZERO + Span::secs(60);
        assert_eq!((plan.poll(later), plan.next()), (None, Time::NEVER));
        plan.unpause();
        let burst = (0..50)
            .filter_map(|ms| plan.poll(later + Span::millis(ms)))
            .count();
        assert_eq!(burst, 1);
    }

    #[test]
    fn an_abandoned_plan_is_over() {
        let mut plan = plan(10.0, 100);
        assert_eq!(plan.poll(Time::ZERO), Some(0));
        plan.abandon();
        assert!(plan.done());
        assert_eq!(plan.poll(Time::ZERO + Span::secs(9)), None);
        assert_eq!(plan.progress(), Progress { begun: 1, total: 100 });
        assert_eq!(plan.next(), Time::NEVER);
    }

    #[test]
    fn a_plan_that_was_retuned_goes_on_where_it_was() {
        let mut plan = plan(0.01, 100);
        assert_eq!(plan.poll(Time::ZERO), Some(0));
        let settings = Settings {
            pace: 10.0,
            ..Settings::default()
        };
        plan.retune(Time::ZERO + Span::secs(1), &settings);
        assert_eq!(plan.next(), Time::ZERO + Span::millis(1_100));
        assert_eq!(plan.poll(plan.next()), Some(1));
    }

    #[test]
    fn popularity_takes_the_fewest_keys_that_bring_the_share() {
        let counts = [
            (5, 10.0),
            (1, 50.0),
            (2, 20.0),
            (4, 10.0),
            (3, 10.0),
            (6, 0.0),
            (7, f64::NAN),
        ];
        assert_eq!(by_popularity(&counts, 0.7), [1, 2]);
        assert_eq!(by_popularity(&counts, 0.71), [1, 2, 3]);
        assert_eq!(by_popularity(&counts, 1.0), [1, 2, 3, 4, 5]);
        assert_eq!(by_popularity(&counts, 0.0), [0; 0]);
        assert_eq!(by_popularity(&[], 0.8), [0; 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_key_comes_once_in_order_and_at_the_pace(
            steps in prop::collection::vec((0_u64..150, 0_u8..10), 1..200),
        ) {
            let mut plan = plan(20.0, 60);
            let (mut now, mut handed) = (Time::ZERO, 0);
            for (wait_ms, act) in steps {
                now += Span::millis(wait_ms);
                match act {
                    0 => plan.pause(),
                    1 | 2 => plan.unpause(),
                    _ => {}
                }
                let due = plan.next() <= now;
                let key = plan.poll(now);
                plan.invariants();
                prop_assert_eq!(key, due.then_some(handed));
                handed += u64::from(due);
                prop_assert!(handed <= 1 + now.as_nanos() / Span::millis(50).as_nanos());
            }
            prop_assert_eq!(plan.progress(), Progress { begun: handed as usize, total: 60 });
        }
    }
}
