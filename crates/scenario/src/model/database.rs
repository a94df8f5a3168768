//! What is loaded from.

use seawall_core::dist::Dist;
use seawall_core::processor::Curve;
use seawall_core::time::Span;

use crate::element::element;
use crate::form::{Count, Duration, Law, Number, Period, Rate, Share};
use crate::node::Node;
use crate::reader::Reader;

element! {
    /// The universal scalability law (Gunther): X(N) = γN / (1 + σ(N−1) + κN(N−1)).
    pub struct Overload, "`overload`" {
        /// σ: what queries lose by waiting for each other.
        contention: f64, default Number = 0.0;
        /// κ: what queries lose by keeping in step with each other.
        coherence: f64, default Number = 0.0;
    }
}

element! {
    /// More replicas, after a while.
    pub struct Autoscaling, "`autoscaling`" {
        /// Scale out when utilization is above this.
        above: f64, default Share = 0.8;
        /// … for this long.
        for_: Span, default Duration = Span::secs(60);
        /// How long it takes until a new replica serves.
        delay: Span, default Duration = Span::secs(240);
        /// How many replicas a shard gains at a time.
        step: u32, default Count<1> = 1;
        /// The most replicas a shard has.
        max: u32, required Count<1>;
    }
}

element! {
    /// A database of shards, each with replicas that share its reads.
    pub struct Database, "a database", check = check {
        /// The database's name.
        name: String, named;
        /// How many shards it has.
        shards: u32, default Count<1> = 1;
        /// How many replicas serve the reads of a shard.
        replicas: u32, default Count<1> = 1;
        /// How many queries run on a node at a time; without limit when absent.
        connections: Option<u32>, optional Count<1>;
        /// How many queries may wait for a connection of a node, the next one fails; without limit when absent.
        queue: Option<u32>, optional Count;
        /// The time a read takes on a node that is otherwise idle.
        service_time: Dist, required Law;
        /// The time a write takes; that of a read when absent.
        write_time: Option<Dist>, optional Law;
        /// The most reads a second that a node completes; queries share it evenly. Without limit when absent.
        capacity: Option<f64>, optional Rate;
        /// How throughput bends as queries crowd a node, instead of a capacity.
        overload: Option<Overload>, optional Overload;
        /// How long a query may run, waiting included; for ever when absent.
        timeout: Option<Span>, optional Period;
        /// More replicas, after a while.
        autoscaling: Option<Autoscaling>, optional Autoscaling;
        /// The network's time to this database, there and back.
        latency: Dist, default Law = Dist::Fixed(Span::ZERO);
    }
}

fn check(cx: &mut Reader, node: &Node, database: &Database) {
    if database.capacity.is_some() && database.overload.is_some() {
        cx.mistake(
            node.at_field("overload"),
            "a node has a capacity or an overload curve, not both",
            "a second answer",
            "leave `capacity` or `overload` out",
        );
    }
    if database.capacity.is_some_and(|capacity| capacity <= 0.0) {
        cx.mistake(
            node.at_field("capacity"),
            "a node that completes nothing never answers",
            "out of range",
            "it must be above 0; leave it out for a node without limit",
        );
    }
    if let Some(autoscaling) = &database.autoscaling
        && autoscaling.max < database.replicas
    {
        let at = node
            .field("autoscaling")
            .map_or(node.at, |table| table.at_field("max"));
        cx.mistake(
            at,
            "autoscaling would begin above its maximum",
            "too small",
            format!("there are {} replicas to begin with", database.replicas),
        );
    }
    if database.queue.is_some() && database.connections.is_none() {
        cx.mistake(
            node.at_field("queue"),
            "nothing waits for a connection where connections have no limit",
            "without effect",
            "add `connections = …`, or leave `queue` out",
        );
    }
}

impl Database {
    /// How the speed of a node of this size, a share of the document's, falls as queries crowd it.
    ///
    /// A node of a smaller size has that share of the servers, and with it of the capacity. The universal scalability law
    /// depends on how many queries there are at the real size, which the processor works out.
    pub fn curve(&self, size: f64) -> Curve {
        match (&self.overload, self.capacity) {
            (Some(law), _) => Curve::Scalability {
                contention: law.contention,
                coherence: law.coherence,
            },
            (None, Some(rate)) => Curve::Servers(rate * self.service_time.mean().as_secs_f64() * size),
            (None, None) => Curve::Servers(f64::INFINITY),
        }
    }

    /// How many nodes serve reads.
    pub fn nodes(&self) -> u32 {
        self.shards.saturating_mul(self.replicas)
    }

    /// The law of the time that a write takes.
    pub fn write_law(&self) -> Dist {
        self.write_time.unwrap_or(self.service_time)
    }
}
