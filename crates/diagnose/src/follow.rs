//! Follows a record, period by period, and says when an incident begins, what it is, and when it is over.
//!
//! It knows only the past: what is calm is learnt from the periods that went by without a suspicion. Whoever looks once,
//! at three consecutive periods the same, is a suspicion; the second in a row opens an incident. An incident is over when
//! nothing has been likely and nobody has suffered for a while.

use seawall_core::record::Record;
use serde::Serialize;

use crate::diagnosis::{Diagnosis, examine};
use crate::failure::Failure;
use crate::view::View;

/// When to speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// From which confidence on a finding is a suspicion.
    pub suspicion: f64,
    /// So many seconds a suspicion has to last.
    pub confirm_s: f64,
    /// So many seconds of calm are learnt from before anything is judged.
    pub learn_s: f64,
    /// The calm is that of so many seconds, the latest.
    pub memory_s: f64,
    /// So many seconds all has to be well before an incident is over.
    pub over_s: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            suspicion: 0.7,
            confirm_s: 2.0,
            learn_s: 5.0,
            memory_s: 120.0,
            over_s: 15.0,
        }
    }
}

/// Something that was the matter for a while.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    /// The period of the first suspicion.
    pub suspected: usize,
    /// The period in which it was sure enough to speak.
    pub opened: usize,
    /// The period in which it was over; nothing when it never was.
    pub closed: Option<usize>,
    /// What was found when it was opened.
    pub diagnosis: Diagnosis,
    /// Every other first finding that it had later, and from which period on.
    pub later: Vec<(usize, Failure)>,
}

/// The state of following, one period at a time.
#[derive(Debug)]
pub struct Follower {
    settings: Settings,
    calm: Vec<usize>,
    /// Since when there is a suspicion, and of what.
    suspected: Option<(usize, Failure)>,
    open: Option<Episode>,
    /// Since when all is well again, in an incident.
    well: Option<usize>,
    last: Option<Diagnosis>,
}

/// What a period changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// An incident has begun.
    Opened(Diagnosis),
    /// An incident has another first finding now.
    Turned(Diagnosis),
    /// An incident is over.
    Closed(Box<Episode>),
}

impl Follower {
    /// Nothing has been seen yet.
    pub fn new(settings: Settings) -> Follower {
        Follower {
            settings,
            calm: Vec::new(),
            suspected: None,
            open: None,
            well: None,
            last: None,
        }
    }

    /// Takes the calm of another time as known.
    #[must_use]
    pub fn knowing(mut self, calm: impl IntoIterator<Item = usize>) -> Follower {
        self.calm = calm.into_iter().collect();
        self
    }

    /// What was found last.
    pub fn last(&self) -> Option<&Diagnosis> {
        self.last.as_ref()
    }

    /// The incident that is under way.
    pub fn under_way(&self) -> Option<&Episode> {
        self.open.as_ref()
    }

    /// The periods that count as calm.
    pub fn calm(&self) -> &[usize] {
        &self.calm
    }

    /// Looks at the end of period `at`; periods come one after the other.
    pub(crate) fn step(&mut self, view: &View, at: usize) -> Change {
        let settings = self.settings;
        if self.calm.len() < view.periods_in(settings.learn_s, 3) && self.open.is_none() {
            self.remember(view, at);
            return Change::None;
        }
        let diagnosis = examine(view, at, &self.calm);
        let first = diagnosis
            .first()
            .filter(|finding| finding.confidence >= settings.suspicion)
            .map(|finding| finding.failure);
        self.last = Some(diagnosis.clone());
        if self.open.is_some() {
            return self.in_incident(view, at, diagnosis, first);
        }
        let Some(failure) = first else {
            self.suspected = None;
            if diagnosis.impact.is_felt() {
                // Nobody knows what it is, but it is not calm.
                return Change::None;
            }
            self.remember(view, at);
            return Change::None;
        };
        // Another first finding goes on with the same suspicion: something is the matter, whatever it is.
        let (since, _) = self.suspected.unwrap_or((at, failure));
        self.suspected = Some((since, failure));
        if at + 1 < since + view.periods_in(settings.confirm_s, 2) {
            return Change::None;
        }
        self.well = None;
        self.open = Some(Episode {
            suspected: since,
            opened: at,
            closed: None,
            diagnosis: diagnosis.clone(),
            later: Vec::new(),
        });
        Change::Opened(diagnosis)
    }

    fn in_incident(
        &mut self,
        view: &View,
        at: usize,
        diagnosis: Diagnosis,
        first: Option<Failure>,
    ) -> Change {
        let Some(episode) = &mut self.open else {
            return Change::None;
        };
        let well = first.is_none() && !diagnosis.impact.is_felt();
        if !well {
            self.well = None;
            let before = episode.later.last().map(|(_, failure)| *failure);
            let before = before.or(episode.diagnosis.first().map(|finding| finding.failure));
            return match first {
                Some(failure) if Some(failure) != before => {
                    if episode.later.len() < 64 {
                        episode.later.push((at, failure));
                    }
                    Change::Turned(diagnosis)
                }
                _ => Change::None,
            };
        }
        let since = *self.well.get_or_insert(at);
        if at < since + view.periods_in(self.settings.over_s, 3) {
            return Change::None;
        }
        self.suspected = None;
        self.well = None;
        let Some(mut episode) = self.open.take() else {
            return Change::None;
        };
        episode.closed = Some(since);
        Change::Closed(Box::new(episode))
    }

    fn remember(&mut self, view: &View, at: usize) {
        self.calm.push(at);
        let most = view.periods_in(self.settings.memory_s, 10);
        if self.calm.len() > most {
            self.calm.remove(0);
        }
    }
}

/// Follows a whole record from its first period on: what the incidents were.
pub fn follow(record: &Record, settings: Settings) -> Vec<Episode> {
    let view = View::new(record);
    let mut follower = Follower::new(settings);
    let mut episodes = Vec::new();
    for at in 0..view.periods {
        if let Change::Closed(episode) = follower.step(&view, at) {
            episodes.push(*episode);
        }
    }
    episodes.extend(follower.open);
    episodes
}
