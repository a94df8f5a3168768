//! An upstream: servers that can all answer the same requests, and how one of them is chosen, asked and judged.
//!
//! Which server is asked, and which is left out for a while, is the core's decision; connections are pooled and
//! bounded here. It knows nothing of caching.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall_core::balance::{Balancer, Ejector, Strategy};
use seawall_core::guard::OriginFault;
use seawall_core::histogram::Histogram;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::Span;
use seawall_scenario::Upstream as Settings;
use tokio::sync::Semaphore;

use crate::body::{Connection, Stalled, TooLarge, Upload};
use crate::clock::Clock;
use crate::tls::Connector;

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
    slots: Arc<Semaphore>,
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

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the upstream is held open by an operator")]
    Held,
    #[error("no connection to the upstream is free")]
    Busy,
    #[error("the upstream cannot be reached: {0}")]
    Refused(Box<dyn StdError + Send + Sync>),
    #[error("the upstream did not answer in time")]
    TimedOut,
    #[error("the upstream broke off: {0}")]
    Broken(Box<dyn StdError + Send + Sync>),
    #[error("the request's body is longer than {0} bytes")]
    TooLarge(u64),
    #[error("the request's body did not come in time")]
    Stalled,
    #[error("the request's body cannot be read")]
    Client,
}

impl Failure {
    /// What it means to the protections.
    pub(crate) fn fault(&self) -> OriginFault {
        match self {
            Failure::Held | Failure::Refused(_) => OriginFault::Refused,
            Failure::Busy => OriginFault::Overloaded,
            Failure::TimedOut => OriginFault::TimedOut,
            _ => OriginFault::Error,
        }
    }

    /// Whether the client is at fault.
    pub(crate) fn is_clients(&self) -> bool {
        matches!(self, Failure::TooLarge(_) | Failure::Stalled | Failure::Client)
    }
}

/// Servers that can all answer the same requests.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) settings: Settings,
    pub(crate) servers: Vec<Arc<Server>>,
    client: Client<Connector, Upload>,
    scheme: Scheme,
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
        let scheme = connector.scheme();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(settings.pool as usize)
            .http2_only(settings.http2)
            .http1_max_headers(256)
            .build(connector);
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
                    slots: Arc::new(Semaphore::new(settings.pool as usize)),
                    in_flight: AtomicU32::new(0),
                    well: AtomicBool::new(true),
                })
            })
            .collect();
        Arc::new(Upstream {
            name: settings.name.as_str().into(),
            servers,
            client,
            scheme,
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

    /// Asks one of the servers, and returns when the head of the response has come. A server that cannot be reached is
    /// not the last word when the request has no body: another is asked.
    pub(crate) async fn send(
        &self,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        if self.held() == Hold::Open {
            return Err(Failure::Held);
        }
        let (mut parts, body) = request.into_parts();
        let again = body.is_empty();
        let mut body = Some(body);
        let mut tries = if again { self.servers.len().min(3) } else { 1 };
        let path = parts.uri.path_and_query().cloned();
        let mut asked = Vec::new();
        loop {
            let (place, connection) = self.connection(&asked).await?;
            let mut request = Request::new(body.take().unwrap_or(Upload::Empty));
            *request.method_mut() = parts.method.clone();
            *request.headers_mut() = if tries > 1 {
                parts.headers.clone()
            } else {
                std::mem::take(&mut parts.headers)
            };
            *request.uri_mut() = uri(&self.scheme, &connection.server.authority, path.clone());
            if self.settings.http2 {
                *request.version_mut() = http::Version::HTTP_2;
            }
            tries -= 1;
            match self.ask(place, request).await {
                Ok(response) => return Ok((response, connection)),
                Err(Failure::Refused(_)) if tries > 0 => asked.push(place),
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn ask(&self, place: usize, request: Request<Upload>) -> Result<Response<Incoming>, Failure> {
        let began = self.clock.now();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let limit = Duration::from(self.settings.timeout);
        let result = match tokio::time::timeout(limit, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failure(error)),
            Err(_) => Err(Failure::TimedOut),
        };
        let now = self.clock.now();
        let ok = match &result {
            Ok(response) => !matches!(response.status().as_u16(), 500 | 502..=504),
            Err(failure) if failure.is_clients() => return result,
            Err(_) => false,
        };
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
        result
    }

    /// A free connection to the server whose turn it is.
    async fn connection(&self, asked: &[usize]) -> Result<(usize, Connection), Failure> {
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
        let slots = Arc::clone(&server.slots);
        server.in_flight.fetch_add(1, Ordering::Relaxed);
        let leaving = Leaving(&server);
        let wait = Duration::from(self.settings.connect_timeout);
        let permit = match slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match tokio::time::timeout(wait, slots.acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(Failure::Busy),
            },
        };
        std::mem::forget(leaving);
        Ok((
            place,
            Connection {
                server,
                _permit: permit,
            },
        ))
    }

    /// Asks one server whether it is well.
    async fn is_well(&self, server: &Server, path: &PathAndQuery, timeout: Duration) -> bool {
        let mut request = Request::new(Upload::Empty);
        *request.uri_mut() = uri(&self.scheme, &server.authority, Some(path.clone()));
        if self.settings.http2 {
            *request.version_mut() = http::Version::HTTP_2;
        }
        let answer = tokio::time::timeout(timeout, self.client.request(request)).await;
        matches!(answer, Ok(Ok(response)) if response.status().as_u16() < 400)
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

fn uri(scheme: &Scheme, authority: &Authority, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}

/// What a client's error is.
fn failure(error: hyper_util::client::legacy::Error) -> Failure {
    if error.is_connect() {
        return Failure::Refused(error.into());
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(TooLarge(max)) = error.downcast_ref() {
            return Failure::TooLarge(*max);
        }
        if error.is::<Stalled>() {
            return Failure::Stalled;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_user()
        {
            let inner = error.source();
            if let Some(TooLarge(max)) = inner.and_then(|inner| inner.downcast_ref()) {
                return Failure::TooLarge(*max);
            }
            if matches!(inner, Some(inner) if inner.is::<Stalled>()) {
                return Failure::Stalled;
            }
            return Failure::Client;
        }
        cause = error.source();
    }
    Failure::Broken(error.into())
}
