//! The gateway's own document (`seawall.toml`): where it listens, what stands behind it, and what protects it.
//!
//! Its `[protect]` tables are those of a scenario, read by the same code, and so are its mistakes: all at once, each
//! underlined where it was made. Settings from elsewhere (environment variables, the admin API) are laid over the
//! document before it is read. This opens no socket; the gateway does.
//!
//! ```
//! use seawall_scenario::{Deployment, Place, deployment::Override};
//! let text = r#"
//!     [upstream.api]
//!     addresses = ["127.0.0.1:8000"]
//!     [protect.coalesce]
//!     window = "5s"
//! "#;
//! let over = Override::new("SEAWALL_CIRCUIT_BREAKER_ENABLED", "protect.breaker.on", "false");
//! let deployment = Deployment::parse("seawall.toml", text, &[over]).unwrap();
//! assert_eq!(deployment.upstreams[0].pool, 50);
//! assert_eq!(deployment.routes.len(), 1, "one upstream needs no route");
//! let policies = deployment.policies(Place::Service(0), &Default::default());
//! assert!(policies.breaker.is_none() && policies.coalesce.is_some());
//!
//! let wrong = text.replace("addresses", "adresses");
//! let mistakes = Deployment::parse("seawall.toml", &wrong, &[]).unwrap_err();
//! assert_eq!(mistakes.list()[0].help.as_deref(), Some("did you mean `addresses`?"));
//! ```

use std::sync::Arc;

use miette::NamedSource;
use seawall_core::policies::Policies;
use toml::de::DeTable;

use crate::assemble;
use crate::document::{self, BYTES_MAX};
use crate::form::{Form, is_name};
use crate::mistakes::Mistakes;
use crate::model::deploy::{CacheTable, Listener, Route, Upstream};
use crate::model::protect::{self, Defaults};
use crate::model::{Place, Protection};
use crate::node::{Node, Value};
use crate::reader::Reader;

/// The keys of the gateway's document.
const KEYS: [&str; 5] = ["gateway", "upstream", "route", "cache", "protect"];

/// The name by which `at = [...]` means the gateway's own door.
const DOOR: &str = "gateway";

/// The most upstreams, and the most routes.
const PARTS_MAX: usize = 256;

/// A setting that is laid over the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Who says so: what is shown when it is wrong.
    pub from: String,
    /// Which setting, as `protect.breaker.failures`; `upstream.*.pool` is that of every upstream.
    pub path: String,
    /// Spelled as in the document; quotes may be left out. `{}` is a table that is left as it is when there is one.
    pub value: String,
}

impl Override {
    /// A setting from somewhere.
    pub fn new(from: impl Into<String>, path: impl Into<String>, value: impl Into<String>) -> Override {
        Override {
            from: from.into(),
            path: path.into(),
            value: value.into(),
        }
    }
}

/// A gateway's document that was read and found to be in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// How it listens and what it bears from clients.
    pub listener: Listener,
    /// What stands behind it; never empty.
    pub upstreams: Vec<Upstream>,
    /// Which requests go where; the first that fits, in the order of the document. Never empty.
    pub routes: Vec<Route>,
    /// What is kept.
    pub cache: CacheTable,
    /// What `[protect]` says, each with whether it is on.
    pub protections: Vec<(bool, Protection)>,
}

impl Deployment {
    /// Reads the document, with settings from elsewhere laid over it in their order.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, text: &str, overrides: &[Override]) -> Result<Deployment, Mistakes> {
        if text.len() > BYTES_MAX {
            return Err(document::too_long(name, text.len()));
        }
        let mut sources = vec![Arc::new(NamedSource::new(name, text.to_owned()))];
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let list = errors
                .iter()
                .map(|error| document::syntax(&sources[0], text, error));
            return Err(Mistakes::new(name, document::sorted(list.collect())));
        }
        let mut tree = Node::from_table(0, 0, &table);
        let mut cx = Reader::default();
        if let Some(wide) = tree.too_wide(document::ENTRIES_MAX) {
            cx.mistake(wide, "this table has too many keys", "too many", "");
        }
        for over in overrides {
            for path in spread(&tree, &over.path) {
                if over.value.trim() == "{}" && is_table(&tree, &path) {
                    continue;
                }
                let text = format!("{path}={}", over.value);
                document::set(&mut cx, &mut tree, &[], sources.len() as u32, &text);
                sources.push(Arc::new(NamedSource::new(over.from.clone(), text)));
            }
        }
        let deployment = read(&mut cx, &tree);
        match deployment {
            Some(deployment) if cx.mistakes.is_empty() => Ok(deployment),
            _ => {
                let list = cx.mistakes.into_iter().map(|raw| {
                    let source = (raw.at.source as usize).min(sources.len() - 1);
                    raw.in_source(&sources[source])
                });
                Err(Mistakes::new(name, document::sorted(list.collect())))
            }
        }
    }

    /// The protections of a place ([`Place::Gateway`] is the door, [`Place::Service`] an upstream), where `base` says
    /// what is on without a word.
    pub fn policies(&self, place: Place, base: &Policies) -> Policies {
        let mut policies = base.clone();
        for (on, protection) in &self.protections {
            if !protection.at.contains(&place) {
                continue;
            }
            if *on {
                protection.setting.apply(&mut policies);
            } else {
                protection.setting.name().remove(&mut policies);
            }
        }
        policies
    }
}

