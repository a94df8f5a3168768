//! What is passed through: writes, what nobody may share, and what is too large to be kept. Streamed, never held.

use std::sync::Arc;

use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::Scheme;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use seawall_core::gate::{Reason, Refusal};
use seawall_core::time::Span;

use crate::answers;
use crate::body::{Body, Connection, Held, Stream, Timed, Upload};
use crate::exchange::Exchange;
use crate::fields;
use crate::site::How;
use crate::upstream::{Hold, Upstream};

/// Passes a request through.
pub(crate) async fn pass(exchange: &Exchange, body: Upload, why: &str) -> Response<Body> {
    let site = &exchange.site;
    if exchange.method.is_safe()
        && site.upstream.held() != Hold::Closed
        && let Some(down) = site
            .keep
            .cache
            .health()
            .parts
            .iter()
            .find(|part| part.name == "origin" && !part.up)
    {
        tracing::debug!(part = down.name, "not asked: its breaker is open");
        exchange.gateway.door.count(Reason::OriginOpen);
        let refusal = Refusal {
            reason: Reason::OriginOpen,
            retry_after: Span::secs(1),
        };
        return exchange.ended(How::Shed, answers::refused(&refusal));
    }
    let place = match exchange.enter().await {
        Ok(place) => place,
        Err(response) => return response,
    };
    let mut request = Request::new(body);
    *request.method_mut() = exchange.method.clone();
    *request.uri_mut() = exchange.uri.clone();
    *request.headers_mut() = exchange.headers.clone();
    exchange.onward(request.headers_mut());
    match site.upstream.send(request, &Scheme::HTTP).await {
        Ok((response, connection)) => {
            exchange.gateway.door.record(!response.status().is_server_error());
            if !exchange.method.is_safe()
                && !response.status().is_client_error()
                && !response.status().is_server_error()
            {
                invalidate(exchange, response.headers()).await;
            }
            let mut response = stream(&exchange.pause(), &site.upstream, response, connection);
            let status = response.status().as_u16();
            exchange.mark(&mut response, &format!("fwd={why}; fwd-status={status}"));
            let response = response.map(|body| body.holding(Some(place)));
            exchange.ended(How::Pass, response)
        }
        Err(failure) => {
            exchange.gateway.door.record(false);
            let mut response = answers::failed(&failure);
            exchange.mark(&mut response, &format!("fwd={why}; detail=failed"));
            exchange.ended(How::Pass, response)
        }
    }
}

/// A response as it goes to the client while it comes.
pub(crate) fn stream(
    pause_max: &std::time::Duration,
    upstream: &Arc<Upstream>,
    response: Response<Incoming>,
    connection: Connection,
) -> Response<Body> {
    debug_assert!(
        upstream
            .servers
            .iter()
            .any(|server| Arc::ptr_eq(server, &connection.server))
    );
    let (mut parts, body) = response.into_parts();
    fields::strip(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    let body = if http_body::Body::is_end_stream(&body) {
        Body::empty()
    } else {
        Body::Stream(Box::new(Stream {
            first: std::collections::VecDeque::new(),
            rest: Timed::new(body, *pause_max),
            held: Held::connection(connection),
        }))
    };
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
