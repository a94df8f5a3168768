//! What an incident cost, in requests: one period at a time, added up.
//!
//! Everything is counted from the record that findings are made from. What nobody measured is told as time without a
//! measurement, and never as nothing lost.

use seawall_core::record::{Ending, Metric, Record};
use serde::{Deserialize, Serialize};

use super::Utc;

/// What one period says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Period {
    seconds: f64,
    ended: [f64; Ending::ALL.len()],
    hits: f64,
    lookups: f64,
    coalesced: f64,
    loads: f64,
    origin: Option<f64>,
}

/// What it comes to, over an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Seconds in which calls were measured.
    pub measured_s: f64,
    /// Seconds in which no call was seen to end: either nobody asked, or nobody was left to tell.
    pub blind_s: f64,
    /// Calls that ended.
    pub asked: f64,
    /// Right answers in time.
    pub good: f64,
    /// Answers that were wrong.
    pub wrong: f64,
    /// Calls turned away on purpose.
    pub shed: f64,
    /// Calls that failed.
    pub failed: f64,
    /// Calls whose client stopped waiting.
    pub timed_out: f64,
    /// The largest share of the calls of a period without a right answer in time, and when that was.
    pub worst: Option<(Utc, f64)>,
    /// Misses that shared the load of another.
    pub coalesced: f64,
    /// Loads from the origin.
    pub loads: f64,
    /// Calls that reached the origin; nothing when nobody counted them.
    pub origin: Option<f64>,
}

/// What was usual before it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Calls a second that ended.
    pub asked_per_s: Option<f64>,
    /// The share of them with a right answer in time.
    pub good: Option<f64>,
    /// Hits as a share of look-ups.
    pub hit_rate: Option<f64>,
    /// Calls a second that reached the origin.
    pub origin_per_s: Option<f64>,
}

impl Period {
    /// The period at this index of a record.
    pub(crate) fn of(record: &Record, index: usize) -> Period {
        let sum = |metric, label: Option<&str>| -> Option<f64> {
            let components = record.components(metric).into_iter().map(str::to_owned);
            let values = components.filter_map(|component| {
                let value = record.values(metric, &component, label).get(index).copied()?;
                value.is_finite().then_some(value)
            });
            values.reduce(|sum, value| sum + value)
        };
        let whole = |metric| sum(metric, None).unwrap_or(0.0);
        let hits = whole(Metric::CacheHits);
        Period {
            seconds: record.period.as_secs_f64(),
            ended: Ending::ALL.map(|ending| sum(Metric::Requests, Some(ending.name())).unwrap_or(0.0)),
            hits,
            lookups: hits + whole(Metric::CacheMisses) + whole(Metric::CacheErrors),
            coalesced: whole(Metric::Coalesced),
            loads: whole(Metric::Loads),
            origin: sum(Metric::OriginRequests, None),
        }
    }

    fn asked(&self) -> f64 {
        self.ended.iter().sum()
    }

    fn good(&self) -> f64 {
        let good = Ending::ALL.into_iter().zip(self.ended);
        good.filter(|(ending, _)| ending.is_good())
            .map(|(_, count)| count)
            .sum()
    }

    /// Hits and look-ups.
    pub(crate) fn looked_up(&self) -> (f64, f64) {
        (self.hits, self.lookups)
    }
}

impl Tally {
    /// Adds a period that ended at `at`.
    pub(crate) fn add(&mut self, at: Utc, period: &Period) {
        let (asked, good) = (period.asked(), period.good());
        if asked > 0.0 {
            self.measured_s += period.seconds;
            let without = ((asked - good) / asked).clamp(0.0, 1.0);
            if without > self.worst.map_or(0.0, |(_, worst)| worst) {
                self.worst = Some((at, without));
            }
        } else {
            self.blind_s += period.seconds;
        }
        let of = |ending: Ending| period.ended[ending as usize];
        self.asked += asked;
        self.good += good;
        self.wrong += of(Ending::Wrong);
        self.shed += of(Ending::Shed);
        self.failed += of(Ending::Error);
        self.timed_out += of(Ending::Timeout);
        self.coalesced += period.coalesced;
        self.loads += period.loads;
        if let Some(origin) = period.origin {
            self.origin = Some(self.origin.unwrap_or(0.0) + origin);
        }
    }

