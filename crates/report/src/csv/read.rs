//! Series as they were written, read again.

use std::collections::BTreeMap;
use std::io::{self, Write};

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;

use super::{HEADER, field, metric_name};

/// So many values at the most, of all series together.
const VALUES_MAX: usize = 20_000_000;

/// Why a file of series cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins otherwise.
    #[error("the first line is not `{HEADER}`: it is no file of `simulate --series`")]
    Header,
    /// A line is not as it should be.
    #[error("line {line}: {what}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// There are not two periods.
    #[error("a record needs two periods at least")]
    Short,
    /// There is no such variant or run.
    #[error("there is no variant `{wanted}` in it; it has {there}")]
    Variant {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
}

/// Writes one record, as the variant `name`.
///
/// # Errors
/// What `out` refuses.
pub fn record_csv(name: &str, record: &Record, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for series in record.series() {
        let instance = series
            .instance
            .map(|instance| instance.to_string())
            .unwrap_or_default();
        let (metric, component) = (field(&metric_name(series)), field(&series.component));
        for (at, value) in series.values.iter().enumerate() {
            let time = record.clock(at);
            let value = if value.is_finite() {
                value.to_string()
            } else {
                String::new()
            };
            writeln!(
                out,
                "{},0,{time},{metric},{component},{instance},{value}",
                field(name)
            )?;
        }
    }
    Ok(())
}

/// Reads the first run of a variant (of the first one, without a name).
///
/// # Errors
/// With the line, when the file is not as [`series_csv`](super::series_csv) writes it.
pub fn read_csv(text: &str, variant: Option<&str>) -> Result<Record, Unreadable> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line.trim_end()) != Some(HEADER) {
        return Err(Unreadable::Header);
    }
    let mut wanted: Option<String> = variant.map(str::to_owned);
    let mut there: Vec<String> = Vec::new();
    let mut gathered: Vec<(Series, Vec<f64>)> = Vec::new();
    let mut places: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let mut count = 0;
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: &str| Unreadable::Line {
            line: at + 1,
            what: what.to_owned(),
        };
        let fields = split(line).ok_or_else(|| wrong("a quote is not closed"))?;
        let [of, run, time, metric, component, instance, value] = fields.as_slice() else {
            return Err(wrong("it has not seven fields"));
        };
        if !there.contains(of) {
            there.push(of.clone());
        }
        let wanted = wanted.get_or_insert_with(|| of.clone());
        if of != wanted || run != "0" {
            continue;
        }
        let (name, label) = named(metric);
        let Some(known) = Metric::from_name(name) else {
            continue;
        };
        if known.kind() == Kind::Ratio {
            continue;
        }
        let time: f64 = time.parse().map_err(|_| wrong("the time is no number"))?;
        let value: f64 = if value.is_empty() {
            f64::NAN
        } else {
            value.parse().map_err(|_| wrong("the value is no number"))?
        };
        count += 1;
        if count > VALUES_MAX {
            return Err(wrong(
                "there are too many values; write longer periods (`--every 5s`)",
            ));
        }
        let key = (metric.clone(), component.clone(), instance.clone());
        let place = *places.entry(key).or_insert(gathered.len());
        if place == gathered.len() {
            let mut series = Series::new(known, component, Vec::new());
            series.instance = match instance.as_str() {
                "" => None,
                number => Some(number.parse().map_err(|_| wrong("the instance is no number"))?),
            };
            series.label = label.map(str::to_owned);
            gathered.push((series, Vec::new()));
        }
        gathered[place].0.values.push(value);
        gathered[place].1.push(time);
    }
    if let Some(wanted) = wanted.filter(|wanted| !there.contains(wanted)) {
        let there = there.join(", ");
        return Err(Unreadable::Variant { wanted, there });
    }
    made(gathered)
}

