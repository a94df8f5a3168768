//! Which signs a fault shows, and where.

use std::time::Duration;

use seawall_core::time::Span;
use seawall_scenario::{Event, Fault, Place, What};

use super::{Sign, Spot, Usual};
use crate::inject::Door;
use crate::run::cached::Cached;
use crate::run::faults::{longer, nodes_of, slowness};
use crate::run::system::System;

/// What is later by less than this shows in nothing that could be asked.
const LATER_MIN: Duration = Duration::from_millis(1);
/// What is slower by less than this factor shows on average alone.
const PLAIN: f64 = 4.0;
/// A packet that was lost is sent again after 200 ms.
const AGAIN: Duration = Duration::from_millis(150);

/// By how much an answer is later at least, of which half of the time of the fault may be waited for.
fn later(event: &Event, add: Span, jitter: Span) -> Sign {
    let add = Duration::from(add);
    let least = add.saturating_sub(jitter.into()).max(add / 3).mul_f64(0.9);
    Sign::Later(match event.for_ {
        Some(length) => least.min(Duration::from(length) / 2),
        None => least,
    })
}

/// The sign of a fault of a link.
fn of_link(event: &Event, fault: &Fault) -> Option<Sign> {
    Some(match fault {
        Fault::Latency { add, jitter } => later(event, *add, *jitter),
        Fault::FarRegion { add } => later(event, *add, Span::ZERO),
        Fault::Bandwidth { rate } => Sign::Narrow(*rate),
        Fault::Partition => Sign::Silent,
        Fault::Reset => Sign::Cut,
        Fault::Loss { .. } => Sign::Later(AGAIN),
        Fault::Refuse => Sign::Refused,
        _ => return None,
    })
}

impl System {
    /// What shows that a fault is in force, and where: of those that do not prove it themselves.
    pub(crate) fn signs(&self, event: &Event, fault: &Fault) -> Vec<(Spot, Sign)> {
        match event.on {
            Some(Place::Cache(at)) => self.signs_of_cache(event, at, fault),
            Some(Place::Database(at)) => self.signs_of_database(event, at, fault),
            Some(Place::Service(at)) => self.signs_of_service(event, at, fault),
            _ => Vec::new(),
        }
    }

    fn signs_of_cache(&self, event: &Event, at: usize, fault: &Fault) -> Vec<(Spot, Sign)> {
        let usual = self.scaled.scenario.caches[at].latency.mean();
        let nodes = nodes_of(event, self.caches[at].len()).into_iter();
        let nodes = nodes.map(|number| &self.caches[at][number]);
        let signs = nodes.filter_map(|node| {
            let embedded = matches!(node.server, Cached::Embedded(_));
            let link = || Spot::new(&node.name, Door::redis(node.door));
            let itself = || Spot::new(&node.name, Door::redis(node.address));
            Some(match fault {
                Fault::Slow { .. } | Fault::Starve { .. } => {
                    let by = longer(fault, usual);
                    (Duration::from(by) >= LATER_MIN).then(|| (link(), later(event, by, Span::ZERO)))?
                }
                Fault::Kill => (itself(), Sign::Refused),
                Fault::Hang if embedded => (itself(), Sign::Silent),
                Fault::Loading if embedded => (Spot::read(&node.name, node.address), Sign::Says("LOADING")),
                _ => (link(), of_link(event, fault)?),
            })
        });
        signs.collect()
    }

    fn signs_of_database(&self, event: &Event, at: usize, fault: &Fault) -> Vec<(Spot, Sign)> {
        let whole = self.is_whole(event);
        let mut signs = Vec::new();
        if let (Fault::Kill, true, Some(postgres)) = (fault, whole, &self.postgres) {
            let spot = Spot::new("postgres", Door::postgres(postgres.address()));
            signs.push((spot, Sign::Refused));
        }
        let embedded = self.postgres.is_none();
        let service_time = self.scaled.scenario.databases[at].service_time.mean();
        for number in nodes_of(event, self.databases[at].len()) {
            let node = &self.databases[at][number];
            let door = if embedded {
                Door::http(node.door)
            } else {
                Door::postgres(node.door)
            };
            let link = || Spot::new(&node.name, door);
            // A query, which the door of the node paces.
            let query = || {
                if embedded {
                    Spot::path(&node.name, node.door, "/probe/0")
                } else {
                    Spot::query(&node.name, node.door)
                }
            };
            let sign = match fault {
                Fault::Slow { .. } | Fault::SlowQuery { .. } | Fault::Starve { .. } => {
                    // Half of it is more than chance makes of it.
                    let by = longer(fault, service_time).scaled(0.5);
                    let plain = slowness(fault) >= PLAIN;
                    let sign = if plain {
                        later(event, by, Span::ZERO)
                    } else {
                        Sign::Slower(by.into())
                    };
                    (query(), sign)
                }
                // Otherwise the server itself is stopped, or locked, and says so.
                Fault::Hang | Fault::Pause | Fault::Lock if !whole => (query(), Sign::Silent),
                Fault::Kill => (link(), Sign::Refused),
                _ => match of_link(event, fault) {
                    Some(sign) => (link(), sign),
                    None => continue,
                },
            };
            signs.push(sign);
        }
        signs
    }

    fn signs_of_service(&self, event: &Event, at: usize, fault: &Fault) -> Vec<(Spot, Sign)> {
        let service = &self.scaled.scenario.services[at];
        let mut numbers = nodes_of(event, self.services[at].len());
        if let Fault::Crash {
            instances: Some(most),
        } = fault
        {
            numbers.truncate(*most as usize);
        }
        let copies = numbers.into_iter().map(|number| &self.services[at][number]);
        let signs = copies.filter_map(|copy| {
            let link = || Spot::new(&copy.name, Door::http(copy.door));
            Some(match fault {
                // What the service does itself takes longer; what a call takes beside that does not.
                Fault::Starve { .. } => {
                    let by = longer(fault, service.service_time.mean());
                    let long = Duration::from(by) >= LATER_MIN && copy.control.is_some();
                    let path = format!("/{PROBE}/0");
                    long.then(|| {
                        (
                            Spot::path(&copy.name, copy.door, &path),
                            later(event, by.scaled(0.5), Span::ZERO),
                        )
                    })?
                }
                Fault::Kill | Fault::Crash { .. } => {
                    (Spot::new(&copy.name, Door::http(copy.listens()?)), Sign::Refused)
                }
                _ => (link(), of_link(event, fault)?),
            })
        });
        signs.collect()
    }

    /// Measures what is usual wherever a fault of the timeline will show.
    pub(crate) async fn look_around(&self) {
        for event in &self.scaled.scenario.timeline {
            if let What::Fault(fault) = &event.what {
                for (spot, sign) in self.signs(event, fault) {
                    self.usual(&spot, &sign).await;
                }
            }
        }
    }

    /// What is usual at a spot, measured when it is asked for the first time.
    pub(crate) async fn usual(&self, spot: &Spot, sign: &Sign) -> Usual {
        let mut usual = self.usual.lock().await;
        let key = spot.key(sign);
        if let Some(known) = usual.get(&key) {
            return *known;
        }
        let measured = spot.usual(sign).await;
        usual.insert(key, measured);
        measured
    }
}

/// The client that probes are.
const PROBE: &str = "probe";
