//! `INFO`, and the table of commands as clients may ask for it.

use std::fmt::Write;

use super::Condition;
use super::command::{Answer, COMMANDS, Call, Command, Flags, find};
use super::keyspace::DATABASES;
use super::session::VERSION;
use super::state::State;

/// Writes a section, as of an instant.
type Fill = fn(&mut String, &State, u64);

/// The sections, in order; the first ones are shown when none is asked for.
const SECTIONS: [(&str, Fill); 10] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", processor),
    ("Errorstats", errors),
    ("Keyspace", keyspace),
    ("Commandstats", commands_used),
];

/// How many are shown when none is asked for.
const DEFAULT: usize = 9;

pub(crate) fn info(call: &mut Call<'_>) -> Answer {
    let asked: Vec<String> = (1..call.args.len()).map(|at| call.word(at)).collect();
    let has = |word: &str| asked.iter().any(|asked| asked == word);
    let everything = has("all") || has("everything");
    let default = asked.is_empty() || has("default");
    let mut text = String::new();
    for (index, (name, fill)) in SECTIONS.iter().enumerate() {
        if everything || default && index < DEFAULT || has(&name.to_ascii_lowercase()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {name}\r\n");
            fill(&mut text, call.state, call.now);
        }
    }
    call.reply().verbatim(&text);
    Ok(())
}

macro_rules! lines {
    ($text:ident, $($name:literal = $value:expr;)+) => {
        $(
            // Writing to a string does not fail.
            let _ = write!($text, concat!($name, ":{}\r\n"), $value);
        )+
    };
}

fn server(text: &mut String, state: &State, now: u64) {
    let up = now.saturating_sub(state.began) / 1_000;
    lines! { text,
        "redis_version" = VERSION;
        "redis_mode" = "standalone";
        "os" = std::env::consts::OS;
        "arch_bits" = usize::BITS;
        "process_id" = std::process::id();
        "run_id" = state.run_id;
        "tcp_port" = state.config.value("port");
        "server_time_usec" = now * 1_000;
        "uptime_in_seconds" = up;
        "uptime_in_days" = up / 86_400;
        "hz" = state.config.value("hz");
        "configured_hz" = state.config.value("hz");
        "seawall_version" = env!("CARGO_PKG_VERSION");
    }
}

fn clients(text: &mut String, state: &State, _: u64) {
    lines! { text,
        // The one who asks is a client too.
        "connected_clients" = state.clients.len() + 1;
        "cluster_connections" = 0;
        "maxclients" = state.config.clients_max;
        "client_recent_max_input_buffer" = 0;
        "client_recent_max_output_buffer" = 0;
        "blocked_clients" = 0;
        "tracking_clients" = 0;
        "clients_in_timeout_table" = 0;
    }
}

fn memory(text: &mut String, state: &State, _: u64) {
    let used = state.used_memory();
    let peak = state.stats.memory_peak.max(used);
    let max = state.config.memory_max;
    lines! { text,
        "used_memory" = used;
        "used_memory_human" = human(used);
        "used_memory_rss" = used;
        "used_memory_rss_human" = human(used);
        "used_memory_peak" = peak;
        "used_memory_peak_human" = human(peak);
        "used_memory_peak_perc" = format!("{:.2}%", used as f64 * 100.0 / peak as f64);
        "used_memory_overhead" = super::memory::BASE;
        "used_memory_startup" = super::memory::BASE;
        "used_memory_dataset" = state.keys.bytes();
        "total_system_memory" = state.bytes_max;
        "maxmemory" = max;
        "maxmemory_human" = human(max);
        "maxmemory_policy" = state.config.value("maxmemory-policy");
        "mem_fragmentation_ratio" = "1.00";
        "mem_fragmentation_bytes" = 0;
        "mem_not_counted_for_evict" = 0;
        "mem_allocator" = "estimated";
        "active_defrag_running" = 0;
        "lazyfree_pending_objects" = 0;
    }
}

fn human(bytes: usize) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "K", "M"] {
        if size < 1_024.0 {
            return if unit == "B" {
                format!("{bytes}B")
            } else {
                format!("{size:.2}{unit}")
            };
        }
        size /= 1_024.0;
    }
    format!("{size:.2}G")
}

fn persistence(text: &mut String, state: &State, _: u64) {
    lines! { text,
        "loading" = u8::from(state.condition == Condition::Loading);
        "async_loading" = 0;
        "rdb_changes_since_last_save" = 0;
        "rdb_bgsave_in_progress" = 0;
        "rdb_last_save_time" = state.began / 1_000;
        "rdb_last_bgsave_status" = "ok";
        "aof_enabled" = 0;
        "aof_rewrite_in_progress" = 0;
        "aof_last_write_status" = "ok";
    }
}

