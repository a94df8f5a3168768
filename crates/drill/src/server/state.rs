//! All that the server knows, and what every command goes through before it does anything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Condition;
use super::client::{Client, Hearing};
use super::command::{self, COMMANDS, Call, Command, Fault, Flags, Unknown};
use super::config::Config;
use super::eviction::Policy;
use super::keyspace::Keyspace;
use super::memory;
use super::slowlog::Slowlog;
use crate::resp::{Protocol, Writer};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Done,
    /// Clients are paused until this instant, in milliseconds since 1970: ask again then.
    PausedUntil(u64),
}

/// What was counted since the server began, or since `CONFIG RESETSTAT`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) connections: u64,
    pub(crate) rejected: u64,
    pub(crate) commands: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) errors: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) by_code: BTreeMap<String, u64>,
    pub(crate) by_command: Vec<CommandStats>,
    pub(crate) memory_peak: usize,
    pub(crate) expired_before: u64,
    pub(crate) evicted_before: u64,
}

/// Codes of errors that are told apart, as in Redis.
const CODES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommandStats {
    pub(crate) calls: u64,
    pub(crate) nanos: u64,
    pub(crate) rejected: u64,
    pub(crate) failed: u64,
}

/// A pause of clients (`CLIENT PAUSE`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) until: u64,
    pub(crate) writes_only: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) keys: Keyspace,
    /// All but the one whose request is under way.
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) next_client: u64,
    pub(crate) channels: BTreeMap<Bytes, BTreeSet<u64>>,
    pub(crate) patterns: BTreeMap<Bytes, BTreeSet<u64>>,
    pub(crate) stats: Stats,
    pub(crate) slowlog: Slowlog,
    /// Hashes of the scripts that it was told.
    pub(crate) scripts: BTreeSet<&'static str>,
    pub(crate) pause: Option<Pause>,
    pub(crate) condition: Condition,
    /// The master that it was told to follow: it then takes no writes.
    pub(crate) master: Option<(String, u16)>,
    pub(crate) began: u64,
    pub(crate) run_id: String,
    pub(crate) rate: Rate,
    /// More than this is never held, whatever `maxmemory` says.
    pub(crate) bytes_max: usize,
}

/// Commands a second, over about the last second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    at: u64,
    commands: u64,
    pub(crate) per_second: u64,
}

impl State {
    pub(crate) fn new(now: u64, config: Config, seed: u64, bytes_max: usize) -> State {
        let run_id = seawall_core::rng::mix(seed ^ now);
        State {
            config,
            keys: Keyspace::new(seed),
            clients: BTreeMap::new(),
            next_client: 1,
            channels: BTreeMap::new(),
            patterns: BTreeMap::new(),
            stats: Stats {
                by_command: vec![CommandStats::default(); COMMANDS.len()],
                ..Stats::default()
            },
            slowlog: Slowlog::default(),
            scripts: BTreeSet::new(),
            pause: None,
            condition: Condition::Serving,
            master: None,
            began: now,
            run_id: format!("{run_id:016x}{run_id:016x}{:08x}", now as u32),
            rate: Rate::default(),
            bytes_max,
        }
    }

    /// Bytes in use, estimated.
    pub(crate) fn used_memory(&self) -> usize {
        memory::BASE + self.keys.bytes()
    }

    /// Every tenth of a second: takes out what has expired, and sends away who was silent for too long.
    pub(crate) fn tick(&mut self, now: u64) {
        self.keys.sweep(now, SWEPT_AT_ONCE);
        self.pause = self.pause.filter(|pause| pause.until > now);
        let idle_max = self.config.idle_max * 1_000;
        if idle_max > 0 {
            let idle = |client: &&mut Client| {
                client.subscriptions() == 0 && now.saturating_sub(client.heard) > idle_max
            };
            self.clients.values_mut().filter(idle).for_each(Client::kill);
        }
        let passed = now.saturating_sub(self.rate.at);
        if passed >= 1_000 {
            let commands = self.stats.commands.saturating_sub(self.rate.commands);
            self.rate = Rate {
                at: now,
                commands: self.stats.commands,
                per_second: commands * 1_000 / passed,
            };
        }
    }

    /// Answers one request, into the client's outbox.
    pub(crate) fn execute(&mut self, client: &mut Client, args: &[Bytes], now: u64) -> Turn {
        let hears = client.hearing;
        let before = client.outbox.len();
        let turn = self.judge(client, args, now);
        if turn == Turn::Done {
            if hears != Hearing::On && client.hearing == hears {
                client.outbox.truncate(before);
            }
            if hears == Hearing::SkipNext && client.hearing == hears {
                client.hearing = Hearing::On;
            }
        }
        turn
    }

