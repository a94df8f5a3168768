//! Forms: how a value is spelled in the document, how it is read, and how the schema describes it.
//!
//! A form is a type without values. An element declares each field's form beside its type, so one Rust type
//! (`f64`) can be spelled in several ways (a rate, a share, a number).

use serde_json::{Value as Json, json};

use seawall_core::dist::Dist;
use seawall_core::record::Metric;
use seawall_core::time::Span;

use crate::element::{tagged, words};
use crate::model::Place;
use crate::node::{Node, Value};
use crate::reader::{Reader, suggestion};
use crate::units;

/// How a value is spelled.
pub(crate) trait Form {
    /// What it is read into.
    type Out;

    /// Reads it; what is wrong is noted, and `None` returned.
    fn read(cx: &mut Reader, node: &Node) -> Option<Self::Out>;

    /// Its JSON Schema.
    fn schema() -> Json;

    /// How a default is written in the schema; `Null` when there is no short way.
    fn spell(_: &Self::Out) -> Json {
        Json::Null
    }
}

/// Any text.
pub(crate) struct Text;
/// `true` or `false`.
pub(crate) struct Flag;
/// A length of time: "500ms".
pub(crate) struct Duration;
/// A length of time that is not nothing.
pub(crate) struct Period;
/// An instant of the scenario's clock, in seconds; may be negative.
pub(crate) struct Clock;
/// A rate per second: "1M/s".
pub(crate) struct Rate;
/// A share of something: "20%", 0.2; between 0 and 1.
pub(crate) struct Share;
/// A ratio above 0 and up to 1: "1/100".
pub(crate) struct Ratio;
/// A size in bytes: "2gb".
pub(crate) struct Size;
/// A size a second in bytes: "2mb/s".
pub(crate) struct Throughput;
/// A whole number of things, at least `MIN`: 200, "1k".
pub(crate) struct Count<const MIN: u32 = 0>;
/// A whole number, as large as it gets: 1000000, "1M".
pub(crate) struct Natural;
/// A number of at least 0.
pub(crate) struct Number;
/// A factor of at least 1.
pub(crate) struct Factor;
/// Any number with any unit, for what is compared with a metric.
pub(crate) struct Quantity;
/// A list.
pub(crate) struct List<F>(std::marker::PhantomData<F>);
/// Something, or "none".
pub(crate) struct Maybe<F>(std::marker::PhantomData<F>);
/// The law of a length of time.
pub(crate) struct Law;
/// A metric by its Prometheus name.
pub(crate) struct MetricName;
/// Numbers of nodes: [0, 1] or "0-4".
pub(crate) struct Nodes;
/// Where to listen: "127.0.0.1:8080".
pub(crate) struct Socket;
/// Where to connect to: "10.0.0.7:8000", "api.internal:8000".
pub(crate) struct HostPort;

/// The longest list in a document.
const LIST_MAX: usize = 10_000;

/// Reads a number: as it is, or as a text with a unit.
fn number(
    cx: &mut Reader,
    node: &Node,
    what: &str,
    example: &str,
    bare: bool,
    parse: fn(&str) -> Result<f64, units::UnitError>,
) -> Option<f64> {
    let read = match &node.value {
        Value::Text(text) => parse(text),
        Value::Integer(number) if bare => Ok(*number as f64),
        Value::Float(number) if bare && number.is_finite() => Ok(*number),
        Value::Integer(_) | Value::Float(_) => {
            cx.mistake(
                node.at,
                format!("{what} has a unit"),
                "a number without a unit",
                format!("write it as a text with its unit, such as {example}"),
            );
            return None;
        }
        _ => {
            cx.wrong_kind(node, &format!("{what}, such as {example}"));
            return None;
        }
    };
    match read {
        Ok(number) => Some(number),
        Err(wrong) => {
            let message = format!("this is not {what}: {wrong}");
            cx.mistake(
                node.at,
                message,
                "cannot be read",
                format!("write it as {example}"),
            );
            None
        }
    }
}

