//! The loads of a service: how many are under way for which keys, and by which rules.

use std::collections::VecDeque;

use seawall_core::policies::Policies;
use seawall_core::rng::{Seed, Stream};
use seawall_core::time::{Span, Time};

use super::again::Again;
use super::cohort::{Cohort, Purpose, Who};
use super::launch::Launch;
use super::limits::{Gone, Limits};
use super::odds::{Keyed, Past};
use super::panel::Panel;
use super::services::Turnover;
use super::warming::Warming;

/// The most ticks for which it is remembered what look-ups found missing.
const PAST_MAX: usize = 2048;

/// Refreshes in the background at a time, of one instance, where nothing is said; as in the guard.
const REFRESHES_MAX: u32 = 100;
/// How quickly the share of loads that bring something follows, from tick to tick.
const SUCCESS_FOLLOWS: f64 = 0.2;

/// The loads of a service.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a protection that is on or off"
)]
pub(super) struct Loads {
    pub(super) launches: VecDeque<Launch>,
    /// The number of the first of them.
    pub(super) base: u32,
    pub(super) spare: Vec<Launch>,
    /// Launches of which loads have ended in this tick.
    pub(super) touched: Vec<u32>,
    pub(super) keyed: Keyed,
    pub(super) classes: usize,
    pub(super) origin_panel: Option<Panel>,
    pub(super) again: Option<Again>,
    pub(super) warming: Warming,
    /// Places at the origin, over all instances; waiting places; seconds that one waits.
    pub(super) limit: f64,
    /// What finds the limit, where it is not fixed.
    pub(super) limits: Option<Limits>,
    pub(super) places: f64,
    pub(super) patience: f64,
    pub(super) inside: u64,
    pub(super) line: VecDeque<Cohort>,
    pub(super) lined: u64,
    pub(super) room: f64,
    pub(super) turnover: Turnover,
    /// Seconds that loads take of late.
    pub(super) takes: f64,
    /// The share of loads that bring something of late.
    pub(super) succeeds: f64,
    pub(super) hard: f64,
    pub(super) soft: f64,
    pub(super) total: f64,
    pub(super) cancels: bool,
    /// The database itself knows of the limit.
    pub(super) gated: bool,
    pub(super) coalesces: bool,
    /// Whether it matters which keys are being loaded.
    pub(super) tracks: bool,
    pub(super) window: f64,
    pub(super) wait_max: f64,
    pub(super) leases: bool,
    /// Loads under way that others can join, by class; and shared results by class, with when they are forgotten.
    pub(super) flights: Vec<f64>,
    pub(super) shared: Vec<f64>,
    pub(super) shared_ends: VecDeque<(u32, Vec<f64>)>,
    pub(super) refreshes_max: f64,
    pub(super) refreshes: u64,
    pub(super) seed: Seed,
    pub(super) index: usize,
    pub(super) rng: Stream,
    pub(super) begun: f64,
    pub(super) coalesced: f64,
    pub(super) retried: f64,
    pub(super) warmed: f64,
    pub(super) copied: Vec<u64>,
    /// By client: writes that have not taken their keys out of the caches yet.
    pub(super) written: Vec<u64>,
    /// Shares of requests for which there is something stale, and the tick for which they were worked out.
    pub(super) stale_shares: Vec<(u32, f64)>,
    /// Room to count in.
    pub(super) counted: Vec<f64>,
}

impl Loads {
    pub(super) fn new(classes: usize, seed: Seed, index: usize) -> Loads {
        Loads {
            launches: VecDeque::new(),
            base: 0,
            spare: Vec::new(),
            touched: Vec::new(),
            keyed: Keyed::default(),
            classes,
            origin_panel: None,
            again: None,
            warming: Warming::default(),
            limit: f64::INFINITY,
            limits: None,
            places: 0.0,
            patience: 0.0,
            inside: 0,
            line: VecDeque::new(),
            lined: 0,
            room: f64::INFINITY,
            turnover: Turnover::default(),
            takes: 0.0,
            succeeds: 1.0,
            hard: f64::INFINITY,
            soft: f64::INFINITY,
            total: f64::INFINITY,
            cancels: false,
            gated: false,
            coalesces: false,
            tracks: false,
            window: 0.0,
            wait_max: f64::INFINITY,
            leases: false,
            flights: vec![0.0; classes],
            shared: vec![0.0; classes],
            shared_ends: VecDeque::new(),
            refreshes_max: 0.0,
            refreshes: 0,
            seed,
            index,
            rng: seed.stream("loads", index as u64),
            begun: 0.0,
            coalesced: 0.0,
            retried: 0.0,
            warmed: 0.0,
            copied: Vec::new(),
            written: Vec::new(),
            stale_shares: Vec::new(),
            counted: Vec::new(),
        }
    }

