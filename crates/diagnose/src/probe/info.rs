//! What `INFO` says, and what two of them say of the time between.

use std::collections::BTreeMap;

use seawall_core::guard::CacheFault;
use seawall_core::record::Metric;

use super::sample::{Place, Sample};

/// What a Redis told of itself.
///
/// ```
/// use seawall_diagnose::probe::Info;
/// let info = Info::read("# Stats\r\nkeyspace_hits:7\r\ncmdstat_get:calls=8,usec=16,usec_per_call=2.00\r\n");
/// let info = info.expect("it is one");
/// assert_eq!(info.number("keyspace_hits"), Some(7.0));
/// assert_eq!(info.part("cmdstat_get", "calls"), Some(8.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info(BTreeMap<String, String>);

/// So many lines of it are read.
const LINES_MAX: usize = 4_096;
/// So many commands are told of, those that took the most time.
const COMMANDS_MAX: usize = 8;

/// What our own questions were, so that they are not taken for somebody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) sets: i64,
    pub(crate) hits: i64,
    pub(crate) misses: i64,
    pub(crate) deletes: i64,
    pub(crate) rejected: i64,
}

impl Own {
    pub(crate) fn add(&mut self, more: &Own) {
        self.sets += more.sets;
        self.hits += more.hits;
        self.misses += more.misses;
        self.deletes += more.deletes;
        self.rejected += more.rejected;
    }
}

/// Takes what is ours off what was added. What is ours and was not counted yet is left for the next time.
fn less(added: f64, own: &mut i64) -> f64 {
    let ours = (*own as f64).min(added).max(0.0);
    // At most one question a round is under way while it is counted: nothing older is waited for.
    *own = (*own - ours as i64).min(1);
    added - ours
}

/// Hits and misses of clients, without the look-ups of scripts that look before they write: those of the library read the
/// version of what is there (`GETRANGE`), and Redis counts that like a read of a client. It does not tell which of them found
/// something. A write mostly follows a miss of its own, so half of the misses are theirs at most.
fn without_scripts(counted: Option<(f64, f64)>, looks: f64) -> Option<(f64, f64)> {
    let (hits, misses) = counted?;
    let nothing = looks.min(misses / 2.0);
    Some(((hits - (looks - nothing)).max(0.0), misses - nothing))
}

impl Info {
    /// Reads it; nothing when it is no such text.
    pub fn read(text: &str) -> Option<Info> {
        let lines = text.lines().take(LINES_MAX);
        let fields: BTreeMap<String, String> = lines
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        (!fields.is_empty()).then_some(Info(fields))
    }

