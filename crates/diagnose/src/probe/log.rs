//! Lines of logs that tell of a failure, counted by what they tell.
//!
//! Nothing of a line is kept. A line longer than [`LINE_MAX`] is judged by its beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seawall_core::record::Metric;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::sample::{Place, Sample};

/// So much of a line is looked at, in bytes.
pub const LINE_MAX: usize = 8_192;
/// So much of a file is read in a period, in bytes; what is behind waits for the next.
const PERIOD_MAX: usize = 16 << 20;

/// What is looked for, in lower case, and what it tells; the first that fits counts.
const PATTERNS: [(&str, &str); 33] = [
    ("max number of clients", "too_many_clients"),
    ("too many clients already", "origin_connections"),
    ("remaining connection slots", "origin_connections"),
    ("too many connections for", "origin_connections"),
    ("pool timed out", "origin_connections"),
    ("pool timeout", "origin_connections"),
    ("queuepool limit", "origin_connections"),
    ("connection pool exhausted", "origin_connections"),
    ("deadlock detected", "origin_locked"),
    ("lock timeout", "origin_locked"),
    ("statement timeout", "origin_slow"),
    ("oom command not allowed", "out_of_memory"),
    ("maxmemory reached", "out_of_memory"),
    ("out of memory", "killed"),
    ("oom-kill", "killed"),
    ("oomkilled", "killed"),
    ("misconf", "disk_full"),
    ("no space left on device", "disk_full"),
    ("loading redis is loading", "loading"),
    ("busyloading", "loading"),
    ("readonly you can't write", "read_only"),
    ("readonlyerror", "read_only"),
    ("wrongtype", "wrong_type"),
    ("noauth", "no_auth"),
    ("wrongpass", "no_auth"),
    ("authenticationerror", "no_auth"),
    ("clusterdown", "unavailable"),
    ("masterdown", "unavailable"),
    ("connection refused", "refused"),
    ("econnrefused", "refused"),
    ("connection reset", "reset"),
    ("econnreset", "reset"),
    ("broken pipe", "reset"),
];

/// What tells of a failure without saying which, when nothing above does.
const VAGUE: [(&str, &str); 6] = [
    ("timed out", "timed_out"),
    ("timeouterror", "timed_out"),
    ("timeout", "timed_out"),
    ("etimedout", "timed_out"),
    ("cacheerror", "error"),
    ("connectionerror", "error"),
];

/// What a line tells of, if it tells of a failure.
///
/// ```
/// use seawall_diagnose::probe::log::reason;
/// assert_eq!(reason(b"CacheError: OOM command not allowed when used memory > 'maxmemory'"), Some("out_of_memory"));
/// assert_eq!(reason(b"redis.exceptions.ConnectionError: Error 111: Connection refused"), Some("refused"));
/// assert_eq!(reason(b"GET /users/1 200 3ms"), None);
/// ```
pub fn reason(line: &[u8]) -> Option<&'static str> {
    let line = &line[..line.len().min(LINE_MAX)];
    let line = String::from_utf8_lossy(line).to_lowercase();
    let mut all = PATTERNS.iter().chain(&VAGUE);
    let found = all.find(|(pattern, _)| line.contains(pattern));
    found.map(|(_, reason)| *reason)
}

/// Counts lines that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct LogCounter {
    counts: BTreeMap<&'static str, u64>,
    begun: Vec<u8>,
}

impl LogCounter {
    /// Takes some bytes; a line counts when its end has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep(&rest[..end]);
            self.end();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The line under way ends here.
    pub fn end(&mut self) {
        if let Some(reason) = reason(&self.begun) {
            *self.counts.entry(reason).or_default() += 1;
        }
        self.begun.clear();
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE_MAX.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// What was counted since it was asked last.
    pub fn taken(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.counts)
    }
}

/// A log that is followed: a file, also when it is rotated, or what comes in.
pub struct LogProbe {
    place: Place,
    source: Source,
    counter: LogCounter,
}

enum Source {
    File(Followed),
    Stream(Box<dyn AsyncRead + Unpin + Send>),
    Ended,
}

struct Followed {
    path: PathBuf,
    open: Option<File>,
    /// Where the file was read to.
    at: u64,
    /// Whether lines that are there already count.
    from_start: bool,
}

impl LogProbe {
    /// Follows a file, which need not be there yet. What it holds already counts only with `from_start`.
    pub fn file(path: &Path, place: Place, from_start: bool) -> LogProbe {
        LogProbe {
            place,
            source: Source::File(Followed {
                path: path.to_owned(),
                open: None,
                at: 0,
                from_start,
            }),
            counter: LogCounter::default(),
        }
    }