    pub(super) fn retune(&mut self, now: Time, played: &Policies, up: f64) {
        let seconds = |span: Option<Span>| span.map_or(f64::INFINITY, Span::as_secs_f64);
        match (&mut self.origin_panel, &played.origin_breaker) {
            (panel, None) => *panel = None,
            (Some(panel), Some(settings)) => {
                panel.retune(now, settings);
                panel.resize(up);
            }
            (panel, Some(settings)) => {
                let rng = self.seed.stream("origin breakers", self.index as u64);
                *panel = Some(Panel::new(settings, up, rng));
            }
        }
        Again::retune(&mut self.again, played, up);
        let limit = played.limit.as_ref();
        let (seed, index) = (self.seed, self.index as u64);
        let rng = || seed.stream("limits", index);
        Limits::retune(&mut self.limits, now, limit, up, rng);
        self.limit = match (&self.limits, limit) {
            (Some(limits), _) => limits.all(),
            (None, limit) => limit.map_or(f64::INFINITY, |limit| f64::from(limit.max) * up),
        };
        self.places = limit.map_or(0.0, |limit| f64::from(limit.places) * up);
        self.patience = limit.map_or(0.0, |limit| limit.timeout.as_secs_f64());
        self.hard = seconds(played.deadline.hard);
        self.soft = if played.stale.is_some() {
            seconds(played.deadline.soft)
        } else {
            f64::INFINITY
        };
        self.total = seconds(played.deadline.total);
        self.cancels = played.deadline.cancel;
        self.coalesces = played.coalesce.is_some();
        let coalesce = played.coalesce.clone().unwrap_or_default();
        self.window = coalesce.window.as_secs_f64();
        self.wait_max = coalesce.wait_max.as_secs_f64();
        self.leases = played.lease.is_some();
        self.tracks = self.coalesces || self.leases || played.stale.is_some();
        let refreshes = played.stale.as_ref();
        let refreshes = refreshes.map_or(REFRESHES_MAX, |stale| stale.refreshes_max);
        self.refreshes_max = f64::from(refreshes) * up;
    }

    /// Keeps what look-ups find missing for so many ticks.
    pub(super) fn remember_for(&mut self, ticks: usize) {
        self.keyed.past.resize(ticks.min(PAST_MAX), Past::default());
    }

    /// The limit on loads, as the gate of the database that they all go to.
    pub(super) fn gate(&self) -> Option<super::databases::Gate> {
        self.limit.is_finite().then_some(super::databases::Gate {
            most: self.limit,
            places: self.places,
            patience: self.patience,
        })
    }

    pub(super) fn limit(&self) -> Option<f64> {
        self.limit.is_finite().then_some(self.limit)
    }

    /// Writes of a launch have been made.
    pub(super) fn note_written(&mut self, id: u32, count: u64) {
        let first = self.launch(id).and_then(|launch| launch.waiters.first());
        if let Some(Who::Client { client, .. }) = first.map(|waiter| waiter.cohort.who) {
            let client = client as usize;
            if self.written.len() <= client {
                self.written.resize(client + 1, 0);
            }
            self.written[client] += count;
        }
    }

    /// A hit in the shared cache is copied into memory.
    pub(super) fn note_copied(&mut self, cohort: &Cohort, count: u64) {
        if let Who::Client { client, .. } = cohort.who {
            let client = client as usize;
            if self.copied.len() <= client {
                self.copied.resize(client + 1, 0);
            }
            self.copied[client] += count;
        }
    }

