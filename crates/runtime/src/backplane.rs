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
    /// One key, by its hash; the hash is the same in all processes.
    Key(u64),
    /// All that carries a tag, by the tag's hash.
    Tag(u64),
}

/// Carries invalidations to the other processes.
pub trait Backplane: Debug + Send + Sync + 'static {
    /// Sends an invalidation, later and without being waited for. It must not block.
    fn publish(&self, invalidation: Invalidation);
}
