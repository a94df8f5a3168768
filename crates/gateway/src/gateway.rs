//! The gateway as a whole: started, told of other settings, drained.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use seawall_core::throttle::Signals;
use seawall_core::time::Time;
use seawall_scenario::{CacheTable, Deployment, Listener, Mistakes, Place};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::audit::Audit;
use crate::body::Body;
use crate::clock::Clock;
use crate::config::{Config, Desk};
use crate::door::Door;
use crate::exchange;
use crate::fields::Client;
use crate::routes::Route;
use crate::server::{self, Connections, Handler, Limits};
use crate::site::{Keep, Site, default_policies};
use crate::tier::Tier;
use crate::tls::{self, Certificate};
use crate::token::Token;
use crate::upstream::Upstream;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The document is not in order.
    #[error("{0}")]
    Document(#[from] Mistakes),
    /// The document, or a file that it names, cannot be read.
    #[error("failed to read {0}: {1}")]
    Read(String, #[source] std::io::Error),
    /// An address cannot be listened on.
    #[error("failed to listen on {0}: {1}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The admin API would be open to everyone.
    #[error(
        "the admin API would listen on {0}, beyond this machine, without a token; set SEAWALL_ADMIN_TOKEN or \
         `admin_token_file`, or listen on 127.0.0.1"
    )]
    OpenAdmin(SocketAddr),
    /// The token is too short to be one.
    #[error("the admin API's token has fewer than 16 characters; make one with `openssl rand -hex 32`")]
    ShortToken,
    /// A certificate, its key or an authority cannot be used.
    #[error("failed to use {0}: {1}")]
    Tls(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The second tier is not described well. What is wrong is said without what may be secret.
    #[error("failed to use the Redis of SEAWALL_REDIS_URL or [cache.redis]: {0}")]
    Redis(#[from] seawall::redis::ConfigError),
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway {
    inside: Arc<Inside>,
    address: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    over: mpsc::Receiver<Infallible>,
}

/// What all requests share.
pub(crate) struct Inside {
    pub(crate) clock: Clock,
    pub(crate) live: ArcSwap<Live>,
    pub(crate) door: Arc<Door>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) desk: Desk,
    pub(crate) audit: Audit,
    pub(crate) draining: AtomicBool,
    pub(crate) token: Option<Token>,
    pub(crate) warming: crate::warming::Warming,
    pub(crate) certificate: Option<Arc<Certificate>>,
    tier: Option<Tier>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

/// The settings that are in force, and what is made of them.
pub(crate) struct Live {
    pub(crate) listener: Listener,
    pub(crate) cache: CacheTable,
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) door: seawall_core::policies::Policies,
    pub(crate) via: HeaderValue,
}

impl Live {
    /// What a document comes to. Upstreams that are as they were go on, and what is kept stays.
    fn new(clock: Clock, deployment: &Deployment, tier: Option<&Tier>, before: Option<&Live>) -> Live {
        let base = default_policies();
        // The document's reader lets nothing through that cannot stand in a field.
        let via = HeaderValue::from_str(&format!("1.1 {}", deployment.listener.pseudonym))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 seawall"));
        let share = deployment.cache.memory / deployment.upstreams.len().max(1) as u64;
        let sites = deployment.upstreams.iter().enumerate().map(|(index, settings)| {
            let policies = deployment.policies(Place::Service(index), &base);
            let known = before.and_then(|before| {
                before
                    .sites
                    .iter()
                    .find(|site| *site.upstream.name == *settings.name)
            });
            let upstream = match known {
                Some(site) if site.upstream.settings == *settings => Arc::clone(&site.upstream),
                _ => {
                    let upstream = Upstream::new(clock, settings, policies.balance.unwrap_or_default());
                    if let Some(site) = known {
                        upstream.hold(site.upstream.held());
                    }
                    tokio::spawn(Upstream::check(Arc::downgrade(&upstream)));
                    tokio::spawn(Upstream::sweep(Arc::downgrade(&upstream)));
                    upstream
                }
            };
            let keep = if let Some(site) = known {
                if site.policies.ttl != policies.ttl {
                    site.keep.forget_passed();
                }
                Arc::clone(&site.keep)
            } else {
                let room = (share, deployment.cache.ttl_max.into());
                Keep::new(&settings.name, room, tier, &via, &policies)
            };
            Site::new(upstream, keep, policies)
        });
        Live {
            sites: sites.collect(),
            listener: deployment.listener.clone(),
            cache: deployment.cache.clone(),
            routes: deployment.routes.iter().map(Route::new).map(Arc::new).collect(),
            door: deployment.policies(Place::Gateway(0), &base),
            via,
        }
    }
}

impl Inside {
    /// Takes other settings over.
    pub(crate) fn apply(&self, deployment: &Deployment) {
        let before = self.live.load_full();
        let live = Live::new(self.clock, deployment, self.tier.as_ref(), Some(&before));
        self.door.retune(live.listener.concurrency, &live.door);
        let (old, new) = (&before.listener, &live.listener);
        let fixed = (old.listen, old.admin, old.connections) == (new.listen, new.admin, new.connections)
            && (&old.certificate, &old.private_key) == (&new.certificate, &new.private_key);
        let (old, new) = (&before.cache, &live.cache);
        let kept = (old.memory, old.ttl_max, &old.redis) == (new.memory, new.ttl_max, &new.redis);
        if !fixed || !kept {
            tracing::warn!(
                "addresses, the number of connections, the names of certificates, memory and Redis change with a restart \
                 only"
            );
        }
        self.live.store(Arc::new(live));
    }

    /// Tells the door how origin and cache are, as often as it asks.
    async fn observe(inside: std::sync::Weak<Inside>) {
        const EVERY: Duration = Duration::from_millis(100);
        let mut since = Time::ZERO;
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(inside) = inside.upgrade() else { return };
            let now = inside.clock.now();
            let due = inside.door.next_decision().is_some_and(|next| next <= now);
            let mut signals = Signals {
                origin_latency: None,
                cache_up: true,
                since,
            };
            if due {
                let live = inside.live.load();
                signals.origin_latency = live.sites.iter().filter_map(|site| site.upstream.p99()).max();
                signals.cache_up = live.sites.iter().all(|site| {
                    let health = site.keep.cache.health();
                    health.parts.iter().all(|part| part.up || part.name == "origin")
                });
                since = now;
            }
            inside.door.observe(&signals);
        }
    }
}

