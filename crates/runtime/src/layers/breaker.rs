//! The breaker: stops asking what does not answer, and finds out by a counted few when it does again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall_core::breaker::{self, Admission, Permit, Settings, State, Verdict};
use seawall_core::gate::Reason;
use seawall_core::limit::Outcome;
use seawall_core::record::Metric;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::Time;
use tower_layer::Layer;
use tower_service::Service;

use super::response::Response;
use super::{AnyResponse, BoxError, Judge, Sheds};
use crate::answer::Error;
use crate::clock::Clock;
use crate::stats::MetricsPage;

/// Stops calling a service that fails, for a time.
#[derive(Clone, Debug)]
pub struct BreakerLayer<J = AnyResponse> {
    shared: Arc<Shared>,
    judge: J,
}

impl BreakerLayer {
    /// A breaker with these settings, closed.
    pub fn new(settings: Settings) -> BreakerLayer {
        let clock = Clock::new();
        let rng = Seed(clock.now().as_nanos()).stream("breaker", 0);
        let inner = Mutex::new((breaker::Breaker::new(settings), rng));
        BreakerLayer {
            shared: Arc::new(Shared {
                clock,
                inner,
                sheds: Sheds::default(),
            }),
            judge: AnyResponse,
        }
    }
}

impl<J> BreakerLayer<J> {
    /// Which responses count as failures.
    pub fn failing<F>(self, judge: F) -> BreakerLayer<F> {
        BreakerLayer {
            shared: self.shared,
            judge,
        }
    }

    /// Takes over other settings.
    pub fn retune(&self, settings: Settings) {
        let now = self.shared.clock.now();
        self.shared.inner().0.retune(now, settings);
    }

    /// What it does at the moment.
    pub fn state(&self) -> State {
        self.shared.inner().0.state(self.shared.clock.now())
    }

    /// Changes of state so far.
    pub fn transitions(&self) -> u64 {
        self.shared.inner().0.transitions()
    }

    /// Writes its state as Prometheus text, as this component.
    pub fn write_metrics(&self, component: &str, page: &mut MetricsPage) {
        let state = match self.state() {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        };
        page.add(Metric::BreakerState, component, &[], state);
        page.add(
            Metric::BreakerTransitions,
            component,
            &[],
            self.transitions() as f64,
        );
        self.shared.sheds.write(&[Reason::OriginOpen], component, page);
    }
}

impl<S, J: Clone> Layer<S> for BreakerLayer<J> {
    type Service = Breaker<S, J>;

    fn layer(&self, inner: S) -> Breaker<S, J> {
        Breaker {
            inner,
            shared: Arc::clone(&self.shared),
            judge: self.judge.clone(),
        }
    }
}

/// A service behind a [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct Breaker<S, J = AnyResponse> {
    inner: S,
    shared: Arc<Shared>,
    judge: J,
}

impl<S, J, Req> Service<Req> for Breaker<S, J>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    J: Judge<S::Response>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Response<S::Future, J>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match Call::begin(&self.shared) {
            Ok(mut call) => {
                let tell = Box::new(move |outcome| call.end(outcome));
                Response::asked(self.inner.call(request), self.judge.clone(), tell)
            }
            Err(refused) => Response::refused(refused),
        }
    }
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    inner: Mutex<(breaker::Breaker, Stream)>,
    sheds: Sheds,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, (breaker::Breaker, Stream)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that the breaker let through. Its permit is given back when it is dropped.
#[derive(Debug)]
struct Call {
    shared: Arc<Shared>,
    began: Time,
    permit: Option<Permit>,
}

impl Call {
    fn begin(shared: &Arc<Shared>) -> Result<Call, Error> {
        let mut locked = shared.inner();
        let (breaker, rng) = &mut *locked;
        let now = shared.clock.now();
        match breaker.admit(now, rng) {
            Admission::Pass(permit) => Ok(Call {
                shared: Arc::clone(shared),
                began: now,
                permit: Some(permit),
            }),
            Admission::Refuse { retry_at } => {
                shared.sheds.add(Reason::OriginOpen);
                Err(Error::Open {
                    retry_after: Duration::from(retry_at.since(now)).max(Duration::from_millis(1)),
                })
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else { return };
        let now = self.shared.clock.now();
        let took = now.since(self.began);
        let breaker = &mut self.shared.inner().0;
        match outcome {
            Outcome::Ok => breaker.record(now, permit, Verdict::Success, took),
            Outcome::Failed => breaker.record(now, permit, Verdict::Failure, took),
            Outcome::Dropped => breaker.release(now, permit),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Outcome::Dropped);
    }
}
