//! Header fields on their way through: what is for the next hop alone stays here (RFC 9110, 7.6; RFC 9111, 3.1).

use std::net::IpAddr;

use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, Uri, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// What is for one connection, whoever says so.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_AUTHENTICATION_INFO,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out what is for this connection alone, and what `Connection` says is.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Who asks, and how, as the next hop is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) https: bool,
}

/// A request's fields as they go to an upstream.
pub(crate) fn onward(headers: &mut HeaderMap, client: Client, trusted: bool, via: &HeaderValue) {
    strip(headers);
    headers.append(VIA, via.clone());
    if !trusted {
        for name in [
            &X_FORWARDED_FOR,
            &X_FORWARDED_HOST,
            &X_FORWARDED_PROTO,
            &FORWARDED,
        ] {
            headers.remove(name);
        }
    }
    if let Ok(ip) = HeaderValue::from_str(&client.ip.to_string()) {
        headers.append(X_FORWARDED_FOR, ip);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        let scheme = if client.https { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// The host that a request is for, in small letters; `None` when there is none, or two (RFC 9112, 3.2).
pub(crate) fn host(headers: &mut HeaderMap, uri: &Uri, version: Version) -> Option<Box<str>> {
    if let Some(authority) = uri.authority() {
        // What the target says counts (RFC 9112, 3.2.2).
        if authority.as_str().contains('@') {
            return None;
        }
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        headers.insert(HOST, host);
        return Some(authority.as_str().to_ascii_lowercase().into());
    }
    let mut lines = headers.get_all(HOST).iter();
    let Some(host) = lines.next() else {
        return (version == Version::HTTP_10).then(|| "".into());
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]~%!$&'()*+,;=".contains(&byte);
    if lines.next().is_some() || !host.as_bytes().iter().all(|byte| fits(*byte)) {
        return None;
    }
    Some(host.to_str().ok()?.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_hop_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Once, host"),
            ("x-once", "1"),
            ("host", "a"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("x-forwarded-for", "6.6.6.6"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let client = Client {
            ip: IpAddr::from([10, 0, 0, 1]),
            https: false,
        };
        onward(
            &mut headers,
            client,
            false,
            &HeaderValue::from_static("1.1 seawall"),
        );
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "accept",
                "host",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto"
            ]
        );
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
    }

    #[test]
    fn hosts() {
        let host = |lines: &[&str], uri: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(HOST, line.parse().unwrap());
            }
            super::host(&mut headers, &uri.parse().unwrap(), Version::HTTP_11)
        };
        assert_eq!(host(&["A.org:80"], "/").as_deref(), Some("a.org:80"));
        assert_eq!(host(&["a", "b"], "/"), None);
        assert_eq!(host(&["a b"], "/"), None);
        assert_eq!(host(&["a/b"], "/"), None);
        assert_eq!(host(&[], "/"), None);
        assert_eq!(host(&["b"], "http://C/").as_deref(), Some("c"));
        assert_eq!(host(&["b"], "http://u@c/"), None);
    }
}
