//! The two instants of an incident that are a matter of degree: when it got better, and when it stayed so.
//!
//! - **Mitigated** is the first instant from which on each impact that is measured (the share of calls lost, and how much longer
//!   calls take) stayed below half of its worst, ten seconds long. Where nobody ever suffered that is the opening.
//!   Where no client is measured it is the first instant from which on nothing was likely, ten seconds long.
//! - **Stabilised** is the first instant, not before that, from which on fewer than one call in twenty was lost and no other
//!   failure came first, thirty seconds long. Where no client is measured: from which on nothing was likely, as long.
//!
//! When an impact is above half of its worst again for ten seconds both are taken back, and that is told.

use serde::{Deserialize, Serialize};

use super::Utc;

const MITIGATED_S: f64 = 10.0;
const STABLE_S: f64 = 30.0;
const LOST_STABLE: f64 = 0.05;
/// Below this share nobody calls it a loss, and below this factor not slow; as [`crate::Impact::is_felt`] says.
const LOST_FELT: f64 = 0.02;
const SLOWER_FELT: f64 = 5.0;

/// What a moment says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The share of calls lost; nothing when no client is measured.
    pub(crate) lost: Option<f64>,
    /// How many times as long calls take.
    pub(crate) slower: Option<f64>,
    /// Whether any finding is likely.
    pub(crate) likely: bool,
    /// Whether another failure came first just now.
    pub(crate) turned: bool,
}

/// What a moment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Mitigated(Utc),
    Stabilised(Utc),
    Relapsed,
}

/// What is remembered of an incident to tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// What is told of a run in which slow things take a share of their time: these waits take it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pace: Option<f64>,
    pub(super) worst_lost: f64,
    pub(super) worst_slower: f64,
    pub(super) measured: bool,
    pub(super) better: Option<Utc>,
    pub(super) worse: Option<Utc>,
    pub(super) steady: Option<Utc>,
    pub(crate) mitigated: Option<Utc>,
    pub(crate) stabilised: Option<Utc>,
}

impl Marks {
    /// Those of a run in which slow things take this share of their time.
    pub(crate) fn at_pace(pace: f64) -> Marks {
        Marks {
            pace: Some(pace),
            ..Marks::default()
        }
    }

    /// Looks at a moment of an incident.
    pub(crate) fn observe(&mut self, now: Utc, moment: Moment) -> Option<Mark> {
        self.measured |= moment.lost.is_some();
        let better = self.is_better(moment);
        self.worst_lost = self.worst_lost.max(moment.lost.unwrap_or(0.0));
        self.worst_slower = self.worst_slower.max(moment.slower.unwrap_or(1.0));
        let better = better && self.is_better(moment);
        let since = |mark: &mut Option<Utc>, so: bool| -> f64 {
            *mark = so.then(|| mark.unwrap_or(now));
            mark.map_or(-1.0, |since| now.since_s(since))
        };
        let better_s = since(&mut self.better, better);
        let worse_s = since(&mut self.worse, !better);
        let steady = !moment.turned
            && if self.measured {
                moment.lost.is_some_and(|lost| lost < LOST_STABLE)
            } else {
                better
            };
        let steady_s = since(&mut self.steady, steady);
        let pace = self.pace.unwrap_or(1.0);
        let (mitigated_s, stable_s) = (MITIGATED_S * pace, STABLE_S * pace);
        if self.mitigated.is_some() && worse_s >= mitigated_s {
            self.mitigated = None;
            self.stabilised = None;
            return Some(Mark::Relapsed);
        }
        if self.mitigated.is_none() && better_s >= mitigated_s {
            self.mitigated = self.better;
            return self.better.map(Mark::Mitigated);
        }
        if let (None, Some(mitigated), Some(steady)) = (self.stabilised, self.mitigated, self.steady)
            && steady_s >= stable_s
        {
            let at = steady.max(mitigated);
            self.stabilised = Some(at);
            return Some(Mark::Stabilised(at));
        }
        None
    }

    /// The incident is over, since an instant: with it, what had not been certain yet.
    pub(crate) fn end(&mut self, over: Utc) {
        let mitigated = *self.mitigated.get_or_insert(over);
        self.stabilised.get_or_insert(over.max(mitigated));
    }

    fn is_better(&self, moment: Moment) -> bool {
        if !self.measured {
            return !moment.likely;
        }
        // Who was measured and is not any more may be lost altogether.
        let Some(lost) = moment.lost else { return false };
        let slower = moment.slower.unwrap_or(1.0);
        let lost_less = lost <= LOST_FELT || lost < 0.5 * self.worst_lost;
        let less_slow = slower < SLOWER_FELT || slower < 0.5 * self.worst_slower;
        lost_less && less_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(moments: impl IntoIterator<Item = (f64, bool)>) -> Vec<(usize, Mark)> {
        let mut marks = Marks::default();
        let mut told = Vec::new();
        for (second, (lost, turned)) in moments.into_iter().enumerate() {
            let moment = Moment {
                lost: Some(lost),
                turned,
                likely: true,
                ..Moment::default()
            };
            if let Some(mark) = marks.observe(at(second), moment) {
                told.push((second, mark));
            }
        }
        told
    }

    fn at(second: usize) -> Utc {
        Utc::default().after_s(second as f64)
    }

    #[test]
    fn better_is_below_half_of_the_worst_for_ten_seconds() {
        // 20 s at 80%, then 30% (nine seconds, a second of 50%, and then on), and from the 60th second on 1%.
        let lost = |second: usize| match second {
            0..20 | 29 => 0.8,
            20..60 => 0.3,
            _ => 0.01,
        };
        let told = played((0..120).map(|second| (lost(second), second == 70)));
        assert_eq!(
            told,
            [(40, Mark::Mitigated(at(30))), (101, Mark::Stabilised(at(71)))],
            "a turn begins the thirty seconds anew"
        );
    }

    #[test]
    fn what_comes_back_is_told() {
        let lost = |second: usize| {
            if (40..60).contains(&second) || second < 10 {
                0.9
            } else {
                0.0
            }
        };
        let told = played((0..110).map(|second| (lost(second), false)));
        assert_eq!(
            told,
            [
                (20, Mark::Mitigated(at(10))),
                (50, Mark::Relapsed),
                (70, Mark::Mitigated(at(60))),
                (90, Mark::Stabilised(at(60)))
            ]
        );
    }

    #[test]
    fn without_clients_what_is_likely_decides() {
        let mut marks = Marks::default();
        let mut told = Vec::new();
        for second in 0..60 {
            let moment = Moment {
                likely: second < 15,
                ..Moment::default()
            };
            told.extend(marks.observe(at(second), moment));
        }
        assert_eq!(told, [Mark::Mitigated(at(15)), Mark::Stabilised(at(15))]);
    }

    #[test]
    fn clients_of_whom_nothing_is_heard_are_not_better() {
        let mut marks = Marks::default();
        for second in 0..60 {
            let moment = Moment {
                lost: (second < 5).then_some(0.5),
                likely: true,
                ..Moment::default()
            };
            assert_eq!(marks.observe(at(second), moment), None);
        }
    }
}
