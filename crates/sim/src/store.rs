//! One cache node: a bounded table of records by key, with expiry and exact least-recently-used eviction.
//!
//! A [`Store`] keeps whatever record its user keeps beside a value, and the instant from which the key is gone. It
//! knows nothing of freshness, staleness or versions: those are the record's. Time only moves forward.
//!
//! What has expired is taken out when somebody asks for it, and by [`Store::sweep`], as a Redis does it; until then
//! it takes a place. Keys of a small range are found through a table of 4 bytes a key, others by hashing; a record
//! of 48 bytes fills one cache line with its key and expiry. The order of use is kept only where there is a bound.
//!
//! ```
//! use seawall_core::time::{Span, Time};
//! use seawall_sim::store::{Inserted, Settings, Store};
//! let mut store = Store::new(Settings { capacity: Some(2), evict: true, dense_keys: 0 });
//! let (now, later) = (Time::ZERO, Time::ZERO + Span::secs(50));
//! store.insert(now, 1, later, "one");
//! store.insert(now, 2, later, "two");
//! assert_eq!(store.lookup(now, 1).map(|slot| slot.record), Some("one"));
//! assert_eq!(store.insert(now, 3, later, "three"), Inserted::Evicting(2));
//! assert!(store.lookup(later, 1).is_none(), "expired");
//! ```

use seawall_core::rng::Stream;
use seawall_core::time::Time;

use self::expiry::Expiry;
use self::index::Index;
use self::order::Order;

mod expiry;
mod index;
mod order;

/// The key of an empty place. No key of a workload is this one.
const HOLE: u64 = u64::MAX;

/// A sweep takes out so many keys at a time.
const SWEPT_AT_ONCE: usize = 32;

/// [`Store::tidy`] looks at one place in so many, and without a bound not before one in so many is spent.
const SPENT_ONE_IN: usize = 4;

/// What a store is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most keys it holds; as many as come when there is none.
    pub capacity: Option<usize>,
    /// Whether a full store makes room (least recently used first) or refuses.
    pub evict: bool,
    /// Keys below this number are found through a table; 0 for keys of any kind. At most 2²⁴ are taken into it.
    pub dense_keys: u64,
}

/// What is kept of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<R> {
    /// From when on it is gone. Changed by [`Store::renew`] or within [`Store::change`] only: who writes it through
    /// [`Store::lookup`] makes [`Store::live`] wrong.
    pub expires: Time,
    /// What its user keeps.
    pub record: R,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The key is new and there was room.
    New,
    /// The key was there and has been overwritten.
    Over,
    /// The key is new, and this one made room for it.
    Evicting(u64),
    /// The store is full and evicts nothing.
    Refused,
}

/// What has happened to a store since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys that made room for others.
    pub evicted: u64,
    /// Keys taken out because their time had come.
    pub expired: u64,
    /// Insertions refused because the store was full.
    pub refused: u64,
    /// Insertions of keys that were not there, or had expired.
    pub added: u64,
    /// Keys taken out by somebody, a flush included, before they had expired.
    pub removed: u64,
}

/// One cache node.
#[derive(Clone, Debug)]
pub struct Store<R> {
    settings: Settings,
    index: Index,
    nodes: Vec<Node<R>>,
    /// When each place expires, once more and close together, so that a sweep reads an eighth of the memory; never where
    /// there is nothing.
    ends: Vec<Time>,
    holes: Vec<u32>,
    /// The order of use; kept when there is a capacity.
    order: Order,
    expiry: Expiry,
    swept: usize,
    counts: Counts,
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Node<R> {
    key: u64,
    slot: Slot<R>,
}

impl<R: Copy> Store<R> {
    /// An empty store.
    pub fn new(settings: Settings) -> Store<R> {
        Store {
            settings,
            index: Index::new(settings.dense_keys),
            nodes: Vec::new(),
            ends: Vec::new(),
            holes: Vec::new(),
            order: Order::new(),
            expiry: Expiry::default(),
            swept: 0,
            counts: Counts::default(),
        }
    }

    /// The record of this key, which has now been used; none when there is none or its time has come.
    #[inline]
    pub fn lookup(&mut self, now: Time, key: u64) -> Option<&mut Slot<R>> {
        let at = self.index.find(key)?;
        if self.nodes[at as usize].slot.expires <= now {
            self.expire(at);
            return None;
        }
        if self.settings.capacity.is_some() {
            self.order.use_again(at);
        }
        Some(&mut self.nodes[at as usize].slot)
    }

    /// The record of this key, without using it.
    pub fn look(&self, now: Time, key: u64) -> Option<&Slot<R>> {
        let slot = &self.nodes[self.index.find(key)? as usize].slot;
        if slot.expires <= now { None } else { Some(slot) }
    }

