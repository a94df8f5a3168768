//! A map from 64-bit keys, by open addressing.
//!
//! It does what a hash map does, with two differences: its behaviour is the same in every run (the hash is fixed),
//! and it walks its entries in the order of their keys, so that no decision hangs on how it was filled. It is not
//! hardened against keys chosen to collide; hash what strangers can choose.
//!
//! Linear probing with Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4) and deletion by shifting
//! back, so there are no tombstones and a look-up touches one or two cache lines.
//!
//! ```
//! use seawall_core::keymap::KeyMap;
//! let mut map = KeyMap::new();
//! map.insert(7, "seven");
//! map.insert(3, "three");
//! assert_eq!(map.get(7), Some(&"seven"));
//! assert_eq!(map.iter().map(|(key, _)| key).collect::<Vec<_>>(), [3, 7]);
//! assert_eq!(map.remove(7), Some("seven"));
//! assert_eq!(map.len(), 1);
//! ```

/// A map from 64-bit keys to `V`.
#[derive(Clone, Debug)]
pub struct KeyMap<V> {
    /// A power of two of them, or none.
    slots: Vec<Option<(u64, V)>>,
    /// 64 less the binary logarithm of their number.
    shift: u32,
    len: usize,
}

/// The smallest table that is not empty.
const SLOTS_MIN: usize = 16;

impl<V> Default for KeyMap<V> {
    fn default() -> KeyMap<V> {
        KeyMap::new()
    }
}

impl<V> KeyMap<V> {
    /// An empty map; it allocates nothing yet.
    pub const fn new() -> KeyMap<V> {
        KeyMap {
            slots: Vec::new(),
            shift: 64,
            len: 0,
        }
    }

    /// How many keys it holds.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get(&self, key: u64) -> Option<&V> {
        let index = self.find(key)?;
        self.slots[index].as_ref().map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let index = self.find(key)?;
        self.slots[index].as_mut().map(|(_, value)| value)
    }

    /// Whether it holds the key.
    pub fn contains(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// Gives a key this value; returns the one it had.
    pub fn insert(&mut self, key: u64, value: V) -> Option<V> {
        if let Some(index) = self.find(key) {
            return self.slots[index].replace((key, value)).map(|(_, old)| old);
        }
        // A quarter stays free, or probing gets long.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.place(key, value);
        self.len += 1;
        None
    }

    /// Takes a key out; returns its value.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let mut hole = self.find(key)?;
        let (_, removed) = self.slots[hole].take()?;
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let mut index = (hole + 1) & mask;
        while let Some((moved, _)) = &self.slots[index] {
            // An entry may move back to the hole unless its own place lies behind the hole.
            let wanted = self.home(*moved);
            if (index.wrapping_sub(wanted) & mask) >= (index.wrapping_sub(hole) & mask) {
                self.slots.swap(index, hole);
                hole = index;
            }
            index = (index + 1) & mask;
        }
        Some(removed)
    }

    /// Takes everything out, and keeps the room.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
        self.len = 0;
    }

    /// All entries in the order of their keys. It sorts them first: this is not for a hot path.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let mut entries: Vec<(u64, &V)> = self
            .slots
            .iter()
            .flatten()
            .map(|(key, value)| (*key, value))
            .collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries.into_iter()
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert_eq!(
            self.slots.iter().flatten().count(),
            self.len,
            "the count is that of the entries"
        );
        assert!(self.slots.is_empty() || self.slots.len().is_power_of_two());
        for (index, slot) in self.slots.iter().enumerate() {
            let Some((key, _)) = slot else { continue };
            assert_eq!(self.find(*key), Some(index), "each key is found where it lies");
        }
    }

    fn home(&self, key: u64) -> usize {
        // The golden ratio's bits: neighbouring keys land far apart. The high bits are the well-mixed ones.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn find(&self, key: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut index = self.home(key);
        while let Some((found, _)) = &self.slots[index] {
            if *found == key {
                return Some(index);
            }
            index = (index + 1) & mask;
        }
        None
    }

    /// Puts a key that is not there into the first free slot of its run.
    fn place(&mut self, key: u64, value: V) {
        let mask = self.slots.len() - 1;
        let mut index = self.home(key);
        while self.slots[index].is_some() {
            index = (index + 1) & mask;
        }
        self.slots[index] = Some((key, value));
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(SLOTS_MIN);
        let mut wider = Vec::with_capacity(count);
        wider.resize_with(count, || None);
        let old = std::mem::replace(&mut self.slots, wider);
        self.shift = 64 - count.ilog2();
        for (key, value) in old.into_iter().flatten() {
            self.place(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_as_an_ordered_map(steps in prop::collection::vec((0_u8..4, 0_u64..40, any::<u16>()), 0..300)) {
            let mut map = KeyMap::new();
            let mut model = BTreeMap::new();
            for (step, key, value) in steps {
                // Keys that share their place in a small table, among others.
                let key = if key % 2 == 0 { key << 58 } else { key };
                match step {
                    0 | 1 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    2 => prop_assert_eq!(map.remove(key), model.remove(&key)),
                    _ => {
                        prop_assert_eq!(map.get(key), model.get(&key));
                        if let Some(found) = map.get_mut(key) {
                            *found = found.wrapping_add(1);
                            model.entry(key).and_modify(|value| *value = value.wrapping_add(1));
                        }
                    }
                }
                map.invariants();
                prop_assert!(map.iter().eq(model.iter().map(|(key, value)| (*key, value))));
            }
            map.clear();
            map.invariants();
            prop_assert!(map.is_empty());
        }
    }

    #[test]
    fn order_does_not_hang_on_history() {
        let mut up = KeyMap::new();
        let mut down = KeyMap::new();
        for key in 0..100_u64 {
            up.insert(key, ());
            down.insert(99 - key, ());
        }
        assert!(up.iter().eq(down.iter()));
        assert!(up.contains(5) && !up.contains(100));
    }
}
