//! Every step there is, once.

use serde::Serialize;
use serde_json::json;

use super::{Action, How, Phase, To};
use crate::failure::Failure;

/// A step before it is known for which system it is.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its name.
    pub id: Id,
    /// What it is.
    pub title: &'static str,
    /// When it is due.
    pub phase: Phase,
    /// What it does.
    pub does: &'static str,
    /// What can go wrong with it.
    pub risk: &'static str,
    /// How one sees that it helped.
    pub verify: &'static str,
    /// How it is taken back.
    pub undo: &'static str,
    /// Who does it; in commands, `{host}`, `{port}`, `{redis}`, `{gateway}` stand for names of the system.
    pub how: How,
    /// In which failures it makes things worse.
    pub harms: &'static [Failure],
}

macro_rules! ids {
    ($($variant:ident = $name:literal,)+) => {
        /// The name of a step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the catalog says what each step is")]
        pub enum Id { $($variant,)+ }

        impl Id {
            /// Every step, in the order of the documentation.
            pub const ALL: &'static [Id] = &[$(Id::$variant,)+];

            /// As it is typed.
            pub const fn name(self) -> &'static str {
                match self { $(Id::$variant => $name,)+ }
            }

            /// The step of this name.
            pub fn from_name(name: &str) -> Option<Id> {
                Id::ALL.iter().copied().find(|id| id.name() == name)
            }
        }
    };
}

