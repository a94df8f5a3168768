//! When requests come.
//!
//! [`Arrivals`] is one iterator of instants, for simulated clients and for the load generator alike: evenly spaced
//! or Poisson, at a rate that is constant between changes or ramps evenly from one to the next. The instants are
//! exact for such rates: the cumulative rate is inverted (Çinlar, 1975), nothing is thinned and nothing drifts, for
//! what rounding to the nanosecond leaves over is carried to the next.
//!
//! ```
//! use seawall_core::arrivals::{Arrivals, Change, Spacing};
//! use seawall_core::{rng::Seed, time::{Span, Time}};
//! let at = |ms| Time::ZERO + Span::millis(ms);
//! let change = Change { at: at(10), rate: 1_000.0, over: Span::ZERO };
//! let mut arrivals = Arrivals::new(Spacing::Even, 200.0, &[change]);
//! let mut rng = Seed(1).stream("arrivals", 0);
//! let first: Vec<Time> = (0..5).map(|_| arrivals.next(&mut rng)).collect();
//! assert_eq!(first, [at(0), at(5), at(10), at(11), at(12)]);
//! ```

use crate::draw;
use crate::rng::Stream;
use crate::time::{Span, Time};

const NANOS_PER_SEC: f64 = 1e9;

/// So many draws are made at a time.
const AHEAD: usize = 32;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly; the first comes at the start.
    Even,
    /// Independently of each other.
    Poisson,
}

/// A change of the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When it begins.
    pub at: Time,
    /// The rate it leads to, in arrivals a second.
    pub rate: f64,
    /// How long it takes, evenly; a change that begins meanwhile starts from where this one has come.
    pub over: Span,
}

/// An endless sequence of instants.
#[derive(Clone, Debug)]
pub struct Arrivals {
    spacing: Spacing,
    segments: Vec<Segment>,
    /// The segment in which `at` lies.
    current: usize,
    factor: f64,
    /// Up to here, everything is settled.
    at: Time,
    /// How much of the cumulative rate lies between `at` and the pending arrival.
    need: f64,
    pending: Option<Time>,
    /// While arrivals lie before this instant, the rate is `steady`.
    steady_until: Time,
    /// In arrivals a nanosecond.
    steady: f64,
    /// Draws made ahead, and how many of them are used up.
    ahead: [f64; AHEAD],
    used: usize,
}

/// A stretch in which the rate is linear; it ends where the next one begins.
#[derive(Clone, Copy, Debug)]
struct Segment {
    from: Time,
    /// Arrivals a nanosecond, at its beginning.
    rate: f64,
    /// The growth of the rate in a nanosecond.
    slope: f64,
}

impl Segment {
    fn rate_at(&self, time: Time) -> f64 {
        (self.rate + self.slope * time.since(self.from).as_nanos() as f64).max(0.0)
    }

    /// The integral of the rate between two instants within.
    fn mass(&self, from: Time, to: Time) -> f64 {
        let length = to.since(from).as_nanos() as f64;
        if self.slope == 0.0 {
            return self.rate * length;
        }
        (self.rate_at(from) + self.slope * length / 2.0) * length
    }

    /// How many nanoseconds after `from` the integral of the rate is `mass`; infinite when it never is.
    fn length(&self, from: Time, mass: f64) -> f64 {
        if self.slope == 0.0 {
            return if self.rate > 0.0 {
                mass / self.rate
            } else {
                f64::INFINITY
            };
        }
        let rate = self.rate_at(from);
        let under_root = rate * rate + 2.0 * self.slope * mass;
        if under_root < 0.0 {
            return f64::INFINITY;
        }
        let sum = rate + libm::sqrt(under_root);
        if sum > 0.0 {
            2.0 * mass / sum
        } else {
            f64::INFINITY
        }
    }
}

