//! Instants and lengths of time, in whole nanoseconds.
//!
//! A [`Time`] counts from the start of a run (virtual time) or of a process (real time); nothing in this crate
//! reads a clock, so an instant is always an argument. Arithmetic saturates: a deadline "for ever" plus a second
//! is still for ever, and an instant before the start is the start.
//!
//! ```
//! use seawall_core::time::{Span, Time};
//! let start = Time::ZERO + Span::millis(1_500);
//! assert_eq!(start.since(Time::ZERO), Span::secs(1) + Span::millis(500));
//! assert_eq!(Time::NEVER + Span::secs(1), Time::NEVER);
//! assert_eq!(format!("{}", Span::millis(1_500)), "1.5s");
//! ```

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// An instant: nanoseconds since the start of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// A length of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

impl Time {
    /// The start of the run.
    pub const ZERO: Time = Time(0);
    /// Later than every instant that is reached.
    pub const NEVER: Time = Time(u64::MAX);

    /// The instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the start.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// The time that has passed since `earlier`; nothing when `earlier` is the later one.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// Longer than every run.
    pub const MAX: Span = Span(u64::MAX);

    /// A span of `nanos` nanoseconds.
    pub const fn nanos(nanos: u64) -> Span {
        Span(nanos)
    }

    /// A span of `micros` microseconds.
    pub const fn micros(micros: u64) -> Span {
        Span(micros.saturating_mul(1_000))
    }

    /// A span of `millis` milliseconds.
    pub const fn millis(millis: u64) -> Span {
        Span(millis.saturating_mul(1_000_000))
    }

    /// A span of `secs` seconds.
    pub const fn secs(secs: u64) -> Span {
        Span(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// A span of `secs` seconds, rounded to the nanosecond; what is negative or not a number is nothing.
    pub fn from_secs_f64(secs: f64) -> Span {
        // A cast from float saturates, and takes what is not a number as zero.
        Span((secs * NANOS_PER_SEC as f64 + 0.5) as u64)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// Whether this is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This span times `factor`, rounded to the nanosecond.
    pub fn scaled(self, factor: f64) -> Span {
        Span((self.0 as f64 * factor + 0.5) as u64)
    }

    /// This span without `other`; nothing when `other` is longer.
    pub const fn saturating_sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}

impl From<std::time::Duration> for Span {
    fn from(duration: std::time::Duration) -> Span {
        Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> std::time::Duration {
        std::time::Duration::from_nanos(span.0)
    }
}

impl fmt::Display for Span {
    /// The shortest exact spelling with one unit: `90s`, `1.5s`, `400ms`, `20m`, `1h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 6] = [
            ("h", 3_600 * NANOS_PER_SEC),
            ("m", 60 * NANOS_PER_SEC),
            ("s", NANOS_PER_SEC),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        if *self == Span::MAX {
            return f.write_str("for ever");
        }
        if self.0 == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in &UNITS[..2] {
            if self.0.is_multiple_of(*size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        for (unit, size) in &UNITS[2..] {
            if self.0 >= *size {
                let whole = self.0 / size;
                let rest = self.0 % size;
                if rest == 0 {
                    return write!(f, "{whole}{unit}");
                }
                let digits = size.ilog10() as usize;
                let fraction = format!("{rest:0digits$}");
                return write!(f, "{whole}.{}{unit}", fraction.trim_end_matches('0'));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Time::NEVER {
            f.write_str("never")
        } else {
            fmt::Display::fmt(&Span(self.0), f)
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_spelled_exactly() {
        let spelled: Vec<String> = [
            Span::ZERO,
            Span::nanos(7),
            Span::micros(1_500),
            Span::millis(400),
            Span::secs(61),
            Span::secs(1_200),
            Span::secs(7_200),
            Span::nanos(1_000_000_001),
            Span::MAX,
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            spelled,
            [
                "0s",
                "7ns",
                "1.5ms",
                "400ms",
                "61s",
                "20m",
                "2h",
                "1.000000001s",
                "for ever"
            ]
        );
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::ZERO - Span::secs(1), Time::ZERO);
        assert_eq!(Time::NEVER + Span::MAX, Time::NEVER);
        assert_eq!(Time::ZERO.since(Time::from_nanos(5)), Span::ZERO);
        assert_eq!(Span::from_secs_f64(-1.0), Span::ZERO);
        assert_eq!(Span::from_secs_f64(f64::NAN), Span::ZERO);
        assert_eq!(Span::from_secs_f64(f64::INFINITY), Span::MAX);
    }
}
