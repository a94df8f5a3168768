//! Loads on their way to the origin: who shares another's, who is let in, who waits for a place, who gives up.

use std::collections::VecDeque;

use seawall_core::draw;
use seawall_core::gate::Reason;
use seawall_core::policies::Policies;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};

use super::cohort::{Cohort, NEVER, Purpose, Sought, Who, about};
use super::looks::{Keyed, Past};
use super::panel::Panel;
use super::services::Turnover;
use super::{Outcome, Stage, World};

/// The most ticks for which it is remembered what look-ups found missing.
const PAST_MAX: usize = 2048;

/// Ticks after which writes take their keys out of the caches.
const WRITTEN_EVERY: u32 = 8;

/// Loads that were begun in one tick, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Launch {
    pub(super) tick: u32,
    pub(super) purpose: Option<Purpose>,
    pub(super) begun: u64,
    /// Loads that have not ended.
    pub(super) open: u64,
    pub(super) waiters: Vec<Waiter>,
    /// How many are for each class.
    pub(super) mix: Vec<f64>,
    /// Keys of each class for which one of these loads was the first.
    pub(super) first: Vec<f64>,
    /// Loads for keys of which nothing is known: they may be cached.
    pub(super) blind: Vec<f64>,
    /// Loads by client and by what is known of their keys.
    counts: Vec<(u8, Sought, u64)>,
    sealed: bool,
    /// How many have ended in this tick, well and badly.
    pub(super) good: u64,
    pub(super) bad: u64,
}

/// Requests that wait for a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) cohort: Cohort,
    /// Their age when they have waited long enough.
    pub(super) until: f64,
}

/// The loads of a service.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a protection that is on or off"
)]
pub(super) struct Loads {
    pub(super) launches: VecDeque<Launch>,
    /// The number of the first of them.
    pub(super) base: u32,
    spare: Vec<Launch>,
    /// Launches of which loads have ended in this tick.
    pub(super) touched: Vec<u32>,
    pub(super) keyed: Keyed,
    classes: usize,
    pub(super) origin_panel: Option<Panel>,
    /// Places at the origin, over all instances; waiting places; seconds that one waits.
    limit: f64,
    places: f64,
    patience: f64,
    pub(super) inside: u64,
    pub(super) line: VecDeque<Cohort>,
    pub(super) lined: u64,
    room: f64,
    pub(super) turnover: Turnover,
    /// Seconds that loads take of late.
    pub(super) takes: f64,
    pub(super) hard: f64,
    total: f64,
    pub(super) cancels: bool,
    /// The database itself knows of the limit.
    pub(super) gated: bool,
    coalesces: bool,
    /// Whether it matters which keys are being loaded.
    tracks: bool,
    window: f64,
    wait_max: f64,
    leases: bool,
    /// Loads under way that others can join, by class; and shared results by class, with when they are forgotten.
    flights: Vec<f64>,
    shared: Vec<f64>,
    shared_ends: VecDeque<(u32, Vec<f64>)>,
    refreshes_max: f64,
    pub(super) refreshes: u64,
    seed: Seed,
    index: usize,
    pub(super) rng: Stream,
    pub(super) begun: f64,
    pub(super) coalesced: f64,
    pub(super) retried: f64,
    pub(super) warmed: f64,
    copied: Vec<u64>,
    /// By client: writes that have not taken their keys out of the caches yet.
    pub(super) written: Vec<u64>,
    /// Shares of requests for which there is something stale, and the tick for which they were worked out.
    pub(super) stale_shares: Vec<(u32, f64)>,
    /// Room to count in.
    pub(super) counted: Vec<f64>,
}

