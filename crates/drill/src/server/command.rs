//! The table of commands: what each is called, takes and may do, and what answers it.

use std::borrow::Cow;

use bytes::Bytes;

use super::client::Client;
use super::keyspace::{Entry, Value};
use super::state::State;
use super::{admin, clients, info, keys, pubsub, script, session, strings, texts};
use crate::resp::{Writer, integer};

/// What a command may do, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// It changes keys: refused by a replica.
    pub(crate) const WRITE: Flags = Flags(1);
    /// It may take memory: refused when there is none.
    pub(crate) const GROWS: Flags = Flags(2);
    /// While the server loads.
    pub(crate) const LOADING: Flags = Flags(4);
    pub(crate) const BEFORE_AUTH: Flags = Flags(8);
    /// In version 2 of the protocol, by a client that has subscribed.
    pub(crate) const SUBSCRIBED: Flags = Flags(16);
    pub(crate) const READ: Flags = Flags(32);
    pub(crate) const ADMIN: Flags = Flags(64);
    /// It waits for the end of a pause of writes, though it is none.
    pub(crate) const PAUSED: Flags = Flags(128);

    /// Whether it has any of these.
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.and(other)
    }
}

/// An error, its code first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) Cow<'static, str>);

pub(crate) const SYNTAX: Fault = Fault::of("ERR syntax error");
pub(crate) const NOT_INTEGER: Fault = Fault::of("ERR value is not an integer or out of range");
pub(crate) const WRONG_TYPE: Fault =
    Fault::of("WRONGTYPE Operation against a key holding the wrong kind of value");

impl Fault {
    pub(crate) const fn of(text: &'static str) -> Fault {
        Fault(Cow::Borrowed(text))
    }

    pub(crate) fn new(text: String) -> Fault {
        Fault(Cow::Owned(text))
    }

    pub(crate) fn arity(command: &str) -> Fault {
        Fault::new(format!("ERR wrong number of arguments for '{command}' command"))
    }
}

pub(crate) type Answer = Result<(), Fault>;

/// One command, or a subcommand (`config|get`).
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// With its own name; negative for "at least".
    pub(crate) arity: i32,
    pub(crate) flags: Flags,
    /// Where its keys are: first, last, step.
    pub(crate) keys: (i32, i32, i32),
    pub(crate) run: fn(&mut Call<'_>) -> Answer,
}

impl Command {
    pub(crate) fn takes(&self, args: usize) -> bool {
        let args = i32::try_from(args).unwrap_or(i32::MAX);
        if self.arity >= 0 {
            args == self.arity
        } else {
            args >= -self.arity
        }
    }
}

/// A request under way.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) client: &'a mut Client,
    pub(crate) args: &'a [Bytes],
    /// In milliseconds since 1970.
    pub(crate) now: u64,
    pub(crate) command: &'static Command,
}

