//! The order of use: a doubly linked list over an array.

/// The link that is no place: its `next` is the last used, its `prev` the least recently used.
const ENDS: u32 = 0;

#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Place `n` of the store is link `n + 1`.
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

impl Order {
    pub(super) fn new() -> Order {
        Order {
            links: vec![Link {
                prev: ENDS,
                next: ENDS,
            }],
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Order::new();
    }

    /// Puts a place that is not in the list in front.
    pub(super) fn insert(&mut self, place: u32) {
        let at = place + 1;
        if at as usize >= self.links.len() {
            self.links.resize(
                at as usize + 1,
                Link {
                    prev: ENDS,
                    next: ENDS,
                },
            );
        }
        let first = self.links[ENDS as usize].next;
        self.links[at as usize] = Link {
            prev: ENDS,
            next: first,
        };
        self.links[first as usize].prev = at;
        self.links[ENDS as usize].next = at;
    }

    pub(super) fn remove(&mut self, place: u32) {
        let Link { prev, next } = self.links[place as usize + 1];
        self.links[prev as usize].next = next;
        self.links[next as usize].prev = prev;
    }

    #[inline]
    pub(super) fn use_again(&mut self, place: u32) {
        if self.links[ENDS as usize].next != place + 1 {
            self.remove(place);
            self.insert(place);
        }
    }

    /// The least recently used.
    pub(super) fn last(&self) -> Option<u32> {
        self.links[ENDS as usize].prev.checked_sub(1)
    }

    pub(super) fn invariants(&self, held: usize) {
        let (mut at, mut found) = (ENDS, 0);
        loop {
            let next = self.links[at as usize].next;
            assert_eq!(self.links[next as usize].prev, at);
            if next == ENDS {
                break;
            }
            found += 1;
            assert!(found <= held, "a loop");
            at = next;
        }
        assert_eq!(found, held);
    }
}
