//! Channels: who listens to what, and telling them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::client::Client;
use super::command::{Answer, Call, Fault};
use crate::glob::matches;
use crate::resp::Writer;

/// A client listens to no more channels and patterns.
const SUBSCRIPTIONS_MAX: usize = 10_000;

type Listeners = BTreeMap<Bytes, BTreeSet<u64>>;

fn listen(call: &mut Call<'_>, patterns: bool) -> Answer {
    let word = if patterns { "psubscribe" } else { "subscribe" };
    for name in &call.args[1..] {
        if call.client.subscriptions() >= SUBSCRIPTIONS_MAX {
            return Err(Fault::of("ERR too many subscriptions"));
        }
        let (name, id) = (Bytes::copy_from_slice(name), call.client.id);
        let (own, all) = lists(
            call.client,
            &mut call.state.channels,
            &mut call.state.patterns,
            patterns,
        );
        own.insert(name.clone());
        all.entry(name.clone()).or_default().insert(id);
        confirm(call.client, word, Some(&name));
    }
    Ok(())
}

fn lists<'a>(
    client: &'a mut Client,
    channels: &'a mut Listeners,
    patterns: &'a mut Listeners,
    which: bool,
) -> (&'a mut BTreeSet<Bytes>, &'a mut Listeners) {
    if which {
        (&mut client.patterns, patterns)
    } else {
        (&mut client.channels, channels)
    }
}

fn confirm(client: &mut Client, word: &str, name: Option<&Bytes>) {
    let count = client.subscriptions() as i64;
    let mut reply = Writer::new(&mut client.outbox, client.protocol);
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count);
}

fn leave(call: &mut Call<'_>, patterns: bool) -> Answer {
    let word = if patterns { "punsubscribe" } else { "unsubscribe" };
    let names: Vec<Bytes> = if call.args.len() > 1 {
        call.args[1..].to_vec()
    } else if patterns {
        call.client.patterns.iter().cloned().collect()
    } else {
        call.client.channels.iter().cloned().collect()
    };
    if names.is_empty() {
        confirm(call.client, word, None);
    }
    for name in names {
        let id = call.client.id;
        let (own, all) = lists(
            call.client,
            &mut call.state.channels,
            &mut call.state.patterns,
            patterns,
        );
        own.remove(&name);
        if let Some(who) = all.get_mut(&name) {
            who.remove(&id);
            if who.is_empty() {
                all.remove(&name);
            }
        }
        confirm(call.client, word, Some(&name));
    }
    Ok(())
}

pub(crate) fn subscribe(call: &mut Call<'_>) -> Answer {
    listen(call, false)
}

pub(crate) fn subscribe_patterns(call: &mut Call<'_>) -> Answer {
    listen(call, true)
}

pub(crate) fn unsubscribe(call: &mut Call<'_>) -> Answer {
    leave(call, false)
}

pub(crate) fn unsubscribe_patterns(call: &mut Call<'_>) -> Answer {
    leave(call, true)
}

pub(crate) fn publish(call: &mut Call<'_>) -> Answer {
    let (channel, message) = (&call.args[1], &call.args[2]);
    let mut heard: Vec<(u64, Option<Bytes>)> = Vec::new();
    for id in call.state.channels.get(channel).into_iter().flatten() {
        heard.push((*id, None));
    }
    for (pattern, who) in &call.state.patterns {
        if matches(pattern, channel, false) {
            heard.extend(who.iter().map(|id| (*id, Some(pattern.clone()))));
        }
    }
    // The publisher may listen itself. It hears the message before the answer.
    for (id, pattern) in &heard {
        let client = if *id == call.client.id {
            &mut *call.client
        } else if let Some(client) = call.state.clients.get_mut(id) {
            client
        } else {
            continue;
        };
        let mut push = Writer::new(&mut client.outbox, client.protocol);
        if let Some(pattern) = pattern {
            push.push(4);
            push.bulk("pmessage");
            push.bulk(pattern);
        } else {
            push.push(3);
            push.bulk("message");
        }
        push.bulk(channel);
        push.bulk(message);
        client.deliver();
    }
    call.count(heard.len())
}

pub(crate) fn channels(call: &mut Call<'_>) -> Answer {
    if call.args.len() > 3 {
        return Err(Fault::arity("pubsub|channels"));
    }
    let pattern = call.args.get(2);
    let suits = |name: &&Bytes| pattern.is_none_or(|pattern| matches(pattern, name, false));
    let names: Vec<Bytes> = call.state.channels.keys().filter(suits).cloned().collect();
    call.reply().bulks(&names);
    Ok(())
}

pub(crate) fn pattern_count(call: &mut Call<'_>) -> Answer {
    call.count(call.state.patterns.len())
}

pub(crate) fn subscriber_counts(call: &mut Call<'_>) -> Answer {
    let names = &call.args[2..];
    call.reply().array(names.len() * 2);
    for name in names {
        let count = call.state.channels.get(name).map_or(0, BTreeSet::len);
        let mut reply = call.reply();
        reply.bulk(name);
        reply.integer(count as i64);
    }
    Ok(())
}
