//! A Redis as a target: `GET` and `SET` over a few connections, one request behind the other.
//!
//! As many as are due are written, whatever has been answered, so a server that stands still is met by all that would have
//! come. Each connection belongs to a task: an attempt that nobody waits for any more never leaves half a request behind.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::target::{Call, Reply, Target};
use crate::resp::{Limits, Replies, Value, request};

/// Requests of one connection that are not answered yet, and requests that wait for a connection.
const PENDING_MAX: usize = 16 << 10;

/// A connection on which the oldest request has not been answered for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A Redis, or what speaks as one.
#[derive(Debug)]
pub struct Pipeline {
    lanes: Vec<mpsc::Sender<Ask>>,
    next: AtomicUsize,
    prefix: String,
    /// In seconds; never, when there is none.
    expiry: Option<String>,
}

#[derive(Debug)]
struct Ask {
    bytes: BytesMut,
    /// Nobody listens any more when the attempt has timed out.
    answer: oneshot::Sender<Reply>,
}

impl Pipeline {
    /// Calls go over so many connections, which are opened when they are needed; keys are this prefix and a number.
    pub fn new(address: SocketAddr, connections: usize, prefix: &str) -> Pipeline {
        let lane = |_| {
            let (lane, inbox) = mpsc::channel(PENDING_MAX);
            tokio::spawn(run(address, inbox));
            lane
        };
        Pipeline {
            lanes: (0..connections.max(1)).map(lane).collect(),
            next: AtomicUsize::new(0),
            prefix: prefix.to_owned(),
            expiry: None,
        }
    }

    /// What is written expires after so many seconds.
    pub fn expiring(self, seconds: u64) -> Pipeline {
        Pipeline {
            expiry: Some(seconds.to_string()),
            ..self
        }
    }

    /// Writes these values, so that they are there.
    ///
    /// # Errors
    /// What the server said instead.
    pub async fn fill(&self, keys: impl Iterator<Item = (u64, Vec<u8>)>) -> Result<u64, String> {
        let mut count = 0;
        let mut batch = Vec::new();
        let mut keys = keys.peekable();
        while let Some((key, value)) = keys.next() {
            let write = Some(Bytes::from(value));
            batch.push(self.ask(&Call { key, write }));
            if batch.len() < BATCH && keys.peek().is_some() {
                continue;
            }
            for answer in batch.drain(..) {
                let answer = answer.map_err(|_| "too many requests wait".to_owned())?;
                match answer.await {
                    Ok(Reply::Done) => count += 1,
                    Ok(Reply::Failed(why)) => return Err(why),
                    _ => return Err("the connection broke".to_owned()),
                }
            }
        }
        Ok(count)
    }

    fn ask(&self, call: &Call) -> Result<oneshot::Receiver<Reply>, Reply> {
        let key = format!("{}{}", self.prefix, call.name());
        let mut bytes = BytesMut::new();
        match (&call.write, &self.expiry) {
            (None, _) => request(&[b"GET", key.as_bytes()], &mut bytes),
            (Some(value), None) => request(&[b"SET", key.as_bytes(), value], &mut bytes),
            (Some(value), Some(seconds)) => {
                let words = [b"SET", key.as_bytes(), value, b"EX", seconds.as_bytes()];
                request(&words, &mut bytes);
            }
        }
        let (answer, heard) = oneshot::channel();
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let sent = self.lanes[lane].try_send(Ask { bytes, answer });
        sent.map_err(|_| Reply::Failed("too many requests wait".to_owned()))?;
        Ok(heard)
    }
}

/// So many values are written at a time when it is filled.
const BATCH: usize = 512;

impl Target for Pipeline {
    async fn call(&self, call: Call) -> Reply {
        match self.ask(&call) {
            Ok(heard) => heard.await.unwrap_or_else(|_| Reply::Failed("reset".to_owned())),
            Err(reply) => reply,
        }
    }
}

