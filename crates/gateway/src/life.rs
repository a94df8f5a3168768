//! What an HTTP/2 connection is busy with, and since when nothing has come of it.
//!
//! Its streams share one connection, so a client that takes nothing in cannot be told by writes that wait: it simply
//! opens no window. It is told by bodies of which no part is asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::server::Limits;

/// A connection.
pub(crate) struct Life {
    began: Instant,
    /// Requests without an answer.
    waiting: AtomicU64,
    /// Answers whose body has not all been taken.
    bodies: AtomicU64,
    /// When anything last went on, in milliseconds since it began.
    last_ms: AtomicU64,
}

/// How a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Something goes on.
    Busy,
    /// Nothing was asked for a while.
    Idle,
    /// The client takes nothing in.
    Stalled,
}

impl Life {
    pub(crate) fn new() -> Life {
        Life {
            began: Instant::now(),
            waiting: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
        }
    }

    /// A request has come.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Busy {
            life: Arc::clone(self),
            waits: true,
        }
    }

    fn moves(&self) {
        let ms = self.began.elapsed().as_millis() as u64;
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// How it is now.
    pub(crate) fn standing(&self, limits: &Limits) -> Standing {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        let quiet = self.began.elapsed().saturating_sub(last);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Standing::Busy;
        }
        match self.bodies.load(Ordering::Relaxed) {
            0 if quiet >= limits.idle_timeout => Standing::Idle,
            // An upstream may pause for as long as a client, so that much more is the client's alone.
            bodies if bodies > 0 && quiet >= 2 * limits.write_timeout => Standing::Stalled,
            _ => Standing::Busy,
        }
    }
}

/// A request and its answer, until the last part of it has been taken.
pub(crate) struct Busy {
    life: Arc<Life>,
    waits: bool,
}

impl Busy {
    /// There is an answer.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.life.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.life.moves();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Its client may have left before there was an answer.
        self.answered();
        self.life.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that tells when a part of it is taken.
pub(crate) struct Streamed<B> {
    pub(crate) body: B,
    pub(crate) busy: Busy,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Streamed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.busy.life.moves();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
