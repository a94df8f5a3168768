//! A real PostgreSQL that is as fast, and as slow, as a scenario says.
//!
//! A database on one machine with its clients answers in microseconds, and does not fall over at eight hundred queries a
//! second. What a scenario says of its database (how long a query takes, how many run side by side, how more of them slow
//! each other down) is therefore kept by a door before a real one: connections are those of the protocol, answers, errors
//! and locks are the server's own, and *when* an answer leaves is decided by the machines that play the database in the
//! simulator ([`seawall_core::station`], [`seawall_core::processor`]). A query that nobody waits for any more is worked on
//! to its end, as a server does that is not told.
//!
//! A query first needs one of the scenario's connections, then goes to the server, and when the server has answered, its
//! work begins. So what is locked, hung or refused behind the door is so for real, and what then goes on all goes on at
//! once.

mod node;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::dist::Dist;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::Span;
use seawall_diagnose::probe::postgres::NAME as PROBER;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use node::{Cut, Node, Place};

use self::wire::{Asked, First, Listener};

/// The most connections at a time; the server has its own bound.
const CONNECTIONS_MAX: usize = 2_000;
/// The most queries of one connection that are on their way.
const PIPELINE_MAX: usize = 16;

/// How long queries take.
#[derive(Clone, Debug)]
pub struct Speed {
    /// A read, alone.
    pub read: Dist,
    /// A write, alone.
    pub write: Dist,
    /// The server stops a query that is older than this.
    pub timeout: Option<Span>,
}

/// A door before a PostgreSQL. It closes when this is dropped.
pub struct Paced {
    address: SocketAddr,
    node: Node,
    listener: AbortHandle,
}

struct Door {
    upstream: SocketAddr,
    node: Node,
    speed: Speed,
    rng: Mutex<Stream>,
}

/// Whether a connection is within a transaction, in which no query is paced or cut: what the server holds for it would
/// be another state than the one that its client is told of.
type Inside = AtomicBool;

/// A query on its way: what it asked for, its place, and when it is too old.
enum Sent {
    Little,
    Query {
        place: Place,
        work: Span,
        deadline: Option<Instant>,
    },
    /// The server was not asked.
    Cut(Cut),
}

impl Paced {
    /// Opens a door before the server at `upstream`, on a free port of the loopback address.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr, node: Node, speed: Speed, draws: Seed) -> io::Result<Paced> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let door = Arc::new(Door {
            upstream,
            node: node.clone(),
            speed,
            rng: Mutex::new(draws.stream("paced", 0)),
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let task = tokio::spawn(async move {
            loop {
                let Ok(place) = places.clone().acquire_owned().await else {
                    return;
                };
                let Ok((client, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let door = door.clone();
                tokio::spawn(async move {
                    // Either end may close at any time, and the other one is told by its own connection.
                    let _ = door.connect(client).await;
                    drop(place);
                });
            }
        });
        Ok(Paced {
            address,
            node,
            listener: task.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node whose connections and speed it has.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Door {
    async fn connect(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (cancels, hello) = loop {
            match wire::first(&mut client).await? {
                First::Encryption => client.write_all(b"N").await?,
                First::Plain { cancels, bytes } => break (cancels, bytes),
            }
        };
        let mut server = TcpStream::connect(self.upstream).await?;
        server.set_nodelay(true)?;
        server.write_all(&hello).await?;
        if cancels {
            return Ok(());
        }
        // A prober asks about the server: that takes no place, as connections that are kept for a superuser take none.
        let probes = wire::parameter(&hello, "application_name") == Some(PROBER.as_bytes());
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (sender, sent) = mpsc::channel(PIPELINE_MAX);
        let inside = Inside::new(false);
        tokio::select! {
            done = self.ask(from_client, to_server, sender, &inside, probes) => done,
            done = answer(from_server, to_client, sent, &inside) => done,
        }
    }

    /// From the client to the server: each query waits for its connection first.
    async fn ask(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        sender: mpsc::Sender<Sent>,
        inside: &Inside,
        probes: bool,
    ) -> io::Result<()> {
        let mut listener = Listener::default();
        let mut batch = Vec::new();
        loop {
            let message = wire::message(&mut from).await?;
            let asked = listener.hear(&message);
            batch.extend(message);
            if batch.len() > wire::MESSAGE_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a batch that is too long",
                ));
            }
            let Some(asked) = asked else {
                // A login, or a farewell, is a message alone.
                if matches!(batch[0], b'p' | b'X' | b'd' | b'c' | b'f') {
                    to.write_all(&batch).await?;
                    batch.clear();
                }
                continue;
            };
            let next = if probes || inside.load(Ordering::Relaxed) {
                Sent::Little
            } else {
                self.enter(asked).await
            };
            if !matches!(next, Sent::Cut(_)) {
                to.write_all(&batch).await?;
            }
            batch.clear();
            if sender.send(next).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn enter(&self, asked: Asked) -> Sent {
        let law = match asked {
            Asked::Little => return Sent::Little,
            Asked::Read => &self.speed.read,
            Asked::Write => &self.speed.write,
        };
        let work = law.draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = self.speed.timeout.map(|timeout| {
            let timeout = Duration::from_nanos(timeout.as_nanos());
            Instant::now() + timeout
        });
        match self.node.enter(deadline).await {
            Ok(place) => Sent::Query {
                place,
                work,
                deadline,
            },
            Err(cut) => Sent::Cut(cut),
        }
    }
}

/// From the server to the client: each answer leaves when its work is done.
async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut sent: mpsc::Receiver<Sent>,
    inside: &Inside,
) -> io::Result<()> {
    // What comes before the server is ready for the first time is the login.
    whole_answer(&mut from, Some(&mut to)).await?;
    loop {
        let Some(next) = sent.recv().await else {
            return Ok(());
        };
        let said = match next {
            Sent::Little => whole_answer(&mut from, None).await?,
            Sent::Cut(cut) => told(cut),
            Sent::Query {
                place,
                work,
                deadline,
            } => {
                let answer = whole_answer(&mut from, None).await?;
                match place.work(work, deadline).await {
                    Ok(()) => answer,
                    Err(cut) => told(cut),
                }
            }
        };
        // The last byte of what the server says is how it stands: idle, in a transaction, in one that failed.
        inside.store(said.last() != Some(&b'I'), Ordering::Relaxed);
        to.write_all(&said).await?;
    }
}

fn told(cut: Cut) -> Vec<u8> {
    match cut {
        Cut::Full => wire::error("53300", "sorry, too many clients already"),
        Cut::TooOld => wire::error("57014", "canceling statement due to statement timeout"),
    }
}

/// All that the server says until it is ready for the next query; passed on at once, or held.
async fn whole_answer(from: &mut OwnedReadHalf, mut to: Option<&mut OwnedWriteHalf>) -> io::Result<Vec<u8>> {
    let mut held = Vec::new();
    loop {
        let message = wire::message(from).await?;
        let ready = message[0] == b'Z';
        match &mut to {
            Some(to) => to.write_all(&message).await?,
            None => held.extend(message),
        }
        if held.len() > wire::MESSAGE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer that is too long",
            ));
        }
        if ready {
            return Ok(held);
        }
    }
}