/// Notes a number that is out of its range.
fn within(cx: &mut Reader, node: &Node, number: f64, low: f64, high: f64, range: &str) -> Option<f64> {
    if (low..=high).contains(&number) {
        return Some(number);
    }
    cx.mistake(
        node.at,
        "this is out of range",
        "out of range",
        format!("it must be {range}"),
    );
    None
}

fn spelled_span(text: &str) -> Result<f64, units::UnitError> {
    units::duration(text).map(|span| span.as_nanos() as f64)
}

impl Form for Text {
    type Out = String;
    fn read(cx: &mut Reader, node: &Node) -> Option<String> {
        cx.text(node, "a text in quotes").map(str::to_owned)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
    fn spell(out: &String) -> Json {
        json!(out)
    }
}

/// What names look like: small letters, digits, `-`, `_`.
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";

/// Whether a name looks like one.
pub(crate) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63 && name.starts_with(fits) && name.chars().all(|c| fits(c) || c == '-' || c == '_')
}

impl Form for Flag {
    type Out = bool;
    fn read(cx: &mut Reader, node: &Node) -> Option<bool> {
        if let Value::Flag(flag) = node.value {
            return Some(flag);
        }
        cx.wrong_kind(node, "true or false, without quotes");
        None
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
    fn spell(out: &bool) -> Json {
        json!(out)
    }
}

impl Form for Duration {
    type Out = Span;
    fn read(cx: &mut Reader, node: &Node) -> Option<Span> {
        if let Value::Text(text) = &node.value
            && let Ok(span) = units::duration(text)
        {
            return Some(span);
        }
        number(cx, node, "a length of time", "\"500ms\"", false, spelled_span)
            .map(|nanos| Span::nanos(nanos as u64))
    }
    fn schema() -> Json {
        json!({
            "type": "string",
            "description": "a length of time, such as 500ms or 1h30m",
            "pattern": "^(0|([0-9][0-9._]*(ns|us|ms|s|m|min|h|d))+)$"
        })
    }
    fn spell(out: &Span) -> Json {
        json!(out.to_string())
    }
}

impl Form for Period {
    type Out = Span;
    fn read(cx: &mut Reader, node: &Node) -> Option<Span> {
        let span = Duration::read(cx, node)?;
        if !span.is_zero() {
            return Some(span);
        }
        cx.mistake(
            node.at,
            "this takes no time",
            "nothing",
            "it must be longer than nothing",
        );
        None
    }
    fn schema() -> Json {
        Duration::schema()
    }
    fn spell(out: &Span) -> Json {
        Duration::spell(out)
    }
}

impl Form for Clock {
    type Out = f64;
    fn read(cx: &mut Reader, node: &Node) -> Option<f64> {
        number(
            cx,
            node,
            "an instant",
            "\"90s\" or \"-30s\"",
            false,
            |text| match text.trim().strip_prefix('-') {
                Some(text) => units::duration(text).map(|span| -span.as_secs_f64()),
                None => units::duration(text).map(Span::as_secs_f64),
            },
        )
    }
    fn schema() -> Json {
        json!({
            "type": "string",
            "description": "an instant of the scenario's clock; before T=0 with a minus",
            "pattern": "^-?(0|([0-9][0-9._]*(ns|us|ms|s|m|min|h|d))+)$"
        })
    }
}

macro_rules! numbers {
    ($($form:ident -> $out:ty = $what:literal, $example:literal, $bare:literal, $pattern:literal, $parse:expr, $low:expr, $high:expr, $range:literal;)+) => {
        $(impl Form for $form {
            type Out = $out;
            fn read(cx: &mut Reader, node: &Node) -> Option<$out> {
                let number = number(cx, node, $what, $example, $bare, $parse)?;
                within(cx, node, number, $low, $high, $range).map(|number| number as $out)
            }
            fn schema() -> Json {
                let text = json!({
                    "type": "string",
                    "description": concat!($what, ", such as ", $example),
                    "pattern": concat!("^\\s*[0-9.][0-9._]*\\s*", $pattern, "\\s*$")
                });
                if $bare {
                    json!({ "anyOf": [{ "type": "number", "minimum": $low as f64 }, text] })
                } else {
                    text
                }
            }
            fn spell(out: &$out) -> Json {
                match $what {
                    "a rate" => json!(format!("{out}/s")),
                    "a size" => json!(format!("{out}b")),
                    _ => json!(out),
                }
            }
        })+
    };
}

numbers! {
    Rate -> f64 = "a rate", "\"200/s\"", false, "[kMG]?\\s*/\\s*(s|m|min|h)", units::rate, 0.0, 1e12, "at most 1000G/s";
    Share -> f64 = "a share", "\"20%\" or 0.2", true, "(%|/\\s*[0-9.][0-9._]*)?", units::ratio, 0.0, 1.0, "between 0% and 100%";
    Ratio -> f64 = "a ratio", "\"1/100\" or 0.01", true, "(%|/\\s*[0-9.][0-9._]*)?", units::ratio, 1e-9, 1.0, "above 0 and at most 1";
    Size -> u64 = "a size", "\"2gb\"", false, "([kKmMgGtT]([iI])?)?[bB]", |text| units::size(text).map(|size| size as f64), 1.0, 1e15, "at least one byte";
    Number -> f64 = "a number", "0.5 or \"1k\"", true, "[kMG]?", units::count, 0.0, 1e15, "at least 0";
    Factor -> f64 = "a factor", "2.5", true, "[kMG]?", units::count, 1.0, 1e6, "at least 1";
}

impl Form for Throughput {
    type Out = f64;
    fn read(cx: &mut Reader, node: &Node) -> Option<f64> {
        let parse = |text: &str| match text.trim().strip_suffix("/s") {
            Some(size) => units::size(size).map(|size| size as f64),
            None => Err(units::UnitError::NoUnit("`kb/s`, `mb/s`, `gb/s`")),
        };
        let rate = number(cx, node, "a bandwidth", "\"10mb/s\"", false, parse)?;
        within(cx, node, rate, 1.0, 1e15, "at least one byte a second")
    }
    fn schema() -> Json {
        json!({
            "type": "string",
            "description": "a bandwidth, such as 10mb/s",
            "pattern": "^\\s*[0-9.][0-9._]*\\s*([kKmMgGtT]([iI])?)?[bB]\\s*/s\\s*$"
        })
    }
}

/// A whole number in a range.
fn whole(cx: &mut Reader, node: &Node, low: f64, high: f64, range: &str) -> Option<f64> {
    let number = number(cx, node, "a count", "200 or \"10k\"", true, units::count)?;
    if number.fract() != 0.0 {
        cx.mistake(
            node.at,
            "this is not a whole number",
            "not whole",
            "write a whole number",
        );
        return None;
    }
    within(cx, node, number, low, high, range)
}

fn whole_schema(low: u32) -> Json {
    json!({ "anyOf": [
        { "type": "integer", "minimum": low },
        { "type": "string", "pattern": "^[0-9][0-9._]*(k|M|G)?$" }
    ] })
}

impl<const MIN: u32> Form for Count<MIN> {
    type Out = u32;
    fn read(cx: &mut Reader, node: &Node) -> Option<u32> {
        let range = format!("between {MIN} and 1G");
        whole(cx, node, f64::from(MIN), 1e9, &range).map(|number| number as u32)
    }
    fn schema() -> Json {
        whole_schema(MIN)
    }
    fn spell(out: &u32) -> Json {
        json!(out)
    }
}

impl Form for Natural {
    type Out = u64;
    fn read(cx: &mut Reader, node: &Node) -> Option<u64> {
        whole(cx, node, 0.0, 1e15, "between 0 and 1000000G").map(|number| number as u64)
    }
    fn schema() -> Json {
        whole_schema(0)
    }
    fn spell(out: &u64) -> Json {
        json!(out)
    }
}

impl Form for Quantity {
    type Out = f64;
    fn read(cx: &mut Reader, node: &Node) -> Option<f64> {
        number(
            cx,
            node,
            "a quantity",
            "100, \"280k/s\", \"95%\" or \"100ms\"",
            true,
            units::quantity,
        )
    }
    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "number" },
            { "type": "string", "description": "a number with a unit, such as 280k/s, 95% or 100ms" }
        ] })
    }
}

