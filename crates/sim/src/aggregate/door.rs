//! The door of a gateway or a service: rate limit, throttle and shedding, asked about many at a time.

use seawall_core::draw;
use seawall_core::gate::Reason;
use seawall_core::policies::Policies;
use seawall_core::rate::Bucket;
use seawall_core::record::Metric;
use seawall_core::rng::Stream;
use seawall_core::shed::{Priority, Shedder};
use seawall_core::throttle::{Signals, Throttle};
use seawall_core::time::Time;

use crate::meter::{Counter, Meter};

/// The machines of [`seawall_core::gate::Gate`], in its order.
pub(super) struct Door {
    name: String,
    bucket: Option<Bucket>,
    throttle: Option<Throttle>,
    shedder: Option<Shedder>,
    rng: Stream,
    counters: Vec<(Reason, Counter)>,
}

/// Into how many parts a crowd is cut to ask the rate limit.
const PARTS: u64 = 64;
/// As how many calls a crowd is told to an adaptive rate at the most.
const TOLD_MAX: u64 = 16;

impl Door {
    pub(super) fn new(name: &str, policies: &Policies, rng: Stream) -> Door {
        let mut door = Door {
            name: name.to_owned(),
            bucket: None,
            throttle: None,
            shedder: None,
            rng,
            counters: Vec::new(),
        };
        door.retune(Time::ZERO, policies);
        door
    }

    pub(super) fn retune(&mut self, now: Time, policies: &Policies) {
        match (&mut self.bucket, &policies.rate) {
            (Some(bucket), Some(settings)) => bucket.retune(now, settings.clone()),
            (bucket, settings) => *bucket = settings.clone().map(|settings| Bucket::new(now, settings)),
        }
        match (&mut self.throttle, &policies.throttle) {
            (Some(throttle), Some(settings)) => throttle.retune(now, settings.clone()),
            (throttle, settings) => {
                *throttle = settings.clone().map(|settings| Throttle::new(now, settings));
            }
        }
        match (&mut self.shedder, &policies.shed) {
            (Some(shedder), Some(settings)) => shedder.retune(settings.clone()),
            (shedder, settings) => *shedder = settings.clone().map(Shedder::new),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.bucket.is_none() && self.throttle.is_none() && self.shedder.is_none()
    }

    /// How many of so many are let in; `refused` is told of the others.
    pub(super) fn admit(
        &mut self,
        now: Time,
        read: bool,
        priority: Priority,
        count: u64,
        mut refused: impl FnMut(Reason, u64),
    ) -> u64 {
        if self.is_open() {
            return count;
        }
        let mut passed = count;
        if let Some(bucket) = &mut self.bucket {
            let part = count.div_ceil(PARTS).max(1);
            let mut admitted = 0;
            while admitted < count {
                let asked = part.min(count - admitted);
                if bucket.admit(now, asked as f64).is_err() {
                    break;
                }
                admitted += asked;
            }
            if admitted < count {
                refused(Reason::Rate, count - admitted);
            }
            passed = admitted;
        }
        let mut turned = 0;
        if let Some(throttle) = &self.throttle
            && read
            && throttle.share() < 1.0
        {
            let through = draw::binomial(passed, throttle.share(), &mut self.rng);
            turned = passed - through;
            if turned > 0 {
                refused(Reason::Throttle, turned);
            }
            passed = through;
        }
        if let Some(shedder) = &self.shedder
            && !shedder.admits(priority)
            && passed > 0
        {
            refused(Reason::Degraded, passed);
            turned += passed;
            passed = 0;
        }
        if let Some(bucket) = &mut self.bucket
            && turned > 0
        {
            bucket.give_back(turned as f64);
        }
        passed
    }

    pub(super) fn shed(&mut self, meter: &mut Meter, reason: Reason, count: u64) {
        let known = self.counters.iter().find(|(known, _)| *known == reason);
        let counter = if let Some((_, counter)) = known {
            *counter
        } else {
            let counter = meter.counter(Metric::Shed, &self.name, Some(reason.name()));
            self.counters.push((reason, counter));
            counter
        };
        meter.add(counter, count as f64);
    }

    pub(super) fn observe(&mut self, now: Time, signals: &Signals, full: f64) {
        if let Some(throttle) = &mut self.throttle {
            throttle.observe(now, signals);
        }
        if let Some(shedder) = &mut self.shedder {
            shedder.observe(now, full);
        }
    }

    /// Tells what became of calls that were let in.
    pub(super) fn record(&mut self, now: Time, ok: bool, count: u64) {
        if let Some(bucket) = &mut self.bucket {
            (0..count.min(TOLD_MAX)).for_each(|_| bucket.record(now, ok));
        }
    }

    pub(super) fn share(&self) -> f64 {
        self.throttle.as_ref().map_or(1.0, Throttle::share)
    }

    pub(super) fn level(&self) -> u8 {
        self.shedder.as_ref().map_or(0, Shedder::level)
    }
}
