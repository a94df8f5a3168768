//! Numbers with units, and back: a range is reckoned in base units and spelled in those of the document.

use seawall_scenario::units::{self, UnitError};

/// A number as it was typed: in base units, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantity {
    base: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// A number without a unit; with `k`, `M` or `G` when it was typed with one.
    Plain { prefixed: bool },
    /// A share, in percent.
    Percent,
    /// Per second.
    Rate,
    /// A length of time, in seconds.
    Time,
    /// A size in bytes; in powers of 1024 when it was typed so.
    Size { binary: bool },
}

/// Reads a number with or without a unit.
pub(super) fn read(text: &str) -> Result<Quantity, UnitError> {
    let quantity = |base, unit| Quantity { base, unit };
    if text.ends_with('%') {
        return units::ratio(text).map(|share| quantity(share, Unit::Percent));
    }
    if text.contains('/') {
        let rate = units::rate(text).map(|rate| quantity(rate, Unit::Rate));
        let plain = |_| units::ratio(text).map(|share| quantity(share, Unit::Plain { prefixed: false }));
        return rate.or_else(|error| plain(error).map_err(|_: UnitError| UnitError::NoNumber));
    }
    let wrong = match units::count(text) {
        Ok(count) => {
            let prefixed = text.ends_with(['k', 'M', 'G']);
            return Ok(quantity(count, Unit::Plain { prefixed }));
        }
        Err(wrong) => wrong,
    };
    if let Ok(span) = units::duration(text) {
        return Ok(quantity(span.as_secs_f64(), Unit::Time));
    }
    if let Ok(bytes) = units::size(text) {
        let binary = text.to_ascii_lowercase().ends_with("ib");
        return Ok(quantity(bytes as f64, Unit::Size { binary }));
    }
    Err(wrong)
}

/// A number with four significant digits.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

impl Quantity {
    /// The number in seconds, per second, bytes, or as a share of one.
    pub(super) fn base(self) -> f64 {
        self.base
    }

    /// Whether it is a number without a unit.
    pub(super) fn is_plain(self) -> bool {
        matches!(self.unit, Unit::Plain { .. })
    }

    /// The number, if it is of the same kind as another; nothing is nothing in every unit.
    pub(super) fn alike(self, other: Quantity) -> Option<Quantity> {
        let same = std::mem::discriminant(&self.unit) == std::mem::discriminant(&other.unit);
        if same {
            return Some(self);
        }
        let is_nothing = |quantity: Quantity| quantity.is_plain() && quantity.base.abs() < f64::MIN_POSITIVE;
        if is_nothing(self) {
            return Some(Quantity {
                unit: other.unit,
                ..self
            });
        }
        is_nothing(other).then_some(self)
    }

    /// Of two of a kind, the one that was typed with a prefix.
    pub(super) fn wider(self, other: Quantity) -> Quantity {
        if self.unit == (Unit::Plain { prefixed: false }) {
            other
        } else {
            self
        }
    }

    /// Another number of the same kind, as the document spells it.
    pub(super) fn spelled(self, base: f64) -> String {
        match self.unit {
            Unit::Plain { prefixed: false } => digits(base),
            Unit::Plain { prefixed: true } => count(base),
            Unit::Percent => format!("{}%", digits(base * 100.0)),
            Unit::Rate => format!("{}/s", count(base)),
            Unit::Time => time(base),
            Unit::Size { binary: false } => size(base, 1e3, ["b", "kb", "mb", "gb", "tb"]),
            Unit::Size { binary: true } => size(base, 1024.0, ["b", "kib", "mib", "gib", "tib"]),
        }
    }
}

fn count(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", digits(v / 1e9)),
        v if v >= 1e6 => format!("{}M", digits(v / 1e6)),
        v if v >= 1e3 => format!("{}k", digits(v / 1e3)),
        v => digits(v),
    }
}

/// A length of time in seconds, as the document spells it.
pub(crate) fn time(seconds: f64) -> String {
    let whole = |unit: f64| (seconds / unit - (seconds / unit).round()).abs() < 1e-9;
    match seconds {
        s if s >= 3600.0 && whole(3600.0) => format!("{}h", digits(s / 3600.0)),
        s if s >= 60.0 && whole(60.0) => format!("{}m", digits(s / 60.0)),
        s if s >= 1.0 || s <= 0.0 => format!("{}s", digits(s)),
        s if s >= 1e-3 => format!("{}ms", digits(s * 1e3)),
        s if s >= 1e-6 => format!("{}us", digits(s * 1e6)),
        s => format!("{}ns", digits(s * 1e9)),
    }
}

fn size(bytes: f64, step: f64, names: [&str; 5]) -> String {
    let mut value = bytes;
    let mut name = names[0];
    for next in &names[1..] {
        if value < step {
            break;
        }
        value /= step;
        name = next;
    }
    // A byte is not divided.
    let value = if name == names[0] { value.round() } else { value };
    format!("{}{name}", digits(value))
}

/// A number without an exponent and without noise in its last digits.
fn digits(value: f64) -> String {
    let text = format!("{value:.9}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short.is_empty() || short == "-0" {
        return "0".to_owned();
    }
    short.to_owned()
}
