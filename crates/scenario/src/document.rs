//! Reading a document: its text, its variants, and what is laid over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use miette::NamedSource;
use toml::de::{DeTable, DeValue};

use crate::assemble;
use crate::mistakes::{MISTAKES_MAX, Mistake, Mistakes};
use crate::model::Scenario;
use crate::node::{At, Entry, Node, Value};
use crate::reader::{Raw, Reader, clip, suggestion};

/// The longest document, in bytes.
pub const BYTES_MAX: usize = 1 << 20;

/// The most keys of a table.
pub(crate) const ENTRIES_MAX: usize = 2_000;

/// The most variants of a document.
const VARIANTS_MAX: usize = 64;

/// The name of the one variant of a document that names none.
pub const AS_WRITTEN: &str = "as-written";

/// A scenario document that was read and found to be in order, in all its variants.
///
/// ```
/// let text = r#"
///     title = "a page is read"
///     [run]
///     duration = "1m"
///     [client.web]
///     calls = "app"
///     rate = "100/s"
///     keys = { uniform = { count = 10 } }
///     [service.app]
///     service_time = "5ms"
/// "#;
/// let document = seawall_scenario::Document::parse("page.toml", text).unwrap();
/// assert_eq!(document.variants(), ["as-written"]);
/// let scenario = document.scenario("as-written", &[("client.web.rate", "2k/s")]).unwrap();
/// assert_eq!(scenario.clients[0].rate, 2_000.0);
///
/// let mistakes = seawall_scenario::Document::parse("page.toml", &text.replace("rate", "rat")).unwrap_err();
/// assert_eq!(mistakes.list()[0].help.as_deref(), Some("did you mean `rate`?"));
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    text: Arc<NamedSource<String>>,
    base: Node,
    variants: Vec<Entry>,
    names: Vec<String>,
}

