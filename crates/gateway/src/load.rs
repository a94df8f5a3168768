//! A load: one request to the upstream, on behalf of all who wait for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RETRY_AFTER,
};
use http::response::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use seawall::{LoadError, Loaded};
use seawall_core::guard::OriginFault;

use crate::body::{Body, Lease, Stream, Timed, Upload};
use crate::clock::unix_ms;
use crate::control::{Told, seconds};
use crate::exchange::Exchange;
use crate::failure::Failure;
use crate::judgement::{self, Keeping, Unsaid};
use crate::passing::{is_outage, stream};
use crate::stored::{self, Stored};
use crate::{fields, site, vary};

/// The upstream answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("the upstream answered with {0}")]
pub(crate) struct Outage(StatusCode);

/// What a load needs to know.
pub(crate) struct Errand {
    exchange: Arc<Exchange>,
    key: Arc<str>,
    /// What is kept already, to be confirmed.
    previous: Option<Stored>,
    /// The fields of a request that is only passed through: what comes goes to its client as it is.
    passes: Option<HeaderMap>,
    /// A response that is for the client alone whose load this is.
    given: Mutex<Option<Response<Body>>>,
}

impl Errand {
    pub(crate) fn new(exchange: &Arc<Exchange>, key: &Arc<str>, previous: Option<Stored>) -> Arc<Errand> {
        Arc::new(Errand {
            exchange: Arc::clone(exchange),
            key: Arc::clone(key),
            previous,
            passes: None,
            given: Mutex::default(),
        })
    }

    /// Something that is only passed through.
    pub(crate) fn passing(exchange: &Arc<Exchange>, headers: HeaderMap, key: &Arc<str>) -> Arc<Errand> {
        Arc::new(Errand {
            exchange: Arc::clone(exchange),
            key: Arc::clone(key),
            previous: None,
            passes: Some(headers),
            given: Mutex::default(),
        })
    }

    /// What came for this client alone.
    pub(crate) fn take(&self) -> Option<Response<Body>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn give(&self, response: Response<Body>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    /// Asks the upstream.
    pub(crate) async fn load(&self) -> Result<Loaded<Stored>, LoadError> {
        let exchange = &*self.exchange;
        drop(self.take());
        let mut request = Request::new(Upload::Empty);
        *request.method_mut() = exchange.method.clone();
        *request.uri_mut() = exchange.uri.clone();
        if let Some(headers) = &self.passes {
            *request.headers_mut() = headers.clone();
        } else {
            *request.headers_mut() = exchange.headers.clone();
            self.conditions(request.headers_mut());
        }
        exchange.onward(request.headers_mut());
        let asked_ms = unix_ms();
        let upstream = &exchange.site.upstream;
        let sent = upstream.send(request).await;
        let (response, lease) = sent.map_err(|failure| LoadError::new(failure.fault(), failure))?;
        let times = (asked_ms / 1_000, unix_ms() / 1_000);
        let status = response.status();
        if let Some(previous) = self.previous.as_ref().and_then(Stored::get)
            && status == StatusCode::NOT_MODIFIED
        {
            return Ok(self.confirmed(times, previous, response.headers()));
        }
        if is_outage(status) {
            return Err(self.outage(response, lease));
        }
        let (mut parts, body) = response.into_parts();
        fields::strip(&mut parts.headers);
        let keeping = match self.passes {
            None => self.keeping(times, parts.status, &parts.headers),
            Some(_) => None,
        };
        let length = http_body::Body::size_hint(&body).lower();
        match keeping {
            Some((keeping, fields)) if length <= exchange.live.cache.body_max => {
                self.collect(keeping, &fields, parts, body, lease).await
            }
            _ => Ok(self.alone(Response::from_parts(parts, body), lease)),
        }
    }

    /// What the client's conditions were about is answered from what is kept; the upstream is asked about that.
    fn conditions(&self, headers: &mut HeaderMap) {
        for name in [
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
            IF_MATCH,
            IF_UNMODIFIED_SINCE,
            IF_RANGE,
        ] {
            headers.remove(name);
        }
        let Some(previous) = self.previous.as_ref().and_then(Stored::get) else {
            return;
        };
        if let Some(tag) = previous.head.fields().get(ETAG) {
            headers.insert(IF_NONE_MATCH, tag.clone());
        }
        if let Some(modified) = previous.head.fields().get(LAST_MODIFIED) {
            headers.insert(IF_MODIFIED_SINCE, modified.clone());
        }
    }

    fn keeping(
        &self,
        times: (u64, u64),
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Option<(Keeping, vary::Fields)> {
        let cache = &self.exchange.live.cache;
        let unsaid = Unsaid {
            class_s: self.exchange.unsaid_s(status),
            share: cache.heuristic,
            max_s: Duration::from(cache.heuristic_max).as_secs(),
        };
        let keeping = judgement::keep(times, &self.exchange.headers, status, headers, &unsaid)?;
        Some((keeping, vary::fields(headers)?))
    }

    /// It is as it was (RFC 9111, 4.3.4).
    fn confirmed(&self, times: (u64, u64), previous: &stored::Response, said: &HeaderMap) -> Loaded<Stored> {
        let mut said = said.clone();
        fields::strip(&mut said);
        let mut headers = previous.head.plain();
        for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE] {
            said.remove(name);
        }
        headers.extend(said);
        if let Some((keeping, fields)) = self.keeping(times, previous.status, &headers) {
            self.keep(keeping, &fields, previous.status, headers, previous.body.clone())
        } else {
            let mut response = Response::new(Body::Whole(previous.body.clone()));
            *response.status_mut() = previous.status;
            *response.headers_mut() = headers;
            self.give(response);
            self.nobody_else()
        }
    }

    fn outage(&self, response: Response<Incoming>, lease: Option<Lease>) -> LoadError {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER);
        let after = after.and_then(|after| seconds(after.to_str().ok()));
        let fault = match status.as_u16() {
            503 => OriginFault::Overloaded,
            504 => OriginFault::TimedOut,
            _ => OriginFault::Error,
        };
        self.give(stream(
            &self.exchange.pause(),
            &self.exchange.site.upstream,
            response,
            lease,
        ));
        let error = LoadError::new(fault, Outage(status));
        match after {
            Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
            None => error,
        }
    }

