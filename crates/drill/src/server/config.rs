//! `CONFIG GET` and `CONFIG SET`: what can be set while the server runs, and what clients only ask for.

use std::collections::BTreeMap;

use super::eviction::{POLICIES, Policy};
use crate::glob::matches;

/// What kind of value a parameter takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Bytes, with a unit when wanted.
    Memory,
    /// A number within bounds.
    Number(i64, i64),
    Switch,
    Policy,
    Text,
    /// Cannot be set while running.
    Fixed,
}

/// Every parameter: its name, its kind, and what it is to begin with.
const PARAMETERS: [(&str, Kind, &str); 24] = [
    ("activedefrag", Kind::Switch, "no"),
    ("appendonly", Kind::Switch, "no"),
    ("bind", Kind::Text, "127.0.0.1"),
    ("databases", Kind::Fixed, "16"),
    ("dir", Kind::Text, "/"),
    ("hz", Kind::Number(1, 500), "10"),
    ("latency-monitor-threshold", Kind::Number(0, i64::MAX), "0"),
    ("lazyfree-lazy-eviction", Kind::Switch, "no"),
    ("lazyfree-lazy-expire", Kind::Switch, "no"),
    ("maxclients", Kind::Number(1, u32::MAX as i64), "10000"),
    ("maxmemory", Kind::Memory, "0"),
    ("maxmemory-policy", Kind::Policy, "noeviction"),
    ("maxmemory-samples", Kind::Number(1, i32::MAX as i64), "5"),
    ("notify-keyspace-events", Kind::Text, ""),
    ("port", Kind::Fixed, "0"),
    ("proto-max-bulk-len", Kind::Memory, "67108864"),
    ("replica-read-only", Kind::Switch, "yes"),
    ("requirepass", Kind::Text, ""),
    ("save", Kind::Text, ""),
    ("slowlog-log-slower-than", Kind::Number(-1, i64::MAX), "10000"),
    ("slowlog-max-len", Kind::Number(0, 100_000), "128"),
    ("tcp-keepalive", Kind::Number(0, i32::MAX as i64), "300"),
    ("timeout", Kind::Number(0, i32::MAX as i64), "0"),
    ("tls-port", Kind::Fixed, "0"),
];

/// All parameters.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, String>,
    /// Those that are asked for with every command.
    pub(crate) memory_max: usize,
    pub(crate) policy: Policy,
    pub(crate) clients_max: usize,
    pub(crate) slower_than: i64,
    pub(crate) slowlog_max: usize,
    /// Seconds after which a silent client is sent away; 0 for never.
    pub(crate) idle_max: u64,
    pub(crate) password: String,
}

impl Config {
    pub(crate) fn new(port: u16) -> Config {
        let values = PARAMETERS.map(|(name, _, value)| (name, value.to_owned()));
        let mut config = Config {
            values: values.into_iter().collect(),
            memory_max: 0,
            policy: Policy::NoEviction,
            clients_max: 0,
            slower_than: 0,
            slowlog_max: 0,
            idle_max: 0,
            password: String::new(),
        };
        config.values.insert("port", port.to_string());
        config.digest();
        config
    }

