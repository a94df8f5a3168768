//! Whole calls, the short way.
//!
//! Most calls are answered by a healthy cache for a service that has room, and nothing else in the world sees them.
//! Where everything on the way of a client's calls is like that, hits are played in one loop up to the next thing that
//! happens; and where no policy is on and the database gives every query its own time, a miss is one event or two
//! instead of a dozen calls. The short way makes the same draws and the same counts as the long way; what does not fit
//! is left to that, untouched. No short miss is under way when something of the timeline happens.

use seawall_core::balance::Strategy;
use seawall_core::dist::Dist;
use seawall_core::time::{Span, Time};

use crate::agenda::Lane;
use crate::clients::AHEAD;
use crate::services::SOON;
use crate::slab::Ticket;
use crate::world::{Event, Target, World};

/// A client's way to a cache on which nothing is in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    service: usize,
    cache: usize,
    /// How long a hit takes for the client.
    took: Span,
    miss: Option<MissWay>,
}

/// The way of a miss.
#[derive(Clone, Copy, Debug)]
struct MissWay {
    database: usize,
    /// How long the look-up takes.
    look: Span,
    /// What an answer takes beyond that and the query.
    lag: Span,
    /// A miss that begins from here on may not be over when something happens.
    until: Time,
    /// Where ends are lined up, when all queries take the same time.
    lane: Option<Lane>,
}

/// A miss on the short way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss {
    client: u16,
    instance: u16,
    /// The database's node.
    node: u16,
    key: u64,
    born: Time,
    asked: Time,
}

/// Why a stroll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The client's next call comes at the horizon or later.
    Horizon,
    /// The client's next call does not fit.
    Other,
}

fn fixed(dist: Option<&Dist>) -> Option<Span> {
    match dist {
        None => Some(Span::ZERO),
        Some(Dist::Fixed(span)) => Some(*span),
        Some(_) => None,
    }
}

impl World {
    /// Finds out anew which clients have a plain way. To be called whenever something else than a call has happened.
    pub(crate) fn survey(&mut self) {
        self.surveyed = true;
        let now = self.now;
        self.upsets.retain(|at| *at > now);
        for index in 0..self.clients.len() {
            self.ways[index] = self.way(index);
        }
        if self.elided.is_some() {
            self.doze();
        }
    }

    fn way(&self, index: usize) -> Option<Way> {
        let client = &self.clients[index];
        let reads_only =
            client.writes <= 0.0 && client.hot <= 0.0 && client.missing <= 0.0 && client.penetration <= 0.0;
        let mut lag = Span::ZERO;
        if let Some(gateway) = client.gateway {
            let door = &self.gateways[gateway as usize];
            if door.gate.is_guarded() || door.concurrency.is_some() {
                return None;
            }
            lag = fixed(door.latency.as_ref())?;
        }
        let service = &self.services[client.service as usize];
        lag += fixed(service.latency.as_ref())? + service.far;
        let cache = service.plain_cache(self.now)?;
        let (tier, work) = (&self.caches[cache], fixed(service.work.as_ref())?);
        let look = fixed(tier.latency.as_ref())?;
        let held = look + service.stretched(work);
        let took = held + lag;
        let at_once = look <= SOON && took <= SOON && client.timeout.is_none_or(|timeout| took <= timeout);
        let guards = || {
            let deadline = if service.cancels { client.timeout } else { None };
            let plain = |guard: &seawall_core::guard::Guard| guard.takes_plain_hits(look, deadline);
            service
                .instances
                .iter()
                .all(|instance| instance.up && plain(&instance.guard))
        };
        let plain = reads_only && at_once && tier.sound && !tier.renewed_by_hits && guards();
        plain.then(|| Way {
            service: client.service as usize,
            cache,
            took,
            miss: self.miss_way(index, look, lag),
        })
    }

