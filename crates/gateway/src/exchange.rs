//! One request and its response: what is refused at once, which way it goes, and what every response carries.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, RANGE, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use seawall_core::ttl::Class;

use crate::body::{Body, Upload};
use crate::control::Asked;
use crate::door::Place;
use crate::fields::{self, Client};
use crate::gateway::{Inside, Live};
use crate::routes::{self, Route};
use crate::site::{How, Site};
use crate::{answers, caching, judgement, passing};

/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// One request on its way, without its body.
pub(crate) struct Exchange {
    pub(crate) gateway: Arc<Inside>,
    pub(crate) live: Arc<Live>,
    pub(crate) site: Arc<Site>,
    pub(crate) route: Arc<Route>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// As the client sent them.
    pub(crate) headers: HeaderMap,
    pub(crate) host: Box<str>,
    /// Host and target: what is kept is kept under it.
    pub(crate) resource: Arc<str>,
    pub(crate) client: Client,
    /// In milliseconds since 1970.
    pub(crate) came_ms: u64,
}

/// Answers a request.
pub(crate) async fn serve(
    gateway: &Arc<Inside>,
    client: Client,
    request: Request<Incoming>,
) -> Response<Body> {
    let live = gateway.live.load_full();
    let (mut parts, body) = request.into_parts();
    if let Err(response) = acceptable(&parts.method, &parts.uri, &parts.headers, live.listener.body) {
        return response;
    }
    let Some(host) = fields::host(&mut parts.headers, &parts.uri, parts.version) else {
        let mut response = answers::text(StatusCode::BAD_REQUEST, "a request is for one host");
        // Whoever sends this may be followed by what somebody else wrote.
        if parts.version <= Version::HTTP_11 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        return response;
    };
    let Some(route) = routes::find(&live.routes, &host, parts.uri.path(), &parts.method) else {
        return answers::text(StatusCode::NOT_FOUND, "nothing stands behind this address");
    };
    let (route, site) = (Arc::clone(route), Arc::clone(&live.sites[route.upstream]));
    let is_read = parts.method.is_safe();
    if let Err(refusal) = gateway.door.admit(is_read, route.priority) {
        gateway.door.count(refusal.reason);
        let response = answers::refused(&refusal);
        site.keep.counts.count(How::Shed, response.status());
        return response;
    }
    let upload = Upload::new(
        body,
        live.listener.body,
        live.listener.body_timeout.into(),
        live.listener.body_rate,
    );
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let resource = [&*host, target].concat().into();
    let mut exchange = Exchange {
        gateway: Arc::clone(gateway),
        site,
        route,
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        host,
        resource,
        client,
        came_ms: crate::clock::unix_ms(),
        live,
    };
    let asked = Asked::of(&exchange.headers);
    let kept = exchange.route.cache
        && upload.is_empty()
        && judgement::is_cacheable(&exchange.method, &asked)
        && !exchange.headers.contains_key(RANGE);
    if kept {
        caching::serve(&Arc::new(exchange), &asked).await
    } else {
        let why = if is_read { "bypass" } else { "method" };
        let headers = std::mem::take(&mut exchange.headers);
        // Boxed, so that an answer from memory does not have to move the room for it.
        Box::pin(passing::pass(&Arc::new(exchange), headers, upload, why)).await
    }
}

/// What is refused whatever stands behind.
fn acceptable(method: &Method, uri: &Uri, headers: &HeaderMap, body_max: u64) -> Result<(), Response<Body>> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(answers::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this method is not passed on",
        ));
    }
    // To an upgrade to HTTP/2 the answer is the request's, without it (RFC 9110, 7.8); one to something else is what the
    // client wants, and would be lost in silence.
    let upgrade = headers.get(UPGRADE).and_then(|to| to.to_str().ok());
    if upgrade.is_some_and(|to| to.trim().eq_ignore_ascii_case("websocket")) {
        return Err(answers::text(
            StatusCode::NOT_IMPLEMENTED,
            "connections are not upgraded here: WebSocket has to go past this gateway",
        ));
    }
    if !uri.path().starts_with('/') {
        return Err(answers::text(StatusCode::BAD_REQUEST, "a target begins with /"));
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    if length
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: u64| length > body_max)
    {
        return Err(answers::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too long",
        ));
    }
    Ok(())
}

impl Exchange {
    /// How long a response of this status is kept that says nothing of its freshness, in seconds: what does not exist
    /// by a setting of its own where there is one, all else by the route's class.
    pub(crate) fn unsaid_s(&self, status: StatusCode) -> Option<u64> {
        let ttl = &self.site.policies.ttl;
        if let (StatusCode::NOT_FOUND | StatusCode::GONE, Some(negative)) = (status, ttl.negative) {
            return Some(Duration::from(negative).as_secs());
        }
        let of_class = match self.route.class? {
            Class::Critical => ttl.critical,
            Class::Important => ttl.important,
            Class::Regular => ttl.regular,
        };
        Some(Duration::from(of_class.or(ttl.ttl)?).as_secs())
    }

    /// A place inside, or what who finds none is told.
    pub(crate) async fn enter(&self) -> Result<Place, Response<Body>> {
        self.gateway.door.enter().await.map_err(|refusal| {
            self.gateway.door.count(refusal.reason);
            self.ended(How::Shed, answers::refused(&refusal))
        })
    }

    /// Counts how it ended.
    pub(crate) fn ended(&self, how: How, response: Response<Body>) -> Response<Body> {
        self.site.keep.counts.count(how, response.status());
        response
    }

    /// The request's fields, as an upstream sees them.
    pub(crate) fn onward(&self, headers: &mut HeaderMap) {
        headers.remove(EXPECT);
        fields::onward(
            headers,
            &self.client,
            self.live.listener.trust_forwarded,
            &self.live.via,
        );
    }

    /// The longest pause between two parts of a body.
    pub(crate) fn pause(&self) -> Duration {
        self.live.listener.body_timeout.into()
    }

    /// What was done for it (RFC 9211).
    pub(crate) fn status(&self, what: std::fmt::Arguments<'_>) -> HeaderValue {
        let mut text = [0; 192];
        let mut rest = &mut text[..];
        // No name and nothing that is said is long enough to be cut.
        let _ = write!(rest, "{}; {what}", self.live.listener.pseudonym);
        let left = rest.len();
        let value = HeaderValue::from_bytes(&text[..text.len() - left]);
        value.unwrap_or_else(|_| HeaderValue::from_static("seawall"))
    }

    /// Says what was done for it (RFC 9211). What caches nearer to the origin said comes first.
    pub(crate) fn mark(&self, response: &mut Response<Body>, what: std::fmt::Arguments<'_>) {
        let value = self.status(what);
        response.headers_mut().append(CACHE_STATUS, value);
        response
            .headers_mut()
            .append(http::header::VIA, self.live.via.clone());
    }
}
