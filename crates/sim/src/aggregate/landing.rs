//! How loads end: who is answered, what is stored, and what is served when nothing comes.

use seawall_core::gate::Reason;
use seawall_core::time::Span;

use super::cohort::{Cohort, Purpose, Who, about};
use super::limits::Gone;
use super::{Outcome, World};

/// How quickly the time that loads take follows.
const FOLLOW: f64 = 0.02;

/// Loads of a launch that have brought something.
struct Landed<'a> {
    ended: u64,
    /// Of those that had not ended before.
    share: f64,
    mix: &'a [f64],
    first: &'a [f64],
    blind: &'a [f64],
}

impl World {
    /// The origin has answered loads.
    pub(super) fn landed(&mut self, load: Cohort, ok: bool, shed: bool) {
        let Who::Load {
            service,
            purpose,
            launch,
            ..
        } = load.who
        else {
            return;
        };
        let index = service as usize;
        let now = self.now;
        if !ok
            && !shed
            && load.first == 0
            && let Some((target, seawall_scenario::FallbackWhen::OriginDown)) = self.services[index].fallback
        {
            // The mark of a second way: what fails there has failed.
            let again = Cohort { first: 1, ..load };
            return self.send(target, again);
        }
        let loads = &mut self.services[index].loads;
        let Some((out, tick)) = loads.launch(launch).map(|launch| (launch.out(), launch.tick)) else {
            return;
        };
        let alive = load.count.min(out);
        if alive == 0 {
            return;
        }
        loads.inside = loads.inside.saturating_sub(alive);
        let took = load.age - load.since;
        loads.turnover.held(took.min(self.dt), alive);
        if ok {
            loads.takes += FOLLOW * (took - loads.takes);
        }
        loads.go_outside(tick, alive, if ok { Gone::Answered } else { Gone::Failed }, took);
        let share = alive as f64 / out as f64;
        if let Some(panel) = &mut loads.origin_panel {
            panel.record(now, tick, share, ok, took);
        }
        if ok && purpose == Purpose::Write {
            self.services[index].loads.note_written(launch, alive);
        }
        let mut load = load.part(alive);
        if !ok {
            load = self.try_again(index, load);
        }
        self.end_loads(index, load, ok, None);
    }

    /// Loads have found no place at the origin.
    pub(super) fn turned(&mut self, load: Cohort, reason: Reason) {
        let Who::Load { service, launch, .. } = load.who else {
            return;
        };
        let (index, now) = (service as usize, self.now);
        let loads = &mut self.services[index].loads;
        let Some((out, tick)) = loads.launch(launch).map(|launch| (launch.out(), launch.tick)) else {
            return;
        };
        let alive = load.count.min(out);
        loads.inside = loads.inside.saturating_sub(alive);
        if let Some(panel) = &mut loads.origin_panel {
            // They were let through by the breaker and never asked the origin.
            panel.release_share(now, tick, alive as f64 / out.max(1) as f64);
        }
        self.end_loads(index, load.part(alive), false, Some(reason));
    }

    /// Loads have ended: those who waited for them are answered, and what came is stored.
    pub(super) fn end_loads(&mut self, index: usize, load: Cohort, ok: bool, shed: Option<Reason>) {
        let Who::Load { launch: id, .. } = load.who else {
            return;
        };
        self.seal_launch(index, id);
        let dt = self.dt;
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        let open = launch.open;
        let ended = load.count.min(open);
        if ended == 0 {
            return;
        }
        let share = ended as f64 / open as f64;
        let refreshes = launch.refreshes();
        let last = launch.open == ended;
        let mut waiters = std::mem::take(&mut launch.waiters);
        if refreshes {
            let loads = &mut self.services[index].loads;
            loads.refreshes = loads.refreshes.saturating_sub(ended);
        }
        let mut answered = Vec::with_capacity(waiters.len());
        for waiter in &mut waiters {
            let taken = if last {
                waiter.cohort.count
            } else {
                about(waiter.cohort.count as f64 * share, &mut self.rng).min(waiter.cohort.count)
            };
            if taken > 0 {
                let mut part = waiter.cohort.split(taken);
                let attached = part.born + libm::round(part.age / dt) as u32;
                let waited = f64::from(attached) - f64::from(load.born);
                part.age += (load.age - waited * dt).max(0.0);
                answered.push(part);
            }
        }
        waiters.retain(|waiter| waiter.cohort.count > 0);
        let loads = &mut self.services[index].loads;
        loads.ended(id, ended, ok);
        if let Some(launch) = loads.launch(id) {
            launch.waiters = waiters;
        }
        for cohort in answered {
            self.note_missed(&cohort, false);
            if ok {
                self.answer(index, cohort, Outcome::Fresh);
            } else {
                self.failed(index, cohort, shed);
            }
        }
    }

