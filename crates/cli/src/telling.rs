//! From scenarios to what a report tells of them: the timeline in words, and the components with their capacity.

use seawall_core::time::Span;
use seawall_report::{Component, ComponentKind, Happening, HappeningKind};
use seawall_scenario::{Action, Database, Event, Fault, Knob, Place, Scenario, Service, What};

/// What happens in the variants; what happens in all of them alike is told once.
pub(crate) fn happenings(scenarios: &[Scenario]) -> Vec<Happening> {
    let of = |scenario: &Scenario| -> Vec<Happening> {
        scenario
            .timeline
            .iter()
            .map(|event| happening(scenario, event))
            .collect()
    };
    let all: Vec<Vec<Happening>> = scenarios.iter().map(of).collect();
    let mut told: Vec<Happening> = Vec::new();
    for (index, happenings) in all.iter().enumerate() {
        for happening in happenings {
            let everywhere = all.iter().all(|others| others.contains(happening));
            if everywhere && index > 0 {
                continue;
            }
            let variant = (!everywhere).then_some(index);
            told.push(Happening {
                variant,
                ..happening.clone()
            });
        }
    }
    told.sort_by(|a, b| a.from.total_cmp(&b.from));
    told
}

fn happening(scenario: &Scenario, event: &Event) -> Happening {
    let (kind, mut what, lasts) = match &event.what {
        What::Fault(fault) => {
            let to_the_end = scenario.run.duration.saturating_sub(event.at);
            let lasts = event.for_.or((!fault.is_instant()).then_some(to_the_end));
            (HappeningKind::Fault, fault.word().replace('_', " "), lasts)
        }
        What::Action(action) => {
            let (what, takes) = action_words(action);
            (HappeningKind::Action, what, event.for_.or(takes))
        }
    };
    if let Some(nodes) = &event.nodes {
        what = format!("{what}, {}", node_words(nodes));
    }
    if let Some(note) = &event.note {
        what = format!("{what} ({note})");
    }
    // What is set to expire later does its harm then, and that is when it is told.
    let from = match event.what {
        What::Fault(Fault::ExpireAt { instant }) => instant.as_secs_f64(),
        _ => event.at.as_secs_f64(),
    };
    Happening {
        variant: None,
        from,
        to: lasts.map(|lasts| from + lasts.as_secs_f64()),
        kind,
        what,
        on: event
            .on
            .map_or_else(String::new, |place| scenario.name(place).to_owned()),
    }
}

/// Nodes as a person counts them: `nodes 0–4`, `nodes 1, 3`.
fn node_words(nodes: &[u32]) -> String {
    let consecutive = nodes.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match nodes {
        [one] => format!("node {one}"),
        [first, .., last] if consecutive && nodes.len() > 2 => format!("nodes {first}–{last}"),
        _ => {
            let names: Vec<String> = nodes.iter().map(u32::to_string).collect();
            format!("nodes {}", names.join(", "))
        }
    }
}

/// An action in words, and how long it takes where it says so.
fn action_words(action: &Action) -> (String, Option<Span>) {
    let plain = |text: &str| (text.to_owned(), None);
    match action {
        Action::Set(knob) => (knob_words(knob), None),
        Action::Protect(protections) => {
            let names: Vec<String> = protections.iter().map(|one| words(&one.setting.name())).collect();
            (format!("switch on {}", names.join(", ")), None)
        }
        Action::Unprotect(names) => {
            let names: Vec<String> = names.iter().map(words).collect();
            (format!("switch off {}", names.join(", ")), None)
        }
        Action::Scale {
            replicas,
            instances,
            connections,
            nodes,
            takes,
        } => {
            let counts = [
                (replicas, "replicas a shard"),
                (instances, "instances"),
                (connections, "connections a node"),
                (nodes, "nodes"),
            ];
            let told: Vec<String> = counts
                .iter()
                .filter_map(|(count, what)| count.map(|count| format!("{count} {what}")))
                .collect();
            (
                format!("scale to {}", told.join(", ")),
                (!takes.is_zero()).then_some(*takes),
            )
        }
        Action::Warm { pace: Some(pace) } => (format!("warm at {pace} loads/s"), None),
        Action::Warm { pace: None } => plain("warm"),
        Action::Restart { takes } => ("restart".to_owned(), (!takes.is_zero()).then_some(*takes)),
        Action::Purge => plain("purge"),
        Action::Flush => plain("flush"),
        Action::Balance(strategy) => (format!("balance by {}", words(strategy)), None),
        Action::Shard { sharding, nodes } => {
            let by = sharding
                .as_ref()
                .map(|sharding| format!(" by {}", words(sharding)));
            let over = nodes.map(|nodes| format!(" over {nodes} nodes"));
            (
                format!("shard{}{}", by.unwrap_or_default(), over.unwrap_or_default()),
                None,
            )
        }
        Action::Rate(rate) => (format!("rate is now {rate}/s"), None),
    }
}

