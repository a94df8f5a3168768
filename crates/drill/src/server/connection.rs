//! Connections: accepted, read, answered, broken. Everything is on one thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::client::Client;
use super::state::Turn;
use super::{Condition, Shared};
use crate::resp::{Limits, Requests, Writer};

/// How often expired keys and silent clients are looked for.
const TICK: Duration = Duration::from_millis(100);

/// So much is read and written at a time; what a client pipelines beyond waits.
const CHUNK: usize = 16 << 10;
const ANSWERS_AT_ONCE: usize = 64 << 10;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 511;

/// Listens until the server is to stop.
pub(crate) async fn listen(shared: Arc<Shared>, listener: std::net::TcpListener, address: SocketAddr) {
    let mut stop = shared.stop.subscribe();
    let mut condition = shared.condition.subscribe();
    let mut connections = JoinSet::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener = TcpListener::from_std(listener).ok();
    loop {
        let now = *condition.borrow_and_update();
        match now {
            Condition::Refusing => listener = None,
            // Its port may be taken for a moment. The next tick tries again.
            _ if listener.is_none() => listener = bind(address).ok(),
            _ => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = condition.changed() => {}
            _ = tick.tick() => {
                if now != Condition::Hanging {
                    shared.state().tick(shared.now());
                }
            }
            Some(_) = connections.join_next() => {}
            accepted = accept(listener.as_ref()), if now != Condition::Hanging => {
                if let Ok((stream, from)) = accepted {
                    if let Some(connection) = Connection::admit(&shared, stream, from) {
                        connections.spawn(connection.serve());
                    }
                } else {
                    // No file descriptor is left, perhaps.
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection that has been let in.
struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    id: u64,
    wake: Arc<Notify>,
    condition: watch::Receiver<Condition>,
    requests: Requests,
    read: BytesMut,
    /// It was woken while it wrote, so there may be more to write.
    woken: bool,
    /// A request that came during a pause.
    waiting: Option<Vec<Bytes>>,
}

/// What a connection does next.
enum Next {
    /// Everything that came has been answered.
    Read,
    /// There is more to answer.
    Again,
    /// Nothing is answered before this instant, in milliseconds since 1970.
    Pause(u64),
    Close,
}

impl Connection {
    fn admit(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr) -> Option<Connection> {
        let mut state = shared.state();
        state.stats.connections += 1;
        if state.clients.len() >= state.config.clients_max {
            state.stats.rejected += 1;
            drop(state);
            // The buffer of a new connection has room for it.
            let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            return None;
        }
        let local = stream.local_addr().ok()?;
        // Without it, answers to pipelined requests would be held back.
        let _ = stream.set_nodelay(true);
        let id = state.next_client;
        state.next_client += 1;
        let trusted = state.config.password.is_empty();
        let client = Client::new(id, from, local, shared.now(), trusted);
        let wake = Arc::clone(&client.wake);
        state.clients.insert(id, client);
        drop(state);
        Some(Connection {
            shared: Arc::clone(shared),
            stream,
            id,
            wake,
            condition: shared.condition.subscribe(),
            requests: Requests::new(Limits::default()),
            read: BytesMut::with_capacity(CHUNK),
            woken: false,
            waiting: None,
        })
    }

    async fn serve(mut self) {
        // However it ends, it ends for good.
        let _ = self.talk().await;
        let mut state = self.shared.state();
        if let Some(mut client) = state.clients.remove(&self.id) {
            state.forget(&mut client);
        }
    }

    async fn talk(&mut self) -> io::Result<()> {
        loop {
            let hanging = |condition: &Condition| *condition == Condition::Hanging;
            while hanging(&self.condition.borrow_and_update()) {
                if self.condition.changed().await.is_err() {
                    return Ok(());
                }
            }
            let (next, answers) = self.answer();
            if !answers.is_empty() && !self.write(answers).await? {
                return Ok(());
            }
            let woken = std::mem::take(&mut self.woken);
            match next {
                Next::Read if woken => {}
                Next::Close => return Ok(()),
                Next::Again => tokio::task::yield_now().await,
                Next::Pause(until) => {
                    let left = until.saturating_sub(self.shared.now());
                    // A pause can be ended early.
                    let left = Duration::from_millis(left).min(TICK / 10);
                    tokio::select! {
                        () = sleep(left) => {}
                        () = self.wake.notified() => {}
                    }
                }
                Next::Read => {
                    tokio::select! {
                        read = read_some(&mut self.stream, &mut self.read) => {
                            if read? == 0 {
                                return Ok(());
                            }
                        }
                        () = self.wake.notified() => {}
                        _ = self.condition.changed() => {}
                    }
                }
            }
        }
    }

    /// Answers what has come, as far as that goes, and takes out what is to be written.
    fn answer(&mut self) -> (Next, BytesMut) {
        let mut state = self.shared.state();
        let Some(mut client) = state.clients.remove(&self.id) else {
            return (Next::Close, BytesMut::new());
        };
        if client.killed {
            state.clients.insert(self.id, client);
            return (Next::Close, BytesMut::new());
        }
        let now = self.shared.now();
        let mut next = Next::Read;
        let had = self.read.len();
        while !client.leaving && !client.killed {
            if client.outbox.len() >= ANSWERS_AT_ONCE {
                next = Next::Again;
                break;
            }
            let request = match self.waiting.take() {
                Some(request) => Ok(Some(request)),
                None => self.requests.next(&mut self.read),
            };
            match request {
                Ok(None) => break,
                Ok(Some(request)) => {
                    if let Turn::PausedUntil(until) = state.execute(&mut client, &request, now) {
                        self.waiting = Some(request);
                        next = Next::Pause(until);
                        break;
                    }
                }
                Err(malformed) => {
                    state.stats.errors += 1;
                    Writer::new(&mut client.outbox, client.protocol).error(&format!("ERR {malformed}"));
                    client.leaving = true;
                }
            }
        }
        let answers = client.outbox.split();
        if client.leaving || client.killed {
            next = Next::Close;
        }
        state.stats.read_bytes += (had - self.read.len()) as u64;
        state.stats.written_bytes += answers.len() as u64;
        state.clients.insert(self.id, client);
        (next, answers)
    }

    /// Writes answers. False when the client is sent away meanwhile.
    async fn write(&mut self, mut answers: BytesMut) -> io::Result<bool> {
        while answers.has_remaining() {
            tokio::select! {
                written = self.stream.write_buf(&mut answers) => {
                    if written? == 0 {
                        return Ok(false);
                    }
                }
                () = self.wake.notified() => {
                    self.woken = true;
                    let state = self.shared.state();
                    if state.clients.get(&self.id).is_none_or(|client| client.killed) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

async fn read_some(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    buffer.reserve(CHUNK);
    stream.read_buf(buffer).await
}
