//! Numbers and clocks in words short enough for a table.
//!
//! Not a locale: the point is a decimal point, and prefixes are the SI ones that dashboards use.

/// A number in at most three significant digits: `1.23M`, `200k`, `840`, `0.05`; `–` when there is none.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let (divided, prefix) = match size {
        _ if size >= 999.5e6 => (value / 1e9, "G"),
        _ if size >= 999.5e3 => (value / 1e6, "M"),
        _ if size >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{prefix}", significant(divided))
}

/// A share in percent; what is almost all is not written as all.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return "–".to_owned();
    }
    let percent = share * 100.0;
    let text = match percent.abs() {
        p if p >= 99.995 || p == 0.0 => format!("{percent:.0}"),
        p if p >= 99.0 => format!("{percent:.2}"),
        p if p >= 9.95 => format!("{percent:.1}"),
        p if p >= 0.005 => format!("{percent:.2}"),
        _ => return "<0.01%".to_owned(),
    };
    format!("{}%", trimmed(&text))
}

/// A duration in seconds, in the unit that fits: `3.2ms`, `1.5s`, `–`.
pub(crate) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match value {
        v if v >= 120.0 => clock(v),
        v if v >= 0.9995 || v == 0.0 => format!("{}s", significant(v)),
        v if v >= 0.9995e-3 => format!("{}ms", significant(v * 1e3)),
        v => format!("{}µs", significant(v * 1e6)),
    }
}

/// A point on the scenario's clock: `-30s`, `0s`, `12.5s`, `1m05s`, `20m`, `1h02m`.
pub(crate) fn clock(at: f64) -> String {
    let sign = if at < 0.0 { "-" } else { "" };
    let at = at.abs();
    if at < 60.0 {
        return format!("{sign}{}s", trimmed(&format!("{at:.1}")));
    }
    let whole = at.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, seconds) {
        (0, m, 0) => format!("{sign}{m}m"),
        (0, m, s) => format!("{sign}{m}m{s:02}s"),
        (h, 0, 0) => format!("{sign}{h}h"),
        (h, m, 0) => format!("{sign}{h}h{m:02}m"),
        (h, m, s) => format!("{sign}{h}h{m:02}m{s:02}s"),
    }
}

/// A count with its noun.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Names as a person lists them: `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// How wide a text stands in a terminal, in columns; every character that is used here takes one.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text cut to a width, with an ellipsis where something was lost.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The text at the right of a column.
pub(crate) fn right(text: &str, columns: usize) -> String {
    format!("{text:>columns$}")
}

/// The text in lines no wider than `columns`, broken between words; a longer word stands alone.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| width(line));
        if line > 0 && line + 1 + width(word) > columns {
            lines.push(word.to_owned());
        } else if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A number in the shortest form that keeps three significant digits, and all digits left of the point.
fn significant(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 || size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.0995 => 3,
        _ => 4,
    };
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let said: Vec<String> = [
            0.0,
            0.05,
            3.25,
            840.0,
            9_999.0,
            12_500.0,
            200_000.0,
            999_700.0,
            1_234_567.0,
            2e9,
        ]
        .map(number)
        .to_vec();
        assert_eq!(
            said,
            [
                "0", "0.05", "3.25", "840", "10k", "12.5k", "200k", "1M", "1.23M", "2G"
            ]
        );
        assert_eq!(number(f64::NAN), "–");
    }

    #[test]
    fn what_is_almost_all_is_not_all() {
        assert_eq!(percent(0.99951), "99.95%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.031), "3.1%");
        assert_eq!(percent(0.000_001), "<0.01%");
    }

    #[test]
    fn clocks_are_short() {
        let said = [-30.0, 0.0, 12.5, 65.0, 1200.0, 3720.0].map(clock);
        assert_eq!(said, ["-30s", "0s", "12.5s", "1m05s", "20m", "1h02m"]);
        assert_eq!(seconds(0.0032), "3.2ms");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(cut("throttle", 5), "thro…");
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
