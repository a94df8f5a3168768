//! A scenario in which slow things happen faster, so that hours fit into the minute that a person watches a drill.
//!
//! Slow is what people, timers and caches do: the timeline, how long entries live, how long orders take. Fast is what
//! requests do: how often they come, how long they take, how long anybody waits for them, how many fit where. Fast things
//! stay as they are, for they are what is measured; slow things take a share of their time. With each TTL goes the number
//! of keys, so that each key is asked for as often in its life as before: hit ratios, and the misses after a loss, are
//! those of the whole scenario, only that what takes a TTL is over sooner.
//!
//! What does not stay as it was is how many request times there are in an outage: who shortens twenty minutes to twenty
//! seconds has forty client timeouts in them instead of two thousand.

use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_core::ttl::Jitter;

use crate::model::{
    Action, Bound, Event, Expect, Fault, Keys, Knob, Scenario, Setting, Statistic, Wanted, What,
};

impl Scenario {
    /// The scenario with its slow times multiplied by `share` (above 0, at most 1).
    #[must_use]
    pub fn hastened(&self, share: f64) -> Scenario {
        let mut scenario = self.clone();
        if share >= 1.0 {
            return scenario;
        }
        let hasten = Hasten { share };
        hasten.all(&mut scenario);
        scenario
    }
}

/// A system runs so long before T=0 at least, if it did so before.
const CALM_MIN: Span = Span::secs(5);

struct Hasten {
    share: f64,
}

impl Hasten {
    fn span(&self, span: &mut Span) {
        if *span != Span::MAX {
            *span = span.scaled(self.share);
        }
    }

    fn maybe(&self, span: &mut Option<Span>) {
        if let Some(span) = span {
            self.span(span);
        }
    }

    fn less(&self, count: &mut u64) {
        *count = libm::round(*count as f64 * self.share).max(1.0) as u64;
    }

    fn all(&self, scenario: &mut Scenario) {
        let run = &mut scenario.run;
        self.span(&mut run.duration);
        self.span(&mut run.every);
        // What is measured before T=0 needs its time, and whole periods.
        let every = run.every.as_nanos().max(1);
        let warmup = run.warmup.scaled(self.share).max(run.warmup.min(CALM_MIN));
        run.warmup = Span::nanos(warmup.as_nanos().div_ceil(every) * every);
        run.duration = Span::nanos(run.duration.as_nanos().div_ceil(every) * every);
        for client in &mut scenario.clients {
            for step in &mut client.schedule {
                self.span(&mut step.at);
                self.span(&mut step.over);
            }
            match &mut client.keys {
                Keys::Zipf { count, .. } | Keys::Uniform { count } => self.less(count),
                Keys::Normal { mean, deviation } => {
                    *mean *= self.share;
                    *deviation *= self.share;
                }
            }
        }
        for service in &mut scenario.services {
            if let Some(trips) = &mut service.trips {
                self.span(&mut trips.for_);
            }
            if let Some(leak) = &mut service.leak {
                self.less(&mut leak.after);
                self.span(&mut leak.restart);
            }
        }
        for cache in &mut scenario.caches {
            self.maybe(&mut cache.ttl);
            if let Some(capacity) = &mut cache.capacity {
                self.less(capacity);
            }
            if let Some(memory) = &mut cache.maxmemory {
                self.less(memory);
            }
        }
        for database in &mut scenario.databases {
            if let Some(autoscaling) = &mut database.autoscaling {
                self.span(&mut autoscaling.for_);
                self.span(&mut autoscaling.delay);
            }
        }
        for protection in &mut scenario.protections {
            self.setting(&mut protection.setting);
        }
        for event in &mut scenario.timeline {
            self.event(event);
        }
        for expect in &mut scenario.expects {
            self.expect(expect);
        }
    }

    fn event(&self, event: &mut Event) {
        self.span(&mut event.at);
        self.maybe(&mut event.for_);
        match &mut event.what {
            What::Fault(fault) => match fault {
                Fault::ExpireAt { instant } => self.span(instant),
                Fault::Leak { after, restart } => {
                    self.less(after);
                    self.span(restart);
                }
                Fault::Restart { each } => self.span(each),
                _ => {}
            },
            What::Action(action) => match action {
                Action::Scale { takes, .. } | Action::Restart { takes } => self.span(takes),
                Action::Set(knob) => match knob {
                    Knob::Ttl(ttl) => self.span(ttl),
                    Knob::Capacity(count) | Knob::Maxmemory(count) => self.less(count),
                    _ => {}
                },
                Action::Protect(protections) => {
                    for protection in protections {
                        self.setting(&mut protection.setting);
                    }
                }
                _ => {}
            },
        }
    }

    fn expect(&self, expect: &mut Expect) {
        expect.over.from *= self.share;
        expect.over.to *= self.share;
        let of_keys = expect.metric == Metric::CacheEntries;
        match &mut expect.wanted {
            // A sum over a window goes with its length, and entries go with keys.
            Wanted::Is(statistic, bound) if of_keys || *statistic == Statistic::Sum => self.bound(bound),
            Wanted::Never(bound) | Wanted::Always(bound) if of_keys => self.bound(bound),
            Wanted::Times { of, .. } => {
                of.from *= self.share;
                of.to *= self.share;
            }
            Wanted::Reaches { bound, within, hold } => {
                self.span(within);
                self.span(hold);
                if of_keys {
                    self.bound(bound);
                }
            }
            _ => {}
        }
    }

