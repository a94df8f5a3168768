//! From a tree to a scenario: first the names, then the components, then what refers to them.

use seawall_core::time::Span;

use crate::consistency;
use crate::form::{Form, Text, is_name};
use crate::model::protect::{self, Defaults};
use crate::model::{
    Cache, Client, Database, Drill, Environment, Event, Expect, Fault, Gateway, Place, Run, Scenario,
    Service, What, expect,
};
use crate::node::{At, Entry, Node, Value};
use crate::reader::{self, Reader};
use crate::timeline::Timeline;

/// Where a variant's own description is kept in the merged tree; no key in a document is called so.
pub(crate) const VARIANT_ABOUT: &str = "variant.about";

/// The keys of a document.
const KEYS: [&str; 15] = [
    "title",
    "about",
    "run",
    "environment",
    "drill",
    "client",
    "gateway",
    "service",
    "cache",
    "database",
    "protect",
    "timeline",
    "expect",
    "variant",
    VARIANT_ABOUT,
];

/// The most components of a document.
const COMPONENTS_MAX: usize = 1_000;

/// The most happenings, and the most expectations.
const ENTRIES_MAX: usize = 1_000;

/// Reads one variant of a document; what is wrong is noted.
pub(crate) fn scenario(cx: &mut Reader, root: &Node, variant: &str, variants: &[String]) -> Option<Scenario> {
    cx.table(root, "a scenario document", &KEYS)?;
    names(cx, root)?;
    let title = text(cx, root, "title");
    let about = text(cx, root, "about");
    let variant_about = text(cx, root, VARIANT_ABOUT);
    let run = if let Some(node) = root.field("run") {
        Run::read(cx, node)
    } else {
        let help = "add [run] with a `duration`";
        let message = "the document does not say how long the run is";
        cx.mistake(top(root), message, "[run] is missing", help);
        None
    };
    let environment = match root.field("environment") {
        Some(node) => Environment::read(cx, node),
        None => Some(Environment::default()),
    };
    let drill = match root.field("drill") {
        Some(node) => drill(cx, node, variants),
        None => Some(Drill {
            time: 1.0,
            skip: Vec::new(),
            scale: None,
            variants: Vec::new(),
        }),
    };
    let clients = components::<Client>(cx, root, "client");
    let gateways = components::<Gateway>(cx, root, "gateway");
    let services = components::<Service>(cx, root, "service");
    let caches = components::<Cache>(cx, root, "cache");
    let databases = components::<Database>(cx, root, "database");
    let defaults = services
        .as_ref()
        .map_or_else(Defaults::default, |services| defaults(cx, services));
    let none = Node {
        at: root.at,
        value: Value::Table(Vec::new()),
    };
    let protect = root.field("protect").unwrap_or(&none);
    let protections = protect::read(cx, protect, &defaults);
    let events = Timeline::new(protect, &defaults).read(cx, root);
    if let (Some(run), Some(drill), Some(events), Some(node)) = (&run, &drill, &events, root.field("drill"))
        && drill.knows(variant)
    {
        check_skip(cx, node, run, drill, events);
    }
    let expects = run
        .as_ref()
        .and_then(|run| expectations(cx, root, run, variant, variants));
    if clients.as_ref().is_some_and(Vec::is_empty) {
        cx.mistake(
            top(root),
            "nobody sends requests",
            "no client",
            "add [client.NAME]",
        );
    }
    let scenario = Scenario {
        title: title?,
        about: about?,
        variant: variant.to_owned(),
        variant_about: variant_about?,
        run: run?,
        environment: environment?,
        drill: drill?,
        clients: clients?,
        gateways: gateways?,
        services: services?,
        caches: caches?,
        databases: databases?,
        protections: protections?,
        timeline: events.as_ref()?.iter().map(|(_, event)| event.clone()).collect(),
        expects: expects
            .as_ref()?
            .iter()
            .map(|(_, expect)| expect.clone())
            .collect(),
    };
    consistency::check(cx, root, &scenario, events.as_deref()?, expects.as_deref()?);
    Some(scenario)
}

/// The beginning of the document, for what is not in it.
fn top(root: &Node) -> At {
    At {
        end: root.at.start,
        ..root.at
    }
}

fn text(cx: &mut Reader, root: &Node, key: &str) -> Option<String> {
    root.field(key)
        .map_or_else(|| Some(String::new()), |node| Text::read(cx, node))
}

/// The place of the component with this number.
type Numbered = fn(usize) -> Place;

/// Learns the name of every component.
fn names(cx: &mut Reader, root: &Node) -> Option<()> {
    let kinds: [(&str, Numbered); 5] = [
        ("client", Place::Client),
        ("gateway", Place::Gateway),
        ("service", Place::Service),
        ("cache", Place::Cache),
        ("database", Place::Database),
    ];
    for (kind, place) in kinds {
        let Some(node) = root.field(kind) else { continue };
        if !matches!(node.value, Value::Table(_)) {
            cx.wrong_kind(node, &format!("tables: [{kind}.NAME]"));
            return None;
        }
        if cx.names.len() + node.entries().len() > COMPONENTS_MAX {
            let help = format!("at most {COMPONENTS_MAX}");
            cx.mistake(node.at, "there are too many components", "too many", help);
            return None;
        }
        for (index, entry) in node.entries().iter().enumerate() {
            if !is_name(&entry.key) {
                bad_name(cx, entry);
            }
            let other = cx.names.iter().find(|(name, _)| *name == entry.key);
            if let Some((_, other)) = other {
                let other = reader::kind(*other);
                cx.mistake(
                    entry.key_at,
                    format!("there is already a {other} called `{}`", entry.key),
                    "a second component of this name",
                    "give every component a name of its own",
                );
            }
            cx.names.push((entry.key.clone(), place(index)));
        }
    }
    Some(())
}

