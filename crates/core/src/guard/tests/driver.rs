//! A tiny world for one guard: stores and an origin with scripted latencies and faults, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::policies::Policies;
use crate::ring::Sharding;
use crate::rng::Seed;

pub(super) fn at(millis: u64) -> Time {
    Time::ZERO + ms(millis)
}

pub(super) fn ms(millis: u64) -> Span {
    Span::millis(millis)
}

pub(super) fn tier() -> Tier {
    Tier {
        nodes: 1,
        local: false,
        shared: true,
        ttl: Span::secs(60),
        timeout: ms(500),
        sharding: Sharding::Modulo,
    }
}

pub(super) fn local() -> Tier {
    Tier {
        local: true,
        shared: false,
        ttl: Span::secs(5),
        timeout: Span::MAX,
        ..tier()
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Lookup {
        token: u32,
        tier: u8,
        fault: Option<CacheFault>,
    },
    Due {
        token: u32,
        until: Time,
    },
    Write {
        token: u32,
    },
    Load {
        id: LoadId,
        reply: LoadReply,
    },
    Look {
        id: LoadId,
        tier: u8,
        key: u64,
    },
    Store {
        id: LoadId,
        tier: u8,
        key: u64,
        entry: Entry,
    },
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) guard: Guard,
    pub(super) now: Time,
    pub(super) rng: Stream,
    agenda: BTreeMap<(Time, u64), Event>,
    serial: u64,
    pub(super) requests: BTreeMap<u32, Request>,
    waits: BTreeMap<u32, Time>,
    pub(super) outcomes: BTreeMap<u32, (Time, Outcome)>,
    /// Per tier: what it holds.
    pub(super) stores: Vec<BTreeMap<u64, Entry>>,
    pub(super) cache_latency: Vec<Span>,
    pub(super) cache_fault: Vec<Option<CacheFault>>,
    pub(super) invalidation_latency: Span,
    pub(super) versions: BTreeMap<u64, u64>,
    pub(super) absent: BTreeSet<u64>,
    pub(super) life: Life,
    pub(super) origin_latency: Span,
    pub(super) origin_fault: Option<OriginFault>,
    /// Whether another process holds the lease on a key.
    pub(super) leased_elsewhere: BTreeSet<u64>,
    pub(super) given_back: Vec<u64>,
    pub(super) fetches: Vec<(Time, u64)>,
    pub(super) lookups: Vec<(Time, u8, u16)>,
    pub(super) stored: Vec<(Time, u8, u64, u64)>,
    pub(super) cancelled: Vec<(Time, LoadId)>,
    pub(super) fills: usize,
    pub(super) inside: usize,
    pub(super) inside_max: usize,
}

impl World {
    pub(super) fn new(tiers: Vec<Tier>, policies: Policies) -> World {
        let count = tiers.len();
        let setup = Setup {
            tiers,
            instances: 1,
            policies,
        };
        World {
            guard: Guard::new(Time::ZERO, &setup),
            now: Time::ZERO,
            rng: Seed(1).stream("guard", 0),
            agenda: BTreeMap::new(),
            serial: 0,
            requests: BTreeMap::new(),
            waits: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            stores: vec![BTreeMap::new(); count],
            cache_latency: vec![ms(1); count],
            cache_fault: vec![None; count],
            invalidation_latency: Span::ZERO,
            versions: BTreeMap::new(),
            absent: BTreeSet::new(),
            life: Life::Class,
            origin_latency: ms(100),
            origin_fault: None,
            leased_elsewhere: BTreeSet::new(),
            given_back: Vec::new(),
            fetches: Vec::new(),
            lookups: Vec::new(),
            stored: Vec::new(),
            cancelled: Vec::new(),
            fills: 0,
            inside: 0,
            inside_max: 0,
        }
    }

    /// Begins a call now.
    pub(super) fn call(&mut self, token: u32, call: &Call) {
        let mut request = Request::new(token, call);
        let step = self.guard.begin(self.now, &mut self.rng, &mut request);
        self.requests.insert(token, request);
        self.perform(token, step);
    }

    pub(super) fn read(&mut self, token: u32, key: u64) {
        self.call(token, &Call::read(key));
    }

