//! The lease: of a whole fleet of processes, one loads a key.
//!
//! Two machines. [`Leases`] grants, as a shared store would (in a simulated L2; Redis does it by `SET NX PX`).
//! [`Contender`] asks, one for each load that wants a lease. A lease spares the origin duplicate loads; it is not a
//! lock and nothing may depend on it for being correct, except that a load whose lease was lost does not store
//! ([`Leases::give_back`]): a slow old write never overwrites a newer value.
//!
//! ```
//! use seawall_core::{lease::{Contender, Grant, Leases, Settings, Step}, time::{Span, Time}};
//! let settings = Settings::default();
//! let mut leases = Leases::new(&settings, 1_000);
//! let first = leases.take(Time::ZERO, 42, 1);
//! let second = leases.take(Time::ZERO, 42, 2);
//! let Grant::Granted(token) = first else { panic!("the first one gets it") };
//!
//! assert_eq!(Contender::new(&settings, Time::ZERO).step(Time::ZERO, first), Step::Load);
//! let again = Time::ZERO + Span::millis(50);
//! assert_eq!(Contender::new(&settings, Time::ZERO).step(Time::ZERO, second), Step::LookAgain { at: again });
//! assert!(leases.give_back(again, 42, token));
//! ```

use std::collections::{BTreeMap, VecDeque};

use crate::time::{Span, Time};

/// How a fleet agrees on who loads a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A lease that was not given back ends after this time.
    pub hold: Span,
    /// Who did not get the lease looks into the cache again after this time.
    pub poll: Span,
    /// After this time without an answer it loads by itself.
    pub wait_max: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            hold: Span::secs(5),
            poll: Span::millis(50),
            wait_max: Span::secs(2),
        }
    }
}

/// Names one grant; later grants have greater tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The answer to who asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Load, and give the lease back with this token.
    Granted(Token),
    /// Another owner loads; its lease ends at this instant at the latest.
    Held {
        /// When the lease ends by itself.
        until: Time,
    },
}

/// The leases that are out, as the store that grants them knows them.
///
/// Bounded: when `held_max` are out, the oldest one ends early, which costs at worst a duplicate load.
#[derive(Clone, Debug)]
pub struct Leases {
    hold: Span,
    held_max: usize,
    held: BTreeMap<u64, Held>,
    /// Grants in the order in which they end; those that were given back are skipped when they come up.
    ends: VecDeque<(Time, u64, Token)>,
    granted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    owner: u64,
    token: Token,
    until: Time,
}

impl Leases {
    /// No lease is out, and at most `held_max` (one at least) ever are.
    pub fn new(settings: &Settings, held_max: usize) -> Leases {
        Leases {
            hold: settings.hold,
            held_max: held_max.max(1),
            held: BTreeMap::new(),
            ends: VecDeque::new(),
            granted: 0,
        }
    }

    /// Asks for the lease on `key`.
    ///
    /// An owner that asks again while it holds the lease gets the same grant (its first answer may have been lost),
    /// so `owner` has to name a load, or a process that runs one load a key.
    pub fn take(&mut self, now: Time, key: u64, owner: u64) -> Grant {
        self.expire(now);
        if let Some(held) = self.held.get(&key) {
            return if held.owner == owner {
                Grant::Granted(held.token)
            } else {
                Grant::Held { until: held.until }
            };
        }
        if self.held.len() >= self.held_max {
            self.end_oldest();
        }
        self.granted += 1;
        let token = Token(self.granted);
        // Leases end in the order in which they were granted, also when a shorter hold was set in between.
        let until = (now + self.hold).max(self.ends.back().map_or(Time::ZERO, |(until, ..)| *until));
        self.held.insert(key, Held { owner, token, until });
        self.ends.push_back((until, key, token));
        self.invariants();
        Grant::Granted(token)
    }

    /// Gives the lease back. Whether it was still held: if not, another load may have begun, and what this one
    /// brought must not be stored.
    pub fn give_back(&mut self, now: Time, key: u64, token: Token) -> bool {
        self.expire(now);
        let holds = self.held.get(&key).is_some_and(|held| held.token == token);
        if holds {
            self.held.remove(&key);
            self.forget_returned();
        }
        self.invariants();
        holds
    }

    /// Later leases are held for as long as other settings say; those that are out keep their end.
    pub fn retune(&mut self, settings: &Settings) {
        self.hold = settings.hold;
    }

