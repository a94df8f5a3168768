//! Cohorts: requests that began in the same tick and have fared alike since, and the wheel that wakes them.

use seawall_core::draw;
use seawall_core::rng::Stream;

/// No tick.
pub(super) const NEVER: u32 = u32::MAX;

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For requests that wait.
    Read,
    /// A write, for the request that makes it.
    Write,
    /// In the background.
    Refresh,
    /// In the background, of what has not expired yet.
    Renew,
    /// To fill a cold cache.
    Warm,
}

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A client. `seen` is the tick in which an earlier try found that its key is not cached, `before` the one in which the
    /// last try was made, when that had not been looked up yet as its client left.
    Client {
        client: u8,
        tries: u16,
        seen: u32,
        before: u32,
    },
    /// A load of a service, and how often it has been tried before.
    Load {
        service: u8,
        purpose: Purpose,
        launch: u32,
        attempt: u8,
    },
    /// Nobody waits for it.
    Aside,
}

/// What is known of the keys of requests that need the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sought {
    /// The shared cache was asked and did not have them.
    pub(super) known: bool,
    /// Which group of its nodes would hold them; [`ANY`] when that makes no difference.
    pub(super) group: u8,
}

/// Any group of nodes.
pub(super) const ANY: u8 = u8::MAX;

impl Sought {
    pub(super) const NOTHING: Sought = Sought {
        known: false,
        group: ANY,
    };

    /// Whether a class of keys may be meant.
    pub(super) fn may_be(self, group: u8) -> bool {
        self.group == ANY || self.group == group
    }
}

/// Calls of one origin and one age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cohort {
    pub(super) who: Who,
    pub(super) count: u64,
    /// The tick in which the call was made.
    pub(super) born: u32,
    /// The tick in which a client first asked for this.
    pub(super) first: u32,
    pub(super) read: bool,
    /// Seconds since it was made, in the middle of its tick.
    pub(super) age: f64,
    /// Its age when it got its thread, or when it was sent.
    pub(super) since: f64,
    /// Network time still to be paid on the way back, in seconds.
    pub(super) lag: f64,
}

impl Cohort {
    /// The same calls, but only this many of them.
    pub(super) fn part(&self, count: u64) -> Cohort {
        Cohort { count, ..*self }
    }

    /// Takes up to this many out.
    pub(super) fn split(&mut self, count: u64) -> Cohort {
        let count = count.min(self.count);
        self.count -= count;
        self.part(count)
    }

    /// Whether loads ask the origin for the first time.
    pub(super) fn is_first_attempt(&self) -> bool {
        matches!(self.who, Who::Load { attempt: 0, .. })
    }

    fn is_like(&self, other: &Cohort) -> bool {
        self.who == other.who
            && self.born == other.born
            && self.first == other.first
            && self.read == other.read
    }

    /// Takes in calls that are like these.
    pub(super) fn join(&mut self, other: &Cohort) -> bool {
        if !self.is_like(other) {
            return false;
        }
        let share = other.count as f64 / (self.count + other.count).max(1) as f64;
        self.age += (other.age - self.age) * share;
        self.since += (other.since - self.since) * share;
        self.lag += (other.lag - self.lag) * share;
        self.count += other.count;
        true
    }
}

/// A number that is `mean` on average, and at most a whole one from it.
pub(super) fn about(mean: f64, rng: &mut Stream) -> u64 {
    if mean <= 0.0 {
        return 0;
    }
    let whole = libm::floor(mean);
    whole as u64 + u64::from(rng.chance(mean - whole))
}

/// Deals `count` calls out to shares that add up to one.
pub(super) fn deal(count: u64, shares: &[f64], rng: &mut Stream, mut each: impl FnMut(usize, u64)) {
    let (mut left, mut share_left) = (count, 1.0);
    for (index, share) in shares.iter().enumerate() {
        if left == 0 {
            return;
        }
        let taken = if index + 1 == shares.len() || share_left <= *share {
            left
        } else {
            draw::binomial(left, share / share_left, rng)
        };
        share_left -= share;
        left -= taken;
        if taken > 0 {
            each(index, taken);
        }
    }
}

/// How many slots a wheel has; what lies further ahead goes round again.
const SLOTS: usize = 4096;
/// How many entries of a slot are looked at for one that is alike.
const ALIKE: usize = 12;

/// What happens later, by tick.
pub(super) struct Wheel<T> {
    slots: Vec<Vec<(u32, T, Cohort)>>,
}

impl<T: Copy + PartialEq> Wheel<T> {
    pub(super) fn new() -> Wheel<T> {
        Wheel {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
        }
    }

    /// Lets something happen in a tick.
    pub(super) fn push(&mut self, due: u32, what: T, cohort: Cohort) {
        let slot = &mut self.slots[due as usize % SLOTS];
        for (at, other, there) in slot.iter_mut().rev().take(ALIKE) {
            if *at == due && *other == what && there.join(&cohort) {
                return;
            }
        }
        slot.push((due, what, cohort));
    }

    /// Takes out what happens in this tick.
    pub(super) fn take(&mut self, tick: u32, into: &mut Vec<(T, Cohort)>) {
        let slot = &mut self.slots[tick as usize % SLOTS];
        slot.retain(|(due, what, cohort)| {
            let now = *due == tick;
            if now {
                into.push((*what, *cohort));
            }
            !now
        });
    }
}