impl Loads {
    pub(super) fn new(classes: usize, seed: Seed, index: usize) -> Loads {
        Loads {
            launches: VecDeque::new(),
            base: 0,
            spare: Vec::new(),
            touched: Vec::new(),
            keyed: Keyed::default(),
            classes,
            origin_panel: None,
            limit: f64::INFINITY,
            places: 0.0,
            patience: 0.0,
            inside: 0,
            line: VecDeque::new(),
            lined: 0,
            room: f64::INFINITY,
            turnover: Turnover::default(),
            takes: 0.0,
            hard: f64::INFINITY,
            total: f64::INFINITY,
            cancels: false,
            gated: false,
            coalesces: false,
            tracks: false,
            window: 0.0,
            wait_max: f64::INFINITY,
            leases: false,
            flights: vec![0.0; classes],
            shared: vec![0.0; classes],
            shared_ends: VecDeque::new(),
            refreshes_max: 0.0,
            refreshes: 0,
            seed,
            index,
            rng: seed.stream("loads", index as u64),
            begun: 0.0,
            coalesced: 0.0,
            retried: 0.0,
            warmed: 0.0,
            copied: Vec::new(),
            written: Vec::new(),
            stale_shares: Vec::new(),
            counted: Vec::new(),
        }
    }

    pub(super) fn retune(&mut self, now: Time, played: &Policies, up: f64) {
        let seconds = |span: Option<Span>| span.map_or(f64::INFINITY, Span::as_secs_f64);
        match (&mut self.origin_panel, &played.origin_breaker) {
            (panel, None) => *panel = None,
            (Some(panel), Some(settings)) => {
                panel.retune(now, settings);
                panel.resize(up);
            }
            (panel, Some(settings)) => {
                let rng = self.seed.stream("origin breakers", self.index as u64);
                *panel = Some(Panel::new(settings, up, rng));
            }
        }
        let limit = played.limit.as_ref();
        self.limit = limit.map_or(f64::INFINITY, |limit| f64::from(limit.max) * up);
        self.places = limit.map_or(0.0, |limit| f64::from(limit.places) * up);
        self.patience = limit.map_or(0.0, |limit| limit.timeout.as_secs_f64());
        self.hard = seconds(played.deadline.hard);
        self.total = seconds(played.deadline.total);
        self.cancels = played.deadline.cancel;
        self.coalesces = played.coalesce.is_some();
        let coalesce = played.coalesce.clone().unwrap_or_default();
        self.window = coalesce.window.as_secs_f64();
        self.wait_max = coalesce.wait_max.as_secs_f64();
        self.leases = played.lease.is_some();
        self.tracks = self.coalesces || self.leases || played.stale.is_some();
        let refreshes = played.stale.as_ref().map_or(0, |stale| stale.refreshes_max);
        self.refreshes_max = f64::from(refreshes) * up;
    }

    /// Keeps what look-ups find missing for so many ticks.
    pub(super) fn remember_for(&mut self, ticks: usize) {
        self.keyed.past.resize(ticks.min(PAST_MAX), Past::default());
    }

    /// The limit on loads, as the gate of the database that they all go to.
    pub(super) fn gate(&self) -> Option<super::databases::Gate> {
        self.limit.is_finite().then_some(super::databases::Gate {
            most: self.limit,
            places: self.places,
            patience: self.patience,
        })
    }

    pub(super) fn limit(&self) -> Option<f64> {
        self.limit.is_finite().then_some(self.limit)
    }

    /// Writes of a launch have been made.
    pub(super) fn note_written(&mut self, id: u32, count: u64) {
        let first = self.launch(id).and_then(|launch| launch.waiters.first());
        if let Some(Who::Client { client, .. }) = first.map(|waiter| waiter.cohort.who) {
            let client = client as usize;
            if self.written.len() <= client {
                self.written.resize(client + 1, 0);
            }
            self.written[client] += count;
        }
    }

    /// A hit in the shared cache is copied into memory.
    pub(super) fn note_copied(&mut self, cohort: &Cohort, count: u64) {
        if let Who::Client { client, .. } = cohort.who {
            let client = client as usize;
            if self.copied.len() <= client {
                self.copied.resize(client + 1, 0);
            }
            self.copied[client] += count;
        }
    }

