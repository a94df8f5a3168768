//! What stands beside the numbers, for people: the slowest commands, who is connected, what is big or hot.
//!
//! All of it is bounded: so many entries, so many keys looked at, one deadline. No `MONITOR`, no `KEYS`. Of a slow command
//! its name and the pattern of its first key are kept, never a value.

use std::collections::BTreeMap;

use seawall_resp::Value;
use tokio::time::Instant;

use super::fault::Fault;
use super::keys::{self, Survey};
use super::target::Target;
use super::wire::{Wire, items, logged_in, login, number, text, words};

/// What is known of a Redis beside its numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The slowest commands that the server wrote down, slowest first.
    pub slow: Vec<Slow>,
    /// What the latency monitor saw; empty when it is off.
    pub latency: Vec<Spike>,
    /// Who is connected.
    pub clients: Clients,
    /// Some keys, looked at.
    pub survey: Survey,
}

/// A slow command.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow {
    /// Seconds since 1970.
    pub at: i64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its name.
    pub command: String,
    /// Its first key, digits and long words crossed out.
    pub key: String,
}

/// An event of the latency monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Such as `command`, `fork`, `expire-cycle`.
    pub event: String,
    /// Seconds since 1970.
    pub at: i64,
    /// The worst, in milliseconds.
    pub worst_ms: i64,
}

/// Who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// All that were looked at, ourselves not.
    pub count: usize,
    /// Those that have said nothing for [`IDLE_S`].
    pub idle: usize,
    /// Those that wait in a blocking command.
    pub blocked: usize,
    /// How many by address (without port) and name, most first.
    pub from: Vec<(String, usize)>,
}

/// A client that has said nothing for so long is called idle, in seconds.
pub const IDLE_S: u64 = 300;
/// So many entries of each kind are kept.
const ENTRIES_MAX: usize = 10;
/// So many entries of the slow log are looked at.
const SLOW_ASKED: &str = "64";
/// So many clients are looked at.
const CLIENTS_MAX: usize = 20_000;

/// Asks for all of it on a connection of its own. What the server refuses stays empty.
///
/// # Errors
/// When nobody answers before the deadline, or not as a Redis does.
pub async fn details(target: &Target, keys_max: usize, deadline: Instant) -> Result<Details, Fault> {
    let mut wire = connected(target, deadline).await?;
    let questions = [
        words(&["SLOWLOG", "GET", SLOW_ASKED]),
        words(&["LATENCY", "LATEST"]),
        words(&["CLIENT", "LIST"]),
    ];
    wire.send(&questions, deadline).await?;
    let slow = slow(&wire.hear(deadline).await?);
    let latency = latency(&wire.hear(deadline).await?);
    let clients = clients(&text(&wire.hear(deadline).await?));
    let survey = keys::survey(&mut wire, keys_max, deadline).await?;
    Ok(Details {
        slow,
        latency,
        clients,
        survey,
    })
}

/// A connection on which we are known.
pub(crate) async fn connected(target: &Target, deadline: Instant) -> Result<Wire, Fault> {
    let mut wire = Wire::open(target, deadline).await?;
    let mut questions = login(target);
    // Older servers do not know it, and others may forbid it.
    questions.push(words(&["CLIENT", "SETNAME", "seawall"]));
    wire.send(&questions, deadline).await?;
    logged_in(&mut wire, target, deadline).await?;
    let named = wire.hear(deadline).await?;
    match named.error() {
        Some(error) => {
            let fault = Fault::said(target, error);
            if matches!(fault.why, super::Why::Error | super::Why::Denied) {
                Ok(wire)
            } else {
                Err(fault)
            }
        }
        None => Ok(wire),
    }
}

fn slow(said: &Value) -> Vec<Slow> {
    let entry = |entry: &Value| {
        let parts = items(entry);
        let words = items(parts.get(3)?);
        Some(Slow {
            at: number(parts.get(1)?)?,
            seconds: number(parts.get(2)?)? as f64 / 1e6,
            command: plain(&text(words.first()?)).to_uppercase(),
            key: words.get(1).map(|key| pattern(&text(key))).unwrap_or_default(),
        })
    };
    let mut slow: Vec<Slow> = items(said).iter().filter_map(entry).collect();
    slow.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    slow.truncate(ENTRIES_MAX);
    slow
}

