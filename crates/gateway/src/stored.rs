//! A response as it is kept: its head, its body, and all that is asked of it each time it might be used.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{AGE, Entry, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::control::Told;
use crate::exchange::CACHE_STATUS;

/// What is kept beside head and body, about; for the bound on memory.
const OVERHEAD: usize = 512;

/// A response that is kept. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stored(pub(crate) Arc<Kept>);

/// What a load brings.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A response.
    Response(Box<Response>),
    /// Something that is for nobody but who asked for it. It tells the others that they have to ask for themselves.
    Pass,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// The end-to-end fields.
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    pub(crate) told: Told,
    /// When it came, in milliseconds since 1970.
    pub(crate) received_ms: u64,
    /// How old it was then, in seconds (RFC 9111, 4.2.3).
    pub(crate) age: u64,
    /// How old it may be, in seconds (4.2.1, 4.2.2).
    pub(crate) lifetime: u64,
    /// The fields of the request that it was chosen by, as they were (4.1).
    pub(crate) chosen_by: Vec<(HeaderName, Option<HeaderValue>)>,
    /// When it was last changed, in seconds since 1970.
    pub(crate) modified: Option<u64>,
}

impl Stored {
    pub(crate) fn response(response: Response) -> Stored {
        Stored(Arc::new(Kept::Response(Box::new(response))))
    }

    pub(crate) fn pass() -> Stored {
        Stored(Arc::new(Kept::Pass))
    }

    /// The response, unless everyone has to ask for themselves.
    pub(crate) fn get(&self) -> Option<&Response> {
        match &*self.0 {
            Kept::Response(response) => Some(response),
            Kept::Pass => None,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        let Some(response) = self.get() else {
            return OVERHEAD;
        };
        let fields = response.head.fields().iter();
        let head: usize = fields
            .map(|(name, value)| 64 + name.as_str().len() + value.len())
            .sum();
        OVERHEAD + head + response.body.len()
    }
}

/// The fields of a response, with room for those that each answer has anew: what is answered is a copy in which they
/// are filled in, and nothing has to grow.
#[derive(Clone, Debug)]
pub(crate) struct Head(HeaderMap);

impl Head {
    /// Takes in the end-to-end fields, and what this gateway is called in `Via`.
    pub(crate) fn new(mut fields: HeaderMap, via: &HeaderValue) -> Head {
        own(fields.values_mut());
        fields.insert(AGE, HeaderValue::from_static("0"));
        // What caches nearer to the origin said comes first.
        fields.append(CACHE_STATUS, HeaderValue::from_static(""));
        fields.append(VIA, via.clone());
        Head(fields)
    }

    /// All fields. `Age` and the last of `Cache-Status` say nothing.
    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.0
    }

    /// The fields as they came in.
    pub(crate) fn plain(&self) -> HeaderMap {
        let mut fields = self.0.clone();
        fields.remove(AGE);
        for name in [&CACHE_STATUS, &VIA] {
            let mut values: Vec<HeaderValue> = fields.get_all(name).iter().cloned().collect();
            values.pop();
            fields.remove(name);
            for value in values {
                fields.append(name, value);
            }
        }
        fields
    }

    /// The fields of an answer that is so many seconds old.
    pub(crate) fn answer(&self, age: u64, status: HeaderValue) -> HeaderMap {
        let mut fields = self.0.clone();
        fields.insert(AGE, HeaderValue::from(age));
        if let Entry::Occupied(mut entry) = fields.entry(CACHE_STATUS)
            && let Some(last) = entry.iter_mut().next_back()
        {
            *last = status;
        }
        fields
    }
}

/// Copies values to memory of their own, all in one piece. As they came, each is a part of what was read from a
/// connection at once, and would keep all of that: some 8 KB for a response of 1 KB.
pub(crate) fn own<'v>(values: impl Iterator<Item = &'v mut HeaderValue>) {
    let mut values: Vec<&mut HeaderValue> = values.collect();
    let length = values.iter().map(|value| value.len()).sum();
    let mut all = BytesMut::with_capacity(length);
    for value in &values {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    for value in &mut values {
        let one = all.split_to(value.len());
        if let Ok(mut own) = HeaderValue::from_maybe_shared(one) {
            own.set_sensitive(value.is_sensitive());
            **value = own;
        }
    }
}

impl Response {
    /// How old it is, in seconds.
    pub(crate) fn age_at(&self, now_ms: u64) -> u64 {
        self.age + now_ms.saturating_sub(self.received_ms) / 1_000
    }

    /// Whether a request with these fields would have been answered with it (4.1).
    pub(crate) fn is_chosen_by(&self, headers: &HeaderMap) -> bool {
        self.chosen_by
            .iter()
            .all(|(name, value)| crate::vary::normal(headers, name) == *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_nothing_else() {
        let read = Bytes::from(vec![b'x'; 8_192]);
        let mut fields = HeaderMap::new();
        for (name, length) in [("x-a", 0), ("x-b", 10), ("x-c", 300)] {
            let value = HeaderValue::from_maybe_shared(read.slice(..length)).expect("it is sound");
            fields.append(HeaderName::from_static(name), value.clone());
            fields.append(HeaderName::from_static(name), value);
        }
        fields.get_mut("x-b").expect("it is there").set_sensitive(true);
        assert!(!read.is_unique());
        let head = Head::new(fields.clone(), &HeaderValue::from_static("1.1 seawall"));
        assert_eq!(head.plain(), fields, "what they say is the same");
        assert!(head.fields()["x-b"].is_sensitive());
        drop(fields);
        assert!(read.is_unique(), "nobody holds what was read");
    }
}
