//! Warming: keys that are loaded at a pace before anybody asks for them.
//!
//! Which keys these are comes from a list, from the origin, or from the snapshot that a process before this one has
//! left. When each is loaded, and that a shared tier is looked into first, is the guard's decision.

use std::sync::atomic::Ordering;

use crate::answer::Error;
use crate::cache::Cache;
use crate::effects::Context;
use crate::engine::Engine;
use crate::key::Key;
use crate::snapshot::SnapshotError;

/// At most so many keys are warmed at a time.
const WARM_MAX: usize = 1 << 20;

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// Loads these keys from the cache's own origin at the pace of the warming policy (its default when it is off), in
    /// this order. It takes the place of a warming that is under way. [`Stats::warming`](crate::Stats::warming) tells
    /// how far it is.
    ///
    /// # Errors
    /// [`Error::NoOrigin`] when the cache was built without one.
    pub fn warm(&self, keys: impl IntoIterator<Item = K>) -> Result<(), Error> {
        self.engine.warm(keys)
    }

    /// Asks the origin which keys are popular ([`Origin::popular`](crate::Origin::popular)), at most `limit` of them,
    /// and warms these. How many there are.
    ///
    /// # Errors
    /// [`Error::NoOrigin`] when the cache was built without one, and the origin's own error.
    pub async fn warm_from_origin(&self, limit: usize) -> Result<usize, Error> {
        let origin = self.engine.origin.as_ref().ok_or(Error::NoOrigin)?;
        let limit = limit.min(WARM_MAX);
        let mut keys = origin.popular(limit).await.map_err(Error::Load)?;
        keys.truncate(limit);
        let count = keys.len();
        self.engine.warm(keys)?;
        Ok(count)
    }

    /// Writes the snapshot of the hot keys now, for example before the process ends. How many keys it has; nothing is
    /// written when none is hot.
    ///
    /// # Errors
    /// When the cache keeps none, or its file could not be written.
    pub async fn snapshot(&self) -> Result<usize, SnapshotError> {
        self.engine.snapshot().await
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    pub(crate) fn warm(&self, keys: impl IntoIterator<Item = K>) -> Result<(), Error> {
        if self.origin.is_none() {
            return Err(Error::NoOrigin);
        }
        let hashed = keys.into_iter().take(WARM_MAX);
        let hashed: Vec<(u64, K)> = hashed.map(|key| (self.hash(&key, 0), key)).collect();
        let order = hashed.iter().map(|(hash, _)| *hash).collect();
        let mut core = self.core();
        let now = self.clock.now();
        core.warming = hashed.into_iter().collect();
        core.guard.warm(now, order);
        let after = self.settle(&mut core, now, &Context::none());
        drop(core);
        self.perform(after);
        Ok(())
    }

    /// The keys that are hot by now, hottest first, as far as they are known by more than their hash.
    pub(crate) fn hot_keys(&self) -> Vec<K> {
        let hashes = self.core().guard.popular();
        let held = |hash| self.memory.as_ref().and_then(|memory| memory.key(hash));
        let known = |hash: u64| self.names.key(hash).or_else(|| held(hash));
        hashes.into_iter().filter_map(known).collect()
    }

    /// Warms what a process before this one found hot. A warming that is under way goes first.
    pub(crate) async fn warm_from_snapshot(&self) {
        let Some(keeper) = &self.keeper else { return };
        let read = keeper.read(&self.name).await;
        match read {
            Ok(keys) => {
                keeper.remember(self.clock.now(), &keys);
                let (automatic, busy) = {
                    let core = self.core();
                    let warm = core.guard.policies().warm.as_ref();
                    (
                        warm.is_some_and(|warm| warm.automatic),
                        core.guard.warming().is_some(),
                    )
                };
                if automatic && !busy && !keys.is_empty() {
                    // Without an origin there is nothing to warm from.
                    let _ = self.warm(keys);
                }
            }
            Err(error) => {
                let counter = match error {
                    SnapshotError::Damaged => &self.meters.snapshots_damaged,
                    _ => &self.meters.snapshots_failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    cache = &*self.name,
                    "the snapshot of the hot keys is of no use: {error}"
                );
            }
        }
    }

    pub(crate) async fn snapshot(&self) -> Result<usize, SnapshotError> {
        let keeper = self.keeper.as_ref().ok_or(SnapshotError::Off)?;
        let window = self
            .core()
            .guard
            .policies()
            .warm
            .clone()
            .unwrap_or_default()
            .window;
        let written = keeper
            .write(self.clock.now(), window, &self.name, self.hot_keys())
            .await;
        match &written {
            Ok(0) => {}
            Ok(_) => {
                self.meters.snapshots.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.meters.snapshots_failed.fetch_add(1, Ordering::Relaxed);
                if self.meters.may_log(self.clock.now()) {
                    tracing::warn!(cache = &*self.name, "no snapshot of the hot keys: {error}");
                }
            }
        }
        written
    }
}
