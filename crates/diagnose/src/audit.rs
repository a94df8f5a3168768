//! What should be mended before there is an incident: the prevention lists of runbooks as checks.
//!
//! [`Facts`] are read once; [`audit`] holds every rule of [`RULES`] against them, and is pure. A full cache that evicts is
//! normal and no finding. What cannot be read from a server (whether the app can do without its cache, whether it has
//! a breaker) is not judged here: a drill tells.
//!
//! ```
//! use seawall_diagnose::audit::{CacheFacts, Facts, Severity, audit};
//! use seawall_diagnose::probe::Info;
//! let info = Info::read("maxmemory:0\r\nused_memory:1000000\r\ntotal_system_memory:8000000000\r\n").unwrap();
//! let cache = CacheFacts { name: "redis://cache:6379".into(), info, ..CacheFacts::default() };
//! let audit = audit(&Facts { caches: vec![cache], databases: vec![] });
//! assert_eq!(audit.checks[0].id, "redis-maxmemory-unset");
//! assert_eq!(audit.worst(), Some(Severity::High));
//! ```

mod clients;
mod facts;
mod insight;
mod memory;
mod origin;
mod rule;
mod sarif;
mod standing;
mod told;
mod words;

pub use facts::{CacheFacts, DatabaseFacts, Facts, Reading, Unread};
pub use rule::{Audit, Check, Rule, Severity, audit};
pub use sarif::sarif;
pub use told::{guide, json, text};

/// Every check, in the order in which they are explained.
pub const RULES: &[Rule] = &[
    memory::LIMIT_UNSET,
    memory::LIMIT_ABOVE_MACHINE,
    memory::NOEVICTION,
    memory::NOTHING_TO_EVICT,
    memory::TOO_SMALL,
    memory::FOREVER,
    memory::CLUSTERED,
    memory::BIG,
    memory::FRAGMENTED,
    clients::FULL,
    clients::TURNED_AWAY,
    clients::IDLE,
    clients::KEEPALIVE,
    standing::ALONE,
    standing::NO_FAILOVER,
    standing::LINK_DOWN,
    standing::SAVE_FAILED,
    standing::DISK_STOPS_WRITES,
    standing::OPEN,
    insight::SLOWLOG_OFF,
    insight::SLOW,
    insight::LATENCY_OFF,
    insight::HIDDEN,
    insight::FEW_HITS,
    origin::FULL,
    origin::CANNOT_CARRY,
    origin::STATEMENT_TIMEOUT,
    origin::IDLE_TIMEOUT,
    origin::IDLE,
    origin::LOCK_TIMEOUT,
    origin::NO_RESERVE,
];

#[cfg(test)]
mod tests;
