//! From a tree to a scenario: first the names, then the components, then what refers to them.

use crate::form::{Component, Duration, Form, Nodes, Text, is_name};
use crate::model::action::{self, Told};
use crate::model::protect::{self, Defaults};
use crate::model::{
    Action, Cache, CacheKind, Client, Database, Environment, Event, Expect, Fault, Gateway, Place, Run,
    Scenario, Service, What, expect,
};
use crate::node::{At, Entry, Node, Value};
use crate::reader::{self, Reader};

/// Where a variant's own description is kept in the merged tree; no key in a document is called so.
pub(crate) const VARIANT_ABOUT: &str = "variant.about";

/// The keys of a document.
const KEYS: [&str; 14] = [
    "title",
    "about",
    "run",
    "environment",
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
    let run = match root.field("run") {
        Some(node) => Run::read(cx, node),
        None => {
            let at = At {
                end: root.at.start,
                ..root.at
            };
            let help = "add [run] with a `duration`";
            cx.mistake(
                at,
                "the document does not say how long the run is",
                "[run] is missing",
                help,
            );
            None
        }
    };
    let environment = match root.field("environment") {
        Some(node) => Environment::read(cx, node),
        None => Some(Environment {
            test: false,
            name: None,
            rate_max: None,
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
    let mut timeline = Timeline {
        protect: protect.clone(),
        defaults: &defaults,
    };
    let events = timeline.read(cx, root);
    let expects = run
        .as_ref()
        .and_then(|run| expectations(cx, root, run, variant, variants));
    if clients.as_ref().is_some_and(Vec::is_empty) {
        let at = At {
            end: root.at.start,
            ..root.at
        };
        cx.mistake(at, "nobody sends requests", "no client", "add [client.NAME]");
    }
    let scenario = Scenario {
        title: title?,
        about: about?,
        variant: variant.to_owned(),
        variant_about: variant_about?,
        run: run?,
        environment: environment?,
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
    cycles(cx, root, &scenario);
    for (node, event) in events.iter().flatten() {
        check_event(cx, node, event, &scenario);
    }
    for (node, expect) in expects.iter().flatten() {
        check_instance(cx, node, expect, &scenario);
    }
    check_locals(cx, root, &scenario);
    Some(scenario)
}

fn text(cx: &mut Reader, root: &Node, key: &str) -> Option<String> {
    root.field(key)
        .map_or_else(|| Some(String::new()), |node| Text::read(cx, node))
}

/// Learns the name of every component.
fn names(cx: &mut Reader, root: &Node) -> Option<()> {
    let kinds: [(&str, fn(usize) -> Place); 5] = [
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
fn components<F: Form>(cx: &mut Reader, root: &Node, kind: &str) -> Option<Vec<F::Out>> {
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
fn list<'n>(cx: &mut Reader, root: &'n Node, key: &str) -> Option<&'n [Node]> {
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

/// Reads what happens; protections are tuned on top of what was there at the time.
struct Timeline<'d> {
    protect: Node,
    defaults: &'d Defaults,
}

impl Timeline<'_> {
    fn read<'n>(&mut self, cx: &mut Reader, root: &'n Node) -> Option<Vec<(&'n Node, Event)>> {
        let items = list(cx, root, "timeline")?;
        let mut dated: Vec<(Option<seawall_core::time::Span>, &Node)> = Vec::new();
        let mut whole = true;
        for node in items {
            let keys = ["at", "for", "on", "nodes", "fault", "action", "note"];
            if cx.table(node, "a happening", &keys).is_none() {
                whole = false;
                continue;
            }
            let at = match node.field("at") {
                Some(at) => Duration::read(cx, at),
                None => {
                    cx.missing(node, "a happening", "at", "When it happens, from T=0");
                    None
                }
            };
            dated.push((at, node));
        }
        dated.sort_by_key(|(at, _)| *at);
        let mut events = Vec::new();
        for (at, node) in dated {
            match self.event(cx, node, at) {
                Some(event) => events.push((node, event)),
                None => whole = false,
            }
        }
        whole.then_some(events)
    }

    fn event(&mut self, cx: &mut Reader, node: &Node, at: Option<seawall_core::time::Span>) -> Option<Event> {
        let for_ = node
            .field("for")
            .map_or(Some(None), |node| Duration::read(cx, node).map(Some));
        let on = node
            .field("on")
            .map_or(Some(None), |node| Component::read(cx, node).map(Some));
        let nodes = node
            .field("nodes")
            .map_or(Some(None), |node| Nodes::read(cx, node).map(Some));
        let note = node
            .field("note")
            .map_or(Some(None), |node| Text::read(cx, node).map(Some));
        let what = match (node.field("fault"), node.field("action")) {
            (Some(fault), None) => Fault::read(cx, fault).map(|fault| (None, What::Fault(fault))),
            (None, Some(action)) => self
                .action(cx, action)
                .map(|(on, action)| (on, What::Action(action))),
            _ => {
                let help = "write `fault = …` or `action = …`";
                cx.mistake(
                    node.at,
                    "a happening is a fault or an action",
                    "one is needed",
                    help,
                );
                None
            }
        };
        let (inner, what) = what?;
        Some(Event {
            at: at?,
            for_: for_?,
            on: on?.or(inner),
            nodes: nodes?,
            what,
            note: note?,
        })
    }

    fn action(&mut self, cx: &mut Reader, node: &Node) -> Option<(Option<Place>, Action)> {
        if let [entry] = node.entries()
            && entry.key == "protect"
        {
            return self.protect(cx, &entry.node).map(|action| (None, action));
        }
        let mut node = node.clone();
        let on = take_on(cx, &mut node)?;
        let path_at = match node.entries() {
            [entry] => entry.node.at_field("path"),
            _ => node.at,
        };
        let action = match Told::read(cx, &node)? {
            Told::Set { path, value } => {
                let (place, knob) = action::knob(cx, path_at, &path, &value)?;
                return Some((Some(place), Action::Set(knob)));
            }
            Told::Protect { tables } => self.protect(cx, &tables)?,
            Told::Unprotect { protections } => {
                if let Value::Table(entries) = &mut self.protect.value {
                    entries.retain(|entry| !protections.iter().any(|name| name.key() == entry.key));
                }
                Action::Unprotect(protections)
            }
            Told::Scale {
                replicas,
                instances,
                connections,
                nodes,
                takes,
            } => Action::Scale {
                replicas,
                instances,
                connections,
                nodes,
                takes,
            },
            Told::Warm { pace } => Action::Warm { pace },
            Told::Restart { takes } => Action::Restart { takes },
            Told::Purge => Action::Purge,
            Told::Flush => Action::Flush,
            Told::Balance { strategy } => Action::Balance(strategy),
            Told::Shard { sharding, nodes } => Action::Shard { sharding, nodes },
            Told::Rate { rate } => Action::Rate(rate),
        };
        Some((on, action))
    }

    fn protect(&mut self, cx: &mut Reader, tables: &Node) -> Option<Action> {
        if !matches!(tables.value, Value::Table(_)) {
            cx.wrong_kind(tables, "tables as in [protect]: { breaker = { … } }");
            return None;
        }
        self.protect.overlay(tables, &[]);
        // Switching something on means to have it on, also when it was declared as off.
        let mut wanted = Node {
            at: tables.at,
            value: Value::Table(Vec::new()),
        };
        if let (Value::Table(all), Value::Table(list)) = (&mut self.protect.value, &mut wanted.value) {
            for entry in all.iter_mut().filter(|entry| tables.field(&entry.key).is_some()) {
                let off = tables
                    .field(&entry.key)
                    .and_then(|table| table.field("on"))
                    .is_some();
                if !off {
                    entry.node.take("on");
                }
                list.push(entry.clone());
            }
        }
        protect::read(cx, &wanted, self.defaults).map(Action::Protect)
    }
}

/// Takes `on = "…"` (or `cache = "…"`) out of an action's own table.
fn take_on(cx: &mut Reader, node: &mut Node) -> Option<Option<Place>> {
    let Value::Table(entries) = &mut node.value else {
        return Some(None);
    };
    let [entry] = &mut entries[..] else {
        return Some(None);
    };
    let on = entry.node.take("on").or_else(|| entry.node.take("cache"));
    on.map_or(Some(None), |on| Component::read(cx, &on).map(Some))
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
        let named = node.field("variants").map_or(&[][..], Node::items);
        for (name, node) in of.iter().zip(named) {
            if !variants.contains(name) {
                let known: Vec<&str> = variants.iter().map(String::as_str).collect();
                let message = format!("there is no variant `{}`", reader::clip(name));
                cx.mistake(
                    node.at,
                    message,
                    "refers to nothing",
                    reader::suggestion(name, &known),
                );
            }
        }
        if of.is_empty() || of.iter().any(|name| name == variant) {
            expects.push((node, expect));
        }
    }
    whole.then_some(expects)
}

/// How many nodes or instances a component has; a node's number is below this.
fn count(scenario: &Scenario, place: Place) -> u32 {
    match place {
        Place::Service(index) => scenario.services[index].instances,
        Place::Cache(index) => {
            let cache = &scenario.caches[index];
            cache.nodes.saturating_add(cache.gutter)
        }
        Place::Database(index) => scenario.databases[index].nodes(),
        Place::Client(_) | Place::Gateway(_) => 1,
    }
}

fn check_event(cx: &mut Reader, node: &Node, event: &Event, scenario: &Scenario) {
    if event.at > scenario.run.duration {
        let help = format!("the run lasts {}", scenario.run.duration);
        cx.mistake(
            node.at_field("at"),
            "this happens after the run has ended",
            "outside the run",
            help,
        );
    } else if let Some(for_) = event.for_
        && event.at + for_ > scenario.run.duration
    {
        let help = format!(
            "the run lasts {}; leave `for` out for what lasts to its end",
            scenario.run.duration
        );
        cx.mistake(
            node.at_field("for"),
            "this lasts longer than the run",
            "outside the run",
            help,
        );
    }
    match &event.what {
        What::Fault(fault) => check_fault(cx, node, event, fault),
        What::Action(action) => {
            if let Some(kinds) = action.misfit(event.on) {
                let help = format!("it is done to {kinds}: name one in `on`");
                cx.mistake(node.at_field("on"), "this cannot be done here", "not here", help);
            }
            if event.for_.is_some() {
                let help = "leave `for` out, and undo it with a second action";
                cx.mistake(
                    node.at_field("for"),
                    "an action is done at an instant",
                    "not needed",
                    help,
                );
            }
        }
    }
    if let (Some(on), Some(nodes)) = (event.on, &event.nodes) {
        let count = count(scenario, on);
        if let Some(high) = nodes.iter().find(|node| **node >= count) {
            let message = format!("{} has no node {high}", scenario.name(on));
            let help = format!("it has {count}, counted from 0");
            cx.mistake(node.at_field("nodes"), message, "no such node", help);
        }
        if nodes.is_empty() {
            let help = "leave `nodes` out to mean all of them";
            cx.mistake(
                node.at_field("nodes"),
                "this happens to no node at all",
                "empty",
                help,
            );
        }
    }
}

fn check_fault(cx: &mut Reader, node: &Node, event: &Event, fault: &Fault) {
    let word = fault.word();
    match event.on {
        None => {
            let at = node.at_field("fault");
            let help = "add `on = \"…\"` with the name of a component";
            cx.mistake(
                at,
                format!("`{word}` does not say what it happens to"),
                "`on` is missing",
                help,
            );
        }
        Some(place) => {
            if let Some(kinds) = fault.misfit(place) {
                let message = format!("`{word}` cannot happen to a {}", reader::kind(place));
                cx.mistake(
                    node.at_field("on"),
                    message,
                    "not to this",
                    format!("it happens to {kinds}"),
                );
            }
        }
    }
    if fault.is_instant() && event.for_.is_some() {
        let message = format!("`{word}` happens at an instant");
        cx.mistake(node.at_field("for"), message, "not needed", "leave `for` out");
    }
    if event.for_.is_some_and(seawall_core::time::Span::is_zero) {
        let help = "make it longer than nothing, or leave it out for what lasts to the end";
        cx.mistake(
            node.at_field("for"),
            "a fault that lasts for no time",
            "nothing",
            help,
        );
    }
}

fn check_instance(cx: &mut Reader, node: &Node, expect: &Expect, scenario: &Scenario) {
    if let Some(instance) = expect.instance {
        let count = count(scenario, expect.of);
        if instance >= count {
            let message = format!("{} has no node {instance}", scenario.name(expect.of));
            let help = format!("it has {count}, counted from 0");
            cx.mistake(node.at_field("instance"), message, "no such node", help);
        }
    }
}

/// A local cache lives in the instances of one service.
fn check_locals(cx: &mut Reader, root: &Node, scenario: &Scenario) {
    for (index, cache) in scenario.caches.iter().enumerate() {
        let users = scenario
            .services
            .iter()
            .filter(|service| service.caches.contains(&index))
            .count();
        if cache.kind == CacheKind::Local && users > 1 {
            let at = root
                .field("cache")
                .map_or(root.at, |caches| caches.at_field(&cache.name));
            let help = "give each service a local cache of its own";
            cx.mistake(
                at,
                "a local cache belongs to one service",
                "used by several",
                help,
            );
        }
    }
}

/// Refuses services that call each other in a circle.
fn cycles(cx: &mut Reader, root: &Node, scenario: &Scenario) {
    let callees = |index: usize| -> Vec<usize> {
        let service = &scenario.services[index];
        let fallback = service.fallback.as_ref().map(|fallback| fallback.origin);
        service
            .origin
            .into_iter()
            .chain(fallback)
            .chain(service.also.iter().copied())
            .filter_map(|place| match place {
                Place::Service(index) => Some(index),
                _ => None,
            })
            .collect()
    };
    // Take away what calls nothing that is left, until nothing changes: what remains calls in a circle, or leads to one.
    let mut left: Vec<usize> = (0..scenario.services.len()).collect();
    loop {
        let before = left.len();
        let kept = left.clone();
        left.retain(|index| callees(*index).iter().any(|callee| kept.contains(callee)));
        if left.len() == before {
            break;
        }
    }
    let Some(first) = left.first() else { return };
    let mut path = vec![*first];
    while let Some(next) = path
        .last()
        .and_then(|last| callees(*last).into_iter().find(|callee| left.contains(callee)))
    {
        let seen = path.iter().position(|index| *index == next);
        path.push(next);
        if let Some(seen) = seen {
            path.drain(..seen);
            break;
        }
    }
    let names: Vec<&str> = path
        .iter()
        .map(|index| scenario.services[*index].name.as_str())
        .collect();
    let at = root
        .field("service")
        .map_or(root.at, |services| services.at_field(names[0]));
    let message = format!("services call each other in a circle: {}", names.join(" → "));
    cx.mistake(
        at,
        message,
        "begins here",
        "a request through it would never end: leave one of the calls out",
    );
}
