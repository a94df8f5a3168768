//! The first tier: this process's memory, bounded by bytes.
//!
//! It holds and evicts; what an entry is worth is the core's decision. It is changed only under the lock around the
//! guard, so what the guard has purged is gone from it and does not come back: a reader need not ask the guard whether
//! what it finds was purged. It is read without that lock.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use seawall_core::guard::Entry;
use seawall_core::time::{Span, Time};

use crate::flight::{Body, Found};

/// What an entry takes beside its value.
pub(crate) const OVERHEAD: u64 = 160;

struct Held<K, V> {
    body: Arc<Body<K, V>>,
    entry: Entry,
    gone_at: Time,
}

impl<K, V> Clone for Held<K, V> {
    fn clone(&self) -> Held<K, V> {
        Held {
            body: Arc::clone(&self.body),
            ..*self
        }
    }
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = seawall_core::rng::mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        // The cache takes its shard from some bits and its bucket from others: all of them have to matter.
        self.0 = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (hash >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
struct Bytes;

impl<K, V> Weighter<u64, Held<K, V>> for Bytes {
    fn weight(&self, _: &u64, held: &Held<K, V>) -> u64 {
        u64::from(held.body.weight) + OVERHEAD
    }
}

/// Counts what is pushed out to make room, and what is too large to be held at all.
#[derive(Clone, Debug, Default)]
struct Evictions(Arc<AtomicU64>);

impl<K, V> Lifecycle<u64, Held<K, V>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: u64, _: Held<K, V>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Inner<K, V> = Cache<u64, Held<K, V>, Bytes, BuildHasherDefault<AsIs>, Evictions>;

/// This process's memory.
pub(crate) struct Memory<K, V> {
    held: Inner<K, V>,
    evictions: Evictions,
}

impl<K: Clone + Eq, V> Memory<K, V> {
    /// Memory for values of so many bytes, overhead included.
    pub(crate) fn new(bytes: u64) -> Memory<K, V> {
        let items = (bytes / (OVERHEAD * 2)).clamp(16, 1 << 20) as usize;
        // A shard holds nothing that is larger than itself, so memory that is small is in few of them.
        let shards = (bytes >> 20).clamp(1, 64).next_power_of_two() as usize;
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .build()
            .expect("capacity and weight are given");
        let (hasher, evictions) = (BuildHasherDefault::default(), Evictions::default());
        Memory {
            held: Cache::with_options(options, Bytes, hasher, evictions.clone()),
            evictions,
        }
    }

    /// What is held for this key, fresh or not. An entry of another key with the same hash is no entry.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &K) -> Option<Found<K, V>> {
        let held = self.held.get(&hash)?;
        (held.body.key == *key).then(|| Found {
            body: held.body,
            entry: held.entry,
        })
    }

    /// The key of this hash, if it is held.
    pub(crate) fn key(&self, hash: u64) -> Option<K> {
        Some(self.held.peek(&hash)?.body.key.clone())
    }

    /// Holds a value, unless a newer version of it is held.
    pub(crate) fn hold(&self, now: Time, hash: u64, body: Arc<Body<K, V>>, entry: Entry, keep: Span) {
        let newer = |held: &Held<K, V>| held.body.key == body.key && held.entry.version > entry.version;
        if self
            .held
            .peek(&hash)
            .is_some_and(|held| newer(&held) && now < held.gone_at)
        {
            return;
        }
        let gone_at = now + keep;
        self.held.insert(hash, Held { body, entry, gone_at });
    }

    /// Takes a key out, unless what is held has this version or a higher one. Whether anything was taken out.
    pub(crate) fn take_out(&self, hash: u64, version: u64) -> bool {
        let older = |held: &Held<K, V>| version == u64::MAX || held.entry.version < version;
        self.held.remove_if(&hash, older).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Entries pushed out to make room since the beginning.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.0.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.held.weight()
    }
}
