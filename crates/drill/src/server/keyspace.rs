//! What the server holds: values by database and key, until they expire or make room.
//!
//! It reads no clock: `now` is in milliseconds since 1970, as expiry is in the protocol. Least recently used is exact
//! here; Redis looks at a sample. A key keeps its place while it lives, so a scan by place meets every key that stays.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use seawall_core::rng::{Seed, Stream};

use super::eviction::{Choice, Policy};
use super::memory;
use super::order::Order;

/// Databases, as many as Redis has unless it is told otherwise.
pub(crate) const DATABASES: usize = 16;

/// A key without an expiry.
pub(crate) const FOREVER: u64 = u64::MAX;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Bytes),
    List(VecDeque<Bytes>),
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::List(_) => "list",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) value: Value,
    pub(crate) database: usize,
    pub(crate) expires: u64,
    /// Estimated, in bytes.
    pub(crate) size: usize,
    /// How often it was read or written.
    uses: u32,
}

/// What has happened to keys.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
}

#[derive(Debug)]
pub(crate) struct Keyspace {
    places: Vec<Option<Entry>>,
    free: Vec<u32>,
    maps: Vec<HashMap<Bytes, u32>>,
    /// Of all keys, and of those that expire.
    used: Order,
    used_expiring: Order,
    expiring: BTreeSet<(u64, u32)>,
    /// How many of each database.
    expiring_in: [usize; DATABASES],
    bytes: usize,
    rng: Stream,
    pub(crate) fate: Fate,
}

impl Keyspace {
    pub(crate) fn new(seed: u64) -> Keyspace {
        Keyspace {
            places: Vec::new(),
            free: Vec::new(),
            maps: vec![HashMap::new(); DATABASES],
            used: Order::new(),
            used_expiring: Order::new(),
            expiring: BTreeSet::new(),
            expiring_in: [0; DATABASES],
            bytes: 0,
            rng: Seed(seed).stream("eviction", 0),
            fate: Fate::default(),
        }
    }

    /// Bytes of everything held, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys of a database, those included that have expired and are still there.
    pub(crate) fn count(&self, database: usize) -> usize {
        self.maps[database].len()
    }

    /// Keys of a database that will expire, and the mean time that those have left that do so first, in milliseconds.
    pub(crate) fn count_expiring(&self, now: u64, database: usize) -> (usize, u64) {
        let here = |(_, place): &&(u64, u32)| self.entry(*place).database == database;
        let first = self.expiring.iter().take(SAMPLED).filter(here);
        let (count, sum) = first.fold((0, 0), |(count, sum), (at, _)| {
            (count + 1, sum + at.saturating_sub(now))
        });
        (self.expiring_in[database], sum / u64::max(count, 1))
    }

    fn entry(&self, place: u32) -> &Entry {
        self.places[place as usize]
            .as_ref()
            .expect("a place that is named is taken")
    }

    fn entry_mut(&mut self, place: u32) -> &mut Entry {
        self.places[place as usize]
            .as_mut()
            .expect("a place that is named is taken")
    }

    /// The place of a key that has not expired. One that has is taken out.
    fn find(&mut self, now: u64, database: usize, key: &[u8]) -> Option<u32> {
        let place = *self.maps[database].get(key)?;
        if self.entry(place).expires <= now {
            self.take(place);
            self.fate.expired += 1;
            return None;
        }
        Some(place)
    }

    /// What a key holds, without using it.
    pub(crate) fn peek(&mut self, now: u64, database: usize, key: &[u8]) -> Option<&Entry> {
        let place = self.find(now, database, key)?;
        Some(self.entry(place))
    }

    /// What a key holds. It is used by that.
    pub(crate) fn get(&mut self, now: u64, database: usize, key: &[u8]) -> Option<&Entry> {
        let place = self.find(now, database, key)?;
        self.touch(place);
        Some(self.entry(place))
    }

    fn touch(&mut self, place: u32) {
        self.used.renew(place);
        let entry = self.entry_mut(place);
        entry.uses = entry.uses.saturating_add(1);
        if entry.expires != FOREVER {
            self.used_expiring.renew(place);
        }
    }