    /// What loads that have ended in this tick have brought is stored.
    pub(super) fn settle(&mut self, index: usize) {
        let mut touched = std::mem::take(&mut self.services[index].loads.touched);
        let (mut all_good, mut all_bad) = (0, 0);
        for id in touched.drain(..) {
            let Some(launch) = self.services[index].loads.launch(id) else {
                continue;
            };
            let (good, bad) = (std::mem::take(&mut launch.good), std::mem::take(&mut launch.bad));
            let before = (launch.open + good + bad) as f64;
            (all_good, all_bad) = (all_good + good, all_bad + bad);
            let warms = launch.purpose == Some(Purpose::Warm);
            let (tick, begun) = (launch.tick, launch.begun.max(1) as f64);
            if good > 0 {
                let kept = self.services[index]
                    .tiers
                    .last()
                    .map_or(0.0, |tier| tier.stores(0));
                self.note_stored(index, tick, kept * good as f64 / begun);
                if warms {
                    self.services[index].loads.warmed += kept * good as f64;
                }
                self.store(index, id, good, good as f64 / before, true);
            }
            if bad > 0 {
                self.store(
                    index,
                    id,
                    bad,
                    (bad as f64 / (before - good as f64)).min(1.0),
                    false,
                );
            }
        }
        let (tick, dt) = (self.tick, self.dt);
        let loads = &mut self.services[index].loads;
        loads.touched = touched;
        loads.note_success(tick, dt, all_good, all_bad);
    }

    /// What loads of a launch have brought is stored, or they have failed and left their keys missing.
    fn store(&mut self, index: usize, id: u32, ended: u64, share: f64, ok: bool) {
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        if launch.purpose == Some(Purpose::Write) || launch.mix.is_empty() {
            return;
        }
        let (tick, renews) = (launch.tick, launch.purpose == Some(Purpose::Renew));
        let mut mix = std::mem::take(&mut launch.mix);
        let mut first = std::mem::take(&mut launch.first);
        let mut blind = std::mem::take(&mut launch.blind);
        self.end_flights(index, &mix, share, ok);
        if renews {
            let counts: Vec<f64> = first.iter().map(|count| count * share).collect();
            if let Some(tier) = self.services[index].tiers.last_mut() {
                if ok && tier.stores(0) > 0.5 && !tier.never_stored {
                    self.meter.add(tier.sets, ended as f64);
                    tier.renew(self.tick, &counts);
                } else {
                    tier.not_renewed(&counts);
                }
            }
        } else if ok {
            let landed = Landed {
                ended,
                share,
                mix: &mix,
                first: &first,
                blind: &blind,
            };
            self.store_tiers(index, &landed);
        }
        if !ok && !renews {
            self.pass_on(index, id, tick, &first, share);
        }
        let rest = 1.0 - share;
        mix.iter_mut()
            .chain(first.iter_mut())
            .chain(blind.iter_mut())
            .for_each(|count| *count *= rest);
        if let Some(launch) = self.services[index].loads.launch(id) {
            (launch.mix, launch.first, launch.blind) = (mix, first, blind);
        }
    }

