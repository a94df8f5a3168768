//! What has been sent so far, and for what.

use std::sync::atomic::{AtomicU64, Ordering};

use seawall_core::keys::MISSING;

/// Calls that were sent, retries not among them.
#[derive(Debug, Default)]
pub struct Sent {
    calls: AtomicU64,
    reads: AtomicU64,
    hot: AtomicU64,
    missing: AtomicU64,
}

impl Sent {
    pub(super) fn count(&self, key: u64, read: bool) {
        let add = |count: &AtomicU64, is: bool| count.fetch_add(u64::from(is), Ordering::Relaxed);
        add(&self.calls, true);
        add(&self.reads, read);
        add(&self.hot, read && key == HOT);
        add(&self.missing, read && key & MISSING != 0);
    }

    /// How many calls there were; how many of them were reads; of those, how many for the key that becomes the hot one, and
    /// how many for keys that do not exist.
    pub fn counts(&self) -> [u64; 4] {
        [&self.calls, &self.reads, &self.hot, &self.missing].map(|count| count.load(Ordering::Relaxed))
    }
}

/// The key that a hot key is.
pub(super) const HOT: u64 = 0;
