//! The protections of the document: the same settings that the gateway and the library read.

use seawall_core::policies::Policies;
use seawall_core::{
    balance, breaker, coalesce, deadline, early, lease, limit, queue, rate, retry, shed, sketch, stale,
    throttle, ttl, warm,
};

use serde_json::{Value as Json, json};

use super::Place;
use crate::form::{Flag, Form, List, Protected};
use crate::node::{Node, Value};
use crate::reader::Reader;

/// One protection, and the places that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// Gateways and services.
    pub at: Vec<Place>,
    /// What it is, completely.
    pub setting: Setting,
}

macro_rules! protections {
    ($($(#[doc = $doc:literal])+ $variant:ident($type:ty) = $field:ident, $off:expr;)+) => {
        /// The settings of one protection.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Setting { $($(#[doc = $doc])+ $variant($type),)+ }

        /// A protection, without its settings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProtectionName { $($(#[doc = $doc])+ $variant,)+ }

        impl Setting {
            /// Which protection this is.
            pub fn name(&self) -> ProtectionName {
                match self { $(Setting::$variant(_) => ProtectionName::$variant,)+ }
            }

            /// Switches it on, or tunes it.
            pub fn apply(&self, policies: &mut Policies) {
                match self { $(Setting::$variant(settings) => policies.$field = settings.clone().into(),)+ }
            }
        }

        impl ProtectionName {
            /// Every protection.
            pub const ALL: &'static [ProtectionName] = &[$(ProtectionName::$variant,)+];

            /// Its key in the document.
            pub const fn key(self) -> &'static str {
                match self { $(ProtectionName::$variant => stringify!($field),)+ }
            }

            /// Its settings, where it is on.
            pub fn setting(self, policies: &Policies) -> Option<Setting> {
                match self { $(ProtectionName::$variant => {
                    let setting: Option<$type> = policies.$field.clone().into();
                    setting.map(Setting::$variant)
                })+ }
            }

            /// How its settings are spelled in the document, where it is on.
            pub fn spell(self, policies: &Policies) -> Option<Json> {
                self.setting(policies).map(|setting| setting.spell())
            }

            /// Switches it off.
            pub fn remove(self, policies: &mut Policies) {
                match self { $(ProtectionName::$variant => policies.$field = $off,)+ }
            }
        }
    };
}

protections! {
    /// Stops asking cache nodes that do not answer.
    Breaker(breaker::Settings) = breaker, None;
    /// Stops asking an origin that does not answer.
    OriginBreaker(breaker::Settings) = origin_breaker, None;
    /// Many misses of one key, one load.
    Coalesce(coalesce::Settings) = coalesce, None;
    /// One load a key over the whole fleet.
    Lease(lease::Settings) = lease, None;
    /// How long entries are kept.
    Ttl(ttl::Settings) = ttl, ttl::Settings::default();
    /// Early refresh.
    Early(early::Settings) = early, None;
    /// Stale answers.
    Stale(stale::Settings) = stale, None;
    /// Limits on waiting.
    Deadline(deadline::Settings) = deadline, deadline::Settings::default();
    /// Retries of loads.
    Retry(retry::Settings) = retry, None;
    /// The bounded queue of requests at the door.
    Queue(queue::Settings) = queue, None;
    /// How many calls may be inside the origin.
    Limit(limit::Settings) = limit, None;
    /// How many requests a second are let in.
    Rate(rate::Settings) = rate, None;
    /// The share of reads let in.
    Throttle(throttle::Settings) = throttle, None;
    /// Shedding by priority.
    Shed(shed::Settings) = shed, None;
    /// Refilling a cold cache.
    Warm(warm::Settings) = warm, None;
    /// Keeping hot keys in each instance's memory.
    Hot(sketch::Settings) = hot, None;
    /// How calls are spread over copies of the origin.
    Balance(balance::Strategy) = balance, None;
    /// Whether entries carry a checksum.
    Integrity(bool) = integrity, false;
}

impl Form for ProtectionName {
    type Out = ProtectionName;
    fn read(cx: &mut Reader, node: &Node) -> Option<ProtectionName> {
        let keys = ProtectionName::keys();
        let word = cx.word(node, "protection", &keys)?;
        ProtectionName::from_key(word)
    }
    fn schema() -> Json {
        json!({ "enum": ProtectionName::keys() })
    }
}

impl ProtectionName {
    /// The protection of this key.
    pub fn from_key(key: &str) -> Option<ProtectionName> {
        ProtectionName::ALL.iter().copied().find(|name| name.key() == key)
    }

    fn keys() -> Vec<&'static str> {
        ProtectionName::ALL.iter().map(|name| name.key()).collect()
    }

    /// Whether it belongs at the door rather than beside the caches.
    pub fn is_at_the_door(self) -> bool {
        matches!(
            self,
            ProtectionName::Throttle | ProtectionName::Rate | ProtectionName::Shed | ProtectionName::Queue
        )
    }
}

