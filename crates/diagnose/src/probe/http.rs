//! One question by HTTP/1.1: an answer of bounded size, before a deadline, on a connection of its own.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::dial::dial;
use super::fault::{Fault, Why};
use super::target::Target;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Asks for `path` below the target's own, with at most so many bytes in answer.
pub(crate) async fn get(
    target: &Target,
    path: &str,
    most: usize,
    deadline: Instant,
) -> Result<Answer, Fault> {
    ask(target, &Order::get(path), most, deadline).await
}

/// What is asked for, and how.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// JSON.
    pub(crate) body: Option<String>,
    /// A bearer token.
    pub(crate) token: Option<&'a str>,
}

impl<'a> Order<'a> {
    fn get(path: &'a str) -> Order<'a> {
        Order {
            method: Method::GET,
            path,
            body: None,
            token: None,
        }
    }
}

/// Asks, with at most so many bytes in answer.
pub(crate) async fn ask(
    target: &Target,
    order: &Order<'_>,
    most: usize,
    deadline: Instant,
) -> Result<Answer, Fault> {
    let io = TokioIo::new(dial(target, deadline).await?);
    let asked = async {
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| of_hyper(&error))?;
        let driver = tokio::spawn(connection);
        let answer = async {
            let response = sender.send_request(question(target, order)?).await;
            let response = response.map_err(|error| of_hyper(&error))?;
            let status = response.status().as_u16();
            let body = bounded(response.into_body(), most).await?;
            Ok(Answer { status, body })
        };
        let guard = Ended(driver);
        let answer = answer.await;
        drop(guard);
        answer
    };
    timeout_at(deadline, asked)
        .await
        .unwrap_or_else(|_| Err(Fault::late("whole answer")))
}

/// Ends the task of a connection with whoever asked.
struct Ended(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn question(target: &Target, order: &Order<'_>) -> Result<Request<Full<Bytes>>, Fault> {
    let path = order.path;
    let base = target.path().trim_end_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    let uri = format!("{slash}{base}/{}", path.trim_start_matches('/'));
    let wrong = |error: &dyn std::fmt::Display| {
        Fault::new(Why::Error, format!("the path cannot be asked for: {error}"))
    };
    let body = Bytes::from(order.body.clone().unwrap_or_default());
    let mut request = Request::builder()
        .method(order.method.clone())
        .uri(uri)
        .body(Full::new(body))
        .map_err(|error| wrong(&error))?;
    let host = if target.host().contains(':') {
        format!("[{}]:{}", target.host(), target.port())
    } else {
        format!("{}:{}", target.host(), target.port())
    };
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(|error| wrong(&error))?);
    headers.insert(USER_AGENT, HeaderValue::from_static("seawall"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if order.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(token) = order.token.or(target.token()) {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| wrong(&error))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        return Ok(request);
    }
    if target.user().is_some() || target.password().is_some() {
        let login = format!(
            "{}:{}",
            target.user().unwrap_or(""),
            target.password().unwrap_or("")
        );
        let mut value = HeaderValue::from_str(&format!("Basic {}", base64(login.as_bytes())))
            .map_err(|error| wrong(&error))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// The header that logs in (RFC 7617), where the address holds a login.
pub(crate) fn basic(target: &Target) -> Option<Result<HeaderValue, hyper::header::InvalidHeaderValue>> {
    let (user, password) = (target.user(), target.password());
    if user.is_none() && password.is_none() {
        return None;
    }
    let login = format!("{}:{}", user.unwrap_or(""), password.unwrap_or(""));
    let value = HeaderValue::from_str(&format!("Basic {}", base64(login.as_bytes())));
    Some(value.map(|mut value| {
        value.set_sensitive(true);
        value
    }))
}

async fn bounded(mut body: hyper::body::Incoming, most: usize) -> Result<Bytes, Fault> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| of_hyper(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > most {
            return Err(Fault::new(
                Why::Garbage,
                format!("the answer is longer than {most} bytes"),
            ));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn of_hyper(error: &hyper::Error) -> Fault {
    if error.is_parse() {
        return Fault::new(Why::Garbage, "what came is not HTTP");
    }
    if error.is_incomplete_message() {
        return Fault::new(Why::Closed, "the server hung up before its answer was whole");
    }
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.map_or_else(|| Fault::new(Why::Error, error.to_string()), Fault::io)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let whole = three
            .iter()
            .fold(0_u32, |whole, byte| whole << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            if place > three.len() {
                text.push('=');
            } else {
                text.push(char::from(LETTERS[(whole >> (18 - 6 * place)) as usize & 63]));
            }
        }
    }
    text
}

/// Escapes what a query of a URL may not hold (RFC 3986, section 2.3).
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(escaped("a{b=\"c d\"}"), "a%7Bb%3D%22c%20d%22%7D");
    }
}