impl Arrivals {
    /// Arrivals at `rate` a second from the start on, and at the rates of these changes, which are in the order of
    /// time.
    pub fn new(spacing: Spacing, rate: f64, changes: &[Change]) -> Arrivals {
        let mut segments = vec![Segment {
            from: Time::ZERO,
            rate: rate.max(0.0) / NANOS_PER_SEC,
            slope: 0.0,
        }];
        for change in changes {
            add(&mut segments, change);
        }
        Arrivals {
            spacing,
            segments,
            current: 0,
            factor: 1.0,
            at: Time::ZERO,
            need: 0.0,
            pending: None,
            steady_until: Time::ZERO,
            steady: 0.0,
            ahead: [0.0; AHEAD],
            used: AHEAD,
        }
    }

    /// The next arrival, not before the previous one; [`Time::NEVER`] when the rate stays zero, and then only
    /// [`Arrivals::set_factor`] or [`Arrivals::set_rate`] brings it back.
    #[inline]
    pub fn next(&mut self, rng: &mut Stream) -> Time {
        let draw = match self.spacing {
            Spacing::Poisson => self.exponential(rng),
            // The first at the very start.
            Spacing::Even => f64::from(u8::from(self.pending.is_some())),
        };
        // The common case of what follows: the rate does not change before this arrival nor before the next.
        if let Some(pending) = self.pending
            && pending < self.steady_until
        {
            self.need += draw - self.steady * pending.since(self.at).as_nanos() as f64;
            self.at = pending;
            let length = self.need.max(0.0) / self.steady;
            let found = pending + Span::nanos((length + 0.5) as u64);
            if found < self.steady_until {
                self.pending = Some(found);
                return found;
            }
            return self.plan();
        }
        if let Some(pending) = self.pending.filter(|pending| *pending < Time::NEVER) {
            self.settle(pending);
            self.need += draw;
        } else if self.pending.is_none() {
            self.need = draw;
        }
        self.plan()
    }

    #[inline]
    fn exponential(&mut self, rng: &mut Stream) -> f64 {
        if self.used == AHEAD {
            draw::exponentials(rng, &mut self.ahead);
            self.used = 0;
        }
        self.used += 1;
        self.ahead[self.used - 1]
    }

    /// Makes all rates this many times as high from now on (a spike), and says when the arrival that was pending
    /// comes now.
    pub fn set_factor(&mut self, now: Time, factor: f64) -> Option<Time> {
        let planned = self.pending.is_some();
        self.settle(now);
        self.factor = factor.max(0.0);
        let pending = planned.then(|| self.plan());
        if cfg!(debug_assertions) {
            self.invariants();
        }
        pending
    }

    /// Puts a constant rate in the place of the schedule from now on, and says when the arrival that was pending
    /// comes now.
    pub fn set_rate(&mut self, now: Time, rate: f64) -> Option<Time> {
        let planned = self.pending.is_some();
        self.settle(now);
        self.segments = vec![Segment {
            from: self.at,
            rate: rate.max(0.0) / NANOS_PER_SEC,
            slope: 0.0,
        }];
        self.current = 0;
        let pending = planned.then(|| self.plan());
        if cfg!(debug_assertions) {
            self.invariants();
        }
        pending
    }

    /// Forgets the arrival that was pending and draws another from `now` on. With Poisson spacing this changes nothing in
    /// law, because the time to the next arrival has no memory.
    pub fn restart(&mut self, now: Time, rng: &mut Stream) -> Time {
        self.settle(now);
        self.need = self.exponential(rng);
        self.plan()
    }

    /// How many arrivals are expected between two instants: the integral of the rate.
    #[inline]
    pub fn expected(&self, from: Time, to: Time) -> f64 {
        if to <= from {
            return 0.0;
        }
        let (mut at, mut current, mut mass) = (from, self.segment(from), 0.0);
        loop {
            let end = self.end(current);
            if to <= end {
                return (mass + self.segments[current].mass(at, to)) * self.factor;
            }
            mass += self.segments[current].mass(at, end);
            at = end;
            current += 1;
        }
    }

    /// The instant by which `expected` more arrivals than by `from` are expected; [`Time::NEVER`] when that is never.
    #[inline]
    pub fn after(&self, from: Time, expected: f64) -> Time {
        if self.factor <= 0.0 || from == Time::NEVER {
            return Time::NEVER;
        }
        self.find(from, self.segment(from), expected / self.factor).0
    }