    /// The way of a miss, for a client whose hits are plain.
    fn miss_way(&self, index: usize, look: Span, lag: Span) -> Option<MissWay> {
        let client = &self.clients[index];
        let service = &self.services[client.service as usize];
        let Some(Target::Database(database)) = service.origin else {
            return None;
        };
        let most = self.databases[database as usize].plain_time()?;
        let whole = look + most + lag;
        // A door that watches the database wants to know how old its queries are.
        let watched = self.gateways.iter().any(|gateway| gateway.gate.is_guarded())
            || self.services.iter().any(|service| service.gated);
        let plain = service.work.is_none()
            && !watched
            && client.timeout.is_none_or(|timeout| whole < timeout)
            && service
                .instances
                .iter()
                .all(|instance| instance.guard.takes_plain_misses());
        let upset = self.upsets.iter().min().copied().unwrap_or(Time::NEVER);
        let until = if upset == Time::NEVER {
            Time::NEVER
        } else {
            Time::ZERO + upset.since(Time::ZERO + whole)
        };
        let fixed = matches!(self.databases[database as usize].service_time, Dist::Fixed(_));
        plain.then_some(MissWay {
            database: database as usize,
            look,
            lag,
            until,
            lane: fixed.then_some(self.landings[database as usize]),
        })
    }

    /// Plays a client's calls before `horizon` for as long as they fit.
    pub(crate) fn stroll(&mut self, index: usize, way: Way, mut horizon: Time) -> Stop {
        let mut taken = 0;
        let stop = loop {
            let client = &mut self.clients[index];
            if client.next >= horizon {
                break Stop::Horizon;
            }
            if client.at == AHEAD {
                self.draw_ahead(index);
            }
            let client = &mut self.clients[index];
            let (now, key) = (client.next, client.drawn[client.at]);
            let service = &mut self.services[way.service];
            let turn = service.next_turn();
            let instance = &mut service.instances[turn];
            let node = instance.guard.node(0, key);
            let store = &mut self.caches[way.cache].nodes[node as usize].store;
            let slot = store.lookup(now, key);
            let is_missing = slot.is_none();
            let hit = slot.is_some_and(|slot| {
                let rng = &mut instance.rng;
                instance.guard.plain_hit(now, rng, key, &slot.record)
            });
            let miss = way.miss.filter(|miss| is_missing && now < miss.until);
            if !hit && miss.is_none() {
                break Stop::Other;
            }
            instance.served += 1;
            service.turn = turn;
            client.at += 1;
            client.next = client.arrivals.next(&mut client.arrivals_rng);
            self.now = now;
            if let Some(miss) = miss {
                self.set_out(index, way, &miss, turn, key);
                horizon = horizon.min(self.agenda.peek().unwrap_or(Time::NEVER));
                self.requests += 1;
                let in_flight = self.calls.len() + 2 * self.misses.len();
                self.in_flight_max = self.in_flight_max.max(in_flight as u64);
            } else {
                taken += 1;
            }
        };
        if taken > 0 {
            self.requests += taken;
            let client = &self.clients[index];
            let amount = taken as f64;
            self.meter.add(self.caches[way.cache].hits, amount);
            self.meter.add(client.fresh(), amount);
            self.meter.add(client.goodput, amount);
            self.meter.time_many(client.took, way.took, taken);
            self.in_flight_max = self.in_flight_max.max(self.calls.len() as u64);
        }
        stop
    }

    /// Plays one call now if it is a miss that fits.
    pub(crate) fn play_miss(&mut self, index: usize, key: u64) -> bool {
        let now = self.now;
        let Some(way) = self.ways[index] else { return false };
        let Some(miss) = way.miss.filter(|miss| now < miss.until) else {
            return false;
        };
        let service = &mut self.services[way.service];
        let turn = service.next_turn();
        let instance = &mut service.instances[turn];
        let node = instance.guard.node(0, key);
        if self.caches[way.cache].nodes[node as usize]
            .store
            .lookup(now, key)
            .is_some()
        {
            return false;
        }
        instance.served += 1;
        service.turn = turn;
        self.set_out(index, way, &miss, turn, key);
        let in_flight = self.calls.len() + 2 * self.misses.len();
        self.in_flight_max = self.in_flight_max.max(in_flight as u64);
        true
    }

