//! What does the work: looks into caches, loads what they miss, and holds a thread meanwhile.

use seawall_core::dist::Dist;
use seawall_core::time::Span;

use crate::element::{element, words};
use crate::form::{CacheName, Count, Duration, Law, List, Natural, Origin, Share};
use crate::model::Place;
use crate::node::Node;
use crate::reader::Reader;

/// When the fallback is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FallbackWhen {
    /// When the origin fails, refuses, or its breaker is open.
    #[default]
    OriginDown,
    /// When the caches fail: the fallback stands in for them, so the origin is spared.
    CacheDown,
}

element! {
    /// What answers when the origin or the cache does not.
    pub struct Fallback, "a fallback" {
        /// The service or database that is asked instead.
        origin: Place, required Origin;
        /// When it is asked.
        when: FallbackWhen, default FallbackWhen = FallbackWhen::OriginDown;
    }
}

element! {
    /// Too much at once takes the service down for a while.
    pub struct Trips, "`trips`" {
        /// It trips when, as work starts, more than this many requests are already in progress.
        above: u32, required Count;
        /// For how long it is down: every request then takes its service time and fails.
        for_: Span, default Duration = Span::secs(5);
    }
}

element! {
    /// A memory leak that crashes instances.
    pub struct Leak, "`leak`", check = check_leak {
        /// An instance crashes after it has handled this many requests.
        after: u64, required Natural;
        /// How long it takes to come back.
        restart: Span, default Duration = Span::secs(30);
    }
}

element! {
    /// What does the work.
    pub struct Service, "a service", check = check {
        /// The service's name.
        name: String, named;
        /// How many copies of it run.
        instances: u32, default Count<1> = 1;
        /// How many requests one instance works on at a time; without limit when absent.
        threads: Option<u32>, optional Count<1>;
        /// How many requests may wait for a thread of one instance, the next one fails at once; without limit when absent.
        queue: Option<u32>, optional Count;
        /// The service's own work on a request, during which it holds a thread.
        service_time: Dist, default Law = Dist::Fixed(Span::ZERO);
        /// The caches that it looks into, in this order (indices into the scenario's caches).
        caches: Vec<usize>, default List<CacheName> = Vec::new();
        /// Where a miss is loaded from, a database or a service; absent, the service makes the answer itself.
        origin: Option<Place>, optional Origin;
        /// Who answers when the origin or the cache does not.
        fallback: Option<Fallback>, optional Fallback;
        /// What it also calls on every request that does work, without failing when that fails.
        also: Vec<Place>, default List<Origin> = Vec::new();
        /// The share of its own work that succeeds.
        availability: f64, default Share = 1.0;
        /// Too much at once takes it down for a while.
        trips: Option<Trips>, optional Trips;
        /// A memory leak that crashes instances.
        leak: Option<Leak>, optional Leak;
        /// The network's time to this service, there and back.
        latency: Dist, default Law = Dist::Fixed(Span::ZERO);
    }
}

words! { FallbackWhen, "time for a fallback" { "origin-down" = OriginDown, "cache-down" = CacheDown } }

fn check_leak(cx: &mut Reader, node: &Node, leak: &Leak) {
    if leak.after == 0 {
        cx.mistake(
            node.at_field("after"),
            "an instance that crashes at once handles nothing",
            "out of range",
            "it must be at least 1",
        );
    }
}

fn check(cx: &mut Reader, node: &Node, service: &Service) {
    if service.queue.is_some() && service.threads.is_none() {
        cx.mistake(
            node.at_field("queue"),
            "nothing waits for a thread where threads have no limit",
            "without effect",
            "add `threads = …`, or leave `queue` out",
        );
    }
    let caches = node.field("caches").map_or(&[][..], Node::items);
    for (index, cache) in service.caches.iter().enumerate() {
        if service.caches[..index].contains(cache) {
            cx.mistake(
                caches[index].at,
                "this cache is already looked into",
                "twice",
                "name each cache once",
            );
        }
    }
    if let Some(fallback) = &service.fallback
        && Some(fallback.origin) == service.origin
    {
        let at = node
            .field("fallback")
            .map_or(node.at, |table| table.at_field("origin"));
        cx.mistake(
            at,
            "the fallback is the origin itself",
            "not another one",
            "name another service or database",
        );
    }
}
