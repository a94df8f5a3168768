//! From what is measured to incidents, a period at a time.
//!
//! It learns what is calm, follows what is found ([`Follower`]), opens an incident, counts what it costs, marks when it gets
//! better, and closes it. There is one incident at a time: what is found beside it belongs to it. It does no I/O and reads no
//! clock, and it can be taken up again where another process left it: the calm that an incident is compared with goes with it,
//! because whoever begins to learn in the middle of an incident takes it for normal.

use std::collections::VecDeque;

use seawall_core::record::Record;
use seawall_core::time::Span;

use super::alerts::Alert;
use super::marks::{Mark, Marks, Moment};
use super::tally::Period;
use super::window::Window;
use super::{Calm, Found, Incident, Tally, Usual, Utc, What, clipped};
use crate::diagnosis::Diagnosis;
use crate::follow::{Change, Follower, Settings};
use crate::probe::Point;
use crate::severity::{Severity, escalation};

/// An incident that is back so soon is the same.
const SAME_S: f64 = 300.0;
/// So long the hit rate may take to come back after all else is well.
const REFILL_S: f64 = 600.0;
/// The share of the usual hit rate that counts as back.
const BACK: f64 = 0.95;
/// A hit rate is that of so many seconds.
const HITS_S: f64 = 10.0;
/// A level that is less bad has to last so long.
const LESS_BAD_S: f64 = 10.0;
/// So many seconds of the past are looked at.
const WINDOW_S: f64 = 300.0;
/// So many seconds are taken along when the window begins anew.
const OVERLAP_S: f64 = 30.0;
/// So many seconds of calm outlive the window.
const CALM_S: f64 = 60.0;
/// So many alerts are remembered.
const ALERTS_MAX: usize = 256;

/// The course of things.
#[derive(Debug)]
pub struct Course {
    settings: Settings,
    period_s: f64,
    follower: Follower,
    window: Window,
    /// The latest incident, open or closed.
    incident: Option<Incident>,
    /// What it is compared with.
    calm: Option<Calm>,
    /// What somebody closed while it was there still.
    hushed: Option<String>,
    /// Alerts that fire and have been told of.
    heard: Vec<String>,
    hits: VecDeque<(f64, f64)>,
    /// Since when the hit rate is back.
    back: Option<Utc>,
    /// Since when all is well, where the follower does not know of the incident.
    well: Option<Utc>,
    less_bad: Option<(Severity, Utc)>,
}

impl Course {
    /// Nothing has been seen yet; a sample comes once a period.
    pub fn new(period: Span) -> Course {
        let settings = Settings::default();
        let period_s = period.as_secs_f64();
        Course {
            settings,
            period_s,
            follower: Follower::new(settings),
            window: Window::new(period, periods_max(period_s)),
            incident: None,
            calm: None,
            hushed: None,
            heard: Vec::new(),
            hits: VecDeque::new(),
            back: None,
            well: None,
            less_bad: None,
        }
    }

    /// Goes on with what another has left: the latest incident, and the calm if it is of periods of the same length.
    #[must_use]
    pub fn taking_up(mut self, now: Utc, incident: Option<Incident>, calm: Option<Calm>) -> Course {
        let period_ns = Span::from_secs_f64(self.period_s).as_nanos();
        self.calm = calm.filter(|calm| calm.period_ns == period_ns && calm.periods > 0);
        self.begin_anew(None);
        if let Some(mut incident) = incident {
            self.heard.clone_from(&incident.firing);
            if incident.is_open() {
                let blind_s = now.since_s(incident.seen);
                incident.tally.blind_s += blind_s;
                incident.enter(now, What::WatchedAgain { blind_s });
                incident.seen = now;
            }
            self.incident = Some(incident);
        }
        self
    }

