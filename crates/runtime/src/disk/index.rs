//! The index: which entries there are, what they take, and which goes when there is no room.
//!
//! Who goes is found by second chance: the oldest, unless it was read since its last turn. It knows names and does
//! nothing to files.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

/// A file takes whole blocks.
const BLOCK: u64 = 4096;

/// What the name of a file says beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The version of the value.
    pub(super) version: u64,
    /// After this it is dropped; microseconds since 1970.
    pub(super) until_us: u64,
    /// Bytes of the file.
    pub(super) size: u64,
}

impl Name {
    fn takes(&self) -> u64 {
        self.size.max(1).next_multiple_of(BLOCK)
    }
}

/// Entries and their names.
pub(super) type Named = Vec<(u128, Name)>;

#[derive(Debug)]
struct Held {
    name: Name,
    /// Its stand in the order; one that was replaced is known by another.
    turn: u64,
    was_read: bool,
}

/// Which entries there are.
#[derive(Debug)]
pub(super) struct Index {
    bytes_max: u64,
    /// What entries take, those included that are being written.
    bytes: u64,
    held: BTreeMap<u128, Held>,
    /// Oldest first. Entries that are gone or were replaced are passed over.
    order: VecDeque<(u128, u64)>,
    next_turn: u64,
    evictions: u64,
}

impl Index {
    /// An index of the files that were found, and those of them that have to go: of another time, superseded, or too much.
    pub(super) fn of(mut found: Named, bytes_max: u64, now_us: u64) -> (Index, Named) {
        let mut index = Index {
            bytes_max,
            bytes: 0,
            held: BTreeMap::new(),
            order: VecDeque::new(),
            next_turn: 0,
            evictions: 0,
        };
        // What ends first was mostly written first.
        found.sort_unstable_by_key(|(digest, name)| (name.until_us, name.version, *digest));
        let mut gone = Vec::new();
        for (digest, name) in found {
            let newer = |held: &Held| held.name.version > name.version;
            if name.until_us <= now_us || index.held.get(&digest).is_some_and(newer) {
                gone.push((digest, name));
                continue;
            }
            let Some(pushed_out) = index.make_room(digest, &name, now_us) else {
                gone.push((digest, name));
                continue;
            };
            gone.extend(pushed_out);
            gone.extend(index.settle(digest, name, true).map(|old| (digest, old)));
        }
        index.evictions = 0;
        (index, gone)
    }

    /// The entry of this key, unless its time is over.
    pub(super) fn find(&mut self, digest: u128, now_us: u64) -> Option<Name> {
        let held = self.held.get_mut(&digest)?;
        held.was_read = true;
        (now_us < held.name.until_us).then_some(held.name)
    }

