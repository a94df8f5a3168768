//! What a cache holds, class by class: how many keys are there, how many are missing, how many of these somebody is
//! loading already, and when what is there expires.
//!
//! Entries are kept in a ring by the tick in which they expire, so what was filled together expires together. Uniform
//! jitter is written into a second ring, of differences. Whatever takes entries out regardless of their age (eviction,
//! invalidation) is a factor that is multiplied up and applied when they would have expired.

/// The most slots of a ring: a longer life has slots of several ticks.
const SLOTS_MAX: u32 = 8192;
/// What was taken out is folded into the rings when it has become this factor.
const FOLD: f64 = 1e200;

/// When something that is stored now expires: evenly between two lives, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) shortest: f64,
    pub(super) longest: f64,
}

impl Life {
    pub(super) const FOREVER: Life = Life {
        shortest: f64::INFINITY,
        longest: f64::INFINITY,
    };
}

/// The entries of a cache.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    classes: usize,
    /// Places for keys: keys, or keys times instances where each has a cache of its own.
    pub(super) keys: Vec<f64>,
    /// Keys that are not there, or not fresh.
    pub(super) absent: Vec<f64>,
    /// Those of them that a load was begun for.
    pub(super) pending: Vec<f64>,
    /// The hazard with which absent keys are filled, summed up.
    pub(super) filled: Vec<f64>,
    /// What expired in this tick.
    pub(super) expired: Vec<f64>,
    ticks_per_slot: u32,
    slots: usize,
    ring: Vec<f64>,
    slopes: Vec<f64>,
    /// What expires in each slot beside the ring, as the slopes have summed up.
    level: Vec<f64>,
    /// What expires in each tick of the present slot.
    current: Vec<f64>,
    sloped: bool,
    /// What was stored long ago counts for this much less than what is written.
    faded: Vec<f64>,
    slot: u64,
    life_max: f64,
}

impl Shelf {
    /// A cold one. No life is longer than `life_max` ticks, unless it is for ever.
    pub(super) fn new(keys: Vec<f64>, life_max: f64) -> Shelf {
        let classes = keys.len();
        let life_max_ticks = life_max.max(1.0) as u32;
        let ticks_per_slot = life_max_ticks.div_ceil(SLOTS_MAX).max(1);
        let slots = life_max_ticks as usize / ticks_per_slot as usize + 3;
        Shelf {
            classes,
            absent: keys.clone(),
            pending: vec![0.0; classes],
            filled: vec![0.0; classes],
            expired: vec![0.0; classes],
            ticks_per_slot,
            slots,
            ring: vec![0.0; slots * classes],
            slopes: Vec::new(),
            level: vec![0.0; classes],
            current: vec![0.0; classes],
            sloped: false,
            faded: vec![1.0; classes],
            slot: 0,
            life_max: life_max.max(1.0),
            keys,
        }
    }

    fn place(&self, slot: u64) -> usize {
        (slot % self.slots as u64) as usize * self.classes
    }

    /// Lets a tick pass: what is due expires.
    pub(super) fn pass(&mut self, tick: u32) {
        let slot = u64::from(tick / self.ticks_per_slot);
        if slot != self.slot {
            self.slot = slot;
            self.turn();
        }
        for class in 0..self.classes {
            let due = self.current[class];
            let gone = due.min(self.keys[class] - self.absent[class]);
            self.expired[class] = gone;
            self.absent[class] += gone;
        }
    }

    fn turn(&mut self) {
        let place = self.place(self.slot);
        if self.sloped {
            for class in 0..self.classes {
                self.level[class] += std::mem::take(&mut self.slopes[place + class]);
            }
        }
        let per_tick = 1.0 / f64::from(self.ticks_per_slot);
        let ring = &mut self.ring[place..place + self.classes];
        for class in 0..self.classes {
            let due = std::mem::take(&mut ring[class]) + self.level[class];
            self.current[class] = due.max(0.0) * per_tick / self.faded[class];
        }
        for class in 0..self.classes {
            if self.faded[class] > FOLD {
                self.fold(class);
            }
        }
    }