fn stats(text: &mut String, state: &State, _: u64) {
    let (counted, fate) = (&state.stats, state.keys.fate);
    lines! { text,
        "total_connections_received" = counted.connections;
        "total_commands_processed" = counted.commands;
        "instantaneous_ops_per_sec" = state.rate.per_second;
        "total_net_input_bytes" = counted.read_bytes;
        "total_net_output_bytes" = counted.written_bytes;
        "rejected_connections" = counted.rejected;
        "sync_full" = 0;
        "sync_partial_ok" = 0;
        "sync_partial_err" = 0;
        "expired_keys" = fate.expired - counted.expired_before;
        "expired_stale_perc" = "0.00";
        "expired_time_cap_reached_count" = 0;
        "evicted_keys" = fate.evicted - counted.evicted_before;
        "evicted_clients" = 0;
        "keyspace_hits" = counted.hits;
        "keyspace_misses" = counted.misses;
        "pubsub_channels" = state.channels.len();
        "pubsub_patterns" = state.patterns.len();
        "latest_fork_usec" = 0;
        "total_forks" = 0;
        "tracking_clients" = 0;
        "unexpected_error_replies" = 0;
        "total_error_replies" = counted.errors;
    }
}

fn replication(text: &mut String, state: &State, _: u64) {
    if let Some((host, port)) = &state.master {
        lines! { text,
            "role" = "slave";
            "master_host" = host;
            "master_port" = port;
            "master_link_status" = "down";
            "master_last_io_seconds_ago" = -1;
            "master_sync_in_progress" = 0;
            "slave_read_only" = u8::from(state.config.value("replica-read-only") == "yes");
            "slave_repl_offset" = 0;
        }
    } else {
        lines! { text, "role" = "master"; }
    }
    lines! { text,
        "connected_slaves" = 0;
        "master_replid" = state.run_id;
        "master_repl_offset" = 0;
        "repl_backlog_active" = 0;
    }
}

fn processor(text: &mut String, state: &State, _: u64) {
    let nanos: u64 = state.stats.by_command.iter().map(|stats| stats.nanos).sum();
    lines! { text,
        "used_cpu_sys" = "0.000000";
        "used_cpu_user" = format!("{:.6}", nanos as f64 / 1e9);
    }
}

fn errors(text: &mut String, state: &State, _: u64) {
    for (code, count) in &state.stats.by_code {
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
}

fn commands_used(text: &mut String, state: &State, _: u64) {
    for (command, stats) in COMMANDS.iter().zip(&state.stats.by_command) {
        if stats.calls + stats.rejected == 0 {
            continue;
        }
        let micros = stats.nanos as f64 / 1e3;
        let each = if stats.calls > 0 {
            micros / stats.calls as f64
        } else {
            0.0
        };
        let _ = write!(
            text,
            "cmdstat_{}:calls={},usec={},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            command.name, stats.calls, micros as u64, stats.rejected, stats.failed
        );
    }
}

fn keyspace(text: &mut String, state: &State, now: u64) {
    for database in 0..DATABASES {
        let keys = state.keys.count(database);
        if keys == 0 {
            continue;
        }
        let (expires, mean) = state.keys.count_expiring(now, database);
        let _ = write!(
            text,
            "db{database}:keys={keys},expires={expires},avg_ttl={mean}\r\n"
        );
    }
}

pub(crate) fn command_count(call: &mut Call<'_>) -> Answer {
    call.count(whole().count())
}

/// Commands that are no subcommands.
fn whole() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().filter(|command| !command.name.contains('|'))
}

pub(crate) fn commands(call: &mut Call<'_>) -> Answer {
    if call.args.len() > 1 {
        return Err(super::command::SYNTAX);
    }
    call.reply().array(whole().count());
    whole().for_each(|command| describe(call, command));
    Ok(())
}

fn describe(call: &mut Call<'_>, command: &Command) {
    let flags: Vec<&str> = [
        (Flags::WRITE, "write"),
        (Flags::READ, "readonly"),
        (Flags::GROWS, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::LOADING, "loading"),
        (Flags::BEFORE_AUTH, "no_auth"),
    ]
    .into_iter()
    .filter(|(flag, _)| command.flags.has(*flag))
    .map(|(_, name)| name)
    .collect();
    let mut reply = call.reply();
    reply.array(10);
    reply.bulk(command.name);
    reply.integer(command.arity.into());
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    let (first, last, step) = command.keys;
    for place in [first, last, step] {
        reply.integer(place.into());
    }
    // Categories, tips, places of keys, subcommands.
    for _ in 0..3 {
        reply.set(0);
    }
    reply.array(0);
}

pub(crate) fn command_info(call: &mut Call<'_>) -> Answer {
    let names = &call.args[2..];
    if names.is_empty() {
        call.reply().array(whole().count());
        whole().for_each(|command| describe(call, command));
        return Ok(());
    }
    call.reply().array(names.len());
    for name in names {
        match find(std::slice::from_ref(name)) {
            Ok(index) => describe(call, &COMMANDS[index]),
            Err(_) => call.reply().null(),
        }
    }
    Ok(())
}

/// `COMMAND DOCS`: clients ask for it to help people type, and do without.
pub(crate) fn command_docs(call: &mut Call<'_>) -> Answer {
    call.reply().map(0);
    Ok(())
}

pub(crate) fn command_list(call: &mut Call<'_>) -> Answer {
    let names: Vec<&str> = whole().map(|command| command.name).collect();
    call.reply().bulks(&names);
    Ok(())
}
