//! Environment variables that override settings of the document: those of the runbook, and one for every other setting.
//!
//! `SEAWALL__PROTECT__BREAKER__FAILURES=10` is `protect.breaker.failures = 10`, and so on for each key. The runbook's
//! own names are below; `docs/gateway.md` has them beside those that it uses. Later ones win over the document, and the
//! admin API wins over them.

use seawall_scenario::deployment::Override;

/// How a variable's value becomes one of the document's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it is.
    Same,
    /// A number without a unit is seconds.
    Seconds,
    /// A number without a unit is a second's worth.
    PerSecond,
    /// A number above 1 is a percentage.
    Percent,
    /// `true` makes a table, `false` takes it out.
    Table,
    /// `staggered` gives refreshes instants of their own over 300 s, anything else does not.
    Staggered,
}

/// A variable without its prefix, the settings that it overrides, and how it is spelled.
const VARIABLES: &[(&str, &[&str], Spelling)] = {
    use Spelling::{PerSecond, Percent, Same, Seconds, Staggered, Table};
    &[
        (
            "CIRCUIT_BREAKER_ENABLED",
            &["protect.breaker.on", "protect.origin_breaker.on"],
            Same,
        ),
        (
            "CIRCUIT_BREAKER_WINDOW",
            &["protect.breaker.window", "protect.origin_breaker.window"],
            Seconds,
        ),
        (
            "CIRCUIT_BREAKER_THRESHOLD",
            &["protect.breaker.failures", "protect.origin_breaker.failures"],
            Same,
        ),
        (
            "CIRCUIT_BREAKER_TIMEOUT",
            &["protect.breaker.open_for", "protect.origin_breaker.open_for"],
            Seconds,
        ),
        ("REQUEST_COALESCING_ENABLED", &["protect.coalesce.on"], Same),
        ("REQUEST_COALESCING_WINDOW", &["protect.coalesce.window"], Seconds),
        ("CACHE_REFRESH_STRATEGY", &["protect.ttl.stagger"], Staggered),
        ("CACHE_STAGGER_WINDOW", &["protect.ttl.stagger"], Seconds),
        ("CACHE_REFRESH_JITTER", &["protect.ttl.jitter"], Seconds),
        ("CACHE_TTL_CRITICAL", &["protect.ttl.critical"], Seconds),
        ("CACHE_TTL_IMPORTANT", &["protect.ttl.important"], Seconds),
        ("CACHE_TTL_REGULAR", &["protect.ttl.regular"], Seconds),
        ("CACHE_L1_TTL", &["cache.ttl_max"], Seconds),
        ("CACHE_L2_TTL", &["cache.redis.ttl"], Seconds),
        ("LOAD_BALANCING_STRATEGY", &["protect.balance.strategy"], Same),
        ("CONNECTION_POOL_SIZE", &["upstream.*.pool"], Same),
        ("REQUEST_QUEUE_ENABLED", &["protect.queue.on"], Same),
        ("REQUEST_QUEUE_SIZE", &["protect.queue.places"], Same),
        ("REQUEST_QUEUE_TIMEOUT", &["protect.queue.timeout"], Seconds),
        ("PREDICTIVE_WARMING_ENABLED", &["protect.warm.on"], Same),
        ("WARMING_THRESHOLD", &["protect.warm.threshold"], Percent),
        ("WARMING_WINDOW", &["protect.warm.window"], Seconds),
        ("RATE_LIMIT_ADAPTIVE", &["protect.rate.adaptive"], Table),
        ("RATE_LIMIT_MIN", &["protect.rate.adaptive.min"], PerSecond),
        ("RATE_LIMIT_MAX", &["protect.rate.adaptive.max"], PerSecond),
        ("RATE_LIMIT_WINDOW", &["protect.rate.adaptive.window"], Seconds),
        ("GRACEFUL_DEGRADATION", &["protect.shed.on"], Same),
        ("DEGRADATION_THRESHOLD", &["protect.shed.threshold"], Percent),
        ("DEGRADATION_LEVELS", &["protect.shed.levels"], Same),
    ]
};

/// What the runbook sets that is about nodes of a shared cache, which this document does not have.
const ELSEWHERE: [&str; 5] = [
    "CACHE_SHARDING_ENABLED",
    "CACHE_SHARD_COUNT",
    "CACHE_SHARD_STRATEGY",
    "CACHE_HIERARCHY_ENABLED",
    "CACHE_L3_TTL",
];

/// Variables that are read elsewhere.
const OTHERS: [&str; 3] = ["ADMIN_TOKEN", "LOG", "REDIS_URL"];