    fn fold(&mut self, class: usize) {
        let factor = 1.0 / std::mem::replace(&mut self.faded[class], 1.0);
        self.level[class] *= factor;
        for slot in 0..self.slots {
            self.ring[slot * self.classes + class] *= factor;
            if self.sloped {
                self.slopes[slot * self.classes + class] *= factor;
            }
        }
    }

    /// Stores keys that were absent, of each class so many, `shares` of it with this life.
    pub(super) fn fill_all(&mut self, tick: u32, counts: &[f64], shares: &[f64], life: Life) {
        let span = self.slots_of(tick, life);
        for class in 0..self.classes {
            let absent = self.absent[class];
            let count = (counts[class] * shares[class]).min(absent);
            if count <= 0.0 {
                continue;
            }
            self.filled[class] += hazard(count / absent);
            self.absent[class] = absent - count;
            self.write(class, count * self.faded[class], span);
        }
    }

    /// The slots in which a life ends that begins now; none where it never ends.
    fn slots_of(&mut self, tick: u32, life: Life) -> Option<(u64, u64)> {
        if life.shortest.is_infinite() {
            return None;
        }
        let width = f64::from(self.ticks_per_slot);
        let slot_of = |life: f64| ((f64::from(tick) + life.max(1.0)) / width) as u64;
        let (first, last) = (slot_of(life.shortest), slot_of(life.longest));
        let (first, last) = (first.max(self.slot + 1), last.max(self.slot + 1));
        debug_assert!(
            last - self.slot < self.slots as u64,
            "a life longer than the longest"
        );
        let last = last.min(self.slot + self.slots as u64 - 2);
        if first < last && !self.sloped {
            self.sloped = true;
            self.slopes = vec![0.0; self.slots * self.classes];
        }
        Some((first.min(last), last))
    }

    fn write(&mut self, class: usize, count: f64, span: Option<(u64, u64)>) {
        let Some((first, last)) = span else { return };
        if first == last {
            let place = self.place(last);
            self.ring[place + class] += count;
            return;
        }
        let each = count / (last - first + 1) as f64;
        let (from, to) = (self.place(first), self.place(last + 1));
        self.slopes[from + class] += each;
        self.slopes[to + class] -= each;
    }

    /// Stores keys of a class that were absent; `pending` of them had a load.
    pub(super) fn fill(&mut self, tick: u32, class: usize, count: f64, life: Life) {
        let absent = self.absent[class];
        let count = count.min(absent);
        if count <= 0.0 {
            return;
        }
        self.filled[class] += hazard(count / absent);
        self.absent[class] = absent - count;
        let span = self.slots_of(tick, life);
        self.write(class, count * self.faded[class], span);
    }

    /// Stores keys again that are there, of each class so many: they have another life from now on.
    pub(super) fn renew(&mut self, tick: u32, counts: &[f64], shares: &[f64], life: Life) {
        let span = self.slots_of(tick, life);
        for class in 0..self.classes {
            let count = counts[class] * shares[class];
            if count > 0.0 {
                self.write(class, count * self.faded[class], span);
            }
        }
    }

    /// What has expired is there nevertheless, until it is dropped.
    pub(super) fn put_back(&mut self, class: usize, count: f64) {
        self.absent[class] = (self.absent[class] - count).max(0.0);
    }

    /// Takes out what was put back.
    pub(super) fn drop_out(&mut self, class: usize, count: f64) {
        self.absent[class] = (self.absent[class] + count).min(self.keys[class]);
    }

    /// Takes a share of the entries of a class out, whatever their age.
    pub(super) fn take_out(&mut self, class: usize, share: f64) -> f64 {
        let there = self.keys[class] - self.absent[class];
        let share = share.clamp(0.0, 1.0);
        let count = there * share;
        self.absent[class] += count;
        if share >= 1.0 {
            self.forget(class);
        } else {
            // What little is left when nearly all goes is not worth the digits.
            let left = (1.0 - share).max(1e-9);
            self.faded[class] /= left;
            self.current[class] *= left;
        }
        count
    }