    /// A miss sets out: its thread is taken, and the cache says that it has nothing.
    fn set_out(&mut self, index: usize, way: Way, miss: &MissWay, turn: usize, key: u64) {
        let now = self.now;
        let service = &mut self.services[way.service];
        service.in_progress += 1;
        service.instances[turn].busy += 1;
        self.meter.count(self.caches[way.cache].misses);
        let (client, instance) = (index as u16, turn as u16);
        if miss.look.is_zero() {
            self.ask(client, instance, key, now, miss);
        } else {
            let id = self.misses.insert(Miss {
                client,
                instance,
                node: 0,
                key,
                born: now,
                asked: now,
            });
            self.agenda.push(now + miss.look, Event::Ask(id));
        }
    }

    /// The cache has told a short miss that it has nothing.
    pub(crate) fn asks(&mut self, id: Ticket) {
        let Some(call) = self.misses.remove(id) else {
            return;
        };
        if let Some(Way { miss: Some(miss), .. }) = self.ways[call.client as usize] {
            self.ask(call.client, call.instance, call.key, call.born, &miss);
        } else {
            debug_assert!(false, "a way changed under a short miss");
        }
    }

    /// A miss asks the origin. Its parts come one by one: a call that is made in one place and copied at once waits for
    /// all that was written before it.
    #[inline]
    fn ask(&mut self, client: u16, instance: u16, key: u64, born: Time, miss: &MissWay) {
        let now = self.now;
        let service = self.clients[client as usize].service as usize;
        self.services[service].instances[instance as usize]
            .guard
            .plain_miss();
        let database = &mut self.databases[miss.database];
        self.meter.count(database.meters.requests);
        let node = database.route(key, true).unwrap_or(0);
        let at = &mut database.nodes[node as usize];
        at.plain += 1;
        self.meter.count(at.requests);
        let time = database.service_time.draw(&mut database.rng);
        let id = self.misses.insert(Miss {
            client,
            instance,
            node,
            key,
            born,
            asked: now,
        });
        match miss.lane {
            Some(lane) => self.agenda.push_lane(lane, now + time, Event::Land(id)),
            None => self.agenda.push(now + time, Event::Land(id)),
        }
    }

    /// The origin has answered a short miss: it is answered, and what it brought is stored.
    pub(crate) fn lands(&mut self, id: Ticket) {
        let now = self.now;
        let Some(call) = self.misses.remove(id) else {
            return;
        };
        let Some(Way {
            service: index,
            cache,
            miss: Some(miss),
            ..
        }) = self.ways[call.client as usize]
        else {
            debug_assert!(false, "a way changed under a short miss");
            return;
        };
        let database = &mut self.databases[miss.database];
        database.nodes[call.node as usize].plain -= 1;
        self.meter.time(database.meters.took, now.since(call.asked));
        let version = database.version(call.key);
        let service = &mut self.services[index];
        service.in_progress -= 1;
        let instance = &mut service.instances[call.instance as usize];
        instance.busy -= 1;
        let client = &self.clients[call.client as usize];
        self.meter.count(client.fresh());
        self.meter.count(client.goodput);
        self.meter.time(client.took, (now + miss.lag).since(call.born));
        let (guard, rng) = (&mut instance.guard, &mut instance.rng);
        if let Some((entry, keep)) = guard.plain_load(now, rng, call.key, client.class, call.asked, version) {
            let node = guard.node(0, call.key);
            // The cache is sound, so it takes time only to say no, and then nobody waits.
            let _ = self.caches[cache].put(now, node, call.key, keep, entry, Span::MAX, &mut self.meter);
        }
    }
}

impl crate::services::ServiceSim {
    /// The first cache, when a hit in it is all that a call to this service would see.
    fn plain_cache(&self, now: Time) -> Option<usize> {
        let open = !self.gated && self.reachable && self.also.is_empty();
        let roomy = self.threads.is_none() && self.trips.is_none() && now >= self.tripped_until;
        let steady = self.leak.is_none() && self.availability >= 1.0;
        let one = self.copies == 1 && self.strategy == Strategy::RoundRobin;
        let shared = self
            .first_shared
            .filter(|cache| self.tiers.first() == Some(cache));
        shared.filter(|_| open && roomy && steady && one)
    }

    /// Whose turn is next, when all instances are up.
    #[inline]
    fn next_turn(&self) -> usize {
        if self.turn + 1 >= self.instances.len() {
            0
        } else {
            self.turn + 1
        }
    }
}
