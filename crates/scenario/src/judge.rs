//! Judging: whether what was expected was seen, in numbers.
//!
//! A record holds what the whole system did: an engine that simulated a part of it (`scale`) has scaled what it
//! measured before it is judged. Counters are judged as rates per second, ratios as ratios of sums. With several runs,
//! a statistic is judged by its mean over the runs and carries the 95% confidence interval of that mean (Student's t);
//! `reaches`, `never` and `always` must hold in every run.

use seawall_core::record::{Kind, Metric, Record};
use seawall_core::time::Span;

use crate::model::{Bound, Expect, Scenario, Statistic, Wanted, Window};
use crate::numbers::{self, Unit};

/// What became of an expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The sentence that had to be true.
    pub that: String,
    /// Whether it was.
    pub met: bool,
    /// What was seen, with its unit: "281k/s", "after 12s".
    pub seen: String,
    /// What had to be seen: "mean above 280k/s".
    pub wanted: String,
    /// What was measured.
    pub metric: Metric,
    /// Of which component.
    pub of: String,
    /// Over which window, in seconds of the scenario's clock.
    pub over: Window,
    /// The number behind `seen`: the mean over runs; of `reaches`, the seconds that it took (the longest over runs);
    /// `NaN` where there is none.
    pub value: f64,
    /// The 95% confidence interval of `value`, when there are several runs and it is a statistic.
    pub interval: Option<(f64, f64)>,
}

/// By how much a record may miss what is expected and still meet it.
///
/// An expectation is written for a model, which has no noise of its own, and often for a thousand times the calls. What is
/// measured on real servers is a few thousand calls, and a thing that is done at an instant is done within a period or two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Of a ratio, by so much: 0.03 lets 84% pass for "above 85%".
    pub share: f64,
    /// Of anything else, by this part of the bound.
    pub part: f64,
    /// In time, by so many periods; and so many at each end of a window are not looked at for its extremes.
    pub periods: usize,
}

impl Tolerance {
    /// As it is written.
    pub const NONE: Tolerance = Tolerance {
        share: 0.0,
        part: 0.0,
        periods: 0,
    };
    /// What is measured on real servers.
    pub const MEASURED: Tolerance = Tolerance {
        share: 0.03,
        part: 0.05,
        periods: 1,
    };

    fn widen(self, bound: Bound, unit: Unit) -> Bound {
        let by = |value: f64| match unit {
            Unit::Share => self.share,
            _ => self.part * value.abs(),
        };
        match bound {
            Bound::Above(low) => Bound::Above(low - by(low)),
            Bound::Below(high) => Bound::Below(high + by(high)),
            Bound::Between(low, high) => Bound::Between(low - by(low), high + by(high)),
        }
    }
}

impl Scenario {
    /// Judges all expectations by the records of one or more runs of this scenario.
    pub fn judge(&self, records: &[Record]) -> Vec<Judged> {
        self.judge_within(records, Tolerance::NONE)
    }

    /// The same, with so much tolerance.
    pub fn judge_within(&self, records: &[Record], tolerance: Tolerance) -> Vec<Judged> {
        self.expects
            .iter()
            .map(|expect| self.judge_one(expect, records, tolerance))
            .collect()
    }

    fn judge_one(&self, expect: &Expect, records: &[Record], tolerance: Tolerance) -> Judged {
        let of = self.name(expect.of);
        let run = |record| Run {
            record,
            expect,
            of,
            edge: tolerance.periods,
        };
        let runs: Vec<Run<'_>> = records.iter().map(run).collect();
        let extreme = unit(expect.metric, Statistic::Max);
        let verdict = match expect.wanted {
            Wanted::Is(statistic, bound) => {
                let unit = unit(expect.metric, statistic);
                let bound = tolerance.widen(bound, unit);
                let seen = runs.iter().map(|run| run.statistic(statistic, expect.over));
                by_mean(&seen.collect::<Vec<_>>(), bound, unit)
            }
            Wanted::Times { by, of, bound } => {
                let seen = runs
                    .iter()
                    .map(|run| run.statistic(by, expect.over) / run.statistic(by, of));
                by_mean(
                    &seen.collect::<Vec<_>>(),
                    tolerance.widen(bound, Unit::Times),
                    Unit::Times,
                )
            }
            Wanted::Reaches { bound, within, hold } => {
                let late = records.first().map_or(Span::ZERO, |record| record.period);
                let within = within + late.scaled(tolerance.periods as f64);
                by_time(&runs, tolerance.widen(bound, extreme), within, hold)
            }
            // What must never be must not be more easily for being measured.
            Wanted::Never(bound) => by_all(&runs, bound, false, extreme),
            Wanted::Always(bound) => by_all(&runs, tolerance.widen(bound, extreme), true, extreme),
        };
        Judged {
            that: expect.that.clone(),
            met: verdict.met,
            seen: verdict.seen,
            wanted: wanted(expect),
            metric: expect.metric,
            of: of.to_owned(),
            over: expect.over,
            value: verdict.value,
            interval: verdict.interval,
        }
    }
}