impl Document {
    /// Reads a document that came as bytes; what is not text is one clear mistake.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Document, Mistakes> {
        match std::str::from_utf8(bytes) {
            _ if bytes.len() > BYTES_MAX => Err(too_long(name, bytes.len())),
            Ok(text) => Document::parse(name, text),
            Err(wrong) => Err(refusal(
                name,
                format!("this is not text: byte {} is not UTF-8", wrong.valid_up_to()),
                "a scenario document is a TOML file; `seawall scenarios` lists those that are built in",
            )),
        }
    }

    /// Reads a document, and checks it in all its variants.
    ///
    /// # Errors
    /// All that is wrong with it, at most [`MISTAKES_MAX`] at a time.
    pub fn parse(name: &str, text: &str) -> Result<Document, Mistakes> {
        if text.len() > BYTES_MAX {
            return Err(too_long(name, text.len()));
        }
        if text.trim().is_empty() {
            return Err(refusal(
                name,
                "this document is empty".to_owned(),
                "it needs at least [run], a client and what the client calls; `seawall explain redis-down` shows one",
            ));
        }
        if text.contains('\0') {
            return Err(refusal(
                name,
                "this is not text: it contains zero bytes".to_owned(),
                "a scenario document is a TOML file; `seawall scenarios` lists those that are built in",
            ));
        }
        let source = Arc::new(NamedSource::new(name, text.to_owned()));
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let list = errors.iter().map(|error| syntax(&source, text, error)).collect();
            return Err(Mistakes::new(name, sorted(list)));
        }
        let mut base = Node::from_table(0, 0, &table);
        let mut cx = Reader::default();
        if let Some(wide) = base.too_wide(ENTRIES_MAX) {
            let help = format!("a table has at most {ENTRIES_MAX}");
            cx.mistake(wide, "this table has too many keys", "too many", help);
            let list = cx.mistakes.into_iter().map(|raw| raw.in_source(&source));
            return Err(Mistakes::new(name, list.collect()));
        }
        let variants = take_variants(&mut cx, &mut base);
        let names = if variants.is_empty() {
            vec![AS_WRITTEN.to_owned()]
        } else {
            variants.iter().map(|entry| entry.key.clone()).collect()
        };
        let document = Document {
            name: name.to_owned(),
            text: source,
            base,
            variants,
            names,
        };
        document.check(cx.mistakes)?;
        Ok(document)
    }

    /// The document's name, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The document's text, as it was read.
    pub fn text(&self) -> &str {
        self.text.inner()
    }

    /// The names of the variants, in the order of the document; a document without any has one, [`AS_WRITTEN`].
    pub fn variants(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// What happens, in a few words.
    pub fn title(&self) -> &str {
        match self.base.field("title").map(|node| &node.value) {
            Some(Value::Text(title)) => title,
            _ => &self.name,
        }
    }

    /// One variant, with settings from the command line laid over it: each a path ("protect.breaker.failures") and
    /// a value, spelled as in the document (quotes may be left out).
    ///
    /// # Errors
    /// When there is no such variant, or a setting does not fit.
    pub fn scenario(&self, variant: &str, sets: &[(&str, &str)]) -> Result<Scenario, Mistakes> {
        let mut sources = vec![self.text.clone()];
        for (path, value) in sets {
            let text = format!("{}={}", clip_value(path), clip_value(value));
            sources.push(Arc::new(NamedSource::new("--set", text)));
        }
        let mut cx = Reader::default();
        if !self.names.iter().any(|name| name == variant) {
            return Err(self.no_such_variant(variant));
        }
        let mut tree = self.tree(variant);
        for (index, source) in sources.iter().enumerate().skip(1) {
            set(&mut cx, &mut tree, &COMPONENTS, index as u32, source.inner());
        }
        let scenario = assemble::scenario(&mut cx, &tree, variant, &self.names);
        match scenario {
            Some(scenario) if cx.mistakes.is_empty() => Ok(scenario),
            _ => Err(self.mistakes(&sources, cx.mistakes)),
        }
    }

    /// The document with a variant laid over it.
    fn tree(&self, variant: &str) -> Node {
        let mut tree = self.base.clone();
        if let Some(entry) = self.variants.iter().find(|entry| entry.key == variant) {
            let mut over = entry.node.clone();
            if let Some(about) = over.take("about")
                && let Value::Table(entries) = &mut tree.value
            {
                entries.push(Entry {
                    key: assemble::VARIANT_ABOUT.to_owned(),
                    key_at: about.at,
                    node: about,
                });
            }
            tree.overlay(&over, &["timeline", "expect"]);
        }
        tree
    }

    /// Reads every variant, and gathers what is wrong with any of them.
    fn check(&self, first: Vec<Raw>) -> Result<(), Mistakes> {
        let mut found: BTreeMap<(At, String), (Raw, usize, &str)> = BTreeMap::new();
        for variant in &self.names {
            let mut cx = Reader::default();
            assemble::scenario(&mut cx, &self.tree(variant), variant, &self.names);
            let mut seen: Vec<(At, String)> = Vec::new();
            for raw in cx.mistakes {
                let key = (raw.at, raw.message.clone());
                if seen.contains(&key) {
                    continue;
                }
                seen.push(key.clone());
                found.entry(key).or_insert((raw, 0, variant)).1 += 1;
            }
            if found.len() > 2 * MISTAKES_MAX {
                break;
            }
        }
        if first.is_empty() && found.is_empty() {
            return Ok(());
        }
        let inside = |raw: &Raw| {
            self.variants
                .iter()
                .any(|entry| raw.at.start >= entry.node.at.start && raw.at.end <= entry.node.end())
        };
        let count = self.names.len();
        let raws = found.into_values().map(|(mut raw, times, variant)| {
            // What is wrong with one variant only, and not in its own text, says which one it is.
            if times < count && count > 1 && !inside(&raw) {
                raw.message = format!("{} (in variant `{variant}`)", raw.message);
            }
            raw
        });
        let raws = first.into_iter().chain(raws).collect();
        Err(self.mistakes(std::slice::from_ref(&self.text), raws))
    }

    fn no_such_variant(&self, variant: &str) -> Mistakes {
        let names: Vec<&str> = self.variants();
        let help = suggestion(variant, &names);
        let message = format!("{} has no variant `{}`", self.name, clip(variant));
        refusal(&self.name, message, &help)
    }

    fn mistakes(&self, sources: &[Arc<NamedSource<String>>], raws: Vec<Raw>) -> Mistakes {
        let list = raws
            .into_iter()
            .map(|raw| {
                let source = (raw.at.source as usize).min(sources.len() - 1);
                raw.in_source(&sources[source])
            })
            .collect();
        Mistakes::new(&self.name, sorted(list))
    }
}

impl Raw {
    /// The mistake, with the text it is in.
    pub(crate) fn in_source(self, source: &Arc<NamedSource<String>>) -> Mistake {
        let end = source.inner().len();
        Mistake {
            message: self.message,
            label: self.label,
            help: self.help,
            span: (self.at.start as usize).min(end)..(self.at.end as usize).min(end),
            source: source.clone(),
        }
    }
}

/// Takes `[variant.*]` out of the tree.
fn take_variants(cx: &mut Reader, base: &mut Node) -> Vec<Entry> {
    let Some(node) = base.take("variant") else {
        return Vec::new();
    };
    let Value::Table(variants) = node.value else {
        cx.wrong_kind(&node, "tables: [variant.NAME]");
        return Vec::new();
    };
    if variants.len() > VARIANTS_MAX {
        cx.mistake(
            node.at,
            "there are too many variants",
            "too many",
            format!("at most {VARIANTS_MAX}"),
        );
        return Vec::new();
    }
    for entry in &variants {
        if !crate::form::is_name(&entry.key) {
            assemble::bad_name(cx, entry);
        }
        if !matches!(entry.node.value, Value::Table(_)) {
            cx.wrong_kind(&entry.node, "a table: [variant.NAME]");
        }
    }
    variants
        .into_iter()
        .filter(|entry| matches!(entry.node.value, Value::Table(_)))
        .collect()
}

