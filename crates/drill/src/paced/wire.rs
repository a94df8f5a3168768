//! Messages of PostgreSQL's protocol, as far as one has to understand them to know when a query begins and ends
//! (PostgreSQL documentation, "Frontend/Backend Protocol", version 3).

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest message, and the most that is held of an answer.
pub(super) const MESSAGE_MAX: usize = 4 << 20;
/// The most statements that one connection prepares.
const STATEMENTS_MAX: usize = 10_000;

/// The first message of a connection.
pub(super) enum First {
    /// It asks for encryption, which there is none of here.
    Encryption,
    /// It asks for the end of a query on another connection, or begins.
    Plain { cancels: bool, bytes: Vec<u8> },
}

pub(super) async fn first<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<First> {
    let bytes = body(from, Vec::new()).await?;
    let code = bytes.get(4..8).map(|code| [code[0], code[1], code[2], code[3]]);
    Ok(match code.map(u32::from_be_bytes) {
        Some(80_877_103 | 80_877_104) => First::Encryption,
        Some(80_877_102) => First::Plain { cancels: true, bytes },
        _ => First::Plain {
            cancels: false,
            bytes,
        },
    })
}

/// The value of a parameter of the first message of a connection: pairs of names and values follow its code, each ended by
/// a zero.
pub(super) fn parameter<'a>(first: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut words = first.get(8..)?.split(|byte| *byte == 0);
    loop {
        let (name, value) = (words.next()?, words.next()?);
        if name == wanted.as_bytes() {
            return Some(value);
        }
        if name.is_empty() {
            return None;
        }
    }
}

/// One message, whole, with its type and length.
pub(super) async fn message<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    body(from, vec![kind]).await
}

async fn body<R: AsyncRead + Unpin>(from: &mut R, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let rest = (length as usize).saturating_sub(4);
    if rest > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message that is too long",
        ));
    }
    bytes.extend(length.to_be_bytes());
    let from_here = bytes.len();
    bytes.resize(from_here + rest, 0);
    from.read_exact(&mut bytes[from_here..]).await?;
    Ok(bytes)
}

/// What a batch of messages asks of the server, up to the message that asks for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing that takes time: a statement is prepared, a transaction begins or ends, a setting is changed.
    Little,
    /// To read.
    Read,
    /// To write.
    Write,
}

impl Asked {
    fn of(query: &[u8]) -> Asked {
        let word: Vec<u8> = query
            .iter()
            .skip_while(|byte| byte.is_ascii_whitespace())
            .take_while(|byte| byte.is_ascii_alphabetic())
            .map(u8::to_ascii_lowercase)
            .take(10)
            .collect();
        match word.as_slice() {
            b"select" | b"with" | b"table" | b"values" => Asked::Read,
            b"insert" | b"update" | b"delete" | b"merge" | b"copy" => Asked::Write,
            _ => Asked::Little,
        }
    }

    fn and(self, other: Asked) -> Asked {
        match (self, other) {
            (Asked::Write, _) | (_, Asked::Write) => Asked::Write,
            (Asked::Read, _) | (_, Asked::Read) => Asked::Read,
            _ => Asked::Little,
        }
    }
}

/// What a client has prepared, and what it asks for.
#[derive(Default)]
pub(super) struct Listener {
    statements: BTreeMap<Vec<u8>, Asked>,
    portals: BTreeMap<Vec<u8>, Asked>,
    asked: Option<Asked>,
}

impl Listener {
    /// Hears a message of the client; what its batch asks for when this one ends it.
    pub(super) fn hear(&mut self, message: &[u8]) -> Option<Asked> {
        let (kind, body) = (message[0], &message[5..]);
        match kind {
            b'Q' => return Some(Asked::of(body)),
            b'P' => {
                let (name, rest) = word(body);
                let (query, _) = word(rest);
                keep(&mut self.statements, name, Asked::of(query));
            }
            b'B' => {
                let (portal, rest) = word(body);
                let (statement, _) = word(rest);
                let asked = self.statements.get(statement).copied().unwrap_or(Asked::Read);
                keep(&mut self.portals, portal, asked);
            }
            b'E' => {
                let (portal, _) = word(body);
                let asked = self.portals.get(portal).copied().unwrap_or(Asked::Read);
                self.asked = Some(self.asked.unwrap_or(Asked::Little).and(asked));
            }
            b'C' if body.first() == Some(&b'S') => {
                self.statements.remove(word(&body[1..]).0);
            }
            b'S' => return Some(self.asked.take().unwrap_or(Asked::Little)),
            _ => {}
        }
        None
    }
}

fn keep(map: &mut BTreeMap<Vec<u8>, Asked>, name: &[u8], asked: Asked) {
    if map.len() < STATEMENTS_MAX || map.contains_key(name) {
        map.insert(name.to_vec(), asked);
    }
}

/// The bytes up to the next zero, and what comes after it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// An error as the server would send it, and that it is ready for the next query.
pub(super) fn error(code: &str, message: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    for (field, value) in [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', code), (b'M', message)] {
        fields.push(field);
        fields.extend(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let mut bytes = vec![b'E'];
    bytes.extend((fields.len() as u32 + 4).to_be_bytes());
    bytes.extend(fields);
    bytes.extend([b'Z', 0, 0, 0, 5, b'I']);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn what_a_batch_asks_for_is_known_when_it_ends() {
        let mut listener = Listener::default();
        assert_eq!(listener.hear(&told(b'Q', b" SELECT 1\0")), Some(Asked::Read));
        assert_eq!(listener.hear(&told(b'Q', b"BEGIN\0")), Some(Asked::Little));
        assert_eq!(
            listener.hear(&told(b'P', b"s1\0INSERT INTO a VALUES (1)\0\0\0")),
            None
        );
        assert_eq!(listener.hear(&told(b'D', b"Ss1\0")), None);
        assert_eq!(
            listener.hear(&told(b'S', b"")),
            Some(Asked::Little),
            "only prepared"
        );
        assert_eq!(listener.hear(&told(b'B', b"p\0s1\0\0\0\0\0\0\0")), None);
        assert_eq!(listener.hear(&told(b'E', b"p\0\0\0\0\0")), None);
        assert_eq!(listener.hear(&told(b'S', b"")), Some(Asked::Write));
        assert_eq!(
            listener.hear(&told(b'S', b"")),
            Some(Asked::Little),
            "and not twice"
        );
    }

    #[test]
    fn no_message_is_too_short() {
        for kind in 0..=255 {
            for body in [&b""[..], b"a", b"\0", b"S"] {
                Listener::default().hear(&told(kind, body));
            }
        }
    }
}
