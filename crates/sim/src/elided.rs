//! The elided engine: exact in law, and hits that nobody else sees are never played.
//!
//! The world is the same as that of the exact engine; only the source of calls differs. A key whose entry is fresh
//! sleeps: its calls would be hits, and hits that touch nothing are only counted. They are drawn in number when a
//! period ends, Poisson with the mean that the stretches of sleep give. A key that is awake asks as always, and its
//! calls go through the whole world. When something happens that may change what a hit meets, everybody is woken, and
//! until all is well again every call is played as in the exact engine.
//!
//! What is not exact to the call: at which instance of a round robin a call comes in follows from the number of hits
//! since the call before, and that number is drawn for itself.

mod crowd;
mod exposure;
mod latency;
mod pending;
mod reasons;
mod sleepers;

use seawall_core::balance::Strategy;
use seawall_core::draw;
use seawall_core::guard::Entry;
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};
use seawall_scenario::{Place, What};

pub(crate) use reasons::refusals;

use self::crowd::Hold;
use self::latency::{Late, Latency, longest};
use self::reasons::{Path, reasons};
use self::sleepers::{Asked, Mix, Sleepers};
use crate::services::SOON;
use crate::timeline::Provision;
use crate::world::{Event, World};

/// No reader looks further ahead than this many costs of a load (see [`seawall_core::early`]).
const AHEAD_MAX: f64 = 37.0;

/// Keys whose memory is read ahead of their calls.
const LOOK_AHEAD: usize = 32;

/// What has become of a key in a shared cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) key: u64,
    /// What was stored; nothing when the key was taken out.
    pub(crate) entry: Option<Entry>,
}

/// A client whose hits may be skipped.
pub(crate) struct Dozer {
    sleepers: Sleepers,
    latency: Latency,
    /// Hits that have been asked for and are counted when they end.
    late: Late,
    /// When keys were last lulled, and last roused.
    lulled: Time,
    roused: Time,
    /// How long a hit holds a thread.
    hold: Hold,
    /// What stands against it, until something changes: unknown at first.
    allowed: Option<bool>,
    /// The cache that it reads.
    cache: usize,
    /// No look-up that ends later than this before the end of an entry is sure to be a hit.
    look: Span,
}

/// What the engine remembers besides.
pub(crate) struct Elided {
    /// For each service, when its turn was last moved on, and what draws by how much.
    turns: Vec<(Time, Stream)>,
}

impl Dozer {
    /// Whether keys sleep.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.sleepers.on
    }

    /// Until when an entry can only be hit, and hits change nothing.
    fn until(ahead: f64, look: Span, entry: &Entry) -> Time {
        if !entry.intact {
            return Time::ZERO;
        }
        entry.fresh_until.min(entry.refresh_at) - entry.cost.scaled(ahead) - look
    }
}

impl World {
    /// Lets the hits of those clients be skipped for which that is right.
    pub(crate) fn elide(&mut self) {
        let run = &self.plan.scenario.run;
        let (end, every) = (Time::ZERO + run.warmup + run.duration, run.every);
        for index in 0..self.clients.len() {
            let path = self.path(index);
            if !reasons(&path).is_empty() {
                continue;
            }
            let service = self.clients[index].service as usize;
            let Some(cache) = self.services[service].first_shared else {
                continue;
            };
            self.caches[cache].news.get_or_insert_default();
            let rng = self.seed.stream("elided", index as u64);
            let bound = reasons::bound(&self.plan.scenario.clients[index].keys);
            self.clients[index].dozer = Some(Box::new(Dozer {
                sleepers: Sleepers::new(bound, end, every, self.periods, rng),
                latency: Latency::new([]),
                late: Late::default(),
                lulled: Time::ZERO,
                roused: Time::ZERO,
                hold: Hold::default(),
                allowed: None,
                cache,
                look: Span::ZERO,
            }));
        }
        let streams = (0..self.services.len() as u64).map(|index| self.seed.stream("elided turns", index));
        self.elided = Some(Elided {
            turns: streams.map(|stream| (Time::ZERO, stream)).collect(),
        });
        self.surveyed = false;
    }

