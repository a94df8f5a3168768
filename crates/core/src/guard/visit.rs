//! Visits: calls of the origin by another way than a load or a write of a key, such as what a gateway passes through.
//!
//! They take a place at the origin and are news for its breaker like any other call. What is loaded, cached or purged
//! is none of their business.

use crate::breaker;
use crate::gate::Reason;
use crate::limit;
use crate::rng::Stream;
use crate::time::Time;

use super::Guard;

/// A call of the origin that is under way. It has to be given back: [`Guard::end_visit`].
#[derive(Debug)]
#[must_use = "its place is taken until it is given back"]
pub struct Visit {
    permit: Option<breaker::Permit>,
    place: Option<limit::Permit>,
    began: Time,
}

impl Guard {
    /// Lets a call go to the origin. A write stands in no line and goes on when all places are taken, as every write
    /// does; a read that finds none, or loads that wait for one, is told so.
    ///
    /// # Errors
    /// [`Reason::OriginOpen`] when the breaker is open, [`Reason::OriginLimit`] when there is no place.
    pub fn visit(&mut self, now: Time, rng: &mut Stream, is_write: bool) -> Result<Visit, Reason> {
        let began = now;
        if let (false, true) = (is_write, !self.line.is_empty()) {
            return Err(Reason::OriginLimit);
        }
        let place = self.limiter.acquire(now);
        if place.is_none() && !is_write {
            return Err(Reason::OriginLimit);
        }
        let permit = match self.origin.as_mut().map(|breaker| breaker.admit(now, rng)) {
            None => None,
            Some(breaker::Admission::Pass(permit)) => Some(permit),
            Some(breaker::Admission::Refuse { .. }) => {
                if let Some(place) = place {
                    self.limiter.release(now, place, limit::Outcome::Dropped);
                }
                return Err(Reason::OriginOpen);
            }
        };
        self.writes_beyond += u32::from(place.is_none());
        Ok(Visit { permit, place, began })
    }

    /// Takes a call back, and lets who waits for its place go on. `ok` says whether the origin answered as it should;
    /// nothing is known when absent.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what was given back is not given back again"
    )]
    pub fn end_visit(&mut self, now: Time, rng: &mut Stream, visit: Visit, ok: Option<bool>) {
        let Visit { permit, place, began } = visit;
        let result = ok.map(|ok| (ok, now.since(began)));
        self.leave_origin(now, permit, place, result);
        self.promote(now, rng);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Guard, Setup};
    use super::*;
    use crate::policies::Policies;
    use crate::rng::Seed;
    use crate::time::Span;

    fn guard() -> Guard {
        let policies = Policies {
            limit: Some(limit::Settings {
                mode: limit::Mode::Fixed,
                min: 1,
                max: 1,
                initial: 1,
                ..limit::Settings::default()
            }),
            origin_breaker: Some(breaker::Settings {
                failures: 2,
                ..breaker::Settings::default()
            }),
            ..Policies::default()
        };
        Guard::new(
            Time::ZERO,
            &Setup {
                tiers: Vec::new(),
                policies,
                instances: 1,
            },
        )
    }

    #[test]
    fn reads_are_bounded_and_writes_are_counted() {
        let (mut guard, mut rng) = (guard(), Seed(1).stream("visit", 0));
        let now = Time::ZERO;
        let read = guard.visit(now, &mut rng, false).expect("there is a place");
        assert_eq!(guard.visit(now, &mut rng, false).err(), Some(Reason::OriginLimit));
        let write = guard.visit(now, &mut rng, true).expect("writes go on");
        assert_eq!(guard.in_flight(), 2);
        guard.end_visit(now, &mut rng, write, Some(true));
        guard.end_visit(now, &mut rng, read, None);
        assert_eq!(guard.in_flight(), 0);
        let read = guard.visit(now, &mut rng, false).expect("the place is free");
        guard.end_visit(now, &mut rng, read, Some(true));
    }

    #[test]
    fn failures_open_the_breaker() {
        let (mut guard, mut rng) = (guard(), Seed(1).stream("visit", 0));
        for second in 1..=2 {
            let now = Time::ZERO + Span::secs(second);
            let visit = guard.visit(now, &mut rng, true).expect("it is closed");
            guard.end_visit(now, &mut rng, visit, Some(false));
        }
        let now = Time::ZERO + Span::secs(3);
        for is_write in [false, true] {
            assert_eq!(
                guard.visit(now, &mut rng, is_write).err(),
                Some(Reason::OriginOpen)
            );
        }
        assert_eq!(guard.in_flight(), 0, "who is turned away takes no place");
    }
}