impl<F: Form> Form for List<F> {
    type Out = Vec<F::Out>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Vec<F::Out>> {
        let Value::List(items) = &node.value else {
            cx.wrong_kind(node, "a list in square brackets");
            return None;
        };
        if items.len() > LIST_MAX {
            cx.mistake(
                node.at,
                "this list is too long",
                "too long",
                format!("at most {LIST_MAX} items"),
            );
            return None;
        }
        // Read to the end before giving up, so that every item's mistakes are seen.
        let read: Vec<Option<F::Out>> = items.iter().map(|item| F::read(cx, item)).collect();
        read.into_iter().collect()
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": F::schema(), "maxItems": LIST_MAX })
    }
}

impl<F: Form> Form for Maybe<F> {
    type Out = Option<F::Out>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Option<F::Out>> {
        if matches!(&node.value, Value::Text(text) if text == "none") {
            return Some(None);
        }
        F::read(cx, node).map(Some)
    }
    fn schema() -> Json {
        json!({ "anyOf": [F::schema(), { "const": "none" }] })
    }
    fn spell(out: &Option<F::Out>) -> Json {
        out.as_ref().map_or(Json::Null, F::spell)
    }
}

impl Form for MetricName {
    type Out = Metric;
    fn read(cx: &mut Reader, node: &Node) -> Option<Metric> {
        let name = cx.text(node, "the name of a metric")?;
        if let Some(metric) = Metric::from_name(name) {
            return Some(metric);
        }
        let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        let message = format!("there is no metric `{}`", crate::reader::clip(name));
        cx.mistake(node.at, message, "unknown metric", suggestion(name, &names));
        None
    }
    fn schema() -> Json {
        let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        json!({ "enum": names })
    }
}