    /// Leases that are out, those included that have ended since the last call.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no lease is out.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Forgets every lease, as a store does that restarts empty.
    pub fn clear(&mut self) {
        self.held.clear();
        self.ends.clear();
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert!(self.held.len() <= self.held_max, "more leases out than allowed");
        debug_assert!(self.held.len() <= self.ends.len(), "a lease without an end");
        debug_assert!(
            self.ends.len() <= 2 * self.held_max + SLACK,
            "ends of leases that were given back pile up"
        );
    }

    fn expire(&mut self, now: Time) {
        while self.ends.front().is_some_and(|(until, ..)| *until <= now) {
            self.end_front();
        }
    }

    /// Ends the oldest lease that is out.
    fn end_oldest(&mut self) {
        let before = self.held.len();
        while self.held.len() == before && !self.ends.is_empty() {
            self.end_front();
        }
    }

    fn end_front(&mut self) {
        if let Some((_, key, token)) = self.ends.pop_front()
            && self.held.get(&key).is_some_and(|held| held.token == token)
        {
            self.held.remove(&key);
        }
    }

    /// Drops the ends of leases that were given back once they outnumber the others.
    fn forget_returned(&mut self) {
        if self.ends.len() > 2 * self.held.len() + SLACK {
            let held = &self.held;
            self.ends
                .retain(|(_, key, token)| held.get(key).is_some_and(|held| held.token == *token));
        }
    }
}

/// Ends of returned leases that are not worth sweeping.
const SLACK: usize = 64;

/// What a load that wants a lease does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Load from the origin: the lease is ours, or the wait for its holder was long enough.
    Load,
    /// Look into the cache again at this instant; when the entry is still not there, ask for the lease again.
    LookAgain {
        /// When.
        at: Time,
    },
}

/// One load that wants a lease.
///
/// It gives up waiting after `wait_max` and loads without one: a holder that hangs must not stop the fleet. A store
/// that cannot be asked grants nothing and holds up nobody: who gets no answer loads.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    poll: Span,
    wait_end: Time,
}

/// Looking again more often than this helps nobody, and not at all would stop the clock.
const POLL_MIN: Span = Span::micros(100);

impl Contender {
    /// Wants a lease since `now`.
    pub fn new(settings: &Settings, now: Time) -> Contender {
        Contender {
            poll: settings.poll.max(POLL_MIN),
            wait_end: now + settings.wait_max,
        }
    }

