//! The steps of a round, and how they are told of.

use std::time::Duration;

use seawall_core::record::Metric;

use super::fault::Fault;
use super::sample::{Place, Sample, Trouble};

/// One question to a server. What its failure means is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A new connection: whether the machine, its network and its listener are there.
    Connect,
    /// The plainest command: whether clients are served.
    Reply,
    /// A command that is refused for its form, before anything could hold it: whether the process runs at all.
    Alive,
    /// What the server tells of itself.
    Info,
    /// A key of our own, written for some seconds.
    Write,
    /// That key, read back.
    Read,
    /// A query, on a connection that was there before.
    Query,
    /// `/health/ready` of the app.
    Ready,
    /// `/metrics` of the app, or what Prometheus knows.
    Metrics,
}

impl Step {
    /// Every step, in the order in which they are told.
    pub const ALL: [Step; 9] = [
        Step::Connect,
        Step::Reply,
        Step::Alive,
        Step::Info,
        Step::Write,
        Step::Read,
        Step::Query,
        Step::Ready,
        Step::Metrics,
    ];

    /// The value of the label `step` of `probe_seconds`.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Connect => "connect",
            Step::Reply => "reply",
            Step::Alive => "alive",
            Step::Info => "info",
            Step::Write => "write",
            Step::Read => "read",
            Step::Query => "query",
            Step::Ready => "ready",
            Step::Metrics => "metrics",
        }
    }
}

/// Steps that were tried in a round, and how they went. A step may be tried on more than one connection.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Vec<(Step, Result<Duration, Fault>)>);

impl Ledger {
    pub(crate) fn add(&mut self, step: Step, went: Result<Duration, Fault>) {
        self.0.push((step, went));
    }

    pub(crate) fn failed(&mut self, step: Step, fault: Fault) {
        self.add(step, Err(fault));
    }

    pub(crate) fn extend(&mut self, other: Ledger) {
        self.0.extend(other.0);
    }

    /// What it comes to: a probe, the seconds of each step (the first connection on which it went well counts), and
    /// each kind of failure once.
    pub(crate) fn tell(self, place: &Place, steps: &[Step], sample: &mut Sample) {
        sample.points.push(place.point(Metric::Probes, 1.0));
        for step in steps {
            let tries = self.0.iter().filter(|(tried, _)| tried == step);
            let mut well = tries.clone().filter_map(|(_, went)| went.as_ref().ok());
            let took = well.next().map_or(f64::NAN, Duration::as_secs_f64);
            sample
                .points
                .push(place.labelled(Metric::ProbeSeconds, step.name(), took));
            let mut told = Vec::new();
            for fault in tries.filter_map(|(_, went)| went.as_ref().err()) {
                if told.contains(&fault.why) {
                    continue;
                }
                told.push(fault.why);
                let reason = format!("{}_{}", step.name(), fault.why.name());
                sample
                    .points
                    .push(place.labelled(Metric::ProbeFailures, &reason, 1.0));
                sample.troubles.push(Trouble {
                    component: place.component.clone(),
                    instance: place.instance,
                    step: *step,
                    fault: fault.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Why;
    use super::*;

    #[test]
    fn a_failure_counts_once_and_the_first_good_try_is_timed() {
        let mut ledger = Ledger::default();
        ledger.failed(Step::Reply, Fault::new(Why::Reset, "gone"));
        ledger.failed(Step::Reply, Fault::new(Why::Reset, "gone too"));
        ledger.failed(Step::Reply, Fault::new(Why::TooManyClients, "full"));
        ledger.add(Step::Reply, Ok(Duration::from_millis(20)));
        ledger.add(Step::Reply, Ok(Duration::from_millis(10)));
        let mut sample = Sample::default();
        ledger.tell(&Place::new("redis"), &[Step::Connect, Step::Reply], &mut sample);
        assert_eq!(sample.labelled(Metric::ProbeFailures, "reply_reset"), Some(1.0));
        assert_eq!(
            sample.labelled(Metric::ProbeFailures, "reply_too_many_clients"),
            Some(1.0)
        );
        assert_eq!(sample.labelled(Metric::ProbeSeconds, "reply"), Some(0.02));
        assert!(
            sample
                .labelled(Metric::ProbeSeconds, "connect")
                .is_some_and(f64::is_nan)
        );
        assert_eq!(sample.value(Metric::Probes, "redis"), Some(1.0));
        assert_eq!(sample.troubles.len(), 2);
    }
}
