//! The door: who is let in, who queues, who is turned away. The core's gate and queue, in real time.
//!
//! Everyone passes the gate (rate limit, throttle, shedding). Only who needs more than memory needs a place inside:
//! those are bounded, and the queue before them is too. Places are given back when they are dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_core::gate::{Gate, Reason, Refusal};
use seawall_core::policies::Policies;
use seawall_core::queue::{Cause, Departure, Queue};
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::throttle::Signals;
use seawall_core::time::{Span, Time};
use tokio::sync::oneshot;

use crate::clock::Clock;

/// Who was turned away by a queue comes back after this long.
const QUEUE_RETRY: Span = Span::secs(1);

/// The door.
pub(crate) struct Door {
    clock: Clock,
    /// Whether the gate has anything to say; otherwise nobody takes the lock for it.
    guarded: AtomicBool,
    inner: Mutex<Inner>,
    shed: [AtomicU64; Reason::ALL.len()],
}

struct Inner {
    gate: Gate,
    rng: Stream,
    inside: u32,
    concurrency: u32,
    queue: Option<Queue<Waiter>>,
    next: u64,
}

struct Waiter {
    id: u64,
    wake: oneshot::Sender<Result<Place, Reason>>,
}

/// A place inside.
pub(crate) struct Place(Option<Arc<Door>>);

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(door) = self.0.take() {
            door.leave();
        }
    }
}

/// How the door stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) inside: u32,
    pub(crate) concurrency: u32,
    pub(crate) queued: usize,
    pub(crate) level: u8,
    pub(crate) share: f64,
    pub(crate) rate: Option<f64>,
}

impl Door {
    pub(crate) fn new(clock: Clock, concurrency: u32, policies: &Policies) -> Arc<Door> {
        let gate = Gate::new(clock.now(), policies);
        Arc::new(Door {
            guarded: AtomicBool::new(gate.is_guarded()),
            inner: Mutex::new(Inner {
                gate,
                rng: Seed(crate::clock::unix_ms()).stream("door", 0),
                inside: 0,
                concurrency,
                queue: policies.queue.clone().map(Queue::new),
                next: 0,
            }),
            shed: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            clock,
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over other policies.
    pub(crate) fn retune(self: &Arc<Self>, concurrency: u32, policies: &Policies) {
        let now = self.clock.now();
        let mut inner = self.inner();
        inner.concurrency = concurrency;
        inner.gate.retune(now, policies);
        self.guarded.store(inner.gate.is_guarded(), Ordering::Release);
        match (&mut inner.queue, &policies.queue) {
            (Some(queue), Some(settings)) => queue.retune(now, settings.clone()),
            (queue @ None, Some(settings)) => *queue = Some(Queue::new(settings.clone())),
            // Those who wait are woken by their senders being dropped.
            (queue, None) => *queue = None,
        }
        drop(inner);
        while let Some(place) = self.take_free() {
            drop(place);
        }
    }

    /// After there are more places: one that is free while somebody waits, whose release lets the next one in.
    fn take_free(self: &Arc<Self>) -> Option<Place> {
        let mut inner = self.inner();
        let waits = inner.queue.as_ref().is_some_and(|queue| !queue.is_empty());
        if !waits || inner.inside >= inner.concurrency {
            return None;
        }
        inner.inside += 1;
        Some(Place(Some(Arc::clone(self))))
    }

    /// Whether a request is let in.
    pub(crate) fn admit(&self, is_read: bool, priority: Priority) -> Result<(), Refusal> {
        if !self.guarded.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = self.clock.now();
        let mut locked = self.inner();
        let inner = &mut *locked;
        inner.gate.admit(now, &mut inner.rng, is_read, priority)
    }

    /// Learns what became of a request that was let in.
    pub(crate) fn record(&self, ok: bool) {
        if self.guarded.load(Ordering::Acquire) {
            let now = self.clock.now();
            self.inner().gate.record(now, ok);
        }
    }

    /// Takes in how origin and cache are, and how full it is inside.
    pub(crate) fn observe(&self, signals: &Signals) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let utilization = f64::from(inner.inside) / f64::from(inner.concurrency.max(1));
        inner.gate.observe(now, signals, Some(utilization));
    }

    /// When the throttle decides next.
    pub(crate) fn next_decision(&self) -> Option<Time> {
        self.inner().gate.next_decision()
    }

    /// Counts one who was turned away.
    pub(crate) fn count(&self, reason: Reason) {
        self.shed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were turned away, by reason.
    pub(crate) fn shed(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = self.shed.iter().map(|count| count.load(Ordering::Relaxed));
        Reason::ALL.into_iter().zip(counts)
    }

    pub(crate) fn standing(&self) -> Standing {
        let inner = self.inner();
        Standing {
            inside: inner.inside,
            concurrency: inner.concurrency,
            queued: inner.queue.as_ref().map_or(0, Queue::len),
            level: inner.gate.level(),
            share: inner.gate.share(),
            rate: inner.gate.rate(),
        }
    }

    /// A place inside, at once or after a wait in the queue.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Place, Refusal> {
        let refuse = |reason| Refusal {
            reason,
            retry_after: QUEUE_RETRY,
        };
        let (id, timeout, mut woken) = {
            let now = self.clock.now();
            let mut inner = self.inner();
            let queued = inner.queue.as_ref().is_some_and(|queue| !queue.is_empty());
            if inner.inside < inner.concurrency && !queued {
                inner.inside += 1;
                return Ok(Place(Some(Arc::clone(self))));
            }
            inner.next += 1;
            let id = inner.next;
            let (wake, woken) = oneshot::channel();
            let Some(queue) = &mut inner.queue else {
                return Err(refuse(Reason::QueueFull));
            };
            let pushed = queue.push(now, Waiter { id, wake });
            let timeout = queue.next_timeout().unwrap_or(now).since(now);
            let gone = departures(queue, now);
            drop(inner);
            tell(gone);
            pushed.map_err(|_| refuse(Reason::QueueFull))?;
            (id, timeout.max(Span::millis(1)), woken)
        };
        let leaving = Leaving { door: self, id };
        let mut wait = Duration::from(timeout);
        let verdict = loop {
            match tokio::time::timeout(wait, &mut woken).await {
                Ok(Ok(verdict)) => break verdict,
                // The queue was switched off.
                Ok(Err(_)) => break Err(Reason::QueueFull),
                // The oldest leaves, which may be another.
                Err(_) => wait = self.sweep(),
            }
        };
        std::mem::forget(leaving);
        verdict.map_err(refuse)
    }

    /// Tells those who stood for too long; how long until the next one has.
    fn sweep(&self) -> Duration {
        let now = self.clock.now();
        let mut inner = self.inner();
        let Some(queue) = &mut inner.queue else {
            return Duration::from_secs(1);
        };
        let gone = departures(queue, now);
        let next = queue.next_timeout().unwrap_or(now).since(now);
        drop(inner);
        tell(gone);
        Duration::from(next.max(Span::millis(1)))
    }

    /// A place is free: the next one in the queue gets it.
    fn leave(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            let mut inner = self.inner();
            let full = inner.inside > inner.concurrency;
            let popped = inner.queue.as_mut().map(|queue| {
                let next = if full { None } else { queue.pop(now) };
                (next, departures(queue, now))
            });
            let (next, gone) = popped.unwrap_or_default();
            if next.is_none() {
                inner.inside = inner.inside.saturating_sub(1);
            }
            drop(inner);
            tell(gone);
            let Some((waiter, _)) = next else { return };
            match waiter.wake.send(Ok(Place(Some(Arc::clone(&self))))) {
                Ok(()) => return,
                // It has left; the place goes to the one after it.
                Err(Ok(mut place)) => place.0 = None,
                Err(Err(_)) => {}
            }
        }
    }
}

/// Takes a waiter out whose client left.
struct Leaving<'a> {
    door: &'a Arc<Door>,
    id: u64,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(queue) = &mut self.door.inner().queue {
            queue.remove(|waiter| waiter.id == self.id);
        }
    }
}

