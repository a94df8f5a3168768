//! Loads that have failed and are tried again: after what pause, and out of what budget.
//!
//! The instances' budgets are one: it pays for as much as all of them together.

use seawall_core::gate::Reason;
use seawall_core::policies::Policies;
use seawall_core::retry::{Budget, Settings};
use seawall_core::time::Span;

use super::cohort::{Cohort, Purpose, Who, about};
use super::{Stage, World};

/// Into how many pauses full jitter is cut at the most.
const PIECES: u64 = 16;

/// How failed loads are tried again, by all instances together.
pub(super) struct Again {
    settings: Settings,
    budget: Budget,
}

impl Again {
    /// Takes over what policies say, for so many instances.
    pub(super) fn retune(again: &mut Option<Again>, played: &Policies, up: f64) {
        let Some(settings) = &played.retry else {
            *again = None;
            return;
        };
        let all = Settings {
            budget_min: settings.budget_min * up,
            ..settings.clone()
        };
        match again {
            Some(again) => {
                again.budget.retune(&all);
                again.settings = all;
            }
            None => {
                *again = Some(Again {
                    budget: Budget::new(&all),
                    settings: all,
                });
            }
        }
    }

    /// The ceiling of the pause before the retry after so many attempts, in seconds.
    fn ceiling(&self, attempts: u32) -> f64 {
        let factor = 1_u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
        let ceiling = Span::nanos(self.settings.backoff.as_nanos().saturating_mul(factor));
        ceiling.min(self.settings.backoff_max).as_secs_f64()
    }
}

impl World {
    /// First attempts are made: they pay for retries.
    pub(super) fn pay_for_retries(&mut self, index: usize, load: &Cohort) {
        let now = self.now;
        if let (Who::Load { attempt: 0, .. }, Some(again)) = (load.who, &mut self.services[index].loads.again)
            && load.read
            && load.first == 0
        {
            again.budget.calls(now, load.count);
        }
    }

    /// Loads have failed: those of them that somebody waits for are tried again, as far as the budget goes. Gives back
    /// the others.
    pub(super) fn try_again(&mut self, index: usize, mut load: Cohort) -> Cohort {
        let Who::Load {
            service,
            purpose: Purpose::Read,
            launch: id,
            attempt,
        } = load.who
        else {
            return load;
        };
        let now = self.now;
        let loads = &mut self.services[index].loads;
        let hard = loads.hard;
        let Some(launch) = loads.launch(id) else {
            return load;
        };
        let waiters: u64 = launch.waiters.iter().map(|waiter| waiter.cohort.count).sum();
        let waited_for = (waiters as f64 / launch.open.max(1) as f64).min(1.0);
        let Some(again) = &mut loads.again else {
            return load;
        };
        let attempts = u32::from(attempt) + 1;
        if attempts >= again.settings.attempts {
            return load;
        }
        let ceiling = again.ceiling(attempts);
        let in_time = if load.age + ceiling < hard {
            1.0
        } else if again.settings.jitter && ceiling > 0.0 {
            ((hard - load.age) / ceiling).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let jitter = again.settings.jitter;
        let wanted = about(load.count as f64 * waited_for * in_time, &mut loads.rng).min(load.count);
        let granted = loads
            .again
            .as_mut()
            .map_or(0, |again| again.budget.retries(now, wanted));
        if granted == 0 {
            return load;
        }
        loads.retried += granted as f64;
        if let Some(launch) = loads.launch(id) {
            launch.paused += granted;
        }
        let mut again = Cohort {
            who: Who::Load {
                service,
                purpose: Purpose::Read,
                launch: id,
                attempt: attempt.saturating_add(1),
            },
            first: 0,
            ..load.split(granted)
        };
        let pieces = if jitter { granted.min(PIECES) } else { 1 };
        for piece in 0..pieces {
            let part = again.split(again.count.div_ceil(pieces - piece));
            let share = if jitter {
                (piece as f64 + self.services[index].loads.rng.unit()) / pieces as f64
            } else {
                1.0
            };
            let stage = Stage::Approach { service };
            self.later(
                stage,
                Cohort {
                    age: load.age + ceiling * share * in_time,
                    ..part
                },
            );
        }
        load
    }

    /// Loads whose pause is over go to the origin again, through the line when there is no place.
    pub(super) fn approach(&mut self, index: usize, load: Cohort) {
        let Who::Load { launch: id, .. } = load.who else {
            return;
        };
        let now = self.now;
        let loads = &mut self.services[index].loads;
        let Some(launch) = loads.launch(id) else { return };
        let (tick, alive) = (launch.tick, load.count.min(launch.paused));
        launch.paused -= alive;
        let mut load = load.part(alive);
        if let Some(panel) = &mut loads.origin_panel {
            let passed = panel.admit(now, tick, alive);
            let open = load.split(alive - passed);
            self.end_loads(index, open, false, Some(Reason::OriginOpen));
        }
        if load.count == 0 {
            return;
        }
        let (begins, waits) = self.services[index].loads.places_for(load.count, true);
        let beginning = load.split(begins);
        let waiting = load.split(waits);
        self.end_loads(index, load, false, Some(Reason::OriginLimit));
        if beginning.count > 0 {
            self.begin_load(index, beginning);
        }
        self.services[index].loads.line_up(waiting);
    }
}
