//! Whether the parts of a scenario fit together, once each has been read.

use seawall_core::time::Span;

use crate::model::{CacheKind, Event, Expect, Fault, Place, Scenario, What};
use crate::node::Node;
use crate::reader::{self, Reader};

/// Checks what can only be seen from the whole.
pub(crate) fn check(
    cx: &mut Reader,
    root: &Node,
    scenario: &Scenario,
    events: &[(&Node, Event)],
    expects: &[(&Node, Expect)],
) {
    cycles(cx, root, scenario);
    for (node, event) in events {
        check_event(cx, node, event, scenario);
    }
    for (node, expect) in expects {
        check_instance(cx, node, expect, scenario);
    }
    check_locals(cx, root, scenario);
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
                let key = if node.field("on").is_some() {
                    "on"
                } else {
                    "action"
                };
                cx.mistake(node.at_field(key), "this cannot be done here", "not here", help);
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
    if event.for_.is_some_and(Span::is_zero) {
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
    let Some(first) = left.first() else {
        return;
    };
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