    /// Makes room for an entry that is about to be written, and says whose files go for that. `None` when it is not to be
    /// written: a newer one is there, or it is too large. What was made room for is settled by [`Index::settle`].
    pub(super) fn make_room(&mut self, digest: u128, name: &Name, now_us: u64) -> Option<Named> {
        let newer = |held: &Held| held.name.version > name.version && now_us < held.name.until_us;
        if name.takes() > self.bytes_max || self.held.get(&digest).is_some_and(newer) {
            return None;
        }
        self.bytes += name.takes();
        let mut pushed_out = Vec::new();
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.push_out(now_us) else {
                break;
            };
            pushed_out.push(oldest);
        }
        self.check();
        Some(pushed_out)
    }

    /// An entry that room was made for was written, or was not. Returns the one that it replaces.
    pub(super) fn settle(&mut self, digest: u128, name: Name, written: bool) -> Option<Name> {
        if !written {
            self.bytes -= name.takes();
            return None;
        }
        let held = Held {
            name,
            turn: self.next_turn,
            was_read: false,
        };
        self.next_turn += 1;
        self.order.push_back((digest, held.turn));
        let replaced = self.held.insert(digest, held).map(|old| old.name);
        self.bytes -= replaced.map_or(0, |old| old.takes());
        self.tidy();
        self.check();
        // The same name is the same file, which was written over.
        replaced.filter(|old| *old != name)
    }

    /// Takes an entry out, unless it has this version or a higher one (`u64::MAX` takes it out in any case).
    pub(super) fn take_out(&mut self, digest: u128, below: u64) -> Option<Name> {
        let Entry::Occupied(entry) = self.held.entry(digest) else {
            return None;
        };
        let name = entry.get().name;
        if below != u64::MAX && name.version >= below {
            return None;
        }
        entry.remove();
        self.bytes -= name.takes();
        self.tidy();
        Some(name)
    }

    /// The file of this name is not there.
    pub(super) fn forget(&mut self, digest: u128, name: &Name) {
        if self.held.get(&digest).is_some_and(|held| held.name == *name) {
            self.take_out(digest, u64::MAX);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Whoever has to go next.
    fn push_out(&mut self, now_us: u64) -> Option<(u128, Name)> {
        while let Some((digest, turn)) = self.order.pop_front() {
            let Entry::Occupied(mut entry) = self.held.entry(digest) else {
                continue;
            };
            let held = entry.get_mut();
            if held.turn != turn {
                continue;
            }
            let over = held.name.until_us <= now_us;
            if held.was_read && !over {
                // Its second chance, once.
                held.was_read = false;
                self.order.push_back((digest, turn));
                continue;
            }
            let name = entry.remove().name;
            self.bytes -= name.takes();
            self.evictions += u64::from(!over);
            return Some((digest, name));
        }
        None
    }

    /// Stands of entries that are gone are not kept for ever.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.held.len() + 64 {
            let held = &self.held;
            self.order
                .retain(|(digest, turn)| held.get(digest).is_some_and(|held| held.turn == *turn));
        }
    }

    fn check(&self) {
        debug_assert!(self.order.len() >= self.held.len(), "everybody has a turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(version: u64, until_us: u64) -> Name {
        Name {
            version,
            until_us,
            size: 100,
        }
    }

    fn put(index: &mut Index, digest: u128, version: u64) -> Named {
        let name = name(version, 1_000);
        let mut gone = index.make_room(digest, &name, 0).expect("it is kept");
        gone.extend(index.settle(digest, name, true).map(|old| (digest, old)));
        gone
    }

    fn empty(blocks: u64) -> Index {
        Index::of(Vec::new(), blocks * BLOCK, 0).0
    }

    #[test]
    fn what_was_read_has_a_second_chance() {
        let mut index = empty(3);
        (0..3).for_each(|digest| assert!(put(&mut index, digest, 1).is_empty()));
        assert!(index.find(0, 0).is_some());
        assert_eq!(put(&mut index, 3, 1), [(1, name(1, 1_000))]);
        assert_eq!(put(&mut index, 4, 1), [(2, name(1, 1_000))]);
        assert_eq!(put(&mut index, 5, 1), [(0, name(1, 1_000))], "and no third one");
        assert_eq!((index.len(), index.evictions()), (3, 3));
    }

    #[test]
    fn a_newer_version_stays_until_its_time_is_over() {
        let mut index = empty(3);
        put(&mut index, 7, 5);
        assert!(index.make_room(7, &name(4, 9_000), 999).is_none());
        assert!(
            index.make_room(7, &name(4, 9_000), 1_000).is_some(),
            "nobody reads it any more"
        );
        assert_eq!(index.settle(7, name(4, 9_000), true), Some(name(5, 1_000)));
        assert_eq!(index.take_out(7, 4), None);
        assert_eq!(index.take_out(7, 5), Some(name(4, 9_000)));
        assert_eq!(index.bytes(), 0);
    }

    #[test]
    fn what_is_found_is_sorted_out() {
        let found = vec![
            (1, name(1, 500)),
            (1, name(2, 400)),
            (2, name(1, 50)),
            (3, name(1, 100)),
            (4, name(1, 600)),
            (
                5,
                Name {
                    size: 1 << 30,
                    ..name(1, 700)
                },
            ),
        ];
        let (index, mut gone) = Index::of(found, 2 * BLOCK, 60);
        gone.sort_unstable_by_key(|(digest, name)| (*digest, name.version));
        let digests: Vec<u128> = gone.iter().map(|(digest, _)| *digest).collect();
        assert_eq!(digests, [1, 2, 3, 5], "superseded, over, too much, too large");
        assert_eq!((index.len(), index.evictions()), (2, 0));
        assert_eq!(index.held[&1].name.version, 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_bound_holds_and_every_file_is_accounted_for(
            steps in prop::collection::vec((0_u8..10, 0_u128..20, 1_u64..20_000, 0_u64..5), 1..300),
        ) {
            let mut index = empty(8);
            let mut files: BTreeMap<u128, Name> = BTreeMap::new();
            for (now, (what, digest, size, version)) in (0_u64..).zip(steps) {
                let name = Name { version, until_us: now + size / 100, size };
                match what {
                    0 | 1 => {
                        let taken = index.take_out(digest, version);
                        if let Some(taken) = taken {
                            prop_assert_eq!(files.remove(&digest), Some(taken));
                        }
                    }
                    2 | 3 => {
                        let found = index.find(digest, now);
                        prop_assert_eq!(found, files.get(&digest).copied().filter(|name| now < name.until_us));
                    }
                    _ => if let Some(gone) = index.make_room(digest, &name, now) {
                        for (digest, name) in gone {
                            prop_assert_eq!(files.remove(&digest), Some(name));
                        }
                        let written = what != 4;
                        let replaced = index.settle(digest, name, written);
                        if written {
                            let old = files.insert(digest, name).filter(|old| *old != name);
                            prop_assert_eq!(replaced, old);
                        }
                    },
                }
                let takes: u64 = files.values().map(Name::takes).sum();
                prop_assert_eq!((index.bytes(), index.len()), (takes, files.len()));
                prop_assert!(takes <= 8 * BLOCK);
                prop_assert!(index.order.len() <= 2 * index.len() + 65);
            }
        }
    }
}
