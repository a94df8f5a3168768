//! The threads of a service, and the line before them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seawall_core::queue::{Cause, Queue, Settings};
use seawall_core::time::{Span, Time};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So often it is looked who has waited for too long.
const GLANCE: Duration = Duration::from_millis(2);

/// At most so many waits are kept until somebody asks for them.
const WAITS_MAX: usize = 20_000;

/// Why somebody got no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// The line is full.
    Full,
    /// It was taken out of the line.
    Out(Cause),
}

/// Threads and their line, by the machines of the simulator. Clones are the same.
#[derive(Clone)]
pub(super) struct Floor(Arc<Inside>);

struct Inside {
    machines: Mutex<Machines>,
    origin: Instant,
}

struct Machines {
    threads: Option<u32>,
    busy: u32,
    line: Queue<u64>,
    waiting: BTreeMap<u64, oneshot::Sender<Result<(), Cause>>>,
    next: u64,
    waits: Vec<Span>,
}

/// A thread that is held until this is dropped.
pub(super) struct Seat(Floor);

impl Floor {
    /// So many threads (without limit when absent), all free. A task sees to the line for as long as there is anything of
    /// it.
    pub(super) fn new(threads: Option<u32>, line: Settings) -> Floor {
        let inside = Arc::new(Inside {
            machines: Mutex::new(Machines {
                threads,
                busy: 0,
                line: Queue::new(line),
                waiting: BTreeMap::new(),
                next: 0,
                waits: Vec::new(),
            }),
            origin: Instant::now(),
        });
        let weak = Arc::downgrade(&inside);
        tokio::spawn(async move {
            while let Some(inside) = weak.upgrade() {
                let now = inside.now();
                inside.machines().send_out(now);
                drop(inside);
                tokio::time::sleep(GLANCE).await;
            }
        });
        Floor(inside)
    }

    /// Asks for a thread, and waits for it in the line.
    ///
    /// # Errors
    /// When there is none, and why not.
    pub(super) async fn enter(&self) -> Result<Seat, Turned> {
        let turn = {
            let now = self.0.now();
            let mut machines = self.0.machines();
            if machines.threads.is_none_or(|threads| machines.busy < threads) {
                machines.busy += 1;
                return Ok(Seat(self.clone()));
            }
            machines.next += 1;
            let id = machines.next;
            let pushed = machines.line.push(now, id).map_err(|_| Turned::Full);
            let turn = pushed.map(|()| {
                let (sender, turn) = oneshot::channel();
                machines.waiting.insert(id, sender);
                turn
            });
            machines.send_out(now);
            turn?
        };
        match turn.await {
            Ok(Ok(())) => Ok(Seat(self.clone())),
            Ok(Err(cause)) => Err(Turned::Out(cause)),
            // The line has ended with the service.
            Err(_) => Err(Turned::Full),
        }
    }

    /// How many threads are held, and how many wait for one.
    pub(super) fn inside(&self) -> (u32, usize) {
        let machines = self.0.machines();
        (machines.busy, machines.line.len())
    }

    /// How long those waited who got a thread since this was asked last.
    pub(super) fn waits(&self) -> Vec<Span> {
        std::mem::take(&mut self.0.machines().waits)
    }

    /// Changes how many threads there are. Those above end what they have.
    pub(super) fn set_threads(&self, threads: Option<u32>) {
        let now = self.0.now();
        let mut machines = self.0.machines();
        machines.threads = threads;
        machines.seat(now);
    }

    /// Changes the bounds of the line.
    pub(super) fn set_line(&self, line: Settings) {
        let now = self.0.now();
        let mut machines = self.0.machines();
        machines.line.retune(now, line);
        machines.send_out(now);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let now = self.0.0.now();
        let mut machines = self.0.0.machines();
        machines.busy = machines.busy.saturating_sub(1);
        machines.seat(now);
    }
}

impl Inside {
    fn machines(&self) -> MutexGuard<'_, Machines> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time::ZERO + Span::from(self.origin.elapsed())
    }
}

impl Machines {
    /// Gives free threads to those who wait.
    fn seat(&mut self, now: Time) {
        while self.threads.is_none_or(|threads| self.busy < threads) {
            let Some((id, waited)) = self.line.pop(now) else {
                break;
            };
            let Some(sender) = self.waiting.remove(&id) else {
                continue;
            };
            // Whoever called may have been dropped; then the thread is for the next one.
            if sender.send(Ok(())).is_ok() {
                self.busy += 1;
                if self.waits.len() < WAITS_MAX {
                    self.waits.push(waited);
                }
            }
        }
        self.send_out(now);
    }

    /// Sends out who must leave the line.
    fn send_out(&mut self, now: Time) {
        while let Some(departure) = self.line.depart(now) {
            if let Some(sender) = self.waiting.remove(&departure.item) {
                let _ = sender.send(Err(departure.cause));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(places: u32, timeout: Span) -> Settings {
        Settings {
            places,
            timeout,
            ..Settings::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_waits_is_served_and_is_sent_out() {
        let floor = Floor::new(Some(1), line(2, Span::millis(50)));
        let first = floor.enter().await.expect("a free thread");
        let second = tokio::spawn({
            let floor = floor.clone();
            async move { floor.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        let third = tokio::spawn({
            let floor = floor.clone();
            async move { floor.enter().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(floor.inside(), (1, 2));
        assert_eq!(floor.enter().await.err(), Some(Turned::Full));
        tokio::time::sleep(Duration::from_millis(40)).await;
        floor.set_threads(Some(0));
        drop(first);
        assert_eq!(floor.inside(), (0, 2));
        floor.set_threads(Some(1));
        assert_eq!(second.await.expect("it ends"), Ok(()));
        assert_eq!(third.await.expect("it ends"), Ok(()));
        assert_eq!(floor.inside(), (0, 0));
        let waits = floor.waits();
        assert!(waits.iter().all(|wait| *wait >= Span::millis(39)), "{waits:?}");
        assert_eq!((waits.len(), floor.waits().len()), (2, 0));

        let _seat = floor.enter().await.expect("a free thread");
        let asked = Instant::now();
        assert_eq!(floor.enter().await.err(), Some(Turned::Out(Cause::Timeout)));
        let waited = asked.elapsed().as_millis();
        assert!((50..60).contains(&waited), "{waited}");
    }
}
