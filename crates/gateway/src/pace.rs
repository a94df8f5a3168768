//! How long somebody may be waited for who sends or reads a body: no pause is too long, and what comes in small pieces
//! does not buy time for ever.
//!
//! Only time that is spent waiting for them counts. What the other side takes to go on is not theirs.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// One body, or all that is written to one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    pause_max: Duration,
    /// So many bytes buy a second more; none does when absent.
    rate: Option<u64>,
    bytes: u64,
    /// Spent waiting, before the pause that is under way.
    waited: Duration,
    /// A pause that is under way; it takes memory only then.
    pause: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pace {
    pub(crate) fn new(pause_max: Duration, rate: Option<u64>) -> Pace {
        Pace {
            pause_max,
            rate,
            bytes: 0,
            waited: Duration::ZERO,
            pause: None,
        }
    }

    /// Something moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some((since, _)) = self.pause.take() {
            self.waited += since.elapsed();
        }
    }

    /// Nothing moves now. Whether that has been so for too long; the task is woken when it has.
    pub(crate) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let left = self.left();
        let (_, sleep) = self
            .pause
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        sleep.as_mut().poll(context).is_ready()
    }

    /// How long the next pause may be.
    fn left(&self) -> Duration {
        let Some(rate) = self.rate else {
            return self.pause_max;
        };
        let bought = Duration::try_from_secs_f64(self.bytes as f64 / rate as f64);
        let all = self.pause_max.saturating_add(bought.unwrap_or(Duration::MAX));
        all.saturating_sub(self.waited).min(self.pause_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it lasts when so many bytes move after each pause.
    async fn lasts(pace: &mut Pace, pause: Duration, bytes: usize) -> Duration {
        let began = Instant::now();
        while began.elapsed() < Duration::from_mins(10) {
            let over = std::future::poll_fn(|context| {
                if pace.is_over(context) {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            });
            if tokio::time::timeout(pause, over).await.is_ok() {
                break;
            }
            pace.moved(bytes);
            // What the other side takes to go on counts for nothing.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_is_too_long() {
        let mut pace = Pace::new(Duration::from_secs(5), None);
        assert_eq!(
            lasts(&mut pace, Duration::from_mins(1), 1).await,
            Duration::from_secs(5)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn small_pieces_do_not_buy_time_for_ever() {
        let second = Duration::from_secs(1);
        let mut slow = Pace::new(5 * second, Some(100));
        let took = lasts(&mut slow, second, 1).await;
        // A hundredth of a second a piece: after five pieces of a second each, and as many seconds that do not count.
        assert!((10 * second..12 * second).contains(&took), "{took:?}");
        let mut fast = Pace::new(5 * second, Some(100));
        assert!(lasts(&mut fast, second, 101).await >= Duration::from_mins(10));
        let mut unpaced = Pace::new(5 * second, None);
        assert!(lasts(&mut unpaced, second, 1).await >= Duration::from_mins(10));
    }
}