    pub(super) fn take_copied(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.copied)
    }

    /// Loads of a launch have ended; what comes of it is worked out at the end of the tick.
    pub(super) fn ended(&mut self, id: u32, count: u64, ok: bool) {
        let Some(launch) = self.launches.get_mut((id - self.base) as usize) else {
            return;
        };
        if launch.good + launch.bad == 0 {
            self.touched.push(id);
        }
        if ok {
            launch.good += count;
        } else {
            launch.bad += count;
        }
        launch.open -= count;
    }

    pub(super) fn launch(&mut self, id: u32) -> Option<&mut Launch> {
        self.launches.get_mut(id.checked_sub(self.base)? as usize)
    }

    /// The launch that loads of this tick belong to.
    fn current(&mut self, tick: u32, purpose: Purpose) -> u32 {
        let open = self
            .launches
            .iter()
            .rev()
            .take(4)
            .position(|launch| launch.tick == tick && launch.purpose == Some(purpose) && !launch.sealed);
        let last = self.base + self.launches.len() as u32;
        if let Some(back) = open {
            return last - 1 - back as u32;
        }
        let mut launch = self.spare.pop().unwrap_or_default();
        launch.tick = tick;
        launch.purpose = Some(purpose);
        launch.sealed = false;
        (launch.begun, launch.open) = (0, 0);
        (launch.good, launch.bad) = (0, 0);
        launch.waiters.clear();
        launch.counts.clear();
        launch.mix.clear();
        launch.mix.resize(self.classes, 0.0);
        launch.first.clear();
        self.launches.push_back(launch);
        last
    }

    /// Forgets launches that are over.
    fn tidy(&mut self, tick: u32) {
        while let Some(first) = self.launches.front() {
            let over = first.open == 0 && first.waiters.is_empty() && first.tick < tick;
            if !over {
                break;
            }
            if let Some(launch) = self.launches.pop_front() {
                self.spare.push(launch);
            }
            self.base += 1;
        }
    }
}

/// What is wanted of the origin.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    purpose: Purpose,
    sought: Sought,
}

impl World {
    /// Requests need the origin.
    pub(super) fn load(&mut self, index: usize, mut cohort: Cohort, purpose: Purpose, sought: Sought) {
        let wanted = Wanted { purpose, sought };
        if purpose == Purpose::Read {
            cohort = self.serve_stale_first(index, cohort, sought);
            cohort = self.join(index, cohort, wanted);
        }
        if cohort.count == 0 {
            return;
        }
        let (now, tick) = (self.now, self.tick);
        let loads = &mut self.services[index].loads;
        if let Some(panel) = &mut loads.origin_panel {
            let passed = panel.admit(now, tick, cohort.count);
            let open = cohort.split(cohort.count - passed);
            self.shed_load(index, open, Reason::OriginOpen);
        }
        if cohort.count == 0 {
            return;
        }
        // Writes pass the line, and so do refreshes, which stand in none.
        let loads = &mut self.services[index].loads;
        let begins = if purpose == Purpose::Write || loads.limit.is_infinite() || loads.gated {
            cohort.count
        } else if loads.lined > 0 {
            0
        } else {
            (loads.room.max(0.0) as u64).min(cohort.count)
        };
        let waits = if begins < cohort.count {
            let room = (loads.places - loads.lined as f64).max(0.0) as u64;
            room.min(cohort.count - begins)
        } else {
            0
        };
        let beginning = cohort.split(begins);
        let waiting = cohort.split(waits);
        self.shed_load(index, cohort, Reason::OriginLimit);
        if beginning.count > 0 {
            let load = self.attach(index, beginning, wanted);
            self.begin_load(index, load);
        }
        if waiting.count > 0 {
            let load = self.attach(index, waiting, wanted);
            let loads = &mut self.services[index].loads;
            loads.lined += load.count;
            loads.line.push_back(load);
        }
    }

