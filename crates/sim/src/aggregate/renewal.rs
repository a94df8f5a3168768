//! Refreshing ahead of time: staggered (an instant of its own in the last part of each life) and early (the odd reader
//! of a key that is about to expire).
//!
//! What is due for its refresh lies on a second shelf, where it still ends when nobody asks for it or its refresh fails.
//! Early refresh comes within a few loads' time of the end: it is played at the end itself, and what is asked for often
//! enough does not end there. The chance of that follows from Vattani, Chierichetti and Lowenstein (VLDB 2015): reads come
//! at a rate λ, each refreshes with e^(−gap / (cost · β)), so one of them does with 1 − e^(−λ · cost · β).

use seawall_core::policies::Policies;

use super::World;
use super::caches::Tier;
use super::cohort::{Purpose, about};
use super::shelf::{Life, Shelf};

/// Parts into which the last part of a life is cut.
const PARTS: u32 = 8;
/// No early refresh looks further ahead than this many costs.
const AHEAD_MAX: f64 = 36.75;

/// What is due for its refresh.
#[derive(Debug)]
pub(super) struct Due {
    /// Entries that are due and have not ended.
    shelf: Shelf,
    /// Those of them whose refresh is under way.
    refreshing: Vec<f64>,
    /// The length of the last part of each life in which it is refreshed, in ticks.
    stagger: f64,
    beta: Option<f64>,
    /// In which tick all that comes to be due until then ends.
    together: u32,
    /// Entries that early refresh has saved from ending in this tick.
    saved: Vec<f64>,
}

impl Due {
    /// Takes over what policies say.
    pub(super) fn retune(due: &mut Option<Due>, keys: &[f64], played: &Policies, dt: f64) {
        let stagger = played
            .ttl
            .stagger
            .map_or(0.0, |stagger| stagger.as_secs_f64() / dt);
        let beta = played.early.as_ref().map(|early| early.beta);
        if stagger <= 0.0 && beta.is_none() {
            *due = None;
            return;
        }
        // Room for early refreshes of loads that take ten seconds.
        let longest = stagger.max(10.0 / dt) + 2.0;
        match due {
            Some(due) if due.shelf.longest() >= longest => (due.stagger, due.beta) = (stagger, beta),
            due => {
                *due = Some(Due {
                    shelf: Shelf::new(keys.to_vec(), longest),
                    refreshing: vec![0.0; keys.len()],
                    stagger,
                    beta,
                    together: 0,
                    saved: vec![0.0; keys.len()],
                });
            }
        }
    }

    /// A life up to where the entry is due, in parts.
    pub(super) fn lives(&self, life: Life) -> Vec<(Life, f64)> {
        if self.stagger <= 0.0 || life.longest.is_infinite() {
            return vec![(life, 1.0)];
        }
        let part = self.stagger / f64::from(PARTS);
        let wide = life.longest - life.shortest > part;
        let cut = |at: u32| {
            let (from, to) = (f64::from(at) * part, f64::from(at + 1) * part);
            let middle = 0.5 * (from + to);
            let cut = if wide { (middle, middle) } else { (from, to) };
            let life = Life {
                shortest: (life.shortest - cut.1).max(1.0),
                longest: (life.longest - cut.0).max(1.0),
            };
            (life, 1.0 / f64::from(PARTS))
        };
        (0..PARTS).map(cut).collect()
    }

    /// Takes a share of the entries of a class out.
    pub(super) fn take_out(&mut self, class: usize, share: f64) {
        self.shelf.thin(class, share);
        self.refreshing[class] *= 1.0 - share.clamp(0.0, 1.0);
    }

    /// All entries of a class end in this tick, unless they are refreshed before.
    pub(super) fn align(&mut self, class: usize, tick: u32) {
        self.together = tick;
        self.shelf.take_out(class, 1.0);
        self.refreshing[class] = 0.0;
    }

    /// The time before the end from which entries are due, in ticks.
    pub(super) fn stagger(&self) -> f64 {
        self.stagger
    }

    fn there(&self, class: usize) -> f64 {
        self.shelf.keys[class] - self.shelf.absent[class]
    }
}

