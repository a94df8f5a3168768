//! What is passed through: writes, what nobody may share, and what is too large to be kept. Streamed, never held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use seawall::{Error, Options};

use crate::answers;
use crate::body::{Body, Lease, Upload};
use crate::door::Place;
use crate::exchange::Exchange;
use crate::fields;
use crate::load::Errand;
use crate::site::How;
use crate::upstream::Upstream;

/// Passes a request through, with these fields. It takes a place at the upstream like a load, and is news for its
/// breaker. Writes are not held up by its limit; reads wait in line with the loads.
pub(crate) async fn pass(
    exchange: &Arc<Exchange>,
    headers: HeaderMap,
    body: Upload,
    why: &str,
) -> Response<Body> {
    let site = &exchange.site;
    let place = match exchange.enter().await {
        Ok(place) => place,
        Err(response) => return response,
    };
    let is_write = !exchange.method.is_safe();
    let visit = match site.keep.cache.visit(is_write) {
        Ok(visit) => visit,
        Err(Error::Shed { .. }) if body.is_empty() => {
            return Box::pin(wait(exchange, headers, place, why)).await;
        }
        Err(error) => return failed(exchange, &error, why),
    };
    let mut request = Request::new(body);
    *request.method_mut() = exchange.method.clone();
    *request.uri_mut() = exchange.uri.clone();
    *request.headers_mut() = headers;
    exchange.onward(request.headers_mut());
    match site.upstream.send(request).await {
        Ok((response, lease)) => {
            let status = response.status();
            visit.end(!is_outage(status));
            exchange.gateway.door.record(!status.is_server_error());
            if is_write && !status.is_client_error() && !status.is_server_error() {
                invalidate(exchange, response.headers()).await;
            }
            let response = stream(&exchange.pause(), &site.upstream, response, lease);
            passed(exchange, response, place, why)
        }
        Err(failure) => {
            // What the client did wrong says nothing of the upstream.
            if !failure.is_clients() {
                visit.end(false);
            }
            exchange.gateway.door.record(false);
            let mut response = answers::failed(&failure);
            exchange.mark(&mut response, format_args!("fwd={why}; detail=failed"));
            exchange.ended(How::Pass, response)
        }
    }
}

/// Passes a read through once there is a place at the upstream: a load of a name that nothing else has.
async fn wait(exchange: &Arc<Exchange>, headers: HeaderMap, place: Place, why: &str) -> Response<Body> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // A line feed is in no address.
    let key = format!("\n{}", NEXT.fetch_add(1, Ordering::Relaxed)).into();
    let errand = Errand::passing(exchange, headers, &key);
    let load = {
        let errand = Arc::clone(&errand);
        move || {
            let errand = Arc::clone(&errand);
            async move { errand.load().await }
        }
    };
    let options = Options::new().priority(exchange.route.priority).bypass();
    let cache = &exchange.site.keep.cache;
    let result = cache.get_or_load_full(&key, &options, load).await;
    exchange.gateway.door.record(result.is_ok());
    match (errand.take(), result) {
        (Some(response), _) => passed(exchange, response, place, why),
        (None, Err(error)) => failed(exchange, &error, why),
        (None, Ok(_)) => failed(exchange, &Error::TimedOut, why),
    }
}

/// A response on its way through.
fn passed(exchange: &Exchange, mut response: Response<Body>, place: Place, why: &str) -> Response<Body> {
    let status = response.status().as_u16();
    exchange.mark(&mut response, format_args!("fwd={why}; fwd-status={status}"));
    let response = response.map(|body| body.holding(Some(place)));
    exchange.ended(How::Pass, response)
}

/// There is none.
fn failed(exchange: &Exchange, error: &Error, why: &str) -> Response<Body> {
    let (mut response, shed) = answers::unloaded(error);
    let how = if let Some(reason) = shed {
        exchange.gateway.door.count(reason);
        How::Shed
    } else {
        How::Pass
    };
    exchange.mark(&mut response, format_args!("fwd={why}; detail=failed"));
    exchange.ended(how, response)
}

/// A response as it goes to the client while it comes.
pub(crate) fn stream(
    pause_max: &std::time::Duration,
    upstream: &Arc<Upstream>,
    response: Response<Incoming>,
    lease: Option<Lease>,
) -> Response<Body> {
    debug_assert!(lease.as_ref().is_none_or(|lease| upstream.has(&lease.server)));
    let (mut parts, body) = response.into_parts();
    fields::strip(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    let body = Body::coming(body, *pause_max, lease);
    Response::from_parts(parts, body)
}

/// After a write, what is kept of its target is gone, and of what it says it has changed on the same host (RFC 9111, 4.4).
async fn invalidate(exchange: &Exchange, headers: &HeaderMap) {
    let keep = &exchange.site.keep;
    keep.purge(&exchange.resource).await;
    for name in [&LOCATION, &CONTENT_LOCATION] {
        let named = headers.get(name).and_then(|value| value.to_str().ok());
        let Some(uri) = named.and_then(|value| value.parse::<Uri>().ok()) else {
            continue;
        };
        let host = uri
            .authority()
            .map_or(&*exchange.host, |authority| authority.as_str());
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        if host.eq_ignore_ascii_case(&exchange.host) && path.starts_with('/') {
            keep.purge(&format!("{}{path}", exchange.host).into()).await;
        }
    }
}

/// Whether a status is an error that what is kept may stand in for (RFC 5861, 4).
pub(crate) fn is_outage(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}