    /// Lets keys sleep where all is well, and wakes them where it no longer is.
    pub(crate) fn doze(&mut self) {
        for index in 0..self.clients.len() {
            let Some(dozer) = &self.clients[index].dozer else {
                continue;
            };
            let (on, allowed) = (dozer.sleepers.on, dozer.allowed);
            let allowed = allowed.unwrap_or_else(|| reasons(&self.path(index)).is_empty());
            if let Some(dozer) = &mut self.clients[index].dozer {
                dozer.allowed = Some(allowed);
            }
            let path = (!on && allowed).then(|| self.path(index));
            if let (Some(path), Some(dozer)) = (&path, &mut self.clients[index].dozer) {
                dozer.hold = Hold::new(&path.parts()[..2]);
            }
            let well = allowed && self.is_calm(index) && self.is_roomy(self.clients[index].service, on);
            if let Some(path) = path.filter(|_| well) {
                self.lull(index, &path);
            } else if on && !well {
                self.rouse_client(index);
            }
        }
        self.watch_crowd();
    }

    fn lull(&mut self, index: usize, path: &Path) {
        let client = &mut self.clients[index];
        let Some(dozer) = &mut client.dozer else { return };
        let mix = Mix {
            writes: client.writes,
            nowhere: client.missing.max(client.penetration),
            hot: client.hot,
        };
        dozer.lulled = self.now;
        dozer.latency = Latency::new(path.parts());
        let early = path.at_service.early.as_ref();
        dozer.sleepers.ahead = early.map_or(0.0, |early| early.beta.max(0.0) * AHEAD_MAX);
        let look = path
            .caches
            .first()
            .map_or(Span::ZERO, |cache| longest(&cache.latency));
        dozer.look = if look > SOON { look } else { Span::ZERO };
        let (cache, ahead, look, now) = (
            &self.caches[dozer.cache],
            dozer.sleepers.ahead,
            dozer.look,
            self.now,
        );
        let until = |key: u64| {
            cache
                .held(now, key)
                .map_or(Time::ZERO, |entry| Dozer::until(ahead, look, entry))
        };
        dozer
            .sleepers
            .begin(now, &client.arrivals, &client.keys, mix, until);
        client.next = dozer.sleepers.next(&client.arrivals);
    }

    /// Something is about to happen that may change what a hit meets: wakes everybody.
    pub(crate) fn rouse(&mut self, event: &Event) {
        if self.elided.is_none() || self.is_elsewhere(event) {
            return;
        }
        for index in 0..self.clients.len() {
            if let Some(dozer) = &mut self.clients[index].dozer {
                dozer.allowed = None;
                self.rouse_client(index);
            }
        }
    }

    fn rouse_client(&mut self, index: usize) {
        if self.clients[index].dozes() {
            self.let_hold(index);
        }
        let client = &mut self.clients[index];
        if let Some(dozer) = &mut client.dozer
            && dozer.sleepers.on
        {
            dozer.sleepers.rouse(self.now, &client.arrivals);
            dozer.roused = self.now;
            client.next = client.arrivals.restart(self.now, &mut client.arrivals_rng);
        }
    }

    /// Whether an event is one of a database, which no hit meets.
    fn is_elsewhere(&self, event: &Event) -> bool {
        match event {
            Event::Begin(index) | Event::End(index) => {
                let event = &self.plan.scenario.timeline[*index as usize];
                matches!(
                    (event.on, &event.what),
                    (Some(Place::Database(_)), What::Fault(_))
                )
            }
            Event::Provided(index) => matches!(
                self.provisions[*index as usize],
                Provision::Replicas { .. } | Provision::Connections { .. } | Provision::Nodes { .. }
            ),
            _ => false,
        }
    }

    /// The next call of a client whose keys sleep.
    pub(crate) fn arrive_awake(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        let Some(dozer) = &mut client.dozer else { return };
        let asked = dozer.sleepers.take(now, &client.arrivals, &client.keys);
        client.next = dozer.sleepers.next(&client.arrivals);
        if let Some(soon) = dozer.sleepers.look_ahead::<LOOK_AHEAD>() {
            self.caches[dozer.cache].touch(&soon);
        }
        let (key, read) = match asked {
            Asked::Nothing => {
                self.requests -= 1;
                return;
            }
            Asked::Key(key) => (key, true),
            Asked::Rest { key, read } => (key, read),
        };
        self.move_turn(self.clients[index].service);
        if read && self.play_miss(index, key) {
            return;
        }
        self.issue(index, key, read, now, 0);
    }

