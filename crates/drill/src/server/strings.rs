//! Reading and writing whole values.

use super::command::{Answer, Call, Fault};
use super::expiry::{Options, Unit, Wanted};
use super::keyspace::{FOREVER, Value};

fn tell(call: &mut Call<'_>, text: Option<&[u8]>) -> Answer {
    match text {
        Some(text) => call.reply().bulk(text),
        None => call.reply().null(),
    }
    Ok(())
}

pub(crate) fn get(call: &mut Call<'_>) -> Answer {
    let text = call.read_text(&call.args[1])?;
    tell(call, text.as_deref())
}

pub(crate) fn get_many(call: &mut Call<'_>) -> Answer {
    let count = call.args.len() - 1;
    call.reply().array(count);
    for key in &call.args[1..] {
        let text = match call.read(key).map(|entry| &entry.value) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        tell(call, text.as_deref())?;
        if call.client.outbox.len() > ANSWER_MAX {
            // One large value, asked for again and again in one request, would be held as often.
            call.client.kill();
            return Ok(());
        }
    }
    Ok(())
}

/// An answer of more bytes is not made: the client is sent away, as by Redis' limit on output buffers.
pub(crate) const ANSWER_MAX: usize = 256 << 20;

pub(crate) fn set(call: &mut Call<'_>) -> Answer {
    let options = Options::read(call, 3, true)?;
    let (key, value) = (&call.args[1], &call.args[2]);
    let expires = options.expires(call.now, "set")?;
    if options.get {
        get(call)?;
    }
    let there = call
        .state
        .keys
        .peek(call.now, call.client.database, key)
        .is_some();
    if options.if_none && there || options.if_some && !there {
        if !options.get {
            call.reply().null();
        }
        return Ok(());
    }
    call.put(key, value, expires);
    if options.get { Ok(()) } else { call.ok() }
}

/// `SETEX`, `PSETEX`.
pub(crate) fn set_for(call: &mut Call<'_>) -> Answer {
    let name = call.command.name;
    let wanted = Wanted {
        number: &call.args[2],
        unit: if name == "setex" {
            Unit::Seconds
        } else {
            Unit::Millis
        },
        absolute: false,
    };
    let expires = wanted.resolve(call.now, name)?;
    call.put(&call.args[1], &call.args[3], Some(expires));
    call.ok()
}

pub(crate) fn set_if_none(call: &mut Call<'_>) -> Answer {
    let (key, database) = (&call.args[1], call.client.database);
    if call.state.keys.peek(call.now, database, key).is_some() {
        return call.number(0);
    }
    call.put(key, &call.args[2], Some(FOREVER));
    call.number(1)
}

pub(crate) fn set_many(call: &mut Call<'_>) -> Answer {
    for pair in pairs(call)? {
        call.put(&pair[0], &pair[1], Some(FOREVER));
    }
    call.ok()
}

pub(crate) fn set_many_if_none(call: &mut Call<'_>) -> Answer {
    let pairs = pairs(call)?;
    let (now, database) = (call.now, call.client.database);
    let there = |key: &[u8]| call.state.keys.peek(now, database, key).is_some();
    if pairs.clone().map(|pair| &*pair[0]).any(there) {
        return call.number(0);
    }
    for pair in pairs {
        call.put(&pair[0], &pair[1], Some(FOREVER));
    }
    call.number(1)
}

fn pairs<'a>(call: &Call<'a>) -> Result<std::slice::ChunksExact<'a, bytes::Bytes>, Fault> {
    if call.args.len().is_multiple_of(2) {
        return Err(Fault::arity(call.command.name));
    }
    Ok(call.args[1..].chunks_exact(2))
}

pub(crate) fn get_and_set(call: &mut Call<'_>) -> Answer {
    get(call)?;
    call.put(&call.args[1], &call.args[2], Some(FOREVER));
    Ok(())
}

pub(crate) fn get_and_delete(call: &mut Call<'_>) -> Answer {
    get(call)?;
    call.remove(&call.args[1]);
    Ok(())
}

/// `GETEX`.
pub(crate) fn get_and_expire(call: &mut Call<'_>) -> Answer {
    let options = Options::read(call, 2, false)?;
    let key = &call.args[1];
    let text = call.read_text(key)?;
    if text.is_none() {
        return tell(call, None);
    }
    let expires = match options.expiry {
        Some(wanted) => Some(wanted.resolve(call.now, "getex")?),
        None => options.persist.then_some(FOREVER),
    };
    tell(call, text.as_deref())?;
    match expires {
        Some(at) if at <= call.now => drop(call.remove(key)),
        Some(at) => {
            call.state
                .keys
                .set_expiry(call.now, call.client.database, key, at);
        }
        None => {}
    }
    Ok(())
}
