//! Calls to a tier beyond this process's memory: sealed, opened, timed, and told apart by what went wrong.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use seawall_core::guard::{CacheFault, Entry};
use seawall_core::time::{Span, Time};
use tracing::Instrument as _;

use crate::clock::{from_unix_us, timeout, to_unix_us};
use crate::engine::Engine;
use crate::envelope::{Damage, Envelope};
use crate::flight::{Body, Found};
use crate::key::{Address, Key};
use crate::store::{Sealed, Store};

/// How long a call to a store may take where nobody says.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a look-up came to.
pub(crate) enum Look<K, V> {
    Found(Found<K, V>),
    /// Something is there that had not been stored like this. It carries what can be said of it.
    Corrupt(Entry),
    Missing,
    Failed(CacheFault),
}

/// A write into a tier that no request waits for.
pub(crate) enum FarWork<K, V> {
    Fill {
        tier: u8,
        node: u16,
        address: Arc<Address>,
        found: Found<K, V>,
        keep: Span,
    },
    Delete(Delete),
    GiveBack {
        tier: u8,
        node: u16,
        address: Arc<Address>,
    },
}

/// A key that is to be taken out of a tier.
#[derive(Clone, Debug)]
pub(crate) struct Delete {
    pub(crate) tier: u8,
    pub(crate) node: u16,
    pub(crate) address: Arc<Address>,
    pub(crate) version: u64,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    /// The store of a tier, by the guard's number of it.
    pub(crate) fn store(&self, tier: u8) -> &Arc<dyn Store> {
        &self.far[tier as usize - usize::from(self.memory.is_some())]
    }

    /// Waits for a store, and no longer than `limit`.
    async fn within<T>(
        &self,
        tier: u8,
        limit: Duration,
        what: &'static str,
        call: impl Future<Output = Result<T, CacheFault>>,
    ) -> Result<T, CacheFault> {
        let span = tracing::debug_span!("tier", store = self.store(tier).name(), call = what);
        let began = self.clock.now();
        let result = tokio::time::timeout(limit, call).instrument(span).await;
        self.meters.tier_took(tier, self.clock.now().since(began));
        result.unwrap_or(Err(CacheFault::TimedOut))
    }

    fn patience(&self, tier: u8) -> Duration {
        timeout(self.core().guard.patience(tier as usize)).unwrap_or(PATIENCE)
    }

    pub(crate) async fn look(
        &self,
        tier: u8,
        node: u16,
        key: &K,
        address: &Arc<Address>,
        limit: Span,
    ) -> Look<K, V> {
        let limit = timeout(limit).unwrap_or(PATIENCE);
        let until = tokio::time::Instant::now() + limit;
        let store = &**self.store(tier);
        let bytes = match self
            .within(tier, limit, "get", store.get(node, address, limit))
            .await
        {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Look::Missing,
            Err(fault) => {
                self.note_fault(tier, fault);
                return Look::Failed(fault);
            }
        };
        match self.open(key, address, &bytes) {
            Ok(found) if self.tags.purged(&found.body.tags, found.entry.stored) => Look::Missing,
            Ok(found) => Look::Found(found),
            Err(damage) => self.damaged(tier, node, address, damage, until).await,
        }
    }

    /// What is no answer is a miss, counted and told. What is damaged is taken out before the look-up ends: later, it
    /// could be the right value that goes, which a load has put in its place meanwhile.
    async fn damaged(
        &self,
        tier: u8,
        node: u16,
        address: &Arc<Address>,
        damage: Damage,
        until: tokio::time::Instant,
    ) -> Look<K, V> {
        self.meters.damaged(damage);
        if self.meters.may_log(self.clock.now()) {
            let (store, key) = (self.store(tier).name(), &*address.text);
            tracing::warn!(
                cache = &*self.name,
                store,
                key,
                "what a store holds is no answer: {damage}"
            );
        }
        if !damage.is_corrupt() {
            return Look::Missing;
        }
        self.meters.fault(tier, CacheFault::Corrupt);
        // Its version is not to be trusted, and must not keep a right value out.
        let delete = Delete {
            tier,
            node,
            address: Arc::clone(address),
            version: u64::MAX,
        };
        if !matches!(
            tokio::time::timeout_at(until, self.take_out(&delete)).await,
            Ok(Ok(()))
        ) {
            self.redo(delete);
        }
        Look::Corrupt(Entry {
            stored: Time::ZERO,
            fresh_until: Time::ZERO,
            refresh_at: Time::ZERO,
            cost: Span::ZERO,
            version: 0,
            negative: false,
            intact: false,
        })
    }