    pub(super) fn take_copied(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.copied)
    }

    /// Loads of a launch have ended; what comes of it is worked out at the end of the tick.
    pub(super) fn ended(&mut self, id: u32, count: u64, ok: bool) {
        let Some(launch) = self.launches.get_mut((id - self.base) as usize) else {
            return;
        };
        if launch.good + launch.bad == 0 {
            self.touched.push(id);
        }
        if ok {
            launch.good += count;
        } else {
            launch.bad += count;
        }
        launch.open -= count;
    }

    pub(super) fn launch(&mut self, id: u32) -> Option<&mut Launch> {
        self.launches.get_mut(id.checked_sub(self.base)? as usize)
    }

    /// The launch that loads of this tick belong to.
    pub(super) fn current(&mut self, tick: u32, purpose: Purpose) -> u32 {
        let open = self
            .launches
            .iter()
            .rev()
            .take(4)
            .position(|launch| launch.tick == tick && launch.purpose == Some(purpose) && !launch.sealed);
        let last = self.base + self.launches.len() as u32;
        if let Some(back) = open {
            return last - 1 - back as u32;
        }
        let mut launch = self.spare.pop().unwrap_or_default();
        launch.tick = tick;
        launch.purpose = Some(purpose);
        launch.sealed = false;
        (launch.begun, launch.open, launch.paused) = (0, 0, 0);
        (launch.good, launch.bad) = (0, 0);
        launch.waiters.clear();
        launch.counts.clear();
        launch.mix.clear();
        launch.mix.resize(self.classes, 0.0);
        launch.first.clear();
        self.launches.push_back(launch);
        last
    }

    /// How many of so many loads have a place at the origin at once, and how many have one in the line before it.
    pub(super) fn places_for(&self, count: u64, bounded: bool) -> (u64, u64) {
        if !bounded || self.limit.is_infinite() || self.gated {
            return (count, 0);
        }
        let begins = if self.lined > 0 {
            0
        } else {
            (self.room.max(0.0) as u64).min(count)
        };
        let room = (self.places - self.lined as f64).max(0.0) as u64;
        (begins, room.min(count - begins))
    }

    /// Loads wait in the line before the origin from now on.
    pub(super) fn line_up(&mut self, load: Cohort) {
        if load.count > 0 {
            self.lined += load.count;
            self.line.push_back(Cohort {
                since: load.age,
                ..load
            });
        }
    }

    /// Notes which share of the loads that ended in a tick has brought something. Nothing at all comes of an origin from
    /// which loads do not come back.
    pub(super) fn note_success(&mut self, tick: u32, dt: f64, good: u64, bad: u64) {
        let seen = if good + bad > 0 {
            good as f64 / (good + bad) as f64
        } else {
            let late = |launch: &Launch| {
                launch.open > 0 && f64::from(tick - launch.tick) * dt > 2.0 * (self.takes + dt)
            };
            if !self.launches.front().is_some_and(late) {
                return;
            }
            0.0
        };
        self.succeeds += SUCCESS_FOLLOWS * (seen - self.succeeds);
    }

    /// Limits that find themselves are told of loads that go inside.
    pub(super) fn go_inside(&mut self, load: &Cohort) {
        if let (Some(limits), Who::Load { launch, .. }) = (&mut self.limits, load.who)
            && let Some(launch) = self.launches.get(launch.wrapping_sub(self.base) as usize)
        {
            limits.enter(launch.tick, load.count);
        }
    }

    /// And of those that have left.
    pub(super) fn go_outside(&mut self, tick: u32, count: u64, gone: Gone, took: f64) {
        if let Some(limits) = &mut self.limits {
            limits.leave(tick, count, gone, took);
        }
    }

    /// Whether each miss of so many ticks ago was a load of its own, and would still be known.
    pub(super) fn loads_all_missed(&self, ticks: u32) -> bool {
        let bounded = self.limit.is_finite() || self.origin_panel.is_some();
        !bounded && !self.coalesces && !self.leases && (ticks as usize) < self.keyed.past.len()
    }

    /// Forgets launches that are over.
    pub(super) fn tidy(&mut self, tick: u32) {
        while let Some(first) = self.launches.front() {
            let over = first.open == 0 && first.waiters.is_empty() && first.tick < tick;
            if !over {
                break;
            }
            if let Some(launch) = self.launches.pop_front() {
                self.spare.push(launch);
            }
            self.base += 1;
        }
    }
}
