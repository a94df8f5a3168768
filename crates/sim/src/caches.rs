//! Caches: nodes that answer after a while, hold entries, and break in many ways.
//!
//! A look-up reads the store at the instant it is asked and is answered after the node's latency. Which node is asked
//! is the guard's decision; what a broken node says is decided here.

use std::collections::{BTreeSet, VecDeque};

use seawall_core::dist::Dist;
use seawall_core::guard::{CacheFault, Entry, Reply};
use seawall_core::keymap::KeyMap;
use seawall_core::keys::MISSING;
use seawall_core::lease::{self, Grant, Leases, Token};
use seawall_core::link::{Delivery, Link};
use seawall_core::record::Metric;
use seawall_core::ring::Placement;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_core::ttl::{self, Class};
use seawall_scenario::{Cache, CacheKind, Client, Eviction, Keys, Place, Scenario};

use crate::clients::{keys_of, some_time};
use crate::elided::News;
use crate::meter::{Counter, Meter};
use crate::plan::Plan;
use crate::probes::NodeProbe;
use crate::services::SOON;
use crate::store::{Inserted, Settings, Store as Table};
use crate::world::World;

/// One cache node's entries.
pub(crate) type Store = Table<Entry>;

/// A caller that waits for ever for a node that never answers gives up after this time, as TCP does.
const PATIENCE: Span = Span::secs(60);

/// Points of each node on a hash ring, here and in the guard.
const VNODES: u16 = 160;

/// The most keys that a table by key number is made for, over all stores of a cache.
const DENSE_MAX: u64 = 1 << 24;

/// A cache.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the cache, and they combine freely"
)]
pub(crate) struct CacheSim {
    pub(crate) nodes: Vec<CacheNode>,
    placement: Placement,
    pub(crate) latency: Option<Dist>,
    pub(crate) ttl: Option<Span>,
    pub(crate) renewed_by_hits: bool,
    pub(crate) never_stored: bool,
    pub(crate) ttl_ignored: bool,
    answer_size: u64,
    /// How many keys there are.
    keys: u64,
    /// What has been stored and taken out, when somebody wants to know.
    pub(crate) news: Option<Vec<News>>,
    /// Nothing is wrong with any node.
    pub(crate) sound: bool,
    rng: Stream,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) sets: Counter,
    pub(crate) hot: Counter,
    invalidations: Counter,
    pub(crate) evictions: Counter,
    pub(crate) entries: Counter,
    errors: [Counter; CacheFault::ALL.len()],
}

/// A call of a node that brought no answer.
#[derive(Clone, Copy)]
struct Unanswered {
    fault: CacheFault,
    /// When the caller knows, or gives up.
    after: Span,
    /// It has arrived, only the answer comes too late: what was to be written is written.
    done: bool,
}

/// One node of a shared cache.
pub(crate) struct CacheNode {
    pub(crate) store: Store,
    pub(crate) link: Link,
    leases: Leases,
    tokens: KeyMap<Token>,
    pub(crate) says: Option<CacheFault>,
    /// Writes are answered with this.
    pub(crate) writes_say: Option<CacheFault>,
    pub(crate) frozen_until: Option<Time>,
    /// Since when its process stands still or holds all commands back.
    pub(crate) silent_since: Option<Time>,
    /// Since when it is busy with something else now and then: for how long each time, and how often.
    pub(crate) blocked: Option<(Time, Span, Span)>,
    /// Keys whose entries are of another type.
    pub(crate) foreign: BTreeSet<u64>,
    /// Look-ups reach it and come back.
    pub(crate) answers: bool,
    pub(crate) slow: f64,
    /// How much of its processor it has.
    pub(crate) processor: f64,
    /// What calls take longer because they go to a far region.
    pub(crate) far: Span,
    pub(crate) max_clients: Option<u32>,
    /// Look-ups under way, as the instants at which they end; kept when clients are limited.
    busy: VecDeque<Time>,
    pub(crate) entries: Counter,
    pub(crate) evicted: u64,
    /// When its process began.
    pub(crate) born: Time,
    pub(crate) probe: NodeProbe,
}

/// An empty store for one node of a cache, or for one local cache.
pub(crate) fn store_of(cache: &Cache, keys: Option<u64>) -> Store {
    let capacity = cache.entries_max().map(|entries| entries as usize);
    let dense_keys = keys.filter(|keys| *keys <= DENSE_MAX).unwrap_or(0);
    Table::new(Settings {
        capacity,
        evict: cache.eviction == Eviction::Lru,
        dense_keys,
    })
}

