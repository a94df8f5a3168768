//! What a client sends, by the load generator's own counts.

use std::sync::Arc;
use std::time::Duration;

use seawall_scenario::Fault;
use tokio::time::{Instant, sleep};

use crate::load::Sent;

/// Counts of less time say nothing.
const WINDOW: Duration = Duration::from_millis(500);
/// Nor do fewer calls.
const CALLS: f64 = 10.0;

/// A client, and what is done to what it sends.
#[derive(Clone)]
pub(crate) struct Counted {
    name: String,
    sent: Arc<Sent>,
    fault: Fault,
    /// Calls a second that it would send.
    rate: f64,
    /// The share of its reads that would be for that one key, or for what does not exist.
    share: f64,
    /// When it sends no more.
    end: Instant,
}

/// What was counted when the look began.
pub(crate) struct Window {
    begun: Instant,
    before: [u64; 4],
}

impl Counted {
    /// A client of this name that would send so many calls a second, and of its reads this share for what the fault is
    /// about.
    pub(crate) fn new(
        name: &str,
        sent: Arc<Sent>,
        fault: Fault,
        (rate, share): (f64, f64),
        end: Instant,
    ) -> Counted {
        let name = name.to_owned();
        Counted {
            name,
            sent,
            fault,
            rate,
            share,
            end,
        }
    }

    /// From now on.
    pub(crate) fn window(&self) -> Window {
        Window {
            begun: Instant::now(),
            before: self.sent.counts(),
        }
    }

    /// Whether the fault shows in what was sent since; a window that shows it not is begun anew.
    pub(crate) fn felt(&self, window: &mut Window) -> Result<String, String> {
        let (seen, half, told) = self.measured(window)?;
        let usual = self.usual();
        let shows = if half >= usual { seen >= half } else { seen <= half };
        if shows {
            return Ok(told);
        }
        *window = self.window();
        Err(told)
    }

    /// Looks for a while whether it is gone.
    pub(crate) async fn gone(&self) -> Result<String, String> {
        let window = self.window();
        loop {
            if Instant::now() >= self.end {
                return Ok(format!("{} sends no more", self.name));
            }
            sleep(WINDOW / 5).await;
            let Ok((seen, half, told)) = self.measured(&window) else {
                continue;
            };
            let stays = if half >= self.usual() {
                seen >= half
            } else {
                seen <= half
            };
            return if stays { Err(told) } else { Ok(told) };
        }
    }

    /// What it usually is: calls a second, or a share of the reads.
    fn usual(&self) -> f64 {
        match self.fault {
            Fault::Penetration { .. } | Fault::HotKey { .. } => self.share,
            _ => self.rate,
        }
    }

    /// What was seen, what would be half of the fault, and both in words; an error while it is too early to say.
    fn measured(&self, window: &Window) -> Result<(f64, f64, String), String> {
        let now = self.sent.counts();
        let [calls, reads, hot, missing] =
            std::array::from_fn(|at| now[at].saturating_sub(window.before[at]) as f64);
        let took = window.begun.elapsed();
        let (name, seconds) = (&self.name, took.as_secs_f64());
        if took < WINDOW {
            return Err(format!("{name} sent {calls} calls in {seconds:.1} s"));
        }
        Ok(match self.fault {
            Fault::Spike { factor } => {
                let expected = self.rate * seconds;
                if expected.max(expected * factor) < CALLS {
                    return Err(format!("{name} sent {calls} calls in {seconds:.1} s"));
                }
                (
                    calls / seconds,
                    self.rate * f64::midpoint(factor, 1.0),
                    format!(
                        "{name} sent {:.0} calls/s, and {:.0} are usual",
                        calls / seconds,
                        self.rate
                    ),
                )
            }
            Fault::HotKey { share } | Fault::Penetration { share } => {
                if reads * share < 3.0 {
                    return Err(format!("{name} sent {reads} reads in {seconds:.1} s"));
                }
                let (count, all, what) = match self.fault {
                    Fault::HotKey { .. } => (hot, share + (1.0 - share) * self.share, "one key"),
                    _ => (missing, share, "what does not exist"),
                };
                (
                    count / reads,
                    f64::midpoint(self.share, all),
                    format!(
                        "{:.0}% of the {reads} reads of {name} were for {what}",
                        100.0 * count / reads
                    ),
                )
            }
            _ => return Err(format!("{name} is not changed by this")),
        })
    }
}