impl<'a> Call<'a> {
    pub(crate) fn reply(&mut self) -> Writer<'_> {
        Writer::new(&mut self.client.outbox, self.client.protocol)
    }

    pub(crate) fn ok(&mut self) -> Answer {
        self.reply().simple("OK");
        Ok(())
    }

    pub(crate) fn number(&mut self, number: i64) -> Answer {
        self.reply().integer(number);
        Ok(())
    }

    pub(crate) fn count(&mut self, count: usize) -> Answer {
        self.number(count as i64)
    }

    pub(crate) fn integer(&self, at: usize) -> Result<i64, Fault> {
        integer(&self.args[at]).ok_or(NOT_INTEGER)
    }

    /// Whether the argument is this word.
    pub(crate) fn is(&self, at: usize, word: &str) -> bool {
        self.args
            .get(at)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The argument, in lower case, for a comparison with words.
    pub(crate) fn word(&self, at: usize) -> String {
        String::from_utf8_lossy(&self.args[at]).to_ascii_lowercase()
    }

    /// The entry of a key, which is read: it counts as a hit or a miss.
    pub(crate) fn read(&mut self, key: &'a [u8]) -> Option<&Entry> {
        let found = self.state.keys.get(self.now, self.client.database, key);
        match found {
            Some(_) => self.state.stats.hits += 1,
            None => self.state.stats.misses += 1,
        }
        found
    }

    /// The entry of a key, which is looked at and not used: it counts as a hit or a miss all the same.
    pub(crate) fn glance(&mut self, key: &[u8]) -> Option<&Entry> {
        let found = self.state.keys.peek(self.now, self.client.database, key);
        match found {
            Some(_) => self.state.stats.hits += 1,
            None => self.state.stats.misses += 1,
        }
        found
    }

    /// The text of a key, which is read.
    pub(crate) fn read_text(&mut self, key: &'a [u8]) -> Result<Option<Bytes>, Fault> {
        match self.read(key).map(|entry| &entry.value) {
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// The text of a key that is about to be changed, and when it expires.
    pub(crate) fn text(&mut self, key: &[u8]) -> Result<Option<(Bytes, u64)>, Fault> {
        let found = self.state.keys.peek(self.now, self.client.database, key);
        match found.map(|entry| (&entry.value, entry.expires)) {
            Some((Value::Text(text), expires)) => Ok(Some((text.clone(), expires))),
            Some(_) => Err(WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// Puts a text; `None` keeps the expiry that the key has.
    pub(crate) fn put(&mut self, key: &Bytes, text: &[u8], expires: Option<u64>) {
        let value = Value::Text(Bytes::copy_from_slice(text));
        self.state
            .keys
            .set(self.now, self.client.database, key, value, expires);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        self.state.keys.remove(self.now, self.client.database, key)
    }
}

/// Why there is no such command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    Command,
    Subcommand(&'static str),
}

/// The number of the command that a request names.
pub(crate) fn find(args: &[Bytes]) -> Result<usize, Unknown> {
    let mut name = [0; NAME_MAX];
    let length = args[0].len();
    if length > NAME_MAX || args[0].contains(&b'|') {
        return Err(Unknown::Command);
    }
    name[..length].copy_from_slice(&args[0]);
    name.make_ascii_lowercase();
    let index = position(&name[..length]).ok_or(Unknown::Command)?;
    let container = &COMMANDS[index];
    if args.len() < 2 || !CONTAINERS.contains(&container.name) {
        return Ok(index);
    }
    let unknown = Unknown::Subcommand(container.name);
    let whole = length + 1 + args[1].len();
    if whole > NAME_MAX {
        return Err(unknown);
    }
    name[length] = b'|';
    name[length + 1..whole].copy_from_slice(&args[1]);
    name.make_ascii_lowercase();
    position(&name[..whole]).ok_or(unknown)
}

fn position(name: &[u8]) -> Option<usize> {
    COMMANDS
        .binary_search_by(|command| command.name.as_bytes().cmp(name))
        .ok()
}

/// No name is longer.
const NAME_MAX: usize = 32;

/// Commands that are a family of others.
const CONTAINERS: [&str; 9] = [
    "client", "command", "config", "latency", "memory", "pubsub", "script", "slowlog", "object",
];

const W: Flags = Flags::WRITE;
const WG: Flags = Flags::WRITE.and(Flags::GROWS);
const R: Flags = Flags::READ;
const N: Flags = Flags::NONE;
const L: Flags = Flags::LOADING;
const LA: Flags = Flags::LOADING.and(Flags::ADMIN);
const LS: Flags = Flags::LOADING.and(Flags::SUBSCRIBED);
const LB: Flags = Flags::LOADING.and(Flags::BEFORE_AUTH);
const LBS: Flags = LB.and(Flags::SUBSCRIBED);
const P: Flags = Flags::PAUSED;
const LP: Flags = Flags::LOADING.and(Flags::PAUSED);

const NO_KEYS: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

macro_rules! commands {
    ($($name:literal $arity:literal $flags:ident $keys:ident $run:path;)+) => {
        /// Every command, in the order of their names.
        pub(crate) static COMMANDS: &[Command] = &[$(Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            run: $run,
        },)+];
    };
}

commands! {
    "append" 3 WG ONE texts::append;
    "auth" -2 LB NO_KEYS session::auth;
    "client" -2 L NO_KEYS admin::container;
    "client|getname" 2 L NO_KEYS clients::name;
    "client|getredir" 2 L NO_KEYS clients::redirection;
    "client|id" 2 L NO_KEYS clients::id;
    "client|info" 2 L NO_KEYS clients::own_line;
    "client|kill" -3 LA NO_KEYS clients::kill;
    "client|list" -2 LA NO_KEYS clients::list;
    "client|no-evict" 3 LA NO_KEYS clients::switch;
    "client|no-touch" 3 L NO_KEYS clients::switch;
    "client|pause" -3 LA NO_KEYS clients::pause;
    "client|reply" 3 L NO_KEYS clients::hearing;
    "client|setinfo" 4 L NO_KEYS clients::set_library;
    "client|setname" 3 L NO_KEYS clients::set_name;
    "client|tracking" -3 L NO_KEYS clients::tracking;
    "client|unblock" -3 LA NO_KEYS clients::unblock;
    "client|unpause" 2 LA NO_KEYS clients::unpause;
    "command" -1 L NO_KEYS info::commands;
    "command|count" 2 L NO_KEYS info::command_count;
    "command|docs" -2 L NO_KEYS info::command_docs;
    "command|info" -2 L NO_KEYS info::command_info;
    "command|list" -2 L NO_KEYS info::command_list;
    "config" -2 LA NO_KEYS admin::container;
    "config|get" -3 LA NO_KEYS admin::config_get;
    "config|resetstat" 2 LA NO_KEYS admin::reset_stats;
    "config|rewrite" 2 LA NO_KEYS admin::rewrite;
    "config|set" -4 LA NO_KEYS admin::config_set;
    "dbsize" 1 R NO_KEYS keys::size;
    "debug" -2 LA NO_KEYS admin::debug;
    "decr" 2 WG ONE texts::decrement;
    "decrby" 3 WG ONE texts::decrement_by;
    "del" -2 W ALL keys::delete;
    "discard" 1 L NO_KEYS session::no_transactions;
    "echo" 2 L NO_KEYS session::echo;
    "eval" -3 P NO_KEYS script::eval;
    "evalsha" -3 P NO_KEYS script::eval_hash;
    "exec" 1 L NO_KEYS session::no_transactions;
    "exists" -2 R ALL keys::exists;
    "expire" -3 W ONE keys::expire;
    "expireat" -3 W ONE keys::expire;
    "expiretime" 2 R ONE keys::time_left;
    "flushall" -1 W NO_KEYS keys::flush;
    "flushdb" -1 W NO_KEYS keys::flush;
    "get" 2 R ONE strings::get;
    "getdel" 2 W ONE strings::get_and_delete;
    "getex" -2 W ONE strings::get_and_expire;
    "getrange" 4 R ONE texts::range;
    "getset" 3 WG ONE strings::get_and_set;
    "hello" -1 LB NO_KEYS session::hello;
    "incr" 2 WG ONE texts::increment;
    "incrby" 3 WG ONE texts::increment_by;
    "info" -1 L NO_KEYS info::info;
    "keys" 2 R NO_KEYS keys::matching;
    "lastsave" 1 L NO_KEYS admin::last_save;
    "latency" -2 LA NO_KEYS admin::container;
    "latency|doctor" 2 LA NO_KEYS admin::latency_doctor;
    "latency|history" 3 LA NO_KEYS admin::no_events;
    "latency|latest" 2 LA NO_KEYS admin::no_events;
    "latency|reset" -2 LA NO_KEYS admin::nothing_reset;
    "llen" 2 R ONE texts::list_length;
    "lpush" -3 WG ONE texts::push;
    "lrange" 4 R ONE texts::list_range;
    "memory" -2 R NO_KEYS admin::container;
    "memory|doctor" 2 N NO_KEYS admin::memory_doctor;
    "memory|usage" -3 R NO_KEYS admin::memory_usage;
    "mget" -2 R ALL strings::get_many;
    "mset" -3 WG PAIRS strings::set_many;
    "msetnx" -3 WG PAIRS strings::set_many_if_none;
    "multi" 1 L NO_KEYS session::no_transactions;
    "object" -2 R NO_KEYS admin::container;
    "object|encoding" 3 R NO_KEYS keys::encoding;
    "persist" 2 W ONE keys::persist;
    "pexpire" -3 W ONE keys::expire;
    "pexpireat" -3 W ONE keys::expire;
    "pexpiretime" 2 R ONE keys::time_left;
    "ping" -1 LS NO_KEYS session::ping;
    "psetex" 4 WG ONE strings::set_for;
    "psubscribe" -2 LS NO_KEYS pubsub::subscribe_patterns;
    "pttl" 2 R ONE keys::time_left;
    "publish" 3 LP NO_KEYS pubsub::publish;
    "pubsub" -2 L NO_KEYS admin::container;
    "pubsub|channels" -2 L NO_KEYS pubsub::channels;
    "pubsub|numpat" 2 L NO_KEYS pubsub::pattern_count;
    "pubsub|numsub" -2 L NO_KEYS pubsub::subscriber_counts;
    "punsubscribe" -1 LS NO_KEYS pubsub::unsubscribe_patterns;
    "quit" -1 LBS NO_KEYS session::quit;
    "replicaof" 3 LA NO_KEYS admin::follow;
    "reset" 1 LBS NO_KEYS session::reset;
    "role" 1 L NO_KEYS admin::role;
    "rpush" -3 WG ONE texts::push;
    "scan" -2 R NO_KEYS keys::scan;
    "script" -2 N NO_KEYS admin::container;
    "script|exists" -3 N NO_KEYS script::exist;
    "script|flush" -2 N NO_KEYS script::forget;
    "script|load" 3 N NO_KEYS script::load;
    "select" 2 L NO_KEYS session::select;
    "set" -3 WG ONE strings::set;
    "setex" 4 WG ONE strings::set_for;
    "setnx" 3 WG ONE strings::set_if_none;
    "setrange" 4 WG ONE texts::set_range;
    "slaveof" 3 LA NO_KEYS admin::follow;
    "slowlog" -2 LA NO_KEYS admin::container;
    "slowlog|get" -2 LA NO_KEYS admin::slowlog;
    "slowlog|len" 2 LA NO_KEYS admin::slowlog_length;
    "slowlog|reset" 2 LA NO_KEYS admin::slowlog_reset;
    "strlen" 2 R ONE texts::length;
    "subscribe" -2 LS NO_KEYS pubsub::subscribe;
    "substr" 4 R ONE texts::range;
    "time" 1 L NO_KEYS admin::time;
    "touch" -2 R ALL keys::exists;
    "ttl" 2 R ONE keys::time_left;
    "type" 2 R ONE keys::kind;
    "unlink" -2 W ALL keys::delete;
    "unsubscribe" -1 LS NO_KEYS pubsub::unsubscribe;
    "unwatch" 1 L NO_KEYS session::no_transactions;
    "watch" -2 L ALL session::no_transactions;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_name() {
        assert!(
            COMMANDS.is_sorted_by(|a, b| a.name < b.name),
            "the search is binary"
        );
        assert!(COMMANDS.iter().all(|command| command.name.len() <= NAME_MAX));
        let find = |words: &[&'static str]| {
            let args: Vec<Bytes> = words.iter().map(|word| Bytes::from(*word)).collect();
            find(&args).map(|index| COMMANDS[index].name)
        };
        assert_eq!(find(&["GeT", "a"]), Ok("get"));
        assert_eq!(find(&["CONFIG", "Get", "*"]), Ok("config|get"));
        assert_eq!(find(&["config"]), Ok("config"));
        assert_eq!(find(&["config", "x"]), Err(Unknown::Subcommand("config")));
        assert_eq!(find(&["client|id"]), Err(Unknown::Command));
        assert_eq!(find(&["nothing"]), Err(Unknown::Command));
    }
}
