//! The circuit breaker: stops asking a cache node or an origin that does not answer.
//!
//! Closed, it lets everything through and counts failures. Open, it refuses for a while. Then it is half open: it lets
//! through a counted few probes, and closes when all of them succeed. What it is told about calls of an earlier
//! generation (admitted before its last change of state) is ignored, so a burst of late timeouts cannot open it
//! again. It does not know what a failure is: a miss, for one, is a success, and the caller says so.
//!
//! The states are those of Nygard, "Release It!" (2007). It does not time calls out, and it does not wait.
//!
//! ```
//! use seawall_core::breaker::{Admission, Breaker, Settings, State, Verdict};
//! use seawall_core::{rng::Seed, time::{Span, Time}};
//! let mut rng = Seed(1).stream("breaker", 0);
//! let mut breaker = Breaker::new(Settings { failures: 1, ..Settings::default() });
//! let Admission::Pass(permit) = breaker.admit(Time::ZERO, &mut rng) else { panic!("closed") };
//! breaker.record(Time::ZERO, permit, Verdict::Failure, Span::ZERO);
//! assert_eq!(breaker.state(Time::ZERO), State::Open);
//! let retry_at = Time::ZERO + Span::secs(5);
//! assert_eq!(breaker.admit(Time::ZERO, &mut rng), Admission::Refuse { retry_at });
//! assert!(matches!(breaker.admit(retry_at, &mut rng), Admission::Pass(_)));
//! assert_eq!(breaker.state(retry_at), State::HalfOpen);
//! ```

use std::collections::VecDeque;

use crate::rng::Stream;
use crate::time::{Span, Time};

mod counts;
#[cfg(test)]
mod tests;

use counts::Counts;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Opens after this many failures in a row, all within `window`; 0 switches this rule off.
    pub failures: u32,
    /// The window in which failures, calls and slow calls are counted.
    pub window: Span,
    /// Opens when this share of the calls in the window failed, once there are `minimum_calls`.
    pub failure_rate: Option<f64>,
    /// A call that takes longer than this is slow.
    pub slow_call: Option<Span>,
    /// Opens when this share of the calls in the window was slow, once there are `minimum_calls`.
    pub slow_rate: f64,
    /// How many calls the window must hold before a share of them means anything.
    pub minimum_calls: u32,
    /// How long it stays open the first time.
    pub open_for: Span,
    /// Each opening in a row lasts this many times as long as the one before, up to `open_max`.
    pub backoff: f64,
    /// The longest that it stays open.
    pub open_max: Span,
    /// How many calls are let through at a time while half open; all of them must succeed to close it.
    pub probes: u32,
    /// After closing, the share of calls let through grows from nothing to all over this time.
    pub ramp: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            failures: 5,
            window: Span::secs(10),
            failure_rate: None,
            slow_call: None,
            slow_rate: 0.5,
            minimum_calls: 20,
            open_for: Span::secs(5),
            backoff: 1.0,
            open_max: Span::secs(60),
            probes: 1,
            ramp: Span::ZERO,
        }
    }
}

/// What a breaker does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lets calls through.
    Closed,
    /// It lets a counted few through.
    HalfOpen,
    /// It refuses.
    Open,
}

/// The right to make one call. Give it back with [`Breaker::record`], or unused with [`Breaker::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit(u64);

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Pass(Permit),
    /// It may not.
    Refuse {
        /// When it is worth asking again.
        retry_at: Time,
    },
}

/// What a call says about whom it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Success,
    /// It did not.
    Failure,
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    phase: Phase,
    /// Counts the changes of phase; permits of another one are worth nothing.
    generation: u32,
    /// Closed: until when calls are let through by chance only. In the past when all are.
    ramp_end: Time,
    /// The failures of the present run of failures that lie within the window, oldest first.
    run: VecDeque<Time>,
    /// Calls of the window, when a share of them can open it.
    counts: Counts,
    /// Half open: the probes that are out.
    probes: Vec<Probe>,
    /// Half open: the probes that have succeeded.
    proven: u32,
    /// Numbers probes, so that one that was given up is not taken for another.
    serial: u32,
    /// How often in a row it opened without having closed.
    openings: u32,
    transitions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Time },
    HalfOpen,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    serial: u32,
    since: Time,
}

/// More probes than this at a time are a herd.
const PROBES_MAX: u32 = 1024;
/// A run of failures is remembered up to this length; a longer threshold is taken as this.
const RUN_MAX: u32 = 1 << 16;
/// A probe that is lost holds its place at least this long, or half open would mean open to all.
const PROBE_TIMEOUT_MIN: Span = Span::millis(1);

