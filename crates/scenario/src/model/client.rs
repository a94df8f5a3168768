//! Who sends requests: how many, for which keys, and how patiently.

use seawall_core::keys::Law;
use seawall_core::shed::Priority;
use seawall_core::time::Span;
use seawall_core::ttl::Class;

use crate::element::{element, tagged, words};
use crate::form::{Callee, Count, Duration, List, Natural, Number, Rate, Share, Size};
use crate::model::Place;
use crate::node::Node;
use crate::reader::Reader;

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
    pub struct Step, "a step of a schedule" {
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
    pub struct Client, "a client", check = check {
        /// The client's name.
        name: String, named;
        /// The gateway or service that it calls.
        calls: Place, required Callee;
        /// Requests a second, reads and writes together.
        rate: f64, required Rate;
        /// The rhythm of arrivals.
        arrivals: Arrival, default Arrival = Arrival::Poisson;
        /// Changes of the rate.
        schedule: Vec<Step>, default List<Step> = Vec::new();
        /// Which keys are asked for.
        keys: Keys, required Keys;
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
        class: Class, default Class = Class::Regular;
        /// What is shed last.
        priority: Priority, default Priority = Priority::Normal;
        /// The size of an answer in bytes, for links of limited bandwidth.
        answer_size: u64, default Size = 1_000;
    }
}

impl Keys {
    /// The law as the draws have it.
    pub fn law(&self) -> Law {
        match *self {
            Keys::Zipf { count, exponent } => Law::Zipf { count, exponent },
            Keys::Uniform { count } => Law::Uniform { count },
            Keys::Normal { mean, deviation } => Law::Normal { mean, deviation },
        }
    }
}

words! { Arrival, "rhythm of arrivals" { "poisson" = Poisson, "even" = Even } }

tagged! {
    Keys => Keys, "a law of keys" {
        /// The i-th most popular key is asked for in proportion to i^-exponent.
        "zipf" = Zipf { count: Natural, exponent: Number };
        /// All keys alike.
        "uniform" = Uniform { count: Natural };
        /// The key is the floor of a normal draw.
        "normal" = Normal { mean: Number, deviation: Number };
    }
}

/// The most keys a client asks for.
const KEYS_MAX: u64 = 10_000_000_000;

fn check(cx: &mut Reader, node: &Node, client: &Client) {
    if let Keys::Zipf { count, .. } | Keys::Uniform { count } = client.keys
        && !(1..=KEYS_MAX).contains(&count)
    {
        cx.mistake(
            node.at_field("keys"),
            "this is not a number of keys",
            "out of range",
            "there must be between 1 and 10G keys",
        );
    }
    if let Keys::Zipf { exponent, .. } = client.keys
        && exponent > 10.0
    {
        cx.mistake(
            node.at_field("keys"),
            "this exponent is out of range",
            "out of range",
            "it must be at most 10; web traffic has 0.6 to 1.2",
        );
    }
    if client.timeout.is_some_and(Span::is_zero) {
        cx.mistake(
            node.at_field("timeout"),
            "a client that waits for no time gets no answer",
            "nothing",
            "leave it out, or make it longer than nothing",
        );
    }
    let steps = node.field("schedule").map_or(&[][..], Node::items);
    for (index, pair) in client.schedule.windows(2).enumerate() {
        if pair[1].at < pair[0].at + pair[0].over {
            cx.mistake(
                steps[index + 1].at_field("at"),
                "this step begins before the one above it has ended",
                "too early",
                format!("begin at {} or later", pair[0].at + pair[0].over),
            );
        }
    }
}
