//! Two drills beside each other: per phase and measure, what changed, and whether it is more than noise.
//!
//! Whether it is more is asked of the periods of the phase by the rank-sum test (Wilcoxon 1945; Mann & Whitney 1947), which
//! assumes no law of latencies and is not moved by one bad second. It knows how much a run varies within itself. It does not
//! know how much one run differs from the next for reasons of the machine: that takes several runs.

use seawall_core::record::{Metric, Record};

use crate::kept::{Drilled, Kept};
use crate::verdict::{Measure, Phase};

/// What a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// For the better, and more than noise.
    Better,
    /// For the worse, and more than noise.
    Worse,
    /// More than noise, and neither good nor bad by itself.
    Other,
    /// It may be noise.
    Noise,
    /// There is too little of it to say.
    Unknown,
}

/// One measure in one phase, in both drills.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The variant of the first drill.
    pub first: String,
    /// The variant of the second.
    pub second: String,
    /// The phase, as the first drill has it.
    pub phase: Phase,
    /// What.
    pub measure: Measure,
    /// Of which component.
    pub of: String,
    /// In the first, a second or in seconds.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// What the change is.
    pub sort: Sort,
}

/// Fewer periods say nothing.
const PERIODS_MIN: usize = 4;
/// By chance alone, a difference is called one in one of a hundred cases.
const Z: f64 = 2.576;
/// What changes by less is no change that anybody has to know, as a share of the larger.
const CHANGE_MIN: f64 = 0.05;

/// What is different between two drills. Variants of one name are held against each other; when each drill has but one
/// variant, those are.
pub fn compare(first: &Kept, second: &Kept) -> Vec<Change> {
    let pairs: Vec<(&Drilled, &Drilled)> = match (first.variants.as_slice(), second.variants.as_slice()) {
        ([one], [other]) => vec![(one, other)],
        (ones, others) => ones
            .iter()
            .filter_map(|one| Some((one, others.iter().find(|other| other.variant == one.variant)?)))
            .collect(),
    };
    pairs
        .into_iter()
        .flat_map(|(one, other)| changes(one, other))
        .collect()
}

fn changes(first: &Drilled, second: &Drilled) -> Vec<Change> {
    let (before, after) = (first.measured.record(), second.measured.record());
    let (ends, ends_after) = (end(first, &before), end(second, &after));
    let mut changes = Vec::new();
    for (place, phase) in first.phases.iter().enumerate() {
        // The second may have been drilled in another time.
        let other = second
            .phases
            .get(place)
            .filter(|other| other.name == phase.name)
            .unwrap_or(phase);
        for (measure, of) in asked(first, &before) {
            let one = samples(&before, measure, &of, phase, ends);
            let two = samples(&after, measure, &of, other, ends_after);
            if one.is_empty() && two.is_empty() {
                continue;
            }
            changes.push(Change {
                first: first.variant.clone(),
                second: second.variant.clone(),
                phase: phase.clone(),
                measure,
                before: typical(measure, &one),
                after: typical(measure, &two),
                sort: sort(measure, &one, &two),
                of,
            });
        }
    }
    changes
}

/// Clients and origins, with what is asked of them.
fn asked(drilled: &Drilled, record: &Record) -> Vec<(Measure, String)> {
    let mut asked = Vec::new();
    for client in &drilled.clients {
        for measure in [Measure::Goodput, Measure::P50, Measure::P99] {
            asked.push((measure, client.name.clone()));
        }
    }
    for origin in record.components(Metric::OriginRequests) {
        asked.push((Measure::OriginLoad, origin.to_owned()));
    }
    asked
}

/// When a drill ended, in seconds of the scenario's clock: one that was aborted has periods in which nobody called any more.
fn end(drilled: &Drilled, record: &Record) -> f64 {
    let asked = |period: &usize| {
        let mut counts = drilled
            .clients
            .iter()
            .map(|client| record.values(Metric::Requests, &client.name, None));
        counts.any(|values| values.get(*period).is_some_and(|count| *count > 0.0))
    };
    (0..record.periods)
        .rev()
        .find(asked)
        .map_or(f64::NEG_INFINITY, |last| record.clock(last))
}

/// One value a period of the phase.
fn samples(record: &Record, measure: Measure, of: &str, phase: &Phase, end: f64) -> Vec<f64> {
    let (metric, label) = match measure {
        Measure::Goodput => (Metric::Goodput, None),
        Measure::OriginLoad => (Metric::OriginRequests, None),
        Measure::P50 => (Metric::RequestDuration, Some("0.5")),
        Measure::P99 => (Metric::RequestDuration, Some("0.99")),
    };
    let values = record.values(metric, of, label);
    let share = if measure.is_time() {
        1.0
    } else {
        record.period.as_secs_f64()
    };
    let values = values
        .get(record.window(phase.from, phase.to.min(end).max(phase.from)))
        .unwrap_or_default();
    values
        .iter()
        .filter(|value| value.is_finite())
        .map(|value| value / share)
        .collect()
}