    /// Moves the turn of a round robin on by the hits that came since it last moved.
    fn move_turn(&mut self, service: u16) {
        let now = self.now;
        let sim = &mut self.services[service as usize];
        let count = sim.instances.len();
        let Some(elided) = &mut self.elided else { return };
        if count == 1 || sim.strategy != Strategy::RoundRobin {
            return;
        }
        let (last, rng) = &mut elided.turns[service as usize];
        let mut mean = 0.0;
        for client in self.clients.iter().filter(|client| client.service == service) {
            if let Some(dozer) = client.dozer.as_ref().filter(|dozer| dozer.sleepers.on) {
                mean += dozer.sleepers.exposure.asleep(now) * client.arrivals.expected(*last, now);
            }
        }
        *last = now;
        sim.turn = (sim.turn + draw::poisson(mean, rng) as usize) % count;
    }

    /// Tells the sleepers what has been stored and taken out.
    pub(crate) fn hear(&mut self) {
        if self.crowded {
            self.thin_out();
        }
        for cache in 0..self.caches.len() {
            let Some(news) = self.caches[cache].news.as_mut().filter(|news| !news.is_empty()) else {
                continue;
            };
            let mut heard = std::mem::take(news);
            for client in &mut self.clients {
                let Some(dozer) = client.dozer.as_mut().filter(|dozer| dozer.cache == cache) else {
                    continue;
                };
                for News { key, entry } in &heard {
                    match entry {
                        Some(entry) => {
                            let until = Dozer::until(dozer.sleepers.ahead, dozer.look, entry);
                            dozer
                                .sleepers
                                .sleep(self.now, &client.arrivals, *key, entry.stored, until);
                        }
                        None => dozer.sleepers.wake(self.now, &client.arrivals, *key),
                    }
                }
                if dozer.sleepers.on {
                    client.next = dozer.sleepers.next(&client.arrivals);
                }
            }
            heard.clear();
            self.caches[cache].news = Some(heard);
        }
    }

    /// Counts the hits of the period that ends.
    pub(crate) fn count_hits(&mut self) {
        self.count_stretches();
        self.count_inside();
    }

    fn count_stretches(&mut self) {
        let every = self.plan.scenario.run.every;
        let begin = Time::from_nanos(self.now.as_nanos().saturating_sub(every.as_nanos()));
        for client in &mut self.clients {
            let fresh = client.fresh();
            let Some(dozer) = &mut client.dozer else { continue };
            let mean = dozer.sleepers.exposure.close(&client.arrivals);
            let hits = dozer.sleepers.number(mean);
            dozer.sleepers.elided += hits;
            self.requests += hits;
            self.meter.add(self.caches[dozer.cache].hits, hits as f64);
            let (meter, took, good) = (&mut self.meter, client.took, client.goodput);
            let mut count = |span, hits| {
                meter.add(fresh, hits as f64);
                meter.add(good, hits as f64);
                meter.time_many(took, span, hits);
            };
            dozer
                .late
                .next()
                .into_iter()
                .for_each(|(span, hits)| count(span, hits));
            let last = if dozer.sleepers.on {
                every
            } else {
                dozer.roused.since(begin)
            };
            let asked = (dozer.lulled.since(begin).min(last), last);
            let (late, latency) = (&mut dozer.late, &mut dozer.latency);
            latency.spread(hits, dozer.sleepers.rng(), |rng, span, hits| {
                // As in the exact engine, what is over soon is over at once.
                let now = if span > SOON {
                    late.keep((span, hits), asked, every, rng)
                } else {
                    hits
                };
                count(span, now);
            });
        }
    }

    /// How many calls were not played.
    pub(crate) fn elided_calls(&self) -> u64 {
        let dozers = self.clients.iter().filter_map(|client| client.dozer.as_ref());
        dozers.map(|dozer| dozer.sleepers.elided).sum()
    }
}
