//! One thing about a scenario changed by a factor.

use seawall_core::time::Span;
use seawall_scenario::{Action, Database, Place, Scenario, What};

/// What all clients ask for together, per second.
pub(super) fn rate(scenario: &Scenario) -> f64 {
    scenario.clients.iter().map(|client| client.rate).sum()
}

/// All clients' rates, now and later in the run, by a factor.
pub(super) fn traffic(scenario: &Scenario, factor: f64) -> Scenario {
    let mut scenario = scenario.clone();
    for client in &mut scenario.clients {
        client.rate *= factor;
        for step in &mut client.schedule {
            step.rate *= factor;
        }
    }
    for event in &mut scenario.timeline {
        if let What::Action(Action::Rate(rate)) = &mut event.what {
            *rate *= factor;
        }
    }
    scenario
}

/// How the databases grow: those that a cache or a client's service loads from, all by one factor.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    indices: Vec<usize>,
}

impl Growth {
    /// Of a scenario; `None` when no service loads from a database that has a limit.
    pub(super) fn of(scenario: &Scenario) -> Option<Growth> {
        let origins = scenario.services.iter().filter_map(|service| service.origin);
        let mut indices: Vec<usize> = origins
            .filter_map(|place| match place {
                Place::Database(index) => Some(index),
                _ => None,
            })
            .filter(|index| {
                let database = &scenario.databases[*index];
                database.capacity.is_some() || database.overload.is_some() || database.connections.is_some()
            })
            .collect();
        indices.sort_unstable();
        indices.dedup();
        (!indices.is_empty()).then_some(Growth { indices })
    }

    /// The scenario with databases of another size.
    pub(super) fn grown(&self, scenario: &Scenario, factor: f64) -> Scenario {
        let mut scenario = scenario.clone();
        for index in &self.indices {
            let database = &mut scenario.databases[*index];
            if database.overload.is_some() {
                database.replicas = whole(database.replicas, factor);
                if let Some(autoscaling) = &mut database.autoscaling {
                    autoscaling.max = autoscaling.max.max(database.replicas);
                }
                continue;
            }
            database.capacity = database.capacity.map(|capacity| capacity * factor);
            database.connections = database.connections.map(|connections| whole(connections, factor));
        }
        scenario
    }

    /// What that comes to.
    pub(super) fn words(&self, scenario: &Scenario, factor: f64) -> String {
        let told: Vec<String> = self
            .indices
            .iter()
            .map(|index| size(&scenario.databases[*index], factor))
            .collect();
        told.join(", ")
    }
}

fn size(database: &Database, factor: f64) -> String {
    let name = &database.name;
    match (
        database.overload.is_some(),
        database.capacity,
        database.connections,
    ) {
        (true, _, _) => {
            let replicas = whole(database.replicas, factor);
            let plural = if replicas == 1 { "" } else { "s" };
            format!("{name} with {replicas} replica{plural} a shard")
        }
        (_, Some(capacity), _) => {
            let all = capacity * factor * f64::from(database.nodes());
            format!("{name} good for {}/s", number(all))
        }
        (_, None, connections) => {
            let each = connections.map_or(0, |connections| whole(connections, factor));
            format!("{name} with {each} connections a node")
        }
    }
}

fn whole(count: u32, factor: f64) -> u32 {
    (f64::from(count) * factor).round().max(1.0) as u32
}

/// A number in three digits with a prefix.
pub(super) fn number(value: f64) -> String {
    seawall_report::limits::number(value)
}

/// The shortest time that a client waits.
pub(super) fn patience(scenario: &Scenario) -> Option<Span> {
    scenario.clients.iter().filter_map(|client| client.timeout).min()
}
