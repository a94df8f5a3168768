//! A moment of a record, and what it is compared with: what the rules look at.

use std::ops::Range;

use serde::Serialize;

use crate::line::Line;
use crate::view::{Cache, Client, Probed, View};

/// Seconds of what counts as now.
const NOW_S: f64 = 3.0;
/// Seconds over which rates are taken that a few seconds say little of.
const LATELY_S: f64 = 10.0;

/// A larger share of calls that are lost is suffered.
const LOST: f64 = 0.02;
/// So many times as long is suffered, too.
const SLOWER: f64 = 5.0;

/// A moment, and the calm that it is compared with.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) view: &'a View,
    /// Now: the last few seconds.
    pub(crate) now: Range<usize>,
    /// Somewhat longer than now.
    pub(crate) lately: Range<usize>,
    /// From the end of the calm until now: what may have begun it.
    pub(crate) since: Range<usize>,
    /// The periods in which all was well.
    pub(crate) calm: &'a [usize],
}

/// How the clients fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Impact {
    /// Calls a second that ended lately; nothing when no client is measured.
    pub asked_per_s: Option<f64>,
    /// The share of them that got a right answer in time.
    pub good: Option<f64>,
    /// The same while it was calm.
    pub good_calm: Option<f64>,
    /// How long nine in a hundred waited at least, over what it was while it was calm.
    pub slower: Option<f64>,
    /// Wrong answers a second.
    pub wrong_per_s: Option<f64>,
    /// Services that suffer, each for itself: as many as groups of callers that do, and no more than services are known.
    pub services: usize,
}

impl Impact {
    /// The share of calls that are answered no more.
    pub fn lost(&self) -> Option<f64> {
        let good = self.good?;
        Some((self.good_calm.unwrap_or(1.0) - good).max(0.0))
    }

    /// Whether anybody has to suffer: more than two calls in a hundred lost, or waiting five times as long.
    pub fn is_felt(&self) -> bool {
        self.lost().is_some_and(|lost| lost > LOST) || self.slower.is_some_and(|slower| slower >= SLOWER)
    }
}

impl<'a> Situation<'a> {
    /// The end of period `at`, compared with periods in which all was well.
    pub(crate) fn new(view: &'a View, at: usize, calm: &'a [usize]) -> Situation<'a> {
        let end = at + 1;
        let back = |seconds, at_least| end.saturating_sub(view.periods_in(seconds, at_least))..end;
        let began = calm.last().map_or(0, |last| last + 1).min(end.saturating_sub(1));
        Situation {
            view,
            now: back(NOW_S, 2),
            lately: back(LATELY_S, 3),
            since: began.min(end.saturating_sub(view.periods_in(NOW_S, 2)))..end,
            calm,
        }
    }

    /// How many seconds the stretch takes.
    pub(crate) fn seconds(&self, range: &Range<usize>) -> f64 {
        range.len() as f64 * self.view.period
    }

    /// How many times as much it is now as while it was calm; what was nearly nothing counts as `floor` (of a period).
    pub(crate) fn grown(&self, line: &Line, floor: f64) -> Option<f64> {
        let now = line.mean(self.now.clone())?;
        let calm = line.median(self.calm)?;
        Some(now / calm.max(floor))
    }

    /// How clients fare, all together.
    pub(crate) fn impact(&self) -> Impact {
        let all: Vec<Fares> = self
            .view
            .clients
            .iter()
            .map(|client| self.fares(client))
            .collect();
        let mut impact = Fares::together(&all).impact(self.seconds(&self.now));
        let suffer = all.iter().filter(|one| one.impact(1.0).is_felt()).count();
        impact.services = match self.view.services.len() {
            // Who asks is all that is known.
            0 => suffer,
            known => suffer.min(known),
        };
        impact
    }

    /// How the callers of one component fare.
    fn fares(&self, client: &Client) -> Fares {
        let now = |line: &Line| line.sum(self.now.clone()).unwrap_or(0.0);
        let of_calm = |line: &Line| -> f64 { self.calm.iter().filter_map(|index| line.at(*index)).sum() };
        let slower = client
            .slowest
            .mean(self.now.clone())
            .zip(client.slowest.median(self.calm));
        Fares {
            ended: now(&client.ended),
            good: now(&client.good),
            wrong: now(&client.wrong),
            calm_ended: of_calm(&client.ended),
            calm_good: of_calm(&client.good),
            slower: slower
                .filter(|(now, calm)| *now > calm + 0.05)
                .map(|(now, calm)| now / calm.max(0.001)),
        }
    }

    /// The share of a node's probes that failed now with one of these causes; nothing when nobody probed.
    pub(crate) fn failing(&self, probed: &Probed, causes: &[&str]) -> Option<f64> {
        failing(probed, causes, &self.now)
    }

    /// The same over somewhat longer.
    pub(crate) fn failing_lately(&self, probed: &Probed, causes: &[&str]) -> Option<f64> {
        failing(probed, causes, &self.lately)
    }

    /// The share of a node's probes that failed now in a step, whatever the cause.
    pub(crate) fn failing_at(&self, probed: &Probed, step: &str) -> Option<f64> {
        let asked = probed.probes.sum(self.now.clone()).filter(|count| *count > 0.0)?;
        let failed: f64 = probed
            .failures
            .iter()
            .filter(|(cause, _)| cause.split('_').next() == Some(step))
            .filter_map(|(_, line)| line.sum(self.now.clone()))
            .sum();
        Some((failed / asked).clamp(0.0, 1.0))
    }

    /// The share of a cache's look-ups and writes that failed now for a reason; nothing when nothing was asked.
    pub(crate) fn errors(&self, cache: &Cache, reason: &str) -> Option<f64> {
        failed(cache, reason, &self.now)
    }

    /// The same over somewhat longer.
    pub(crate) fn errors_lately(&self, cache: &Cache, reason: &str) -> Option<f64> {
        failed(cache, reason, &self.lately)
    }

    /// How many look-ups of a cache ended now, failed ones included; nothing when there were none.
    pub(crate) fn lookups(&self, cache: &Cache) -> Option<f64> {
        lookups(cache, &self.now)
    }

    /// How many times as much a cache is asked for as while it was calm.
    pub(crate) fn asked(&self, cache: &Cache) -> Option<f64> {
        let calm = cache.hits.median(self.calm)? + cache.misses.median(self.calm)?;
        let now = self.lookups(cache)? / self.now.len() as f64;
        (calm > 0.0).then(|| now / calm)
    }

    /// The share of look-ups that were hits: now, and while it was calm.
    pub(crate) fn hit_rates(&self, cache: &Cache) -> (Option<f64>, Option<f64>) {
        let lookups = self.lookups(cache);
        let now = lookups.map(|asked| cache.hits.sum(self.now.clone()).unwrap_or(0.0) / asked);
        let of_calm = |line: &Line| -> f64 { self.calm.iter().filter_map(|index| line.at(*index)).sum() };
        let asked = of_calm(&cache.hits) + of_calm(&cache.misses) + of_calm(&cache.errors);
        let calm = (asked > 0.0).then(|| of_calm(&cache.hits) / asked);
        (now, calm)
    }

    /// Whether a cache is reached: its probes end well in most cases. Nothing when nobody probed and nobody asked.
    pub(crate) fn reached(&self, cache: &Cache) -> Option<bool> {
        let probed: Vec<f64> = cache
            .probed
            .iter()
            .filter_map(|probed| {
                Some(
                    self.failing_at(probed, "connect")?
                        .max(self.failing_at(probed, "reply")?),
                )
            })
            .collect();
        if !probed.is_empty() {
            return Some(probed.iter().all(|share| *share < 0.5));
        }
        let asked = self.lookups(cache)?;
        let failed = cache.errors.sum(self.now.clone()).unwrap_or(0.0);
        Some(failed < 0.5 * asked)
    }
}

