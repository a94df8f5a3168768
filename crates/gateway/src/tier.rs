//! The second tier: responses in Redis, shared by gateways, by the library's adapter and in its envelope.
//!
//! The bytes of a response are its head as JSON and its body as it came. What does not come to a response when it is
//! read is a miss.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use seawall::redis::{ConfigError, Redis, RedisBackplane, RedisBuilder};
use seawall::{Codec, CodecError};
use seawall_scenario::RedisTier;
use serde::{Deserialize, Serialize};

use crate::stored::{Response, Stored};

/// What is shared over the backplane is told to gateways of the same prefix.
const CHANNEL: &str = "invalidations";
/// The form of what is stored; one that differs is a miss.
pub(crate) const FORM: u16 = 1;

/// Where the second tier is.
#[derive(Clone)]
pub(crate) struct Tier {
    redis: RedisBuilder,
    pub(crate) settings: RedisTier,
}

impl Tier {
    /// By the variable's URL, or else the document's; none without either.
    pub(crate) fn new(
        variable: Option<&str>,
        settings: Option<&RedisTier>,
    ) -> Result<Option<Tier>, ConfigError> {
        let settings = settings.cloned().unwrap_or_default();
        let Some(url) = variable.or(settings.url.as_deref()) else {
            return Ok(None);
        };
        let redis = Redis::url(url.trim())?.prefix(settings.prefix.clone());
        // What is wrong with it is told when the gateway starts.
        redis.build()?;
        Ok(Some(Tier { redis, settings }))
    }

    /// The tier, for one upstream.
    pub(crate) fn build(&self) -> Result<Redis, ConfigError> {
        self.redis.build()
    }

    /// What carries purges between gateways.
    pub(crate) fn backplane(&self, upstream: &str) -> Result<Arc<RedisBackplane>, ConfigError> {
        self.redis
            .backplane(format!("{}{upstream} {CHANNEL}", self.settings.prefix))
    }
}

/// Responses as bytes.
#[derive(Debug)]
pub(crate) struct Responses {
    pub(crate) via: HeaderValue,
}

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    received_ms: u64,
    age: u64,
    lifetime: u64,
    chosen_by: Vec<(String, Option<Vec<u8>>)>,
    modified: Option<u64>,
}

impl Codec<Stored> for Responses {
    fn id(&self) -> u8 {
        128
    }

    fn encode(&self, stored: &Stored) -> Result<Bytes, CodecError> {
        let response = stored.get().ok_or("what is for nobody else is not stored")?;
        let chosen_by = response.chosen_by.iter();
        let plain = response.head.plain();
        let head = serde_json::to_vec(&Head {
            status: response.status.as_u16(),
            fields: plain
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            received_ms: response.received_ms,
            age: response.age,
            lifetime: response.lifetime,
            chosen_by: chosen_by
                .map(|(name, value)| {
                    (
                        name.as_str().to_owned(),
                        value.as_ref().map(|value| value.as_bytes().to_vec()),
                    )
                })
                .collect(),
            modified: response.modified,
        })?;
        let mut bytes = BytesMut::with_capacity(4 + head.len() + response.body.len());
        bytes.put_u32(u32::try_from(head.len())?);
        bytes.put_slice(&head);
        bytes.put_slice(&response.body);
        Ok(bytes.freeze())
    }

    fn decode(&self, bytes: &Bytes) -> Result<Stored, CodecError> {
        let (length, _) = bytes.split_first_chunk::<4>().ok_or("it is too short")?;
        let end = 4 + u32::from_be_bytes(*length) as usize;
        let head: Head = serde_json::from_slice(bytes.get(4..end).ok_or("it is too short")?)?;
        let mut fields = HeaderMap::with_capacity(head.fields.len());
        for (name, value) in head.fields {
            fields.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        let chosen_by = head.chosen_by.into_iter().map(|(name, value)| {
            let value = value.map(HeaderValue::try_from).transpose()?;
            Ok::<_, CodecError>((HeaderName::try_from(name)?, value))
        });
        Ok(Stored::response(Response {
            status: StatusCode::from_u16(head.status)?,
            told: crate::control::Told::of(&fields),
            head: crate::stored::Head::new(fields, &self.via),
            body: bytes.slice(end..),
            received_ms: head.received_ms,
            age: head.age,
            lifetime: head.lifetime,
            chosen_by: chosen_by.collect::<Result<_, _>>()?,
            modified: head.modified,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CACHE_CONTROL, ETAG, VARY};

    #[test]
    fn what_is_written_is_read() {
        let codec = Responses {
            via: HeaderValue::from_static("1.1 seawall"),
        };
        let mut fields = HeaderMap::new();
        fields.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("max-age=60, must-revalidate"),
        );
        fields.append(VARY, HeaderValue::from_static("accept"));
        fields.append(VARY, HeaderValue::from_static("x-a"));
        fields.insert(
            ETAG,
            HeaderValue::from_bytes(b"\"\xe4\"").expect("it may be in a field"),
        );
        let response = Response {
            status: StatusCode::NOT_FOUND,
            told: crate::control::Told::of(&fields),
            head: crate::stored::Head::new(fields.clone(), &codec.via),
            body: Bytes::from_static(b"\x00body"),
            received_ms: 5,
            age: 6,
            lifetime: 7,
            chosen_by: vec![(http::header::ACCEPT, None)],
            modified: Some(8),
        };
        let bytes = codec.encode(&Stored::response(response)).expect("it has bytes");
        let stored = codec.decode(&bytes).expect("it is one");
        let read = stored.get().expect("it is a response");
        assert_eq!(read.head.plain(), fields);
        assert_eq!((read.status.as_u16(), &read.body[..]), (404, &b"\x00body"[..]));
        assert_eq!(
            (read.received_ms, read.age, read.lifetime, read.modified),
            (5, 6, 7, Some(8))
        );
        assert_eq!(read.chosen_by, [(http::header::ACCEPT, None)]);
        assert!(read.told.forbids_stale());
        for wrong in [
            &bytes[..3],
            &bytes[..9],
            b"\xff\xff\xff\xffx",
            b"\x00\x00\x00\x02{}",
        ] {
            assert!(codec.decode(&Bytes::copy_from_slice(wrong)).is_err());
        }
        assert!(codec.encode(&Stored::pass()).is_err());
    }
}
