//! Header fields on their way through: what is for the next hop alone stays here (RFC 9110, 7.6; RFC 9111, 3.1).

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, VIA};
use http::{HeaderMap, Uri, Version};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is for one connection, whoever says so.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What those before say of themselves.
fn is_forwarded(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "forwarded"
    )
}

/// Takes out all that is one of these. Mostly there are none, and to find that out takes less than to look for each.
fn remove(headers: &mut HeaderMap, is: fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| is(name)).cloned() {
        headers.remove(name);
    }
}

/// Takes out what is for this connection alone, and what `Connection` says is.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            // What most say, and is taken out anyway.
            .filter(|name| !name.eq_ignore_ascii_case("keep-alive"))
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .filter(|name| *name != HOST && *name != http::header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    remove(headers, is_hop_by_hop);
}

/// Who asks, and how, as the next hop is told.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) https: bool,
    /// The address, spelled once for all requests of a connection.
    spelled: HeaderValue,
}

impl Client {
    pub(crate) fn new(ip: IpAddr, https: bool) -> Client {
        // An address has no letter that cannot stand in a field.
        let spelled = HeaderValue::from_str(&ip.to_string());
        Client {
            ip,
            https,
            spelled: spelled.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
        }
    }
}

/// A request's fields as they go to an upstream.
pub(crate) fn onward(headers: &mut HeaderMap, client: &Client, trusted: bool, via: &HeaderValue) {
    strip(headers);
    headers.append(VIA, via.clone());
    if !trusted {
        remove(headers, is_forwarded);
    }
    headers.append(X_FORWARDED_FOR, client.spelled.clone());
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
        let client = Client::new(IpAddr::from([10, 0, 0, 1]), false);
        onward(
            &mut headers,
            &client,
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