    fn open(&self, key: &K, address: &Address, bytes: &Bytes) -> Result<Found<K, V>, Damage> {
        let codec = self.codec.as_ref().ok_or(Damage::Unreadable)?;
        let (envelope, value) = Envelope::open(bytes, address.digest)?;
        let known = envelope.negative || envelope.codec == codec.id();
        if !known || envelope.value_version != self.value_version {
            return Err(Damage::OtherType);
        }
        let value = if envelope.negative {
            None
        } else {
            Some(codec.decode(&value).map_err(|_| Damage::Unreadable)?)
        };
        let entry = Entry {
            stored: from_unix_us(envelope.created_us).min(self.clock.now()),
            fresh_until: from_unix_us(envelope.fresh_until_us),
            refresh_at: from_unix_us(envelope.refresh_at_us),
            cost: Span::micros(envelope.cost_us.into()),
            version: envelope.version,
            negative: envelope.negative,
            intact: true,
        };
        let body = self.body(key, value, envelope.tags);
        Ok(Found { body, entry })
    }

    /// A value as everything that holds it shares it.
    pub(crate) fn body(&self, key: &K, value: Option<V>, tags: Vec<u64>) -> Arc<Body<K, V>> {
        let weight = value.as_ref().map_or(0, |value| (self.weigh)(key, value));
        Arc::new(Body {
            key: key.clone(),
            value,
            tags: tags.into(),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        })
    }

    pub(crate) async fn put(
        &self,
        tier: u8,
        node: u16,
        address: &Address,
        found: &Found<K, V>,
        keep: Span,
    ) -> Result<(), CacheFault> {
        let Some(sealed) = self.seal(address, found, keep) else {
            return Ok(());
        };
        let limit = self.patience(tier);
        let store = &**self.store(tier);
        let result = self
            .within(tier, limit, "put", store.put(node, address, sealed, limit))
            .await;
        match result {
            Ok(()) => self.meters.set(tier),
            Err(fault) => self.note_fault(tier, fault),
        }
        result
    }

    fn seal(&self, address: &Address, found: &Found<K, V>, keep: Span) -> Option<Sealed> {
        let codec = self.codec.as_ref()?;
        let value = match &found.body.value {
            None => Bytes::new(),
            Some(value) => match codec.encode(value) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.meters.unwritable.fetch_add(1, Ordering::Relaxed);
                    if self.meters.may_log(self.clock.now()) {
                        tracing::warn!(
                            cache = &*self.name,
                            key = &*address.text,
                            "a value has no bytes: {error}"
                        );
                    }
                    return None;
                }
            },
        };
        let entry = &found.entry;
        let envelope = Envelope {
            negative: entry.negative,
            codec: codec.id(),
            value_version: self.value_version,
            version: entry.version,
            created_us: to_unix_us(entry.stored),
            fresh_until_us: to_unix_us(entry.fresh_until),
            refresh_at_us: to_unix_us(entry.refresh_at),
            stale_until_us: to_unix_us(self.clock.now() + keep),
            cost_us: u32::try_from(entry.cost.as_nanos() / 1_000).unwrap_or(u32::MAX),
            digest: address.digest,
            tags: found.body.tags.to_vec(),
        };
        Some(Sealed {
            bytes: envelope.seal(&value),
            version: entry.version,
            keep: timeout(keep),
        })
    }

    pub(crate) async fn take_out(&self, delete: &Delete) -> Result<(), CacheFault> {
        let limit = self.patience(delete.tier);
        let store = &**self.store(delete.tier);
        let call = store.delete(delete.node, &delete.address, delete.version, limit);
        let result = self.within(delete.tier, limit, "delete", call).await;
        if let Err(fault) = result {
            self.note_fault(delete.tier, fault);
        }
        result
    }

    /// Asks for the fleet's lease. A store that cannot say grants it.
    pub(crate) async fn lease(&self, tier: u8, node: u16, address: &Address, hold: Span) -> bool {
        let (limit, hold) = (self.patience(tier), hold.into());
        let store = &**self.store(tier);
        let result = self
            .within(tier, limit, "lease", store.lease(node, address, hold, limit))
            .await;
        result.unwrap_or(true)
    }

    pub(crate) async fn give_back(&self, tier: u8, node: u16, address: &Address) {
        let limit = self.patience(tier);
        // A lease that is not given back ends by itself.
        let store = &**self.store(tier);
        let _ = self
            .within(tier, limit, "give back", store.give_back(node, address, limit))
            .await;
    }

    fn note_fault(&self, tier: u8, fault: CacheFault) {
        self.meters.fault(tier, fault);
        if self.meters.may_log(self.clock.now()) {
            let store = self.store(tier).name();
            tracing::warn!(cache = &*self.name, store, fault = fault.name(), "a store failed");
        }
    }
}
