//! Who stops waiting for loads, and what becomes of these.

use super::World;
use super::cohort::{Cohort, Who, about};
use super::launch::{Launch, Waiter};
use super::limits::Gone;

impl World {
    /// Some who wait for loads have waited long enough.
    pub(super) fn waited(&mut self, index: usize, late: Cohort) {
        let Who::Load { launch: id, .. } = late.who else {
            return;
        };
        let (tick, dt) = (self.tick, self.dt);
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        let before: u64 = launch.waiters.iter().map(|waiter| waiter.cohort.count).sum();
        let mut over = Vec::new();
        launch.waiters.retain(|waiter| {
            let age = (f64::from(tick) - f64::from(waiter.cohort.born)) * dt;
            let late = age + 0.75 * dt >= waiter.until;
            if late {
                over.push(*waiter);
            }
            !late
        });
        let gone: u64 = over.iter().map(|waiter| waiter.cohort.count).sum();
        for Waiter { cohort, until, .. } in over {
            self.note_missed(&cohort, false);
            let cohort = Cohort { age: until, ..cohort };
            self.failed(index, cohort, None);
        }
        self.cancel(index, id, gone, before);
    }

    /// Some who wait for loads are served something stale instead, where there is something. Their loads go on.
    pub(super) fn settle_for_less(&mut self, index: usize, late: Cohort) {
        let Who::Load { launch: id, .. } = late.who else {
            return;
        };
        let (tick, dt) = (self.tick, self.dt);
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        let mut waiters = std::mem::take(&mut launch.waiters);
        for waiter in &mut waiters {
            let age = (f64::from(tick) - f64::from(waiter.cohort.born)) * dt;
            if age + 0.75 * dt < waiter.soft {
                continue;
            }
            let asking = Cohort {
                age: waiter.soft,
                ..waiter.cohort
            };
            waiter.soft = f64::INFINITY;
            let left = self.serve_stale_on_error(index, asking);
            self.note_missed(&waiter.cohort.part(waiter.cohort.count - left.count), false);
            waiter.cohort.count = left.count;
        }
        waiters.retain(|waiter| waiter.cohort.count > 0);
        if let Some(launch) = self.services[index].loads.launch(id) {
            waiters.append(&mut launch.waiters);
            launch.waiters = waiters;
        }
    }

    /// Clients have left, and what they waited for is stopped.
    pub(super) fn abandon_waiters(&mut self, index: usize, client: u8, tries: u16, born: u32) {
        let loads = &mut self.services[index].loads;
        let mut cancelled = Vec::new();
        let base = loads.base;
        let mut freed = 0;
        for (offset, launch) in loads.launches.iter_mut().enumerate() {
            let before: u64 = launch.waiters.iter().map(|waiter| waiter.cohort.count).sum();
            let mut gone = 0;
            launch.waiters.retain(|waiter| {
                let is_theirs = waiter.cohort.born == born
                    && matches!(waiter.cohort.who, Who::Client { client: c, tries: t, .. } if (c, t) == (client, tries));
                if is_theirs {
                    gone += waiter.cohort.count;
                }
                !is_theirs
            });
            if gone > 0 {
                freed += gone;
                cancelled.push((base + offset as u32, gone, before));
            }
        }
        let service = &mut self.services[index];
        service.free(freed);
        for (id, gone, before) in cancelled {
            self.cancel(index, id, gone, before);
        }
    }

    /// Stops loads that nobody waits for any more: as many of a launch as waiters have gone of all.
    pub(super) fn cancel(&mut self, index: usize, id: u32, gone: u64, before: u64) {
        let loads = &mut self.services[index].loads;
        if !loads.cancels || gone == 0 || before == 0 {
            return;
        }
        let Some(open) = loads.launch(id).map(|launch| launch.open) else {
            return;
        };
        let count = about(open as f64 * gone as f64 / before as f64, &mut self.rng).min(open);
        self.stop_loads(index, id, count);
    }

    /// Takes loads of a launch out of wherever they are.
    pub(super) fn stop_loads(&mut self, index: usize, id: u32, count: u64) {
        let loads = &mut self.services[index].loads;
        let Some(Launch {
            open, paused, tick, ..
        }) = loads.launch(id)
        else {
            return;
        };
        let (open, tick) = (*open, *tick);
        if open == 0 || count == 0 {
            return;
        }
        let share = count as f64 / open as f64;
        let waited = (libm::round(*paused as f64 * share) as u64).min(*paused);
        *paused -= waited;
        let of_launch = |cohort: &Cohort| matches!(cohort.who, Who::Load { service, launch, .. } if service as usize == index && launch == id);
        let mut lined = 0;
        for load in loads.line.iter_mut().filter(|load| of_launch(load)) {
            let taken = libm::round(load.count as f64 * share) as u64;
            load.count -= taken.min(load.count);
            lined += taken;
        }
        loads.line.retain(|load| load.count > 0);
        loads.lined = loads.lined.saturating_sub(lined);
        loads.inside = loads.inside.saturating_sub(count.saturating_sub(lined + waited));
        let now = self.now;
        loads.go_outside(tick, count.saturating_sub(lined + waited), Gone::Dropped, 0.0);
        if let Some(panel) = &mut loads.origin_panel {
            panel.release(now, tick);
        }
        if loads.cancels {
            for database in &mut self.databases {
                let given_up = |cohort: &Cohort| {
                    if of_launch(cohort) {
                        libm::round(cohort.count as f64 * share) as u64
                    } else {
                        0
                    }
                };
                database.reads.withdraw(given_up);
                database.writes.withdraw(given_up);
            }
        }
        self.seal_launch(index, id);
        self.services[index].loads.ended(id, count, false);
    }

    /// Loads of a launch have taken too long.
    pub(super) fn give_up(&mut self, index: usize, late: Cohort) {
        let Who::Load { launch: id, .. } = late.who else {
            return;
        };
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        let (open, tick) = (launch.open, launch.tick);
        if open == 0 {
            return;
        }
        let (now, hard) = (self.now, late.age);
        let loads = &mut self.services[index].loads;
        if let Some(panel) = &mut loads.origin_panel {
            panel.record(now, tick, 1.0, false, hard);
        }
        loads.go_outside(tick, open, Gone::Failed, hard);
        let waiters = loads
            .launch(id)
            .map(|launch| std::mem::take(&mut launch.waiters))
            .unwrap_or_default();
        if loads.launch(id).is_some_and(|launch| launch.refreshes()) {
            loads.refreshes = loads.refreshes.saturating_sub(open);
        }
        self.stop_loads(index, id, open);
        for waiter in waiters {
            let mut cohort = waiter.cohort;
            self.note_missed(&cohort, false);
            let attached = cohort.born + libm::round(cohort.age / self.dt) as u32;
            let before = (f64::from(attached) - f64::from(late.born)) * self.dt;
            cohort.age += (hard - before).max(0.0);
            self.failed(index, cohort, None);
        }
    }
}
