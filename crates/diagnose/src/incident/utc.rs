//! Instants of the calendar, as text, and lengths of time for people.
//!
//! Nothing here reads a clock: whoever has one says what time it is.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in UTC, to the millisecond. Its text is RFC 3339.
///
/// ```
/// use seawall_diagnose::incident::Utc;
/// let at = Utc::from_millis(1_763_777_494_120);
/// assert_eq!(at.to_string(), "2025-11-22T02:11:34.120Z");
/// assert_eq!(at.to_string().parse(), Ok(at));
/// assert_eq!("2025-11-22T04:11:34.12+02:00".parse(), Ok(at));
/// assert_eq!(at.after_s(0.5).since_s(at), 0.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utc(i64);

/// A text that is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instant is written like 2026-11-22T02:11:34Z")]
pub struct BadInstant;

/// The last millisecond of the year 9999.
const MILLIS_MAX: i64 = 253_402_300_799_999;

impl Utc {
    /// So many milliseconds after the beginning of 1970; from there to the end of the year 9999.
    pub fn from_millis(millis: i64) -> Utc {
        Utc(millis.clamp(0, MILLIS_MAX))
    }

    /// So many milliseconds have passed since the beginning of 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// So many seconds later; earlier, when they are below zero.
    #[must_use]
    pub fn after_s(self, seconds: f64) -> Utc {
        Utc::from_millis(self.0.saturating_add((seconds * 1e3).round() as i64))
    }

    /// Seconds from then to now; 0 when then is later.
    pub fn since_s(self, then: Utc) -> f64 {
        (self.0 - then.0).max(0) as f64 / 1e3
    }

    /// The date and the time to the second, as people read it: `2026-11-22 02:11:34 UTC`.
    pub fn told(self) -> String {
        let text = self.to_string();
        format!("{} {} UTC", &text[..10], &text[11..19])
    }

    /// The time of the day to the second.
    pub fn clock(self) -> String {
        self.to_string()[11..19].to_owned()
    }

    /// The instant as a part of a name: `20261122T021134`.
    pub fn compact(self) -> String {
        let text = self.to_string();
        text[..19].chars().filter(|one| !"-:".contains(*one)).collect()
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.div_euclid(1_000), self.0.rem_euclid(1_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Year, month and day of a day since 1970 in the Gregorian calendar: years begin in March, so that the leap day is their
/// last (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl std::str::FromStr for Utc {
    type Err = BadInstant;

    fn from_str(text: &str) -> Result<Utc, BadInstant> {
        read(text).ok_or(BadInstant)
    }
}

/// RFC 3339, section 5.6; fractions finer than a millisecond are cut off.
fn read(text: &str) -> Option<Utc> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse().ok() } else { None }
    };
    let is = |at: usize, marks: &str| text.get(at..=at).is_some_and(|mark| marks.contains(mark));
    let marks = is(4, "-") && is(7, "-") && is(10, "Tt ") && is(13, ":") && is(16, ":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if !marks || !in_range || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|one: char| !one.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        millis = format!("{:0<3}", &fraction[..end])[..3].parse().ok()?;
        rest = &fraction[end..];
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Utc::from_millis((seconds - offset(rest)?) * 1_000 + millis))
}

/// Seconds by which a zone is ahead.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.get(..1)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let whole = hours.len() == 2 && minutes.len() == 2;
    let ahead: i64 = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
    whole.then_some(sign * ahead)
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Utc, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A length of time for people: `4 s`, `3 min 20 s`, `2 h 5 min`.
pub fn lasting(seconds: f64) -> String {
    if seconds < 9.95 {
        let text = format!("{seconds:.1} s");
        return text.replace(".0 s", " s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) if seconds == 0 => format!("{minutes} min"),
        (0, _) => format!("{minutes} min {seconds} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_written_and_read_back() {
        for day in (0..80_000).step_by(13) {
            let at = Utc::from_millis(day * 86_400_000 + 3_723_004);
            assert_eq!(at.to_string().parse(), Ok(at), "{at}");
        }
        assert_eq!(
            Utc::from_millis(951_782_400_000).to_string(),
            "2000-02-29T00:00:00.000Z"
        );
        assert_eq!(Utc::from_millis(-5), Utc::default());
    }

    #[test]
    fn what_others_write_is_read() {
        for (text, millis) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01T01:00:00.123456789+01:00", 123),
            ("1969-12-31T23:00:00-01:00", 0),
        ] {
            assert_eq!(text.parse(), Ok(Utc(millis)), "{text}");
        }
        // Alertmanager writes the end of an alert that goes on so.
        assert!("0001-01-01T00:00:00Z".parse::<Utc>().is_ok());
        for text in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-11-22T02:11:34",
            "2026-11-22T02:11:34.Z",
            "é026-11-22T02:11:34Z",
        ] {
            assert_eq!(text.parse::<Utc>(), Err(BadInstant), "{text}");
        }
    }

    #[test]
    fn lengths_are_for_people() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (2.5, "2.5 s"),
            (59.6, "1 min"),
            (200.0, "3 min 20 s"),
            (7_500.0, "2 h 5 min"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
    }
}
