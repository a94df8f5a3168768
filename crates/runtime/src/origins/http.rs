//! An HTTP service as an origin: one GET a load, over a bounded number of connections.
//!
//! It is not a proxy and not an HTTP cache: what a `Cache-Control` says is the gateway's business. It speaks HTTP/1.1
//! without TLS, as one does to a service next door; for anything else give the cache a closure around one's own client.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall_core::guard::OriginFault;
use tokio::time::timeout;

use crate::origin::{LoadError, Loaded, Origin};
use crate::store::Boxed;

/// What a service may be asked at a time, and how much it may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// At most so many requests at a time (50). What comes beyond is refused at once; the cache's own limit waits.
    pub requests: usize,
    /// Connecting takes no longer (1 s).
    pub connect: Duration,
    /// A request takes no longer, all in all (5 s).
    pub total: Duration,
    /// A body has no more bytes (8 MiB).
    pub body: usize,
}

impl Default for HttpSettings {
    fn default() -> HttpSettings {
        HttpSettings {
            requests: 50,
            connect: Duration::from_secs(1),
            total: Duration::from_secs(5),
            body: 8 << 20,
        }
    }
}

/// What a service answered with 2xx.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why a service gave no page.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the base is no http:// address with a host and without a query")]
    Base,
    #[error("{0} is no path")]
    Path(String),
    #[error("no place for one more request")]
    Full,
    #[error("no answer in time")]
    Late,
    #[error("the body is larger than {0} bytes")]
    Large(usize),
    #[error("the service said {0}")]
    Status(StatusCode),
}

/// An HTTP service.
#[derive(Debug)]
pub struct Http {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
    settings: HttpSettings,
    in_flight: AtomicUsize,
}

impl Http {
    /// The service at this address (`http://host:port/prefix`).
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(base: &str, settings: HttpSettings) -> Result<Http, LoadError> {
        let uri: Uri = base.parse().map_err(|_| refused(Error::Base))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.query().is_some() {
            return Err(refused(Error::Base));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.connect));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(settings.requests)
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Http {
            client,
            base: base.trim_end_matches('/').to_owned(),
            settings,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Gets what is under `path` (which begins with a slash, and is escaped); `None` for 404 and 410.
    ///
    /// # Errors
    /// What the service or the way to it said, and what it means. A `Retry-After` in seconds is kept.
    pub async fn get(&self, path: &str) -> Result<Option<Page>, LoadError> {
        if !path.starts_with('/') {
            return Err(bad_path(path));
        }
        let uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| bad_path(path))?;
        let _place = Place::one_of(&self.in_flight, self.settings.requests)
            .ok_or_else(|| LoadError::new(OriginFault::Overloaded, Error::Full))?;
        let answer = timeout(self.settings.total, self.exchange(uri)).await;
        answer.unwrap_or_else(|_| Err(LoadError::new(OriginFault::TimedOut, Error::Late)))
    }

    /// An origin: the path of a key, and what its page says.
    pub fn origin<K, L, E>(
        self,
        path: impl Fn(&K) -> String + Send + Sync + 'static,
        read: impl Fn(Page) -> Result<L, E> + Send + Sync + 'static,
    ) -> HttpOrigin<K, L>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        HttpOrigin {
            http: self,
            path: Box::new(path),
            read: Box::new(move |page| read(page).map_err(Into::into)),
        }
    }

    async fn exchange(&self, uri: Uri) -> Result<Option<Page>, LoadError> {
        let response = self.client.get(uri).await.map_err(unanswered)?;
        let (head, body) = response.into_parts();
        match head.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status if status.is_success() => {}
            status => {
                let error = LoadError::new(meaning(status), Error::Status(status));
                return Err(match retry_after(&head.headers) {
                    Some(after) => error.retry_after(after),
                    None => error,
                });
            }
        }
        let body = Limited::new(body, self.settings.body).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                LoadError::new(OriginFault::Error, Error::Large(self.settings.body))
            } else {
                LoadError::new(OriginFault::Refused, error)
            }
        })?;
        Ok(Some(Page {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        }))
    }
}

fn refused(error: Error) -> LoadError {
    LoadError::new(OriginFault::Refused, error)
}

fn bad_path(path: &str) -> LoadError {
    LoadError::new(OriginFault::Error, Error::Path(path.to_owned()))
}

fn unanswered(error: ClientError) -> LoadError {
    let late = |error: &(dyn StdError + 'static)| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    };
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    let fault = if causes.any(late) {
        OriginFault::TimedOut
    } else {
        OriginFault::Refused
    };
    LoadError::new(fault, error)
}

/// What a status says about the service.
fn meaning(status: StatusCode) -> OriginFault {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => OriginFault::Overloaded,
        StatusCode::BAD_GATEWAY => OriginFault::Refused,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => OriginFault::TimedOut,
        _ => OriginFault::Error,
    }
}

