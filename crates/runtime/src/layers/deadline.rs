//! The deadline: one for all that happens below, spent by whatever takes time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Instant, Timeout, timeout_at};
use tower_layer::Layer;
use tower_service::Service;

use super::BoxError;
use crate::answer::Error;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// The time that is left before the deadline of a [`DeadlineLayer`] above; `None` without one.
///
/// Calls of a [`Cache`](crate::Cache) and retries below the layer keep to it by themselves. What runs in a task of its own
/// is not below it.
pub fn time_left() -> Option<Duration> {
    deadline().map(|at| at.saturating_duration_since(Instant::now()))
}

pub(super) fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|at| *at).ok()
}

/// Gives each call so much time, or what a deadline further out has left when that is less.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    total: Duration,
}

impl DeadlineLayer {
    /// So much time for each call.
    pub fn new(total: Duration) -> DeadlineLayer {
        DeadlineLayer { total }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            total: self.total,
        }
    }
}

/// A service behind a [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct Deadline<S> {
    inner: S,
    total: Duration,
}

impl<S, Req> Service<Req> for Deadline<S>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = DeadlineResponse<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let own = Instant::now() + self.total;
        let at = deadline().map_or(own, |outer| outer.min(own));
        let inner = DEADLINE.sync_scope(at, || self.inner.call(request));
        DeadlineResponse {
            inner: timeout_at(at, DEADLINE.scope(at, inner)),
        }
    }
}

pin_project! {
    /// The response of a service with a deadline.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineResponse<F> {
        #[pin]
        inner: Timeout<TaskLocalFuture<Instant, F>>,
    }
}

impl<F, Res, E> Future for DeadlineResponse<F>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.project().inner.poll(context);
        polled.map(|result| match result {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Error::TimedOut.into()),
        })
    }
}
