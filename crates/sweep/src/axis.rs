//! One thing that is varied: a path in the document, and the values it takes.
//!
//! It is spelled `PATH=A..B:N` (N values from A to B at equal distances), `PATH=A..B:N:log` (at equal ratios) or
//! `PATH=a,b,c`. Values are spelled as in the document. Those between A and B are rounded to four significant digits,
//! so that what is played can be typed again.

mod spell;

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use seawall_scenario::Mistake;

pub(crate) use spell::time;

use spell::Quantity;

/// The most values of one axis.
const VALUES_MAX: usize = 10_000;

/// One thing that is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    path: String,
    values: Vec<String>,
    /// As it was typed, for messages.
    typed: String,
    /// Whether the values were made from a range of plain numbers, and may be rounded to whole ones.
    ranged: bool,
}

/// What is wrong with a range, and where in the text it is.
struct Wrong {
    span: Range<usize>,
    message: String,
    label: &'static str,
    help: String,
}

/// A part of the typed text, and where it begins.
#[derive(Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    start: usize,
}

const HOW: &str = "write PATH=A..B:N, such as client.readers.rate=100k/s..2M/s:20, with :log behind it for equal ratios, \
                   or PATH=a,b,c";

impl Axis {
    /// Reads what stands behind `--over`.
    ///
    /// # Errors
    /// When it is no range and no list; the mistake underlines what is wrong and says how to mend it.
    pub fn parse(typed: &str) -> Result<Axis, Box<Mistake>> {
        read(typed).map_err(|wrong| Box::new(mistake(typed, wrong)))
    }

    /// An axis of a path and its values, as an earlier sweep spelled them.
    pub(crate) fn of(path: String, values: Vec<String>) -> Axis {
        Axis {
            typed: format!("{path}={}", values.join(",")),
            path,
            values,
            ranged: false,
        }
    }

    /// The path in the document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The values, spelled as in the document.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// The values as numbers: seconds, per second, bytes, shares of one. Empty when one of them is no number.
    pub fn numbers(&self) -> Vec<f64> {
        let numbers = self
            .values
            .iter()
            .map(|value| spell::read(value).map(Quantity::base));
        numbers.collect::<Result<_, _>>().unwrap_or_default()
    }

    /// The same range in whole numbers, where it is one of plain numbers that were not whole.
    pub(crate) fn rounded(&self) -> Option<Axis> {
        let numbers = self.numbers();
        let is_whole = |value: &f64| (value - value.round()).abs() < 1e-9;
        if !self.ranged || numbers.iter().all(is_whole) {
            return None;
        }
        let values = numbers
            .iter()
            .map(|value| format!("{:.0}", value.round()))
            .collect();
        Some(Axis {
            values,
            ranged: false,
            ..self.clone()
        })
    }

    /// A mistake that underlines the whole axis.
    pub(crate) fn mistake(&self, message: String, label: &'static str, help: String) -> Mistake {
        let span = 0..self.typed.len();
        mistake(
            &self.typed,
            Wrong {
                span,
                message,
                label,
                help,
            },
        )
    }

    /// The first value that is there twice.
    pub(crate) fn twice(&self) -> Option<&str> {
        let later = self.values.iter().enumerate();
        let mut twice = later.filter(|(index, value)| self.values[..*index].contains(value));
        twice.next().map(|(_, value)| value.as_str())
    }
}

fn mistake(typed: &str, wrong: Wrong) -> Mistake {
    Mistake {
        message: wrong.message,
        label: wrong.label.to_owned(),
        help: Some(wrong.help),
        span: wrong.span,
        source: Arc::new(NamedSource::new("--over", typed.to_owned())),
    }
}

fn read(typed: &str) -> Result<Axis, Wrong> {
    let whole = Part {
        text: typed,
        start: 0,
    };
    let Some((path, values)) = whole.split("=") else {
        return Err(whole.wrong("there are no values here", "no `=`", HOW));
    };
    if path.text.trim().is_empty() {
        let at = Part {
            text: typed,
            start: 0,
        };
        return Err(at.wrong("there is no path before the `=`", "no path", HOW));
    }
    if values.text.trim().is_empty() {
        return Err(whole.wrong("there are no values behind the `=`", "no values", HOW));
    }
    let (values, ranged) = match values.split("..") {
        Some((from, rest)) if !values.text.starts_with(['{', '[', '"']) => range(from, rest)?,
        _ => (listed(values)?, false),
    };
    Ok(Axis {
        path: path.text.trim().to_owned(),
        values,
        typed: typed.to_owned(),
        ranged,
    })
}