ids! {
    LimitOrigin = "limit-origin",
    Coalesce = "coalesce",
    Stale = "serve-stale",
    CacheBreaker = "cache-breaker",
    OriginBreaker = "origin-breaker",
    HoldBreaker = "hold-breaker-open",
    Throttle = "throttle-reads",
    Shed = "shed-low-priority",
    Queue = "bound-queue",
    Rate = "rate-limit",
    RetryBudget = "retry-budget",
    Deadline = "short-timeouts",
    Jitter = "jitter-ttl",
    TtlClasses = "ttl-classes",
    Early = "refresh-early",
    Negative = "cache-missing-keys",
    HotKeys = "hot-keys-in-memory",
    Integrity = "check-entries",
    Warm = "warm",
    Balance = "least-connections",
    Purge = "purge-keys",
    RaiseMaxmemory = "raise-maxmemory",
    Evict = "evict-lru",
    RaiseMaxclients = "raise-maxclients",
    DropIdle = "drop-idle-clients",
    AllowWrites = "allow-writes-without-disk",
    StartRedis = "start-redis",
    CheckNetwork = "check-network",
    WakeRedis = "wake-redis",
    WaitPause = "wait-for-unpause",
    FindSlow = "find-slow-commands",
    WaitLoading = "wait-for-loading",
    FixAuth = "fix-login",
    FindMaster = "find-master",
    FreeDisk = "free-disk",
    GiveCpu = "give-cpu",
    MemoryLimit = "fit-memory-limit",
    FindLock = "find-lock",
    FindSlowQueries = "find-slow-queries",
    OriginConnections = "free-origin-connections",
    CheckOrigin = "check-origin",
    ScaleOrigin = "scale-origin",
    ScaleService = "scale-service",
    CheckService = "check-service",
    CheckWriters = "check-writers",
    Shard = "shard-cache",
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The step of this name.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub fn catalog(id: Id) -> Recipe {
    let policy = |name, settings| How::Seawall(Action::Policy { name, settings });
    let person = |commands: &[&str]| How::Person(commands.iter().map(|line| (*line).to_owned()).collect());
    let recipe = |title, phase, does, risk, verify, undo, how| Recipe {
        id,
        title,
        phase,
        does,
        risk,
        verify,
        undo,
        how,
        harms: harms(id),
    };
    match id {
        Id::LimitOrigin => recipe(
            "bound the calls inside the origin",
            Phase::Mitigate,
            "lets at most 50 calls of a gateway into the origin at a time and sheds what does not fit, with a word on when to come back",
            "calls beyond it are turned away: they would have timed out, and taken others with them",
            "the origin's answers are as quick as before; what is answered stays answered",
            "take the change back, in steps, when the hit rate is back",
            policy(
                "limit",
                json!({"on": true, "mode": "fixed", "max": 50, "places": 50, "timeout": "100ms"}),
            ),
        ),
        Id::Coalesce => recipe(
            "let one load serve all who wait for the same key",
            Phase::Mitigate,
            "many misses of one key become one call of the origin",
            "none worth naming: who waits has a deadline of his own, and a load that hangs frees its key",
            "calls to the origin fall, while as many are answered",
            "take the change back; there is no reason to",
            policy("coalesce", json!({"on": true, "window": "0s", "wait_max": "5s"})),
        ),
        Id::Stale => recipe(
            "answer with what is stale, within bounds",
            Phase::Mitigate,
            "serves entries past their freshness for up to five minutes while the origin fails, and for 30 s while they are refreshed",
            "answers up to five minutes old; an explicit purge still wins",
            "more calls are answered; answers that are stale are counted as such",
            "take the change back when the origin is well",
            policy(
                "stale",
                json!({"on": true, "while_revalidating": "30s", "on_error": "5m"}),
            ),
        ),
        Id::CacheBreaker => recipe(
            "stop asking a cache that does not answer",
            Phase::Mitigate,
            "after five failures within 10 s a node is not asked for 5 s, and then by one probe at a time",
            "what is not asked of the cache is asked of the origin: bound that first (limit-origin)",
            "threads are free again, and calls take no longer than the origin does",
            "take the change back; it closes by itself when the cache answers",
            policy(
                "breaker",
                json!({"on": true, "failures": 5, "window": "10s", "open_for": "5s"}),
            ),
        ),
        Id::OriginBreaker => recipe(
            "stop asking an origin that does not answer",
            Phase::Mitigate,
            "when half of at least 20 calls within 10 s fail, the origin is not asked for 5 s",
            "for that time only what is cached is answered",
            "the origin's queue empties, and its answers are quick again",
            "take the change back; it closes by itself",
            policy(
                "origin_breaker",
                json!({"on": true, "failure_rate": "50%", "window": "10s", "minimum_calls": 20, "open_for": "5s"}),
            ),
        ),
        Id::HoldBreaker => recipe(
            "hold the gateway's breaker of the origin open",
            Phase::Mitigate,
            "the origin is not asked at all until the breaker is let go: what is kept is still answered",
            "everything that is not cached is turned away",
            "the origin is idle, and its queue empty",
            "let the breaker go (POST /breakers/UPSTREAM/auto)",
            How::Seawall(Action::HoldBreaker),
        ),
        Id::Throttle => recipe(
            "let a share of the reads in while the origin is slow",
            Phase::Mitigate,
            "the share falls while the origin takes longer than 100 ms and rises by 5% when it does not; writes pass",
            "a share of the reads is turned away",
            "the origin's answers are quick again; the share rises by itself",
            "take the change back when the share is 100%",
            policy(
                "throttle",
                json!({"on": true, "latency": "100ms", "on_cache_down": true}),
            ),
        ),
        Id::Shed => recipe(
            "turn low priority away first",
            Phase::Mitigate,
            "above 80% of what fits, requests of low priority are turned away, in three levels",
            "who has low priority gets nothing for a while",
            "requests of high priority are all answered",
            "take the change back when the level is 0",
            policy("shed", json!({"on": true, "threshold": "80%", "levels": 3})),
        ),
        Id::Queue => recipe(
            "bound the line before the gateway",
            Phase::Mitigate,
            "at most 100 requests wait, for at most a second; the newest first while there are too many",
            "who would have waited longer is turned away at once",
            "waiting times are below a second",
            "take the change back",
            policy(
                "queue",
                json!({"on": true, "places": 100, "timeout": "1s", "order": "adaptive"}),
            ),
        ),
        Id::Rate => recipe(
            "let so many requests a second in, as many as succeed",
            Phase::Mitigate,
            "finds the rate at which hardly any request fails, between 10/s and 100k/s",
            "what is more is turned away",
            "requests that are let in are answered",
            "take the change back when the rate is no bound any more",
            policy(
                "rate",
                json!({"on": true, "rate": "1k/s", "adaptive": {"min": "10/s", "max": "100k/s", "window": "10s", "failures": "10%"}}),
            ),
        ),
        Id::RetryBudget => recipe(
            "retry one call in ten at the most",
            Phase::Mitigate,
            "retries take from a budget of 10% of the calls, with backoff and full jitter",
            "a call that a retry would have saved fails",
            "calls to the origin fall to what clients ask for",
            "take the change back; better keep it",
            policy(
                "retry",
                json!({"on": true, "attempts": 2, "budget": "10%", "backoff": "100ms"}),
            ),
        ),
        Id::Deadline => recipe(
            "wait 50 ms for the cache, and a second in all",
            Phase::Mitigate,
            "a look-up that takes longer counts as failed, and the origin is asked within the rest of the deadline",
            "a cache that is merely slow is passed over: bound the origin first (limit-origin)",
            "threads are free again",
            "take the change back when the cache is quick",
            policy("deadline", json!({"cache": "50ms", "total": "1s"})),
        ),
        Id::Jitter => recipe(
            "spread when entries expire",
            Phase::Stabilise,
            "what is stored from now on lives up to a fifth shorter, each entry by another length",
            "the origin gets up to a fifth more calls, evenly",
            "after one TTL the misses come evenly, without a peak",
            "take the change back; better keep it",
            policy("ttl", json!({"jitter": "20%"})),
        ),
        Id::TtlClasses => recipe(
            "keep what matters for longer",
            Phase::Stabilise,
            "critical keys live for an hour, important ones for half of it, the others for a quarter",
            "answers may be as old as that",
            "misses of critical keys fall",
            "take the change back when the load is normal",
            policy(
                "ttl",
                json!({"critical": "1h", "important": "30m", "regular": "15m", "jitter": "20%"}),
            ),
        ),
        Id::Early => recipe(
            "let the odd reader refresh before an entry expires",
            Phase::Stabilise,
            "popular entries are refreshed by one reader shortly before their end (XFetch)",
            "slightly more calls to the origin",
            "popular keys do not expire under load any more",
            "take the change back",
            policy("early", json!({"on": true, "beta": 1})),
        ),
        Id::Negative => recipe(
            "remember that a key does not exist",
            Phase::Mitigate,
            "an answer \"there is no such thing\" is kept for 30 s",
            "what is created within the 30 s is not seen by those who asked before; memory for as many keys as are asked for",
            "calls to the origin that find nothing fall",
            "take the change back",
            policy("ttl", json!({"negative": "30s"})),
        ),
        Id::HotKeys => recipe(
            "keep hot keys in each instance's memory",
            Phase::Mitigate,
            "keys with more than 1% of the requests are answered from memory for a second",
            "answers to these keys may be a second older",
            "the node that holds the key has normal load",
            "take the change back",
            policy("hot", json!({"on": true, "share": "1%", "ttl": "1s"})),
        ),
        Id::Integrity => recipe(
            "check every entry before it is an answer",
            Phase::Mitigate,
            "an entry that is not what was stored is a miss, and is taken out",
            "what was stored without a checksum is a miss as well: the origin gets these loads (limit-origin first)",
            "no wrong answer any more",
            "take the change back; better keep it",
            policy("integrity", json!(true)),
        ),
        Id::Warm => recipe(
            "load what is hot, at a pace",
            Phase::Stabilise,
            "the gateway loads the keys that were asked for most, no faster than `protect.warm` says",
            "the origin gets the pace on top: only when it has room",
            "the hit rate rises faster than it did",
            "it ends by itself",
            How::Seawall(Action::Warm),
        ),
        Id::Balance => recipe(
            "send each call to the server with the fewest",
            Phase::Distribute,
            "a slow server gets fewer calls",
            "a server that fails fast looks idle: have ejection on",
            "servers are equally busy",
            "take the change back",
            policy("balance", json!("least_connections")),
        ),
        Id::Purge => recipe(
            "purge the keys that are wrong, and only these",
            Phase::Stabilise,
            "takes the keys that `--key` names out of every tier; a purge beats every kind of staleness",
            "each is loaded anew. FLUSHDB would do that to all at once, in the middle of it: never flush",
            "the keys are answered right",
            "there is nothing to take back: they are loaded when they are asked for",
            How::Seawall(Action::Purge),
        ),
        Id::RaiseMaxmemory => recipe(
            "give Redis a quarter more memory",
            Phase::Mitigate,
            "`CONFIG SET maxmemory` to 1.25 times what it is, when the machine has as much",
            "with less memory than that on the machine the kernel kills it: it is refused then",
            "writes are taken again: a canary is written and read back",
            "set it back to what it was",
            How::Seawall(Action::Setting {
                name: "maxmemory",
                to: To::Times(1.25),
            }),
        ),
        Id::Evict => recipe(
            "let Redis evict what was used longest ago",
            Phase::Mitigate,
            "`CONFIG SET maxmemory-policy allkeys-lru`; memory above the limit is freed by the next writes",
            "keys without a TTL may go as well: do not do it where Redis is also a database",
            "writes are taken again, and evictions are counted",
            "set it back to what it was",
            How::Seawall(Action::Setting {
                name: "maxmemory-policy",
                to: To::Value("allkeys-lru"),
            }),
        ),
        Id::RaiseMaxclients => recipe(
            "let twice as many clients in",
            Phase::Mitigate,
            "`CONFIG SET maxclients` to twice what it is, as far as the limit of open files goes",
            "each client takes memory; the reason why there are so many is not mended",
            "no connection is turned away any more",
            "set it back to what it was",
            How::Seawall(Action::Setting {
                name: "maxclients",
                to: To::Times(2.0),
            }),
        ),
        Id::DropIdle => recipe(
            "end the connections that nobody uses",
            Phase::Mitigate,
            "ends clients that have been idle for five minutes, one by one by their id. `CLIENT KILL TYPE normal` would end all of them, and all would come back at once",
            "a pool that keeps idle connections opens them again",
            "there are fewer clients, and none is turned away",
            "there is nothing to take back: who needs a connection opens one",
            How::Seawall(Action::DropIdleClients { idle_s: 300 }),
        ),
        Id::AllowWrites => recipe(
            "take writes although they cannot be saved to disk",
            Phase::Mitigate,
            "`CONFIG SET stop-writes-on-bgsave-error no`: a cache has no need of its snapshot",
            "what is written since the last snapshot is lost with the process: do not do it where Redis is also a database",
            "writes are taken again: a canary is written and read back",
            "set it back to yes when the disk has room",
            How::Seawall(Action::Setting {
                name: "stop-writes-on-bgsave-error",
                to: To::Value("no"),
            }),
        ),
        Id::StartRedis => recipe(
            "see why Redis is gone, and start it",
            Phase::Stabilise,
            "looks at the process, its log and the kernel's, and starts it again",
            "it comes back empty: the load on the origin falls only after a refill, in ripples one TTL apart. Bound the origin first, and lift the bound in steps",
            "PING is answered; then the hit rate rises",
            "there is nothing to take back",
            person(&[
                "systemctl status redis-server",
                "journalctl -u redis-server -n 50 --no-pager",
                "dmesg -T | grep -iE 'oom|killed process' | tail",
                "systemctl start redis-server",
                "redis-cli -h {host} -p {port} ping",
            ]),
        ),
        Id::CheckNetwork => recipe(
            "find where packets to Redis are lost",
            Phase::Stabilise,
            "asks from the machine of the service whether the port is reached, and on which way",
            "none: it only looks. Do not restart Redis: it keeps its entries, and is well as soon as it is reached",
            "a connection comes about at once",
            "there is nothing to take back",
            person(&[
                "nc -zvw 2 {host} {port}",
                "ip route get {host}",
                "ss -tnp dst {host} | head",
                "iptables -nvL | grep -w {port}",
                "kubectl get networkpolicy -A",
            ]),
        ),
        Id::WakeRedis => recipe(
            "see why the process stands still, and wake it",
            Phase::Stabilise,
            "a stopped process (state T) goes on with SIGCONT and keeps its entries; one in state D waits for a disk; one in R runs a command that does not end",
            "a restart empties it: only when it cannot be woken",
            "PING is answered, and the hit rate is what it was",
            "there is nothing to take back",
            person(&[
                "ps -o pid,stat,wchan:20,time,cmd -C redis-server",
                "kill -CONT $(pidof redis-server)",
                "redis-cli -h {host} -p {port} --latency -i 1",
                "redis-cli -h {host} -p {port} slowlog get 10",
            ]),
        ),
        Id::WaitPause => recipe(
            "find who paused Redis, and wait",
            Phase::Stabilise,
            "a pause ends by itself after the time that it was given. Orchestrators pause during a failover",
            "CLIENT UNPAUSE is held back like every command of a new client; a restart empties the cache for a pause of seconds",
            "PING is answered",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} client unpause   # only an exempt connection gets through",
                "redis-cli -h {host} -p {port} info replication",
            ]),
        ),
        Id::FindSlow => recipe(
            "find the commands that take long, and who sends them",
            Phase::Stabilise,
            "reads SLOWLOG and commandstats: a KEYS, a large SORT or LRANGE, or a script holds all others up",
            "none: it only looks",
            "the time of a command inside Redis is what it was",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} slowlog get 10",
                "redis-cli -h {host} -p {port} info commandstats",
                "redis-cli -h {host} -p {port} client list   # the client of a slow command, by its address",
                "redis-cli -h {host} -p {port} script kill   # only if a script that has written nothing runs",
            ]),
        ),
        Id::WaitLoading => recipe(
            "wait until Redis has read its data set",
            Phase::Stabilise,
            "INFO says how far it is; a restart would begin anew",
            "none",
            "loading is 0, and PING is answered",
            "there is nothing to take back",
            person(&["redis-cli -h {host} -p {port} info persistence | grep loading"]),
        ),
        Id::FixAuth => recipe(
            "compare the login with the server's",
            Phase::Stabilise,
            "a password was rotated, or an ACL changed: the service and Redis do not have the same",
            "none: it only looks",
            "the canary is written and read back",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} acl log 10   # with a login that works",
                "kubectl get secret REDIS_SECRET -o jsonpath='{.metadata.creationTimestamp}'",
                "kubectl rollout status deployment/APP",
            ]),
        ),
        Id::FindMaster => recipe(
            "find who is master, and let clients follow",
            Phase::Stabilise,
            "asks the server for its role and the sentinels or the cluster for the master",
            "promoting a second master by hand loses writes: let the sentinels do it",
            "the canary is written and read back",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} role",
                "redis-cli -h SENTINEL -p 26379 sentinel masters",
                "redis-cli -h {host} -p {port} cluster nodes",
            ]),
        ),
        Id::FreeDisk => recipe(
            "make room on the disk",
            Phase::Stabilise,
            "shows what fills the disk that Redis saves to",
            "do not delete the snapshot or the append-only file of a server that runs",
            "the next BGSAVE ends well, and writes are taken",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} config get dir",
                "df -h; du -xsh /var/lib/redis/* | sort -h | tail",
                "redis-cli -h {host} -p {port} bgsave",
            ]),
        ),
        Id::GiveCpu => recipe(
            "give the process its processor back",
            Phase::Stabilise,
            "shows what else runs, and whether a quota throttles it",
            "none: it only looks",
            "the time of a command is what it was",
            "there is nothing to take back",
            person(&[
                "top -b -n 1 | head -15",
                "cat /sys/fs/cgroup/system.slice/redis-server.service/cpu.stat",
                "kubectl top pods -A --sort-by=cpu | head",
            ]),
        ),
        Id::MemoryLimit => recipe(
            "fit the limits of memory to each other",
            Phase::Stabilise,
            "`maxmemory` has to be well below what the kernel or the pod lets it have: a fork to save may take as much again",
            "a lower `maxmemory` evicts",
            "no new kill in the kernel's log",
            "set it back",
            person(&[
                "dmesg -T | grep -iE 'oom|killed process' | tail",
                "redis-cli -h {host} -p {port} info memory | grep -E 'used_memory_human|maxmemory_human|used_memory_rss_human'",
                "kubectl get pod POD -o jsonpath='{.status.containerStatuses[*].lastState.terminated.reason}'",
            ]),
        ),
        Id::FindLock => recipe(
            "find the session that holds the lock",
            Phase::Mitigate,
            "shows who waits for whom, and since when",
            "ending a session rolls its transaction back: look at what it does first. Do not restart the database",
            "no session waits for a lock",
            "there is nothing to take back",
            person(&[
                "psql -c \"SELECT pid, pg_blocking_pids(pid) AS held_by, now() - xact_start AS age, state, left(query, 60) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0\"",
                "psql -c \"SELECT pg_cancel_backend(PID)\"",
                "psql -c \"SELECT pg_terminate_backend(PID)\"",
            ]),
        ),
        Id::FindSlowQueries => recipe(
            "find what the origin spends its time on",
            Phase::Stabilise,
            "shows the longest and the most frequent queries under way",
            "none: it only looks. A restart of the database in the middle of it makes it worse",
            "the origin's answers are as quick as before",
            "there is nothing to take back",
            person(&[
                "psql -c \"SELECT left(query, 60) AS query, count(*), max(now() - query_start) AS longest FROM pg_stat_activity WHERE state = 'active' GROUP BY 1 ORDER BY 2 DESC LIMIT 10\"",
                "psql -c \"SELECT wait_event_type, wait_event, count(*) FROM pg_stat_activity WHERE state = 'active' GROUP BY 1, 2 ORDER BY 3 DESC\"",
            ]),
        ),
        Id::OriginConnections => recipe(
            "free connections of the origin",
            Phase::Stabilise,
            "shows who has them; those that are idle in a transaction hold them for nothing",
            "more connections make an origin slower that has too much to do: bound the calls first (limit-origin)",
            "there are free connections",
            "there is nothing to take back",
            person(&[
                "psql -c \"SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC\"",
                "psql -c \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction' AND state_change < now() - interval '1 minute'\"",
            ]),
        ),
        Id::CheckOrigin => recipe(
            "see whether the origin runs",
            Phase::Stabilise,
            "asks the database and its machine",
            "none: it only looks",
            "a query is answered",
            "there is nothing to take back",
            person(&[
                "pg_isready -h {origin}",
                "systemctl status postgresql",
                "kubectl get pods -l app=postgres",
            ]),
        ),
        Id::ScaleOrigin => recipe(
            "add replicas for reads",
            Phase::Distribute,
            "more copies carry more reads, after the minutes that they take to start. Replicas of a deployment of one database are not that: each would have data of its own",
            "a new replica is cold and slow for a while, and copies its data from the one that has no time",
            "reads spread, and each copy has room",
            "remove them when the hit rate is back",
            person(&["kubectl scale statefulset/POSTGRES-READ --replicas=3"]),
        ),
        Id::ScaleService => recipe(
            "add instances of the service",
            Phase::Distribute,
            "more threads, when threads are what is missing",
            "each instance may call the origin as much as the others: when the origin is what is full, it makes it worse",
            "the line before the service is empty",
            "scale back",
            person(&["kubectl scale deployment/APP --replicas=N"]),
        ),
        Id::CheckService => recipe(
            "see why instances go",
            Phase::Stabilise,
            "the last state of a pod says whether it was killed for want of memory or crashed",
            "none: it only looks. Restarting all at once leaves nobody: one after the other",
            "all instances are up, and stay up",
            "there is nothing to take back",
            person(&[
                "kubectl get pods -l app=APP",
                "kubectl describe pod POD | grep -A5 'Last State'",
                "kubectl logs POD --previous --tail=100",
                "kubectl rollout undo deployment/APP   # when it began with a deployment",
            ]),
        ),
        Id::CheckWriters => recipe(
            "find out why nothing is stored",
            Phase::Stabilise,
            "a rule that excludes too much, a TTL of 0, or a role without the right to write",
            "none: it only looks",
            "there are as many writes as misses",
            "there is nothing to take back",
            person(&[
                "redis-cli -h {host} -p {port} info commandstats | grep -E 'cmdstat_(set|setex|psetex|eval)'",
                "redis-cli -h {host} -p {port} acl whoami",
            ]),
        ),
        Id::Shard => recipe(
            "spread the keys over more nodes",
            Phase::Distribute,
            "more nodes behind a ring: each holds a part, and the loss of one is the loss of a part",
            "keys that move are cold: a ring moves a share of them, a modulo nearly all. Not in the middle of it",
            "nodes are equally busy",
            "take the nodes out again, one at a time",
            person(&["seawall simulate SCENARIO --set cache.redis.nodes=N   # before, to see what moves"]),
        ),
    }
}

