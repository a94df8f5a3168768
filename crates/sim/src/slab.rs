//! Numbered places for what is in flight.
//!
//! A [`Slab`] hands out a [`Ticket`] of 8 bytes for each value, and takes a place again once its value is removed;
//! memory follows the most that was ever in flight at once. The agenda has no removal, so an event may come for
//! what has ended: its ticket then finds nothing, for each use of a place has a number of its own.
//!
//! ```
//! use seawall_sim::slab::Slab;
//! let mut slab = Slab::new();
//! let ticket = slab.insert("request");
//! assert_eq!(slab.get(ticket), Some(&"request"));
//! assert_eq!(slab.remove(ticket), Some("request"));
//! let again = slab.insert("another");
//! assert_eq!(again.place(), ticket.place());
//! assert_eq!(slab.get(ticket), None, "the ticket is of an earlier use");
//! ```

const NONE: u32 = u32::MAX;

/// Values in numbered places.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: u32,
    len: usize,
}

/// The right to one use of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    place: u32,
    /// Even while the place is free, so that no ticket fits a free place.
    usage: u32,
}

#[derive(Clone, Debug)]
struct Place<T> {
    usage: u32,
    next: u32,
    value: Option<T>,
}

impl Ticket {
    /// The number of the place: below the most values ever held at once.
    pub fn place(self) -> u32 {
        self.place
    }

    /// The ticket as one word, for what carries words.
    pub fn bits(self) -> u64 {
        u64::from(self.usage) << 32 | u64::from(self.place)
    }

    /// The ticket that [`Ticket::bits`] spelled.
    pub fn from_bits(bits: u64) -> Ticket {
        Ticket {
            place: bits as u32,
            usage: (bits >> 32) as u32,
        }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

impl<T> Slab<T> {
    /// A slab with no places.
    pub fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The place that the next value will have.
    #[inline]
    pub fn vacant(&self) -> u32 {
        if self.free == NONE {
            self.places.len() as u32
        } else {
            self.free
        }
    }

    /// Puts a value into a free place.
    #[inline]
    pub fn insert(&mut self, value: T) -> Ticket {
        self.len += 1;
        let number = self.free;
        if number == NONE {
            let number = self.places.len() as u32;
            assert!(number < NONE, "2³² values in flight");
            self.places.push(Place {
                usage: 1,
                next: NONE,
                value: Some(value),
            });
            return Ticket {
                place: number,
                usage: 1,
            };
        }
        let place = &mut self.places[number as usize];
        self.free = place.next;
        place.usage = place.usage.wrapping_add(1);
        place.value = Some(value);
        Ticket {
            place: number,
            usage: place.usage,
        }
    }

    /// The value of this ticket; none when it has been removed.
    #[inline]
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        let place = self.places.get(ticket.place as usize)?;
        if place.usage == ticket.usage {
            place.value.as_ref()
        } else {
            None
        }
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let place = self.places.get_mut(ticket.place as usize)?;
        if place.usage == ticket.usage {
            place.value.as_mut()
        } else {
            None
        }
    }

    /// The value in a place, and its ticket, whatever the use; none when it is free.
    #[inline]
    pub fn at(&mut self, place: u32) -> Option<(Ticket, &mut T)> {
        let found = self.places.get_mut(place as usize)?;
        let ticket = Ticket {
            place,
            usage: found.usage,
        };
        found.value.as_mut().map(|value| (ticket, value))
    }

    /// Takes the value of this ticket out; none when it has been removed.
    #[inline]
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let place = self.places.get_mut(ticket.place as usize)?;
        if place.usage != ticket.usage {
            return None;
        }
        let value = place.value.take()?;
        place.usage = place.usage.wrapping_add(1);
        place.next = self.free;
        self.free = ticket.place;
        self.len -= 1;
        Some(value)
    }

    /// All values, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.places.iter().enumerate().filter_map(|(number, place)| {
            let ticket = Ticket {
                place: number as u32,
                usage: place.usage,
            };
            place.value.as_ref().map(|value| (ticket, value))
        })
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        assert_eq!(
            self.len,
            self.places.iter().filter(|place| place.value.is_some()).count()
        );
        assert!(
            self.places
                .iter()
                .all(|place| (place.usage % 2 == 1) == place.value.is_some())
        );
        let (mut free, mut at) = (0, self.free);
        while at != NONE {
            assert!(self.places[at as usize].value.is_none());
            at = self.places[at as usize].next;
            free += 1;
        }
        assert_eq!(free + self.len, self.places.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_ticket_finds_its_own_value_or_nothing(ops in prop::collection::vec((0..3_u8, any::<usize>()), 1..200)) {
            let mut slab = Slab::new();
            let mut live: Vec<(Ticket, usize)> = Vec::new();
            let mut dead: Vec<Ticket> = Vec::new();
            let mut most = 0;
            for (op, pick) in ops {
                if op == 0 && !live.is_empty() {
                    let (ticket, value) = live.swap_remove(pick % live.len());
                    prop_assert_eq!(slab.remove(Ticket::from_bits(ticket.bits())), Some(value));
                    dead.push(ticket);
                } else {
                    live.push((slab.insert(pick), pick));
                }
                most = most.max(live.len());
                slab.invariants();
                for (ticket, value) in &live {
                    prop_assert_eq!(slab.get(*ticket), Some(value));
                    prop_assert_eq!(slab.at(ticket.place()).map(|(found, _)| found), Some(*ticket));
                }
                prop_assert!(dead.iter().all(|ticket| slab.get(*ticket).is_none()));
                if let Some(ticket) = dead.last() {
                    prop_assert_eq!(slab.remove(*ticket), None);
                }
                prop_assert_eq!(slab.iter().count(), slab.len());
            }
            prop_assert_eq!(slab.places.len(), most, "places are used again");
        }
    }
}
