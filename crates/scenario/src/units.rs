//! Spelling numbers with units: `500ms`, `1M/s`, `2gb`, `20%`.
//!
//! Nothing here knows TOML. An error is a fragment that reads after "this is not a duration: ".
//!
//! ```
//! use seawall_core::time::Span;
//! use seawall_scenario::units;
//! assert_eq!(units::duration("1h30m"), Ok(Span::secs(5_400)));
//! assert_eq!(units::rate("600/m"), Ok(10.0));
//! assert_eq!(units::ratio("1/100"), Ok(0.01));
//! assert!(units::duration("5 parsecs").is_err());
//! ```

use seawall_core::time::Span;
use thiserror::Error;

/// Why a text is not the number that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    /// There is no number in it.
    #[error("a number is missing")]
    NoNumber,
    /// There is a number, and no unit.
    #[error("a unit is missing: one of {0}")]
    NoUnit(&'static str),
    /// There is no such unit here.
    #[error("there is no unit `{unit}` here: use one of {known}")]
    Unknown {
        /// What was written.
        unit: String,
        /// What can be written.
        known: &'static str,
    },
    /// It is out of all bounds.
    #[error("it is too large")]
    TooLarge,
}

const DURATION_UNITS: &str = "`ns`, `us`, `ms`, `s`, `m`, `h`, `d`";
const RATE_UNITS: &str = "`/s`, `/m`, `/h`";
const SIZE_UNITS: &str = "`b`, `kb`, `mb`, `gb`, `tb`, `kib`, `mib`, `gib`, `tib`";
const COUNT_UNITS: &str = "`k`, `M`, `G`";

/// A length of time: `500ms`, `20m`, `1h30m`.
///
/// # Errors
/// When it is not one.
pub fn duration(text: &str) -> Result<Span, UnitError> {
    let mut rest = text.trim();
    let mut nanos = 0.0_f64;
    if rest == "0" {
        return Ok(Span::ZERO);
    }
    if rest.is_empty() {
        return Err(UnitError::NoNumber);
    }
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let size = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 6e10,
            "h" => 3.6e12,
            "d" => 8.64e13,
            "" => return Err(UnitError::NoUnit(DURATION_UNITS)),
            unit => {
                return Err(UnitError::Unknown {
                    unit: crate::reader::clip(unit),
                    known: DURATION_UNITS,
                });
            }
        };
        nanos += value * size;
        rest = next;
    }
    if nanos > 1e18 {
        return Err(UnitError::TooLarge);
    }
    Ok(Span::nanos((nanos + 0.5) as u64))
}

/// A rate, per second: `200/s`, `1M/s`, `600/m`.
///
/// # Errors
/// When it is not one.
pub fn rate(text: &str) -> Result<f64, UnitError> {
    let Some((amount, per)) = text.split_once('/') else {
        number(text.trim())?;
        return Err(UnitError::NoUnit(RATE_UNITS));
    };
    let seconds = match per.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        unit => {
            return Err(UnitError::Unknown {
                unit: format!("/{}", crate::reader::clip(unit)),
                known: RATE_UNITS,
            });
        }
    };
    Ok(count(amount)? / seconds)
}

/// A size in bytes: `2gb`, `512mib`.
///
/// # Errors
/// When it is not one.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let (value, unit) = number(text.trim())?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1_024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        "" => return Err(UnitError::NoUnit(SIZE_UNITS)),
        unit => {
            return Err(UnitError::Unknown {
                unit: crate::reader::clip(unit),
                known: SIZE_UNITS,
            });
        }
    };
    let bytes = value * factor;
    if bytes > 1e18 {
        return Err(UnitError::TooLarge);
    }
    Ok((bytes + 0.5) as u64)
}

