//! What is said over HTTP.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use seawall::{Error, Status};
use url::Url;

use crate::code::Code;
use crate::links::{Failure, Links};

/// Longer addresses are refused. Browsers take about as much.
const URL_MAX: usize = 2_048;

/// What all requests share.
pub(crate) struct App {
    pub(crate) links: Links,
    /// What comes before a code in a short link.
    pub(crate) public: String,
    /// It is about to end.
    pub(crate) leaving: AtomicBool,
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", axum::routing::post(create))
        .route("/{code}", get(redirect))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .layer(DefaultBodyLimit::max(URL_MAX))
        .with_state(app)
}

async fn redirect(State(app): State<Arc<App>>, Path(code): Path<String>) -> Response {
    // Before it touches anything.
    let Some(code) = Code::parse(&code) else {
        return nothing_here();
    };
    match app.links.resolve(&code).await {
        Ok(url) => (StatusCode::FOUND, [(header::LOCATION, url)]).into_response(),
        Err(Error::NotFound) => nothing_here(),
        // Turned away, too late, or the database failed and nothing is remembered: in each case, later.
        Err(error) => later(error.retry_after(), &error),
    }
}

async fn create(State(app): State<Arc<App>>, body: String) -> Response {
    let url = match checked(&body) {
        Ok(url) => url,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    match app.links.create(&url).await {
        Ok(code) => {
            let link = format!("{}/{code}", app.public);
            let location = [(header::LOCATION, link.clone())];
            (StatusCode::CREATED, location, format!("{link}\n")).into_response()
        }
        Err(Failure::Database(error)) => later(error.retry_after_hint(), &error),
        Err(Failure::NoCode) => later(None, &"no code was free"),
    }
}

/// An address that may be led to, in its normal form: in that, nothing can break out of a header.
fn checked(body: &str) -> Result<String, &'static str> {
    let url = Url::parse(body.trim())
        .map_err(|_| "the body has to be one address, such as https://example.com/")?;
    // `javascript:` and the like would run in the browser of whoever clicks.
    if !matches!(url.scheme(), "http" | "https") {
        return Err("only http:// and https:// addresses are shortened");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address with a user or a password in it is not shortened");
    }
    if url.as_str().len() > URL_MAX {
        return Err("the address is too long");
    }
    Ok(url.into())
}

fn nothing_here() -> Response {
    (StatusCode::NOT_FOUND, "there is no such link\n").into_response()
}

fn later(after: Option<Duration>, error: &dyn std::fmt::Display) -> Response {
    tracing::debug!(%error, "turned away");
    // Whole seconds, and never zero: that would say "at once".
    let after = after.map_or(1, |after| after.as_secs().saturating_add(1));
    let after = [(header::RETRY_AFTER, after.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, after, "not now; try again\n").into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    const FORMAT: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (FORMAT, app.links.metrics())
}

/// Whether the process can answer at all. What it depends on is not looked at: a restart would not mend that, and would
/// empty the memory that still answers.
async fn live() -> &'static str {
    "ok\n"
}

/// Whether it belongs in rotation. Without Redis or the database it is degraded and stays in, because every copy would
/// leave at once, and what is in memory would answer nobody.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.leaving.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "leaving\n").into_response();
    }
    let health = app.links.health();
    let mut page = String::from(match health.status {
        Status::Ok => "ok\n",
        Status::Degraded => "degraded\n",
        Status::NotReady => "not ready\n",
    });
    for part in health.impaired() {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{part} is not asked at the moment");
    }
    let status = StatusCode::from_u16(health.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_are_taken_and_none_breaks_out_of_a_header() {
        let taken = checked(" https://example.com/a b\u{e9}?q=1\n").expect("it is one");
        assert_eq!(taken, "https://example.com/a%20b%C3%A9?q=1");
        assert!(checked("https://example.com/\r\nSet-Cookie: a=b").is_ok_and(|url| !url.contains('\n')));
        let refused = [
            "",
            "example.com",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://a:b@example.com/",
        ];
        for body in refused {
            assert!(checked(body).is_err(), "{body}");
        }
        assert!(checked(&format!("https://example.com/{}", "\u{e9}".repeat(1_000))).is_err());
    }
}
