//! The types of toxics: what each has for attributes, what is refused, and which fault it is.

use seawall_core::flow::Fault;
use seawall_core::link;
use seawall_core::time::Span;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::toxic::ToxicError;

/// Toxiproxy's unit of speed: a kilobyte a second.
const KILOBYTE: f64 = 1_000.0;
/// No error or pattern of a `resp` toxic is longer, in bytes.
const TEXT_MAX: usize = 512;

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
    Resp(Resp),
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
    ("resp", |map| read(map).map(Kind::Resp)),
];

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

    pub(super) fn seed(&self) -> Option<u64> {
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

    pub(super) fn turns(&self) -> bool {
        match self {
            Kind::Latency(it) => it.turns.unwrap_or(true),
            Kind::Stall(it) => it.turns.unwrap_or(true),
            _ => true,
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
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
                if [&resp.error, &resp.key, &resp.command]
                    .iter()
                    .any(|text| text.len() > TEXT_MAX)
                {
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
pub(super) fn kind(name: &str, attributes: Map<String, Value>) -> Result<Kind, ToxicError> {
    let (_, reader) = TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or(ToxicError::Type)?;
    let kind = reader(attributes).map_err(ToxicError::Malformed)?;
    kind.check().map_err(ToxicError::Malformed)?;
    Ok(kind)
}
