//! What a fault becomes in a drill: what is done for real, how it is felt, and why it is refused where it cannot be done.
//!
//! One table for those who ask before anything is started and for those who read the documentation. What is done is in
//! [`super::faults`], which does nothing that is refused here.

use seawall_core::time::Span;
use seawall_scenario::{CacheKind, Event, Fault, Place, Scaled, What};

/// What stands in the place of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// A real server, or an instance on the library: both are the drill's own.
    Own,
    /// What takes the place of a real server in this process.
    StandIn,
    /// A program of the user's, which the drill starts.
    Program,
    /// Something that runs already.
    Elsewhere,
}

/// What is done, and how it is felt; or why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// It is done.
    Done(&'static str, &'static str),
    /// It is not.
    Refused(&'static str),
}

use Becomes::{Done, Refused};

const NOT_OURS: &str =
    "it is not the drill's own: it is neither ended nor stopped, and its settings are left alone";
const STANDS_IN: &str = "what stands in for it has no such thing; install redis-server and postgresql";
const OWN_ONLY: &str = "only instances on the library can be told";

/// What a fault of a link becomes, whatever it is a link to.
fn of_link(fault: &Fault) -> Option<Becomes> {
    Some(match fault {
        Fault::Latency { .. } | Fault::FarRegion { .. } => Done(
            "the proxy of the link holds answers back",
            "a knock through the proxy takes as much longer",
        ),
        Fault::Bandwidth { .. } => Done(
            "the proxy lets so many bytes a second through",
            "a parcel through the proxy takes as long as it must",
        ),
        Fault::Partition => Done(
            "the proxy lets nothing through",
            "a knock through the proxy has no answer",
        ),
        Fault::Refuse => Done("the proxy does not listen", "a knock at the proxy is refused"),
        Fault::Reset => Done(
            "the proxy cuts connections",
            "a knock through the proxy is cut off",
        ),
        Fault::Loss { .. } => Done(
            "the proxy loses segments, which come again after 200 ms",
            "a knock through the proxy takes that much longer",
        ),
        _ => return None,
    })
}

fn of_client(fault: &Fault) -> Becomes {
    match fault {
        Fault::Spike { .. } => Done(
            "the load generator sends as many times as much",
            "its count of calls, half of what is added at least",
        ),
        Fault::HotKey { .. } => Done(
            "the load generator asks for one key",
            "its count of reads of that key",
        ),
        Fault::Penetration { .. } => Done(
            "the load generator asks for keys that do not exist",
            "its count of such reads",
        ),
        _ => Refused("this is not done to a client"),
    }
}

