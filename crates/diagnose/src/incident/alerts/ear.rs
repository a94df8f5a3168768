//! Listens for what Alertmanager posts. A post is answered when whoever handles it has kept it: until then Alertmanager tries
//! again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Alert, read};

/// A post is no longer, in bytes.
const BODY_MAX: usize = 1 << 20;
/// So many connections at a time; who comes then waits to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// So many posts wait to be handled.
const WAITING_MAX: usize = 16;
/// A head, a body, and the handling of it take no longer each.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection is kept no longer.
const LIFE: Duration = Duration::from_mins(5);

/// Alerts of one post. Dropped without [`Heard::kept`], the post counts as not taken.
#[derive(Debug)]
pub struct Heard {
    /// The alerts.
    pub alerts: Vec<Alert>,
    kept: oneshot::Sender<()>,
}

impl Heard {
    /// They are kept, and Alertmanager need not send them again.
    pub fn kept(self) {
        // Whoever posted may have gone.
        let _ = self.kept.send(());
    }
}

/// A listener; it ends when it is dropped.
#[derive(Debug)]
pub struct Ear {
    address: SocketAddr,
    posts: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Ear {
    /// Listens at an address. With a token, only posts with `Authorization: Bearer` and it are heard; whoever listens beyond
    /// this machine should have one.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub async fn open(address: SocketAddr, token: Option<String>) -> std::io::Result<Ear> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (tell, posts) = mpsc::channel(WAITING_MAX);
        let token = token.map(Arc::from);
        let task = tokio::spawn(accept(listener, token, tell));
        Ok(Ear { address, posts, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next post. It waits for one, and loses none when it is not waited for.
    pub async fn next(&mut self) -> Heard {
        match self.posts.recv().await {
            Some(heard) => heard,
            // The task that accepts lives as long as this does.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, token: Option<Arc<str>>, tell: mpsc::Sender<Heard>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // No file is left, most likely: others may close some.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (token, tell) = (token.clone(), tell.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (token, tell) = (token.clone(), tell.clone());
                async move { Ok::<_, Infallible>(answer(request, token.as_deref(), &tell).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(16 << 10)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever is cut off sends its post again.
            let _ = timeout(LIFE, connection).await;
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    token: Option<&str>,
    tell: &mpsc::Sender<Heard>,
) -> Response<Full<Bytes>> {
    if request.uri().path() == "/-/healthy" && request.method() == Method::GET {
        return said(StatusCode::OK, "listening\n");
    }
    if request.uri().path() != "/alerts" {
        return said(StatusCode::NOT_FOUND, "alerts are posted to /alerts\n");
    }
    if request.method() != Method::POST {
        return said(StatusCode::METHOD_NOT_ALLOWED, "alerts are posted\n");
    }
    if token.is_some_and(|token| !allowed(&request, token)) {
        return said(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong\n");
    }
    let body = timeout(PATIENCE, Limited::new(request.into_body(), BODY_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return said(StatusCode::PAYLOAD_TOO_LARGE, "a post is at most 1 MiB\n");
        }
        Ok(Err(_)) => return said(StatusCode::BAD_REQUEST, "the post was not whole\n"),
        Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "the post took too long\n"),
    };
    let alerts = match read(&body) {
        Ok(alerts) => alerts,
        Err(error) => return said(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    };
    let (kept, done) = oneshot::channel();
    if tell.try_send(Heard { alerts, kept }).is_err() {
        return said(StatusCode::SERVICE_UNAVAILABLE, "too many posts wait\n");
    }
    match timeout(PATIENCE, done).await {
        Ok(Ok(())) => said(StatusCode::OK, "kept\n"),
        _ => said(StatusCode::SERVICE_UNAVAILABLE, "it could not be kept\n"),
    }
}

/// Whether the token is the right one, in a time that says nothing of where it differs.
fn allowed(request: &Request<Incoming>, token: &str) -> bool {
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let wanted = format!("Bearer {token}").into_bytes();
    let differs = given
        .iter()
        .zip(&wanted)
        .fold(0, |differs, (one, other)| differs | (one ^ other));
    given.len() == wanted.len() && differs == 0
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
