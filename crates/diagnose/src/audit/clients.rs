//! Checks of connections: how many, idle ones, dead ones.

use super::rule::{Look, Rule, Severity, found};
use super::words::share;

pub(super) const FULL: Rule = Rule {
    id: "redis-clients-near-limit",
    severity: Severity::High,
    title: "connections are near their limit",
    why: "At `maxclients` every new connection is turned away with `max number of clients reached`: an instance that starts, \
          or one that reconnects, has no cache, while those who are connected notice nothing.",
    mend: "Pools with a bound in each instance (instances × bound below `maxclients`), `CONFIG SET timeout` for those that \
           forget theirs, and a higher `maxclients`, for which the process needs as many open files and 32 more. Not \
           `CLIENT KILL TYPE normal`: that ends every client, and all of them come back at once.",
    look: Look::Cache(|cache| {
        let limit = cache.info.number("maxclients").or(cache.number("maxclients"))?;
        let now = cache.info.number("connected_clients")?;
        if limit <= 0.0 || now < limit * 0.5 {
            return None;
        }
        let from: Vec<String> = cache
            .clients
            .from
            .iter()
            .take(3)
            .map(|(who, count)| format!("{count} of {who}"))
            .collect();
        Some(
            found(format!(
                "{now:.0} of {limit:.0} ({}): {}",
                share(now / limit),
                from.join(", ")
            ))
            .mend(format!("{} CONFIG SET maxclients {:.0}", cache.cli, limit * 2.0))
            .mend(format!("{} CONFIG SET timeout 300", cache.cli))
            .mend(format!("{} CONFIG REWRITE", cache.cli))
            .weighs(if now >= limit * 0.8 {
                Severity::High
            } else {
                Severity::Low
            }),
        )
    }),
};

pub(super) const TURNED_AWAY: Rule = Rule {
    id: "redis-clients-turned-away",
    severity: Severity::Medium,
    title: "connections have been turned away",
    why: "Since it started the server has had no room for somebody. Each of them did without the cache or failed.",
    mend: "As for `redis-clients-near-limit`.",
    look: Look::Cache(|cache| {
        let rejected = cache
            .info
            .number("rejected_connections")
            .filter(|count| *count > 0.0)?;
        let days = cache.info.number("uptime_in_seconds").unwrap_or(0.0) / 86_400.0;
        Some(
            found(format!("rejected_connections {rejected:.0} in {days:.1} days"))
                .mend(format!("{} CLIENT LIST", cache.cli))
                .mend(format!("{} CONFIG GET maxclients", cache.cli)),
        )
    }),
};

pub(super) const IDLE: Rule = Rule {
    id: "redis-idle-clients-kept",
    severity: Severity::Low,
    title: "idle connections are kept for ever",
    why: "With `timeout 0` a connection that a client forgot stays, until all of them together are the limit.",
    mend: "`CONFIG SET timeout 300` (clients that subscribe are exempt), and pools that close what they do not use.",
    look: Look::Cache(|cache| {
        let forever = cache.number("timeout")? == 0.0;
        let idle = cache.clients.idle;
        if !forever || idle < 20 || idle * 2 < cache.clients.count {
            return None;
        }
        Some(
            found(format!(
                "timeout 0, {idle} of {} clients have said nothing for five minutes",
                cache.clients.count
            ))
            .mend(format!("{} CONFIG SET timeout 300", cache.cli))
            .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const KEEPALIVE: Rule = Rule {
    id: "redis-tcp-keepalive-off",
    severity: Severity::Medium,
    title: "connections whose other end is gone are never noticed",
    why: "Without `tcp-keepalive` the server keeps the connection of a client that lost its network or its machine, and \
          counts it against `maxclients`.",
    mend: "`CONFIG SET tcp-keepalive 300`, the default; clients need one of their own, shorter, and timeouts.",
    look: Look::Cache(|cache| {
        if cache.number("tcp-keepalive")? > 0.0 {
            return None;
        }
        Some(
            found("tcp-keepalive 0")
                .mend(format!("{} CONFIG SET tcp-keepalive 300", cache.cli))
                .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};
