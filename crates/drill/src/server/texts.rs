//! Parts of values: numbers, ranges, and lists in so far as a key may hold the wrong kind of value.

use std::collections::VecDeque;

use bytes::Bytes;

use super::command::{Answer, Call, Fault, NOT_INTEGER, WRONG_TYPE};
use super::keyspace::{FOREVER, Value};
use crate::resp::integer;

/// As long as a value may be.
const LENGTH_MAX: usize = 64 << 20;

const TOO_LONG: Fault = Fault::of("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

pub(crate) fn length(call: &mut Call<'_>) -> Answer {
    let text = call.read_text(&call.args[1])?;
    call.count(text.map_or(0, |text| text.len()))
}

pub(crate) fn append(call: &mut Call<'_>) -> Answer {
    let (key, more) = (&call.args[1], &call.args[2]);
    let mut text = call.text(key)?.map_or_else(Vec::new, |(text, _)| Vec::from(text));
    if text.len() + more.len() > LENGTH_MAX {
        return Err(TOO_LONG);
    }
    text.extend_from_slice(more);
    call.put(key, &text, None);
    call.count(text.len())
}

/// `GETRANGE`, `SUBSTR`.
pub(crate) fn range(call: &mut Call<'_>) -> Answer {
    let (from, to) = (call.integer(2)?, call.integer(3)?);
    let text = call.read_text(&call.args[1])?.unwrap_or_default();
    let length = text.len() as i64;
    if from < 0 && to < 0 && from > to {
        call.reply().bulk("");
        return Ok(());
    }
    let index = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let (from, to) = (index(from), index(to).min(length - 1));
    let part = if from > to || length == 0 {
        &[][..]
    } else {
        &text[from as usize..=to as usize]
    };
    call.reply().bulk(part);
    Ok(())
}

pub(crate) fn set_range(call: &mut Call<'_>) -> Answer {
    let (key, offset, part) = (&call.args[1], call.integer(2)?, &call.args[3]);
    let offset = usize::try_from(offset).map_err(|_| Fault::of("ERR offset is out of range"))?;
    let there = call.text(key)?;
    let mut text = there.map_or_else(Vec::new, |(text, _)| Vec::from(text));
    if part.is_empty() {
        return call.count(text.len());
    }
    let end = offset.saturating_add(part.len());
    if end > LENGTH_MAX {
        return Err(TOO_LONG);
    }
    if text.len() < end {
        text.resize(end, 0);
    }
    text[offset..end].copy_from_slice(part);
    call.put(key, &text, None);
    call.count(text.len())
}

pub(crate) fn increment(call: &mut Call<'_>) -> Answer {
    add(call, 1)
}

pub(crate) fn decrement(call: &mut Call<'_>) -> Answer {
    add(call, -1)
}

pub(crate) fn increment_by(call: &mut Call<'_>) -> Answer {
    let by = call.integer(2)?;
    add(call, by)
}

pub(crate) fn decrement_by(call: &mut Call<'_>) -> Answer {
    let by = call.integer(2)?.checked_neg();
    add(call, by.ok_or(Fault::of("ERR decrement would overflow"))?)
}

fn add(call: &mut Call<'_>, by: i64) -> Answer {
    let key = &call.args[1];
    let before = match call.text(key)? {
        Some((text, _)) => integer(&text).ok_or(NOT_INTEGER)?,
        None => 0,
    };
    let after = before.checked_add(by);
    let after = after.ok_or(Fault::of("ERR increment or decrement would overflow"))?;
    call.put(key, after.to_string().as_bytes(), None);
    call.number(after)
}

/// `LPUSH`, `RPUSH`.
pub(crate) fn push(call: &mut Call<'_>) -> Answer {
    let (key, left) = (&call.args[1], call.command.name == "lpush");
    let items = call.args[2..].iter().map(|item| Bytes::copy_from_slice(item));
    let (now, database) = (call.now, call.client.database);
    let add = |list: &mut VecDeque<Bytes>| {
        for item in items {
            if left {
                list.push_front(item);
            } else {
                list.push_back(item);
            }
        }
        list.len()
    };
    let keys = &mut call.state.keys;
    if keys.peek(now, database, key).is_none() {
        let mut list = VecDeque::new();
        let count = add(&mut list);
        keys.set(now, database, key, Value::List(list), Some(FOREVER));
        return call.count(count);
    }
    let count = keys.change(now, database, key, |value| match value {
        Value::List(list) => Some(add(list)),
        Value::Text(_) => None,
    });
    let count = count.flatten().ok_or(WRONG_TYPE)?;
    call.count(count)
}

pub(crate) fn list_length(call: &mut Call<'_>) -> Answer {
    let count = match call.read(&call.args[1]).map(|entry| &entry.value) {
        Some(Value::List(list)) => list.len(),
        Some(_) => return Err(WRONG_TYPE),
        None => 0,
    };
    call.count(count)
}

pub(crate) fn list_range(call: &mut Call<'_>) -> Answer {
    let (from, to) = (call.integer(2)?, call.integer(3)?);
    let items: Vec<Bytes> = match call.read(&call.args[1]).map(|entry| &entry.value) {
        Some(Value::List(list)) => {
            let length = list.len() as i64;
            // An end before the beginning is no end at the beginning.
            let index = |at: i64| if at < 0 { at + length } else { at };
            let (from, to) = (index(from).max(0) as usize, index(to).min(length - 1));
            let until = usize::try_from(to + 1).unwrap_or(0);
            let count = until.saturating_sub(from);
            list.iter().skip(from).take(count).cloned().collect()
        }
        Some(_) => return Err(WRONG_TYPE),
        None => Vec::new(),
    };
    call.reply().bulks(&items);
    Ok(())
}
