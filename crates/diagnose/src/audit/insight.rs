//! Checks of what can be seen: slow commands, latency, settings, hits.

use super::rule::{Look, Rule, Severity, found};
use super::words::share;

pub(super) const SLOWLOG_OFF: Rule = Rule {
    id: "redis-slowlog-off",
    severity: Severity::Low,
    title: "slow commands are not written down",
    why: "While one command runs all others wait. Without the slow log nobody can say afterwards which it was.",
    mend: "`CONFIG SET slowlog-log-slower-than 10000` (10 ms) and `CONFIG SET slowlog-max-len 128`, the defaults.",
    look: Look::Cache(|cache| {
        let (slower, length) = (
            cache.number("slowlog-log-slower-than")?,
            cache.number("slowlog-max-len")?,
        );
        if (0.0..=1e6).contains(&slower) && length >= 1.0 {
            return None;
        }
        Some(
            found(format!(
                "slowlog-log-slower-than {slower:.0}, slowlog-max-len {length:.0}"
            ))
            .mend(format!("{} CONFIG SET slowlog-log-slower-than 10000", cache.cli))
            .mend(format!("{} CONFIG SET slowlog-max-len 128", cache.cli)),
        )
    }),
};

/// A command that takes longer holds everybody up noticeably.
const SLOW_SECS: f64 = 0.1;
/// Older entries of the slow log are history.
const RECENT_SECS: i64 = 24 * 3_600;

pub(super) const SLOW: Rule = Rule {
    id: "redis-slow-commands",
    severity: Severity::Medium,
    title: "commands held everybody up",
    why: "Redis runs one command after another. One that takes a tenth of a second is a tenth of a second more for all.",
    mend: "`SCAN` instead of `KEYS`, parts instead of whole collections, short scripts; `ACL SETUSER … -keys -@dangerous` for \
           those who must not.",
    look: Look::Cache(|cache| {
        let recent = |at: i64| cache.clock == 0 || cache.clock - at < RECENT_SECS;
        let slow: Vec<_> = cache
            .slow
            .iter()
            .filter(|slow| slow.seconds >= SLOW_SECS && recent(slow.at))
            .collect();
        let worst = slow.first()?;
        let key = if worst.key.is_empty() {
            String::new()
        } else {
            format!(" {}", worst.key)
        };
        Some(
            found(format!(
                "{} within a day took {:.0} ms or more, the worst {:.0} ms: {}{key}",
                slow.len(),
                SLOW_SECS * 1e3,
                worst.seconds * 1e3,
                worst.command
            ))
            .mend(format!("{} SLOWLOG GET 10", cache.cli)),
        )
    }),
};

pub(super) const LATENCY_OFF: Rule = Rule {
    id: "redis-latency-monitor-off",
    severity: Severity::Low,
    title: "pauses of the server are not written down",
    why: "Forks, disks, expiry and eviction hold the server up without being commands, so no slow log has them.",
    mend: "`CONFIG SET latency-monitor-threshold 100`; then `LATENCY LATEST` and `LATENCY DOCTOR` tell.",
    look: Look::Cache(|cache| {
        if cache.number("latency-monitor-threshold")? > 0.0 {
            return None;
        }
        Some(
            found("latency-monitor-threshold 0")
                .mend(format!("{} CONFIG SET latency-monitor-threshold 100", cache.cli))
                .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const HIDDEN: Rule = Rule {
    id: "redis-settings-hidden",
    severity: Severity::Low,
    title: "its settings cannot be read",
    why: "`CONFIG GET` is refused, as with most services in a cloud. Checks that read settings have looked at nothing.",
    mend: "A user who may `CONFIG GET` (`ACL SETUSER auditor … +config|get`), or the parameter group of the service.",
    look: Look::Cache(|cache| {
        if !cache.settings.is_empty() {
            return None;
        }
        let user =
            "ACL SETUSER auditor on '>…' '~*' +@read +info +ping +client +slowlog +latency +config|get";
        Some(found("CONFIG GET * gives nothing").mend(format!("{} {user}", cache.cli)))
    }),
};

pub(super) const FEW_HITS: Rule = Rule {
    id: "redis-few-hits",
    severity: Severity::Low,
    title: "few look-ups find anything",
    why: "A healthy cache answers nineteen look-ups in twenty. One that finds little shields little: it costs a look-up for each \
          read and its loss would hardly be noticed, or keys end before they are asked for again.",
    mend: "Longer TTLs for what is asked for often, a key for what is asked and not for who asks, negative entries for what does \
           not exist.",
    look: Look::Cache(|cache| {
        let rate = cache.hit_rate.filter(|rate| *rate < 0.8)?;
        Some(
            found(format!(
                "hit rate {} at {:.0} look-ups a second",
                share(rate),
                cache.lookups
            ))
            .mend(format!("{} INFO stats", cache.cli))
            .mend("[protect.ttl] …, [protect.negative] …: docs/scenario.md"),
        )
    }),
};
