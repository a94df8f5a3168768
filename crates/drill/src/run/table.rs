//! A database where there is no PostgreSQL: a table in memory behind HTTP, as fast as the scenario says.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::routing::any;
use seawall_core::keys::MISSING;
use seawall_core::rng::{Seed, Stream};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::NoDrill;
use crate::load::Truth;
use crate::paced::{Node, Speed};

/// What was written, on all nodes of a database.
pub(crate) type Rows = Arc<Mutex<HashMap<String, Bytes>>>;

/// A node of such a database. It closes when this is dropped.
pub(crate) struct Table {
    pub(crate) address: SocketAddr,
    listener: AbortHandle,
}

struct Inside {
    node: Node,
    speed: Speed,
    rows: Rows,
    truth: Arc<Truth>,
    rng: Mutex<Stream>,
}

impl Table {
    pub(crate) async fn start(
        node: Node,
        speed: Speed,
        rows: Rows,
        truth: Arc<Truth>,
        seed: Seed,
    ) -> Result<Table, NoDrill> {
        let failed = |error: std::io::Error| NoDrill::Failed(format!("failed to listen: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let inside = Arc::new(Inside {
            node,
            speed,
            rows,
            truth,
            rng: Mutex::new(seed.stream("paced", 0)),
        });
        let router = Router::new()
            .route("/{client}/{key}", any(answer))
            .with_state(inside);
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Table {
            address,
            listener: task.abort_handle(),
        })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn answer(
    State(inside): State<Arc<Inside>>,
    Path((_, key)): Path<(String, String)>,
    method: Method,
    body: Bytes,
) -> (StatusCode, Bytes) {
    // A server goes on with a query that nobody waits for.
    let task = tokio::spawn(async move { worked(&inside, key, method, body).await });
    task.await
        .unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()))
}

async fn worked(inside: &Inside, key: String, method: Method, body: Bytes) -> (StatusCode, Bytes) {
    let reads = method == Method::GET;
    let law = if reads {
        &inside.speed.read
    } else {
        &inside.speed.write
    };
    let work = law.draw(&mut inside.rng.lock().unwrap_or_else(PoisonError::into_inner));
    let deadline = inside
        .speed
        .timeout
        .map(|timeout| Instant::now() + Duration::from(timeout));
    let done = match inside.node.enter(deadline).await {
        Ok(place) => place.work(work, deadline).await,
        Err(cut) => Err(cut),
    };
    if done.is_err() {
        return (StatusCode::GATEWAY_TIMEOUT, Bytes::new());
    }
    let mut rows = inside.rows.lock().unwrap_or_else(PoisonError::into_inner);
    if !reads {
        rows.insert(key, body);
        return (StatusCode::NO_CONTENT, Bytes::new());
    }
    if let Some(value) = rows.get(&key) {
        return (StatusCode::OK, value.clone());
    }
    match key.parse::<u64>() {
        Ok(key) if key & MISSING == 0 => (StatusCode::OK, inside.truth.value(key, 0).into()),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    }
}
