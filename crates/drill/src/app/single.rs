//! A shared cache as those reach it who open a connection for each look-up.
//!
//! A server's limit on clients is one on connections. The library has a few, over which everything goes, and never meets
//! it; a scenario that says how many clients a node bears is about services that do not. So where it is said, the
//! instance is such a service: each call connects, asks, and leaves.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use seawall::{Address, Boxed, Sealed, Store};
use seawall_core::guard::CacheFault;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No value is larger.
const VALUE_MAX: usize = 16 << 20;

/// The nodes of a cache, and no connection to any.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) name: String,
    pub(super) nodes: Vec<SocketAddr>,
}

impl Single {
    /// A command to a node on a connection of its own; what it answers, if it is a value.
    async fn ask(&self, node: u16, patience: Duration, words: &[&[u8]]) -> Result<Option<Bytes>, CacheFault> {
        let Some(address) = self.nodes.get(usize::from(node)) else {
            return Err(CacheFault::Refused);
        };
        let asked = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|_| CacheFault::Refused)?;
            let mut stream = BufReader::new(stream);
            let mut command = format!("*{}\r\n", words.len()).into_bytes();
            for word in words {
                command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                command.extend_from_slice(word);
                command.extend_from_slice(b"\r\n");
            }
            // A server that is full says so before it is asked and closes: what it said is read all the same.
            let sent = stream.get_mut().write_all(&command).await;
            answer(&mut stream)
                .await
                .map_err(|fault| if sent.is_err() { CacheFault::Reset } else { fault })
        };
        timeout(patience, asked)
            .await
            .unwrap_or(Err(CacheFault::TimedOut))
    }
}

async fn answer(stream: &mut BufReader<TcpStream>) -> Result<Option<Bytes>, CacheFault> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.map_err(|_| CacheFault::Reset)?;
    if read == 0 {
        return Err(CacheFault::Reset);
    }
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("$", length)) => {
            let Ok(length) = length.parse::<usize>() else {
                return Ok(None);
            };
            if length > VALUE_MAX {
                return Err(CacheFault::Error);
            }
            let mut value = vec![0; length + 2];
            stream
                .read_exact(&mut value)
                .await
                .map_err(|_| CacheFault::Reset)?;
            value.truncate(length);
            Ok(Some(value.into()))
        }
        Some(("-", error)) => Err(match error.split(' ').next() {
            _ if error.contains("max number of clients") => CacheFault::TooManyClients,
            Some("OOM") => CacheFault::OutOfMemory,
            Some("LOADING") => CacheFault::Loading,
            Some("READONLY" | "MISCONF") => CacheFault::ReadOnly,
            _ => CacheFault::Error,
        }),
        _ => Ok(None),
    }
}

impl Store for Single {
    fn name(&self) -> &str {
        &self.name
    }

    fn nodes(&self) -> u16 {
        self.nodes.len() as u16
    }

    fn get<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        timeout: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>> {
        Box::pin(async move { self.ask(node, timeout, &[b"GET", key.text.as_bytes()]).await })
    }

    fn put<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        value: Sealed,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let keep = value.keep.map(|keep| keep.as_millis().max(1).to_string());
            let mut words: Vec<&[u8]> = vec![b"SET", key.text.as_bytes(), &value.bytes];
            if let Some(keep) = &keep {
                words.extend([&b"PX"[..], keep.as_bytes()]);
            }
            self.ask(node, timeout, &words).await.map(drop)
        })
    }

    fn delete<'a>(
        &'a self,
        node: u16,
        key: &'a Address,
        _: u64,
        timeout: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            self.ask(node, timeout, &[b"DEL", key.text.as_bytes()])
                .await
                .map(drop)
        })
    }
}