    /// Follows what comes in, such as standard input.
    pub fn stream(stream: impl AsyncRead + Unpin + Send + 'static, place: Place) -> LogProbe {
        LogProbe {
            place,
            source: Source::Stream(Box::new(stream)),
            counter: LogCounter::default(),
        }
    }

    /// Reads what is new, and no longer than until the deadline.
    pub async fn round(&mut self, deadline: tokio::time::Instant) -> Sample {
        // Late, what was counted so far is told; the rest is read in the next round.
        let _ = tokio::time::timeout_at(deadline, self.read()).await;
        let counts = self.counter.taken();
        let points = counts
            .into_iter()
            .map(|(reason, count)| self.place.labelled(Metric::LogLines, reason, count as f64));
        Sample {
            points: points.collect(),
            ..Sample::default()
        }
    }

    async fn read(&mut self) {
        let done = match &mut self.source {
            Source::File(followed) => {
                followed.read(&mut self.counter).await;
                false
            }
            Source::Stream(stream) => {
                let mut read = 0;
                loop {
                    let mut piece = vec![0; 64 << 10];
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => break true,
                        Ok(length) => {
                            self.counter.feed(&piece[..length]);
                            read += length;
                        }
                    }
                    if read > PERIOD_MAX {
                        break false;
                    }
                }
            }
            Source::Ended => false,
        };
        if done {
            self.counter.end();
            self.source = Source::Ended;
        }
    }
}

impl Followed {
    async fn read(&mut self, counter: &mut LogCounter) {
        if self.is_rotated().await {
            self.rest(counter).await;
            counter.end();
            (self.open, self.at, self.from_start) = (None, 0, true);
        }
        if self.open.is_none() {
            let Ok(mut file) = File::open(&self.path).await else {
                // What is written to it later is new.
                self.from_start = true;
                return;
            };
            if !self.from_start {
                self.at = file.seek(std::io::SeekFrom::End(0)).await.unwrap_or(0);
            }
            self.open = Some(file);
        }
        self.rest(counter).await;
    }

    async fn rest(&mut self, counter: &mut LogCounter) {
        let Some(file) = &mut self.open else { return };
        let mut read = 0;
        let mut piece = vec![0; 64 << 10];
        while let Ok(length @ 1..) = file.read(&mut piece).await {
            counter.feed(&piece[..length]);
            self.at += length as u64;
            read += length;
            if read > PERIOD_MAX {
                break;
            }
        }
    }

    /// Whether another file has this name now, or this one was cut.
    async fn is_rotated(&self) -> bool {
        let Some(file) = &self.open else { return false };
        let (Ok(here), Ok(there)) = (file.metadata().await, tokio::fs::metadata(&self.path).await) else {
            return false;
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
                return true;
            }
        }
        there.len() < self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_runbooks_are_told_apart() {
        for (line, expected) in [
            (
                "redis.exceptions.ConnectionError: Error 111 connecting. Connection refused.",
                Some("refused"),
            ),
            ("CacheError: something", Some("error")),
            (
                "ERROR TimeoutError: Timeout reading from socket",
                Some("timed_out"),
            ),
            (
                "ReplyError: ERR max number of clients reached",
                Some("too_many_clients"),
            ),
            ("LOADING Redis is loading the dataset in memory", Some("loading")),
            (
                "READONLY You can't write against a read only replica.",
                Some("read_only"),
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                Some("disk_full"),
            ),
            ("WRONGTYPE Operation against a key", Some("wrong_type")),
            ("NOAUTH Authentication required.", Some("no_auth")),
            (
                "FATAL: sorry, too many clients already",
                Some("origin_connections"),
            ),
            (
                "ERROR: canceling statement due to statement timeout",
                Some("origin_slow"),
            ),
            (
                "kernel: Out of memory: Killed process 42 (redis-server)",
                Some("killed"),
            ),
            ("all is well", None),
            ("", None),
        ] {
            assert_eq!(reason(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn pieces_are_lines_and_long_ones_are_bounded() {
        let mut counter = LogCounter::default();
        counter.feed(b"Connection ref");
        counter.feed(b"used\nfine\nConnection reset");
        assert_eq!(counter.taken(), BTreeMap::from([("refused", 1)]));
        counter.feed(b"\n");
        assert_eq!(counter.taken(), BTreeMap::from([("reset", 1)]));
        counter.feed(&vec![b'x'; LINE_MAX * 3]);
        assert_eq!(counter.begun.len(), LINE_MAX);
        counter.feed(b"Connection refused\n");
        assert_eq!(counter.taken(), BTreeMap::new(), "it is beyond what is looked at");
    }
}
