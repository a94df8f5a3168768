//! What a tier does with what it holds: fills, expiry, eviction, and what is kept past its freshness.

use seawall_scenario::Eviction;

use super::caches::{EVICT_EVERY, EVICT_STEPS, STALE_EVERY, Tier};
use super::renewal::Due;
use super::shelf::{Life, Shelf};

impl Tier {
    /// Stores so many keys of each class that it did not have.
    pub(super) fn fill(&mut self, tick: u32, counts: &[f64], nowhere: usize) {
        if self.never_stored {
            return;
        }
        if self.stale.is_some() {
            for (class, count) in counts.iter().enumerate() {
                let absent = self.shelf.absent[class];
                if *count > 0.0 && absent > 0.0 {
                    self.refilled[class] += (count / absent).min(1.0);
                }
            }
        }
        if self.ttl_ignored {
            let all = vec![1.0; counts.len()];
            self.shelf.fill_all(tick, counts, &all, Life::FOREVER);
            return;
        }
        for (life, shares) in &self.lives {
            self.shelf.fill_all(tick, counts, shares, *life);
        }
        if let Some(life) = self.negative {
            self.shelf.fill(tick, nowhere, counts[nowhere], life);
        }
    }

    /// Lets a tick pass over what is stored.
    pub(super) fn pass(&mut self, tick: u32, rates: &[f64], cost: f64) {
        self.shelf.pass(tick);
        self.pass_due(tick, rates, cost);
        if self.stale.is_some() {
            for (sum, expired) in self.gone_stale.iter_mut().zip(&self.shelf.expired) {
                *sum += expired;
            }
            if tick.is_multiple_of(STALE_EVERY) {
                self.pass_stale(tick / STALE_EVERY);
            }
        }
        if self.written.entries_max().is_some() {
            self.evict(tick, rates);
        }
    }

    /// What has expired may be served stale for a while, as long as it is not refilled. This goes in longer ticks.
    fn pass_stale(&mut self, tick: u32) {
        for shelf in self.stale.iter_mut().flatten() {
            shelf.pass(tick);
            let life = shelf_life(shelf);
            for class in 0..self.gone_stale.len() {
                let refilled = self.refilled[class];
                if refilled > 0.0 {
                    shelf.thin(class, -libm::expm1(-refilled));
                }
                if life.longest >= 1.0 {
                    shelf.fill(tick, class, self.gone_stale[class], life);
                }
            }
        }
        self.gone_stale.fill(0.0);
        self.refilled.fill(0.0);
    }

    /// Pushes out what is over the capacity: the least recently used, which (Che, 2002) is what has not been asked for in
    /// a time that is the same for all keys.
    pub(super) fn evict(&mut self, tick: u32, rates: &[f64]) {
        let Some(most) = self.written.entries_max() else {
            return;
        };
        let room = most as f64
            * if self.local {
                self.copies
            } else {
                f64::from(self.written.nodes)
            };
        let over = self.shelf.entries() - room;
        // A little too much can wait, for looking costs.
        let waits = !tick.is_multiple_of(EVICT_EVERY) && over < 0.002 * room;
        if over <= 0.0 || waits || self.written.eviction != Eviction::Lru {
            return;
        }
        let there = |class: usize| self.shelf.keys[class] - self.shelf.absent[class];
        let copies = if self.local { self.copies } else { 1.0 };
        let hazard = |class: usize, time: f64| {
            let asked = rates[class] / copies * time;
            if asked < 1e-9 {
                1.0 / time
            } else {
                asked / libm::expm1(asked).max(1e-300) / time
            }
        };
        let seconds = self.dt;
        let gone = |time: f64| -> f64 {
            (0..rates.len())
                .map(|class| there(class) * (hazard(class, time) * seconds).min(1.0))
                .sum()
        };
        // The time moves little from one look to the next.
        let mut time = self.idle;
        for _ in 0..EVICT_STEPS {
            let ratio = gone(time) / over;
            if (ratio - 1.0).abs() < 0.01 {
                break;
            }
            time = (time * libm::sqrt(ratio).clamp(0.5, 2.0)).clamp(1e-3, 1e7);
        }
        self.idle = time;
        for class in 0..rates.len() {
            let share = (hazard(class, time) * seconds).min(1.0 - 1e-9);
            self.evicted += self.take_out(class, share);
        }
    }

    pub(super) fn take_evicted(&mut self) -> f64 {
        std::mem::take(&mut self.evicted)
    }

    /// Takes a share of the entries of a class out, whatever their age; says how many.
    pub(super) fn take_out(&mut self, class: usize, share: f64) -> f64 {
        if let Some(due) = &mut self.due {
            due.take_out(class, share);
        }
        self.shelf.take_out(class, share)
    }

    /// Lets all entries of a class end together after so many ticks.
    pub(super) fn align(&mut self, tick: u32, class: usize, after: f64) {
        let ahead = self.due.as_ref().map_or(0.0, Due::stagger).min(after);
        self.shelf.align(tick, class, after - ahead, after);
        if let Some(due) = &mut self.due {
            due.align(class, (f64::from(tick) + after) as u32);
        }
    }

    /// Lets a share of the entries of a class expire at once; what is kept for staleness is kept.
    pub(super) fn expire(&mut self, tick: u32, class: usize, share: f64) {
        let gone = self.take_out(class, share);
        let _ = tick;
        if self.stale.is_some() {
            self.gone_stale[class] += gone;
        }
    }

    /// Takes everything out of a group of nodes, or of all.
    pub(super) fn flush(&mut self, group: Option<usize>, groups: &[u8]) -> f64 {
        let mut gone = 0.0;
        for class in 0..self.shelf.keys.len() {
            if group.is_none_or(|group| self.local || groups[class] as usize == group) {
                gone += self.take_out(class, 1.0);
                if let Some(stale) = &mut self.stale {
                    for shelf in stale.iter_mut() {
                        shelf.take_out(class, 1.0);
                    }
                }
            }
        }
        gone
    }
}

fn shelf_life(shelf: &Shelf) -> Life {
    let ticks = shelf.longest() - 2.0;
    Life {
        shortest: ticks,
        longest: ticks,
    }
}
