//! The scripts of our library, done natively: there is no Lua here. Other scripts are refused by a clear error.

use std::sync::LazyLock;

use bytes::Bytes;

use super::command::{Answer, Call, Fault, NOT_INTEGER};
use super::keyspace::{FOREVER, Value};
use crate::resp::integer;

/// What the library has done inside the server, and the hash by which it is called.
struct Known {
    hash: String,
    run: fn(&mut Call<'_>, &Bytes, &[Bytes]) -> Answer,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let scripts = seawall::redis::scripts().into_iter();
    let known = scripts.filter_map(|(name, text)| {
        let run = match name {
            "put" => put,
            "delete" => delete,
            "give-back" => give_back,
            _ => return None,
        };
        let hash = sha1_smol::Sha1::from(text).hexdigest();
        Some(Known { hash, run })
    });
    known.collect()
});

fn known(hash: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.hash == hash)
}

const OTHERS: Fault = Fault::of(
    "ERR this server has no Lua: it knows the scripts of the library seawall, and no others. Use a real Redis for those",
);

pub(crate) fn eval(call: &mut Call<'_>) -> Answer {
    let count = keys(call)?;
    let text = String::from_utf8_lossy(&call.args[1]);
    let hash = sha1_smol::Sha1::from(text.as_bytes()).hexdigest();
    let script = known(&hash).ok_or(OTHERS)?;
    call.state.scripts.insert(&script.hash);
    run(call, script, count)
}

pub(crate) fn eval_hash(call: &mut Call<'_>) -> Answer {
    let missing = Fault::of("NOSCRIPT No matching script. Please use EVAL.");
    let hash = call.word(1);
    if hash.len() != 40 {
        return Err(missing);
    }
    let count = keys(call)?;
    let script = known(&hash).filter(|script| call.state.scripts.contains(&*script.hash));
    let script = script.ok_or(missing)?;
    run(call, script, count)
}

/// How many of the arguments are keys.
fn keys(call: &Call<'_>) -> Result<usize, Fault> {
    let count = integer(&call.args[2]).ok_or(NOT_INTEGER)?;
    if count > call.args.len() as i64 - 3 {
        return Err(Fault::of(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(count).map_err(|_| Fault::of("ERR Number of keys can't be negative"))
}

fn run(call: &mut Call<'_>, script: &Known, count: usize) -> Answer {
    let (keys, args) = call.args[3..].split_at(count);
    let [key] = keys else {
        return Err(Fault::of("ERR this script takes one key"));
    };
    if call.state.master.is_some() {
        return Err(Fault::of("READONLY You can't write against a read only replica."));
    }
    (script.run)(call, key, args)
}

const NEEDS: Fault = Fault::of("ERR this script takes other arguments");

/// The version of what a key holds, when that is an envelope.
fn version(call: &mut Call<'_>, key: &Bytes) -> Option<[u8; 8]> {
    let text = call.text(key).ok().flatten()?.0;
    let head = text.get(..16)?;
    let envelope = head.starts_with(b"SWL\x01");
    envelope.then(|| head[8..16].try_into().ok())?
}

fn put(call: &mut Call<'_>, key: &Bytes, args: &[Bytes]) -> Answer {
    let [value, new, keep] = args else {
        return Err(NEEDS);
    };
    let there = version(call, key);
    if there.is_some_and(|there| there[..] > new[..]) {
        return call.number(0);
    }
    let keep = integer(keep).ok_or(NOT_INTEGER)?;
    let expires = match u64::try_from(keep) {
        Ok(0) => FOREVER,
        Ok(keep) => call.now.saturating_add(keep),
        Err(_) => return Err(Fault::of("ERR invalid expire time in 'set' command")),
    };
    if !call.state.has_room() {
        return Err(Fault::of(
            "OOM command not allowed when used memory > 'maxmemory'.",
        ));
    }
    call.put(key, value, Some(expires));
    call.number(1)
}

fn delete(call: &mut Call<'_>, key: &Bytes, args: &[Bytes]) -> Answer {
    let [below] = args else {
        return Err(NEEDS);
    };
    if version(call, key).is_some_and(|there| there[..] >= below[..]) {
        return call.number(0);
    }
    let removed = call.remove(key);
    call.number(removed.into())
}

fn give_back(call: &mut Call<'_>, key: &Bytes, args: &[Bytes]) -> Answer {
    let [token] = args else {
        return Err(NEEDS);
    };
    let found = call.state.keys.peek(call.now, call.client.database, key);
    match found.map(|entry| &entry.value) {
        Some(Value::Text(text)) if text == token => {
            call.remove(key);
            call.number(1)
        }
        Some(Value::List(_)) => Err(super::command::WRONG_TYPE),
        _ => call.number(0),
    }
}

pub(crate) fn load(call: &mut Call<'_>) -> Answer {
    let hash = sha1_smol::Sha1::from(&call.args[2]).hexdigest();
    let script = known(&hash).ok_or(OTHERS)?;
    call.state.scripts.insert(&script.hash);
    call.reply().bulk(&script.hash);
    Ok(())
}

pub(crate) fn exist(call: &mut Call<'_>) -> Answer {
    let count = call.args.len() - 2;
    call.reply().array(count);
    for at in 2..call.args.len() {
        let hash = call.word(at);
        let known = call.state.scripts.contains(hash.as_str());
        call.number(known.into())?;
    }
    Ok(())
}

pub(crate) fn forget(call: &mut Call<'_>) -> Answer {
    let plain = call.args.len() == 2 || call.args.len() == 3 && (call.is(2, "async") || call.is(2, "sync"));
    if !plain {
        return Err(Fault::of("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    call.state.scripts.clear();
    call.ok()
}
