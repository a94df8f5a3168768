//! Bodies on their way: never held as a whole unless they are kept, and bounded in size and in time.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use crate::line::Line;
use crate::pace::Pace;
use crate::upstream::Server;

/// Any error of a body.
pub(crate) type BodyError = Box<dyn StdError + Send + Sync>;

/// A request's body was longer than bodies may be.
#[derive(Debug, thiserror::Error)]
#[error("the body is longer than {0} bytes")]
pub(crate) struct TooLarge(pub(crate) u64);

/// The next part of a body did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("the next part of the body did not come in time")]
pub(crate) struct Stalled;

/// A body whose parts come one by one, each in time.
pub(crate) struct Timed {
    inner: Incoming,
    pace: Pace,
    /// On what it comes, when it comes from a server; given back when it has all come.
    lease: Option<Lease>,
}

impl Timed {
    /// A client's: each part comes in so much time; with a rate, so do all of them together.
    pub(crate) fn new(inner: Incoming, pause_max: Duration, rate: Option<u64>) -> Timed {
        Timed {
            inner,
            pace: Pace::new(pause_max, rate),
            lease: None,
        }
    }

    /// A server's.
    pub(crate) fn leased(inner: Incoming, pause_max: Duration, lease: Option<Lease>) -> Timed {
        Timed {
            inner,
            pace: Pace::new(pause_max, None),
            lease,
        }
    }

    fn frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut inner = Pin::new(&mut self.inner);
        let line = self.lease.as_mut().and_then(|lease| lease.line.as_mut());
        let Some(line) = line.filter(|line| !line.is_closed()) else {
            return http_body::Body::poll_frame(inner, context);
        };
        // What was read already goes first. Nobody has to be woken when more comes: it is brought here.
        let quiet = &mut Context::from_waker(Waker::noop());
        let frame = http_body::Body::poll_frame(inner.as_mut(), quiet);
        if frame.is_ready() {
            return frame;
        }
        line.drive(context);
        let closed = line.is_closed();
        http_body::Body::poll_frame(inner, if closed { context } else { quiet })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = self.frame(context) {
            let length = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => 0,
                None => {
                    drop(self.lease.take());
                    0
                }
            };
            self.pace.moved(length);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.pace.is_over(context) {
            return Poll::Ready(Some(Err(Stalled.into())));
        }
        Poll::Pending
    }

    /// The next part that is data.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let frame = std::future::poll_fn(|context| self.poll(context)).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                // Trailers are not kept.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The body of a request that goes to an upstream.
pub(crate) enum Upload {
    /// None.
    Empty,
    /// From a client.
    Stream(Box<Coming>),
}

/// A body that comes from a client.
pub(crate) struct Coming {
    body: Timed,
    /// How much of it may still come.
    left: u64,
    /// How much it may be in all.
    max: u64,
}

impl Upload {
    pub(crate) fn new(body: Incoming, max: u64, pause_max: Duration, rate: u64) -> Upload {
        if http_body::Body::is_end_stream(&body) {
            return Upload::Empty;
        }
        Upload::Stream(Box::new(Coming {
            body: Timed::new(body, pause_max, Some(rate)),
            left: max,
            max,
        }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Upload::Empty)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Upload::Stream(coming) = &mut *self else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(coming.body.poll(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match coming.left.checked_sub(data.remaining() as u64) {
                Some(rest) => coming.left = rest,
                None => return Poll::Ready(Some(Err(TooLarge(coming.max).into()))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Empty => true,
            Upload::Stream(coming) => coming.body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Empty => SizeHint::with_exact(0),
            Upload::Stream(coming) => coming.body.inner.size_hint(),
        }
    }
}

/// The body of a response to a client.
pub(crate) enum Body {
    /// All of it.
    Whole(Bytes),
    /// From an upstream.
    Stream(Box<Stream>),
}

/// A body that comes from an upstream while it goes to a client.
pub(crate) struct Stream {
    /// What came already.
    pub(crate) first: VecDeque<Result<Bytes, BodyError>>,
    /// What still comes.
    pub(crate) rest: Timed,
    /// A place at the door, given back when it has all been handed over.
    pub(crate) place: Option<crate::door::Place>,
}

/// A connection to a server that is in use, or the right to one.
pub(crate) struct Lease {
    pub(crate) server: Arc<Server>,
    /// Absent while there is none yet, and where requests share connections.
    pub(crate) line: Option<Line>,
    pub(crate) _place: OwnedSemaphorePermit,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What has not come to its end is of no use to others.
        if let Some(line) = self.line.take().filter(Line::is_free) {
            self.server.pool.put(line);
        }
        self.server.leave();
    }
}

impl Body {
    /// Nothing.
    pub(crate) fn empty() -> Body {
        Body::Whole(Bytes::new())
    }

    /// What comes from a server, in as few parts as it can.
    pub(crate) fn coming(mut body: Incoming, pause_max: Duration, lease: Option<Lease>) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return Body::empty();
        }
        let mut first = VecDeque::new();
        // The connection is not held any more when all has come with the head.
        if lease.is_none()
            && let Some(length) = http_body::Body::size_hint(&body).exact()
        {
            let quiet = &mut Context::from_waker(Waker::noop());
            let frame = http_body::Body::poll_frame(Pin::new(&mut body), quiet);
            match frame {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.len() as u64 == length => return Body::Whole(data),
                    Ok(data) => first.push_back(Ok(data)),
                    // There are no trailers where the length is known.
                    Err(_) => {}
                },
                Poll::Ready(Some(Err(error))) => first.push_back(Err(error.into())),
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        Body::Stream(Box::new(Stream {
            first,
            rest: Timed::leased(body, pause_max, lease),
            place: None,
        }))
    }

    /// Gives a place back when the body has been handed over.
    pub(crate) fn holding(mut self, place: Option<crate::door::Place>) -> Body {
        if let Body::Stream(stream) = &mut self {
            stream.place = place;
        }
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => {
                if let Some(part) = stream.first.pop_front() {
                    return Poll::Ready(Some(part.map(Frame::data)));
                }
                let frame = std::task::ready!(stream.rest.poll(context));
                if frame.is_none() {
                    drop(stream.place.take());
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::Stream(stream) => stream.first.is_empty() && stream.rest.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(stream) => {
                let first = stream.first.iter().flatten();
                let first: u64 = first.map(|bytes| bytes.len() as u64).sum();
                let rest = stream.rest.inner.size_hint();
                match rest.exact() {
                    Some(rest) => SizeHint::with_exact(first + rest),
                    None => SizeHint::new(),
                }
            }
        }
    }
}