/// One connection after the other, until nobody asks any more.
async fn run(address: SocketAddr, mut inbox: mpsc::Receiver<Ask>) {
    while let Some(first) = inbox.recv().await {
        if first.answer.is_closed() {
            continue;
        }
        let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
        let why = match connected {
            Ok(Ok(stream)) => {
                // Without it, small requests would be held back.
                let _ = stream.set_nodelay(true);
                let mut lane = Lane::new(first);
                let ended = lane.serve(stream, &mut inbox).await;
                let why = ended.err().map_or("reset", |error| word(&error));
                lane.fail(why);
                continue;
            }
            Ok(Err(error)) => word(&error),
            Err(_) => "no connection in time",
        };
        // Whoever came meanwhile is told the same.
        let _ = first.answer.send(Reply::Failed(why.to_owned()));
        while let Ok(ask) = inbox.try_recv() {
            let _ = ask.answer.send(Reply::Failed(why.to_owned()));
        }
    }
}

fn word(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "silent",
        io::ErrorKind::InvalidData => "not RESP",
        _ => "reset",
    }
}

/// A connection that is up.
struct Lane {
    out: BytesMut,
    read: BytesMut,
    replies: Replies,
    pending: VecDeque<(Instant, oneshot::Sender<Reply>)>,
}

impl Lane {
    fn new(first: Ask) -> Lane {
        let mut lane = Lane {
            out: BytesMut::new(),
            read: BytesMut::with_capacity(16 << 10),
            replies: Replies::new(Limits::default()),
            pending: VecDeque::new(),
        };
        lane.take(first);
        lane
    }

    fn take(&mut self, ask: Ask) {
        // What nobody waits for any more need not be sent.
        if !ask.answer.is_closed() {
            self.out.extend_from_slice(&ask.bytes);
            self.pending.push_back((Instant::now(), ask.answer));
        }
    }

    /// `Ok` when nobody asks any more and everything is answered, or the server hung up.
    async fn serve(&mut self, mut stream: TcpStream, inbox: &mut mpsc::Receiver<Ask>) -> io::Result<()> {
        let (mut from, mut to) = stream.split();
        let mut look = interval(SILENCE_MAX / 10);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        while open || !self.pending.is_empty() {
            let room = open && self.pending.len() < PENDING_MAX;
            tokio::select! {
                read = read_some(&mut from, &mut self.read) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    self.hear()?;
                }
                written = write_some(&mut to, &mut self.out), if !self.out.is_empty() => written?,
                ask = inbox.recv(), if room => match ask {
                    Some(ask) => {
                        self.take(ask);
                        while self.pending.len() < PENDING_MAX && let Ok(ask) = inbox.try_recv() {
                            self.take(ask);
                        }
                    }
                    None => open = false,
                },
                _ = look.tick() => {
                    let silent = self.pending.front().is_some_and(|(since, _)| since.elapsed() > SILENCE_MAX);
                    if silent {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<()> {
        let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
        while let Some(value) = self.replies.next(&mut self.read).map_err(malformed)? {
            let (_, answer) = self
                .pending
                .pop_front()
                .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
            // It may have timed out.
            let _ = answer.send(reply(value));
        }
        Ok(())
    }

    fn fail(&mut self, why: &str) {
        for (_, answer) in self.pending.drain(..) {
            let _ = answer.send(Reply::Failed(why.to_owned()));
        }
    }
}

fn reply(value: Value) -> Reply {
    if let Some(text) = value.error() {
        // The code says which error it is. Of `ERR` the words do.
        let text = String::from_utf8_lossy(text);
        let code = text.split(' ').next().unwrap_or_default();
        let shown = if code == "ERR" {
            text.chars().take(80).collect()
        } else {
            code.to_owned()
        };
        return Reply::Failed(shown);
    }
    match value {
        Value::Bulk(bytes) => Reply::Value(Bytes::copy_from_slice(&bytes)),
        Value::Simple(_) => Reply::Done,
        value if value.is_nil() => Reply::Absent,
        _ => Reply::Failed("another kind of value".to_owned()),
    }
}

async fn read_some(from: &mut ReadHalf<'_>, buffer: &mut BytesMut) -> io::Result<usize> {
    buffer.reserve(16 << 10);
    from.read_buf(buffer).await
}

async fn write_some(to: &mut WriteHalf<'_>, out: &mut BytesMut) -> io::Result<()> {
    if to.write_buf(out).await? == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}
