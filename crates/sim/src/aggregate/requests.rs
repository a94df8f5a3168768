//! Requests inside a service: the line before its threads, their work, and what they are answered with.

use seawall_core::draw;
use seawall_core::gate::Reason;
use seawall_core::shed::Priority;

use super::cohort::{Cohort, Purpose, Sought, Who};
use super::services::{FOLLOW, Service, Way};
use super::{Outcome, Stage, Target, World};

impl World {
    /// Calls reach a service.
    pub(super) fn enter(&mut self, index: usize, mut cohort: Cohort) {
        let service = &mut self.services[index];
        cohort.lag += service.latency.mean() + service.far;
        let priority = match cohort.who {
            Who::Client { client, .. } => self.plan.scenario.clients[client as usize].priority,
            _ => Priority::Normal,
        };
        if !matches!(cohort.who, Who::Client { .. }) {
            self.meter
                .add(service.meters.origin_requests, cohort.count as f64);
        }
        if service.up < 0.5 || service.way == Way::Refused {
            return self.refuse(index, cohort, Outcome::Error);
        }
        if service.way == Way::Silent {
            return;
        }
        let mut refused = Vec::new();
        let passed = service
            .door
            .admit(self.now, cohort.read, priority, cohort.count, |reason, count| {
                refused.push((reason, count));
            });
        for (reason, count) in refused {
            self.services[index].door.shed(&mut self.meter, reason, count);
            self.refuse(index, cohort.part(count), Outcome::Shed);
        }
        let mut cohort = cohort.part(passed);
        let service = &mut self.services[index];
        if service.threads_each.is_some() {
            let free = if service.lined > 0 { 0.0 } else { service.room };
            let starts = if free >= cohort.count as f64 {
                cohort.count
            } else {
                free.max(0.0) as u64
            };
            let starting = cohort.split(starts);
            service.room -= starting.count as f64;
            if starting.count > 0 {
                self.start(index, starting);
            }
            return self.line_up(index, cohort);
        }
        self.start(index, cohort);
    }

    fn line_up(&mut self, index: usize, mut cohort: Cohort) {
        if cohort.count == 0 {
            return;
        }
        let service = &mut self.services[index];
        let room = (service.places() - service.lined as f64).max(0.0);
        let fits = if room >= cohort.count as f64 {
            cohort.count
        } else {
            room as u64
        };
        let mut waits = cohort.split(fits);
        waits.since = waits.age;
        if waits.count > 0 {
            service.lined += waits.count;
            let joined = service.line.back_mut().is_some_and(|last| last.join(&waits));
            if !joined {
                service.line.push_back(waits);
            }
        }
        if cohort.count == 0 {
            return;
        }
        let outcome = if service.played.queue.is_some() {
            service
                .door
                .shed(&mut self.meter, Reason::QueueFull, cohort.count);
            Outcome::Shed
        } else {
            Outcome::Error
        };
        self.refuse(index, cohort, outcome);
    }

    /// Calls are answered without any work.
    fn refuse(&mut self, index: usize, cohort: Cohort, outcome: Outcome) {
        if outcome == Outcome::Error && !matches!(cohort.who, Who::Client { .. }) {
            self.meter
                .add(self.services[index].meters.origin_errors, cohort.count as f64);
        }
        self.give_back(cohort, outcome);
    }

    /// Those in line have a thread as far as there are any, and leave when they have waited too long.
    pub(super) fn admit_line(&mut self, index: usize) {
        let service = &self.services[index];
        if service.line.is_empty() {
            return;
        }
        let timeout = service.line_timeout;
        while timeout.is_finite() {
            let Some(first) = self.services[index].line.front().copied() else {
                break;
            };
            if self.age(&first) - first.since < timeout {
                break;
            }
            let service = &mut self.services[index];
            service.line.pop_front();
            service.lined -= first.count;
            service
                .door
                .shed(&mut self.meter, Reason::QueueTimeout, first.count);
            self.refuse(
                index,
                Cohort {
                    age: first.since + timeout,
                    ..first
                },
                Outcome::Shed,
            );
        }
        while let Some(first) = self.services[index].line.front().copied() {
            let service = &mut self.services[index];
            let starts = (service.room.max(0.0) as u64).min(first.count);
            if starts == 0 {
                break;
            }
            service.room -= starts as f64;
            service.lined -= starts;
            let mut starting = first.part(starts);
            if starts == first.count {
                service.line.pop_front();
            } else if let Some(front) = service.line.front_mut() {
                front.count -= starts;
            }
            let waited = service.meters.waited;
            starting.age = self.age(&first).max(first.since);
            let span = seawall_core::time::Span::from_secs_f64(starting.age - first.since);
            self.meter.time_many(waited, span, starts);
            self.start(index, starting);
        }
    }