    /// Begins to refresh keys in the background, unless that is under way or there is no room for it.
    pub(super) fn refresh(&mut self, index: usize, asked: u64, mix: &[f64]) {
        let (now, tick) = (self.now, self.tick);
        let service = &self.services[index];
        let loads = &service.loads;
        let total: f64 = mix.iter().sum();
        if total <= 0.0 {
            return;
        }
        // Each key and instance is refreshed once at a time.
        let mut wanted = mix.to_vec();
        for (class, wanted) in wanted.iter_mut().enumerate() {
            let missing = loads.keyed.all[class].max(1e-12);
            let pairs = service.classes.keys[class] * missing * service.up;
            let idle = (1.0 - loads.flights[class] / pairs.max(1e-9)).max(0.0);
            let asked = *wanted / total * asked as f64 * idle;
            *wanted = pairs * idle * -libm::expm1(-asked / (pairs * idle).max(1e-9));
        }
        let sum: f64 = wanted.iter().sum();
        let mut room = loads.refreshes_max - loads.refreshes as f64;
        let full = match service.origin {
            Some(super::Target::Database(database)) if loads.gated => {
                !self.databases[database].reads.has_room()
            }
            _ => loads.lined > 0 || loads.room < 1.0,
        };
        if full {
            room = 0.0;
        }
        let mut count = about(sum.min(room.max(0.0)), &mut self.rng);
        let loads = &mut self.services[index].loads;
        if let Some(panel) = &mut loads.origin_panel {
            count = panel.admit(now, tick, count);
        }
        if count == 0 {
            return;
        }
        let id = loads.current(tick, Purpose::Refresh);
        let hard = loads.hard;
        let mut fresh = false;
        loads.refreshes += count;
        if let Some(launch) = loads.launch(id) {
            fresh = launch.begun == 0;
            launch.begun += count;
            launch.open += count;
            for (sum, wanted_here) in launch.mix.iter_mut().zip(&wanted) {
                *sum += wanted_here / sum_of(&wanted) * count as f64;
            }
        }
        let load = Cohort {
            who: Who::Load {
                service: index as u8,
                purpose: Purpose::Refresh,
                launch: id,
            },
            count,
            born: tick,
            first: 0,
            read: true,
            age: 0.0,
            since: 0.0,
            lag: 0.0,
        };
        if fresh && hard.is_finite() {
            self.later(Stage::Hard { service: index as u8 }, Cohort { age: hard, ..load });
        }
        self.begin_load(index, load);
    }

    /// Requests wait for loads of their own from now on; gives back these loads.
    fn attach(&mut self, index: usize, cohort: Cohort, wanted: Wanted) -> Cohort {
        let tick = self.tick;
        let loads = &mut self.services[index].loads;
        let id = loads.current(tick, wanted.purpose);
        let (hard, total) = (loads.hard, loads.total);
        let fresh = loads.launch(id).is_some_and(|launch| launch.begun == 0);
        if let Some(launch) = loads.launch(id) {
            launch.begun += cohort.count;
            launch.open += cohort.count;
            let client = match cohort.who {
                Who::Client { client, seen, .. } if seen == NEVER => Some(client),
                _ => None,
            };
            if let Some(client) = client {
                let mut counts = launch.counts.iter_mut();
                match counts.find(|count| (count.0, count.1) == (client, wanted.sought)) {
                    Some(known) => known.2 += cohort.count,
                    None => launch.counts.push((client, wanted.sought, cohort.count)),
                }
            }
        }
        if let Who::Client { seen, .. } = cohort.who
            && seen != NEVER
        {
            self.mix_again(index, id, seen, cohort.count);
        }
        let load = Cohort {
            who: Who::Load {
                service: index as u8,
                purpose: wanted.purpose,
                launch: id,
            },
            count: cohort.count,
            born: tick,
            first: 0,
            read: wanted.purpose != Purpose::Write,
            age: 0.0,
            since: 0.0,
            lag: 0.0,
        };
        if fresh && hard.is_finite() {
            let stage = Stage::Hard { service: index as u8 };
            self.later(stage, Cohort { age: hard, ..load });
        }
        let until = cohort.since + total;
        self.wait(index, id, cohort, until, wanted.sought.known);
        load
    }

