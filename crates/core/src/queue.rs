//! A bounded queue: places, a timeout, and what happens when it stands for too long.
//!
//! A queue that cannot be served is a promise that is not kept: its work is done for clients who have left. So it has
//! few places, nobody stands in it for longer than a timeout, `CoDel` thins it out while it stands, and under overload
//! the last to come may be served first, whose clients are still there (B. Maurer, "Fail at Scale", ACM Queue, 2015).
//! It does not know who serves it, and it answers nobody: who must leave comes out of [`Queue::expire`].
//!
//! **After each call that takes an instant, call [`Queue::expire`] until it says `None`, and again at
//! [`Queue::next_timeout`].**
//!
//! ```
//! use seawall_core::queue::{Queue, Settings};
//! use seawall_core::time::{Span, Time};
//! let mut queue = Queue::new(Settings { places: 2, timeout: Span::secs(1), ..Settings::default() });
//! assert_eq!(queue.push(Time::ZERO, "a"), Ok(()));
//! assert_eq!(queue.push(Time::ZERO + Span::millis(500), "b"), Ok(()));
//! assert_eq!(queue.push(Time::ZERO + Span::millis(600), "c"), Err("c"), "full");
//! let now = Time::ZERO + Span::millis(1_100);
//! assert_eq!(queue.expire(now), Some("a"), "stood for too long");
//! assert_eq!(queue.pop(now), Some(("b", Span::millis(600))));
//! ```

use std::collections::VecDeque;

use crate::time::{Span, Time};

mod codel;
#[cfg(test)]
mod tests;

/// Who is served next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// The one who has waited longest.
    #[default]
    Fifo,
    /// The one who came last.
    Lifo,
    /// First come, first served, but last come, first served while the queue is overloaded.
    Adaptive,
}

/// CoDel (RFC 8289), for requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Codel {
    /// The wait that is fine.
    pub target: Span,
    /// Waits above the target for this long mean that the queue stands.
    pub interval: Span,
}

/// The bounds of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many may wait; the next one is shed.
    pub places: u32,
    /// Who has waited this long is shed.
    pub timeout: Span,
    /// Who is served next.
    pub order: Order,
    /// Sheds from a queue that stands; off when absent.
    pub codel: Option<Codel>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            places: 1000,
            timeout: Span::secs(30),
            order: Order::Fifo,
            codel: None,
        }
    }
}

/// How long a queue without `codel` may go without being empty before [`Order::Adaptive`] calls it overloaded.
const STANDING: Span = Span::millis(100);

/// How much room is taken in advance; the rest grows with use and is kept.
const ROOM: usize = 64;

/// Why someone left without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It waited for as long as anyone may.
    Timeout,
    /// The queue stood, and `CoDel` dropped it.
    Delay,
}

/// Someone who left without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure<T> {
    /// Who.
    pub item: T,
    /// How long it had waited.
    pub waited: Span,
    /// Why.
    pub cause: Cause,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    since: Time,
    item: T,
}

/// A bounded queue.
#[derive(Clone, Debug)]
pub struct Queue<T> {
    settings: Settings,
    /// Oldest first, whatever the order of service: all have the same timeout, so the front leaves first.
    waiting: VecDeque<Entry<T>>,
    /// Those who must leave, until [`Queue::expire`] hands them out.
    leaving: VecDeque<Departure<T>>,
    control: codel::Control,
    /// Since when it has not been empty.
    busy_since: Time,
    /// The places, or how many waited when the places were made fewer.
    bound: usize,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(settings: Settings) -> Queue<T> {
        let places = settings.places as usize;
        Queue {
            settings,
            waiting: VecDeque::with_capacity(places.min(ROOM)),
            leaving: VecDeque::new(),
            control: codel::Control::default(),
            busy_since: Time::ZERO,
            bound: places,
        }
    }

    /// Takes a place, or gives `item` back when there is none.
    ///
    /// # Errors
    /// The item itself, when the queue is full, or when as many as it has places must still be collected by
    /// [`Queue::expire`].
    pub fn push(&mut self, now: Time, item: T) -> Result<(), T> {
        self.sweep(now);
        let places = self.settings.places as usize;
        if self.waiting.len() >= places || self.waiting.len() + self.leaving.len() >= 2 * places {
            return Err(item);
        }
        if self.waiting.is_empty() {
            self.busy_since = now;
            self.control.calm();
        }
        self.waiting.push_back(Entry { since: now, item });
        self.check();
        Ok(())
    }

