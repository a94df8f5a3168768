//! A scenario without the parts of its time in which nothing new happens, so that a drill need not wait them out.
//!
//! What is left out is left out of the clock: what comes after it comes so much earlier, a fault that lasts over it is so
//! much shorter, and windows that lie in it alone have nothing to say and go. How long entries live, how long requests take
//! and how long anybody waits stays as it is.

use seawall_core::time::Span;

use crate::model::{Action, Event, Expect, Fault, Scenario, Wanted, What, Window};

/// A window that has shrunk below this share of its length, and below what a person could see, judges nothing.
const LEFT_MIN_S: f64 = 0.5;

impl Scenario {
    /// The scenario without these parts of its time, each on one side of T=0.
    #[must_use]
    pub fn without(&self, parts: &[Window]) -> Scenario {
        let mut scenario = self.clone();
        if parts.is_empty() {
            return scenario;
        }
        let cut = Cut(parts);
        let run = &mut scenario.run;
        run.duration = cut.span(run.duration);
        run.warmup = Span::from_secs_f64(-cut.at(-run.warmup.as_secs_f64()));
        for step in scenario
            .clients
            .iter_mut()
            .flat_map(|client| &mut client.schedule)
        {
            step.over = cut.length(step.at, step.over);
            step.at = cut.span(step.at);
        }
        scenario.timeline.iter_mut().for_each(|event| cut.event(event));
        scenario.expects.retain_mut(|expect| cut.expect(expect));
        scenario
    }
}

struct Cut<'a>(&'a [Window]);

impl Cut<'_> {
    /// Where an instant of the scenario's clock, in seconds, has gone.
    fn at(&self, at: f64) -> f64 {
        let lost = self.0.iter().map(|part| {
            if part.from >= 0.0 {
                (at.min(part.to) - part.from).max(0.0)
            } else {
                -(part.to - at.max(part.from)).max(0.0)
            }
        });
        at - lost.sum::<f64>()
    }

    fn span(&self, at: Span) -> Span {
        Span::from_secs_f64(self.at(at.as_secs_f64()))
    }

    /// How much is left of what begins at an instant and takes so long.
    fn length(&self, from: Span, length: Span) -> Span {
        if length == Span::MAX {
            return length;
        }
        let (start, end) = (self.span(from), self.span(from + length));
        end.saturating_sub(start)
    }

    fn event(&self, event: &mut Event) {
        event.for_ = event.for_.map(|length| self.length(event.at, length));
        match &mut event.what {
            What::Fault(Fault::ExpireAt { instant }) => *instant = self.span(*instant),
            What::Action(Action::Scale { takes, .. } | Action::Restart { takes }) => {
                *takes = self.length(event.at, *takes);
            }
            _ => {}
        }
        event.at = self.span(event.at);
    }

    fn window(&self, window: &mut Window) -> bool {
        let long = window.to - window.from;
        (window.from, window.to) = (self.at(window.from), self.at(window.to));
        let left = window.to - window.from;
        left >= long - 1e-9 || left >= LEFT_MIN_S
    }

    /// Whether there is anything left to judge.
    fn expect(&self, expect: &mut Expect) -> bool {
        let mut says = self.window(&mut expect.over);
        let left = expect.over.to - expect.over.from;
        match &mut expect.wanted {
            Wanted::Times { of, .. } => says &= self.window(of),
            Wanted::Reaches { within, hold, .. } => {
                let left = Span::from_secs_f64(left);
                *within = (*within).min(left);
                *hold = (*hold).min(left.saturating_sub(*within));
            }
            _ => {}
        }
        says
    }
}

#[cfg(test)]
mod tests {
    use crate::Document;
    use crate::model::{Bound, Statistic, Wanted, Window};
    use seawall_core::time::Span;

    const TEXT: &str = r#"
        title = "t"
        [run]
        duration = "20m"
        warmup = "60s"
        [drill]
        skip = [["-50s", "-10s"], ["1m", "11m"]]
        [client.web]
        calls = "app"
        rate = "10/s"
        keys = { uniform = { count = 10 } }
        schedule = [{ at = "30s", rate = "20/s", over = "12m" }]
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        [database.db]
        service_time = "10ms"
        [[timeline]]
        at = "0s"
        for = "15m"
        on = "redis"
        fault = "kill"
        [[expect]]
        that = "before"
        metric = "goodput_ratio"
        of = "web"
        over = ["-60s", "0s"]
        mean = { above = 0.5 }
        [[expect]]
        that = "in what is left out"
        metric = "goodput_ratio"
        of = "web"
        over = ["2m", "10m"]
        mean = { above = 0.5 }
        [[expect]]
        that = "how many"
        metric = "requests_total"
        of = "web"
        over = ["30s", "12m"]
        sum = { above = 690 }
        [[expect]]
        that = "after"
        metric = "goodput_ratio"
        of = "web"
        over = ["15m", "20m"]
        reaches = { above = 0.9, within = "30s", hold = "2m" }
    "#;

    #[test]
    fn what_is_left_out_is_left_out_of_the_clock() {
        let document = Document::parse("t", TEXT).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
        let whole = document.scenario("as-written", &[]).expect("it is in order");
        let left = whole.without(&whole.drill.skip);
        assert_eq!(
            (left.run.warmup, left.run.duration),
            (Span::secs(20), Span::secs(600))
        );
        assert_eq!(left.timeline[0].for_, Some(Span::secs(300)));
        let step = &left.clients[0].schedule[0];
        assert_eq!((step.at, step.over), (Span::secs(30), Span::secs(120)));
        let [before, many, after] = left.expects.as_slice() else {
            panic!("one of them has nothing left to say");
        };
        assert_eq!(before.over, Window { from: -20.0, to: 0.0 });
        assert_eq!(
            many.over,
            Window {
                from: 30.0,
                to: 120.0
            }
        );
        // Of what is counted, most happens where something happens.
        assert_eq!(many.wanted, Wanted::Is(Statistic::Sum, Bound::Above(690.0)));
        assert_eq!(
            after.over,
            Window {
                from: 300.0,
                to: 600.0
            }
        );
        assert_eq!(whole.without(&[]), whole);
    }

    #[test]
    fn nothing_may_happen_in_what_is_left_out() {
        for (skip, why) in [
            (r#"[["-5s", "5s"]]"#, "lies on both sides of T=0"),
            (r#"[["14m", "16m"]]"#, "something happens at 15m"),
            (r#"[["19m", "21m"]]"#, "outside of the run"),
            (
                r#"[["1m", "3m"], ["2m", "4m"]]"#,
                "begins before the one above it has ended",
            ),
        ] {
            let text = TEXT.replace(r#"[["-50s", "-10s"], ["1m", "11m"]]"#, skip);
            let wrong = Document::parse("t", &text).expect_err("it is refused");
            let told = format!("{:?}", wrong.list());
            assert!(told.contains(why), "{skip}: {told}");
        }
    }
}