impl CacheNode {
    fn new(cache: &Cache, node: u32, keys: u64, meter: &mut Meter) -> CacheNode {
        CacheNode {
            store: store_of(cache, Some(keys)),
            link: Link::pooled(Dist::Fixed(Span::ZERO)),
            leases: Leases::new(&lease::Settings::default(), 1 << 16),
            tokens: KeyMap::default(),
            says: None,
            writes_say: None,
            frozen_until: None,
            silent_since: None,
            blocked: None,
            foreign: BTreeSet::new(),
            answers: true,
            slow: 1.0,
            processor: 1.0,
            far: Span::ZERO,
            max_clients: cache.max_clients,
            busy: VecDeque::new(),
            entries: meter.counter_of(Metric::CacheEntries, &cache.name, node),
            evicted: 0,
            born: Time::ZERO,
            probe: NodeProbe::new(cache, node, meter),
        }
    }

    /// Look-ups under way, where clients are limited.
    pub(crate) fn clients(&mut self, now: Time) -> usize {
        while self.busy.front().is_some_and(|end| *end <= now) {
            self.busy.pop_front();
        }
        self.busy.len()
    }
}

impl CacheSim {
    pub(crate) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> CacheSim {
        let cache = &plan.scenario.caches[index];
        let keys = plan.scenario.clients.iter().map(|client| match client.keys {
            Keys::Zipf { count, .. } | Keys::Uniform { count } => count,
            Keys::Normal { mean, deviation } => (mean + 10.0 * deviation).max(1.0) as u64,
        });
        let keys = keys.max().unwrap_or(0);
        let nodes = if cache.kind == CacheKind::Shared {
            cache.nodes
        } else {
            0
        };
        let errors =
            CacheFault::ALL.map(|fault| meter.counter(Metric::CacheErrors, &cache.name, Some(fault.name())));
        let entries = meter.counter(Metric::CacheEntries, &cache.name, None);
        let nodes: Vec<CacheNode> = (0..nodes)
            .map(|node| CacheNode::new(cache, node, keys, meter))
            .collect();
        CacheSim {
            placement: Placement::new(cache.sharding, (nodes.len() as u16).max(1), VNODES),
            sound: cache.max_clients.is_none(),
            nodes,
            latency: some_time(&cache.latency),
            ttl: cache.ttl,
            renewed_by_hits: cache.renewed_by_hits,
            never_stored: false,
            ttl_ignored: false,
            news: None,
            answer_size: cache.entry_size,
            keys,
            rng: seed.stream("cache", index as u64),
            hits: meter.counter(Metric::CacheHits, &cache.name, None),
            misses: meter.counter(Metric::CacheMisses, &cache.name, None),
            sets: meter.counter(Metric::CacheSets, &cache.name, None),
            hot: meter.counter(Metric::HotKeyShare, &cache.name, None),
            invalidations: meter.counter(Metric::CacheInvalidations, &cache.name, None),
            evictions: meter.counter(Metric::CacheEvictions, &cache.name, None),
            entries,
            errors,
        }
    }

    /// Reads what look-ups of these keys will read.
    pub(crate) fn touch<const N: usize>(&self, keys: &[u64; N]) {
        let mut sum = 0_u64;
        if let [node] = self.nodes.as_slice() {
            sum = node.store.touch_all(keys);
        } else {
            for key in keys {
                let node = self.placement.node(*key) as usize;
                sum = sum.wrapping_add(self.nodes[node].store.touch(*key));
            }
        }
        std::hint::black_box(sum);
    }

    /// The plain case of [`CacheSim::look`], which is nearly every case: a sound node, a short and fixed latency, and the
    /// entry is there. It is lent and not copied.
    #[inline]
    pub(crate) fn find(
        &mut self,
        now: Time,
        node: u16,
        key: u64,
        timeout: Span,
        meter: &mut Meter,
    ) -> Option<(&Entry, Span)> {
        let took = match self.latency {
            None => Span::ZERO,
            Some(Dist::Fixed(span)) if span <= timeout && span <= SOON => span,
            Some(_) => return None,
        };
        if !self.sound || self.renewed_by_hits {
            return None;
        }
        let entry = &self.nodes[node as usize].store.lookup(now, key)?.record;
        meter.count(if entry.fresh_until > now {
            self.hits
        } else {
            self.misses
        });
        Some((entry, took))
    }

