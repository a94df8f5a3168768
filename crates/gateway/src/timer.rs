//! Timers that are set rarely.
//!
//! Most things that have a deadline are over long before. A timer that is taken out of tokio's wheel when one of them
//! is over, and put in for the next one, costs more than it is worth: these stay where they are, ring too early for the
//! next one, and are set anew then. Only who waits has one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Sleep;
use tokio::time::Instant;

/// A timer for one deadline after the other.
#[derive(Default)]
pub(crate) struct Timer(Option<Pin<Box<tokio::time::Sleep>>>);

impl Timer {
    /// Whether it is so late. The task is woken when it is.
    pub(crate) fn rings(&mut self, context: &mut Context<'_>, due: Instant) -> bool {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= due {
                return true;
            }
            sleep.as_mut().reset(due);
        }
        false
    }
}

/// For the heads of one connection's requests, as hyper asks for it: one timer for all of them.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<Timer>>);

/// The deadline of one head.
struct Head {
    timer: Arc<Mutex<Timer>>,
    due: Instant,
}

impl hyper::rt::Timer for Heads {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until((Instant::now() + duration).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Head {
            timer: Arc::clone(&self.0),
            due: Instant::from_std(deadline),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl Sleep for Head {}

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        if timer.rings(context, self.due) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it rings, from now on.
    async fn rings(timer: &mut Timer, due: Instant) -> Duration {
        let began = Instant::now();
        std::future::poll_fn(|context| {
            if timer.rings(context, due) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_each_deadline_whatever_the_one_before_was() {
        let second = Duration::from_secs(1);
        let mut timer = Timer::default();
        for due in [3, 10, 2, 2] {
            // Somebody waited for another deadline before, and went away.
            let soon = tokio::time::timeout(second / 2, rings(&mut timer, Instant::now() + 5 * second));
            assert!(soon.await.is_err());
            let due = due * second;
            let took = rings(&mut timer, Instant::now() + due).await;
            assert!((due..due + second / 100).contains(&took), "{took:?}");
        }
        assert_eq!(rings(&mut timer, Instant::now()).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_all_heads() {
        use hyper::rt::Timer as _;
        let heads = Heads::default();
        for seconds in [5, 1, 7] {
            drop(heads.sleep(Duration::from_secs(2)));
            let began = Instant::now();
            heads.sleep(Duration::from_secs(seconds)).await;
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
    }
}