    /// Reads what a lookup of this key will read, and says something about it that means nothing: called ahead for
    /// several keys, it lets their memory come while other work is done.
    #[inline]
    pub fn touch(&self, key: u64) -> u64 {
        self.index
            .find(key)
            .map_or(0, |at| self.nodes[at as usize].slot.expires.as_nanos())
    }

    /// [`Store::touch`] of many keys: first all their places, then all that stands there, so that no read waits for
    /// another.
    pub fn touch_all<const N: usize>(&self, keys: &[u64; N]) -> u64 {
        if self.nodes.is_empty() {
            return 0;
        }
        let places = keys.map(|key| self.index.find(key).unwrap_or(0));
        // A miss writes to both, and writes wait for one another.
        let read = places.map(|at| {
            let at = at as usize;
            self.nodes[at].slot.expires.as_nanos() ^ self.ends[at].as_nanos()
        });
        read.iter().fold(0, |sum, each| sum ^ each)
    }

    /// Keeps a record until `expires`. The key counts as used.
    pub fn insert(&mut self, now: Time, key: u64, expires: Time, record: R) -> Inserted {
        debug_assert!(key != HOLE, "no workload has this key");
        let slot = Slot { expires, record };
        if let Some(at) = self.index.find(key) {
            let old = std::mem::replace(&mut self.nodes[at as usize].slot, slot);
            self.counts.added += u64::from(old.expires <= now);
            self.ends[at as usize] = expires;
            self.expiry.remove(old.expires);
            self.expiry.insert(expires);
            if self.settings.capacity.is_some() {
                self.order.use_again(at);
            }
            return Inserted::Over;
        }
        let mut inserted = Inserted::New;
        if let Some(capacity) = self.settings.capacity
            && self.len() >= capacity
        {
            let Some(made) = self.make_room(now, capacity) else {
                self.counts.refused += 1;
                return Inserted::Refused;
            };
            inserted = made;
        }
        let at = self.holes.pop().unwrap_or_else(|| {
            self.nodes.push(Node { key: HOLE, slot });
            self.ends.push(Time::NEVER);
            self.nodes.len() as u32 - 1
        });
        self.nodes[at as usize] = Node { key, slot };
        self.ends[at as usize] = expires;
        self.index.insert(key, at);
        self.counts.added += 1;
        self.expiry.insert(expires);
        if self.settings.capacity.is_some() {
            self.order.insert(at);
        }
        inserted
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: u64) -> Option<Slot<R>> {
        let at = self.index.find(key)?;
        self.counts.removed += 1;
        Some(self.take(at))
    }

    /// Changes when this key is gone (a TTL that hits renew).
    pub fn renew(&mut self, key: u64, expires: Time) {
        if let Some(at) = self.index.find(key) {
            let slot = &mut self.nodes[at as usize].slot;
            self.expiry.remove(slot.expires);
            self.expiry.insert(expires);
            slot.expires = expires;
            self.ends[at as usize] = expires;
        }
    }

    /// Takes all keys out.
    pub fn flush(&mut self) {
        self.index.clear();
        self.nodes.clear();
        self.ends.clear();
        self.holes.clear();
        self.order.clear();
        self.expiry.clear();
        self.swept = 0;
    }

    /// How many keys take a place, expired ones included.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.holes.len()
    }

