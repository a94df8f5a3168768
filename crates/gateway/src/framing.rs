//! The framing of HTTP/1.1: where each message ends, judged strictly.
//!
//! Two parties that disagree on where a request ends can be made to see different requests (smuggling). So whatever
//! could be read in two ways is refused here, before the parser of the server sees it: a bare line feed, a second
//! `Content-Length`, one beside `Transfer-Encoding`, any coding but `chunked`, a folded line, space before a colon,
//! a chunk size that is none (RFC 9112, 2.2, 5, 6, 7.1). It parses no more than that, and keeps no more than one line.
//!
//! ```
//! use seawall_gateway::framing::{Framing, Wrong};
//! let mut framing = Framing::new(8_192);
//! assert!(framing.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
//! let twice = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx";
//! assert_eq!(framing.feed(twice).unwrap_err().wrong, Wrong::TwoLengths);
//! ```

/// Why a message cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A line ends with a line feed alone, or has a control character in it.
    Line,
    /// The request line is not three words.
    RequestLine,
    /// A field is folded over two lines, has no colon, or its name is none.
    Field,
    /// A second `Content-Length`.
    TwoLengths,
    /// A `Content-Length` that is no number.
    Length,
    /// A `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// A `Transfer-Encoding` other than one `chunked`.
    Coding,
    /// A chunk's size or end is not what it must be.
    Chunk,
    /// A line is longer than the head may be.
    TooLong,
}

/// What is wrong, and how many bytes of what was fed came before the line that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What.
    pub wrong: Wrong,
    /// Where the wrong line begins in what was fed; 0 when it began earlier.
    pub at: usize,
    /// Whether it is in the head of a request, so that an answer can still be given.
    pub in_head: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a request line; so many empty lines were skipped.
    Start(u8),
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
}

/// Follows one connection, in one direction.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    line_max: usize,
    length: Option<u64>,
    chunked: bool,
    old: bool,
}

impl Framing {
    /// A connection on which nothing came yet.
    pub fn new(line_max: usize) -> Framing {
        Framing {
            state: State::Start(0),
            line: Vec::new(),
            line_max,
            length: None,
            chunked: false,
            old: false,
        }
    }

    /// Whether a head has begun that has not ended.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head) || (matches!(self.state, State::Start(_)) && !self.line.is_empty())
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// What is wrong with it. Nothing can be read on this connection any more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Length(left) | State::ChunkData(left) => {
                    let taken = left.min(rest.len() as u64);
                    at += taken as usize;
                    self.state = match (self.state, left - taken) {
                        (State::Length(_), 0) => State::Start(0),
                        (State::Length(_), left) => State::Length(left),
                        (_, 0) => State::ChunkEnd,
                        (_, left) => State::ChunkData(left),
                    };
                }
                _ => {
                    let refuse = |wrong, state: State| Refused {
                        wrong,
                        at,
                        in_head: matches!(state, State::Start(_) | State::Head),
                    };
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        if self.line.len() + rest.len() > self.line_max {
                            return Err(refuse(Wrong::TooLong, self.state));
                        }
                        self.line.extend_from_slice(rest);
                        return Ok(());
                    };
                    let state = self.state;
                    let done = if self.line.is_empty() {
                        self.line(&rest[..=end])
                    } else {
                        let mut line = std::mem::take(&mut self.line);
                        line.extend_from_slice(&rest[..=end]);
                        self.line(&line)
                    };
                    done.map_err(|wrong| refuse(wrong, state))?;
                    at += end + 1;
                }
            }
        }
        Ok(())
    }

    /// A whole line, with its end.
    fn line(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let line = line.strip_suffix(b"\r\n").ok_or(Wrong::Line)?;
        if line.len() > self.line_max {
            return Err(Wrong::TooLong);
        }
        if line
            .iter()
            .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(Wrong::Line);
        }
        match self.state {
            State::Start(skipped) if line.is_empty() => {
                // One empty line before a request is old clients' custom; more are somebody's attempt.
                if skipped > 0 {
                    return Err(Wrong::RequestLine);
                }
                self.state = State::Start(1);
            }
            State::Start(_) => {
                self.request_line(line)?;
                self.state = State::Head;
            }
            State::Head if line.is_empty() => self.state = self.body()?,
            State::Head => self.field(line)?,
            State::Trailer if line.is_empty() => self.state = State::Start(0),
            State::Trailer => drop(name(line)?),
            State::ChunkSize => {
                self.state = match chunk_size(line)? {
                    0 => State::Trailer,
                    size => State::ChunkData(size),
                };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd | State::Length(_) | State::ChunkData(_) => return Err(Wrong::Chunk),
        }
        Ok(())
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next(), words.next(), words.next());
        let version = version.filter(|version| matches!(*version, b"HTTP/1.1" | b"HTTP/1.0"));
        let whole = words.next().is_none()
            && method.is_some_and(|method| !method.is_empty() && method.iter().copied().all(is_token))
            && target.is_some_and(|target| !target.is_empty() && !target.contains(&b'\t'));
        match version {
            Some(version) if whole => {
                (self.length, self.chunked, self.old) = (None, false, version == b"HTTP/1.0");
                Ok(())
            }
            _ => Err(Wrong::RequestLine),
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Wrong> {
        let (name, value) = name(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err(Wrong::TwoLengths);
            }
            self.length = Some(length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // HTTP/1.0 knows no coding, and another one may not.
            if self.chunked || self.old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Wrong::Coding);
            }
            self.chunked = true;
        }
        Ok(())
    }

    /// What comes after the head.
    fn body(&self) -> Result<State, Wrong> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Wrong::LengthAndCoding),
            (None, true) => Ok(State::ChunkSize),
            (None | Some(0), false) => Ok(State::Start(0)),
            (Some(length), false) => Ok(State::Length(length)),
        }
    }
}