    /// Puts a value in the place of whatever the key held; `None` keeps the expiry that it has.
    pub(crate) fn set(&mut self, now: u64, database: usize, key: &Bytes, value: Value, expires: Option<u64>) {
        if let Some(place) = self.find(now, database, key) {
            let entry = self.entry_mut(place);
            entry.value = value;
            let expires = expires.unwrap_or(entry.expires);
            self.measure(place);
            self.expire_at(place, expires);
            self.touch(place);
            return;
        }
        let expires = expires.unwrap_or(FOREVER);
        // What came over the wire is part of a larger buffer, which must not be kept for it.
        let key = Bytes::copy_from_slice(key);
        let entry = Entry {
            key: key.clone(),
            value,
            database,
            expires: FOREVER,
            size: 0,
            uses: 0,
        };
        let place = if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(entry);
            place
        } else {
            self.places.push(Some(entry));
            self.places.len() as u32 - 1
        };
        self.maps[database].insert(key, place);
        self.measure(place);
        self.expire_at(place, expires);
        self.touch(place);
    }

    /// Changes what a key holds; nothing when there is no such key.
    pub(crate) fn change<R>(
        &mut self,
        now: u64,
        database: usize,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> R,
    ) -> Option<R> {
        let place = self.find(now, database, key)?;
        let result = change(&mut self.entry_mut(place).value);
        self.measure(place);
        self.touch(place);
        Some(result)
    }

    /// Lets a key expire at an instant ([`FOREVER`] for never). True when there is such a key.
    pub(crate) fn set_expiry(&mut self, now: u64, database: usize, key: &[u8], expires: u64) -> bool {
        let Some(place) = self.find(now, database, key) else {
            return false;
        };
        self.expire_at(place, expires);
        true
    }

    /// Takes a key out. True when it was there.
    pub(crate) fn remove(&mut self, now: u64, database: usize, key: &[u8]) -> bool {
        let place = self.find(now, database, key);
        place.is_some_and(|place| {
            self.take(place);
            true
        })
    }

    fn measure(&mut self, place: u32) {
        let entry = self.entry_mut(place);
        let size = memory::entry(&entry.key, &entry.value, entry.expires != FOREVER);
        let before = std::mem::replace(&mut entry.size, size);
        self.bytes = self.bytes + size - before;
    }

    fn expire_at(&mut self, place: u32, expires: u64) {
        let before = std::mem::replace(&mut self.entry_mut(place).expires, expires);
        if before == expires {
            return;
        }
        let database = self.entry(place).database;
        if self.expiring.remove(&(before, place)) {
            self.expiring_in[database] -= 1;
        }
        if expires == FOREVER {
            self.used_expiring.remove(place);
        } else {
            self.expiring.insert((expires, place));
            self.expiring_in[database] += 1;
            if before == FOREVER {
                self.used_expiring.renew(place);
            }
        }
        self.measure(place);
    }

    fn take(&mut self, place: u32) {
        let entry = self.places[place as usize].take();
        let entry = entry.expect("a place that is named is taken");
        self.bytes -= entry.size;
        self.maps[entry.database].remove(&entry.key);
        if self.expiring.remove(&(entry.expires, place)) {
            self.expiring_in[entry.database] -= 1;
        }
        self.used.remove(place);
        self.used_expiring.remove(place);
        self.free.push(place);
    }

    /// Takes out what has expired, at most so many keys.
    pub(crate) fn sweep(&mut self, now: u64, count_max: usize) {
        for _ in 0..count_max {
            match self.expiring.first() {
                Some((at, place)) if *at <= now => {
                    let place = *place;
                    self.take(place);
                    self.fate.expired += 1;
                }
                _ => return,
            }
        }
    }

    /// Takes out keys until no more than `limit` bytes are held. False when nothing is left that may go.
    pub(crate) fn make_room(&mut self, policy: Policy, limit: usize) -> bool {
        while self.bytes > limit {
            let Some(place) = self.victim(policy) else {
                return false;
            };
            self.take(place);
            self.fate.evicted += 1;
        }
        true
    }

    fn victim(&mut self, policy: Policy) -> Option<u32> {
        let among_all = match policy {
            Policy::NoEviction => return None,
            Policy::AllKeys(_) => true,
            Policy::Expiring(_) => false,
            Policy::SoonestExpiry => return self.expiring.first().map(|(_, place)| *place),
        };
        match policy {
            Policy::AllKeys(Choice::LeastRecent) => self.used.oldest(),
            Policy::Expiring(Choice::LeastRecent) => self.used_expiring.oldest(),
            Policy::AllKeys(Choice::LeastFrequent) | Policy::Expiring(Choice::LeastFrequent) => {
                // As Redis does: the least used of a few.
                let some: Vec<u32> = (0..SAMPLES).filter_map(|_| self.any(among_all)).collect();
                some.into_iter().min_by_key(|place| self.entry(*place).uses)
            }
            _ => self.any(among_all),
        }
    }

    /// A random key, of all or of those that expire.
    fn any(&mut self, among_all: bool) -> Option<u32> {
        let suits = |places: &[Option<Entry>], place: usize| {
            let entry = places[place].as_ref();
            entry.is_some_and(|entry| among_all || entry.expires != FOREVER)
        };
        if !self.places.is_empty() {
            for _ in 0..TRIES {
                let place = self.rng.below(self.places.len() as u64) as usize;
                if suits(&self.places, place) {
                    return Some(place as u32);
                }
            }
        }
        // Hardly any place suits.
        if among_all {
            self.used.oldest()
        } else {
            self.expiring.first().map(|(_, place)| *place)
        }
    }

    /// Empties a database. Says how many keys it had.
    pub(crate) fn flush(&mut self, database: usize) -> usize {
        let count = self.maps[database].len();
        if count == self.places.len() - self.free.len() {
            self.flush_all();
            return count;
        }
        let places: Vec<u32> = self.maps[database].values().copied().collect();
        for place in places {
            self.take(place);
        }
        count
    }

    /// Empties all databases.
    pub(crate) fn flush_all(&mut self) {
        self.places = Vec::new();
        self.free = Vec::new();
        self.maps.iter_mut().for_each(|map| *map = HashMap::new());
        self.used.clear();
        self.used_expiring.clear();
        self.expiring.clear();
        self.expiring_in = [0; DATABASES];
        self.bytes = 0;
    }

    /// Shows the keys of a database at `count` places from `cursor` on. Says where to go on; 0 at the end.
    pub(crate) fn scan(
        &self,
        now: u64,
        database: usize,
        cursor: u64,
        count: usize,
        mut show: impl FnMut(&Entry),
    ) -> u64 {
        let from = usize::try_from(cursor)
            .unwrap_or(usize::MAX)
            .min(self.places.len());
        let to = from.saturating_add(count).min(self.places.len());
        let live = |entry: &&Entry| entry.database == database && entry.expires > now;
        self.places[from..to]
            .iter()
            .flatten()
            .filter(live)
            .for_each(&mut show);
        if to == self.places.len() { 0 } else { to as u64 }
    }

    #[cfg(test)]
    pub(crate) fn invariants(&self) {
        let entries = || self.places.iter().flatten();
        assert_eq!(entries().map(|entry| entry.size).sum::<usize>(), self.bytes);
        let expiring = entries().filter(|entry| entry.expires != FOREVER).count();
        assert_eq!(expiring, self.expiring.len());
        assert_eq!(expiring, self.expiring_in.iter().sum::<usize>());
        assert_eq!(
            entries().count(),
            self.maps.iter().map(HashMap::len).sum::<usize>()
        );
        assert_eq!(entries().count() + self.free.len(), self.places.len());
        for (database, map) in self.maps.iter().enumerate() {
            for (key, place) in map {
                let entry = self.entry(*place);
                assert!(entry.key == *key && entry.database == database);
            }
        }
    }
}

/// The least used of so many is the one that goes.
const SAMPLES: usize = 16;

/// So many keys stand for all when the time is told that they have left.
const SAMPLED: usize = 1_000;

/// So many places are tried for a random key.
const TRIES: usize = 64;

#[cfg(test)]
mod tests;
