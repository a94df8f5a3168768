//! The JSON Schema of the document, so that editors complete and check while it is written.
//!
//! It is made from the same declarations as the reader. It says less than the reader does: that names refer to
//! something, and that numbers fit together, is only found by reading.

use serde_json::{Map, Value as Json, json};

use crate::form::{
    Clock, Component, Count, Duration, Factor, Form, Law, MetricName, NAME_PATTERN, Natural, Nodes, Number,
    Quantity, Rate, Share, Size, Text,
};
use crate::model::action::Told;
use crate::model::deploy::{CacheTable, Listener, Route, Upstream};
use crate::model::expect::ExpectTable;
use crate::model::{
    Bound, Cache, Client, Database, Drill, Environment, Fault, Gateway, Run, Service, protect,
};

/// The schema, as indented JSON with a newline at the end.
pub fn schema() -> String {
    let parts = parts();
    let mut whole = Map::new();
    whole.insert(
        "title".to_owned(),
        json!({ "type": "string", "description": "what happens, in a few words" }),
    );
    whole.insert(
        "about".to_owned(),
        json!({ "type": "string", "description": "what happens, in one or two sentences" }),
    );
    for (key, schema) in &parts {
        whole.insert((*key).to_owned(), schema.clone());
    }
    // A variant says what is different: nothing in it is required, and what is merged in is checked by the reader.
    let mut variant: Map<String, Json> = parts
        .iter()
        .map(|(key, schema)| ((*key).to_owned(), partial(schema)))
        .collect();
    variant.insert(
        "about".to_owned(),
        json!({ "type": "string", "description": "what is different, in a sentence" }),
    );
    let variant = json!({ "type": "object", "properties": variant, "additionalProperties": false });
    whole.insert(
        "variant".to_owned(),
        named(
            &variant,
            "variants: tables laid over the document, run side by side",
        ),
    );
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Seawall scenario",
        "type": "object",
        "properties": whole,
        "required": ["run", "client"],
        "additionalProperties": false
    });
    spelled(&document)
}

/// The schema of the gateway's document, likewise.
pub fn deployment_schema() -> String {
    spelled(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Seawall gateway",
        "type": "object",
        "properties": {
            "gateway": Listener::schema(),
            "upstream": named(&Upstream::schema(), "what stands behind the gateway"),
            "route": {
                "type": "array",
                "description": "which requests go where; the first that fits counts",
                "items": Route::schema()
            },
            "cache": CacheTable::schema(),
            "protect": protect::schema(),
        },
        "required": ["upstream"],
        "additionalProperties": false
    }))
}

/// Indented, with what is used all over written once.
fn spelled(document: &Json) -> String {
    let mut shared = shared();
    let mut document = hoist(document, &shared);
    let whole = document.to_string();
    // What is shared may itself use what is shared.
    while let Some(unused) = shared
        .iter()
        .position(|(name, _)| !is_used(name, &whole, &shared))
    {
        shared.remove(unused);
    }
    let mut definitions = Map::new();
    for (name, schema) in &shared {
        let mut definition = schema.clone();
        // Its parts may be shared too, but it is not made of itself.
        if let Json::Object(object) = &mut definition {
            for value in object.values_mut() {
                *value = hoist(value, &shared);
            }
        }
        definitions.insert((*name).to_owned(), definition);
    }
    document["$defs"] = Json::Object(definitions);
    format!("{document:#}\n")
}