    /// Whether any call was seen to end.
    pub fn is_measured(&self) -> bool {
        self.measured_s > 0.0
    }

    /// Calls that had no right answer in time.
    pub fn lost(&self) -> f64 {
        (self.asked - self.good).max(0.0)
    }

    /// Calls that had none and would have had one, if the share of them had been the usual one.
    pub fn lost_beyond(&self, usual: &Usual) -> f64 {
        let usually = usual.good.map_or(0.0, |good| 1.0 - good);
        (self.lost() - usually * self.asked).max(0.0)
    }

    /// Calls of the origin beyond what is usual in as much time; nothing when it is not known.
    pub fn origin_beyond(&self, usual: &Usual) -> Option<f64> {
        let usually = usual.origin_per_s? * (self.measured_s + self.blind_s);
        Some((self.origin? - usually).max(0.0))
    }

    /// The share of misses that shared another's load; nothing when nobody loads where it is measured.
    pub fn coalescing(&self) -> Option<f64> {
        let all = self.coalesced + self.loads;
        (all > 0.0).then(|| self.coalesced / all)
    }
}

impl Usual {
    /// What is usual, by periods in which all was well.
    pub(crate) fn of(periods: &[Period]) -> Usual {
        let sum = |of: fn(&Period) -> f64| -> f64 { periods.iter().map(of).sum() };
        let seconds = sum(|period| period.seconds);
        let (asked, lookups) = (sum(Period::asked), sum(|period| period.lookups));
        let origin: Option<f64> = periods
            .iter()
            .filter_map(|period| period.origin)
            .reduce(|sum, value| sum + value);
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        Usual {
            asked_per_s: share(asked, seconds).filter(|rate| *rate > 0.0),
            good: share(sum(Period::good), asked),
            hit_rate: share(sum(|period| period.hits), lookups),
            origin_per_s: origin.and_then(|origin| share(origin, seconds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::record::Series;
    use seawall_core::time::Span;

    #[test]
    fn it_adds_up_to_what_the_record_says() {
        let mut record = Record::new(Span::secs(2), Span::ZERO, 3);
        let mut series = |metric, values: [f64; 3], label: Option<&str>| {
            let mut series = Series::new(metric, "web", values.to_vec());
            series.label = label.map(str::to_owned);
            record.push(series);
        };
        series(Metric::Requests, [90.0, 10.0, 0.0], Some("fresh"));
        series(Metric::Requests, [0.0, 10.0, 0.0], Some("stale"));
        series(Metric::Requests, [10.0, 50.0, 0.0], Some("error"));
        series(Metric::Requests, [0.0, 30.0, 0.0], Some("wrong"));
        series(Metric::OriginRequests, [4.0, 40.0, 40.0], None);
        let calm = Usual::of(&[Period::of(&record, 0)]);
        assert_eq!(
            (calm.good, calm.asked_per_s, calm.origin_per_s),
            (Some(0.9), Some(50.0), Some(2.0))
        );
        let mut tally = Tally::default();
        for index in 1..3 {
            tally.add(Utc::default().after_s(index as f64), &Period::of(&record, index));
        }
        assert_eq!((tally.measured_s, tally.blind_s), (2.0, 2.0));
        assert_eq!(
            (tally.asked, tally.good, tally.wrong, tally.failed),
            (100.0, 20.0, 30.0, 50.0)
        );
        assert_eq!(tally.worst, Some((Utc::from_millis(1_000), 0.8)));
        assert!((tally.lost_beyond(&calm) - 70.0).abs() < 1e-9);
        assert_eq!(tally.origin_beyond(&calm), Some(72.0), "80 where 8 are usual");
        assert_eq!(tally.coalescing(), None);
    }
}
