//! Protections as they are played: what the engine adds to the machines must not change what they decide.

use seawall_core::record::Metric;

use crate::support::{runs, scenario};

const SLOW_LINK: &str = r#"
    [run]
    duration = "30s"
    prefilled = true
    [client.web]
    calls = "app"
    rate = "1000/s"
    keys = { uniform = { count = 2000 } }
    timeout = "1s"
    [service.app]
    caches = ["redis"]
    origin = "db"
    [cache.redis]
    ttl = "5m"
    [database.db]
    service_time = { exponential = "20ms" }
    connections = 100
    [protect]
    deadline = { cache = "20ms" }
    breaker = { failures = 50, window = "10s", open_for = "5s" }
    [[timeline]]
    at = "1s"
    on = "redis"
    fault = { latency = { add = "300ms" } }
"#;

#[test]
fn a_link_too_slow_for_look_ups_is_too_slow_for_stores_and_opens_the_breaker() {
    for run in runs(&scenario(SLOW_LINK), 2) {
        let states = run.record.values(Metric::BreakerState, "app", None);
        let open = states[5..].iter().filter(|state| **state > 0.9).count();
        assert!(open > 20, "{states:?}");
    }
}
