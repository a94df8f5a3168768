//! The back of the envelope: what a reviewer would work out before believing a simulation.
//!
//! For each service that stands between caches and an origin: what reaches the origin while the caches work, what
//! reaches it when they are gone, what it can bear, how long the caches take to fill again, and whether the system
//! could stay down after the cause is gone. Protections are not looked at, except retries: this is what they have to
//! deal with.

mod origin;

use serde_json::{Value as Json, json};

use self::origin::{Load, explain_origin, explain_refill};
use crate::formula::{self, KeyClass};
use crate::model::{CacheKind, Place, Scenario, Service};
use crate::numbers::{Unit, spell};

/// One number of the arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The component it is about.
    pub of: String,
    /// What it is: "load on a node with the cache gone".
    pub what: String,
    /// The number: a rate per second, a share, seconds, or a count. `NaN` where the line is a sentence.
    pub value: f64,
    /// The number with its unit, or the sentence.
    pub spelled: String,
    /// How it was worked out.
    pub how: String,
}

/// How a system stands towards losing its caches (Bronson et al. 2021, Huang et al. 2022).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The origin bears the whole load without the caches, retries included: it recovers by itself.
    Stable,
    /// The origin bears the normal load and not the load without caches: it may stay down after the cause is gone.
    Vulnerable,
    /// The origin does not bear even the normal load.
    Overloaded,
}

/// The arithmetic of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The scenario's title.
    pub title: String,
    /// The variant that was looked at.
    pub variant: String,
    /// The numbers, in the order in which they follow from each other.
    pub lines: Vec<Line>,
    /// How each origin stands towards losing the caches before it.
    pub standings: Vec<(String, Standing)>,
}

impl Explanation {
    /// The arithmetic as text: a block for each component, a line for each number.
    pub fn text(&self) -> String {
        let width = self
            .lines
            .iter()
            .map(|line| line.what.chars().count())
            .max()
            .unwrap_or(0);
        let value = self
            .lines
            .iter()
            .map(|line| line.spelled.chars().count())
            .filter(|count| *count < 16);
        let value = value.max().unwrap_or(0);
        let mut text = String::new();
        let mut of = "";
        for line in &self.lines {
            if line.of != of {
                if !of.is_empty() {
                    text.push('\n');
                }
                of = &line.of;
                text += of;
                text.push('\n');
            }
            let row = format!("  {:width$}  {:>value$}  {}", line.what, line.spelled, line.how);
            text += row.trim_end();
            text.push('\n');
        }
        text
    }

    /// The arithmetic as JSON: `title`, `variant`, `lines` and `standings`.
    pub fn json(&self) -> Json {
        let lines: Vec<Json> = self
            .lines
            .iter()
            .map(|line| {
                // JSON has no infinity.
                let value = if line.value.is_finite() { json!(line.value) } else { Json::Null };
                json!({ "of": line.of, "what": line.what, "value": value, "spelled": line.spelled, "how": line.how })
            })
            .collect();
        let standings: Vec<Json> = self
            .standings
            .iter()
            .map(|(of, standing)| json!({ "of": of, "standing": format!("{standing:?}").to_lowercase() }))
            .collect();
        json!({ "title": self.title, "variant": self.variant, "lines": lines, "standings": standings })
    }

    fn line(&mut self, of: &str, what: &str, value: f64, unit: Unit, how: impl Into<String>) {
        self.lines.push(Line {
            of: of.to_owned(),
            what: what.to_owned(),
            value,
            spelled: spell(value, unit),
            how: how.into(),
        });
    }

    fn sentence(&mut self, of: &str, what: &str, sentence: impl Into<String>, how: impl Into<String>) {
        self.lines.push(Line {
            of: of.to_owned(),
            what: what.to_owned(),
            value: f64::NAN,
            spelled: sentence.into(),
            how: how.into(),
        });
    }
}

/// Works out the arithmetic of a scenario.
pub fn explain(scenario: &Scenario) -> Explanation {
    let mut explanation = Explanation {
        title: scenario.title.clone(),
        variant: scenario.variant.clone(),
        lines: Vec::new(),
        standings: Vec::new(),
    };
    let mut flows: Vec<Flow> = vec![Flow::default(); scenario.services.len()];
    for client in &scenario.clients {
        let target = match client.calls {
            Place::Gateway(index) => scenario.gateways[index].calls,
            place => place,
        };
        let Place::Service(index) = target else { continue };
        let reads = client.rate * (1.0 - client.writes);
        flows[index].writes += client.rate * client.writes;
        flows[index].missing += reads * client.missing;
        flows[index].attempts = flows[index].attempts.max(f64::from(client.retries) + 1.0);
        let keys = formula::popularity(&client.keys);
        flows[index].keys.extend(keys.iter().map(|key| KeyRate {
            count: key.count,
            rate: key.probability * reads * (1.0 - client.missing),
        }));
    }
    for index in callers_first(scenario) {
        let flow = flows[index].clone();
        if flow.reads() + flow.writes <= 0.0 {
            continue;
        }
        let service = &scenario.services[index];
        let after = explain_service(&mut explanation, scenario, service, &flow);
        if let Some(Place::Service(next)) = service.origin {
            let next = &mut flows[next];
            next.keys.extend(after.keys);
            next.writes += after.writes;
            next.missing += after.missing;
            next.attempts = next.attempts.max(after.attempts);
        }
    }
    explanation
}

