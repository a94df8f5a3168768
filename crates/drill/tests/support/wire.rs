//! A client of few words: what it is told it sends, and what comes back it shows.

#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use seawall_drill::resp::{Limits, Replies, Value, request};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Wire {
    stream: TcpStream,
    replies: Replies,
    read: BytesMut,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
        stream.set_nodelay(true).expect("it is TCP");
        Wire {
            stream,
            replies: Replies::new(Limits::default()),
            read: BytesMut::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is connected");
    }

    /// The next reply; nothing when the server hung up.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            if let Some(reply) = self.replies.next(&mut self.read).expect("it is RESP") {
                return Some(reply);
            }
            let mut some = [0; 4_096];
            match self.stream.read(&mut some) {
                Ok(0) => return None,
                Ok(count) => self.read.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Whether nothing is said for so long.
    pub(crate) fn is_silent(&mut self, for_: Duration) -> bool {
        self.stream.set_read_timeout(Some(for_)).expect("it is no zero");
        let read = self.stream.read(&mut [0; 1]);
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is no zero");
        let quiet = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
        read.is_err_and(|error| quiet.contains(&error.kind()))
    }

    /// Sends all of these at once, and hears as many replies.
    pub(crate) fn ask_all<T: AsRef<[u8]>>(&mut self, requests: &[Vec<T>]) -> Vec<Option<Value>> {
        let mut bytes = BytesMut::new();
        for words in requests {
            request(words, &mut bytes);
        }
        self.send(&bytes);
        requests.iter().map(|_| self.hear()).collect()
    }

    pub(crate) fn ask(&mut self, words: &[&str]) -> Value {
        let reply = self.ask_all(&[words.to_vec()]).remove(0);
        reply.unwrap_or_else(|| panic!("{words:?}: it hung up"))
    }

    /// A line of words, as somebody types it; the answer as text.
    pub(crate) fn say(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        text(&self.ask(&words))
    }
}

/// A reply for people.
pub(crate) fn text(reply: &Value) -> String {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reply {
        Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(text) => of(text),
        Value::Error(text) => format!("-{}", of(text)),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) | Value::Map(items) | Value::Set(items) | Value::Push(items) => {
            items.iter().map(text).collect::<Vec<_>>().join(" ")
        }
        value if value.is_nil() => "nil".to_owned(),
        other => format!("{other:?}"),
    }
}