    /// What its node holds of a key, without using it.
    pub(crate) fn held(&self, now: Time, key: u64) -> Option<&Entry> {
        let node = match self.nodes.as_slice() {
            [node] => node,
            nodes => &nodes[self.placement.node(key) as usize],
        };
        node.store.look(now, key).map(|slot| &slot.record)
    }

    /// Looks a key up in a shared cache: what it says, and after how long.
    #[inline]
    pub(crate) fn look(
        &mut self,
        now: Time,
        node: u16,
        key: u64,
        timeout: Span,
        meter: &mut Meter,
    ) -> (Reply, Span) {
        let mut took = match &self.latency {
            None => Span::ZERO,
            Some(Dist::Fixed(span)) => *span,
            Some(dist) => dist.draw(&mut self.rng),
        };
        if !self.sound || took > timeout {
            match self.ask(now, node, took, timeout, false) {
                Ok(span) => took = span,
                Err(Unanswered { fault, after, .. }) => {
                    meter.count(self.errors[fault as usize]);
                    return (Reply::CacheFailed(fault), after);
                }
            }
            if self.is_foreign(now, node, key) {
                meter.count(self.errors[CacheFault::WrongType as usize]);
                return (Reply::CacheFailed(CacheFault::WrongType), took);
            }
        }
        (self.read(now, node, key, meter), took)
    }

    #[inline]
    fn read(&mut self, now: Time, node: u16, key: u64, meter: &mut Meter) -> Reply {
        let store = &mut self.nodes[node as usize].store;
        let Some(slot) = store.lookup(now, key) else {
            meter.count(self.misses);
            return Reply::Missing;
        };
        let mut entry = slot.record;
        if self.renewed_by_hits
            && let Some(ttl) = self.ttl
        {
            slot.record.fresh_until = now + ttl;
            slot.record.refresh_at = now + ttl;
            entry = slot.record;
            let expires = slot.expires.max(now + ttl);
            store.renew(key, expires);
        }
        meter.count(if entry.fresh_until > now {
            self.hits
        } else {
            self.misses
        });
        Reply::Found(entry)
    }

    /// What a node that is not well makes of a request: how long it takes, or why it fails and after how long.
    fn ask(
        &mut self,
        now: Time,
        node: u16,
        took: Span,
        timeout: Span,
        writes: bool,
    ) -> Result<Span, Unanswered> {
        let size = self.answer_size;
        let rng = &mut self.rng;
        let node = &mut self.nodes[node as usize];
        let patience = timeout.min(PATIENCE);
        let unanswered = |fault, after| Unanswered {
            fault,
            after,
            done: false,
        };
        let late = unanswered(CacheFault::TimedOut, patience);
        let says = node.says.or(node.writes_say.filter(|_| writes));
        // What has arrived is done, however late the answer: a process that stood still reads its socket to the end. But
        // once nothing has been answered for as long as anybody waits, connections are given up, and a new one is not
        // greeted: nothing more is sent.
        let given_up = node.silent_since.is_some_and(|since| now.since(since) > patience);
        let late_but_done = Unanswered {
            done: says.is_none() && !given_up,
            ..late
        };
        let mut took = took.scaled(node.slow) + node.far;
        match node.link.send(now, size, rng) {
            Delivery::At(at) => took += at.since(now),
            Delivery::Refused => return Err(unanswered(CacheFault::Refused, took.min(patience))),
            Delivery::Reset => return Err(unanswered(CacheFault::Reset, took.min(patience))),
            Delivery::Dropped => return Err(late),
            Delivery::Held => return Err(late_but_done),
        }
        if let Some(until) = node.frozen_until {
            took += until.since(now);
        }
        if let Some((began, burst, cycle)) = node.blocked {
            let into = now.since(began).as_nanos() % cycle.as_nanos().max(1);
            took += burst.saturating_sub(Span::nanos(into));
        }
        if took > patience {
            return Err(late_but_done);
        }
        if let Some(fault) = says {
            return Err(unanswered(fault, took));
        }
        if let Some(most) = node.max_clients {
            if node.clients(now) >= most as usize {
                return Err(unanswered(CacheFault::TooManyClients, took));
            }
            // The order of ends is near enough the order of beginnings for a count.
            let end = node
                .busy
                .back()
                .map_or(now + took, |last| (*last).max(now + took));
            node.busy.push_back(end);
        }
        Ok(took)
    }

