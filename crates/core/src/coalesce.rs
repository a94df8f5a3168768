//! Request coalescing: many misses of one key, one load.
//!
//! A [`Flights`] knows the loads that are under way and who waits for each. A load runs detached from those who wait:
//! whoever leaves, the leader included, leaves the others waiting. It neither loads nor wakes anyone; it says whom to
//! wake. Loads that are not shared have their place here too, so that all waiting is of one kind.
//!
//! ```
//! use seawall_core::{coalesce::{Flights, Join, Settings}, time::Time};
//! let mut flights: Flights<&str> = Flights::new(&Settings::default());
//! assert_eq!(flights.join(Time::ZERO, 7, 1), Join::Nothing);
//! let load = flights.lead(Time::ZERO, 7, true);
//! let leader = flights.wait(load, 1);
//! let Join::Waits(_, follower) = flights.join(Time::ZERO, 7, 2) else { panic!("it is under way") };
//! let mut woken = Vec::new();
//! flights.land(load, "value", true, |token| woken.push(token));
//! assert_eq!(woken, [1, 2]);
//! assert_eq!((flights.collect(leader), flights.collect(follower)), (Some("value"), Some("value")));
//! ```

use std::collections::VecDeque;

use crate::keymap::KeyMap;
use crate::time::{Span, Time};

#[cfg(test)]
mod tests;

/// How misses of one key share a load.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// For how long after a load ended its result is still shared with those who come too late to join it.
    pub window: Span,
    /// A load older than this is joined by nobody: the next miss begins a new one.
    pub age_max: Span,
    /// A request waits this long for another's load, then it fails (or is answered stale).
    pub wait_max: Span,
    /// At most this many requests wait for one load; the next one is shed.
    pub waiters_max: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window: Span::ZERO,
            age_max: Span::secs(10),
            wait_max: Span::secs(5),
            waiters_max: 100_000,
        }
    }
}

/// A load: one stay at the origin for one key, detached from those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadId {
    index: u32,
    generation: u32,
}

impl LoadId {
    /// The load's place; given to another load when this one is over, so a table by it stays small.
    pub const fn index(self) -> u32 {
        self.index
    }
}

/// One who waits for a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaiterId {
    index: u32,
    generation: u32,
}

/// What becomes of a miss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join<R> {
    /// It waits for this load.
    Waits(LoadId, WaiterId),
    /// This load has ended so lately that its result is shared.
    Shares(LoadId, R),
    /// Too many wait already.
    Full,
    /// Nothing to join: it has to lead.
    Nothing,
}

/// The loads that are under way, and who waits for them. `R` is what a load ends with.
#[derive(Clone, Debug)]
pub struct Flights<R> {
    settings: Settings,
    /// The load of each key that can be joined.
    open: KeyMap<u32>,
    loads: Vec<Flight>,
    loads_free: Vec<u32>,
    waiters: Vec<Waiter<R>>,
    waiters_free: Vec<u32>,
    /// Results that are still shared, by key.
    landed: KeyMap<Landed<R>>,
    /// When they end to be, in order.
    ends: VecDeque<(Time, u64, LoadId)>,
}

#[derive(Clone, Debug)]
struct Flight {
    generation: u32,
    live: bool,
    key: u64,
    began: Time,
    /// The list of those who wait, by index; [`NONE`] when nobody does.
    first: u32,
    last: u32,
    count: u32,
}

#[derive(Clone, Debug)]
struct Waiter<R> {
    generation: u32,
    token: u32,
    load: LoadId,
    before: u32,
    after: u32,
    state: Waits<R>,
}

#[derive(Clone, Copy, Debug)]
enum Waits<R> {
    Free,
    Waiting,
    Told(R),
}

#[derive(Clone, Copy, Debug)]
struct Landed<R> {
    load: LoadId,
    result: R,
    until: Time,
}

const NONE: u32 = u32::MAX;

impl<R: Copy> Flights<R> {
    /// Nothing under way.
    pub fn new(settings: &Settings) -> Flights<R> {
        Flights {
            settings: settings.clone(),
            open: KeyMap::new(),
            loads: Vec::new(),
            loads_free: Vec::new(),
            waiters: Vec::new(),
            waiters_free: Vec::new(),
            landed: KeyMap::new(),
            ends: VecDeque::new(),
        }
    }

