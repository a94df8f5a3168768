//! The door of the system.

use seawall_core::dist::Dist;
use seawall_core::time::Span;

use crate::element::element;
use crate::form::{Count, Law, ServiceName};
use crate::model::Place;

element! {
    /// What stands between clients and services, and can turn requests away.
    pub struct Gateway, "a gateway" {
        /// The gateway's name.
        name: String, named;
        /// The service that it calls.
        calls: Place, required ServiceName;
        /// The time it takes to pass a request on, there and back.
        latency: Dist, default Law = Dist::Fixed(Span::ZERO);
        /// How many requests may be inside at a time; without limit when absent.
        concurrency: Option<u32>, optional Count<1>;
    }
}
