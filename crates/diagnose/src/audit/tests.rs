//! Each check finds what it looks for, and is silent otherwise.

use std::collections::BTreeMap;

use super::*;
use crate::probe::Info;
use crate::probe::details::{Clients, Slow};
use crate::probe::keys::{Seen, Survey};

/// A Redis that nothing is to be said against.
fn good() -> CacheFacts {
    let info = "role:master\nconnected_slaves:1\ncluster_enabled:0\nmaxmemory:750000000\nused_memory:740000000\n\
        total_system_memory:1000000000\nmaxmemory_policy:allkeys-lru\nmem_fragmentation_ratio:1.1\nconnected_clients:9\n\
        maxclients:10000\nrejected_connections:0\nuptime_in_seconds:86400\nrdb_last_bgsave_status:ok\n\
        aof_last_write_status:ok\nkeyspace_hits:950000\nkeyspace_misses:50000\nevicted_keys:90000\n\
        cmdstat_set:calls=100000,usec=1\n";
    let settings = [
        ("save", ""),
        ("stop-writes-on-bgsave-error", "yes"),
        ("timeout", "300"),
        ("tcp-keepalive", "300"),
        ("slowlog-log-slower-than", "10000"),
        ("slowlog-max-len", "128"),
        ("latency-monitor-threshold", "100"),
        ("bind", "10.0.0.1"),
        ("protected-mode", "yes"),
    ];
    let key = |at: u32| Seen {
        pattern: "user:#".into(),
        ttl: Some(f64::from(at) * 10.0),
        bytes: Some(100),
        frequency: None,
        idle: None,
    };
    CacheFacts {
        name: "redis://cache:6379".into(),
        cli: "redis-cli -h cache -p 6379".into(),
        info: Info::read(info).expect("it is one"),
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        lookups: 1_000.0,
        hit_rate: Some(0.95),
        survey: Survey {
            keys: 1_000_000,
            seen: (1..=360).map(key).collect(),
            ..Survey::default()
        },
        sentinel: true,
        clock: 1_700_000_000,
        ..CacheFacts::default()
    }
}

fn database() -> DatabaseFacts {
    let settings = [
        ("statement_timeout", "5000"),
        ("idle_in_transaction_session_timeout", "60000"),
        ("lock_timeout", "2000"),
        ("superuser_reserved_connections", "3"),
    ];
    DatabaseFacts {
        name: "postgres://db:5432/shop".into(),
        database: "shop".into(),
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        sessions: 20.0,
        limit: 97.0,
        idle_in_transaction: vec![3.0],
        transaction_secs: Some(0.002),
    }
}

fn ids(facts: &Facts) -> Vec<&'static str> {
    audit(facts).checks.iter().map(|check| check.id).collect()
}

fn facts(change: impl FnOnce(&mut CacheFacts, &mut DatabaseFacts)) -> Facts {
    let (mut cache, mut database) = (good(), database());
    change(&mut cache, &mut database);
    Facts {
        caches: vec![cache],
        databases: vec![database],
    }
}

/// With fields of `INFO` in place of its own.
fn told(cache: &mut CacheFacts, fields: &[(&str, &str)]) {
    let names = [
        "role",
        "connected_slaves",
        "cluster_enabled",
        "maxmemory",
        "used_memory",
        "total_system_memory",
        "maxmemory_policy",
        "mem_fragmentation_ratio",
        "connected_clients",
        "maxclients",
        "rejected_connections",
        "uptime_in_seconds",
        "rdb_last_bgsave_status",
        "aof_last_write_status",
        "keyspace_hits",
        "keyspace_misses",
        "evicted_keys",
        "cmdstat_set",
        "master_link_status",
    ];
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for name in names {
        if let Some(value) = cache.info.field(name) {
            all.insert(name, value.to_owned());
        }
    }
    for (name, value) in fields {
        all.insert(name, (*value).to_owned());
    }
    let lines: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    cache.info = Info::read(&lines.join("\n")).expect("it is one");
}

fn setting(cache: &mut CacheFacts, name: &str, value: &str) {
    cache.settings.insert(name.to_owned(), value.to_owned());
}

fn off(database: &mut DatabaseFacts, name: &str) {
    database.settings.insert(name.to_owned(), "0".to_owned());
}

#[test]
fn a_full_cache_that_evicts_is_normal() {
    let all = facts(|_, _| {});
    assert_eq!(ids(&all), [""; 0]);
    assert_eq!(audit(&all).passed, RULES.len());
}

type Change = fn(&mut CacheFacts, &mut DatabaseFacts);

