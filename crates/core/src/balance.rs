//! Which copy serves: random, in turn, least connections, or the better of two; and which is left out for a while.
//!
//! For copies that could all serve a call; which node holds a key is [`crate::ring`]'s business. The caller counts
//! what is in flight. [`Ejector`] is no breaker: it never takes out all copies, because when all fail the fault is
//! not theirs.
//!
//! ```
//! use seawall_core::{balance::{Balancer, Strategy}, rng::Seed};
//! let mut rng = Seed(1).stream("balance", 0);
//! let mut balancer = Balancer::new(Strategy::LeastConnections, 3);
//! assert_eq!(balancer.pick(&mut rng, &[4, 1, 2], |_| true), Some(1));
//! assert_eq!(balancer.pick(&mut rng, &[4, 1, 2], |copy| copy != 1), Some(2));
//! assert_eq!(balancer.pick(&mut rng, &[4, 1, 2], |_| false), None);
//! ```

use crate::rng::Stream;
use crate::time::{Span, Time};

/// How calls are spread over copies that could all serve them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Any one.
    Random,
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest calls in flight.
    LeastConnections,
    /// The less busy of two drawn at random.
    PowerOfTwo,
}

/// Spreads calls over copies.
#[derive(Clone, Debug)]
pub struct Balancer {
    strategy: Strategy,
    copies: usize,
    /// Where the next turn starts.
    turn: usize,
}

impl Balancer {
    /// Spreads calls over the copies `0..copies`.
    pub fn new(strategy: Strategy, copies: usize) -> Balancer {
        Balancer {
            strategy,
            copies,
            turn: 0,
        }
    }

    /// Goes on with other copies: some were added or removed at the end.
    pub fn resize(&mut self, copies: usize) {
        self.copies = copies;
        self.turn = self.turn.checked_rem(copies).unwrap_or(0);
        self.invariants();
    }

    /// The copy for the next call among those that are up; `None` when none is.
    ///
    /// `in_flight` has the calls inside each copy; one that is missing counts as idle. The better of two is drawn
    /// without repetition (Mitzenmacher, "The power of two choices in randomized load balancing", 2001); equally busy
    /// copies take turns under least connections, so that a tie is not a herd.
    pub fn pick(&mut self, rng: &mut Stream, in_flight: &[u32], up: impl Fn(usize) -> bool) -> Option<usize> {
        let busy = |copy: usize| in_flight.get(copy).copied().unwrap_or(0);
        let copies = self.copies;
        let turns = (self.turn..copies).chain(0..self.turn);
        let picked = match self.strategy {
            Strategy::RoundRobin => turns.into_iter().find(|copy| up(*copy))?,
            // Of equal ones the first in turn.
            Strategy::LeastConnections => turns.filter(|copy| up(*copy)).min_by_key(|copy| busy(*copy))?,
            Strategy::Random => {
                let choices = (0..copies).filter(|copy| up(*copy)).count() as u64;
                nth_up(rng.below(choices), copies, &up)?
            }
            Strategy::PowerOfTwo => {
                let choices = (0..copies).filter(|copy| up(*copy)).count() as u64;
                let first = rng.below(choices);
                let one = nth_up(first, copies, &up)?;
                if choices < 2 {
                    one
                } else {
                    let second = (first + 1 + rng.below(choices - 1)) % choices;
                    let other = nth_up(second, copies, &up)?;
                    if busy(other) < busy(one) { other } else { one }
                }
            }
        };
        self.turn = (picked + 1) % copies;
        self.invariants();
        Some(picked)
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert!(self.turn < self.copies.max(1), "a turn of no copy");
    }
}

/// The copy that has `skip` copies that are up before it.
fn nth_up(skip: u64, copies: usize, up: &impl Fn(usize) -> bool) -> Option<usize> {
    (0..copies).filter(|copy| up(*copy)).nth(skip as usize)
}

/// When a copy is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    /// After this many failures in a row (one at least).
    pub failures: u32,
    /// For this long.
    pub time: Span,
    /// At most this share of the copies is out at a time; one may always be, all may never.
    pub share_max: f64,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection {
            failures: 5,
            time: Span::secs(30),
            share_max: 0.3,
        }
    }
}

impl Ejection {
    /// How many of so many copies may be out.
    fn out_max(&self, copies: usize) -> usize {
        let share = (copies as f64 * self.share_max.clamp(0.0, 1.0)) as usize;
        share.max(1).min(copies.saturating_sub(1))
    }
}

/// Leaves out copies that keep failing (outlier ejection).
#[derive(Clone, Debug)]
pub struct Ejector {
    settings: Ejection,
    copies: Vec<Standing>,
    out_max: usize,
    /// The latest instant seen.
    latest: Time,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    failures: u32,
    /// It is out before this instant.
    out_until: Time,
}