struct Verdict {
    met: bool,
    seen: String,
    value: f64,
    interval: Option<(f64, f64)>,
}

impl Verdict {
    fn nothing() -> Verdict {
        Verdict {
            met: false,
            seen: "nothing was recorded".to_owned(),
            value: f64::NAN,
            interval: None,
        }
    }
}

/// What one run says about an expectation.
struct Run<'r> {
    record: &'r Record,
    expect: &'r Expect,
    of: &'r str,
    /// So many periods at each end of a window are not looked at for its extremes.
    edge: usize,
}

impl Run<'_> {
    /// The values of the whole run: counters as rates; empty when nothing was recorded.
    fn values(&self) -> Vec<f64> {
        let Expect {
            metric,
            label,
            instance,
            ..
        } = self.expect;
        let mut values = match instance {
            Some(instance) => self.of_instance(*instance),
            None => self.record.values(*metric, self.of, label.as_deref()),
        };
        if metric.kind() == Kind::Counter {
            // What was never counted did not happen.
            if values.is_empty() {
                values = vec![0.0; self.record.periods];
            }
            let period = self.record.period.as_secs_f64();
            for value in &mut values {
                *value /= period;
            }
        }
        values
    }

    fn of_instance(&self, instance: u32) -> Vec<f64> {
        let Expect { metric, label, .. } = self.expect;
        let label = match metric.kind() {
            Kind::Duration => Some(label.as_deref().unwrap_or("0.99")),
            _ => label.as_deref(),
        };
        let mut sum: Vec<f64> = Vec::new();
        let fits = self.record.series().iter().filter(|series| {
            series.metric == *metric
                && series.component == self.of
                && series.instance == Some(instance)
                && label.is_none_or(|label| series.label.as_deref() == Some(label))
        });
        for series in fits {
            sum.resize(self.record.periods, 0.0);
            for (sum, value) in sum.iter_mut().zip(&series.values) {
                *sum += value;
            }
        }
        sum
    }

    /// The values within a window that are numbers.
    fn within(&self, window: Window) -> Vec<f64> {
        self.in_range(self.record.window(window.from, window.to))
    }

    /// The same without the ends, where there is enough between them.
    fn inside(&self, window: Window) -> Vec<f64> {
        let range = self.record.window(window.from, window.to);
        if range.len() <= 4 * self.edge {
            return self.in_range(range);
        }
        self.in_range(range.start + self.edge..range.end - self.edge)
    }

    fn in_range(&self, range: std::ops::Range<usize>) -> Vec<f64> {
        let values = self.values();
        let values = values.get(range).unwrap_or(&[]);
        values.iter().copied().filter(|value| !value.is_nan()).collect()
    }

    fn statistic(&self, statistic: Statistic, window: Window) -> f64 {
        let metric = self.expect.metric;
        if metric.kind() == Kind::Ratio && statistic == Statistic::Mean {
            return self
                .record
                .ratio(metric, self.of, self.record.window(window.from, window.to));
        }
        let mut values = match statistic {
            Statistic::Max | Statistic::Min => self.inside(window),
            _ => self.within(window),
        };
        let sum: f64 = values.iter().sum();
        if values.is_empty() {
            return f64::NAN;
        }
        match statistic {
            Statistic::Mean => sum / values.len() as f64,
            Statistic::Sum if metric.kind() == Kind::Counter => sum * self.record.period.as_secs_f64(),
            Statistic::Sum => sum,
            Statistic::First => values[0],
            Statistic::Last => values[values.len() - 1],
            Statistic::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Statistic::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Statistic::P50 => quantile(&mut values, 0.5),
            Statistic::P99 => quantile(&mut values, 0.99),
        }
    }

    /// How long after the window's beginning the values come within the bound, and stay for `hold`.
    fn reaches(&self, bound: Bound, hold: Span) -> Option<f64> {
        let values = self.values();
        let window = self.record.window(self.expect.over.from, self.expect.over.to);
        let period = self.record.period.as_secs_f64();
        // A hold of nothing is still one period that holds.
        let periods = libm::ceil(hold.as_secs_f64() / period - 1e-9).max(1.0) as usize;
        let first = window.clone().find(|index| {
            values
                .get(*index..*index + periods)
                .is_some_and(|values| values.iter().all(|value| holds(bound, *value)))
        })?;
        Some((first - window.start) as f64 * period)
    }
}

