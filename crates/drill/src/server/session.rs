//! Greeting, logging in, choosing a database, and leaving.

use bytes::Bytes;

use super::client::Hearing;
use super::command::{Answer, Call, Fault};
use super::keyspace::DATABASES;
use crate::resp::{Protocol, integer};

/// The version of Redis whose behaviour this is.
pub(crate) const VERSION: &str = "7.0.15";

pub(crate) fn ping(call: &mut Call<'_>) -> Answer {
    if call.args.len() > 2 {
        return Err(Fault::arity("ping"));
    }
    let word = call.args.get(1);
    if call.client.subscriptions() > 0 && call.client.protocol == Protocol::Two {
        let mut reply = call.reply();
        reply.array(2);
        reply.bulk("pong");
        reply.bulk(word.map_or(&[][..], |word| word));
        return Ok(());
    }
    match word {
        Some(word) => call.reply().bulk(word),
        None => call.reply().simple("PONG"),
    }
    Ok(())
}

pub(crate) fn echo(call: &mut Call<'_>) -> Answer {
    let word = &call.args[1];
    call.reply().bulk(word);
    Ok(())
}

pub(crate) fn select(call: &mut Call<'_>) -> Answer {
    let number = call.integer(1)?;
    if i32::try_from(number).is_err() {
        return Err(Fault::of(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let database = usize::try_from(number).ok();
    let database = database.filter(|database| *database < DATABASES);
    call.client.database = database.ok_or(Fault::of("ERR DB index is out of range"))?;
    call.ok()
}

pub(crate) fn quit(call: &mut Call<'_>) -> Answer {
    call.client.leaving = true;
    call.ok()
}

pub(crate) fn reset(call: &mut Call<'_>) -> Answer {
    call.state.forget(call.client);
    let client = &mut *call.client;
    client.protocol = Protocol::Two;
    client.database = 0;
    client.name = Bytes::new();
    client.hearing = Hearing::On;
    client.trusted = call.state.config.password.is_empty();
    call.reply().simple("RESET");
    Ok(())
}

pub(crate) fn no_transactions(call: &mut Call<'_>) -> Answer {
    let name = call.command.name.to_ascii_uppercase();
    Err(Fault::new(format!(
        "ERR {name} is not supported: this server is a cache and has no transactions"
    )))
}

/// Whether these are the credentials. Without a password everybody is the default user.
fn log_in(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> Answer {
    let expected = &call.state.config.password;
    if user == b"default" && (expected.is_empty() || expected.as_bytes() == password) {
        call.client.trusted = true;
        return Ok(());
    }
    Err(Fault::of(
        "WRONGPASS invalid username-password pair or user is disabled.",
    ))
}

pub(crate) fn auth(call: &mut Call<'_>) -> Answer {
    match call.args {
        [_, password] => {
            if call.state.config.password.is_empty() {
                return Err(Fault::of(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                ));
            }
            log_in(call, b"default", password)?;
        }
        [_, user, password] => log_in(call, user, password)?,
        _ => return Err(super::command::SYNTAX),
    }
    call.ok()
}

pub(crate) fn hello(call: &mut Call<'_>) -> Answer {
    let args = call.args;
    let mut protocol = None;
    if let Some(version) = args.get(1) {
        protocol = Some(match integer(version) {
            Some(2) => Protocol::Two,
            Some(3) => Protocol::Three,
            Some(_) => return Err(Fault::of("NOPROTO unsupported protocol version")),
            None => {
                return Err(Fault::of(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        });
    }
    let (mut at, mut credentials, mut name) = (2, None, None);
    while at < args.len() {
        let left = args.len() - at;
        if call.is(at, "auth") && left >= 3 {
            credentials = Some((&args[at + 1], &args[at + 2]));
            at += 3;
        } else if call.is(at, "setname") && left >= 2 {
            name = Some(&args[at + 1]);
            at += 2;
        } else {
            let option = String::from_utf8_lossy(&args[at]);
            return Err(Fault::new(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = credentials {
        log_in(call, user, password)?;
    }
    if !call.client.trusted {
        return Err(Fault::of(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some(name) = name {
        super::clients::name_client(call, name)?;
    }
    if let Some(protocol) = protocol {
        call.client.protocol = protocol;
    }
    let id = call.client.id as i64;
    let version = if call.client.protocol == Protocol::Three {
        3
    } else {
        2
    };
    let role = if call.state.master.is_some() {
        "replica"
    } else {
        "master"
    };
    let mut reply = call.reply();
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("proto");
    reply.integer(version);
    reply.bulk("id");
    reply.integer(id);
    for (name, value) in [("mode", "standalone"), ("role", role)] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("modules");
    reply.array(0);
    Ok(())
}
