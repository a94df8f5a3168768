//! A connection to a Redis: what is asked before a deadline, and what comes back.
//!
//! An answer that is late is not lost. It is owed, and taken off the wire before the next question's, so that a
//! connection outlives a server that hung for a while. That matters where a new one would not be let in.

use bytes::{Bytes, BytesMut};
use seawall_resp::{Limits, Replies, Value, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::dial::{Stream, dial};
use super::fault::{Fault, Why};
use super::target::Target;

/// No answer to our questions is as large.
const LIMITS: Limits = Limits {
    bulk_max: 4 << 20,
    bytes_max: 8 << 20,
    elements_max: 100_000,
    depth_max: 8,
};

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    replies: Replies,
    read: BytesMut,
    owed: usize,
    broken: bool,
}

/// A question: a command and its arguments.
pub(crate) type Words = Vec<Bytes>;

/// A question of plain words.
pub(crate) fn words(text: &[&str]) -> Words {
    text.iter()
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

impl Wire {
    /// Connects, and says nothing.
    pub(crate) async fn open(target: &Target, deadline: Instant) -> Result<Wire, Fault> {
        Ok(Wire {
            stream: dial(target, deadline).await?,
            replies: Replies::new(LIMITS),
            read: BytesMut::new(),
            owed: 0,
            broken: false,
        })
    }

    /// Whether an answer is still to come.
    pub(crate) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Whether nothing can be asked any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends questions at once. What is still owed is heard first.
    pub(crate) async fn send(&mut self, questions: &[Words], deadline: Instant) -> Result<(), Fault> {
        while self.owed > 0 {
            self.hear(deadline).await?;
        }
        let mut bytes = BytesMut::new();
        for question in questions {
            request(question, &mut bytes);
        }
        self.owed += questions.len();
        match timeout_at(deadline, self.stream.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.broken = true;
                // A server that turns somebody away says why before it hangs up.
                match timeout_at(deadline, self.take()).await {
                    Ok(Ok(())) => Ok(()),
                    _ => Err(Fault::io(&error)),
                }
            }
            Err(_) => {
                // How much of it arrived is not known.
                self.broken = true;
                Err(Fault::new(
                    Why::TimedOut,
                    "the question could not be sent before the deadline",
                ))
            }
        }
    }

    /// The next answer; an error is one too.
    pub(crate) async fn hear(&mut self, deadline: Instant) -> Result<Value, Fault> {
        loop {
            let next = self.replies.next(&mut self.read);
            let next = next.map_err(|wrong| {
                self.broken = true;
                Fault::new(Why::Garbage, format!("what came is not RESP: {wrong}"))
            })?;
            if let Some(value) = next {
                self.owed = self.owed.saturating_sub(1);
                return Ok(value);
            }
            match timeout_at(deadline, self.take()).await {
                Ok(taken) => taken?,
                Err(_) => return Err(Fault::late("answer")),
            }
        }
    }

    /// Asks one thing.
    pub(crate) async fn ask(&mut self, question: Words, deadline: Instant) -> Result<Value, Fault> {
        self.send(&[question], deadline).await?;
        self.hear(deadline).await
    }

    async fn take(&mut self) -> Result<(), Fault> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) => {
                self.broken = true;
                Err(Fault::new(Why::Closed, "the server hung up"))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.broken = true;
                Err(Fault::io(&error))
            }
        }
    }
}

/// What tells a server who we are, and which database is meant.
pub(crate) fn login(target: &Target) -> Vec<Words> {
    let mut login = Vec::new();
    match (target.user(), target.password()) {
        (Some(user), Some(password)) => login.push(words(&["AUTH", user, password])),
        (None, Some(password)) => login.push(words(&["AUTH", password])),
        _ => {}
    }
    if target.database() > 0 {
        login.push(words(&["SELECT", &target.database().to_string()]));
    }
    login
}

/// Hears the answers to [`login`].
pub(crate) async fn logged_in(wire: &mut Wire, target: &Target, deadline: Instant) -> Result<(), Fault> {
    let mut refused = None;
    for _ in login(target) {
        let said = wire.hear(deadline).await?;
        // A password that nobody asks for does no harm.
        let needless = |error: &[u8]| error.windows(8).any(|part| part == b"without ");
        if let Some(error) = said.error().filter(|error| !needless(error)) {
            refused = refused.or(Some(Fault::said(target, error)));
        }
    }
    refused.map_or(Ok(()), Err)
}

/// What an answer says, as text.
pub(crate) fn text(said: &Value) -> String {
    match said {
        Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(text) | Value::Error(text) => {
            String::from_utf8_lossy(text).into_owned()
        }
        Value::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The elements of an answer; none of what is no list.
pub(crate) fn items(said: &Value) -> &[Value] {
    match said {
        Value::Array(items) | Value::Set(items) | Value::Map(items) | Value::Push(items) => items,
        _ => &[],
    }
}

/// A number in an answer.
pub(crate) fn number(said: &Value) -> Option<i64> {
    match said {
        Value::Integer(number) => Some(*number),
        Value::Bulk(text) | Value::Simple(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