fn latency(said: &Value) -> Vec<Spike> {
    let entry = |entry: &Value| {
        let parts = items(entry);
        Some(Spike {
            event: plain(&text(parts.first()?)),
            at: number(parts.get(1)?)?,
            worst_ms: number(parts.get(3)?)?,
        })
    };
    items(said).iter().filter_map(entry).take(ENTRIES_MAX).collect()
}

/// A word of a command's kind: letters only, not long.
fn plain(text: &str) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.|".contains(*letter);
    text.chars().filter(plain).take(32).collect()
}

/// What keys of this kind have in common: digits become `#`, and of words that may be secrets only the length is told.
///
/// ```
/// use seawall_diagnose::probe::details::pattern;
/// assert_eq!(pattern("user:1234:profile"), "user:#:profile");
/// assert_eq!(pattern("session:9fceb02d0ae598e95dc970b74767f19372d61af8"), "session:<40>");
/// ```
pub fn pattern(key: &str) -> String {
    let mut pattern = String::new();
    let mut word = String::new();
    for letter in key.chars().take(256).chain(['\0']) {
        if letter.is_alphanumeric() {
            word.push(letter);
            continue;
        }
        pattern.push_str(&crossed(&word));
        word.clear();
        if letter != '\0' && !letter.is_control() {
            pattern.push(letter);
        }
    }
    pattern.chars().take(80).collect()
}

fn crossed(word: &str) -> String {
    let length = word.chars().count();
    let digits = word.chars().filter(char::is_ascii_digit).count();
    if digits == length && length > 0 {
        return "#".to_owned();
    }
    // A name is short, and has few digits.
    if length > 20 || digits * 3 > length {
        return format!("<{length}>");
    }
    word.to_owned()
}

fn clients(list: &str) -> Clients {
    let mut clients = Clients::default();
    let mut from: BTreeMap<String, usize> = BTreeMap::new();
    for line in list.lines().take(CLIENTS_MAX) {
        let field = |name: &str| {
            let found = line.split(' ').filter_map(|pair| pair.split_once('='));
            found
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let Some(address) = field("addr") else { continue };
        let name = field("name").unwrap_or_default();
        if name == "seawall" {
            continue;
        }
        clients.count += 1;
        clients.idle += usize::from(field("idle").and_then(|idle| idle.parse().ok()) > Some(IDLE_S - 1));
        clients.blocked += usize::from(field("flags").is_some_and(|flags| flags.contains('b')));
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let who = if name.is_empty() {
            host.to_owned()
        } else {
            format!("{host} ({})", plain(name))
        };
        *from.entry(who).or_default() += 1;
    }
    clients.from = from.into_iter().collect();
    clients.from.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    clients.from.truncate(ENTRIES_MAX);
    clients
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn clients_are_counted_by_where_they_come_from() {
        let list = "id=1 addr=10.0.0.1:5000 name=web idle=400 flags=N\nid=2 addr=10.0.0.1:5001 name=web idle=299 flags=b\n\
            id=3 addr=[::1]:5002 name= idle=0 flags=N\nid=4 addr=1.1.1.1:1 name=seawall idle=900 flags=N\n\n";
        let clients = clients(list);
        assert_eq!((clients.count, clients.idle, clients.blocked), (3, 1, 1));
        assert_eq!(
            clients.from,
            [("10.0.0.1 (web)".to_owned(), 2), ("[::1]".to_owned(), 1)]
        );
    }

    #[test]
    fn a_slow_command_is_told_without_values() {
        let bulk = |text: &str| Value::Bulk(Bytes::copy_from_slice(text.as_bytes()));
        let entry = |micros, words: &[&str]| {
            let words = Value::Array(words.iter().map(|word| bulk(word)).collect());
            Value::Array(vec![
                Value::Integer(1),
                Value::Integer(1_700),
                Value::Integer(micros),
                words,
            ])
        };
        let said = Value::Array(vec![
            entry(10_000, &["set", "user:17", "hunter2"]),
            entry(90_000, &["EVAL", "return redis.call('keys', 'secret')", "0"]),
            Value::Integer(3),
        ]);
        let slow = slow(&said);
        assert_eq!(slow.len(), 2);
        assert_eq!(
            (slow[0].command.as_str(), slow[1].key.as_str()),
            ("EVAL", "user:#")
        );
        assert!(!format!("{slow:?}").contains("hunter2"));
    }
}
