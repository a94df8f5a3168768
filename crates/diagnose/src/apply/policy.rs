//! How a protection of the gateway is changed, everywhere and so that each upstream gets its own settings back.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::{Doing, Line, Means, Refused, Work, gateway, order, read};

/// Protections that the gateway has once, and not for each upstream.
const AT_THE_DOOR: [&str; 4] = ["queue", "rate", "shed", "throttle"];

/// Works out how a protection changes. It only reads.
pub(super) async fn policy(name: &'static str, settings: &Value, means: &Means) -> Result<Work, Refused> {
    let now = read(&order(means, Method::GET, &format!("policies/{name}"), None).await?);
    let all = read(&order(means, Method::GET, "policies", None).await?);
    // What is written without `on` in the runbook is a table that is never off.
    let mut body = match settings {
        Value::Object(_) => settings.clone(),
        Value::Bool(on) => json!({ "on": on }),
        other => json!({ "on": true, "strategy": other }),
    };
    let at_the_door = AT_THE_DOOR.contains(&name);
    let places = now["upstreams"].as_object().filter(|_| !at_the_door);
    let differ = |places: &Map<String, Value>| {
        let mut settings = places.values();
        let first = settings.next();
        settings.any(|other| Some(other) != first)
    };
    let mut settings = places
        .into_iter()
        .flat_map(Map::values)
        .chain(at_the_door.then(|| &now["gateway"]));
    if settings.all(|settings| holds(settings, &body)) {
        return Err(Refused::Senseless(format!("{name} is so already")));
    }
    // The document may have it at some upstreams only, and then a change would be theirs alone.
    if let Some(places) = places.filter(|places| differ(places)) {
        body["at"] = places.keys().cloned().collect();
    }
    Ok(Work {
        command: format!("PATCH {}/policies/{name} {body}", gateway(means)?),
        before: match places {
            Some(places) => as_it_is(places),
            None => told_setting(&now["gateway"]),
        },
        kind: Doing::Policy {
            name,
            body,
            overridden: overridden(name, &all["overrides"]),
        },
        line: Line::default(),
    })
}

/// A protection as it is now: at each upstream where they differ.
fn as_it_is(places: &Map<String, Value>) -> String {
    let told: Vec<(&String, String)> = places
        .iter()
        .map(|(name, settings)| (name, told_setting(settings)))
        .collect();
    match told.split_first() {
        Some(((_, first), others)) if others.iter().all(|(_, other)| other == first) => first.clone(),
        _ => {
            let each = told.iter().map(|(name, told)| format!("{name}: {told}"));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Whether settings are all that a change asks for.
fn holds(settings: &Value, change: &Value) -> bool {
    match (settings, change) {
        (Value::Bool(on), change) => change["on"] == json!(on),
        (Value::Object(have), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| have.get(key) == Some(value))
        }
        _ => false,
    }
}

fn told_setting(settings: &Value) -> String {
    match &settings["on"] {
        Value::Bool(true) => settings.to_string(),
        // One that is a switch and nothing else.
        _ if *settings == json!(true) => "on".to_owned(),
        _ => "off".to_owned(),
    }
}

/// What somebody has changed of a protection before, as a change is written.
fn overridden(name: &str, overrides: &Value) -> Map<String, Value> {
    let prefix = format!("protect.{name}.");
    let mut change = Map::new();
    for (key, value) in overrides.as_object().into_iter().flatten() {
        let Some(path) = key.strip_prefix(&prefix) else {
            continue;
        };
        let value = value.as_str().and_then(|text| serde_json::from_str(text).ok());
        if let Some(value) = value {
            put(&mut change, path, value);
        }
    }
    change
}

/// Puts a value at `a.b.c`, in tables within tables.
fn put(table: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let inner = table.entry(first).or_insert_with(|| json!({}));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}