    /// Whether no key takes a place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys have not expired: exact at whole seconds, and in between that of the second's start.
    pub fn live(&mut self, now: Time) -> usize {
        self.expiry.live(now)
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the store is like.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Takes out a part of what has expired, as a server's active expiry does. Called now and then, it keeps what has
    /// expired below a part of what is held. Where there is a bound that is always worth it, for what has expired takes
    /// a place from what has not; elsewhere it only saves memory, and who asks for a key again finds its place warm.
    pub fn tidy(&mut self, now: Time) {
        let held = self.len();
        let spent = held - self.live(now).min(held);
        if self.settings.capacity.is_some() || spent * SPENT_ONE_IN > held {
            self.sweep(now, held / SPENT_ONE_IN + 16);
        }
    }

    /// Looks at up to this many places, going round, and takes out what has expired; says how many that were.
    pub fn sweep(&mut self, now: Time, places: usize) -> usize {
        let before = self.counts.expired;
        let (held, places) = (self.nodes.len(), places.min(self.nodes.len()));
        if places == 0 {
            return 0;
        }
        let first = if self.swept + 1 < held { self.swept + 1 } else { 0 };
        let end = (first + places).min(held);
        let round = places - (end - first);
        let (mut found, mut count) = ([0_u32; SWEPT_AT_ONCE], 0);
        for (mut at, end) in [(first, end), (0, round)] {
            while let Some(ahead) = self.ends[at..end].iter().position(|ends| *ends <= now) {
                at += ahead;
                found[count] = at as u32;
                count += 1;
                if count == SWEPT_AT_ONCE {
                    self.expire_all(&found);
                    count = 0;
                }
                at += 1;
            }
        }
        for at in &found[..count] {
            self.expire(*at);
        }
        self.swept = if round > 0 { round - 1 } else { end - 1 };
        (self.counts.expired - before) as usize
    }

    /// Lets each key expire now with this probability; says how many did.
    pub fn expire_share(&mut self, now: Time, share: f64, rng: &mut Stream) -> usize {
        let mut expired = 0;
        self.change(|_, slot| {
            if slot.expires > now && rng.chance(share) {
                slot.expires = now;
                expired += 1;
            }
        });
        expired
    }

    /// Lets all keys that are still there at `now` expire at one instant.
    pub fn align_expiry(&mut self, now: Time, at: Time) {
        self.change(|_, slot| {
            if slot.expires > now {
                slot.expires = at;
            }
        });
    }

    /// Changes all records, by place; the order is the same in every run.
    pub fn change(&mut self, mut change: impl FnMut(u64, &mut Slot<R>)) {
        let places = self.nodes.iter_mut().zip(&mut self.ends);
        for (node, end) in places.filter(|(node, _)| node.key != HOLE) {
            let before = node.slot.expires;
            change(node.key, &mut node.slot);
            if node.slot.expires != before {
                self.expiry.remove(before);
                self.expiry.insert(node.slot.expires);
                *end = node.slot.expires;
            }
        }
    }

    /// All keys and what is kept of them, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Slot<R>)> {
        self.nodes
            .iter()
            .filter(|node| node.key != HOLE)
            .map(|node| (node.key, &node.slot))
    }

    /// Changes bound and eviction. A lower bound is enforced by [`Store::trim`] or
    /// at the next insertion; what becomes bounded counts as
    /// used in the order of its places.
    pub fn retune(&mut self, capacity: Option<usize>, evict: bool) {
        if capacity.is_some() && self.settings.capacity.is_none() {
            self.order.clear();
            for (at, node) in self.nodes.iter().enumerate() {
                if node.key != HOLE {
                    self.order.insert(at as u32);
                }
            }
        }
        self.settings.capacity = capacity;
        self.settings.evict = evict;
    }

    /// Enforces the bound at once, as a server does with the first command after it was lowered.
    pub fn trim(&mut self, now: Time) {
        if let Some(capacity) = self.settings.capacity {
            // Where nothing may be evicted, what is too much stays until it expires.
            let _ = self.make_room(now, capacity + 1);
        }
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        let held = self.nodes.iter().filter(|node| node.key != HOLE).count();
        assert_eq!(held, self.len());
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.key != HOLE) {
            assert_eq!(self.index.find(node.key), Some(at as u32));
            assert_eq!(self.ends[at], node.slot.expires);
        }
        if self.settings.capacity.is_some() {
            self.order.invariants(held);
        }
        self.index.invariants(held);
        self.expiry.invariants(held);
    }

    /// Room for one more, or none when nothing may be evicted.
    fn make_room(&mut self, now: Time, capacity: usize) -> Option<Inserted> {
        let mut made = Inserted::New;
        while self.len() >= capacity {
            let last = self.order.last()?;
            let node = &self.nodes[last as usize];
            if node.slot.expires <= now {
                self.expire(last);
            } else if self.settings.evict {
                made = Inserted::Evicting(node.key);
                self.counts.evicted += 1;
                self.take(last);
            } else if self.expiry.live(now) == self.len() || self.sweep(now, self.nodes.len()) == 0 {
                // A full store refuses often: it looks for expired keys only when a second has passed in which
                // some expired.
                return None;
            }
        }
        Some(made)
    }

    /// Takes out what stands at these places. All that this touches is read before, so that no read waits for another.
    fn expire_all(&mut self, places: &[u32; SWEPT_AT_ONCE]) {
        let keys = places.map(|at| self.nodes[at as usize].key);
        let read = keys.map(|key| self.index.find(key).unwrap_or(0));
        std::hint::black_box(read.iter().fold(0, |sum, each| sum ^ each));
        for at in places {
            self.expire(*at);
        }
    }

    #[cold]
    fn expire(&mut self, at: u32) {
        self.counts.expired += 1;
        self.take(at);
    }

    fn take(&mut self, at: u32) -> Slot<R> {
        let node = &mut self.nodes[at as usize];
        let key = std::mem::replace(&mut node.key, HOLE);
        let slot = node.slot;
        self.ends[at as usize] = Time::NEVER;
        self.index.remove(key);
        self.holes.push(at);
        self.expiry.remove(slot.expires);
        if self.settings.capacity.is_some() {
            self.order.remove(at);
        }
        slot
    }
}

#[cfg(test)]
mod tests;
