//! Load shedding by priority, in levels with hysteresis.
//!
//! The range between the threshold and full is cut into as many even bands as there are levels. A level is entered at
//! once and left one at a time, after utilization has stayed clearly below it for a while. The first level sheds
//! [`Priority::Low`], the upper half of the levels sheds [`Priority::Normal`] too, and [`Priority::High`] is never
//! shed here: that is for the queue and the limits. What else a level switches off is for its reader to say.
//!
//! ```
//! use seawall_core::shed::{Priority, Settings, Shedder};
//! use seawall_core::time::Time;
//! let mut shedder = Shedder::new(Settings::default());
//! shedder.observe(Time::ZERO, 0.85);
//! assert_eq!(shedder.level(), 1);
//! assert!(!shedder.admits(Priority::Low) && shedder.admits(Priority::Normal));
//! ```

use crate::time::{Span, Time};

/// What is shed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Shed first.
    Low,
    /// In between.
    #[default]
    Normal,
    /// Shed last.
    High,
}

/// When which level of degradation is entered and left.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The utilization (0 to 1) at which level 1 begins; the other levels are spread evenly up to full.
    pub threshold: f64,
    /// How many levels there are.
    pub levels: u8,
    /// A level is left when utilization is this much below where it begins.
    pub hysteresis: f64,
    /// How long utilization must stay there before a level is left.
    pub hold: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threshold: 0.8,
            levels: 3,
            hysteresis: 0.1,
            hold: Span::secs(5),
        }
    }
}

/// Says what is shed.
#[derive(Clone, Debug)]
pub struct Shedder {
    settings: Settings,
    level: u8,
    /// Since when utilization has been low enough to leave the level.
    calm_since: Option<Time>,
}

impl Shedder {
    /// Nothing is shed yet.
    pub fn new(settings: Settings) -> Shedder {
        Shedder {
            settings,
            level: 0,
            calm_since: None,
        }
    }

    /// Takes in how much of the capacity is in use (0 to 1, or more); not a number changes nothing.
    pub fn observe(&mut self, now: Time, utilization: f64) {
        let entered = (self.level + 1..=self.settings.levels)
            .rev()
            .find(|level| utilization >= self.begins(*level));
        if let Some(level) = entered {
            self.level = level;
            self.calm_since = None;
        } else if self.level > 0 && utilization < self.begins(self.level) - self.settings.hysteresis {
            let since = *self.calm_since.get_or_insert(now);
            if now.since(since) >= self.settings.hold {
                self.level -= 1;
                // The next one down is held for as long again.
                self.calm_since = None;
            }
        } else if !utilization.is_nan() {
            self.calm_since = None;
        }
        self.check();
    }

    /// Whether a request of this priority is let in.
    pub fn admits(&self, priority: Priority) -> bool {
        match priority {
            Priority::Low => self.level == 0,
            Priority::Normal => self.level == 0 || self.level < 1 + self.settings.levels / 2,
            Priority::High => true,
        }
    }

    /// The level of degradation; 0 sheds nothing.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The soonest that nothing is shed any more: each level is held for a while.
    pub fn retry_after(&self) -> Span {
        Span::nanos(
            self.settings
                .hold
                .as_nanos()
                .saturating_mul(u64::from(self.level)),
        )
    }

    /// Takes over other settings.
    pub fn retune(&mut self, settings: Settings) {
        self.level = self.level.min(settings.levels);
        self.settings = settings;
        self.calm_since = None;
        self.check();
    }

    /// Panics when the shedder contradicts itself.
    pub fn invariants(&self) {
        assert!(self.level <= self.settings.levels, "level {}", self.level);
        assert!(self.level > 0 || self.calm_since.is_none());
        assert!(self.admits(Priority::High));
        assert!(
            self.admits(Priority::Normal) || !self.admits(Priority::Low),
            "shed out of turn"
        );
    }

    /// The utilization at which `level` (from 1) begins.
    fn begins(&self, level: u8) -> f64 {
        let band = (1.0 - self.settings.threshold) / f64::from(self.settings.levels.max(1));
        self.settings.threshold + band * f64::from(level.saturating_sub(1))
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::millis(millis)
    }

    #[test]
    fn levels_are_entered_at_once() {
        let level = |utilization| {
            let mut shedder = Shedder::new(Settings::default());
            shedder.observe(at(0), utilization);
            shedder.level()
        };
        assert_eq!([0.79, 0.8, 0.86, 0.87, 0.94, 1.5].map(level), [0, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_level_is_left_after_a_calm_hold_and_one_at_a_time() {
        let mut shedder = Shedder::new(Settings::default());
        shedder.observe(at(0), 1.0);
        let mut levels = Vec::new();
        for second in 1..=20 {
            // A moment above the hysteresis at second 4 starts the hold again.
            shedder.observe(at(second * 1_000), if second == 4 { 0.9 } else { 0.5 });
            levels.push(shedder.level());
        }
        // Calm from 5, left at 10; calm from 11, left at 16.
        assert_eq!(
            levels,
            [3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
        );
    }

    #[test]
    fn between_the_bounds_it_does_not_flap() {
        let mut shedder = Shedder::new(Settings::default());
        shedder.observe(at(0), 0.8);
        for step in 0..1_000 {
            shedder.observe(at(step * 100), if step % 2 == 0 { 0.75 } else { 0.72 });
            assert_eq!(shedder.level(), 1);
        }
    }

    #[test]
    fn high_priority_is_never_shed_and_the_last_level_sheds_the_rest() {
        for levels in 0..=10 {
            let mut shedder = Shedder::new(Settings {
                levels,
                ..Settings::default()
            });
            shedder.observe(at(0), 1.0);
            assert_eq!(shedder.level(), levels);
            assert!(shedder.admits(Priority::High));
            assert_eq!(shedder.admits(Priority::Normal), levels == 0);
            assert_eq!(shedder.admits(Priority::Low), levels == 0);
            assert_eq!(shedder.retry_after(), Span::secs(5 * u64::from(levels)));
        }
    }

    #[test]
    fn what_is_not_a_number_changes_nothing() {
        let mut shedder = Shedder::new(Settings {
            hold: Span::ZERO,
            ..Settings::default()
        });
        shedder.observe(at(0), 0.9);
        shedder.observe(at(1), f64::NAN);
        assert_eq!(shedder.level(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_rises_only_with_load_and_falls_only_by_one_after_the_hold(
            threshold in 0.1..1.0_f64,
            levels in 0_u8..8,
            hysteresis in 0.0..0.3_f64,
            hold in 0_u64..500,
            steps in prop::collection::vec((0.0..1.2_f64, 0_u64..300), 1..200),
        ) {
            let hold = Span::millis(hold);
            let mut shedder = Shedder::new(Settings { threshold, levels, hysteresis, hold });
            let (mut now, mut moved) = (at(0), at(0));
            for (utilization, wait) in steps {
                now += Span::millis(wait);
                let before = shedder.level();
                shedder.observe(now, utilization);
                shedder.invariants();
                let after = shedder.level();
                prop_assert!(after <= before || utilization >= threshold);
                if after < before {
                    prop_assert_eq!(after, before - 1);
                    prop_assert!(now.since(moved) >= hold);
                }
                prop_assert!(utilization < 1.0 || after == levels);
                if after != before {
                    moved = now;
                }
            }
        }
    }
}
