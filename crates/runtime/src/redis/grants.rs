//! Tokens of the leases that this process holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use seawall_core::rng::mix;

use crate::key::Address;

/// Names one grant in the whole fleet: the process, and the grant.
pub(super) type Token = [u8; 16];

/// So many leases are remembered; those beyond end by themselves.
const HELD_MAX: usize = 1 << 14;

/// The leases that are out.
#[derive(Debug)]
pub(super) struct Grants {
    owner: u64,
    serial: AtomicU64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    tokens: BTreeMap<u128, Token>,
    order: VecDeque<u128>,
}

impl Grants {
    pub(super) fn new() -> Grants {
        Grants {
            owner: unique(),
            serial: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    /// A token that nobody else has.
    pub(super) fn token(&self) -> Token {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.owner.to_be_bytes());
        token[8..].copy_from_slice(&serial.to_be_bytes());
        token
    }

    /// The lease on this key was granted.
    pub(super) fn keep(&self, key: &Address, token: Token) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.tokens.insert(key.digest, token).is_none() {
            held.order.push_back(key.digest);
        }
        while held.order.len() > HELD_MAX
            && let Some(oldest) = held.order.pop_front()
        {
            held.tokens.remove(&oldest);
        }
    }

    /// The lease on this key is to be given back.
    pub(super) fn take(&self, key: &Address) -> Option<Token> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let token = held.tokens.remove(&key.digest)?;
        // It is nearly always among the first.
        if let Some(at) = held.order.iter().position(|digest| *digest == key.digest) {
            held.order.remove(at);
        }
        Some(token)
    }
}

/// A number that no other process has, nor this one again.
pub(super) fn unique() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    // The standard library's hasher is seeded from the system's randomness.
    mix(RandomState::new().hash_one((std::process::id(), next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(digest: u128) -> Address {
        Address {
            hash: 0,
            digest,
            text: "users:1".into(),
        }
    }

    #[test]
    fn a_grant_is_given_back_once() {
        let grants = Grants::new();
        let (one, two) = (grants.token(), grants.token());
        assert_ne!(one, two);
        assert_ne!(Grants::new().token()[..8], one[..8]);
        grants.keep(&address(1), one);
        grants.keep(&address(1), two);
        assert_eq!(grants.take(&address(1)), Some(two));
        assert_eq!(grants.take(&address(1)), None);
    }

    #[test]
    fn grants_that_nobody_gives_back_do_not_pile_up() {
        let grants = Grants::new();
        for digest in 0..=HELD_MAX as u128 {
            grants.keep(&address(digest), grants.token());
        }
        assert_eq!(grants.take(&address(0)), None);
        assert!(grants.take(&address(HELD_MAX as u128)).is_some());
    }
}