    /// The parameters whose names match, in order. One that is asked for by its whole name has it as it was asked for.
    pub(crate) fn matching(&self, patterns: &[impl AsRef<[u8]>]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, value) in &self.values {
            let suits = |pattern: &&[u8]| matches(pattern, name.as_bytes(), true);
            let asked = patterns.iter().map(AsRef::as_ref).find(suits);
            if let Some(asked) = asked {
                let whole = asked.eq_ignore_ascii_case(name.as_bytes());
                let shown = if whole {
                    String::from_utf8_lossy(asked)
                } else {
                    (*name).into()
                };
                found.push((shown.into_owned(), value.clone()));
            }
        }
        found
    }

    pub(crate) fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Sets all of these, or none of them.
    pub(crate) fn set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), String> {
        let mut values = self.values.clone();
        let mut seen = Vec::new();
        for (name, value) in pairs {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let Some((known, kind, _)) = PARAMETERS.iter().find(|(known, _, _)| *known == name) else {
                return Err(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                ));
            };
            let failed =
                |why: &str| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
            if seen.contains(known) {
                return Err(failed("duplicate parameter"));
            }
            seen.push(*known);
            let value = String::from_utf8_lossy(value);
            values.insert(known, spelled(*kind, &value).map_err(|why| failed(&why))?);
        }
        self.values = values;
        self.digest();
        Ok(())
    }

    fn digest(&mut self) {
        let values = self.values.clone();
        let number = |name: &str| {
            values
                .get(name)
                .and_then(|value| value.parse::<i64>().ok())
                .unwrap_or(0)
        };
        self.memory_max = usize::try_from(number("maxmemory")).unwrap_or(0);
        self.clients_max = usize::try_from(number("maxclients")).unwrap_or(0);
        self.slower_than = number("slowlog-log-slower-than");
        self.slowlog_max = usize::try_from(number("slowlog-max-len")).unwrap_or(0);
        self.idle_max = u64::try_from(number("timeout")).unwrap_or(0);
        self.policy = Policy::from_name(self.value("maxmemory-policy")).unwrap_or(Policy::NoEviction);
        self.password = self.value("requirepass").to_owned();
    }
}

/// A value as `CONFIG GET` gives it back.
fn spelled(kind: Kind, value: &str) -> Result<String, String> {
    match kind {
        Kind::Memory => match bytes(value) {
            Some(bytes) => Ok(bytes.to_string()),
            None => Err("argument must be a memory value".to_owned()),
        },
        Kind::Number(min, max) => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            Ok(_) => Err(format!("argument must be between {min} and {max} inclusive")),
            Err(_) => Err("argument couldn't be parsed into an integer".to_owned()),
        },
        Kind::Switch => match value.to_ascii_lowercase().as_str() {
            yes_or_no @ ("yes" | "no") => Ok(yes_or_no.to_owned()),
            _ => Err("argument must be 'yes' or 'no'".to_owned()),
        },
        Kind::Policy => {
            let known = POLICIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
            known.map(|(name, _)| (*name).to_owned()).ok_or_else(|| {
                // In the order in which Redis names them.
                let names = [
                    "volatile-lru",
                    "volatile-lfu",
                    "volatile-random",
                    "volatile-ttl",
                    "allkeys-lru",
                    "allkeys-lfu",
                    "allkeys-random",
                    "noeviction",
                ];
                format!("argument(s) must be one of the following: {}", names.join(", "))
            })
        }
        Kind::Text => Ok(value.to_owned()),
        Kind::Fixed => Err("can't set immutable config".to_owned()),
    }
}

/// Bytes with a unit: `k` is a thousand, `kb` is 1024, and so on.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let at = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let unit: u64 = match unit {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_set_or_none() {
        let mut config = Config::new(1);
        let set = |config: &mut Config, pairs: &[(&str, &str)]| {
            let pairs: Vec<(&[u8], &[u8])> =
                pairs.iter().map(|(a, b)| (a.as_bytes(), b.as_bytes())).collect();
            config.set(&pairs)
        };
        assert!(set(&mut config, &[("maxmemory", "2mb"), ("MAXCLIENTS", "7")]).is_ok());
        assert_eq!((config.memory_max, config.clients_max), (2 << 20, 7));
        assert!(set(&mut config, &[("maxmemory", "1k"), ("timeout", "x")]).is_err());
        assert_eq!(config.memory_max, 2 << 20);
        for (name, value) in [
            ("maxmemory", "2xb"),
            ("port", "1"),
            ("nonsense", "1"),
            ("maxmemory", "-1"),
        ] {
            assert!(set(&mut config, &[(name, value)]).is_err(), "{name} {value}");
        }
        assert_eq!(
            config.matching(&["maxmem*ry"]),
            [("maxmemory".into(), "2097152".into())]
        );
    }

    #[test]
    fn every_policy_can_be_set() {
        for (name, policy) in POLICIES {
            let mut config = Config::new(1);
            config
                .set(&[(b"maxmemory-policy", name.as_bytes())])
                .expect("it is a policy");
            assert_eq!(config.policy, policy);
        }
    }
}