/// For each check, what it is to find, and what the mend has to say.
const CASES: &[(&str, Change, &str)] = &[
    (
        "redis-maxmemory-unset",
        |c, _| told(c, &[("maxmemory", "0")]),
        "CONFIG SET maxmemory 883mb",
    ),
    (
        "redis-maxmemory-above-machine",
        |c, _| told(c, &[("maxmemory", "990000000")]),
        "CONFIG SET maxmemory 716mb",
    ),
    (
        "redis-noeviction",
        |c, _| told(c, &[("maxmemory_policy", "noeviction")]),
        "maxmemory-policy allkeys-lru",
    ),
    (
        "redis-nothing-to-evict",
        |c, _| {
            told(c, &[("maxmemory_policy", "volatile-lfu")]);
            c.survey
                .seen
                .iter_mut()
                .take(200)
                .for_each(|seen| seen.ttl = None);
        },
        "maxmemory-policy allkeys-lfu",
    ),
    (
        "redis-too-small",
        |c, _| {
            told(c, &[("keyspace_misses", "900000")]);
            c.hit_rate = None;
        },
        "CONFIG SET maxmemory 1431mb",
    ),
    (
        "redis-keys-without-ttl",
        |c, _| {
            c.survey
                .seen
                .iter_mut()
                .take(100)
                .for_each(|seen| seen.ttl = None);
        },
        "--scan --pattern 'user:*'",
    ),
    (
        "redis-clustered-expiry",
        |c, _| {
            c.survey
                .seen
                .iter_mut()
                .take(300)
                .for_each(|seen| seen.ttl = Some(60.5));
        },
        "jitter",
    ),
    (
        "redis-big-keys",
        |c, _| c.survey.seen[7].bytes = Some(5 << 20),
        "--memkeys",
    ),
    (
        "redis-fragmented",
        |c, _| told(c, &[("mem_fragmentation_ratio", "2.1")]),
        "activedefrag yes",
    ),
    (
        "redis-clients-near-limit",
        |c, _| told(c, &[("connected_clients", "9000")]),
        "maxclients 20000",
    ),
    (
        "redis-clients-turned-away",
        |c, _| told(c, &[("rejected_connections", "4")]),
        "CLIENT LIST",
    ),
    (
        "redis-idle-clients-kept",
        |c, _| {
            setting(c, "timeout", "0");
            c.clients = Clients {
                count: 50,
                idle: 40,
                ..Clients::default()
            };
        },
        "timeout 300",
    ),
    (
        "redis-tcp-keepalive-off",
        |c, _| setting(c, "tcp-keepalive", "0"),
        "tcp-keepalive 300",
    ),
    (
        "redis-no-replica",
        |c, _| told(c, &[("connected_slaves", "0")]),
        "REPLICAOF cache 6379",
    ),
    (
        "redis-no-failover",
        |c, _| c.sentinel = false,
        "sentinel monitor cache cache 6379 2",
    ),
    (
        "redis-replica-link-down",
        |c, _| told(c, &[("master_link_status", "down")]),
        "INFO replication",
    ),
    (
        "redis-save-failed",
        |c, _| told(c, &[("rdb_last_bgsave_status", "err")]),
        "stop-writes-on-bgsave-error no",
    ),
    (
        "redis-disk-stops-writes",
        |c, _| setting(c, "save", "3600 1"),
        "stop-writes-on-bgsave-error no",
    ),
    ("redis-open", |c, _| c.open = true, "requirepass"),
    (
        "redis-slowlog-off",
        |c, _| setting(c, "slowlog-log-slower-than", "-1"),
        "slowlog-log-slower-than 10000",
    ),
    (
        "redis-slow-commands",
        |c, _| {
            let slow = |at, seconds| Slow {
                at,
                seconds,
                command: "KEYS".into(),
                key: "*".into(),
            };
            c.slow = vec![slow(1, 9.0), slow(1_700_000_000 - 60, 0.4)];
        },
        "SLOWLOG GET",
    ),
    (
        "redis-latency-monitor-off",
        |c, _| setting(c, "latency-monitor-threshold", "0"),
        "latency-monitor-threshold 100",
    ),
    ("redis-settings-hidden", |c, _| c.settings.clear(), "+config|get"),
    (
        "redis-few-hits",
        |c, _| {
            told(c, &[("evicted_keys", "0")]);
            c.hit_rate = Some(0.5);
        },
        "INFO stats",
    ),
    (
        "postgres-connections-near-limit",
        |_, d| d.sessions = 90.0,
        "pg_stat_activity",
    ),
    (
        "postgres-cannot-carry-all-reads",
        |c, _| c.lookups = 60_000.0,
        "max = 48",
    ),
    (
        "postgres-statement-timeout-off",
        |_, d| off(d, "statement_timeout"),
        "ALTER DATABASE \\\"shop\\\" SET statement_timeout",
    ),
    (
        "postgres-idle-in-transaction-timeout-off",
        |_, d| off(d, "idle_in_transaction_session_timeout"),
        "idle_in_transaction_session_timeout = '60s'",
    ),
    (
        "postgres-idle-in-transaction",
        |_, d| d.idle_in_transaction = vec![600.0, 61.0, 2.0],
        "idle in transaction",
    ),
    (
        "postgres-lock-timeout-off",
        |_, d| off(d, "lock_timeout"),
        "lock_timeout = '2s'",
    ),
    (
        "postgres-no-reserve",
        |_, d| off(d, "superuser_reserved_connections"),
        "superuser_reserved_connections = 3",
    ),
];