    pub(super) fn abandon(&mut self, token: u32) {
        let request = self.requests.remove(&token).expect("it is under way");
        self.waits.remove(&token);
        self.guard.abandon(self.now, request);
        self.effects();
    }

    pub(super) fn purge(&mut self, key: u64) {
        self.guard.purge(self.now, key);
        self.effects();
    }

    /// An entry as a store would hold it.
    pub(super) fn put(&mut self, tier: usize, key: u64, version: u64, fresh_until: Time) {
        let entry = Entry {
            stored: self.now,
            fresh_until,
            refresh_at: fresh_until,
            cost: ms(100),
            version,
            negative: false,
            intact: true,
        };
        self.stores[tier].insert(key, entry);
    }

    /// How a request ended.
    pub(super) fn outcome(&self, token: u32) -> Outcome {
        self.ended(token).1
    }

    pub(super) fn ended(&self, token: u32) -> (Time, Outcome) {
        *self
            .outcomes
            .get(&token)
            .unwrap_or_else(|| panic!("request {token} has not ended"))
    }

    /// Lets everything happen up to this instant.
    pub(super) fn run(&mut self, until: Time) {
        loop {
            let wake = self.guard.next_wake().max(self.now);
            let next = self
                .agenda
                .first_key_value()
                .map_or(Time::NEVER, |((time, _), _)| *time);
            if wake.min(next) > until {
                break;
            }
            if wake <= next {
                self.now = wake;
                self.guard.wake(self.now, &mut self.rng);
                self.effects();
            } else if let Some(((time, _), event)) = self.agenda.pop_first() {
                self.now = time;
                self.happen(event);
            }
            self.guard.invariants();
        }
        self.now = until;
    }

    /// Nothing may be left when all is quiet.
    pub(super) fn assert_quiet(&self) {
        assert_eq!(self.guard.requests(), 0, "every request has ended");
        assert_eq!(self.guard.loads(), 0, "every load has ended");
        assert_eq!(self.guard.in_flight(), 0, "every place was given back");
        assert_eq!(self.guard.queued(), 0, "nobody stands in line");
        self.guard.invariants();
    }

    fn schedule(&mut self, at: Time, event: Event) {
        if at != Time::NEVER {
            self.serial += 1;
            self.agenda.insert((at.max(self.now), self.serial), event);
        }
    }

    fn perform(&mut self, token: u32, step: Step) {
        self.waits.remove(&token);
        match step {
            Step::Lookup { tier, node, timeout } => {
                self.lookups.push((self.now, tier, node));
                let latency = self.cache_latency[tier as usize];
                let fault = (latency >= timeout).then_some(CacheFault::TimedOut);
                let at = self.now + latency.min(timeout);
                self.schedule(at, Event::Lookup { token, tier, fault });
            }
            Step::Wait { until } => {
                assert!(until > self.now, "a wait takes time");
                self.waits.insert(token, until);
                self.schedule(until, Event::Due { token, until });
            }
            Step::Write { .. } => {
                self.enter();
                self.schedule(self.now + self.origin_latency, Event::Write { token });
            }
            Step::Done(outcome) => {
                self.requests.remove(&token);
                let before = self.outcomes.insert(token, (self.now, outcome));
                assert_eq!(before, None, "a request ends once");
            }
        }
        self.effects();
    }

    fn effects(&mut self) {
        while let Some(effect) = self.guard.poll() {
            match effect {
                Effect::Wake(token) => self.resume(token, Reply::Woken),
                Effect::Launch(id) => self.drive(id, LoadReply::Launched),
                Effect::Cancel(id) => self.cancelled.push((self.now, id)),
                Effect::Fill { tier, key, entry, .. } => {
                    self.fills += 1;
                    self.stores[tier as usize].insert(key, entry);
                }
                Effect::Invalidate {
                    tier, key, version, ..
                } => {
                    // A slow one is simply lost here.
                    if self.invalidation_latency.is_zero()
                        && self.stores[tier as usize]
                            .get(&key)
                            .is_some_and(|held| held.version < version)
                    {
                        self.stores[tier as usize].remove(&key);
                    }
                }
                Effect::GiveBack { key, .. } => self.given_back.push(key),
            }
        }
    }

