//! Numbers for people: three digits, a unit, no noise.

use seawall_core::time::Span;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    PerSecond,
    Seconds,
    Share,
    Times,
    Bytes,
}

/// A number with its unit: `281k/s`, `95.2%`, `12.5ms`, `1.5×`.
pub(crate) fn spell(value: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    match unit {
        Unit::Count => scaled(value),
        Unit::PerSecond => format!("{}/s", scaled(value)),
        Unit::Times => format!("{}×", digits(value)),
        Unit::Share => format!("{}%", digits(value * 100.0)),
        Unit::Seconds => seconds(value),
        Unit::Bytes => format!("{}b", scaled(value).to_lowercase()),
    }
}

/// A window of the scenario's clock: `10s to 15s`.
pub(crate) fn window(from: f64, to: f64) -> String {
    format!("{} to {}", clock(from), clock(to))
}

/// An instant of the scenario's clock: `T+20m`, `T-30s`.
pub(crate) fn clock(at: f64) -> String {
    let sign = if at < 0.0 { '-' } else { '+' };
    format!("T{sign}{}", Span::from_secs_f64(at.abs()))
}

fn scaled(value: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What rounds up to the next unit belongs to it.
    let unit = UNITS.iter().find(|(size, _)| value.abs() >= size * 0.999_5);
    match unit {
        Some((size, unit)) => format!("{}{unit}", digits(value / size)),
        None => digits(value),
    }
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    if size >= 3_600.0 {
        format!("{}h", digits(value / 3_600.0))
    } else if size >= 120.0 {
        format!("{}min", digits(value / 60.0))
    } else if size >= 1.0 || size == 0.0 {
        format!("{}s", digits(value))
    } else if size >= 1e-3 {
        format!("{}ms", digits(value * 1e3))
    } else {
        format!("{}us", digits(value * 1e6))
    }
}

/// Three significant digits, without zeros at the end.
fn digits(value: f64) -> String {
    let size = value.abs();
    let places = if size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.999_5 {
        2
    } else {
        3
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    match text {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let spelled = [
            spell(281_234.0, Unit::PerSecond),
            spell(999_960.0, Unit::Count),
            spell(0.9521, Unit::Share),
            spell(0.0125, Unit::Seconds),
            spell(1_200.0, Unit::Seconds),
            spell(1.5, Unit::Times),
            spell(-0.0, Unit::Count),
            spell(2e9, Unit::Bytes),
            spell(f64::NAN, Unit::Count),
            window(-30.0, 1_200.0),
        ];
        assert_eq!(
            spelled,
            [
                "281k/s",
                "1M",
                "95.2%",
                "12.5ms",
                "20min",
                "1.5×",
                "0",
                "2gb",
                "unknown",
                "T-30s to T+20m"
            ]
        );
    }
}
