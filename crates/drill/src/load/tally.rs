//! What was counted and measured: over the whole run, and period by period as the simulator has it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram as Hdr;
use seawall_core::histogram::Histogram;
use seawall_core::record::{Ending, Metric, QUANTILES, Record, Series};
use seawall_core::time::{Span, Time};

use super::attempts::{Detail, Ended};
use super::{Progress, Report, Settings};

/// Periods whose latencies are still being gathered. What ends is reported a little out of order.
const OPEN: usize = 4;

/// Different reasons of failures that are told apart; others are counted as `other`.
const REASONS_MAX: usize = 32;

/// Wrong answers of which the key is kept.
const EXAMPLES_MAX: usize = 16;

/// No time is longer: an hour.
const LONGEST: u64 = 3_600_000_000_000;

#[derive(Debug)]
pub(crate) struct Tally {
    period: Span,
    /// As many as fit into the duration.
    periods_max: usize,
    periods: Vec<Period>,
    /// Periods before this one are closed.
    closed: usize,
    totals: [u64; 6],
    retries: u64,
    overruns: u64,
    failures: BTreeMap<String, u64>,
    wrongs: BTreeMap<&'static str, u64>,
    examples: Vec<u64>,
    latency: Hdr<u64>,
    good_latency: Hdr<u64>,
    lag: Hdr<u64>,
    staleness: Hdr<u64>,
}

#[derive(Debug, Default)]
struct Period {
    endings: [u64; 6],
    retries: u64,
    /// There while the period is open.
    latency: Option<Box<Histogram>>,
    quantiles: [f64; QUANTILES.len()],
}

/// A histogram that is exact to a thousandth.
fn hdr() -> Hdr<u64> {
    Hdr::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order")
}

impl Tally {
    pub(crate) fn new(settings: &Settings) -> Tally {
        let period = settings.period.max(Span::millis(1));
        let periods = settings.duration.as_nanos().div_ceil(period.as_nanos()).max(1);
        Tally {
            period,
            periods_max: usize::try_from(periods).unwrap_or(usize::MAX).min(PERIODS_MAX),
            periods: Vec::new(),
            closed: 0,
            totals: [0; 6],
            retries: 0,
            overruns: 0,
            failures: BTreeMap::new(),
            wrongs: BTreeMap::new(),
            examples: Vec::new(),
            latency: hdr(),
            good_latency: hdr(),
            lag: hdr(),
            staleness: hdr(),
        }
    }

    /// The period of an instant; nothing when it is after the run.
    fn period(&mut self, at: Time) -> Option<&mut Period> {
        let index = (at.as_nanos() / self.period.as_nanos()) as usize;
        if index >= self.periods_max {
            return None;
        }
        while self.periods.len() <= index {
            self.periods.push(Period {
                latency: Some(Box::default()),
                ..Period::default()
            });
        }
        while self.closed + OPEN < self.periods.len() {
            self.periods[self.closed].close();
            self.closed += 1;
        }
        let index = index.max(self.closed);
        self.periods.get_mut(index)
    }

    pub(crate) fn overrun(&mut self) {
        self.overruns += 1;
    }

    pub(crate) fn retried(&mut self, at: Time) {
        self.retries += 1;
        if let Some(period) = self.period(at) {
            period.retries += 1;
        }
    }

    pub(crate) fn ended(&mut self, ended: Ended) {
        let (took, ending) = (ended.at.since(ended.due), ended.ending);
        self.totals[ending as usize] += 1;
        self.latency.saturating_record(took.as_nanos().max(1));
        self.lag
            .saturating_record(ended.sent.since(ended.due).as_nanos().max(1));
        if ending.is_good() {
            self.good_latency.saturating_record(took.as_nanos().max(1));
        }
        match ended.detail {
            Detail::None => {}
            Detail::Stale(age) => self.staleness.saturating_record(age.as_nanos().max(1)),
            Detail::Wrong(how, key) => {
                *self.wrongs.entry(how).or_default() += 1;
                if self.examples.len() < EXAMPLES_MAX && !self.examples.contains(&key) {
                    self.examples.push(key);
                }
            }
            Detail::Failed(why) => self.failed(why),
        }
        if let Some(period) = self.period(ended.at) {
            period.endings[ending as usize] += 1;
            if let Some(latency) = &mut period.latency {
                latency.record(took);
            }
        }
    }

