//! Whether somebody answers, asked without being somebody.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// RESP: asked with `PING`.
    Redis,
    /// PostgreSQL's protocol: asked whether it would encrypt, which it answers before any login.
    Postgres,
    /// HTTP: asked for the head of `/`.
    Http,
}

/// Where a server listens, and how it is asked whether it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub speaks: Speaks,
}

/// What a knock comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// It says something, also if it is an error: after how long, and the beginning of its first line.
    Answered(Duration, String),
    /// It lets in and says nothing, or does not even let in.
    Silent,
    /// Nobody listens.
    Nobody(String),
    /// Somebody listens, and hangs up.
    HungUp(String),
}

/// So much of a first line is kept.
const LINE_MAX: usize = 48;
/// No larger parcel is asked for: a Redis says again whatever it is told, others say a little, often.
const PARCEL_MAX: [usize; 3] = [1 << 20, 16 << 10, 256 << 10];
/// About what an HTTP server says to a request that it does not know.
const HEAD: usize = 100;

impl Door {
    /// A Redis at this address.
    pub fn redis(address: SocketAddr) -> Door {
        let speaks = Speaks::Redis;
        Door { address, speaks }
    }

    /// A PostgreSQL at this address.
    pub fn postgres(address: SocketAddr) -> Door {
        let speaks = Speaks::Postgres;
        Door { address, speaks }
    }

    /// A service that speaks HTTP at this address.
    pub fn http(address: SocketAddr) -> Door {
        let speaks = Speaks::Http;
        Door { address, speaks }
    }

    /// Asks one short question on a connection of its own.
    pub(crate) async fn knock(&self, patience: Duration) -> Knock {
        let words: &[u8] = match self.speaks {
            Speaks::Redis => b"*1\r\n$4\r\nPING\r\n",
            Speaks::Postgres => &ENCRYPTION,
            Speaks::Http => LAST,
        };
        self.ask(words, patience).await
    }

    /// Asks this on a connection of its own, and hears the beginning of the answer.
    pub(crate) async fn ask(&self, words: &[u8], patience: Duration) -> Knock {
        let begun = Instant::now();
        let asked = async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .map_err(|error| match error.kind() {
                    ErrorKind::ConnectionRefused => Knock::Nobody(error.to_string()),
                    _ => Knock::HungUp(error.to_string()),
                })?;
            let hung_up = |error: io::Error| Knock::HungUp(error.to_string());
            stream.write_all(words).await.map_err(hung_up)?;
            let mut said = [0; LINE_MAX];
            match stream.read(&mut said).await.map_err(hung_up)? {
                0 => Err(Knock::HungUp("it closed the connection".to_owned())),
                count => Ok(String::from_utf8_lossy(&said[..count]).into_owned()),
            }
        };
        match timeout(patience, asked).await {
            Ok(Ok(said)) => {
                let line = said.lines().next().unwrap_or_default().to_owned();
                Knock::Answered(begun.elapsed(), line)
            }
            Ok(Err(knock)) => knock,
            Err(_) => Knock::Silent,
        }
    }

    /// Asks for about so many bytes, or as many as can be asked for; says how many came and how long they took, or what was
    /// in the way.
    pub(crate) async fn parcel(&self, bytes: usize, patience: Duration) -> Result<(usize, Duration), Knock> {
        let bytes = bytes.clamp(1, PARCEL_MAX[self.speaks as usize]);
        let words = match self.speaks {
            Speaks::Redis => {
                let head = format!("*2\r\n$4\r\nPING\r\n${bytes}\r\n");
                [head.as_bytes(), &vec![b'x'; bytes], b"\r\n"].concat()
            }
            Speaks::Postgres => ENCRYPTION.repeat(bytes),
            Speaks::Http => {
                let mut words = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(bytes / HEAD);
                words.extend_from_slice(LAST);
                words
            }
        };
        let begun = Instant::now();
        let hung_up = |error: io::Error| Knock::HungUp(error.to_string());
        let carried = async {
            let stream = TcpStream::connect(self.address).await.map_err(hung_up)?;
            let (mut from, mut to) = stream.into_split();
            // What is said and what is heard are under way at once: neither waits for room in the other.
            let said = tokio::spawn(async move {
                let said = to.write_all(&words).await;
                said.map(|()| to)
            });
            let (mut heard, mut buffer) = (0, vec![0; 16 << 10]);
            while heard < bytes {
                match from.read(&mut buffer).await.map_err(hung_up)? {
                    0 => break,
                    count => heard += count,
                }
            }
            drop(said);
            Ok((heard, begun.elapsed()))
        };
        timeout(patience, carried).await.unwrap_or(Err(Knock::Silent))
    }
}

/// A request without another one after it.
const LAST: &[u8] = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// PostgreSQL's `SSLRequest`, answered by one letter ("Message Formats").
const ENCRYPTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
