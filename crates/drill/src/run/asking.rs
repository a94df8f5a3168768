//! Short questions to the parts of a system, each with a time of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use seawall_diagnose::probe::Page;
use tokio::time::timeout;

use super::NoDrill;
use crate::app::{Rewritten, Took};

/// A page of metrics, and other questions to what answers at once or not at all.
const SOON: Duration = Duration::from_millis(400);
/// What takes longer.
const LATER: Duration = Duration::from_secs(15);
/// No answer is longer.
const ANSWER_MAX: usize = 4 << 20;

/// The answer to an HTTP request, when it is a good one.
async fn asked(
    method: Method,
    address: SocketAddr,
    path: &str,
    body: Option<String>,
    patience: Duration,
) -> Result<Bytes, NoDrill> {
    let failed =
        |why: &dyn std::fmt::Display| NoDrill::Failed(format!("failed to ask http://{address}{path}: {why}"));
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"));
    if body.is_some() {
        request = request.header(http::header::CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::from(body.unwrap_or_default()));
    let request = request.map_err(|error| failed(&error))?;
    let exchange = async {
        let response = client.request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            let said = String::from_utf8_lossy(&body);
            Err(failed(&format!("{status}: {}", said.trim())))
        }
    };
    timeout(patience, exchange)
        .await
        .unwrap_or_else(|_| Err(failed(&"no answer in time")))
}

/// Whether something answers well what it is asked.
pub(crate) async fn answers(address: SocketAddr, path: &str) -> bool {
    asked(Method::GET, address, path, None, SOON).await.is_ok()
}

/// A page of metrics.
pub(crate) async fn page(address: SocketAddr) -> Result<Page, NoDrill> {
    let body = asked(Method::GET, address, "/metrics", None, SOON).await?;
    Ok(Page::read(&String::from_utf8_lossy(&body)))
}

/// What took how long in an instance.
pub(crate) async fn took(address: SocketAddr) -> Result<Took, NoDrill> {
    let body = asked(Method::POST, address, "/took", None, SOON).await?;
    serde_json::from_slice(&body).map_err(|error| NoDrill::Failed(error.to_string()))
}

/// Tells an instance that an event of the timeline begins or ends.
pub(crate) async fn tell(address: SocketAddr, event: usize, begins: bool) -> Result<(), NoDrill> {
    let word = if begins { "begin" } else { "end" };
    asked(Method::POST, address, &format!("/{word}/{event}"), None, SOON).await?;
    Ok(())
}

/// Lets an instance put its share of the entries into the cache.
pub(crate) async fn prefill(address: SocketAddr) -> Result<u64, NoDrill> {
    let body = asked(Method::POST, address, "/prefill", None, LATER).await?;
    serde_json::from_slice(&body).map_err(|error| NoDrill::Failed(error.to_string()))
}

/// Lets an instance write entries again; how many there were.
pub(crate) async fn rewrite(address: SocketAddr, order: &Rewritten) -> Result<u64, NoDrill> {
    let order = serde_json::to_string(order).map_err(|error| NoDrill::Failed(error.to_string()))?;
    let body = asked(Method::POST, address, "/rewrite", Some(order), LATER).await?;
    serde_json::from_slice(&body).map_err(|error| NoDrill::Failed(error.to_string()))
}

/// The keys of the entries that a Redis holds for instances, of those that are there the whole time.
pub(crate) async fn keys(address: SocketAddr) -> Result<Vec<u64>, NoDrill> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let (next, names): (String, Vec<String>) =
            command(address, &["SCAN", &cursor, "COUNT", "500"]).await?;
        let known = names
            .iter()
            .filter_map(|name| name.rsplit_once(':')?.1.parse::<u64>().ok());
        keys.extend(known);
        if next == "0" {
            keys.sort_unstable();
            keys.dedup();
            return Ok(keys);
        }
        cursor = next;
    }
}

/// Some entries of a Redis from this place on: where to go on, and how long each has to live. One that never ends lives
/// longest.
pub(crate) async fn lives(address: SocketAddr, cursor: &str) -> Result<(String, Vec<Duration>), NoDrill> {
    let (next, names): (String, Vec<Vec<u8>>) = command(address, &["SCAN", cursor, "COUNT", "50"]).await?;
    let lives = pttl(address, &names).await?;
    Ok((next, lives.into_iter().filter(|life| !life.is_zero()).collect()))
}

