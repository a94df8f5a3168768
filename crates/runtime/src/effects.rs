//! What the guard wants done beside a step: gathered under its lock, carried out when the lock is free.

use std::sync::Arc;
use std::task::Waker;

use seawall_core::guard::{Effect, LoadId, LoadStep};
use seawall_core::time::Time;
use tracing::Instrument as _;

use crate::engine::{Core, Engine};
use crate::far::{Delete, FarWork};
use crate::flight::{Errand, Flight, Found};
use crate::key::Key;
use crate::origin::loader_of;

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
    /// With whether it is of whom the decision was made for.
    launch: Vec<(Arc<Flight<K, V>>, bool)>,
    cancel: Vec<Arc<Flight<K, V>>>,
    work: Vec<FarWork<K, V>>,
    /// Keys to be taken out of tiers, which the caller may want to wait for.
    pub(crate) deletes: Vec<Delete>,
    ring: bool,
}

/// How often the guard is woken at one instant, at most; the timer comes for the rest.
const ROUNDS: usize = 8;

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
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
        if core.guard.loads() == 0 {
            // Those that ended in the line before the origin, of which the guard says nothing.
            core.flights.clear();
        }
        let next = core.guard.next_wake();
        if next < core.armed || (next != Time::NEVER && !self.timer.lives()) {
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
                Some(flight) => {
                    let own = errand(flight.errand.address.hash).is_some();
                    after.launch.push((flight, own));
                }
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
        let named = || self.names.key(hash);
        let key = core.warming.remove(&hash).or_else(held).or_else(named)?;
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
        for waker in after.wakers {
            waker.wake();
        }
        for (flight, own) in &after.launch {
            self.spawn_load(flight, None, *own);
        }
        for work in after.work {
            self.spawn_work(work);
        }
        after.deletes.into_iter().for_each(&mut delete);
        if after.ring {
            self.ring();
        }
    }

    /// Drives a load in a task of its own, from `step` on.
    pub(crate) fn spawn_load(&self, flight: &Arc<Flight<K, V>>, step: Option<LoadStep>, own: bool) {
        let (Some(me), Some(runtime)) = (self.me.upgrade(), self.runtime()) else {
            return self.decline(flight.id);
        };
        let span = crate::drive::span(&self.name, flight, own);
        let task = runtime.spawn(crate::drive::drive(me, Arc::clone(flight), step).instrument(span));
        flight.driven_by(task.abort_handle());
    }

    /// Nobody drives this load any more: those who wait are told.
    pub(crate) fn decline(&self, load: LoadId) {
        let mut core = self.core();
        let now = self.clock.now();
        core.guard.decline(now, load);
        core.over(now, load);
        let after = self.settle(&mut core, now, &Context::none());
        drop(core);
        self.perform(after);
    }

    /// Writes into a tier in the background. What is only a copy is let go when too much is under way.
    pub(crate) fn spawn_work(&self, work: FarWork<K, V>) {
        let permit = Arc::clone(&self.work).try_acquire_owned();
        let (Some(me), Some(runtime), Ok(permit)) = (self.me.upgrade(), self.runtime(), permit) else {
            match work {
                FarWork::Delete(delete) => self.redo(delete),
                FarWork::Fill { .. } | FarWork::GiveBack { .. } => self.meters.dropped(),
            }
            return;
        };
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
