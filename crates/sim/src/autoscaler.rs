//! Autoscaling of databases: since when utilization has been too high, and what has been ordered.

use seawall_core::time::{Span, Time};
use seawall_scenario::Autoscaling;

use crate::plan::Plan;

/// What is remembered of each database from one period to the next.
pub(crate) struct Autoscaler {
    high_since: Vec<Option<Time>>,
    pub(crate) ordered: Vec<u32>,
}

impl Autoscaler {
    pub(crate) fn new(plan: &Plan) -> Autoscaler {
        Autoscaler {
            high_since: vec![None; plan.written.len()],
            ordered: plan.written.iter().map(|(_, replicas)| *replicas).collect(),
        }
    }

    /// What is ordered at the end of a period: in how long there will be how many replicas a shard.
    pub(crate) fn order(
        &mut self,
        now: Time,
        database: usize,
        rule: &Autoscaling,
        utilization: f64,
    ) -> Option<(Span, u32)> {
        let ordered = self.ordered[database];
        if utilization <= rule.above || ordered >= rule.max {
            self.high_since[database] = None;
            return None;
        }
        let since = *self.high_since[database].get_or_insert(now);
        if now.since(since) < rule.for_ {
            return None;
        }
        let replicas = (ordered + rule.step).min(rule.max);
        self.ordered[database] = replicas;
        self.high_since[database] = None;
        Some((rule.delay, replicas))
    }
}