/// A field's name, and its value without the space around it.
fn name(line: &[u8]) -> Result<(&[u8], &[u8]), Wrong> {
    let colon = memchr::memchr(b':', line).ok_or(Wrong::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Wrong::Field);
    }
    Ok((name, value.trim_ascii()))
}

fn length(value: &[u8]) -> Result<u64, Wrong> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Wrong::Length);
    }
    Ok(value
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// A chunk's size; what follows a semicolon says nothing to us, but must be short.
fn chunk_size(line: &[u8]) -> Result<u64, Wrong> {
    const EXTENSION_MAX: usize = 256;
    let (digits, extension) = match memchr::memchr(b';', line) {
        Some(end) => line.split_at(end),
        None => (line, &b""[..]),
    };
    let fits = !digits.is_empty() && digits.len() <= 15 && extension.len() <= EXTENSION_MAX;
    if !fits || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Wrong::Chunk);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Wrong::Chunk)?;
    u64::from_str_radix(digits, 16).map_err(|_| Wrong::Chunk)
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOUND: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nab\n\0c",
        "POST /x HTTP/1.1\r\ncontent-length:0\r\n\r\n",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    ];

    const WRONG: &[(&str, Wrong)] = &[
        ("GET / HTTP/1.1\nHost: a\n\n", Wrong::Line),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Wrong::Line),
        ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Wrong::Line),
        ("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", Wrong::Line),
        ("GET  / HTTP/1.1\r\n\r\n", Wrong::RequestLine),
        ("GET /\tHTTP/1.1\r\n\r\n", Wrong::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", Wrong::RequestLine),
        ("GET / HTTP/2.0\r\n\r\n", Wrong::RequestLine),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Wrong::RequestLine),
        ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Wrong::Field),
        ("GET / HTTP/1.1\r\n A: b\r\n\r\n", Wrong::Field),
        ("GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", Wrong::Field),
        ("GET / HTTP/1.1\r\nnothing\r\n\r\n", Wrong::Field),
        ("GET / HTTP/1.1\r\n: x\r\n\r\n", Wrong::Field),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            Wrong::TwoLengths,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", Wrong::Length),
        ("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", Wrong::Length),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Wrong::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n", Wrong::Length),
        (
            "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
            Wrong::Length,
        ),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Wrong::Length),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Wrong::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            Wrong::LengthAndCoding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            Wrong::Coding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            Wrong::Coding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Wrong::Coding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Wrong::Coding,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Wrong::Coding,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x1\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            Wrong::Chunk,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n",
            Wrong::Line,
        ),
    ];

    fn feed(text: &str, piece: usize) -> Result<(), Wrong> {
        let mut framing = Framing::new(200);
        let mut pieces = text.as_bytes().chunks(piece.max(1));
        pieces.try_for_each(|piece| framing.feed(piece).map_err(|refused| refused.wrong))
    }

    #[test]
    fn what_is_sound_passes_also_in_pieces_and_in_a_row() {
        let all = SOUND.concat();
        for piece in [1, 2, 7, 10_000] {
            assert_eq!(feed(&all, piece), Ok(()));
        }
        let mut framing = Framing::new(200);
        assert!(framing.feed(b"GET / HTT").is_ok() && framing.in_head());
        assert!(framing.feed(b"P/1.1\r\n\r\n").is_ok() && !framing.in_head());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, wrong) in WRONG {
            for before in ["", SOUND[0]] {
                for piece in [1, 3, 10_000] {
                    // An empty line too many is one only at the beginning.
                    assert_eq!(
                        feed(&format!("{before}{text}"), piece),
                        Err(*wrong),
                        "{text:?} in {piece}"
                    );
                }
            }
        }
    }

    #[test]
    fn it_says_where_and_keeps_no_more_than_a_line() {
        let mut framing = Framing::new(20);
        let refused = framing.feed(b"GET / HTTP/1.1\r\nA: b\n").unwrap_err();
        assert_eq!((refused.at, refused.in_head), (16, true));
        let mut framing = Framing::new(20);
        assert_eq!(framing.feed(&[b'a'; 21]).unwrap_err().wrong, Wrong::TooLong);
        let mut framing = Framing::new(20);
        assert!((0..20).all(|_| framing.feed(b"a").is_ok()));
        assert_eq!(framing.feed(b"a").unwrap_err().wrong, Wrong::TooLong);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_does_not_matter_how_it_comes_in_pieces(
            text in "(GET|POST) /[a-z]{0,3} HTTP/1.[01](\r\n|\n)((Content-Length|Transfer-Encoding|A): ?(3|chunked|[ -~]{0,4})\r\n){0,3}\r\n[ -~\r\n]{0,30}",
            piece in 1_usize..40,
        ) {
            prop_assert_eq!(feed(&text, piece), feed(&text, 10_000));
        }
    }
}