    /// Writes an entry into a shared cache: how that ends, and after how long its writer knows. What arrives is stored at
    /// once; only a cache that is not sound takes its time to say so.
    #[expect(clippy::too_many_arguments, reason = "a write has this many coordinates")]
    pub(crate) fn put(
        &mut self,
        now: Time,
        node: u16,
        key: u64,
        keep: Span,
        entry: Entry,
        timeout: Span,
        meter: &mut Meter,
    ) -> (Result<(), CacheFault>, Span) {
        let mut heard = (Ok(()), Span::ZERO);
        if !self.sound {
            match self.ask(now, node, Span::ZERO, timeout, true) {
                Ok(took) => heard.1 = took,
                Err(Unanswered { fault, after, done }) => {
                    meter.count(self.errors[fault as usize]);
                    heard = (Err(fault), after);
                    if !done {
                        return heard;
                    }
                }
            }
        }
        if self.never_stored {
            return heard;
        }
        // Whatever is there is written over.
        self.nodes[node as usize].foreign.remove(&key);
        let (keep, entry) = self.kept(keep, entry);
        let store = &mut self.nodes[node as usize].store;
        if store
            .look(now, key)
            .is_some_and(|slot| slot.record.version > entry.version)
        {
            return heard;
        }
        if store.insert(now, key, now + keep, entry) == Inserted::Refused {
            meter.count(self.errors[CacheFault::OutOfMemory as usize]);
            return (Err(CacheFault::OutOfMemory), heard.1);
        }
        if let Some(news) = &mut self.news {
            let entry = Some(entry);
            news.push(News { key, entry });
        }
        meter.count(self.sets);
        heard
    }

    /// For how long an entry is really kept: a bad caching rule may have other ideas than its writer.
    fn kept(&self, keep: Span, mut entry: Entry) -> (Span, Entry) {
        if self.ttl_ignored {
            entry.fresh_until = Time::NEVER;
            entry.refresh_at = Time::NEVER;
            return (Span::MAX, entry);
        }
        (keep, entry)
    }

    pub(crate) fn take_out(&mut self, now: Time, node: u16, key: u64, version: u64, meter: &mut Meter) {
        if !self.sound && self.ask(now, node, Span::ZERO, PATIENCE, true).is_err() {
            return;
        }
        let store = &mut self.nodes[node as usize].store;
        if store
            .look(now, key)
            .is_some_and(|slot| slot.record.version < version)
        {
            store.remove(key);
            meter.count(self.invalidations);
        }
        if let Some(news) = &mut self.news {
            news.push(News { key, entry: None });
        }
    }

    pub(crate) fn look_local(
        &self,
        now: Time,
        store: &mut Store,
        key: u64,
        meter: &mut Meter,
    ) -> (Reply, Span) {
        let Some(slot) = store.lookup(now, key) else {
            meter.count(self.misses);
            return (Reply::Missing, Span::ZERO);
        };
        let entry = slot.record;
        meter.count(if entry.fresh_until > now {
            self.hits
        } else {
            self.misses
        });
        (Reply::Found(entry), Span::ZERO)
    }

    pub(crate) fn put_local(
        &self,
        now: Time,
        store: &mut Store,
        key: u64,
        keep: Span,
        entry: Entry,
        meter: &mut Meter,
    ) {
        if self.never_stored {
            return;
        }
        let (keep, entry) = self.kept(keep, entry);
        store.insert(now, key, now + keep, entry);
        meter.count(self.sets);
    }

    pub(crate) fn take_out_local(
        &self,
        now: Time,
        store: &mut Store,
        key: u64,
        version: u64,
        meter: &mut Meter,
    ) {
        if store
            .look(now, key)
            .is_some_and(|slot| slot.record.version < version)
        {
            store.remove(key);
            meter.count(self.invalidations);
        }
    }