    /// Requests wait for the loads of a launch.
    fn wait(&mut self, index: usize, id: u32, mut cohort: Cohort, until: f64, known: bool) {
        if let Who::Client { seen, .. } = &mut cohort.who {
            *seen = if known { self.tick } else { NEVER };
        }
        if known {
            self.note_missed(&cohort, true);
        }
        if until.is_finite() {
            let load = Cohort {
                who: Who::Load {
                    service: index as u8,
                    purpose: Purpose::Read,
                    launch: id,
                },
                age: until,
                ..cohort
            };
            self.later(Stage::Waited { service: index as u8 }, load);
        }
        let waiters = self.services[index]
            .loads
            .launch(id)
            .map(|launch| &mut launch.waiters);
        if let Some(waiters) = waiters {
            let like = waiters
                .last_mut()
                .filter(|last| last.until.total_cmp(&until).is_eq() || (last.until - until).abs() < 1e-3);
            if !like.is_some_and(|last| last.cohort.join(&cohort)) {
                waiters.push(Waiter { cohort, until });
            }
        }
    }

    /// Loads have a place at the origin.
    pub(super) fn begin_load(&mut self, index: usize, mut load: Cohort) {
        let service = &mut self.services[index];
        let loads = &mut service.loads;
        loads.inside += load.count;
        loads.room -= load.count as f64;
        if load.read && !loads.gated {
            loads.begun += load.count as f64;
        }
        load.since = load.age;
        let spares = matches!(
            service.fallback,
            Some((_, seawall_scenario::FallbackWhen::CacheDown))
        );
        let caches_fail = service.tiers.iter().any(|tier| !tier.local && tier.up() < 0.5);
        let target = match service.fallback {
            Some((target, _)) if spares && caches_fail && load.read => Some(target),
            _ => service.origin,
        };
        match target {
            Some(target) => self.send(target, load),
            None => self.landed(load, true, false),
        }
    }

    fn shed_load(&mut self, index: usize, cohort: Cohort, reason: Reason) {
        if cohort.count > 0 {
            self.failed(index, cohort, Some(reason));
        }
    }

    /// Requests get no answer from the origin: a stale one where that is allowed, or none.
    pub(super) fn failed(&mut self, index: usize, cohort: Cohort, shed: Option<Reason>) {
        let cohort = self.serve_stale_on_error(index, cohort);
        if cohort.count == 0 {
            return;
        }
        let outcome = match shed {
            Some(reason) => {
                self.services[index]
                    .door
                    .shed(&mut self.meter, reason, cohort.count);
                Outcome::Shed
            }
            None => Outcome::Error,
        };
        self.answer(index, cohort, outcome);
    }

    /// Loads in line begin as far as there is room, and are given up when they have waited too long.
    pub(super) fn promote(&mut self, index: usize) {
        while let Some(first) = self.services[index].loads.line.front().copied() {
            let patience = self.services[index].loads.patience;
            let waited = self.age(&first);
            let loads = &mut self.services[index].loads;
            if waited >= patience {
                loads.line.pop_front();
                loads.lined -= first.count;
                let late = Cohort {
                    age: patience,
                    ..first
                };
                self.end_loads(index, late, false, Some(Reason::OriginTimeout));
                continue;
            }
            let begins = (loads.room.max(0.0) as u64).min(first.count);
            if begins == 0 {
                break;
            }
            loads.lined -= begins;
            if begins == first.count {
                loads.line.pop_front();
            } else if let Some(front) = loads.line.front_mut() {
                front.count -= begins;
            }
            let load = Cohort {
                age: waited,
                ..first.part(begins)
            };
            self.begin_load(index, load);
        }
    }