impl Form for Nodes {
    type Out = Vec<u32>;
    fn read(cx: &mut Reader, node: &Node) -> Option<Vec<u32>> {
        let Value::Text(text) = &node.value else {
            return List::<Count>::read(cx, node);
        };
        let range = text.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            let count = u32::checked_sub(to, from)?;
            ((count as usize) < LIST_MAX).then(|| (from..=to).collect())
        });
        if range.is_none() {
            cx.mistake(
                node.at,
                "these are not numbers of nodes",
                "cannot be read",
                "write a list such as [0, 1] or a range such as \"0-4\"",
            );
        }
        range
    }
    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "array", "items": { "type": "integer", "minimum": 0 } },
            { "type": "string", "pattern": "^[0-9]+-[0-9]+$" }
        ] })
    }
}

impl Form for Socket {
    type Out = std::net::SocketAddr;
    fn read(cx: &mut Reader, node: &Node) -> Option<std::net::SocketAddr> {
        let text = cx.text(node, "an address such as \"127.0.0.1:8080\"")?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        cx.mistake(
            node.at,
            "this is not an address to listen on",
            "cannot be read",
            "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        );
        None
    }
    fn schema() -> Json {
        json!({ "type": "string", "description": "an IP address and a port, such as 127.0.0.1:8080" })
    }
    fn spell(out: &std::net::SocketAddr) -> Json {
        json!(out.to_string())
    }
}

impl Form for HostPort {
    type Out = String;
    fn read(cx: &mut Reader, node: &Node) -> Option<String> {
        let text = cx.text(node, "an address such as \"10.0.0.7:8000\"")?;
        let host_fits = |host: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            match v6 {
                Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(plain),
            }
        };
        let fits = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| host_fits(host) && port.parse::<u16>().is_ok_and(|port| port > 0));
        if fits {
            return Some(text.to_owned());
        }
        cx.mistake(
            node.at,
            "this is not an address to connect to",
            "cannot be read",
            "write a host and a port and nothing else, such as \"10.0.0.7:8000\" or \"api.internal:8000\"",
        );
        None
    }
    fn schema() -> Json {
        json!({ "type": "string", "description": "a host and a port, such as 10.0.0.7:8000" })
    }
    fn spell(out: &String) -> Json {
        json!(out)
    }
}

