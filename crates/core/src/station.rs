//! A limited number of connections, and the line in front of them.
//!
//! A [`Station`] says who may begin, who waits and who is turned away; first come, first served. It does not know
//! how long anything takes: that is a [`crate::processor`]'s or a timer's business.
//!
//! ```
//! use seawall_core::station::{Offered, Station};
//! let mut pool = Station::new(1, Some(1));
//! assert_eq!(pool.offer('a'), Offered::Begun);
//! assert_eq!(pool.offer('b'), Offered::Waiting);
//! assert_eq!(pool.offer('c'), Offered::Refused);
//! assert_eq!(pool.leave(), Some('b'), "who begins now");
//! assert_eq!(pool.leave(), None);
//! ```

use std::collections::VecDeque;

/// Connections, and those who wait for one.
#[derive(Clone, Debug)]
pub struct Station<T> {
    connections: usize,
    places: Option<usize>,
    busy: usize,
    line: VecDeque<T>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It has a connection.
    Begun,
    /// It waits in the line.
    Waiting,
    /// The line is full.
    Refused,
}

impl<T: Copy + PartialEq> Station<T> {
    /// A station with this many connections and waiting places; without a bound of places, none is turned away.
    pub fn new(connections: usize, places: Option<usize>) -> Station<T> {
        Station {
            connections,
            places,
            busy: 0,
            line: VecDeque::new(),
        }
    }

    /// Someone comes.
    #[inline]
    pub fn offer(&mut self, who: T) -> Offered {
        if self.busy < self.connections && self.line.is_empty() {
            self.busy += 1;
            Offered::Begun
        } else if self.places.is_none_or(|places| self.line.len() < places) {
            self.line.push_back(who);
            Offered::Waiting
        } else {
            Offered::Refused
        }
    }

    /// Someone with a connection leaves; who gets it begins now.
    #[inline]
    pub fn leave(&mut self) -> Option<T> {
        debug_assert!(self.busy > 0, "nobody was there");
        self.busy = self.busy.saturating_sub(1);
        self.admit()
    }

    /// Lets the first of the line begin if there is a free connection. Call it until there is none after the
    /// connections have become more.
    #[inline]
    pub fn admit(&mut self) -> Option<T> {
        if self.busy >= self.connections {
            return None;
        }
        let who = self.line.pop_front()?;
        self.busy += 1;
        Some(who)
    }

    /// Takes someone out of the line; says whether it stood there. Looks from the front, where those stand whose
    /// patience ends first.
    pub fn withdraw(&mut self, who: T) -> bool {
        let Some(at) = self.line.iter().position(|waiting| *waiting == who) else {
            return false;
        };
        self.line.remove(at);
        true
    }

    /// Everybody goes, those in the line and those with a connection; gives back the line. The next who comes
    /// finds an empty house.
    pub fn clear(&mut self) -> VecDeque<T> {
        self.busy = 0;
        std::mem::take(&mut self.line)
    }

    /// Changes the bounds. Nobody is sent away: connections above the new number close as they are left.
    pub fn retune(&mut self, connections: usize, places: Option<usize>) {
        self.connections = connections;
        self.places = places;
    }

    /// How many have a connection.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Checks what must hold once [`Station::admit`] has said that nobody can begin.
    pub fn invariants(&self) {
        assert!(
            self.line.is_empty() || self.busy >= self.connections,
            "someone waits beside a free connection"
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::draw;
    use crate::rng::Seed;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn first_come_first_served_within_the_bounds(ops in prop::collection::vec((0..6_u8, 0..5_usize), 1..200)) {
            let mut station = Station::new(2, Some(3));
            let mut line: Vec<usize> = Vec::new();
            let mut busy = 0_usize;
            let (mut connections, mut places) = (2, 3);
            for (number, (op, size)) in ops.into_iter().enumerate() {
                match op {
                    0..=2 => {
                        let offered = station.offer(number);
                        if busy < connections {
                            prop_assert_eq!(offered, Offered::Begun);
                            busy += 1;
                        } else if line.len() < places {
                            prop_assert_eq!(offered, Offered::Waiting);
                            line.push(number);
                        } else {
                            prop_assert_eq!(offered, Offered::Refused);
                        }
                    }
                    3 if busy > 0 => {
                        busy -= 1;
                        let next = (busy < connections && !line.is_empty()).then(|| line.remove(0));
                        busy += usize::from(next.is_some());
                        prop_assert_eq!(station.leave(), next);
                    }
                    4 if !line.is_empty() => {
                        let who = line.remove(size % line.len());
                        prop_assert!(station.withdraw(who) && !station.withdraw(who));
                    }
                    5 => {
                        (connections, places) = (size, size);
                        station.retune(connections, Some(places));
                        while let Some(who) = station.admit() {
                            prop_assert_eq!(who, line.remove(0));
                            busy += 1;
                        }
                    }
                    _ => {}
                }
                station.invariants();
                prop_assert_eq!((station.busy(), station.waiting()), (busy, line.len()));
            }
        }
    }

    #[test]
    fn a_full_house_turns_away_as_erlang_says() {
        // M/M/35/36 at a = 80: 0.566424 are turned away.
        let mut rng = Seed(1).stream("station", 0);
        let mut station = Station::new(35, Some(1));
        let (mut offered, mut refused) = (0, 0);
        // The jumps of the chain: an arrival or, in proportion to those in service, a departure.
        for _ in 0..400_000 {
            let leaves = draw::exponential(&mut rng) / station.busy() as f64;
            if draw::exponential(&mut rng) / 80.0 < leaves {
                offered += 1;
                refused += u32::from(station.offer(()) == Offered::Refused);
            } else {
                station.leave();
            }
        }
        let share = f64::from(refused) / f64::from(offered);
        assert!((share - 0.566_424).abs() < 0.004, "{share}");
    }
}