/// The settings that variables override, in a fixed order, and the names of those that say nothing to this gateway.
pub(crate) fn read(environment: &[(String, String)]) -> (Vec<Override>, Vec<String>) {
    let mut overrides = Vec::new();
    let mut unknown = Vec::new();
    for (name, paths, spelling) in VARIABLES {
        let full = format!("SEAWALL_{name}");
        let Some((_, value)) = environment.iter().find(|(known, _)| *known == full) else {
            continue;
        };
        let value = spelling.spell(value.trim());
        overrides.extend(paths.iter().map(|path| Override::new(&full, *path, &value)));
    }
    let mut rest: Vec<&(String, String)> = environment.iter().collect();
    rest.sort();
    for (name, value) in rest {
        let Some(word) = name.strip_prefix("SEAWALL_") else {
            continue;
        };
        if let Some(path) = word.strip_prefix('_') {
            overrides.push(Override::new(
                name,
                path.to_ascii_lowercase().replace("__", "."),
                value,
            ));
        } else if !VARIABLES.iter().any(|(known, ..)| *known == word) && !OTHERS.contains(&word) {
            unknown.push(name.clone());
        }
    }
    (overrides, unknown)
}

/// Why a variable that is not read is not.
pub(crate) fn remark(name: &str) -> &'static str {
    if ELSEWHERE
        .iter()
        .any(|known| name.strip_prefix("SEAWALL_") == Some(known))
    {
        "it is about the nodes of a shared cache; the second tier is described by SEAWALL_REDIS_URL and [cache.redis]"
    } else {
        "there is no setting of this name"
    }
}