macro_rules! places {
    ($($(#[doc = $doc:literal])+ $form:ident = $what:literal, $($kind:ident)|+;)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) struct $form;
            impl Form for $form {
                type Out = Place;
                fn read(cx: &mut Reader, node: &Node) -> Option<Place> {
                    cx.place(node, $what, |place| matches!(place, $(Place::$kind(_))|+))
                }
                fn schema() -> Json {
                    json!({ "type": "string", "description": concat!("the name of ", $what) })
                }
            }
        )+
    };
}

places! {
    /// What a client or a service can call.
    Callee = "a gateway or a service", Gateway | Service;
    /// What a gateway calls.
    ServiceName = "a service", Service;
    /// What can be loaded from.
    Origin = "a database or a service", Database | Service;
    /// What has protections.
    Protected = "a gateway or a service", Gateway | Service;
    /// Any component.
    Component = "a component", Client | Gateway | Service | Cache | Database;
}

/// A cache, by its index.
pub(crate) struct CacheName;

impl Form for CacheName {
    type Out = usize;
    fn read(cx: &mut Reader, node: &Node) -> Option<usize> {
        match cx.place(node, "a cache", |place| matches!(place, Place::Cache(_)))? {
            Place::Cache(index) => Some(index),
            _ => None,
        }
    }
    fn schema() -> Json {
        json!({ "type": "string", "description": "the name of a cache" })
    }
}

/// The laws that are spelled as a table.
struct LawTable;

tagged! {
    LawTable => Dist, "a law" {
        /// Exponential, by its mean.
        "exponential" = Exponential { mean: Duration };
        /// Normal; what falls below zero is zero.
        "normal" = Normal { mean: Duration, deviation: Duration };
        /// Log-normal, by its median and its 99th percentile.
        "lognormal" = LogNormal { median: Duration, p99: Duration };
        /// Even between two bounds.
        "uniform" = Uniform { min: Duration, max: Duration };
    }
}

impl Form for Law {
    type Out = Dist;
    fn read(cx: &mut Reader, node: &Node) -> Option<Dist> {
        let Value::Table(_) = node.value else {
            return Duration::read(cx, node).map(Dist::Fixed);
        };
        let law = LawTable::read(cx, node)?;
        let help = match law {
            Dist::LogNormal { median, .. } if median.is_zero() => {
                "the median of a log-normal law must be above nothing"
            }
            Dist::LogNormal { median, p99 } if p99 < median => "p99 must not be below the median",
            Dist::Uniform { min, max } if max < min => "max must not be below min",
            _ => return Some(law),
        };
        cx.mistake(node.at, "there is no such law", "impossible", help);
        None
    }
    fn schema() -> Json {
        json!({
            "description": "a length of time, fixed or drawn from a law",
            "anyOf": [Duration::schema(), LawTable::schema()]
        })
    }
    fn spell(out: &Dist) -> Json {
        match out {
            Dist::Fixed(span) => Duration::spell(span),
            _ => Json::Null,
        }
    }
}

words! { seawall_core::ttl::Class, "class" { "critical" = Critical, "important" = Important, "regular" = Regular } }
words! { seawall_core::shed::Priority, "priority" { "low" = Low, "normal" = Normal, "high" = High } }
words! { seawall_core::ring::Sharding, "way of sharding" { "modulo" = Modulo, "jump" = Jump, "ring" = Ring } }
words! { seawall_core::queue::Order, "order" { "fifo" = Fifo, "lifo" = Lifo, "adaptive" = Adaptive } }
words! {
    seawall_core::balance::Strategy, "way of balancing" {
        "random" = Random, "round_robin" = RoundRobin, "least_connections" = LeastConnections,
        "power_of_two" = PowerOfTwo
    }
}