/// Keys of equal popularity, and how often each is asked for.
#[derive(Clone, Copy, Debug)]
struct KeyRate {
    count: f64,
    rate: f64,
}

/// What comes to a service.
#[derive(Clone, Debug, Default)]
struct Flow {
    keys: Vec<KeyRate>,
    writes: f64,
    /// Reads of keys that do not exist.
    missing: f64,
    /// How many times one request may be sent.
    attempts: f64,
}

impl Flow {
    fn reads(&self) -> f64 {
        self.keys.iter().map(|key| key.count * key.rate).sum::<f64>() + self.missing
    }
}

/// The services, each after all that load from it.
fn callers_first(scenario: &Scenario) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let mut left: Vec<usize> = (0..scenario.services.len()).collect();
    while !left.is_empty() {
        let called = |index: &usize| {
            left.iter()
                .any(|caller| scenario.services[*caller].origin == Some(Place::Service(*index)))
        };
        let (later, now): (Vec<usize>, Vec<usize>) = left.iter().copied().partition(called);
        if now.is_empty() {
            break;
        }
        order.extend(now);
        left = later;
    }
    order
}

fn explain_service(
    explanation: &mut Explanation,
    scenario: &Scenario,
    service: &Service,
    flow: &Flow,
) -> Flow {
    let of = &service.name;
    let reads = flow.reads();
    explanation.line(
        of,
        "reads that arrive",
        reads,
        Unit::PerSecond,
        "all clients together",
    );
    if flow.writes > 0.0 {
        explanation.line(
            of,
            "writes that arrive",
            flow.writes,
            Unit::PerSecond,
            "always reach the origin",
        );
    }
    let mut after = flow.clone();
    let mut entries = 0.0;
    for index in &service.caches {
        let cache = &scenario.caches[*index];
        let copies = match cache.kind {
            CacheKind::Local => f64::from(service.instances),
            CacheKind::Shared => 1.0,
        };
        let nodes = f64::from(cache.nodes);
        let capacity = cache
            .entries_max()
            .map_or(f64::INFINITY, |entries| entries as f64 * nodes);
        let ttl = cache
            .ttl
            .map_or(f64::INFINITY, seawall_core::time::Span::as_secs_f64);
        let before = after.reads();
        let held = look_up(&mut after, copies, capacity, ttl, cache.renewed_by_hits);
        entries += held.entries * copies;
        let ratio = 1.0 - after.reads() / before;
        explanation.line(&cache.name, "hit ratio", ratio, Unit::Share, held.how);
        explanation.line(
            &cache.name,
            "entries held",
            held.entries * copies,
            Unit::Count,
            "in the long run",
        );
        if cache.kind == CacheKind::Shared {
            explain_timeout(explanation, scenario, service, *index, before);
        }
    }
    let (attempts, cold) = (flow.attempts.max(1.0) * retries(scenario, service), reads);
    let load = match service.origin {
        Some(Place::Database(index)) => Some(Load::of_database(&scenario.databases[index])),
        Some(Place::Service(index)) => Some(Load::of_service(&scenario.services[index])),
        _ => None,
    };
    if let Some(mut load) = load {
        (load.normal, load.cold) = (after.reads(), cold);
        (load.attempts, load.entries) = (attempts, entries);
        explain_origin(explanation, &load);
        explain_refill(explanation, &load, flow, &after);
    }
    after
}

/// How many times a service tries a load.
fn retries(scenario: &Scenario, service: &Service) -> f64 {
    let place = scenario.place(&service.name);
    place
        .and_then(|place| scenario.policies(place).retry)
        .map_or(1.0, |retry| {
            // A budget bounds the average, however many attempts one load may have.
            let attempts = f64::from(retry.attempts);
            retry.budget.map_or(attempts, |budget| attempts.min(1.0 + budget))
        })
}

struct Held {
    entries: f64,
    how: String,
}

