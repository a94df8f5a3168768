//! What the gateway says itself: short, in plain text, with the reason and when to come back.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use seawall::Error;
use seawall_core::gate::{Reason, Refusal};
use seawall_core::guard::OriginFault;
use seawall_core::time::Span;

use crate::body::Body;
use crate::failure::Failure;

/// When to come back, where nobody knows.
const RETRY_S: u64 = 1;
/// Nobody is sent away for longer than this.
const RETRY_MAX_S: u64 = 3_600;

/// A short text.
pub(crate) fn text(status: StatusCode, what: &str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from(format!("{what}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 503, and when to come back, in whole seconds and one at least.
fn unavailable(what: &str, retry_after: Option<Span>) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, what);
    let seconds = retry_after.map_or(RETRY_S, |after| after.as_secs_f64().ceil() as u64);
    let seconds = seconds.clamp(1, RETRY_MAX_S);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Turned away by the door.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    turned_away(refusal.reason, Some(refusal.retry_after))
}

fn turned_away(reason: Reason, retry_after: Option<Span>) -> Response<Body> {
    let what = match reason {
        Reason::Rate => "too many requests at the moment (rate)",
        Reason::Throttle => "reads are held back while what stands behind recovers (throttle)",
        Reason::Degraded => "requests of this priority are turned away at the moment (degraded)",
        Reason::QueueFull => "too many requests wait already (queue_full)",
        Reason::QueueTimeout | Reason::QueueDelay => "it waited in the queue for too long (queue_timeout)",
        Reason::OriginLimit | Reason::OriginTimeout | Reason::Waiters => {
            "what stands behind has as much to do as it can (origin_limit)"
        }
        Reason::OriginOpen => "what stands behind is not asked at the moment (origin_open)",
        _ => "turned away so that others are answered",
    };
    unavailable(what, retry_after)
}

/// There is no response from the upstream.
pub(crate) fn failed(failure: &Failure) -> Response<Body> {
    match failure {
        Failure::Held => turned_away(Reason::OriginOpen, None),
        Failure::Busy => turned_away(Reason::OriginLimit, None),
        Failure::TimedOut => text(StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
        Failure::TooLarge(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
        Failure::Stalled => text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        Failure::Client => text(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Failure::Refused(_) | Failure::Broken(_) => {
            text(StatusCode::BAD_GATEWAY, "what stands behind cannot be reached")
        }
    }
}

/// A load ended without a value. With why it was turned away, when it was.
pub(crate) fn unloaded(error: &Error) -> (Response<Body>, Option<Reason>) {
    match error {
        Error::Shed { reason, retry_after } => {
            let response = turned_away(*reason, retry_after.map(Into::into));
            (response, Some(*reason))
        }
        Error::Open { retry_after } => {
            let response = turned_away(Reason::OriginOpen, Some((*retry_after).into()));
            (response, Some(Reason::OriginOpen))
        }
        Error::TimedOut => (text(StatusCode::GATEWAY_TIMEOUT, "no answer in time"), None),
        Error::Load(error) => match error.downcast_ref::<Failure>() {
            Some(failure) => (failed(failure), None),
            None if error.fault() == OriginFault::TimedOut => {
                (text(StatusCode::GATEWAY_TIMEOUT, "no answer in time"), None)
            }
            None => (
                text(
                    StatusCode::BAD_GATEWAY,
                    "what stands behind answered with an error",
                ),
                None,
            ),
        },
        _ => (
            text(StatusCode::BAD_GATEWAY, "what stands behind cannot be reached"),
            None,
        ),
    }
}
