//! A scenario in the size in which it is played or drilled.
//!
//! At scale `s`, clients send `s` times as many requests for `s` times as many keys, and whatever has a count is
//! made smaller in the way that leaves each request's own experience as it was: a service has fewer instances of
//! the same size, a database fewer shards of the same size, a cache the same nodes with less room. Where less than one
//! would be left, one is left and is made smaller itself. Each instance of a service keeps as many separate local
//! caches as the instances it stands for, because fewer and busier local caches would hit more often than they do.

use seawall_core::arrivals::Change;
use seawall_core::policies::Policies;
use seawall_core::time::Time;

use crate::model::{Action, CacheKind, Client, Fault, Keys, Knob, Place, Protection, Scenario, What};

/// A scenario in a share of its size.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// The scenario, in its played size.
    pub scenario: Scenario,
    /// The share of the document's size.
    pub scale: f64,
    /// For each service, how much of an instance of the document one played instance is (above 1: it stands for many).
    pub copies: Vec<f64>,
    /// For each service, the size of an instance as a share of the document's.
    pub sizes: Vec<f64>,
    /// For each database, the size of a node as a share of the document's.
    pub nodes: Vec<f64>,
    /// For each database, how many shards and how many replicas a shard the document has.
    pub written: Vec<(u32, u32)>,
}

/// `count` scaled: how many are left (at least one), and the size of each as a share of what it was.
fn fewer(count: u32, scale: f64) -> (u32, f64) {
    let exact = f64::from(count) * scale;
    let left = libm::round(exact).max(1.0);
    (left as u32, exact / left)
}

fn smaller(count: u32, share: f64) -> u32 {
    libm::round(f64::from(count) * share).max(1.0) as u32
}

fn less(count: u64, share: f64) -> u64 {
    libm::round(count as f64 * share).max(1.0) as u64
}

impl Scenario {
    /// The scenario at this share of its size.
    ///
    /// # Panics
    /// When the share is not above 0 and at most 1.
    #[must_use]
    pub fn scaled(&self, scale: f64) -> Scaled {
        assert!(scale > 0.0 && scale <= 1.0, "a share is above 0 and at most 1");
        let mut scaled = Scaled {
            scenario: self.clone(),
            scale,
            copies: vec![1.0; self.services.len()],
            sizes: vec![1.0; self.services.len()],
            nodes: vec![1.0; self.databases.len()],
            written: self
                .databases
                .iter()
                .map(|database| (database.shards, database.replicas))
                .collect(),
        };
        scaled.shrink();
        scaled
    }
}

impl Scenario {
    /// What clusters make of it: where a copy takes the place of a node that is gone, the node is gone for as long as that
    /// takes, and what it held is not. It is how the simulator plays a failover.
    pub fn with_failovers(&self) -> Scenario {
        let mut scenario = self.clone();
        for event in &mut scenario.timeline {
            let Some(Place::Cache(at)) = event.on else {
                continue;
            };
            let cache = &scenario.caches[at];
            if cache.replicas == 0 {
                continue;
            }
            let gone = match &event.what {
                What::Fault(Fault::Kill) => Fault::Refuse,
                What::Fault(fault @ (Fault::Hang | Fault::Pause)) => fault.clone(),
                _ => continue,
            };
            event.what = What::Fault(gone);
            event.for_ = Some(
                event
                    .for_
                    .map_or(cache.failover, |length| length.min(cache.failover)),
            );
        }
        scenario
    }
}

impl Scaled {
    fn shrink(&mut self) {
        let scale = self.scale;
        if scale >= 1.0 {
            return;
        }
        for client in &mut self.scenario.clients {
            client.rate *= scale;
            client.schedule.iter_mut().for_each(|step| step.rate *= scale);
            match &mut client.keys {
                Keys::Zipf { count, .. } | Keys::Uniform { count } => *count = less(*count, scale),
                Keys::Normal { mean, deviation } => {
                    *mean *= scale;
                    *deviation *= scale;
                }
            }
        }
        for gateway in &mut self.scenario.gateways {
            gateway.concurrency = gateway.concurrency.map(|most| smaller(most, scale));
        }
        for (index, service) in self.scenario.services.iter_mut().enumerate() {
            let (left, size) = fewer(service.instances, scale);
            self.copies[index] = f64::from(service.instances) / f64::from(left);
            self.sizes[index] = size;
            service.instances = left;
            service.threads = service.threads.map(|threads| smaller(threads, size));
            service.queue = service.queue.map(|places| smaller(places, size));
            // Trips counts the whole service.
            if let Some(trips) = &mut service.trips {
                trips.above = smaller(trips.above, scale);
            }
        }
        for cache in &mut self.scenario.caches {
            if cache.kind == CacheKind::Shared {
                cache.capacity = cache.capacity.map(|entries| less(entries, scale));
                cache.maxmemory = cache.maxmemory.map(|bytes| less(bytes, scale));
                cache.max_clients = cache.max_clients.map(|most| smaller(most, scale));
            }
        }
        for (index, database) in self.scenario.databases.iter_mut().enumerate() {
            let (left, share) = fewer(database.shards, scale);
            database.shards = left;
            // Replicas are only merged when shards no longer can be: a lone small node behaves least like a large one.
            let (replicas, size) = if left == 1 {
                fewer(database.replicas, share)
            } else {
                (database.replicas, share)
            };
            database.replicas = replicas;
            self.nodes[index] = size;
            database.connections = database.connections.map(|most| smaller(most, size));
            database.queue = database.queue.map(|places| smaller(places, size));
        }
        let mut timeline = std::mem::take(&mut self.scenario.timeline);
        for event in &mut timeline {
            self.shrink_event(event.on, &mut event.what);
        }
        self.scenario.timeline = timeline;
    }

