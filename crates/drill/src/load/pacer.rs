//! The thread that sends: each call when it is due, whatever has become of the others.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use seawall_core::arrivals::Arrivals;
use seawall_core::keys::{Keys, MISSING};
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};
use tokio::runtime::Handle;

use super::Run;
use super::attempts::{self, Asked};
use super::sent::HOT;
use super::target::Target;

/// A change while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Factor(f64),
    Rate(f64),
    Hot(f64),
    Missing(f64),
}

/// It looks for orders at least this often.
const NAP_MAX: Duration = Duration::from_millis(5);

/// What is left of a wait when it is no use sleeping.
const SPIN: Span = Span::micros(15);

pub(crate) struct Pacer<T> {
    run: Arc<Run>,
    target: Arc<T>,
    orders: Receiver<Order>,
    arrivals: Arrivals,
    keys: Keys,
    arrivals_rng: Stream,
    keys_rng: Stream,
    mix_rng: Stream,
    next: Time,
    hot: f64,
    missing: f64,
}

impl<T: Target> Pacer<T> {
    pub(crate) fn new(run: Arc<Run>, target: Arc<T>, orders: Receiver<Order>) -> Pacer<T> {
        let settings = &run.settings;
        let seed = Seed(settings.seed);
        let mut arrivals = Arrivals::new(settings.spacing, settings.rate, &settings.changes);
        let mut arrivals_rng = seed.stream("arrivals", 0);
        Pacer {
            next: arrivals.next(&mut arrivals_rng),
            arrivals,
            keys: Keys::new(settings.keys),
            arrivals_rng,
            keys_rng: seed.stream("keys", 0),
            mix_rng: seed.stream("mix", 0),
            hot: 0.0,
            missing: settings.missing,
            target,
            orders,
            run,
        }
    }

    /// Sends until the end.
    pub(crate) fn pace(mut self, runtime: &Handle) {
        // Otherwise the kernel wakes it up to 50 µs later, to save power. Where that is refused it is only later.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let end = Time::ZERO + self.run.settings.duration;
        loop {
            self.take_orders();
            let now = self.run.now();
            // What was due before the end is sent, also when this comes late.
            if self.run.is_stopped() || self.next >= end && now >= end {
                return;
            }
            if self.next > now || self.next >= end {
                wait(self.next.min(end).since(now));
                continue;
            }
            let due = self.next;
            self.send(runtime, due);
            self.next = self.arrivals.next(&mut self.arrivals_rng);
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            let now = self.run.now();
            match order {
                Order::Factor(factor) => {
                    self.next = self.arrivals.set_factor(now, factor).unwrap_or(self.next);
                }
                Order::Rate(rate) => {
                    self.next = self.arrivals.set_rate(now, rate).unwrap_or(self.next);
                }
                Order::Hot(share) => self.hot = share,
                Order::Missing(share) => self.missing = share,
            }
        }
    }

    /// What the next call is for, as the simulated clients draw it.
    fn draw(&mut self) -> (u64, bool) {
        let mut key = self.keys.draw(&mut self.keys_rng);
        let writes = self.run.settings.writes;
        let read = writes <= 0.0 || !self.mix_rng.chance(writes);
        if read && self.hot > 0.0 && self.mix_rng.chance(self.hot) {
            key = HOT;
        }
        if read && self.missing > 0.0 && self.mix_rng.chance(self.missing) {
            key = MISSING | self.mix_rng.below(1 << 20);
        }
        (key, read)
    }

    fn send(&mut self, runtime: &Handle, due: Time) {
        let (key, read) = self.draw();
        if !self.run.enter() {
            self.run.tally().overrun();
            return;
        }
        self.run.sent.count(key, read);
        // A write that would overlap another of its key is a read.
        let version = if read { None } else { self.run.truth.begin(key) };
        let asked = Asked { key, version, due };
        let (run, target) = (Arc::clone(&self.run), Arc::clone(&self.target));
        runtime.spawn(attempts::make(run, target, asked));
    }
}

fn wait(left: Span) {
    if left > SPIN {
        std::thread::sleep(Duration::from(left).min(NAP_MAX));
    } else {
        std::thread::yield_now();
    }
}
