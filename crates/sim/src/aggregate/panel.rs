//! Breakers: not averaged, for a mean of open and closed breakers is no breaker. There is one machine for each that there
//! is, or a sample of them that sees its share of the calls, and what the sample lets through is what all let through.

use std::collections::VecDeque;

use seawall_core::breaker::{Admission, Breaker, Permit, Settings, State, Verdict};
use seawall_core::draw;
use seawall_core::rng::Stream;
use seawall_core::time::{Span, Time};

use super::cohort::about;

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
    /// Calls of which it is known when and how they end: in which tick, of which machine, its permit, well or not, after
    /// how many seconds.
    known: Vec<(u32, u8, Permit, bool, f64)>,
    /// Until when a failure may still matter.
    wary_until: Time,
    past: f64,
}

/// How a share of calls ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) share: f64,
    pub(super) ok: bool,
    pub(super) took: f64,
    pub(super) tick: u32,
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
            known: Vec::new(),
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

    /// How many of so many calls are let through; how they end will be told.
    pub(super) fn admit(&mut self, now: Time, tick: u32, count: u64) -> u64 {
        self.ask(now, count, |panel, sample, permit| {
            let known = panel
                .out
                .iter_mut()
                .rev()
                .take(SAMPLE_MAX)
                .find(|out| out.tick == tick && out.sample == sample && out.permit == permit);
            match known {
                Some(out) => out.count += 1,
                None => panel.out.push_back(Out {
                    tick,
                    sample,
                    permit,
                    count: 1,
                }),
            }
        })
    }

    /// How many of so many calls are let through, when it is known what becomes of them: shares of them, whether they
    /// succeed, and after how many seconds and in which tick that is known.
    pub(super) fn admit_known(&mut self, now: Time, count: u64, ends: &[End]) -> u64 {
        self.ask(now, count, |panel, sample, permit| {
            let mut draw = panel.rng.unit();
            let end = ends.iter().find(|end| {
                draw -= end.share;
                draw < 0.0
            });
            if let Some(end) = end.or(ends.last()) {
                panel.known.push((end.tick, sample, permit, end.ok, end.took));
            }
        })
    }

    /// Lets a tick pass: what is known to end in it ends.
    pub(super) fn pass(&mut self, now: Time, tick: u32) {
        if self.known.is_empty() {
            return;
        }
        let mut known = std::mem::take(&mut self.known);
        known.retain(|(due, sample, permit, ok, took)| {
            if *due > tick {
                return true;
            }
            self.told(now, *sample, *permit, *ok, *took);
            false
        });
        self.known = known;
    }

    fn told(&mut self, now: Time, sample: u8, permit: Permit, ok: bool, took: f64) {
        if !ok {
            self.wary_until = now + self.settings.window.max(self.settings.open_max) + self.settings.ramp;
        }
        let verdict = if ok { Verdict::Success } else { Verdict::Failure };
        if let Some(breaker) = self.breakers.get_mut(sample as usize) {
            breaker.record(now, permit, verdict, Span::from_secs_f64(took));
        }
    }

    fn ask(&mut self, now: Time, count: u64, mut passes: impl FnMut(&mut Panel, u8, Permit)) -> u64 {
        if count == 0 {
            return 0;
        }
        let sampled = self.breakers.len();
        // Where each breaker has its machine, the calls are dealt out to them; else the sample sees its part.
        let all = sampled as f64 >= self.real - 0.5;
        let seen = draw::Poisson::new(count as f64 / self.real);
        let (mut asked, mut passed, mut left) = (0_u64, 0_u64, count);
        for sample in 0..sampled {
            let calls = if all {
                let part = draw::binomial(left, 1.0 / (sampled - sample) as f64, &mut self.rng);
                left -= part;
                part
            } else {
                seen.draw(&mut self.rng).min(count)
            };
            asked += calls;
            for _ in 0..calls {
                match self.breakers[sample].admit(now, &mut self.rng) {
                    Admission::Pass(permit) => {
                        passed += 1;
                        passes(self, sample as u8, permit);
                    }
                    Admission::Refuse { .. } => {
                        // In a ramp each call has its own chance; otherwise all that follow are refused, too.
                        if self.breakers[sample].state(now) != State::Closed {
                            break;
                        }
                    }
                }
            }
        }
        if all {
            return passed;
        }
        if asked == 0 {
            // Nobody of the sample was called: the others stand as it does.
            let closed = self
                .breakers
                .iter()
                .filter(|breaker| breaker.state(now) == State::Closed);
            let share = closed.count() as f64 / sampled as f64;
            return about(count as f64 * share, &mut self.rng).min(count);
        }
        if passed == asked {
            return count;
        }
        about(count as f64 * passed as f64 / asked as f64, &mut self.rng).min(count)
    }

    /// A share of the calls of a tick, as far as they are still out, has ended like this.
    pub(super) fn record(&mut self, now: Time, tick: u32, share: f64, ok: bool, took: f64) {
        let mut ended = Vec::new();
        let Panel { out, rng, .. } = self;
        for call in out.iter_mut().filter(|call| call.tick == tick) {
            let count = if share >= 1.0 {
                call.count
            } else {
                draw::binomial(call.count, share, rng)
            };
            call.count -= count;
            if count > 0 {
                ended.push((call.sample, call.permit, count));
            }
        }
        while out.front().is_some_and(|call| call.count == 0) {
            out.pop_front();
        }
        for (sample, permit, count) in ended {
            (0..count).for_each(|_| self.told(now, sample, permit, ok, took));
        }
    }

    /// A share of the calls of a tick, as far as they are still out, was never made.
    pub(super) fn release_share(&mut self, now: Time, tick: u32, share: f64) {
        let Panel {
            breakers, out, rng, ..
        } = self;
        for call in out.iter_mut().filter(|call| call.tick == tick) {
            let count = draw::binomial(call.count, share.min(1.0), rng);
            call.count -= count;
            if let Some(breaker) = breakers.get_mut(call.sample as usize) {
                (0..count).for_each(|_| breaker.release(now, call.permit));
            }
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
