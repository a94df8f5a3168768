//! What commands that ask live servers have in common: addresses, and why one could not be read.

use seawall_diagnose::probe::{Fault, Kind, Target, Why};

use crate::stop::Stop;

/// Reads an address. It is not clap's to read, whose messages repeat what was typed, with the password.
pub(crate) fn target(text: &str) -> Result<Target, Stop> {
    let target: Target = text.parse().map_err(|wrong: seawall_diagnose::probe::BadTarget| {
        let help = "for example redis://cache:6379, rediss://user:password@cache:6380/1, postgres://app@db/shop, http://app:8080";
        Stop::Input(wrong.to_string(), help.to_owned())
    })?;
    if target.kind() != Kind::Redis {
        return Ok(target);
    }
    // As `redis-cli` does: a password that is typed can be read by whoever lists processes.
    Ok(target.or_password(
        std::env::var("REDISCLI_AUTH")
            .ok()
            .filter(|password| !password.is_empty()),
    ))
}

/// The same, of a kind.
pub(crate) fn target_of(text: &str, kind: Kind, option: &str) -> Result<Target, Stop> {
    let target = target(text)?;
    if target.kind() == kind {
        return Ok(target);
    }
    let scheme = match kind {
        Kind::Redis => "redis:// or rediss://",
        Kind::Postgres => "postgres://",
        Kind::Http => "http:// or https://",
    };
    Err(Stop::Input(
        format!("{option} is an address that begins with {scheme}"),
        format!("{target} is none"),
    ))
}

/// The token of a gateway's admin API: what the file holds, or else `SEAWALL_ADMIN_TOKEN`.
pub(crate) fn admin_token(file: Option<&std::path::Path>) -> Result<Option<String>, Stop> {
    let token = match file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            let what = format!("failed to read {}: {error}", path.display());
            Stop::Input(what, "it holds the token of the gateway's admin API".to_owned())
        })?),
        None => std::env::var("SEAWALL_ADMIN_TOKEN").ok(),
    };
    let token = token.map(|token| token.trim().to_owned());
    Ok(token.filter(|token| !token.is_empty()))
}

/// Why a server could not be read, and what to look at.
pub(crate) fn unread(target: &str, fault: &Fault) -> Stop {
    let help = match fault.why {
        Why::Refused => "the machine is there and nobody listens: is the port right, does the server run?",
        Why::TimedOut => "nobody answers: a firewall, a wrong address, or a server that hangs",
        Why::Unresolved => "is the name right, and known here?",
        Why::NoAuth => {
            "user or password are missing or wrong; in an address they are percent-encoded (@ is %40), and REDISCLI_AUTH and \
             PGPASSWORD are read too"
        }
        Why::Denied => {
            "the user may not do this: INFO, CLIENT LIST, SLOWLOG GET and CONFIG GET are asked, or protected mode is on"
        }
        Why::TooManyClients => "the server has no room for one more client",
        Why::Loading => "the server starts; try again when it is up",
        _ if fault.text.contains("certificate") => {
            "is the host spelled as the certificate has it, and its issuer trusted here? SSL_CERT_FILE names a file of issuers"
        }
        Why::Garbage => {
            "something else listens there: is the port right, is it with TLS (rediss://, https://)?"
        }
        _ => "the server's log may tell more",
    };
    Stop::Input(format!("failed to read {target}: {fault}"), help.to_owned())
}

/// A runtime for questions. A name that is still looked up when the command ends is not waited for.
pub(crate) fn asked<T>(questions: impl Future<Output = T>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to begin: {error}")))?;
    let answer = runtime.block_on(questions);
    runtime.shutdown_background();
    Ok(answer)
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "when something was done is told by the clock on the wall"
)]
pub(crate) fn wall_clock() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
