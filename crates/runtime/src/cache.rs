//! The cache, as a service uses it.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seawall_core::guard::{CacheFault, Effect, Kind, Life, LoadReply, LoadStep, Mode, Verdict};
use seawall_core::policies::Policies;
use seawall_core::rng::{Seed, Stream};

use crate::answer::{Answer, Error, Source};
use crate::backplane::Invalidation;
use crate::builder::CacheBuilder;
use crate::call::answer;
use crate::effects::Context;
use crate::engine::Engine;
use crate::envelope::TAGS_MAX;
use crate::flight::Found;
use crate::key::Key;
use crate::options::Options;
use crate::origin::{Loaded, Loader, loader, loader_of};

/// A read-through cache that protects what it reads from. Clones are the same cache.
///
/// See the [crate's page](crate) for an example.
pub struct Cache<K: Key, V: Clone + Send + Sync + 'static> {
    pub(crate) engine: Arc<Engine<K, V>>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Clone for Cache<K, V> {
    fn clone(&self) -> Cache<K, V> {
        Cache {
            engine: Arc::clone(&self.engine),
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.engine.name)
            .finish_non_exhaustive()
    }
}

std::thread_local! {
    /// The draws of early refresh for hits that are settled without the guard.
    static DRAWS: RefCell<Stream> = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        RefCell::new(Seed(NEXT.fetch_add(1, Ordering::Relaxed)).stream("hits", 0))
    };
}

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// A cache of this name. The name is part of each key in a store, and the label `component` of its metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> CacheBuilder<K, V> {
        CacheBuilder::new(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.engine.name
    }

    /// The value of `key`, loaded by `load` when it is nowhere.
    ///
    /// `load` may be called more than once (where retries are on) and goes on when this call is dropped, so that
    /// others get what it brings. It returns the value, an `Option`, or [`Loaded`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when `load` says that there is no such thing; otherwise why there is no value.
    pub async fn get_or_load<F, Fut, L, E>(&self, key: &K, options: &Options, load: F) -> Result<V, Error>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        let answer = self.get_or_load_full(key, options, load).await?;
        answer.value.ok_or(Error::NotFound)
    }

    /// The same, with where the answer came from and what it is worth.
    ///
    /// # Errors
    /// Why there is no answer. "There is no such thing" is one.
    pub async fn get_or_load_full<F, Fut, L, E>(
        &self,
        key: &K,
        options: &Options,
        load: F,
    ) -> Result<Answer<V>, Error>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
        E: Into<Box<dyn StdError + Send + Sync>> + 'static,
    {
        match self.fast(key, options) {
            Fast::Answer(answer) => Ok(answer),
            Fast::Due(answer) => {
                self.refresh_due(key, options, Some(loader(load)));
                Ok(answer)
            }
            Fast::Ask => self.engine.read(key, options, Some(loader(load))).await,
        }
    }

    /// The value of `key`, loaded from the cache's own [`Origin`](crate::Origin) when it is nowhere.
    ///
    /// # Errors
    /// [`Error::NoOrigin`] when the cache was built without one; otherwise as [`Cache::get_or_load`].
    pub async fn read(&self, key: &K, options: &Options) -> Result<V, Error> {
        let answer = self.read_full(key, options).await?;
        answer.value.ok_or(Error::NotFound)
    }

    /// The same, with where the answer came from and what it is worth.
    ///
    /// # Errors
    /// As [`Cache::read`], but "there is no such thing" is an answer.
    pub async fn read_full(&self, key: &K, options: &Options) -> Result<Answer<V>, Error> {
        let origin = self.engine.origin.as_ref().ok_or(Error::NoOrigin)?;
        match self.fast(key, options) {
            Fast::Answer(answer) => Ok(answer),
            Fast::Due(answer) => {
                self.refresh_due(key, options, Some(loader_of(origin, key)));
                Ok(answer)
            }
            Fast::Ask => self.engine.read(key, options, Some(loader_of(origin, key))).await,
        }
    }

    /// The value of `key` when some tier has it; nothing is loaded. `None` also when the tiers could not be asked.
    pub async fn get(&self, key: &K) -> Option<V> {
        self.get_full(key, &Options::new()).await?.value
    }

    /// The same, with where the answer came from and what it is worth.
    pub async fn get_full(&self, key: &K, options: &Options) -> Option<Answer<V>> {
        match self.fast(key, options) {
            Fast::Answer(answer) | Fast::Due(answer) => Some(answer),
            Fast::Ask => self.engine.read(key, &options.only_cached(), None).await.ok(),
        }
    }

    /// The value of `key` when memory holds it and it is an answer like any other, without asking anything else or
    /// waiting. `None` says nothing: the next thing to call is [`Cache::get_or_load_full`].
    #[inline]
    pub fn hit(&self, key: &K, options: &Options) -> Option<Answer<V>> {
        match self.fast(key, options) {
            Fast::Answer(answer) => Some(answer),
            Fast::Due(_) | Fast::Ask => None,
        }
    }

    /// What memory holds for `key`, whatever it is worth: also past every bound on staleness, as long as it was neither
    /// evicted nor invalidated. It is no answer, but a validator for the next load may be made from it.
    pub fn held(&self, key: &K) -> Option<Answer<V>> {
        let engine = &*self.engine;
        let found = engine.memory.as_ref()?.find(engine.namer.hash(key, 0), key)?;
        if engine.tags.purged(&found.body.tags, found.entry.stored) {
            return None;
        }
        let now = engine.clock.now();
        let kind = if now < found.entry.fresh_until {
            Kind::Fresh
        } else {
            Kind::Stale
        };
        Some(answer(now, &found, Source::Memory, kind, found.entry.version))
    }

    /// Puts a value in that came by another way than a load. What was read before counts no more, and loads that are
    /// under way do not bring it back. Memory has it when this returns; the other tiers follow, where there is a runtime.
    pub fn insert(&self, key: &K, options: &Options, value: impl Into<Loaded<V>>) {
        let engine = &*self.engine;
        let loaded: Loaded<V> = value.into();
        let mut errand = engine.errand(key, options, 0, None);
        errand
            .tags
            .extend(loaded.tags.iter().map(|tag| engine.namer.tag(tag)));
        errand.tags.truncate(TAGS_MAX);
        let hash = errand.address.hash;
        let body = engine.body(key, loaded.value, errand.tags.clone());
        let mut core = engine.core();
        let now = engine.clock.now();
        let version = loaded.version.unwrap_or(now.as_nanos());
        let class = loaded.class.or(options.class);
        let life = match (loaded.store, loaded.ttl, class) {
            (false, ..) => Life::Unkept,
            (true, Some(ttl), _) => Life::For(ttl.into()),
            (true, None, Some(_)) => Life::Class,
            (true, None, None) => Life::Tier,
        };
        let negative = body.value.is_none();
        let inserted = core
            .guard
            .insert(now, hash, class.unwrap_or_default(), (version, negative), life);
        let Some((load, entry)) = inserted else { return };
        let flight = core.flight_for(load, &errand);
        flight.land(Ok(Found { body, entry }));
        // The load is begun here and now, so that memory has the value when this returns.
        let launch = core.guard.poll();
        debug_assert_eq!(launch, Some(Effect::Launch(load)), "effects do not pile up");
        drop(core);
        let step = engine.load_step(&flight, LoadReply::Launched);
        if step != LoadStep::Done {
            engine.spawn_load(&flight, Some(step), true);
        }
        engine.publish(Invalidation::Key { hash, version });
    }

    /// Takes a key out of all tiers, here and (over a backplane) in the fleet. It comes first before every kind of
    /// staleness: what was read before is never served again by this process.
    ///
    /// # Errors
    /// [`Error::Tier`] when a tier could not be told. It is told again until it hears.
    pub async fn invalidate(&self, key: &K) -> Result<(), Error> {
        let errand = self.engine.errand(key, &Options::new(), 0, None);
        let deletes = self.engine.purge(&errand, true).collect();
        let (hash, version) = (errand.address.hash, u64::MAX);
        self.engine.publish(Invalidation::Key { hash, version });
        self.tell(deletes).await
    }

    /// Invalidates all that carries a tag, here and (over a backplane) in the fleet.
    pub fn invalidate_tag(&self, tag: &str) {
        let tag = self.engine.namer.tag(tag);
        self.engine.tags.mark(self.engine.clock.now(), tag);
        self.engine.publish(Invalidation::Tag(tag));
    }

    /// Another process has invalidated something.
    pub fn hear(&self, invalidation: Invalidation) {
        match invalidation {
            Invalidation::Tag(tag) => self.engine.tags.mark(self.engine.clock.now(), tag),
            Invalidation::Key { hash, version } => {
                let mut core = self.engine.core();
                let now = self.engine.clock.now();
                core.guard.purge_below(now, hash, version);
                let context = Context {
                    tell: false,
                    ..Context::none()
                };
                let after = self.engine.settle(&mut core, now, &context);
                drop(core);
                self.engine.perform(after);
            }
        }
    }

    /// Invalidations of other processes may have been lost. What is cached is answered as stale, and refreshed at a
    /// pace as it is asked for. Nothing is dropped.
    pub fn lost_invalidations(&self) {
        let mut core = self.engine.core();
        core.guard.bump_epoch(self.engine.clock.now());
        self.engine.fast.follow(&core.guard);
    }

    /// The protections, as they are now.
    pub fn policies(&self) -> Policies {
        self.engine.core().guard.policies().clone()
    }

    /// Takes other protections. What is under way goes on under the new ones.
    pub fn retune(&self, policies: &Policies) {
        let engine = &*self.engine;
        let mut core = engine.core();
        let now = engine.clock.now();
        let policies = Policies {
            // A value that is damaged cannot be an answer here.
            integrity: true,
            ..policies.clone()
        };
        core.guard.retune(now, &policies);
        engine.fast.follow(&core.guard);
        let after = engine.settle(&mut core, now, &Context::none());
        drop(core);
        engine.perform(after);
    }

    /// Tells tiers to take keys out, all at once, and goes on telling when the caller has left.
    pub(crate) async fn tell(&self, deletes: Vec<crate::far::Delete>) -> Result<(), Error> {
        let tasks: Vec<_> = deletes
            .into_iter()
            .map(|delete| {
                let engine = Arc::clone(&self.engine);
                tokio::spawn(async move {
                    let told = engine.take_out(&delete).await;
                    if told.is_err() {
                        engine.redo(delete);
                    }
                    told
                })
            })
            .collect();
        let mut result = Ok(());
        for task in tasks {
            if let Err(fault) = task.await.unwrap_or(Err(CacheFault::Refused)) {
                result = Err(Error::Tier(fault));
            }
        }
        result
    }

    /// A hit in memory that needs nothing else.
    #[inline]
    fn fast(&self, key: &K, options: &Options) -> Fast<V> {
        let engine = &*self.engine;
        let Some(memory) = &engine.memory else {
            return Fast::Ask;
        };
        if options.mode != Mode::Normal {
            return Fast::Ask;
        }
        let hash = engine.hash(key, 0);
        let Some(found) = memory.find(hash, key) else {
            return Fast::Ask;
        };
        let now = engine.clock.now();
        let freshness = engine.fast.freshness();
        let judge = |draws: &RefCell<Stream>| {
            freshness.judge(now, &found.entry, options.fresh_for, &mut draws.borrow_mut())
        };
        let verdict = DRAWS.with(judge);
        if engine.tags.purged(&found.body.tags, found.entry.stored) {
            return Fast::Ask;
        }
        match verdict {
            Verdict::Fresh | Verdict::Due => {}
            Verdict::Doubtful | Verdict::Past => return Fast::Ask,
        }
        let told = engine.meters.fast_hits.add();
        let observes = engine.fast.observes.load(Ordering::Relaxed);
        if observes != 0 && told.is_multiple_of(observes) {
            if engine.origin.is_some() {
                engine.names.read(hash, key);
            }
            if let Some(read) = engine.observed.add(hash) {
                let mut core = engine.core();
                for hash in read {
                    core.guard.observe(now, hash);
                }
            }
        }
        let answer = answer(now, &found, Source::Memory, Kind::Fresh, found.entry.version);
        if verdict == Verdict::Due {
            Fast::Due(answer)
        } else {
            Fast::Answer(answer)
        }
    }

    /// A hit that was settled without the guard is to be refreshed.
    #[cold]
    fn refresh_due(&self, key: &K, options: &Options, loader: Option<Loader<V>>) {
        let engine = &*self.engine;
        let errand = engine.errand(key, options, 0, loader);
        let mut locked = engine.core();
        let core = &mut *locked;
        let now = engine.clock.now();
        let class = options.class.unwrap_or_default();
        core.guard
            .refresh_due(now, &mut core.rng, errand.address.hash, class);
        let context = Context {
            errand: Some(&errand),
            found: None,
            tell: true,
        };
        let after = engine.settle(core, now, &context);
        drop(locked);
        engine.perform(after);
    }
}

/// What a look into memory came to.
enum Fast<V> {
    Answer(Answer<V>),
    /// An answer whose refresh is due.
    Due(Answer<V>),
    /// The guard has to be asked.
    Ask,
}
