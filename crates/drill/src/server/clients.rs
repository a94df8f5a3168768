//! `CLIENT`: who is connected, and sending them away.

use bytes::Bytes;

use super::client::{Client, Hearing};
use super::command::{Answer, Call, Fault, SYNTAX};
use super::state::Pause;
use crate::resp::integer;

pub(crate) fn id(call: &mut Call<'_>) -> Answer {
    call.number(call.client.id as i64)
}

pub(crate) fn redirection(call: &mut Call<'_>) -> Answer {
    call.number(-1)
}

pub(crate) fn name(call: &mut Call<'_>) -> Answer {
    let name = call.client.name.clone();
    if name.is_empty() {
        call.reply().null();
    } else {
        call.reply().bulk(name);
    }
    Ok(())
}

/// Whether it can stand in a line of `CLIENT LIST`.
fn printable(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

pub(crate) fn name_client(call: &mut Call<'_>, name: &Bytes) -> Answer {
    if !printable(name) || name.len() > NAME_MAX {
        return Err(Fault::of(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ));
    }
    call.client.name = Bytes::copy_from_slice(name);
    Ok(())
}

/// The longest name of a client.
const NAME_MAX: usize = 4 << 10;

pub(crate) fn set_name(call: &mut Call<'_>) -> Answer {
    name_client(call, &call.args[2])?;
    call.ok()
}

pub(crate) fn set_library(call: &mut Call<'_>) -> Answer {
    let value = &call.args[3];
    if !printable(value) || value.len() > NAME_MAX {
        return Err(Fault::new(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            call.word(2)
        )));
    }
    let value = Bytes::copy_from_slice(value);
    match call.word(2).as_str() {
        "lib-name" => call.client.library.0 = value,
        "lib-ver" => call.client.library.1 = value,
        other => {
            return Err(Fault::new(format!("ERR Unrecognized option '{other}'")));
        }
    }
    call.ok()
}

pub(crate) fn own_line(call: &mut Call<'_>) -> Answer {
    let line = call.client.describe(call.now) + "\n";
    call.reply().verbatim(&line);
    Ok(())
}

pub(crate) fn list(call: &mut Call<'_>) -> Answer {
    let mut kind = None;
    let mut ids: Option<Vec<u64>> = None;
    match call.args.len() {
        2 => {}
        4 if call.is(2, "type") => kind = Some(known_kind(call, 3)?),
        _ if call.is(2, "id") && call.args.len() > 3 => {
            let wanted = call.args[3..].iter().map(client_id);
            ids = Some(wanted.collect::<Result<_, _>>()?);
        }
        _ => return Err(SYNTAX),
    }
    let suits = |client: &Client| {
        kind.as_deref().is_none_or(|kind| kind == client.kind())
            && ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
    };
    let mut lines: Vec<(u64, String)> = Vec::new();
    let everybody = call.state.clients.values().chain([&*call.client]);
    for client in everybody.filter(|client| suits(client)) {
        lines.push((client.id, client.describe(call.now)));
    }
    lines.sort_unstable_by_key(|(id, _)| *id);
    let mut text = String::new();
    for (_, line) in lines {
        text.push_str(&line);
        text.push('\n');
    }
    call.reply().verbatim(&text);
    Ok(())
}

fn known_kind(call: &Call<'_>, at: usize) -> Result<String, Fault> {
    let kind = call.word(at);
    match kind.as_str() {
        "normal" | "pubsub" | "master" | "replica" => Ok(kind),
        "slave" => Ok("replica".to_owned()),
        _ => Err(Fault::new(format!(
            "ERR Unknown client type '{}'",
            String::from_utf8_lossy(&call.args[at])
        ))),
    }
}

fn client_id(text: &Bytes) -> Result<u64, Fault> {
    let id = integer(text).and_then(|id| u64::try_from(id).ok());
    id.filter(|id| *id > 0).ok_or(Fault::of("ERR Invalid client ID"))
}

/// Whom `CLIENT KILL` is about.
#[derive(Debug, Default)]
struct Filter {
    id: Option<u64>,
    kind: Option<String>,
    address: Option<String>,
    local: Option<String>,
    nobody: bool,
    itself: bool,
}