/// Seconds; a date is not understood, and an hour is as long as anybody is told to stay away.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

/// One of a bounded number of requests.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn one_of(in_flight: &'a AtomicUsize, max: usize) -> Option<Place<'a>> {
        let place = Place(in_flight);
        (in_flight.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Read<L> = Box<dyn Fn(Page) -> Result<L, Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// A service, and how its pages are read: an [`Origin`].
pub struct HttpOrigin<K, L> {
    http: Http,
    path: Box<dyn Fn(&K) -> String + Send + Sync>,
    read: Read<L>,
}

impl<K, L> std::fmt::Debug for HttpOrigin<K, L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HttpOrigin").field(&self.http).finish()
    }
}

impl<K, V, L> Origin<K, V> for HttpOrigin<K, L>
where
    K: Send + Sync + 'static,
    L: Into<Loaded<V>> + 'static,
    V: 'static,
{
    fn load<'a>(&'a self, key: &'a K) -> Boxed<'a, Result<Loaded<V>, LoadError>> {
        Box::pin(async move {
            match self.http.get(&(self.path)(key)).await? {
                Some(page) => (self.read)(page).map(Into::into).map_err(LoadError::of),
                None => Ok(Loaded::absent()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A service that says this to one request after the other, each on its own connection.
    async fn service(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.expect("a request"));
                }
                assert!(asked.starts_with(b"GET /prices/7 HTTP/1.1\r\n"), "{asked:?}");
                stream.write_all(answer.as_bytes()).await.expect("it reads");
            }
            // Whoever comes next is let in and told nothing.
            let held = listener.accept().await;
            std::future::pending::<()>().await;
            drop(held);
        });
        format!("http://{address}/prices/")
    }

    #[tokio::test]
    async fn each_answer_is_told_for_what_it_is() {
        let base = service(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n42",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n4",
        ])
        .await;
        let settings = HttpSettings {
            total: Duration::from_millis(300),
            body: 4,
            ..HttpSettings::default()
        };
        let http = Http::new(&base, settings).expect("an address");
        let read = |page: Page| {
            String::from_utf8(page.body.to_vec())?
                .parse::<u32>()
                .map_err(LoadFailed::from)
        };
        let origin = http.origin(|key: &u32| format!("/{key}"), read);
        let load = async || -> Result<Loaded<u32>, LoadError> { origin.load(&7).await };
        assert_eq!(load().await.expect("it answers").value, Some(42));
        assert_eq!(load().await.expect("it answers").value, None);
        let busy = load().await.expect_err("it is busy");
        assert_eq!(
            (busy.fault(), busy.retry_after_hint()),
            (OriginFault::Overloaded, Some(Duration::from_secs(7)))
        );
        assert_eq!(load().await.expect_err("an error").fault(), OriginFault::Error);
        assert_eq!(load().await.expect_err("too large").fault(), OriginFault::Error);
        assert_eq!(load().await.expect_err("cut short").fault(), OriginFault::Refused);
        assert_eq!(
            load().await.expect_err("no answer").fault(),
            OriginFault::TimedOut
        );
    }

    type LoadFailed = Box<dyn StdError + Send + Sync>;

    #[tokio::test]
    async fn what_is_beyond_the_bound_is_refused_at_once_and_nobody_is_told_as_that() {
        let base = service(&[]).await;
        let settings = HttpSettings {
            requests: 1,
            total: Duration::from_millis(200),
            ..HttpSettings::default()
        };
        let http = Http::new(&base, settings.clone()).expect("an address");
        let (first, second) = tokio::join!(http.get("/7"), http.get("/7"));
        assert_eq!(first.expect_err("no answer").fault(), OriginFault::TimedOut);
        assert_eq!(second.expect_err("no place").fault(), OriginFault::Overloaded);
        assert_eq!(
            http.get("7").await.expect_err("no path").fault(),
            OriginFault::Error
        );

        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .and_then(|free| free.local_addr());
        let gone = format!("http://{}", free.expect("loopback has a port"));
        let gone = Http::new(&gone, settings.clone()).expect("an address");
        assert_eq!(
            gone.get("/").await.expect_err("nobody").fault(),
            OriginFault::Refused
        );
        for base in ["https://a/", "a", "http://", "http://a/?b"] {
            assert!(Http::new(base, settings.clone()).is_err(), "{base}");
        }
    }
}
