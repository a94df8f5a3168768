//! The tree of a parsed document: owned, and each part knows where it was written.
//!
//! Variants and settings from the command line are laid over the tree before it is read, so a mistake in either is
//! underlined where it was made.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    /// 0 is the document; the others are settings from the command line, counted from 1.
    pub(crate) source: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// A date, which nothing in a document is.
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) node: Node,
}

/// Tables that say which of several things is meant: another variant replaces them instead of adding a second answer.
const TAGGED: [&str; 7] = [
    "keys",
    "service_time",
    "write_time",
    "latency",
    "mode",
    "fault",
    "action",
];

impl At {
    pub(crate) fn new(source: u32, span: std::ops::Range<usize>) -> At {
        At {
            source,
            start: span.start as u32,
            end: span.end as u32,
        }
    }
}

impl Node {
    /// The tree of a parsed table.
    pub(crate) fn from_table(source: u32, shift: usize, table: &Spanned<DeTable<'_>>) -> Node {
        let span = table.span();
        Node {
            at: At::new(source, span.start + shift..span.end + shift),
            value: entries(source, shift, table.get_ref()),
        }
    }

    /// The tree of a parsed value.
    pub(crate) fn from_value(source: u32, shift: usize, value: &Spanned<DeValue<'_>>) -> Node {
        let span = value.span();
        let at = At::new(source, span.start + shift..span.end + shift);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Value::Text(integer.as_str().to_owned()), Value::Integer),
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .map_or_else(|_| Value::Text(float.as_str().to_owned()), Value::Float),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|value| Node::from_value(source, shift, value))
                    .collect(),
            ),
            DeValue::Table(table) => entries(source, shift, table),
        };
        Node { at, value }
    }

    /// Where the last part of it ends, if all of it is in one text.
    pub(crate) fn end(&self) -> u32 {
        let entries = self.entries().iter().map(|entry| entry.node.end());
        let items = self.items().iter().map(Node::end);
        entries.chain(items).fold(self.at.end, u32::max)
    }

    /// The entries of a table; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(crate) fn field(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// Where the value of a key was written, or else where this was.
    pub(crate) fn at_field(&self, key: &str) -> At {
        self.field(key).map_or(self.at, |node| node.at)
    }

    /// Where a table has more than so many keys.
    pub(crate) fn too_wide(&self, max: usize) -> Option<At> {
        if self.entries().len() > max {
            return Some(self.at);
        }
        let entries = self.entries().iter().map(|entry| &entry.node);
        entries.chain(self.items()).find_map(|node| node.too_wide(max))
    }

    /// Takes an entry out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index).node)
    }

    /// What kind of value this is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Flag(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Lays another tree over this one: tables are merged, lists under `append` are continued, the rest is replaced.
    pub(crate) fn overlay(&mut self, over: &Node, append: &[&str]) {
        let (Value::Table(entries), Value::Table(changes)) = (&mut self.value, &over.value) else {
            *self = over.clone();
            return;
        };
        for change in changes {
            let Some(entry) = entries.iter_mut().find(|entry| entry.key == change.key) else {
                entries.push(change.clone());
                continue;
            };
            let merges = !replaces(entry, change);
            match (&mut entry.node.value, &change.node.value) {
                (Value::List(list), Value::List(more)) if append.contains(&change.key.as_str()) => {
                    list.extend(more.iter().cloned());
                }
                (Value::Table(_), Value::Table(_)) if merges => {
                    entry.node.overlay(&change.node, &[]);
                }
                _ => {
                    entry.node = change.node.clone();
                    entry.key_at = change.key_at;
                }
            }
        }
    }
}

/// Whether a change of a tagged table means something else than the table does, and so takes its place.
fn replaces(entry: &Entry, change: &Entry) -> bool {
    TAGGED.contains(&entry.key.as_str())
        && change
            .node
            .entries()
            .iter()
            .any(|tag| entry.node.field(&tag.key).is_none())
}

/// The entries of a table in the order of the text.
fn entries(source: u32, shift: usize, table: &DeTable<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_at: At::new(source, key.span().start + shift..key.span().end + shift),
            node: Node::from_value(source, shift, value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_at);
    Value::Table(entries)
}
