//! A service that speaks HTTP as a target. Reads are `GET`, writes are `PUT`.
//!
//! There is a connection for each call under way, kept for the next one; a call that times out takes its connection with
//! it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::target::{Call, Reply, Target};

/// More of an answer is not read.
const ANSWER_MAX: usize = 16 << 20;

/// Connections that are kept while nobody uses them, and for how long.
const IDLE_MAX: usize = 1_024;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// An HTTP service at an address with a place for the key.
#[derive(Clone, Debug)]
pub struct Web {
    client: Client<HttpConnector, Full<Bytes>>,
    before: String,
    /// What follows the key; nothing when there is no place for one.
    after: Option<String>,
}

/// The address is none that can be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("`{0}` is no URL")]
    Malformed(String),
    /// It is not `http`.
    #[error("`{0}` cannot be called: only http can")]
    Scheme(String),
}

impl Web {
    /// Calls this URL with the key in the place of `{key}`, or the URL as it is when it has none.
    ///
    /// # Errors
    /// When it is no URL of HTTP.
    pub fn new(url: &str) -> Result<Web, AddressError> {
        let sample: Uri = url
            .replace("{key}", "0")
            .parse()
            .map_err(|_| AddressError::Malformed(url.to_owned()))?;
        match (sample.scheme_str(), sample.host()) {
            (Some("http"), Some(_)) => {}
            (Some(scheme), _) => return Err(AddressError::Scheme(scheme.to_owned())),
            _ => return Err(AddressError::Malformed(url.to_owned())),
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_MAX)
            // A retry would be a call that nobody has counted.
            .retry_canceled_requests(false)
            .build(connector);
        let (before, after) = match url.split_once("{key}") {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (url.to_owned(), None),
        };
        Ok(Web {
            client,
            before,
            after,
        })
    }

    fn address(&self, call: &Call) -> String {
        match &self.after {
            Some(after) => format!("{}{}{after}", self.before, call.name()),
            None => self.before.clone(),
        }
    }

    async fn exchange(&self, call: Call) -> Result<Reply, String> {
        let writes = call.write.is_some();
        let method = if writes { Method::PUT } else { Method::GET };
        let request = Request::builder()
            .method(method)
            .uri(self.address(&call))
            .body(Full::new(call.write.unwrap_or_default()))
            .map_err(|_| "no URL".to_owned())?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| word(&error).to_owned())?;
        let status = response.status();
        let says_when = response.headers().contains_key(http::header::RETRY_AFTER);
        let leads = response.headers().get(http::header::LOCATION);
        let leads = leads.map(|leads| Bytes::copy_from_slice(leads.as_bytes()));
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|_| "a broken answer".to_owned())?.to_bytes();
        Ok(match status {
            StatusCode::TOO_MANY_REQUESTS => Reply::Shed,
            StatusCode::SERVICE_UNAVAILABLE if says_when => Reply::Shed,
            status if status.is_success() && writes => Reply::Done,
            status if status.is_success() => Reply::Value(body),
            // Where it leads is what was asked for.
            status if status.is_redirection() && !writes && leads.is_some() => {
                Reply::Value(leads.unwrap_or_default())
            }
            StatusCode::NOT_FOUND | StatusCode::GONE if !writes => Reply::Absent,
            status => Reply::Failed(format!("status {}", status.as_u16())),
        })
    }
}

fn word(error: &hyper_util::client::legacy::Error) -> &'static str {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::ConnectionRefused => "refused",
                std::io::ErrorKind::ConnectionReset => "reset",
                _ => "broken connection",
            };
        }
        source = inner.source();
    }
    if error.is_connect() {
        "no connection"
    } else {
        "broken answer"
    }
}

impl Target for Web {
    async fn call(&self, call: Call) -> Reply {
        self.exchange(call).await.unwrap_or_else(Reply::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_its_place() {
        let address = |url: &str, key| Web::new(url).map(|web| web.address(&Call { key, write: None }));
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(address("http://a:1/x/{key}?y", 7), ok("http://a:1/x/7?y"));
        assert_eq!(address("http://a:1/x", 7), ok("http://a:1/x"));
        assert!(matches!(address("https://a/", 1), Err(AddressError::Scheme(_))));
        assert!(matches!(address("a b", 1), Err(AddressError::Malformed(_))));
        assert!(matches!(address("/x", 1), Err(AddressError::Malformed(_))));
    }
}
