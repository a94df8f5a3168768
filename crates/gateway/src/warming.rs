//! Warming: what operators want kept is asked for at a pace, one after the other, as a client would ask for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Uri};
use seawall_core::warm;

use crate::control::Asked;
use crate::exchange::Exchange;
use crate::fields::Client;
use crate::gateway::Inside;
use crate::{caching, routes};

/// So many addresses are warmed at a time.
pub(crate) const ADDRESSES_MAX: usize = 100_000;

/// How far it is.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    under_way: AtomicBool,
    pub(crate) done: AtomicU64,
    pub(crate) of: AtomicU64,
}

impl Warming {
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }
}

/// Warms these addresses (host and target). Whether it begins: there is one warming at a time.
pub(crate) fn begin(inside: &Arc<Inside>, addresses: Vec<String>) -> bool {
    let warming = &inside.warming;
    if warming.under_way.swap(true, Ordering::AcqRel) {
        return false;
    }
    warming.done.store(0, Ordering::Relaxed);
    warming.of.store(addresses.len() as u64, Ordering::Relaxed);
    let inside = Arc::downgrade(inside);
    tokio::spawn(async move {
        for address in addresses {
            if !warm(&inside, &address).await {
                break;
            }
        }
        if let Some(inside) = inside.upgrade() {
            inside.warming.under_way.store(false, Ordering::Release);
        }
    });
    true
}

/// Asks for one, and waits as long as the pace wants. Whether to go on.
async fn warm(inside: &Weak<Inside>, address: &str) -> bool {
    let Some(inside) = inside.upgrade() else {
        return false;
    };
    if inside.draining.load(Ordering::Acquire) {
        return false;
    }
    let pace = match exchange(&inside, address) {
        Some(exchange) => {
            let pace = exchange.site.policies.warm.clone().unwrap_or_default().pace;
            caching::serve(&Arc::new(exchange), &Asked::default()).await;
            pace
        }
        None => warm::Settings::default().pace,
    };
    inside.warming.done.fetch_add(1, Ordering::Relaxed);
    drop(inside);
    tokio::time::sleep(Duration::from_secs_f64(1.0 / pace.clamp(0.1, 1e6))).await;
    true
}

/// A request for an address, as a client would make it. It comes after everyone else's.
fn exchange(inside: &Arc<Inside>, address: &str) -> Option<Exchange> {
    let (host, path) = address.split_at(address.find('/')?);
    let uri: Uri = path.parse().ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_str(host).ok()?);
    let live = inside.live.load_full();
    let route = routes::find(&live.routes, host, uri.path(), &Method::GET)?.clone();
    let site = Arc::clone(&live.sites[route.upstream]);
    Some(Exchange {
        gateway: Arc::clone(inside),
        site,
        route,
        method: Method::GET,
        uri,
        headers,
        host: host.into(),
        resource: address.into(),
        client: Client::new(std::net::Ipv4Addr::LOCALHOST.into(), false),
        came_ms: crate::clock::unix_ms(),
        live,
    })
}
