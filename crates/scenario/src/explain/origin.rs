//! What an origin has to bear, with its caches and without them.

use super::{Explanation, Flow, KeyRate, Standing};
use crate::formula;
use crate::model::{Database, Service};
use crate::numbers::{Unit, spell};

/// What an origin has to bear.
pub(super) struct Load<'d> {
    of: &'d str,
    nodes: f64,
    /// What its nodes are, in words.
    shape: String,
    /// The most reads that one node completes a second, and how that was found.
    capacity: f64,
    capacity_how: String,
    /// What can be scaled, where the origin is a database.
    database: Option<&'d Database>,
    /// Reads with the caches working.
    pub(super) normal: f64,
    /// Reads without them.
    pub(super) cold: f64,
    pub(super) attempts: f64,
    /// Entries that the caches hold in the long run.
    pub(super) entries: f64,
}

impl Load<'_> {
    pub(super) fn of_database(database: &Database) -> Load<'_> {
        let (capacity, capacity_how) = database_capacity(database);
        Load {
            of: &database.name,
            nodes: f64::from(database.nodes()),
            shape: format!("{} shards × {} replicas", database.shards, database.replicas),
            capacity,
            capacity_how,
            database: Some(database),
            normal: 0.0,
            cold: 0.0,
            attempts: 1.0,
            entries: 0.0,
        }
    }

    pub(super) fn of_service(service: &Service) -> Load<'_> {
        let threads = service.threads.map_or(f64::INFINITY, f64::from);
        Load {
            of: &service.name,
            nodes: f64::from(service.instances),
            shape: "instances".to_owned(),
            capacity: threads / service.service_time.mean().as_secs_f64().max(1e-9),
            capacity_how: "threads ÷ service time".to_owned(),
            database: None,
            normal: 0.0,
            cold: 0.0,
            attempts: 1.0,
            entries: 0.0,
        }
    }

    fn whole(&self) -> f64 {
        self.capacity * self.nodes
    }
}

/// The most reads that one node completes a second, and how that was found.
fn database_capacity(database: &Database) -> (f64, String) {
    let mean = database.service_time.mean().as_secs_f64().max(1e-9);
    if let Some(capacity) = database.capacity {
        return (capacity, "as declared".to_owned());
    }
    let connections = database.connections.map_or(f64::INFINITY, f64::from);
    if let Some(overload) = &database.overload {
        let best = formula::usl_best(overload.contention, overload.coherence).min(connections);
        if best.is_finite() {
            let peak = formula::usl(1.0 / mean, overload.contention, overload.coherence, best);
            return (peak, format!("scalability law: best with {best:.0} at once"));
        }
        let limit = if overload.contention > 0.0 {
            1.0 / (mean * overload.contention)
        } else {
            f64::INFINITY
        };
        return (limit, "scalability law: bounded by contention".to_owned());
    }
    (connections / mean, "connections ÷ service time".to_owned())
}

pub(super) fn explain_origin(explanation: &mut Explanation, load: &Load<'_>) {
    let (of, nodes, capacity) = (load.of, load.nodes, load.capacity);
    let a_node = |explanation: &mut Explanation, reads: f64| {
        if nodes > 1.0 {
            let how = format!("÷ {nodes} ({})", load.shape);
            explanation.line(of, "… on a node", reads / nodes, Unit::PerSecond, how);
        }
    };
    explanation.line(
        of,
        "reads, caches working",
        load.normal,
        Unit::PerSecond,
        "what the caches miss",
    );
    a_node(explanation, load.normal);
    explanation.line(
        of,
        "reads, caches gone",
        load.cold,
        Unit::PerSecond,
        "all of them",
    );
    a_node(explanation, load.cold);
    if !capacity.is_finite() {
        explanation.sentence(of, "capacity", "without limit", load.capacity_how.clone());
        explanation.standings.push((of.to_owned(), Standing::Stable));
        return;
    }
    let whole = load.whole();
    explanation.line(
        of,
        "capacity of a node",
        capacity,
        Unit::PerSecond,
        load.capacity_how.clone(),
    );
    if nodes > 1.0 {
        explanation.line(
            of,
            "capacity",
            whole,
            Unit::PerSecond,
            format!("× {nodes} ({})", load.shape),
        );
    }
    explanation.line(
        of,
        "utilization, caches working",
        load.normal / whole,
        Unit::Share,
        "",
    );
    explanation.line(of, "utilization, caches gone", load.cold / whole, Unit::Share, "");
    let short = (load.cold - whole).max(0.0);
    let part = spell(short / load.cold.max(1e-300), Unit::Share);
    explanation.line(
        of,
        "shortfall, caches gone",
        short,
        Unit::PerSecond,
        format!("{part} of the reads"),
    );
    let amplified = load.cold * load.attempts;
    if load.attempts > 1.0 {
        let how = format!(
            "every request up to {} when all fail",
            spell(load.attempts, Unit::Times)
        );
        explanation.line(
            of,
            "reads with retries, caches gone",
            amplified,
            Unit::PerSecond,
            how,
        );
    }
    explain_standing(explanation, load, whole, amplified);
    if let Some(database) = load.database {
        explain_scaling(explanation, load, database);
    }
}

