//! Keys as such: whether they are there, how long they live, and which there are.

use bytes::Bytes;

use super::command::{Answer, Call, Fault, NOT_INTEGER, SYNTAX};
use super::keyspace::{FOREVER, Value};
use crate::glob::matches;
use crate::resp::integer;

/// `DEL`, `UNLINK`.
pub(crate) fn delete(call: &mut Call<'_>) -> Answer {
    let count = call.args[1..].iter().filter(|key| call.remove(key)).count();
    call.count(count)
}

/// `EXISTS`, `TOUCH`.
pub(crate) fn exists(call: &mut Call<'_>) -> Answer {
    let mut count = 0;
    for key in &call.args[1..] {
        count += usize::from(call.read(key).is_some());
    }
    call.count(count)
}

pub(crate) fn kind(call: &mut Call<'_>) -> Answer {
    let key = &call.args[1];
    let found = call.glance(key);
    let kind = found.map_or("none", |entry| entry.value.kind());
    call.reply().simple(kind);
    Ok(())
}

pub(crate) fn encoding(call: &mut Call<'_>) -> Answer {
    let key = &call.args[2];
    let found = call.glance(key);
    let encoding = found.map(|entry| match &entry.value {
        Value::Text(text) if integer(text).is_some() => "int",
        Value::Text(text) if text.len() <= 44 => "embstr",
        Value::Text(_) => "raw",
        Value::List(_) => "quicklist",
    });
    match encoding {
        Some(encoding) => call.reply().bulk(encoding),
        None => call.reply().null(),
    }
    Ok(())
}

/// `TTL`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`.
pub(crate) fn time_left(call: &mut Call<'_>) -> Answer {
    let name = call.command.name;
    let (key, now) = (&call.args[1], call.now);
    let found = call.glance(key);
    let left = match found.map(|entry| entry.expires) {
        None => -2,
        Some(FOREVER) => -1,
        Some(at) if name.ends_with("ttl") => (at - now) as i64,
        Some(at) => at as i64,
    };
    let seconds = !name.starts_with('p') && left >= 0;
    let rounded = (left.max(0) as u64 + 500) / 1_000;
    call.number(if seconds { rounded as i64 } else { left })
}

pub(crate) fn persist(call: &mut Call<'_>) -> Answer {
    let (key, database) = (&call.args[1], call.client.database);
    let keys = &mut call.state.keys;
    let expires = keys.peek(call.now, database, key).map(|entry| entry.expires);
    let will = expires.is_some_and(|at| at != FOREVER);
    if will {
        keys.set_expiry(call.now, database, key, FOREVER);
    }
    call.number(will.into())
}

#[expect(clippy::struct_excessive_bools, reason = "each is a word of the command")]
/// When `EXPIRE` and its like apply.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    none: bool,
    some: bool,
    later: bool,
    sooner: bool,
}

impl Conditions {
    fn read(words: &[Bytes]) -> Result<Conditions, Fault> {
        let mut conditions = Conditions::default();
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"nx" => conditions.none = true,
                b"xx" => conditions.some = true,
                b"gt" => conditions.later = true,
                b"lt" => conditions.sooner = true,
                _ => {
                    let word = String::from_utf8_lossy(word);
                    return Err(Fault::new(format!("ERR Unsupported option {word}")));
                }
            }
        }
        if conditions.none && (conditions.some || conditions.later || conditions.sooner) {
            return Err(Fault::of(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.later && conditions.sooner {
            return Err(Fault::of(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    fn hold(self, expires: u64, wanted: i64) -> bool {
        let wanted = u64::try_from(wanted).unwrap_or(0);
        !(self.none && expires != FOREVER
            || self.some && expires == FOREVER
            || self.later && (expires == FOREVER || wanted <= expires)
            || self.sooner && wanted >= expires)
    }
}

/// `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`.
pub(crate) fn expire(call: &mut Call<'_>) -> Answer {
    let name = call.command.name;
    let conditions = Conditions::read(&call.args[3..])?;
    let number = call.integer(2)?;
    let invalid = || Fault::new(format!("ERR invalid expire time in '{name}' command"));
    let millis = if name.starts_with('p') {
        number
    } else {
        number.checked_mul(1_000).ok_or_else(invalid)?
    };
    let from = if name.ends_with("at") { 0 } else { call.now as i64 };
    let at = millis.checked_add(from).ok_or_else(invalid)?;
    let (key, database) = (&call.args[1], call.client.database);
    let keys = &mut call.state.keys;
    let Some(expires) = keys.peek(call.now, database, key).map(|entry| entry.expires) else {
        return call.number(0);
    };
    if !conditions.hold(expires, at) {
        return call.number(0);
    }
    if at <= call.now as i64 {
        keys.remove(call.now, database, key);
    } else {
        keys.set_expiry(call.now, database, key, at as u64);
    }
    call.number(1)
}

pub(crate) fn size(call: &mut Call<'_>) -> Answer {
    let count = call.state.keys.count(call.client.database);
    call.count(count)
}

/// `FLUSHDB`, `FLUSHALL`.
pub(crate) fn flush(call: &mut Call<'_>) -> Answer {
    let plain = call.args.len() == 1 || call.args.len() == 2 && (call.is(1, "async") || call.is(1, "sync"));
    if !plain {
        return Err(SYNTAX);
    }
    if call.command.name == "flushall" {
        call.state.keys.flush_all();
    } else {
        call.state.keys.flush(call.client.database);
    }
    call.ok()
}

pub(crate) fn matching(call: &mut Call<'_>) -> Answer {
    let pattern = &call.args[1];
    let mut found = Vec::new();
    let keys = &call.state.keys;
    keys.scan(call.now, call.client.database, 0, usize::MAX, |entry| {
        if matches(pattern, &entry.key, false) {
            found.push(entry.key.clone());
        }
    });
    call.reply().bulks(&found);
    Ok(())
}

pub(crate) fn scan(call: &mut Call<'_>) -> Answer {
    let text = std::str::from_utf8(&call.args[1]).ok();
    let cursor: u64 = text
        .and_then(|text| text.parse().ok())
        .ok_or(Fault::of("ERR invalid cursor"))?;
    let (mut pattern, mut kind, mut count) = (None, None, 10);
    for option in call.args[2..].chunks(2) {
        let [name, value] = option else {
            return Err(SYNTAX);
        };
        match name.to_ascii_lowercase().as_slice() {
            b"match" => pattern = Some(value),
            b"type" => kind = Some(value.to_ascii_lowercase()),
            b"count" => {
                let wanted = integer(value).ok_or(NOT_INTEGER)?;
                count = usize::try_from(wanted)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(SYNTAX)?;
            }
            _ => return Err(SYNTAX),
        }
    }
    let (mut found, mut looked_up) = (Vec::new(), 0);
    let keys = &call.state.keys;
    let next = keys.scan(call.now, call.client.database, cursor, count, |entry| {
        if pattern.is_some_and(|pattern| !matches(pattern, &entry.key, false)) {
            return;
        }
        // Redis looks each one up for its type, and counts that.
        looked_up += u64::from(kind.is_some());
        if kind
            .as_ref()
            .is_none_or(|kind| kind == entry.value.kind().as_bytes())
        {
            found.push(entry.key.clone());
        }
    });
    call.state.stats.hits += looked_up;
    let mut reply = call.reply();
    reply.array(2);
    reply.bulk(next.to_string());
    reply.bulks(&found);
    Ok(())
}