    /// Joins the load of `key` that is under way, or shares the result of one that has just ended.
    pub fn join(&mut self, now: Time, key: u64, token: u32) -> Join<R> {
        if let Some(&index) = self.open.get(key) {
            let flight = &self.loads[index as usize];
            if now.since(flight.began) < self.settings.age_max {
                if flight.count >= self.settings.waiters_max {
                    return Join::Full;
                }
                let load = LoadId {
                    index,
                    generation: flight.generation,
                };
                return Join::Waits(load, self.wait(load, token));
            }
        }
        match self.landed.get(key) {
            Some(landed) if now < landed.until => Join::Shares(landed.load, landed.result),
            _ => Join::Nothing,
        }
    }

    /// Begins a load. A shared one is joined by later misses of its key, instead of any that was there before.
    pub fn lead(&mut self, now: Time, key: u64, shared: bool) -> LoadId {
        let flight = Flight {
            generation: 0,
            live: true,
            key,
            began: now,
            first: NONE,
            last: NONE,
            count: 0,
        };
        let index = if let Some(index) = self.loads_free.pop() {
            let generation = self.loads[index as usize].generation;
            self.loads[index as usize] = Flight { generation, ..flight };
            index
        } else {
            self.loads.push(flight);
            (self.loads.len() - 1) as u32
        };
        if shared {
            self.open.insert(key, index);
        }
        LoadId {
            index,
            generation: self.loads[index as usize].generation,
        }
    }

    /// Waits for this load.
    ///
    /// # Panics
    /// When the load is over.
    pub fn wait(&mut self, load: LoadId, token: u32) -> WaiterId {
        assert!(self.is_live(load), "a load that is over is not waited for");
        let before = self.loads[load.index as usize].last;
        let waiter = Waiter {
            generation: 0,
            token,
            load,
            before,
            after: NONE,
            state: Waits::Waiting,
        };
        let index = if let Some(index) = self.waiters_free.pop() {
            let generation = self.waiters[index as usize].generation;
            self.waiters[index as usize] = Waiter { generation, ..waiter };
            index
        } else {
            self.waiters.push(waiter);
            (self.waiters.len() - 1) as u32
        };
        let flight = &mut self.loads[load.index as usize];
        flight.last = index;
        flight.count += 1;
        if before == NONE {
            flight.first = index;
        } else {
            self.waiters[before as usize].after = index;
        }
        WaiterId {
            index,
            generation: self.waiters[index as usize].generation,
        }
    }

    /// Takes one who waits out. How many still wait for the load; `None` when the load had told it, or is over.
    pub fn leave(&mut self, id: WaiterId) -> Option<(LoadId, u32)> {
        let waiter = self.waiters.get(id.index as usize)?;
        if waiter.generation != id.generation {
            return None;
        }
        let (load, before, after) = (waiter.load, waiter.before, waiter.after);
        let waiting = matches!(waiter.state, Waits::Waiting);
        self.free_waiter(id.index);
        if !waiting {
            return None;
        }
        if before != NONE {
            self.waiters[before as usize].after = after;
        }
        if after != NONE {
            self.waiters[after as usize].before = before;
        }
        let flight = &mut self.loads[load.index as usize];
        if before == NONE {
            flight.first = after;
        }
        if after == NONE {
            flight.last = before;
        }
        flight.count -= 1;
        Some((load, flight.count))
    }

    /// What the load ended with, for one who was woken. It waits no more. `None` when the load has not ended.
    pub fn collect(&mut self, id: WaiterId) -> Option<R> {
        let waiter = self.waiters.get(id.index as usize)?;
        match waiter.state {
            Waits::Told(result) if waiter.generation == id.generation => {
                self.free_waiter(id.index);
                Some(result)
            }
            _ => None,
        }
    }

    /// Ends a load's flight: all who wait are told, in the order in which they came. The key is free again, or the
    /// result is `shared` until the load is closed (and not beyond its age) and for the window after that. Between
    /// the answer and the end of its store, a miss would otherwise begin the same load again.
    pub fn land(&mut self, load: LoadId, result: R, shared: bool, mut wake: impl FnMut(u32)) {
        if !self.is_live(load) {
            return;
        }
        let flight = &mut self.loads[load.index as usize];
        let key = flight.key;
        let mut next = std::mem::replace(&mut flight.first, NONE);
        flight.last = NONE;
        flight.count = 0;
        while next != NONE {
            let waiter = &mut self.waiters[next as usize];
            waiter.state = Waits::Told(result);
            wake(waiter.token);
            next = waiter.after;
        }
        if self.open.get(key) == Some(&load.index) {
            self.open.remove(key);
            if shared {
                let until = self.loads[load.index as usize].began + self.settings.age_max;
                self.landed.insert(key, Landed { load, result, until });
            }
        }
    }

