//! The limit on how many are inside, and the bounded line before it.
//!
//! Who waits, waits in `poll_ready`: that is back-pressure. Who finds the line full, or has waited for too long, is not
//! failed there (in tower that would be the end of the service) but becomes ready to be told so by `call`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use seawall_core::gate::Reason;
use seawall_core::limit::{Limiter, Outcome, Permit, Settings};
use seawall_core::queue::{self, Cause, Queue};
use seawall_core::record::Metric;
use seawall_core::time::Span;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::response::Response;
use super::{AnyResponse, BoxError, Judge, Sheds};
use crate::answer::Error;
use crate::clock::{Clock, timeout};
use crate::stats::MetricsPage;

/// Bounds how many calls are inside a service at a time, with a fixed or an adaptive limit, and how many wait to be.
#[derive(Clone, Debug)]
pub struct LimitLayer<J = AnyResponse> {
    shared: Arc<Shared>,
    judge: J,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many may be inside.
    pub limit: u32,
    /// How many are inside.
    pub in_flight: u32,
    /// How many wait.
    pub queued: usize,
    /// How many were turned away so far.
    pub shed: u64,
}

impl LimitLayer {
    /// A limit with these settings, and a line before it that serves first who came first.
    pub fn new(settings: Settings) -> LimitLayer {
        let line = queue::Settings {
            places: settings.places,
            timeout: settings.timeout,
            ..queue::Settings::default()
        };
        LimitLayer::with_line(settings, line)
    }

    /// The same with a line of its own settings (last come first served, `CoDel`).
    pub fn with_line(settings: Settings, line: queue::Settings) -> LimitLayer {
        let inner = Inner {
            patience: line.timeout,
            limiter: Limiter::new(settings),
            line: Queue::new(line),
            waiters: BTreeMap::new(),
            next: 0,
        };
        let shared = Shared {
            clock: Clock::new(),
            inner: Mutex::new(inner),
            sheds: Sheds::default(),
        };
        LimitLayer {
            shared: Arc::new(shared),
            judge: AnyResponse,
        }
    }
}

impl<J> LimitLayer<J> {
    /// Which responses count as failures, from which an adaptive limit learns.
    pub fn failing<F>(self, judge: F) -> LimitLayer<F> {
        LimitLayer {
            shared: self.shared,
            judge,
        }
    }

    /// Takes over other settings; who is inside or waits stays so.
    pub fn retune(&self, settings: Settings) {
        let now = self.shared.clock.now();
        let mut inner = self.shared.inner();
        inner.patience = settings.timeout;
        let line = queue::Settings {
            places: settings.places,
            timeout: settings.timeout,
            ..inner.line.settings().clone()
        };
        inner.line.retune(now, line);
        inner.limiter.retune(now, settings);
        self.shared.promote(inner);
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let inner = self.shared.inner();
        Standing {
            limit: inner.limiter.limit(),
            in_flight: inner.limiter.in_flight(),
            queued: inner.line.len(),
            shed: self.shared.sheds.sum(),
        }
    }

    /// Writes how it stands as Prometheus text, as this component.
    pub fn write_metrics(&self, component: &str, page: &mut MetricsPage) {
        let standing = self.standing();
        for (metric, value) in [
            (Metric::LimiterLimit, f64::from(standing.limit)),
            (Metric::InFlight, f64::from(standing.in_flight)),
            (Metric::QueueDepth, standing.queued as f64),
        ] {
            page.add(metric, component, &[], value);
        }
        let reasons = [Reason::QueueFull, Reason::QueueTimeout, Reason::QueueDelay];
        self.shared.sheds.write(&reasons, component, page);
    }
}

impl<S, J: Clone> Layer<S> for LimitLayer<J> {
    type Service = Limit<S, J>;

    fn layer(&self, inner: S) -> Limit<S, J> {
        Limit {
            inner,
            shared: Arc::clone(&self.shared),
            judge: self.judge.clone(),
            turn: Turn::None,
        }
    }
}

/// A service behind a [`LimitLayer`].
#[derive(Debug)]
pub struct Limit<S, J = AnyResponse> {
    inner: S,
    shared: Arc<Shared>,
    judge: J,
    turn: Turn,
}

impl<S: Clone, J: Clone> Clone for Limit<S, J> {
    fn clone(&self) -> Limit<S, J> {
        Limit {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            judge: self.judge.clone(),
            // A place is one's own.
            turn: Turn::None,
        }
    }
}

/// Where this handle is on its way in.
#[derive(Debug)]
enum Turn {
    None,
    Waits {
        ticket: Ticket,
        alarm: Option<Pin<Box<Sleep>>>,
    },
    Has(Place),
    Refused(Reason),
}

impl<S, J> Limit<S, J> {
    /// Goes on until there is a place, or a reason why there is none.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut self.turn {
                Turn::Has(_) | Turn::Refused(_) => return Poll::Ready(()),
                Turn::None => self.shared.ask(context.waker()),
                Turn::Waits { ticket, alarm } => {
                    let due = alarm
                        .as_mut()
                        .is_some_and(|alarm| alarm.as_mut().poll(context).is_ready());
                    if due {
                        *alarm = None;
                        self.shared.promote(self.shared.inner());
                    }
                    ready!(ticket.poll(context.waker()))
                }
            };
            self.turn = next;
        }
    }
}