    /// The next to be served, and how long it has waited; never one whose timeout has passed.
    pub fn pop(&mut self, now: Time) -> Option<(T, Span)> {
        self.sweep(now);
        if let Some(codel) = &self.settings.codel {
            // The oldest is judged, whoever is served next: in a stack it is the bottom that stands.
            while let Some(oldest) = self.waiting.front() {
                let waited = now.since(oldest.since);
                if !self.control.drops(codel, now, waited, self.waiting.len()) {
                    break;
                }
                let Some(Entry { item, .. }) = self.waiting.pop_front() else {
                    break;
                };
                self.leaving.push_back(Departure {
                    item,
                    waited,
                    cause: Cause::Delay,
                });
            }
        }
        let last_first = match self.settings.order {
            Order::Fifo => false,
            Order::Lifo => true,
            Order::Adaptive => self.overloaded(now),
        };
        let next = if last_first {
            self.waiting.pop_back()
        } else {
            self.waiting.pop_front()
        };
        self.check();
        next.map(|entry| (entry.item, now.since(entry.since)))
    }

    /// The next who must leave without being served. Call it until it says `None`.
    pub fn expire(&mut self, now: Time) -> Option<T> {
        self.depart(now).map(|departure| departure.item)
    }

    /// As [`Queue::expire`], with the wait and the cause.
    pub fn depart(&mut self, now: Time) -> Option<Departure<T>> {
        self.sweep(now);
        self.leaving.pop_front()
    }

    /// When someone must leave next: ask [`Queue::expire`] then. In the past when someone must be collected already.
    pub fn next_timeout(&self) -> Option<Time> {
        if !self.leaving.is_empty() {
            return Some(Time::ZERO);
        }
        self.waiting
            .front()
            .map(|oldest| oldest.since + self.settings.timeout)
    }

    /// Takes out the oldest of which `leaves` is true: a client who left by itself. Time grows with the place in the
    /// queue, and is short for the oldest.
    pub fn remove(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Option<T> {
        if let Some(place) = self.leaving.iter().position(|departure| leaves(&departure.item)) {
            return self.leaving.remove(place).map(|departure| departure.item);
        }
        let place = self.waiting.iter().position(|entry| leaves(&entry.item))?;
        let entry = self.waiting.remove(place);
        self.check();
        entry.map(|entry| entry.item)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Its bounds, and who is served next.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many may wait.
    pub fn places(&self) -> u32 {
        self.settings.places
    }

    /// Whether it has not been empty for longer than `CoDel`'s interval (100 ms without `CoDel`).
    pub fn overloaded(&self, now: Time) -> bool {
        let patience = self
            .settings
            .codel
            .as_ref()
            .map_or(STANDING, |codel| codel.interval);
        !self.waiting.is_empty() && now.since(self.busy_since) > patience
    }

    /// Those who wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|entry| &entry.item)
    }

    /// Takes over other settings. A new timeout holds for those who wait too; who has a place keeps it when the
    /// places are made fewer.
    pub fn retune(&mut self, now: Time, settings: Settings) {
        if self.settings.codel != settings.codel {
            self.control = codel::Control::default();
        }
        self.bound = self.waiting.len().max(settings.places as usize);
        self.settings = settings;
        self.sweep(now);
        self.check();
    }

    /// Panics when the queue contradicts itself.
    pub fn invariants(&self) {
        assert!(
            self.waiting.len() <= self.bound,
            "more wait than there are places"
        );
        assert!(
            self.waiting
                .iter()
                .zip(self.waiting.iter().skip(1))
                .all(|(a, b)| a.since <= b.since)
        );
        assert!(
            self.waiting
                .front()
                .is_none_or(|oldest| self.busy_since <= oldest.since)
        );
        self.control.invariants();
    }

    /// Those whose timeout has passed are the oldest: each is looked at once, and one more.
    fn sweep(&mut self, now: Time) {
        while let Some(oldest) = self.waiting.front() {
            let waited = now.since(oldest.since);
            if waited < self.settings.timeout {
                break;
            }
            let Some(Entry { item, .. }) = self.waiting.pop_front() else {
                break;
            };
            self.leaving.push_back(Departure {
                item,
                waited,
                cause: Cause::Timeout,
            });
        }
    }

    fn check(&self) {
        // The walk over all who wait is left to tests: a debug run would be quadratic.
        debug_assert!(self.waiting.len() <= self.bound);
    }
}
