//! Who sends requests: how many, for which keys, and how patiently.

use seawall_core::shed::Priority;
use seawall_core::time::Span;
use seawall_core::ttl::Class;

use crate::element::element;
use crate::model::Place;

/// The rhythm of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Arrival {
    /// At random, each independent of the others.
    #[default]
    Poisson,
    /// At equal distances.
    Even,
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    /// The i-th most popular key is asked for in proportion to i^-exponent.
    Zipf {
        /// How many keys there are.
        count: u64,
        /// How skewed they are; 0 is even.
        exponent: f64,
    },
    /// All keys alike.
    Uniform {
        /// How many keys there are.
        count: u64,
    },
    /// The key is the floor of a normal draw.
    Normal {
        /// The mean of the draw.
        mean: f64,
        /// Its standard deviation.
        deviation: f64,
    },
}

element! {
    /// A change of a client's rate.
    pub struct Step {
        /// When the change begins, from T=0.
        at: Span, required Duration;
        /// The rate from then on.
        rate: f64, required Rate;
        /// The time over which the rate moves there in a straight line; at once when nothing.
        over: Span, default Duration = Span::ZERO;
    }
}

element! {
    /// A source of requests that does not wait for answers before it sends more.
    pub struct Client {
        /// The client's name.
        name: String, named Label;
        /// The gateway or service that it calls.
        calls: Place, required Callee;
        /// Requests a second, reads and writes together.
        rate: f64, required Rate;
        /// The rhythm of arrivals.
        arrivals: Arrival, default ArrivalForm = Arrival::Poisson;
        /// Changes of the rate.
        schedule: Vec<Step>, default List<StepForm> = Vec::new();
        /// Which keys are asked for.
        keys: Keys, required KeysForm;
        /// The share of requests that write.
        writes: f64, default Share = 0.0;
        /// The share of reads that ask for a key that does not exist.
        missing: f64, default Share = 0.0;
        /// How long the client waits for an answer; for ever when absent.
        timeout: Option<Span>, optional Duration;
        /// How often the client tries again after a failure.
        retries: u32, default Count = 0;
        /// The fixed pause before each retry.
        backoff: Span, default Duration = Span::secs(1);
        /// The importance of what it asks for, which decides the TTL.
        class: Class, default ClassForm = Class::Regular;
        /// What is shed last.
        priority: Priority, default PriorityForm = Priority::Normal;
        /// The size of an answer in bytes, for links of limited bandwidth.
        answer_size: f64, default Number = 1000.0;
    }
}
