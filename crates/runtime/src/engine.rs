//! The driver of the guard: what a cache consists of, and how the guard's decisions are carried out.
//!
//! The guard is behind a lock that is held for as long as a decision takes, and never while anything is waited for.
//! What it wants done beside a step is gathered under the lock and done after it. Two things are done under the lock:
//! requests are marked as woken, and memory is changed, so that a purge and a store of the same key cannot pass each
//! other between the decision and the deed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use seawall_core::guard::{Effect, Freshness, Guard, LoadId};
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::backplane::{Backplane, Invalidation};
use crate::clock::Clock;
use crate::codec::Codec;
use crate::far::{Delete, FarWork};
use crate::flight::{Errand, Flight, Found};
use crate::health::Critical;
use crate::key::{Address, Key, Namer};
use crate::memory::Memory;
use crate::meters::Meters;
use crate::origin::{Origin, loader_of};
use crate::slots::Slots;
use crate::store::Store;
use crate::tags::Tags;
use crate::timer::Timer;

/// How many bytes a value takes in memory.
pub(crate) type Weigh<K, V> = Arc<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// Everything that a cache is.
pub(crate) struct Engine<K, V> {
    pub(crate) name: Arc<str>,
    pub(crate) namer: Namer,
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
    pub(crate) timer: Timer,
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
    flights: Vec<Option<Arc<Flight<K, V>>>>,
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

/// Whom a decision was made for: what its effects may need.
pub(crate) struct Context<'a, K, V> {
    pub(crate) errand: Option<&'a Errand<K, V>>,
    pub(crate) found: Option<&'a Found<K, V>>,
    /// Whether tiers beyond memory are told of invalidations.
    pub(crate) tell: bool,
}

impl<K, V> Context<'_, K, V> {
    /// A decision that was made for nobody in particular.
    pub(crate) fn none() -> Context<'static, K, V>
    where
        K: 'static,
        V: 'static,
    {
        Context {
            errand: None,
            found: None,
            tell: true,
        }
    }
}

/// What is to be done when the lock is free again.
pub(crate) struct After<K, V> {
    wakers: Vec<Waker>,
    launch: Vec<Arc<Flight<K, V>>>,
    cancel: Vec<Arc<Flight<K, V>>>,
    work: Vec<FarWork<K, V>>,
    /// Keys to be taken out of tiers, which the caller may want to wait for.
    pub(crate) deletes: Vec<Delete>,
    ring: bool,
}

