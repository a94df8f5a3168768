//! An upstream: servers that can all answer the same requests, and how one of them is chosen, asked and judged.
//!
//! Which server is asked, and which is left out for a while, is the core's decision; what is asked again is this one's.
//! Connections are [`crate::pool`]'s; those that speak HTTP/2 are shared, and hyper's. It knows nothing of caching.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall_core::balance::{Balancer, Ejector, Strategy};
use seawall_core::histogram::Histogram;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use seawall_scenario::Upstream as Settings;
use tokio::time::Instant;
use tower_service::Service as _;

use crate::body::{Lease, Upload};
use crate::clock::Clock;
use crate::failure::{Failure, failure};
use crate::line::{Line, Lost};
use crate::pool::Pool;
use crate::tls::Connector;

/// How often connections are looked at that nobody uses.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How an upstream is held by an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not at all: its breaker decides.
    Auto,
    /// It is not asked.
    Open,
    /// It is asked whatever its breaker would say.
    Closed,
}

/// One server.
pub(crate) struct Server {
    pub(crate) authority: Authority,
    pub(crate) pool: Pool,
    in_flight: AtomicU32,
    /// What the active check says.
    pub(crate) well: AtomicBool,
}

impl Server {
    /// A call of it is over.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Servers that can all answer the same requests.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) settings: Settings,
    pub(crate) servers: Vec<Arc<Server>>,
    connector: Connector,
    /// Where HTTP/2 is spoken.
    http2: Option<Client<Connector, Upload>>,
    clock: Clock,
    choice: Mutex<Choice>,
    hold: AtomicU32,
    /// How long it took, since the last look at it.
    latency: Mutex<Histogram>,
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
}

struct Choice {
    balancer: Balancer,
    ejector: Ejector,
    rng: Stream,
    in_flight: Vec<u32>,
}