    fn store_tiers(&mut self, index: usize, landed: &Landed<'_>) {
        let (tick, now) = (self.tick, self.now);
        let mut counted = std::mem::take(&mut self.services[index].loads.counted);
        let service = &mut self.services[index];
        let nowhere = service.classes.nowhere;
        let group_of = &service.classes.group;
        for tier in &mut service.tiers {
            let each = landed.ended as f64 / tier.groups.count as f64;
            let stored: Vec<f64> = (0..tier.groups.count)
                .map(|group| tier.stores(group) * tier.lets_store(now, tick, group, each))
                .collect();
            let local = tier.local;
            let of_class = |class: usize| {
                let group = if local { 0 } else { group_of[class] as usize };
                landed.share * stored[group]
            };
            if !tier.never_stored {
                let mean = stored.iter().sum::<f64>() / stored.len() as f64;
                self.meter.add(tier.sets, landed.ended as f64 * mean);
            }
            for nodes in &mut tier.nodes {
                if let Some(fault) = nodes.writes_say {
                    self.meter.add(tier.errors[fault as usize], each);
                }
                if nodes.full > 0.0 {
                    let full = tier.errors[seawall_core::guard::CacheFault::TooManyClients as usize];
                    self.meter.add(full, each * nodes.full);
                }
                nodes.asked_now += each;
            }
            // In the shared cache it is known which of these loads were the first for their key.
            let counts = if tier.local { landed.mix } else { landed.first };
            if !tier.local {
                for (pending, count) in tier.shelf.pending.iter_mut().zip(landed.first) {
                    *pending = (*pending - count * landed.share).max(0.0);
                }
            }
            counted.clear();
            counted.extend(
                counts
                    .iter()
                    .enumerate()
                    .map(|(class, count)| count * of_class(class)),
            );
            if !tier.local && stored.iter().any(|kept| *kept > 0.0) {
                // What was loaded without a look is stored all the same, and may have been there.
                for (class, blind) in landed.blind.iter().enumerate() {
                    let keys = tier.shelf.keys[class];
                    let share = (blind * of_class(class) / keys).min(1.0);
                    if share > 0.0 {
                        let absent = tier.shelf.absent[class] - tier.shelf.pending[class];
                        let there = tier.take_out(class, share.min(1.0 - 1e-9));
                        counted[class] += there + absent.max(0.0) * share;
                    }
                }
            }
            if stored.iter().any(|kept| *kept > 0.0) {
                tier.fill(tick, &counted, nowhere);
            }
        }
        self.services[index].loads.counted = counted;
    }

    /// The first loads of some keys have failed. Another load of the same key, where one is under way, is the first now.
    fn pass_on(&mut self, index: usize, id: u32, launched: u32, first: &[f64], share: f64) {
        let elapsed = f64::from(self.tick - launched) * self.dt;
        let service = &mut self.services[index];
        let loads = &mut service.loads;
        let rates = std::mem::take(&mut loads.keyed.rates);
        let base = loads.base;
        let next = loads
            .launches
            .iter_mut()
            .enumerate()
            .skip((id + 1 - base) as usize)
            .find(|(_, launch)| {
                launch.open > 0 && launch.purpose == Some(Purpose::Read) && !launch.mix.is_empty()
            });
        let mut heir = next.map(|(_, launch)| launch);
        if let Some(tier) = service.tiers.last_mut() {
            for class in 0..first.len() {
                let lost = first[class] * share;
                let heirs = match &mut heir {
                    Some(launch) if lost > 0.0 && rates.len() > class => {
                        let passed = lost * -libm::expm1(-rates[class] * elapsed);
                        launch.first[class] += passed;
                        passed
                    }
                    _ => 0.0,
                };
                tier.shelf.pending[class] = (tier.shelf.pending[class] - lost + heirs).max(0.0);
            }
        }
        loads.keyed.rates = rates;
    }

    /// Writes take their keys out of the caches: many at a time, a few ticks later.
    pub(super) fn invalidate(&mut self, index: usize) {
        let service = &mut self.services[index];
        let mut written = std::mem::take(&mut service.loads.written);
        for (client, count) in written.iter_mut().enumerate() {
            let count = std::mem::take(count) as f64;
            if count <= 0.0 {
                continue;
            }
            let weights = &self.clients[client].weights;
            for tier in &mut service.tiers {
                let mut gone = 0.0;
                // Of the instances' own memories only that of the one that writes hears of it.
                let hears = if tier.local { 1.0 / tier.copies } else { 1.0 };
                for (class, weight) in weights.iter().enumerate() {
                    let share = count * weight / service.classes.keys[class] * hears;
                    if share > 1e-12 {
                        gone += tier.take_out(class, share.min(1.0 - 1e-9));
                    }
                }
                self.meter.add(tier.invalidations, gone);
            }
        }
        service.loads.written = written;
    }

    /// The mean time that loads take, in seconds.
    pub(super) fn span_of(seconds: f64) -> Span {
        Span::from_secs_f64(seconds)
    }
}
