//! The backplane: how the processes of a fleet hear of each other's invalidations.
//!
//! A cache publishes what it invalidates. Who carries that (Redis pub/sub, for example) calls
//! [`Cache::hear`](crate::Cache::hear) in the other processes, and
//! [`Cache::lost_invalidations`](crate::Cache::lost_invalidations) when some may have been lost: then entries are
//! refreshed at a pace as they are asked for, because to drop them all would be the stampede itself.

use std::fmt::Debug;

/// Something that is no longer to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// What is cached of one key, below a version.
    Key {
        /// The key's hash, which is the same in all processes.
        hash: u64,
        /// The lowest version that stays; `u64::MAX` when none does.
        version: u64,
    },
    /// All that carries a tag, by the tag's hash.
    Tag(u64),
}

/// Carries invalidations to the other processes.
pub trait Backplane: Debug + Send + Sync + 'static {
    /// Sends an invalidation, later and without being waited for. It must not block. The process that published it
    /// must not hear it again: it may have loaded the key anew by then.
    fn publish(&self, invalidation: Invalidation);
}
