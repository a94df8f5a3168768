//! Whether somebody answers, asked without being somebody.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// It says something, also if it is an error.
    Answered,
    /// It lets in and says nothing, or does not even let in.
    Silent,
    /// There is nobody, or it hangs up.
    Nobody(String),
}

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

    pub(super) async fn knock(&self, patience: Duration) -> Knock {
        let words: &[u8] = match self.speaks {
            Speaks::Redis => b"*1\r\n$4\r\nPING\r\n",
            // SSLRequest, answered by one letter (PostgreSQL, "Message Formats").
            Speaks::Postgres => &[0, 0, 0, 8, 4, 210, 22, 47],
            Speaks::Http => b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        };
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(words).await?;
            stream.read_u8().await
        };
        match timeout(patience, asked).await {
            Ok(Ok(_)) => Knock::Answered,
            Ok(Err(error)) => Knock::Nobody(error.to_string()),
            Err(_) => Knock::Silent,
        }
    }
}