/// The public side.
struct Public(Arc<Inside>);

impl Handler for Public {
    type Body = Body;

    async fn handle(self: &Arc<Self>, client: Client, request: Request<Incoming>) -> Response<Body> {
        exchange::serve(&self.0, client, request).await
    }
}

impl Gateway {
    /// Starts a gateway: reads its document, opens its listeners, and serves from then on.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn start(config: Config) -> Result<Gateway, StartError> {
        let (desk, deployment) = Desk::open(config)?;
        let listener = &deployment.listener;
        let certificate = match (&listener.certificate, &listener.private_key) {
            (Some(chain), Some(key)) => Some(Certificate::open(chain, key)?),
            _ => None,
        };
        tls::check(&deployment)?;
        let tier = Tier::new(desk.redis(), deployment.cache.redis.as_ref())?;
        let token = Token::find(desk.token(), listener.admin_token_file.as_deref())?;
        if token.is_none() && !listener.admin.ip().is_loopback() {
            return Err(StartError::OpenAdmin(listener.admin));
        }
        raise_descriptors();
        let public = bind(listener.listen).await?;
        let private = bind(listener.admin).await?;
        let address = public.local_addr().unwrap_or(listener.listen);
        let admin = private.local_addr().unwrap_or(listener.admin);
        let clock = Clock::new();
        let live = Live::new(clock, &deployment, tier.as_ref(), None);
        let inside = Arc::new(Inside {
            door: Door::new(clock, live.listener.concurrency, &live.door),
            live: ArcSwap::from_pointee(live),
            connections: Arc::default(),
            audit: Audit::default(),
            draining: AtomicBool::new(false),
            warming: crate::warming::Warming::default(),
            certificate: certificate.clone(),
            tier,
            clock,
            desk,
            token,
        });
        let (stop, stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let (held, over) = mpsc::channel(1);
        let limits = Limits::from(listener);
        let counts = Arc::clone(&inside.connections);
        let handler = Arc::new(Public(Arc::clone(&inside)));
        tokio::spawn(server::listen(
            (public, certificate),
            limits,
            handler,
            counts,
            stopped,
            held,
        ));
        let (limits, handler) = (Admin::limits(), Arc::new(Admin::new(&inside)));
        let (apart, _) = mpsc::channel(1);
        tokio::spawn(server::listen(
            (private, None),
            limits,
            handler,
            Arc::default(),
            admin_stopped,
            apart,
        ));
        tokio::spawn(Inside::observe(Arc::downgrade(&inside)));
        tokio::spawn(Desk::watch(Arc::downgrade(&inside)));
        tracing::info!(%address, %admin, "serving");
        Ok(Gateway {
            inside,
            address,
            admin,
            stop,
            stop_admin,
            over,
        })
    }

    /// Where clients come in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Stops: says first that it is not ready, then closes the listener and what is idle, and lets what is under way
    /// end. Whether all of it ended in the time that the document gives.
    pub async fn drain(mut self) -> bool {
        let listener = self.inside.live.load().listener.clone();
        self.inside.draining.store(true, Ordering::Release);
        tracing::info!("draining");
        tokio::time::sleep(listener.drain_delay.into()).await;
        self.stop.send_replace(true);
        let all = self.over.recv();
        let ended = tokio::time::timeout(listener.drain.into(), all).await.is_ok();
        if !ended {
            let open = self.inside.connections.open.load(Ordering::Relaxed);
            tracing::warn!(open, "connections did not end in time");
        }
        self.stop_admin.send_replace(true);
        ended
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen(address, error))
}

/// Each connection takes a descriptor, and the soft limit is often as low as 1024.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// What is kept takes new memory all the time. Where that comes in pages of 2 MB, the kernel clears one of them while
/// all who are served by this thread wait, for a millisecond and more.
#[cfg(target_os = "linux")]
fn small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("memory may come in large pages: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn small_pages() {}

/// Serves until the process is told to stop (SIGTERM, SIGINT), and drains. Whether all that was under way ended in time.
///
/// # Errors
/// Why it does not start.
pub async fn run(config: Config) -> Result<bool, StartError> {
    small_pages();
    let gateway = Gateway::start(config).await?;
    stopped().await;
    Ok(gateway.drain().await)
}

#[cfg(unix)]
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!("signals cannot be heard, so only killing it will stop it: {error}");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn stopped() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn pages_are_small() {
        super::small_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().expect("it can be asked"));
    }
}
