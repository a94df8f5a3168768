//! A gateway as a real process, with an upstream before which it stands and readers who ask through it, both of the test's own
//! making. The readers say on a page of metrics how they fare, as an app would.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::stage::{Ended, Folder};

/// So many readers ask at a time at most.
const READERS_MAX: usize = 400;

/// What an upstream answers.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) after: Duration,
    pub(crate) status: u16,
    /// `Cache-Control`, and nothing when it is empty.
    pub(crate) keep: &'static str,
    pub(crate) body: &'static str,
}

impl Reply {
    /// Right, and kept as it says.
    pub(crate) fn right(after: Duration, keep: &'static str) -> Reply {
        Reply {
            after,
            status: 200,
            keep,
            body: "right",
        }
    }

    pub(crate) fn failing(after: Duration) -> Reply {
        Reply {
            after,
            status: 500,
            keep: "",
            body: "failed",
        }
    }
}

/// A server that does one thing at a time, each as long as the other: who comes late waits for all who came before,
/// also for those who have left.
pub(crate) struct Line {
    each: Duration,
    free_at: Mutex<Instant>,
}

impl Line {
    /// It begins with so much work to do already.
    pub(crate) fn new(each: Duration, behind: Duration) -> Line {
        Line {
            each,
            free_at: Mutex::new(Instant::now() + behind),
        }
    }

    /// How long one who comes now is there.
    pub(crate) fn stay(&self) -> Duration {
        let now = Instant::now();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + self.each;
        *free_at - now
    }
}

/// Everything that lives in the test's own process.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
}

/// Readers who ask at a steady rate, whatever becomes of it, until they are dropped.
pub(crate) struct Readers {
    counts: Arc<Counts>,
    page: SocketAddr,
}

#[derive(Default)]
struct Counts {
    fresh: AtomicU64,
    wrong: AtomicU64,
    error: AtomicU64,
    timeout: AtomicU64,
    idle: Mutex<Vec<TcpStream>>,
    at_once: AtomicU64,
    stop: AtomicBool,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
    }
}

impl Readers {
    /// Where they say how they fare.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.page)
    }

    /// So many have been answered well, and so many have not.
    pub(crate) fn ended(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        let lost = read(&counts.wrong) + read(&counts.error) + read(&counts.timeout);
        (read(&counts.fresh), lost)
    }

    /// Waits until of those who ask in half a second this share is lost, and says which share it is in the end.
    pub(crate) fn wait_until_lost(&self, share: f64) {
        let begun = Instant::now();
        loop {
            let before = self.ended();
            std::thread::sleep(Duration::from_millis(500));
            let after = self.ended();
            let (good, lost) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
            if lost > 0.0 && lost >= share * (good + lost) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(15),
                "only {lost} of {} are lost",
                good + lost
            );
        }
    }
}

impl World {
    pub(crate) fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        World {
            runtime: runtime.expect("a runtime"),
        }
    }

    /// An upstream that answers what `reply` says of a path.
    pub(crate) fn upstream(&self, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> SocketAddr {
        let reply = Arc::new(reply);
        self.serve(move |path| {
            let reply = reply(path);
            let keep = match reply.keep {
                "" => String::new(),
                keep => format!("cache-control: {keep}\r\n"),
            };
            let (status, length, body) = (reply.status, reply.body.len(), reply.body);
            let text = format!("HTTP/1.1 {status} X\r\n{keep}content-length: {length}\r\n\r\n{body}");
            (reply.after, text)
        })
    }

    fn serve(&self, answer: impl Fn(&str) -> (Duration, String) + Send + Sync + 'static) -> SocketAddr {
        let listener = self
            .runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = Arc::new(answer);
        self.runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    while let Some(head) = message(&mut stream).await {
                        let path = head.split(' ').nth(1).unwrap_or("/");
                        let (after, text) = answer(path);
                        sleep(after).await;
                        if stream.write_all(text.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    /// Readers who ask the gateway for `per_s` addresses a second, and wait for `patience`.
    pub(crate) fn readers(
        &self,
        gateway: &Gateway,
        per_s: u32,
        patience: Duration,
        path: impl Fn(u64) -> String + Send + 'static,
    ) -> Readers {
        let counts = Arc::<Counts>::default();
        let told = Arc::clone(&counts);
        let page = self.serve(move |_| (Duration::ZERO, told.page()));
        let (address, asked) = (gateway.address, Arc::clone(&counts));
        self.runtime.spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_secs(1) / per_s);
            for number in 0_u64.. {
                beat.tick().await;
                if asked.stop.load(Ordering::Relaxed) {
                    return;
                }
                if asked.at_once.load(Ordering::Relaxed) < READERS_MAX as u64 {
                    tokio::spawn(one(Arc::clone(&asked), address, patience, path(number)));
                }
            }
        });
        Readers { counts, page }
    }
}