/// `upstream.*.pool` is that of every upstream.
fn spread(tree: &Node, path: &str) -> Vec<String> {
    let Some(rest) = path.strip_prefix("upstream.*.") else {
        return vec![path.to_owned()];
    };
    let upstreams = tree.field("upstream").map_or(&[][..], Node::entries);
    let paths = upstreams
        .iter()
        .map(|entry| format!("upstream.{}.{rest}", entry.key));
    paths.collect()
}

/// Whether there is a table at this path.
fn is_table(tree: &Node, path: &str) -> bool {
    let found = path.split('.').try_fold(tree, Node::field);
    found.is_some_and(|node| matches!(node.value, Value::Table(_)))
}

fn read(cx: &mut Reader, root: &Node) -> Option<Deployment> {
    cx.table(root, "a gateway's document", &KEYS)?;
    let none = Node {
        at: root.at,
        value: Value::Table(Vec::new()),
    };
    names(cx, root)?;
    let listener = Listener::read(cx, root.field("gateway").unwrap_or(&none));
    let upstreams = assemble::components::<Upstream>(cx, root, "upstream");
    let cache = CacheTable::read(cx, root.field("cache").unwrap_or(&none));
    let count = root.field("upstream").map_or(0, |node| node.entries().len());
    let routes = routes(cx, root, count);
    let defaults = Defaults {
        door: vec![Place::Gateway(0)],
        caching: (0..count).map(Place::Service).collect(),
    };
    let protections = protect::read_switched(cx, root.field("protect").unwrap_or(&none), &defaults);
    Some(Deployment {
        listener: listener?,
        upstreams: upstreams?,
        routes: routes?,
        cache: cache?,
        protections: protections?,
    })
}

/// Learns the names of the upstreams.
fn names(cx: &mut Reader, root: &Node) -> Option<()> {
    cx.names.push((DOOR.to_owned(), Place::Gateway(0)));
    let Some(node) = root.field("upstream") else {
        let help = "add [upstream.NAME] with `addresses = [\"127.0.0.1:8000\"]`";
        cx.mistake(root.at, "nothing stands behind this gateway", "no upstream", help);
        return None;
    };
    if !matches!(node.value, Value::Table(_)) {
        cx.wrong_kind(node, "tables: [upstream.NAME]");
        return None;
    }
    if node.entries().is_empty() || node.entries().len() > PARTS_MAX {
        let help = format!("between 1 and {PARTS_MAX}");
        cx.mistake(node.at, "this is no number of upstreams", "out of range", help);
        return None;
    }
    for (index, entry) in node.entries().iter().enumerate() {
        if !is_name(&entry.key) {
            assemble::bad_name(cx, entry);
        } else if entry.key == DOOR {
            let help = "give it another name";
            cx.mistake(entry.key_at, "this is the name of the door", "taken", help);
        }
        cx.names.push((entry.key.clone(), Place::Service(index)));
    }
    Some(())
}

fn routes(cx: &mut Reader, root: &Node, upstreams: usize) -> Option<Vec<Route>> {
    let nodes = assemble::list(cx, root, "route")?;
    if nodes.len() > PARTS_MAX {
        let help = format!("at most {PARTS_MAX}");
        cx.mistake(nodes[0].at, "there are too many routes", "too many", help);
        return None;
    }
    // Read to the end before giving up, so that every route's mistakes are seen.
    let routes: Vec<Option<Route>> = nodes.iter().map(|node| Route::read(cx, node)).collect();
    if routes.is_empty() && upstreams == 1 {
        return Some(vec![Route::all(Place::Service(0))]);
    }
    if routes.is_empty() {
        let help = "add [[route]] with a `path` and an `upstream`";
        cx.mistake(
            root.at_field("upstream"),
            "nothing says which requests go to which upstream",
            "no route",
            help,
        );
        return None;
    }
    routes.into_iter().collect()
}
