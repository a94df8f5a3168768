//! Which fields of a request choose among the responses of one resource (RFC 9111, 4.1; RFC 9110, 12.5.5).
//!
//! What a resource's last response said in `Vary` is remembered; by it the key of the next request is made. When the
//! memory of it is gone, the next response brings it back: nothing is answered by the key alone.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;

/// So many resources' `Vary` is remembered.
const RESOURCES_MAX: usize = 100_000;
/// A response that is chosen by more fields than these is not kept.
const FIELDS_MAX: usize = 16;

/// The fields that choose.
pub(crate) type Fields = Arc<[HeaderName]>;

/// Remembers `Vary`.
pub(crate) struct Vary(Cache<Arc<str>, Fields>);

impl Vary {
    pub(crate) fn new() -> Vary {
        Vary(Cache::new(RESOURCES_MAX))
    }

    /// The key of a request for this resource.
    pub(crate) fn key(&self, resource: &Arc<str>, headers: &HeaderMap) -> Arc<str> {
        match self.0.get(resource) {
            Some(fields) => key(resource, &fields, headers),
            None => Arc::clone(resource),
        }
    }

    /// Learns what a response said.
    pub(crate) fn learn(&self, resource: &Arc<str>, fields: &Fields) {
        if fields.is_empty() {
            self.0.remove(resource);
        } else if self.0.get(resource).is_none_or(|known| known != *fields) {
            self.0.insert(Arc::clone(resource), Arc::clone(fields));
        }
    }
}

/// The fields that a response says it was chosen by, in order; `None` when no other request can be known to be like it.
pub(crate) fn fields(headers: &HeaderMap) -> Option<Fields> {
    let mut fields = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',') {
            let name = name.trim();
            if name == "*" {
                return None;
            }
            if !name.is_empty() {
                fields.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
            }
        }
    }
    fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    fields.dedup();
    (fields.len() <= FIELDS_MAX).then(|| fields.into())
}

/// The key of a request for this resource, chosen by these fields.
pub(crate) fn key(resource: &Arc<str>, fields: &[HeaderName], headers: &HeaderMap) -> Arc<str> {
    if fields.is_empty() {
        return Arc::clone(resource);
    }
    let mut key = String::from(&**resource);
    for name in fields {
        // A line feed is in no address and in no field, so two requests that differ have different keys.
        let _ = write!(key, "\n{name}:");
        match normal(headers, name) {
            Some(value) => key.extend(value.as_bytes().iter().map(|byte| char::from(*byte))),
            None => key.push('\n'),
        }
    }
    key.into()
}

/// A field's value as requests are compared by it: all lines of it, without needless space. What clients accept is put
/// in order, because it means the same in any.
pub(crate) fn normal(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let more = lines.next().is_some();
    if !more && (*name == COOKIE || !first.as_bytes().contains(&b',')) {
        return Some(first.clone());
    }
    let mut parts: Vec<String> = headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|part| String::from_utf8_lossy(part.trim_ascii()).into_owned())
        .filter(|part| !part.is_empty())
        .collect();
    if *name == ACCEPT_ENCODING {
        for part in &mut parts {
            part.make_ascii_lowercase();
        }
        parts.sort();
    }
    HeaderValue::from_str(&parts.join(",")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, ACCEPT_LANGUAGE};

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn fields_are_names_in_order_and_a_star_is_none() {
        let read = |value: &str| fields(&headers(&[(VARY, value)]));
        assert_eq!(
            read("Accept-Language,accept , accept"),
            Some([ACCEPT, ACCEPT_LANGUAGE].into())
        );
        assert_eq!(read("accept, *"), None);
        assert_eq!(read("a b"), None);
        assert_eq!(fields(&HeaderMap::new()), Some([].into()));
    }

    #[test]
    fn keys_differ_where_requests_do() {
        let resource: Arc<str> = "a/".into();
        let by = [ACCEPT_ENCODING, ACCEPT_LANGUAGE];
        let key = |fields: &[(HeaderName, &str)]| key(&resource, &by, &headers(fields));
        let one = key(&[(ACCEPT_ENCODING, "gzip, br"), (ACCEPT_LANGUAGE, "en")]);
        assert_eq!(
            one,
            key(&[
                (ACCEPT_ENCODING, "BR"),
                (ACCEPT_ENCODING, "gzip"),
                (ACCEPT_LANGUAGE, "en")
            ])
        );
        assert_ne!(
            one,
            key(&[(ACCEPT_ENCODING, "gzip, br"), (ACCEPT_LANGUAGE, "de")])
        );
        assert_ne!(key(&[(ACCEPT_LANGUAGE, "")]), key(&[]), "empty is not absent");
        let vary = Vary::new();
        assert_eq!(vary.key(&resource, &HeaderMap::new()), resource);
        vary.learn(&resource, &[ACCEPT_LANGUAGE].into());
        assert_ne!(vary.key(&resource, &HeaderMap::new()), resource);
        vary.learn(&resource, &[].into());
        assert_eq!(vary.key(&resource, &HeaderMap::new()), resource);
    }
}
