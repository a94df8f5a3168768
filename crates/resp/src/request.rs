//! Requests: arrays of strings, and lines that a person types.

use bytes::{Buf, Bytes, BytesMut};

use super::{LINE_MAX, Limits, Malformed, integer, line_length};

/// Reads requests, as a server does.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    args: Vec<Bytes>,
    /// Arguments that have been announced and are not there yet.
    missing: usize,
    /// The length of the argument under way.
    bulk: Option<usize>,
    held: usize,
    scanned: usize,
}

impl Requests {
    /// A reader at the beginning of a connection.
    pub fn new(limits: Limits) -> Requests {
        Requests {
            limits,
            args: Vec::new(),
            missing: 0,
            bulk: None,
            held: 0,
            scanned: 0,
        }
    }

    /// Takes the next request out of what has arrived, or what there is of it.
    ///
    /// # Errors
    /// When it is no request, or too large a one. The connection is of no use then.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Malformed> {
        while self.missing == 0 {
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(count) = self.count(buffer)? else {
                        return Ok(None);
                    };
                    self.missing = count;
                    self.held = 0;
                    self.args = Vec::with_capacity(count.min(64));
                }
                Some(_) => {
                    let Some(args) = self.inline(buffer)? else {
                        return Ok(None);
                    };
                    if !args.is_empty() {
                        return Ok(Some(args));
                    }
                }
            }
        }
        while self.missing > 0 {
            let Some(arg) = self.argument(buffer)? else {
                return Ok(None);
            };
            self.args.push(arg);
            self.missing -= 1;
        }
        Ok(Some(std::mem::take(&mut self.args)))
    }

    /// Whether a request has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.missing > 0
    }

    fn line(&mut self, buffer: &mut BytesMut, what: &str) -> Result<Option<BytesMut>, Malformed> {
        let Some(length) = line_length(buffer, &mut self.scanned) else {
            if buffer.len() > LINE_MAX {
                return Err(Malformed::new(what));
            }
            return Ok(None);
        };
        if length > LINE_MAX {
            return Err(Malformed::new(what));
        }
        let mut line = buffer.split_to(length + 1);
        line.truncate(length);
        if line.last() == Some(&b'\r') {
            line.truncate(length - 1);
        }
        Ok(Some(line))
    }

    fn count(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, Malformed> {
        let Some(line) = self.line(buffer, "too big mbulk count string")? else {
            return Ok(None);
        };
        match integer(&line[1..]) {
            Some(count) if count <= self.limits.elements_max as i64 => Ok(Some(count.max(0) as usize)),
            _ => Err(Malformed::new("invalid multibulk length")),
        }
    }

    fn argument(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let length = if let Some(length) = self.bulk {
            length
        } else {
            let Some(line) = self.line(buffer, "too big bulk count string")? else {
                return Ok(None);
            };
            let length = self.bulk_length(&line)?;
            self.bulk = Some(length);
            length
        };
        if buffer.len() < length + 2 {
            return Ok(None);
        }
        let arg = buffer.split_to(length).freeze();
        buffer.advance(2);
        self.bulk = None;
        Ok(Some(arg))
    }

    fn bulk_length(&mut self, line: &[u8]) -> Result<usize, Malformed> {
        let Some((b'$', digits)) = line.split_first() else {
            let got = line.first().copied().unwrap_or(b'\r');
            let shown = if got.is_ascii_graphic() {
                char::from(got)
            } else {
                ' '
            };
            return Err(Malformed::new(format!("expected '$', got '{shown}'")));
        };
        let length = integer(digits).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= self.limits.bulk_max);
        let length = length.ok_or_else(|| Malformed::new("invalid bulk length"))?;
        self.held += length;
        if self.held > self.limits.bytes_max {
            return Err(Malformed::new("too big request"));
        }
        Ok(length)
    }

    fn inline(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Malformed> {
        let Some(line) = self.line(buffer, "too big inline request")? else {
            return Ok(None);
        };
        match words(&line) {
            Some(words) => Ok(Some(words)),
            None => Err(Malformed::new("unbalanced quotes in request")),
        }
    }
}

/// The words of a line, with quotes and escapes as Redis has them; nothing when quotes are not closed.
pub(crate) fn words(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word.into());
    }
}

fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [byte, ..] if byte.is_ascii_whitespace() || *byte == 0 => return Some(&rest[1..]),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                rest = quoted(tail, *quote, word)?;
                // A closing quote ends the word.
                return rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest);
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let double = quote == b'"';
    loop {
        match rest {
            [] => return None,
            [b'\\', b'x', high, low, tail @ ..]
                if double && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] if double => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [b'\\', b'\'', tail @ ..] if !double => {
                word.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] if *byte == quote => return Some(tail),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut Requests, bytes: &[u8]) -> Result<Vec<Vec<Bytes>>, Malformed> {
        let mut buffer = BytesMut::from(bytes);
        let mut requests = Vec::new();
        while let Some(request) = reader.next(&mut buffer)? {
            requests.push(request);
        }
        Ok(requests)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<Bytes>>, Malformed> {
        all(&mut Requests::new(Limits::default()), bytes)
    }

    #[test]
    fn lines_are_requests_too() {
        let line = b"\r\n  set \"a b\\x41\\n\" 'it\\'s'  \r\nPING\n*0\r\n*-1\r\nquit\r\n";
        let expected: [&[&str]; 3] = [&["set", "a bA\n", "it's"], &["PING"], &["quit"]];
        assert_eq!(read(line).expect("it is in order"), expected);
    }

    #[test]
    fn what_is_wrong_is_told_as_redis_tells_it() {
        for (bytes, said) in [
            (&b"*x\r\n"[..], "invalid multibulk length"),
            (b"*2000000\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$999999999\r\n", "invalid bulk length"),
            (b"get \"a\r\n", "unbalanced quotes in request"),
            (b"get \"a\"b\r\n", "unbalanced quotes in request"),
            (&b"a".repeat(LINE_MAX + 1), "too big inline request"),
        ] {
            assert_eq!(read(bytes), Err(Malformed::new(said)));
        }
    }

    #[test]
    fn a_request_is_bounded_as_a_whole() {
        let limits = Limits {
            bytes_max: 10,
            ..Limits::default()
        };
        let bytes = b"*3\r\n$4\r\naaaa\r\n$4\r\nbbbb\r\n$4\r\ncccc\r\n";
        let told = all(&mut Requests::new(limits), bytes);
        assert_eq!(told, Err(Malformed::new("too big request")));
    }

    proptest! {
        #[test]
        fn requests_survive_being_chopped(
            requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6), 1..6),
            cuts in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let mut wire = BytesMut::new();
            for request in &requests {
                super::super::request(request, &mut wire);
            }
            let mut reader = Requests::new(Limits::default());
            let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !wire.is_empty() {
                let cut = (*cuts.next().expect("it goes round")).min(wire.len());
                buffer.extend_from_slice(&wire.split_to(cut));
                while let Some(request) = reader.next(&mut buffer)? {
                    read.push(request.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(read, requests);
            prop_assert!(!reader.is_within());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(
            prop::sample::select(b"*$+-:123490\r\n\"'\\x ab\0\xff".to_vec()), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