    /// Who finds a load of the same key under way waits for it.
    fn join(&mut self, index: usize, mut cohort: Cohort, wanted: Wanted) -> Cohort {
        let service = &self.services[index];
        let loads = &service.loads;
        if !loads.coalesces && (!loads.leases || service.tiers.is_empty()) {
            return cohort;
        }
        let (waits, shares) = self.chances(index, &cohort, wanted.sought);
        let shared = draw::binomial(cohort.count, shares, &mut self.rng);
        let sharing = cohort.split(shared);
        let joined = if shares < 1.0 {
            draw::binomial(cohort.count, waits / (1.0 - shares), &mut self.rng)
        } else {
            0
        };
        let joining = cohort.split(joined);
        let loads = &mut self.services[index].loads;
        loads.coalesced += (shared + joined) as f64;
        if sharing.count > 0 {
            self.answer(index, sharing, Outcome::Fresh);
        }
        if joining.count > 0 {
            self.join_some(index, joining, wanted);
        }
        cohort
    }

    /// Joins a launch, picked by how many of its loads are under way.
    fn join_some(&mut self, index: usize, cohort: Cohort, wanted: Wanted) {
        let loads = &mut self.services[index].loads;
        let open = |launch: &Launch| {
            if launch.purpose == Some(Purpose::Write) {
                0
            } else {
                launch.open
            }
        };
        let all: u64 = loads.launches.iter().map(open).sum();
        let mut at = loads.rng.below(all.max(1));
        let mut id = None;
        for (offset, launch) in loads.launches.iter().enumerate() {
            if at < open(launch) {
                id = Some(loads.base + offset as u32);
                break;
            }
            at -= open(launch);
        }
        let (total, wait_max) = (loads.total, loads.wait_max);
        let Some(id) = id else {
            // All of them have just begun, in this tick: there will be one.
            let load = self.attach(index, cohort, wanted);
            return self.begin_load(index, load);
        };
        let until = (cohort.since + total).min(cohort.age + wait_max);
        self.wait(index, id, cohort, until, wanted.sought.known);
    }

    /// How likely a request that misses finds a load of its key under way, and a result that is still shared.
    fn chances(&self, index: usize, cohort: &Cohort, sought: Sought) -> (f64, f64) {
        let service = &self.services[index];
        let loads = &service.loads;
        let Who::Client { client, .. } = cohort.who else {
            return (0.0, 0.0);
        };
        let client = &self.clients[client as usize];
        let copies = if loads.leases { 1.0 } else { service.up };
        let keyed = &loads.keyed;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        let (mut all, mut waits, mut shares) = (0.0, 0.0, 0.0);
        for class in 0..client.weights.len() {
            if !sought.may_be(service.classes.group[class]) {
                continue;
            }
            let missing = keyed.missing(class, sought.known, local);
            let asked = client.weights[class] * missing;
            let pairs = (service.classes.keys[class] * missing * copies).max(1e-9);
            let shared = (loads.shared[class] / pairs).min(1.0);
            all += asked;
            shares += asked * shared;
            waits += asked * (loads.flights[class] / pairs).min(1.0 - shared);
        }
        if all > 0.0 {
            (waits / all, shares / all)
        } else {
            (0.0, 0.0)
        }
    }

    /// Adds loads for keys that an earlier try found missing.
    fn mix_again(&mut self, index: usize, id: u32, seen: u32, count: u64) {
        let Some(past) = self.past(index, seen) else {
            return;
        };
        let mix = past.mix.clone();
        if let Some(launch) = self.services[index].loads.launch(id) {
            for (sum, share) in launch.mix.iter_mut().zip(&mix) {
                *sum += share * count as f64;
            }
        }
    }

