//! Toxics: what is wrong with a proxy's connections, as the HTTP API writes it.
//!
//! A toxic is a name, a direction, the share of connections that have it, and a type with its attributes. Here they are
//! read and written, and made into the faults that [`seawall_core::flow`] carries out. Toxiproxy's types accept what
//! Toxiproxy accepts; of ours, what is unknown or out of range is refused.

use std::sync::Arc;

use seawall_core::flow::{Fault, Setting};
use seawall_core::link;
use seawall_core::rng::Seed;
use seawall_core::time::Span;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Toxiproxy's unit of speed: a kilobyte a second.
const KILOBYTE: f64 = 1_000.0;
/// No name is longer, in bytes.
pub(crate) const NAME_MAX: usize = 256;
/// No error or pattern of a `resp` toxic is longer, in bytes.
const TEXT_MAX: usize = 512;

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

/// What is wrong. Times are in milliseconds where nothing else is said.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Kind {
    /// Nothing.
    Noop(Noop),
    /// All takes longer.
    Latency(Latency),
    /// A narrow place.
    Bandwidth(Bandwidth),
    /// The end of a connection is told late.
    SlowClose(SlowClose),
    /// Nothing gets through, and the connection is closed after a time.
    Timeout(Timeout),
    /// The connection is cut.
    ResetPeer(ResetPeer),
    /// Data comes in small parts.
    Slicer(Slicer),
    /// The connection is closed after so many bytes.
    LimitData(LimitData),
    /// Packets are lost, and sent again after a time.
    Stall(Stall),
    /// Nothing gets through, and connections are not made, until it is taken away.
    Partition(Partition),
    /// Bytes are changed.
    Corrupt(Corrupt),
    /// Commands of Redis fail, or take long.
    Resp(Arc<Resp>),
}

/// Declares the attributes of a type.
macro_rules! attributes {
    ($(#[$doc:meta])* $name:ident $(, $strict:ident)? { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default $(, $strict)?)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// Its own seed, in the place of the proxy's.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub seed: Option<u64>,
        }
    };
}

attributes! {
    /// Of `noop`: nothing.
    Noop {}
}
attributes! {
    /// Of `latency`.
    Latency {
        /// How much longer.
        latency: i64,
        /// Give or take so much, evenly.
        jitter: i64,
        /// `false` when both sides speak at once: then a draw is for each 1 448 bytes, whatever the messages.
        #[serde(skip_serializing_if = "Option::is_none")]
        turns: Option<bool>,
    }
}
attributes! {
    /// Of `bandwidth`.
    Bandwidth {
        /// Kilobytes (1 000 bytes) a second; nothing gets through at 0.
        rate: i64,
    }
}
attributes! {
    /// Of `slow_close`.
    SlowClose {
        /// How much later.
        delay: i64,
    }
}
attributes! {
    /// Of `timeout`.
    Timeout {
        /// After how long the connection is closed; never at 0.
        timeout: i64,
    }
}
attributes! {
    /// Of `reset_peer`.
    ResetPeer {
        /// How long after the first byte the connection is cut.
        timeout: i64,
    }
}
attributes! {
    /// Of `slicer`.
    Slicer {
        /// Bytes of a part, on average.
        average_size: i64,
        /// Give or take so many bytes.
        size_variation: i64,
        /// Microseconds between two parts.
        delay: i64,
    }
}
attributes! {
    /// Of `limit_data`.
    LimitData {
        /// After so many bytes.
        bytes: i64,
    }
}
attributes! {
    /// Of `stall`.
    Stall, deny_unknown_fields {
        /// The share of packets that are lost, from 0 to 1. One is sent again after 200 ms, 400 ms and so on.
        rate: f64,
        /// `false` when both sides speak at once: then a draw is for each 1 448 bytes, whatever the messages.
        #[serde(skip_serializing_if = "Option::is_none")]
        turns: Option<bool>,
    }
}
attributes! {
    /// Of `partition`: nothing.
    Partition, deny_unknown_fields {}
}
attributes! {
    /// Of `corrupt`.
    Corrupt, deny_unknown_fields {
        /// The share of bytes that are changed, from 0 to 1.
        rate: f64,
    }
}
attributes! {
    /// Of `resp`.
    Resp, deny_unknown_fields {
        /// The command, whatever its case; none or `*` means all.
        command: String,
        /// A pattern of its key, as `KEYS` takes it; none means every command.
        key: String,
        /// The error that the client gets; the command then does not reach the server.
        error: String,
        /// How much later the command goes on, or the error comes.
        delay: u64,
        /// The share of these commands that meet it, from 0 to 1; none means all.
        #[serde(skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
    }
}