fn of_cache(fault: &Fault, stands: Stands) -> Becomes {
    if let Some(becomes) = of_link(fault) {
        return becomes;
    }
    let elsewhere = stands == Stands::Elsewhere;
    let stands_in = stands == Stands::StandIn;
    match fault {
        Fault::Kill | Fault::Replace | Fault::Hang | Fault::Loading | Fault::DiskFull if elsewhere => {
            Refused(NOT_OURS)
        }
        Fault::OutOfMemory | Fault::TooManyClients | Fault::ReadOnly if elsewhere => Refused(NOT_OURS),
        Fault::DiskFull
        | Fault::ReadOnly
        | Fault::Corrupt { .. }
        | Fault::WrongType { .. }
        | Fault::Blocked { .. }
            if stands_in =>
        {
            Refused(STANDS_IN)
        }
        Fault::Kill => Done(
            "SIGKILL; started again empty when it ends",
            "nobody listens at the server's own address",
        ),
        Fault::Replace => Done("SIGKILL, and a start with nothing", "it holds less than before"),
        Fault::Hang => Done("SIGSTOP", "the server lets in and gives no answer"),
        Fault::Pause => Done(
            "`CLIENT PAUSE` in leases of 250 ms, one after the other",
            "`PING` has no answer",
        ),
        Fault::Flush => Done("`FLUSHALL ASYNC`", "`DBSIZE` before and after"),
        Fault::Expire { .. } => Done("`PEXPIREAT` in the past", "`EXISTS` right after"),
        Fault::ExpireAt { .. } => Done(
            "an instance writes the entries again with the same end",
            "how many were there to be written",
        ),
        Fault::TtlIgnored => Done(
            "instances store with a TTL of a year",
            "`PTTL` of entries that are there",
        ),
        Fault::NeverStored => Done(
            "instances do not store what they load",
            "their loads, after which nothing was stored",
        ),
        Fault::Corrupt { .. } => Done(
            "bits are flipped in values; where nobody checks, with checksums that fit",
            "`GET` of some of them",
        ),
        Fault::WrongType { .. } => Done(
            "strings become lists",
            "`GET` of some of them is answered `WRONGTYPE`",
        ),
        Fault::Blocked { share, burst }
            if *share > 0.95 || *share <= 0.0 || *burst > Span::secs(1) || burst.is_zero() =>
        {
            Refused("a server is kept busy for at most 95% of the time, and for at most a second at once")
        }
        Fault::Blocked { .. } => Done(
            "`EVAL` of a loop, again and again",
            "`PING` waits for the end of a burst",
        ),
        Fault::OutOfMemory => Done(
            "`maxmemory` half of what is used, and `noeviction`",
            "`SET` is answered `OOM`",
        ),
        Fault::TooManyClients => Done(
            "`maxclients`, and idle connections in all places",
            "a new connection is turned away",
        ),
        Fault::Slow { .. } => Done(
            "the proxy holds each answer back for as long as commands take longer",
            "`PING` through the proxy takes as much longer",
        ),
        Fault::Loading => Done(
            "started again with its snapshot and `key-load-delay`",
            "`GET` is answered `LOADING`",
        ),
        Fault::ReadOnly => Done("`REPLICAOF` nobody", "`SET` is answered `READONLY`"),
        Fault::Starve { .. } if stands == Stands::Own => Done(
            "a control group leaves the process its part of a processor, and the proxy stretches the time that the scenario says",
            "the kernel's count of periods in which it was held back; `PING` through the proxy",
        ),
        Fault::Starve { .. } => Done(
            "the proxy stretches the time that the scenario says",
            "`PING` through the proxy takes as much longer",
        ),
        Fault::DiskFull => Done(
            "a small disk (tmpfs) of its own is filled",
            "`SET` is answered `MISCONF` after a snapshot failed",
        ),
        _ => Refused("this is not done to a cache"),
    }
}

fn of_database(fault: &Fault, stands: Stands, whole: bool) -> Becomes {
    if let Some(becomes) = of_link(fault) {
        return becomes;
    }
    if stands == Stands::Elsewhere {
        return Refused(NOT_OURS);
    }
    let real = stands == Stands::Own;
    let one = real && whole;
    match fault {
        Fault::Kill if one => Done(
            "PostgreSQL ends with all its sessions (SIGQUIT)",
            "nobody listens at the server's own address",
        ),
        Fault::Kill => Done(
            "the door of the node closes, and connections are cut",
            "a knock at the door is refused",
        ),
        Fault::Hang | Fault::Pause if one => Done(
            "SIGSTOP to all its processes",
            "the server lets in and gives no answer",
        ),
        Fault::Lock if one => Done(
            "`LOCK TABLE … IN ACCESS EXCLUSIVE MODE`",
            "a `SELECT` waits longer than its `lock_timeout`",
        ),
        Fault::Hang | Fault::Pause | Fault::Lock => Done(
            "the door of the node lets no query through",
            "a `SELECT` has no answer",
        ),
        Fault::Slow { .. } | Fault::SlowQuery { .. } => Done(
            "the door of the node stretches the time of queries, for no setting makes those of others slow",
            "a `SELECT` takes as many times as long",
        ),
        Fault::Starve { .. } if one => Done(
            "a control group leaves the server its part of the processors, and the door stretches the time that the scenario says",
            "the kernel's count of periods in which it was held back; a `SELECT`",
        ),
        Fault::Starve { .. } => Done(
            "the door of the node stretches the time that the scenario says",
            "a `SELECT` takes as many times as long",
        ),
        Fault::Connections { waits: true, .. } => Done(
            "the door of the node lets so many queries in at a time, as a pooler does",
            "so many are at work, and others wait",
        ),
        Fault::Connections { waits: false, .. } if one => Done(
            "`ALTER ROLE app CONNECTION LIMIT`, and the newest sessions above it end",
            "a login is refused (53300)",
        ),
        Fault::Connections { waits: false, .. } => Done(
            "the door of the node refuses queries beyond",
            "so many are at work",
        ),
        Fault::ReadOnly if one => Done(
            "`ALTER ROLE app SET default_transaction_read_only`, and its sessions end, as in a failover",
            "a write is refused (25006)",
        ),
        Fault::DiskFull if one => Done(
            "a tablespace on a small disk (tmpfs) is filled",
            "an `INSERT` is refused (53100)",
        ),
        Fault::ReadOnly | Fault::DiskFull if !real => Refused(STANDS_IN),
        Fault::ReadOnly | Fault::DiskFull => Refused(
            "all nodes of a drill's databases are one PostgreSQL, so it can only be done to all nodes of the one database",
        ),
        _ => Refused("this is not done to a database"),
    }
}

