//! The keys of one client: which sleep, until when, and when each asks next.
//!
//! A key has one pending instant at a time. Poisson arrivals split by key are independent Poisson processes, and the
//! time to the next one has no memory: so a key that sleeps until `e` asks next at `e` and an exponential time, whatever
//! it did before, and its hits until `e` are independent of that. Where a key fell asleep after its next instant had
//! been drawn, the drawn one comes, is known as a hit that is counted elsewhere, and is put off.

use std::collections::VecDeque;

use seawall_core::arrivals::Arrivals;
use seawall_core::draw;
use seawall_core::keys::{Keys, MISSING};
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};

use super::exposure::Exposure;
use super::pending::Pending;

/// What a client asks for, as shares of its calls that depend on nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mix {
    pub(super) writes: f64,
    /// Of the reads, those for keys that do not exist.
    pub(super) nowhere: f64,
    /// Of the others, those for key 0 besides its own share.
    pub(super) hot: f64,
}

impl Mix {
    /// The share of all calls that are never slept through.
    fn rest(self) -> f64 {
        self.writes + (1.0 - self.writes) * self.nowhere
    }
}

/// A parked key is looked at again after so many times what the last load took, but no sooner than the first and no
/// later than the second of these.
const PARK_FACTOR: f64 = 3.0;
const PARK_MIN: Span = Span::micros(100);
const PARK_MAX: Span = Span::secs(1);

/// So many draws are made at a time.
const DRAWS: usize = 32;

#[derive(Clone, Copy)]
#[repr(align(32))]
struct Key {
    /// It sleeps until then; in the past when it is awake.
    until: Time,
    /// When it asks next, or until when it is parked; what is pending for another instant is out of date.
    next: Next,
    /// Its share of the client's calls.
    share: f64,
    /// One over that: the calls of the client from one of this key to the next, on average.
    gap: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Next(u64);

impl Next {
    const PARKED: u64 = 1 << 63;
    const NEVER: Next = Next(u64::MAX);

    fn asks(at: Time) -> Next {
        Next(at.as_nanos())
    }

    fn parked(until: Time) -> Next {
        Next(until.as_nanos() | Next::PARKED)
    }

    fn is_parked(self) -> bool {
        self.0 & Next::PARKED != 0 && self != Next::NEVER
    }
}

/// What comes next of a client whose keys sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A read of this key, which is awake.
    Key(u64),
    /// A write, or a read of a key that does not exist.
    Rest { key: u64, read: bool },
    /// Nothing: the key slept after all.
    Nothing,
}

pub(super) struct Sleepers {
    mix: Mix,
    keys: Vec<Key>,
    pending: Pending,
    /// Keys that have just asked and do not ask again before they have been parked until then. Most of them fall asleep
    /// meanwhile, so the instant at which they ask next is drawn only once.
    parked: VecDeque<(Time, u32)>,
    /// For how long keys are parked now.
    park: Span,
    /// The next call of the rest.
    rest: Time,
    pub(super) exposure: Exposure,
    rng: Stream,
    /// Exponential draws made ahead, and how many of them are used up.
    draws: [f64; DRAWS],
    used: usize,
    /// Keys sleep; otherwise every call is played.
    pub(super) on: bool,
    /// How long before the end of an entry the odd reader may refresh it, in costs of its load.
    pub(super) ahead: f64,
    /// Calls that were slept through.
    pub(super) elided: u64,
}

impl Sleepers {
    /// Keys that are all awake and ask for nothing yet.
    pub(super) fn new(bound: u64, end: Time, every: Span, periods: u64, rng: Stream) -> Sleepers {
        let awake = Key {
            until: Time::ZERO,
            next: Next::NEVER,
            share: 0.0,
            gap: f64::INFINITY,
        };
        Sleepers {
            // Of nothing else has no key a share, which is what the keys say now.
            mix: Mix {
                writes: 1.0,
                nowhere: 0.0,
                hot: 0.0,
            },
            keys: vec![awake; bound as usize],
            pending: Pending::new(end),
            parked: VecDeque::new(),
            park: PARK_MIN,
            rest: Time::NEVER,
            exposure: Exposure::new(every, periods),
            rng,
            draws: [0.0; DRAWS],
            used: DRAWS,
            on: false,
            ahead: 0.0,
            elided: 0,
        }
    }