    fn judge(&mut self, client: &mut Client, args: &[Bytes], now: u64) -> Turn {
        client.heard = now;
        let index = match command::find(args) {
            Ok(index) => index,
            Err(unknown) => {
                // Whom it does not know it tells nothing, not even this.
                self.stats.commands += 1;
                self.refuse(client, &unknown.text(args));
                return Turn::Done;
            }
        };
        let command = &COMMANDS[index];
        if let Err(fault) = self.admits(client, command, args) {
            self.stats.by_command[index].rejected += 1;
            self.stats.commands += 1;
            self.refuse(client, &fault.0);
            return Turn::Done;
        }
        if let Some(pause) = self.pause.filter(|pause| pause.until > now)
            && (!pause.writes_only || command.flags.has(Flags::WRITE | Flags::PAUSED))
        {
            return Turn::PausedUntil(pause.until);
        }
        self.stats.commands += 1;
        client.last = command.name;
        let began = Instant::now();
        let result = {
            let mut call = Call {
                state: self,
                client,
                args,
                now,
                command,
            };
            (command.run)(&mut call)
        };
        let took = began.elapsed();
        let stats = &mut self.stats.by_command[index];
        stats.calls += 1;
        stats.nanos += took.as_nanos() as u64;
        if let Err(fault) = result {
            self.stats.by_command[index].failed += 1;
            self.refuse(client, &fault.0);
        }
        if self.config.slower_than >= 0 && took.as_micros() as i64 >= self.config.slower_than {
            self.slowlog
                .note(now, took, args, client, self.config.slowlog_max);
        }
        Turn::Done
    }

    /// What is asked of every command, in the order in which Redis asks.
    fn admits(&mut self, client: &Client, command: &Command, args: &[Bytes]) -> Result<(), Fault> {
        let flags = command.flags;
        if !command.takes(args.len()) {
            return Err(Fault::arity(command.name));
        }
        if !client.trusted && !flags.has(Flags::BEFORE_AUTH) {
            return Err(Fault::of("NOAUTH Authentication required."));
        }
        if !self.has_room() && flags.has(Flags::GROWS) {
            return Err(Fault::of(
                "OOM command not allowed when used memory > 'maxmemory'.",
            ));
        }
        if self.master.is_some() && flags.has(Flags::WRITE) && self.config.value("replica-read-only") == "yes"
        {
            return Err(Fault::of("READONLY You can't write against a read only replica."));
        }
        if client.protocol == Protocol::Two && client.subscriptions() > 0 && !flags.has(Flags::SUBSCRIBED) {
            return Err(Fault::new(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                 this context",
                command.name
            )));
        }
        if self.condition == Condition::Loading && !flags.has(Flags::LOADING) {
            return Err(Fault::of("LOADING Redis is loading the dataset in memory"));
        }
        Ok(())
    }

    /// Makes room where the policy allows it. False when more is held than may be.
    pub(crate) fn has_room(&mut self) -> bool {
        let used = self.used_memory();
        self.stats.memory_peak = self.stats.memory_peak.max(used);
        let told = self.config.memory_max;
        let (limit, policy) = if told == 0 {
            (self.bytes_max, Policy::NoEviction)
        } else {
            (told.min(self.bytes_max), self.config.policy)
        };
        used <= limit || (limit > memory::BASE && self.keys.make_room(policy, limit - memory::BASE))
    }

    fn refuse(&mut self, client: &mut Client, text: &str) {
        self.stats.errors += 1;
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.stats.by_code.get_mut(code) {
            *count += 1;
        } else if self.stats.by_code.len() < CODES_MAX {
            self.stats.by_code.insert(code.to_owned(), 1);
        }
        Writer::new(&mut client.outbox, client.protocol).error(text);
    }

    /// Forgets a client whose connection has ended.
    pub(crate) fn forget(&mut self, client: &mut Client) {
        for (names, subscribers) in [
            (&mut client.channels, &mut self.channels),
            (&mut client.patterns, &mut self.patterns),
        ] {
            for name in std::mem::take(names) {
                if let Some(who) = subscribers.get_mut(&name) {
                    who.remove(&client.id);
                    if who.is_empty() {
                        subscribers.remove(&name);
                    }
                }
            }
        }
    }

    /// Sends everybody away.
    pub(crate) fn disconnect_all(&mut self) {
        self.clients.values_mut().for_each(|client| {
            client.outbox = BytesMut::new();
            client.kill();
        });
    }
}

/// So many expired keys go at a time.
const SWEPT_AT_ONCE: usize = 100_000;

impl Unknown {
    fn text(&self, args: &[Bytes]) -> String {
        let shown = |arg: &Bytes, length: usize| {
            let arg = &arg[..arg.len().min(length)];
            String::from_utf8_lossy(arg).into_owned()
        };
        match self {
            Unknown::Command => {
                let mut rest = String::new();
                for arg in &args[1..] {
                    if rest.len() >= 128 {
                        break;
                    }
                    let room = 128 - rest.len();
                    rest.extend(["'", &shown(arg, room), "' "]);
                }
                format!(
                    "ERR unknown command '{}', with args beginning with: {rest}",
                    shown(&args[0], 128)
                )
            }
            Unknown::Subcommand(container) => format!(
                "ERR unknown subcommand '{}'. Try {} HELP.",
                shown(&args[1], 128),
                container.to_ascii_uppercase()
            ),
        }
    }
}
