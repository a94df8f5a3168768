//! What is loaded from.

use seawall_core::dist::Dist;
use seawall_core::time::Span;

use crate::element::element;

element! {
    /// The universal scalability law (Gunther): X(N) = γN / (1 + σ(N−1) + κN(N−1)).
    pub struct Overload {
        /// σ: what queries lose by waiting for each other.
        contention: f64, default Number = 0.0;
        /// κ: what queries lose by keeping in step with each other.
        coherence: f64, default Number = 0.0;
    }
}

element! {
    /// More replicas, after a while.
    pub struct Autoscaling {
        /// Scale out when utilization is above this.
        above: f64, default Share = 0.8;
        /// … for this long.
        for_: Span, default Duration = Span::secs(60);
        /// How long it takes until a new replica serves.
        delay: Span, default Duration = Span::secs(240);
        /// How many replicas a shard gains at a time.
        step: u32, default Count = 1;
        /// The most replicas a shard has.
        max: u32, required Count;
    }
}

element! {
    /// A database of shards, each with replicas that share its reads.
    pub struct Database {
        /// The database's name.
        name: String, named Label;
        /// How many shards it has.
        shards: u32, default Count = 1;
        /// How many replicas serve the reads of a shard.
        replicas: u32, default Count = 1;
        /// How many queries run on a node at a time; without limit when absent.
        connections: Option<u32>, optional Count;
        /// How many queries may wait for a connection of a node, the next one fails; without limit when absent.
        queue: Option<u32>, optional Count;
        /// The time a read takes on a node that is otherwise idle.
        service_time: Dist, required Law;
        /// The time a write takes; that of a read when absent.
        write_time: Option<Dist>, optional Law;
        /// The most reads a second that a node completes; queries share it evenly. Without limit when absent.
        capacity: Option<f64>, optional Rate;
        /// How throughput bends as queries crowd a node, instead of a capacity.
        overload: Option<Overload>, optional OverloadForm;
        /// How long a query may run, waiting included; for ever when absent.
        timeout: Option<Span>, optional Duration;
        /// More replicas, after a while.
        autoscaling: Option<Autoscaling>, optional AutoscalingForm;
        /// The network's time to this database, there and back.
        latency: Dist, default Law = Dist::Fixed(Span::ZERO);
    }
}