/// Which places have a protection that does not say where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) door: Vec<Place>,
    pub(crate) caching: Vec<Place>,
}

/// Reads `[protect]`: the protections that are on.
pub(crate) fn read(cx: &mut Reader, node: &Node, defaults: &Defaults) -> Option<Vec<Protection>> {
    let switched = read_switched(cx, node, defaults)?.into_iter();
    Some(
        switched
            .filter_map(|(on, protection)| on.then_some(protection))
            .collect(),
    )
}

/// Reads `[protect]`: all that is written there, each with whether it is on.
pub(crate) fn read_switched(
    cx: &mut Reader,
    node: &Node,
    defaults: &Defaults,
) -> Option<Vec<(bool, Protection)>> {
    let keys = ProtectionName::keys();
    let entries = cx.table(node, "[protect]", &keys)?;
    let mut protections = Some(Vec::new());
    for entry in entries {
        let Some(name) = ProtectionName::from_key(&entry.key) else {
            continue;
        };
        match read_one(cx, name, &entry.node, defaults) {
            Some(switched) => {
                if let Some(list) = &mut protections {
                    list.push(switched);
                }
            }
            None => protections = None,
        }
    }
    protections
}

/// Reads one protection; with whether it is switched on.
fn read_one(
    cx: &mut Reader,
    name: ProtectionName,
    node: &Node,
    defaults: &Defaults,
) -> Option<(bool, Protection)> {
    let mut body = node.clone();
    let on = body.take("on").map_or(Some(true), |flag| Flag::read(cx, &flag));
    let at = body
        .take("at")
        .map(|at| (at.at, List::<Protected>::read(cx, &at)));
    let at = match at {
        Some((_, places)) => places,
        None if name.is_at_the_door() => Some(defaults.door.clone()),
        None => Some(defaults.caching.clone()),
    };
    let setting = Setting::read(cx, name, &body);
    let (on, at, setting) = (on?, at?, setting?);
    Some((on, Protection { at, setting }))
}

impl Setting {
    fn read(cx: &mut Reader, name: ProtectionName, node: &Node) -> Option<Setting> {
        Some(match name {
            ProtectionName::Breaker => Setting::Breaker(<breaker::Settings as Form>::read(cx, node)?),
            ProtectionName::OriginBreaker => {
                Setting::OriginBreaker(<breaker::Settings as Form>::read(cx, node)?)
            }
            ProtectionName::Coalesce => Setting::Coalesce(<coalesce::Settings as Form>::read(cx, node)?),
            ProtectionName::Lease => Setting::Lease(<lease::Settings as Form>::read(cx, node)?),
            ProtectionName::Ttl => Setting::Ttl(<ttl::Settings as Form>::read(cx, node)?),
            ProtectionName::Early => Setting::Early(<early::Settings as Form>::read(cx, node)?),
            ProtectionName::Stale => Setting::Stale(<stale::Settings as Form>::read(cx, node)?),
            ProtectionName::Deadline => Setting::Deadline(<deadline::Settings as Form>::read(cx, node)?),
            ProtectionName::Retry => Setting::Retry(<retry::Settings as Form>::read(cx, node)?),
            ProtectionName::Queue => Setting::Queue(<queue::Settings as Form>::read(cx, node)?),
            ProtectionName::Limit => Setting::Limit(<limit::Settings as Form>::read(cx, node)?),
            ProtectionName::Rate => Setting::Rate(<rate::Settings as Form>::read(cx, node)?),
            ProtectionName::Throttle => Setting::Throttle(<throttle::Settings as Form>::read(cx, node)?),
            ProtectionName::Shed => Setting::Shed(<shed::Settings as Form>::read(cx, node)?),
            ProtectionName::Warm => Setting::Warm(<warm::Settings as Form>::read(cx, node)?),
            ProtectionName::Hot => Setting::Hot(<sketch::Settings as Form>::read(cx, node)?),
            ProtectionName::Balance => Setting::Balance(Strategic::read(cx, node)?),
            ProtectionName::Integrity => Setting::Integrity(Switch::read(cx, node)?),
        })
    }

