//! Numbers as evidence tells them: short, and with as many digits as anybody reads.

/// A share, as in `43%`.
pub(super) fn share(value: f64) -> String {
    // The sum of nothing is −0, which nobody wants to read.
    let percent = value * 100.0 + 0.0;
    if percent > 0.0 && percent < 1.0 {
        return format!("{percent:.1}%");
    }
    format!("{percent:.0}%")
}

/// A length of time in seconds, as in `0.4 ms`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        value if value < 0.000_95 => format!("{:.0} µs", value * 1e6),
        value if value < 0.01 => format!("{:.1} ms", value * 1e3),
        value if value < 1.0 => format!("{:.0} ms", value * 1e3),
        value if value < 120.0 => format!("{value:.1} s"),
        value => format!("{:.0} min", value / 60.0),
    }
}

/// So many a second, or so many at all.
pub(super) fn count(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// So many times as much.
pub(super) fn times(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0} times")
    } else {
        format!("{value:.1} times")
    }
}

/// A number that may be missing, told by `tell`.
pub(super) fn or_unknown(value: Option<f64>, tell: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "unknown".to_owned(), tell)
}
