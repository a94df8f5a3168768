//! The future of a layered call: it tells the layer's machine what became of the call, also when it is dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use seawall_core::limit::Outcome;

use super::{BoxError, Judge, outcome};
use crate::answer::Error;

/// Told what became of a call. Dropped untold, it says by its own `Drop` that nothing is known.
pub(super) type Tell = Box<dyn FnOnce(Outcome) + Send>;

pin_project! {
    /// The response of a service behind a layer.
    #[must_use = "futures do nothing unless polled"]
    pub struct Response<F, J> {
        #[pin]
        kind: Kind<F, J>,
    }
}

pin_project! {
    #[project = KindProjected]
    enum Kind<F, J> {
        Asked { #[pin] inner: F, judge: J, tell: Option<Tell> },
        Refused { error: Option<Error> },
    }
}

impl<F, J> Response<F, J> {
    pub(super) fn asked(inner: F, judge: J, tell: Tell) -> Response<F, J> {
        let tell = Some(tell);
        Response {
            kind: Kind::Asked { inner, judge, tell },
        }
    }

    pub(super) fn refused(error: Error) -> Response<F, J> {
        let error = Some(error);
        Response {
            kind: Kind::Refused { error },
        }
    }
}

impl<F, J> std::fmt::Debug for Response<F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").finish_non_exhaustive()
    }
}

impl<F, J, Res, E> Future for Response<F, J>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
    J: Judge<Res>,
{
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjected::Asked { inner, judge, tell } => {
                let result = ready!(inner.poll(context)).map_err(Into::into);
                if let Some(tell) = tell.take() {
                    tell(outcome(judge, &result));
                }
                Poll::Ready(result)
            }
            KindProjected::Refused { error } => Poll::Ready(Err(error
                .take()
                .expect("a future is not polled after its end")
                .into())),
        }
    }
}
