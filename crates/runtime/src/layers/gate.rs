//! The gate: who is let in at all, by rate, by the throttle of reads, and by priority.
//!
//! It decides when a request is there to be looked at, so in `call`; nobody waits at it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall_core::gate::{self, Reason};
use seawall_core::histogram::Histogram;
use seawall_core::limit::Outcome;
use seawall_core::policies::Policies;
use seawall_core::record::Metric;
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::throttle::Signals;
use seawall_core::time::{Span, Time};
use tower_layer::Layer;
use tower_service::Service;

use super::response::Response;
use super::{AnyResponse, BoxError, Judge, Sheds};
use crate::answer::Error;
use crate::clock::Clock;
use crate::stats::MetricsPage;

/// What a request is, to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whether it is a read: the throttle holds no write back.
    pub is_read: bool,
    /// What is shed last.
    pub priority: Priority,
}

/// Tells what a request is. A closure over the request is one; [`AllAlike`] says reads of normal priority.
pub trait Asks<Req>: Clone {
    /// What this request is.
    fn ask(&self, request: &Req) -> Ask;
}

/// Every request is a read of normal priority.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllAlike;

impl<Req> Asks<Req> for AllAlike {
    fn ask(&self, _: &Req) -> Ask {
        Ask {
            is_read: true,
            priority: Priority::Normal,
        }
    }
}

impl<Req, F: Fn(&Req) -> Ask + Clone> Asks<Req> for F {
    fn ask(&self, request: &Req) -> Ask {
        self(request)
    }
}

/// Turns requests away by rate, by the throttle, and by priority: the tables `rate`, `throttle` and `shed` of
/// [`Policies`], those that are there.
#[derive(Clone, Debug)]
pub struct GateLayer<A = AllAlike, J = AnyResponse> {
    shared: Arc<Shared>,
    asks: A,
    judge: J,
}

impl GateLayer {
    /// A gate with what these policies say. `capacity` is how many requests at a time are full use of the service: it is
    /// what shedding goes by.
    pub fn new(policies: &Policies, capacity: u32) -> GateLayer {
        let clock = Clock::new();
        let now = clock.now();
        let inner = Inner {
            gate: gate::Gate::new(now, policies),
            rng: Seed(now.as_nanos()).stream("gate", 0),
            capacity,
            inside: 0,
            took: Histogram::new(),
            since: now,
        };
        GateLayer {
            shared: Arc::new(Shared {
                clock,
                inner: Mutex::new(inner),
                sheds: Sheds::default(),
            }),
            asks: AllAlike,
            judge: AnyResponse,
        }
    }
}

impl<A, J> GateLayer<A, J> {
    /// What requests are: reads or writes, and of which priority.
    pub fn asking<F>(self, asks: F) -> GateLayer<F, J> {
        GateLayer {
            shared: self.shared,
            asks,
            judge: self.judge,
        }
    }

    /// Which responses count as failures, from which an adaptive rate learns.
    pub fn failing<F>(self, judge: F) -> GateLayer<A, F> {
        GateLayer {
            shared: self.shared,
            asks: self.asks,
            judge,
        }
    }

    /// Takes over other policies. What stays switched on goes on from where it is.
    pub fn retune(&self, policies: &Policies, capacity: u32) {
        let now = self.shared.clock.now();
        let mut inner = self.shared.inner();
        inner.capacity = capacity;
        inner.gate.retune(now, policies);
    }

    /// The level of degradation; 0 sheds nothing.
    pub fn level(&self) -> u8 {
        self.shared.inner().gate.level()
    }

    /// The share of reads that the throttle lets through; 1 without one.
    pub fn share(&self) -> f64 {
        self.shared.inner().gate.share()
    }

    /// Writes how it stands as Prometheus text, as this component.
    pub fn write_metrics(&self, component: &str, page: &mut MetricsPage) {
        let (level, share) = (f64::from(self.level()), self.share());
        page.add(Metric::DegradationLevel, component, &[], level);
        page.add(Metric::ThrottleRatio, component, &[], share);
        let reasons = [Reason::Rate, Reason::Throttle, Reason::Degraded];
        self.shared.sheds.write(&reasons, component, page);
    }
}

impl<S, A: Clone, J: Clone> Layer<S> for GateLayer<A, J> {
    type Service = Gate<S, A, J>;

    fn layer(&self, inner: S) -> Gate<S, A, J> {
        Gate {
            inner,
            shared: Arc::clone(&self.shared),
            asks: self.asks.clone(),
            judge: self.judge.clone(),
        }
    }
}

/// A service behind a [`GateLayer`].
#[derive(Clone, Debug)]
pub struct Gate<S, A = AllAlike, J = AnyResponse> {
    inner: S,
    shared: Arc<Shared>,
    asks: A,
    judge: J,
}

impl<S, A, J, Req> Service<Req> for Gate<S, A, J>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    A: Asks<Req>,
    J: Judge<S::Response>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Response<S::Future, J>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match Visit::begin(&self.shared, self.asks.ask(&request)) {
            Ok(mut visit) => {
                let tell = Box::new(move |outcome| visit.end(outcome));
                Response::asked(self.inner.call(request), self.judge.clone(), tell)
            }
            Err(refused) => Response::refused(refused),
        }
    }
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    inner: Mutex<Inner>,
    sheds: Sheds,
}

#[derive(Debug)]
struct Inner {
    gate: gate::Gate,
    rng: Stream,
    capacity: u32,
    inside: u32,
    /// What calls took since the throttle's last decision.
    took: Histogram,
    since: Time,
}

/// The throttle looks at the slowest one in a hundred.
const TAIL: f64 = 0.99;

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells the gate what is known by now.
    fn observe(&mut self, now: Time) {
        let due = self.gate.next_decision().is_some_and(|next| next <= now);
        let signals = Signals {
            origin_latency: (due && self.took.count() > 0).then(|| self.took.quantile(TAIL)),
            cache_up: true,
            since: self.since,
        };
        let utilization = f64::from(self.inside) / f64::from(self.capacity.max(1));
        self.gate.observe(now, &signals, Some(utilization));
        if due {
            self.took.clear();
            self.since = now;
        }
    }
}

/// A request that was let in, until it ends or is dropped.
#[derive(Debug)]
struct Visit {
    shared: Arc<Shared>,
    began: Time,
    ended: bool,
}

impl Visit {
    fn begin(shared: &Arc<Shared>, ask: Ask) -> Result<Visit, Error> {
        let now = shared.clock.now();
        let mut locked = shared.inner();
        let inner = &mut *locked;
        inner.observe(now);
        let verdict = inner.gate.admit(now, &mut inner.rng, ask.is_read, ask.priority);
        verdict.map_err(|refusal| {
            shared.sheds.add(refusal.reason);
            Error::Shed {
                reason: refusal.reason,
                retry_after: (refusal.retry_after != Span::MAX).then(|| Duration::from(refusal.retry_after)),
            }
        })?;
        inner.inside += 1;
        Ok(Visit {
            shared: Arc::clone(shared),
            began: now,
            ended: false,
        })
    }

    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.shared.clock.now();
        let mut inner = self.shared.inner();
        inner.inside -= 1;
        if outcome != Outcome::Dropped {
            inner.took.record(now.since(self.began));
            inner.gate.record(now, outcome == Outcome::Ok);
        }
        inner.observe(now);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end(Outcome::Dropped);
    }
}
