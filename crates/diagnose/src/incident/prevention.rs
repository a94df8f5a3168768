//! What keeps a failure from coming back, or from mattering: the prevention lists of both runbooks, by failure.

use crate::failure::Failure;

const MEMORY: &str =
    "Set maxmemory below the machine's memory, with an eviction policy, and a TTL on every key.";
const WITHOUT: &str = "Simulate and drill the loss of this cache; deploy the protections with which the service holds without it.";
const BREAKER: &str = "Put a circuit breaker with a failure window before the cache, so that waiting for it costs nobody a thread.";
const COALESCE: &str = "Coalesce loads of the same key, in each process and, by leases, across processes.";
const JITTER: &str = "Jitter TTLs and stagger refreshes, so that entries do not expire together.";
const ORIGIN: &str =
    "Limit concurrent calls to the origin to what it carries, and shed the rest by priority.";
const STALE: &str = "Serve stale entries within a bound while they are refreshed and while the origin fails.";
const WARM: &str =
    "Warm a cold cache at a pace, the most popular keys first, from a persistent list of them.";
const HA: &str =
    "Run the cache with replicas and automatic failover (Sentinel or Cluster), and drill the failover.";
const POOL: &str = "Size connection pools so that all processes together stay below the limit, with timeouts for connecting and idling.";
const ALERT_MEMORY: &str =
    "Alert on memory above 80% where evictions hurt the hit rate or the policy is noeviction.";
const ALERT_CLIENTS: &str = "Alert on connections above 80% of the limit.";
const ALERT_ERRORS: &str = "Alert on cache errors above 1% of look-ups.";
const SLOW: &str = "Keep commands short: no KEYS, bounded ranges, big values split; watch SLOWLOG.";
const RETRY: &str =
    "Give retries a budget, backoff and full jitter, and spend one deadline across all tiers.";
const LIMIT_RATE: &str = "Limit the rate adaptively between a minimum and a maximum, and degrade in levels.";
const NEGATIVE: &str =
    "Cache that a key does not exist, for a short time, and refuse keys that cannot exist.";
const RESERVE: &str = "Give it processors of its own, and alert when it gets fewer than it asks for.";

/// What to do so that it does not happen again, or does not matter; never empty.
pub fn prevention(failure: Failure) -> &'static [&'static str] {
    match failure {
        Failure::Refused | Failure::Killed => &[HA, BREAKER, WITHOUT, ALERT_ERRORS, MEMORY],
        Failure::Unreachable | Failure::Reset | Failure::Hung | Failure::Paused => {
            &[HA, BREAKER, WITHOUT, ALERT_ERRORS]
        }
        Failure::SlowCommands => &[SLOW, BREAKER, WITHOUT],
        Failure::NetworkLatency => &[BREAKER, STALE, WITHOUT],
        Failure::CpuStarved => &[RESERVE, BREAKER, SLOW],
        Failure::OutOfMemory => &[MEMORY, ALERT_MEMORY, ALERT_ERRORS],
        Failure::TooManyClients => &[POOL, ALERT_CLIENTS, ALERT_ERRORS],
        Failure::Loading => &[
            HA,
            "Decide whether this cache needs persistence: a large data set takes long to load.",
            WARM,
        ],
        Failure::ReadOnly => &[
            HA,
            "Have clients follow the failover, and connect to the primary by its role.",
            ALERT_ERRORS,
        ],
        Failure::Auth => &[
            "Rotate credentials with an overlap in which both are accepted.",
            ALERT_ERRORS,
        ],
        Failure::DiskFull => &[
            "Decide whether this cache needs persistence; if so, alert on its disk at 80%.",
            ALERT_ERRORS,
        ],
        Failure::Cold => &[WARM, COALESCE, ORIGIN, WITHOUT],
        Failure::MassExpiry => &[JITTER, COALESCE, STALE],
        Failure::NotStored => &[
            "Test that each answer that should be cached is found by the next one who asks.",
            ALERT_ERRORS,
        ],
        Failure::Corruption => {
            &["Store values with a version and a check sum, and treat what fails it as a miss."]
        }
        Failure::Stampede => &[COALESCE, JITTER, STALE, ORIGIN],
        Failure::HotKey => &[
            "Keep the hottest keys in the memory of each process (a first tier).",
            COALESCE,
            STALE,
        ],
        Failure::Penetration => &[NEGATIVE, LIMIT_RATE, ORIGIN],
        Failure::TrafficSpike => &[
            LIMIT_RATE,
            ORIGIN,
            "Find out which traffic the system carries (`seawall limits`).",
        ],
        Failure::FallbackActive => &[WITHOUT, ORIGIN, STALE],
        Failure::InstancesDown => &[
            "Find out why copies went: memory, health checks, a deployment.",
            ORIGIN,
        ],
        Failure::ServiceStarved => &[RESERVE, LIMIT_RATE],
        Failure::OriginSlow => &[ORIGIN, STALE, "Look at the slowest queries and their plans."],
        Failure::OriginLocked => &[
            "Set lock_timeout and statement_timeout, and keep transactions short.",
            ORIGIN,
        ],
        Failure::OriginFull => &[POOL, ORIGIN, STALE],
        Failure::OriginDown => &[
            "Run the origin with a replica that takes over, and drill it.",
            STALE,
            RETRY,
        ],
        Failure::RetryStorm => &[
            RETRY,
            ORIGIN,
            "Prove that the system comes back by itself once its cause is over (`seawall drill`).",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_something_to_do() {
        for failure in Failure::ALL {
            let all = prevention(*failure);
            assert!(!all.is_empty(), "{failure}");
            assert!(all.iter().all(|one| one.ends_with('.')), "{failure}");
        }
    }
}
