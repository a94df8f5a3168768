//! What is said over HTTP.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use seawall::core::limit;
use seawall::core::time::Span;
use seawall::layers::{BoxError, DeadlineLayer, LimitLayer, refusal};
use seawall::{Error, MetricsPage, Status};
use tower::ServiceBuilder;
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
    /// How many create at a time.
    pub(crate) creating: LimitLayer,
}

/// Who creates waits no longer than this, in line and at the database together.
const CREATE_MAX: Duration = Duration::from_secs(1);

/// Creating goes past the cache, and so past its limit. This is as many as there are connections for it, and a line that
/// is worth half the deadline.
pub(crate) fn creating() -> LimitLayer {
    LimitLayer::new(limit::Settings {
        max: 10,
        initial: 10,
        places: 100,
        timeout: Span::millis(500),
        ..limit::Settings::default()
    })
}

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", guarded(post(create), &app.creating))
        .route("/{code}", get(redirect))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .layer(DefaultBodyLimit::max(URL_MAX))
        .with_state(app)
}

/// A route with a deadline and a limit of its own.
fn guarded<S>(route: MethodRouter<S>, limit: &LimitLayer) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let door = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(turned_away))
        .layer(DeadlineLayer::new(CREATE_MAX))
        .layer(limit.clone());
    route.layer(door)
}

async fn turned_away(error: BoxError) -> Response {
    let after = refusal(&*error).and_then(Error::retry_after);
    later(after, &error)
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
    let mut page = MetricsPage::default();
    app.links.write_metrics(&mut page);
    app.creating.write_metrics("creating", &mut page);
    (FORMAT, page.text())
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

    #[tokio::test]
    async fn who_finds_the_line_full_is_told_to_come_back() {
        use axum::body::Body;
        use axum::http::Request;
        use tower::ServiceExt as _;

        let limit = LimitLayer::new(limit::Settings {
            max: 1,
            initial: 1,
            places: 0,
            timeout: Span::secs(2),
            ..limit::Settings::default()
        });
        let hangs = || async { std::future::pending::<&'static str>().await };
        let router: Router = Router::new().route("/", guarded(post(hangs), &limit));
        let create = || Request::post("/").body(Body::empty()).expect("it is a request");
        let (hung, refused) =
            tokio::join!(router.clone().oneshot(create()), router.clone().oneshot(create()));
        let said = [hung, refused].map(|response| {
            let response = response.expect("a router does not fail");
            (response.status(), response.headers()[header::RETRY_AFTER].clone())
        });
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(
            said,
            [
                (busy, "1".parse().expect("ASCII")),
                (busy, "3".parse().expect("ASCII"))
            ]
        );
        assert_eq!(limit.standing().in_flight, 0, "the deadline has freed the place");
    }

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
