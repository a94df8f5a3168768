//! The nodes of a database that serve the same queries, taken together: connections, the line before them, and
//! processors that running queries share.
//!
//! All that run attain the same service in a tick, so whether a query ends in it depends only on what it had attained
//! before (processor sharing; Kleinrock, "Queueing Systems" 2, 1976, chapter 4). How much they attain follows from
//! how many run, and that from how many end: it is found by bisection.

use std::collections::VecDeque;

use seawall_core::draw;
use seawall_core::rng::Stream;

use super::cohort::{Cohort, about};
use super::law::Law;
use seawall_core::processor::Curve;

/// Steps of the bisection.
const STEPS: u32 = 14;

/// Nodes of a database.
#[derive(Debug)]
pub(super) struct Pool {
    /// How many nodes there are.
    pub(super) nodes: f64,
    pub(super) curve: Curve,
    /// The size of a node as a share of the document's, as far as its curve does not know it.
    pub(super) size: f64,
    /// Connections, over all nodes.
    pub(super) connections: f64,
    /// How many the limit of those who call it lets run at a time.
    pub(super) gate: f64,
    /// Seconds that somebody waits for that limit.
    pub(super) patience: f64,
    /// Waiting places, over all nodes, or before the limit.
    pub(super) places: f64,
    pub(super) law: Law,
    /// Queries take this many times as long.
    pub(super) slow: f64,
    /// How fast the processors go.
    pub(super) pace: f64,
    /// Seconds until the server stops a query.
    pub(super) timeout: f64,
    pub(super) waiting: VecDeque<Cohort>,
    pub(super) running: VecDeque<Running>,
    pub(super) waits: u64,
    pub(super) runs: u64,
    /// Service attained by what has been running all the time.
    attained: f64,
    /// The utilization, summed over seconds.
    pub(super) busy: f64,
    /// Queries that have begun in this tick.
    pub(super) begun: Vec<Cohort>,
    rng: Stream,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) cohort: Cohort,
    attained: f64,
}

/// Queries that have left a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) cohort: Cohort,
    pub(super) count: u64,
    /// Seconds since they came.
    pub(super) took: f64,
    pub(super) how: Leaving,
}

/// Why queries have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Done,
    Stopped,
    /// The line was full.
    Turned,
    /// The line took too long.
    Impatient,
}

impl Pool {
    pub(super) fn new(curve: Curve, size: f64, law: Law, rng: Stream) -> Pool {
        Pool {
            nodes: 1.0,
            curve,
            size,
            connections: f64::INFINITY,
            gate: f64::INFINITY,
            patience: f64::INFINITY,
            places: f64::INFINITY,
            law,
            slow: 1.0,
            pace: 1.0,
            timeout: f64::INFINITY,
            waiting: VecDeque::new(),
            running: VecDeque::new(),
            waits: 0,
            runs: 0,
            attained: 0.0,
            busy: 0.0,
            begun: Vec::new(),
            rng,
        }
    }

    /// Queries inside the database: those that wait for its caller's limit are not.
    pub(super) fn inside(&self) -> u64 {
        if self.gate.is_finite() {
            self.runs
        } else {
            self.waits + self.runs
        }
    }

    /// Whether queries that come now would run at once.
    pub(super) fn has_room(&self) -> bool {
        self.waits == 0
    }

    /// Queries come.
    pub(super) fn offer(&mut self, cohort: Cohort) {
        self.waits += cohort.count;
        let joined = self.waiting.back_mut().is_some_and(|last| last.join(&cohort));
        if !joined {
            self.waiting.push_back(cohort);
        }
    }

    /// How many may run at a time.
    fn most(&self) -> f64 {
        self.connections.min(self.gate)
    }

    /// Turns away the last of those that find no place in the line. Within a tick the line moves, so this is seen at the
    /// end of it.
    fn turn_away(&mut self, left: &mut Vec<Left>) {
        let mut over = self.waits as f64 - self.places;
        while over >= 1.0
            && let Some(last) = self.waiting.back_mut()
        {
            let turned = last.split(over as u64);
            over -= turned.count as f64;
            self.waits -= turned.count;
            if last.count == 0 {
                self.waiting.pop_back();
            }
            left.push(Left {
                cohort: turned,
                count: turned.count,
                took: 0.0,
                how: Leaving::Turned,
            });
        }
    }

    /// The speed of each of `n` running queries, over all nodes.
    fn speed(&self, n: f64) -> f64 {
        let each = (n / self.nodes).max(1.0);
        let seen = match self.curve {
            Curve::Servers(_) => each,
            Curve::Scalability { .. } => (each - 1.0) / self.size + 1.0,
        };
        self.pace * self.curve.speed(seen) / self.slow
    }

