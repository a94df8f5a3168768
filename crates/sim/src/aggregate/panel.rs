//! Breakers: not averaged, for a mean of open and closed breakers is no breaker. There is one machine for each that there
//! is, or a sample of them that sees its share of the calls, and what the sample lets through is what all let through.

use std::collections::VecDeque;

use seawall_core::breaker::{Admission, Breaker, Permit, Settings, State, Verdict};
use seawall_core::draw;
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};

/// The most machines that stand for all.
const SAMPLE_MAX: usize = 16;

/// Breakers that see the same traffic.
#[derive(Debug)]
pub(super) struct Panel {
    breakers: Vec<Breaker>,
    /// How many there are.
    real: f64,
    settings: Settings,
    rng: Stream,
    /// Calls that were let through and have not ended, by the tick they were made in.
    out: VecDeque<Out>,
    /// Until when a failure may still matter.
    wary_until: Time,
    past: f64,
}

#[derive(Debug)]
struct Out {
    tick: u32,
    sample: u8,
    permit: Permit,
    count: u64,
}

impl Panel {
    pub(super) fn new(settings: &Settings, real: f64, rng: Stream) -> Panel {
        let count = (libm::round(real) as usize).clamp(1, SAMPLE_MAX);
        Panel {
            breakers: (0..count).map(|_| Breaker::new(settings.clone())).collect(),
            real: real.max(1.0),
            settings: settings.clone(),
            rng,
            out: VecDeque::new(),
            wary_until: Time::ZERO,
            past: 0.0,
        }
    }

    pub(super) fn retune(&mut self, now: Time, settings: &Settings) {
        self.settings = settings.clone();
        for breaker in &mut self.breakers {
            breaker.retune(now, settings.clone());
        }
    }

    /// Another number of breakers; those that are new are closed.
    pub(super) fn resize(&mut self, real: f64) {
        self.real = real.max(1.0);
        let count = (libm::round(real) as usize).clamp(1, SAMPLE_MAX);
        self.breakers
            .resize_with(count, || Breaker::new(self.settings.clone()));
    }

    /// Whether the machines have to be asked at all: not while all is well and only rows of failures count.
    pub(super) fn is_calm(&self, now: Time, well: bool) -> bool {
        let plain = self.settings.failure_rate.is_none() && self.settings.slow_call.is_none();
        well && plain && now >= self.wary_until
    }

    /// How many of so many calls are let through.
    pub(super) fn admit(&mut self, now: Time, tick: u32, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let mean = count as f64 / self.real;
        let (mut asked, mut passed) = (0_u64, 0_u64);
        for (sample, breaker) in self.breakers.iter_mut().enumerate() {
            let calls = draw::poisson(mean, &mut self.rng).min(count);
            asked += calls;
            let mut given: Option<(Permit, u64)> = None;
            for _ in 0..calls {
                match breaker.admit(now, &mut self.rng) {
                    Admission::Pass(permit) => {
                        passed += 1;
                        match &mut given {
                            Some((known, count)) if *known == permit => *count += 1,
                            _ => {
                                let new = Some((permit, 1));
                                if let Some((permit, count)) = std::mem::replace(&mut given, new) {
                                    self.out.push_back(Out {
                                        tick,
                                        sample: sample as u8,
                                        permit,
                                        count,
                                    });
                                }
                            }
                        }
                    }
                    Admission::Refuse { .. } => {
                        // In a ramp each call has its own chance; otherwise all that follow are refused, too.
                        if breaker.state(now) != State::Closed {
                            break;
                        }
                    }
                }
            }
            if let Some((permit, count)) = given {
                self.out.push_back(Out {
                    tick,
                    sample: sample as u8,
                    permit,
                    count,
                });
            }
        }
        if asked == 0 {
            let closed = self
                .breakers
                .iter()
                .filter(|breaker| breaker.state(now) == State::Closed);
            let share = closed.count() as f64 / self.breakers.len() as f64;
            return draw::binomial(count, share, &mut self.rng);
        }
        if passed == asked {
            return count;
        }
        draw::binomial(count, passed as f64 / asked as f64, &mut self.rng)
    }

    /// A share of the calls of a tick, as far as they are still out, has ended like this.
    pub(super) fn record(&mut self, now: Time, tick: u32, share: f64, ok: bool, took: f64) {
        let took = Span::from_secs_f64(took);
        if !ok || self.settings.slow_call.is_some() {
            self.wary_until = now + self.settings.window.max(self.settings.open_max) + self.settings.ramp;
        }
        let verdict = if ok { Verdict::Success } else { Verdict::Failure };
        let Panel {
            breakers, out, rng, ..
        } = self;
        for call in out.iter_mut().filter(|call| call.tick == tick) {
            let ended = if share >= 1.0 {
                call.count
            } else {
                draw::binomial(call.count, share, rng)
            };
            call.count -= ended;
            if let Some(breaker) = breakers.get_mut(call.sample as usize) {
                for _ in 0..ended {
                    breaker.record(now, call.permit, verdict, took);
                }
            }
        }
        while out.front().is_some_and(|call| call.count == 0) {
            out.pop_front();
        }
    }

    /// Nothing is known of what is left of the calls of a tick and before.
    pub(super) fn release(&mut self, now: Time, tick: u32) {
        while self.out.front().is_some_and(|call| call.tick <= tick) {
            if let Some(call) = self.out.pop_front()
                && let Some(breaker) = self.breakers.get_mut(call.sample as usize)
            {
                (0..call.count).for_each(|_| breaker.release(now, call.permit));
            }
        }
    }

    /// The mean over all: 0 closed, 1 half open, 2 open.
    pub(super) fn state(&self, now: Time) -> f64 {
        let sum: f64 = self
            .breakers
            .iter()
            .map(|breaker| match breaker.state(now) {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            })
            .sum();
        sum / self.breakers.len() as f64
    }

    /// How many breakers there are.
    pub(super) fn real(&self) -> f64 {
        self.real
    }

    /// Changes of state since this was last asked, over all.
    pub(super) fn transitions(&mut self) -> f64 {
        let all: u64 = self.breakers.iter().map(Breaker::transitions).sum();
        let all = all as f64 * self.real / self.breakers.len() as f64;
        let new = (all - self.past).max(0.0);
        self.past = all;
        new
    }
}
