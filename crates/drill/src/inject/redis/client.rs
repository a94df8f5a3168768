//! A client of few words, which never waits long and never tries again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::inject::Failed;
use crate::resp::{Limits, Replies, Value, request};

/// No answer takes longer, unless a server is kept from answering.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    replies: Replies,
    read: BytesMut,
    patience: Duration,
}

impl Client {
    /// Connects and says nothing.
    pub(super) async fn connect(address: SocketAddr) -> Result<Client, Failed> {
        let failed = |why: &dyn std::fmt::Display| {
            Failed::new(format!("failed to connect to Redis at {address}: {why}"))
        };
        let stream = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .map_err(|late| failed(&late))?
            .map_err(|error| failed(&error))?;
        stream.set_nodelay(true)?;
        Ok(Client {
            address,
            stream,
            replies: Replies::new(Limits::default()),
            read: BytesMut::new(),
            patience: PATIENCE,
        })
    }

    /// Waits so long for answers from now on.
    pub(super) fn patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) async fn log_in(&mut self, login: &[String]) -> Result<(), Failed> {
        if login.is_empty() {
            return Ok(());
        }
        let mut words = vec!["AUTH"];
        words.extend(login.iter().map(String::as_str));
        self.order(&words).await.map(|_| ())
    }

    pub(super) async fn send<T: AsRef<[u8]>>(&mut self, requests: &[Vec<T>]) -> Result<(), Failed> {
        let mut bytes = BytesMut::new();
        for words in requests {
            request(words, &mut bytes);
        }
        let written = timeout(self.patience, self.stream.write_all(&bytes)).await;
        match written {
            Ok(written) => written.map_err(|error| self.lost(&error)),
            Err(late) => Err(self.lost(&late)),
        }
    }

    pub(super) async fn hear(&mut self) -> Result<Value, Failed> {
        loop {
            let read = self.replies.next(&mut self.read);
            if let Some(reply) = read.map_err(|error| self.lost(&error))? {
                return Ok(reply);
            }
            let some = timeout(self.patience, self.stream.read_buf(&mut self.read)).await;
            match some {
                Ok(Ok(0)) => return Err(self.lost(&"it hung up")),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(self.lost(&error)),
                Err(_) => {
                    let waited = format!("no answer within {} ms", self.patience.as_millis());
                    return Err(self.lost(&waited));
                }
            }
        }
    }

    /// Sends all at once and hears all answers.
    pub(super) async fn all<T: AsRef<[u8]>>(&mut self, requests: &[Vec<T>]) -> Result<Vec<Value>, Failed> {
        self.send(requests).await?;
        let mut heard = Vec::with_capacity(requests.len());
        for _ in requests {
            heard.push(self.hear().await?);
        }
        Ok(heard)
    }

    /// Asks; an error is an answer as well.
    pub(super) async fn ask<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Result<Value, Failed> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        self.send(&[words]).await?;
        self.hear().await
    }

    /// Asks what must not be answered by an error. Only the name of the command is told on.
    pub(super) async fn order<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Result<Value, Failed> {
        let said = self.ask(words).await?;
        let Some(error) = said.error() else {
            return Ok(said);
        };
        let name = words.first().map_or(&b""[..], AsRef::as_ref);
        Err(Failed::new(format!(
            "Redis at {} answers {} with {}",
            self.address,
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(error)
        )))
    }

    /// A setting as the server spells it.
    pub(super) async fn setting(&mut self, name: &str) -> Result<String, Failed> {
        match self.order(&["CONFIG", "GET", name]).await? {
            Value::Array(pair) if pair.len() == 2 => Ok(text(&pair[1])),
            _ => Err(Failed::new(format!(
                "Redis at {} has no setting {name}",
                self.address
            ))),
        }
    }

    /// A line of `INFO`.
    pub(super) async fn info(&mut self, section: &str, field: &str) -> Result<String, Failed> {
        let all = text(&self.order(&["INFO", section]).await?);
        let found = all
            .lines()
            .find_map(|line| line.split_once(':').filter(|(name, _)| *name == field));
        found
            .map(|(_, value)| value.trim().to_owned())
            .ok_or_else(|| Failed::new(format!("Redis at {} tells no {field}", self.address)))
    }

    fn lost(&self, why: &dyn std::fmt::Display) -> Failed {
        Failed::new(format!("lost Redis at {}: {why}", self.address))
    }
}

/// What an answer says, as text; nothing of what is no text.
pub(super) fn text(said: &Value) -> String {
    match said {
        Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(text) | Value::Error(text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        Value::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A number in an answer; 0 when there is none.
pub(super) fn count(said: &Value) -> u64 {
    match said {
        Value::Integer(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}
