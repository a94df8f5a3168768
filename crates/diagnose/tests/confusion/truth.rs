//! What is really the matter in a scenario, by its timeline.

use seawall_diagnose::Failure as F;
use seawall_scenario::{Action, Event, Fault, Place, Scenario, What};

/// When the first thing happens that is a failure, and what is right to say then.
pub(crate) fn of(scenario: &Scenario) -> (f64, Vec<F>) {
    let failures = scenario.timeline.iter().filter_map(|event| {
        let said = said(scenario, event);
        let at = match &event.what {
            // What is set to happen at an instant happens then.
            What::Fault(Fault::ExpireAt { instant }) => instant.as_secs_f64(),
            _ => event.at.as_secs_f64(),
        };
        (!said.is_empty()).then_some((at, said))
    });
    let failures: Vec<(f64, &[F])> = failures.collect();
    let first = failures.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    if first.is_infinite() {
        return (0.0, Vec::new());
    }
    let mut truth: Vec<F> = Vec::new();
    for (_, said) in failures.iter().filter(|(at, _)| *at <= first + 1e-9) {
        truth.extend_from_slice(said);
    }
    truth.sort_unstable();
    truth.dedup();
    (first, truth)
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