fn by_mean(seen: &[f64], bound: Bound, unit: Unit) -> Verdict {
    let count = seen.len() as f64;
    let mean = seen.iter().sum::<f64>() / count;
    if mean.is_nan() {
        return Verdict::nothing();
    }
    let interval = (seen.len() > 1).then(|| {
        let spread = seen
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum::<f64>()
            / (count - 1.0);
        let half = student(seen.len() - 1) * libm::sqrt(spread / count);
        (mean - half, mean + half)
    });
    let seen = match interval {
        Some((low, high)) => format!(
            "{} ({} to {})",
            numbers::spell(mean, unit),
            numbers::spell(low, unit),
            numbers::spell(high, unit)
        ),
        None => numbers::spell(mean, unit),
    };
    Verdict {
        met: holds(bound, mean),
        seen,
        value: mean,
        interval,
    }
}

fn by_time(runs: &[Run<'_>], bound: Bound, within: Span, hold: Span) -> Verdict {
    let times: Option<Vec<f64>> = runs.iter().map(|run| run.reaches(bound, hold)).collect();
    let longest = times.map(|times| times.into_iter().fold(0.0, f64::max));
    match longest {
        Some(longest) if !runs.is_empty() => Verdict {
            met: longest <= within.as_secs_f64() + 1e-9,
            seen: format!("after {}", numbers::spell(longest, Unit::Seconds)),
            value: longest,
            interval: None,
        },
        _ => Verdict {
            seen: "not in this window".to_owned(),
            ..Verdict::nothing()
        },
    }
}

/// `wanted` is whether values are to lie within the bound, or not to.
fn by_all(runs: &[Run<'_>], bound: Bound, wanted: bool, unit: Unit) -> Verdict {
    let values: Vec<f64> = runs.iter().flat_map(|run| run.inside(run.expect.over)).collect();
    if values.is_empty() {
        return Verdict::nothing();
    }
    let wrong = values
        .iter()
        .filter(|value| holds(bound, **value) != wanted)
        .count();
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    // The one that came nearest to breaking it, or broke it most.
    let worst = match (bound, wanted) {
        (Bound::Above(_), true) | (Bound::Below(_), false) => low,
        (Bound::Between(from, _), _) if low < from => low,
        _ => high,
    };
    let seen = if wrong == 0 {
        format!("{} to {}", numbers::spell(low, unit), numbers::spell(high, unit))
    } else {
        let share = wrong as f64 / values.len() as f64;
        format!(
            "{} at worst; not so in {} of the periods",
            numbers::spell(worst, unit),
            numbers::spell(share, Unit::Share)
        )
    };
    Verdict {
        met: wrong == 0,
        seen,
        value: worst,
        interval: None,
    }
}

fn holds(bound: Bound, value: f64) -> bool {
    match bound {
        Bound::Above(low) => value > low,
        Bound::Below(high) => value < high,
        Bound::Between(low, high) => (low..=high).contains(&value),
    }
}

/// The unit in which a statistic of a metric is spelled.
fn unit(metric: Metric, statistic: Statistic) -> Unit {
    match metric.kind() {
        Kind::Counter if statistic == Statistic::Sum => Unit::Count,
        Kind::Counter => Unit::PerSecond,
        Kind::Ratio => Unit::Share,
        Kind::Duration => Unit::Seconds,
        Kind::Gauge if metric == Metric::ThrottleRatio => Unit::Share,
        Kind::Gauge => Unit::Count,
    }
}

/// What is wanted, in words.
fn wanted(expect: &Expect) -> String {
    let spelled = |bound: Bound, unit: Unit| match bound {
        Bound::Above(low) => format!("above {}", numbers::spell(low, unit)),
        Bound::Below(high) => format!("below {}", numbers::spell(high, unit)),
        Bound::Between(low, high) => {
            format!(
                "between {} and {}",
                numbers::spell(low, unit),
                numbers::spell(high, unit)
            )
        }
    };
    let of_metric = |statistic| unit(expect.metric, statistic);
    match expect.wanted {
        Wanted::Is(statistic, bound) => {
            format!("{} {}", statistic.word(), spelled(bound, of_metric(statistic)))
        }
        Wanted::Times { by, of, bound } => format!(
            "{} {} that of {}",
            by.word(),
            spelled(bound, Unit::Times),
            numbers::window(of.from, of.to)
        ),
        Wanted::Reaches { bound, within, hold } => {
            let stays = if hold.is_zero() {
                String::new()
            } else {
                format!(", for {hold}")
            };
            format!(
                "{} within {within}{stays}",
                spelled(bound, of_metric(Statistic::Max))
            )
        }
        Wanted::Never(bound) => format!("never {}", spelled(bound, of_metric(Statistic::Max))),
        Wanted::Always(bound) => format!("always {}", spelled(bound, of_metric(Statistic::Max))),
    }
}

impl Statistic {
    /// Its word in the document.
    pub fn word(self) -> &'static str {
        match self {
            Statistic::Mean => "mean",
            Statistic::Max => "max",
            Statistic::Min => "min",
            Statistic::First => "first",
            Statistic::Last => "last",
            Statistic::Sum => "sum",
            Statistic::P50 => "p50",
            Statistic::P99 => "p99",
        }
    }
}

/// The smallest value that at least this share of the values does not exceed.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = libm::ceil(share * values.len() as f64) as usize;
    values[rank.clamp(1, values.len()) - 1]
}

