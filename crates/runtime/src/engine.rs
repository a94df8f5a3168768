//! The driver of the guard: what a cache consists of, and how the guard's decisions are carried out.
//!
//! The guard is behind a lock that is held for as long as a decision takes, and never while anything is waited for.
//! What it wants done beside a step is gathered under the lock and done after it. Two things are done under the lock:
//! requests are marked as woken, and memory is changed, so that a purge and a store of the same key cannot pass each
//! other between the decision and the deed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use seawall_core::guard::{Freshness, Guard, LoadId};
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::backplane::{Backplane, Invalidation};
use crate::clock::Clock;
use crate::codec::Codec;
use crate::flight::{Errand, Flight};
use crate::health::Critical;
use crate::key::{Address, Key, Namer};
use crate::memory::Memory;
use crate::meters::Meters;
use crate::observed::{Names, Observed};
use crate::origin::Origin;
use crate::slots::Slots;
use crate::snapshot::Keeper;
use crate::store::Store;
use crate::tags::Tags;
use crate::timer::Timer;

/// How many bytes a value takes in memory.
pub(crate) type Weigh<K, V> = Arc<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// Everything that a cache is.
pub(crate) struct Engine<K, V> {
    pub(crate) name: Arc<str>,
    pub(crate) namer: Namer,
    /// In place of the namer's hash; in tests only.
    pub(crate) hashed_by: Option<fn(&K) -> u64>,
    pub(crate) clock: Clock,
    /// The first tier, if there is one.
    pub(crate) memory: Option<Memory<K, V>>,
    /// The tiers beyond it.
    pub(crate) far: Vec<Arc<dyn Store>>,
    pub(crate) codec: Option<Arc<dyn Codec<V>>>,
    pub(crate) value_version: u16,
    pub(crate) origin: Option<Arc<dyn Origin<K, V>>>,
    pub(crate) weigh: Weigh<K, V>,
    pub(crate) backplane: Option<Arc<dyn Backplane>>,
    /// The parts that the service cannot do without.
    pub(crate) critical: Critical,
    pub(crate) tags: Tags,
    pub(crate) meters: Meters,
    pub(crate) fast: Fast,
    pub(crate) observed: Observed,
    pub(crate) names: Names<K>,
    pub(crate) timer: Timer,
    pub(crate) keeper: Option<Keeper<K>>,
    /// Bounds the writes into tiers that nobody waits for.
    pub(crate) work: Arc<Semaphore>,
    pub(crate) me: Weak<Engine<K, V>>,
    pub(crate) runtime: OnceLock<Handle>,
    pub(crate) core: Mutex<Core<K, V>>,
}

/// What the lock protects.
pub(crate) struct Core<K, V> {
    pub(crate) guard: Guard,
    pub(crate) rng: Stream,
    pub(crate) slots: Slots,
    /// By the load's place.
    pub(crate) flights: Vec<Option<Arc<Flight<K, V>>>>,
    /// Loads that are over and whose value is still shared.
    shared: BTreeMap<LoadId, Arc<Flight<K, V>>>,
    shared_until: VecDeque<(Time, LoadId)>,
    /// The keys that are to be warmed, by hash.
    pub(crate) warming: BTreeMap<u64, K>,
    /// When the timer will come.
    pub(crate) armed: Time,
}

/// What a hit is judged by without the lock: a copy of the guard's [`Freshness`].
#[derive(Debug)]
pub(crate) struct Fast {
    epoch_began: AtomicU64,
    /// The bits of beta; those of a NaN when early refresh is off.
    beta: AtomicU64,
    /// One hit in so many is told to the guard; none when 0.
    pub(crate) observes: AtomicU64,
}

impl Fast {
    pub(crate) fn new(guard: &Guard) -> Fast {
        let fast = Fast {
            epoch_began: AtomicU64::new(0),
            beta: AtomicU64::new(0),
            observes: AtomicU64::new(0),
        };
        fast.follow(guard);
        fast
    }