    /// The size of one played node or instance of a place, as a share of the document's.
    fn size_of(&self, place: Option<Place>) -> f64 {
        match place {
            Some(Place::Service(index)) => self.sizes[index],
            Some(Place::Database(index)) => self.nodes[index],
            _ => self.scale,
        }
    }

    fn shrink_event(&self, on: Option<Place>, what: &mut What) {
        let (scale, size) = (self.scale, self.size_of(on));
        match what {
            What::Fault(Fault::Connections { max, .. }) => *max = smaller(*max, size),
            What::Fault(Fault::Crash {
                instances: Some(instances),
            }) => *instances = smaller(*instances, scale),
            What::Action(Action::Rate(rate)) => *rate *= scale,
            What::Action(Action::Warm { pace: Some(pace) }) => *pace *= scale,
            What::Action(Action::Scale {
                instances,
                connections,
                ..
            }) => {
                *instances = instances.map(|count| smaller(count, scale));
                *connections = connections.map(|count| smaller(count, size));
            }
            What::Action(Action::Set(knob)) => match knob {
                Knob::TripsAbove(count) | Knob::MaxClients(count) => *count = smaller(*count, scale),
                Knob::Threads(count) | Knob::Queue(count) | Knob::Connections(count) => {
                    *count = smaller(*count, size);
                }
                Knob::Capacity(entries) | Knob::Maxmemory(entries) => *entries = less(*entries, scale),
                _ => {}
            },
            _ => {}
        }
    }

    /// The scenario at this size as one of its own: what is really there, and not what it stands for.
    #[must_use]
    pub fn alone(&self) -> Scenario {
        let mut scenario = self.scenario.clone();
        let resized = |protections: &[Protection]| -> Vec<Protection> {
            let each = protections
                .iter()
                .flat_map(|one| one.at.iter().map(move |place| (one, *place)));
            let resized = each.filter_map(|(one, place)| {
                let mut policies = Policies::default();
                one.setting.apply(&mut policies);
                let setting = one.setting.name().setting(&self.resized(&policies, place))?;
                let at = vec![place];
                Some(Protection { at, setting })
            });
            resized.collect()
        };
        scenario.protections = resized(&scenario.protections);
        for event in &mut scenario.timeline {
            if let What::Action(Action::Protect(protections)) = &mut event.what {
                *protections = resized(protections);
            }
        }
        scenario
    }

    /// The schedule of a client, on the clock of the run.
    pub fn changes(&self, client: &Client) -> Vec<Change> {
        let warmup = Time::ZERO + self.scenario.run.warmup;
        let steps = client.schedule.iter();
        steps
            .map(|step| Change {
                at: warmup + step.at,
                rate: step.rate,
                over: step.over,
            })
            .collect()
    }

    /// Protections of a place, in its played size.
    pub fn resized(&self, policies: &Policies, place: Place) -> Policies {
        let mut policies = policies.clone();
        if self.scale >= 1.0 {
            return policies;
        }
        let size = match place {
            Place::Service(index) => self.sizes[index],
            _ => self.scale,
        };
        if let Some(rate) = &mut policies.rate {
            rate.rate *= size;
            rate.burst = (rate.burst * size).max(1.0);
            if let Some(adaptive) = &mut rate.adaptive {
                adaptive.min *= size;
                adaptive.max *= size;
            }
        }
        if let Some(queue) = &mut policies.queue {
            queue.places = smaller(queue.places, size);
        }
        if let Some(limit) = &mut policies.limit {
            limit.min = smaller(limit.min, size);
            limit.max = smaller(limit.max, size);
            limit.initial = smaller(limit.initial, size);
            limit.places = smaller(limit.places, size);
        }
        if let Some(stale) = &mut policies.stale {
            stale.refreshes_max = smaller(stale.refreshes_max, size);
        }
        if let Some(warm) = &mut policies.warm {
            warm.pace *= self.scale;
        }
        policies
    }

    /// The size of the largest answer that a client gets, in bytes.
    pub fn answer_size(&self) -> u64 {
        let sizes = self.scenario.clients.iter().map(|client| client.answer_size);
        sizes.max().unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use crate::Document;

    const TEXT: &str = r#"
        title = "t"
        [run]
        duration = "2s"
        [client.web]
        calls = "app"
        rate = "1k/s"
        keys = { uniform = { count = 1000 } }
        [service.app]
        instances = 20
        threads = 40
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        [database.db]
        connections = 100
        service_time = "10ms"
        [protect]
        limit = { max = 40, initial = 40, places = 80 }
        rate = { rate = "10k/s", burst = 2000 }
        [[timeline]]
        at = "1s"
        action = { protect = { limit = { max = 60, initial = 60 } } }
    "#;

    #[test]
    fn what_is_there_alone_is_what_a_run_at_that_size_has() {
        let document = Document::parse("t", TEXT).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
        let whole = document.scenario("as-written", &[]).expect("it is in order");
        assert_eq!(whole.scaled(1.0).alone(), whole);
        let small = whole.scaled(1.0 / 40.0);
        let alone = small.alone();
        for place in whole.places() {
            let resized = small.resized(&whole.policies(place), place);
            assert_eq!(alone.policies(place), resized, "{place:?}");
        }
        // One instance of half the size is left.
        let (app, limit) = (&alone.services[0], alone.policies(crate::Place::Service(0)).limit);
        assert_eq!(
            (app.instances, app.threads, limit.map(|limit| limit.max)),
            (1, Some(20), Some(20))
        );
        assert_ne!(alone.timeline, small.scenario.timeline);
    }
}