    fn bound(&self, bound: &mut Bound) {
        bound.times(self.share);
    }

    /// Of the protections, what belongs to entries and their lives is slow; what watches requests is fast.
    fn setting(&self, setting: &mut Setting) {
        match setting {
            Setting::Ttl(ttl) => {
                for span in [
                    &mut ttl.ttl,
                    &mut ttl.critical,
                    &mut ttl.important,
                    &mut ttl.regular,
                    &mut ttl.stagger,
                    &mut ttl.negative,
                ] {
                    self.maybe(span);
                }
                if let Some(Jitter::Up(jitter)) = &mut ttl.jitter {
                    self.span(jitter);
                }
            }
            Setting::Stale(stale) => {
                self.span(&mut stale.while_revalidating);
                self.span(&mut stale.on_error);
            }
            Setting::Coalesce(coalesce) => self.span(&mut coalesce.window),
            Setting::Warm(warm) => self.span(&mut warm.window),
            Setting::Hot(hot) => {
                self.span(&mut hot.ttl);
                self.span(&mut hot.window);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Document;
    use crate::model::{Action, Bound, Keys, Setting, Statistic, Wanted, What};
    use seawall_core::time::Span;

    const TEXT: &str = r#"
        [run]
        duration = "10m"
        warmup = "30s"
        [drill]
        time = "1/10"
        [client.web]
        calls = "app"
        rate = "100/s"
        timeout = "2s"
        keys = { zipf = { count = 1000, exponent = 0.9 } }
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        ttl = "5m"
        capacity = 500
        timeout = "100ms"
        [database.db]
        service_time = "10ms"
        [protect]
        breaker = { failures = 5, window = "10s", open_for = "5s" }
        ttl = { jitter = "30s" }
        stale = { on_error = "10m" }
        [[timeline]]
        at = "1m"
        for = "2m"
        on = "redis"
        fault = "hang"
        [[timeline]]
        at = "4m"
        on = "app"
        action = { scale = { instances = 4, takes = "1m" } }
        [[expect]]
        that = "shed"
        metric = "shed_total"
        of = "app"
        over = ["-10s", "2m"]
        sum = { below = 50 }
        [[expect]]
        that = "back"
        metric = "goodput_ratio"
        of = "web"
        over = ["3m", "5m"]
        reaches = { above = "99%", within = "1m", hold = "10s" }
    "#;

    #[test]
    fn slow_things_take_their_share_and_requests_their_time() {
        let document = Document::parse("a.toml", TEXT).expect("a good document");
        let whole = document.scenario("as-written", &[]).expect("a good scenario");
        assert_eq!(whole.hastened(1.0), whole);
        let drill = whole.hastened(whole.drill.time);
        let run = &drill.run;
        assert_eq!(
            (run.duration, run.warmup, run.every),
            (Span::secs(60), Span::secs(5), Span::millis(100)),
            "before T=0 there is time to measure"
        );
        let client = &drill.clients[0];
        assert_eq!((client.rate, client.timeout), (100.0, Some(Span::secs(2))));
        assert!(matches!(client.keys, Keys::Zipf { count: 100, .. }));
        let cache = &drill.caches[0];
        assert_eq!(
            (cache.ttl, cache.capacity, cache.timeout),
            (Some(Span::secs(30)), Some(50), Span::millis(100))
        );
        assert_eq!(drill.databases[0].service_time, whole.databases[0].service_time);
        for protection in &drill.protections {
            match &protection.setting {
                Setting::Breaker(breaker) => assert_eq!(breaker.open_for, Span::secs(5)),
                Setting::Ttl(ttl) => {
                    assert_eq!(ttl.jitter, Some(seawall_core::ttl::Jitter::Up(Span::secs(3))));
                }
                Setting::Stale(stale) => assert_eq!(stale.on_error, Span::secs(60)),
                other => panic!("not in the document: {other:?}"),
            }
        }
        let [hang, scale] = drill.timeline.as_slice() else {
            panic!("two events");
        };
        assert_eq!((hang.at, hang.for_), (Span::secs(6), Some(Span::secs(12))));
        let What::Action(Action::Scale { takes, .. }) = scale.what else {
            panic!("an action");
        };
        assert_eq!((scale.at, takes), (Span::secs(24), Span::secs(6)));
        let [shed, back] = drill.expects.as_slice() else {
            panic!("two expectations");
        };
        assert_eq!((shed.over.from, shed.over.to), (-1.0, 12.0));
        assert_eq!(shed.wanted, Wanted::Is(Statistic::Sum, Bound::Below(5.0)));
        let Wanted::Reaches { bound, within, hold } = back.wanted else {
            panic!("a time");
        };
        assert_eq!(
            (bound, within, hold),
            (Bound::Above(0.99), Span::secs(6), Span::secs(1))
        );
    }
}
