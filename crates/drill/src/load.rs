//! Load that does not wait: calls are sent when they are due, and their time counts from when they were due.
//!
//! A closed loop (`wrk`, `redis-benchmark`) sends the next call when the last one is answered. While a server stands
//! still it sends nothing, so the calls that would have suffered are never made and the stall hardly shows
//! (*coordinated omission*, Tene). Here arrivals are decided beforehand, by the machines that the simulator uses too. What
//! cannot be sent because too much is under way is counted as an *overrun*, and how late calls were sent is measured and
//! told: both are the generator's own failure and not the server's.
//!
//! Every answer is held against the [`Truth`]: what is wrong is wrong, however fast it came.
//!
//! It injects no faults and judges no scenario.
//!
//! ```
//! use std::sync::Arc;
//! use seawall_core::time::Span;
//! use seawall_drill::load::{Call, Function, Load, Reply, Settings, Truth};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let truth = Arc::new(Truth::new(64));
//! let origin = Arc::clone(&truth);
//! let target = Function(move |call: Call| {
//!     let value = origin.value(call.key, 0);
//!     async move { Reply::Value(value.into()) }
//! });
//! let settings = Settings {
//!     rate: 1_000.0,
//!     duration: Span::millis(200),
//!     ..Settings::default()
//! };
//! let report = Load::start(settings, target, truth).expect("it starts").finish().await;
//! assert_eq!(report.wrong(), 0);
//! assert!(report.calls() > 100);
//! # }
//! ```

mod attempts;
mod pacer;
mod pipeline;
mod progress;
mod sent;
mod tally;
mod target;
mod told;
mod truth;
mod web;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use seawall_core::arrivals::{Change, Spacing};
use seawall_core::keys::Law;
use seawall_core::time::{Span, Time};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use pipeline::Pipeline;
pub use progress::Progress;
pub use sent::Sent;
pub use target::{Call, Function, Reply, Target};
pub use told::Report;
pub use truth::{Judgement, Truth};
pub use web::{AddressError, Web};

use pacer::{Order, Pacer};
use tally::Tally;

/// What is sent, and how patiently.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the client in the record.
    pub name: String,
    /// The rhythm of arrivals.
    pub spacing: Spacing,
    /// Calls a second, reads and writes together.
    pub rate: f64,
    /// Changes of the rate, from the start of the run.
    pub changes: Vec<Change>,
    /// Which keys are asked for.
    pub keys: Law,
    /// The share of calls that write.
    pub writes: f64,
    /// The share of reads for keys that do not exist.
    pub missing: f64,
    /// How long one attempt may take; a minute when nothing is said.
    pub timeout: Option<Span>,
    /// How often a call that failed or timed out is tried again. What was shed is not.
    pub retries: u32,
    /// The pause before each retry.
    pub backoff: Span,
    /// For how long calls are sent. Those under way at the end are waited for.
    pub duration: Span,
    /// The length of a period of the record.
    pub period: Span,
    /// Calls under way at the same time; what is due beyond is an overrun.
    pub in_flight_max: usize,
    /// Decides arrivals, keys and the mix.
    pub seed: u64,
}

impl Default for Settings {
    /// A hundred reads a second for ten seconds, for a thousand keys of equal popularity, with a timeout of a second.
    fn default() -> Settings {
        Settings {
            name: "load".to_owned(),
            spacing: Spacing::Poisson,
            rate: 100.0,
            changes: Vec::new(),
            keys: Law::Uniform { count: 1_000 },
            writes: 0.0,
            missing: 0.0,
            timeout: Some(Span::secs(1)),
            retries: 0,
            backoff: Span::secs(1),
            duration: Span::secs(10),
            period: Span::secs(1),
            in_flight_max: 10_000,
            seed: 1,
        }
    }
}

/// Changes that wait until the sending thread looks for them; who makes more waits for it.
const ORDERS_MAX: usize = 256;

/// How long an attempt without a timeout may take.
const PATIENCE: Span = Span::secs(60);

/// A run under way. Dropped, it sends no more.
#[derive(Debug)]
pub struct Load {
    run: Arc<Run>,
    orders: mpsc::SyncSender<Order>,
    ended: oneshot::Receiver<()>,
}

/// What the thread that sends and the tasks that wait share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) settings: Settings,
    pub(crate) truth: Arc<Truth>,
    began: Instant,
    stopped: AtomicBool,
    in_flight: AtomicU64,
    sent: Arc<Sent>,
    tally: Mutex<Tally>,
}

impl Run {
    /// From the start of the run.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + Span::from(self.began.elapsed())
    }

    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.began + Duration::from(at.since(Time::ZERO))
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call begin, when there is room for it.
    pub(crate) fn enter(&self) -> bool {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if before >= self.settings.in_flight_max as u64 {
            self.leave();
            return false;
        }
        true
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Begins to send. Calls run on the runtime that this is called from; they are sent by a thread of their own.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(settings: Settings, target: impl Target, truth: Arc<Truth>) -> io::Result<Load> {
        let tally = Tally::new(&settings);
        let run = Arc::new(Run {
            settings,
            truth,
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            sent: Arc::default(),
            tally: Mutex::new(tally),
        });
        let (orders, inbox) = mpsc::sync_channel(ORDERS_MAX);
        let (end, ended) = oneshot::channel();
        let pacer = Pacer::new(Arc::clone(&run), Arc::new(target), inbox);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                pacer.pace(&runtime);
                // Whoever waited may have left.
                let _ = end.send(());
            })?;
        Ok(Load { run, orders, ended })
    }

    /// From now on, so many times as many calls.
    pub fn set_factor(&self, factor: f64) {
        self.order(Order::Factor(factor));
    }

    /// From now on, so many calls a second, instead of the schedule.
    pub fn set_rate(&self, rate: f64) {
        self.order(Order::Rate(rate));
    }

    /// From now on, this share of the reads is for one key; 0 ends it.
    pub fn hot_key(&self, share: f64) {
        self.order(Order::Hot(share));
    }

    /// From now on, this share of the reads is for keys that do not exist; 0 ends it.
    pub fn missing(&self, share: f64) {
        self.order(Order::Missing(share));
    }

    fn order(&self, order: Order) {
        // When it has ended there is nothing to change.
        let _ = self.orders.send(order);
    }

    /// Sends no more. What is under way is still waited for.
    pub fn stop(&self) {
        self.run.stopped.store(true, Ordering::Relaxed);
    }

    /// When the run began, on tokio's clock.
    pub fn began(&self) -> Instant {
        self.run.began
    }

    /// What it sends, as it goes on.
    pub fn sent(&self) -> Arc<Sent> {
        Arc::clone(&self.run.sent)
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        let in_flight = self.run.in_flight.load(Ordering::Relaxed);
        self.run.tally().progress(self.run.now(), in_flight)
    }

    /// Waits until everything has been sent and answered, or given up.
    pub async fn finish(self) -> Report {
        self.finish_within(Duration::MAX).await
    }

    /// The same, without those calls that are still under way so long after the last one was sent.
    pub async fn finish_within(mut self, patience: Duration) -> Report {
        // The thread ends when the time is over, and says so even when it panics: the channel closes.
        let _ = (&mut self.ended).await;
        let sent = Instant::now();
        while self.run.in_flight.load(Ordering::Relaxed) > 0 && sent.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.run
            .tally()
            .report(&self.run.settings, self.run.now(), self.run.truth.is_checked())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}
