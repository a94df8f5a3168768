//! Checks of memory: limits, what happens at them, what fills it.

use super::facts::CacheFacts;
use super::rule::{Look, Rule, Severity, found};
use super::words::{bytes, share, whole_megabytes};

pub(super) const LIMIT_UNSET: Rule = Rule {
    id: "redis-maxmemory-unset",
    severity: Severity::High,
    title: "there is no limit on memory",
    why: "Without `maxmemory` nothing is ever evicted. The cache grows until the kernel kills it, and comes back empty, \
          or the machine swaps and every answer is late.",
    mend: "`CONFIG SET maxmemory` to three quarters of the machine's memory (half when it saves to disk, for the copy \
           that is written), a `maxmemory-policy` that evicts, and `CONFIG REWRITE` so that both outlive a restart.",
    look: Look::Cache(|cache| {
        let (used, limit, machine) = cache.memory();
        if limit > 0.0 {
            return None;
        }
        let saves = cache.setting("save").is_some_and(|save| !save.is_empty());
        let wanted = (machine * if saves { 0.5 } else { 0.75 }).max(used * 1.25);
        Some(
            found(format!(
                "maxmemory 0, {} used, {} in the machine",
                bytes(used),
                bytes(machine)
            ))
            .mend(format!(
                "{} CONFIG SET maxmemory {}",
                cache.cli,
                whole_megabytes(wanted)
            ))
            .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const LIMIT_ABOVE_MACHINE: Rule = Rule {
    id: "redis-maxmemory-above-machine",
    severity: Severity::High,
    title: "the limit on memory is more than the machine can give",
    why: "`maxmemory` counts what the cache holds. Fragments, clients' buffers and the copy made while saving come on \
          top, so a limit near the machine's memory ends in the kernel's kill and not in evictions.",
    mend: "`CONFIG SET maxmemory` to three quarters of the machine's memory, after a look at what else runs there.",
    look: Look::Cache(|cache| {
        let (_, limit, machine) = cache.memory();
        if machine <= 0.0 || limit <= machine * 0.9 {
            return None;
        }
        Some(
            found(format!(
                "maxmemory {} of {} in the machine",
                bytes(limit),
                bytes(machine)
            ))
            .mend(format!(
                "{} CONFIG SET maxmemory {}",
                cache.cli,
                whole_megabytes(machine * 0.75)
            ))
            .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const NOEVICTION: Rule = Rule {
    id: "redis-noeviction",
    severity: Severity::High,
    title: "a full cache refuses writes",
    why: "Under `noeviction` a full cache answers every write with OOM, and nothing new is cached: the hit rate falls as \
          entries expire, and the database has the difference. (Under a policy that evicts a full cache is normal, and no \
          finding.)",
    mend: "First a `maxmemory` above what is in use, for below it a new policy evicts a great deal at once and may still \
           refuse writes; then `CONFIG SET maxmemory-policy allkeys-lru` (`allkeys-lfu` where few keys are hot). Not on a \
           Redis that is more than a cache: there it would throw away what is nowhere else.",
    look: Look::Cache(|cache| {
        let (used, limit, _) = cache.memory();
        if limit <= 0.0 || cache.policy() != Some("noeviction") {
            return None;
        }
        let near = used > limit * 0.8;
        let mut found = found(format!(
            "maxmemory-policy noeviction, {} of {} used ({})",
            bytes(used),
            bytes(limit),
            share(used / limit)
        ));
        if used > limit {
            found = found.mend(format!(
                "{} CONFIG SET maxmemory {}",
                cache.cli,
                whole_megabytes(used * 1.25)
            ));
        }
        Some(
            found
                .mend(format!("{} CONFIG SET maxmemory-policy allkeys-lru", cache.cli))
                .mend(format!("{} CONFIG REWRITE", cache.cli))
                .weighs(if near { Severity::High } else { Severity::Medium }),
        )
    }),
};

pub(super) const NOTHING_TO_EVICT: Rule = Rule {
    id: "redis-nothing-to-evict",
    severity: Severity::High,
    title: "the policy may evict only keys that end, and most do not",
    why: "A `volatile-*` policy evicts keys that have a TTL. Where hardly any have one, a full cache refuses writes, as \
          under `noeviction`.",
    mend: "`CONFIG SET maxmemory-policy allkeys-lru`, or a TTL on every key.",
    look: Look::Cache(|cache| {
        let policy = cache.policy().filter(|policy| policy.starts_with("volatile-"))?;
        let forever = cache.survey.forever().filter(|forever| *forever > 0.5)?;
        let instead = policy
            .replace("volatile-", "allkeys-")
            .replace("allkeys-ttl", "allkeys-lru");
        Some(
            found(format!(
                "maxmemory-policy {policy}, {} of {} keys live for ever",
                share(forever),
                cache.survey.seen.len()
            ))
            .mend(format!("{} CONFIG SET maxmemory-policy {instead}", cache.cli))
            .mend(format!("{} CONFIG REWRITE", cache.cli)),
        )
    }),
};

pub(super) const TOO_SMALL: Rule = Rule {
    id: "redis-too-small",
    severity: Severity::Medium,
    title: "evictions cost hits",
    why: "A full cache that evicts is normal. One that evicts most of what it stores, and then has a low hit rate, is too \
          small for what is asked of it, or filled by what nobody asks for again.",
    mend: "More memory (`CONFIG SET maxmemory`), more nodes, or less in it: shorter TTLs for what is asked for once, \
           `allkeys-lfu` so that a scan does not push out what is hot.",
    look: Look::Cache(|cache| {
        let of = |name| cache.info.number(name).unwrap_or(0.0);
        let sets = cache.info.part("cmdstat_set", "calls").unwrap_or(0.0)
            + cache.info.part("cmdstat_setex", "calls").unwrap_or(0.0);
        let (hits, misses) = (of("keyspace_hits"), of("keyspace_misses"));
        let rate = cache.hit_rate.unwrap_or(hits / (hits + misses).max(1.0));
        let evicted = of("evicted_keys");
        if hits + misses < 10_000.0 || evicted < sets * 0.5 || evicted < 1_000.0 || rate > 0.8 {
            return None;
        }
        let (_, limit, _) = cache.memory();
        Some(
            found(format!(
                "{evicted:.0} of {sets:.0} entries evicted, hit rate {}",
                share(rate)
            ))
            .mend(format!(
                "{} CONFIG SET maxmemory {}",
                cache.cli,
                whole_megabytes(limit * 2.0)
            ))
            .mend(format!("{} CONFIG SET maxmemory-policy allkeys-lfu", cache.cli)),
        )
    }),
};

pub(super) const FOREVER: Rule = Rule {
    id: "redis-keys-without-ttl",
    severity: Severity::High,
    title: "keys live for ever",
    why: "An entry without a TTL is wrong for ever once an invalidation is lost, and takes room until it is evicted. Where \
          nothing evicts, it fills the cache.",
    mend: "A TTL on every write (`SET key value EX 3600`), and `EXPIRE` with some jitter on those that are there.",
    look: Look::Cache(|cache| {
        let forever = cache.survey.forever().filter(|forever| *forever > 0.1)?;
        let volatile = cache
            .policy()
            .is_some_and(|policy| policy.starts_with("volatile-"));
        if volatile && forever > 0.5 {
            // `redis-nothing-to-evict` says it.
            return None;
        }
        let mut patterns: Vec<(&str, usize)> = Vec::new();
        for seen in cache.survey.seen.iter().filter(|seen| seen.ttl.is_none()) {
            match patterns.iter_mut().find(|(pattern, _)| *pattern == seen.pattern) {
                Some((_, count)) => *count += 1,
                None => patterns.push((&seen.pattern, 1)),
            }
        }
        patterns.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown: Vec<String> = patterns
            .iter()
            .take(3)
            .map(|(pattern, count)| format!("{pattern} ({count})"))
            .collect();
        let found = found(format!(
            "{} of {} keys that were looked at: {}",
            share(forever),
            cache.survey.seen.len(),
            shown.join(", ")
        ));
        let found = patterns.first().map_or(found.clone(), |(pattern, _)| {
            found.mend(jittered(cache, pattern, TTL))
        });
        Some(found.weighs(match cache.policy() {
            Some("noeviction") => Severity::High,
            _ if volatile => Severity::Medium,
            _ => Severity::Low,
        }))
    }),
};

/// What is given to keys that have none, in seconds.
const TTL: f64 = 3_600.0;

/// A loop for a shell that gives all keys of a pattern an end of their own: up to a fifth earlier than in `ttl` seconds.
fn jittered(cache: &CacheFacts, pattern: &str, ttl: f64) -> String {
    let mut glob = String::new();
    let mut inside = false;
    for letter in pattern.chars() {
        match letter {
            '<' => (inside, glob) = (true, glob + "*"),
            '>' => inside = false,
            _ if inside => {}
            '#' => glob.push('*'),
            '*' | '?' | '[' | ']' | '\\' | '\'' => glob.push('?'),
            plain => glob.push(plain),
        }
    }
    format!(
        "{cli} --scan --pattern '{glob}' | while read -r key; do {cli} EXPIRE \"$key\" $(({least} + RANDOM % {spread})); done",
        cli = cache.cli,
        least = (ttl * 0.8).ceil().max(1.0),
        spread = (ttl * 0.2).ceil().max(1.0)
    )
}

pub(super) const CLUSTERED: Rule = Rule {
    id: "redis-clustered-expiry",
    severity: Severity::High,
    title: "many keys end at the same time",
    why: "What was stored together with one TTL ends together. At that instant all of it is a miss, the database has the \
          whole load of these keys, and when they are stored again with one TTL the next wave is on its way.",
    mend: "Jitter: each TTL shorter by a random share (`[protect.ttl] jitter = \"20%\"`), refresh before the end \
           (`[protect.early]`), one load a key (`[protect.coalesce]`). For what is there already, a new end for each key.",
    look: Look::Cache(|cache| {
        let ends = cache.survey.seen.iter().filter_map(|seen| seen.ttl);
        let last = ends.fold(0.0, f64::max);
        let stretch = (last * 0.02).max(1.0);
        let (together, at) = cache.survey.clustered(stretch)?;
        // Evenly spread over its life, a fiftieth ends in a fiftieth of it.
        if together < 0.2 || last < 10.0 {
            return None;
        }
        let most = cache
            .survey
            .seen
            .iter()
            .filter(|seen| seen.ttl.is_some_and(|ttl| (at..=at + stretch).contains(&ttl)));
        let pattern = most.map(|seen| seen.pattern.as_str()).next().unwrap_or("*");
        Some(
            found(format!(
                "{} of the keys with an end end within {stretch:.0} s, {at:.0} s from now (of {} that were looked at)",
                share(together),
                cache.survey.seen.len()
            ))
            .mend("[protect.ttl] jitter = \"20%\"")
            .mend(jittered(cache, pattern, last))
            .weighs(if together > 0.5 { Severity::High } else { Severity::Medium }),
        )
    }),
};

pub(super) const BIG: Rule = Rule {
    id: "redis-big-keys",
    severity: Severity::Medium,
    title: "there are very large values",
    why: "Commands run one after another: while a large value is read, written or freed, everybody waits, and its bytes \
          fill the network and clients' buffers.",
    mend: "Split the value, compress it, or keep it elsewhere; `UNLINK` instead of `DEL`, and \
           `CONFIG SET lazyfree-lazy-expire yes` so that its end holds nobody up.",
    look: Look::Cache(|cache| {
        let big = cache.survey.biggest()?;
        let size = big.bytes.filter(|size| *size > 1 << 20)?;
        Some(
            found(format!("{} takes {}", big.pattern, bytes(size as f64)))
                .mend(format!("{} --memkeys", cache.cli))
                .mend(format!("{} CONFIG SET lazyfree-lazy-expire yes", cache.cli)),
        )
    }),
};

pub(super) const FRAGMENTED: Rule = Rule {
    id: "redis-fragmented",
    severity: Severity::Low,
    title: "memory is fragmented",
    why: "The process holds much more memory than its entries take. The limit does not count that, the kernel does.",
    mend: "`CONFIG SET activedefrag yes` where the server was built with it, or a restart of a replica and a failover to it.",
    look: Look::Cache(|cache| {
        let ratio = cache.info.number("mem_fragmentation_ratio")?;
        let (used, ..) = cache.memory();
        if ratio < 1.5 || used < 256e6 {
            return None;
        }
        Some(
            found(format!(
                "{ratio:.2} bytes held for each one used ({} used)",
                bytes(used)
            ))
            .mend(format!("{} CONFIG SET activedefrag yes", cache.cli)),
        )
    }),
};
