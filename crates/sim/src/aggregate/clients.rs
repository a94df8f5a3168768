//! Clients and gateways: arrivals, the door, and how calls end.

use seawall_core::arrivals::{Arrivals, Spacing};
use seawall_core::policies::Policies;
use seawall_core::record::{Ending, Metric};
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::time::Span;
use seawall_scenario::{Arrival, Keys, Place};

use super::classes::Weights;
use super::door::Door;
use super::law::Law;
use crate::meter::{Counter, Meter, Timer};
use crate::plan::Plan;

/// For how many ticks it is remembered when calls were looked up.
pub(super) const LOOKED: usize = 4096;

/// A client.
pub(super) struct Client {
    pub(super) arrivals: Arrivals,
    pub(super) even: bool,
    /// What evenly spaced arrivals have left over.
    pub(super) carry: f64,
    pub(super) rng: Stream,
    pub(super) mix_rng: Stream,
    pub(super) gateway: Option<usize>,
    pub(super) service: usize,
    pub(super) keys: Keys,
    pub(super) writes: f64,
    pub(super) missing: f64,
    pub(super) hot: f64,
    pub(super) penetration: f64,
    /// How its reads fall on the classes of its service.
    pub(super) weights: Weights,
    pub(super) timeout: f64,
    pub(super) retries: u32,
    pub(super) backoff: f64,
    pub(super) priority: Priority,
    /// Calls that have not ended, by the number of the try and the tick of its beginning.
    pub(super) open: Vec<Vec<Cell>>,
    /// By the number of the try and the tick in which calls were made: when these were looked up, also after their
    /// client had left.
    pub(super) looked: Vec<Vec<(u32, u32)>>,
    pub(super) inside: u64,
    pub(super) endings: [Counter; 6],
    pub(super) goodput: Counter,
    pub(super) retried: Counter,
    pub(super) took: Timer,
}

/// Calls of one tick that have not ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    pub(super) open: u64,
    /// Those that wait for a load, and when the last of these began.
    pub(super) missed: u64,
    pub(super) launched: u32,
    pub(super) writes: u64,
    pub(super) first: u32,
}

/// A gateway.
pub(super) struct Gateway {
    pub(super) door: Door,
    pub(super) policies: Policies,
    pub(super) latency: Law,
    pub(super) share: Counter,
    pub(super) level: Counter,
    pub(super) depth: Counter,
}

impl Client {
    pub(super) fn new(plan: &Plan, index: usize, seed: Seed, dt: f64, meter: &mut Meter) -> Client {
        let client = &plan.scenario.clients[index];
        let (gateway, service) = match client.calls {
            Place::Gateway(gateway) => (Some(gateway), plan.scenario.gateways[gateway].calls),
            other => (None, other),
        };
        let Place::Service(service) = service else {
            unreachable!("a document is only read when clients reach a service")
        };
        let changes = plan.changes(client);
        let timeout = client.timeout.map_or(f64::INFINITY, Span::as_secs_f64);
        let kept = if timeout.is_finite() {
            (timeout / dt) as usize + 3
        } else {
            0
        };
        let name = client.name.as_str();
        Client {
            arrivals: Arrivals::new(Spacing::Poisson, client.rate, &changes),
            even: client.arrivals == Arrival::Even,
            carry: 0.0,
            rng: seed.stream("arrivals", index as u64),
            mix_rng: seed.stream("mix", index as u64),
            gateway,
            service,
            keys: client.keys,
            writes: client.writes,
            missing: client.missing,
            hot: 0.0,
            penetration: 0.0,
            weights: Weights::new(),
            timeout,
            retries: client.retries,
            backoff: client.backoff.as_secs_f64(),
            priority: client.priority,
            open: vec![vec![Cell::default(); kept]; client.retries as usize + 1],
            looked: Vec::new(),
            inside: 0,
            endings: Ending::ALL.map(|ending| meter.counter(Metric::Requests, name, Some(ending.name()))),
            goodput: meter.counter(Metric::Goodput, name, None),
            retried: meter.counter(Metric::Retries, name, None),
            took: meter.timer(Metric::RequestDuration, name),
        }
    }

    pub(super) fn cell(&mut self, tries: u16, born: u32) -> Option<&mut Cell> {
        while self.open.len() <= tries as usize {
            let kept = self.open[0].len();
            self.open.push(vec![Cell::default(); kept]);
        }
        let cells = &mut self.open[tries as usize];
        let kept = cells.len();
        if kept == 0 {
            return None;
        }
        cells.get_mut(born as usize % kept)
    }
}

impl Gateway {
    pub(super) fn new(plan: &Plan, index: usize, seed: Seed, meter: &mut Meter) -> Gateway {
        let gateway = &plan.scenario.gateways[index];
        let document = plan.scenario.policies(Place::Gateway(index));
        let played = plan.resized(&document, Place::Gateway(index));
        let name = gateway.name.as_str();
        Gateway {
            door: Door::new(&gateway.name, &played, seed.stream("gate", index as u64)),
            policies: document,
            latency: Law::new(&gateway.latency),
            depth: meter.counter(Metric::QueueDepth, name, None),
            share: meter.counter(Metric::ThrottleRatio, name, None),
            level: meter.counter(Metric::DegradationLevel, name, None),
        }
    }
}