    /// Takes a share of the entries of a class out, as long as there is any to speak of.
    pub(super) fn thin(&mut self, class: usize, share: f64) {
        if self.keys[class] - self.absent[class] > 1e-6 {
            self.take_out(class, share.min(1.0 - 1e-9));
        }
    }

    fn forget(&mut self, class: usize) {
        (self.current[class], self.level[class], self.faded[class]) = (0.0, 0.0, 1.0);
        for slot in 0..self.slots {
            self.ring[slot * self.classes + class] = 0.0;
            if self.sloped {
                self.slopes[slot * self.classes + class] = 0.0;
            }
        }
    }

    /// Lets all of a class expire evenly between two ages from now, in ticks, instead of when it would have.
    pub(super) fn align(&mut self, tick: u32, class: usize, from: f64, to: f64) {
        let there = self.keys[class] - self.absent[class];
        self.forget(class);
        let life = Life {
            shortest: from.min(self.life_max),
            longest: to.min(self.life_max),
        };
        let span = self.slots_of(tick, life);
        self.write(class, there, span);
    }

    /// The longest life for which there is room, in ticks.
    pub(super) fn longest(&self) -> f64 {
        self.life_max
    }

    /// Entries that are there, over all classes.
    pub(super) fn entries(&self) -> f64 {
        self.keys.iter().sum::<f64>() - self.absent.iter().sum::<f64>()
    }
}

/// The hazard that takes this share out.
fn hazard(share: f64) -> f64 {
    if share < 0.02 {
        share * (1.0 + share * (0.5 + share / 3.0))
    } else {
        -libm::log1p(-share.min(1.0 - 1e-12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(life: f64) -> Life {
        Life {
            shortest: life,
            longest: life,
        }
    }

    fn run(shelf: &mut Shelf, ticks: std::ops::Range<u32>) -> f64 {
        let mut expired = 0.0;
        for tick in ticks {
            shelf.pass(tick);
            expired += shelf.expired[0];
        }
        expired
    }

    #[test]
    fn what_was_filled_together_expires_together() {
        let mut shelf = Shelf::new(vec![1_000.0], 100.0);
        shelf.pass(0);
        shelf.fill(0, 0, 400.0, even(100.0));
        assert!((shelf.entries() - 400.0).abs() < 1e-9);
        assert!(run(&mut shelf, 1..100).abs() < 1e-9);
        assert!((run(&mut shelf, 100..102) - 400.0).abs() < 1e-9);
        assert!(shelf.entries().abs() < 1e-9);
    }

    #[test]
    fn jitter_spreads_them_evenly() {
        let mut shelf = Shelf::new(vec![1_000.0], 100.0);
        shelf.fill(
            0,
            0,
            410.0,
            Life {
                shortest: 60.0,
                longest: 100.0,
            },
        );
        assert!(run(&mut shelf, 1..60).abs() < 1e-9);
        assert!((run(&mut shelf, 60..80) - 200.0).abs() < 1e-6);
        assert!((run(&mut shelf, 80..102) - 210.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_taken_out_does_not_expire_as_well() {
        let mut shelf = Shelf::new(vec![1_000.0], 20_000.0);
        shelf.fill(0, 0, 800.0, even(15_000.0));
        assert!((shelf.take_out(0, 0.75) - 600.0).abs() < 1e-9);
        shelf.fill(0, 0, 100.0, even(15_000.0));
        assert!((run(&mut shelf, 1..15_010) - 300.0).abs() < 1e-6);
        shelf.fill(15_010, 0, 10.0, even(100.0));
        shelf.take_out(0, 1.0);
        assert!(run(&mut shelf, 15_011..15_200).abs() < 1e-9);
        assert!((shelf.absent[0] - 1_000.0).abs() < 1e-6);
    }
}