    /// Gives the place of a load back. Whoever still waits is not told: land it first.
    pub fn close(&mut self, now: Time, load: LoadId) {
        if !self.is_live(load) {
            return;
        }
        let flight = &mut self.loads[load.index as usize];
        debug_assert_eq!(
            flight.count, 0,
            "a load that is waited for lands before it closes"
        );
        let key = flight.key;
        flight.live = false;
        flight.generation = flight.generation.wrapping_add(1);
        self.loads_free.push(load.index);
        if self.open.get(key) == Some(&load.index) {
            self.open.remove(key);
        }
        self.end_sharing(now, key, load);
    }

    /// Nobody joins the present load of this key any more, nor shares its result. Those who wait go on waiting.
    pub fn detach(&mut self, key: u64) {
        self.open.remove(key);
        self.landed.remove(key);
    }

    /// Whether this key is being loaded or stored, so that there is no need to begin.
    pub fn is_open(&self, now: Time, key: u64) -> bool {
        let joinable = |index: &u32| now.since(self.loads[*index as usize].began) < self.settings.age_max;
        let shared = |landed: &Landed<R>| now < landed.until;
        self.open.get(key).is_some_and(joinable) || self.landed.get(key).is_some_and(shared)
    }

    /// Whether the load is not over.
    pub fn is_live(&self, load: LoadId) -> bool {
        self.loads
            .get(load.index as usize)
            .is_some_and(|flight| flight.live && flight.generation == load.generation)
    }

    /// How many wait for the load.
    pub fn waiting(&self, load: LoadId) -> u32 {
        if self.is_live(load) {
            self.loads[load.index as usize].count
        } else {
            0
        }
    }

    /// The loads that are not over.
    pub fn iter(&self) -> impl Iterator<Item = LoadId> {
        let live = |(index, flight): (u32, &Flight)| {
            flight.live.then_some(LoadId {
                index,
                generation: flight.generation,
            })
        };
        (0_u32..).zip(&self.loads).filter_map(live)
    }

    /// How many loads are not over.
    pub fn len(&self) -> usize {
        self.loads.len() - self.loads_free.len()
    }

    /// Whether no load is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those who wait, and those who were told and have not collected.
    pub fn waiters(&self) -> usize {
        self.waiters.len() - self.waiters_free.len()
    }

    /// When a shared result ends; [`Time::NEVER`] when there is none.
    pub fn next(&self) -> Time {
        self.ends.front().map_or(Time::NEVER, |(until, ..)| *until)
    }

    /// Forgets the shared results whose window is over.
    pub fn expire(&mut self, now: Time) {
        while let Some((until, key, load)) = self.ends.front().copied() {
            if until > now {
                break;
            }
            self.ends.pop_front();
            if self.landed.get(key).is_some_and(|landed| landed.load == load) {
                self.landed.remove(key);
            }
        }
    }

    /// Takes other settings.
    pub fn retune(&mut self, settings: &Settings) {
        self.settings = settings.clone();
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        for (key, &index) in self.open.iter() {
            let flight = &self.loads[index as usize];
            assert!(
                flight.live && flight.key == key,
                "what can be joined is under way, for that key"
            );
        }
        let waiting = self
            .waiters
            .iter()
            .filter(|waiter| matches!(waiter.state, Waits::Waiting))
            .count();
        let counted: u32 = self.loads.iter().map(|flight| flight.count).sum();
        assert_eq!(waiting, counted as usize, "who waits is counted once");
        for flight in &self.loads {
            let mut count = 0;
            let mut next = flight.first;
            while next != NONE {
                assert!(flight.live, "nobody waits for a load that is over");
                count += 1;
                next = self.waiters[next as usize].after;
            }
            assert_eq!(count, flight.count, "the list holds those who are counted");
        }
        for (_, landed) in self.landed.iter() {
            let ends = self.ends.iter().any(|(.., load)| *load == landed.load);
            assert!(ends || self.is_live(landed.load), "sharing ends");
        }
    }

    /// The load has closed: its result is shared for the window only.
    fn end_sharing(&mut self, now: Time, key: u64, load: LoadId) {
        let Some(landed) = self.landed.get_mut(key).filter(|landed| landed.load == load) else {
            return;
        };
        if self.settings.window.is_zero() {
            self.landed.remove(key);
            return;
        }
        landed.until = now + self.settings.window;
        // A window that was made shorter must not break the order of the ends.
        let last = self.ends.back().map_or(Time::ZERO, |(until, ..)| *until);
        self.ends.push_back((landed.until.max(last), key, load));
    }

    fn free_waiter(&mut self, index: u32) {
        let waiter = &mut self.waiters[index as usize];
        waiter.state = Waits::Free;
        waiter.generation = waiter.generation.wrapping_add(1);
        self.waiters_free.push(index);
    }
}