impl Spelling {
    fn spell(self, value: &str) -> String {
        let number = value.parse::<f64>().ok();
        match (self, number) {
            (Spelling::Seconds, Some(_)) => format!("{value}s"),
            (Spelling::PerSecond, Some(_)) => format!("{value}/s"),
            (Spelling::Percent, Some(number)) if number > 1.0 => format!("{value}%"),
            (Spelling::Table, _) if value == "true" => "{}".to_owned(),
            (Spelling::Table, _) if value == "false" => "none".to_owned(),
            (Spelling::Staggered, _) if value == "staggered" => "300s".to_owned(),
            (Spelling::Staggered, _) => "none".to_owned(),
            _ => value.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::policies::Policies;
    use seawall_core::time::Span;
    use seawall_core::{balance, ttl};
    use seawall_scenario::{Deployment, Place};

    const DOCUMENT: &str = "[upstream.a]\naddresses = [\"127.0.0.1:1\"]\n[upstream.b]\naddresses = [\"127.0.0.1:2\"]\n\
        [[route]]\nupstream = \"a\"\n";

    fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn the_runbooks_settings_as_it_spells_them() {
        let set = environment(&[
            ("SEAWALL_CIRCUIT_BREAKER_ENABLED", "true"),
            ("SEAWALL_CIRCUIT_BREAKER_THRESHOLD", "1000"),
            ("SEAWALL_CIRCUIT_BREAKER_WINDOW", "10s"),
            ("SEAWALL_CIRCUIT_BREAKER_TIMEOUT", "30s"),
            ("SEAWALL_REQUEST_COALESCING_ENABLED", "true"),
            ("SEAWALL_REQUEST_COALESCING_WINDOW", "5s"),
            ("SEAWALL_CACHE_REFRESH_STRATEGY", "staggered"),
            ("SEAWALL_CACHE_STAGGER_WINDOW", "200"),
            ("SEAWALL_CACHE_REFRESH_JITTER", "60"),
            ("SEAWALL_CACHE_TTL_CRITICAL", "3601"),
            ("SEAWALL_CACHE_TTL_IMPORTANT", "1801"),
            ("SEAWALL_CACHE_TTL_REGULAR", "901"),
            ("SEAWALL_CACHE_L1_TTL", "300"),
            ("SEAWALL_LOAD_BALANCING_STRATEGY", "power_of_two"),
            ("SEAWALL_CONNECTION_POOL_SIZE", "51"),
            ("SEAWALL_REQUEST_QUEUE_ENABLED", "true"),
            ("SEAWALL_REQUEST_QUEUE_SIZE", "1001"),
            ("SEAWALL_REQUEST_QUEUE_TIMEOUT", "31s"),
            ("SEAWALL_PREDICTIVE_WARMING_ENABLED", "true"),
            ("SEAWALL_WARMING_THRESHOLD", "0.8"),
            ("SEAWALL_WARMING_WINDOW", "301"),
            ("SEAWALL_RATE_LIMIT_ADAPTIVE", "true"),
            ("SEAWALL_RATE_LIMIT_MIN", "11"),
            ("SEAWALL_RATE_LIMIT_WINDOW", "61"),
            ("SEAWALL_GRACEFUL_DEGRADATION", "true"),
            ("SEAWALL_DEGRADATION_THRESHOLD", "81"),
            ("SEAWALL_DEGRADATION_LEVELS", "2"),
            ("SEAWALL__UPSTREAM__A__TIMEOUT", "7s"),
            ("SEAWALL_CACHE_SHARD_COUNT", "16"),
            ("SEAWALL_ADMIN_TOKEN", "x"),
            ("PATH", "/bin"),
        ]);
        let (overrides, unknown) = read(&set);
        assert_eq!(unknown, ["SEAWALL_CACHE_SHARD_COUNT"]);
        let deployment = Deployment::parse("seawall.toml", DOCUMENT, &overrides).unwrap();
        let policies = deployment.policies(Place::Service(1), &Policies::default());
        for breaker in [&policies.breaker, &policies.origin_breaker] {
            let breaker = breaker.as_ref().expect("it is on");
            assert_eq!((breaker.failures, breaker.window), (1_000, Span::secs(10)));
            assert_eq!(breaker.open_for, Span::secs(30));
        }
        assert_eq!(policies.coalesce.expect("it is on").window, Span::secs(5));
        assert_eq!(policies.ttl.stagger, Some(Span::secs(200)));
        assert_eq!(policies.ttl.jitter, Some(ttl::Jitter::Up(Span::secs(60))));
        let classes = [
            policies.ttl.critical,
            policies.ttl.important,
            policies.ttl.regular,
        ];
        assert_eq!(classes, [3_601, 1_801, 901].map(|secs| Some(Span::secs(secs))));
        assert_eq!(policies.balance, Some(balance::Strategy::PowerOfTwo));
        let warm = policies.warm.expect("it is on");
        assert_eq!((warm.threshold, warm.window), (0.8, Span::secs(301)));
        let door = deployment.policies(Place::Gateway(0), &Policies::default());
        let queue = door.queue.expect("it is on");
        assert_eq!((queue.places, queue.timeout), (1_001, Span::secs(31)));
        let adaptive = door.rate.and_then(|rate| rate.adaptive).expect("it is on");
        assert_eq!(
            (adaptive.min, adaptive.max, adaptive.window),
            (11.0, 1_000.0, Span::secs(61))
        );
        let shed = door.shed.expect("it is on");
        assert_eq!((shed.threshold, shed.levels), (0.81, 2));
        assert_eq!(deployment.cache.ttl_max, Span::secs(300));
        assert_eq!(deployment.upstreams[1].pool, 51);
        assert_eq!(deployment.upstreams[0].timeout, Span::secs(7));
    }

    /// What the runbook sets, with the values that it gives, and what that is called here.
    const RUNBOOK: &[(&str, &str, &str)] = &[
        (
            "AURUM_API_CIRCUIT_BREAKER_ENABLED",
            "true",
            "CIRCUIT_BREAKER_ENABLED",
        ),
        (
            "AURUM_API_CIRCUIT_BREAKER_THRESHOLD",
            "1000",
            "CIRCUIT_BREAKER_THRESHOLD",
        ),
        (
            "AURUM_API_CIRCUIT_BREAKER_TIMEOUT",
            "30s",
            "CIRCUIT_BREAKER_TIMEOUT",
        ),
        (
            "AURUM_WORKER_CIRCUIT_BREAKER_ENABLED",
            "true",
            "CIRCUIT_BREAKER_ENABLED",
        ),
        (
            "AURUM_WORKER_CIRCUIT_BREAKER_THRESHOLD",
            "500",
            "CIRCUIT_BREAKER_THRESHOLD",
        ),
        (
            "AURUM_API_REQUEST_COALESCING_ENABLED",
            "true",
            "REQUEST_COALESCING_ENABLED",
        ),
        (
            "AURUM_API_REQUEST_COALESCING_WINDOW",
            "5s",
            "REQUEST_COALESCING_WINDOW",
        ),
        ("CACHE_REFRESH_STRATEGY", "staggered", "CACHE_REFRESH_STRATEGY"),
        ("CACHE_STAGGER_WINDOW", "300", "CACHE_STAGGER_WINDOW"),
        ("CACHE_REFRESH_JITTER", "60", "CACHE_REFRESH_JITTER"),
        ("CACHE_TTL_CRITICAL", "3600", "CACHE_TTL_CRITICAL"),
        ("CACHE_TTL_IMPORTANT", "1800", "CACHE_TTL_IMPORTANT"),
        ("CACHE_TTL_REGULAR", "900", "CACHE_TTL_REGULAR"),
        (
            "AURUM_API_LOAD_BALANCING_STRATEGY",
            "least_connections",
            "LOAD_BALANCING_STRATEGY",
        ),
        ("AURUM_API_CONNECTION_POOL_SIZE", "50", "CONNECTION_POOL_SIZE"),
        ("AURUM_API_REQUEST_QUEUE_ENABLED", "true", "REQUEST_QUEUE_ENABLED"),
        ("AURUM_API_REQUEST_QUEUE_SIZE", "1000", "REQUEST_QUEUE_SIZE"),
        ("AURUM_API_REQUEST_QUEUE_TIMEOUT", "30s", "REQUEST_QUEUE_TIMEOUT"),
        ("CACHE_L1_TTL", "300", "CACHE_L1_TTL"),
        ("CACHE_L2_TTL", "3600", "CACHE_L2_TTL"),
        ("PREDICTIVE_WARMING_ENABLED", "true", "PREDICTIVE_WARMING_ENABLED"),
        ("WARMING_THRESHOLD", "0.8", "WARMING_THRESHOLD"),
        ("WARMING_WINDOW", "300", "WARMING_WINDOW"),
        ("AURUM_API_RATE_LIMIT_ADAPTIVE", "true", "RATE_LIMIT_ADAPTIVE"),
        ("AURUM_API_RATE_LIMIT_MIN", "10", "RATE_LIMIT_MIN"),
        ("AURUM_API_RATE_LIMIT_MAX", "1000", "RATE_LIMIT_MAX"),
        ("AURUM_API_RATE_LIMIT_WINDOW", "60", "RATE_LIMIT_WINDOW"),
        ("AURUM_API_GRACEFUL_DEGRADATION", "true", "GRACEFUL_DEGRADATION"),
        ("AURUM_API_DEGRADATION_THRESHOLD", "80", "DEGRADATION_THRESHOLD"),
        ("AURUM_API_DEGRADATION_LEVELS", "3", "DEGRADATION_LEVELS"),
        ("CACHE_HIERARCHY_ENABLED", "true", ""),
        ("CACHE_SHARDING_ENABLED", "true", ""),
        ("CACHE_SHARD_COUNT", "16", ""),
        ("CACHE_SHARD_STRATEGY", "consistent_hash", ""),
        ("CACHE_L3_TTL", "86400", ""),
    ];

    #[test]
    fn every_setting_of_the_runbook_does_something_and_is_in_the_guide() {
        let guide = include_str!("../../../docs/gateway.md");
        // A threshold alone is refused, because a count without a window says nothing.
        let text = format!(
            "{DOCUMENT}[protect.breaker]\nwindow = \"10s\"\n[protect.origin_breaker]\nwindow = \"10s\"\n"
        );
        for (theirs, value, ours) in RUNBOOK {
            if ours.is_empty() {
                let name = format!("SEAWALL_{theirs}");
                let (overrides, unknown) = read(&environment(&[(&name, value)]));
                assert_eq!((overrides.len(), unknown), (0, vec![name]), "{theirs}");
                assert!(
                    ELSEWHERE.contains(theirs) && guide.contains(&format!("`{theirs}`")),
                    "{theirs}"
                );
                continue;
            }
            let name = format!("SEAWALL_{ours}");
            let row = guide
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/gateway.md has no row for {name}"));
            assert!(
                row.contains(&format!("`{theirs}`")),
                "{theirs} is not beside {name}: {row}"
            );
            let (overrides, unknown) = read(&environment(&[(&name, value)]));
            assert!(!overrides.is_empty() && unknown.is_empty(), "{name}");
            for over in &overrides {
                let path = over.path.split('.').next_back().unwrap_or_default();
                assert!(
                    row.contains(path),
                    "the row of {name} does not say that it is {}",
                    over.path
                );
            }
            Deployment::parse("seawall.toml", &text, &overrides)
                .unwrap_or_else(|mistakes| panic!("{name}={value}: {mistakes}"));
        }
        let known = VARIABLES
            .iter()
            .map(|(name, ..)| *name)
            .filter(|name| *name != "CIRCUIT_BREAKER_WINDOW");
        for name in known {
            assert!(
                RUNBOOK.iter().any(|(.., ours)| *ours == name),
                "the runbook has no {name}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_of_the_variable() {
        let wrong = |name: &str, value: &str| {
            let (overrides, _) = read(&environment(&[(name, value)]));
            let mistakes = Deployment::parse("seawall.toml", DOCUMENT, &overrides).unwrap_err();
            let mistake = &mistakes.list()[0];
            assert_eq!(mistake.source.name(), name);
            mistake.help.clone().unwrap_or_default()
        };
        let help = wrong("SEAWALL_CIRCUIT_BREAKER_THRESHOLD", "1000");
        assert_eq!(
            help, "add `window = \"10s\"`",
            "a count without a window says nothing"
        );
        wrong("SEAWALL_REQUEST_QUEUE_SIZE", "many");
        assert_eq!(
            wrong("SEAWALL__PROTECT__BRAKER__ON", "true"),
            "did you mean `breaker`?"
        );
    }
}
