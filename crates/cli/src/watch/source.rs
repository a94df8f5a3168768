//! Where samples come from: live servers, or a run that was recorded.

use std::time::Duration;

use seawall_core::record::Record;
use seawall_core::time::Span;
use seawall_diagnose::incident::Utc;
use seawall_diagnose::probe::prometheus::{Past, past};
use seawall_diagnose::probe::{Point, Prober, Sample, Target};

use super::wall_clock;

/// Gives a sample a period.
pub(super) trait Source {
    /// Waits for the end of the next period: when that is, and what was measured in it. Nothing when there is no more.
    async fn sample(&mut self) -> Option<(Utc, Sample)>;
}

/// Servers that are asked once a period.
pub(super) struct Live {
    prober: Prober,
    prometheus: Option<Target>,
    every: Span,
    beat: tokio::time::Interval,
}

impl Live {
    /// Asks at once, and then once a period. A round that takes longer delays the next.
    pub(super) fn new(prober: Prober, prometheus: Option<Target>, every: Span) -> Live {
        let mut beat = tokio::time::interval(Duration::from_nanos(every.as_nanos()));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Live {
            prober,
            prometheus,
            every,
            beat,
        }
    }
}

impl Source for Live {
    async fn sample(&mut self) -> Option<(Utc, Sample)> {
        self.beat.tick().await;
        let mut sample = self.prober.round().await;
        if let Some(prometheus) = &self.prometheus {
            let asked = Past {
                end: wall_clock().millis() as u64 / 1_000,
                periods: 1,
                period: self.every,
            };
            // One that does not answer tells nothing, and what is not told is not known.
            if let Ok(record) = past(prometheus, asked, Duration::from_secs(2)).await {
                let known = |point: &Point| sample.value(point.metric, &point.component).is_some();
                let more: Vec<Point> = points(&record, 0)
                    .into_iter()
                    .filter(|point| !known(point))
                    .collect();
                sample.points.extend(more);
            }
        }
        Some((wall_clock(), sample))
    }
}

/// A run that was recorded, as if it happened now.
pub(super) struct Played {
    record: Record,
    next: usize,
    /// The instant at which the record begins.
    began: Utc,
    beat: Option<tokio::time::Interval>,
}

impl Played {
    /// From this second of the record on, `speed` times as fast as it happened; at once with 0.
    pub(super) fn new(record: Record, began: Utc, from_s: f64, speed: f64) -> Played {
        let period = record.period.as_secs_f64();
        let pause = Duration::try_from_secs_f64(period / speed)
            .ok()
            .filter(|pause| !pause.is_zero());
        Played {
            next: (from_s / period).round() as usize,
            began,
            beat: pause.map(tokio::time::interval),
            record,
        }
    }

    /// The instant at which its next period begins.
    pub(super) fn now(&self) -> Utc {
        self.began
            .after_s(self.next as f64 * self.record.period.as_secs_f64())
    }

    /// How long a period is.
    pub(super) fn every(&self) -> Span {
        self.record.period
    }
}

impl Source for Played {
    async fn sample(&mut self) -> Option<(Utc, Sample)> {
        if self.next >= self.record.periods {
            return None;
        }
        match &mut self.beat {
            Some(beat) => {
                beat.tick().await;
            }
            // Posts and signals are heard in between.
            None => tokio::task::yield_now().await,
        }
        let at = self
            .began
            .after_s((self.next + 1) as f64 * self.record.period.as_secs_f64());
        let sample = Sample {
            points: points(&self.record, self.next),
            ..Sample::default()
        };
        self.next += 1;
        Some((at, sample))
    }
}

/// What a record says of a period.
fn points(record: &Record, index: usize) -> Vec<Point> {
    let point = |series: &seawall_core::record::Series| {
        let value = *series.values.get(index)?;
        value.is_finite().then(|| Point {
            metric: series.metric,
            component: series.component.clone(),
            instance: series.instance,
            label: series.label.clone(),
            value,
        })
    };
    record.series().iter().filter_map(point).collect()
}
