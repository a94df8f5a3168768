//! What operators ask: settings, slow commands, memory, replication.

use bytes::Bytes;

use super::command::{Answer, Call, Fault, SYNTAX};
use super::state::{CommandStats, Stats};
use crate::resp::integer;

/// A family of commands, named without one of them.
pub(crate) fn container(call: &mut Call<'_>) -> Answer {
    Err(Fault::arity(call.command.name))
}

pub(crate) fn config_get(call: &mut Call<'_>) -> Answer {
    let found = call.state.config.matching(&call.args[2..]);
    let mut reply = call.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

pub(crate) fn config_set(call: &mut Call<'_>) -> Answer {
    let args = &call.args[2..];
    if args.len() % 2 == 1 {
        return Err(Fault::arity("config|set"));
    }
    let pairs: Vec<(&[u8], &[u8])> = args.chunks(2).map(|pair| (&*pair[0], &*pair[1])).collect();
    call.state.config.set(&pairs).map_err(Fault::new)?;
    call.ok()
}

pub(crate) fn rewrite(_: &mut Call<'_>) -> Answer {
    Err(Fault::of("ERR The server is running without a config file"))
}

pub(crate) fn reset_stats(call: &mut Call<'_>) -> Answer {
    let fate = call.state.keys.fate;
    let commands = call.state.stats.by_command.len();
    call.state.stats = Stats {
        by_command: vec![CommandStats::default(); commands],
        memory_peak: call.state.used_memory(),
        expired_before: fate.expired,
        evicted_before: fate.evicted,
        ..Stats::default()
    };
    call.ok()
}

pub(crate) fn debug(_: &mut Call<'_>) -> Answer {
    Err(Fault::of(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the \
         server.",
    ))
}

pub(crate) fn slowlog(call: &mut Call<'_>) -> Answer {
    let wanted = match call.args.len() {
        2 => 10,
        // What is no number is no better than one below.
        3 => call.integer(2).unwrap_or(i64::MIN),
        _ => return Err(Fault::arity("slowlog|get")),
    };
    if wanted < -1 {
        return Err(Fault::of("ERR count should be greater than or equal to -1"));
    }
    let entries = &call.state.slowlog.entries;
    let count = usize::try_from(wanted).map_or(entries.len(), |wanted| wanted.min(entries.len()));
    let mut reply = crate::resp::Writer::new(&mut call.client.outbox, call.client.protocol);
    reply.array(count);
    for slow in entries.iter().take(count) {
        reply.array(6);
        reply.integer(slow.id);
        reply.integer((slow.at / 1_000) as i64);
        reply.integer(slow.took.as_micros() as i64);
        reply.bulks(&slow.args);
        reply.bulk(slow.address.to_string());
        reply.bulk(&slow.name);
    }
    Ok(())
}

pub(crate) fn slowlog_length(call: &mut Call<'_>) -> Answer {
    call.count(call.state.slowlog.entries.len())
}

pub(crate) fn slowlog_reset(call: &mut Call<'_>) -> Answer {
    call.state.slowlog.entries.clear();
    call.ok()
}

pub(crate) fn latency_doctor(call: &mut Call<'_>) -> Answer {
    call.reply()
        .verbatim("This server does not watch its own latency. SLOWLOG GET shows commands that took long.\n");
    Ok(())
}

/// `LATENCY LATEST`, `LATENCY HISTORY`: there is nothing, as in a Redis that is not told to watch.
pub(crate) fn no_events(call: &mut Call<'_>) -> Answer {
    call.reply().array(0);
    Ok(())
}

pub(crate) fn nothing_reset(call: &mut Call<'_>) -> Answer {
    call.number(0)
}

pub(crate) fn memory_doctor(call: &mut Call<'_>) -> Answer {
    call.reply()
        .verbatim("The memory of this server is estimated, key by key. INFO memory shows the sum.\n");
    Ok(())
}

pub(crate) fn memory_usage(call: &mut Call<'_>) -> Answer {
    let plain = match call.args.len() {
        3 => true,
        5 => call.is(3, "samples") && integer(&call.args[4]).is_some(),
        _ => false,
    };
    if !plain {
        return Err(SYNTAX);
    }
    let found = call
        .state
        .keys
        .peek(call.now, call.client.database, &call.args[2]);
    if let Some(size) = found.map(|entry| super::memory::usage(&entry.key, &entry.value)) {
        return call.count(size);
    }
    call.reply().null();
    Ok(())
}

pub(crate) fn time(call: &mut Call<'_>) -> Answer {
    let now = call.now;
    let mut reply = call.reply();
    reply.array(2);
    reply.bulk((now / 1_000).to_string());
    reply.bulk((now % 1_000 * 1_000).to_string());
    Ok(())
}

pub(crate) fn last_save(call: &mut Call<'_>) -> Answer {
    call.number((call.state.began / 1_000) as i64)
}

/// `REPLICAOF`: from then on it refuses writes as a replica does whose master is out of reach. It copies nothing.
pub(crate) fn follow(call: &mut Call<'_>) -> Answer {
    if call.is(1, "no") && call.is(2, "one") {
        call.state.master = None;
        return call.ok();
    }
    let port = call.integer(2).ok().and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Fault::of("ERR Invalid master port"))?;
    call.state.master = Some((String::from_utf8_lossy(&call.args[1]).into_owned(), port));
    call.ok()
}

pub(crate) fn role(call: &mut Call<'_>) -> Answer {
    let master = call.state.master.clone();
    let mut reply = call.reply();
    match master {
        None => {
            reply.array(3);
            reply.bulk("master");
            reply.integer(0);
            reply.array(0);
        }
        Some((host, port)) => {
            reply.array(5);
            reply.bulk("slave");
            reply.bulk(Bytes::from(host));
            reply.integer(port.into());
            reply.bulk("connect");
            reply.integer(-1);
        }
    }
    Ok(())
}