impl Tier {
    /// What has come to the end of its life up to here is due for its refresh, and what was due and has not been refreshed
    /// ends.
    pub(super) fn pass_due(&mut self, tick: u32, rates: &[f64], cost: f64) {
        let dt = self.dt;
        let Some(due) = &mut self.due else { return };
        due.shelf.pass(tick);
        let life = if tick < due.together {
            Life {
                shortest: f64::from(due.together - tick),
                longest: f64::from(due.together - tick),
            }
        } else {
            Life {
                shortest: 1.0,
                longest: due.stagger,
            }
        };
        for class in 0..due.refreshing.len() {
            let mut ends = due.shelf.expired[class];
            let come = self.shelf.expired[class];
            if due.stagger > 0.0 {
                if come > 0.0 {
                    self.shelf.put_back(class, come);
                    let fits = Life {
                        shortest: life.shortest.min(due.shelf.longest() - 2.0),
                        longest: life.longest.min(due.shelf.longest() - 2.0),
                    };
                    due.shelf.fill(tick, class, come, fits);
                }
            } else {
                ends = come;
                self.shelf.put_back(class, come);
                // What has failed to be refreshed ends now, whatever is asked.
                let failed = due.shelf.expired[class];
                self.shelf.drop_out(class, failed);
                self.shelf.expired[class] = failed;
            }
            if due.stagger > 0.0 {
                self.shelf.expired[class] = 0.0;
            }
            // Where refreshes are staggered, what is asked for so often has been refreshed before.
            let beta = due.beta.filter(|_| due.stagger <= 0.0).unwrap_or(0.0);
            let asked = rates.get(class).copied().unwrap_or(0.0) * cost * beta;
            let saved = ends * -libm::expm1(-asked);
            if saved > 0.0 {
                // How far ahead of its end an entry is refreshed: an exponential time where few ask for it, and about
                // cost · β · ln(λ · cost · β) where many do.
                let (unit, longest) = (cost * beta / dt, due.shelf.longest() - 2.0);
                let ahead = unit * (libm::log(asked) - 0.5).clamp(0.0, AHEAD_MAX);
                let life = Life {
                    shortest: ahead.clamp(1.0, longest),
                    longest: (ahead + unit).clamp(1.0, longest),
                };
                due.shelf.fill(tick, class, saved, life);
                due.saved[class] += saved;
            }
            let gone = ends - saved;
            self.shelf.drop_out(class, gone);
            self.shelf.expired[class] += gone;
            let there = due.there(class);
            due.refreshing[class] = due.refreshing[class].min(there);
        }
    }

    /// Refreshes have brought so many keys of each class.
    pub(super) fn renew(&mut self, tick: u32, counts: &[f64]) {
        let Some(due) = &mut self.due else { return };
        let mut renewed = vec![0.0; counts.len()];
        for (class, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let there = due.there(class);
            let count = count.min(due.refreshing[class]);
            if there > 1e-9 && count > 0.0 {
                renewed[class] = count;
                due.refreshing[class] -= count;
                due.shelf.thin(class, (count / there).min(1.0));
            }
        }
        for (life, shares) in &self.lives {
            self.shelf.renew(tick, &renewed, shares, *life);
        }
    }

    /// Refreshes of so many keys of each class have failed: whoever asks for them next tries again.
    pub(super) fn not_renewed(&mut self, counts: &[f64]) {
        let Some(due) = &mut self.due else { return };
        for (refreshing, count) in due.refreshing.iter_mut().zip(counts) {
            *refreshing = (*refreshing - count).max(0.0);
        }
    }
}

impl World {
    /// Readers of what is due have it refreshed in the background.
    pub(super) fn renew_due(&mut self, index: usize) {
        let (dt, now, tick) = (self.dt, self.now, self.tick);
        let service = &mut self.services[index];
        let up = service.up.max(1.0);
        let loads = &service.loads;
        let takes = loads.takes;
        let Some(tier) = service.tiers.last_mut().filter(|tier| !tier.local) else {
            return;
        };
        if tier.up() < 0.5 {
            return;
        }
        let Some(due) = &mut tier.due else { return };
        let rates = &loads.keyed.rates;
        let classes = due.refreshing.len();
        let (mut keys, mut all) = (vec![0.0; classes], vec![0.0; classes]);
        let beta = due.beta.unwrap_or(0.0);
        for class in 0..classes {
            let saved = std::mem::take(&mut due.saved[class]);
            let idle = (due.there(class) - due.refreshing[class]).max(0.0);
            let asked = if due.stagger > 0.0 {
                idle * -libm::expm1(-rates[class] * dt)
            } else {
                saved.min(idle)
            };
            keys[class] = asked;
            // Each other instance may do the same while the first refresh is under way; with leases it does not.
            let others = if loads.leases {
                0.0
            } else if due.stagger > 0.0 {
                (up - 1.0) * -libm::expm1(-rates[class] * takes / up)
            } else {
                (up - 1.0) * -libm::expm1(-libm::expm1(1.0 / beta.max(0.05)) / up)
            };
            all[class] = asked * (1.0 + others);
        }
        let wanted: f64 = all.iter().sum();
        if wanted <= 0.0 {
            return;
        }
        let room = self.room_for_refreshes(index);
        let loads = &mut self.services[index].loads;
        let mut count = about(wanted.min(room), &mut loads.rng);
        if let Some(panel) = &mut loads.origin_panel {
            count = panel.admit(now, tick, count);
        }
        if count == 0 {
            return;
        }
        loads.refreshes += count;
        let share = count as f64 / wanted;
        for keys in &mut keys {
            *keys *= share;
        }
        if let Some(due) = self.services[index]
            .tiers
            .last_mut()
            .and_then(|tier| tier.due.as_mut())
        {
            for (refreshing, keys) in due.refreshing.iter_mut().zip(&keys) {
                *refreshing += keys;
            }
        }
        let load = self.launch_aside(index, Purpose::Renew, count, &all);
        let crate::aggregate::cohort::Who::Load { launch, .. } = load.who else {
            return;
        };
        if let Some(launch) = self.services[index].loads.launch(launch) {
            launch.first = keys;
        }
        self.begin_load(index, load);
    }
}