fn explain_standing(explanation: &mut Explanation, load: &Load<'_>, capacity: f64, amplified: f64) {
    let (standing, sentence, how) = if load.normal > capacity {
        (
            Standing::Overloaded,
            "overloaded",
            "the normal load is above the capacity",
        )
    } else if amplified > capacity {
        (
            Standing::Vulnerable,
            "vulnerable",
            "above the capacity without the caches: it may stay down when the cause is gone",
        )
    } else {
        (
            Standing::Stable,
            "stable",
            "bears the whole load without the caches",
        )
    };
    explanation.sentence(load.of, "standing", sentence, how);
    explanation.standings.push((load.of.to_owned(), standing));
}

/// What autoscaling would need, and when it would be there.
fn explain_scaling(explanation: &mut Explanation, load: &Load<'_>, database: &Database) {
    let capacity = load.capacity;
    let shards = f64::from(database.shards);
    let needed = libm::ceil(load.cold / capacity / shards - 1e-9);
    if needed <= f64::from(database.replicas) {
        return;
    }
    let of = &database.name;
    let how = format!(
        "{} ÷ {} a node",
        spell(load.cold, Unit::PerSecond),
        spell(capacity, Unit::PerSecond)
    );
    explanation.line(
        of,
        "replicas a shard to do without caches",
        needed,
        Unit::Count,
        how,
    );
    let Some(autoscaling) = &database.autoscaling else {
        return;
    };
    if needed > f64::from(autoscaling.max) {
        let sentence = format!("never: it stops at {}", autoscaling.max);
        explanation.sentence(of, "autoscaling gets there", sentence, "");
        return;
    }
    let steps = libm::ceil((needed - f64::from(database.replicas)) / f64::from(autoscaling.step));
    let one = autoscaling.for_.as_secs_f64() + autoscaling.delay.as_secs_f64();
    let how = format!(
        "{steps} × ({} to notice + {} to serve): the surge is immediate",
        autoscaling.for_, autoscaling.delay
    );
    explanation.line(
        of,
        "autoscaling gets there after",
        steps * one,
        Unit::Seconds,
        how,
    );
}

/// How long empty caches take to get back to nine tenths of their hit ratio.
pub(super) fn explain_refill(explanation: &mut Explanation, load: &Load<'_>, before: &Flow, after: &Flow) {
    let reads = before.reads();
    let hits = (reads - after.reads()) / reads.max(1e-300);
    if !hits.is_finite() || hits <= 0.0 {
        return;
    }
    let reached = |time: f64| -> f64 {
        let of_key = |key: &KeyRate| key.count * key.rate * -libm::expm1(-key.rate * time);
        before.keys.iter().map(of_key).sum::<f64>() / reads
    };
    let (mut low, mut high) = (0.0, 1.0);
    while reached(high) < 0.9 * hits && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if reached(middle) < 0.9 * hits {
            low = middle;
        } else {
            high = middle;
        }
    }
    let (of, whole) = (load.of, load.whole());
    let how = "until the hit ratio is back at nine tenths, if every load succeeds at once";
    explanation.line(of, "time to refill, by demand", high, Unit::Seconds, how);
    if whole.is_finite() && load.entries > 0.0 {
        let how = format!(
            "{} entries ÷ {}, at the very least",
            spell(load.entries, Unit::Count),
            spell(whole, Unit::PerSecond)
        );
        explanation.line(
            of,
            "time to refill, by capacity",
            load.entries / whole,
            Unit::Seconds,
            how,
        );
    }
}