    /// Begins: no key sleeps yet, and each asks after an exponential time. `until` says of a key until when it sleeps.
    pub(super) fn begin(
        &mut self,
        now: Time,
        arrivals: &Arrivals,
        law: &Keys,
        mix: Mix,
        mut until: impl FnMut(u64) -> Time,
    ) {
        if self.mix != mix {
            let own = (1.0 - mix.writes) * (1.0 - mix.nowhere);
            for (key, state) in self.keys.iter_mut().enumerate() {
                state.share = own * (1.0 - mix.hot) * law.probability(key as u64);
            }
            if let Some(first) = self.keys.first_mut() {
                first.share += own * mix.hot;
            }
            for state in &mut self.keys {
                state.gap = 1.0 / state.share;
            }
            self.mix = mix;
        }
        self.on = true;
        for key in 0..self.keys.len() {
            let asleep = until(key as u64).max(now);
            if asleep > now {
                self.exposure.enter(arrivals, self.keys[key].share, now, asleep);
                self.keys[key].until = asleep;
            }
            self.ask_after(arrivals, key, asleep);
        }
        self.draw_rest(now, arrivals);
    }

    /// Wakes everybody: until [`Sleepers::begin`], every call is played.
    pub(super) fn rouse(&mut self, now: Time, arrivals: &Arrivals) {
        for key in &mut self.keys {
            if key.until > now {
                self.exposure.leave(arrivals, key.share, now, key.until);
                key.until = Time::ZERO;
            }
        }
        self.exposure.cut(arrivals);
        self.pending.clear();
        self.parked.clear();
        self.on = false;
    }

    /// When the next call comes.
    #[inline]
    pub(super) fn next(&mut self, arrivals: &Arrivals) -> Time {
        let mut next = self.rest.min(self.pending.peek());
        while let Some((until, key)) = self.parked.front().copied()
            && until <= next
        {
            self.parked.pop_front();
            if self.keys[key as usize].next == Next::parked(until) {
                next = next.min(self.ask_after(arrivals, key as usize, until));
            }
        }
        next
    }

    /// Takes the call that comes now.
    #[inline]
    pub(super) fn take(&mut self, now: Time, arrivals: &Arrivals, law: &Keys) -> Asked {
        if self.rest == now {
            self.draw_rest(now, arrivals);
            return self.draw(law);
        }
        let Some((at, key)) = self.pending.pop() else {
            return Asked::Nothing;
        };
        debug_assert_eq!(at, now, "a call comes when it was announced");
        let place = key as usize;
        let Key { until, next, .. } = self.keys[place];
        if next != Next::asks(at) {
            return Asked::Nothing;
        }
        if until > now {
            self.ask_after(arrivals, place, until);
            return Asked::Nothing;
        }
        self.park(now, arrivals, place);
        Asked::Key(u64::from(key))
    }

    /// Parks a key that asks now, unless it asks again before that is over.
    #[inline]
    fn park(&mut self, now: Time, arrivals: &Arrivals, key: usize) {
        let last = self.parked.back().map_or(now, |(until, _)| *until);
        let until = last.max(now + self.park);
        let mean = self.keys[key].share * arrivals.expected(now, until);
        let even = self.rng.unit();
        // It asks again with the probability 1 − e^(−mean), which is below the mean.
        if even < mean {
            let draw = -libm::log1p(-even);
            if draw < mean {
                let next = arrivals.after(now, draw * self.keys[key].gap);
                self.enter(key, next);
                return;
            }
        }
        self.keys[key].next = Next::parked(until);
        self.parked.push_back((until, key as u32));
    }