fn of_service(fault: &Fault, stands: Stands) -> Becomes {
    if let Some(becomes) = of_link(fault) {
        return becomes;
    }
    match fault {
        _ if stands == Stands::Elsewhere => Refused(NOT_OURS),
        Fault::Kill | Fault::Crash { .. } => Done(
            "SIGKILL; started again when it ends",
            "nobody listens at the instance's own address",
        ),
        Fault::Hang | Fault::Pause => Done("SIGSTOP", "the instance lets in and gives no answer"),
        Fault::Restart { .. } => Done(
            "SIGKILL and a start, one instance after the other",
            "nobody listens at the instance's own address",
        ),
        Fault::Starve { .. } if stands == Stands::Program => Done(
            "a control group leaves each instance its part of the processors",
            "the kernel's count of periods in which it was held back",
        ),
        Fault::Starve { .. } => Done(
            "a control group leaves each instance its part of the processors, and the time that the scenario says is stretched",
            "the kernel's count of periods in which it was held back; `GET` at the instance",
        ),
        Fault::Leak { .. } if stands == Stands::Program => Refused(OWN_ONLY),
        Fault::Leak { .. } => Done(
            "the instance aborts at its last request",
            "an instance has crashed",
        ),
        _ => Refused("this is not done to a service"),
    }
}

/// What a fault becomes at a component. `whole` is whether it is all nodes of the one database that there is.
pub(crate) fn becomes(fault: &Fault, place: Place, stands: Stands, whole: bool) -> Becomes {
    match place {
        Place::Client(_) => of_client(fault),
        Place::Cache(_) => of_cache(fault, stands),
        Place::Database(_) => of_database(fault, stands, whole),
        Place::Service(_) => of_service(fault, stands),
        Place::Gateway(_) => Refused("a drill breaks no gateway"),
    }
}

/// What stands in the place of a component in this drill.
pub(crate) fn stands(scaled: &Scaled, place: Place, embedded: bool) -> Stands {
    let environment = &scaled.scenario.environment;
    if environment.at.iter().any(|(known, _)| *known == place) {
        return Stands::Elsewhere;
    }
    if environment.run.iter().any(|(known, _)| *known == place) {
        return Stands::Program;
    }
    match place {
        Place::Cache(_) | Place::Database(_) if embedded => Stands::StandIn,
        _ => Stands::Own,
    }
}

/// Why the fault of this event is not done, if it is not.
pub(crate) fn refusal(scaled: &Scaled, event: &Event, embedded: bool) -> Option<String> {
    let (What::Fault(fault), Some(place)) = (&event.what, event.on) else {
        return None;
    };
    let scenario = &scaled.scenario;
    if let Place::Cache(at) = place {
        let rule = matches!(fault, Fault::NeverStored | Fault::TtlIgnored);
        if scenario.caches[at].kind == CacheKind::Local && !rule {
            return Some("it is in the memory of the instances, where a drill breaks nothing".to_owned());
        }
        let mut users = scenario.services.iter().enumerate();
        let told = users.any(|(service, one)| {
            one.caches.contains(&at) && stands(scaled, Place::Service(service), embedded) == Stands::Own
        });
        if (rule || matches!(fault, Fault::ExpireAt { .. })) && !told {
            return Some(OWN_ONLY.to_owned());
        }
    }
    let whole = event.nodes.is_none() && scenario.databases.len() == 1;
    match becomes(fault, place, stands(scaled, place, embedded), whole) {
        Done(..) => None,
        Refused(why) => Some(why.to_owned()),
    }
}

#[cfg(test)]
mod tests;
