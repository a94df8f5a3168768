//! A proxy as it is asked for and as it is told of, and why it cannot be done.

use std::io;

use serde::Serialize;
use serde_json::Value;

use super::toxic::{NAME_MAX, Toxic, ToxicError, object, text};

/// A proxy as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// Where it listens: `host:port`. Port 0 is any free one; without a host it is this machine alone.
    pub listen: String,
    /// The server: `host:port`, looked up for each connection.
    pub upstream: String,
    /// Whether it runs; none means as it was, and that a new one does.
    pub enabled: Option<bool>,
}

/// A proxy as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Where it listens: an address with its real port once it has been enabled.
    pub listen: String,
    /// The server.
    pub upstream: String,
    /// Whether it runs.
    pub enabled: bool,
    /// What is wrong with its connections: upstream first, each in the order of adding.
    pub toxics: Vec<Toxic>,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It is not written as it should be.
    #[error("bad request body: {0}")]
    Malformed(String),
    /// Something must be said that was not.
    #[error("missing required field: {0}")]
    Missing(String),
    /// There is no proxy of this name.
    #[error("proxy not found")]
    NotFound,
    /// There is one of this name.
    #[error("proxy already exists")]
    Exists,
    /// There is no such direction.
    #[error("stream was invalid, can be either upstream or downstream")]
    Stream,
    /// There is no such type of toxic.
    #[error("invalid toxic type")]
    ToxicType,
    /// The proxy has a toxic of this name.
    #[error("toxic already exists")]
    ToxicExists,
    /// It has none.
    #[error("toxic not found")]
    ToxicNotFound,
    /// No more of them are kept.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The address could not be listened on.
    #[error("listen tcp {address}: bind: {}", reason(.source))]
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The system's words, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl From<ToxicError> for ProxyError {
    fn from(error: ToxicError) -> ProxyError {
        match error {
            ToxicError::Malformed(what) => ProxyError::Malformed(what),
            ToxicError::Stream => ProxyError::Stream,
            ToxicError::Type => ProxyError::ToxicType,
        }
    }
}

impl Draft {
    /// Reads a proxy as the API writes it; what is not said is empty.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(value: &Value) -> Result<Draft, ProxyError> {
        let mut map = object(value).map_err(ProxyError::Malformed)?;
        let enabled = match map.get("enabled") {
            None => None,
            Some(Value::Bool(enabled)) => Some(*enabled),
            Some(_) => {
                return Err(ProxyError::Malformed(
                    "`enabled` is neither true nor false".to_owned(),
                ));
            }
        };
        let mut text = |key| {
            let text = text(&mut map, key)
                .map_err(ProxyError::Malformed)?
                .unwrap_or_default();
            if text.len() > NAME_MAX {
                return Err(ProxyError::Malformed(format!(
                    "`{key}` has {NAME_MAX} bytes at most"
                )));
            }
            Ok(text)
        };
        Ok(Draft {
            name: text("name")?,
            listen: text("listen")?,
            upstream: text("upstream")?,
            enabled,
        })
    }

    /// Checks that it is enough for a new proxy; `place` says which one it is, if there are several.
    pub(super) fn check(&self, place: &str) -> Result<(), ProxyError> {
        for (name, value) in [("name", &self.name), ("upstream", &self.upstream)] {
            if value.is_empty() {
                return Err(ProxyError::Missing(format!("{name}{place}")));
            }
        }
        Ok(())
    }
}
