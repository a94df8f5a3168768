//! The tiers of a service: what they hold, how their nodes fare, and how likely a look-up finds nothing.

use seawall_core::dist::Dist;
use seawall_core::guard::CacheFault;
use seawall_core::link::Link;
use seawall_core::policies::Policies;
use seawall_core::record::Metric;
use seawall_core::ring::Placement;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_core::ttl::{self, Class, Jitter};
use seawall_scenario::{Action, Cache, CacheKind, Client, Fault, Keys, Knob, Place, Setting, What};

use super::classes::{Classes, Groups};
use super::law::Law;
use super::nodes::Nodes;
use super::panel::Panel;
use super::renewal::Due;
use super::shelf::{Life, Shelf};
use crate::meter::{Counter, Meter};
use crate::plan::Plan;

/// Points of each node on a hash ring, as in the exact engine.
const VNODES: u16 = 160;
/// A caller that waits for ever for a node that never answers gives up after this time, as TCP does.
const PATIENCE: f64 = 60.0;
/// Ticks between two looks at whether a cache is full.
pub(super) const EVICT_EVERY: u32 = 8;
/// Ticks between two looks at what is stale.
pub(super) const STALE_EVERY: u32 = 8;
/// Steps towards the time after which they are pushed out.
pub(super) const EVICT_STEPS: u32 = 12;

/// A cache, as a service uses it.
pub(super) struct Tier {
    pub(super) cache: usize,
    pub(super) local: bool,
    pub(super) written: Cache,
    pub(super) groups: Groups,
    pub(super) nodes: Vec<Nodes>,
    pub(super) shelf: Shelf,
    /// What may be served while it is refreshed, and what may be served when that fails.
    pub(super) stale: Option<[Shelf; 2]>,
    /// What has expired since the stale ones were last looked at, and the share of the missing that was filled.
    pub(super) gone_stale: Vec<f64>,
    /// What is due for its refresh, where entries are refreshed ahead of their end.
    pub(super) due: Option<Due>,
    pub(super) refilled: Vec<f64>,
    pub(super) panels: Vec<Panel>,
    pub(super) latency: Law,
    /// Seconds that a look-up may take.
    pub(super) timeout: f64,
    pub(super) never_stored: bool,
    pub(super) ttl_ignored: bool,
    /// How long entries live: a life, and the share of each class that has it.
    pub(super) lives: Vec<(Life, Vec<f64>)>,
    pub(super) negative: Option<Life>,
    /// Instances that each have a cache of their own.
    pub(super) copies: f64,
    pub(super) life_max: f64,
    pub(super) dt: f64,
    pub(super) evicted: f64,
    /// For how long what is pushed out has not been asked for, in seconds.
    pub(super) idle: f64,
    pub(super) rng: Stream,
    pub(super) seed: Seed,
    pub(super) entity: u64,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) sets: Counter,
    pub(super) invalidations: Counter,
    pub(super) evictions: Counter,
    pub(super) entries: Counter,
    pub(super) node_entries: Vec<Counter>,
    pub(super) errors: [Counter; CacheFault::ALL.len()],
}

fn clients_of(plan: &Plan, service: usize) -> impl Iterator<Item = &Client> {
    let clients = plan.scenario.clients.iter();
    clients.filter(move |client| plan.scenario.served_by(client) == Place::Service(service))
}

/// The sets of nodes of a cache that the timeline tells apart.
fn groups_of(plan: &Plan, cache: usize) -> Groups {
    let count = plan.scenario.caches[cache].nodes as usize;
    let events = plan.scenario.timeline.iter();
    let sets: Vec<Vec<u32>> = events
        .filter(|event| event.on == Some(Place::Cache(cache)))
        .filter_map(|event| event.nodes.clone())
        .collect();
    if sets.is_empty() {
        Groups::one(count)
    } else {
        Groups::of(count, &sets)
    }
}

/// The classes of the keys that a service is asked for.
pub(super) fn classes_of(plan: &Plan, service: usize) -> Classes {
    let mut laws: Vec<Keys> = clients_of(plan, service).map(|client| client.keys).collect();
    let hot = plan
        .scenario
        .timeline
        .iter()
        .any(|event| matches!(event.what, What::Fault(Fault::HotKey { .. })));
    let shared = plan.scenario.services[service]
        .caches
        .iter()
        .find(|cache| plan.scenario.caches[**cache].kind == CacheKind::Shared);
    if laws.is_empty() || plan.scenario.services[service].caches.is_empty() {
        laws = vec![Keys::Uniform { count: 1 }];
    }
    match shared {
        Some(cache) => {
            let written = &plan.scenario.caches[*cache];
            let groups = groups_of(plan, *cache);
            let placement = Placement::new(written.sharding, (written.nodes as u16).max(1), VNODES);
            Classes::of(&laws, hot, &groups, Some(&placement))
        }
        None => Classes::of(&laws, hot, &Groups::one(1), None),
    }
}

