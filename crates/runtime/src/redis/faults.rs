//! What an error of the client or the server means.

use std::io;
use std::sync::Arc;

use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use seawall_core::guard::CacheFault;

/// The fact behind an error.
pub(super) fn fault_of(error: &RedisError) -> CacheFault {
    if error.is_timeout() {
        return CacheFault::TimedOut;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => CacheFault::NoAuth,
        ErrorKind::Server(kind) => of_server(kind, error.detail()),
        ErrorKind::Extension => of_code(error.code().unwrap_or_default(), error.detail()),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => CacheFault::Corrupt,
        ErrorKind::Io => io_kind(error).map_or(CacheFault::Reset, of_io),
        // A handshake that fails.
        ErrorKind::Client => CacheFault::Refused,
        _ => CacheFault::Error,
    }
}

/// What the operating system said, which the client keeps in an `Arc`.
fn io_kind(error: &RedisError) -> Option<io::ErrorKind> {
    let source = std::error::Error::source(error)?;
    let source = match source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        Some(shared) => &**shared,
        None => source,
    };
    Some(source.downcast_ref::<io::Error>()?.kind())
}

fn of_server(kind: ServerErrorKind, detail: Option<&str>) -> CacheFault {
    match kind {
        ServerErrorKind::BusyLoading => CacheFault::Loading,
        ServerErrorKind::ReadOnly => CacheFault::ReadOnly,
        ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain => CacheFault::Moved,
        ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown => CacheFault::Unavailable,
        ServerErrorKind::NoPerm => CacheFault::NoAuth,
        _ => of_text(detail.unwrap_or_default()),
    }
}

fn of_code(code: &str, detail: Option<&str>) -> CacheFault {
    match code {
        "OOM" => CacheFault::OutOfMemory,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => CacheFault::NoAuth,
        "WRONGTYPE" => CacheFault::WrongType,
        // It cannot save its data, which hardly ever means anything else than a full disk.
        "MISCONF" => CacheFault::DiskFull,
        // It has too few replicas to take writes.
        "NOREPLICAS" => CacheFault::ReadOnly,
        "LOADING" => CacheFault::Loading,
        // A script that does not end.
        "BUSY" => CacheFault::Unavailable,
        _ => of_text(detail.unwrap_or_default()),
    }
}

/// `ERR`, and whatever else has no code of its own.
pub(super) fn of_text(text: &str) -> CacheFault {
    if text.contains("max number of clients") {
        CacheFault::TooManyClients
    } else if text.contains("uthentication") || text.contains("without any password configured") {
        CacheFault::NoAuth
    } else {
        CacheFault::Error
    }
}

fn of_io(kind: io::ErrorKind) -> CacheFault {
    match kind {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NotFound
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData => CacheFault::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => CacheFault::TimedOut,
        _ => CacheFault::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> CacheFault {
        let value = ::redis::parse_redis_value(line.as_bytes()).expect("it is a reply");
        fault_of(&value.extract_error().expect_err("it is an error"))
    }

    #[test]
    fn what_a_server_says_is_told_apart() {
        let table = [
            (
                "-LOADING Redis is loading the dataset in memory\r\n",
                CacheFault::Loading,
            ),
            (
                "-READONLY You can't write against a read only replica.\r\n",
                CacheFault::ReadOnly,
            ),
            (
                "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
                CacheFault::OutOfMemory,
            ),
            ("-NOAUTH Authentication required.\r\n", CacheFault::NoAuth),
            (
                "-WRONGPASS invalid username-password pair\r\n",
                CacheFault::NoAuth,
            ),
            ("-NOPERM this user has no permissions\r\n", CacheFault::NoAuth),
            (
                "-ERR max number of clients reached\r\n",
                CacheFault::TooManyClients,
            ),
            (
                "-WRONGTYPE Operation against a key holding the wrong kind\r\n",
                CacheFault::WrongType,
            ),
            ("-MOVED 3999 127.0.0.1:6381\r\n", CacheFault::Moved),
            ("-ASK 3999 127.0.0.1:6381\r\n", CacheFault::Moved),
            ("-CLUSTERDOWN The cluster is down\r\n", CacheFault::Unavailable),
            (
                "-MASTERDOWN Link with MASTER is down\r\n",
                CacheFault::Unavailable,
            ),
            (
                "-MISCONF Redis is configured to save RDB snapshots\r\n",
                CacheFault::DiskFull,
            ),
            ("-ERR unknown command\r\n", CacheFault::Error),
        ];
        for (line, fault) in table {
            assert_eq!(said(line), fault, "{line}");
        }
    }

    #[test]
    fn what_the_network_says_is_told_apart() {
        let of = |kind: io::ErrorKind| fault_of(&RedisError::from(io::Error::from(kind)));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), CacheFault::Refused);
        assert_eq!(of(io::ErrorKind::TimedOut), CacheFault::TimedOut);
        assert_eq!(of(io::ErrorKind::BrokenPipe), CacheFault::Reset);
        assert_eq!(of(io::ErrorKind::ConnectionReset), CacheFault::Reset);
    }
}