    /// Works out which keys the loads of this tick are for.
    pub(super) fn seal(&mut self, index: usize) {
        let tick = self.tick;
        let ids: Vec<u32> = {
            let loads = &self.services[index].loads;
            let recent = loads.launches.iter().enumerate().rev().take(4);
            recent
                .filter(|(_, launch)| launch.tick == tick && !launch.sealed)
                .map(|(offset, _)| loads.base + offset as u32)
                .collect()
        };
        for id in ids {
            self.seal_launch(index, id);
        }
    }

    pub(super) fn seal_launch(&mut self, index: usize, id: u32) {
        let service = &mut self.services[index];
        let group_loads = &mut service.loads;
        let Some(launch) = group_loads.launches.get_mut((id - group_loads.base) as usize) else {
            return;
        };
        if launch.sealed {
            return;
        }
        launch.sealed = true;
        if service.tiers.is_empty() && !group_loads.coalesces {
            return;
        }
        if launch.purpose == Some(Purpose::Write) {
            return;
        }
        let keyed = &group_loads.keyed;
        let coalesces = group_loads.coalesces || group_loads.leases;
        let copies = if group_loads.leases { 1.0 } else { service.up };
        let keys = &service.classes.keys;
        let local = service.tiers.first().is_some_and(|tier| tier.local);
        let (mut known, mut unknown) = (0, 0);
        launch.first.clear();
        launch.first.extend_from_slice(&launch.mix);
        launch.blind.clear();
        let group_of = &service.classes.group;
        for (client, sought, count) in &launch.counts {
            let weights = &self.clients[*client as usize].weights;
            let part = |class: usize| {
                if !sought.may_be(group_of[class]) {
                    return 0.0;
                }
                let missing = keyed.missing(class, sought.known, local);
                // Who asks for what is being loaded joins instead.
                let under_way = group_loads.flights[class] + group_loads.shared[class];
                let pairs = (keys[class] * missing * copies).max(1e-9);
                weights[class]
                    * missing
                    * if coalesces {
                        (1.0 - under_way / pairs).max(0.0)
                    } else {
                        1.0
                    }
            };
            if sought.known {
                known += count;
                add_mix(&mut launch.mix, &mut launch.first, part, *count);
            } else {
                unknown += count;
                launch.blind.resize(weights.len(), 0.0);
                add_mix(&mut launch.mix, &mut launch.blind, part, *count);
            }
        }
        if let Some(tier) = service.tiers.last_mut() {
            let shelf = &mut tier.shelf;
            for class in 0..launch.first.len() {
                let (absent, pending) = (shelf.absent[class], shelf.pending[class]);
                let untouched = (absent - pending).max(0.0);
                let count = launch.first[class];
                // Who would ask for what its own instance loads already has joined that load.
                let joined = if coalesces {
                    group_loads.flights[class] / copies
                } else {
                    0.0
                };
                let open_to = (absent - joined).max(untouched);
                let first = if open_to > 0.0 {
                    untouched * taken(count / open_to)
                } else {
                    0.0
                };
                launch.first[class] = first;
                shelf.pending[class] += first;
            }
        }
        if group_loads.tracks {
            for (flights, count) in group_loads.flights.iter_mut().zip(&launch.mix) {
                *flights += count;
            }
        }
        let again = launch.begun.saturating_sub(known + unknown);
        let share = (known + again) as f64 / launch.begun.max(1) as f64;
        let mix = std::mem::take(&mut launch.mix);
        self.remember(index, &mix, share);
        if let Some(launch) = self.services[index].loads.launch(id) {
            launch.mix = mix;
        }
    }