impl Permit {
    const fn new(generation: u32, serial: u32) -> Permit {
        Permit(((generation as u64) << 32) | serial as u64)
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn serial(self) -> u32 {
        self.0 as u32
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Breaker {
        let counts = Counts::new(settings.window);
        Breaker {
            settings,
            phase: Phase::Closed,
            generation: 0,
            ramp_end: Time::ZERO,
            run: VecDeque::new(),
            counts,
            probes: Vec::new(),
            proven: 0,
            serial: 0,
            openings: 0,
            transitions: 0,
        }
    }

    /// Whether one more call may be made. Draws only in the ramp after a recovery.
    #[inline]
    pub fn admit(&mut self, now: Time, rng: &mut Stream) -> Admission {
        if self.phase == Phase::Closed && now >= self.ramp_end {
            return Admission::Pass(Permit::new(self.generation, 0));
        }
        self.admit_warily(now, rng)
    }

    /// Says how a call went. Counts only in the generation that admitted it.
    #[inline]
    pub fn record(&mut self, now: Time, permit: Permit, verdict: Verdict, took: Span) {
        if permit.generation() != self.generation {
            return;
        }
        let plain = self.settings.failure_rate.is_none() && self.settings.slow_call.is_none();
        if plain && verdict == Verdict::Success && self.phase == Phase::Closed {
            // A success ends a run of failures.
            if !self.run.is_empty() {
                self.run.clear();
            }
            return;
        }
        self.record_warily(now, permit, verdict, took);
    }

    /// Gives a permit back that was not used, or of whose call nothing is known.
    pub fn release(&mut self, now: Time, permit: Permit) {
        let _ = now;
        if permit.generation() == self.generation && self.phase == Phase::HalfOpen {
            self.probes.retain(|probe| probe.serial != permit.serial());
        }
    }

    /// What it does at `now`. An open breaker whose time is over is half open, though nobody has asked it yet.
    pub fn state(&self, now: Time) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until } if now < until => State::Open,
            Phase::Open { .. } | Phase::HalfOpen => State::HalfOpen,
        }
    }

    /// Whether it is closed for all, and no failure is on its mind: one more success would change nothing, as long as no
    /// share of the calls is counted.
    pub fn is_calm(&self, now: Time) -> bool {
        self.phase == Phase::Closed && now >= self.ramp_end && self.run.is_empty()
    }

    /// How long it stays open; nothing when it is not.
    pub fn opens_in(&self, now: Time) -> Span {
        match self.phase {
            Phase::Open { until } => until.since(now),
            Phase::Closed | Phase::HalfOpen => Span::ZERO,
        }
    }

    /// Changes of state so far.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Opens it by hand, for as long as its next opening lasts.
    pub fn trip(&mut self, now: Time) {
        self.open(now);
        self.check();
    }

    /// Closes it by hand, at once and without a ramp.
    pub fn reset(&mut self, now: Time) {
        let _ = now;
        if self.phase != Phase::Closed {
            self.enter(Phase::Closed);
        }
        self.openings = 0;
        self.ramp_end = Time::ZERO;
        self.forget();
        self.check();
    }

    /// Takes other settings. Its state stays, and an opening under way keeps its end.
    pub fn retune(&mut self, now: Time, settings: Settings) {
        if settings.window != self.settings.window {
            self.counts = Counts::new(settings.window);
        }
        self.ramp_end = self.ramp_end.min(now + settings.ramp);
        self.settings = settings;
        if self.phase == Phase::HalfOpen && self.proven >= self.probes_wanted() {
            self.close(now);
        }
        while self.run.len() >= self.run_max().max(1) {
            self.run.pop_front();
        }
        self.check();
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert!(self.run.len() < self.run_max().max(1), "a full run has opened it");
        if self.phase == Phase::HalfOpen {
            assert!(
                self.proven < self.probes_wanted(),
                "enough proven probes have closed it"
            );
            let bound = self.probes_wanted().max(self.probes.len() as u32) as usize;
            assert!(
                self.probes.len() <= bound.min(PROBES_MAX as usize),
                "a counted few"
            );
        } else {
            assert!(
                self.probes.is_empty() && self.proven == 0,
                "probes are of the half-open state"
            );
        }
        assert!(
            self.phase == Phase::Closed || self.run.is_empty(),
            "runs are of the closed state"
        );
        self.counts.invariants();
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }

    #[cold]
    fn admit_warily(&mut self, now: Time, rng: &mut Stream) -> Admission {
        match self.phase {
            Phase::Closed => self.admit_in_ramp(now, rng),
            Phase::Open { until } if now < until => Admission::Refuse { retry_at: until },
            Phase::Open { .. } => {
                self.enter(Phase::HalfOpen);
                self.admit_probe(now)
            }
            Phase::HalfOpen => self.admit_probe(now),
        }
    }

    fn admit_in_ramp(&mut self, now: Time, rng: &mut Stream) -> Admission {
        let left = self.ramp_end.since(now).as_secs_f64() / self.settings.ramp.as_secs_f64();
        if rng.chance(left) {
            Admission::Refuse {
                retry_at: self.ramp_end,
            }
        } else {
            Admission::Pass(Permit::new(self.generation, 0))
        }
    }

    fn admit_probe(&mut self, now: Time) -> Admission {
        let timeout = self.probe_timeout();
        self.probes.retain(|probe| now.since(probe.since) < timeout);
        if self.probes.len() as u32 + self.proven < self.probes_wanted() {
            self.serial = self.serial.wrapping_add(1);
            self.probes.push(Probe {
                serial: self.serial,
                since: now,
            });
            self.check();
            return Admission::Pass(Permit::new(self.generation, self.serial));
        }
        let oldest = self.probes.first().map_or(now, |probe| probe.since);
        Admission::Refuse {
            retry_at: oldest + timeout,
        }
    }

    #[cold]
    fn record_warily(&mut self, now: Time, permit: Permit, verdict: Verdict, took: Span) {
        match self.phase {
            Phase::Closed => self.record_closed(now, verdict, took),
            Phase::HalfOpen => self.record_probe(now, permit, verdict),
            Phase::Open { .. } => {}
        }
        self.check();
    }

    fn record_closed(&mut self, now: Time, verdict: Verdict, took: Span) {
        let failed = verdict == Verdict::Failure;
        if failed {
            self.run.push_back(now);
            while self
                .run
                .front()
                .is_some_and(|first| now.since(*first) > self.settings.window)
            {
                self.run.pop_front();
            }
        } else {
            self.run.clear();
        }
        let slow = self.settings.slow_call.is_some_and(|limit| took > limit);
        self.counts.add(now, failed, slow);
        let run_is_full = self.settings.failures > 0 && self.run.len() >= self.run_max();
        if run_is_full || self.share_is_over(now) {
            self.open(now);
        } else if self.settings.failures == 0 {
            self.run.clear();
        }
    }

    fn share_is_over(&mut self, now: Time) -> bool {
        let limit_failed = self.settings.failure_rate;
        let limit_slow = self.settings.slow_call.map(|_| self.settings.slow_rate);
        if limit_failed.is_none() && limit_slow.is_none() {
            return false;
        }
        let sums = self.counts.sums(now);
        let over = |count: u64, limit: Option<f64>| {
            limit.is_some_and(|limit| count > 0 && count as f64 >= limit * sums.calls as f64)
        };
        sums.calls >= u64::from(self.settings.minimum_calls)
            && (over(sums.failed, limit_failed) || over(sums.slow, limit_slow))
    }

    fn record_probe(&mut self, now: Time, permit: Permit, verdict: Verdict) {
        // A probe that was given up has lost its say.
        let Some(place) = self
            .probes
            .iter()
            .position(|probe| probe.serial == permit.serial())
        else {
            return;
        };
        self.probes.remove(place);
        if verdict == Verdict::Failure {
            self.open(now);
            return;
        }
        self.proven += 1;
        if self.proven >= self.probes_wanted() {
            self.close(now);
        }
    }

    fn open(&mut self, now: Time) {
        let factor = libm::pow(self.settings.backoff.max(1.0), f64::from(self.openings));
        let longest = self.settings.open_max.max(self.settings.open_for);
        let span = self.settings.open_for.scaled(factor).min(longest);
        self.openings = self.openings.saturating_add(1);
        self.enter(Phase::Open { until: now + span });
    }

    fn close(&mut self, now: Time) {
        self.openings = 0;
        self.ramp_end = now + self.settings.ramp;
        self.enter(Phase::Closed);
    }

    /// Every change of state comes through here.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.transitions += 1;
        self.forget();
    }

    fn forget(&mut self) {
        self.run.clear();
        self.counts.clear();
        self.probes.clear();
        self.proven = 0;
    }

    fn run_max(&self) -> usize {
        self.settings.failures.min(RUN_MAX) as usize
    }

    fn probes_wanted(&self) -> u32 {
        self.settings.probes.clamp(1, PROBES_MAX)
    }

    fn probe_timeout(&self) -> Span {
        self.settings.open_for.max(PROBE_TIMEOUT_MIN)
    }
}
