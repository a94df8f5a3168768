//! Writes: past the line, and then out of the tiers with what was cached.

use crate::breaker;
use crate::gate::Reason;
use crate::rng::Stream;
use crate::time::Time;

use super::super::Guard;
use super::super::step::{OriginFault, Outcome, Step};
use super::{Request, Stage};

impl Guard {
    pub(super) fn write(&mut self, now: Time, rng: &mut Stream, request: &mut Request) -> Step {
        if let Some(breaker) = &mut self.origin {
            match breaker.admit(now, rng) {
                breaker::Admission::Pass(permit) => request.permit = Some(permit),
                breaker::Admission::Refuse { .. } => {
                    return self.end(request, Outcome::Shed(Reason::OriginOpen));
                }
            }
        }
        // A write stands in no line behind reads, and goes on when the reads have taken all the places.
        request.place = self.limiter.acquire(now);
        request.stage = Stage::Writing;
        request.sent = now;
        self.writes_beyond += u32::from(request.place.is_none());
        Step::Write {
            timeout: request.left(now),
        }
    }

    pub(super) fn written(
        &mut self,
        now: Time,
        rng: &mut Stream,
        request: &mut Request,
        result: Result<u64, OriginFault>,
    ) -> Step {
        let took = now.since(request.sent);
        self.leave_origin(
            now,
            request.permit.take(),
            request.place.take(),
            Some((result.is_ok(), took)),
        );
        // Nobody knows whether a write that failed has happened: what is cached is out of date either way.
        self.overtake(now, request.key, result.unwrap_or(u64::MAX));
        self.promote(now, rng);
        match result {
            Ok(version) => self.end(request, Outcome::Written { version }),
            Err(OriginFault::TimedOut) => self.end(request, Outcome::TimedOut),
            Err(_) => self.end(request, Outcome::Failed),
        }
    }
}
