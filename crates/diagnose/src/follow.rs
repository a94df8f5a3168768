//! Follows a record, period by period, and says when an incident begins, what it is, and when it is over.
//!
//! It knows only the past: what is calm is learnt from the periods that went by without a suspicion. A likely finding is a
//! suspicion, and one that lasts opens an incident. An incident is over when nothing has been likely and nobody has
//! suffered for a while. What came of an incident, and who is told of it, is not its business.

use seawall_core::record::Record;
use serde::Serialize;

use crate::diagnosis::{Diagnosis, examine};
use crate::failure::Failure;
use crate::view::View;

/// An incident remembers so many turns.
const LATER_MAX: usize = 64;

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
            learn_s: 10.0,
            memory_s: 120.0,
            over_s: 15.0,
        }
    }
}

impl Settings {
    /// For a run in which slow things take this share of their time, as in a drill: there is less to learn from before, and
    /// what is over is over sooner. How long a suspicion lasts is a matter of real servers, and stays.
    #[must_use]
    pub fn at_pace(self, pace: f64) -> Settings {
        Settings {
            learn_s: (self.learn_s * pace).max(LEARN_MIN_S.min(self.learn_s)),
            over_s: (self.over_s * pace).max(OVER_MIN_S.min(self.over_s)),
            ..self
        }
    }
}

/// At any pace so many seconds are learnt from, and so many are well before it is over.
const LEARN_MIN_S: f64 = 4.0;
const OVER_MIN_S: f64 = 2.0;

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
    /// Since when there is a suspicion. Another finding goes on with it: something is the matter, whatever it is.
    suspected: Option<usize>,
    open: Option<Episode>,
    /// Since when all is well again, in an incident.
    well: Option<usize>,
    /// Since when another failure comes first, in an incident.
    turned: Option<(usize, Failure)>,
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
            turned: None,
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

    /// Since which period all is well again, in an incident that is not over yet.
    pub fn well_since(&self) -> Option<usize> {
        self.well
    }

    /// The periods that count as calm.
    pub fn calm(&self) -> &[usize] {
        &self.calm
    }

    /// Looks at the last period of a record that goes on: its first period is number `first` of all that there were, so
    /// that a record may forget its beginning. To be called once a period.
    pub fn observe(&mut self, record: &Record, first: usize) -> Change {
        let Some(last) = record.periods.checked_sub(1) else {
            return Change::None;
        };
        let view = View::new(record);
        self.calm.retain(|at| *at >= first);
        let calm: Vec<usize> = self.calm.iter().map(|at| at - first).collect();
        self.calm = calm;
        let change = self.step_at(&view, last, first);
        for at in &mut self.calm {
            *at += first;
        }
        change
    }

    /// Looks at the end of period `at`; periods come one after the other.
    pub(crate) fn step(&mut self, view: &View, at: usize) -> Change {
        self.step_at(view, at, 0)
    }

    /// The same; `first` is the number of the view's first period, and what is remembered of periods are their numbers.
    fn step_at(&mut self, view: &View, at: usize, first: usize) -> Change {
        let settings = self.settings;
        if self.calm.len() < view.periods_in(settings.learn_s, 3) && self.open.is_none() {
            self.remember(view, at);
            return Change::None;
        }
        let mut diagnosis = examine(view, at, &self.calm);
        diagnosis.at += first;
        let likeliest = diagnosis
            .first()
            .filter(|finding| finding.confidence >= settings.suspicion)
            .map(|finding| finding.failure);
        self.last = Some(diagnosis.clone());
        if self.open.is_some() {
            return self.in_incident(view, diagnosis, likeliest);
        }
        if likeliest.is_none() {
            self.suspected = None;
            // Where calls are lost and nobody knows why, it is not calm either.
            if !diagnosis.impact.is_felt() {
                self.remember(view, at);
            }
            return Change::None;
        }
        let now = diagnosis.at;
        let since = *self.suspected.get_or_insert(now);
        if now + 1 < since + view.periods_in(settings.confirm_s, 2) {
            return Change::None;
        }
        self.well = None;
        self.open = Some(Episode {
            suspected: since,
            opened: now,
            closed: None,
            diagnosis: diagnosis.clone(),
            later: Vec::new(),
        });
        Change::Opened(diagnosis)
    }

    fn in_incident(&mut self, view: &View, diagnosis: Diagnosis, first: Option<Failure>) -> Change {
        let at = diagnosis.at;
        let Some(episode) = &mut self.open else {
            return Change::None;
        };
        let well = first.is_none() && !diagnosis.impact.is_felt();
        if !well {
            self.well = None;
            let before = episode.later.last().map(|(_, failure)| *failure);
            let before = before.or(episode.diagnosis.first().map(|finding| finding.failure));
            let Some(failure) = first.filter(|failure| Some(*failure) != before) else {
                self.turned = None;
                return Change::None;
            };
            let since = match self.turned {
                Some((since, other)) if other == failure => since,
                _ => at,
            };
            self.turned = Some((since, failure));
            if at + 1 < since + view.periods_in(self.settings.confirm_s, 2)
                || episode.later.len() >= LATER_MAX
            {
                return Change::None;
            }
            self.turned = None;
            episode.later.push((since, failure));
            return Change::Turned(diagnosis);
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

#[cfg(test)]
mod tests {
    use seawall_core::record::{Metric, Series};
    use seawall_core::time::Span;

    use super::*;

    /// Ten minutes in which the cache hangs from the 300th to the 400th second.
    fn hung(from: usize, to: usize) -> Record {
        let mut record = Record::new(Span::secs(1), Span::ZERO, to - from);
        let mut series = |metric, well: f64, ill: f64, label: Option<&str>| {
            let values = (from..to).map(|at| if (300..400).contains(&at) { ill } else { well });
            let mut series = Series::new(metric, "redis", values.collect());
            series.label = label.map(str::to_owned);
            record.push(series);
        };
        series(Metric::CacheHits, 900.0, 0.0, None);
        series(Metric::CacheMisses, 100.0, 0.0, None);
        series(Metric::Probes, 1.0, 1.0, None);
        series(Metric::ProbeFailures, 0.0, 1.0, Some("reply_timed_out"));
        series(Metric::ProbeFailures, 0.0, 1.0, Some("alive_timed_out"));
        record
    }

    #[test]
    fn an_incident_begins_and_ends() {
        let episodes = follow(&hung(0, 600), Settings::default());
        assert_eq!(episodes.len(), 1, "{episodes:?}");
        let episode = &episodes[0];
        assert_eq!(
            episode.diagnosis.first().map(|first| first.failure),
            Some(Failure::Hung)
        );
        assert!((301..305).contains(&episode.opened), "{}", episode.opened);
        assert!(
            episode.closed.is_some_and(|at| (400..406).contains(&at)),
            "{:?}",
            episode.closed
        );
    }

    #[test]
    fn a_record_that_forgets_its_beginning_tells_the_same() {
        let mut follower = Follower::new(Settings::default());
        let mut told = Vec::new();
        for at in 0..600_usize {
            let first = at.saturating_sub(199);
            match follower.observe(&hung(first, at + 1), first) {
                Change::None => {}
                Change::Opened(diagnosis) => told.push((diagnosis.at, "opened")),
                Change::Turned(diagnosis) => told.push((diagnosis.at, "turned")),
                Change::Closed(episode) => told.push((episode.closed.unwrap_or(0), "closed")),
            }
        }
        let whole = follow(&hung(0, 600), Settings::default());
        let closed = whole[0].closed.unwrap_or(0);
        assert_eq!(told, [(whole[0].opened, "opened"), (closed, "closed")]);
    }
}