    /// The share of its useful concurrency that is taken when so many run.
    fn load(&self, runs: f64) -> f64 {
        let each = runs / self.nodes.max(1.0);
        let seen = match self.curve {
            Curve::Servers(_) => each,
            Curve::Scalability { .. } if each > 0.0 => (each - 1.0).max(0.0) / self.size + each.min(1.0),
            Curve::Scalability { .. } => 0.0,
        };
        (seen / self.curve.best()).min(1.0)
    }

    /// The share of queries that end when they attain `more` on top of `had`.
    fn ends(&self, had: f64, more: f64) -> f64 {
        if self.law.is_exponential() {
            return self.law.cdf(more);
        }
        let before = self.law.cdf(had);
        if before >= 1.0 {
            1.0
        } else {
            ((self.law.cdf(had + more) - before) / (1.0 - before)).clamp(0.0, 1.0)
        }
    }

    /// The same of queries that begin evenly over the time in which `more` can be attained.
    fn ends_of_new(&self, more: f64) -> f64 {
        let mean = self.law.mean();
        if self.law.is_exponential() {
            let u = more / mean.max(1e-12);
            return if u < 1e-6 {
                0.5 * u
            } else {
                1.0 + libm::expm1(-u) / u
            };
        }
        if self.law.is_fixed() {
            return if more > mean { 1.0 - mean / more } else { 0.0 };
        }
        (0..6)
            .map(|step| self.law.cdf(more * (f64::from(step) + 0.5) / 6.0))
            .sum::<f64>()
            / 6.0
    }

    /// What happens in a tick when each running query attains `more`: how many end of those that ran, how many begin, how
    /// many of these end, and how many run on average.
    fn outcome(&self, more: f64, new: f64) -> (f64, f64, f64, f64) {
        let ran = self.runs as f64;
        let old = if self.law.is_exponential() {
            ran * self.law.cdf(more)
        } else {
            let running = self.running.iter();
            running
                .map(|each| each.cohort.count as f64 * self.ends(self.attained - each.attained, more))
                .sum()
        };
        let of_new = self.ends_of_new(more);
        let room = self.most() - ran + old;
        let begins = if self.most().is_finite() {
            new.min(room / (1.0 - of_new).max(1e-6)).max(0.0)
        } else {
            new
        };
        let fresh = begins * of_new;
        let mean = self.law.mean();
        // Work done is work that ended, where what is left of it does not depend on what was done.
        let count = if self.law.is_exponential() || more > mean {
            (old + fresh) * mean / more.max(1e-12)
        } else {
            ran - 0.5 * old + 0.5 * (begins - fresh)
        };
        (old, begins, fresh, count)
    }

