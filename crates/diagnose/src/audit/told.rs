//! An audit in words: for a terminal, for a script, and all checks for the guide.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::RULES;
use super::rule::{Audit, Severity};

/// For a terminal: the worst first, each with what was read, why it matters and what mends it.
pub fn text(audit: &Audit) -> String {
    let mut out = String::new();
    for check in &audit.checks {
        let _ = writeln!(out, "{:<7} {}  {}", check.severity.name(), check.id, check.target);
        let _ = writeln!(out, "        {}: {}", check.title, check.read);
        let _ = writeln!(out, "  why   {}", check.why);
        for (at, line) in check.mend.iter().enumerate() {
            let _ = writeln!(out, "  {}  {line}", if at == 0 { "mend" } else { "    " });
        }
        out.push('\n');
    }
    let counts: Vec<String> = Severity::ALL
        .iter()
        .map(|severity| {
            (
                severity,
                audit
                    .checks
                    .iter()
                    .filter(|check| check.severity == *severity)
                    .count(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| format!("{count} {}", severity.name()))
        .collect();
    let found = if counts.is_empty() {
        "nothing found".to_owned()
    } else {
        counts.join(", ")
    };
    let _ = writeln!(
        out,
        "{found}; {} checks passed; {}",
        audit.passed,
        audit.targets.join(", ")
    );
    out
}

/// For a script.
pub fn json(audit: &Audit) -> Json {
    let checks = audit.checks.iter().map(|check| {
        json!({
            "id": check.id,
            "severity": check.severity.name(),
            "target": check.target,
            "title": check.title,
            "read": check.read,
            "why": check.why,
            "mend": check.mend,
            "link": check.link(),
        })
    });
    json!({
        "targets": audit.targets,
        "worst": audit.worst().map(Severity::name),
        "passed": audit.passed,
        "checks": checks.collect::<Vec<_>>(),
    })
}

/// The page `docs/audit.md`.
pub fn guide() -> String {
    let mut page = String::from(GUIDE);
    for rule in RULES {
        let _ = write!(
            page,
            "\n### {}\n\n*{}*: {}.\n\n{}\n\nWhat mends it: {}\n",
            rule.id,
            rule.severity.name(),
            rule.title,
            rule.why,
            rule.mend
        );
    }
    page
}

const GUIDE: &str = "\
# Audit

Written from the code by a test; change `crates/diagnose/src/audit` and run it with `UPDATE=1`.

    seawall audit redis://cache:6379 postgres://app@db/shop

reads what a live Redis and a live PostgreSQL tell of themselves, and says what should be mended before there is an incident,
each finding with what was read, why it matters and the exact commands. It changes nothing. Keys are looked at by sampling
(`--keys`), with `RANDOMKEY`, `PTTL` and `MEMORY USAGE`, never with `KEYS` or `MONITOR`. Names of keys are shown as patterns, and
values never.

`--format json` is for scripts, `--format sarif` for tools that read SARIF 2.1.0. The exit status is 0 when nothing was found that weighs as
much as `--fail-on` (`high`, `medium`, `low`, or `never`; `medium` when not told), 1 when something was, and 2 when a server could not be read.

## What runbooks say and this does not

- *Alert on memory above 80%.* A full cache that evicts is normal. It is a finding only where the policy refuses writes, or where
  evictions cost hits.
- *`maxmemory-policy allkeys-lru` against a full cache.* Below what is in use it evicts a great deal at once and can still refuse writes. The
  mend sets a sufficient `maxmemory` first.
- *`CLIENT KILL TYPE normal` against idle clients.* It ends every client. The mend is a `timeout`.
- *`CLIENT LIST | wc -l`* counts itself. Here our own connection is not counted.
- *`max_connections = 200` against a database that is too small.* It needs a restart, and more queries at once than processors make all of
  them slow. The mend decides what does not fit.
- Circuit breakers, coalescing, warming, hierarchies, rate limits and shedding are not settings of a server. `seawall check` and
  `seawall simulate` look at them in a scenario or a gateway's document, and `seawall drill` proves them.
- Transparent huge pages, overcommit and open files are the machine's; Redis tells of them in its log when it starts.

## Checks
";
