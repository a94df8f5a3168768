//! Toxics: what is wrong with a proxy's connections, as the HTTP API writes it.
//!
//! A toxic is a name, a direction, the share of connections that have it, and a type with its attributes. Here they are
//! read and written, and made into the faults that [`seawall_core::flow`] carries out. Toxiproxy's types accept what
//! Toxiproxy accepts; of ours, what is unknown or out of range is refused.

use seawall_core::flow::Setting;
use seawall_core::rng::Seed;
use serde::Serialize;
use serde_json::{Map, Value};

use super::attributes::{Kind, kind};

/// No name is longer, in bytes.
pub(crate) const NAME_MAX: usize = 256;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

/// Something wrong with the connections of a proxy, in one direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Toxic {
    /// What is wrong.
    pub attributes: Kind,
    /// Its name, of which a proxy has one each.
    pub name: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// In which direction.
    pub stream: Side,
    /// The share of connections that have it, from 0 to 1. A connection has it or not for as long as both live.
    pub toxicity: f64,
}

/// Why a toxic is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToxicError {
    /// It cannot be read: why.
    #[error("{0}")]
    Malformed(String),
    /// There is no such direction.
    #[error("no such stream")]
    Stream,
    /// There is no such type.
    #[error("no such type")]
    Type,
}

impl Toxic {
    /// A toxic of this type with the usual name and on every connection.
    pub fn new(stream: Side, attributes: Kind) -> Toxic {
        let kind = attributes.name();
        Toxic {
            name: format!("{kind}_{}", stream.name()),
            attributes,
            kind,
            stream,
            toxicity: 1.0,
        }
    }

    /// Reads a toxic as the API writes it; what is not said is as in Toxiproxy.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Toxic, ToxicError> {
        let mut map = object(value).map_err(ToxicError::Malformed)?;
        let mut text = |key: &str| {
            text(&mut map, key)
                .map(Option::unwrap_or_default)
                .map_err(ToxicError::Malformed)
        };
        let (name, kind, stream) = (text("name")?, text("type")?, text("stream")?);
        let toxicity = toxicity(&map)?.unwrap_or(1.0);
        let stream = match stream.to_lowercase().as_str() {
            "" | "downstream" => Side::Downstream,
            "upstream" => Side::Upstream,
            _ => return Err(ToxicError::Stream),
        };
        let mut toxic = Toxic::new(stream, super::attributes::kind(&kind, attributes(&map)?)?);
        toxic.toxicity = toxicity;
        if name.len() > NAME_MAX {
            return Err(ToxicError::Malformed(format!(
                "a name has {NAME_MAX} bytes at most"
            )));
        }
        if !name.is_empty() {
            toxic.name = name;
        }
        Ok(toxic)
    }

    /// This toxic with some attributes or the toxicity changed, as the API writes it.
    ///
    /// # Errors
    ///
    /// What is wrong with the change.
    pub fn changed(&self, value: &Value) -> Result<Toxic, ToxicError> {
        let map = object(value).map_err(ToxicError::Malformed)?;
        let mut all = match serde_json::to_value(&self.attributes) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        all.extend(attributes(&map)?);
        Ok(Toxic {
            attributes: kind(self.kind, all)?,
            toxicity: toxicity(&map)?.unwrap_or(self.toxicity),
            ..self.clone()
        })
    }

    /// The seed of what it does on this connection of a proxy; none when the connection is spared.
    pub(crate) fn seed(&self, run: Seed, proxy: &str, connection: u64) -> Option<Seed> {
        let seed = match self.attributes.seed() {
            Some(seed) => Seed(seed).stream("toxic", connection),
            None => run.stream(
                &format!("{proxy}/{}/{}", self.stream.name(), self.name),
                connection,
            ),
        };
        let seed = Seed({ seed }.bits());
        seed.stream("toxicity", 0).chance(self.toxicity).then_some(seed)
    }

    /// The fault of a flow that it is, if it is one.
    pub(crate) fn setting(&self, id: u64, seed: Seed) -> Option<Setting> {
        Some(Setting {
            id,
            seed,
            turns: self.attributes.turns(),
            fault: self.attributes.fault()?,
        })
    }
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Side::Upstream => "upstream",
            Side::Downstream => "downstream",
        }
    }
}

/// An object, with its keys in lower case and without what is null: Toxiproxy reads both alike.
pub(crate) fn object(value: &Value) -> Result<Map<String, Value>, String> {
    let Value::Object(map) = value else {
        return Err("not an object".to_owned());
    };
    let lower = |(key, value): (&String, &Value)| (key.to_lowercase(), value.clone());
    Ok(map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(lower)
        .collect())
}

/// A text of an object, if it is there.
pub(crate) fn text(map: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is not a string")),
    }
}

fn toxicity(map: &Map<String, Value>) -> Result<Option<f64>, ToxicError> {
    match map.get("toxicity") {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(toxicity) => Ok(Some(toxicity)),
            None => Err(ToxicError::Malformed("`toxicity` is not a number".to_owned())),
        },
    }
}

fn attributes(map: &Map<String, Value>) -> Result<Map<String, Value>, ToxicError> {
    match map.get("attributes") {
        None => Ok(Map::new()),
        Some(value) => {
            object(value).map_err(|error| ToxicError::Malformed(format!("`attributes` is {error}")))
        }
    }
}
