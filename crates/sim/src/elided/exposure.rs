//! How many hits are expected in each period from keys that sleep, and how many of them are asleep.
//!
//! The expected number of hits of a key over a stretch of sleep is its share of the client's calls times the integral
//! of the client's rate. The stretch is known when it begins, so it is entered at once, into differences: two numbers
//! where it begins, two where it ends, however long it is. Given the stretches, the number of hits of a period is
//! Poisson with the sum as its mean, because the stretches depend on nothing that happens within them.

use seawall_core::arrivals::Arrivals;
use seawall_core::time::{Span, Time};

#[derive(Clone, Copy, Default)]
struct Period {
    /// The growth of the share that sleeps from the period before to this one.
    growth: f64,
    /// What the ends of stretches add to the hits of this period, and take from them.
    ends: f64,
}

pub(super) struct Exposure {
    every: Span,
    one_over_every: f64,
    periods: Vec<Period>,
    /// The period that is under way, and when it ends.
    current: usize,
    end: Time,
    /// The share of the client's calls that sleeps all through the period that is under way, or until its end in it.
    level: f64,
    /// Hits of this period that were expected before everybody was woken.
    carried: f64,
}

impl Exposure {
    pub(super) fn new(every: Span, periods: u64) -> Exposure {
        Exposure {
            every,
            one_over_every: 1.0 / every.as_nanos().max(1) as f64,
            periods: vec![Period::default(); periods as usize + 3],
            current: 0,
            end: Time::ZERO + every,
            level: 0.0,
            carried: 0.0,
        }
    }

    /// A key with this share of the calls sleeps from `from`, which is now or when it would have woken up, to `until`.
    #[inline]
    pub(super) fn enter(&mut self, arrivals: &Arrivals, share: f64, from: Time, until: Time) {
        self.change(arrivals, share, from);
        self.change(arrivals, -share, until);
    }

    /// A key that would have slept until `until` wakes up at `from`.
    pub(super) fn leave(&mut self, arrivals: &Arrivals, share: f64, from: Time, until: Time) {
        self.enter(arrivals, -share, from, until);
    }

    #[inline]
    fn change(&mut self, arrivals: &Arrivals, share: f64, at: Time) {
        let place = self.place(at);
        // The run ends before the last two.
        if place + 1 < self.periods.len() {
            let end = self.end_of(place);
            self.periods[place].ends += share * arrivals.expected(at, end);
            self.periods[place + 1].growth += share;
        }
    }

    /// The hits expected in the period under way up to its end, all stretches as they are; then the next one begins.
    pub(super) fn close(&mut self, arrivals: &Arrivals) -> f64 {
        let expected = self.expected(arrivals);
        self.current += 1;
        self.end = self.end_of(self.current);
        self.level += self.periods[self.current].growth;
        self.carried = 0.0;
        expected
    }

    /// Everybody has been woken ([`Exposure::leave`]), and the rate may change: what is expected up to now stays.
    pub(super) fn cut(&mut self, arrivals: &Arrivals) {
        let carried = self.expected(arrivals);
        self.periods.fill(Period::default());
        self.level = 0.0;
        self.carried = carried;
    }

    fn expected(&self, arrivals: &Arrivals) -> f64 {
        let begin = Time::from_nanos(self.every.as_nanos() * self.current as u64);
        let whole = self.level * arrivals.expected(begin, self.end);
        (self.carried + whole + self.periods[self.current].ends).max(0.0)
    }

    /// About the share of the calls that is asleep at `now`: within a period it is taken to change evenly.
    pub(super) fn asleep(&self, now: Time) -> f64 {
        let every = self.every.as_nanos().max(1);
        let begun = Time::from_nanos(every * self.current as u64);
        let passed = (now.since(begun).as_nanos() as f64 / every as f64).min(1.0);
        (self.level + passed * self.periods[self.current + 1].growth).clamp(0.0, 1.0)
    }

    /// The period of an instant that is not past.
    #[inline]
    fn place(&self, at: Time) -> usize {
        if at < self.end {
            return self.current;
        }
        // A division of whole numbers takes its time; that of floats is off by one at the most.
        let every = self.every.as_nanos().max(1);
        let near = (at.as_nanos() as f64 * self.one_over_every) as u64;
        let begin = near.saturating_mul(every);
        let place = if begin > at.as_nanos() {
            near - 1
        } else {
            near + u64::from(at.as_nanos() - begin >= every)
        };
        place as usize
    }

    fn end_of(&self, period: usize) -> Time {
        Time::from_nanos(self.every.as_nanos().saturating_mul(period as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::arrivals::{Change, Spacing};

    fn at(secs: f64) -> Time {
        Time::ZERO + Span::from_secs_f64(secs)
    }

    #[test]
    fn a_stretch_is_spread_over_its_periods() {
        // 100 a second, from 3 s on 200 a second.
        let change = Change {
            at: at(3.0),
            rate: 200.0,
            over: Span::ZERO,
        };
        let arrivals = Arrivals::new(Spacing::Poisson, 100.0, &[change]);
        let mut exposure = Exposure::new(Span::secs(2), 5);
        exposure.enter(&arrivals, 0.5, at(0.5), at(4.5));
        exposure.enter(&arrivals, 0.1, at(1.0), at(1.5));
        exposure.enter(&arrivals, 0.2, at(1.0), Time::NEVER);
        let hits: Vec<f64> = (0..4).map(|_| exposure.close(&arrivals)).collect();
        let truth = [75.0 + 5.0 + 20.0, 150.0 + 60.0, 50.0 + 80.0, 80.0];
        for (hits, truth) in hits.iter().zip(truth) {
            assert!((hits - truth).abs() < 1e-6, "{hits} for {truth}");
        }
    }

    #[test]
    fn an_instant_lies_in_its_period() {
        for every in [1, 3, 999_999_999, 1_000_000_000, 60_000_000_007] {
            let exposure = Exposure::new(Span::nanos(every), 1);
            for period in [1, 2, 1_000, 123_456] {
                let begin = every * period;
                let place = |nanos| exposure.place(Time::from_nanos(nanos));
                assert_eq!(
                    (place(begin), place(begin + every - 1)),
                    (period as usize, period as usize)
                );
            }
        }
    }

    #[test]
    fn who_is_woken_has_been_exposed_until_then() {
        let mut arrivals = Arrivals::new(Spacing::Poisson, 100.0, &[]);
        let mut exposure = Exposure::new(Span::secs(1), 5);
        exposure.enter(&arrivals, 0.5, at(0.0), at(3.5));
        exposure.enter(&arrivals, 0.25, at(0.0), at(9.0));
        assert!((exposure.close(&arrivals) - 75.0).abs() < 1e-9);
        assert!((exposure.asleep(at(1.0)) - 0.75).abs() < 1e-9);
        exposure.leave(&arrivals, 0.25, at(1.5), at(9.0));
        assert!(
            (exposure.asleep(at(1.5)) - 0.625).abs() < 1e-9,
            "halfway through a change"
        );
        assert!((exposure.close(&arrivals) - 62.5).abs() < 1e-9);
        assert!((exposure.asleep(at(2.0)) - 0.5).abs() < 1e-9);
        exposure.leave(&arrivals, 0.5, at(2.5), at(3.5));
        exposure.cut(&arrivals);
        arrivals.set_rate(at(2.5), 1_000.0);
        exposure.enter(&arrivals, 0.5, at(2.5), at(2.75));
        assert!((exposure.close(&arrivals) - 25.0 - 125.0).abs() < 1e-6);
        assert!(exposure.close(&arrivals).abs() < 1e-9);
    }
}
