//! What happens, in plain words, for timelines.

use seawall_core::balance::Strategy;

use crate::model::{Action, Event, Fault, Knob, Place, Scenario, What};
use crate::numbers::{Unit, spell};

impl Scenario {
    /// A happening in plain words, without its time: "nodes 0–4 of redis are replaced by empty ones".
    pub fn describe(&self, event: &Event) -> String {
        match &event.what {
            What::Fault(fault) => self.describe_fault(fault, event),
            What::Action(action) => self.describe_action(action, event.on),
        }
    }

    /// Who it happens to, and whether it is more than one.
    fn whom(&self, event: &Event) -> (String, bool) {
        let name = event.on.map_or("everything", |place| self.name(place));
        let many = match event.on {
            Some(Place::Cache(index)) => self.caches[index].nodes > 1,
            Some(Place::Database(index)) => self.databases[index].nodes() > 1,
            Some(Place::Service(index)) => self.services[index].instances > 1,
            _ => false,
        };
        let word = match event.on {
            Some(Place::Service(_)) => "instance",
            _ => "node",
        };
        match event.nodes.as_deref() {
            None if many => (format!("all {word}s of {name}"), true),
            None => (name.to_owned(), false),
            Some([node]) => (format!("{word} {node} of {name}"), false),
            Some(nodes) => (format!("{word}s {} of {name}", runs(nodes)), true),
        }
    }

    fn describe_fault(&self, fault: &Fault, event: &Event) -> String {
        let (whom, many) = self.whom(event);
        let is = if many { "are" } else { "is" };
        let s = if many { "" } else { "s" };
        let share = |share: &f64| spell(*share, Unit::Share);
        let times = |factor: &f64| spell(*factor, Unit::Times);
        match fault {
            Fault::Kill => format!("{whom} {is} down, and come{s} back empty"),
            Fault::Replace if many => format!("{whom} are replaced by empty ones"),
            Fault::Replace => format!("{whom} is replaced by an empty one"),
            Fault::Hang => format!("{whom} accept{s} and never answer{s}"),
            Fault::Pause => format!("{whom} stand{s} still"),
            Fault::Latency { add, jitter } if jitter.is_zero() => {
                format!("calls to {whom} take {add} longer")
            }
            Fault::Latency { add, jitter } => {
                format!("calls to {whom} take {add} longer, give or take {jitter}")
            }
            Fault::Bandwidth { rate } => format!("the links to {whom} carry {}/s", spell(*rate, Unit::Bytes)),
            Fault::Partition => format!("nothing gets through to {whom}"),
            Fault::Refuse => format!("{whom} refuse{s} connections"),
            Fault::Reset => format!("{whom} reset{s} connections"),
            Fault::Loss { share: lost } => format!("{} of the packets to {whom} are lost", share(lost)),
            Fault::Flush => format!("{whom} {is} flushed"),
            Fault::Expire { share: gone } => {
                format!("{} of the entries of {whom} expire at one instant", share(gone))
            }
            Fault::ExpireAt { instant } => {
                format!("all entries of {whom} are set to expire together at T+{instant}")
            }
            Fault::TtlIgnored => format!("entries of {whom} never expire: the TTL is ignored"),
            Fault::NeverStored => format!("nothing is stored in {whom}"),
            Fault::Corrupt { share: bad } => format!("{} of the entries of {whom} are corrupted", share(bad)),
            Fault::WrongType { share: bad } => {
                format!("{} of the entries of {whom} are of another type", share(bad))
            }
            Fault::OutOfMemory => format!("{whom} {is} out of memory: writes fail"),
            Fault::TooManyClients => format!("{whom} turn{s} new clients away"),
            Fault::Slow { factor } => format!("commands on {whom} take {} as long", times(factor)),
            Fault::Blocked { share: busy, burst } => {
                format!(
                    "a command blocks {whom} for {} of the time, {burst} each time",
                    share(busy)
                )
            }
            Fault::Loading => format!("{whom} {is} loading the data set"),
            Fault::ReadOnly => format!("{whom} refuse{s} writes: read-only"),
            Fault::Starve { share: taken } => format!("{whom} lose{s} {} of the processor", share(taken)),
            Fault::DiskFull => format!("the disk of {whom} is full: writes fail"),
            Fault::Spike { factor } => format!("{whom} send{s} {} as much", times(factor)),
            Fault::HotKey { share: hot } => format!("{} of the reads of {whom} are for one key", share(hot)),
            Fault::Penetration { share: missing } => {
                format!(
                    "{} of the reads of {whom} are for keys that do not exist",
                    share(missing)
                )
            }
            Fault::Connections { max, waits: true } => format!("{whom} accept{s} {max} connections a node"),
            Fault::Connections { max, .. } => {
                format!("{whom} accept{s} {max} connections a node, and refuse{s} more")
            }
            Fault::Lock => format!("a lock stops all queries on {whom}"),
            Fault::SlowQuery { factor } => format!("queries on {whom} take {} as long", times(factor)),
            Fault::Leak { after, .. } => {
                let after = spell(*after as f64, Unit::Count);
                format!(
                    "memory leaks: {whom} crash{} after {after} requests each",
                    if many { "" } else { "es" }
                )
            }
            Fault::Crash {
                instances: Some(count),
            } => {
                format!(
                    "{count} of {} crash",
                    event.on.map_or("", |place| self.name(place))
                )
            }
            Fault::Crash { instances: None } => format!("{whom} crash{}", if many { "" } else { "es" }),
            Fault::Restart { each } if many => format!("{whom} restart one after the other, {each} each"),
            Fault::Restart { each } => format!("{whom} restarts, which takes {each}"),
            Fault::FarRegion { add } => format!("calls to {whom} go to a far region, {add} away"),
        }
    }