/// The longest life that an entry may ever have, in seconds, stale or not.
fn longest(plan: &Plan, cache: &Cache, played: &Policies) -> f64 {
    let mut spans: Vec<Span> = cache.ttl.into_iter().collect();
    let mut settle = |ttl: &ttl::Settings| {
        spans.extend(
            [ttl.ttl, ttl.critical, ttl.important, ttl.regular, ttl.negative]
                .into_iter()
                .flatten(),
        );
    };
    settle(&played.ttl);
    for event in &plan.scenario.timeline {
        match &event.what {
            What::Action(Action::Protect(list)) => list.iter().for_each(|protection| {
                if let Setting::Ttl(ttl) = &protection.setting {
                    settle(ttl);
                }
            }),
            What::Action(Action::Set(Knob::Ttl(ttl))) => settle(&ttl::Settings {
                ttl: Some(*ttl),
                ..ttl::Settings::default()
            }),
            What::Fault(Fault::ExpireAt { instant }) => settle(&ttl::Settings {
                ttl: Some(*instant),
                ..ttl::Settings::default()
            }),
            _ => {}
        }
    }
    let longest = spans.into_iter().filter(|span| *span != Span::MAX).max();
    longest.unwrap_or(Span::secs(1)).as_secs_f64()
}

impl Tier {
    #[expect(clippy::too_many_arguments, reason = "where it is, and what it is made of")]
    pub(super) fn new(
        plan: &Plan,
        service: usize,
        tier: usize,
        cache: usize,
        classes: &Classes,
        played: &Policies,
        seed: Seed,
        dt: f64,
        meter: &mut Meter,
    ) -> Tier {
        let written = plan.scenario.caches[cache].clone();
        let local = written.kind == CacheKind::Local;
        let groups = if local {
            Groups::one(1)
        } else {
            groups_of(plan, cache)
        };
        let copies = if local {
            (f64::from(plan.scenario.services[service].instances) * libm::round(plan.copies[service]))
                .max(1.0)
        } else {
            1.0
        };
        let keys: Vec<f64> = classes.keys.iter().map(|keys| keys * copies).collect();
        let life_max = longest(plan, &written, played) / dt + 2.0;
        let name = written.name.clone();
        let nodes = (0..groups.count)
            .map(|group| Nodes {
                count: groups.size(group) as f64,
                link: Link::pooled(Dist::Fixed(Span::ZERO)),
                says: None,
                writes_say: None,
                frozen_until: None,
                answers: true,
                slow: 1.0,
                far: 0.0,
                pieces: Vec::new(),
                writes: 1.0,
                arrives: 1.0,
                asked: 0.0,
                asked_now: 0.0,
                full: 0.0,
            })
            .collect();
        let entity = ((service as u64) << 8) | tier as u64;
        let mut sim = Tier {
            cache,
            local,
            nodes,
            shelf: Shelf::new(keys, life_max),
            stale: None,
            gone_stale: vec![0.0; classes.len()],
            due: None,
            refilled: vec![0.0; classes.len()],
            panels: Vec::new(),
            latency: Law::new(&written.latency),
            timeout: written.timeout.as_secs_f64(),
            never_stored: false,
            ttl_ignored: false,
            lives: Vec::new(),
            negative: None,
            copies,
            life_max,
            dt,
            evicted: 0.0,
            idle: 60.0,
            rng: seed.stream("cache", entity),
            seed,
            entity,
            hits: meter.counter(Metric::CacheHits, &name, None),
            misses: meter.counter(Metric::CacheMisses, &name, None),
            sets: meter.counter(Metric::CacheSets, &name, None),
            invalidations: meter.counter(Metric::CacheInvalidations, &name, None),
            evictions: meter.counter(Metric::CacheEvictions, &name, None),
            entries: meter.counter(Metric::CacheEntries, &name, None),
            node_entries: if local {
                Vec::new()
            } else {
                (0..written.nodes)
                    .map(|node| meter.counter_of(Metric::CacheEntries, &name, node))
                    .collect()
            },
            errors: CacheFault::ALL
                .map(|fault| meter.counter(Metric::CacheErrors, &name, Some(fault.name()))),
            groups,
            written,
        };
        sim.relive(plan, service, played);
        sim.reshape();
        sim
    }

