//! Connections: who is accepted, which protocol is spoken, and how long anything may take.
//!
//! The public listener and the admin listener are both served by this; what a request means is not its business.
//! Until the first byte comes, a connection is a socket and a timer, and nothing more.

use std::convert::Infallible;
use std::future::Future;
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

use crate::body::{BodyError, Stalled};
use crate::fields::Client;
use crate::framing::Framing;
use crate::life::{Life, Standing, Streamed};
use crate::timer::Heads;
use crate::tls::Certificate;
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
    /// After `write_timeout` of waiting, so many bytes a second.
    pub(crate) write_rate: u64,
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
            write_rate: listener.body_rate,
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
    type Body: http_body::Body<Data = bytes::Bytes, Error: Into<BodyError>> + Send + Unpin + 'static;

    /// Answers one.
    fn handle(
        self: &Arc<Self>,
        client: Client,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts connections until told to stop, and returns when the listener is closed. `over` is kept by each connection
/// until it ends.
pub(crate) async fn listen<H: Handler>(
    (listener, certificate): (TcpListener, Option<Arc<Certificate>>),
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
        let certificate = certificate.clone();
        tokio::spawn(async move {
            let client = Client::new(address.ip(), certificate.is_some());
            let served = match certificate {
                None => connection(stream, client, &limits, &handler, stop).await,
                Some(certificate) => {
                    let served = over_tls(stream, &certificate, client, &limits, &handler, stop);
                    Box::pin(served).await
                }
            };
            if let Err(error) = served {
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
    client: Client,
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

/// The same over TLS; which protocol is spoken is agreed on while greeting.
async fn over_tls<H: Handler>(
    stream: TcpStream,
    certificate: &Certificate,
    client: Client,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError> {
    stream.set_nodelay(true)?;
    let greeting = tokio::time::timeout(limits.head_timeout, certificate.acceptor().accept(stream));
    let stream = tokio::select! {
        greeted = greeting => greeted??,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        serve_http2(stream, client, limits, handler, stop).await
    } else {
        serve_http1(stream, client, limits, handler, stop).await
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
    client: Client,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let framing = Framing::new(limits.head);
    let wire = Wire::new(stream, Some(framing), limits);
    let service = service_fn(|request| answer(handler, client.clone(), request));
    let served = http1::Builder::new()
        .timer(Heads::default())
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
    client: Client,
    limits: &Limits,
    handler: &Arc<H>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), BodyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let wire = Wire::new(stream, None, limits);
    let life = Arc::new(Life::new());
    let service = service_fn(|request| {
        let mut busy = life.begin();
        let answer = answer(handler, client.clone(), request);
        async move {
            let response = answer.await?;
            busy.answered();
            Ok::<_, Infallible>(response.map(|body| Streamed { body, busy }))
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
    let every = limits.idle_timeout.min(limits.write_timeout);
    loop {
        tokio::select! {
            done = served.as_mut() => return done.map_err(Into::into),
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(every) => match life.standing(limits) {
                Standing::Busy => {}
                Standing::Idle => break,
                // It waits for a client that takes nothing in.
                Standing::Stalled => return Err(Stalled.into()),
            }
        }
    }
    served.as_mut().graceful_shutdown();
    loop {
        tokio::select! {
            done = served.as_mut() => return done.map_err(Into::into),
            () = tokio::time::sleep(every) => if life.standing(limits) == Standing::Stalled {
                return Err(Stalled.into());
            }
        }
    }
}

/// Boxed, so that a connection that is idle does not hold the room of a request.
type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

fn answer<H: Handler>(handler: &Arc<H>, client: Client, request: Request<Incoming>) -> Answering<H::Body> {
    let handler = Arc::clone(handler);
    Box::pin(async move { Ok(handler.handle(client, request).await) })
}
