//! A client's connection as bytes: framing is checked as they come in, and nobody may stall it for ever.
//!
//! It knows nothing of requests. Heads that do not come to an end in time and writes that nobody reads end the
//! connection; the pauses within bodies are [`crate::body`]'s business.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::framing::Framing;
use crate::pace::Pace;
use crate::server::Limits;

/// What the server's parser refuses, wherever in a head it stands; with the end of a head, so that it looks at once.
const POISON: &[u8] = b"\0\r\n\r\n";
/// Who was answered before everything had been read may still be sending. When the connection were closed then, the
/// answer could be lost; so for a while what comes is read and thrown away.
const LINGER: Duration = Duration::from_secs(1);
/// No more than this is thrown away.
const LINGER_BYTES: usize = 1 << 20;

/// A connection.
pub(crate) struct Wire<S> {
    inner: S,
    /// Absent where messages are framed by HTTP/2.
    framing: Option<Framing>,
    spoiled: bool,
    head_timeout: Duration,
    head: Alarm,
    /// How fast the client reads.
    writes: Pace,
    linger: Alarm,
    lingered: usize,
    shut: bool,
}

/// A timer that takes memory only while something is late.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether it has been set for so long.
    fn rings(&mut self, context: &mut Context<'_>, after: Duration) -> bool {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + after)));
        sleep.as_mut().poll(context).is_ready()
    }

    fn off(&mut self) {
        self.0 = None;
    }
}

impl<S> Wire<S> {
    pub(crate) fn new(inner: S, framing: Option<Framing>, limits: &Limits) -> Wire<S> {
        Wire {
            inner,
            framing,
            spoiled: false,
            head_timeout: limits.head_timeout,
            head: Alarm::default(),
            writes: Pace::new(limits.write_timeout, Some(limits.write_rate)),
            linger: Alarm::default(),
            lingered: 0,
            shut: false,
        }
    }

    /// Checks what came. What is wrong in a head is handed on as something that the server answers with 400; what is
    /// wrong in a body ends the connection.
    fn check(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(framing) = &mut self.framing else {
            return Ok(());
        };
        let Err(refused) = framing.feed(&buffer.filled()[before..]) else {
            return Ok(());
        };
        self.spoiled = true;
        let wrong = refused.wrong;
        tracing::debug!("a request cannot be framed: {wrong:?}");
        if !refused.in_head {
            buffer.set_filled(before + refused.at);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the body cannot be framed",
            ));
        }
        buffer.set_filled(before + refused.at);
        let room = buffer.remaining().min(POISON.len());
        buffer.put_slice(&POISON[..room]);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.spoiled {
            // The answer is on its way; nothing more is read.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(context, buffer) {
            read?;
            this.check(buffer, before)?;
            if !this.framing.as_ref().is_some_and(Framing::in_head) {
                this.head.off();
            }
            return Poll::Ready(Ok(()));
        }
        // A head that has begun has to end; what comes meanwhile does not buy more time.
        let waits = this.framing.as_ref().is_some_and(Framing::in_head);
        if waits && this.head.rings(context, this.head_timeout) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// A write that waits for the client to read.
    fn waited(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &write {
            Poll::Ready(Ok(count)) => self.writes.moved(*count),
            Poll::Pending if self.writes.is_over(context) => {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        write
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.waited(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.waited(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.shut {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
            this.shut = true;
        }
        let mut scrap = [0; 4_096];
        while this.lingered < LINGER_BYTES {
            if this.linger.rings(context, LINGER) {
                break;
            }
            let mut buffer = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.inner).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => this.lingered += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