impl Ejector {
    /// All of the copies `0..copies` are in.
    pub fn new(settings: &Ejection, copies: usize) -> Ejector {
        Ejector {
            settings: settings.clone(),
            copies: vec![Standing::default(); copies],
            out_max: settings.out_max(copies),
            latest: Time::ZERO,
        }
    }

    /// Goes on with other settings, and other copies: some were added or removed at the end.
    ///
    /// Those that are out stay out, but for what is over the cap now: of those the first that would come back.
    pub fn retune(&mut self, now: Time, settings: &Ejection, copies: usize) {
        self.latest = self.latest.max(now);
        self.settings = settings.clone();
        self.copies.resize(copies, Standing::default());
        self.out_max = settings.out_max(copies);
        while self.out(self.latest) > self.out_max {
            let out = self.copies.iter_mut().filter(|copy| self.latest < copy.out_until);
            if let Some(first) = out.min_by_key(|copy| copy.out_until) {
                first.out_until = self.latest;
            }
        }
        self.invariants();
    }

    /// Takes note of how a call of `copy` ended. Whether this ejected it.
    ///
    /// What ends while the copy is out is ignored: it began before. A copy that fails while too many others are out
    /// stays in, and is tried again at its next failure.
    pub fn record(&mut self, now: Time, copy: usize, success: bool) -> bool {
        self.latest = self.latest.max(now);
        let out = self.out(self.latest);
        let Some(copy) = self
            .copies
            .get_mut(copy)
            .filter(|copy| copy.out_until <= self.latest)
        else {
            return false;
        };
        copy.failures = if success {
            0
        } else {
            copy.failures.saturating_add(1)
        };
        let ejected = copy.failures >= self.settings.failures.max(1) && out < self.out_max;
        if ejected {
            copy.failures = 0;
            copy.out_until = self.latest + self.settings.time;
        }
        self.invariants();
        ejected
    }

    /// Whether `copy` may be called.
    pub fn is_in(&self, now: Time, copy: usize) -> bool {
        self.copies.get(copy).is_some_and(|copy| copy.out_until <= now)
    }

    /// How many copies are out.
    pub fn out(&self, now: Time) -> usize {
        self.copies.iter().filter(|copy| now < copy.out_until).count()
    }

    /// When the next copy comes back; never when none is out.
    pub fn next(&self, now: Time) -> Time {
        let ends = self.copies.iter().map(|copy| copy.out_until);
        ends.filter(|end| now < *end).min().unwrap_or(Time::NEVER)
    }

    /// What always holds.
    pub fn invariants(&self) {
        debug_assert!(self.out(self.latest) <= self.out_max, "too many copies are out");
        debug_assert!(
            self.copies.is_empty() || self.out_max < self.copies.len(),
            "all copies may be out"
        );
    }
}

#[cfg(test)]
mod tests {
    // By name as well: proptest has a `Strategy` of its own.
    use super::{Strategy, *};
    use crate::rng::Seed;
    use proptest::prelude::*;

    const ALL: [Strategy; 4] = [
        Strategy::Random,
        Strategy::RoundRobin,
        Strategy::LeastConnections,
        Strategy::PowerOfTwo,
    ];

    /// Picks with every call staying in flight; how many each copy got.
    fn spread(strategy: Strategy, copies: usize, calls: u32, down: Option<usize>) -> Vec<u32> {
        let mut rng = Seed(5).stream("balance", 0);
        let mut balancer = Balancer::new(strategy, copies);
        let mut in_flight = vec![0; copies];
        for _ in 0..calls {
            let picked = balancer.pick(&mut rng, &in_flight, |copy| Some(copy) != down);
            in_flight[picked.expect("one is up")] += 1;
        }
        in_flight
    }

    #[test]
    fn each_strategy_spreads_as_it_should() {
        assert_eq!(spread(Strategy::RoundRobin, 4, 400, None), [100; 4]);
        assert_eq!(spread(Strategy::RoundRobin, 4, 300, Some(1)), [100, 0, 100, 100]);
        assert_eq!(spread(Strategy::LeastConnections, 4, 400, None), [100; 4]);
        let random = spread(Strategy::Random, 4, 40_000, Some(2));
        assert!(
            random
                .iter()
                .all(|calls| *calls == 0 || (12_900..13_800).contains(calls)),
            "{random:?}"
        );
        assert_eq!(random[2], 0);
        // Balls into bins: the gap over the mean is log log n with two choices, and far more with one.
        let gap = |strategy| {
            spread(strategy, 1_000, 100_000, None)
                .into_iter()
                .max()
                .unwrap_or(0)
                - 100
        };
        assert!(gap(Strategy::PowerOfTwo) <= 4);
        assert!(gap(Strategy::Random) >= 20);
    }

