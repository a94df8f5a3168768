//! The clients of a scenario: what they call, how, and whether they are answered.

use std::time::Duration;

use seawall_core::arrivals::Spacing;
use seawall_core::balance::Strategy;
use seawall_core::rng::mix;
use seawall_scenario::{Arrival, Place};
use tokio::task::JoinSet;

use super::system::{self, System};
use super::{NoDrill, asking};
use crate::copies::Copies;
use crate::load::{Call, Reply, Settings, Target};

/// Calls that are tried before the clients begin, and how patiently.
const TRIES: u64 = 20;
const TRY: Duration = Duration::from_secs(2);

pub(super) async fn prefill(system: &System) -> Result<(), NoDrill> {
    let copies = system.services.iter().flatten();
    let asked = copies.filter_map(|copy| copy.control);
    let asked: Vec<_> = asked
        .map(|control| tokio::spawn(asking::prefill(control)))
        .collect();
    for asked in asked {
        asked
            .await
            .map_err(|error| NoDrill::Failed(error.to_string()))??;
    }
    Ok(())
}

/// Where each client calls.
pub(super) fn targets(system: &System) -> Result<Vec<Copies>, NoDrill> {
    let scenario = &system.scaled.scenario;
    let clients = scenario.clients.iter();
    clients
        .map(|client| {
            let strategy = match client.calls {
                Place::Service(at) => scenario.policies(Place::Service(at)).balance.unwrap_or_default(),
                _ => Strategy::default(),
            };
            let doors = system.door_of(client.calls);
            let copies = match system.path_of(client.calls) {
                Some(path) => Copies::at(path, &doors, strategy),
                None => Copies::new(&client.name, &doors, strategy),
            };
            copies.map_err(|error| NoDrill::Failed(error.to_string()))
        })
        .collect()
}

/// Calls what clients will call, a few times; what is wrong with it.
pub(super) async fn probe(system: &System) -> Result<(), String> {
    let scenario = &system.scaled.scenario;
    let targets = targets(system).map_err(|error| error.to_string())?;
    for (client, target) in scenario.clients.iter().zip(targets) {
        let mut calls = JoinSet::new();
        for number in 0..TRIES {
            let call = Call {
                key: mix(number) % system::rows_of(&system.scaled).max(1),
                write: None,
            };
            let target = target.clone();
            calls.spawn(async move { tokio::time::timeout(TRY, target.call(call)).await });
            tokio::time::sleep(TRY / 200).await;
        }
        let mut good = 0;
        let mut last = String::new();
        while let Some(answer) = calls.join_next().await {
            match answer {
                Ok(Ok(Reply::Value(_))) => good += 1,
                Ok(Ok(reply)) => last = format!("{reply:?}"),
                _ => "no answer in time".clone_into(&mut last),
            }
        }
        // A service whose own availability is low fails now and then.
        if good == 0 {
            return Err(format!("`{}` gets no good answer: {last}", client.name));
        }
    }
    Ok(())
}

pub(super) fn settings(system: &System, at: usize) -> Settings {
    let scenario = &system.scaled.scenario;
    let client = &scenario.clients[at];
    Settings {
        name: client.name.clone(),
        spacing: match client.arrivals {
            Arrival::Poisson => Spacing::Poisson,
            Arrival::Even => Spacing::Even,
        },
        rate: client.rate,
        changes: system.scaled.changes(client),
        keys: client.keys.law(),
        writes: client.writes,
        missing: client.missing,
        timeout: client.timeout,
        retries: client.retries,
        backoff: client.backoff,
        duration: scenario.run.warmup + scenario.run.duration,
        period: scenario.run.every,
        in_flight_max: 20_000,
        seed: scenario.run.seed.wrapping_add(mix(at as u64)),
    }
}
