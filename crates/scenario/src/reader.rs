//! Reading a tree: what each part must be, and one list of everything that is wrong.

use crate::model::Place;
use crate::node::{At, Entry, Node, Value};

/// The longest word that a nearest spelling is looked for.
const WORD_MAX: usize = 64;

/// A mistake before it is known which text it is in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raw {
    pub(crate) at: At,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

/// Collects mistakes, and knows every component's name.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) mistakes: Vec<Raw>,
    pub(crate) names: Vec<(String, Place)>,
    /// The name of the element that is being read.
    pub(crate) name: String,
    /// Keys that a misspelled one was taken for, so that they are not also reported as missing.
    guessed: Vec<(At, String)>,
}

impl Reader {
    /// Notes a mistake.
    pub(crate) fn mistake(
        &mut self,
        at: At,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        // More than anybody reads; the list of all variants together is cut once more.
        if self.is_full() {
            return;
        }
        let help = help.into();
        self.mistakes.push(Raw {
            at,
            message: message.into(),
            label: label.into(),
            help: (!help.is_empty()).then_some(help),
        });
    }

    fn is_full(&self) -> bool {
        self.mistakes.len() >= 4 * crate::mistakes::MISTAKES_MAX
    }

    /// The entries of a node that must be a table with no other keys than these.
    pub(crate) fn table<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<&'n [Entry]> {
        let Value::Table(entries) = &node.value else {
            self.wrong_kind(node, &format!("a table: {what} has keys of its own"));
            return None;
        };
        for entry in entries {
            if !keys.contains(&entry.key.as_str()) && !self.is_full() {
                let help = suggestion(&entry.key, keys);
                if let Some(near) = nearest(&entry.key, keys) {
                    self.guessed.push((node.at, near.to_owned()));
                }
                self.mistake(
                    entry.key_at,
                    format!("{what} has no key `{}`", clip(&entry.key)),
                    "unknown key",
                    help,
                );
            }
        }
        Some(entries)
    }

    /// Notes that a value is of the wrong kind.
    pub(crate) fn wrong_kind(&mut self, node: &Node, wanted: &str) {
        self.mistake(
            node.at,
            format!("this is {}, which cannot be read here", node.kind()),
            "wrong kind of value",
            format!("write {wanted}"),
        );
    }

    /// Notes that a key is not there.
    pub(crate) fn missing(&mut self, node: &Node, what: &str, key: &str, about: &str) {
        if self
            .guessed
            .iter()
            .any(|(at, guess)| *at == node.at && guess == key)
        {
            return;
        }
        let about = about.trim();
        self.mistake(
            node.at,
            format!("{what} needs `{key}`"),
            format!("`{key}` is missing"),
            format!("add `{key} = …`: {}", lower(about.trim_end_matches('.'))),
        );
    }

    /// Notes that a setting of a tagged thing is not there.
    pub(crate) fn absent(&mut self, body: &Node, word: &str, key: &str) {
        if self
            .guessed
            .iter()
            .any(|(at, guess)| *at == body.at && guess == key)
        {
            return;
        }
        let help = if matches!(body.value, Value::Table(_)) {
            format!("add `{key} = …`")
        } else {
            format!("write {{ {word} = {{ {key} = … }} }}")
        };
        let message = format!("`{word}` needs `{key}`");
        self.mistake(body.at, message, format!("`{key}` is missing"), help);
    }

    /// The text of a node.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, wanted: &str) -> Option<&'n str> {
        if let Value::Text(text) = &node.value {
            return Some(text);
        }
        self.wrong_kind(node, wanted);
        None
    }

    /// One of a few words.
    pub(crate) fn word<'n>(&mut self, node: &'n Node, what: &str, words: &[&str]) -> Option<&'n str> {
        let text = self.text(node, &one_of(words))?;
        if words.contains(&text) {
            return Some(text);
        }
        self.mistake(
            node.at,
            format!("there is no {what} `{}`", clip(text)),
            "unknown word",
            suggestion(text, words),
        );
        None
    }

    /// A thing spelled `"word"` or `{ word = … }`: the word, where it stands, and what is said of it.
    pub(crate) fn tag<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        words: &[&'static str],
    ) -> Option<(&'static str, &'n Node)> {
        let known = |text: &str| words.iter().copied().find(|word| *word == text);
        let (text, at, body) = match &node.value {
            Value::Text(text) => (text, node.at, node),
            Value::Table(entries) if entries.len() == 1 => {
                (&entries[0].key, entries[0].key_at, &entries[0].node)
            }
            Value::Table(_) => {
                self.mistake(
                    node.at,
                    format!("{what} is one thing"),
                    "one key is needed here",
                    format!("write {}", one_of(words)),
                );
                return None;
            }
            _ => {
                self.wrong_kind(node, &one_of(words));
                return None;
            }
        };
        if let Some(word) = known(text) {
            return Some((word, body));
        }
        let message = format!("there is no {} `{}`", bare(what), clip(text));
        self.mistake(at, message, "unknown word", suggestion(text, words));
        None
    }

    /// A component of one of these kinds.
    pub(crate) fn place(&mut self, node: &Node, what: &str, fits: fn(Place) -> bool) -> Option<Place> {
        let name = self.text(node, &format!("the name of {what}"))?;
        let found = self
            .names
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, place)| *place);
        match found {
            Some(place) if fits(place) => Some(place),
            Some(place) => {
                let message = format!("`{name}` is a {}, and {what} is needed here", kind(place));
                let names = self.fitting(fits);
                self.mistake(node.at, message, "wrong kind of component", choices(&names));
                None
            }
            None => {
                let names = self.fitting(fits);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let message = format!("there is no component called `{}`", clip(name));
                let help = if names.is_empty() {
                    format!("declare {what} of this name")
                } else {
                    suggestion(name, &names)
                };
                self.mistake(node.at, message, "refers to nothing", help);
                None
            }
        }
    }

    fn fitting(&self, fits: fn(Place) -> bool) -> Vec<String> {
        self.names
            .iter()
            .filter(|(_, place)| fits(*place))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// What kind of component stands at a place.
pub(crate) fn kind(place: Place) -> &'static str {
    match place {
        Place::Client(_) => "client",
        Place::Gateway(_) => "gateway",
        Place::Service(_) => "service",
        Place::Cache(_) => "cache",
        Place::Database(_) => "database",
    }
}