    /// The rate at an instant, in arrivals a second.
    pub fn rate(&self, at: Time) -> f64 {
        self.segments[self.segment(at)].rate_at(at) * self.factor * NANOS_PER_SEC
    }

    /// The highest rate between two instants, in arrivals a second.
    pub fn peak(&self, from: Time, to: Time) -> f64 {
        let (first, last) = (self.segment(from), self.segment(to));
        // The rate is linear in a segment, so it is highest at an end of one.
        let ends = (first..=last).flat_map(|index| {
            let segment = &self.segments[index];
            [
                segment.rate_at(from.max(segment.from)),
                segment.rate_at(to.min(self.end(index))),
            ]
        });
        ends.fold(0.0, f64::max) * self.factor * NANOS_PER_SEC
    }

    /// Checks what must hold between any two calls.
    pub fn invariants(&self) {
        assert!(self.segments.is_sorted_by_key(|segment| segment.from));
        assert!(
            self.segments
                .iter()
                .all(|segment| segment.rate >= 0.0 && segment.slope.is_finite())
        );
        assert!(self.pending.is_none_or(|pending| pending >= self.at));
        assert!(self.need.is_finite());
    }

    /// Takes what lies between `at` and `now` from the need.
    #[inline]
    fn settle(&mut self, now: Time) {
        if now <= self.at {
            return;
        }
        loop {
            let end = self.end(self.current);
            let until = now.min(end);
            self.need -= self.factor * self.segments[self.current].mass(self.at, until);
            self.at = until;
            if now < end || end == Time::NEVER {
                return;
            }
            self.current += 1;
        }
    }

    /// Finds the pending arrival from `at` and the need.
    #[inline]
    fn plan(&mut self) -> Time {
        self.steady_until = Time::ZERO;
        if self.factor <= 0.0 {
            self.pending = Some(Time::NEVER);
            return Time::NEVER;
        }
        let (found, last) = self.find(self.at, self.current, self.need.max(0.0) / self.factor);
        self.pending = Some(found);
        let segment = &self.segments[self.current];
        if last == self.current && segment.slope == 0.0 && found < Time::NEVER {
            self.steady_until = self.end(last);
            self.steady = segment.rate * self.factor;
        }
        found
    }

    /// Where the cumulative rate has grown by `need` since `at`, which lies in segment `current`, and in which segment.
    #[inline]
    fn find(&self, mut at: Time, mut current: usize, mut need: f64) -> (Time, usize) {
        loop {
            let segment = &self.segments[current];
            let length = if need == 0.0 {
                0.0
            } else {
                segment.length(at, need)
            };
            let end = self.end(current);
            // A cast from float saturates: what never comes is never.
            let found = at + Span::nanos((length + 0.5) as u64);
            if found < end || end == Time::NEVER {
                return (found, current);
            }
            need = (need - segment.mass(at, end)).max(0.0);
            at = end;
            current += 1;
        }
    }

    /// The segment in which an instant lies.
    #[inline]
    fn segment(&self, at: Time) -> usize {
        if self.segments.len() == 1 {
            return 0;
        }
        self.segments
            .partition_point(|segment| segment.from <= at)
            .saturating_sub(1)
    }

    #[inline]
    fn end(&self, segment: usize) -> Time {
        self.segments
            .get(segment + 1)
            .map_or(Time::NEVER, |next| next.from)
    }
}

