//! What is called, and what it says.

use std::future::Future;

use bytes::Bytes;
use seawall_core::keys::MISSING;

/// One attempt at a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The key, with the bit [`MISSING`] when it does not exist.
    pub key: u64,
    /// What is to be written; nothing when it is a read.
    pub write: Option<Bytes>,
}

impl Call {
    /// The key as text.
    pub fn name(&self) -> String {
        if self.key & MISSING == 0 {
            self.key.to_string()
        } else {
            format!("missing-{}", self.key & !MISSING)
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The value of the key.
    Value(Bytes),
    /// There is no such key.
    Absent,
    /// It is written.
    Done,
    /// Turned away on purpose, with a word on when to come back.
    Shed,
    /// It failed, and why, in a word or two.
    Failed(String),
}

/// Something that answers calls.
pub trait Target: Send + Sync + 'static {
    /// Makes an attempt. It is dropped when nobody waits any more.
    fn call(&self, call: Call) -> impl Future<Output = Reply> + Send;
}

/// A function as a target.
#[derive(Clone, Copy, Debug)]
pub struct Function<F>(pub F);

impl<F, A> Target for Function<F>
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Reply> + Send,
{
    fn call(&self, call: Call) -> impl Future<Output = Reply> + Send {
        (self.0)(call)
    }
}