/// Calls now, and while it was calm.
#[derive(Default)]
struct Fares {
    ended: f64,
    good: f64,
    wrong: f64,
    calm_ended: f64,
    calm_good: f64,
    slower: Option<f64>,
}

impl Fares {
    fn together(all: &[Fares]) -> Fares {
        all.iter().fold(Fares::default(), |sum, one| Fares {
            ended: sum.ended + one.ended,
            good: sum.good + one.good,
            wrong: sum.wrong + one.wrong,
            calm_ended: sum.calm_ended + one.calm_ended,
            calm_good: sum.calm_good + one.calm_good,
            slower: one
                .slower
                .map_or(sum.slower, |slower| Some(sum.slower.unwrap_or(1.0).max(slower))),
        })
    }

    fn impact(&self, seconds: f64) -> Impact {
        let share = |part: f64, of: f64| (of > 0.0).then(|| part / of);
        Impact {
            asked_per_s: share(self.ended, seconds).filter(|_| self.ended > 0.0),
            good: share(self.good, self.ended),
            good_calm: share(self.calm_good, self.calm_ended),
            slower: self.slower,
            wrong_per_s: share(self.wrong, seconds).filter(|_| self.ended > 0.0),
            services: 0,
        }
    }
}

fn failing(probed: &Probed, causes: &[&str], over: &Range<usize>) -> Option<f64> {
    let asked = probed.probes.sum(over.clone()).filter(|count| *count > 0.0)?;
    let failures = probed
        .failures
        .iter()
        .filter(|(cause, _)| causes.contains(&cause.as_str()));
    let failed: f64 = failures.filter_map(|(_, line)| line.sum(over.clone())).sum();
    Some((failed / asked).clamp(0.0, 1.0))
}

fn lookups(cache: &Cache, over: &Range<usize>) -> Option<f64> {
    let sum = |line: &Line| line.sum(over.clone()).unwrap_or(0.0);
    let asked = sum(&cache.hits) + sum(&cache.misses) + sum(&cache.errors);
    (asked > 0.0).then_some(asked)
}

fn failed(cache: &Cache, reason: &str, over: &Range<usize>) -> Option<f64> {
    let asked = lookups(cache, over)?;
    let failed = cache.errors_for(reason).and_then(|line| line.sum(over.clone()));
    Some((failed.unwrap_or(0.0) / asked).clamp(0.0, 1.0))
}