fn add(segments: &mut Vec<Segment>, change: &Change) {
    // A ramp that has not ended by then is cut off.
    while segments.len() > 1 && segments.last().is_some_and(|last| last.from >= change.at) {
        segments.pop();
    }
    let from = segments.last().map_or(0.0, |last| last.rate_at(change.at));
    let to = change.rate.max(0.0) / NANOS_PER_SEC;
    if !change.over.is_zero() {
        let slope = (to - from) / change.over.as_nanos() as f64;
        segments.push(Segment {
            from: change.at,
            rate: from,
            slope,
        });
    }
    segments.push(Segment {
        from: change.at + change.over,
        rate: to,
        slope: 0.0,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Seed;

    fn at(secs: f64) -> Time {
        Time::ZERO + Span::from_secs_f64(secs)
    }

    fn change(from: f64, rate: f64, over: f64) -> Change {
        Change {
            at: at(from),
            rate,
            over: Span::from_secs_f64(over),
        }
    }

    fn until(arrivals: &mut Arrivals, end: Time, rng: &mut Stream) -> Vec<Time> {
        std::iter::from_fn(|| Some(arrivals.next(rng)).filter(|time| *time < end)).collect()
    }

    #[test]
    fn even_arrivals_do_not_drift() {
        let mut rng = Seed(1).stream("arrivals", 0);
        let mut arrivals = Arrivals::new(Spacing::Even, 200.0, &[]);
        assert_eq!(until(&mut arrivals, at(400.0), &mut rng).len(), 80_000);
        // A third of a second is no whole number of nanoseconds.
        let mut arrivals = Arrivals::new(Spacing::Even, 3.0, &[]);
        let times = until(&mut arrivals, at(100_000.0), &mut rng);
        assert_eq!(times.len(), 300_000);
        assert!(at(99_999.0).since(times[299_997]) <= Span::nanos(2));
    }

    #[test]
    fn even_arrivals_follow_a_ramp() {
        // From 0 to 100 a second in 10 s: 500 arrivals, the i-th at √(i / 5).
        let mut rng = Seed(1).stream("arrivals", 0);
        let mut arrivals = Arrivals::new(Spacing::Even, 0.0, &[change(0.0, 100.0, 10.0)]);
        let times = until(&mut arrivals, at(10.0), &mut rng);
        assert_eq!(times.len(), 500);
        for (i, time) in times.iter().enumerate() {
            assert!(
                (time.as_secs_f64() - (i as f64 / 5.0).sqrt()).abs() < 1e-7,
                "{i}: {time}"
            );
        }
        assert!((arrivals.rate(at(5.0)) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn poisson_arrivals_follow_the_rate_exactly() {
        // Seen through the cumulative rate, the gaps are exponential with mean 1.
        let changes = [
            change(20.0, 2_000.0, 30.0),
            change(60.0, 0.0, 5.0),
            change(70.0, 300.0, 0.0),
        ];
        let mut arrivals = Arrivals::new(Spacing::Poisson, 500.0, &changes);
        let cumulative = |t: f64| match t {
            _ if t < 20.0 => 500.0 * t,
            _ if t < 50.0 => 10_000.0 + 500.0 * (t - 20.0) + 25.0 * (t - 20.0) * (t - 20.0),
            _ if t < 60.0 => 47_500.0 + 2_000.0 * (t - 50.0),
            _ if t < 65.0 => 67_500.0 + 2_000.0 * (t - 60.0) - 200.0 * (t - 60.0) * (t - 60.0),
            _ if t < 70.0 => 72_500.0,
            _ => 72_500.0 + 300.0 * (t - 70.0),
        };
        let mut rng = Seed(2).stream("arrivals", 0);
        let mut before = 0.0;
        let mut gaps: Vec<f64> = until(&mut arrivals, at(100.0), &mut rng)
            .iter()
            .map(|time| {
                let mass = cumulative(time.as_secs_f64());
                let gap = mass - before;
                before = mass;
                gap
            })
            .collect();
        let n = gaps.len() as f64;
        assert!((n - 81_500.0).abs() < 4.0 * 81_500.0_f64.sqrt(), "{n}");
        gaps.sort_by(f64::total_cmp);
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| ((1.0 - libm::exp(-gap)) - (i as f64 + 0.5) / n).abs())
            .fold(0.0, f64::max);
        assert!(distance * n.sqrt() < 1.95, "{}", distance * n.sqrt());
    }

    #[test]
    fn a_spike_moves_the_pending_arrival_too() {
        let mut rng = Seed(3).stream("arrivals", 0);
        let mut arrivals = Arrivals::new(Spacing::Even, 1.0, &[]);
        assert_eq!(arrivals.set_factor(at(0.0), 1.0), None, "nothing was pending");
        assert_eq!(
            (arrivals.next(&mut rng), arrivals.next(&mut rng)),
            (at(0.0), at(1.0))
        );
        // Half of the gap at rate 1, the other half at rate 10.
        assert_eq!(arrivals.set_factor(at(0.5), 10.0), Some(at(0.55)));
        assert_eq!(arrivals.next(&mut rng), at(0.65));
        assert_eq!(arrivals.set_factor(at(0.6), 0.0), Some(Time::NEVER));
        assert_eq!(arrivals.next(&mut rng), Time::NEVER);
        assert_eq!(arrivals.set_factor(at(5.0), 1.0), Some(at(5.5)));
        assert_eq!(arrivals.set_rate(at(5.25), 5.0), Some(at(5.3)));
        assert_eq!(arrivals.next(&mut rng), at(5.5));
    }

    #[test]
    fn what_is_expected_follows_the_rate() {
        let changes = [
            change(20.0, 2_000.0, 30.0),
            change(60.0, 0.0, 0.0),
            change(70.0, 300.0, 0.0),
        ];
        let mut arrivals = Arrivals::new(Spacing::Poisson, 500.0, &changes);
        // 10 s at 500/s, then half of a ramp of 1500/s in 30 s.
        let whole = arrivals.expected(at(10.0), at(35.0));
        assert!(
            (whole - (5_000.0 + 7_500.0 + 25.0 * 225.0)).abs() < 1e-3,
            "{whole}"
        );
        assert!(at(35.0).since(arrivals.after(at(10.0), whole)) < Span::nanos(10));
        assert!(arrivals.expected(at(62.0), at(69.0)) < 1e-12);
        for (from, to, peak) in [
            (0.0, 9.0, 500.0),
            (0.0, 35.0, 1_250.0),
            (35.0, 65.0, 2_000.0),
            (65.0, 71.0, 300.0),
        ] {
            assert!(
                (arrivals.peak(at(from), at(to)) - peak).abs() < 1e-6,
                "{from} to {to}"
            );
        }
        assert!(arrivals.after(at(65.0), 300.0).since(at(71.0)) < Span::nanos(2));
        arrivals.set_factor(at(80.0), 2.0);
        assert!((arrivals.expected(at(80.0), at(81.0)) - 600.0).abs() < 1e-6);
        arrivals.set_factor(at(90.0), 0.0);
        assert_eq!(arrivals.after(at(90.0), 1.0), Time::NEVER);
    }

    #[test]
    fn a_restart_has_no_memory() {
        let mut rng = Seed(5).stream("arrivals", 0);
        let mut arrivals = Arrivals::new(Spacing::Poisson, 100.0, &[]);
        let gaps = (0..20_000).map(|i| {
            arrivals.next(&mut rng);
            let now = at(f64::from(i + 1) * 10.0);
            arrivals.restart(now, &mut rng).since(now).as_secs_f64()
        });
        let mean = gaps.sum::<f64>() / 20_000.0;
        assert!((mean * 100.0 - 1.0).abs() < 0.03, "{mean}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arrivals_never_go_back(
            rates in prop::collection::vec((0..20_u64, 0..300_u32, 0..10_u64), 0..6),
            ops in prop::collection::vec((0..10_u8, 0..4_u32), 1..200),
            even: bool,
        ) {
            let mut from = Time::ZERO;
            let changes: Vec<Change> = rates
                .iter()
                .map(|(after, rate, over)| {
                    from += Span::secs(*after);
                    Change { at: from, rate: f64::from(*rate), over: Span::secs(*over) }
                })
                .collect();
            let spacing = if even { Spacing::Even } else { Spacing::Poisson };
            let mut arrivals = Arrivals::new(spacing, 10.0, &changes);
            let mut rng = Seed(4).stream("arrivals", 0);
            let mut last = Time::ZERO;
            for (op, factor) in ops {
                if op == 0 && last < Time::NEVER {
                    if let Some(time) = arrivals.set_factor(last, f64::from(factor)) {
                        prop_assert!(time >= last);
                        last = time;
                    }
                } else {
                    let time = arrivals.next(&mut rng);
                    prop_assert!(time >= last, "{time} after {last}");
                    last = time;
                }
                arrivals.invariants();
            }
        }
    }
}