/// A ratio: `20%`, `1/100`, `0.2`.
///
/// # Errors
/// When it is not one.
pub fn ratio(text: &str) -> Result<f64, UnitError> {
    let text = text.trim();
    if let Some((above, below)) = text.split_once('/') {
        let (above, below) = (plain(above)?, plain(below)?);
        return if below > 0.0 {
            Ok(above / below)
        } else {
            Err(UnitError::TooLarge)
        };
    }
    match text.strip_suffix('%') {
        Some(percent) => Ok(plain(percent)? / 100.0),
        None => plain(text),
    }
}

/// A count: `200`, `10k`, `1M`.
///
/// # Errors
/// When it is not one.
pub fn count(text: &str) -> Result<f64, UnitError> {
    let (value, unit) = number(text.trim())?;
    let factor = match unit.trim() {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        unit => {
            return Err(UnitError::Unknown {
                unit: crate::reader::clip(unit),
                known: COUNT_UNITS,
            });
        }
    };
    if value * factor > 1e15 {
        return Err(UnitError::TooLarge);
    }
    Ok(value * factor)
}

/// Any number with or without a unit: a rate per second, a share, a length of time in seconds, or a count.
///
/// # Errors
/// When it is none of them.
pub fn quantity(text: &str) -> Result<f64, UnitError> {
    let (sign, text) = match text.trim().strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.trim()),
    };
    if text.ends_with('%') {
        return ratio(text).map(|value| sign * value);
    }
    if text.contains('/') {
        return rate(text).map(|value| sign * value);
    }
    match count(text) {
        Ok(value) => Ok(sign * value),
        Err(wrong) => duration(text)
            .map(|span| sign * span.as_secs_f64())
            .map_err(|_| wrong),
    }
}

/// A number without anything after it.
fn plain(text: &str) -> Result<f64, UnitError> {
    let (value, rest) = number(text.trim())?;
    if rest.is_empty() {
        return Ok(value);
    }
    Err(UnitError::Unknown {
        unit: crate::reader::clip(rest),
        known: "`%`",
    })
}

/// The number at the beginning, and what follows it.
fn number(text: &str) -> Result<(f64, &str), UnitError> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    // Nobody spells a number in more digits than these.
    if digits.len() > 40 {
        return Err(UnitError::TooLarge);
    }
    let value = digits.replace('_', "").parse().map_err(|_| UnitError::NoNumber)?;
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let read: Vec<Option<Span>> = ["500ms", "20m", "1h30m", "1.5s", "0", "10us", "2d"]
            .iter()
            .map(|text| duration(text).ok())
            .collect();
        let wanted = [
            Span::millis(500),
            Span::secs(1_200),
            Span::secs(5_400),
            Span::millis(1_500),
            Span::ZERO,
            Span::micros(10),
            Span::secs(172_800),
        ];
        assert_eq!(read, wanted.map(Some));
        for wrong in [
            "",
            "5",
            "s",
            "5 parsecs",
            "-1s",
            "1e9s",
            "99999999d",
            "1s2",
            "..s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_sizes_ratios_and_counts() {
        assert_eq!(rate("1M/s"), Ok(1e6));
        assert_eq!(rate("600/m"), Ok(10.0));
        assert_eq!(rate("36k/h"), Ok(10.0));
        assert!(rate("100").is_err() && rate("1/parsec").is_err() && rate("/s").is_err());
        assert_eq!(size("2gb"), Ok(2_000_000_000));
        assert_eq!(size("1KiB"), Ok(1_024));
        assert!(size("2").is_err());
        assert_eq!(ratio("20%"), Ok(0.2));
        assert_eq!(ratio("1/100"), Ok(0.01));
        assert!(ratio("1/0").is_err() && ratio("x").is_err());
        assert_eq!(count("10k"), Ok(10_000.0));
        assert!(count("1e99").is_err());
    }

    #[test]
    fn a_quantity_is_whatever_its_unit_says() {
        let read: Vec<f64> = ["280k/s", "95%", "100ms", "3m", "3M", "-30s", "7"]
            .iter()
            .map(|text| quantity(text).unwrap())
            .collect();
        assert_eq!(read, [280_000.0, 0.95, 0.1, 180.0, 3e6, -30.0, 7.0]);
    }
}
