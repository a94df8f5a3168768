//! RESP, the protocol of Redis, versions 2 and 3: bytes to requests and replies, and back.
//!
//! [`Requests`] and [`Replies`] read what has arrived so far and remember where they are, so a message that comes in a
//! thousand pieces is looked at once. Everything they hold is bounded by [`Limits`], and no bytes make them panic. They
//! do no I/O, and know nothing of what commands mean. The crate `redis-protocol` was not taken: it begins a message
//! anew with every piece, and bounds neither sizes nor depth.
//!
//! ```
//! use bytes::BytesMut;
//! use seawall_resp::{Limits, Protocol, Replies, Requests, Value, request};
//! let mut wire = BytesMut::new();
//! request(&["GET", "user:1"], &mut wire);
//! let read = Requests::new(Limits::default()).next(&mut wire)?;
//! assert_eq!(read.expect("it is whole"), ["GET", "user:1"]);
//!
//! let mut wire = BytesMut::from(&b"*2\r\n:7\r\n$3\r\nab"[..]);
//! let mut replies = Replies::new(Limits::default());
//! assert_eq!(replies.next(&mut wire)?, None, "the end is missing");
//! wire.extend_from_slice(b"c\r\n");
//! let whole = Value::Array(vec![Value::Integer(7), Value::Bulk("abc".into())]);
//! assert_eq!(replies.next(&mut wire)?, Some(whole));
//! # Ok::<(), seawall_resp::Malformed>(())
//! ```

#![expect(
    clippy::cast_possible_wrap,
    reason = "what is in memory is shorter than 2^63 bytes"
)]

pub mod glob;
mod reply;
mod request;
mod writer;

pub use reply::{Replies, Value};
pub use request::Requests;
pub use writer::{Protocol, Writer, request};

/// How much of one message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one string.
    pub bulk_max: usize,
    /// Bytes of all strings of a message, and of an inline request.
    pub bytes_max: usize,
    /// Elements of a message, those inside others included.
    pub elements_max: usize,
    /// How deep replies may be nested.
    pub depth_max: usize,
}

/// As long as a line may be that announces something, and an inline request.
const LINE_MAX: usize = 64 << 10;

impl Default for Limits {
    /// 64 MiB in a string, 128 MiB and a million elements in a message, 16 deep.
    fn default() -> Limits {
        Limits {
            bulk_max: 64 << 20,
            bytes_max: 128 << 20,
            elements_max: 1 << 20,
            depth_max: 16,
        }
    }
}

/// What came is not RESP, or is too much: nothing after it can be read. Worded as Redis words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct Malformed(pub(crate) String);

impl Malformed {
    fn new(what: impl Into<String>) -> Malformed {
        Malformed(what.into())
    }
}

/// The length of the line at the beginning of `bytes`, without its end; nothing when the end is not there yet.
/// `scanned` remembers how far it was looked for.
fn line_length(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    let found = bytes[*scanned..].iter().position(|byte| *byte == b'\n');
    if let Some(at) = found {
        return Some(std::mem::take(scanned) + at);
    }
    *scanned = bytes.len();
    None
}

/// A decimal number as Redis reads one: no sign but a minus, no leading zeros, nothing around it.
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !plain {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (text, number) in [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX)] {
            assert_eq!(integer(text.as_bytes()), Some(number));
        }
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        for wrong in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "9223372036854775808",
            "1.0",
            "x",
        ] {
            assert_eq!(integer(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