/// Takes the hits of one cache out of a flow.
fn look_up(flow: &mut Flow, copies: f64, capacity: f64, ttl: f64, renewed: bool) -> Held {
    let rates: Vec<KeyRate> = flow
        .keys
        .iter()
        .map(|key| KeyRate {
            count: key.count,
            rate: key.rate / copies,
        })
        .collect();
    let total: f64 = rates.iter().map(|key| key.count * key.rate).sum();
    // Within a TTL not renewed by hits, an entry is there for the share of the time that is also its hit ratio.
    let held = |time: f64, renewed: bool| -> f64 {
        let ratio = |rate| {
            if time.is_finite() {
                formula::ttl_hit_ratio(rate, time, renewed)
            } else {
                1.0
            }
        };
        rates.iter().map(|key| key.count * ratio(key.rate)).sum()
    };
    let by_ttl = held(ttl, renewed);
    let (time, renewed, how) = if by_ttl <= capacity {
        let how = match (ttl.is_finite(), renewed) {
            (false, _) => "everything fits and nothing expires".to_owned(),
            (true, false) => "Σ p·rT/(1+rT): a TTL not renewed by hits".to_owned(),
            (true, true) => "Σ p·(1−e^−rT): a TTL renewed by hits".to_owned(),
        };
        (ttl, renewed, how)
    } else {
        let classes: Vec<KeyClass> = rates
            .iter()
            .map(|key| KeyClass {
                count: key.count,
                probability: key.rate / total.max(1e-300),
            })
            .collect();
        let time = formula::che_time(&classes, total, capacity).min(ttl);
        (
            time,
            true,
            format!(
                "LRU by Che's formula: an entry stays {}",
                spell(time, Unit::Seconds)
            ),
        )
    };
    let entries = held(time, renewed).min(capacity);
    for key in &mut flow.keys {
        let ratio = if time.is_finite() {
            formula::ttl_hit_ratio(key.rate / copies, time, renewed)
        } else {
            1.0
        };
        key.rate *= 1.0 - ratio;
    }
    Held { entries, how }
}

/// What a dead cache's timeout does to the threads before it.
fn explain_timeout(
    explanation: &mut Explanation,
    scenario: &Scenario,
    service: &Service,
    index: usize,
    reads: f64,
) {
    let cache = &scenario.caches[index];
    let timeout = cache.timeout.as_secs_f64();
    let held = reads * timeout;
    let how = format!("Little: {} × {}", spell(reads, Unit::PerSecond), cache.timeout);
    explanation.line(
        &service.name,
        "threads held while the cache times out",
        held,
        Unit::Count,
        how,
    );
    if let Some(threads) = service.threads {
        let there = f64::from(threads) * f64::from(service.instances);
        let how = format!("{} instances × {threads}", service.instances);
        explanation.line(&service.name, "threads there are", there, Unit::Count, how);
        if held > there {
            let lasts = there / reads;
            let how = "from the moment it stops answering, without a breaker";
            explanation.line(
                &service.name,
                "all threads are held after",
                lasts,
                Unit::Seconds,
                how,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    fn example(sets: &[(&str, &str)]) -> Explanation {
        let text = include_str!("../../tests/fixtures/redis-down.toml");
        let document = Document::parse("redis-down.toml", text).unwrap();
        explain(&document.scenario("unprotected", sets).unwrap())
    }

    fn value(explanation: &Explanation, what: &str) -> f64 {
        let line = explanation.lines.iter().find(|line| line.what == what);
        line.unwrap_or_else(|| panic!("{what}: {}", explanation.text()))
            .value
    }

    #[test]
    fn the_arithmetic_of_the_example() {
        let explanation = example(&[("client.web.rate", "1M/s"), ("client.web.writes", "0%")]);
        insta::assert_snapshot!(explanation.text());
        assert!((value(&explanation, "capacity") - 800_000.0).abs() < 1e-6);
        assert!((value(&explanation, "shortfall, caches gone") - 200_000.0).abs() < 1e-3);
        assert!((value(&explanation, "threads held while the cache times out") - 500_000.0).abs() < 1e-3);
        assert_eq!(
            explanation.standings,
            [("postgres".to_owned(), Standing::Vulnerable)]
        );
        assert_eq!(explanation.json()["standings"][0]["standing"], "vulnerable");
    }

    #[test]
    fn less_load_is_stable_and_more_is_overload() {
        let quiet = example(&[("client.web.rate", "100k/s")]);
        assert_eq!(quiet.standings[0].1, Standing::Stable);
        let loud = example(&[("client.web.rate", "100M/s"), ("cache.redis.ttl", "1ms")]);
        assert_eq!(loud.standings[0].1, Standing::Overloaded);
    }

    #[test]
    fn a_known_ttl_ratio_comes_out() {
        let sets = [
            ("client.web.rate", "20k/s"),
            ("client.web.writes", "0"),
            ("client.web.keys.zipf.count", "100000"),
            ("cache.redis.capacity", "none"),
        ];
        assert!((value(&example(&sets), "hit ratio") - 0.935_215).abs() < 2e-6);
    }
}