impl Upstream {
    pub(crate) fn new(clock: Clock, settings: &Settings, strategy: Strategy) -> Arc<Upstream> {
        let connector = Connector::new(settings);
        let http2 = settings.http2.then(|| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .http2_only(true)
                .build(connector.clone())
        });
        let count = settings.addresses.len();
        // The document's reader lets nothing through that is no authority.
        let servers = settings
            .addresses
            .iter()
            .filter_map(|address| address.parse().ok());
        let servers = servers
            .map(|authority| {
                Arc::new(Server {
                    authority,
                    pool: Pool::new(settings.pool),
                    in_flight: AtomicU32::new(0),
                    well: AtomicBool::new(true),
                })
            })
            .collect();
        Arc::new(Upstream {
            name: settings.name.as_str().into(),
            servers,
            connector,
            http2,
            choice: Mutex::new(Choice {
                balancer: Balancer::new(strategy, count),
                ejector: Ejector::new(&settings.eject, count),
                rng: Seed(crate::clock::unix_ms()).stream("balance", 0),
                in_flight: vec![0; count],
            }),
            clock,
            settings: settings.clone(),
            hold: AtomicU32::new(Hold::Auto as u32),
            latency: Mutex::new(Histogram::new()),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds it open or closed, or lets go.
    pub(crate) fn hold(&self, hold: Hold) {
        self.hold.store(hold as u32, Ordering::Release);
    }

    pub(crate) fn held(&self) -> Hold {
        match self.hold.load(Ordering::Acquire) {
            held if held == Hold::Open as u32 => Hold::Open,
            held if held == Hold::Closed as u32 => Hold::Closed,
            _ => Hold::Auto,
        }
    }

    /// Spreads calls in another way from now on.
    pub(crate) fn spread(&self, strategy: Strategy) {
        self.choice().balancer = Balancer::new(strategy, self.servers.len());
    }

    /// How long calls took since this was asked last, 99 of 100.
    pub(crate) fn p99(&self) -> Option<Span> {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let p99 = (latency.count() > 0).then(|| latency.quantile(0.99));
        latency.clear();
        p99
    }

    /// The servers that are left out for failing, by their place.
    pub(crate) fn is_ejected(&self, server: usize) -> bool {
        let now = self.clock.now();
        !self.choice().ejector.is_in(now, server)
    }

    /// Whether this is one of its servers.
    pub(crate) fn has(&self, server: &Arc<Server>) -> bool {
        self.servers.iter().any(|one| Arc::ptr_eq(one, server))
    }

    /// Asks one of the servers, and returns when the head of the response has come, with the connection on which the
    /// rest of it comes, if there is any. A server that cannot be reached is not the last word when the request has no
    /// body: another is asked.
    pub(crate) async fn send(
        &self,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        if self.held() == Hold::Open {
            return Err(Failure::Held);
        }
        let mut tries = if request.body().is_empty() {
            self.servers.len().min(3)
        } else {
            1
        };
        let mut request = Some(request);
        let mut asked = Vec::new();
        loop {
            tries -= 1;
            let (place, lease) = self.lease(&asked).await?;
            let again = request.as_ref().filter(|_| tries > 0).map(copy);
            let Some(first) = request.take() else {
                return Err(Failure::Busy);
            };
            match self.ask(place, lease, first).await {
                Err(Failure::Refused(_)) if again.is_some() => {
                    request = again;
                    asked.push(place);
                }
                result => return result,
            }
        }
    }

    async fn ask(
        &self,
        place: usize,
        mut lease: Lease,
        mut request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Failure> {
        let began = self.clock.now();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let due = self.clock.instant(began) + Duration::from(self.settings.timeout);
        let result = match &self.http2 {
            None => {
                to_http1(&lease.server, &mut request);
                self.over_line(&mut lease, request, due).await
            }
            Some(client) => {
                self.to_http2(&lease.server, &mut request);
                match tokio::time::timeout_at(due, client.request(request)).await {
                    Ok(Ok(response)) => Ok(response),
                    Ok(Err(error)) if error.is_connect() => Err(Failure::Refused(error.into())),
                    Ok(Err(error)) => Err(failure(error)),
                    Err(_) => Err(Failure::TimedOut),
                }
            }
        };
        let ok = match &result {
            Ok(response) => !matches!(response.status().as_u16(), 500 | 502..=504),
            Err(failure) if failure.is_clients() => return result.map(|response| (response, None)),
            Err(_) => false,
        };
        self.record(place, began, ok);
        // What was small enough has come with the head, and the connection is free for others.
        let held = match &lease.line {
            Some(line) => !line.is_free(),
            None => self.http2.is_some(),
        };
        result.map(|response| (response, held.then_some(lease)))
    }

    /// Learns how it went.
    fn record(&self, place: usize, began: Time, ok: bool) {
        let now = self.clock.now();
        if !ok {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.latency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(now.since(began));
        if self.choice().ejector.record(now, place, ok) {
            let server = &self.servers[place].authority;
            tracing::warn!(upstream = &*self.name, %server, "left out: it keeps failing");
        }
    }

    /// Asks on a connection that is open already, or on a new one. The server may close one just when it is used again:
    /// then the request is sent once more, when nothing of it was sent, or when it does no harm twice and nothing came.
    async fn over_line(
        &self,
        lease: &mut Lease,
        mut request: Request<Upload>,
        due: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(line) = lease.server.pool.take() {
            let again = request.method().is_idempotent() && request.body().is_empty();
            let again = again.then(|| copy(&request));
            match line.send(request, due).await {
                Ok((response, line)) => {
                    lease.line = Some(line);
                    return Ok(response);
                }
                Err(Lost::Late) => return Err(Failure::TimedOut),
                Err(Lost::Broken { error, unsent, heard }) => {
                    match unsent.map(|unsent| *unsent).or(again.filter(|_| !heard)) {
                        Some(again) => request = again,
                        None => return Err(failure(error)),
                    }
                }
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        let line = match tokio::time::timeout_at(due, self.open(&lease.server)).await {
            Ok(line) => line?,
            Err(_) => return Err(Failure::TimedOut),
        };
        match line.send(request, due).await {
            Ok((response, line)) => {
                lease.line = Some(line);
                Ok(response)
            }
            Err(Lost::Late) => Err(Failure::TimedOut),
            Err(Lost::Broken { error, .. }) => Err(failure(error)),
        }
    }

    /// A new connection.
    async fn open(&self, server: &Server) -> Result<Line, Failure> {
        let link = self.connector.clone().call(uri(&self.connector, server, None));
        let link = link.await.map_err(Failure::Refused)?;
        Line::new(link)
            .await
            .map_err(|error| Failure::Refused(error.into()))
    }

    fn to_http2(&self, server: &Server, request: &mut Request<Upload>) {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = uri(&self.connector, server, path);
        *request.version_mut() = Version::HTTP_2;
    }

    /// The right to use a connection to the server whose turn it is.
    async fn lease(&self, asked: &[usize]) -> Result<(usize, Lease), Failure> {
        let place = {
            let now = self.clock.now();
            let mut choice = self.choice();
            let choice = &mut *choice;
            for (count, server) in choice.in_flight.iter_mut().zip(&self.servers) {
                *count = server.in_flight();
            }
            let Choice {
                balancer,
                ejector,
                rng,
                in_flight,
            } = choice;
            let fresh = |server: usize| !asked.contains(&server);
            let well = |server: usize| self.servers[server].well.load(Ordering::Relaxed);
            // When none is well the check may be what is wrong: better to ask one than to answer nobody.
            balancer
                .pick(rng, in_flight, |server| {
                    fresh(server) && well(server) && ejector.is_in(now, server)
                })
                .or_else(|| balancer.pick(rng, in_flight, fresh))
                .ok_or(Failure::Busy)?
        };
        let server = Arc::clone(&self.servers[place]);
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        let leaving = Leaving(&server);
        let wait_max = Duration::from(self.settings.connect_timeout);
        let right = server.pool.place(wait_max).await.ok_or(Failure::Busy)?;
        std::mem::forget(leaving);
        let lease = Lease {
            server,
            line: None,
            _place: right,
        };
        Ok((place, lease))
    }

    /// Asks one server whether it is well, on a connection of its own: whether one can be opened belongs to that.
    async fn is_well(&self, server: &Server, path: &PathAndQuery, timeout: Duration) -> bool {
        let mut request = Request::new(Upload::Empty);
        *request.uri_mut() = path.clone().into();
        let due = Instant::now() + timeout;
        let status = async {
            if let Some(client) = &self.http2 {
                self.to_http2(server, &mut request);
                return Some(client.request(request).await.ok()?.status());
            }
            let line = self.open(server).await.ok()?;
            to_http1(server, &mut request);
            let (response, _) = line.send(request, due).await.ok()?;
            Some(response.status())
        };
        let status = tokio::time::timeout_at(due, status).await.ok().flatten();
        status.is_some_and(|status| status.as_u16() < 400)
    }

    /// Closes connections that are of no use any more, until it is dropped.
    pub(crate) async fn sweep(upstream: std::sync::Weak<Upstream>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let Some(upstream) = upstream.upgrade() else {
                return;
            };
            for server in &upstream.servers {
                server.pool.sweep(Instant::now());
            }
        }
    }

    /// Checks its servers until it is dropped.
    pub(crate) async fn check(upstream: std::sync::Weak<Upstream>) {
        let Some(settings) = upstream
            .upgrade()
            .and_then(|upstream| upstream.settings.health.clone())
        else {
            return;
        };
        let Ok(path) = settings.path.parse::<PathAndQuery>() else {
            return;
        };
        let mut runs: Vec<i64> = Vec::new();
        loop {
            tokio::time::sleep(settings.every.into()).await;
            let Some(upstream) = upstream.upgrade() else {
                return;
            };
            runs.resize(upstream.servers.len(), 0);
            for (server, run) in upstream.servers.iter().zip(&mut runs) {
                let well = upstream.is_well(server, &path, settings.timeout.into()).await;
                *run = if well {
                    (*run).max(0) + 1
                } else {
                    (*run).min(0) - 1
                };
                let was = server.well.load(Ordering::Relaxed);
                if was && -*run >= i64::from(settings.failures) {
                    server.well.store(false, Ordering::Relaxed);
                    tracing::warn!(upstream = &*upstream.name, server = %server.authority, "not well");
                } else if !was && *run >= i64::from(settings.successes) {
                    server.well.store(true, Ordering::Relaxed);
                    tracing::info!(upstream = &*upstream.name, server = %server.authority, "well again");
                }
            }
        }
    }
}

/// Whoever stops waiting for a connection is no longer counted.
struct Leaving<'a>(&'a Server);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn uri(connector: &Connector, server: &Server, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(connector.scheme());
    parts.authority = Some(server.authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

/// The target without the host, which has a field of its own (RFC 9112, 3.2.1).
fn to_http1(server: &Server, request: &mut Request<Upload>) {
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    }
    // HTTP/1.0 may do without.
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(server.authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// The same request, without a body.
fn copy(request: &Request<Upload>) -> Request<Upload> {
    let mut copy = Request::new(Upload::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