/// The values of `A..B:N` or `A..B:N:log`, and whether they are plain numbers.
fn range(from: Part<'_>, rest: Part<'_>) -> Result<(Vec<String>, bool), Wrong> {
    let Some((to, rest)) = rest.split(":") else {
        return Err(rest.wrong("how many values?", "no `:N`", HOW));
    };
    let (count, spacing) = match rest.split(":") {
        Some((count, spacing)) => (count, Some(spacing)),
        None => (rest, None),
    };
    let (first, last) = (from.quantity()?, to.quantity()?);
    let Some(last) = last.alike(first) else {
        let message = format!("`{}` and `{}` are numbers of different kinds", from.text, to.text);
        return Err(to.wrong(message, "another unit", "give both ends the same kind of unit"));
    };
    let first = first.alike(last).unwrap_or(first);
    let steps = match count.text.trim().parse::<usize>() {
        Ok(steps) if (2..=VALUES_MAX).contains(&steps) => steps,
        Ok(steps) if steps < 2 => {
            let help = "a range has at least 2; for one value use --set";
            return Err(count.wrong("these are too few values", "too few", help));
        }
        Ok(_) => {
            let help = format!("an axis has at most {VALUES_MAX}");
            return Err(count.wrong("these are too many values", "too many", help));
        }
        Err(_) => return Err(count.wrong("this is not a number of values", "not a whole number", HOW)),
    };
    let by_ratio = match spacing.map(|spacing| (spacing, spacing.text.trim())) {
        None | Some((_, "linear")) => false,
        Some((_, "log")) => true,
        Some((spacing, _)) => {
            return Err(spacing.wrong(
                "there is no such spacing",
                "unknown",
                "write `log`, or leave it out",
            ));
        }
    };
    if by_ratio && (first.base() <= 0.0 || last.base() <= 0.0) {
        let at = if first.base() <= 0.0 { from } else { to };
        let help = "begin above 0, or leave `:log` out";
        return Err(at.wrong("equal ratios do not begin at nothing", "not above 0", help));
    }
    if (first.base() - last.base()).abs() <= f64::EPSILON * last.base().abs() {
        return Err(to.wrong(
            "the range has no length",
            "the same as the beginning",
            "make the ends differ",
        ));
    }
    let (a, b) = (first.base(), last.base());
    let value = |index: usize| {
        let part = index as f64 / (steps - 1) as f64;
        match index {
            0 => first.spelled(a),
            _ if index == steps - 1 => last.spelled(b),
            _ if by_ratio => first
                .wider(last)
                .spelled(spell::rounded(a * libm::pow(b / a, part))),
            _ => first.wider(last).spelled(spell::rounded(a + (b - a) * part)),
        }
    };
    Ok(((0..steps).map(value).collect(), first.is_plain()))
}

/// The values of `a,b,c`; a comma within brackets, braces or quotes is part of a value.
fn listed(values: Part<'_>) -> Result<Vec<String>, Wrong> {
    let (mut depth, mut quoted, mut start) = (0i32, false, 0);
    let mut parts = Vec::new();
    for (index, letter) in values.text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(values.within(start..index));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(values.within(start..values.text.len()));
    if let Some(part) = parts.iter().find(|part| part.text.trim().is_empty()) {
        return Err(part.wrong("a value is missing here", "empty", HOW));
    }
    if parts.len() > VALUES_MAX {
        let help = format!("an axis has at most {VALUES_MAX}");
        return Err(values.wrong("these are too many values", "too many", help));
    }
    Ok(parts.iter().map(|part| part.text.trim().to_owned()).collect())
}

