//! How loads end: who is answered, what is stored, and what is served when nothing comes.

use seawall_core::gate::Reason;
use seawall_core::time::Span;

use super::cohort::{Cohort, Purpose, Sought, Who, about};
use super::loads::{Launch, Waiter};
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
        let Some((open, tick)) = loads.launch(launch).map(|launch| (launch.open, launch.tick)) else {
            return;
        };
        let alive = load.count.min(open);
        if alive == 0 {
            return;
        }
        loads.inside = loads.inside.saturating_sub(alive);
        let took = load.age - load.since;
        loads.turnover.held(took.min(self.dt), alive);
        if ok {
            loads.takes += FOLLOW * (took - loads.takes);
        }
        let share = alive as f64 / open as f64;
        if let Some(panel) = &mut loads.origin_panel {
            panel.record(now, tick, share, ok, took);
        }
        if ok && purpose == Purpose::Write {
            self.services[index].loads.note_written(launch, alive);
        }
        self.end_loads(index, load.part(alive), ok, None);
    }

    /// Loads have found no place at the origin.
    pub(super) fn turned(&mut self, load: Cohort, reason: Reason) {
        let Who::Load { service, launch, .. } = load.who else {
            return;
        };
        let (index, now) = (service as usize, self.now);
        let loads = &mut self.services[index].loads;
        let Some((open, tick)) = loads.launch(launch).map(|launch| (launch.open, launch.tick)) else {
            return;
        };
        let alive = load.count.min(open);
        loads.inside = loads.inside.saturating_sub(alive);
        if let Some(panel) = &mut loads.origin_panel {
            // They were let through by the breaker and never asked the origin.
            panel.release_share(now, tick, alive as f64 / open.max(1) as f64);
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
        let refreshes = launch.purpose == Some(Purpose::Refresh);
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
        for id in touched.drain(..) {
            let Some(launch) = self.services[index].loads.launch(id) else {
                continue;
            };
            let (good, bad) = (std::mem::take(&mut launch.good), std::mem::take(&mut launch.bad));
            let before = (launch.open + good + bad) as f64;
            let (tick, begun) = (launch.tick, launch.begun.max(1) as f64);
            if good > 0 {
                let kept = self.services[index]
                    .tiers
                    .last()
                    .map_or(0.0, |tier| tier.stores(0));
                self.note_stored(index, tick, kept * good as f64 / begun);
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
        self.services[index].loads.touched = touched;
    }

    /// What loads of a launch have brought is stored, or they have failed and left their keys missing.
    fn store(&mut self, index: usize, id: u32, ended: u64, share: f64, ok: bool) {
        let Some(launch) = self.services[index].loads.launch(id) else {
            return;
        };
        if launch.purpose == Some(Purpose::Write) || launch.mix.is_empty() {
            return;
        }
        let tick = launch.tick;
        let mut mix = std::mem::take(&mut launch.mix);
        let mut first = std::mem::take(&mut launch.first);
        let mut blind = std::mem::take(&mut launch.blind);
        self.end_flights(index, &mix, share, ok);
        if ok {
            let landed = Landed {
                ended,
                share,
                mix: &mix,
                first: &first,
                blind: &blind,
            };
            self.store_tiers(index, &landed);
        }
        if !ok {
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
            let stored: Vec<f64> = (0..tier.groups.count)
                .map(|group| {
                    let open = tier.panels.get(group).map_or(0.0, |panel| panel.state(now) / 2.0);
                    tier.stores(group) * (1.0 - open)
                })
                .collect();
            let of_class = |class: usize| {
                let group = if tier.local { 0 } else { group_of[class] as usize };
                landed.share * stored[group]
            };
            if !tier.never_stored {
                let mean = stored.iter().sum::<f64>() / stored.len() as f64;
                self.meter.add(tier.sets, landed.ended as f64 * mean);
            }
            for nodes in &tier.nodes {
                if let Some(fault) = nodes.writes_say {
                    let each = landed.ended as f64 / tier.groups.count as f64;
                    self.meter.add(tier.errors[fault as usize], each);
                }
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
                        let there = tier.shelf.take_out(class, share.min(1.0 - 1e-9));
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
                for (class, weight) in weights.iter().enumerate() {
                    let share = count * weight / service.classes.keys[class];
                    if share > 1e-12 {
                        gone += tier.shelf.take_out(class, share.min(1.0 - 1e-9));
                    }
                }
                self.meter.add(tier.invalidations, gone);
            }
        }
        service.loads.written = written;
    }

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
        for Waiter { cohort, until } in over {
            self.note_missed(&cohort, false);
            let cohort = Cohort { age: until, ..cohort };
            self.failed(index, cohort, None);
        }
        self.cancel(index, id, gone, before);
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
    fn cancel(&mut self, index: usize, id: u32, gone: u64, before: u64) {
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
    fn stop_loads(&mut self, index: usize, id: u32, count: u64) {
        let loads = &mut self.services[index].loads;
        let Some(Launch { open, tick, .. }) = loads.launch(id) else {
            return;
        };
        let (open, tick) = (*open, *tick);
        if open == 0 || count == 0 {
            return;
        }
        let share = count as f64 / open as f64;
        let of_launch = |cohort: &Cohort| matches!(cohort.who, Who::Load { service, launch, .. } if service as usize == index && launch == id);
        let mut lined = 0;
        for load in loads.line.iter_mut().filter(|load| of_launch(load)) {
            let taken = libm::round(load.count as f64 * share) as u64;
            load.count -= taken.min(load.count);
            lined += taken;
        }
        loads.line.retain(|load| load.count > 0);
        loads.lined = loads.lined.saturating_sub(lined);
        loads.inside = loads.inside.saturating_sub(count.saturating_sub(lined));
        let now = self.now;
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
        let waiters = loads
            .launch(id)
            .map(|launch| std::mem::take(&mut launch.waiters))
            .unwrap_or_default();
        if loads
            .launch(id)
            .is_some_and(|launch| launch.purpose == Some(Purpose::Refresh))
        {
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

    /// Serves what may be served while it is refreshed, and begins to refresh it.
    pub(super) fn serve_stale_first(&mut self, index: usize, mut cohort: Cohort, sought: Sought) -> Cohort {
        let share = self.stale(index, &cohort, sought, 0);
        if share <= 0.0 {
            return cohort;
        }
        let count = self.share_of(cohort.count, share);
        let served = cohort.split(count);
        if served.count == 0 {
            return cohort;
        }
        if let Who::Client { client, .. } = served.who {
            let mut mix = Vec::new();
            self.stale_mix(index, client as usize, sought, 0, &mut mix);
            self.refresh(index, served.count, &mix);
        }
        self.answer(index, served, Outcome::Stale);
        cohort
    }

    /// Serves what may be served when its refresh fails.
    pub(super) fn serve_stale_on_error(&mut self, index: usize, mut cohort: Cohort) -> Cohort {
        let known = matches!(cohort.who, Who::Client { seen, .. } if seen != super::cohort::NEVER);
        let sought = Sought {
            known,
            ..Sought::NOTHING
        };
        let share = self.stale(index, &cohort, sought, 1);
        if share > 0.0 {
            let count = self.share_of(cohort.count, share);
            let served = cohort.split(count);
            if served.count > 0 {
                self.answer(index, served, Outcome::Stale);
            }
        }
        cohort
    }

    /// The share of requests that miss for which there is something stale.
    fn stale(&mut self, index: usize, cohort: &Cohort, sought: Sought, which: usize) -> f64 {
        let tick = self.tick;
        let service = &self.services[index];
        let Who::Client { client, .. } = cohort.who else {
            return 0.0;
        };
        if service.played.stale.is_none() || !cohort.read {
            return 0.0;
        }
        let group = (sought.group as usize + 1) % 256;
        let place =
            ((group * self.clients.len() + client as usize) * 2 + usize::from(sought.known)) * 2 + which;
        if let Some((at, share)) = service.loads.stale_shares.get(place)
            && *at == tick
        {
            return *share;
        }
        let share = self.stale_mix(index, client as usize, sought, which, &mut Vec::new());
        let shares = &mut self.services[index].loads.stale_shares;
        if shares.len() <= place {
            shares.resize(place + 1, (super::cohort::NEVER, 0.0));
        }
        shares[place] = (tick, share);
        share
    }

    /// The same, and for which keys there is something.
    fn stale_mix(
        &self,
        index: usize,
        client: usize,
        sought: Sought,
        which: usize,
        mix: &mut Vec<f64>,
    ) -> f64 {
        let service = &self.services[index];
        let weights = &self.clients[client].weights;
        let keyed = &service.loads.keyed;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        mix.clear();
        mix.resize(weights.len(), 0.0);
        let (mut all, mut sum) = (0.0, 0.0);
        for class in 0..service.classes.nowhere.min(weights.len()) {
            if !sought.may_be(service.classes.group[class]) {
                continue;
            }
            let missing = keyed.missing(class, sought.known, local);
            let asked = weights[class] * missing;
            let mut best: f64 = 0.0;
            for tier in service.tiers.iter().filter(|tier| tier.local || sought.known) {
                if let Some(stale) = &tier.stale {
                    let shelf = &stale[which];
                    let there = shelf.keys[class] - shelf.absent[class];
                    best = best.max((there / tier.shelf.absent[class].max(1e-9)).min(1.0));
                }
            }
            mix[class] = asked * best;
            all += asked;
            sum += asked * best;
        }
        if all > 0.0 { sum / all } else { 0.0 }
    }

    /// The mean time that loads take, in seconds.
    pub(super) fn span_of(seconds: f64) -> Span {
        Span::from_secs_f64(seconds)
    }
}