    /// What to do after this answer. Looks again after `poll`, or when the holder's lease ends, or when the wait
    /// does, whichever is first.
    pub fn step(&self, now: Time, grant: Grant) -> Step {
        match grant {
            Grant::Held { until } if now < self.wait_end => Step::LookAgain {
                at: (now + self.poll)
                    .min(until.max(now + POLL_MIN))
                    .min(self.wait_end),
            },
            Grant::Granted(_) | Grant::Held { .. } => Step::Load,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Span::millis(ms)
    }

    fn token(grant: Grant) -> Token {
        match grant {
            Grant::Granted(token) => token,
            Grant::Held { until } => panic!("held until {until}"),
        }
    }

    #[test]
    fn one_owner_at_a_time_until_it_gives_back_or_the_lease_ends() {
        let mut leases = Leases::new(&Settings::default(), 10);
        let first = token(leases.take(at(0), 1, 100));
        assert_eq!(leases.take(at(1), 1, 200), Grant::Held { until: at(5_000) });
        assert_eq!(token(leases.take(at(1), 1, 100)), first, "the same owner again");
        assert!(leases.give_back(at(10), 1, first));
        let second = token(leases.take(at(10), 1, 200));
        assert!(second > first);
        let third = token(leases.take(at(5_010), 1, 300));
        assert!(
            !leases.give_back(at(5_011), 1, second),
            "a slow load may not store over a newer one"
        );
        assert!(leases.give_back(at(5_011), 1, third));
        assert!(leases.is_empty());
    }

    #[test]
    fn the_oldest_lease_ends_when_there_are_too_many() {
        let mut leases = Leases::new(&Settings::default(), 3);
        let tokens: Vec<Token> = (0..4).map(|key| token(leases.take(at(key), key, 0))).collect();
        assert_eq!(leases.len(), 3);
        assert!(!leases.give_back(at(5), 0, tokens[0]));
        assert!(leases.give_back(at(5), 1, tokens[1]));
    }

    #[test]
    fn what_was_given_back_takes_no_memory() {
        let mut leases = Leases::new(&Settings::default(), 10);
        for round in 0..10_000 {
            let token = token(leases.take(at(0), round % 3, 0));
            assert!(leases.give_back(at(0), round % 3, token));
            leases.invariants();
        }
        assert!(leases.ends.len() <= SLACK + 1);
    }

    #[test]
    fn a_shorter_hold_does_not_end_leases_out_of_order() {
        let mut leases = Leases::new(&Settings::default(), 10);
        let long = token(leases.take(at(0), 1, 0));
        leases.retune(&Settings {
            hold: Span::millis(10),
            ..Settings::default()
        });
        let short = token(leases.take(at(0), 2, 0));
        assert_eq!(leases.take(at(0), 2, 1), Grant::Held { until: at(5_000) });
        assert!(leases.give_back(at(4_999), 2, short) && leases.give_back(at(4_999), 1, long));
        token(leases.take(at(6_000), 2, 0));
        token(leases.take(at(6_010), 2, 1));
    }

    #[test]
    fn a_store_that_restarts_empty_grants_anew() {
        let mut leases = Leases::new(&Settings::default(), 10);
        let lost = token(leases.take(at(0), 1, 100));
        leases.clear();
        let granted = token(leases.take(at(1), 1, 200));
        assert!(!leases.give_back(at(2), 1, lost));
        assert!(leases.give_back(at(2), 1, granted));
    }

    #[test]
    fn a_fleet_loads_a_key_once() {
        let settings = Settings::default();
        let mut leases = Leases::new(&settings, 10);
        let loads = (0..100).filter(|owner| {
            let grant = leases.take(at(0), 1, *owner);
            Contender::new(&settings, at(0)).step(at(0), grant) == Step::Load
        });
        assert_eq!(loads.count(), 1);
    }

    #[test]
    fn waiting_ends_with_the_lease_or_with_patience() {
        let settings = Settings::default();
        let contender = Contender::new(&settings, at(0));
        let step = |now, until| contender.step(at(now), Grant::Held { until: at(until) });
        assert_eq!(step(0, 5_000), Step::LookAgain { at: at(50) });
        assert_eq!(step(0, 20), Step::LookAgain { at: at(20) });
        assert_eq!(step(1_990, 5_000), Step::LookAgain { at: at(2_000) });
        assert_eq!(step(2_000, 5_000), Step::Load);
        // Whatever the settings and the store say, time moves on.
        let hasty = Contender::new(
            &Settings {
                poll: Span::ZERO,
                ..settings
            },
            at(0),
        );
        for until in [0, 5_000] {
            let Step::LookAgain { at: again } = hasty.step(at(10), Grant::Held { until: at(until) }) else {
                panic!("it should wait");
            };
            assert!(again > at(10));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_has_one_holder(
            held_max in 1_usize..6,
            steps in prop::collection::vec((0_u64..40, 0_u64..8, 0_u64..3, any::<bool>()), 1..300),
        ) {
            let settings = Settings { hold: Span::millis(200), ..Settings::default() };
            let mut leases = Leases::new(&settings, held_max);
            let mut now = Time::ZERO;
            // What each owner believes, and when it was told.
            let mut held: BTreeMap<(u64, u64), Token> = BTreeMap::new();
            for (wait_ms, key, owner, give_back) in steps {
                now += Span::millis(wait_ms);
                if give_back {
                    if let Some(token) = held.remove(&(key, owner)) {
                        let newest = held.iter().filter(|((other, _), _)| *other == key).all(|(_, t)| *t < token);
                        prop_assert!(!leases.give_back(now, key, token) || newest);
                        prop_assert!(!leases.give_back(now, key, token), "given back twice");
                    }
                } else {
                    match leases.take(now, key, owner) {
                        Grant::Granted(token) => {
                            let known = held.insert((key, owner), token);
                            prop_assert!(held.values().filter(|t| **t == token).count() == 1);
                            prop_assert!(known.is_none_or(|known| known <= token));
                        }
                        Grant::Held { until } => prop_assert!(until > now && until <= now + settings.hold),
                    }
                }
                leases.invariants();
            }
            prop_assert!(leases.len() <= held_max);
            leases.take(now + settings.hold, 99, 0);
            prop_assert_eq!(leases.len(), 1, "all others have ended");
        }
    }
}
