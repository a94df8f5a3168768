//! The HTTP API of Toxiproxy 2.12, as its clients use it: the same paths, status codes, names and errors.
//!
//! Whoever reaches it may break every connection that goes through here, so it listens on this machine alone unless told
//! otherwise, and refuses browsers, which a page from anywhere could drive.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::draft::{Draft, ProxyError};
use super::fleet::Proxies;
use super::toxic::Toxic;

/// The release of Toxiproxy whose API this is.
const VERSION: &str = "2.12.0";
/// No body is longer.
const BODY_MAX: usize = 1 << 20;
/// So many connections it has at once, for so long may a request's head take, and a whole request.
const CONNECTIONS_MAX: usize = 128;
const HEAD_MAX: Duration = Duration::from_secs(15);
const REQUEST_MAX: Duration = Duration::from_secs(25);
/// For so long requests may go on when the API ends.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// After an accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The routes of the API.
fn router(proxies: Proxies) -> Router {
    let toxic = get(toxic)
        .post(change_toxic)
        .patch(change_toxic)
        .delete(remove_toxic);
    Router::new()
        .route("/reset", post(reset))
        .route("/proxies", get(list).post(add))
        .route("/populate", post(populate))
        .route(
            "/proxies/{proxy}",
            get(show).post(update).patch(update).delete(remove),
        )
        .route("/proxies/{proxy}/toxics", get(toxics).post(add_toxic))
        .route("/proxies/{proxy}/toxics/{toxic}", toxic)
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(admit))
        .with_state(proxies)
}

/// The API, served until it is dropped or [`Api::end`] is called.
pub struct Api {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Api {
    /// Serves the API for these proxies at this address, `host:port`.
    ///
    /// # Errors
    ///
    /// When it cannot listen there.
    pub async fn start(address: &str, proxies: Proxies) -> io::Result<Api> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, router(proxies), stopped));
        Ok(Api { address, stop, task })
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the requests under way end, for two seconds, and accepts no more.
    pub async fn end(self) {
        self.stop.send_replace(true);
        // It only ends early by a panic.
        let _ = self.task.await;
    }
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.changed() => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection of the API could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, router, stopped).await {
                tracing::debug!("a connection of the API ended: {error}");
            }
            drop(slot);
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // What takes longer is cut off.
    let _ = tokio::time::timeout(DRAIN_MAX, all).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let mut served = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    tokio::select! {
        done = served.as_mut() => return done,
        _ = stopped.changed() => served.as_mut().graceful_shutdown(),
    }
    served.await
}

