//! What a run counts and measures, and the record it becomes.
//!
//! Counting is on the hot path, so a place asks for a [`Counter`] or a [`Timer`] once and holds on to its number.
//! At the end of each period every gauge is set by the engine, and [`Meter::close`] writes one value a period and
//! starts the next. A run of a scaled-down system counts what it sees; extensive values are multiplied back to the
//! size of the document when the record is made, so memory grows with the number of periods and never with requests.

use seawall_core::histogram::Histogram;
use seawall_core::record::{Kind, Metric, QUANTILES, Record, Series};
use seawall_core::time::Span;

/// The number of a counter or gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter(u32);

/// The number of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer(u32);

struct Slot {
    metric: Metric,
    component: String,
    instance: Option<u32>,
    label: Option<&'static str>,
    values: Vec<f64>,
}

struct Clock {
    metric: Metric,
    component: String,
    histogram: Histogram,
    values: [Vec<f64>; QUANTILES.len()],
}

/// All counters, gauges and durations of a run.
pub(crate) struct Meter {
    current: Vec<f64>,
    slots: Vec<Slot>,
    clocks: Vec<Clock>,
    periods: usize,
}

impl Meter {
    pub(crate) fn new() -> Meter {
        Meter {
            current: Vec::new(),
            slots: Vec::new(),
            clocks: Vec::new(),
            periods: 0,
        }
    }

    /// A counter or gauge of a component.
    pub(crate) fn counter(
        &mut self,
        metric: Metric,
        component: &str,
        label: Option<&'static str>,
    ) -> Counter {
        self.slot(metric, component, None, label)
    }

    /// A counter or gauge of one node or instance.
    pub(crate) fn counter_of(&mut self, metric: Metric, component: &str, instance: u32) -> Counter {
        self.slot(metric, component, Some(instance), None)
    }

    /// A counter or gauge of one node, with its label.
    pub(crate) fn counter_at(
        &mut self,
        metric: Metric,
        component: &str,
        instance: u32,
        label: &'static str,
    ) -> Counter {
        self.slot(metric, component, Some(instance), Some(label))
    }

    fn slot(
        &mut self,
        metric: Metric,
        component: &str,
        instance: Option<u32>,
        label: Option<&'static str>,
    ) -> Counter {
        debug_assert!(matches!(metric.kind(), Kind::Counter | Kind::Gauge));
        self.current.push(0.0);
        let component = component.to_owned();
        // A label that turns up in the middle of a run was zero until then.
        let values = vec![0.0; self.periods];
        self.slots.push(Slot {
            metric,
            component,
            instance,
            label,
            values,
        });
        Counter(self.slots.len() as u32 - 1)
    }

    /// A duration of a component.
    pub(crate) fn timer(&mut self, metric: Metric, component: &str) -> Timer {
        debug_assert_eq!(metric.kind(), Kind::Duration);
        let component = component.to_owned();
        self.clocks.push(Clock {
            metric,
            component,
            histogram: Histogram::new(),
            values: Default::default(),
        });
        Timer(self.clocks.len() as u32 - 1)
    }

    #[inline]
    pub(crate) fn count(&mut self, counter: Counter) {
        self.current[counter.0 as usize] += 1.0;
    }

    #[inline]
    pub(crate) fn add(&mut self, counter: Counter, amount: f64) {
        self.current[counter.0 as usize] += amount;
    }

    #[inline]
    pub(crate) fn set(&mut self, gauge: Counter, value: f64) {
        self.current[gauge.0 as usize] = value;
    }

    /// What a counter has counted in this period.
    pub(crate) fn so_far(&self, counter: Counter) -> f64 {
        self.current[counter.0 as usize]
    }

    #[inline]
    pub(crate) fn time(&mut self, timer: Timer, took: Span) {
        self.clocks[timer.0 as usize].histogram.record(took);
    }

    /// The same length of time, so many times.
    #[inline]
    pub(crate) fn time_many(&mut self, timer: Timer, took: Span, count: u64) {
        self.clocks[timer.0 as usize].histogram.record_many(took, count);
    }

    /// Counts what is spread evenly over nodes of which the last `writers` take the writes and the others the reads.
    pub(crate) fn add_spread(&mut self, nodes: &[Counter], amount: f64, reads: bool, writers: f64) {
        let readers = nodes.len().saturating_sub(writers as usize);
        let nodes = if reads {
            &nodes[..readers]
        } else {
            &nodes[readers..]
        };
        for node in nodes {
            self.add(*node, amount / nodes.len() as f64);
        }
    }

    /// The quantile of what a timer saw since the period began; nothing when it saw nothing.
    pub(crate) fn quantile(&self, timer: Timer, q: f64) -> Option<Span> {
        let histogram = &self.clocks[timer.0 as usize].histogram;
        (histogram.count() > 0).then(|| histogram.quantile(q))
    }

    /// Ends a period.
    pub(crate) fn close(&mut self) {
        self.periods += 1;
        for (slot, current) in self.slots.iter_mut().zip(&mut self.current) {
            slot.values.push(*current);
            if slot.metric.kind() == Kind::Counter {
                *current = 0.0;
            }
        }
        for clock in &mut self.clocks {
            let seen = clock.histogram.count() > 0;
            for (values, (q, _)) in clock.values.iter_mut().zip(QUANTILES) {
                values.push(if seen {
                    clock.histogram.quantile(q).as_secs_f64()
                } else {
                    f64::NAN
                });
            }
            clock.histogram.clear();
        }
    }

    /// The record of all periods, in the size of the document: a run at `scale` saw that share of it.
    pub(crate) fn into_record(self, period: Span, origin: Span, scale: f64) -> Record {
        let mut record = Record::new(period, origin, self.periods);
        for slot in self.slots {
            record.push(Series {
                metric: slot.metric,
                component: slot.component,
                instance: slot.instance,
                label: slot.label.map(str::to_owned),
                values: slot.values,
            });
        }
        for clock in self.clocks {
            for (values, (_, label)) in clock.values.into_iter().zip(QUANTILES) {
                record.push(Series::new(clock.metric, &clock.component, values).labelled(label));
            }
        }
        record.at_full_size(scale)
    }
}
