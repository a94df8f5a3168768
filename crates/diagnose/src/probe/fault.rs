//! Why a question was not answered, or not well.

use std::io;

use super::target::Target;

/// Why a step did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The machine is there, and nobody listens.
    Refused,
    /// No answer before the deadline.
    TimedOut,
    /// The connection broke.
    Reset,
    /// The server closed the connection without a word.
    Closed,
    /// The name has no address.
    Unresolved,
    /// It starts, and answers nothing else yet.
    Loading,
    /// It does not know us: a password is missing or wrong.
    NoAuth,
    /// It takes no more connections.
    TooManyClients,
    /// It takes no writes: it is a replica.
    ReadOnly,
    /// It has no room for a write.
    OutOfMemory,
    /// It takes no writes because it cannot save (MISCONF).
    DiskFull,
    /// Its cluster, or its master, is down.
    ClusterDown,
    /// What was written came back different.
    Wrong,
    /// What was written was gone.
    Lost,
    /// What came is not what is spoken here.
    Garbage,
    /// A script or a function does not end.
    Busy,
    /// It knows us and does not let us do this.
    Denied,
    /// Another error.
    Error,
}

impl Why {
    /// Every reason.
    pub const ALL: [Why; 18] = [
        Why::Refused,
        Why::TimedOut,
        Why::Reset,
        Why::Closed,
        Why::Unresolved,
        Why::Loading,
        Why::NoAuth,
        Why::TooManyClients,
        Why::ReadOnly,
        Why::OutOfMemory,
        Why::DiskFull,
        Why::ClusterDown,
        Why::Wrong,
        Why::Lost,
        Why::Garbage,
        Why::Busy,
        Why::Denied,
        Why::Error,
    ];

    /// Its name in the label `reason` of `probe_failures_total`, behind the step's.
    pub const fn name(self) -> &'static str {
        match self {
            Why::Refused => "refused",
            Why::TimedOut => "timed_out",
            Why::Reset => "reset",
            Why::Closed => "closed",
            Why::Unresolved => "unresolved",
            Why::Loading => "loading",
            Why::NoAuth => "no_auth",
            Why::TooManyClients => "too_many_clients",
            Why::ReadOnly => "read_only",
            Why::OutOfMemory => "out_of_memory",
            Why::DiskFull => "disk_full",
            Why::ClusterDown => "cluster_down",
            Why::Wrong => "wrong",
            Why::Lost => "lost",
            Why::Garbage => "garbage",
            Why::Busy => "busy",
            Why::Denied => "denied",
            Why::Error => "error",
        }
    }
}

/// A question that was not answered well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// What kind of failure it is.
    pub why: Why,
    /// In words, with what the server said; a line at most, and without our password.
    pub text: String,
}

impl Fault {
    pub(crate) fn new(why: Why, text: impl Into<String>) -> Fault {
        let text = text.into();
        Fault { why, text }
    }

    pub(crate) fn late(what: &str) -> Fault {
        Fault::new(Why::TimedOut, format!("no {what} before the deadline"))
    }

    /// What the operating system said.
    pub(crate) fn io(error: &io::Error) -> Fault {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => Why::Refused,
            // The network answers that there is no way, which is as far as silence.
            io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Why::TimedOut,
            io::ErrorKind::UnexpectedEof => Why::Closed,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Why::Reset,
            io::ErrorKind::InvalidData => Why::Garbage,
            _ => Why::Error,
        };
        Fault::new(why, error.to_string())
    }

    /// What a Redis said: an error, its code first.
    pub(crate) fn said(target: &Target, error: &[u8]) -> Fault {
        let text = String::from_utf8_lossy(error);
        Fault::new(of_redis(&text), target.scrubbed(&text))
    }
}

/// What an error of Redis means. The codes are those of Redis 2.6 to 8; what has no code has its words.
pub(crate) fn of_redis(text: &str) -> Why {
    match text.split(' ').next().unwrap_or_default() {
        "LOADING" => Why::Loading,
        "NOAUTH" | "WRONGPASS" => Why::NoAuth,
        "NOPERM" | "DENIED" => Why::Denied,
        "READONLY" => Why::ReadOnly,
        "OOM" => Why::OutOfMemory,
        "MISCONF" => Why::DiskFull,
        "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS" => Why::ClusterDown,
        "BUSY" => Why::Busy,
        _ if text.contains("max number of clients") => Why::TooManyClients,
        _ if text.contains("invalid password") || text.contains("uthentication") => Why::NoAuth,
        _ => Why::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_told_apart() {
        for (text, why) in [
            ("LOADING Redis is loading the dataset in memory", Why::Loading),
            ("NOAUTH Authentication required.", Why::NoAuth),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Why::NoAuth,
            ),
            ("ERR invalid password", Why::NoAuth),
            (
                "NOPERM this user has no permissions to run the 'set' command",
                Why::Denied,
            ),
            ("DENIED Redis is running in protected mode", Why::Denied),
            (
                "READONLY You can't write against a read only replica.",
                Why::ReadOnly,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Why::OutOfMemory,
            ),
            ("MISCONF Redis is configured to save RDB snapshots", Why::DiskFull),
            ("CLUSTERDOWN The cluster is down", Why::ClusterDown),
            ("MASTERDOWN Link with MASTER is down", Why::ClusterDown),
            ("BUSY Redis is busy running a script.", Why::Busy),
            ("ERR max number of clients reached", Why::TooManyClients),
            ("ERR unknown command", Why::Error),
            ("", Why::Error),
        ] {
            assert_eq!(of_redis(text), why, "{text}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = Why::ALL.iter().map(|why| why.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Why::ALL.len());
    }
}
