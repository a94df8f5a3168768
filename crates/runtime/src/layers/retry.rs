//! Retries: with backoff and full jitter, within the deadline, and no more of them than the budget allows.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall_core::limit::Outcome;
use seawall_core::record::Metric;
use seawall_core::retry::{self, Budget, Settings};
use seawall_core::rng::{Seed, Stream};
use tower_layer::Layer;
use tower_service::Service;

use super::deadline::deadline;
use super::{AnyResponse, BoxError, Judge, outcome};
use crate::clock::Clock;
use crate::stats::MetricsPage;
use crate::store::Boxed;

/// Makes the copy of a request that is kept for a retry. A closure over the request is one; [`Whole`] clones it.
pub trait Copies<Req>: Clone {
    /// A copy; `None` when this request is not to be tried again (it has no copy, or is a write that must not be made
    /// twice).
    fn copy(&self, request: &Req) -> Option<Req>;
}

/// Requests are cloned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole;

impl<Req: Clone> Copies<Req> for Whole {
    fn copy(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<Req, F: Fn(&Req) -> Option<Req> + Clone> Copies<Req> for F {
    fn copy(&self, request: &Req) -> Option<Req> {
        self(request)
    }
}

/// Tries failed calls again.
///
/// What another layer turned away is not tried again, for that would undo what it protects; nor is anything whose pause
/// would outlast the deadline.
#[derive(Clone, Debug)]
pub struct RetryLayer<C = Whole, J = AnyResponse> {
    shared: Arc<Shared>,
    copies: C,
    judge: J,
}

impl RetryLayer {
    /// Retries with these settings, of requests that can be cloned and made twice.
    pub fn new(settings: Settings) -> RetryLayer {
        let clock = Clock::new();
        let inner = Inner {
            budget: Budget::new(&settings),
            rng: Seed(clock.now().as_nanos()).stream("retry", 0),
            settings,
            retries: 0,
        };
        RetryLayer {
            shared: Arc::new(Shared {
                clock,
                inner: Mutex::new(inner),
            }),
            copies: Whole,
            judge: AnyResponse,
        }
    }
}

impl<C, J> RetryLayer<C, J> {
    /// How requests are copied, and which are not to be tried again.
    pub fn copying<F>(self, copies: F) -> RetryLayer<F, J> {
        RetryLayer {
            shared: self.shared,
            copies,
            judge: self.judge,
        }
    }

    /// Which responses count as failures that are worth another try.
    pub fn failing<F>(self, judge: F) -> RetryLayer<C, F> {
        RetryLayer {
            shared: self.shared,
            copies: self.copies,
            judge,
        }
    }

    /// Takes over other settings.
    pub fn retune(&self, settings: Settings) {
        self.shared.with(|inner| {
            inner.budget.retune(&settings);
            inner.settings = settings;
        });
    }

    /// Retries so far.
    pub fn retries(&self) -> u64 {
        self.shared.with(|inner| inner.retries)
    }

    /// Writes what it has done as Prometheus text, as this component.
    pub fn write_metrics(&self, component: &str, page: &mut MetricsPage) {
        page.add(Metric::Retries, component, &[], self.retries() as f64);
    }
}

impl<S, C: Clone, J: Clone> Layer<S> for RetryLayer<C, J> {
    type Service = Retry<S, C, J>;

    fn layer(&self, inner: S) -> Retry<S, C, J> {
        Retry {
            inner,
            shared: Arc::clone(&self.shared),
            copies: self.copies.clone(),
            judge: self.judge.clone(),
        }
    }
}

/// A service behind a [`RetryLayer`].
#[derive(Clone, Debug)]
pub struct Retry<S, C = Whole, J = AnyResponse> {
    inner: S,
    shared: Arc<Shared>,
    copies: C,
    judge: J,
}

impl<S, C, J, Req> Service<Req> for Retry<S, C, J>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Req: Send + 'static,
    C: Copies<Req> + Send + 'static,
    J: Judge<S::Response> + Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Boxed<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // The one that is ready makes the first attempt.
        let fresh = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, fresh);
        let (shared, copies, judge) = (Arc::clone(&self.shared), self.copies.clone(), self.judge.clone());
        let mut kept = copies.copy(&request);
        let first = service.call(request);
        shared.called();
        Box::pin(async move {
            let mut result = first.await.map_err(Into::into);
            let mut retry = 1;
            while outcome(&judge, &result) == Outcome::Failed
                && let Some(request) = kept.take()
                && let Some(pause) = shared.retry(retry)
            {
                tokio::time::sleep(pause).await;
                kept = copies.copy(&request);
                let ready = poll_fn(|context| service.poll_ready(context)).await;
                result = match ready.map_err(Into::into) {
                    Ok(()) => service.call(request).await.map_err(Into::into),
                    Err(error) => Err(error),
                };
                retry += 1;
            }
            result
        })
    }
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    budget: Budget,
    rng: Stream,
    retries: u64,
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A first attempt is made: it pays for a part of a retry.
    fn called(&self) {
        let now = self.clock.now();
        self.with(|inner| inner.budget.call(now));
    }

    /// The pause before this retry (the first is 1), when there may be one.
    fn retry(&self, retry: u32) -> Option<Duration> {
        let now = self.clock.now();
        self.with(|inner| {
            if retry >= inner.settings.attempts {
                return None;
            }
            let pause = Duration::from(retry::pause(&inner.settings, retry, &mut inner.rng));
            let late = deadline().is_some_and(|at| tokio::time::Instant::now() + pause >= at);
            if late || !inner.budget.retry(now) {
                return None;
            }
            inner.retries += 1;
            Some(pause)
        })
    }
}
