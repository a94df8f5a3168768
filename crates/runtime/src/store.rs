//! Stores: what a tier beyond this process's memory has to do.
//!
//! A store keeps bytes by name. It does not judge them, retries nothing, and queues nothing: every call comes with the
//! time that it may take, and the breaker of its node decides whether it is made at all. What went wrong is told as a
//! [`CacheFault`], because "read-only" and "gone" are different facts.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use seawall_core::guard::CacheFault;
use seawall_core::ring::Sharding;

use crate::key::Address;

/// A future in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A tier beyond this process's memory.
///
/// Each call names the `node` that the ring chose (0 where there is one) and how long it may take. The caller stops
/// waiting at that time by itself; a store that can stop the work, or its connection's, does so too.
pub trait Store: Debug + Send + Sync + 'static {
    /// What it is called, in metrics and health.
    fn name(&self) -> &str;

    /// Over how many nodes keys are spread by us; 1 when it spreads them by itself.
    fn nodes(&self) -> u16 {
        1
    }

    /// How they are spread.
    fn sharding(&self) -> Sharding {
        Sharding::Ring
    }

    /// How many spare nodes it has (numbered after the others), which stand in for nodes that are not asked, and for
    /// how long at most they keep anything.
    fn spares(&self) -> Option<(u16, Duration)> {
        None
    }

    /// Whether other processes use it too.
    fn is_shared(&self) -> bool {
        true
    }

    /// How long it keeps what has no class, where nobody says; by its place among the tiers when it does not say either.
    fn default_ttl(&self) -> Option<Duration> {
        None
    }

    /// How many entries it has pushed out to make room since it was opened, where it knows.
    fn evictions(&self) -> Option<u64> {
        None
    }

    /// How many entries it holds, where it knows without asking anybody.
    fn entries(&self) -> Option<u64> {
        None
    }

    /// The bytes under this name.
    fn get<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        timeout: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>>;

    /// Puts these bytes under this name, unless what is there is an envelope of the same key
    /// ([`DIGEST_AT`](crate::envelope::DIGEST_AT)) and of a higher version
    /// ([`VERSION_AT`](crate::envelope::VERSION_AT)). Whatever else is there is overwritten.
    fn put<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        value: Sealed,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>>;

    /// Takes what is under this name out, unless it is an envelope of `version` or a higher one; `u64::MAX` takes
    /// everything out.
    fn delete<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        version: u64,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>>;

    /// Asks for the fleet's lease on this key, which ends by itself after `hold`. A store that has no leases grants it.
    fn lease<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        hold: Duration,
        timeout: Duration,
    ) -> Boxed<'a, Result<bool, CacheFault>> {
        let _ = (node, key, hold, timeout);
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Gives the lease back, if it is still ours.
    fn give_back<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        let _ = (node, key, timeout);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Bytes for a store.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The envelope and the value in it.
    pub bytes: Bytes,
    /// The version of the value.
    pub version: u64,
    /// After this time the store drops it by itself; for ever when absent.
    pub keep: Option<Duration>,
}