    /// The latest incident, open or closed.
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }

    /// The incident that is under way.
    pub fn open(&self) -> Option<&Incident> {
        self.incident.as_ref().filter(|incident| incident.is_open())
    }

    /// What was found last; nothing while it learns.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        self.follower.last()
    }

    /// Whether it still learns what is calm, and judges nothing.
    pub fn is_learning(&self) -> bool {
        self.follower.last().is_none()
    }

    /// The calm as it is known now, to be kept for another process.
    pub fn calm(&self, now: Utc) -> Option<Calm> {
        if self.open().is_some() && self.calm.is_some() {
            return self.calm.clone();
        }
        let numbers = self.follower.calm();
        let most = self.periods_in(CALM_S);
        let latest = &numbers[numbers.len().saturating_sub(most)..];
        let calm = self.window.keep(latest, now);
        (calm.periods as f64 * self.period_s >= self.settings.learn_s).then_some(calm)
    }

    /// Takes the sample of a period that ended at `now`. Whether something was written into a timeline.
    pub fn observe(&mut self, now: Utc, points: &[Point]) -> bool {
        let written = self.written();
        if self.window.is_full() && self.open().is_some() {
            self.begin_anew(Some(OVERLAP_S));
        }
        self.window.push(points);
        let record = self.window.record();
        let change = self.follower.observe(&record, self.window.first());
        let last = Period::of(&record, record.periods.saturating_sub(1));
        self.note_hits(now, &last);
        let was_open = self.open().is_some();
        let turned = matches!(change, Change::Turned(_));
        match change {
            Change::Opened(diagnosis) => self.begun(now, &diagnosis, &record),
            Change::Turned(diagnosis) => self.turned(now, &diagnosis, &record),
            Change::Closed(episode) => {
                let since = episode.closed.map_or(now, |at| self.instant(now, at));
                self.hushed = None;
                self.over(now, since);
            }
            Change::None => self.without_follower(now),
        }
        if was_open {
            self.add(now, &last);
        }
        self.mark(now, turned);
        self.close_if_done(now);
        self.written() != written
    }

    /// Hears of an alert of another system: it belongs to the incident that is under way, or begins one. Whether something
    /// was written into a timeline: an alert that is repeated is not.
    pub fn hear(&mut self, now: Utc, alert: &Alert) -> bool {
        let known = self.heard.iter().position(|one| *one == alert.fingerprint);
        match (alert.firing, known) {
            (true, Some(_)) | (false, None) => return false,
            (true, None) => {
                if self.heard.len() == ALERTS_MAX {
                    self.heard.remove(0);
                }
                self.heard.push(alert.fingerprint.clone());
                if self.open().is_none() {
                    self.incident = Some(reported(now, alert));
                }
            }
            (false, Some(at)) => {
                self.heard.remove(at);
            }
        }
        let Some(incident) = &mut self.incident else {
            return false;
        };
        incident.firing.clone_from(&self.heard);
        if !incident.is_open() {
            return false;
        }
        incident.enter(
            now,
            What::Alerted {
                name: alert.name.clone(),
                firing: alert.firing,
                severity: alert.severity.clone(),
                summary: alert.summary.clone(),
            },
        );
        true
    }

    /// Takes what somebody else wrote into the timeline of an incident.
    pub fn take(&mut self, id: &str, at: Utc, what: What) {
        let Some(incident) = self.incident.as_mut().filter(|incident| incident.id == id) else {
            return;
        };
        if matches!(what, What::ClosedByHand { .. }) {
            self.hushed = Some(incident.fingerprint.clone());
        }
        incident.enter(at, what);
    }

    fn written(&self) -> Option<(String, usize, u64)> {
        let incident = self.incident.as_ref()?;
        Some((incident.id.clone(), incident.timeline.len(), incident.dropped))
    }

    fn periods_in(&self, seconds: f64) -> usize {
        ((seconds / self.period_s).ceil() as usize).max(1)
    }

    /// When period `number` ended.
    fn instant(&self, now: Utc, number: usize) -> Utc {
        let ago = self.window.last().saturating_sub(number) as f64;
        now.after_s(-ago * self.period_s)
    }

    /// Begins with the calm alone, or with it and the last seconds: an incident that outlasts the window goes on being
    /// compared with what was before it.
    fn begin_anew(&mut self, overlap_s: Option<f64>) {
        let Some(calm) = &self.calm else { return };
        let most = periods_max(self.period_s);
        let mut window = Window::knowing(calm, most);
        if let Some(seconds) = overlap_s {
            let from = (self.window.last() + 1).saturating_sub(self.periods_in(seconds));
            let latest: Vec<usize> = (from..=self.window.last()).collect();
            window.follow_with(&self.window, &latest);
        }
        self.window = window;
        self.follower = Follower::new(self.settings).knowing(0..calm.periods);
        self.well = None;
    }

    fn begun(&mut self, now: Utc, diagnosis: &Diagnosis, record: &Record) {
        let Some(found) = Found::first_of(diagnosis) else {
            return;
        };
        let fingerprint = found.fingerprint();
        if self.hushed.as_ref() == Some(&fingerprint) {
            return;
        }
        if self.open().is_some() {
            self.another(now, found);
            return;
        }
        let suspected = self
            .follower
            .under_way()
            .map_or(diagnosis.at, |episode| episode.suspected);
        let began = self.instant(now, suspected);
        let again = |incident: &&mut Incident| {
            let soon = incident
                .closed
                .is_some_and(|closed| began.since_s(closed) <= SAME_S);
            soon && incident.fingerprint == fingerprint && !incident.false_alarm
        };
        self.less_bad = None;
        if let Some(incident) = self.incident.as_mut().filter(again) {
            incident.reopen(now);
            incident.found = Some(found);
        } else {
            let calm = self.calm_facts(record);
            self.calm = None;
            self.calm = self.calm(now);
            self.incident = Some(opened(now, began, found, diagnosis, calm, &self.heard));
        }
        let first = self.window.first();
        let from = suspected.saturating_sub(first);
        for index in from..record.periods {
            let at = self.instant(now, first + index);
            let period = Period::of(record, index);
            self.add(at, &period);
        }
    }

    /// What was usual, by the periods that count as calm.
    fn calm_facts(&self, record: &Record) -> Usual {
        let inside = |number: &usize| number.checked_sub(self.window.first());
        let indices = self.follower.calm().iter().filter_map(inside);
        let periods: Vec<Period> = indices.map(|index| Period::of(record, index)).collect();
        Usual::of(&periods)
    }

    fn turned(&mut self, now: Utc, diagnosis: &Diagnosis, record: &Record) {
        let Some(found) = Found::first_of(diagnosis) else {
            return;
        };
        if self.open().is_some() {
            self.another(now, found);
        } else if self.hushed.is_some() {
            // Somebody closed one thing, and it is another now.
            self.begun(now, diagnosis, record);
        }
    }

    /// Something comes first in an incident that is known: the same as before, or another.
    fn another(&mut self, now: Utc, found: Found) {
        let Some(incident) = &mut self.incident else {
            return;
        };
        if incident.over.take().is_some() {
            incident.recovered = None;
            incident.enter(now, What::Reopened);
        }
        let same = incident
            .found
            .as_ref()
            .is_some_and(|known| known.fingerprint() == found.fingerprint());
        if !same {
            if incident.found.is_none() {
                incident.fingerprint = found.fingerprint();
            }
            incident.enter(now, What::Turned { found: found.clone() });
        }
        incident.found = Some(found);
    }

    /// An incident of which the follower does not know, because another process or another window opened it, or an alert.
    fn without_follower(&mut self, now: Utc) {
        if self.follower.under_way().is_some() {
            return;
        }
        let well = self.follower.last().is_some_and(|diagnosis| {
            let suspicion = diagnosis
                .first()
                .filter(|finding| finding.confidence >= self.settings.suspicion);
            suspicion.is_none() && !diagnosis.impact.is_felt()
        });
        self.well = well.then(|| self.well.unwrap_or(now));
        let long = self
            .well
            .is_some_and(|since| now.since_s(since) >= self.settings.over_s);
        if long {
            self.hushed = None;
        }
        let Some(incident) = self.incident.as_ref().filter(|incident| incident.is_open()) else {
            return;
        };
        let reported = incident.found.is_none();
        if reported && incident.firing.is_empty() {
            self.over(now, now);
        } else if !reported && long && incident.over.is_none() {
            let since = self.well.unwrap_or(now);
            self.over(now, since);
        }
    }

    fn over(&mut self, now: Utc, since: Utc) {
        let Some(incident) = self.incident.as_mut().filter(|incident| incident.is_open()) else {
            return;
        };
        if incident.over.is_none() {
            incident.over = Some(since);
            incident.enter(now, What::Over { since });
        }
    }

    fn add(&mut self, at: Utc, period: &Period) {
        let counts = |incident: &&mut Incident| incident.is_open() && incident.over.is_none();
        if let Some(incident) = self.incident.as_mut().filter(counts) {
            incident.tally.add(at, period);
        }
    }

    fn note_hits(&mut self, now: Utc, period: &Period) {
        self.hits.push_back(period.looked_up());
        if self.hits.len() > self.periods_in(HITS_S) {
            self.hits.pop_front();
        }
        let sums = |(hits, all): (f64, f64), (more, of): &(f64, f64)| (hits + more, all + of);
        let (hits, lookups) = self.hits.iter().fold((0.0, 0.0), sums);
        let rate = (lookups > 0.0).then(|| hits / lookups);
        let Some(incident) = self.incident.as_mut().filter(|incident| incident.is_open()) else {
            self.back = None;
            return;
        };
        incident.hit_rate = rate;
        let back = match (rate, incident.usual.hit_rate) {
            (Some(rate), Some(usual)) => rate >= BACK * usual,
            // What nobody measures holds nothing up.
            _ => true,
        };
        self.back = back.then(|| self.back.unwrap_or(now));
    }

    /// How bad it is, and whether it got better.
    fn mark(&mut self, now: Utc, turned: bool) {
        let (Some(diagnosis), Some(incident)) = (
            self.follower.last(),
            self.incident.as_mut().filter(|incident| incident.is_open()),
        ) else {
            return;
        };
        incident.seen = now;
        if incident.found.is_none() {
            // What others reported is theirs to judge until something is found.
            return;
        }
        let impact = &diagnosis.impact;
        let moment = Moment {
            lost: impact.lost(),
            slower: impact.slower,
            likely: diagnosis.first().is_some(),
            turned,
        };
        match incident.marks.observe(now, moment) {
            Some(Mark::Mitigated(since)) => incident.enter(now, What::Mitigated { since }),
            Some(Mark::Stabilised(since)) => incident.enter(now, What::Stabilised { since }),
            Some(Mark::Relapsed) => incident.enter(now, What::Relapsed),
            None => {}
        }
        let seconds = now.since_s(incident.began);
        incident.escalate = escalation(
            incident.severity,
            seconds,
            impact.services,
            &diagnosis.findings,
            impact,
        );
        let Some(judged) = &diagnosis.severity else { return };
        if judged.severity == incident.severity {
            self.less_bad = None;
            return;
        }
        let since = match self.less_bad {
            Some((severity, since)) if severity == judged.severity => since,
            _ => now,
        };
        self.less_bad = Some((judged.severity, since));
        if judged.severity < incident.severity && now.since_s(since) < LESS_BAD_S {
            return;
        }
        self.less_bad = None;
        incident.severity = judged.severity;
        incident.worst = incident.worst.max(judged.severity);
        incident.reason.clone_from(&judged.reason);
        let (severity, reason) = (judged.severity, judged.reason.clone());
        incident.enter(now, What::Judged { severity, reason });
    }

    fn close_if_done(&mut self, now: Utc) {
        let Some(incident) = self.incident.as_mut().filter(|incident| incident.is_open()) else {
            return;
        };
        let Some(over) = incident.over else { return };
        let why = match self.back {
            Some(back) => {
                let since = over.max(back);
                incident.recovered = Some(since);
                incident.enter(now, What::Recovered { since });
                "all is well"
            }
            None if now.since_s(over) >= REFILL_S => {
                "all is well, but for the hit rate, which has not come back"
            }
            None => return,
        };
        incident.marks.end(over);
        incident.closed = Some(now);
        incident.enter(now, What::Closed { why: why.to_owned() });
    }
}