    fn failed(&mut self, why: String) {
        if let Some(count) = self.failures.get_mut(&why) {
            *count += 1;
        } else if self.failures.len() < REASONS_MAX {
            self.failures.insert(why, 1);
        } else {
            *self.failures.entry("other".to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn progress(&self, now: Time, in_flight: u64) -> Progress {
        let last = self.periods.iter().rev().nth(1);
        let quantile = |at: usize| {
            let latency = last.and_then(|period| period.latency.as_ref());
            latency.map_or(Span::ZERO, |latency| latency.quantile(QUANTILES[at].0))
        };
        Progress {
            now,
            in_flight,
            ended: self.totals,
            overruns: self.overruns,
            last: last.map_or([0; 6], |period| period.endings),
            p50: quantile(0),
            p99: quantile(QUANTILES.len() - 1),
        }
    }

    pub(crate) fn report(&mut self, settings: &Settings, now: Time, checked: bool) -> Report {
        Report {
            name: settings.name.clone(),
            wanted: settings.duration,
            lasted: now.since(Time::ZERO),
            ended: self.totals,
            retries: self.retries,
            overruns: self.overruns,
            failures: self.failures.clone(),
            wrongs: self.wrongs.clone(),
            examples: self.examples.clone(),
            checked,
            latency: self.latency.clone(),
            good_latency: self.good_latency.clone(),
            lag: self.lag.clone(),
            staleness: self.staleness.clone(),
            record: self.record(settings),
        }
    }

    /// The same series as the simulator has of a client.
    fn record(&mut self, settings: &Settings) -> Record {
        let last = Time::from_nanos(self.period.as_nanos() * (self.periods_max as u64 - 1));
        // So that there are as many periods as the duration has, also when nothing happened in the last ones.
        self.period(last);
        self.periods.iter_mut().for_each(Period::close);
        let mut record = Record::new(self.period, Span::ZERO, self.periods.len());
        let name = &settings.name;
        let values = |of: &dyn Fn(&Period) -> f64| self.periods.iter().map(of).collect::<Vec<f64>>();
        for ending in Ending::ALL {
            let counts = values(&|period| period.endings[ending as usize] as f64);
            record.push(Series::new(Metric::Requests, name, counts).labelled(ending.name()));
        }
        let good = |period: &Period| {
            let good = Ending::ALL.into_iter().filter(|ending| ending.is_good());
            good.map(|ending| period.endings[ending as usize] as f64).sum()
        };
        record.push(Series::new(Metric::Goodput, name, values(&good)));
        record.push(Series::new(
            Metric::Retries,
            name,
            values(&|period| period.retries as f64),
        ));
        for (index, (_, label)) in QUANTILES.iter().enumerate() {
            let times = values(&|period| period.quantiles[index]);
            record.push(Series::new(Metric::RequestDuration, name, times).labelled(label));
        }
        record
    }
}

/// A record has no more periods: a week of seconds.
const PERIODS_MAX: usize = 7 * 24 * 3_600;

impl Period {
    fn close(&mut self) {
        let Some(latency) = self.latency.take() else {
            return;
        };
        for (value, (q, _)) in self.quantiles.iter_mut().zip(QUANTILES) {
            *value = if latency.count() > 0 {
                latency.quantile(q).as_secs_f64()
            } else {
                f64::NAN
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Span::millis(millis)
    }

    fn ended(due: u64, sent: u64, end: u64, ending: Ending) -> Ended {
        Ended {
            due: at(due),
            sent: at(sent),
            at: at(end),
            ending,
            detail: Detail::None,
        }
    }

    #[test]
    fn periods_are_those_of_the_ends() {
        let settings = Settings {
            duration: Span::secs(20),
            ..Settings::default()
        };
        let mut tally = Tally::new(&settings);
        tally.ended(ended(0, 1, 100, Ending::Fresh));
        tally.ended(ended(900, 900, 1_500, Ending::Stale));
        tally.retried(at(1_700));
        for second in 2..12 {
            tally.ended(ended(
                second * 1_000,
                second * 1_000,
                second * 1_000 + 20,
                Ending::Error,
            ));
        }
        tally.ended(ended(19_900, 19_900, 20_500, Ending::Timeout));
        let report = tally.report(&settings, at(20_500), true);
        assert_eq!(report.ended, [1, 1, 0, 0, 10, 1]);
        let record = &report.record;
        assert_eq!(record.periods, 20);
        let values = |label| record.values(Metric::Requests, "load", Some(label));
        assert_eq!(values("fresh")[..3], [1.0, 0.0, 0.0]);
        assert_eq!(values("stale")[..3], [0.0, 1.0, 0.0]);
        assert_eq!(values("error")[2..12], [1.0; 10]);
        assert_eq!(values("timeout"), [0.0; 20], "it ended after the run");
        assert_eq!(record.values(Metric::Retries, "load", None)[..3], [0.0, 1.0, 0.0]);
        let p99 = record.values(Metric::RequestDuration, "load", Some("0.99"));
        assert!((p99[1] / 0.6 - 1.0).abs() < 0.01, "{p99:?}");
        assert!((p99[5] / 0.02 - 1.0).abs() < 0.01 && p99[15].is_nan(), "{p99:?}");
        assert!((report.lag.max() as f64 / 1e6 - 1.0).abs() < 0.01);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut tally = Tally::new(&Settings::default());
        for number in 0..100 {
            tally.failed(format!("reason {number}"));
        }
        assert_eq!(tally.failures.len(), REASONS_MAX + 1);
        assert_eq!(tally.failures["other"], 100 - REASONS_MAX as u64);
    }
}