/// The 97.5th percentile of Student's t with this many degrees of freedom.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    let table = TABLE.get(freedom.saturating_sub(1)).copied();
    // Beyond the table the first terms of Cornish and Fisher's expansion are exact to three digits.
    table
        .unwrap_or_else(|| 1.959_964 + 2.372_271 / freedom as f64 + 2.822 / (freedom as f64 * freedom as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use seawall_core::record::Series;

    fn judged(expectation: &str, records: &[Record]) -> Judged {
        judged_within(expectation, records, Tolerance::NONE)
    }

    fn judged_within(expectation: &str, records: &[Record], tolerance: Tolerance) -> Judged {
        let text = format!(
            "[run]\nduration = \"10s\"\n[client.web]\ncalls = \"app\"\nrate = \"1/s\"\nkeys = {{ uniform = 1 }}\n\
             [service.app]\ncaches = [\"redis\"]\n[cache.redis]\nnodes = 2\n[[expect]]\nthat = \"x\"\n{expectation}\n"
        );
        let document = Document::parse("x", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
        let scenario = document.scenario(crate::AS_WRITTEN, &[]).unwrap();
        scenario.judge_within(records, tolerance).remove(0)
    }

    fn record(hits: [f64; 10]) -> Record {
        let mut record = Record::new(Span::millis(500), Span::ZERO, 20);
        let doubled: Vec<f64> = hits.iter().flat_map(|hit| [*hit, *hit]).collect();
        record.push(Series::new(Metric::CacheHits, "redis", doubled.clone()));
        record.push(Series::new(Metric::CacheMisses, "redis", vec![10.0; 20]));
        record.push(Series::new(Metric::CacheEntries, "redis", doubled).of_instance(1));
        record
    }

    const HITS: [f64; 10] = [90.0, 90.0, 0.0, 0.0, 10.0, 30.0, 90.0, 0.0, 90.0, 90.0];

    #[test]
    fn counters_are_rates_and_ratios_are_of_sums() {
        let record = record(HITS);
        let of = |what: &str| judged(what, std::slice::from_ref(&record));
        let hits = "metric = \"cache_hits_total\"\nof = \"redis\"\n";
        let mean = of(&format!(
            "{hits}over = [\"0s\", \"4s\"]\nmean = {{ between = [\"90/s\", \"90/s\"] }}"
        ));
        assert!(mean.met, "{mean:?}");
        assert_eq!(mean.seen, "90/s");
        let sum = of(&format!("{hits}over = [\"0s\", \"2s\"]\nsum = {{ above = 400 }}"));
        assert!(!sum.met);
        assert_eq!((sum.seen.as_str(), sum.wanted.as_str()), ("360", "sum above 400"));
        let rate = "metric = \"cache_hit_rate\"\nof = \"redis\"\n";
        let ratio = of(&format!(
            "{rate}over = [\"0s\", \"4s\"]\nmean = {{ above = \"81%\" }}"
        ));
        assert!(
            ratio.met && (ratio.value - 180.0 / 220.0).abs() < 1e-12,
            "{ratio:?}"
        );
    }

    #[test]
    fn reaching_means_staying() {
        let record = record(HITS);
        let of = |what: &str| judged(what, std::slice::from_ref(&record));
        let hits = "metric = \"cache_hits_total\"\nof = \"redis\"\nover = [\"2s\", \"10s\"]\n";
        let touch = of(&format!(
            "{hits}reaches = {{ above = \"100/s\", within = \"4s\" }}"
        ));
        assert!(touch.met && touch.seen == "after 4s", "{touch:?}");
        let stay = of(&format!(
            "{hits}reaches = {{ above = \"100/s\", within = \"4s\", hold = \"2s\" }}"
        ));
        assert!(!stay.met && stay.seen == "after 6s", "{stay:?}");
        let never = of(&format!("{hits}reaches = {{ above = \"1k/s\" }}"));
        assert!(!never.met && never.value.is_nan());
    }

    #[test]
    fn always_never_times_and_instances() {
        let record = record(HITS);
        let of = |what: &str| judged(what, std::slice::from_ref(&record));
        let hits = "metric = \"cache_hits_total\"\nof = \"redis\"\n";
        assert!(
            of(&format!(
                "{hits}over = [\"0s\", \"2s\"]\nalways = {{ above = \"100/s\" }}"
            ))
            .met
        );
        let never = of(&format!("{hits}never = {{ below = \"1/s\" }}"));
        assert!(!never.met && never.value == 0.0, "{never:?}");
        let times = of(&format!(
            "{hits}over = [\"4s\", \"6s\"]\ntimes = {{ of = [\"0s\", \"2s\"], below = 0.25 }}"
        ));
        assert!(times.met && times.seen == "0.222×", "{times:?}");
        let node = "metric = \"cache_entries\"\nof = \"redis\"\n";
        assert!(
            of(&format!(
                "{node}instance = 1\nat = \"5s\"\nlast = {{ between = [30, 30] }}"
            ))
            .met
        );
        let other = of(&format!("{node}instance = 0\nmax = {{ below = 1 }}"));
        assert!(!other.met && other.seen == "nothing was recorded");
        let shed = of("metric = \"shed_total\"\nof = \"app\"\nnever = { above = 0 }");
        assert!(shed.met, "what was never counted did not happen");
    }

    #[test]
    fn what_is_measured_may_miss_a_little() {
        // 84 of 100 look-ups are hits throughout, but at each end.
        let records = [record([0.0, 52.5, 52.5, 52.5, 52.5, 52.5, 52.5, 52.5, 52.5, 0.0])];
        let met = |expectation: &str, tolerance| judged_within(expectation, &records, tolerance).met;
        let ratio = "metric = \"cache_hit_rate\"\nof = \"redis\"\nover = [\"1s\", \"9s\"]\nmean = ";
        for (bound, exactly, measured) in [
            ("{ above = 0.86 }", false, true),
            ("{ above = 0.88 }", false, false),
        ] {
            let text = format!("{ratio}{bound}");
            assert_eq!(met(&text, Tolerance::NONE), exactly, "{bound}");
            assert_eq!(met(&text, Tolerance::MEASURED), measured, "{bound}");
        }
        let lowest = "metric = \"cache_hits_total\"\nof = \"redis\"\nover = [\"0.5s\", \"9.5s\"]\nmin = { above = 100 }";
        assert!(!met(lowest, Tolerance::NONE));
        assert!(
            met(lowest, Tolerance::MEASURED),
            "the ends of a window are not looked at for extremes"
        );
    }

    #[test]
    fn several_runs_carry_an_interval() {
        let records = [record(HITS), record([0.0; 10]), record([45.0; 10])];
        let judged = judged(
            "metric = \"cache_hits_total\"\nof = \"redis\"\nat = \"0s\"\nmean = { above = \"89/s\" }",
            &records,
        );
        assert!(judged.met);
        let (low, high) = judged.interval.unwrap();
        assert!((high - judged.value - 4.303 * 90.0 / 3.0_f64.sqrt()).abs() < 0.01 && low < 0.0);
    }
}