fn departures(queue: &mut Queue<Waiter>, now: Time) -> Vec<Departure<Waiter>> {
    std::iter::from_fn(|| queue.depart(now)).collect()
}

fn tell(gone: Vec<Departure<Waiter>>) {
    for departure in gone {
        let reason = match departure.cause {
            Cause::Timeout => Reason::QueueTimeout,
            Cause::Delay => Reason::QueueDelay,
        };
        // Who does not listen has left.
        let _ = departure.item.wake.send(Err(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::queue;

    fn door(concurrency: u32, places: u32) -> Arc<Door> {
        let policies = Policies {
            queue: Some(queue::Settings {
                places,
                timeout: Span::millis(100),
                ..queue::Settings::default()
            }),
            ..Policies::default()
        };
        Door::new(Clock::new(), concurrency, &policies)
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_and_handed_on() {
        let door = door(1, 1);
        let first = door.enter().await.expect("it is empty inside");
        let waits = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.enter().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(door.standing().queued, 1);
        let full = door.enter().await.expect_err("there is one place to wait");
        assert_eq!(full.reason, Reason::QueueFull);
        drop(first);
        let second = waits.await.unwrap().expect("the place was handed on");
        assert_eq!((door.standing().inside, door.standing().queued), (1, 0));
        let late = door.enter().await.expect_err("nobody left in time");
        assert_eq!(late.reason, Reason::QueueTimeout);
        drop(second);
        assert_eq!(door.standing().inside, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_gives_its_place_up() {
        let door = door(1, 1);
        let first = door.enter().await.expect("it is empty inside");
        let left = tokio::time::timeout(Duration::from_millis(10), door.enter()).await;
        assert!(left.is_err());
        assert_eq!(door.standing().queued, 0);
        drop(first);
        assert_eq!(door.standing().inside, 0);
    }
}