    /// What no longer matters is forgotten at the end of a tick, and places are counted.
    pub(super) fn close_loads(&mut self, index: usize) {
        self.settle(index);
        if self.tick.is_multiple_of(WRITTEN_EVERY) {
            self.invalidate(index);
        }
        let (tick, dt) = (self.tick, self.dt);
        let loads = &mut self.services[index].loads;
        loads.tidy(tick);
        while loads.shared_ends.front().is_some_and(|(end, _)| *end <= tick) {
            if let Some((_, counts)) = loads.shared_ends.pop_front() {
                for (shared, count) in loads.shared.iter_mut().zip(&counts) {
                    *shared = (*shared - count).max(0.0);
                }
            }
        }
        loads.turnover.close();
        let limit = if loads.gated { f64::INFINITY } else { loads.limit };
        loads.room = loads.turnover.room(limit - loads.inside as f64, dt);
        let mix = self.copies_of(index);
        let service = &mut self.services[index];
        if let Some(mix) = mix {
            let nowhere = service.classes.nowhere;
            service.tiers[0].fill(tick, &mix, nowhere);
        }
    }

    /// Which entries were copied into instances' memory in this tick.
    fn copies_of(&mut self, index: usize) -> Option<Vec<f64>> {
        let service = &mut self.services[index];
        let copied = service.loads.take_copied();
        if copied.is_empty() {
            return None;
        }
        let keyed = &service.loads.keyed;
        let mut mix = vec![0.0; service.classes.len()];
        for (client, count) in copied.iter().enumerate() {
            let weights = &self.clients[client].weights;
            let there = |class: usize| weights[class] * (keyed.first[class] - keyed.all[class]).max(0.0);
            let total: f64 = (0..weights.len()).map(there).sum();
            if total > 0.0 {
                for (class, sum) in mix.iter_mut().enumerate() {
                    *sum += there(class) / total * *count as f64;
                }
            }
        }
        Some(mix)
    }

    /// The results of loads that have ended are shared for a while; who comes now joins no longer.
    pub(super) fn end_flights(&mut self, index: usize, mix: &[f64], share: f64, ok: bool) {
        let (tick, dt) = (self.tick, self.dt);
        let loads = &mut self.services[index].loads;
        if !loads.tracks {
            return;
        }
        for (flights, count) in loads.flights.iter_mut().zip(mix) {
            *flights = (*flights - count * share).max(0.0);
        }
        if ok && loads.window > 0.0 {
            let ends = tick + (loads.window / dt) as u32;
            if loads.shared_ends.back().is_none_or(|(end, _)| *end != ends) {
                loads.shared_ends.push_back((ends, vec![0.0; mix.len()]));
            }
            if let Some((_, counts)) = loads.shared_ends.back_mut() {
                for ((counts, shared), count) in counts.iter_mut().zip(&mut loads.shared).zip(mix) {
                    *counts += count * share;
                    *shared += count * share;
                }
            }
        }
    }

    /// A number of waiters that is a share of so many, on average.
    pub(super) fn share_of(&mut self, count: u64, share: f64) -> u64 {
        about(count as f64 * share.clamp(0.0, 1.0), &mut self.rng).min(count)
    }
}

/// The share of things that is taken when so many draws fall on each of them on average.
fn taken(draws: f64) -> f64 {
    if draws < 0.02 {
        draws * (1.0 - draws * (0.5 - draws / 6.0))
    } else {
        -libm::expm1(-draws)
    }
}

fn sum_of(counts: &[f64]) -> f64 {
    counts.iter().sum::<f64>().max(1e-12)
}

/// Adds so many loads, which fall on classes as `part` says, to two counts.
fn add_mix(mix: &mut [f64], also: &mut [f64], part: impl Fn(usize) -> f64, count: u64) {
    let total: f64 = (0..mix.len()).map(&part).sum();
    if count == 0 || total <= 0.0 {
        return;
    }
    let each = count as f64 / total;
    for (class, (mix, also)) in mix.iter_mut().zip(also).enumerate() {
        let count = part(class) * each;
        *mix += count;
        *also += count;
    }
}