#[test]
fn each_check_finds_what_it_looks_for_and_nothing_else_does() {
    for rule in RULES {
        let case = CASES.iter().find(|(id, ..)| *id == rule.id);
        let (id, change, mend) = case.unwrap_or_else(|| panic!("there is no case for {}", rule.id));
        let audit = audit(&facts(change));
        let found: Vec<&str> = audit.checks.iter().map(|check| check.id).collect();
        assert_eq!(found, [*id]);
        let said = audit.checks[0].mend.join("\n");
        assert!(said.contains(mend), "{id}: {mend} is not in {said}");
        assert!(audit.checks[0].severity <= rule.severity, "{id}");
    }
    assert_eq!(CASES.len(), RULES.len());
}

#[test]
fn a_policy_is_not_changed_below_what_is_in_use() {
    let audit = audit(&facts(|cache, _| {
        told(
            cache,
            &[("maxmemory_policy", "noeviction"), ("maxmemory", "500000000")],
        );
    }));
    let mend = &audit.checks[0].mend;
    assert!(
        mend[0].contains("CONFIG SET maxmemory 883mb") && mend[1].contains("allkeys-lru"),
        "{mend:?}"
    );
    assert_eq!(audit.worst(), Some(Severity::High));
}

#[test]
fn keys_for_ever_weigh_as_much_as_the_policy_makes_them() {
    let weight = |policy| {
        let facts = facts(|cache, _| {
            told(cache, &[("maxmemory_policy", policy)]);
            cache
                .survey
                .seen
                .iter_mut()
                .take(100)
                .for_each(|seen| seen.ttl = None);
        });
        let all = audit(&facts).checks;
        let found = all.iter().find(|check| check.id == "redis-keys-without-ttl");
        found.map(|check| check.severity)
    };
    assert_eq!(weight("allkeys-lru"), Some(Severity::Low));
    assert_eq!(weight("volatile-lru"), Some(Severity::Medium));
    assert_eq!(weight("noeviction"), Some(Severity::High));
}

#[test]
fn it_is_told_for_people_for_scripts_and_for_tools() {
    let audit = audit(&facts(|cache, database| {
        cache.open = true;
        database.sessions = 90.0;
    }));
    let text = text(&audit);
    assert!(
        text.starts_with("high    postgres-connections-near-limit  postgres://db:5432/shop\n"),
        "{text}"
    );
    assert!(
        text.ends_with("1 high, 1 medium; 29 checks passed; redis://cache:6379, postgres://db:5432/shop\n"),
        "{text}"
    );
    let json = json(&audit);
    assert_eq!(json["worst"], "high");
    assert_eq!(json["checks"][1]["id"], "redis-open");
    assert_eq!(json["checks"][1]["link"], "docs/audit.md#redis-open");
    let sarif = sarif(&audit, "1.2.3");
    let run = &sarif["runs"][0];
    assert_eq!(run["results"][0]["level"], "error");
    let index = run["results"][0]["ruleIndex"].as_u64().expect("it has one") as usize;
    assert_eq!(
        run["tool"]["driver"]["rules"][index]["id"],
        "postgres-connections-near-limit"
    );
}

/// A reader that was made from the schema of SARIF 2.1.0: it refuses what lacks something or has it in another form, and what it
/// writes again lacks what the schema has no name for.
fn read_by_others(document: &serde_json::Value) -> serde_sarif::sarif::Sarif {
    let read = serde_json::from_value(document.clone());
    let read: serde_sarif::sarif::Sarif = read.unwrap_or_else(|error| panic!("{error}: {document:#}"));
    let again = serde_json::to_value(&read).expect("it was JSON");
    assert!(again == *document, "{again:#} is left of {document:#}");
    read
}

#[test]
fn tools_of_others_read_all_of_it() {
    let bad = audit(&facts(|cache, database| {
        cache.open = true;
        database.sessions = 90.0;
        off(database, "statement_timeout");
        off(database, "superuser_reserved_connections");
        setting(cache, "latency-monitor-threshold", "0");
    }));
    for severity in Severity::ALL {
        let has = bad.checks.iter().any(|check| check.severity == severity);
        assert!(has, "none is {}: {:?}", severity.name(), bad.checks);
    }
    let read = read_by_others(&sarif(&bad, "1.2.3"));
    let results = read.runs[0].results.as_ref().expect("there are some");
    assert_eq!(results.len(), bad.checks.len());
    let rules = read.runs[0].tool.driver.rules.as_ref().expect("there are some");
    for (result, check) in results.iter().zip(&bad.checks) {
        assert_eq!(result.rule_id.as_deref(), Some(check.id));
        let index = usize::try_from(result.rule_index.expect("it has one")).expect("it is none below zero");
        assert_eq!(rules[index].id, check.id);
    }
    let nothing = read_by_others(&sarif(&Audit::default(), "1.2.3"));
    assert_eq!(nothing.runs[0].results.as_ref().map(Vec::len), Some(0));
}

#[test]
fn the_guide_explains_every_check() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit.md");
    let page = guide();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/audit.md is stale: run this test with UPDATE=1"
    );
}