    /// Takes over what the guard has changed.
    pub(crate) fn follow(&self, guard: &Guard) {
        let freshness = guard.freshness();
        let beta = freshness.beta.unwrap_or(f64::NAN);
        self.epoch_began
            .store(freshness.epoch_began.as_nanos(), Ordering::Release);
        self.beta.store(beta.to_bits(), Ordering::Release);
        self.observes
            .store(guard.observes().unwrap_or(0), Ordering::Release);
    }

    #[inline]
    pub(crate) fn freshness(&self) -> Freshness {
        let beta = f64::from_bits(self.beta.load(Ordering::Acquire));
        Freshness {
            epoch_began: Time::from_nanos(self.epoch_began.load(Ordering::Acquire)),
            beta: (!beta.is_nan()).then_some(beta),
        }
    }
}

impl<K: Key, V> Core<K, V> {
    pub(crate) fn new(guard: Guard, rng: Stream) -> Core<K, V> {
        Core {
            guard,
            rng,
            slots: Slots::default(),
            flights: Vec::new(),
            shared: BTreeMap::new(),
            shared_until: VecDeque::new(),
            warming: BTreeMap::new(),
            armed: Time::NEVER,
        }
    }

    /// The load of this name, if it is known.
    pub(crate) fn flight(&self, id: LoadId) -> Option<Arc<Flight<K, V>>> {
        let known = self.flights.get(id.index() as usize).and_then(Option::as_ref);
        known
            .filter(|flight| flight.id == id)
            .or_else(|| self.shared.get(&id))
            .map(Arc::clone)
    }

    /// The load of this name, or a new one for this errand.
    pub(crate) fn flight_for(&mut self, id: LoadId, errand: &Errand<K, V>) -> Arc<Flight<K, V>> {
        self.flight(id).unwrap_or_else(|| {
            let flight = Arc::new(Flight::new(id, errand.clone()));
            let place = id.index() as usize;
            if self.flights.len() <= place {
                self.flights.resize_with(place + 1, || None);
            }
            self.flights[place] = Some(Arc::clone(&flight));
            flight
        })
    }

    /// A load is over. Its value is kept for those who share it later.
    pub(crate) fn over(&mut self, now: Time, id: LoadId) -> Option<Arc<Flight<K, V>>> {
        let place = self.flights.get_mut(id.index() as usize)?;
        let flight = place.take_if(|flight| flight.id == id)?;
        let settings = self.guard.policies().coalesce.as_ref();
        let window = settings.map_or(Span::ZERO, |settings| settings.window);
        while let Some((until, old)) = self.shared_until.front().copied()
            && until <= now
        {
            self.shared_until.pop_front();
            self.shared.remove(&old);
        }
        if !window.is_zero() {
            self.shared_until.push_back((now + window, id));
            self.shared.insert(id, Arc::clone(&flight));
        }
        Some(flight)
    }

    /// The address of the load of this key that is under way.
    pub(crate) fn address_of(&self, hash: u64) -> Option<Arc<Address>> {
        let flights = self.flights.iter().flatten();
        let mut addresses = flights.map(|flight| &flight.errand.address);
        addresses.find(|address| address.hash == hash).map(Arc::clone)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    pub(crate) fn core(&self) -> MutexGuard<'_, Core<K, V>> {
        // A panic under the lock leaves the guard as consistent as its own invariants: carrying on is better than
        // failing every request from then on.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The 64 bits by which the guard knows a key.
    #[inline]
    pub(crate) fn hash(&self, key: &K, salt: u32) -> u64 {
        match self.hashed_by {
            Some(hash) if salt == 0 => hash(key),
            _ => self.namer.hash(key, salt),
        }
    }

    /// Tells the other processes.
    pub(crate) fn publish(&self, invalidation: Invalidation) {
        if let Some(backplane) = &self.backplane {
            backplane.publish(invalidation);
        }
    }

    /// The runtime that background work runs on: the caller's, or the one of the first call.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        match Handle::try_current() {
            Ok(handle) => {
                if self.runtime.set(handle.clone()).is_ok() {
                    self.keep_snapshots(&handle);
                }
                Some(handle)
            }
            Err(_) => self.runtime.get().cloned(),
        }
    }
}