/// So many periods are looked at.
fn periods_max(period_s: f64) -> usize {
    ((WINDOW_S / period_s).ceil() as usize).clamp(60, 1_500)
}

fn opened(
    now: Utc,
    began: Utc,
    found: Found,
    diagnosis: &Diagnosis,
    usual: Usual,
    heard: &[String],
) -> Incident {
    let judged = diagnosis.severity.clone();
    let severity = judged.as_ref().map_or(Severity::P2, |judged| judged.severity);
    let reason = judged.map_or_else(|| "no call is lost".to_owned(), |judged| judged.reason);
    let mut incident = Incident {
        usual,
        firing: heard.to_vec(),
        found: Some(found.clone()),
        ..blank(
            now,
            began,
            &format!("{}-{}", found.failure, found.component),
            severity,
        )
    };
    incident.fingerprint = found.fingerprint();
    incident.reason.clone_from(&reason);
    incident.enter(now, What::Opened { found: Some(found) });
    incident.enter(now, What::Judged { severity, reason });
    incident
}

fn reported(now: Utc, alert: &Alert) -> Incident {
    let severity = match alert.severity.as_deref() {
        Some("critical" | "page" | "p0" | "P0") => Severity::P1,
        _ => Severity::P2,
    };
    let began = alert.starts.unwrap_or(now).min(now);
    let mut incident = blank(now, began, &format!("alert-{}", alert.name), severity);
    incident.fingerprint = format!("alert/{}", clipped(&alert.fingerprint));
    incident.reported = Some(clipped(&alert.name));
    "an alert says so, and nothing was found yet".clone_into(&mut incident.reason);
    incident.firing.push(alert.fingerprint.clone());
    incident.enter(now, What::Opened { found: None });
    incident
}

fn blank(now: Utc, began: Utc, what: &str, severity: Severity) -> Incident {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let what: String = what.chars().take(48).map(plain).collect();
    Incident {
        id: format!("{}-{what}", now.compact()),
        fingerprint: String::new(),
        reported: None,
        found: None,
        severity,
        worst: severity,
        reason: String::new(),
        escalate: Vec::new(),
        began,
        opened: now,
        seen: now,
        marks: Marks::default(),
        over: None,
        recovered: None,
        closed: None,
        false_alarm: false,
        usual: Usual::default(),
        tally: Tally::default(),
        hit_rate: None,
        firing: Vec::new(),
        timeline: Vec::new(),
        dropped: 0,
    }
}

#[cfg(test)]
mod tests;
