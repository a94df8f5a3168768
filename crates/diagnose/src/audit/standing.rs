//! Checks of what happens when something breaks: copies, failover, disks, who may come in.

use super::facts::CacheFacts;
use super::rule::{Look, Rule, Severity, found};

fn is_master(cache: &CacheFacts) -> bool {
    cache.info.field("role") == Some("master")
}

fn is_cluster(cache: &CacheFacts) -> bool {
    cache.info.field("cluster_enabled") == Some("1")
}

fn replicas(cache: &CacheFacts) -> f64 {
    cache.info.number("connected_slaves").unwrap_or(0.0)
}

/// Where it listens, as `REPLICAOF` takes it.
fn address(cache: &CacheFacts) -> String {
    let place = cache.name.split("://").nth(1).unwrap_or_default();
    let place = place.split('/').next().unwrap_or_default();
    place
        .rsplit_once(':')
        .map_or(place.to_owned(), |(host, port)| format!("{host} {port}"))
}

pub(super) const ALONE: Rule = Rule {
    id: "redis-no-replica",
    severity: Severity::Medium,
    title: "there is no copy of it",
    why: "When this server is gone, so is all that it held: the database has the whole load until the cache is full again. \
          What that does, `seawall init` and `seawall simulate` tell.",
    mend: "A replica (`REPLICAOF`) with three Sentinels or a cluster, so that somebody takes over by itself; or protections \
           that carry the loss (`[protect]`: limit, coalescing, stale answers), and a drill that proves it.",
    look: Look::Cache(|cache| {
        if !is_master(cache) || replicas(cache) > 0.0 {
            return None;
        }
        let how = if is_cluster(cache) {
            "a master of a cluster"
        } else {
            "a master"
        };
        let mend = if is_cluster(cache) {
            format!(
                "redis-cli --cluster add-node <new host>:<port> {} --cluster-slave",
                address(cache).replace(' ', ":")
            )
        } else {
            format!("redis-cli -h <new host> REPLICAOF {}", address(cache))
        };
        Some(found(format!("{how} with connected_slaves:0")).mend(mend))
    }),
};

pub(super) const NO_FAILOVER: Rule = Rule {
    id: "redis-no-failover",
    severity: Severity::Medium,
    title: "nobody takes over by itself",
    why: "There are replicas, but no Sentinel is connected and it is no cluster. When the master is gone a person has to \
          promote a replica, at three in the morning.",
    mend: "Three Sentinels on three machines, each with `sentinel monitor` for this master; clients that ask them.",
    look: Look::Cache(|cache| {
        if !is_master(cache) || replicas(cache) == 0.0 || is_cluster(cache) || cache.sentinel {
            return None;
        }
        Some(
            found(format!(
                "connected_slaves:{:.0}, no client named sentinel-…",
                replicas(cache)
            ))
            .mend(format!("sentinel monitor cache {} 2", address(cache)))
            .mend("sentinel down-after-milliseconds cache 5000"),
        )
    }),
};

pub(super) const LINK_DOWN: Rule = Rule {
    id: "redis-replica-link-down",
    severity: Severity::High,
    title: "the replica has lost its master",
    why: "It answers with what it had, which grows old, and would be promoted without what was written since.",
    mend: "The network between both, the master's password (`masterauth`), its `maxclients` and its output buffer for \
           replicas; the replica's log says which.",
    look: Look::Cache(|cache| {
        if cache.info.field("master_link_status") != Some("down") {
            return None;
        }
        let since = cache.info.number("master_link_down_since_seconds").unwrap_or(0.0);
        Some(
            found(format!("master_link_status:down for {since:.0} s"))
                .mend(format!("{} INFO replication", cache.cli))
                .mend(format!("{} CONFIG GET client-output-buffer-limit", cache.cli)),
        )
    }),
};

pub(super) const SAVE_FAILED: Rule = Rule {
    id: "redis-save-failed",
    severity: Severity::High,
    title: "it could not save to its disk",
    why: "The disk is full or may not be written to. With `stop-writes-on-bgsave-error yes` all writes are refused \
          (MISCONF), even `PING`.",
    mend: "Room on the disk. On a cache that need not be saved: `CONFIG SET stop-writes-on-bgsave-error no`, `CONFIG SET save \"\"`.",
    look: Look::Cache(|cache| {
        let failed = |name| cache.info.field(name).is_some_and(|status| status != "ok");
        let what = match (failed("rdb_last_bgsave_status"), failed("aof_last_write_status")) {
            (true, _) => "rdb_last_bgsave_status:err",
            (_, true) => "aof_last_write_status:err",
            _ => return None,
        };
        Some(
            found(what)
                .mend(format!("{} CONFIG GET dir", cache.cli))
                .mend(format!("{} CONFIG SET stop-writes-on-bgsave-error no", cache.cli)),
        )
    }),
};

pub(super) const DISK_STOPS_WRITES: Rule = Rule {
    id: "redis-disk-stops-writes",
    severity: Severity::Medium,
    title: "a full disk would stop the cache's writes",
    why: "It evicts, so it is a cache; and it saves, so it depends on a disk, and on memory for the copy that is written. When a \
          save fails it refuses writes. (A snapshot has its worth: after a restart the cache is not cold.)",
    mend: "`CONFIG SET stop-writes-on-bgsave-error no` keeps the snapshot and loses the dependence.",
    look: Look::Cache(|cache| {
        let saves = cache.setting("save").filter(|save| !save.is_empty())?;
        let stops = cache.setting("stop-writes-on-bgsave-error") == Some("yes");
        let evicts = cache.policy().is_some_and(|policy| policy != "noeviction");
        let (_, limit, _) = cache.memory();
        if !stops || !evicts || limit <= 0.0 {
            return None;
        }
        Some(
            found(format!("save {saves:?}, stop-writes-on-bgsave-error yes"))
                .mend(format!("{} CONFIG SET stop-writes-on-bgsave-error no", cache.cli))
                .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const OPEN: Rule = Rule {
    id: "redis-open",
    severity: Severity::Medium,
    title: "whoever reaches it may do anything",
    why: "A connection without a password was served. `FLUSHALL` by mistake or on purpose is a cold cache at once.",
    mend: "A password (`requirepass`) or users with what they need and no more (`ACL SETUSER`), told to clients first; \
           `bind` to the addresses that need it, `protected-mode yes`.",
    look: Look::Cache(|cache| {
        if !cache.open {
            return None;
        }
        let protected = cache.setting("protected-mode").unwrap_or("unknown");
        let bind = cache.setting("bind").unwrap_or("unknown");
        let local = bind
            .split_whitespace()
            .all(|address| matches!(address.trim_start_matches('-'), "127.0.0.1" | "::1"));
        Some(
            found(format!(
                "PING without a password was answered; bind {bind:?}, protected-mode {protected}"
            ))
            .mend(format!(
                "{} ACL SETUSER app on '>…' '~*' '+@read' '+@write' '+@connection' -flushall -flushdb",
                cache.cli
            ))
            .mend(format!("{} CONFIG SET requirepass …", cache.cli))
            .mend(format!("{} CONFIG REWRITE", cache.cli))
            .weighs(if local { Severity::Low } else { Severity::Medium }),
        )
    }),
};