    /// A response that is for the client alone whose load this is.
    fn alone(&self, response: Response<Incoming>, lease: Option<Lease>) -> Loaded<Stored> {
        self.give(stream(
            &self.exchange.pause(),
            &self.exchange.site.upstream,
            response,
            lease,
        ));
        self.nobody_else()
    }

    fn nobody_else(&self) -> Loaded<Stored> {
        // A request with credentials says nothing of what others are answered.
        if self.passes.is_none() && !self.exchange.headers.contains_key(http::header::AUTHORIZATION) {
            let time = Duration::from(self.exchange.live.cache.pass);
            self.exchange.site.keep.pass(&self.key, time);
        }
        Loaded::new(Stored::pass()).no_store()
    }

    /// Takes the body in, as long as it is not too long; then it goes to the client as it comes.
    async fn collect(
        &self,
        keeping: Keeping,
        fields: &vary::Fields,
        parts: Parts,
        body: Incoming,
        lease: Option<Lease>,
    ) -> Result<Loaded<Stored>, LoadError> {
        let max = self.exchange.live.cache.body_max as usize;
        let mut rest = Timed::leased(body, self.exchange.pause(), lease);
        let mut first: Vec<Bytes> = Vec::new();
        let mut length = 0;
        while let Some(part) = rest.next().await {
            let part = part.map_err(|error| LoadError::new(OriginFault::Error, Failure::Broken(error)))?;
            length += part.len();
            first.push(part);
            if length > max {
                let stream = Stream {
                    first: first.into_iter().map(Ok).collect(),
                    rest,
                    place: None,
                };
                self.give(Response::from_parts(parts, Body::Stream(Box::new(stream))));
                return Ok(self.nobody_else());
            }
        }
        // Copied, even when it is one part: that is a part of a larger buffer, which would be kept with it.
        let mut whole = BytesMut::with_capacity(length);
        for part in &first {
            whole.extend_from_slice(part);
        }
        let body = whole.freeze();
        Ok(self.keep(keeping, fields, parts.status, parts.headers, body))
    }

    fn keep(
        &self,
        keeping: Keeping,
        fields: &vary::Fields,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Loaded<Stored> {
        let exchange = &*self.exchange;
        let now_ms = unix_ms();
        headers.remove(AGE);
        headers.remove(CONTENT_LENGTH);
        if !headers.contains_key(http::header::DATE) {
            // RFC 9110, 6.6.1.
            let now = std::time::UNIX_EPOCH + Duration::from_millis(now_ms);
            if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
                headers.insert(http::header::DATE, date);
            }
        }
        let modified = judgement::date(&headers, &LAST_MODIFIED);
        let mut chosen_by: Vec<_> = fields
            .iter()
            .map(|name| (name.clone(), vary::normal(&exchange.headers, name)))
            .collect();
        stored::own(chosen_by.iter_mut().filter_map(|(_, value)| value.as_mut()));
        let stored = Stored::response(stored::Response {
            told: Told::of(&headers),
            modified: modified.or_else(|| judgement::date(&headers, &http::header::DATE)),
            chosen_by,
            status,
            head: stored::Head::new(headers, &exchange.live.via),
            body,
            received_ms: now_ms,
            age: keeping.age,
            lifetime: keeping.lifetime,
        });
        let keep = &exchange.site.keep;
        keep.vary.learn(&exchange.resource, fields);
        let ttl = Duration::from_secs(keeping.lifetime.saturating_sub(keeping.age));
        let tags = site::tags_of(&exchange.resource, &stored);
        let loaded = tags.into_iter().fold(Loaded::new(stored).ttl(ttl), Loaded::tag);
        let key = vary::key(&exchange.resource, fields, &exchange.headers);
        if key == self.key {
            return loaded;
        }
        // It belongs under another name, which could not be known before.
        keep.cache.insert(&key, &seawall::Options::new(), loaded.clone());
        loaded.no_store()
    }
}