/// Whether a definition is referred to, by the document or by another one.
fn is_used(name: &str, document: &str, shared: &[(&'static str, Json)]) -> bool {
    let reference = format!("\"#/$defs/{name}\"");
    let by_another = shared.iter().filter(|(other, _)| *other != name);
    document.contains(&reference)
        || by_another
            .map(|(_, schema)| hoist(&Json::Array(parts_of(schema)), shared).to_string())
            .any(|text| text.contains(&reference))
}

fn parts_of(schema: &Json) -> Vec<Json> {
    schema
        .as_object()
        .into_iter()
        .flat_map(|object| object.values().cloned())
        .collect()
}

/// What is used all over, and so is written once.
fn shared() -> Vec<(&'static str, Json)> {
    vec![
        ("duration", Duration::schema()),
        ("clock", Clock::schema()),
        ("law", Law::schema()),
        ("rate", Rate::schema()),
        ("share", Share::schema()),
        ("factor", Factor::schema()),
        ("number", Number::schema()),
        ("size", Size::schema()),
        ("whole", Natural::schema()),
        ("count", Count::<1>::schema()),
        ("quantity", Quantity::schema()),
        ("metric", MetricName::schema()),
        ("bound", Bound::schema()),
        ("fault", Fault::schema()),
        ("event", event()),
        ("expectation", ExpectTable::schema()),
    ]
}

/// The same schema with references to what is shared; descriptions and defaults stay where they are.
fn hoist(schema: &Json, shared: &[(&'static str, Json)]) -> Json {
    match schema {
        Json::Object(object) => {
            if let Some((name, _)) = shared.iter().find(|(_, other)| bare(other) == bare(schema)) {
                let mut reference = json!({ "$ref": format!("#/$defs/{name}") });
                for key in ["description", "default"] {
                    if let Some(value) = object.get(key) {
                        reference[key] = value.clone();
                    }
                }
                return reference;
            }
            Json::Object(
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), hoist(value, shared)))
                    .collect(),
            )
        }
        Json::Array(list) => Json::Array(list.iter().map(|value| hoist(value, shared)).collect()),
        other => other.clone(),
    }
}

/// A schema without what may differ from place to place.
fn bare(schema: &Json) -> Option<Map<String, Json>> {
    let mut object = schema.as_object()?.clone();
    object.remove("description");
    object.remove("default");
    Some(object)
}

/// Whether this is `{ word = … }`.
fn is_tag(object: &Map<String, Json>) -> bool {
    let count = |key: &str| match object.get(key) {
        Some(Json::Object(properties)) => properties.len(),
        Some(Json::Array(list)) => list.len(),
        _ => 0,
    };
    count("properties") == 1 && count("required") == 1
}

fn parts() -> Vec<(&'static str, Json)> {
    vec![
        ("run", Run::schema()),
        ("environment", Environment::schema()),
        ("drill", Drill::schema()),
        ("client", named(&Client::schema(), "who sends requests")),
        ("gateway", named(&Gateway::schema(), "the doors")),
        ("service", named(&Service::schema(), "what does the work")),
        ("cache", named(&Cache::schema(), "what is looked into first")),
        ("database", named(&Database::schema(), "what is loaded from")),
        ("protect", protect::schema()),
        (
            "timeline",
            json!({ "type": "array", "description": "what happens, and when", "items": event() }),
        ),
        (
            "expect",
            json!({ "type": "array", "description": "what must be seen", "items": ExpectTable::schema() }),
        ),
    ]
}

/// Tables under names.
fn named(schema: &Json, about: &str) -> Json {
    json!({
        "type": "object",
        "description": about,
        "patternProperties": { NAME_PATTERN: schema },
        "additionalProperties": false
    })
}

fn event() -> Json {
    let describe = |mut schema: Json, about: &str| {
        schema["description"] = json!(about);
        schema
    };
    json!({
        "type": "object",
        "properties": {
            "at": describe(Duration::schema(), "when, from T=0"),
            "for": describe(Duration::schema(), "for how long; to the end of the run when absent"),
            "on": describe(Component::schema(), "to which component"),
            "nodes": describe(Nodes::schema(), "to which of its nodes or instances; to all when absent"),
            "fault": describe(Fault::schema(), "what breaks"),
            "action": describe(action(), "what an operator does"),
            "note": describe(Text::schema(), "a word to the reader")
        },
        "required": ["at"],
        "oneOf": [{ "required": ["fault"] }, { "required": ["action"] }],
        "additionalProperties": false
    })
}

/// Actions, whose tables may also name what they are done to.
fn action() -> Json {
    let mut schema = Told::schema();
    for of in schema["anyOf"].as_array_mut().into_iter().flatten() {
        let Some(word) = of["required"][0].as_str().map(str::to_owned) else {
            continue;
        };
        if word == "protect" {
            of["properties"][&word] = partial(&protect::schema());
            continue;
        }
        let body = &mut of["properties"][&word];
        let alternatives = match body.get_mut("anyOf") {
            Some(Json::Array(list)) => list.iter_mut().collect(),
            _ => vec![body],
        };
        for table in alternatives {
            if table["additionalProperties"] == json!(false) {
                table["properties"]["on"] = Component::schema();
            }
        }
    }
    schema
}

/// The same schema, requiring nothing, for what is laid over something complete.
fn partial(schema: &Json) -> Json {
    match schema {
        // One thing out of several replaces another, and so is complete.
        Json::Object(object) if is_tag(object) => schema.clone(),
        Json::Object(object) => {
            let open = object
                .iter()
                .filter(|(key, _)| *key != "required" && *key != "oneOf")
                .map(|(key, value)| {
                    // Items of lists are new, and so are complete.
                    let value = if key == "items" {
                        value.clone()
                    } else {
                        partial(value)
                    };
                    (key.clone(), value)
                })
                .collect();
            Json::Object(open)
        }
        Json::Array(list) => Json::Array(list.iter().map(partial).collect()),
        other => other.clone(),
    }
}
