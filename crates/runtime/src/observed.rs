//! Which keys are read from memory, gathered until the guard is told.
//!
//! The guard ranks keys by their reads, where a policy wants that. A hit in memory does not ask the guard, and must not
//! wait for its lock to be counted either; so hits are told by the handful.

use std::sync::{Mutex, PoisonError};

/// So many reads are told at a time.
const HANDFUL: usize = 64;
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