    /// A field as it is spelled.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.field(name)?.parse().ok()
    }

    /// A part of a field such as `calls=8,usec=16`.
    pub fn part(&self, name: &str, part: &str) -> Option<f64> {
        let parts = self.field(name)?.split(',');
        let found = parts
            .filter_map(|each| each.split_once('='))
            .find(|(key, _)| *key == part);
        found?.1.parse().ok()
    }

    /// The fields whose names begin so, without that beginning.
    fn named<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let from = self.0.range(prefix.to_owned()..);
        from.map_while(move |(name, _)| name.strip_prefix(prefix).map(|rest| (rest, name.as_str())))
    }

    /// The sum of a part over all fields whose names begin so and that are wanted.
    fn sum(&self, prefix: &str, part: &str, wanted: impl Fn(&str) -> bool) -> f64 {
        self.named(prefix)
            .filter(|(rest, _)| wanted(rest))
            .filter_map(|(_, name)| self.part(name, part))
            .sum()
    }

    /// Entries of all databases.
    pub fn keys(&self) -> f64 {
        self.sum("db", "keys", is_number)
    }

    /// Entries of all databases that have a time of life.
    pub fn expires(&self) -> f64 {
        self.sum("db", "expires", is_number)
    }

    /// Whether both tell of one process, so that what it counted can be compared.
    pub fn same_process(&self, before: &Info) -> bool {
        match (self.field("run_id"), before.field("run_id")) {
            (Some(now), Some(then)) => now == then,
            _ => self.number("uptime_in_seconds") >= before.number("uptime_in_seconds"),
        }
    }

    /// Numbers of this instant.
    pub(crate) fn gauges(&self, place: &Place, sample: &mut Sample) {
        let mut add = |metric, value: Option<f64>| {
            if let Some(value) = value {
                sample.points.push(place.point(metric, value));
            }
        };
        add(Metric::CacheEntries, Some(self.keys()));
        add(Metric::CacheMemory, self.number("used_memory"));
        add(Metric::CacheMemoryLimit, self.number("maxmemory"));
        let evicting = self
            .field("maxmemory_policy")
            .map(|policy| f64::from(policy != "noeviction"));
        add(Metric::CacheEvicting, evicting);
        add(Metric::CacheClients, self.number("connected_clients"));
        add(Metric::CacheClientsLimit, self.number("maxclients"));
        add(Metric::CacheUptime, self.number("uptime_in_seconds"));
        let replica = self.field("role").map(|role| f64::from(role == "slave"));
        add(Metric::CacheReplica, replica);
    }

    /// What was added since, in so many seconds. A process that is not the same has counted from nothing.
    pub(crate) fn counters(
        &self,
        before: &Info,
        secs: f64,
        own: &mut Own,
        place: &Place,
        sample: &mut Sample,
    ) {
        let nothing = Info::default();
        let before = if self.same_process(before) {
            before
        } else {
            &nothing
        };
        let added = |name: &str| {
            let now = self.number(name)?;
            Some((now - before.number(name).unwrap_or(0.0)).max(0.0))
        };
        let calls = |commands: &[&str]| -> f64 {
            let wanted = |name: &str| commands.contains(&name);
            let of = |info: &Info| {
                info.sum("cmdstat_", "calls", wanted) - info.sum("cmdstat_", "failed_calls", wanted)
            };
            (of(self) - of(before)).max(0.0)
        };
        let mut add = |metric, value: Option<f64>| {
            if let Some(value) = value {
                sample.points.push(place.point(metric, value));
            }
        };
        let hits = added("keyspace_hits").map(|hits| less(hits, &mut own.hits));
        let misses = added("keyspace_misses").map(|misses| less(misses, &mut own.misses));
        let looks = calls(&["getrange"]).min(calls(&SCRIPTS));
        let (hits, misses) = without_scripts(hits.zip(misses), looks)
            .map_or((hits, misses), |(hits, misses)| (Some(hits), Some(misses)));
        add(Metric::CacheHits, hits);
        add(Metric::CacheMisses, misses);
        add(Metric::CacheSets, Some(less(calls(&WRITES), &mut own.sets)));
        add(
            Metric::CacheInvalidations,
            Some(less(calls(&DELETES), &mut own.deletes)),
        );
        add(Metric::CacheExpired, added("expired_keys"));
        add(Metric::CacheEvictions, added("evicted_keys"));
        add(Metric::CacheRejected, added("rejected_connections"));
        let busy = |info: &Info| {
            info.number("used_cpu_sys")
                .zip(info.number("used_cpu_user"))
                .map(|(sys, user)| sys + user)
        };
        let cpu = busy(self).zip(busy(before).or(Some(0.0))).filter(|_| secs > 0.0);
        add(
            Metric::CacheCpu,
            cpu.map(|(now, then)| (now - then).max(0.0) / secs),
        );
        self.errors(before, own, place, sample);
        self.commands(before, place, sample);
    }

    /// Errors that were answered, by the name that the library has for them.
    fn errors(&self, before: &Info, own: &mut Own, place: &Place, sample: &mut Sample) {
        let mut reasons: BTreeMap<&str, f64> = BTreeMap::new();
        for (code, name) in self.named("errorstat_") {
            let Some(fault) = fault_of(code) else { continue };
            let now = self.part(name, "count").unwrap_or(0.0);
            let mut added = (now - before.part(name, "count").unwrap_or(0.0)).max(0.0);
            if code == "ERR" {
                added = less(added, &mut own.rejected);
            }
            *reasons.entry(fault.name()).or_default() += added;
        }
        for (reason, added) in reasons {
            sample
                .points
                .push(place.labelled(Metric::CacheErrors, reason, added));
        }
    }

    /// The mean time of the commands that took the most of it in all.
    fn commands(&self, before: &Info, place: &Place, sample: &mut Sample) {
        let mut took: Vec<(f64, f64, &str)> = Vec::new();
        for (command, name) in self.named("cmdstat_") {
            let added = |part: &str| {
                let now = self.part(name, part).unwrap_or(0.0);
                (now - before.part(name, part).unwrap_or(0.0)).max(0.0)
            };
            let (calls, micros) = (added("calls"), added("usec"));
            if calls > 0.0 && !OURS.contains(&command) {
                took.push((micros, micros / calls / 1e6, command));
            }
        }
        took.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, mean, command) in took.into_iter().take(COMMANDS_MAX) {
            sample
                .points
                .push(place.labelled(Metric::CacheCommandSeconds, command, mean));
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Commands that write an entry.
const WRITES: [&str; 9] = [
    "set", "setex", "psetex", "setnx", "getset", "mset", "msetnx", "hset", "hmset",
];
/// Commands that run scripts, which count beside those that the scripts run.
const SCRIPTS: [&str; 3] = ["eval", "evalsha", "fcall"];
/// Commands that take entries out.
const DELETES: [&str; 5] = ["del", "unlink", "getdel", "flushdb", "flushall"];
/// What hardly anybody asks but those who watch.
const OURS: [&str; 3] = ["info", "ping", "slowlog|get"];

/// What an error that Redis counts means. `NOSCRIPT` is how every script begins, and no failure.
fn fault_of(code: &str) -> Option<CacheFault> {
    Some(match code {
        "NOSCRIPT" => return None,
        "LOADING" => CacheFault::Loading,
        "READONLY" | "NOREPLICAS" => CacheFault::ReadOnly,
        "MISCONF" => CacheFault::DiskFull,
        "OOM" => CacheFault::OutOfMemory,
        "NOAUTH" | "WRONGPASS" | "NOPERM" => CacheFault::NoAuth,
        "MOVED" | "ASK" | "TRYAGAIN" => CacheFault::Moved,
        "WRONGTYPE" => CacheFault::WrongType,
        "CLUSTERDOWN" | "MASTERDOWN" | "BUSY" => CacheFault::Unavailable,
        _ => CacheFault::Error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "run_id:a\r\nuptime_in_seconds:100\r\nkeyspace_hits:1000\r\nkeyspace_misses:50\r\n\
        expired_keys:5\r\nevicted_keys:0\r\nrejected_connections:0\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.5\r\n\
        cmdstat_get:calls=1050,usec=2100,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r\n\
        cmdstat_set:calls=50,usec=100,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r\n\
        errorstat_ERR:count=3\r\nerrorstat_NOSCRIPT:count=1\r\ndb0:keys=500,expires=400,avg_ttl=1\r\n";

    const AFTER: &str = "run_id:a\r\nuptime_in_seconds:102\r\nkeyspace_hits:1101\r\nkeyspace_misses:80\r\n\
        expired_keys:25\r\nevicted_keys:2\r\nrejected_connections:4\r\nused_cpu_sys:2.0\r\nused_cpu_user:3.0\r\n\
        used_memory:1048576\r\nmaxmemory:2097152\r\nmaxmemory_policy:noeviction\r\nconnected_clients:9\r\n\
        maxclients:100\r\nrole:slave\r\n\
        cmdstat_get:calls=1180,usec=28100,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r\n\
        cmdstat_set:calls=81,usec=200,usec_per_call=2.00,rejected_calls=0,failed_calls=0\r\n\
        cmdstat_unlink:calls=7,usec=14,usec_per_call=2.00\r\n\
        errorstat_ERR:count=4\r\nerrorstat_NOSCRIPT:count=9\r\nerrorstat_OOM:count=6\r\nerrorstat_MISCONF:count=1\r\n\
        db0:keys=480,expires=400,avg_ttl=1\r\ndb11:keys=2,expires=0,avg_ttl=0\r\n";

    fn told(before: &str, after: &str, own: &mut Own) -> Sample {
        let (before, after) = (Info::read(before).expect("one"), Info::read(after).expect("one"));
        let mut sample = Sample::default();
        let place = Place::new("redis");
        after.gauges(&place, &mut sample);
        after.counters(&before, 2.0, own, &place, &mut sample);
        sample
    }

    #[test]
    fn two_of_them_tell_what_was_between() {
        let mut own = Own {
            sets: 1,
            hits: 1,
            misses: 0,
            deletes: 0,
            rejected: 1,
        };
        let sample = told(BEFORE, AFTER, &mut own);
        let value = |metric| sample.value(metric, "redis").expect("it is told");
        for (metric, expected) in [
            (Metric::CacheHits, 100.0),
            (Metric::CacheMisses, 30.0),
            (Metric::CacheSets, 30.0),
            (Metric::CacheInvalidations, 7.0),
            (Metric::CacheExpired, 20.0),
            (Metric::CacheEvictions, 2.0),
            (Metric::CacheRejected, 4.0),
            (Metric::CacheEntries, 482.0),
            (Metric::CacheMemory, 1_048_576.0),
            (Metric::CacheMemoryLimit, 2_097_152.0),
            (Metric::CacheEvicting, 0.0),
            (Metric::CacheReplica, 1.0),
            (Metric::CacheClients, 9.0),
            (Metric::CacheClientsLimit, 100.0),
            (Metric::CacheCpu, 0.5),
        ] {
            assert!(
                (value(metric) - expected).abs() < 1e-9,
                "{}: {}",
                metric.name(),
                value(metric)
            );
        }
        let reason = |reason| sample.labelled(Metric::CacheErrors, reason);
        assert_eq!(reason("out_of_memory"), Some(6.0));
        assert_eq!(reason("disk_full"), Some(1.0));
        assert_eq!(reason("error"), Some(0.0), "that one was ours");
        let get = sample
            .labelled(Metric::CacheCommandSeconds, "get")
            .expect("it is told");
        assert!((get - 26_000.0 / 130.0 / 1e6).abs() < 1e-12);
        assert_eq!(own, Own::default());
    }

    #[test]
    fn what_scripts_look_up_before_they_write_is_no_read_of_a_client() {
        for (counted, looks, clients) in [
            // Forty misses, and each looks again before it stores.
            ((60.0, 80.0), 40.0, (60.0, 40.0)),
            // Refreshed before they end: all are there still.
            ((110.0, 0.0), 10.0, (100.0, 0.0)),
            // Both.
            ((90.0, 40.0), 50.0, (60.0, 20.0)),
            // Misses that share a load.
            ((0.0, 120.0), 20.0, (0.0, 100.0)),
            ((10.0, 5.0), 0.0, (10.0, 5.0)),
        ] {
            assert_eq!(
                without_scripts(Some(counted), looks),
                Some(clients),
                "{counted:?} {looks}"
            );
        }
        let by_scripts = AFTER.replace(
            "cmdstat_unlink",
            "cmdstat_evalsha:calls=12,usec=1,failed_calls=2\r\ncmdstat_getrange:calls=14,usec=1\r\ncmdstat_unlink",
        );
        let sample = told(BEFORE, &by_scripts, &mut Own::default());
        assert_eq!(sample.value(Metric::CacheMisses, "redis"), Some(20.0));
        assert_eq!(sample.value(Metric::CacheHits, "redis"), Some(101.0));
    }

    #[test]
    fn a_new_process_has_counted_from_nothing() {
        let restarted = AFTER
            .replace("run_id:a", "run_id:b")
            .replace("uptime_in_seconds:102", "uptime_in_seconds:1");
        let sample = told(BEFORE, &restarted, &mut Own::default());
        assert_eq!(sample.value(Metric::CacheHits, "redis"), Some(1101.0));
        assert_eq!(sample.value(Metric::CacheUptime, "redis"), Some(1.0));
    }

    #[test]
    fn what_is_ours_waits_for_one_round_and_no_more() {
        let mut own = 1;
        assert!((less(0.0, &mut own)).abs() < 1e-9);
        assert_eq!(own, 1);
        assert!((less(5.0, &mut own) - 4.0).abs() < 1e-9);
        assert_eq!(own, 0);
        own = 9;
        assert!((less(0.0, &mut own)).abs() < 1e-9);
        assert_eq!(own, 1, "what was never counted is forgotten");
    }

    #[test]
    fn no_text_is_no_info() {
        assert_eq!(Info::read(""), None);
        assert_eq!(Info::read("hello\nworld"), None);
    }
}
