//! Writes to the origin: past the line of loads, and then the key out of all tiers.

use std::error::Error as StdError;
use std::future::Future;

use seawall_core::guard::{OriginFault, Outcome, Reply, Step};

use crate::answer::{Error, Freshness};
use crate::backplane::Invalidation;
use crate::cache::Cache;
use crate::call::{Ticket, Turn, deadline};
use crate::clock::timeout;
use crate::engine::Engine;
use crate::key::Key;
use crate::options::Options;
use crate::origin::LoadError;

impl<K: Key, V: Clone + Send + Sync + 'static> Cache<K, V> {
    /// Writes to the origin, and takes what is cached of `key` out of all tiers, here and (over a backplane) in the
    /// fleet. It does not stand in line behind loads; only the origin's breaker holds it back.
    ///
    /// The write runs in this call and is dropped with it, or at the deadline. Then nobody knows whether it happened;
    /// as after an error, what is cached goes.
    ///
    /// # Errors
    /// Why it was not written, or is not known to be. A tier that could not be told is no error: it is told again.
    pub async fn write<F, Fut, T, E>(&self, key: &K, options: &Options, write: F) -> Result<T, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let write = || async { write().await.map(|value| (value, u64::MAX)) };
        self.write_versioned(key, options, write).await
    }

    /// The same, of a write that says which version it made: what is cached of that version or a higher one stays.
    ///
    /// # Errors
    /// As [`Cache::write`].
    pub async fn write_versioned<F, Fut, T, E>(
        &self,
        key: &K,
        options: &Options,
        write: F,
    ) -> Result<T, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<(T, u64), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let engine = &*self.engine;
        let began = engine.clock.now();
        let errand = engine.errand(key, options, 0, None);
        let hash = errand.address.hash;
        let times = (began, deadline(began, options));
        let (mut ticket, turn) = Ticket::begin(engine, errand, options, times, false);
        let result = match turn {
            Turn::Next(Step::Write { timeout }) => {
                let (written, reply) = engine.perform_write(timeout, write()).await;
                let turn = ticket.resume(reply);
                let deletes = std::mem::take(&mut ticket.deletes);
                let version = written.as_ref().map_or(u64::MAX, |(_, version)| *version);
                engine.publish(Invalidation::Key { hash, version });
                // Tiers that hear of it later are told again; the write itself is done.
                let _ = self.tell(deletes).await;
                match (written, turn) {
                    (Ok((value, _)), _) => Ok(value),
                    (Err(error), Turn::Next(Step::Done(Outcome::Failed))) => Err(Error::Load(error)),
                    (Err(_), _) => Err(Error::TimedOut),
                }
            }
            Turn::Next(Step::Done(outcome)) => Err(ticket.result(outcome).err().unwrap_or(Error::TimedOut)),
            Turn::Next(_) | Turn::Collision => Err(Error::TimedOut),
        };
        let worth = result.as_ref().map(|_| Freshness::Fresh);
        engine.meters.ended(engine.clock.now().since(began), worth);
        result
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    async fn perform_write<T, E>(
        &self,
        limit: seawall_core::time::Span,
        write: impl Future<Output = Result<(T, u64), E>>,
    ) -> (Result<(T, u64), LoadError>, Reply)
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let began = self.clock.now();
        self.meters.origin_begins();
        let result = match timeout(limit) {
            None => Ok(write.await),
            Some(limit) => tokio::time::timeout(limit, write).await,
        };
        let result = match result {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) => Err(LoadError::of(error.into())),
            Err(_) => Err(LoadError::new(
                OriginFault::TimedOut,
                "the write did not end in time",
            )),
        };
        let took = self.clock.now().since(began);
        self.meters.origin_ends(took, result.is_ok());
        let reply = match &result {
            Ok((_, version)) => Reply::Written { version: *version },
            Err(error) => Reply::WriteFailed(error.fault()),
        };
        (result, reply)
    }
}