impl<S, J, Req> Service<Req> for Limit<S, J>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    J: Judge<S::Response>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Response<S::Future, J>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.poll_turn(context));
        match self.turn {
            Turn::Refused(_) => Poll::Ready(Ok(())),
            _ => self.inner.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match std::mem::replace(&mut self.turn, Turn::None) {
            Turn::Has(mut place) => {
                let tell = Box::new(move |outcome| place.leave(outcome));
                Response::asked(self.inner.call(request), self.judge.clone(), tell)
            }
            Turn::Refused(reason) => Response::refused(self.shared.refuse(reason)),
            Turn::None | Turn::Waits { .. } => panic!("`poll_ready` comes before `call`"),
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
    limiter: Limiter,
    line: Queue<u64>,
    /// How long anyone waits.
    patience: Span,
    /// Those who wait or have not heard yet how it went, by ticket.
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
}

#[derive(Debug)]
enum Waiter {
    Waits(Waker),
    Admitted(Permit),
    Refused(Reason),
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, reason: Reason) -> Error {
        self.sheds.add(reason);
        let patience = self.inner().patience;
        Error::Shed {
            reason,
            // Whoever stands in line by now has been served or sent away by then.
            retry_after: Some(Duration::from(patience).max(Duration::from_millis(1))),
        }
    }

    /// A place, a ticket to wait with, or why there is neither.
    fn ask(self: &Arc<Shared>, waker: &Waker) -> Turn {
        let mut locked = self.inner();
        let inner = &mut *locked;
        let now = self.clock.now();
        if inner.line.is_empty()
            && let Some(permit) = inner.limiter.acquire(now)
        {
            return Turn::Has(Place::new(self, permit));
        }
        let id = inner.next;
        inner.next += 1;
        if inner.line.push(now, id).is_err() {
            return Turn::Refused(Reason::QueueFull);
        }
        inner.waiters.insert(id, Waiter::Waits(waker.clone()));
        let shared = Arc::clone(self);
        let alarm = timeout(inner.patience).map(|patience| Box::pin(tokio::time::sleep(patience)));
        // It may have been pushed behind others whose time was over.
        self.promote(locked);
        Turn::Waits {
            ticket: Ticket { shared, id },
            alarm,
        }
    }

    /// Lets in who can come in, sends away who has to leave, and wakes both.
    fn promote(&self, mut locked: MutexGuard<'_, Inner>) {
        let inner = &mut *locked;
        let now = self.clock.now();
        let mut wakers = Vec::new();
        let mut settle = |waiters: &mut BTreeMap<u64, Waiter>, id: u64, settled: Waiter| {
            if let Some(waiter) = waiters.get_mut(&id)
                && let Waiter::Waits(waker) = std::mem::replace(waiter, settled)
            {
                wakers.push(waker);
            }
        };
        while inner.limiter.in_flight() < inner.limiter.limit() {
            let Some((id, _)) = inner.line.pop(now) else { break };
            if let Some(permit) = inner.limiter.acquire(now) {
                settle(&mut inner.waiters, id, Waiter::Admitted(permit));
            }
        }
        while let Some(departure) = inner.line.depart(now) {
            let reason = match departure.cause {
                Cause::Timeout => Reason::QueueTimeout,
                Cause::Delay => Reason::QueueDelay,
            };
            settle(&mut inner.waiters, departure.item, Waiter::Refused(reason));
        }
        drop(locked);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn release(&self, permit: Permit, outcome: Outcome) {
        let mut inner = self.inner();
        inner.limiter.release(self.clock.now(), permit, outcome);
        self.promote(inner);
    }
}

/// A place inside, given back when it is dropped.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    permit: Option<Permit>,
}

impl Place {
    fn new(shared: &Arc<Shared>, permit: Permit) -> Place {
        Place {
            shared: Arc::clone(shared),
            permit: Some(permit),
        }
    }

    fn leave(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.shared.release(permit, outcome);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(Outcome::Dropped);
    }
}

/// A stand in the line, given up when it is dropped.
#[derive(Debug)]
struct Ticket {
    shared: Arc<Shared>,
    id: u64,
}

impl Ticket {
    fn poll(&self, waker: &Waker) -> Poll<Turn> {
        let mut inner = self.shared.inner();
        match inner.waiters.get_mut(&self.id) {
            Some(Waiter::Waits(known)) => {
                known.clone_from(waker);
                Poll::Pending
            }
            Some(Waiter::Admitted(permit)) => {
                let place = Place::new(&self.shared, *permit);
                inner.waiters.remove(&self.id);
                Poll::Ready(Turn::Has(place))
            }
            Some(Waiter::Refused(reason)) => {
                let reason = *reason;
                inner.waiters.remove(&self.id);
                Poll::Ready(Turn::Refused(reason))
            }
            None => Poll::Ready(Turn::None),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.shared.inner();
        match inner.waiters.remove(&self.id) {
            Some(Waiter::Waits(_)) => {
                inner.line.remove(|waiting| *waiting == self.id);
            }
            Some(Waiter::Admitted(permit)) => {
                drop(inner);
                self.shared.release(permit, Outcome::Dropped);
            }
            Some(Waiter::Refused(_)) | None => {}
        }
    }
}