    /// Calls have their threads.
    pub(super) fn start(&mut self, index: usize, mut cohort: Cohort) {
        for at in 0..self.services[index].also.len() {
            let target = self.services[index].also[at];
            let aside = Cohort {
                who: Who::Aside,
                lag: 0.0,
                ..cohort
            };
            self.send(target, aside);
        }
        cohort.since = cohort.age;
        let now = self.now;
        let service = &mut self.services[index];
        service.held += cohort.count;
        if let Some(trips) = &service.trips
            && service.busy() > f64::from(trips.above + 1)
            && now >= service.tripped_until
        {
            service.tripped_until = now + trips.for_;
        }
        if !service.guarded {
            return self.answer(index, cohort, Outcome::Fresh);
        }
        if cohort.read {
            self.note_looked(&cohort);
            self.look(index, 0, cohort, true);
        } else {
            self.load(index, cohort, Purpose::Write, Sought::NOTHING);
        }
    }

    /// It is known what requests are answered with; their work remains to be done.
    pub(super) fn answer(&mut self, index: usize, cohort: Cohort, outcome: Outcome) {
        let service = &mut self.services[index];
        let slow = service.slow;
        if service.work.is_fixed() {
            let work = service.work.mean() * slow;
            let stage = Stage::Worked {
                service: index as u8,
                outcome,
            };
            return self.later(
                stage,
                Cohort {
                    age: cohort.age + work,
                    ..cohort
                },
            );
        }
        let mut parts = Vec::new();
        let Service { work, rng, .. } = service;
        work.deal(cohort.count, rng, |length, count| {
            parts.push((length * slow, count));
        });
        for (length, count) in parts {
            let stage = Stage::Worked {
                service: index as u8,
                outcome,
            };
            self.later(
                stage,
                Cohort {
                    age: cohort.age + length,
                    ..cohort.part(count)
                },
            );
        }
    }

    /// The work is done: threads are free, and answers go back.
    pub(super) fn worked(&mut self, index: usize, mut cohort: Cohort, mut outcome: Outcome) {
        let dt = self.dt;
        let is_load = !matches!(cohort.who, Who::Client { .. });
        let service = &mut self.services[index];
        service.held = service.held.saturating_sub(cohort.count);
        let held = cohort.age - cohort.since;
        service.turnover.held(held.min(dt), cohort.count);
        if held < dt {
            service.held_within += held * cohort.count as f64;
        } else {
            // Who holds a thread for less than a tick is in the turnover already.
            service.room += cohort.count as f64;
        }
        if is_load {
            let took = seawall_core::time::Span::from_secs_f64(held);
            self.meter
                .time_many(service.meters.origin_took, took, cohort.count);
        }
        if self.now < service.tripped_until {
            outcome = Outcome::Error;
        }
        let good = matches!(outcome, Outcome::Fresh | Outcome::Stale);
        if good && service.availability < 1.0 {
            let failed = draw::binomial(cohort.count, 1.0 - service.availability, &mut service.rng);
            let fails = cohort.split(failed);
            if is_load {
                self.meter.add(service.meters.origin_errors, failed as f64);
            }
            self.give_back(fails, Outcome::Error);
        } else if outcome == Outcome::Error && is_load {
            self.meter.add(service.meters.origin_errors, cohort.count as f64);
        }
        if !is_load && self.has_left(&cohort) {
            self.meter
                .add(self.services[index].meters.wasted, cohort.count as f64);
        }
        self.give_back(cohort, outcome);
    }

    /// Answers go to whoever called.
    pub(super) fn give_back(&mut self, mut cohort: Cohort, outcome: Outcome) {
        if cohort.count == 0 {
            return;
        }
        match cohort.who {
            Who::Client { .. } => self.close(cohort, outcome),
            Who::Load { .. } => {
                cohort.age += std::mem::take(&mut cohort.lag);
                let stage = Stage::Landed {
                    ok: matches!(outcome, Outcome::Fresh | Outcome::Stale),
                    shed: outcome == Outcome::Shed,
                };
                self.later(stage, cohort);
            }
            Who::Aside => {}
        }
    }

    /// Calls a service or a database.
    pub(super) fn send(&mut self, target: Target, cohort: Cohort) {
        match target {
            Target::Service(service) => self.enter(service, cohort),
            Target::Database(database) => self.query(database, cohort),
        }
    }

    /// Clients have left: what nobody waits for any more is stopped, where that is wanted.
    pub(super) fn abandon(&mut self, index: usize, late: &Cohort) {
        let service = &mut self.services[index];
        if !service.played.deadline.cancel {
            return;
        }
        let (Who::Client { client, tries, .. }, born) = (late.who, late.born) else {
            return;
        };
        let is_late = |cohort: &Cohort| {
            cohort.born == born
                && matches!(cohort.who, Who::Client { client: c, tries: t, .. } if (c, t) == (client, tries))
        };
        let mut gone = 0;
        service.line.retain(|cohort| {
            let late = is_late(cohort);
            if late {
                gone += cohort.count;
            }
            !late
        });
        service.lined -= gone;
        self.abandon_waiters(index, client, tries, born);
    }

    /// What is known of a service at the end of a tick.
    pub(super) fn close_tick(&mut self, index: usize) {
        let dt = self.dt;
        self.close_loads(index);
        let service = &mut self.services[index];
        let free = service.threads() - service.held as f64;
        service.turnover.close();
        service.room = service.turnover.room(free, dt);
        let within = std::mem::take(&mut service.held_within) / dt;
        service.within += FOLLOW * (within - service.within);
    }
}
