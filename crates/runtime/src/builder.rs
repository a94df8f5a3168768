//! How a cache is made.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use seawall_core::guard::{Guard, Setup, TIERS_MAX, Tier};
use seawall_core::policies::Policies;
use seawall_core::rng::Seed;
use seawall_core::time::{Span, Time};
use seawall_core::{breaker, coalesce, deadline, limit, stale, ttl};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::backplane::Backplane;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::codec::{Codec, Json};
use crate::engine::{Core, Engine, Fast, Weigh};
use crate::health::Critical;
use crate::key::{Key, Namer};
use crate::memory::Memory;
use crate::meters::Meters;
use crate::observed::{Names, Observed};
use crate::origin::Origin;
use crate::snapshot::Keeper;
use crate::store::Store;
use crate::tags::Tags;
use crate::timer::Timer;
use crate::weight;

/// The TTL of memory, where nobody says.
pub const MEMORY_TTL: Duration = Duration::from_mins(5);
/// The TTL of the first tier beyond memory (a shared cache), where nobody says.
pub const SHARED_TTL: Duration = Duration::from_hours(1);
/// The TTL of the tiers beyond that (a disk), where nobody says.
pub const DISK_TTL: Duration = Duration::from_hours(24);
/// How many bytes memory holds, where nobody says.
pub const MEMORY_BYTES: u64 = 64 << 20;
/// How long one call to a tier may take, where nobody says.
pub const TIER_TIMEOUT: Duration = Duration::from_millis(250);

/// So many writes into tiers that nobody waits for are under way at most.
const WORK_MAX: usize = 1024;

/// The protections that a cache begins with.
///
/// | protection | default |
/// | --- | --- |
/// | coalescing | on: one load a key, a wait of 5 s, joined for 10 s |
/// | TTL by class | critical 3600 s, important 1800 s, regular 900 s; without a class the tier's own |
/// | jitter | each TTL is shortened by up to 10% |
/// | "there is no such thing" | remembered for 30 s |
/// | stale answers | for 300 s when the load fails; none while it could succeed |
/// | deadline | 5 s for a call, all in all; a load is given up after 10 s |
/// | breaker | one a node: opens for 5 s after 5 failures in 10 s |
/// | origin limit | 100 loads at a time; 1000 more wait up to 1 s |
/// | the rest | off |
pub fn default_policies() -> Policies {
    Policies {
        breaker: Some(breaker::Settings::default()),
        coalesce: Some(coalesce::Settings::default()),
        ttl: ttl::Settings {
            critical: Some(Span::secs(3_600)),
            important: Some(Span::secs(1_800)),
            regular: Some(Span::secs(900)),
            jitter: Some(ttl::Jitter::Share(0.1)),
            negative: Some(Span::secs(30)),
            ..ttl::Settings::default()
        },
        stale: Some(stale::Settings {
            while_revalidating: Span::ZERO,
            ..stale::Settings::default()
        }),
        deadline: deadline::Settings {
            total: Some(Span::secs(5)),
            hard: Some(Span::secs(10)),
            ..deadline::Settings::default()
        },
        limit: Some(limit::Settings {
            mode: limit::Mode::Fixed,
            min: 1,
            max: 100,
            initial: 100,
            places: 1_000,
            timeout: Span::secs(1),
        }),
        integrity: true,
        ..Policies::default()
    }
}

/// Makes a cache. Every setting has a default.
#[must_use]
pub struct CacheBuilder<K: Key, V: Clone + Send + Sync + 'static> {
    name: Arc<str>,
    memory: Option<u64>,
    memory_ttl: Duration,
    stores: Vec<Layer>,
    codec: Option<Arc<dyn Codec<V>>>,
    value_version: u16,
    origin: Option<Arc<dyn Origin<K, V>>>,
    backplane: Option<Arc<dyn Backplane>>,
    policies: Policies,
    instances: u32,
    weigh: Weigh<K, V>,
    critical: Critical,
    keeper: Option<Keeper<K>>,
    start: Option<Time>,
    hashed_by: Option<fn(&K) -> u64>,
    seed: u64,
}

