//! Codecs: values to bytes and back, for tiers beyond this process's memory.
//!
//! JSON is the default although it is not the smallest: when a type gains or loses a field between two releases that
//! run side by side, JSON finds it or fails, and never reads one field as another. A denser codec is a few lines, and
//! then the version of the value ([`CacheBuilder::value_version`](crate::CacheBuilder::value_version)) must be raised
//! with each change of its type.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value could not be written or read.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Turns values into bytes and back.
pub trait Codec<V>: Send + Sync + 'static {
    /// The number of this codec in the envelope; 128 and above are yours.
    fn id(&self) -> u8;

    /// The bytes of a value.
    ///
    /// # Errors
    /// When it has none; then it is kept in memory only.
    fn encode(&self, value: &V) -> Result<Bytes, CodecError>;

    /// The value of these bytes.
    ///
    /// # Errors
    /// When they are not those of a value; then they count as a miss.
    fn decode(&self, bytes: &Bytes) -> Result<V, CodecError>;
}

/// JSON, by serde.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn id(&self) -> u8 {
        1
    }

    fn encode(&self, value: &V) -> Result<Bytes, CodecError> {
        Ok(serde_json::to_vec(value)?.into())
    }

    fn decode(&self, bytes: &Bytes) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Values that are bytes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn id(&self) -> u8 {
        2
    }

    fn encode(&self, value: &Bytes) -> Result<Bytes, CodecError> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: &Bytes) -> Result<Bytes, CodecError> {
        Ok(bytes.clone())
    }
}

impl Codec<Vec<u8>> for Raw {
    fn id(&self) -> u8 {
        2
    }

    fn encode(&self, value: &Vec<u8>) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(&self, bytes: &Bytes) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl Codec<String> for Raw {
    fn id(&self) -> u8 {
        2
    }

    fn encode(&self, value: &String) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }

    fn decode(&self, bytes: &Bytes) -> Result<String, CodecError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }
}