    /// Takes other policies.
    pub(super) fn retune(&mut self, now: Time, played: &Policies, up: f64) {
        let own = self.written.timeout;
        let timeout = played.deadline.cache.map_or(own, |limit| limit.min(own));
        let total = played.deadline.total.unwrap_or(Span::MAX);
        self.timeout = timeout.min(total).as_secs_f64().min(PATIENCE);
        if !self.local {
            match (&played.breaker, self.panels.is_empty()) {
                (None, _) => self.panels.clear(),
                (Some(settings), true) => {
                    for group in 0..self.groups.count {
                        let rng = self.seed.stream("breakers", (self.entity << 8) | group as u64);
                        let real = up * self.nodes[group].count;
                        self.panels.push(Panel::new(settings, real, rng));
                    }
                }
                (Some(settings), false) => {
                    for (panel, nodes) in self.panels.iter_mut().zip(&self.nodes) {
                        panel.retune(now, settings);
                        panel.resize(up * nodes.count);
                    }
                }
            }
        }
        match &played.stale {
            None => self.stale = None,
            Some(settings) => {
                let ticks = |span: Span| {
                    let ticks = span.as_secs_f64() / self.dt / f64::from(STALE_EVERY);
                    (ticks + 2.0).min(1e8)
                };
                let bound = settings.while_revalidating.max(settings.on_error);
                let lives = [ticks(settings.while_revalidating), ticks(bound)];
                let same = |stale: &[Shelf; 2]| {
                    let pairs = stale.iter().zip(lives);
                    pairs
                        .into_iter()
                        .all(|(shelf, life)| (shelf.longest() - life.max(1.0)).abs() < 0.5)
                };
                // Bounds that change begin with nothing: what is stale already is forgotten.
                if !self.stale.as_ref().is_some_and(same) {
                    self.stale = Some(lives.map(|life| Shelf::new(self.shelf.keys.clone(), life)));
                }
            }
        }
        self.reshape();
    }

    /// Works out again how long entries live.
    pub(super) fn relive(&mut self, plan: &Plan, service: usize, played: &Policies) {
        let settings = &played.ttl;
        let ticks = |span: Span| {
            if span == Span::MAX {
                f64::INFINITY
            } else {
                span.as_secs_f64() / self.dt
            }
        };
        let life = |ttl: Option<Span>| {
            let Some(ttl) = ttl.filter(|ttl| *ttl != Span::MAX) else {
                return Life::FOREVER;
            };
            let cut = match settings.jitter {
                None => Span::ZERO,
                Some(Jitter::Share(share)) => ttl.scaled(share.clamp(0.0, 1.0)),
                Some(Jitter::Up(span)) => span.min(ttl),
            };
            Life {
                shortest: ticks(ttl.saturating_sub(cut)),
                longest: ticks(ttl),
            }
        };
        let of_class = |class: Class| {
            let own = match class {
                Class::Critical => settings.critical,
                Class::Important => settings.important,
                Class::Regular => settings.regular,
            };
            own.or(settings.ttl).or(self.written.ttl)
        };
        let mut lives: Vec<(Life, Vec<f64>)> = Vec::new();
        let classes = self.shelf.keys.len();
        let keys = classes_of(plan, service);
        let mut total = vec![0.0; classes];
        for client in clients_of(plan, service) {
            let life = life(of_class(client.class));
            let weights = keys.weights(&client.keys, 0.0, client.missing.max(1e-12));
            let rate = client.rate * (1.0 - client.writes);
            let at = lives
                .iter()
                .position(|(known, _)| *known == life)
                .unwrap_or_else(|| {
                    lives.push((life, vec![0.0; classes]));
                    lives.len() - 1
                });
            for class in 0..classes {
                lives[at].1[class] += rate * weights[class];
                total[class] += rate * weights[class];
            }
        }
        for (_, shares) in &mut lives {
            for class in 0..classes {
                shares[class] = if class == keys.nowhere {
                    0.0
                } else if total[class] > 0.0 {
                    shares[class] / total[class]
                } else {
                    0.0
                };
            }
        }
        if !self.local {
            Due::retune(&mut self.due, &self.shelf.keys, played, self.dt);
        }
        if let Some(due) = &self.due {
            let cut = |(life, shares): &(Life, Vec<f64>)| -> Vec<(Life, Vec<f64>)> {
                let parts = due.lives(*life).into_iter();
                parts
                    .map(|(life, part)| (life, shares.iter().map(|share| share * part).collect()))
                    .collect()
            };
            lives = lives.iter().flat_map(cut).collect();
        }
        self.negative = settings.negative.map(|negative| life(Some(negative)));
        self.lives = lives;
    }

    /// The share of nodes that answer.
    pub(super) fn up(&self) -> f64 {
        let all: f64 = self.nodes.iter().map(|nodes| nodes.count).sum();
        let up = self.nodes.iter().filter(|nodes| nodes.answers);
        up.map(|nodes| nodes.count).sum::<f64>() / all.max(1.0)
    }

    /// The longest life for which there is room, in ticks.
    pub(super) fn life_max(&self) -> f64 {
        self.life_max
    }
}