/// One asks, and counts what became of it.
async fn one(counts: Arc<Counts>, gateway: SocketAddr, patience: Duration, path: String) {
    counts.at_once.fetch_add(1, Ordering::Relaxed);
    let kept = counts.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let answer = timeout(patience, async {
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(gateway).await.ok()?,
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let answer = message(&mut stream).await?;
        Some((stream, answer))
    });
    let count = match answer.await {
        Err(_) => &counts.timeout,
        Ok(None) => &counts.error,
        Ok(Some((stream, answer))) => {
            counts
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(stream);
            if answer.starts_with("HTTP/1.1 5") {
                &counts.error
            } else if answer.ends_with("right") {
                &counts.fresh
            } else {
                &counts.wrong
            }
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    counts.at_once.fetch_sub(1, Ordering::Relaxed);
}

impl Counts {
    fn page(&self) -> String {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let fresh = read(&self.fresh);
        let mut page = format!("goodput_total{{component=\"readers\"}} {fresh}\n");
        for (outcome, count) in [
            ("fresh", fresh),
            ("wrong", read(&self.wrong)),
            ("error", read(&self.error)),
            ("timeout", read(&self.timeout)),
        ] {
            let _ = writeln!(
                page,
                "requests_total{{component=\"readers\",outcome=\"{outcome}\"}} {count}"
            );
        }
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len())
    }
}

/// A request or an answer with its body, as text; nothing when the connection is over.
async fn message(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut part).await {
            Ok(count) if count > 0 => read.extend_from_slice(&part[..count]),
            _ => return None,
        }
    }
}

/// A gateway.
pub(crate) struct Gateway {
    _process: Ended,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Before one upstream, which is called `app`.
    pub(crate) fn before(folder: &Folder, upstream: SocketAddr, listener: &str, more: &str) -> Gateway {
        let text = format!("{listener}\n[upstream.app]\naddresses = [\"{upstream}\"]\n{more}\n");
        Gateway::of(folder, "app", &text)
    }

    /// With a document that begins within `[gateway]`.
    pub(crate) fn of(folder: &Folder, name: &str, text: &str) -> Gateway {
        let text = format!("[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{text}");
        let path = folder.0.join(format!("{name}.toml"));
        std::fs::write(&path, &text).expect("a file in our own folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args(["gateway", "--config"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let said = process.stderr.take().expect("it is piped");
        let process = Ended(process);
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut first = String::new();
        let serving = lines.by_ref().find(|line| {
            let _ = writeln!(first, "{line}");
            line.contains("serving")
        });
        let serving = serving.unwrap_or_else(|| panic!("it does not serve:\n{text}\n{first}"));
        let value = |name: &str| -> SocketAddr {
            let rest = serving.split_once(&format!(" {name}=")).map(|(_, rest)| rest);
            let value = rest.and_then(|rest| rest.split(' ').next()?.parse().ok());
            value.expect("it says where it listens")
        };
        let (address, admin) = (value("address"), value("admin"));
        std::thread::spawn(move || lines.for_each(drop));
        Gateway {
            _process: process,
            address,
            admin,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Asks the admin API, and wants a good answer.
    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = Blocking::connect(self.admin).expect("it listens");
        let (host, length) = (self.admin, body.len());
        let request = format!(
            "{head} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.starts_with("HTTP/1.1 200"), "{head}: {said}");
        said.split_once("\r\n\r\n")
            .map_or(String::new(), |(_, body)| body.to_owned())
    }

    pub(crate) fn change(&self, name: &str, body: &str) {
        self.ask(&format!("PATCH /policies/{name}"), body);
    }

    pub(crate) fn take_back(&self, name: &str) {
        self.ask(&format!("DELETE /policies/{name}"), "");
    }

    pub(crate) fn policies(&self) -> String {
        self.ask("GET /policies", "")
    }

    pub(crate) fn state(&self) -> String {
        self.ask("GET /state", "")
    }
}