    fn describe_action(&self, action: &Action, on: Option<Place>) -> String {
        let name = on.map_or("", |place| self.name(place));
        match action {
            Action::Set(knob) => format!("{name}: {}", describe_knob(knob)),
            Action::Protect(protections) => {
                let names: Vec<&str> = protections
                    .iter()
                    .map(|protection| protection.setting.name().key())
                    .collect();
                format!("switch on or tune {}", names.join(", "))
            }
            Action::Unprotect(names) => {
                let names: Vec<&str> = names.iter().map(|name| name.key()).collect();
                format!("switch off {}", names.join(", "))
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
                let counts: Vec<String> = counts
                    .iter()
                    .filter_map(|(count, what)| count.map(|count| format!("{count} {what}")))
                    .collect();
                let takes = if takes.is_zero() {
                    String::new()
                } else {
                    format!(", which takes {takes}")
                };
                format!("scale {name} to {}{takes}", counts.join(" and "))
            }
            Action::Warm { pace: Some(pace) } => format!("warm {name} at {}", spell(*pace, Unit::PerSecond)),
            Action::Warm { pace: None } => format!("warm {name}"),
            Action::Restart { takes } => format!("restart {name}, which takes {takes}"),
            Action::Purge => format!("purge {name}"),
            Action::Flush => format!("flush {name}"),
            Action::Balance(strategy) => format!("balance calls to {name}: {}", strategy_word(*strategy)),
            Action::Shard {
                nodes: Some(nodes), ..
            } => format!("spread the keys of {name} over {nodes} nodes"),
            Action::Shard { .. } => format!("spread the keys of {name} differently"),
            Action::Rate(rate) => format!("{name} now sends {}", spell(*rate, Unit::PerSecond)),
        }
    }
}

fn describe_knob(knob: &Knob) -> String {
    match knob {
        Knob::TripsAbove(above) => format!("trips above {above} at once from now on"),
        Knob::Availability(share) => format!("availability is now {}", spell(*share, Unit::Share)),
        Knob::Threads(count) => format!("now {count} threads an instance"),
        Knob::Queue(places) => format!("now {places} waiting places an instance"),
        Knob::ServiceTime(_) => "the service time changes".to_owned(),
        Knob::Ttl(ttl) => format!("the TTL is now {ttl}"),
        Knob::Timeout(timeout) => format!("the timeout is now {timeout}"),
        Knob::Capacity(entries) => format!("now {} entries a node", spell(*entries as f64, Unit::Count)),
        Knob::Maxmemory(bytes) => format!("now {} a node", spell(*bytes as f64, Unit::Bytes)),
        Knob::Eviction(eviction) => format!("the eviction is now {eviction:?}").to_lowercase(),
        Knob::MaxClients(count) => format!("now {count} clients a node"),
        Knob::RenewedByHits(true) => "hits now renew entries".to_owned(),
        Knob::RenewedByHits(false) => "hits no longer renew entries".to_owned(),
        Knob::Connections(count) => format!("now {count} connections a node"),
        Knob::Retries(count) => format!("now retries {count} times"),
        Knob::Writes(share) => format!("{} of the requests now write", spell(*share, Unit::Share)),
    }
}

fn strategy_word(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Random => "any one",
        Strategy::RoundRobin => "in turn",
        Strategy::LeastConnections => "the one with the fewest calls in flight",
        Strategy::PowerOfTwo => "the less busy of two",
    }
}

/// Numbers in runs: `0–4, 7`.
fn runs(nodes: &[u32]) -> String {
    let mut sorted = nodes.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut list: Vec<(u32, u32)> = Vec::new();
    for node in sorted {
        match list.last_mut() {
            Some((_, end)) if *end + 1 == node => *end = node,
            _ => list.push((node, node)),
        }
    }
    let list: Vec<String> = list
        .iter()
        .map(|(from, to)| {
            if from == to {
                from.to_string()
            } else {
                format!("{from}–{to}")
            }
        })
        .collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_is_told_in_plain_words() {
        let text = include_str!("../tests/fixtures/redis-down.toml");
        let text = format!(
            "{text}\n[[timeline]]\nat = \"1m\"\non = \"redis\"\nnodes = \"0-4\"\nfault = \"replace\"\n\
             [[timeline]]\nat = \"2m\"\non = \"web\"\nfault = {{ spike = 2.5 }}\n"
        );
        let document =
            crate::Document::parse("x", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
        let scenario = document.scenario("breaker", &[]).unwrap();
        let told: Vec<String> = scenario
            .timeline
            .iter()
            .map(|event| scenario.describe(event))
            .collect();
        assert_eq!(
            told,
            [
                "all nodes of redis are down, and come back empty",
                "nodes 0–4 of redis are replaced by empty ones",
                "web sends 2.5× as much",
                "scale postgres to 3 replicas a shard, which takes 2m",
                "switch on or tune stale",
                "app: now 600 threads an instance",
            ]
        );
    }
}
