//! The order in which places were used, as a list through their numbers: every change takes constant time.

const NONE: u32 = u32::MAX;

/// An order of some of the places.
#[derive(Debug)]
pub(crate) struct Order {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
    held: bool,
}

const FREE: Link = Link {
    newer: NONE,
    older: NONE,
    held: false,
};

impl Order {
    pub(crate) fn new() -> Order {
        Order {
            links: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// Makes this place the newest, whether it was there or not.
    pub(crate) fn renew(&mut self, place: u32) {
        if self.newest == place {
            return;
        }
        self.remove(place);
        let index = place as usize;
        if self.links.len() <= index {
            self.links.resize(index + 1, FREE);
        }
        self.links[index] = Link {
            newer: NONE,
            older: self.newest,
            held: true,
        };
        match self.newest {
            NONE => self.oldest = place,
            newest => self.links[newest as usize].newer = place,
        }
        self.newest = place;
    }

    /// Takes this place out, if it is there.
    pub(crate) fn remove(&mut self, place: u32) {
        let Some(link) = self.links.get_mut(place as usize).filter(|link| link.held) else {
            return;
        };
        let Link { newer, older, .. } = std::mem::replace(link, FREE);
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// The place that was not used for the longest time.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(crate) fn clear(&mut self) {
        *self = Order::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_order_of_use(steps in prop::collection::vec((any::<bool>(), 0_u32..8), 0..100)) {
            let (mut order, mut model) = (Order::new(), Vec::new());
            for (renew, place) in steps {
                model.retain(|other| *other != place);
                if renew {
                    order.renew(place);
                    model.push(place);
                } else {
                    order.remove(place);
                }
                prop_assert_eq!(order.oldest(), model.first().copied());
            }
            let mut rest = Vec::new();
            while let Some(place) = order.oldest() {
                order.remove(place);
                rest.push(place);
            }
            prop_assert_eq!(rest, model);
        }
    }
}
