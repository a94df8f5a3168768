//! What became of every step of the two runbooks that Seawall comes from: the counterpart, or why there is none.

/// A step of a runbook, and what it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counterpart {
    /// Which runbook: `cache failures` or `cache stampede`.
    pub runbook: &'static str,
    /// The step there.
    pub step: &'static str,
    /// What it is here.
    pub here: &'static str,
    /// Why it is done in another way; empty when it is not.
    pub because: &'static str,
}

const fn row(
    runbook: &'static str,
    step: &'static str,
    here: &'static str,
    because: &'static str,
) -> Counterpart {
    Counterpart {
        runbook,
        step,
        here,
        because,
    }
}

const FAILURES: &str = "cache failures";
const STAMPEDE: &str = "cache stampede";

/// Every step of both runbooks.
pub const COUNTERPARTS: &[Counterpart] = &[
    row(
        FAILURES,
        "symptoms: database load, latency, `CacheError` in logs, `/health/ready`, hit rate",
        "`seawall diagnose --redis … --postgres … --app … --log …`: each is evidence",
        "",
    ),
    row(
        FAILURES,
        "diagnosis 1: `kubectl logs … | grep redis`",
        "`--log FILE` or `--log -`: lines are counted by what they say",
        "",
    ),
    row(
        FAILURES,
        "diagnosis 2: `redis-cli ping`",
        "probe, steps `connect`, `reply`, `alive`: a refused, a dropped and an unanswered connection are three failures",
        "PING alone cannot tell them apart",
    ),
    row(
        FAILURES,
        "diagnosis 3: `INFO`, `CLIENT LIST | wc -l`, `DEBUG SLEEP 0`",
        "probe, step `info`: memory, clients, commandstats, errorstats, SLOWLOG",
        "`DEBUG` is refused by a stock Redis 7; `CLIENT LIST | wc -l` counts itself, `connected_clients` does not have to be counted",
    ),
    row(
        FAILURES,
        "diagnosis 4: `/metrics | grep cache`",
        "`--app URL` or `--prometheus URL`: the same names",
        "",
    ),
    row(
        FAILURES,
        "diagnosis 5: memory and maxmemory",
        "finding `out-of-memory`: only when writes are refused, or `noeviction` meets its limit",
        "a full cache that evicts is normal",
    ),
    row(
        FAILURES,
        "scenario 1: unreachable: status, restart, logs, `nc`",
        "findings `refused` (step start-redis), `unreachable` (check-network), `hung` (wake-redis), `paused` (wait-for-unpause)",
        "a restart empties the cache; it helps against the first only",
    ),
    row(
        FAILURES,
        "scenario 2: `DEBUG SLEEP 0` to expire keys",
        "none",
        "it does not expire keys, and is refused",
    ),
    row(
        FAILURES,
        "scenario 2: `FLUSHDB`",
        "none; purge-keys for named keys",
        "a flush is the outage itself: it sends the whole load to the database",
    ),
    row(
        FAILURES,
        "scenario 2: raise maxmemory, set allkeys-lru",
        "raise-maxmemory, evict-lru",
        "first the limit, then the policy: a policy below the present use can still refuse writes",
    ),
    row(
        FAILURES,
        "scenario 3: count connections",
        "finding `too-many-clients`, with clients of the limit",
        "",
    ),
    row(
        FAILURES,
        "scenario 3: `CLIENT KILL TYPE normal`",
        "drop-idle-clients",
        "it kills every client, not the idle ones, and all come back at once",
    ),
    row(
        FAILURES,
        "scenario 3: raise maxclients; review pools",
        "raise-maxclients; `seawall audit`",
        "",
    ),
    row(
        FAILURES,
        "scenario 4: SLOWLOG, commandstats, `--latency`",
        "findings `slow-commands`, `network-latency`, `cpu-starved`; step find-slow-commands",
        "",
    ),
    row(
        FAILURES,
        "scenario 4: consider Redis Cluster",
        "shard-cache, and `seawall simulate` before it",
        "keys that move are cold",
    ),
    row(
        FAILURES,
        "scenario 5: fallback active: are requests answered, database connections",
        "finding `fallback-active`, as the effect of its cause; step limit-origin",
        "",
    ),
    row(
        FAILURES,
        "\"cache will auto-recover when Redis is available\"",
        "`seawall watch` closes an incident when the hit rate is back",
        "it comes back empty: the load falls after a refill, in ripples",
    ),
    row(
        FAILURES,
        "verification: PING, health, test key, hit rate",
        "`--apply` compares before and after; the canary is the test key",
        "",
    ),
    row(
        FAILURES,
        "prevention: memory, pools, monitoring, high availability, degradation",
        "`seawall audit`; alert rules in deploy/prometheus; the library and the gateway",
        "memory above 80% is no alert by itself",
    ),
    row(STAMPEDE, "severity P0, P1, P2", "severity with its reason", ""),
    row(
        STAMPEDE,
        "detection: hit and miss rate, database connections, request patterns, queue",
        "`--prometheus URL`, or the probes",
        "",
    ),
    row(
        STAMPEDE,
        "detection: recent invalidations",
        "finding `cold` against `mass-expiry`",
        "",
    ),
    row(
        STAMPEDE,
        "patterns: most accessed keys, keys with many misses",
        "finding `hot-key`, by the library's counts or an LFU policy",
        "a metric with a label per key is unbounded",
    ),
    row(
        STAMPEDE,
        "patterns: traffic above three times the rate of five minutes",
        "finding `traffic-spike`, against the calm, and only when it is felt",
        "three times is too late for a system with room for two",
    ),
    row(
        STAMPEDE,
        "phase 1: circuit breaker, threshold 1000, timeout 30 s",
        "origin-breaker",
        "a count without a window means nothing",
    ),
    row(STAMPEDE, "phase 1: request coalescing", "coalesce", ""),
    row(
        STAMPEDE,
        "phase 1: scale database, API, workers",
        "scale-origin, scale-service: commands for a person",
        "replicas of a single database are not copies of it; more API instances ask a full database for more",
    ),
    row(
        STAMPEDE,
        "phase 2: staggered refresh, jitter",
        "jitter-ttl, refresh-early",
        "",
    ),
    row(
        STAMPEDE,
        "phase 2: cache warming",
        "warm, at a pace",
        "an unpaced warming job is the stampede again",
    ),
    row(STAMPEDE, "phase 2: TTL classes", "ttl-classes", ""),
    row(
        STAMPEDE,
        "phase 3: least connections, pool size",
        "least-connections; pools by `seawall audit`",
        "",
    ),
    row(
        STAMPEDE,
        "phase 3: request queue, 1000 places, 30 s",
        "bound-queue, with a second",
        "nobody waits for thirty seconds: such a queue works for those who have left",
    ),
    row(
        STAMPEDE,
        "phase 3: cache sharding, 16, consistent hash",
        "shard-cache",
        "not in the middle of it: keys that move are cold",
    ),
    row(
        STAMPEDE,
        "communication templates",
        "`seawall watch incidents letter`",
        "",
    ),
    row(
        STAMPEDE,
        "recovery: flush problematic keys by `FLUSHDB`",
        "purge-keys",
        "FLUSHDB flushes all of them",
    ),
    row(STAMPEDE, "recovery: rebuild the cache from storage", "warm", ""),
    row(
        STAMPEDE,
        "recovery: restart postgres, its settings",
        "none; free-origin-connections",
        "a restart in the middle of it ends every query and begins with cold buffers; settings that need one are for later",
    ),
    row(
        STAMPEDE,
        "recovery: restart API and workers",
        "check-service",
        "not needed: threads are freed by deadlines; all at once leaves nobody",
    ),
    row(
        STAMPEDE,
        "prevention: hierarchies, predictive warming",
        "tiers and `protect.warm`",
        "",
    ),
    row(STAMPEDE, "prevention: adaptive rate limit", "rate-limit", ""),
    row(
        STAMPEDE,
        "prevention: graceful degradation at 80%, three levels",
        "shed-low-priority",
        "",
    ),
    row(
        STAMPEDE,
        "escalation: over 30 minutes, several services, pool exhausted, API unavailable",
        "reasons to call more people, in the verdict and in `watch`",
        "",
    ),
    row(
        STAMPEDE,
        "post-incident: timeline, review, thresholds, communication",
        "`seawall watch incidents postmortem`",
        "",
    ),
    row(
        STAMPEDE,
        "KPIs: detection 2 min, mitigation 5, stabilisation 15, recovery 30, MTTR 15",
        "measured for each incident, beside the targets",
        "",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::runbook::Id;

    #[test]
    fn what_is_named_as_a_counterpart_exists() {
        let mut steps = 0;
        for row in COUNTERPARTS {
            for word in row.here.split(|c: char| !(c.is_ascii_lowercase() || c == '-')) {
                steps += usize::from(Id::from_name(word).is_some());
            }
            for finding in row.here.split('`').skip(1).step_by(2) {
                let named = row.here.contains("finding")
                    && !finding.contains(' ')
                    && finding.contains('-')
                    && !finding.starts_with('-');
                assert!(!named || Failure::from_name(finding).is_some(), "{finding}");
            }
        }
        assert!(steps > 25, "{steps}");
    }
}
