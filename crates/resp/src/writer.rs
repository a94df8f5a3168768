//! Writing what a server says, in the version that the client speaks, and what a client asks.

use bytes::{BufMut, BytesMut};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Two,
    /// After `HELLO 3`.
    Three,
}

/// Writes replies without making [`super::Value`]s of them first.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    protocol: Protocol,
}

impl<'a> Writer<'a> {
    /// Writes behind what is there.
    pub fn new(out: &'a mut BytesMut, protocol: Protocol) -> Writer<'a> {
        Writer { out, protocol }
    }

    /// `+OK` and the like.
    pub fn simple(&mut self, word: &str) {
        self.out.put_u8(b'+');
        self.out.put_slice(word.as_bytes());
        self.out.put_slice(b"\r\n");
    }

    /// An error, its code first. Line ends within become spaces.
    pub fn error(&mut self, text: &str) {
        self.out.put_u8(b'-');
        let plain = |byte| {
            if byte == b'\r' || byte == b'\n' {
                b' '
            } else {
                byte
            }
        };
        self.out.extend(text.bytes().map(plain));
        self.out.put_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// A string.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.number(b'$', bytes.len() as i64);
        self.out.put_slice(bytes);
        self.out.put_slice(b"\r\n");
    }

    /// An array of strings.
    pub fn bulks(&mut self, items: &[impl AsRef<[u8]>]) {
        self.array(items.len());
        for item in items {
            self.bulk(item);
        }
    }

    /// A text for people; in version 2 a string.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Two => self.bulk(text),
            Protocol::Three => {
                self.number(b'=', text.len() as i64 + 4);
                self.out.put_slice(b"txt:");
                self.out.put_slice(text.as_bytes());
                self.out.put_slice(b"\r\n");
            }
        }
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.out.put_slice(match self.protocol {
            Protocol::Two => b"$-1\r\n",
            Protocol::Three => b"_\r\n",
        });
    }

    /// So many values follow.
    pub fn array(&mut self, count: usize) {
        self.number(b'*', count as i64);
    }

    /// So many pairs follow; in version 2 an array.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Two => self.array(pairs * 2),
            Protocol::Three => self.number(b'%', pairs as i64),
        }
    }

    /// So many values follow, in no order; in version 2 an array.
    pub fn set(&mut self, count: usize) {
        match self.protocol {
            Protocol::Two => self.array(count),
            Protocol::Three => self.number(b'~', count as i64),
        }
    }

    /// So many values follow that nobody asked for; in version 2 an array.
    pub fn push(&mut self, count: usize) {
        match self.protocol {
            Protocol::Two => self.array(count),
            Protocol::Three => self.number(b'>', count as i64),
        }
    }

    fn number(&mut self, mark: u8, number: i64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.put_u8(mark);
        if number < 0 {
            self.out.put_u8(b'-');
        }
        self.out.put_slice(&digits[at..]);
        self.out.put_slice(b"\r\n");
    }
}

/// Writes a request: a command and its arguments.
pub fn request(args: &[impl AsRef<[u8]>], out: &mut BytesMut) {
    Writer::new(out, Protocol::Two).bulks(args);
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Replies, Value};
    use super::*;

    fn written(protocol: Protocol, fill: impl FnOnce(&mut Writer<'_>)) -> Value {
        let mut out = BytesMut::new();
        fill(&mut Writer::new(&mut out, protocol));
        let read = Replies::new(Limits::default()).next(&mut out);
        read.expect("it is RESP").expect("it is whole")
    }

    #[test]
    fn each_version_has_its_own_words() {
        let (two, three) = (Protocol::Two, Protocol::Three);
        let none = |writer: &mut Writer<'_>| {
            writer.array(1);
            writer.null();
        };
        assert_eq!(written(two, none), Value::Array(vec![Value::NullBulk]));
        assert_eq!(written(three, none), Value::Array(vec![Value::Null]));
        let map = |writer: &mut Writer<'_>| {
            writer.map(1);
            writer.integer(i64::MIN);
            writer.integer(0);
        };
        let items = vec![Value::Integer(i64::MIN), Value::Integer(0)];
        assert_eq!(written(two, map), Value::Array(items.clone()));
        assert_eq!(written(three, map), Value::Map(items));
        let text = |writer: &mut Writer<'_>| writer.verbatim("a");
        assert_eq!(written(two, text), Value::Bulk("a".into()));
        assert_eq!(written(three, text), Value::Verbatim("txt:a".into()));
    }

    #[test]
    fn an_error_is_one_line() {
        let said = written(Protocol::Two, |writer| writer.error("ERR a\r\n+OK"));
        assert_eq!(said, Value::Error("ERR a  +OK".into()));
    }
}
