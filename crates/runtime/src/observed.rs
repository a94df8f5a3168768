//! Which keys are read: from memory, gathered until the guard is told; and by name, for the guard's own warming.
//!
//! The guard ranks keys by their reads, where a policy wants that. A hit in memory does not ask the guard, and must not
//! wait for its lock to be counted either; so hits are told by the handful.

use std::hash::BuildHasherDefault;
use std::sync::{Mutex, PoisonError};

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::memory::AsIs;

/// So many reads are told at a time.
const HANDFUL: usize = 16;
const STRIPES: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Observed {
    stripes: [Mutex<Vec<u64>>; STRIPES],
}

impl Observed {
    /// Adds a read. When a handful is there, the guard is to be told of it.
    pub(crate) fn add(&self, hash: u64) -> Option<Vec<u64>> {
        // Threads that read other keys meet elsewhere; those that read the same key mostly meet here.
        let stripe = &self.stripes[(seawall_core::rng::mix(hash) as usize) % STRIPES];
        let mut read = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        read.push(hash);
        (read.len() >= HANDFUL).then(|| std::mem::replace(&mut *read, Vec::with_capacity(HANDFUL)))
    }
}

/// So many keys are known by their hash.
const NAMES_MAX: usize = 2 * seawall_core::sketch::COUNTERS_MAX;

/// The keys that are read often, by hash: what the guard wants warmed by itself, it knows by that alone.
#[derive(Debug)]
pub(crate) struct Names<K> {
    names: Cache<u64, K, UnitWeighter, BuildHasherDefault<AsIs>>,
}

impl<K: Clone> Default for Names<K> {
    fn default() -> Names<K> {
        let hasher = BuildHasherDefault::default();
        let (count, weight) = (NAMES_MAX, NAMES_MAX as u64);
        Names {
            names: Cache::with(count, weight, UnitWeighter, hasher, DefaultLifecycle::default()),
        }
    }
}

impl<K: Clone> Names<K> {
    /// A key was read.
    pub(crate) fn read(&self, hash: u64, key: &K) {
        if self.names.get(&hash).is_none() {
            self.names.insert(hash, key.clone());
        }
    }

    /// The key of this hash, if it is known.
    pub(crate) fn key(&self, hash: u64) -> Option<K> {
        self.names.peek(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_is_told_at_once() {
        let observed = Observed::default();
        let told: Vec<_> = (0..HANDFUL).filter_map(|_| observed.add(7)).collect();
        assert_eq!(told, [vec![7; HANDFUL]]);
        assert_eq!(observed.add(7), None);
    }
}