impl<'t> Part<'t> {
    fn within(self, range: Range<usize>) -> Part<'t> {
        Part {
            start: self.start + range.start,
            text: &self.text[range],
        }
    }

    /// What stands before and after the first of a separator.
    fn split(self, by: &str) -> Option<(Part<'t>, Part<'t>)> {
        let at = self.text.find(by)?;
        Some((self.within(0..at), self.within(at + by.len()..self.text.len())))
    }

    fn quantity(self) -> Result<Quantity, Wrong> {
        spell::read(self.text.trim()).map_err(|error| {
            let message = format!("`{}` is not a number: {error}", self.text.trim());
            let help =
                "a range goes from one number to another, such as 10%..90%:9 or 1s..1m:5; a list is a,b,c";
            self.wrong(message, "not a number", help)
        })
    }

    fn wrong(self, message: impl Into<String>, label: &'static str, help: impl Into<String>) -> Wrong {
        Wrong {
            span: self.start..self.start + self.text.len(),
            message: message.into(),
            label,
            help: help.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(typed: &str) -> Vec<String> {
        Axis::parse(typed).expect("a good axis").values
    }

    #[test]
    fn ranges_are_spelled_in_the_units_of_the_document() {
        assert_eq!(values("a=10%..90%:3"), ["10%", "50%", "90%"]);
        assert_eq!(values("a=500k/s..1.5M/s:3"), ["500k/s", "1M/s", "1.5M/s"]);
        assert_eq!(values("a=30s..2m:4"), ["30s", "1m", "90s", "2m"]);
        assert_eq!(values("a=0..1s:3"), ["0s", "500ms", "1s"]);
        assert_eq!(values("a=1gb..4gb:4"), ["1gb", "2gb", "3gb", "4gb"]);
        assert_eq!(values("a=1..7:3"), ["1", "4", "7"]);
        assert_eq!(values("a=0.5..1:3"), ["0.5", "0.75", "1"]);
        assert_eq!(values("a=10k..1M:3:log"), ["10k", "100k", "1M"]);
        assert_eq!(values("a=1..100:4:log"), ["1", "4.642", "21.54", "100"]);
        assert_eq!(values("a=9..1:3"), ["9", "5", "1"]);
    }

    #[test]
    fn lists_are_taken_as_they_are() {
        assert_eq!(values("a=ring, modulo"), ["ring", "modulo"]);
        assert_eq!(
            values(r"a={ zipf = { count = 5, exponent = 1 } },{ uniform = { count = 5 } }"),
            [
                "{ zipf = { count = 5, exponent = 1 } }",
                "{ uniform = { count = 5 } }"
            ]
        );
        assert!(Axis::parse("a=ring,modulo").is_ok_and(|axis| axis.numbers().is_empty()));
        assert_eq!(Axis::parse("a=20%,1s").expect("a list").numbers(), [0.2, 1.0]);
    }

    #[test]
    fn what_is_wrong_is_underlined() {
        let cases = [
            ("rate", "rate", "no `=`"),
            ("=1..2:3", "=1..2:3", "no path"),
            ("a=", "a=", "no values"),
            ("a=1..2", "2", "no `:N`"),
            ("a=1..2:x", "x", "not a whole number"),
            ("a=1..2:1", "1", "too few"),
            ("a=1..2:99999", "99999", "too many"),
            ("a=fast..2:3", "fast", "not a number"),
            ("a=1s..20%:3", "20%", "another unit"),
            ("a=0..1:3:log", "0", "not above 0"),
            ("a=1..2:3:lag", "lag", "unknown"),
            ("a=2..2:3", "2", "the same as the beginning"),
            ("a=1,,2", "", "empty"),
        ];
        for (typed, underlined, label) in cases {
            let mistake = Axis::parse(typed).expect_err(typed);
            assert_eq!(&typed[mistake.span.clone()], underlined, "{typed}");
            assert_eq!(mistake.label, label, "{typed}");
            assert!(mistake.help.is_some_and(|help| !help.is_empty()), "{typed}");
        }
    }

    #[test]
    fn a_range_can_be_rounded_to_whole_numbers() {
        let axis = Axis::parse("a=1..4:3").expect("a range");
        assert_eq!(axis.values, ["1", "2.5", "4"]);
        assert_eq!(axis.rounded().expect("not whole").values, ["1", "3", "4"]);
        assert_eq!(Axis::parse("a=1..4:4").expect("a range").rounded(), None);
        assert_eq!(Axis::parse("a=10%..15%:3").expect("a range").rounded(), None);
    }
}
