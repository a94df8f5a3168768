//! Reading what happens, in order of time.

use seawall_core::time::Span;

use crate::assemble::list;
use crate::form::{Component, Duration, Form, Nodes, Text};
use crate::model::action::{self, Told};
use crate::model::protect::{self, Defaults};
use crate::model::{Action, Event, Fault, Place, What};
use crate::node::{Node, Value};
use crate::reader::Reader;

/// Reads what happens; protections are tuned on top of what was there at the time.
pub(crate) struct Timeline<'d> {
    protect: Node,
    defaults: &'d Defaults,
}

impl<'d> Timeline<'d> {
    /// Begins with the protections that are on from the start.
    pub(crate) fn new(protect: &Node, defaults: &'d Defaults) -> Timeline<'d> {
        Timeline {
            protect: protect.clone(),
            defaults,
        }
    }

    pub(crate) fn read<'n>(&mut self, cx: &mut Reader, root: &'n Node) -> Option<Vec<(&'n Node, Event)>> {
        let items = list(cx, root, "timeline")?;
        let mut dated: Vec<(Option<Span>, &Node)> = Vec::new();
        let mut whole = true;
        for node in items {
            let keys = ["at", "for", "on", "nodes", "fault", "action", "note"];
            if cx.table(node, "a happening", &keys).is_none() {
                whole = false;
                continue;
            }
            let at = if let Some(at) = node.field("at") {
                Duration::read(cx, at)
            } else {
                cx.missing(node, "a happening", "at", "When it happens, from T=0");
                None
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

    fn event(&mut self, cx: &mut Reader, node: &Node, at: Option<Span>) -> Option<Event> {
        let for_ = node
            .field("for")
            .map_or(Some(None), |node| Duration::read(cx, node).map(Some));
        let on = node
            .field("on")
            .map_or(Some(None), |node| Component::read(cx, node).map(Some));
        let nodes = node
            .field("nodes")
            .map_or(Some(None), |node| Nodes::read(cx, node).map(Some));
        let remark = node
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
            note: remark?,
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
#[expect(clippy::option_option, reason = "a mistake, nothing said, or a component")]
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