    /// An entry for a key was stored that can only be hit until `until`; `stored` is when its load began.
    #[inline]
    pub(super) fn sleep(&mut self, now: Time, arrivals: &Arrivals, key: u64, stored: Time, until: Time) {
        self.park = now.since(stored).scaled(PARK_FACTOR).max(PARK_MIN).min(PARK_MAX);
        let Some(state) = self.keys.get_mut(key as usize) else {
            return;
        };
        let slept = state.until;
        // What began to be loaded before the key was last written to may be out of date for some readers.
        if !self.on || (slept <= now && (until <= now || (stored <= slept && slept > Time::ZERO))) {
            return;
        }
        let share = state.share;
        state.until = until;
        if until >= slept {
            self.exposure.enter(arrivals, share, slept.max(now), until);
            // Of others the next instant is put off when it comes.
            if self.keys[key as usize].next.is_parked() {
                self.ask_after(arrivals, key as usize, until);
            }
        } else {
            self.exposure.leave(arrivals, share, until.max(now), slept);
            self.ask_after(arrivals, key as usize, until.max(now));
        }
    }

    /// A key is no longer in the cache, and what is being loaded may be out of date.
    pub(super) fn wake(&mut self, now: Time, arrivals: &Arrivals, key: u64) {
        let Some(state) = self.keys.get_mut(key as usize) else {
            return;
        };
        let until = std::mem::replace(&mut state.until, now);
        if self.on && until > now {
            self.exposure
                .leave(arrivals, self.keys[key as usize].share, now, until);
            self.ask_after(arrivals, key as usize, now);
        }
    }

    /// Keys that ask soon, when it is time to look ahead again; what is known of them has been read then.
    pub(super) fn look_ahead<const N: usize>(&self) -> Option<[u64; N]> {
        let left = self.pending.left();
        (left >= N && left.is_multiple_of(N)).then(|| {
            let mut soon = [0; N];
            for (place, key) in soon.iter_mut().zip(self.pending.soon(N)) {
                *place = key;
            }
            let read = soon.map(|key| self.keys[key as usize].next.0);
            std::hint::black_box(read.iter().fold(0, |sum, each| sum ^ each));
            soon
        })
    }

    /// A number of hits with this mean.
    pub(super) fn number(&mut self, mean: f64) -> u64 {
        draw::poisson(mean, &mut self.rng)
    }

    pub(super) fn rng(&mut self) -> &mut Stream {
        &mut self.rng
    }

    /// Draws when a key asks next that does not before `from`.
    #[inline]
    fn ask_after(&mut self, arrivals: &Arrivals, key: usize, from: Time) -> Time {
        let gap = self.keys[key].gap;
        let next = if gap < f64::INFINITY {
            arrivals.after(from, self.exponential() * gap)
        } else {
            Time::NEVER
        };
        self.enter(key, next);
        next
    }

    #[inline]
    fn enter(&mut self, key: usize, next: Time) {
        self.keys[key].next = Next::asks(next);
        self.pending.push(next, key as u32);
    }

    fn draw_rest(&mut self, now: Time, arrivals: &Arrivals) {
        let share = self.mix.rest();
        self.rest = if share > 0.0 {
            arrivals.after(now, self.exponential() / share)
        } else {
            Time::NEVER
        };
    }

    #[inline]
    fn exponential(&mut self) -> f64 {
        if self.used == DRAWS {
            draw::exponentials(&mut self.rng, &mut self.draws);
            self.used = 0;
        }
        self.used += 1;
        self.draws[self.used - 1]
    }

    fn draw(&mut self, law: &Keys) -> Asked {
        if self.rng.chance(self.mix.writes / self.mix.rest()) {
            let key = law.draw(&mut self.rng);
            return Asked::Rest { key, read: false };
        }
        let key = MISSING | self.rng.below(1 << 20);
        Asked::Rest { key, read: true }
    }
}
