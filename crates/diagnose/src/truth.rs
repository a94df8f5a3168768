//! What is really the matter in a scenario, by its timeline: what a diagnosis of a run of it is held against.

use seawall_scenario::{Action, Event, Fault, Place, Scenario, What};

use crate::failure::Failure as F;

/// What is right to say of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// When the first thing happens that is a failure, in seconds of the scenario's clock.
    pub began: f64,
    /// What it is; several where one happening is rightly told in more than one way.
    pub failures: Vec<F>,
}

/// When the first thing happens that is a failure, and what is right to say then; nothing where nothing does.
pub fn truth(scenario: &Scenario) -> Option<Truth> {
    let failures = scenario.timeline.iter().filter_map(|event| {
        let said = said(scenario, event);
        let at = match &event.what {
            // What is set to happen at an instant happens then.
            What::Fault(Fault::ExpireAt { instant }) => instant.as_secs_f64(),
            _ => event.at.as_secs_f64(),
        };
        (!said.is_empty()).then_some((at, said))
    });
    let happened: Vec<(f64, &[F])> = failures.collect();
    let began = happened.iter().map(|(at, _)| *at).reduce(f64::min)?;
    let mut failures: Vec<F> = Vec::new();
    for (_, said) in happened.iter().filter(|(at, _)| *at <= began + 1e-9) {
        failures.extend_from_slice(said);
    }
    failures.sort_unstable();
    failures.dedup();
    Some(Truth { began, failures })
}

fn said(scenario: &Scenario, event: &Event) -> &'static [F] {
    let (service, origin) = (
        matches!(event.on, Some(Place::Service(_))),
        matches!(event.on, Some(Place::Database(_))),
    );
    match &event.what {
        What::Fault(fault) if service => of_service(fault),
        What::Fault(fault) if origin => of_origin(fault),
        What::Fault(Fault::Spike { .. })
            if scenario.caches.iter().any(|cache| cache.max_clients.is_some()) =>
        {
            &[F::TooManyClients, F::TrafficSpike]
        }
        What::Fault(fault) => of_cache(fault),
        // It is down for a few seconds, and then it is empty.
        What::Action(Action::Restart { .. }) if !service && !origin => &[F::Refused, F::Cold],
        What::Action(Action::Flush) => &[F::Cold],
        What::Action(Action::Set { .. })
            if event.at.is_zero() && format!("{:?}", event.what).contains("Maxmemory") =>
        {
            &[F::OutOfMemory]
        }
        What::Action(_) => &[],
    }
}

fn of_service(fault: &Fault) -> &'static [F] {
    match fault {
        Fault::Starve { .. } | Fault::Slow { .. } => &[F::ServiceStarved],
        _ => &[F::InstancesDown],
    }
}

fn of_origin(fault: &Fault) -> &'static [F] {
    match fault {
        Fault::Lock => &[F::OriginLocked],
        Fault::Connections { .. } => &[F::OriginFull],
        Fault::Kill | Fault::Refuse | Fault::Reset | Fault::Partition | Fault::Hang | Fault::Pause => {
            &[F::OriginDown]
        }
        _ => &[F::OriginSlow],
    }
}

/// A fault of a cache or of a client.
fn of_cache(fault: &Fault) -> &'static [F] {
    match fault {
        Fault::Kill | Fault::Refuse => &[F::Refused],
        Fault::Replace | Fault::Flush => &[F::Cold],
        Fault::Hang => &[F::Hung],
        Fault::Pause => &[F::Paused],
        // What is asked for more than a link carries waits in line for longer than anybody does.
        Fault::Bandwidth { .. } => &[F::NetworkLatency, F::Unreachable],
        Fault::Latency { .. } | Fault::Loss { .. } | Fault::FarRegion { .. } => &[F::NetworkLatency],
        Fault::Partition => &[F::Unreachable],
        Fault::Reset => &[F::Reset],
        Fault::Expire { .. } => &[F::MassExpiry],
        Fault::ExpireAt { .. } => &[F::MassExpiry, F::Stampede],
        Fault::NeverStored => &[F::NotStored],
        Fault::Corrupt { .. } => &[F::Corruption],
        Fault::OutOfMemory => &[F::OutOfMemory],
        Fault::TooManyClients => &[F::TooManyClients],
        Fault::Slow { .. } => &[F::SlowCommands],
        Fault::Loading => &[F::Loading],
        Fault::ReadOnly => &[F::ReadOnly],
        Fault::Starve { .. } => &[F::CpuStarved],
        Fault::DiskFull => &[F::DiskFull],
        Fault::Spike { .. } => &[F::TrafficSpike],
        Fault::HotKey { .. } => &[F::HotKey],
        Fault::Penetration { .. } => &[F::Penetration],
        _ => &[],
    }
}