pub(crate) fn bad_name(cx: &mut Reader, entry: &Entry) {
    cx.mistake(
        entry.key_at,
        format!("`{}` cannot be a name", reader::clip(&entry.key)),
        "not a name",
        "use small letters, digits, `-` and `_`, at most 63 of them, a letter or digit first",
    );
}

/// Reads all components of a kind.
pub(crate) fn components<F: Form>(cx: &mut Reader, root: &Node, kind: &str) -> Option<Vec<F::Out>> {
    let entries = root.field(kind).map_or(&[][..], Node::entries);
    let mut read = Vec::with_capacity(entries.len());
    for entry in entries {
        cx.name.clone_from(&entry.key);
        read.push(F::read(cx, &entry.node));
    }
    read.into_iter().collect()
}

fn defaults(cx: &Reader, services: &[Service]) -> Defaults {
    let all: Vec<Place> = (0..services.len()).map(Place::Service).collect();
    let caching: Vec<Place> = all
        .iter()
        .zip(services)
        .filter(|(_, service)| !service.caches.is_empty())
        .map(|(place, _)| *place)
        .collect();
    let gateways: Vec<Place> = cx
        .names
        .iter()
        .map(|(_, place)| *place)
        .filter(|place| matches!(place, Place::Gateway(_)))
        .collect();
    Defaults {
        door: if gateways.is_empty() {
            all.clone()
        } else {
            gateways
        },
        caching: if caching.is_empty() { all } else { caching },
    }
}

/// A list of tables such as `[[timeline]]`.
pub(crate) fn list<'n>(cx: &mut Reader, root: &'n Node, key: &str) -> Option<&'n [Node]> {
    let Some(node) = root.field(key) else {
        return Some(&[]);
    };
    let Value::List(items) = &node.value else {
        cx.wrong_kind(node, &format!("a list of tables: [[{key}]]"));
        return None;
    };
    if items.len() > ENTRIES_MAX {
        let help = format!("at most {ENTRIES_MAX}");
        cx.mistake(node.at, format!("`{key}` is too long"), "too long", help);
        return None;
    }
    Some(items)
}

fn drill(cx: &mut Reader, node: &Node, variants: &[String]) -> Option<Drill> {
    let drill = Drill::read(cx, node)?;
    known(cx, node, &drill.variants, variants);
    Some(drill)
}

/// Whether nothing happens in the parts of its time that a drill leaves out.
fn check_skip(cx: &mut Reader, node: &Node, run: &Run, drill: &Drill, events: &[(&Node, Event)]) {
    let nodes = node.field("skip").map_or(&[][..], Node::items);
    let mut last = f64::NEG_INFINITY;
    let instants = events.iter().flat_map(|(_, event)| {
        let expires = match &event.what {
            What::Fault(Fault::ExpireAt { instant }) => Some(*instant),
            _ => None,
        };
        [
            Some(event.at),
            event.for_.map(|length| event.at + length),
            expires,
        ]
    });
    let instants: Vec<Span> = instants.flatten().collect();
    for (part, node) in drill.skip.iter().zip(nodes) {
        let inside = |at: &&Span| at.as_secs_f64() > part.from && at.as_secs_f64() < part.to;
        let wrong = if part.from < 0.0 && part.to > 0.0 {
            Some((
                "this lies on both sides of T=0".to_owned(),
                "make two parts of it",
            ))
        } else if part.from < -run.warmup.as_secs_f64() || part.to > run.duration.as_secs_f64() {
            Some((
                "this lies outside of the run".to_owned(),
                "end it earlier, or begin it later",
            ))
        } else if part.from < last {
            let message = "this begins before the one above it has ended".to_owned();
            Some((message, "write them in order"))
        } else {
            let happens = instants.iter().find(inside);
            happens.map(|at| {
                (
                    format!("something happens at {at} in this part"),
                    "leave out what comes before or after it",
                )
            })
        };
        if let Some((message, help)) = wrong {
            cx.mistake(node.at, message, "cannot be left out", help);
        }
        last = part.to;
    }
}

/// Whether the variants that a table names are there.
fn known(cx: &mut Reader, table: &Node, names: &[String], variants: &[String]) {
    let nodes = table.field("variants").map_or(&[][..], Node::items);
    for (name, node) in names.iter().zip(nodes) {
        if !variants.contains(name) {
            let known: Vec<&str> = variants.iter().map(String::as_str).collect();
            let message = format!("there is no variant `{}`", reader::clip(name));
            let help = reader::suggestion(name, &known);
            cx.mistake(node.at, message, "refers to nothing", help);
        }
    }
}

fn expectations<'n>(
    cx: &mut Reader,
    root: &'n Node,
    run: &Run,
    variant: &str,
    variants: &[String],
) -> Option<Vec<(&'n Node, Expect)>> {
    let mut whole = true;
    let mut expects = Vec::new();
    for node in list(cx, root, "expect")? {
        let Some((expect, of)) = expect::read(cx, node, run) else {
            whole = false;
            continue;
        };
        known(cx, node, &of, variants);
        if of.is_empty() || of.iter().any(|name| name == variant) {
            expects.push((node, expect));
        }
    }
    whole.then_some(expects)
}