/// How often the guard is woken at one instant, at most; the timer comes for the rest.
const ROUNDS: usize = 8;

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
    fn address_of(&self, hash: u64) -> Option<Arc<Address>> {
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

    /// Tells the other processes.
    pub(crate) fn publish(&self, invalidation: Invalidation) {
        if let Some(backplane) = &self.backplane {
            backplane.publish(invalidation);
        }
    }

    /// Gathers what the guard wants done, and does what is to be done under the lock.
    pub(crate) fn settle(
        &self,
        core: &mut Core<K, V>,
        now: Time,
        context: &Context<'_, K, V>,
    ) -> After<K, V> {
        let mut after = After::nothing();
        for _ in 0..ROUNDS {
            while let Some(effect) = core.guard.poll() {
                self.gather(core, now, context, effect, &mut after);
            }
            if core.guard.next_wake() > now {
                break;
            }
            core.guard.wake(now, &mut core.rng);
        }
        let next = core.guard.next_wake();
        if next < core.armed {
            core.armed = next;
            after.ring = true;
        }
        after
    }

    fn gather(
        &self,
        core: &mut Core<K, V>,
        now: Time,
        context: &Context<'_, K, V>,
        effect: Effect,
        after: &mut After<K, V>,
    ) {
        let errand = |hash| context.errand.filter(|errand| errand.address.hash == hash);
        match effect {
            Effect::Wake(token) => after.wakers.extend(core.slots.wake(token)),
            Effect::Launch(id) => match self.launched(core, id, context.errand) {
                Some(flight) => after.launch.push(flight),
                None => core.guard.decline(now, id),
            },
            Effect::Cancel(id) => after.cancel.extend(core.over(now, id)),
            Effect::Fill {
                tier,
                node,
                key,
                keep,
                entry,
            } => {
                let (Some(errand), Some(found)) = (errand(key), context.found) else {
                    return;
                };
                let body = Arc::clone(&found.body);
                match &self.memory {
                    Some(memory) if tier == 0 => {
                        memory.hold(now, key, body, entry, keep);
                        self.meters.set(0);
                    }
                    _ => after.work.push(FarWork::Fill {
                        tier,
                        node,
                        address: Arc::clone(&errand.address),
                        found: Found { body, entry },
                        keep,
                    }),
                }
            }
            Effect::Invalidate {
                tier,
                node,
                key,
                version,
            } => match (&self.memory, errand(key)) {
                (Some(memory), _) if tier == 0 => {
                    let held = memory.take_out(key, version);
                    self.meters.invalidated(u64::from(held));
                }
                (_, Some(errand)) if context.tell => after.deletes.push(Delete {
                    tier,
                    node,
                    address: Arc::clone(&errand.address),
                    version,
                }),
                _ => {}
            },
            Effect::GiveBack { tier, node, key } => {
                let known = errand(key).map(|errand| Arc::clone(&errand.address));
                if let Some(address) = known.or_else(|| core.address_of(key)) {
                    after.work.push(FarWork::GiveBack { tier, node, address });
                }
            }
        }
    }

    /// The load that is to be driven: known already, for the present errand, or of a key that is warmed.
    fn launched(
        &self,
        core: &mut Core<K, V>,
        id: LoadId,
        errand: Option<&Errand<K, V>>,
    ) -> Option<Arc<Flight<K, V>>> {
        if let Some(flight) = core.flight(id) {
            return Some(flight);
        }
        let hash = core.guard.key_of(id)?;
        if let Some(errand) = errand.filter(|errand| errand.address.hash == hash) {
            return Some(core.flight_for(id, errand));
        }
        let held = || self.memory.as_ref().and_then(|memory| memory.key(hash));
        let key = core.warming.remove(&hash).or_else(held)?;
        let loader = loader_of(self.origin.as_ref()?, &key);
        let errand = Errand {
            address: Arc::new(self.namer.address(&key, hash)),
            key,
            loader: Some(loader),
            classed: false,
            alone: false,
            tags: Vec::new(),
        };
        Some(core.flight_for(id, &errand))
    }

    /// Does what was gathered. The lock is free.
    pub(crate) fn perform(&self, after: After<K, V>) {
        self.perform_all_but_deletes(after, |delete| self.spawn_work(FarWork::Delete(delete)));
    }

    /// The same, and leaves the keys that are to be taken out of tiers to the caller.
    pub(crate) fn perform_all_but_deletes(&self, after: After<K, V>, mut delete: impl FnMut(Delete)) {
        for flight in after.cancel {
            flight.cancel();
        }
        for flight in &after.launch {
            self.spawn_load(flight);
        }
        for waker in after.wakers {
            waker.wake();
        }
        for work in after.work {
            self.spawn_work(work);
        }
        after.deletes.into_iter().for_each(&mut delete);
        if after.ring {
            self.ring();
        }
    }

    /// The runtime that background work runs on: the caller's, or the one of the first call.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        match Handle::try_current() {
            Ok(handle) => {
                self.runtime.get_or_init(|| handle.clone());
                Some(handle)
            }
            Err(_) => self.runtime.get().cloned(),
        }
    }

    fn spawn_load(&self, flight: &Arc<Flight<K, V>>) {
        let (Some(me), Some(runtime)) = (self.me.upgrade(), self.runtime()) else {
            return;
        };
        let task = runtime.spawn(crate::drive::drive(me, Arc::clone(flight)));
        flight.driven_by(task.abort_handle());
    }

    /// Writes into a tier in the background. What is only a copy is let go when too much is under way.
    pub(crate) fn spawn_work(&self, work: FarWork<K, V>) {
        let (Some(me), Some(runtime)) = (self.me.upgrade(), self.runtime()) else {
            return;
        };
        let permit = Arc::clone(&self.work).try_acquire_owned().ok();
        if permit.is_none() {
            match work {
                FarWork::Delete(delete) => self.redo(delete),
                _ => self.meters.dropped(),
            }
            return;
        }
        runtime.spawn(async move {
            me.do_work(work).await;
            drop(permit);
        });
    }

    async fn do_work(&self, work: FarWork<K, V>) {
        match work {
            FarWork::Fill {
                tier,
                node,
                address,
                found,
                keep,
            } => {
                // It is counted where it happens; nobody waits for it.
                let _ = self.put(tier, node, &address, &found, keep).await;
            }
            FarWork::Delete(delete) => {
                if self.take_out(&delete).await.is_err() {
                    self.redo(delete);
                }
            }
            FarWork::GiveBack { tier, node, address } => self.give_back(tier, node, &address).await,
        }
    }
}

impl<K, V> After<K, V> {
    fn nothing() -> After<K, V> {
        After {
            wakers: Vec::new(),
            launch: Vec::new(),
            cancel: Vec::new(),
            work: Vec::new(),
            deletes: Vec::new(),
            ring: false,
        }
    }
}