    fn resume(&mut self, token: u32, reply: Reply) {
        let Some(mut request) = self.requests.get(&token).copied() else {
            return;
        };
        let step = self.guard.resume(self.now, &mut self.rng, &mut request, reply);
        self.requests.insert(token, request);
        self.perform(token, step);
    }

    fn drive(&mut self, id: LoadId, reply: LoadReply) {
        let step = self.guard.load(self.now, &mut self.rng, id, reply);
        let now = self.now;
        match step {
            LoadStep::Fetch { key, timeout } => self.fetch(id, key, timeout),
            LoadStep::Pause { until } => self.schedule(
                until,
                Event::Load {
                    id,
                    reply: LoadReply::Due,
                },
            ),
            LoadStep::Store { tier, key, entry, .. } => {
                let latency = self.cache_latency[tier as usize].min(ms(500));
                self.schedule(now + latency, Event::Store { id, tier, key, entry });
            }
            LoadStep::Lease { key, .. } => {
                let reply = LoadReply::Leased(!self.leased_elsewhere.contains(&key));
                self.schedule(now + ms(1), Event::Load { id, reply });
            }
            LoadStep::Look { tier, key, .. } => self.schedule(now + ms(1), Event::Look { id, tier, key }),
            LoadStep::Parked | LoadStep::Done => {}
        }
        self.effects();
    }

    fn fetch(&mut self, id: LoadId, key: u64, timeout: Span) {
        self.enter();
        self.fetches.push((self.now, key));
        let version = self.versions.get(&key).copied().unwrap_or(1);
        let took = self.origin_latency.min(timeout);
        let reply = match self.origin_fault {
            _ if self.origin_latency >= timeout => LoadReply::FetchFailed(OriginFault::TimedOut),
            Some(fault) => LoadReply::FetchFailed(fault),
            None => LoadReply::Fetched {
                version,
                negative: self.absent.contains(&key),
                took,
                life: self.life,
            },
        };
        self.schedule(self.now + took, Event::Load { id, reply });
    }

    fn enter(&mut self) {
        self.inside += 1;
        self.inside_max = self.inside_max.max(self.inside);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Lookup { token, tier, fault } => {
                let Some(request) = self.requests.get(&token) else {
                    return;
                };
                let held = self.stores[tier as usize].get(&request.key()).copied();
                let reply = match (fault.or(self.cache_fault[tier as usize]), held) {
                    (Some(fault), _) => Reply::CacheFailed(fault),
                    (None, Some(entry)) => Reply::Found(entry),
                    (None, None) => Reply::Missing,
                };
                self.resume(token, reply);
            }
            Event::Due { token, until } => {
                if self.waits.get(&token) == Some(&until) {
                    self.resume(token, Reply::Due);
                }
            }
            Event::Write { token } => {
                self.inside -= 1;
                let Some(request) = self.requests.get(&token) else {
                    return;
                };
                let version = self.versions.entry(request.key()).or_insert(1);
                *version += 1;
                let reply = match self.origin_fault {
                    Some(fault) => Reply::WriteFailed(fault),
                    None => Reply::Written { version: *version },
                };
                self.resume(token, reply);
            }
            Event::Load { id, reply } => {
                if matches!(reply, LoadReply::Fetched { .. } | LoadReply::FetchFailed(_)) {
                    self.inside -= 1;
                }
                if !self.cancelled.iter().any(|(_, cancelled)| *cancelled == id) {
                    self.drive(id, reply);
                }
            }
            Event::Look { id, tier, key } => {
                let held = self.stores[tier as usize].get(&key).copied();
                self.drive(id, held.map_or(LoadReply::Missing, LoadReply::Found));
            }
            Event::Store { id, tier, key, entry } => {
                let fault = self.cache_fault[tier as usize];
                if fault.is_none() {
                    self.stored.push((self.now, tier, key, entry.version));
                    self.stores[tier as usize].insert(key, entry);
                }
                self.drive(id, LoadReply::Stored(fault.map_or(Ok(()), Err)));
            }
        }
    }
}