/// The mean of rates, the median of times.
fn typical(measure: Measure, values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    if !measure.is_time() {
        return values.iter().sum::<f64>() / values.len() as f64;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn sort(measure: Measure, before: &[f64], after: &[f64]) -> Sort {
    if before.len() < PERIODS_MIN || after.len() < PERIODS_MIN {
        return Sort::Unknown;
    }
    let (one, two) = (typical(measure, before), typical(measure, after));
    let larger = one.abs().max(two.abs());
    if larger <= 0.0 || (two - one).abs() < CHANGE_MIN * larger || rank_sum(before, after).abs() < Z {
        return Sort::Noise;
    }
    let better = match measure {
        Measure::Goodput => two > one,
        Measure::P50 | Measure::P99 => two < one,
        // A database that is asked more may be one that is down no more.
        Measure::OriginLoad => return Sort::Other,
    };
    if better { Sort::Better } else { Sort::Worse }
}

/// How many standard deviations the sum of the ranks of `two` is from where it would be if both were of one kind; ties share
/// their ranks, and the variance is corrected for them.
fn rank_sum(one: &[f64], two: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|value| (*value, false)).collect();
    all.extend(two.iter().map(|value| (*value, true)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut ties, mut start) = (0.0, 0.0, 0);
    while start < all.len() {
        let length = all[start..]
            .iter()
            .take_while(|(value, _)| value.total_cmp(&all[start].0).is_eq())
            .count();
        let rank = start as f64 + f64::midpoint(length as f64, 1.0);
        sum += rank
            * all[start..start + length]
                .iter()
                .filter(|(_, second)| *second)
                .count() as f64;
        let alike = length as f64;
        ties += alike * alike * alike - alike;
        start += length;
    }
    let (m, n) = (one.len() as f64, two.len() as f64);
    let whole = m + n;
    let expected = n * (whole + 1.0) / 2.0;
    let variance = m * n / 12.0 * (whole + 1.0 - ties / (whole * (whole - 1.0)));
    if variance <= 0.0 {
        0.0
    } else {
        (sum - expected) / variance.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::record::Series;
    use seawall_core::time::Span;

    #[test]
    fn ranks_are_those_of_the_book() {
        // Without ties and all of one above all of the other: U = 0, mean 12.5, deviation √(5·5·11/12).
        let z = rank_sum(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]);
        assert!((z - 12.5 / (25.0 * 11.0 / 12.0_f64).sqrt()).abs() < 1e-9, "{z}");
        assert!((rank_sum(&[6.0, 7.0], &[1.0, 2.0]) + rank_sum(&[1.0, 2.0], &[6.0, 7.0])).abs() < 1e-9);
        // All the same: nothing differs.
        assert!(rank_sum(&[1.0; 5], &[1.0; 5]).abs() < 1e-9);
        // One tie of two in eight: the variance is smaller by 6/56.
        let z = rank_sum(&[1.0, 2.0, 3.0, 4.0], &[4.0, 5.0, 6.0, 7.0]);
        let variance = 16.0 / 12.0 * (9.0 - 6.0 / 56.0);
        assert!((z - (25.5 - 18.0) / f64::sqrt(variance)).abs() < 1e-9, "{z}");
    }

    #[test]
    fn an_aborted_drill_is_compared_up_to_its_end() {
        let mut record = Record::new(Span::secs(1), Span::ZERO, 12);
        let counts = |last: usize| {
            (0..12)
                .map(|at| if at < last { 50.0 } else { 0.0 })
                .collect::<Vec<f64>>()
        };
        record.push(Series::new(Metric::Requests, "web", counts(5)).labelled("fresh"));
        record.push(Series::new(Metric::Goodput, "web", counts(5)));
        let phase = Phase {
            name: "before".to_owned(),
            from: 0.0,
            to: 12.0,
        };
        let last = record.clock(4);
        assert_eq!(samples(&record, Measure::Goodput, "web", &phase, last), [50.0; 5]);
        let late = Phase { from: 8.0, ..phase };
        assert!(samples(&record, Measure::Goodput, "web", &late, last).is_empty());
    }

    #[test]
    fn what_a_run_does_by_itself_is_noise() {
        let one: Vec<f64> = (0..20).map(|at| 100.0 + f64::from(at % 7)).collect();
        let two: Vec<f64> = (0..20).map(|at| 100.0 + f64::from((at + 3) % 7)).collect();
        assert_eq!(sort(Measure::Goodput, &one, &two), Sort::Noise);
        // Surely different, and by too little for anybody to mind.
        let more: Vec<f64> = one.iter().map(|value| value * 1.02).collect();
        assert_eq!(sort(Measure::Goodput, &one, &more), Sort::Noise);
        let half: Vec<f64> = one.iter().map(|value| value / 2.0).collect();
        assert_eq!(sort(Measure::Goodput, &one, &half), Sort::Worse);
        assert_eq!(sort(Measure::Goodput, &half, &one), Sort::Better);
        assert_eq!(sort(Measure::P99, &one, &half), Sort::Better);
        assert_eq!(sort(Measure::P50, &half, &one), Sort::Worse);
        assert_eq!(sort(Measure::OriginLoad, &half, &one), Sort::Other);
        assert_eq!(sort(Measure::Goodput, &one[..3], &half), Sort::Unknown);
        // One bad second moves the mean, and no rank but one.
        let mut bad = one.clone();
        bad[3] = 5_000.0;
        assert_eq!(sort(Measure::Goodput, &one, &bad), Sort::Noise);
    }
}
