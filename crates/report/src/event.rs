//! What happened by itself, read off the curves: breakers that opened, goodput that fell, an origin at its peak.
//!
//! Each is a crossing of a threshold with hysteresis, so that a curve that trembles on the line tells one event and
//! not a hundred; a machine that truly flaps is told in one line with its count.

use seawall_core::record::{Metric, Record};

use crate::Report;
use crate::digest::{goodput_ratio, origins, smoothed};
use crate::phase::Phases;
use crate::wording::{clock, number, percent};

/// The most crossings of one curve that are told one by one.
const FLAPS: usize = 4;

/// One thing that was seen in the record of the first run.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, in seconds of the scenario's clock: the end of the period in which it was seen.
    pub at: f64,
    /// What, in a few words.
    pub what: String,
    /// Whether it is good news.
    pub good: bool,
}

/// What happened in a variant, in the order of the clock.
pub fn events(report: &Report, variant: usize) -> Vec<Event> {
    let Some(record) = report
        .variants
        .get(variant)
        .and_then(|variant| variant.records.first())
    else {
        return Vec::new();
    };
    let phases = Phases::of(report);
    let mut found = Vec::new();
    goodput_events(report, record, &mut found);
    for name in record.components(Metric::BreakerState) {
        let values = record.values(Metric::BreakerState, name, None);
        let words = [
            format!("breaker of {name} opens"),
            format!("breaker of {name} closes"),
        ];
        tell(
            record,
            &crossings(&values, 0.1, 1.0, false),
            &words,
            false,
            &mut found,
        );
    }
    for name in record.components(Metric::ThrottleRatio) {
        throttle_events(record, name, &mut found);
    }
    for name in record.components(Metric::DegradationLevel) {
        level_events(record, name, &mut found);
    }
    for name in record.components(Metric::Instances) {
        let values = record.values(Metric::Instances, name, None);
        instance_events(record, name, &values, &mut found);
    }
    for name in origins(record) {
        origin_events(report, record, name, &phases, &mut found);
    }
    cache_events(record, &phases, &mut found);
    found.retain(|event| event.at >= phases.before.from);
    found.sort_by(|a, b| a.at.total_cmp(&b.at).then_with(|| a.what.cmp(&b.what)));
    found
}

/// Where a curve rises to `high` or falls to `low`: the index and whether it rose. `risen` is how it starts.
fn crossings(values: &[f64], low: f64, high: f64, mut risen: bool) -> Vec<(usize, bool)> {
    let mut found = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let crossed = if risen { *value <= low } else { *value >= high };
        if crossed {
            risen = !risen;
            found.push((index, risen));
        }
    }
    found
}

/// Tells crossings in words (for rising and for falling), or in one line when there are too many.
fn tell(
    record: &Record,
    found: &[(usize, bool)],
    words: &[String; 2],
    rising_is_good: bool,
    into: &mut Vec<Event>,
) {
    let [rises, falls] = words;
    if let ([(first, up), .., (last, _)], true) = (found, found.len() > FLAPS) {
        let times = found.iter().filter(|(_, rose)| rose == up).count();
        let what = if *up { rises } else { falls };
        let until = clock(record.clock(*last));
        into.push(Event {
            at: record.clock(*first),
            what: format!("{what}, {times} times until {until}"),
            good: *up == rising_is_good,
        });
        return;
    }
    into.extend(found.iter().map(|(index, rose)| Event {
        at: record.clock(*index),
        what: if *rose { rises.clone() } else { falls.clone() },
        good: *rose == rising_is_good,
    }));
}

fn goodput_events(report: &Report, record: &Record, into: &mut Vec<Event>) {
    let ratio = goodput_ratio(report, record);
    let found = crossings(&ratio, 0.5, 0.95, true);
    let words = [
        "goodput is back above 95%".to_owned(),
        "goodput falls below 50%".to_owned(),
    ];
    tell(record, &found, &words, true, into);
    if !found.is_empty() {
        return;
    }
    let smooth = smoothed(&ratio);
    let words = [
        "goodput is back above 98%".to_owned(),
        "goodput falls below 90%".to_owned(),
    ];
    tell(record, &crossings(&smooth, 0.9, 0.98, true), &words, true, into);
}

fn throttle_events(record: &Record, name: &str, into: &mut Vec<Event>) {
    let values = record.values(Metric::ThrottleRatio, name, None);
    let found = crossings(&values, 0.97, 0.999, true);
    let words = [
        format!("throttle of {name} is fully open again"),
        format!("throttle of {name} begins to close"),
    ];
    tell(record, &found, &words, true, into);
    let lowest = values.iter().enumerate().filter(|(_, value)| value.is_finite());
    if let Some((index, value)) = lowest.min_by(|a, b| a.1.total_cmp(b.1))
        && *value < 0.97
    {
        into.push(Event {
            at: record.clock(index),
            what: format!("throttle of {name} at its tightest: admits {}", percent(*value)),
            good: false,
        });
    }
}