/// A type by name, and how its attributes are read.
type Reader = fn(Map<String, Value>) -> Result<Kind, String>;
const TYPES: [(&str, Reader); 12] = [
    ("noop", |map| read(map).map(Kind::Noop)),
    ("latency", |map| read(map).map(Kind::Latency)),
    ("bandwidth", |map| read(map).map(Kind::Bandwidth)),
    ("slow_close", |map| read(map).map(Kind::SlowClose)),
    ("timeout", |map| read(map).map(Kind::Timeout)),
    ("reset_peer", |map| read(map).map(Kind::ResetPeer)),
    ("slicer", |map| read(map).map(Kind::Slicer)),
    ("limit_data", |map| read(map).map(Kind::LimitData)),
    ("stall", |map| read(map).map(Kind::Stall)),
    ("partition", |map| read(map).map(Kind::Partition)),
    ("corrupt", |map| read(map).map(Kind::Corrupt)),
    ("resp", |map| read(map).map(|resp| Kind::Resp(Arc::new(resp)))),
];

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
        let mut toxic = Toxic::new(stream, self::kind(&kind, attributes(&map)?)?);
        toxic.toxicity = toxicity;
        if name.len() > NAME_MAX {
            return Err(ToxicError::Malformed(format!("a name has {NAME_MAX} bytes at most")));
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
            None => run.stream(&format!("{proxy}/{}/{}", self.stream.name(), self.name), connection),
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

impl Kind {
    /// The name of the type.
    pub fn name(&self) -> &'static str {
        let index = match self {
            Kind::Noop(_) => 0,
            Kind::Latency(_) => 1,
            Kind::Bandwidth(_) => 2,
            Kind::SlowClose(_) => 3,
            Kind::Timeout(_) => 4,
            Kind::ResetPeer(_) => 5,
            Kind::Slicer(_) => 6,
            Kind::LimitData(_) => 7,
            Kind::Stall(_) => 8,
            Kind::Partition(_) => 9,
            Kind::Corrupt(_) => 10,
            Kind::Resp(_) => 11,
        };
        TYPES[index].0
    }

    fn seed(&self) -> Option<u64> {
        match self {
            Kind::Noop(it) => it.seed,
            Kind::Latency(it) => it.seed,
            Kind::Bandwidth(it) => it.seed,
            Kind::SlowClose(it) => it.seed,
            Kind::Timeout(it) => it.seed,
            Kind::ResetPeer(it) => it.seed,
            Kind::Slicer(it) => it.seed,
            Kind::LimitData(it) => it.seed,
            Kind::Stall(it) => it.seed,
            Kind::Partition(it) => it.seed,
            Kind::Corrupt(it) => it.seed,
            Kind::Resp(it) => it.seed,
        }
    }

    fn turns(&self) -> bool {
        match self {
            Kind::Latency(it) => it.turns.unwrap_or(true),
            Kind::Stall(it) => it.turns.unwrap_or(true),
            _ => true,
        }
    }

    fn fault(&self) -> Option<Fault> {
        let fault = match self {
            Kind::Noop(_) | Kind::Resp(_) => return None,
            Kind::Latency(it) => Fault::Link(link::Fault::Latency {
                add: millis(it.latency),
                jitter: millis(it.jitter),
            }),
            Kind::Bandwidth(it) if it.rate <= 0 => Fault::Link(link::Fault::Hang),
            Kind::Bandwidth(it) => Fault::Link(link::Fault::Bandwidth {
                bytes_per_s: it.rate as f64 * KILOBYTE,
            }),
            Kind::SlowClose(it) => Fault::SlowClose {
                delay: millis(it.delay),
            },
            Kind::Timeout(it) => Fault::Blackhole {
                close_after: (it.timeout > 0).then(|| millis(it.timeout)),
            },
            Kind::ResetPeer(it) => Fault::ResetAfter {
                delay: millis(it.timeout),
            },
            Kind::Slicer(it) => Fault::Slices {
                bytes: count(it.average_size),
                variation: count(it.size_variation),
                pause: Span::micros(count(it.delay)),
            },
            Kind::LimitData(it) => Fault::Limit {
                bytes: count(it.bytes),
            },
            Kind::Stall(it) => Fault::Link(link::Fault::Loss { share: it.rate }),
            Kind::Partition(_) => Fault::Link(link::Fault::Partition),
            Kind::Corrupt(it) => Fault::Corrupt { share: it.rate },
        };
        Some(fault)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Kind::Stall(Stall { rate, .. }) | Kind::Corrupt(Corrupt { rate, .. }) => share(*rate),
            Kind::Resp(resp) => {
                share(resp.rate.unwrap_or(1.0))?;
                if resp.error.is_empty() && resp.delay == 0 {
                    return Err("a resp toxic wants an `error`, a `delay`, or both".to_owned());
                }
                if resp.error.contains(['\r', '\n']) {
                    return Err("an error is one line".to_owned());
                }
                if [&resp.error, &resp.key, &resp.command].iter().any(|text| text.len() > TEXT_MAX) {
                    return Err(format!("no text is longer than {TEXT_MAX} bytes"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn share(rate: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&rate) {
        Ok(())
    } else {
        Err("a rate is from 0 to 1".to_owned())
    }
}

/// What is below nothing is nothing, as in Toxiproxy.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn millis(number: i64) -> Span {
    Span::millis(count(number))
}

fn read<T: DeserializeOwned>(map: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(map)).map_err(|error| error.to_string())
}

/// Reads the attributes of a type.
fn kind(name: &str, attributes: Map<String, Value>) -> Result<Kind, ToxicError> {
    let (_, reader) = TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or(ToxicError::Type)?;
    let kind = reader(attributes).map_err(ToxicError::Malformed)?;
    kind.check().map_err(ToxicError::Malformed)?;
    Ok(kind)
}

/// An object, with its keys in lower case and without what is null: Toxiproxy reads both alike.
pub(crate) fn object(value: &Value) -> Result<Map<String, Value>, String> {
    let Value::Object(map) = value else {
        return Err("not an object".to_owned());
    };
    let lower = |(key, value): (&String, &Value)| (key.to_lowercase(), value.clone());
    Ok(map.iter().filter(|(_, value)| !value.is_null()).map(lower).collect())
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
        Some(value) => object(value).map_err(|error| ToxicError::Malformed(format!("`attributes` is {error}"))),
    }
}