impl Filter {
    fn read(call: &Call<'_>) -> Result<Filter, Fault> {
        let mut filter = Filter::default();
        for (index, option) in call.args[2..].chunks(2).enumerate() {
            let [name, value] = option else {
                return Err(SYNTAX);
            };
            let text = || String::from_utf8_lossy(value).into_owned();
            match name.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = integer(value).and_then(|id| u64::try_from(id).ok());
                    let id = id.filter(|id| *id > 0);
                    filter.id = Some(id.ok_or(Fault::of("ERR client-id should be greater than 0"))?);
                }
                b"type" => filter.kind = Some(known_kind(call, 3 + index * 2)?),
                b"addr" => filter.address = Some(text()),
                b"laddr" => filter.local = Some(text()),
                b"user" if **value == *b"default" => {}
                b"user" => {
                    return Err(Fault::new(format!("ERR No such user '{}'", text())));
                }
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => filter.itself = false,
                    b"no" => filter.itself = true,
                    _ => return Err(SYNTAX),
                },
                _ => return Err(SYNTAX),
            }
        }
        filter.nobody = matches!(filter.kind.as_deref(), Some("master" | "replica"));
        Ok(filter)
    }

    fn suits(&self, client: &Client) -> bool {
        let same = |wanted: &Option<String>, is: std::net::SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| *wanted == is.to_string())
        };
        !self.nobody
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.as_ref().is_none_or(|kind| kind == client.kind())
            && same(&self.address, client.address)
            && same(&self.local, client.local)
    }
}

pub(crate) fn kill(call: &mut Call<'_>) -> Answer {
    // The old form names an address, and an error says that there is nobody.
    let old = call.args.len() == 3;
    let filter = if old {
        Filter {
            address: Some(String::from_utf8_lossy(&call.args[2]).into_owned()),
            itself: true,
            ..Filter::default()
        }
    } else {
        Filter::read(call)?
    };
    let mut count = 0;
    for client in call.state.clients.values_mut() {
        if filter.suits(client) {
            client.kill();
            count += 1;
        }
    }
    if filter.itself && filter.suits(call.client) {
        // It still hears that.
        call.client.leaving = true;
        count += 1;
    }
    match (old, count) {
        (true, 0) => Err(Fault::of("ERR No such client")),
        (true, _) => call.ok(),
        (false, count) => call.number(count),
    }
}

pub(crate) fn pause(call: &mut Call<'_>) -> Answer {
    let writes_only = match call.args.len() {
        3 => false,
        4 if call.is(3, "write") => true,
        4 if call.is(3, "all") => false,
        4 => {
            return Err(Fault::of("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
        _ => return Err(SYNTAX),
    };
    let millis = integer(&call.args[2]).ok_or(Fault::of("ERR timeout is not an integer or out of range"))?;
    let millis = u64::try_from(millis).map_err(|_| Fault::of("ERR timeout is negative"))?;
    let until = call.now.saturating_add(millis);
    // A pause under way is never shortened, nor made milder.
    let (until, writes_only) = match call.state.pause.filter(|pause| pause.until > call.now) {
        Some(before) => (until.max(before.until), writes_only && before.writes_only),
        None => (until, writes_only),
    };
    call.state.pause = Some(Pause { until, writes_only });
    call.ok()
}

pub(crate) fn unpause(call: &mut Call<'_>) -> Answer {
    call.state.pause = None;
    call.ok()
}

pub(crate) fn unblock(call: &mut Call<'_>) -> Answer {
    // No command of this server blocks.
    call.integer(2)?;
    call.number(0)
}

/// `CLIENT NO-EVICT`, `CLIENT NO-TOUCH`: taken and without effect, for nobody is evicted.
pub(crate) fn switch(call: &mut Call<'_>) -> Answer {
    if call.is(2, "on") || call.is(2, "off") {
        return call.ok();
    }
    Err(SYNTAX)
}

pub(crate) fn hearing(call: &mut Call<'_>) -> Answer {
    match call.word(2).as_str() {
        "on" => {
            call.client.hearing = Hearing::On;
            return call.ok();
        }
        "off" => call.client.hearing = Hearing::Off,
        "skip" if call.client.hearing == Hearing::On => call.client.hearing = Hearing::SkipNext,
        "skip" => {}
        _ => return Err(SYNTAX),
    }
    Ok(())
}

pub(crate) fn tracking(_: &mut Call<'_>) -> Answer {
    Err(Fault::of(
        "ERR CLIENT TRACKING is not supported: this server does not tell clients which keys change",
    ))
}