struct Layer {
    store: Arc<dyn Store>,
    ttl: Option<Duration>,
    timeout: Duration,
}

impl<K: Key, V: Clone + Send + Sync + 'static> std::fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> CacheBuilder<K, V> {
    pub(crate) fn new(name: Arc<str>) -> CacheBuilder<K, V> {
        CacheBuilder {
            name,
            memory: Some(MEMORY_BYTES),
            memory_ttl: MEMORY_TTL,
            stores: Vec::new(),
            codec: None,
            value_version: 0,
            origin: None,
            backplane: None,
            policies: default_policies(),
            instances: 1,
            weigh: Arc::new(|key: &K, value: &V| key.with_bytes(<[u8]>::len) + weight::of(value)),
            critical: Critical::default(),
            keeper: None,
            start: None,
            hashed_by: None,
            seed: 0,
        }
    }

    /// Memory holds so many bytes.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Nothing is kept in memory.
    pub fn no_memory(mut self) -> Self {
        self.memory = None;
        self
    }

    /// Memory keeps nothing for longer than this.
    pub fn memory_ttl(mut self, ttl: Duration) -> Self {
        self.memory_ttl = ttl;
        self
    }

    /// How many bytes a value takes. Text and bytes are known; other types count without what they point to.
    pub fn weigh(mut self, weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Arc::new(weigh);
        self
    }

    /// A tier beyond memory, asked after those before it, with values as JSON.
    pub fn tier(self, store: impl Store) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        let codec = self.codec.clone().unwrap_or_else(|| Arc::new(Json));
        self.layer(Arc::new(store), None, TIER_TIMEOUT)
            .codec_shared(codec)
    }

    /// The same, with its own TTL (for what has no class) and time for one call, and whatever codec is set.
    pub fn layer(mut self, store: Arc<dyn Store>, ttl: Option<Duration>, timeout: Duration) -> Self {
        self.stores.push(Layer { store, ttl, timeout });
        self
    }

    /// How values become bytes for the tiers beyond memory; [`Json`] where [`CacheBuilder::tier`] was used.
    pub fn codec(self, codec: impl Codec<V>) -> Self {
        self.codec_shared(Arc::new(codec))
    }

    fn codec_shared(mut self, codec: Arc<dyn Codec<V>>) -> Self {
        self.codec = Some(codec);
        self
    }

    /// The version of the value's type. What was stored under another one is a miss.
    pub fn value_version(mut self, version: u16) -> Self {
        self.value_version = version;
        self
    }

    /// Where values come from, for [`Cache::read`] and [`Cache::warm`].
    pub fn origin(mut self, origin: impl Origin<K, V>) -> Self {
        self.origin = Some(Arc::new(origin));
        self
    }

    /// What carries invalidations to the other processes.
    pub fn backplane(mut self, backplane: Arc<dyn Backplane>) -> Self {
        self.backplane = Some(backplane);
        self
    }

    /// The protections, in place of [`default_policies`].
    pub fn policies(mut self, policies: Policies) -> Self {
        self.policies = policies;
        self
    }

    /// Changes some of the protections.
    pub fn protect(mut self, change: impl FnOnce(&mut Policies)) -> Self {
        change(&mut self.policies);
        self
    }

    /// How many processes there are of this service; a pace that is meant for all of them is divided by it.
    pub fn instances(mut self, instances: u32) -> Self {
        self.instances = instances;
        self
    }

    /// Writes the names of the hot keys into this file every so often, and warms them when the next process begins, at
    /// the pace of the warming policy. Which keys are hot is counted as that policy says (its default where it is
    /// off: those that bring 80% of the reads of the last 300 s); where that policy does not begin by itself, nothing is
    /// warmed at the start.
    ///
    /// It needs an origin of the cache's own. The file is there whole or not at all; a damaged one is counted and left
    /// aside. [`Cache::snapshot`] writes it at once, for example before a shutdown.
    pub fn snapshot(mut self, path: impl Into<PathBuf>, every: Duration) -> Self
    where
        K: Serialize + DeserializeOwned,
    {
        self.keeper = Some(Keeper::new(path.into(), every));
        self
    }

    /// The service cannot do without the origin: while its breaker is open, the cache is not ready.
    pub fn critical_origin(mut self) -> Self {
        self.critical.origin = true;
        self
    }

    /// The service cannot do without the tier of this name.
    pub fn critical_tier(mut self, name: impl Into<String>) -> Self {
        self.critical.tiers.push(name.into());
        self
    }

    /// The seed of its draws; each cache has its own otherwise.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Its clock says this when it is built, in place of the time since 1970. For tests.
    #[doc(hidden)]
    pub fn starting_at(mut self, start: Time) -> Self {
        self.start = Some(start);
        self
    }

    /// Keys go by this hash, for example one by which they collide. For tests.
    #[doc(hidden)]
    pub fn hashed_by(mut self, hash: fn(&K) -> u64) -> Self {
        self.hashed_by = Some(hash);
        self
    }

    /// The cache. Background work runs on the runtime of the first call that needs any.
    ///
    /// # Panics
    /// When there are more than eight tiers, or one has no node.
    pub fn build(mut self) -> Cache<K, V> {
        if self.keeper.is_some() {
            self.policies.warm.get_or_insert_default();
        }
        let clock = self.start.map_or_else(Clock::new, Clock::starting_at);
        let mut tiers: Vec<Tier> = self
            .memory
            .map(|_| Tier {
                nodes: 1,
                local: true,
                shared: false,
                ttl: self.memory_ttl.into(),
                timeout: Span::MAX,
                sharding: seawall_core::ring::Sharding::Ring,
            })
            .into_iter()
            .collect();
        tiers.extend(self.stores.iter().enumerate().map(|(place, layer)| {
            let default = if place == 0 { SHARED_TTL } else { DISK_TTL };
            Tier {
                nodes: layer.store.nodes(),
                local: false,
                shared: layer.store.is_shared(),
                ttl: layer.ttl.or(layer.store.default_ttl()).unwrap_or(default).into(),
                timeout: layer.timeout.into(),
                sharding: layer.store.sharding(),
            }
        }));
        assert!(tiers.len() <= TIERS_MAX, "at most {TIERS_MAX} tiers");
        let setup = Setup {
            tiers,
            instances: self.instances,
            policies: Policies {
                // A value that is damaged cannot be an answer here.
                integrity: true,
                ..self.policies
            },
        };
        let mut guard = Guard::new(clock.now(), &setup);
        let first = setup.tiers.len() - self.stores.len();
        for (tier, layer) in (first..).zip(&self.stores) {
            if let Some((nodes, ttl)) = layer.store.spares() {
                guard.spare(tier, nodes, ttl.into());
            }
        }
        let seed = if self.seed == 0 {
            clock.now().as_nanos()
        } else {
            self.seed
        };
        let rng = Seed(seed).stream("guard", 0);
        let engine = Arc::new_cyclic(|me| Engine {
            namer: Namer::new(&self.name),
            hashed_by: self.hashed_by,
            name: self.name,
            clock,
            memory: self.memory.map(Memory::new),
            far: self.stores.into_iter().map(|layer| layer.store).collect(),
            codec: self.codec,
            value_version: self.value_version,
            origin: self.origin,
            weigh: self.weigh,
            backplane: self.backplane,
            critical: self.critical,
            tags: Tags::default(),
            meters: Meters::default(),
            fast: Fast::new(&guard),
            observed: Observed::default(),
            names: Names::default(),
            timer: Timer::default(),
            keeper: self.keeper,
            work: Arc::new(Semaphore::new(WORK_MAX)),
            me: me.clone(),
            runtime: OnceLock::new(),
            core: Mutex::new(Core::new(guard, rng)),
        });
        if engine.keeper.is_some() {
            // What a process before this one has kept is warmed from now on, and not from the first miss on.
            let _ = engine.runtime();
        }
        Cache { engine }
    }
}