/// "did you mean …", or all there is to choose from.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use {}", one_of(known)),
    }
}

fn choices(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(
        "use {}",
        one_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
    )
}

/// "one of `a`, `b`, `c`".
pub(crate) fn one_of(words: &[&str]) -> String {
    const SHOWN: usize = 40;
    let mut list: Vec<String> = words
        .iter()
        .take(SHOWN)
        .map(|word| format!("`{}`", clip(word)))
        .collect();
    if words.len() > SHOWN {
        list.push("…".to_owned());
    }
    match list.len() {
        0 => "nothing: there is none".to_owned(),
        1 => list.remove(0),
        _ => format!("one of {}", list.join(", ")),
    }
}

/// The nearest spelling, if it is near at all.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let far = 1 + word.chars().count() / 3;
    known
        .iter()
        .filter(|candidate| candidate.len() <= WORD_MAX)
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&word, &plain), *candidate)
        })
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A word short enough to be quoted.
pub(crate) fn clip(word: &str) -> String {
    const SHOWN: usize = 40;
    if word.chars().count() <= SHOWN {
        return word.to_owned();
    }
    let mut clipped: String = word.chars().take(SHOWN).collect();
    clipped.push('…');
    clipped
}

/// Without its article.
fn bare(what: &str) -> &str {
    what.strip_prefix("an ")
        .or_else(|| what.strip_prefix("a "))
        .unwrap_or(what)
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + chars.as_str()
    })
}