/// Refuses what is not even looked at: a page from anywhere could make a browser ask, and a body could be endless.
async fn admit(request: Request, next: Next) -> Response {
    let agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
    if agent.is_some_and(|agent| agent.starts_with(b"Mozilla/")) {
        return (StatusCode::FORBIDDEN, "User agent not allowed\n").into_response();
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > BODY_MAX) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

impl ProxyError {
    /// The status that the API answers with.
    pub fn status(&self) -> StatusCode {
        match self {
            ProxyError::Malformed(_)
            | ProxyError::Missing(_)
            | ProxyError::Stream
            | ProxyError::ToxicType
            | ProxyError::TooMany(_) => StatusCode::BAD_REQUEST,
            ProxyError::NotFound | ProxyError::ToxicNotFound => StatusCode::NOT_FOUND,
            ProxyError::Exists | ProxyError::ToxicExists => StatusCode::CONFLICT,
            ProxyError::Listen { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ProxyError {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({ "error": self.to_string(), "status": status.as_u16() });
        answer(status, &body)
    }
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text + "\n"));
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whatever the header fields say, a body is JSON: its first value, as in Toxiproxy.
fn body(bytes: &Bytes) -> Result<Value, ProxyError> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter();
    match values.next() {
        None => Err(ProxyError::Malformed("EOF".to_owned())),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(ProxyError::Malformed(error.to_string())),
    }
}

/// The proxies of a list, as `/populate` and the configuration file have it.
///
/// # Errors
///
/// What is wrong with it.
pub fn drafts(value: &Value) -> Result<Vec<Draft>, ProxyError> {
    let Value::Array(list) = value else {
        return Err(ProxyError::Malformed("not a list".to_owned()));
    };
    list.iter().map(Draft::read).collect()
}

type Answered = Result<Response, ProxyError>;

async fn reset(State(proxies): State<Proxies>) -> Answered {
    proxies.reset().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list(State(proxies): State<Proxies>) -> Response {
    answer(StatusCode::OK, &proxies.list().await)
}

async fn add(State(proxies): State<Proxies>, bytes: Bytes) -> Answered {
    let draft = Draft::read(&body(&bytes)?)?;
    Ok(answer(StatusCode::CREATED, &proxies.add(&draft).await?))
}

async fn populate(State(proxies): State<Proxies>, bytes: Bytes) -> Response {
    let populated = match body(&bytes).and_then(|body| drafts(&body)) {
        Ok(drafts) => proxies.populate(&drafts).await,
        Err(error) => Err((error, Vec::new())),
    };
    match populated {
        Ok(views) => answer(StatusCode::CREATED, &json!({ "proxies": views })),
        Err((error, views)) => {
            let status = error.status();
            let body = json!({ "error": error.to_string(), "status": status.as_u16(), "proxies": views });
            answer(status, &body)
        }
    }
}

async fn show(State(proxies): State<Proxies>, Path(proxy): Path<String>) -> Answered {
    Ok(answer(StatusCode::OK, &proxies.view(&proxy).await?))
}

async fn update(State(proxies): State<Proxies>, Path(proxy): Path<String>, bytes: Bytes) -> Answered {
    proxies.view(&proxy).await?;
    let draft = Draft::read(&body(&bytes)?)?;
    Ok(answer(StatusCode::OK, &proxies.update(&proxy, &draft).await?))
}

async fn remove(State(proxies): State<Proxies>, Path(proxy): Path<String>) -> Answered {
    proxies.remove(&proxy).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn toxics(State(proxies): State<Proxies>, Path(proxy): Path<String>) -> Answered {
    Ok(answer(StatusCode::OK, &proxies.view(&proxy).await?.toxics))
}

async fn add_toxic(State(proxies): State<Proxies>, Path(proxy): Path<String>, bytes: Bytes) -> Answered {
    proxies.view(&proxy).await?;
    let toxic = Toxic::read(&body(&bytes)?)?;
    Ok(answer(StatusCode::OK, &proxies.add_toxic(&proxy, toxic).await?))
}

async fn toxic(State(proxies): State<Proxies>, Path((proxy, name)): Path<(String, String)>) -> Answered {
    let toxics = proxies.view(&proxy).await?.toxics;
    let toxic = toxics.iter().find(|toxic| toxic.name == name);
    Ok(answer(StatusCode::OK, toxic.ok_or(ProxyError::ToxicNotFound)?))
}

async fn change_toxic(
    State(proxies): State<Proxies>,
    Path((proxy, name)): Path<(String, String)>,
    bytes: Bytes,
) -> Answered {
    let toxics = proxies.view(&proxy).await?.toxics;
    if toxics.iter().all(|toxic| toxic.name != name) {
        return Err(ProxyError::ToxicNotFound);
    }
    let change = body(&bytes)?;
    Ok(answer(
        StatusCode::OK,
        &proxies.change_toxic(&proxy, &name, &change).await?,
    ))
}

async fn remove_toxic(
    State(proxies): State<Proxies>,
    Path((proxy, name)): Path<(String, String)>,
) -> Answered {
    proxies.remove_toxic(&proxy, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn version() -> Response {
    answer(StatusCode::OK, &json!({ "version": VERSION }))
}

async fn metrics(State(proxies): State<Proxies>) -> Response {
    let kind = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], proxies.metrics().await).into_response()
}