fn made(gathered: Vec<(Series, Vec<f64>)>) -> Result<Record, Unreadable> {
    let times = gathered
        .iter()
        .map(|(_, times)| times)
        .max_by_key(|times| times.len());
    let times = times
        .filter(|times| times.len() >= 2)
        .ok_or(Unreadable::Short)?
        .clone();
    let period = times[1] - times[0];
    if period <= 0.0 {
        return Err(Unreadable::Short);
    }
    let origin = (period - times[0]).max(0.0);
    let mut record = Record::new(
        Span::from_secs_f64(period),
        Span::from_secs_f64(origin),
        times.len(),
    );
    for (mut series, own) in gathered {
        if series.values.len() != times.len() {
            // It began later, or was not told of now and then.
            let nothing = if series.metric.kind() == Kind::Counter {
                0.0
            } else {
                f64::NAN
            };
            let mut values = vec![nothing; times.len()];
            for (time, value) in own.iter().zip(&series.values) {
                let at = ((time - times[0]) / period).round();
                if at >= 0.0 && (at as usize) < values.len() {
                    values[at as usize] = *value;
                }
            }
            series.values = values;
        }
        record.push(series);
    }
    Ok(record)
}

/// `requests_total{outcome="fresh"}` is a name and a label.
fn named(metric: &str) -> (&str, Option<&str>) {
    let Some((name, rest)) = metric.split_once('{') else {
        return (metric, None);
    };
    let label = rest
        .split_once("=\"")
        .map(|(_, label)| label.trim_end_matches("\"}"));
    (name, label)
}

/// The fields of a line (RFC 4180, without line breaks in fields).
fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut chars = line.trim_end_matches('\r').chars().peekable();
    loop {
        let mut field = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' if chars.peek() == Some(&'"') => {
                        chars.next();
                        field.push('"');
                    }
                    '"' => break,
                    other => field.push(other),
                }
            }
        } else {
            while let Some(next) = chars.next_if(|next| *next != ',') {
                field.push(next);
            }
        }
        fields.push(field);
        match chars.next() {
            Some(',') => {}
            Some(_) => return None,
            None => return Some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::new(Span::millis(500), Span::secs(1), 4);
        record
            .push(Series::new(Metric::Requests, "web, \"shop\"", vec![1.0, 2.0, 3.0, 4.0]).labelled("fresh"));
        record.push(Series::new(Metric::CacheUptime, "redis", vec![f64::NAN, 1.5, 2.0, 2.5]).of_instance(3));
        record
    }

    #[test]
    fn what_was_written_is_read() {
        let mut text = Vec::new();
        record_csv("it", &record(), &mut text).expect("memory takes it");
        let read = read_csv(&String::from_utf8(text).expect("it is text"), None).expect("it is right");
        assert_eq!(
            (read.period, read.origin, read.periods),
            (Span::millis(500), Span::secs(1), 4)
        );
        let (series, of) = (read.series(), record());
        for (one, other) in series.iter().zip(of.series()) {
            assert_eq!(
                (one.metric, &one.component, one.instance),
                (other.metric, &other.component, other.instance)
            );
            assert_eq!(one.label, other.label);
            let same = one
                .values
                .iter()
                .zip(&other.values)
                .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
            assert!(same, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(read_csv("a,b\n", None), Err(Unreadable::Header));
        let with = |line: &str| read_csv(&format!("{HEADER}\n{line}\n"), None);
        assert!(matches!(
            with("a,0,1,requests_total"),
            Err(Unreadable::Line { line: 2, .. })
        ));
        assert!(matches!(
            with("a,0,soon,requests_total,web,,1"),
            Err(Unreadable::Line { line: 2, .. })
        ));
        assert_eq!(with("a,0,1,requests_total,web,,1"), Err(Unreadable::Short));
        let two = format!("{HEADER}\na,0,1,requests_total,web,,1\na,0,2,requests_total,web,,1\n");
        assert!(matches!(
            read_csv(&two, Some("b")),
            Err(Unreadable::Variant { .. })
        ));
        assert!(read_csv(&two, Some("a")).is_ok());
    }
}