/// Lays one setting ("path=value") over the tree. `components` are the tables whose keys are names, and not added to by a
/// setting of one.
pub(crate) fn set(cx: &mut Reader, tree: &mut Node, components: &[&str], source: u32, text: &str) {
    let (path, value) = text.split_once('=').unwrap_or((text, ""));
    let shift = path.len() + 1;
    let node = match DeValue::parse(value) {
        Ok(value) => Node::from_value(source, shift, &value),
        // Without quotes: `--set client.web.rate=1M/s`.
        Err(_) => Node {
            at: At::new(source, shift..text.len()),
            value: Value::Text(value.trim().to_owned()),
        },
    };
    let parts: Vec<&str> = path.split('.').collect();
    let mut place = tree;
    let mut start = 0;
    for (depth, part) in parts.iter().copied().enumerate() {
        let at = At::new(source, start..start + part.len());
        start += part.len() + 1;
        // A setting of a component is of one that is there; a whole one can be added, as `client.more = { … }`.
        if depth == 1 && parts.len() > 2 && components.contains(&parts[0]) {
            let names = keys(place);
            if !names.contains(&part) {
                let message = format!("there is no {} called `{part}`", parts[0]);
                let help = match names.as_slice() {
                    [] => format!("this scenario has no {}", parts[0]),
                    names => suggestion(part, names),
                };
                cx.mistake(at, message, "refers to nothing", help);
                return;
            }
        }
        match &place.value {
            Value::List(items) if !part.parse::<usize>().is_ok_and(|index| index < items.len()) => {
                let help = format!("there are {}, counted from 0", items.len());
                cx.mistake(at, "there is no such item", "not an index", help);
                return;
            }
            Value::List(_) | Value::Table(_) => {}
            _ => {
                place.at = at;
                place.value = Value::Table(Vec::new());
            }
        }
        let Some(next) = child(place, part, at) else {
            return;
        };
        place = next;
    }
    *place = node;
}

/// The tables whose keys are names of components.
const COMPONENTS: [&str; 5] = ["client", "gateway", "service", "cache", "database"];

/// The keys of a table; none of anything else.
fn keys(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::Table(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The value of a key of a table, or an item of a list; an empty table when the key is not there.
fn child<'n>(place: &'n mut Node, key: &str, at: At) -> Option<&'n mut Node> {
    let index = match &mut place.value {
        Value::List(_) => key.parse().unwrap_or(0),
        Value::Table(entries) => {
            let index = entries.iter().position(|entry| entry.key == key);
            index.unwrap_or_else(|| {
                let value = Value::Table(Vec::new());
                entries.push(Entry {
                    key: key.to_owned(),
                    key_at: at,
                    node: Node { at, value },
                });
                entries.len() - 1
            })
        }
        _ => 0,
    };
    match &mut place.value {
        Value::List(items) => items.get_mut(index),
        Value::Table(entries) => Some(&mut entries[index].node),
        _ => None,
    }
}

/// A mistake of syntax.
pub(crate) fn syntax(source: &Arc<NamedSource<String>>, text: &str, error: &toml::de::Error) -> Mistake {
    let span = error.span().unwrap_or(0..0);
    let (start, end) = (span.start.min(text.len()), span.end.min(text.len()));
    let message = error.message().lines().next().unwrap_or("");
    let message = message
        .trim_end_matches(", expected nothing")
        .trim_end_matches(", expected literal string");
    let (message, help) = if message.contains("duplicate key") {
        (
            "this is written twice".to_owned(),
            "keep one of them: a name and a key stand for one thing".to_owned(),
        )
    } else {
        (
            format!("this is not TOML: {message}"),
            "texts need quotes, and a table begins with [its.name]".to_owned(),
        )
    };
    Mistake {
        message,
        label: "here".to_owned(),
        help: Some(help),
        span: start..end.max(start),
        source: source.clone(),
    }
}

pub(crate) fn sorted(mut list: Vec<Mistake>) -> Vec<Mistake> {
    // What was said of the document comes before what was said of the command line.
    list.sort_by_key(|mistake| {
        (
            mistake.source.name() == "--set",
            mistake.span.start,
            mistake.span.end,
        )
    });
    list
}

pub(crate) fn too_long(name: &str, length: usize) -> Mistakes {
    refusal(
        name,
        format!("this document is too long: {length} bytes"),
        "a document has at most 1 MiB",
    )
}

/// One mistake that has no place in the text.
pub(crate) fn refusal(name: &str, message: String, help: &str) -> Mistakes {
    let mistake = Mistake {
        message,
        label: String::new(),
        help: Some(help.to_owned()),
        span: 0..0,
        source: Arc::new(NamedSource::new(name, String::new())),
    };
    Mistakes::new(name, vec![mistake])
}

/// A value from the command line, not longer than anybody types.
fn clip_value(value: &str) -> String {
    const LENGTH_MAX: usize = 10_000;
    value.chars().take(LENGTH_MAX).collect()
}