    pub(crate) fn lease(&mut self, now: Time, node: u16, key: u64, hold: Span, owner: u64) -> bool {
        if !self.sound && self.ask(now, node, Span::ZERO, PATIENCE, true).is_err() {
            return true;
        }
        let node = &mut self.nodes[node as usize];
        node.leases.retune(&lease::Settings {
            hold,
            ..lease::Settings::default()
        });
        match node.leases.take(now, key, owner) {
            Grant::Granted(token) => {
                node.tokens.insert(key, token);
                true
            }
            Grant::Held { .. } => false,
        }
    }

    pub(crate) fn give_back(&mut self, now: Time, node: u16, key: u64) {
        let node = &mut self.nodes[node as usize];
        if let Some(token) = node.tokens.remove(key) {
            node.leases.give_back(now, key, token);
        }
    }

    /// Whether the node of a key does not answer.
    pub(crate) fn fails(&self, key: u64) -> bool {
        if self.sound {
            return false;
        }
        !self.nodes[self.placement.node(key) as usize].answers
    }

    /// What counts calls that failed for this reason.
    pub(crate) fn failed(&self, fault: CacheFault) -> Counter {
        self.errors[fault as usize]
    }

    /// The share of nodes that answer.
    pub(crate) fn up(&self) -> f64 {
        if self.sound || self.nodes.is_empty() {
            return 1.0;
        }
        let up = self.nodes.iter().filter(|node| node.answers);
        up.count() as f64 / self.nodes.len() as f64
    }

    /// Takes over another number of nodes or another way to spread keys.
    pub(crate) fn respread(&mut self, cache: &Cache, meter: &mut Meter) {
        self.placement = Placement::new(cache.sharding, (cache.nodes as u16).max(1), VNODES);
        while self.nodes.len() < cache.nodes as usize {
            let node = self.nodes.len() as u32;
            self.nodes.push(CacheNode::new(cache, node, self.keys, meter));
        }
    }

    /// Empties nodes.
    pub(crate) fn flush(&mut self, node: usize, meter: &mut Meter) {
        let node = &mut self.nodes[node];
        meter.add(self.invalidations, node.store.len() as f64);
        node.store.flush();
        node.probe.emptied();
        node.foreign.clear();
    }

    /// Makes this share of the entries of a node something else, which reads are errors of until it is written over.
    pub(crate) fn retype(&mut self, node: usize, share: f64) {
        let (rng, at) = (&mut self.rng, &mut self.nodes[node]);
        let foreign = &mut at.foreign;
        at.store.change(|key, _| {
            if rng.chance(share) {
                foreign.insert(key);
            }
        });
        self.sound &= at.foreign.is_empty();
    }

    fn is_foreign(&mut self, now: Time, node: u16, key: u64) -> bool {
        let node = &mut self.nodes[node as usize];
        if !node.foreign.contains(&key) {
            return false;
        }
        let there = node.store.look(now, key).is_some();
        if !there {
            // It has expired, or was pushed out.
            node.foreign.remove(&key);
        }
        there
    }

    pub(crate) fn corrupt(&mut self, node: usize, share: f64) {
        let rng = &mut self.rng;
        self.nodes[node].store.change(|_, slot| {
            if rng.chance(share) {
                slot.record.intact = false;
            }
        });
    }

    pub(crate) fn expire_share(&mut self, now: Time, node: usize, share: f64) {
        let rng = &mut self.rng;
        self.nodes[node].store.change(|_, slot| {
            if rng.chance(share) {
                // What is kept for staleness is not lost with its freshness.
                let stale = slot.expires.since(slot.record.fresh_until);
                slot.record.fresh_until = slot.record.fresh_until.min(now);
                slot.record.refresh_at = slot.record.refresh_at.min(now);
                slot.expires = slot.expires.min(now + stale);
            }
        });
    }

    pub(crate) fn align_expiry(&mut self, node: usize, at: Time) {
        self.nodes[node].store.change(|_, slot| {
            let stale = slot.expires.since(slot.record.fresh_until);
            // An entry that is refreshed ahead of its end, is so ahead of the new one.
            let ahead = slot.record.fresh_until.since(slot.record.refresh_at);
            slot.record.fresh_until = at;
            slot.record.refresh_at = at - ahead;
            slot.expires = at + stale;
        });
    }
}

/// The share of its life that an entry has left in the stationary state, when its key is asked for `requests` times
/// in that life on average.
fn left(rng: &mut Stream, cache: &Cache, requests: f64) -> f64 {
    let even = rng.unit();
    if !cache.renewed_by_hits {
        return even;
    }
    // It began with the last request, which was at the most a life ago: an exponential time, cut off there.
    let since = -libm::log1p(even * libm::expm1(-requests)) / requests;
    (1.0 - since).clamp(0.0, 1.0)
}