    /// How much each running query attains in a tick.
    fn attains(&self, dt: f64, new: f64) -> f64 {
        let full = dt * self.speed(1.0);
        let at = |more: f64| dt * self.speed(self.outcome(more, new).3) - more;
        if full <= 0.0 || at(full) >= -1e-12 {
            return full.max(0.0);
        }
        let (mut low, mut high) = (0.0, full);
        for _ in 0..STEPS {
            let middle = 0.5 * (low + high);
            if at(middle) >= 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        0.5 * (low + high)
    }

    /// Lets a tick pass. `now` is its middle, in seconds; ages are counted from `born`.
    pub(super) fn pass(&mut self, dt: f64, age: impl Fn(&Cohort) -> f64, left: &mut Vec<Left>) {
        self.begun.clear();
        if self.waits + self.runs == 0 {
            self.attained = 0.0;
            return;
        }
        self.stop_late(&age, left);
        let new = self.waits as f64;
        let more = self.attains(dt, new);
        let (_, begins, _, runs) = self.outcome(more, new);
        let speed = if dt > 0.0 { more / dt } else { 0.0 };
        self.finish_old(more, &age, left);
        self.attained += more;
        self.busy += self.load(runs) * dt;
        let room = (self.most() - self.runs as f64).max(0.0);
        let of_new = self.ends_of_new(more);
        let begins = about(begins, &mut self.rng).min(self.waits);
        self.begin_new(begins, room, of_new, speed, &age, left);
        self.turn_away(left);
    }

    fn finish_old(&mut self, more: f64, age: &impl Fn(&Cohort) -> f64, left: &mut Vec<Left>) {
        let common = self.law.is_exponential().then(|| self.law.cdf(more));
        for at in 0..self.running.len() {
            let each = self.running[at];
            let share = common.unwrap_or_else(|| self.ends(self.attained - each.attained, more));
            let ended = draw::binomial(each.cohort.count, share, &mut self.rng);
            if ended > 0 {
                self.running[at].cohort.count -= ended;
                self.runs -= ended;
                left.push(Left {
                    cohort: each.cohort,
                    count: ended,
                    took: age(&each.cohort) - each.cohort.since,
                    how: Leaving::Done,
                });
            }
        }
        self.running.retain(|each| each.cohort.count > 0);
    }

    /// Queries that get a connection in this tick, and end in it or go on.
    fn begin_new(
        &mut self,
        begins: u64,
        room: f64,
        of_new: f64,
        speed: f64,
        age: &impl Fn(&Cohort) -> f64,
        left: &mut Vec<Left>,
    ) {
        let ends = draw::binomial(begins, of_new, &mut self.rng);
        // Who does not end in this tick holds a connection at its end; and no connection is free while somebody waits.
        let fits = if room.is_finite() {
            room as u64 + ends
        } else {
            begins
        };
        let mut budget = if begins < self.waits {
            fits.min(self.waits)
        } else {
            begins.min(fits)
        };
        let mut ends_left = ends;
        self.begun.clear();
        while budget > 0 {
            let Some(first) = self.waiting.front_mut() else {
                break;
            };
            let mut taken = first.split(budget);
            let mut waited = age(first) - first.since;
            if self.gate.is_finite() {
                // It waited for its caller's limit, of which the database knows nothing.
                (taken.since, waited) = (age(first).max(first.since), 0.0);
            }
            if first.count == 0 {
                self.waiting.pop_front();
            }
            let ended = if taken.count == budget {
                ends_left
            } else {
                about(
                    ends_left as f64 * taken.count as f64 / budget as f64,
                    &mut self.rng,
                )
            };
            let ended = ended.min(taken.count).min(ends_left);
            self.begun.push(taken);
            budget -= taken.count;
            ends_left -= ended;
            self.waits -= taken.count;
            self.end_in_tick(&taken, ended, waited.max(0.0), speed, left);
            let stays = taken.count - ended;
            if stays > 0 {
                self.runs += stays;
                let had = 0.5 * (1.0 - of_new).min(1.0) * self.law.mean().min(speed * 0.01);
                self.running.push_back(Running {
                    cohort: taken.part(stays),
                    attained: self.attained - had,
                });
            }
        }
    }

    fn end_in_tick(&mut self, cohort: &Cohort, count: u64, waited: f64, speed: f64, left: &mut Vec<Left>) {
        if count == 0 {
            return;
        }
        let stretch = if speed > 0.0 { 1.0 / speed } else { 1.0 };
        let law = &self.law;
        law.deal(count, &mut self.rng, |work, count| {
            left.push(Left {
                cohort: *cohort,
                count,
                took: waited + work * stretch,
                how: Leaving::Done,
            });
        });
    }

    /// Stops what has been inside for too long.
    fn stop_late(&mut self, age: &impl Fn(&Cohort) -> f64, left: &mut Vec<Left>) {
        let patience = self.patience;
        while patience.is_finite()
            && let Some(first) = self.waiting.front().copied()
            && age(&first) - first.since >= patience
        {
            self.waiting.pop_front();
            self.waits -= first.count;
            left.push(Left {
                how: Leaving::Impatient,
                ..stopped(first, patience)
            });
        }
        if self.timeout.is_infinite() {
            return;
        }
        let timeout = self.timeout;
        let is_late = |cohort: &Cohort| age(cohort) - cohort.since >= timeout;
        while let Some(first) = self.waiting.front().copied().filter(&is_late) {
            self.waiting.pop_front();
            self.waits -= first.count;
            left.push(stopped(first, timeout));
        }
        // The oldest of those that run is near the front, not at it: lines of different lengths were before them.
        if self.running.iter().take(4).any(|each| is_late(&each.cohort)) {
            let (runs, kept) = (&mut self.runs, &mut self.running);
            kept.retain(|each| {
                let late = is_late(&each.cohort);
                if late {
                    *runs -= each.cohort.count;
                    left.push(stopped(each.cohort, timeout));
                }
                !late
            });
        }
    }

    /// Takes out what its callers have given up, as far as `given_up` says how many of a cohort that is.
    pub(super) fn withdraw(&mut self, given_up: impl Fn(&Cohort) -> u64) {
        for cohort in &mut self.waiting {
            let gone = given_up(cohort).min(cohort.count);
            cohort.count -= gone;
            self.waits -= gone;
        }
        self.waiting.retain(|cohort| cohort.count > 0);
        for each in &mut self.running {
            let gone = given_up(&each.cohort).min(each.cohort.count);
            each.cohort.count -= gone;
            self.runs -= gone;
        }
        self.running.retain(|each| each.cohort.count > 0);
    }

    /// Everything that is inside fails, at once.
    pub(super) fn clear(&mut self, left: &mut Vec<Left>) {
        for cohort in self
            .waiting
            .drain(..)
            .chain(self.running.drain(..).map(|each| each.cohort))
        {
            left.push(Left {
                cohort,
                count: cohort.count,
                took: 0.0,
                how: Leaving::Stopped,
            });
        }
        (self.waits, self.runs) = (0, 0);
    }
}

fn stopped(cohort: Cohort, timeout: f64) -> Left {
    Left {
        cohort,
        count: cohort.count,
        took: timeout,
        how: Leaving::Stopped,
    }
}
