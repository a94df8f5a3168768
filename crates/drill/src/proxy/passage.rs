//! A proxy that runs: a listener, and the connections it has accepted.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_core::time::Time;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::chain::Chain;
use super::counters::Counters;
use super::deaf::Deaf;
use super::pump::{Both, End, Pump};
use super::toxic::Side;

/// So many connections a proxy carries at once; more are closed as they come.
pub(super) const CONNECTIONS_MAX: usize = 4_096;
/// For so long the server is tried.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// After an accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Real time, counted from when the proxies began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(super) fn now(self) -> Time {
        Time::from_nanos(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) async fn sleep_until(self, time: Time) {
        tokio::time::sleep_until(self.0 + Duration::from_nanos(time.as_nanos())).await;
    }
}

/// What all connections of a proxy share.
pub(super) struct Wiring {
    pub(super) name: String,
    pub(super) upstream: String,
    pub(super) seed: Seed,
    pub(super) clock: Clock,
    pub(super) chain: watch::Receiver<Chain>,
    pub(super) counters: Arc<Counters>,
    /// The number of the next connection.
    pub(super) next: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are accepted.
    Open,
    /// Those there are may go on.
    Draining,
    /// All are closed.
    Closed,
}

/// A proxy that runs.
pub(super) struct Passage {
    pub(super) address: SocketAddr,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

impl Passage {
    /// Begins to listen. Without a host, that is on this machine alone.
    pub(super) async fn open(listen: &str, wiring: Wiring) -> io::Result<Passage> {
        let listener = bind(listen).await?;
        let address = listener.local_addr()?;
        let (phase, phases) = watch::channel(Phase::Open);
        let task = tokio::spawn(serve(listener, Arc::new(wiring), phases));
        Ok(Passage { address, phase, task })
    }

    /// Closes the listener and all connections, and returns when that is done.
    pub(super) async fn close(self) {
        self.phase.send_replace(Phase::Closed);
        // It only ends early by a panic, and then all is closed too.
        let _ = self.task.await;
    }

    /// Closes the listener, and the connections when they end or the time is over. Says whether they ended.
    pub(super) async fn drain(mut self, until: Instant) -> bool {
        self.phase.send_replace(Phase::Draining);
        if tokio::time::timeout_at(until, &mut self.task).await.is_ok() {
            return true;
        }
        self.close().await;
        false
    }
}

async fn bind(listen: &str) -> io::Result<TcpListener> {
    let listen = match listen {
        "" => "127.0.0.1:0".to_owned(),
        port if port.starts_with(':') => format!("127.0.0.1{port}"),
        listen => listen.to_owned(),
    };
    // Clients that look up "localhost" often try but one address, and that is the older one.
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(&listen).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(&addresses[..]).await
}

async fn serve(listener: TcpListener, wiring: Arc<Wiring>, mut phases: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    let mut chain = wiring.chain.clone();
    let mut deaf: Option<Deaf> = None;
    let mut nobodys = BTreeSet::new();
    loop {
        let cut_off = chain.borrow_and_update().cuts_off();
        if cut_off && deaf.is_none() {
            deaf = Deaf::make(&listener).await.ok();
        } else if !cut_off && let Some(deaf) = deaf.take() {
            nobodys.extend(deaf.end(&listener).unwrap_or_default());
        }
        let accepted = tokio::select! {
            biased;
            _ = phases.changed() => break,
            changed = chain.changed() => match changed {
                Ok(()) => continue,
                Err(_) => break,
            },
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if deaf.is_none() => accepted,
        };
        let client = match accepted {
            Ok((_, from)) if nobodys.remove(&from) => continue,
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(proxy = wiring.name, "a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if connections.len() >= CONNECTIONS_MAX {
            wiring.counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let number = wiring.next.fetch_add(1, Ordering::Relaxed);
        wiring.counters.accepted.fetch_add(1, Ordering::Relaxed);
        connections.spawn(carry(client, Arc::clone(&wiring), number));
    }
    drop(listener);
    loop {
        if *phases.borrow_and_update() != Phase::Draining {
            break;
        }
        tokio::select! {
            _ = phases.changed() => {}
            joined = connections.join_next() => if joined.is_none() { break },
        }
    }
    connections.shutdown().await;
}

/// Carries one connection from its acceptance to its end.
async fn carry(client: TcpStream, wiring: Arc<Wiring>, number: u64) {
    let _open = Open::new(&wiring.counters);
    match connect(&wiring, number).await {
        Ok(server) => join(client, server, &wiring, number).await,
        Err(error) => {
            tracing::info!(
                proxy = wiring.name,
                upstream = wiring.upstream,
                "failed to connect: {error}"
            );
        }
    }
}

async fn connect(wiring: &Wiring, number: u64) -> io::Result<TcpStream> {
    let mut chain = wiring.chain.clone();
    while !Chain::clone(&chain.borrow_and_update()).connects(wiring, number) {
        chain.changed().await.map_err(io::Error::other)?;
    }
    tokio::time::timeout(CONNECT_MAX, TcpStream::connect(&wiring.upstream))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn join(mut client: TcpStream, mut server: TcpStream, wiring: &Wiring, number: u64) {
    // A delayed small packet would be a fault that nobody asked for.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let both = Both::new(wiring, number);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = Pump::new(Side::Upstream, &both, from_client, to_server);
    let down = Pump::new(Side::Downstream, &both, from_server, to_client);
    let ended = tokio::try_join!(up.run(), down.run());
    if ended == Err(End::Cut) {
        // Closed like this, both ends read "connection reset".
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}

/// Counts a connection for as long as it is open.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Open {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