fn knob_words(knob: &Knob) -> String {
    let (name, value) = match knob {
        Knob::TripsAbove(value) => ("trips above", value.to_string()),
        Knob::Availability(value) => ("availability", value.to_string()),
        Knob::Threads(value) => ("threads", value.to_string()),
        Knob::Queue(value) => ("queue", value.to_string()),
        Knob::ServiceTime(law) => ("service time", law.mean().to_string()),
        Knob::Ttl(span) => ("ttl", span.to_string()),
        Knob::Timeout(span) => ("timeout", span.to_string()),
        Knob::Capacity(value) => ("capacity", value.to_string()),
        Knob::Maxmemory(value) => ("maxmemory", format!("{value} bytes")),
        Knob::Eviction(eviction) => ("eviction", words(eviction)),
        Knob::MaxClients(value) => ("max clients", value.to_string()),
        Knob::RenewedByHits(value) => ("renewed by hits", value.to_string()),
        Knob::Connections(value) => ("connections", value.to_string()),
        Knob::Retries(value) => ("retries", value.to_string()),
        Knob::Writes(value) => ("writes", value.to_string()),
    };
    format!("set {name} to {value}")
}

/// The name of a variant of an enum as words: `LeastConnections` is "least connections".
fn words(value: &impl std::fmt::Debug) -> String {
    let name = format!("{value:?}");
    let end = name
        .find(|letter: char| !letter.is_alphanumeric())
        .unwrap_or(name.len());
    let mut text = String::new();
    for letter in name[..end].chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// The components from the clients inwards.
pub(crate) fn topology(scenario: &Scenario) -> Vec<Component> {
    let component = |place: Place| {
        let (kind, capacity_per_s) = match place {
            Place::Client(_) => (ComponentKind::Client, None),
            Place::Gateway(_) => (ComponentKind::Gateway, None),
            Place::Service(index) => (
                ComponentKind::Service,
                service_capacity(&scenario.services[index]),
            ),
            Place::Cache(_) => (ComponentKind::Cache, None),
            Place::Database(index) => (
                ComponentKind::Database,
                database_capacity(&scenario.databases[index]),
            ),
        };
        Component {
            name: scenario.name(place).to_owned(),
            kind,
            capacity_per_s,
        }
    };
    scenario.places().map(component).collect()
}

/// All threads busy with nothing but the service's own work.
fn service_capacity(service: &Service) -> Option<f64> {
    let mean = service.service_time.mean().as_secs_f64();
    let threads = f64::from(service.threads?) * f64::from(service.instances);
    (mean > 0.0).then(|| threads / mean)
}

/// What the nodes complete at best: their capacity, or the peak of their overload curve
/// (Gunther's universal scalability law, X(N) = γN / (1 + σ(N−1) + κN(N−1)), at N = √((1−σ)/κ)).
fn database_capacity(database: &Database) -> Option<f64> {
    let nodes = f64::from(database.nodes());
    if let Some(capacity) = database.capacity {
        return Some(capacity * nodes);
    }
    let law = database.overload.as_ref()?;
    let alone = 1.0 / database.service_time.mean().as_secs_f64();
    if law.coherence <= 0.0 || !alone.is_finite() {
        return None;
    }
    let best = libm::sqrt((1.0 - law.contention).max(0.0) / law.coherence).max(1.0);
    let lost = 1.0 + law.contention * (best - 1.0) + law.coherence * best * (best - 1.0);
    Some(alone * best / lost * nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_enums_are_words() {
        #[derive(Debug)]
        enum Strategy {
            LeastConnections,
        }
        assert_eq!(words(&Strategy::LeastConnections), "least connections");
    }

    #[test]
    fn an_expiry_that_is_set_for_later_is_told_when_it_comes() {
        let text = r#"
            title = "a bulk job"
            run = { duration = "10m" }
            client.web = { calls = "app", rate = "1/s", keys = { uniform = { count = 1 } } }
            service.app = { caches = ["redis"], origin = "db" }
            cache.redis = { ttl = "1h" }
            database.db = { service_time = "1ms" }
            timeline = [{ at = "1m", on = "redis", fault = { expire_at = { instant = "5m" } } }]
        "#;
        let document = seawall_scenario::Document::parse("job.toml", text).expect("a good document");
        let scenario = document.scenario("as-written", &[]).expect("a variant");
        let told = happenings(&[scenario]);
        assert!((told[0].from - 300.0).abs() < 1e-9, "{told:?}");
    }

    #[test]
    fn nodes_are_counted_as_a_person_would() {
        assert_eq!(node_words(&[0, 1, 2, 3, 4]), "nodes 0–4");
        assert_eq!(node_words(&[1, 3]), "nodes 1, 3");
        assert_eq!(node_words(&[7]), "node 7");
    }
}
