//! The clock: tokio's, told in the core's [`Time`].
//!
//! It is tokio's so that a test may pause it. It starts at the wall clock's time and then runs evenly, whatever the wall
//! clock is set to; so an instant can be written into a store and read by another process, give or take how far
//! their clocks are apart.

use std::time::{Duration, SystemTime};

use seawall_core::time::{Span, Time};
use tokio::time::Instant;

/// What a store keeps instants in.
const NANOS_PER_US: u64 = 1_000;

/// Reads tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    at_origin: Time,
}

impl Clock {
    /// A clock that says nanoseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "here the wall clock is read, once")]
    pub(crate) fn new() -> Clock {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Clock::starting_at(Time::ZERO + Span::from(since_1970.unwrap_or_default()))
    }

    /// A clock that says `at_origin` now.
    pub(crate) fn starting_at(at_origin: Time) -> Clock {
        Clock {
            origin: Instant::now(),
            at_origin,
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Time {
        self.at_origin + Span::from(Instant::now().saturating_duration_since(self.origin))
    }

    /// The instant of tokio's clock; `None` for never.
    pub(crate) fn instant(&self, at: Time) -> Option<Instant> {
        if at == Time::NEVER {
            return None;
        }
        self.origin.checked_add(at.since(self.at_origin).into())
    }
}

/// Microseconds since 1970, as stores keep it; for ever stays for ever.
pub(crate) fn to_unix_us(at: Time) -> u64 {
    if at == Time::NEVER {
        u64::MAX
    } else {
        at.as_nanos() / NANOS_PER_US
    }
}

/// The instant that a store kept.
pub(crate) fn from_unix_us(us: u64) -> Time {
    Time::from_nanos(us.saturating_mul(NANOS_PER_US))
}

/// A span as a timeout; `None` for ever.
pub(crate) fn timeout(span: Span) -> Option<Duration> {
    (span != Span::MAX).then(|| span.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_a_paused_clock() {
        let clock = Clock::starting_at(Time::ZERO + Span::secs(5));
        assert_eq!(clock.now(), Time::ZERO + Span::secs(5));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now(), Time::ZERO + Span::secs(7));
        assert_eq!(clock.instant(clock.now()), Some(Instant::now()));
        assert_eq!(clock.instant(Time::NEVER), None);
    }

    #[test]
    fn for_ever_stays_for_ever() {
        assert_eq!(from_unix_us(to_unix_us(Time::NEVER)), Time::NEVER);
        let at = Time::ZERO + Span::millis(1_700_000_000_123);
        assert_eq!(from_unix_us(to_unix_us(at)), at);
    }
}
