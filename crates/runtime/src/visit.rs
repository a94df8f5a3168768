//! Visits: calls of the origin by another way than [`Cache::get_or_load`] and [`Cache::write`].

use std::time::Duration;

use seawall_core::gate::Reason;
use seawall_core::guard;

use crate::answer::Error;
use crate::cache::Cache;
use crate::effects::Context;
use crate::key::Key;

/// A call of the origin that is under way: a place of its limit, until it is ended or dropped.
#[must_use = "its place is given back when it is dropped"]
pub struct Visit<K: Key, V: Clone + Send + Sync + 'static> {
    cache: Cache<K, V>,
    inner: Option<guard::Visit>,
    began: seawall_core::time::Time,
}

impl<K: Key, V: Clone + Send + Sync + 'static> std::fmt::Debug for Visit<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visit")
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// Lets the caller ask the origin itself, for something that is neither loaded nor cached. Its limit and its
    /// breaker count the call like any other. A write goes on when all places are taken; a read does not wait for one.
    ///
    /// # Errors
    /// [`Error::Open`] when the breaker is open; [`Error::Shed`] when a read finds no place.
    pub fn visit(&self, is_write: bool) -> Result<Visit<K, V>, Error> {
        let engine = &*self.engine;
        let mut locked = engine.core();
        let core = &mut *locked;
        let began = engine.clock.now();
        let admitted = core.guard.visit(began, &mut core.rng, is_write);
        let opens_in = core.guard.origin_opens_in(began);
        drop(locked);
        match admitted {
            Ok(visit) => {
                engine.meters.origin_begins();
                Ok(Visit {
                    cache: self.clone(),
                    inner: Some(visit),
                    began,
                })
            }
            Err(Reason::OriginOpen) => Err(Error::Open {
                retry_after: Duration::from(opens_in).max(Duration::from_millis(1)),
            }),
            Err(reason) => Err(Error::Shed {
                reason,
                retry_after: None,
            }),
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Visit<K, V> {
    /// Ends it, with whether the origin answered as it should.
    pub fn end(mut self, ok: bool) {
        self.leave(Some(ok));
    }

    fn leave(&mut self, ok: Option<bool>) {
        let Some(visit) = self.inner.take() else { return };
        let engine = &*self.cache.engine;
        let mut locked = engine.core();
        let core = &mut *locked;
        let now = engine.clock.now();
        core.guard.end_visit(now, &mut core.rng, visit, ok);
        let after = engine.settle(core, now, &Context::none());
        drop(locked);
        engine.perform(after);
        engine
            .meters
            .origin_ends(now.since(self.began), ok.unwrap_or(true));
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Drop for Visit<K, V> {
    fn drop(&mut self) {
        self.leave(None);
    }
}