    /// How it is spelled in the document.
    fn spell(&self) -> Json {
        match self {
            Setting::Breaker(settings) | Setting::OriginBreaker(settings) => {
                breaker::Settings::spell(settings)
            }
            Setting::Coalesce(settings) => coalesce::Settings::spell(settings),
            Setting::Lease(settings) => lease::Settings::spell(settings),
            Setting::Ttl(settings) => ttl::Settings::spell(settings),
            Setting::Early(settings) => early::Settings::spell(settings),
            Setting::Stale(settings) => stale::Settings::spell(settings),
            Setting::Deadline(settings) => deadline::Settings::spell(settings),
            Setting::Retry(settings) => retry::Settings::spell(settings),
            Setting::Queue(settings) => queue::Settings::spell(settings),
            Setting::Limit(settings) => {
                let mut spelled = limit::Settings::spell(settings);
                spelled["mode"] = super::settings::spell_mode(&settings.mode);
                spelled
            }
            Setting::Rate(settings) => rate::Settings::spell(settings),
            Setting::Throttle(settings) => throttle::Settings::spell(settings),
            Setting::Shed(settings) => shed::Settings::spell(settings),
            Setting::Warm(settings) => warm::Settings::spell(settings),
            Setting::Hot(settings) => sketch::Settings::spell(settings),
            Setting::Balance(strategy) => json!({ "strategy": balance::Strategy::spell(strategy) }),
            Setting::Integrity(on) => json!(on),
        }
    }

    fn schema(name: ProtectionName) -> Json {
        match name {
            ProtectionName::Breaker | ProtectionName::OriginBreaker => <breaker::Settings as Form>::schema(),
            ProtectionName::Coalesce => <coalesce::Settings as Form>::schema(),
            ProtectionName::Lease => <lease::Settings as Form>::schema(),
            ProtectionName::Ttl => <ttl::Settings as Form>::schema(),
            ProtectionName::Early => <early::Settings as Form>::schema(),
            ProtectionName::Stale => <stale::Settings as Form>::schema(),
            ProtectionName::Deadline => <deadline::Settings as Form>::schema(),
            ProtectionName::Retry => <retry::Settings as Form>::schema(),
            ProtectionName::Queue => <queue::Settings as Form>::schema(),
            ProtectionName::Limit => <limit::Settings as Form>::schema(),
            ProtectionName::Rate => <rate::Settings as Form>::schema(),
            ProtectionName::Throttle => <throttle::Settings as Form>::schema(),
            ProtectionName::Shed => <shed::Settings as Form>::schema(),
            ProtectionName::Warm => <warm::Settings as Form>::schema(),
            ProtectionName::Hot => <sketch::Settings as Form>::schema(),
            ProtectionName::Balance => Strategic::schema(),
            ProtectionName::Integrity => Switch::schema(),
        }
    }
}

/// The schema of `[protect]`.
pub(crate) fn schema() -> Json {
    let mut properties = serde_json::Map::new();
    for name in ProtectionName::ALL {
        let mut schema = Setting::schema(*name);
        let tables = match schema.get_mut("anyOf") {
            Some(Json::Array(of)) => of.iter_mut().find(|schema| schema["type"] == "object"),
            _ => Some(&mut schema),
        };
        if let Some(table) = tables {
            table["properties"]["on"] =
                json!({ "type": "boolean", "description": "false switches it off", "default": true });
            table["properties"]["at"] = json!({
                "type": "array",
                "items": Protected::schema(),
                "description": "which gateways and services have it"
            });
        }
        properties.insert(name.key().to_owned(), schema);
    }
    json!({
        "type": "object",
        "description": "the protections: what is simulated is what is deployed",
        "properties": properties,
        "additionalProperties": false
    })
}

/// `balance = "least_connections"`, or a table with the same and a place.
struct Strategic;

impl Form for Strategic {
    type Out = balance::Strategy;
    fn read(cx: &mut Reader, node: &Node) -> Option<balance::Strategy> {
        if !matches!(node.value, Value::Table(_)) {
            return balance::Strategy::read(cx, node);
        }
        cx.table(node, "`balance`", &["strategy"])?;
        match node.field("strategy") {
            Some(strategy) => balance::Strategy::read(cx, strategy),
            None => Some(balance::Strategy::default()),
        }
    }
    fn schema() -> Json {
        let word = balance::Strategy::schema();
        json!({ "anyOf": [
            word,
            { "type": "object", "properties": { "strategy": word }, "additionalProperties": false }
        ] })
    }
}

/// `integrity = true`, or a table with nothing but a place.
struct Switch;

impl Form for Switch {
    type Out = bool;
    fn read(cx: &mut Reader, node: &Node) -> Option<bool> {
        if !matches!(node.value, Value::Table(_)) {
            return Flag::read(cx, node);
        }
        cx.table(node, "`integrity`", &[]).map(|_| true)
    }
    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "boolean" },
            { "type": "object", "properties": {}, "additionalProperties": false }
        ] })
    }
}