impl World {
    /// Puts shared caches into their stationary state.
    ///
    /// A key that is asked for `r` times a second and kept for `T` without renewal is there with probability
    /// `rT / (1 + rT)`, and its age is even over `0..T`; renewed by hits, it is there with `1 − e^(−rT)`, and its age is
    /// the time since its last request. A bounded cache is filled with what is asked for most.
    pub(crate) fn prefill(&mut self) {
        let scenario = self.plan.scenario.clone();
        for (index, cache) in scenario.caches.iter().enumerate() {
            if cache.kind == CacheKind::Shared {
                self.prefill_cache(&scenario, index, cache);
            }
        }
    }

    fn prefill_cache(&mut self, scenario: &Scenario, index: usize, cache: &Cache) {
        let mut rng = self.seed.stream("prefill", index as u64);
        let mut ahead_rng = self.seed.stream("prefill ahead", index as u64);
        let room = cache
            .entries_max()
            .map(|entries| entries * u64::from(cache.nodes));
        let served = |client: &&Client| matches!(scenario.served_by(client), Place::Service(at) if scenario.services[at].caches.contains(&index));
        for client in scenario.clients.iter().filter(served) {
            let keys = keys_of(&client.keys);
            let rate = client.rate * (1.0 - client.writes);
            let served_by = scenario.served_by(client);
            let policies = scenario.policies(served_by);
            let ttl = ttl_of(client.class, &policies.ttl, cache);
            let cost = load_time(scenario, served_by);
            for key in keys.popular(room.map_or(usize::MAX, |room| 2 * room as usize)) {
                let r = rate * keys.probability(key);
                if r <= 0.0 {
                    break;
                }
                let seconds = ttl.map_or(f64::INFINITY, Span::as_secs_f64);
                let there = match (seconds.is_finite(), cache.renewed_by_hits) {
                    (false, _) => 1.0,
                    (true, false) => r * seconds / (1.0 + r * seconds),
                    (true, true) => 1.0 - libm::exp(-r * seconds),
                };
                if !rng.chance(there) {
                    continue;
                }
                let left = ttl.map_or(Span::MAX, |ttl: Span| {
                    ttl.scaled(left(&mut rng, cache, r * ttl.as_secs_f64()))
                });
                let sim = &mut self.caches[index];
                let node = sim.placement.node(key) as usize;
                let fresh_until = Time::ZERO + left;
                // What is kept for staleness, or refreshed ahead of its end, was so before the run began, too.
                let ahead = policies
                    .ttl
                    .stagger
                    .map_or(Span::ZERO, |part| part.scaled(ahead_rng.unit()));
                let stale = policies
                    .stale
                    .as_ref()
                    .map_or(Span::ZERO, |stale| stale.while_revalidating.max(stale.on_error));
                let entry = Entry {
                    stored: Time::ZERO,
                    fresh_until,
                    refresh_at: fresh_until - ahead.min(left),
                    cost,
                    version: 0,
                    negative: key >= MISSING,
                    intact: true,
                };
                let store = &mut sim.nodes[node].store;
                if store.settings().capacity.is_some_and(|most| store.len() >= most) {
                    if room.is_some_and(|room| {
                        sim.nodes.iter().map(|node| node.store.len() as u64).sum::<u64>() >= room
                    }) {
                        break;
                    }
                    continue;
                }
                store.insert(Time::ZERO, key, fresh_until + stale, entry);
            }
        }
    }
}

/// How long a load takes an origin that is at ease; nothing where it is not a database.
fn load_time(scenario: &Scenario, served_by: Place) -> Span {
    let Place::Service(service) = served_by else {
        return Span::ZERO;
    };
    match scenario.services[service].origin {
        Some(Place::Database(database)) => scenario.databases[database].service_time.mean(),
        _ => Span::ZERO,
    }
}

fn ttl_of(class: Class, ttl: &ttl::Settings, cache: &Cache) -> Option<Span> {
    let of_class = match class {
        Class::Critical => ttl.critical,
        Class::Important => ttl.important,
        Class::Regular => ttl.regular,
    };
    of_class.or(ttl.ttl).or(cache.ttl)
}