/// The failures in which a step makes things worse.
fn harms(id: Id) -> &'static [Failure] {
    use Failure as F;
    match id {
        // An empty cache is filled by asking the origin: who does not ask never fills it.
        Id::HoldBreaker => &[
            F::Cold,
            F::MassExpiry,
            F::Stampede,
            F::TrafficSpike,
            F::SlowCommands,
            F::NetworkLatency,
        ],
        // A process that has its entries loses them.
        Id::StartRedis => &[
            F::Hung,
            F::Paused,
            F::Unreachable,
            F::NetworkLatency,
            F::SlowCommands,
            F::CpuStarved,
            F::TooManyClients,
            F::Loading,
            F::Reset,
            F::Auth,
            F::OutOfMemory,
            F::DiskFull,
        ],
        Id::Evict => &[F::Corruption],
        Id::DropIdle => &[F::Reset, F::Refused],
        Id::Warm => &[
            F::OriginFull,
            F::OriginSlow,
            F::OriginLocked,
            F::OriginDown,
            F::RetryStorm,
            F::TrafficSpike,
        ],
        Id::ScaleService => &[
            F::OriginFull,
            F::OriginSlow,
            F::OriginLocked,
            F::Stampede,
            F::Cold,
            F::MassExpiry,
            F::RetryStorm,
        ],
        Id::Shard => &[
            F::Cold,
            F::MassExpiry,
            F::Stampede,
            F::OriginFull,
            F::OriginSlow,
            F::RetryStorm,
        ],
        Id::Purge => &[
            F::Cold,
            F::MassExpiry,
            F::Stampede,
            F::OriginFull,
            F::OriginSlow,
            F::RetryStorm,
            F::TrafficSpike,
        ],
        Id::CacheBreaker => &[F::Cold, F::MassExpiry, F::Stampede],
        Id::RaiseMaxmemory => &[F::Killed],
        _ => &[],
    }
}
