//! Whole hits, the short way.
//!
//! Most calls are answered by a healthy cache for a service that has room, and nothing else in the world sees them.
//! Where everything on the way of a client's calls is like that, they are played in one loop up to the next thing that
//! happens. It does what the long way would do, to the byte: the same draws, the same counts; what is not a whole hit
//! is left to the long way, untouched.

use seawall_core::balance::Strategy;
use seawall_core::dist::Dist;
use seawall_core::time::{Span, Time};

use crate::clients::AHEAD;
use crate::services::SOON;
use crate::world::World;

/// A client's way to a cache on which nothing is in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    service: usize,
    cache: usize,
    /// How long a hit takes for the client.
    took: Span,
}

/// Why a stroll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The client's next call comes at the horizon or later.
    Horizon,
    /// The client's next call is not a whole hit.
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
        for index in 0..self.clients.len() {
            self.ways[index] = self.way(index);
        }
    }

    fn way(&self, client: usize) -> Option<Way> {
        let client = &self.clients[client];
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
        plain.then_some(Way {
            service: client.service as usize,
            cache,
            took,
        })
    }

    /// Plays a client's calls before `horizon` for as long as they are whole hits.
    pub(crate) fn stroll(&mut self, index: usize, way: Way, horizon: Time) -> Stop {
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
            let Some(slot) = store.lookup(now, key) else {
                break Stop::Other;
            };
            if !instance.guard.plain_hit(now, key, &slot.record) {
                break Stop::Other;
            }
            instance.served += 1;
            service.turn = turn;
            client.at += 1;
            client.next = client.arrivals.next(&mut client.arrivals_rng);
            self.now = now;
            taken += 1;
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