/// How long each of these has to live: zero when it is gone.
async fn pttl(address: SocketAddr, names: &[impl redis::ToRedisArgs]) -> Result<Vec<Duration>, NoDrill> {
    let failed = |error: redis::RedisError| NoDrill::Failed(format!("PTTL at Redis {address}: {error}"));
    let asked = async {
        let mut pipe = redis::pipe();
        for name in names {
            pipe.cmd("PTTL").arg(name);
        }
        let mut connection = redis(address).await?;
        pipe.query_async::<Vec<i64>>(&mut connection)
            .await
            .map_err(failed)
    };
    let lives = timeout(SOON, asked).await;
    let lives =
        lives.unwrap_or_else(|_| Err(NoDrill::Failed(format!("Redis at {address} does not answer"))))?;
    let span = |left: i64| match left {
        -1 => Duration::MAX,
        left => u64::try_from(left).map_or(Duration::ZERO, Duration::from_millis),
    };
    Ok(lives.into_iter().map(span).collect())
}

/// Which events are under way at an instance.
pub(crate) async fn active(address: SocketAddr) -> Result<Vec<usize>, NoDrill> {
    let body = asked(Method::GET, address, "/active", None, SOON).await?;
    serde_json::from_slice(&body).map_err(|error| NoDrill::Failed(error.to_string()))
}

/// Changes protections of a gateway, as its admin API has them.
pub(crate) async fn change(admin: SocketAddr, policies: String) -> Result<(), NoDrill> {
    asked(Method::PATCH, admin, "/policies", Some(policies), SOON).await?;
    Ok(())
}

/// A connection to a Redis.
async fn redis(address: SocketAddr) -> Result<MultiplexedConnection, NoDrill> {
    let failed = |error: redis::RedisError| NoDrill::Failed(format!("Redis at {address}: {error}"));
    let client = redis::Client::open(format!("redis://{address}")).map_err(failed)?;
    // Patience is for those who ask.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    connecting.await.map_err(failed)
}

/// The answer of a Redis to a command.
pub(crate) async fn command<T: redis::FromRedisValue>(
    address: SocketAddr,
    words: &[&str],
) -> Result<T, NoDrill> {
    let (name, rest) = words.split_first().unwrap_or((&"PING", &[]));
    let mut command = redis::cmd(name);
    for word in rest {
        command.arg(*word);
    }
    let asked = async {
        let mut connection = redis(address).await?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| NoDrill::Failed(format!("{name} at Redis {address}: {error}")))
    };
    match timeout(LATER, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(NoDrill::Failed(format!(
            "{name} at Redis {address}: no answer in time"
        ))),
    }
}

/// Changes a setting of a Redis.
pub(crate) async fn configure(address: SocketAddr, key: &str, value: &str) -> Result<(), NoDrill> {
    command::<()>(address, &["CONFIG", "SET", key, value]).await
}

/// What a Redis says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Bytes that it uses.
    pub(crate) memory: u64,
    /// Entries that it holds.
    pub(crate) entries: u64,
    /// Entries that it has pushed out since it runs.
    pub(crate) evicted: u64,
    /// For how long it runs, in seconds.
    pub(crate) uptime: u64,
    /// Whether it holds what it holds for itself, and not for another one.
    pub(crate) is_master: bool,
}

/// How the one of these stands that serves: of a node and its copies, the one that has its place now.
pub(crate) async fn standing_of(addresses: &[SocketAddr]) -> Option<Standing> {
    for address in addresses {
        match standing(*address).await {
            Ok(standing) if standing.is_master || addresses.len() == 1 => return Some(standing),
            _ => {}
        }
    }
    None
}

/// How a Redis stands; asked at once or not at all.
pub(crate) async fn standing(address: SocketAddr) -> Result<Standing, NoDrill> {
    let info = match timeout(SOON, command::<String>(address, &["INFO"])).await {
        Ok(info) => info?,
        Err(_) => return Err(NoDrill::Failed(format!("Redis at {address} does not answer"))),
    };
    let number = |key: &str| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    let keys = info.lines().find_map(|line| line.strip_prefix("db0:keys="));
    let keys = keys.and_then(|line| line.split(',').next()?.parse().ok());
    Ok(Standing {
        memory: number("used_memory"),
        entries: keys.unwrap_or(0),
        evicted: number("evicted_keys"),
        uptime: number("uptime_in_seconds"),
        is_master: info.lines().any(|line| line.trim() == "role:master"),
    })
}
