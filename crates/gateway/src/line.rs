//! A line: one HTTP/1.1 connection to a server, and who uses it drives it.
//!
//! Nothing is spawned for it. A request, and then the body of its response, move the connection on in the task that
//! waits for them, so that nobody is woken for somebody else, and to drop them is to close it. While nobody uses it,
//! it is a socket: what comes is looked at before it is used again. It does not know which server it leads to, and
//! sends nothing twice: that is [`crate::pool`]'s and [`crate::upstream`]'s to decide.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::body::Upload;
use crate::timer::Timer;
use crate::tls::Link;

/// A response has no more fields.
const FIELDS_MAX: usize = 256;

/// One connection.
pub(crate) struct Line(Box<Inner>);

struct Inner {
    sender: http1::SendRequest<Upload>,
    /// Absent once it is closed.
    connection: Option<http1::Connection<Link, Upload>>,
    /// Whether it was closed within a message.
    heard: bool,
    /// For the request that is under way.
    timer: Timer,
    /// When it was first seen that nobody used it.
    idle: Option<Instant>,
}

/// Why there is no response.
pub(crate) enum Lost {
    /// Nothing was answered in time.
    Late,
    /// The connection broke.
    Broken {
        error: hyper::Error,
        /// The request, when nothing of it was sent.
        unsent: Option<Box<Request<Upload>>>,
        /// Whether the server had begun to answer.
        heard: bool,
    },
}

impl Line {
    /// Speaks HTTP/1.1 on this connection from now on.
    pub(crate) async fn new(link: Link) -> Result<Line, hyper::Error> {
        let mut http = http1::Builder::new();
        let (sender, connection) = http.max_headers(FIELDS_MAX).handshake(link).await?;
        Ok(Line(Box::new(Inner {
            sender,
            connection: Some(connection),
            heard: false,
            timer: Timer::default(),
            idle: None,
        })))
    }

    /// Sends a request and returns when the head of its response has come. When this is dropped before, the
    /// connection is closed.
    pub(crate) async fn send(
        mut self,
        request: Request<Upload>,
        due: Instant,
    ) -> Result<(Response<Incoming>, Line), Lost> {
        self.0.idle = None;
        // It is looked at each time that the connection has moved on, so nobody has to be woken for it. So it must not
        // ask to be looked at again either, as what comes from tokio does when a task has had its share.
        let mut answer = pin!(unconstrained(self.0.sender.try_send_request(request)));
        let answered = std::future::poll_fn(|context| {
            self.drive(context);
            let closed = self.0.connection.is_none();
            let quiet = &mut Context::from_waker(Waker::noop());
            match answer.as_mut().poll(if closed { &mut *context } else { quiet }) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending if self.0.timer.rings(context, due) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match answered.await {
            Some(Ok(response)) => Ok((response, self)),
            Some(Err(mut lost)) => Err(Lost::Broken {
                unsent: lost.take_message().map(Box::new),
                error: lost.into_error(),
                heard: self.0.heard,
            }),
            None => Err(Lost::Late),
        }
    }

    /// Moves on whatever can move on.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0.connection
            && Pin::new(connection).poll(context).is_ready()
            && let Some(connection) = self.0.connection.take()
        {
            self.0.heard = !connection.into_parts().read_buf.is_empty();
        }
    }

    /// Whether it is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.connection.is_none()
    }

    /// Whether the last message has come to its end on both sides, and there may be another.
    pub(crate) fn is_free(&self) -> bool {
        !self.is_closed() && self.0.sender.is_ready()
    }

    /// Looks at what came while nobody used it. When that is anything at all, it cannot be used again.
    pub(crate) fn is_well(&mut self) -> bool {
        let look = std::future::poll_fn(|context| {
            self.drive(context);
            Poll::Ready(())
        });
        let quiet = &mut Context::from_waker(Waker::noop());
        let _ = pin!(unconstrained(look)).poll(quiet);
        self.is_free()
    }

    /// How long nobody has used it, as far as was looked. The clock is read by who looks, once for all of them.
    pub(crate) fn idle(&mut self, now: Instant) -> Duration {
        now.duration_since(*self.0.idle.get_or_insert(now))
    }
}