    #[test]
    fn a_copy_that_keeps_failing_is_left_out_for_the_time() {
        let mut ejector = Ejector::new(&Ejection::default(), 10);
        let ejected: Vec<bool> = (0..5).map(|_| ejector.record(Time::ZERO, 3, false)).collect();
        assert_eq!(ejected, [false, false, false, false, true]);
        let back = Time::ZERO + Span::secs(30);
        assert!(!ejector.is_in(Time::ZERO, 3) && ejector.is_in(Time::ZERO, 4));
        assert_eq!(ejector.next(Time::ZERO), back);
        // Late results of calls that began before.
        assert!(!ejector.record(Time::ZERO + Span::secs(29), 3, false));
        assert!(ejector.is_in(back, 3));
        assert_eq!((ejector.out(back), ejector.next(back)), (0, Time::NEVER));
        assert!(!ejector.record(back, 3, false), "it has as many tries as before");
    }

    #[test]
    fn a_success_starts_the_count_again() {
        let mut ejector = Ejector::new(&Ejection::default(), 10);
        assert!((0..100).all(|call| !ejector.record(Time::ZERO, 0, call % 5 == 4)));
    }

    #[test]
    fn never_all_and_no_more_than_the_share() {
        for (copies, share_max, out) in [(1, 1.0, 0), (2, 1.0, 1), (3, 0.1, 1), (10, 0.3, 3), (4, 1.0, 3)] {
            let mut ejector = Ejector::new(
                &Ejection {
                    share_max,
                    ..Ejection::default()
                },
                copies,
            );
            for _ in 0..20 {
                for copy in 0..copies {
                    ejector.record(Time::ZERO, copy, false);
                }
            }
            assert_eq!(ejector.out(Time::ZERO), out, "{copies} copies, {share_max}");
        }
    }

    #[test]
    fn with_fewer_copies_fewer_may_be_out() {
        let at = |secs| Time::ZERO + Span::secs(secs);
        let settings = Ejection {
            failures: 1,
            share_max: 1.0,
            ..Ejection::default()
        };
        let mut ejector = Ejector::new(&settings, 4);
        (0..3).for_each(|copy| assert!(ejector.record(at(copy as u64), copy, false)));
        ejector.retune(at(5), &settings, 2);
        assert!(ejector.is_in(at(5), 0), "the first that would come back");
        assert!(!ejector.is_in(at(5), 1));
        assert!(!ejector.is_in(at(5), 2), "it is no more");
        let mut balancer = Balancer::new(Strategy::RoundRobin, 4);
        let mut rng = Seed(1).stream("balance", 0);
        let mut pick = |balancer: &mut Balancer| balancer.pick(&mut rng, &[], |_| true);
        assert_eq!([0; 3].map(|_| pick(&mut balancer)), [0, 1, 2].map(Some));
        balancer.resize(2);
        assert_eq!([0; 3].map(|_| pick(&mut balancer)), [1, 0, 1].map(Some));
        balancer.resize(0);
        assert_eq!(pick(&mut balancer), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_picked_is_up(copies in 0_usize..9, ups in prop::collection::vec(any::<u16>(), 1..60)) {
            for strategy in ALL {
                let mut rng = Seed(1).stream("balance", 0);
                let mut balancer = Balancer::new(strategy, copies);
                let mut in_flight = vec![0; copies];
                for up in &ups {
                    let is_up = |copy: usize| up >> copy & 1 == 1;
                    let picked = balancer.pick(&mut rng, &in_flight, is_up);
                    balancer.invariants();
                    prop_assert_eq!(picked.is_none(), !(0..copies).any(is_up));
                    if let Some(picked) = picked {
                        prop_assert!(picked < copies && is_up(picked));
                        in_flight[picked] += 1;
                    }
                }
            }
        }

        #[test]
        fn ejections_stay_within_their_cap(
            copies in 1_usize..9,
            share_max in 0.0..1.2_f64,
            steps in prop::collection::vec((0_u64..3_000, 0_usize..9, prop::bool::weighted(0.2)), 1..300),
        ) {
            let settings = Ejection { failures: 2, time: Span::secs(10), share_max };
            let mut ejector = Ejector::new(&settings, copies);
            let mut now = Time::ZERO;
            for (wait_ms, copy, success) in steps {
                now += Span::millis(wait_ms);
                let was_in = ejector.is_in(now, copy);
                let ejected = ejector.record(now, copy, success);
                ejector.invariants();
                prop_assert!(!ejected || (was_in && !success && !ejector.is_in(now, copy)));
                prop_assert!(ejector.out(now) < copies);
                prop_assert!((ejector.out(now) as f64) <= (share_max * copies as f64).max(1.0));
            }
        }
    }
}
