//! Connections: who is accepted, which protocol is spoken, and how long anything may take.
//!
//! The public listener and the admin listener are both served by this; what a request means is not its business.
//! Until the first byte comes, a connection is a socket and a timer, and nothing more.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::body::BodyError;
use crate::framing::Framing;
use crate::wire::Wire;

/// What begins an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// After an accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// So many streams that a client reset may be unfinished before the connection is given up (rapid reset).
const RESETS_MAX: usize = 20;
/// How much of a response an HTTP/2 stream buffers.
const SEND_BUFFER: usize = 64 << 10;

/// What connections may cost.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) head: usize,
    pub(crate) headers: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) streams: u32,
}

impl From<&seawall_scenario::Listener> for Limits {
    fn from(listener: &seawall_scenario::Listener) -> Limits {
        Limits {
            connections: listener.connections as usize,
            head: listener.head as usize,
            headers: listener.headers as usize,
            head_timeout: listener.head_timeout.into(),
            idle_timeout: listener.idle_timeout.into(),
            write_timeout: listener.body_timeout.into(),
            streams: listener.streams,
        }
    }
}

/// What is counted of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) open: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The body of its responses.
    type Body: http_body::Body<Data = bytes::Bytes, Error: Into<BodyError>> + Send + 'static;

    /// Answers one.
    fn handle(
        self: &Arc<Self>,
        client: IpAddr,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts connections until told to stop, and returns when the listener is closed. `over` is kept by each connection
/// until it ends.
pub(crate) async fn listen<H: Handler>(
    listener: TcpListener,
    limits: Limits,
    handler: Arc<H>,
    counts: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
    over: tokio::sync::mpsc::Sender<Infallible>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&counts));
        let (limits, handler) = (Arc::clone(&limits), Arc::clone(&handler));
        let (stop, over) = (stop.clone(), over.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, address.ip(), &limits, &handler, stop).await {
                tracing::debug!("a connection ended: {error}");
            }
            drop((slot, open, over));
        });
    }
}

struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
async fn connection<H: Handler>(
    stream: TcpStream,
    client: IpAddr,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError> {
    stream.set_nodelay(true)?;
    let first = tokio::time::timeout(limits.head_timeout, speaks_http2(&stream));
    let http2 = tokio::select! {
        first = first => match first {
            Ok(http2) => http2?,
            // Nothing came.
            Err(_) => return Ok(()),
        },
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    if http2 {
        Box::pin(serve_http2(stream, client, limits, handler, stop)).await
    } else {
        Box::pin(serve_http1(stream, client, limits, handler, stop)).await
    }
}

/// Waits for the first bytes, and tells the protocol by them without taking them.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 || first[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // It is readable already, so there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http1<S, H>(
    stream: S,
    client: IpAddr,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let framing = Framing::new(limits.head);
    let wire = Wire::new(stream, Some(framing), limits.head_timeout, limits.write_timeout);
    let service = service_fn(|request| answer(handler, client, request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(wire), service);
    let mut served = pin!(served);
    tokio::select! {
        done = served.as_mut() => return done.map_err(Into::into),
        _ = stop.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    served.await.map_err(Into::into)
}

async fn serve_http2<S, H>(
    stream: S,
    client: IpAddr,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let wire = Wire::new(stream, None, limits.head_timeout, limits.write_timeout);
    let life = Arc::new(Life::default());
    let service = service_fn(|request| {
        let busy = life.begin();
        let answer = answer(handler, client, request);
        async move {
            let response = answer.await;
            drop(busy);
            response
        }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head as u32)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.idle_timeout)
        .keep_alive_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(wire), service);
    let mut served = pin!(served);
    let began = Instant::now();
    loop {
        tokio::select! {
            done = served.as_mut() => return done.map_err(Into::into),
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(limits.idle_timeout) => {
                if life.is_idle(began, limits.idle_timeout) {
                    break;
                }
            }
        }
    }
    served.as_mut().graceful_shutdown();
    served.await.map_err(Into::into)
}

/// What an HTTP/2 connection is busy with.
#[derive(Default)]
struct Life {
    busy: AtomicU64,
    /// When it was last busy, in milliseconds since it began.
    last_ms: AtomicU64,
    began: std::sync::OnceLock<Instant>,
}

struct Busy(Arc<Life>);

impl Life {
    fn begin(self: &Arc<Self>) -> Busy {
        self.began.get_or_init(Instant::now);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn is_idle(&self, connected: Instant, after: Duration) -> bool {
        let began = self.began.get().copied().unwrap_or(connected);
        let last = began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.busy.load(Ordering::Relaxed) == 0 && last.elapsed() >= after
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let since = self.0.began.get().map_or(Duration::ZERO, Instant::elapsed);
        self.0.last_ms.store(since.as_millis() as u64, Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Boxed, so that a connection that is idle does not hold the room of a request.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

fn answer<H: Handler>(handler: &Arc<H>, client: IpAddr, request: Request<Incoming>) -> Answering<H::Body> {
    let handler = Arc::clone(handler);
    Box::pin(async move { Ok(handler.handle(client, request).await) })
}