fn level_events(record: &Record, name: &str, into: &mut Vec<Event>) {
    let values = record.values(Metric::DegradationLevel, name, None);
    let mut level = 0.0_f64;
    let mut found = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if value.is_finite() && (value - level).abs() > 0.5 {
            found.push(Event {
                at: record.clock(index),
                what: format!(
                    "degradation of {name}: level {} to {}",
                    number(level),
                    number(*value)
                ),
                good: *value < level,
            });
            level = *value;
        }
    }
    found.truncate(2 * FLAPS);
    into.extend(found);
}

fn instance_events(record: &Record, name: &str, values: &[f64], into: &mut Vec<Event>) {
    let Some(full) = values.first().copied().filter(|full| *full > 0.0) else {
        return;
    };
    let found = crossings(values, full - 0.5, full, true);
    let words = [
        format!("all of {name} is up again"),
        if values.contains(&0.0) {
            format!("{name} is down")
        } else {
            format!("{name} has lost instances")
        },
    ];
    tell(record, &found, &words, true, into);
    let most = values.iter().copied().fold(full, f64::max);
    if most > full
        && let Some(index) = values.iter().position(|value| *value >= most)
    {
        into.push(Event {
            at: record.clock(index),
            what: format!("{name} has grown from {} to {}", number(full), number(most)),
            good: true,
        });
    }
}

fn origin_events(report: &Report, record: &Record, name: &str, phases: &Phases, into: &mut Vec<Event>) {
    let seconds = record.period.as_secs_f64();
    let load: Vec<f64> = record
        .values(Metric::OriginRequests, name, None)
        .iter()
        .map(|value| value / seconds)
        .collect();
    let capacity = report.capacity_of(name);
    let range = record.window(phases.during.from, f64::INFINITY);
    let normal = record.window(phases.before.from, phases.before.to);
    let calm = normal.clone().filter_map(|index| load.get(index)).sum::<f64>() / normal.len() as f64;
    let highest = range
        .clone()
        .filter_map(|index| load.get(index).copied())
        .fold(f64::NAN, f64::max);
    // On a plateau noise alone would decide which period is the highest: the first that is about as high is told.
    let peak = range
        .into_iter()
        .find(|index| load.get(*index).is_some_and(|value| *value >= 0.98 * highest));
    if let (Some(index), value) = (peak, highest)
        && (value >= 1.5 * calm || calm.is_nan())
        && value > 0.0
    {
        let share = capacity.map_or(String::new(), |capacity| {
            format!(", {} of capacity", percent(value / capacity))
        });
        into.push(Event {
            at: record.clock(index),
            what: format!("load on {name} peaks at {}/s{share}", number(value)),
            good: false,
        });
    }
    if let Some(capacity) = capacity {
        let words = [
            format!("load on {name} exceeds its capacity"),
            format!("load on {name} is within capacity again"),
        ];
        tell(
            record,
            &crossings(&load, 0.95 * capacity, capacity, false),
            &words,
            false,
            into,
        );
    }
}

fn cache_events(record: &Record, phases: &Phases, into: &mut Vec<Event>) {
    for name in record.components(Metric::CacheHitRate) {
        let before = record.ratio(
            Metric::CacheHitRate,
            name,
            record.window(phases.before.from, phases.before.to),
        );
        if before.is_nan() || before < 0.05 {
            continue;
        }
        let values = smoothed(&record.values(Metric::CacheHitRate, name, None));
        let range = record.window(phases.during.from, f64::INFINITY);
        let skipped = range.start;
        let found: Vec<(usize, bool)> = crossings(
            values.get(range).unwrap_or(&[]),
            0.6 * before,
            0.95 * before,
            true,
        )
        .into_iter()
        .map(|(index, rose)| (index + skipped, rose))
        .collect();
        let words = [
            format!("hit rate of {name} is back near {}", percent(before)),
            format!("hit rate of {name} falls far below {}", percent(before)),
        ];
        tell(record, &found, &words, true, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trembling_curve_crosses_once() {
        assert_eq!(
            crossings(&[0.0, 1.0, 0.9, 1.0, 0.5, 0.0], 0.1, 1.0, false),
            [(1, true), (5, false)]
        );
        assert_eq!(crossings(&[f64::NAN, 1.0], 0.1, 1.0, false), [(1, true)]);
    }

    #[test]
    fn a_flapping_machine_is_one_line() {
        let record = Record::new(
            seawall_core::time::Span::secs(1),
            seawall_core::time::Span::ZERO,
            20,
        );
        let found: Vec<(usize, bool)> = (0..20).map(|index| (index, index % 2 == 0)).collect();
        let mut events = Vec::new();
        tell(
            &record,
            &found,
            &["opens".into(), "closes".into()],
            false,
            &mut events,
        );
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].what, "opens, 10 times until 20s");
    }
}
